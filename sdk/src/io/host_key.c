/* host_key.c: the key by which the lattice knows a provider that no host stands for. */
#include "io/host_key.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <wcp/log.h>

static void make_seed(char seed[NKEY_SEED_LEN + 1])
{
    uint8_t secret[32];
    randombytes_buf(secret, sizeof secret);
    nkey_encode_seed(NKEY_SERVER, secret, seed);
    sodium_memzero(secret, sizeof secret);
}

/* A read-only file will do, as of a mounted Secret. */
static int open_file(const char *path, int *fd, struct wcp_err *err)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int why = errno;
    if (*fd < 0 && (*fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(why));
    return 0;
}

/* The seed in the file; an empty one gets a new seed. */
static int read_seed(int fd, char seed[NKEY_SEED_LEN + 1], struct wcp_err *err)
{
    char text[NKEY_SEED_LEN + 8] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    size_t len = strcspn(text, " \r\n");
    int rc = 0;
    if (n < 0) {
        rc = wcp_fail(err, WCP_EIO, "%s", strerror(errno));
    } else if (n == 0) {
        make_seed(seed);
        if (write(fd, seed, NKEY_SEED_LEN) != NKEY_SEED_LEN || write(fd, "\n", 1) != 1 ||
            fsync(fd) != 0)
            rc = wcp_fail(err, WCP_EIO, "cannot be written: %s", strerror(errno));
    } else if (len != NKEY_SEED_LEN) {
        rc = wcp_fail(err, WCP_EINVAL, "%zu characters found, a seed SN... of %d expected", len,
                      NKEY_SEED_LEN);
    } else {
        memcpy(seed, text, NKEY_SEED_LEN);
        seed[NKEY_SEED_LEN] = '\0';
    }
    sodium_memzero(text, sizeof text);
    return rc;
}

/* *lock becomes -1 if it is another process's. */
static int lock_file(const char *path, int *lock, struct wcp_err *err)
{
    int rc = open_file(path, lock, err);
    if (rc || flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return rc;
    if (errno == EWOULDBLOCK)
        wcp_log(WCP_WARN,
                "another process uses this host key, so this one gets a fresh key: give each "
                "replica a file of its own",
                "file", path, NULL);
    else
        rc = wcp_fail(err, WCP_EIO, "%s: cannot be locked: %s", path, strerror(errno));
    close(*lock);
    *lock = -1;
    return rc;
}

int host_key_open(const char *path, char id[NKEY_PUBLIC_LEN + 1], int *lock, struct wcp_err *err)
{
    char seed[NKEY_SEED_LEN + 1] = "";
    *lock = -1;
    int rc = path ? lock_file(path, lock, err) : 0;
    if (rc)
        return rc;
    if (*lock < 0)
        make_seed(seed);
    else
        rc = read_seed(*lock, seed, err);
    if (!rc)
        rc = nkey_public(seed, NKEY_SERVER, id, err);
    sodium_memzero(seed, sizeof seed);
    if (rc && *lock >= 0) {
        close(*lock);
        *lock = -1;
        return wcp_wrap(err, "%s", path);
    }
    return rc;
}

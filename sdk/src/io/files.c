/* files.c: small files that hold configuration or secrets, and whether they have changed. */
#include "io/files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(int dir, const char *path, size_t max, char **text, size_t *len, struct wcp_err *err)
{
    struct stat st;
    /* Not waiting: a pipe is no such file, but opening one waits for its other end. */
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(why));
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max) {
        close(fd);
        return S_ISREG(st.st_mode)
                   ? wcp_fail(err, WCP_ETOOBIG, "%s: %lld bytes found, at most %zu expected", path,
                              (long long)st.st_size, max)
                   : wcp_fail(err, WCP_EINVAL, "%s: not a file", path);
    }
    size_t n = 0, size = (size_t)st.st_size;
    char *p = wcp_calloc(size + 1, 1);
    ssize_t got = 0;
    while (n < size && ((got = read(fd, p + n, size - n)) > 0 || (got < 0 && errno == EINTR)))
        n += got > 0 ? (size_t)got : 0;
    int why = errno;
    close(fd);
    if (got < 0) {
        file_free(p, size);
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(why));
    }
    *text = p;
    *len = n;
    return 0;
}

void file_free(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

static size_t without_line_end(const char *text, size_t n)
{
    size_t keep = n && text[n - 1] == '\n' ? n - 1 : n;
    return keep - (keep < n && keep && text[keep - 1] == '\r');
}

int file_read_text(const char *path, char **text, struct wcp_err *err)
{
    char *all = NULL;
    size_t n = 0;
    int rc = file_read(AT_FDCWD, path, FILE_MAX, &all, &n, err);
    if (rc)
        return rc;
    size_t keep = without_line_end(all, n);
    if (keep == 0)
        rc = wcp_fail(err, WCP_EINVAL, "%s: nothing found in it", path);
    else if (memchr(all, '\0', keep))
        rc = wcp_fail(err, WCP_EINVAL, "%s: a NUL byte found, text expected", path);
    explicit_bzero(all + keep, n - keep);
    if (rc)
        file_free(all, n);
    else
        *text = all;
    return rc;
}

int folder_read(const char *path,
                int (*put)(void *ctx, const char *name, struct wcp_bytes value,
                           struct wcp_err *err),
                void *ctx, struct wcp_err *err)
{
    DIR *d = opendir(path);
    if (!d)
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(errno));
    int rc = 0;
    size_t room = FOLDER_MAX;
    struct dirent *e;
    while (!rc && (errno = 0, e = readdir(d))) {
        char *text = NULL;
        size_t n = 0;
        struct stat st;
        if (e->d_name[0] == '.' ||
            (fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode)))
            continue;
        rc = file_read(dirfd(d), e->d_name, FILE_MAX, &text, &n, err);
        if (!rc && n > room)
            rc = wcp_fail(err, WCP_ETOOBIG, "more than %zu bytes in its files", FOLDER_MAX);
        room -= n < room ? n : room;
        if (!rc)
            rc = put(ctx, e->d_name,
                     (struct wcp_bytes){(const uint8_t *)text, without_line_end(text, n)}, err);
        file_free(text, n);
    }
    if (!rc && errno)
        rc = wcp_fail(err, WCP_EIO, "%s", strerror(errno));
    closedir(d);
    return rc ? wcp_wrap(err, "%s", path) : 0;
}

static uint64_t stamp_of(const char *name, const struct stat *st)
{
    const uint64_t facts[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
                              (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
    uint64_t h = 14695981039346656037U; /* FNV-1a, over numbers instead of bytes */
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 1099511628211U;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        h = (h ^ facts[i]) * 1099511628211U;
    return h;
}

uint64_t file_stamp(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 0;
    uint64_t sum = stamp_of("", &st);
    DIR *d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) /* they come in any order */
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            sum += stamp_of(e->d_name, &st);
    if (d)
        closedir(d);
    return sum ? sum : 1;
}

/* listen.c: accepting connections on Unix sockets and TCP ports.
 *
 * One connection is one call, so many come and go: a turn of the loop accepts so many at most. When
 * no descriptor is left (EMFILE) they wait in the kernel's queue, and it is tried again soon. */
#include "io/listen.h"
#include "io/address.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include <wcp/log.h>

#define ACCEPT_MAX 64   /* per turn */
#define PAUSE_MS   50   /* after EMFILE */
#define BACKLOG    4096 /* the kernel takes what it allows */

struct listener {
    struct listeners *all;
    struct listener *next;
    int fd;
    uv_poll_t poll;
    uv_timer_t pause;
    unsigned open_handles;
    char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* "": TCP */
    struct stat made;                                     /* the file at path */
    bool short_of_files;                                  /* has been said */
};

struct listeners {
    uv_loop_t *loop;
    struct sockets *sockets;
    struct listener *first;
    void (*accept)(void *ctx, struct wcp_conn *c);
    void *ctx;
};

static void on_ready(uv_poll_t *h, int status, int events);

static void on_pause_over(uv_timer_t *t)
{
    struct listener *l = t->data;
    uv_poll_start(&l->poll, UV_READABLE, on_ready);
}

static void accept_some(struct listener *l, size_t most)
{
    for (size_t i = 0; i < most; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->all->accept(l->all->ctx, socket_adopt(l->all->sockets, fd));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!l->short_of_files)
                wcp_log(WCP_ERROR, "connections cannot be accepted now; they wait", "why",
                        strerror(errno), NULL);
            l->short_of_files = true;
            uv_poll_stop(&l->poll);
            uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            l->short_of_files = false; /* nobody waits any more */
            return;
        }
    }
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    accept_some(h->data, ACCEPT_MAX);
}

/* --- making one --- */

static int cannot(const char *what, struct wcp_err *err)
{
    return wcp_fail(err, WCP_EIO, "%s: %s", what, strerror(errno));
}

/* Is that the socket of a process that is no more? */
static bool is_stale(const struct sockaddr_un *a)
{
    struct stat st;
    if (lstat(a->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool refused =
        fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static int bind_path(int fd, const struct sockaddr_un *a)
{
    mode_t before = umask(0117); /* the file is 0660 from the start */
    int rc = bind(fd, (const struct sockaddr *)a, sizeof *a);
    int why = errno;
    umask(before);
    errno = why;
    return rc;
}

/* Takes ownership of fd, which is bound. */
static int add(struct listeners *all, int fd, const char *path, struct wcp_err *err)
{
    if (listen(fd, BACKLOG) != 0) {
        int rc = cannot("listen", err);
        close(fd);
        return rc;
    }
    struct listener *l = wcp_calloc(1, sizeof *l);
    l->all = all;
    l->fd = fd;
    l->next = all->first;
    all->first = l;
    (void)snprintf(l->path, sizeof l->path, "%s", path); /* it came from such an array */
    if (*path)
        (void)lstat(path, &l->made); /* if it has vanished, there is nothing to remove */
    uv_poll_init(all->loop, &l->poll, fd);
    uv_timer_init(all->loop, &l->pause);
    l->open_handles = 2;
    l->poll.data = l->pause.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_ready);
    return 0;
}

static int open_path(struct listeners *all, const struct sockaddr_un *a, struct wcp_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return cannot("socket", err);
    int rc = bind_path(fd, a);
    if (rc != 0 && errno == EADDRINUSE) {
        if (is_stale(a) && unlink(a->sun_path) == 0)
            rc = bind_path(fd, a);
        else
            errno = EADDRINUSE;
    }
    if (rc != 0) {
        rc = errno == EADDRINUSE
                 ? wcp_fail(err, WCP_EIO, "in use: somebody answers there, or it is no socket")
                 : cannot("bind", err);
        close(fd);
        return rc;
    }
    rc = add(all, fd, a->sun_path, err);
    if (!rc)
        wcp_logf(WCP_INFO, "listening on unix:%s", a->sun_path);
    return rc;
}

static int open_port(struct listeners *all, const struct addrinfo *a, struct wcp_err *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    char text[80];
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return cannot("socket", err);
    /* What is accepted inherits the second. Without them it works less well, but it works. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
        int rc = cannot("bind", err);
        close(fd);
        return rc;
    }
    address_print((const struct sockaddr *)&bound, text);
    int rc = add(all, fd, "", err);
    if (!rc)
        wcp_logf(WCP_INFO, "listening on %s", text);
    return rc;
}

static int open_address(struct listeners *all, const char *text, struct wcp_err *err)
{
    struct address a;
    int rc = address_parse(text, &a, err);
    if (rc)
        return rc;
    if (a.is_unix)
        return open_path(all, &a.path, err) ? wcp_wrap(err, "%s", text) : 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int why = getaddrinfo(a.host, a.port, &hints, &found);
    if (why)
        return wcp_fail(err, WCP_EIO, "%s: %s", text, gai_strerror(why));
    for (struct addrinfo *i = found; i && !rc; i = i->ai_next)
        rc = open_port(all, i, err);
    freeaddrinfo(found);
    return rc ? wcp_wrap(err, "%s", text) : 0;
}

struct listeners *listeners_open(struct uv_loop_s *loop, struct sockets *sockets,
                                 const struct strings *addresses,
                                 void (*accept)(void *ctx, struct wcp_conn *c), void *ctx,
                                 struct wcp_err *err)
{
    struct listeners *all = wcp_calloc(1, sizeof *all);
    *all = (struct listeners){.loop = loop, .sockets = sockets, .accept = accept, .ctx = ctx};
    for (size_t i = 0; i < addresses->n; i++)
        if (open_address(all, addresses->at[i], err)) {
            listeners_close(all);
            return NULL;
        }
    return all;
}

/* --- the end --- */

static void on_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    if (--l->open_handles)
        return;
    close(l->fd);
    free(l);
}

void listeners_close(struct listeners *all)
{
    if (!all)
        return;
    for (struct listener *l = all->first, *next; l; l = next) {
        struct stat now;
        next = l->next;
        if (*l->path && lstat(l->path, &now) == 0 && now.st_ino == l->made.st_ino &&
            now.st_dev == l->made.st_dev)
            (void)unlink(l->path); /* else: another has taken it over, or it is gone */
        accept_some(l, BACKLOG);
        uv_close((uv_handle_t *)&l->poll, on_closed);
        uv_close((uv_handle_t *)&l->pause, on_closed);
    }
    free(all);
}

/* socket.c: connections over Unix sockets and TCP on a libuv loop.
 *
 * What is written collects and is tried directly at the end of the turn, as in poller.c: a socket
 * nearly always takes it, and header, frames and the end of our direction leave together. An
 * accepted connection is read directly at first: the caller has mostly said all of it by then. Only
 * who must wait goes to libuv, as a uv_pipe_t, its name for a stream over any descriptor. What
 * nobody waits for comes last in a turn: looking for the peer's end, and closing what has ended.
 *
 * A connection that the core has closed after shutdown() lingers until its last byte is sent and,
 * if the peer made it, until the peer has ended its direction too: closing a socket with unread
 * bytes would reset it, and could destroy an answer that the peer has not read. */
#include "io/socket.h"
#include "io/address.h"
#include "rpc/rpc.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define LINGER_MS   1000
#define READ_BYTES  65536
#define PIECE_BYTES 65536 /* that libuv gets at once: the core is told when they have left */

struct place {                 /* in a list */
    struct sock *next, **prev; /* prev NULL: not in it */
};

struct sock {
    struct wcp_conn conn; /* first */
    struct sockets *all;
    int fd;                   /* -1: none */
    uv_pipe_t stream;         /* has fd, if watched */
    struct sockaddr_un *path; /* to connect to at the end of the turn; NULL: none */
    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses, *address; /* of the host; the one to try next, NULL: no more */
    int error;                            /* nothing can be written any more: why; 0: it can */
    struct wcp_buf out;                   /* collected in this turn */
    struct wcp_buf sending;               /* from off on */
    size_t off;
    uv_write_t write;
    size_t piece; /* that libuv has of sending, if writing */
    bool accepted, connected, resolving;
    bool watched;
    bool reading, want_reading;
    bool writing;           /* libuv has some of sending */
    bool told;              /* rpc_conn_sent is not owed */
    bool shut_wanted, shut; /* our direction */
    bool eof;               /* the peer's */
    bool given_up;          /* by the core: there is nobody to tell */
    bool ended;             /* stream is being closed for good */
    struct place fresh, dirty, lingering, over;
    uint64_t linger_until;
};

struct sockets {
    uv_loop_t *loop;
    uv_check_t polled;
    uv_prepare_t turn_end;
    uv_idle_t awake; /* while there is something to do at the end of the turn */
    uv_timer_t linger;
    struct sock *fresh; /* accepted and not read yet */
    struct sock *dirty;
    struct sock *over;                        /* ended, to be closed at the end of the turn */
    struct sock *lingering, **last_lingering; /* in the order of their ends */
    size_t count;
    bool closing;
    unsigned open_handles;
    uint8_t buf[READ_BYTES];
};

static struct sock *of(struct wcp_conn *c)
{
    return (struct sock *)c;
}

static void on_awake(uv_idle_t *h)
{
}

#define INSERT(s, list, where)                                                                     \
    do {                                                                                           \
        (s)->list = (struct place){*(where), (where)};                                             \
        if (*(where))                                                                              \
            (*(where))->list.prev = &(s)->list.next;                                               \
        *(where) = (s);                                                                            \
    } while (0)
#define REMOVE(s, list)                                                                            \
    do {                                                                                           \
        if ((s)->list.prev) {                                                                      \
            *(s)->list.prev = (s)->list.next;                                                      \
            if ((s)->list.next)                                                                    \
                (s)->list.next->list.prev = (s)->list.prev;                                        \
            (s)->list.prev = NULL;                                                                 \
        }                                                                                          \
    } while (0)

/* At the end of this turn it is looked at. */
static void mark(struct sock *s)
{
    if (s->dirty.prev || s->ended)
        return;
    INSERT(s, dirty, &s->all->dirty);
    uv_idle_start(&s->all->awake, on_awake);
}

/* --- ends --- */

static void on_all_closed(uv_handle_t *h)
{
    struct sockets *all = h->data;
    if (--all->open_handles == 0)
        free(all);
}

static void close_if_empty(struct sockets *all)
{
    if (!all->closing || all->count || uv_is_closing((uv_handle_t *)&all->turn_end))
        return;
    uv_close((uv_handle_t *)&all->polled, on_all_closed);
    uv_close((uv_handle_t *)&all->turn_end, on_all_closed);
    uv_close((uv_handle_t *)&all->awake, on_all_closed);
    uv_close((uv_handle_t *)&all->linger, on_all_closed);
}

static void open_next(struct sock *s);

/* libuv has let go of it: free it, or try the host's next address. */
static void on_closed(uv_handle_t *h)
{
    struct sock *s = h->data;
    struct sockets *all = s->all;
    s->fd = -1;
    s->watched = s->reading = false;
    if (!s->ended) {
        uv_pipe_init(all->loop, &s->stream, 0);
        open_next(s);
        return;
    }
    if (s->addresses)
        uv_freeaddrinfo(s->addresses);
    free(s->path);
    wcp_buf_free(&s->out);
    wcp_buf_free(&s->sending);
    free(s);
    all->count--;
    close_if_empty(all);
}

static void close_stream(struct sock *s)
{
    if (uv_is_closing((uv_handle_t *)&s->stream))
        return;
    if (s->fd >= 0 && !s->watched)
        close(s->fd);
    uv_close((uv_handle_t *)&s->stream, on_closed);
}

static void end(struct sock *s)
{
    if (s->ended)
        return;
    s->ended = true;
    if (s->lingering.prev && !s->lingering.next)
        s->all->last_lingering = s->lingering.prev;
    REMOVE(s, lingering);
    REMOVE(s, dirty);
    REMOVE(s, fresh);
    if (s->resolving) {
        uv_cancel((uv_req_t *)&s->resolve); /* on_resolved follows in any case */
        return;
    }
    if (s->reading)
        uv_read_stop((uv_stream_t *)&s->stream);
    INSERT(s, over, &s->all->over);
    uv_idle_start(&s->all->awake, on_awake);
}

static void on_linger(uv_timer_t *t)
{
    struct sockets *all = t->data;
    uint64_t now = uv_now(all->loop);
    while (all->lingering && all->lingering->linger_until <= now)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        end(all->lingering);
    if (all->lingering)
        uv_timer_start(t, on_linger, all->lingering->linger_until - now, 0);
}

static void start_lingering(struct sock *s)
{
    struct sockets *all = s->all;
    s->linger_until = uv_now(all->loop) + LINGER_MS;
    INSERT(s, lingering, all->last_lingering);
    all->last_lingering = &s->lingering.next;
    if (!uv_is_active((uv_handle_t *)&all->linger))
        uv_timer_start(&all->linger, on_linger, LINGER_MS, 0);
}

static int status_of(int error)
{
    switch (error) {
    case UV_ECONNREFUSED:
    case UV_ENOENT:
    case UV_EAI_NONAME: return WCP_ENOENT;
    case UV_ETIMEDOUT: return WCP_ETIMEOUT;
    default: return WCP_ECLOSED;
    }
}

/* Neither direction goes on. */
static void lost(struct sock *s, int error)
{
    if (!s->connected && s->address && !s->given_up) { /* the host has more addresses */
        s->error = 0;
        close_stream(s);
        return;
    }
    s->error = s->error ? s->error : error;
    if (s->given_up)
        end(s);
    else
        rpc_conn_lost(&s->conn, status_of(error),
                      error == UV_EAGAIN ? "too many wait to be accepted" : uv_strerror(error));
}

/* --- reading --- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct sock *s = h->data;
    *out = uv_buf_init((char *)s->all->buf, sizeof s->all->buf);
}

static void apply_reading(struct sock *s);

/* n bytes are in all->buf, or that has happened. */
static void take(struct sock *s, ssize_t n)
{
    if (n > 0) {
        s->connected = true;
        if (!s->given_up)
            rpc_conn_data(&s->conn, (struct wcp_bytes){s->all->buf, (size_t)n});
    } else if (n == UV_EOF) {
        s->eof = true;
        apply_reading(s);
        if (s->given_up)
            mark(s);
        else
            rpc_conn_eof(&s->conn);
        if (s->error && !s->given_up) /* now both directions are over */
            lost(s, s->error);
    } else if (n < 0) {
        lost(s, (int)n);
    }
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    take(h->data, n);
}

static void watch(struct sock *s)
{
    if (s->watched)
        return;
    int rc = uv_pipe_open(&s->stream, s->fd);
    assert(rc == 0); /* it is a socket, and ours alone */
    s->watched = true;
}

static void apply_reading(struct sock *s)
{
    bool reading = s->fd >= 0 && s->want_reading && !s->eof && !s->ended && !s->fresh.prev;
    if (reading == s->reading || uv_is_closing((uv_handle_t *)&s->stream))
        return;
    s->reading = reading;
    if (reading) {
        watch(s);
        uv_read_start((uv_stream_t *)&s->stream, on_alloc, on_read);
    } else {
        uv_read_stop((uv_stream_t *)&s->stream);
    }
}

/* False: there is no more, for now or for ever. */
static bool read_once(struct sock *s)
{
    if (!s->want_reading || s->ended)
        return false;
    ssize_t n = recv(s->fd, s->all->buf, sizeof s->all->buf, MSG_DONTWAIT);
    if (n >= 0)
        take(s, n ? n : UV_EOF);
    else if (errno != EAGAIN && errno != EINTR)
        take(s, -errno);
    return n > 0;
}

/* --- writing, at the end of the turn --- */

static bool is_written(const struct sock *s)
{
    return !s->writing && s->off == s->sending.len && s->out.len == 0;
}

/* Nothing can be written any more. What the peer has sent may still be of use: only when that has
 * ended too, the connection is lost. */
static void broken(struct sock *s, int error)
{
    if (!s->connected && s->address) { /* it goes to the host's next address */
        lost(s, error);
        return;
    }
    s->error = error;
    s->out.len = s->sending.len = s->off = 0;
    if (s->given_up)
        end(s);
    else if (!s->reading)
        lost(s, error);
}

static void on_written(uv_write_t *w, int status)
{
    struct sock *s = w->data;
    s->writing = false;
    if (s->ended || uv_is_closing((uv_handle_t *)&s->stream))
        return;
    if (status == 0) {
        s->connected = true;
        s->off += s->piece;
        s->told = false;
        mark(s);
    } else if (s->connected || !s->reading) {
        broken(s, status);
    } /* else: it could not connect, and reading tells why */
}

static void flush(struct sock *s)
{
    while (!s->writing && !s->error && !s->ended) {
        if (s->off == s->sending.len) {
            struct wcp_buf empty = s->sending;
            if (s->out.len == 0)
                return;
            s->sending = s->out;
            s->out = empty;
            s->out.len = s->off = 0;
        }
        uv_buf_t rest =
            uv_buf_init((char *)s->sending.ptr + s->off, (unsigned)(s->sending.len - s->off));
        ssize_t n = send(s->fd, rest.base, rest.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            s->connected = true;
            s->told = false;
            s->off += (size_t)n;
        } else if (errno == EAGAIN) {
            watch(s);
            s->write.data = s;
            rest.len = rest.len < PIECE_BYTES ? rest.len : PIECE_BYTES;
            int rc = uv_write(&s->write, (uv_stream_t *)&s->stream, &rest, 1, on_written);
            s->writing = rc == 0;
            s->piece = rest.len;
            if (rc) {
                broken(s, rc);
                return;
            }
        } else if (errno != EINTR) {
            broken(s, -errno);
            return;
        }
    }
}

/* Saves waiting for the loop to tell it. */
static bool peer_has_ended(const struct sock *s)
{
    char byte;
    return s->eof || recv(s->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static int try_address(struct sock *s, const struct sockaddr *a, socklen_t len)
{
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;
    if (fd < 0)
        return -errno;
    if (a->sa_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* else slower */
    do
        rc = connect(fd, a, len);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno != EINPROGRESS) {
        rc = -errno;
        close(fd);
        return rc;
    }
    s->fd = fd;
    mark(s);
    return 0;
}

static void open_next(struct sock *s)
{
    int rc = UV_EAI_NONAME;
    s->error = 0;
    while (s->address && rc) {
        const struct addrinfo *a = s->address;
        s->address = a->ai_next;
        rc = try_address(s, a->ai_addr, a->ai_addrlen);
    }
    s->error = rc;
    if (rc)
        mark(s);
}

static void look_at(struct sock *s)
{
    if (uv_is_closing((uv_handle_t *)&s->stream))
        return;
    /* Only now: the peer shall not wake up before there is something to read. */
    if (s->path) {
        s->error = try_address(s, (const struct sockaddr *)s->path, sizeof *s->path);
        free(s->path);
        s->path = NULL;
    } else if (s->fd < 0 && s->address) {
        open_next(s);
    }
    if (s->fd < 0) {
        if (s->error)
            lost(s, s->error); /* it could not even begin */
        return;
    }
    flush(s);
    if (s->fresh.prev && !s->error) {
        while (read_once(s))
            ;
        REMOVE(s, fresh);
    }
    if (!s->ended && !s->error && !s->given_up && !s->told) {
        s->told = true;
        rpc_conn_sent(&s->conn); /* it may be given up with that */
    }
    if (s->ended || s->error)
        return;
    bool done = is_written(s);
    if (done && s->given_up && (!s->accepted || peer_has_ended(s))) {
        end(s); /* which ends our direction, too */
        return;
    }
    if (done && s->shut_wanted && !s->shut) {
        s->shut = true;
        (void)shutdown(s->fd, SHUT_WR); /* if that is impossible, reading tells */
    }
    apply_reading(s); /* of one that was just made: the peer shall find its bytes first */
}

static void look_at_all(struct sockets *all)
{
    struct sock *list = all->dirty;
    uv_idle_stop(&all->awake); /* who is marked from now on starts it again */
    all->dirty = NULL;
    if (list)
        list->dirty.prev = &list;
    while (list) {
        struct sock *s = list;
        REMOVE(s, dirty);
        look_at(s);
    }
    while (all->over) {
        struct sock *s = all->over;
        REMOVE(s, over);
        close_stream(s);
    }
}

/* Right after the callbacks of a poll. What these wrote goes out at once: before libuv closes what
 * was ended meanwhile, which takes its time. */
static void on_polled(uv_check_t *h)
{
    struct sockets *all = h->data;
    for (struct sock *s = all->fresh, *next; s; s = next) {
        next = s->fresh.next;
        mark(s);
        (void)read_once(s); /* the rest is read once that is answered */
    }
    look_at_all(all);
}

/* What timers and others have written. */
static void on_turn_end(uv_prepare_t *h)
{
    look_at_all(h->data);
}

/* --- the connection, as the core sees it --- */

static void conn_write(struct wcp_conn *c, struct wcp_bytes data)
{
    struct sock *s = of(c);
    if (s->error && s->fd >= 0)
        return; /* there is nobody to read it */
    wcp_buf_put(&s->out, data.ptr, data.len);
    mark(s);
}

static void conn_shutdown(struct wcp_conn *c)
{
    of(c)->shut_wanted = true;
    mark(of(c));
}

static void conn_want(struct wcp_conn *c, bool reading)
{
    of(c)->want_reading = reading;
    apply_reading(of(c));
}

static size_t conn_buffered(struct wcp_conn *c)
{
    const struct sock *s = of(c);
    return s->out.len + s->sending.len - s->off;
}

static void conn_close(struct wcp_conn *c)
{
    struct sock *s = of(c);
    s->given_up = true;
    if (s->error || !s->shut_wanted || (is_written(s) && (s->eof || !s->accepted))) {
        end(s);
        return;
    }
    conn_want(c, true); /* what still comes is thrown away */
    start_lingering(s);
    mark(s);
}

static struct sock *new_sock(struct sockets *all, bool accepted)
{
    struct sock *s = wcp_calloc(1, sizeof *s);
    s->conn = (struct wcp_conn){.write = conn_write,
                                .shutdown = conn_shutdown,
                                .want = conn_want,
                                .buffered = conn_buffered,
                                .close = conn_close};
    s->all = all;
    s->fd = -1;
    s->accepted = accepted;
    s->want_reading = s->told = true;
    uv_pipe_init(all->loop, &s->stream, 0);
    s->stream.data = s;
    all->count++;
    return s;
}

struct wcp_conn *socket_adopt(struct sockets *all, int fd)
{
    struct sock *s = new_sock(all, true);
    s->fd = fd;
    INSERT(s, fresh, &all->fresh);
    return &s->conn;
}

/* --- connecting --- */

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *found)
{
    struct sock *s = r->data;
    s->resolving = false;
    s->addresses = s->address = found;
    if (s->ended)
        close_stream(s);
    else if (status == 0)
        open_next(s);
    else
        lost(s, status);
}

struct wcp_conn *socket_connect(struct sockets *all, const char *text, struct wcp_err *err)
{
    struct address a;
    if (address_parse(text, &a, err))
        return NULL;
    struct sock *s = new_sock(all, false);
    if (a.is_unix) {
        s->path = wcp_calloc(1, sizeof a.path);
        *s->path = a.path;
    } else {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
        if (getaddrinfo(a.host, a.port, &hints, &s->addresses) == 0) { /* no name: no waiting */
            s->address = s->addresses;
        } else {
            hints.ai_flags = AI_NUMERICSERV;
            s->resolve.data = s;
            s->error = uv_getaddrinfo(all->loop, &s->resolve, on_resolved, a.host, a.port, &hints);
            s->resolving = s->error == 0;
        }
    }
    mark(s);
    return &s->conn;
}

/* --- all of them --- */

struct sockets *sockets_new(struct uv_loop_s *loop)
{
    struct sockets *all = wcp_calloc(1, sizeof *all);
    all->loop = loop;
    all->last_lingering = &all->lingering;
    uv_check_init(loop, &all->polled);
    uv_prepare_init(loop, &all->turn_end);
    uv_idle_init(loop, &all->awake);
    uv_timer_init(loop, &all->linger);
    all->polled.data = all->turn_end.data = all->awake.data = all->linger.data = all;
    all->open_handles = 4;
    uv_check_start(&all->polled, on_polled);
    uv_prepare_start(&all->turn_end, on_turn_end);
    uv_unref((uv_handle_t *)&all->polled);
    uv_unref((uv_handle_t *)&all->turn_end); /* connections keep the loop, if there are any */
    return all;
}

void sockets_close(struct sockets *all)
{
    if (!all)
        return;
    all->closing = true;
    close_if_empty(all);
}

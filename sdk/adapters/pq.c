/* pq.c: one PostgreSQL connection on the loop.
 *
 * Looks the name up (libpq itself would block), tries each address in turn, follows libpq through
 * the login with whatever sockets it uses, and then tells the results as they come. */
#include "pq.h"
#include <openssl/ssl.h>
#include <uv.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state { RESOLVING, CONNECTING, READY, GONE };

/* A socket's poll handle; it outlives the socket until its close callback. */
struct watch {
    uv_poll_t poll;
    struct pq_conn *conn;
};

struct pq_conn {
    uv_loop_t *loop;
    const struct pq_target *target;
    struct pq_events events;
    bool closing;
    unsigned handles; /* that are not closed yet */
    uv_timer_t timer;
    enum state state;
    char why[256];

    uv_getaddrinfo_t lookup;
    bool looking_up;
    struct addrinfo *addresses, *next_address;
    PGconn *pg;
    struct watch *watch;
    int fd; /* of watch */
    int watched;
};

static void destroy_if_done(struct pq_conn *c)
{
    if (!c->closing || c->handles > 0 || c->looking_up)
        return;
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct pq_conn *c = h->data;
    c->handles--;
    destroy_if_done(c);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    struct pq_conn *c = w->conn;
    free(w);
    c->handles--;
    destroy_if_done(c);
}

/* --- the socket --- */

static void on_poll(uv_poll_t *p, int status, int events);

static void unwatch(struct pq_conn *c)
{
    if (!c->watch)
        return;
    (void)uv_poll_stop(&c->watch->poll); /* cannot fail */
    uv_close((uv_handle_t *)&c->watch->poll, on_watch_closed);
    c->watch = NULL;
    c->watched = 0;
}

/* Watches libpq's socket, which may be another one than before. */
static bool watch(struct pq_conn *c, int events)
{
    int fd = PQsocket(c->pg);
    if (c->watch && c->fd != fd)
        unwatch(c);
    if (!c->watch) {
        struct watch *w = wcp_calloc(1, sizeof *w);
        if (fd < 0 || uv_poll_init(c->loop, &w->poll, fd) != 0) {
            free(w);
            return false;
        }
        w->conn = c;
        w->poll.data = w;
        c->watch = w;
        c->fd = fd;
        c->handles++;
    }
    if (events != c->watched)
        (void)uv_poll_start(&c->watch->poll, events, on_poll); /* the handle is not closing */
    c->watched = events;
    return true;
}

/* libpq may close the socket now and open another one of the same number, which epoll would miss.
 */
static void stop_watching(struct pq_conn *c)
{
    if (c->watch)
        (void)uv_poll_stop(&c->watch->poll); /* cannot fail */
    c->watched = 0;
}

static void hang_up(struct pq_conn *c)
{
    unwatch(c);
    PQfinish(c->pg);
    c->pg = NULL;
}

/* One line of libpq's last message. */
static void note_error(struct pq_conn *c)
{
    const char *text = c->pg ? PQerrorMessage(c->pg) : "no memory for a connection";
    size_t n = strcspn(text, "\n");
    if (n == 0)
        (void)snprintf(c->why, sizeof c->why, "closed by the server");
    else
        (void)snprintf(c->why, sizeof c->why, "%.*s", (int)(n < 4096 ? n : 4096), text); /* cut */
}

static void fail(struct pq_conn *c)
{
    if (c->pg)
        hang_up(c);
    c->state = GONE;
    (void)uv_timer_stop(&c->timer); /* cannot fail */
    c->events.gone(c->events.ctx, c->why);
}

/* --- connecting --- */

static void quiet(void *arg, const char *message)
{
    /* notices are for people at terminals */
}

static void connect_next(struct pq_conn *c);

static void failed_address(struct pq_conn *c)
{
    hang_up(c);
    connect_next(c);
}

static void on_timeout(uv_timer_t *t)
{
    struct pq_conn *c = t->data;
    (void)snprintf(c->why, sizeof c->why, "not connected within %u ms", c->target->connect_ms);
    if (c->state == CONNECTING)
        failed_address(c);
    else
        fail(c);
}

static void log_in(struct pq_conn *c)
{
    stop_watching(c);
    PostgresPollingStatusType step = PQconnectPoll(c->pg);
    if (step == PGRES_POLLING_READING || step == PGRES_POLLING_WRITING) {
        if (watch(c, step == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE))
            return;
        (void)snprintf(c->why, sizeof c->why, "no memory for a socket");
    } else if (step == PGRES_POLLING_OK && PQsetnonblocking(c->pg, 1) == 0 &&
               PQenterPipelineMode(c->pg) && watch(c, UV_READABLE)) {
        c->state = READY;
        (void)uv_timer_stop(&c->timer); /* cannot fail */
        (void)PQsetNoticeProcessor(c->pg, quiet, NULL);
        c->events.ready(c->events.ctx);
        return;
    } else {
        note_error(c);
    }
    failed_address(c);
}

static void connect_to(struct pq_conn *c, const char *address)
{
    enum { FIXED = 10 };
    const struct pq_target *t = c->target;
    const char *keys[FIXED + PQ_PARAMS + 1] = {"host",
                                               "port",
                                               "client_encoding",
                                               "gssencmode",
                                               "keepalives_idle",
                                               "keepalives_interval",
                                               "keepalives_count",
                                               "tcp_user_timeout",
                                               "hostaddr"};
    const char *values[FIXED + PQ_PARAMS + 1] = {t->host, t->port, "UTF8",  "disable", "15",
                                                 "5",     "3",     "30000", address};
    size_t n = address ? 9 : 8;
    for (const struct pq_param *p = t->params; p->key; p++) {
        if (!p->value)
            continue;
        keys[n] = p->key;
        values[n++] = p->value;
    }
    keys[n] = NULL;
    c->state = CONNECTING;
    c->pg = PQconnectStartParams(keys, values, 0);
    (void)uv_timer_start(&c->timer, on_timeout, t->connect_ms, 0); /* not closing */
    if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD || !watch(c, UV_WRITABLE)) {
        note_error(c);
        failed_address(c);
    }
}

static void connect_next(struct pq_conn *c)
{
    while (c->next_address) {
        const struct addrinfo *at = c->next_address;
        c->next_address = at->ai_next;
        char host[NI_MAXHOST];
        int rc =
            getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
        if (rc == 0) {
            connect_to(c, host);
            return;
        }
        (void)snprintf(c->why, sizeof c->why, "address: %s", gai_strerror(rc));
    }
    fail(c);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct pq_conn *c = req->data;
    c->looking_up = false;
    c->addresses = found;
    if (c->closing || c->state != RESOLVING) { /* it took too long */
        destroy_if_done(c);
        return;
    }
    if (status < 0) {
        (void)snprintf(c->why, sizeof c->why, "lookup of '%s': %s", c->target->host,
                       uv_strerror(status)); /* may be cut */
        fail(c);
        return;
    }
    c->next_address = found;
    connect_next(c);
}

static void on_start(uv_timer_t *t)
{
    struct pq_conn *c = t->data;
    if (c->target->host[0] == '/') {
        connect_to(c, NULL);
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    c->lookup.data = c;
    int rc = uv_getaddrinfo(c->loop, &c->lookup, on_lookup, c->target->host, NULL, &hints);
    if (rc) {
        (void)snprintf(c->why, sizeof c->why, "lookup: %s", uv_strerror(rc));
        fail(c);
        return;
    }
    c->looking_up = true;
    (void)uv_timer_start(&c->timer, on_timeout, c->target->connect_ms, 0); /* not closing */
}

struct pq_conn *pq_conn_new(struct uv_loop_s *loop, const struct pq_target *t,
                            const struct pq_events *e)
{
    struct pq_conn *c = wcp_calloc(1, sizeof *c);
    c->loop = loop;
    c->target = t;
    c->events = *e;
    (void)uv_timer_init(loop, &c->timer); /* cannot fail */
    c->timer.data = c;
    c->handles = 1;
    (void)uv_timer_start(&c->timer, on_start, 0, 0);
    return c;
}

void pq_conn_free(struct pq_conn *c)
{
    if (!c)
        return;
    c->closing = true;
    c->state = GONE;
    if (c->pg)
        hang_up(c);
    if (c->looking_up)
        (void)uv_cancel((uv_req_t *)&c->lookup); /* or it ends by itself; on_lookup comes anyway */
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

/* --- connected --- */

PGconn *pq_conn_pg(const struct pq_conn *c)
{
    return c->pg;
}

/* False: it broke. */
static bool flush(struct pq_conn *c)
{
    int more = PQflush(c->pg);
    return more >= 0 && watch(c, UV_READABLE | (more ? UV_WRITABLE : 0));
}

void pq_conn_sent(struct pq_conn *c)
{
    if (!flush(c)) /* then reading fails, too, and on_poll says so: not from here */
        (void)watch(c, UV_READABLE);
}

/* A record that TLS has already read makes no socket readable. */
static bool read_all(struct pq_conn *c)
{
    do {
        if (!PQconsumeInput(c->pg))
            return false;
    } while (PQsslInUse(c->pg) && SSL_pending(PQsslStruct(c->pg, "OpenSSL")) > 0);
    return true;
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct pq_conn *c = ((struct watch *)p->data)->conn;
    if (c->state == CONNECTING) {
        log_in(c);
        return;
    }
    if (c->state != READY)
        return;
    if (status < 0)
        c->watched = 0; /* libuv has stopped; reading tells what is wrong */
    bool alive = read_all(c) && flush(c);
    if (!alive)
        note_error(c);
    /* What has come is told first: a server says why it closes. */
    while (c->state == READY && PQtransactionStatus(c->pg) == PQTRANS_ACTIVE && !PQisBusy(c->pg)) {
        PGresult *r = PQgetResult(c->pg);
        ExecStatusType status_of = PQresultStatus(r);
        c->events.result(c->events.ctx, r);
        PQclear(r);
        if (c->state == READY && (status_of == PGRES_COPY_IN || status_of == PGRES_COPY_OUT ||
                                  status_of == PGRES_COPY_BOTH)) {
            (void)snprintf(c->why, sizeof c->why, "COPY, which is not done here");
            fail(c);
        }
    }
    if (c->state == READY && (!alive || PQstatus(c->pg) == CONNECTION_BAD)) {
        if (alive)
            note_error(c);
        fail(c);
    }
}

/* hiredis.c: one Redis connection on the loop: pipelined, with deadlines, kept up for ever.
 *
 * An attempt: look the name up (redisAsyncConnect itself would block), connect to each address in
 * turn, then AUTH, SELECT and PING. Only when the PING is answered are commands handed to hiredis,
 * so none ever runs unauthenticated or on the wrong database. When a connection is gone, the next
 * attempt follows, at first at once, then with growing delays. */
#include "hiredis.h"
#include "redis_queue.h"
#include <hiredis/async.h>
#include <uv.h>
#include <assert.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    MAX_COMMANDS = 65536,   /* unanswered */
    MAX_BYTES = 64 << 20,   /* of their texts; one that is larger is taken if it is the first */
    KEEP_BYTES = 1 << 20,   /* of out, while it is empty */
    MAX_ELEMENTS = 1 << 24, /* of one array in a reply */
    FIRST_DELAY_MS = 50,    /* between attempts; doubles */
    STEADY_MS = 1000,       /* a connection that lived that long may be made again at once */
    TELL_AGAIN_MS = 1000,   /* while down, a new reason is told that often at most */
};

enum state { RESOLVING, CONNECTING, READY, WAITING };

/* A socket's poll handle; it outlives the socket until its close callback. */
struct watch {
    uv_poll_t poll;
    struct redis_conn *conn;
    redisAsyncContext *ac; /* NULL: gone */
    int events;
    bool writing; /* in redisAsyncHandleWrite */
};

struct redis_conn {
    uv_loop_t *loop;
    struct redis_address address;
    struct redis_tuning tuning;
    struct redis_events events;
    bool closing;
    unsigned handles; /* that are not closed yet */
    uv_timer_t timer;
    uv_prepare_t flush;

    enum state state;
    uint64_t until; /* of the attempt, or of the wait for the next one */
    uint64_t ready_since;
    uint32_t failures;  /* attempts in a row */
    char reason[160];   /* why the connection has to go; "": ask hiredis */
    bool told;          /* a state event has been */
    char told_why[224]; /* by the last one; "": healthy */
    uint64_t told_at;

    uv_getaddrinfo_t lookup;
    bool looking_up;
    struct addrinfo *addresses, *next_address;
    redisAsyncContext *ac; /* NULL: no socket */
    struct watch *watch;
    redisReplyObjectFunctions make; /* hiredis' own with checks in front */
    const redisReplyObjectFunctions *plain;

    struct redis_queue q;
};

/* --- time --- */

/* Ends what was not handed over yet, in order: all of it, or what is due at now. */
static void give_up_unsent(struct redis_conn *c, uint64_t now, const char *why)
{
    while (c->q.count > c->q.sent && c->q.sent == 0 && queue_nth(&c->q, 0)->deadline <= now) {
        struct redis_pending p = queue_pop(&c->q);
        c->q.out_from += p.bytes;
        p.done(p.ctx, NULL, why);
    }
    if (c->q.count == c->q.sent)
        c->q.out.len = c->q.out_from = 0;
}

static void on_timer(uv_timer_t *t);

static void rearm(struct redis_conn *c)
{
    if (c->closing)
        return;
    uint64_t at = c->state == READY ? UINT64_MAX : c->until;
    if (c->q.count > c->q.late && queue_nth(&c->q, c->q.late)->deadline < at)
        at = queue_nth(&c->q, c->q.late)->deadline;
    if (c->q.late > 0 && queue_nth(&c->q, 0)->deadline + 2 * (uint64_t)c->tuning.response_ms < at)
        at = queue_nth(&c->q, 0)->deadline + 2 * (uint64_t)c->tuning.response_ms;
    uint64_t now = uv_now(c->loop);
    if (at == UINT64_MAX)
        (void)uv_timer_stop(&c->timer); /* cannot fail */
    else
        (void)uv_timer_start(&c->timer, on_timer, at > now ? at - now : 0, 0); /* not closing */
}

static void tell(struct redis_conn *c, const char *why)
{
    char text[sizeof c->told_why] = "";
    if (why)
        (void)snprintf(text, sizeof text, "%s: %s", c->address.text, why); /* may be cut */
    bool turned = !c->told || !why != !c->told_why[0];
    uint64_t now = uv_now(c->loop);
    if (c->closing ||
        (!turned && (strcmp(text, c->told_why) == 0 || now - c->told_at < TELL_AGAIN_MS)))
        return;
    c->told = true;
    c->told_at = now;
    memcpy(c->told_why, text, sizeof text);
    c->events.state(c->events.ctx, why ? c->told_why : NULL);
}

/* --- the socket --- */

static void on_poll(uv_poll_t *p, int status, int events);

static void watch_for(struct watch *w, int events)
{
    if (events == w->events || !w->ac)
        return;
    w->events = events;
    if (events)
        (void)uv_poll_start(&w->poll, events, on_poll); /* fails only for handles being closed */
    else
        (void)uv_poll_stop(&w->poll);
}

static void add_read(void *data)
{
    struct watch *w = data;
    watch_for(w, w->events | UV_READABLE);
}

static void del_read(void *data)
{
    struct watch *w = data;
    watch_for(w, w->events & ~UV_READABLE);
}

/* While the connection is up, new commands need no event: on_flush writes. Only what a write left
 * over does. */
static void add_write(void *data)
{
    struct watch *w = data;
    if (w->writing || !(w->ac->c.flags & REDIS_CONNECTED))
        watch_for(w, w->events | UV_WRITABLE);
}

static void del_write(void *data)
{
    struct watch *w = data;
    watch_for(w, w->events & ~UV_WRITABLE);
}

static void handle_write(struct watch *w)
{
    w->writing = true;
    redisAsyncHandleWrite(w->ac);
    w->writing = false;
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct watch *w = p->data;
    /* libuv reports a socket's error as a bad file and stops polling; hiredis finds the real one by
     * reading, and asks for events again if there is none. */
    if (status < 0)
        w->events = 0;
    if (w->ac && (status < 0 || (events & UV_READABLE)))
        redisAsyncHandleRead(w->ac);
    if (w->ac && (events & UV_WRITABLE))
        handle_write(w);
}

static void retry_later(struct redis_conn *c, const char *why)
{
    c->failures++;
    tell(c, why);
    uint64_t delay = FIRST_DELAY_MS;
    for (uint32_t i = 1; i < c->failures && delay < c->tuning.max_delay_ms; i++)
        delay *= 2;
    if (delay > c->tuning.max_delay_ms)
        delay = c->tuning.max_delay_ms;
    /* Many connections that broke together should not come back together. Nothing random to be had
     * is no harm. */
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
    c->state = WAITING;
    c->until = uv_now(c->loop) + delay / 2 + random % (delay / 2 + 1);
    if (c->failures > c->tuning.retries)
        give_up_unsent(c, UINT64_MAX, "not connected");
}

static void destroy_if_done(struct redis_conn *c)
{
    if (!c->closing || c->handles > 0 || c->ac || c->looking_up)
        return;
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    redis_address_close(&c->address);
    queue_close(&c->q);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct redis_conn *c = h->data;
    c->handles--;
    destroy_if_done(c);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    struct redis_conn *c = w->conn;
    free(w);
    c->handles--;
    destroy_if_done(c);
}

/* The oldest command is answered, or with NULL: lost. */
static void answer(struct redis_conn *c, void *reply)
{
    if (!reply && c->state == READY)
        c->state = WAITING; /* what its callbacks send now waits for the next connection */
    assert(c->q.sent > 0);
    struct redis_pending p = queue_pop(&c->q);
    c->q.sent--;
    if (c->q.late > 0)
        c->q.late--;
    if (reply && c->told_why[0])
        tell(c, NULL);
    if (p.done)
        p.done(p.ctx, reply, "the connection was lost");
}

/* hiredis gives the socket up, for whatever reason. Before 1.0 it has called back for all commands
 * by now; since then it does so after this, too late for us: on_reply ignores it. */
static void on_gone(void *data)
{
    struct watch *w = data;
    struct redis_conn *c = w->conn;
    const char *why = c->reason[0] ? c->reason : c->ac->err ? c->ac->errstr : "closed";
    bool was_up = c->ready_since != 0;
    w->ac = c->ac = NULL;
    c->watch = NULL;
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
    while (c->q.sent > 0)
        answer(c, NULL);
    if (c->closing)
        return;
    c->q.late = 0;
    uint64_t now = uv_now(c->loop);
    if (was_up && now - c->ready_since >= STEADY_MS) {
        c->failures = 0;
        tell(c, why);
        c->state = WAITING;
        c->until = now;
    } else if (!was_up && c->next_address) {
        /* For connect_next, from the timer: hiredis is not done with this one. */
        c->state = WAITING;
        c->until = now;
    } else {
        retry_later(c, why);
    }
    c->ready_since = 0;
    rearm(c);
}

/* Closes the socket, if there is one, because of why. */
static void drop(struct redis_conn *c, const char *why)
{
    (void)snprintf(c->reason, sizeof c->reason, "%s", why); /* may be cut */
    c->state = WAITING;
    if (c->ac)
        redisAsyncFree(c->ac); /* on_gone follows: now, or when the running callback has returned */
}

/* --- replies --- */

/* hiredis asserts that a reply belongs to a command: a server that says something unasked would end
 * this process. So such a reply is refused before it is made. An error is let through: hiredis
 * takes it as the server's farewell ("max number of clients reached"). */
static bool is_expected(const redisReadTask *t)
{
    struct redis_conn *c = t->privdata;
    if (t->parent || t->type == REDIS_REPLY_ERROR || (c->ac && c->ac->replies.head))
        return true;
    (void)snprintf(c->reason, sizeof c->reason, "the server sent an answer that nobody asked for");
    return false;
}

static void *make_string(const redisReadTask *t, char *text, size_t n)
{
    const struct redis_conn *c = t->privdata;
    return is_expected(t) ? c->plain->createString(t, text, n) : NULL;
}

#if HIREDIS_MAJOR < 1
static void *make_array(const redisReadTask *t, int n)
#else
static void *make_array(const redisReadTask *t, size_t n)
#endif
{
    struct redis_conn *c = t->privdata;
    if (n > MAX_ELEMENTS) {
        (void)snprintf(c->reason, sizeof c->reason,
                       "the server sent an array of more than %d elements", (int)MAX_ELEMENTS);
        return NULL;
    }
    return is_expected(t) ? c->plain->createArray(t, n) : NULL;
}

static void *make_integer(const redisReadTask *t, long long v)
{
    const struct redis_conn *c = t->privdata;
    return is_expected(t) ? c->plain->createInteger(t, v) : NULL;
}

static void *make_nil(const redisReadTask *t)
{
    const struct redis_conn *c = t->privdata;
    return is_expected(t) ? c->plain->createNil(t) : NULL;
}

static void on_reply(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = data;
    if (c->ac)
        answer(c, reply);
}

/* --- handing commands over --- */

static void on_flush(uv_prepare_t *h)
{
    struct redis_conn *c = h->data;
    (void)uv_prepare_stop(h);
    if (c->state != READY)
        return; /* they wait; become_ready comes here again */
    while (c->q.sent < c->q.count) {
        struct redis_pending *p = queue_nth(&c->q, c->q.sent);
        int rc = redisAsyncFormattedCommand(c->ac, on_reply, c,
                                            (const char *)c->q.out.ptr + c->q.out_from, p->bytes);
        if (rc != REDIS_OK)
            return; /* it is about to be closed: they wait for the next connection */
        c->q.out_from += p->bytes;
        c->q.sent++;
    }
    c->q.out.len = c->q.out_from = 0;
    if (c->q.out.cap > KEEP_BYTES)
        wcp_buf_free(&c->q.out);
    if (!(c->watch->events & UV_WRITABLE)) /* else the socket is full */
        handle_write(c->watch);
}

static void become_ready(struct redis_conn *c)
{
    c->state = READY;
    c->ready_since = uv_now(c->loop);
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    c->addresses = c->next_address = NULL;
    tell(c, NULL);
    (void)uv_prepare_start(&c->flush, on_flush);
    rearm(c);
}

void redis_command(struct redis_conn *c, redis_done *done, void *ctx, size_t argc,
                   const struct wcp_bytes *argv)
{
    const char *refusal = NULL;
    if (c->closing || (c->state != READY && c->failures > c->tuning.retries))
        refusal = "not connected";
    else if (c->q.count >= MAX_COMMANDS || c->q.bytes > MAX_BYTES)
        refusal = "too many commands are waiting";
    if (refusal) {
        done(ctx, NULL, refusal);
        return;
    }
    queue_push(&c->q, done, ctx, uv_now(c->loop) + c->tuning.response_ms, argc, argv);
    if (c->q.count == c->q.late + 1)
        rearm(c);
    if (c->state == READY)
        (void)uv_prepare_start(&c->flush, on_flush); /* a no-op when started */
}

/* --- attempts --- */

/* True when the answer is not an error. */
static bool is_accepted(struct redis_conn *c, const redisReply *r, const char *command)
{
    if (!r)
        return false; /* the socket is gone: on_gone knows why */
    if (r->type != REDIS_REPLY_ERROR)
        return true;
    char why[sizeof c->reason];
    (void)snprintf(why, sizeof why, "%s: %s", command, r->str);
    drop(c, why);
    return false;
}

static void on_auth(redisAsyncContext *ac, void *reply, void *data)
{
    (void)is_accepted(data, reply, "AUTH");
}

static void on_select(redisAsyncContext *ac, void *reply, void *data)
{
    (void)is_accepted(data, reply, "SELECT");
}

static void on_ping(redisAsyncContext *ac, void *reply, void *data)
{
    struct redis_conn *c = data;
    const redisReply *r = reply;
    if (c->state != CONNECTING || !is_accepted(c, r, "PING"))
        return;
    if (r->type == REDIS_REPLY_STATUS && strcmp(r->str, "PONG") == 0)
        become_ready(c);
    else
        drop(c, "PING was not answered with PONG: this is no Redis server");
}

static int send_words(redisAsyncContext *ac, redisCallbackFn *fn, void *data, const char *a,
                      const char *b, const char *c)
{
    const char *words[] = {a, b, c};
    size_t lengths[3] = {0};
    int n = 0;
    for (; n < 3 && words[n]; n++)
        lengths[n] = strlen(words[n]);
    return redisAsyncCommandArgv(ac, fn, data, n, words, lengths);
}

/* False: it failed already, c->reason tells why. */
static bool use(struct redis_conn *c, redisAsyncContext *ac)
{
    c->reason[0] = '\0';
    struct watch *w = wcp_calloc(1, sizeof *w);
    if (!ac || ac->err || uv_poll_init(c->loop, &w->poll, ac->c.fd) != 0) {
        (void)snprintf(c->reason, sizeof c->reason, "%s",
                       ac && ac->err ? ac->errstr : "no memory for a connection");
        if (ac)
            redisAsyncFree(ac);
        free(w);
        return false;
    }
    w->conn = c;
    w->ac = c->ac = ac;
    w->poll.data = w;
    c->watch = w;
    c->handles++;
    c->state = CONNECTING;
    c->until = uv_now(c->loop) + c->tuning.connect_ms;
    ac->ev.data = w;
    ac->ev.addRead = add_read;
    ac->ev.delRead = del_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = on_gone;
    c->plain = ac->c.reader->fn;
    c->make = *c->plain;
    c->make.createString = make_string;
    c->make.createArray = make_array;
    c->make.createInteger = make_integer;
    c->make.createNil = make_nil;
    ac->c.reader->fn = &c->make;
    ac->c.reader->privdata = c;

    const struct redis_address *a = &c->address;
    if (!a->path) { /* so that a peer that vanished is noticed without traffic; no harm if refused
                     */
        (void)setsockopt(ac->c.fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
        (void)setsockopt(ac->c.fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){15}, sizeof(int));
        (void)setsockopt(ac->c.fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
        (void)setsockopt(ac->c.fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
    }
    int rc = REDIS_OK;
    if (a->password)
        rc |= a->user ? send_words(ac, on_auth, c, "AUTH", a->user, a->password)
                      : send_words(ac, on_auth, c, "AUTH", a->password, NULL);
    char db[16];
    (void)snprintf(db, sizeof db, "%u", a->db);
    if (a->db)
        rc |= send_words(ac, on_select, c, "SELECT", db, NULL);
    rc |= send_words(ac, on_ping, c, "PING", NULL, NULL);
    assert(rc == REDIS_OK); /* a fresh connection takes commands */
    return true;
}

static void connect_next(struct redis_conn *c)
{
    while (c->next_address) {
        const struct addrinfo *at = c->next_address;
        c->next_address = at->ai_next;
        char host[NI_MAXHOST];
        int rc =
            getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
        if (rc)
            (void)snprintf(c->reason, sizeof c->reason, "address: %s", gai_strerror(rc));
        else if (use(c, redisAsyncConnect(host, c->address.port)))
            return;
    }
    retry_later(c, c->reason);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct redis_conn *c = req->data;
    c->looking_up = false;
    if (c->closing || c->state != RESOLVING) { /* it took too long */
        uv_freeaddrinfo(found);
        destroy_if_done(c);
        return;
    }
    if (status < 0) {
        char why[sizeof c->reason];
        (void)snprintf(why, sizeof why, "lookup of '%s': %s", c->address.host, uv_strerror(status));
        retry_later(c, why);
    } else {
        c->addresses = c->next_address = found;
        connect_next(c);
    }
    rearm(c);
}

static void start_attempt(struct redis_conn *c)
{
    if (c->address.path) {
        if (!use(c, redisAsyncConnectUnix(c->address.path)))
            retry_later(c, c->reason);
        return;
    }
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    c->addresses = c->next_address = NULL;
    c->state = RESOLVING;
    c->until = uv_now(c->loop) + c->tuning.connect_ms;
    if (c->looking_up)
        return; /* still at it since the last attempt, which gave up */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    c->lookup.data = c;
    int rc = uv_getaddrinfo(c->loop, &c->lookup, on_lookup, c->address.host, NULL, &hints);
    c->looking_up = rc == 0;
    if (rc)
        retry_later(c, uv_strerror(rc));
}

static void on_timer(uv_timer_t *t)
{
    struct redis_conn *c = t->data;
    uint64_t now = uv_now(c->loop);
    char why[64];
    if (c->state != READY && now >= c->until) {
        (void)snprintf(why, sizeof why, "not connected within %u ms", c->tuning.connect_ms);
        if (c->state == WAITING && c->next_address)
            connect_next(c);
        else if (c->state == WAITING && !c->ac)
            start_attempt(c);
        else if (c->state == RESOLVING)
            retry_later(c, why);
        else if (c->state == CONNECTING)
            drop(c, why);
    }
    (void)snprintf(why, sizeof why, "no answer within %u ms", c->tuning.response_ms);
    while (c->q.late < c->q.sent && queue_nth(&c->q, c->q.late)->deadline <= now) {
        struct redis_pending p = *queue_nth(&c->q, c->q.late);
        queue_nth(&c->q, c->q.late++)->done = NULL;
        tell(c, why);
        p.done(p.ctx, NULL, why);
    }
    give_up_unsent(c, now, c->state == READY ? why : "not connected");
    if (c->q.late > 0 && now >= queue_nth(&c->q, 0)->deadline + 2 * (uint64_t)c->tuning.response_ms)
        drop(c, why); /* taken for dead: a new connection may reach a living server */
    rearm(c);
}

struct redis_conn *redis_conn_new(struct uv_loop_s *loop, struct redis_address *a,
                                  const struct redis_tuning *t, const struct redis_events *e)
{
    struct redis_conn *c = wcp_calloc(1, sizeof *c);
    c->loop = loop;
    c->address = *a;
    *a = (struct redis_address){0};
    c->tuning = *t;
    c->events = *e;
    (void)uv_timer_init(loop, &c->timer); /* these two cannot fail */
    (void)uv_prepare_init(loop, &c->flush);
    c->timer.data = c->flush.data = c;
    c->handles = 2;
    c->state =
        WAITING; /* the first attempt comes from the timer: state() is never called from here */
    c->until = uv_now(loop);
    rearm(c);
    return c;
}

void redis_conn_free(struct redis_conn *c)
{
    if (!c)
        return;
    c->closing = true;
    for (size_t i = 0; i < c->q.count; i++) {
        struct redis_pending p = *queue_nth(&c->q, i);
        queue_nth(&c->q, i)->done = NULL;
        if (p.done)
            p.done(p.ctx, NULL, "the connection was closed");
    }
    c->q.count = c->q.sent;
    if (c->ac)
        redisAsyncFree(c->ac); /* in one of its callbacks: when that has returned */
    if (c->looking_up)
        (void)uv_cancel(
            (uv_req_t *)&c->lookup); /* or it ends by itself; on_lookup comes either way */
    uv_close((uv_handle_t *)&c->timer, on_closed);
    uv_close((uv_handle_t *)&c->flush, on_closed);
}

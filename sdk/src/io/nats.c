/* nats.c: libnats on the libuv loop, as the transport of the core.
 *
 * libnats reads and writes its socket when our loop says so (poller.c), and hands received messages
 * to synchronous subscriptions. Right after the loop has polled, deliver() takes out all that one
 * read brought, in the order of arrival across subscriptions: a "link deleted" and the "link put"
 * behind it arrive on two. What is published within a turn of the loop leaves in one write.
 *
 * A mark is a message to ourselves. When it is back, the server has handled everything that we sent
 * before it, and all that it had for us by then has arrived. So marks tell when a subscription that
 * is being left has run dry, and when what we published has really gone out, without a thread that
 * waits.
 *
 * The first connect, and one after libnats gave up (it does when it is refused twice), go through
 * probe.c; losing a connection in between is libnats' own business. Its callbacks come on its own
 * threads, and only set bits in signals and wake the loop. */
#include "io/nats.h"
#include "io/poller.h"
#include "io/probe.h"
#include "lattice/xkey.h"
#include <assert.h>
#include <limits.h>
#include <nats/nats.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <wcp/log.h>

/* Exported by libnats (seen in the library 3.4.1, and in the sources 3.8 to 3.13) though not in
 * nats.h: the function is called for each message right after it has been parsed, and may take it.
 * We need it because natsSubscription_NextMsg swallows "503 no responders" without telling whom it
 * was for. */
extern void natsConn_setFilterWithClosure(
    natsConnection *nc, void (*filter)(natsConnection *nc, natsMsg **m, void *ctx), void *ctx);

#define CONNECT_TIMEOUT_MS 1000 /* the server has just answered a probe */
#define BACKOFF_FIRST_MS   50
#define BACKOFF_LAST_MS    2000
#define STABLE_MS          5000  /* a connection that lasted this long was a good one */
#define PING_INTERVAL_MS   20000 /* two without answer: the connection is dead */
#define MARK_TIMEOUT_MS    2000
#define UNWRITTEN_MARK     ((size_t)1 << 20)
#define MARKS              0 /* the number of our own subscription, for the marks */

enum { SIGNAL_DOWN = 1, SIGNAL_UP = 2, SIGNAL_CLOSED = 4, SIGNAL_ERROR = 8 };

struct sub {
    natsSubscription *sub; /* NULL while there is no connection */
    natsMsg *next;         /* taken from libnats, not yet handed over */
    char *subject, *queue; /* subject NULL: this number is free */
    bool leaving;
    uint64_t last_mark; /* of one that is leaving: when this mark is back, nothing more can come */
};

struct arrival {
    natsMsg *msg;
    bool unanswered; /* a 503: ours, no subscription has it */
};

/* Messages that wait for their destruction: so many, or so many bytes of payload. */
#define DEAD_MAX       64
#define DEAD_BYTES_MAX ((size_t)64 << 10)

struct nats_conn {
    struct wcp_transport transport;
    uv_loop_t *loop;
    struct nats_events ev;
    char *user_jwt, *user_seed, *creds_file, *name;
    char nkey[NKEY_PUBLIC_LEN + 1]; /* for a login by seed alone */

    struct servers servers;
    size_t server; /* the one to try, or tried last */
    size_t tried;  /* of servers, since the last pause */
    unsigned pauses;
    struct probe *probe;
    char *why; /* it did not connect, as logged last */

    natsConnection *nc;
    bool up, was_up, closing;
    uint64_t up_ms; /* since when it is up */
    uv_work_t close_work;
    bool closed, told_closed; /* by natsConnection_Close, and by its callback */
    natsInbox *inbox;
    char *mark_subject;
    uint64_t mark_sent, mark_back, flush_mark;
    void (*flushed)(void *ctx, bool flushed); /* NULL: no flush is under way */
    void *flushed_ctx;
    bool saw_unwritten;
    uint64_t dropped, dropped_told_ms; /* published while that was impossible; last log line */

    struct sub *subs;
    size_t sub_count, last;
    struct arrival *order; /* of this turn */
    size_t order_len, order_cap;

    natsMsg *dead[DEAD_MAX];
    size_t dead_len, dead_bytes;

    uv_check_t check;
    uv_async_t wake;
    uv_timer_t retry, mark_timer, flush_timer;
    unsigned open_handles;
    atomic_uint signals;
};

static void try_server(struct nats_conn *n);
static void settle(struct nats_conn *n);

/* --- libnats' threads --- */

static void signal_loop(struct nats_conn *n, unsigned bit)
{
    atomic_fetch_or(&n->signals, bit);
    uv_async_send(&n->wake);
}

static void on_disconnected(natsConnection *nc, void *ctx)
{
    signal_loop(ctx, SIGNAL_DOWN);
}

static void on_reconnected(natsConnection *nc, void *ctx)
{
    signal_loop(ctx, SIGNAL_UP);
}

static void on_closed(natsConnection *nc, void *ctx)
{
    signal_loop(ctx, SIGNAL_CLOSED);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *ctx)
{
    signal_loop(ctx, SIGNAL_ERROR);
}

/* The event loop that libnats sees. It calls these from any thread, holding the connection's lock,
 * and attach for the first time within natsConnection_Connect, which we call on the loop's thread.
 */
static void on_ready(void *ctx, bool readable, bool writable)
{
    natsConnection *nc = ctx;
    if (readable)
        natsConnection_ProcessReadEvent(nc);
    if (writable)
        natsConnection_ProcessWriteEvent(nc);
}

static natsStatus attach(void **poller, void *loop, natsConnection *nc, natsSock socket)
{
    struct poller *p = *poller ? *poller : poller_new(loop, on_ready, nc);
    if (poller_watch(p, socket)) { /* no descriptor is left */
        if (!*poller)
            poller_close(p);
        return NATS_ERR;
    }
    *poller = p;
    return NATS_OK;
}

static natsStatus want_read(void *poller, bool wanted)
{
    poller_want(poller, false, wanted);
    return NATS_OK;
}

static natsStatus want_write(void *poller, bool wanted)
{
    poller_want(poller, true, wanted);
    return NATS_OK;
}

static natsStatus detach(void *poller)
{
    poller_close(poller);
    return NATS_OK;
}

/* 50 ms, 100 ms ... 2 s, each with up to half of it on top so that a lattice full of providers does
 * not come back as one. The clock is random enough for that. */
static int64_t backoff_ms(unsigned attempts)
{
    int64_t ms = BACKOFF_FIRST_MS << (attempts < 6 ? attempts : 6);
    ms = ms < BACKOFF_LAST_MS ? ms : BACKOFF_LAST_MS;
    return ms + (int64_t)(uv_hrtime() >> 7) % (ms / 2);
}

static int64_t reconnect_delay(natsConnection *nc, int attempts, void *ctx)
{
    return backoff_ms(attempts > 0 ? (unsigned)attempts - 1 : 0);
}

static natsStatus give_jwt(char **jwt, char **err, void *ctx)
{
    const struct nats_conn *n = ctx;
    *jwt = strdup(n->user_jwt);
    return *jwt ? NATS_OK : NATS_NO_MEMORY;
}

static natsStatus sign_nonce(char **err, unsigned char **sig, int *len, const char *nonce,
                             void *ctx)
{
    const struct nats_conn *n = ctx;
    return nats_Sign(n->user_seed, nonce, sig, len);
}

/* --- sending --- */

static struct nats_conn *of(struct wcp_transport *t)
{
    return (struct nats_conn *)t;
}

static void cannot_publish(struct nats_conn *n, const char *subject, const char *why)
{
    char count[24];
    uint64_t ms = uv_now(n->loop);
    if (n->dropped++ && ms - n->dropped_told_ms < 1000)
        return; /* a line per second is enough */
    n->dropped_told_ms = ms;
    snprintf(count, sizeof count, "%llu", (unsigned long long)n->dropped);
    wcp_log(WCP_WARN, "nats: cannot publish", "subject", subject, "why", why, "dropped", count,
            NULL);
}

static natsStatus publish_with_headers(struct nats_conn *n, const struct wcp_msg *m)
{
    natsMsg *out = NULL;
    natsStatus s =
        natsMsg_Create(&out, m->subject, m->reply, (const char *)m->data.ptr, (int)m->data.len);
    for (size_t i = 0; !s && i < m->header_count; i++)
        s = natsMsgHeader_Add(out, m->headers[i].name, m->headers[i].value);
    if (!s)
        s = natsConnection_PublishMsg(n->nc, out);
    natsMsg_Destroy(out);
    return s;
}

static void publish(struct wcp_transport *t, const struct wcp_msg *m)
{
    struct nats_conn *n = of(t);
    natsStatus s;
    if (!n->nc)
        s = NATS_CONNECTION_DISCONNECTED;
    else if (m->data.len > INT_MAX)
        s = NATS_MAX_PAYLOAD;
    else if (m->header_count)
        s = publish_with_headers(n, m);
    else if (m->reply)
        s = natsConnection_PublishRequest(n->nc, m->subject, m->reply, m->data.ptr,
                                          (int)m->data.len);
    else
        s = natsConnection_Publish(n->nc, m->subject, m->data.ptr, (int)m->data.len);
    if (s)
        cannot_publish(n, m->subject, natsStatus_GetText(s));
}

static size_t buffered(struct wcp_transport *t)
{
    struct nats_conn *n = of(t);
    int bytes = n->up ? natsConnection_Buffered(n->nc) : 0;
    if (bytes >= (int)UNWRITTEN_MARK && !n->saw_unwritten) {
        n->saw_unwritten = true;
        /* The poller may write all of it at the end of this turn: settle() must run once more
         * before the loop waits, since nothing else might come. */
        (void)uv_async_send(&n->wake);
    }
    return bytes > 0 ? (size_t)bytes : 0;
}

static uint64_t now(struct wcp_transport *t)
{
    return uv_now(of(t)->loop);
}

static void destroy_dead(struct nats_conn *n)
{
    for (size_t i = 0; i < n->dead_len; i++)
        natsMsg_Destroy(n->dead[i]);
    n->dead_len = n->dead_bytes = 0;
}

/* natsMsg_Destroy hands the message to a thread of libnats and wakes it, which costs more than all
 * else about a small message: so they are handed over in batches. */
static void bury(struct nats_conn *n, natsMsg *msg)
{
    if (!msg)
        return;
    n->dead[n->dead_len++] = msg;
    n->dead_bytes += (size_t)natsMsg_GetDataLength(msg);
    if (n->dead_len == DEAD_MAX || n->dead_bytes > DEAD_BYTES_MAX)
        destroy_dead(n);
}

static void release(struct wcp_transport *t, void *owner)
{
    bury(of(t), owner);
}

/* --- marks --- */

static void on_mark_timeout(uv_timer_t *t)
{
    struct nats_conn *n = t->data;
    wcp_log(WCP_WARN,
            "nats: a message to ourselves is not back in 2 s; may this user publish and "
            "subscribe _INBOX.>?",
            "subject", n->mark_subject, NULL);
    n->mark_back = n->mark_sent;
    settle(n);
}

static uint64_t send_mark(struct nats_conn *n)
{
    char number[24];
    int len = snprintf(number, sizeof number, "%llu", (unsigned long long)++n->mark_sent);
    publish(&n->transport, &(struct wcp_msg){.subject = n->mark_subject,
                                             .data = {(const uint8_t *)number, (size_t)len}});
    uv_timer_start(&n->mark_timer, on_mark_timeout, MARK_TIMEOUT_MS, 0);
    return n->mark_sent;
}

static void mark_came_back(struct nats_conn *n, struct wcp_bytes number)
{
    char text[24] = "";
    memcpy(text, number.ptr, number.len < sizeof text - 1 ? number.len : sizeof text - 1);
    uint64_t mark = strtoull(text, NULL, 10);
    if (mark > n->mark_back && mark <= n->mark_sent) /* who knows our inbox could write anything */
        n->mark_back = mark;
    if (n->mark_back == n->mark_sent)
        uv_timer_stop(&n->mark_timer);
}

static void end_flush(struct nats_conn *n, bool flushed)
{
    void (*done)(void *ctx, bool flushed) = n->flushed;
    n->flushed = NULL;
    uv_timer_stop(&n->flush_timer);
    if (done)
        done(n->flushed_ctx, flushed);
}

static void on_flush_timeout(uv_timer_t *t)
{
    end_flush(t->data, false);
}

void nats_conn_flush(struct nats_conn *n, uint32_t limit_ms, void (*done)(void *ctx, bool flushed),
                     void *ctx)
{
    n->flushed = done;
    n->flushed_ctx = ctx;
    n->flush_mark = n->up ? send_mark(n) : UINT64_MAX; /* sent when the connection is back */
    uv_timer_start(&n->flush_timer, on_flush_timeout, limit_ms, 0);
}

/* --- subscriptions --- */

static void end_sub(struct sub *s)
{
    natsMsg_Destroy(s->next);
    natsSubscription_Destroy(s->sub);
    s->next = NULL;
    s->sub = NULL;
}

static void make_sub(struct nats_conn *n, struct sub *s)
{
    natsStatus status =
        s->queue ? natsConnection_QueueSubscribeSync(&s->sub, n->nc, s->subject, s->queue)
                 : natsConnection_SubscribeSync(&s->sub, n->nc, s->subject);
    /* Each turn takes everything out that it read, so the socket is the limit. */
    if (!status)
        status = natsSubscription_SetPendingLimits(s->sub, -1, -1);
    if (status)
        wcp_log(WCP_ERROR, "nats: cannot subscribe", "subject", s->subject, "why",
                natsStatus_GetText(status), NULL);
}

static int subscribe(struct wcp_transport *t, const char *subject, const char *queue)
{
    struct nats_conn *n = of(t);
    size_t i = 0;
    while (i < n->sub_count && n->subs[i].subject)
        i++;
    if (i == n->sub_count) {
        assert(i < INT_MAX);
        n->subs = wcp_realloc(n->subs, ++n->sub_count * sizeof *n->subs);
    }
    n->subs[i] = (struct sub){.subject = wcp_str_dup(wcp_str(subject)),
                              .queue = queue ? wcp_str_dup(wcp_str(queue)) : NULL};
    if (n->nc)
        make_sub(n, &n->subs[i]);
    return (int)i;
}

static void leave(struct wcp_transport *t, int sub)
{
    struct nats_conn *n = of(t);
    struct sub *s = &n->subs[sub];
    assert(sub > MARKS && (size_t)sub < n->sub_count && s->subject);
    if (s->leaving)
        return;
    s->leaving = true;
    if (n->up && s->sub) {
        /* Tells the server, and keeps what arrives until it knows. libnats does that waiting on a
         * thread of its own; ours is the mark. */
        (void)natsSubscription_Drain(s->sub); /* fails only when the connection is gone */
        s->last_mark = send_mark(n);
    }
    uv_async_send(&n->wake); /* without a connection it has left already */
}

/* --- receiving --- */

/* libnats has parsed a message; it goes on to its subscription unless we set *m to NULL. On the
 * loop's thread, within the poll. */
static void on_arrival(natsConnection *nc, natsMsg **m, void *ctx)
{
    struct nats_conn *n = ctx;
    if (n->order_len == n->order_cap) {
        n->order_cap = n->order_cap ? 2 * n->order_cap : 64;
        n->order = wcp_realloc(n->order, n->order_cap * sizeof *n->order);
    }
    bool unanswered = natsMsg_IsNoResponders(*m);
    n->order[n->order_len++] = (struct arrival){*m, unanswered};
    if (unanswered)
        *m = NULL;
}

static const char *header(const struct wcp_msg *m, const char *name)
{
    const char *value = NULL;
    return m->owner && natsMsgHeader_Get(m->owner, name, &value) == NATS_OK ? value : NULL;
}

static void hand_over(struct nats_conn *n, size_t i, natsMsg *msg)
{
    struct wcp_msg m = {
        .subject = natsMsg_GetSubject(msg),
        .reply = natsMsg_GetReply(msg),
        .data = {(const uint8_t *)natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg)},
        .header = header,
        .owner = msg,
    };
    if (i == MARKS) {
        mark_came_back(n, m.data);
    } else {
        /* Status messages are empty; libnats shows the status as if it were a header. */
        const char *status = m.data.len ? NULL : header(&m, "Status");
        m.status = status ? atoi(status) : 0;
        if (n->ev.message)
            n->ev.message(n->ev.ctx, (int)i, &m);
    }
    bury(n, m.owner); /* unless it was moved out */
}

/* Makes s->next the oldest message of s. */
static void take(struct nats_conn *n, size_t i)
{
    struct sub *s = &n->subs[i];
    int waiting = 0;
    /* Asked first because NextMsg makes an error text each time when there is none. */
    if (!s->sub || natsSubscription_GetPending(s->sub, &waiting, NULL) || !waiting)
        return;
    natsStatus status = natsSubscription_NextMsg(&s->next, s->sub, 0);
    if (status == NATS_SLOW_CONSUMER) { /* told once, the messages are still there */
        if (n->ev.lost && i != MARKS)
            n->ev.lost(n->ev.ctx, (int)i);
        s = &n->subs[i];
        status = natsSubscription_NextMsg(&s->next, s->sub, 0);
    }
    if (status)
        s->next = NULL;
}

/* The number of the subscription that msg came on; sub_count: none has it. */
static size_t sub_of(struct nats_conn *n, const natsMsg *msg)
{
    if (n->subs[n->last].next == msg)
        return n->last;
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].next == msg)
            return i;
    for (size_t i = 0; i < n->sub_count; i++) {
        if (!n->subs[i].next)
            take(n, i);
        if (n->subs[i].next == msg)
            return i;
    }
    return n->sub_count;
}

/* NATS wildcards: "*" is one token, ">" is all the rest. */
static bool subject_matches(const char *pattern, const char *subject)
{
    for (;;) {
        size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");
        if (pattern[0] == '>' && p == 1)
            return true;
        if (!(pattern[0] == '*' && p == 1) && (p != s || memcmp(pattern, subject, p) != 0))
            return false;
        if (!pattern[p] || !subject[s])
            return !pattern[p] && !subject[s];
        pattern += p + 1;
        subject += s + 1;
    }
}

static void hand_over_unanswered(struct nats_conn *n, natsMsg *msg)
{
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].subject && subject_matches(n->subs[i].subject, natsMsg_GetSubject(msg))) {
            hand_over(n, i, msg);
            return;
        }
    natsMsg_Destroy(msg); /* its subscription has just been left */
}

static void deliver(struct nats_conn *n)
{
    for (size_t k = 0; k < n->order_len && !n->closing; k++) {
        struct arrival a = n->order[k];
        n->order[k] = (struct arrival){0};
        if (a.unanswered) {
            hand_over_unanswered(n, a.msg);
            continue;
        }
        size_t i = sub_of(n, a.msg);
        if (i == n->sub_count)
            continue; /* it came for a subscription that was ended in the meantime */
        n->last = i;
        n->subs[i].next = NULL;
        take(n, i);
        hand_over(n, i, a.msg);
    }
    if (!n->closing)
        n->order_len = 0;
}

/* Tells what has come to pass without a message: subscriptions that are dry, a flush that is done,
 * room to write. */
static void settle(struct nats_conn *n)
{
    for (size_t i = 1; i < n->sub_count && !n->closing; i++) {
        struct sub *s = &n->subs[i];
        if (!s->leaving || (n->up && s->sub && s->last_mark > n->mark_back))
            continue;
        end_sub(s);
        free(s->subject);
        free(s->queue);
        *s = (struct sub){0};
        if (n->ev.left)
            n->ev.left(n->ev.ctx, (int)i);
    }
    if (n->closing)
        return;
    if (n->flushed && n->up && n->flush_mark <= n->mark_back)
        end_flush(n, true);
    if (n->saw_unwritten && n->up && natsConnection_Buffered(n->nc) < (int)UNWRITTEN_MARK) {
        n->saw_unwritten = false;
        if (n->ev.writable)
            n->ev.writable(n->ev.ctx);
    }
}

static void on_check(uv_check_t *c)
{
    struct nats_conn *n = c->data;
    if (n->order_len)
        deliver(n);
    settle(n);
}

/* --- connecting --- */

static void came_up(struct nats_conn *n)
{
    char url[256] = "";
    (void)natsConnection_GetConnectedUrl(n->nc, url, sizeof url); /* for the log only */
    const char *at = strrchr(url, '@'), *scheme = strstr(url, "://");
    const char *name = at ? at + 1 : scheme ? scheme + 3 : url;
    n->up = true;
    n->up_ms = uv_now(n->loop);
    free(n->why);
    n->why = NULL;
    n->transport.max_payload = (size_t)natsConnection_GetMaxPayload(n->nc);
    wcp_log(WCP_INFO, n->was_up ? "nats: connected again" : "nats: connected", "server", name,
            NULL);
    if (n->flushed)
        n->flush_mark = send_mark(n);
    void (*tell)(void *ctx) = n->was_up ? n->ev.reconnected : n->ev.connected;
    n->was_up = true;
    if (tell)
        tell(n->ev.ctx);
}

static void went_down(struct nats_conn *n, const char *why)
{
    deliver(n); /* what came before that */
    wcp_log(WCP_WARN, "nats: connection lost, connecting again", "why", why, NULL);
    n->up = false;
    if (uv_now(n->loop) - n->up_ms >= STABLE_MS)
        n->pauses = 0;
    n->flush_mark = UINT64_MAX;
    n->mark_back = n->mark_sent; /* nothing is on its way any more */
    uv_timer_stop(&n->mark_timer);
    if (n->ev.disconnected)
        n->ev.disconnected(n->ev.ctx);
}

static void drop_connection(struct nats_conn *n)
{
    for (size_t i = 0; i < n->sub_count; i++)
        end_sub(&n->subs[i]);
    for (size_t k = 0; k < n->order_len; k++)
        if (n->order[k].unanswered)
            natsMsg_Destroy(n->order[k].msg);
    n->order_len = 0;
    natsConnection_Destroy(n->nc);
    n->nc = NULL;
}

/* libnats' last error, without the place in its source that it starts with. */
static const char *error_text(natsStatus s)
{
    const char *text = nats_GetLastError(NULL), *place;
    if (!text || !*text)
        return natsStatus_GetText(s);
    return *text == '(' && (place = strstr(text, "): ")) ? place + 3 : text;
}

static natsStatus set_login(struct nats_conn *n, natsOptions *o)
{
    if (n->creds_file)
        return natsOptions_SetUserCredentialsFromFiles(o, n->creds_file, NULL);
    if (n->user_jwt)
        return natsOptions_SetUserCredentialsCallbacks(o, give_jwt, n, sign_nonce, n);
    if (n->user_seed)
        return natsOptions_SetNKey(o, n->nkey, sign_nonce, n);
    return NATS_OK; /* what the URL says */
}

static natsStatus connect_now(struct nats_conn *n)
{
    natsOptions *o = NULL;
    bool tls = false;
    const char **urls = wcp_calloc(n->servers.n, sizeof *urls);
    for (size_t i = 0; i < n->servers.n; i++) { /* first the one that answered */
        struct server *s = &n->servers.at[(n->server + i) % n->servers.n];
        urls[i] = s->url;
        tls |= s->tls;
    }
    natsStatus s = natsOptions_Create(&o);
    s = s ? s : natsOptions_SetServers(o, urls, (int)n->servers.n);
    s = s ? s : natsOptions_SetNoRandomize(o, true);
    s = s ? s : natsOptions_SetTimeout(o, CONNECT_TIMEOUT_MS);
    s = s ? s : natsOptions_SetSendAsap(o, true);
    s = s ? s : natsOptions_SetPingInterval(o, PING_INTERVAL_MS);
    s = s ? s : natsOptions_SetMaxPingsOut(o, 2);
    s = s ? s : natsOptions_SetMaxReconnect(o, -1);
    s = s ? s : natsOptions_SetCustomReconnectDelay(o, reconnect_delay, n);
    s = s ? s : natsOptions_SetDisconnectedCB(o, on_disconnected, n);
    s = s ? s : natsOptions_SetReconnectedCB(o, on_reconnected, n);
    s = s ? s : natsOptions_SetClosedCB(o, on_closed, n);
    s = s ? s : natsOptions_SetErrorHandler(o, on_error, n);
    s = s ? s : natsOptions_SetEventLoop(o, n->loop, attach, want_read, want_write, detach);
    if (!s && tls)
        s = natsOptions_SetSecure(o, true);
    if (!s && n->name)
        s = natsOptions_SetName(o, n->name);
    s = s ? s : set_login(n, o);
    s = s ? s : natsConnection_Connect(&n->nc, o);
    natsOptions_Destroy(o);
    free(urls);
    if (s)
        return s;
    natsConn_setFilterWithClosure(n->nc, on_arrival, n);
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].subject && !n->subs[i].leaving)
            make_sub(n, &n->subs[i]);
    return NATS_OK;
}

static void on_retry(uv_timer_t *t)
{
    try_server(t->data);
}

static void server_failed(struct nats_conn *n, const char *why)
{
    const char *name = n->servers.at[n->server].name;
    struct wcp_arena a = {0};
    struct wcp_str line = wcp_fmt(&a, "%s: %s", name, why);
    if (!n->why || strcmp(n->why, line.ptr) != 0) { /* a line per change, not per try */
        wcp_log(WCP_WARN, "nats: no connection, trying on", "server", name, "why", why, NULL);
        free(n->why);
        n->why = wcp_str_dup(line);
    }
    wcp_arena_free(&a);
    n->server = (n->server + 1) % n->servers.n;
    if (++n->tried < n->servers.n) {
        try_server(n);
        return;
    }
    n->tried = 0;
    uv_timer_start(&n->retry, on_retry, (uint64_t)backoff_ms(n->pauses++), 0);
}

static void on_probed(void *ctx, const char *why)
{
    struct nats_conn *n = ctx;
    n->probe = NULL;
    if (why) {
        server_failed(n, why);
        return;
    }
    natsStatus s = connect_now(n);
    if (s) {
        server_failed(n, error_text(s));
        return;
    }
    n->tried = 0;
    came_up(n);
}

static void try_server(struct nats_conn *n)
{
    n->probe = probe_start(n->loop, &n->servers.at[n->server], on_probed, n);
}

/* --- ending --- */

static void on_handle_closed(uv_handle_t *h)
{
    struct nats_conn *n = h->data;
    if (--n->open_handles)
        return;
    for (size_t i = 0; i < n->sub_count; i++) {
        free(n->subs[i].subject);
        free(n->subs[i].queue);
    }
    free(n->subs);
    free(n->order);
    servers_free(&n->servers);
    if (n->user_seed)
        explicit_bzero(n->user_seed, strlen(n->user_seed));
    free(n->user_jwt);
    free(n->user_seed);
    free(n->creds_file);
    free(n->name);
    free(n->why);
    free(n->mark_subject);
    natsInbox_Destroy(n->inbox);
    free(n);
}

static void close_handles(struct nats_conn *n)
{
    destroy_dead(n);
    drop_connection(n);
    uv_close((uv_handle_t *)&n->check, on_handle_closed);
    uv_close((uv_handle_t *)&n->wake, on_handle_closed);
    uv_close((uv_handle_t *)&n->retry, on_handle_closed);
    uv_close((uv_handle_t *)&n->mark_timer, on_handle_closed);
    uv_close((uv_handle_t *)&n->flush_timer, on_handle_closed);
}

/* natsConnection_Close waits for an answer of the server that this thread would have to read. */
static void close_apart(uv_work_t *w)
{
    natsConnection_Close(((struct nats_conn *)w->data)->nc);
}

static void on_closed_apart(uv_work_t *w, int status)
{
    struct nats_conn *n = w->data;
    n->closed = true;
    if (n->told_closed)
        close_handles(n);
}

void nats_conn_close(struct nats_conn *n)
{
    if (!n || n->closing)
        return;
    n->closing = true;
    if (n->probe)
        probe_cancel(n->probe);
    uv_timer_stop(&n->retry);
    uv_timer_stop(&n->mark_timer);
    uv_timer_stop(&n->flush_timer);
    if (!n->nc) {
        close_handles(n);
        return;
    }
    /* libnats' closed callback is its last one; until it has come, n->wake must stay. */
    n->close_work.data = n;
    (void)uv_queue_work(n->loop, &n->close_work, close_apart, on_closed_apart); /* cannot fail */
}

static void on_wake(uv_async_t *w)
{
    struct nats_conn *n = w->data;
    unsigned signals = atomic_exchange(&n->signals, 0);
    const char *error = NULL;
    if (n->closing) {
        if (signals & SIGNAL_CLOSED && !n->told_closed) {
            n->told_closed = true;
            if (n->closed)
                close_handles(n);
        }
        return;
    }
    if (!signals || !n->nc)
        return;
    (void)natsConnection_GetLastError(n->nc, &error); /* the text is what we want */
    error = error && *error ? error : "the server is gone";
    if (signals & SIGNAL_ERROR)
        wcp_log(WCP_WARN, "nats: error from the server", "why", error, NULL);
    if (!(signals & (SIGNAL_DOWN | SIGNAL_UP | SIGNAL_CLOSED)))
        return;
    if (n->up)
        went_down(n, error);
    if (natsConnection_IsClosed(n->nc)) {
        drop_connection(n);
        /* Not at once: the server may throw us out each time, as it does for too many
         * subscriptions. */
        uv_timer_start(&n->retry, on_retry, (uint64_t)backoff_ms(n->pauses++), 0);
    } else if (natsConnection_Status(n->nc) == NATS_CONN_STATUS_CONNECTED) {
        came_up(n);
    }
}

/* --- starting --- */

static char *copy(const char *text)
{
    return text && *text ? wcp_str_dup(wcp_str(text)) : NULL;
}

static int check_login(struct nats_conn *n, struct wcp_err *err)
{
    uint8_t seed[32], public[32], secret[64];
    if (n->creds_file) {
        if (access(n->creds_file, R_OK) != 0)
            return wcp_fail(err, WCP_EINVAL, "NATS credentials %s: %s", n->creds_file,
                            strerror(errno));
        return 0;
    }
    if (n->user_jwt && !n->user_seed)
        return wcp_fail(err, WCP_EINVAL, "NATS login: a user JWT found without its seed");
    if (!n->user_seed)
        return 0;
    int rc = nkey_decode_seed(n->user_seed, NKEY_USER, seed, err);
    if (rc)
        return wcp_wrap(err, "NATS login: user seed");
    crypto_sign_seed_keypair(public, secret, seed);
    nkey_encode_public(NKEY_USER, public, n->nkey);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(secret, sizeof secret);
    return 0;
}

struct nats_conn *nats_conn_new(uv_loop_t *loop, const struct nats_config *c,
                                const struct nats_events *ev, struct wcp_err *err)
{
    struct wcp_err local = {0};
    struct wcp_arena a = {0};
    struct nats_conn *n = wcp_calloc(1, sizeof *n);
    err = err ? err : &local;
    *n = (struct nats_conn){
        .transport = {publish, subscribe, leave, release, buffered, now, 1 << 20, NULL},
        .loop = loop,
        .ev = *ev,
        .user_jwt = copy(c->user_jwt),
        .user_seed = copy(c->user_seed),
        .creds_file = copy(c->creds_file),
        .name = copy(c->name),
    };
    if (servers_parse(c->urls ? c->urls : "", &n->servers, err) || check_login(n, err)) {
        n->open_handles = 1;
        on_handle_closed(&(uv_handle_t){.data = n});
        return NULL;
    }
    n->server = (size_t)(uv_hrtime() >> 7) % n->servers.n; /* spreads providers over a cluster */
    natsStatus s = natsInbox_Create(&n->inbox);
    assert(s == NATS_OK); /* it needs no more than memory */
    n->transport.inbox = n->inbox;
    n->mark_subject = wcp_str_dup(wcp_fmt(&a, "%s-mark", n->inbox));
    wcp_arena_free(&a);
    uv_check_init(loop, &n->check);
    uv_async_init(loop, &n->wake, on_wake);
    uv_timer_init(loop, &n->retry);
    uv_timer_init(loop, &n->mark_timer);
    uv_timer_init(loop, &n->flush_timer);
    n->open_handles = 5;
    n->check.data = n->wake.data = n->retry.data = n->mark_timer.data = n->flush_timer.data = n;
    uv_check_start(&n->check, on_check);
    int marks = subscribe(&n->transport, n->mark_subject, NULL);
    assert(marks == MARKS);
    try_server(n);
    return n;
}

struct wcp_transport *nats_conn_transport(struct nats_conn *n)
{
    return &n->transport;
}

bool nats_conn_is_up(const struct nats_conn *n)
{
    return n->up;
}

void nats_conn_cleanup(void)
{
    (void)nats_CloseAndWait(2000); /* on a time-out there is nothing left to do */
}

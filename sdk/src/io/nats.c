/* nats.c: libnats on the libuv loop: connecting, staying connected, ending. What is sent and
 * received is nats_messages.c.
 *
 * libnats reads and writes its socket when our loop says so (poller.c).
 *
 * The first connect, and one after libnats gave up (it does when it is refused twice), go through
 * probe.c; losing a connection in between is libnats' own business. Its callbacks come on its own
 * threads, and only set bits in signals and wake the loop. */
#include "io/nats_conn.h"
#include "io/poller.h"
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
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

enum { SIGNAL_DOWN = 1, SIGNAL_UP = 2, SIGNAL_CLOSED = 4, SIGNAL_ERROR = 8 };

static void try_server(struct nats_conn *n);

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
        n->flush_mark = messages_send_mark(n);
    n->stats.reconnects += n->was_up;
    void (*tell)(void *ctx) = n->was_up ? n->ev.reconnected : n->ev.connected;
    n->was_up = true;
    if (tell)
        tell(n->ev.ctx);
}

static void went_down(struct nats_conn *n, const char *why)
{
    messages_deliver(n); /* what came before that */
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
        messages_end_sub(&n->subs[i]);
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
    natsConn_setFilterWithClosure(n->nc, messages_on_arrival, n);
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].subject && !n->subs[i].leaving)
            messages_make_sub(n, &n->subs[i]);
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

static void on_probed(void *ctx, const char *why, const char *greeting)
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
    messages_destroy_dead(n);
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
        .transport = messages_transport,
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
    uv_check_start(&n->check, messages_on_check);
    int marks = n->transport.subscribe(&n->transport, n->mark_subject, NULL);
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

struct nats_stats nats_conn_stats(const struct nats_conn *n)
{
    return n->stats;
}

void nats_conn_cleanup(void)
{
    (void)nats_CloseAndWait(2000); /* on a time-out there is nothing left to do */
}

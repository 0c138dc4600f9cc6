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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
#define RECHECK_MS         1000  /* while libnats connects again: for files that have changed */

enum { SIGNAL_DOWN = 1, SIGNAL_UP = 2, SIGNAL_CLOSED = 4, SIGNAL_ERROR = 8 };

static void try_server(struct nats_conn *n);
static void on_recheck(uv_timer_t *t);

/* libnats' last error on this thread, without the place in its source that it starts with. */
static const char *error_text(natsStatus s)
{
    const char *text = nats_GetLastError(NULL), *place;
    if (!text || !*text)
        return natsStatus_GetText(s);
    return *text == '(' && (place = strstr(text, "): ")) ? place + 3 : text;
}

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
    struct nats_conn *n = ctx;
    const char *text = error_text(s);
    uv_mutex_lock(&n->errors_lock);
    if (n->errors.n < ERRORS_MAX)
        (void)snprintf(n->errors.text[n->errors.n], sizeof *n->errors.text, "%s", text);
    n->errors.n++;
    uv_mutex_unlock(&n->errors_lock);
    signal_loop(n, SIGNAL_ERROR);
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

/* --- connecting --- */

static void came_up(struct nats_conn *n)
{
    char url[256] = "";
    (void)natsConnection_GetConnectedUrl(n->nc, url, sizeof url); /* for the log only */
    const char *at = strrchr(url, '@'), *scheme = strstr(url, "://");
    const char *name = at ? at + 1 : scheme ? scheme + 3 : url;
    n->up = true;
    n->up_ms = uv_now(n->loop);
    uv_timer_stop(&n->recheck);
    free(n->why);
    n->why = NULL;
    n->transport.max_payload = (size_t)natsConnection_GetMaxPayload(n->nc);
    wcp_log(WCP_INFO, n->was_up ? "nats: connected again" : "nats: connected", "server", name,
            NULL);
    if (n->flushed)
        n->flush_mark = messages_send_mark(n);
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
    if (n->login.stamp) /* at once, too: the files may have changed long ago */
        uv_timer_start(&n->recheck, on_recheck, 0, RECHECK_MS);
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

static bool is_refusal(const char *why)
{
    return strcasestr(why, "authorization") || strcasestr(why, "authentication");
}

/* WCP_EAUTH: the server does not let us in. */
static int connect_now(struct nats_conn *n, struct wcp_err *err)
{
    natsOptions *o = NULL;
    struct wcp_arena a = {0};
    bool tls = n->server_wants_tls;
    int rc = 0;
    const char **urls = wcp_alloc(&a, n->servers.n, sizeof *urls);
    for (size_t i = 0; i < n->servers.n; i++) { /* first the one that answered */
        struct server *s = &n->servers.at[(n->server + i) % n->servers.n];
        urls[i] = login_replaces_url(&n->login)
                      ? wcp_fmt(&a, "%s://%s", s->tls ? "tls" : "nats", s->name).ptr
                      : s->url;
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
    if (!s && n->name)
        s = natsOptions_SetName(o, n->name);
    if (!s)
        rc = login_set(&n->login, o, tls, err);
    if (!s && !rc)
        s = natsConnection_Connect(&n->nc, o);
    if (s) {
        const char *why = error_text(s);
        rc = wcp_fail(err, is_refusal(why) ? WCP_EAUTH : WCP_EIO, "%s", why);
    }
    natsOptions_Destroy(o);
    wcp_arena_free(&a);
    if (rc)
        return rc;
    n->told_closed = false;
    natsConn_setFilterWithClosure(n->nc, messages_on_arrival, n);
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].subject && !n->subs[i].leaving)
            messages_make_sub(n, &n->subs[i]);
    return 0;
}

static void on_retry(uv_timer_t *t)
{
    try_server(t->data);
}

static void server_failed(struct nats_conn *n, const char *why, bool refused)
{
    const struct server *s = &n->servers.at[n->server];
    struct wcp_arena a = {0};
    struct wcp_str login = login_name(&n->login, s, &a);
    struct wcp_str line = wcp_fmt(&a, "%s: %s: %s", s->name, why, refused ? login.ptr : "");
    if (!n->why || strcmp(n->why, line.ptr) != 0) { /* a line per change, not per try */
        if (refused)
            wcp_log(WCP_ERROR, "nats: the server refuses the login, trying on", "server", s->name,
                    "why", why, "login", login.ptr, NULL);
        else
            wcp_log(WCP_WARN, "nats: no connection, trying on", "server", s->name, "why", why,
                    NULL);
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
        server_failed(n, why, false);
        return;
    }
    struct wcp_err err = {0};
    n->server_wants_tls = strstr(greeting, "\"tls_required\":true") != NULL;
    int rc = connect_now(n, &err);
    if (rc) {
        server_failed(n, err.msg, rc == WCP_EAUTH);
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
    login_free(&n->login);
    uv_mutex_destroy(&n->errors_lock);
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
    uv_close((uv_handle_t *)&n->recheck, on_handle_closed);
}

static void close_when_done(struct nats_conn *n)
{
    if (n->closed && n->told_closed && !n->giving_up)
        close_handles(n);
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
    close_when_done(n);
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
    uv_timer_stop(&n->recheck);
    if (!n->nc) {
        close_handles(n);
        return;
    }
    /* libnats' closed callback is its last one; until it has come, n->wake must stay. */
    n->close_work.data = n;
    (void)uv_queue_work(n->loop, &n->close_work, close_apart, on_closed_apart); /* cannot fail */
}

/* --- what libnats tells --- */

static void give_up_apart(uv_work_t *w)
{
    natsConnection_Close(((struct nats_conn *)w->data)->nc);
}

static void on_given_up(uv_work_t *w, int status)
{
    struct nats_conn *n = w->data;
    n->giving_up = false;
    if (n->closing)
        close_when_done(n);
    else
        signal_loop(n, SIGNAL_CLOSED);
}

/* libnats connects again with what the files of the login held before. If they hold something else
 * now, what it tries is in vain: we begin anew. */
static void on_recheck(uv_timer_t *t)
{
    struct nats_conn *n = t->data;
    if (n->up || !n->nc || n->giving_up || !login_has_changed(&n->login))
        return;
    uv_timer_stop(&n->recheck);
    n->giving_up = true;
    n->give_up_work.data = n;
    (void)uv_queue_work(n->loop, &n->give_up_work, give_up_apart, on_given_up); /* cannot fail */
}

static void tell_error(struct nats_conn *n, const char *text)
{
    struct wcp_arena a = {0};
    if (uv_now(n->loop) - n->errors_told_ms >= 1000) {
        if (n->errors_told > ERRORS_MAX)
            wcp_logf(WCP_WARN, "nats: %zu more errors from the server, not shown",
                     n->errors_told - ERRORS_MAX);
        n->errors_told_ms = uv_now(n->loop);
        n->errors_told = 0;
    }
    if (n->errors_told++ >= ERRORS_MAX)
        return;
    if (strcasestr(text, "permissions violation"))
        wcp_log(WCP_ERROR, "nats: the server does not permit this", "why", text, "login",
                login_name(&n->login, &n->servers.at[n->server], &a).ptr, NULL);
    else
        wcp_log(WCP_WARN, "nats: error from the server", "why", text, NULL);
    wcp_arena_free(&a);
}

static void tell_errors(struct nats_conn *n)
{
    uv_mutex_lock(&n->errors_lock);
    struct server_errors e = n->errors;
    n->errors.n = 0;
    uv_mutex_unlock(&n->errors_lock);
    for (size_t i = 0; i < e.n && i < ERRORS_MAX; i++)
        if (!is_refusal(e.text[i])) /* told when the connection is lost, or not made */
            tell_error(n, e.text[i]);
    n->errors_told += e.n > ERRORS_MAX ? e.n - ERRORS_MAX : 0;
}

static void on_wake(uv_async_t *w)
{
    struct nats_conn *n = w->data;
    unsigned signals = atomic_exchange(&n->signals, 0);
    const char *error = NULL;
    if (signals & SIGNAL_CLOSED)
        n->told_closed = true;
    if (n->closing) {
        if (signals & SIGNAL_CLOSED)
            close_when_done(n);
        return;
    }
    if (signals & SIGNAL_ERROR)
        tell_errors(n);
    if (!signals || !n->nc)
        return;
    (void)natsConnection_GetLastError(n->nc, &error); /* the text is what we want */
    error = error && *error ? error : "the server is gone";
    if (!(signals & (SIGNAL_DOWN | SIGNAL_UP | SIGNAL_CLOSED)))
        return;
    if (n->up)
        went_down(n, error);
    if (n->giving_up)
        return; /* on_given_up comes back here */
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
        .name = c->name && *c->name ? wcp_str_dup(wcp_str(c->name)) : NULL,
    };
    (void)uv_mutex_init(&n->errors_lock); /* fails only without memory */
    if (servers_parse(c->urls ? c->urls : "", &n->servers, err) || login_init(&n->login, c, err)) {
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
    uv_timer_init(loop, &n->recheck);
    n->open_handles = 6;
    n->check.data = n->wake.data = n->retry.data = n->mark_timer.data = n->flush_timer.data =
        n->recheck.data = n;
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

void nats_conn_cleanup(void)
{
    (void)nats_CloseAndWait(2000); /* on a time-out there is nothing left to do */
}

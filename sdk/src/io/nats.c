/* nats.c: libnats on the libuv loop: connecting, staying connected, ending. What is sent and
 * received is nats_messages.c.
 *
 * libnats reads and writes its socket when our loop says so (poller.c). Its callbacks come on its
 * own threads, and only set bits in signals and wake the loop.
 *
 * A connection that is lost is dropped, and another one made like the first, through probe.c.
 * libnats could connect again by itself, but with an event loop it then takes what the new
 * connection brings for the rest of the message that the old one broke off in (seen with 3.4.1, and
 * in the sources up to 3.14): it is deaf, or hands out a message that is none. */
#include "io/nats_conn.h"
#include "io/poller.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

/* Exported by libnats (seen in the library 3.4.1, and in the sources 3.8 to 3.14) though not in
 * nats.h. The first: filter is called for each message right after it has been parsed, and may take
 * it. We need it because natsSubscription_NextMsg swallows "503 no responders" without telling whom
 * it was for. The second: see free_half_a_message. */
extern void natsConn_setFilterWithClosure(
    natsConnection *nc, void (*filter)(natsConnection *nc, natsMsg **m, void *ctx), void *ctx);
extern natsStatus natsParser_Parse(natsConnection *nc, char *buf, int len);

#define CONNECT_TIMEOUT_MS 1000 /* the server has just answered a probe */
#define BACKOFF_FIRST_MS   50
#define BACKOFF_LAST_MS    2000
#define STABLE_MS          5000  /* a connection that lasted this long was a good one */
#define PING_INTERVAL_MS   20000 /* two without answer: the connection is dead */
#define DISCOVERED_MAX     64    /* servers of a cluster that are not in our configuration */

enum { SIGNAL_CLOSED = 1, SIGNAL_ERROR = 2, SIGNAL_SERVERS = 4 };

static void try_server(struct nats_conn *n);

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

static void on_discovered(natsConnection *nc, void *ctx)
{
    signal_loop(ctx, SIGNAL_SERVERS);
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

/* --- connecting --- */

/* The other servers of the cluster, as the present one tells them: they are tried like those of our
 * configuration, with the user and password of the present one. */
static void learn_servers(struct nats_conn *n)
{
    const struct server *now = &n->servers.at[n->server];
    const char *info = strstr(now->url, "://"), *at = strrchr(now->url, '@');
    char **found = NULL;
    int count = 0;
    struct servers known = {0};
    struct wcp_buf urls = {0};
    if (n->server >= n->configured || natsConnection_GetDiscoveredServers(n->nc, &found, &count))
        return; /* what one of them tells is not more than what we know */
    for (int i = 0; i < count; i++) {
        const char *host = strstr(found[i], "://");
        if (i < DISCOVERED_MAX)
            wcp_buf_fmt(&urls, "%s://%.*s%s,", now->tls ? "tls" : "nats",
                        info && at ? (int)(at + 1 - (info + 3)) : 0, info ? info + 3 : "",
                        host ? host + 3 : found[i]);
        free(found[i]);
    }
    free(found);
    wcp_buf_put(&urls, "", 1);
    if (count && servers_parse((const char *)urls.ptr, &known, NULL) == 0)
        servers_replace(&n->servers, n->configured, &known);
    explicit_bzero(urls.ptr, urls.len);
    wcp_buf_free(&urls);
}

static void came_up(struct nats_conn *n)
{
    n->up = true;
    n->up_ms = uv_now(n->loop);
    free(n->why);
    n->why = NULL;
    n->transport.max_payload = (size_t)natsConnection_GetMaxPayload(n->nc);
    wcp_log(WCP_INFO, n->was_up ? "nats: connected again" : "nats: connected", "server",
            n->servers.at[n->server].name, NULL);
    learn_servers(n);
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

/* libnats does not free what it has of a message that the connection broke off in. Its parser does
 * when the message is whole, be it of zeros; the subscriptions are gone, so nobody gets it. Without
 * a message before (has_parsed) there might be no parser. */
static void free_half_a_message(struct nats_conn *n)
{
    static char zeros[4096];
    natsStatus s = n->has_parsed ? NATS_OK : NATS_ERR;
    for (size_t fed = 0; !s && fed <= n->transport.max_payload; fed += sizeof zeros)
        s = natsParser_Parse(n->nc, zeros, sizeof zeros); /* between messages: an error at once */
    n->has_parsed = false;
}

static void drop_connection(struct nats_conn *n)
{
    for (size_t i = 0; i < n->sub_count; i++)
        messages_end_sub(&n->subs[i]);
    for (size_t k = 0; k < n->order_len; k++)
        if (n->order[k].unanswered)
            natsMsg_Destroy(n->order[k].msg);
    n->order_len = 0;
    free_half_a_message(n);
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
    const struct server *to = &n->servers.at[n->server];
    natsOptions *o = NULL;
    struct wcp_arena a = {0};
    int rc = 0;
    natsStatus s = natsOptions_Create(&o);
    s = s ? s
          : natsOptions_SetURL(o,
                               login_replaces_url(&n->login)
                                   ? wcp_fmt(&a, "%s://%s", to->tls ? "tls" : "nats", to->name).ptr
                                   : to->url);
    s = s ? s : natsOptions_SetAllowReconnect(o, false);
    s = s ? s : natsOptions_SetTimeout(o, CONNECT_TIMEOUT_MS);
    s = s ? s : natsOptions_SetSendAsap(o, true);
    s = s ? s : natsOptions_SetPingInterval(o, PING_INTERVAL_MS);
    s = s ? s : natsOptions_SetMaxPingsOut(o, 2);
    s = s ? s : natsOptions_SetDiscoveredServersCB(o, on_discovered, n);
    s = s ? s : natsOptions_SetClosedCB(o, on_closed, n);
    s = s ? s : natsOptions_SetErrorHandler(o, on_error, n);
    s = s ? s : natsOptions_SetEventLoop(o, n->loop, attach, want_read, want_write, detach);
    if (!s && n->name)
        s = natsOptions_SetName(o, n->name);
    if (!s)
        rc = login_set(&n->login, o, to->tls || n->server_wants_tls, err);
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
}

static void close_when_done(struct nats_conn *n)
{
    if (n->closed && n->told_closed)
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
    if (!n->nc) {
        close_handles(n);
        return;
    }
    /* libnats' closed callback is its last one; until it has come, n->wake must stay. */
    n->close_work.data = n;
    (void)uv_queue_work(n->loop, &n->close_work, close_apart, on_closed_apart); /* cannot fail */
}

/* --- what libnats tells --- */

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
    if (signals & SIGNAL_CLOSED)
        n->told_closed = true;
    if (n->closing) {
        if (signals & SIGNAL_CLOSED)
            close_when_done(n);
        return;
    }
    if (signals & SIGNAL_ERROR)
        tell_errors(n);
    if (!n->nc)
        return;
    if (signals & SIGNAL_SERVERS)
        learn_servers(n);
    if (!(signals & SIGNAL_CLOSED) || !natsConnection_IsClosed(n->nc))
        return;
    const char *error = NULL;
    (void)natsConnection_GetLastError(n->nc, &error); /* the text is what we want */
    went_down(n, error && *error ? error : "the server is gone");
    drop_connection(n);
    /* Not at once: the server may throw us out each time, as it does for too many subscriptions. */
    uv_timer_start(&n->retry, on_retry, (uint64_t)backoff_ms(n->pauses++), 0);
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
    n->configured = n->servers.n;
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

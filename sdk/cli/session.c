/* session.c: see session.h. Each function runs the loop until what it waits for has come. */
#include "cli/session.h"
#include "base/log.h"
#include "base/timer.h"
#include "io/nats.h"
#include "io/offline.h"
#include "io/socket.h"
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { OTHERS_MS = 300 }; /* after the first answer, for those of others */

struct session {
    uv_loop_t loop;
    uv_timer_t timer; /* wakes the loop for the next deadline */
    struct nats_conn *nats;
    struct offline *offline; /* instead of nats, with a socket */
    struct sockets *sockets;
    struct rpc *rpc; /* from the first connection on */
    const struct options *o;
    const char *lattice;
    uint32_t timeout_ms;
    char why[200]; /* what the connection complained of last: ": reason", or empty */
    struct listener {
        int sub;
        void (*fn)(void *ctx, struct wcp_msg *m);
        void *ctx;
    } * listeners;
    size_t listener_count, losses;
    uv_signal_t signals[2]; /* type UV_UNKNOWN_HANDLE: not watched */
    int signal;             /* that came, or 0 */
    /* of the question that waits for its answer */
    bool answered;
    int status;
    struct wcp_buf *answer;
};

/* Log lines are for providers that run on; here the reason becomes part of the command's error. */
static void on_log(void *ctx, enum wcp_level level, const char *line)
{
    struct session *s = ctx;
    struct json_object *o = json_tokener_parse(line), *server = NULL, *why = NULL, *login = NULL;
    json_object_object_get_ex(o, "server", &server);
    json_object_object_get_ex(o, "login", &login);
    if (json_object_object_get_ex(o, "why", &why))
        (void)snprintf(s->why, sizeof s->why, ": %s%s%s%s%s",
                       server ? json_object_get_string(server) : "", server ? ": " : "",
                       json_object_get_string(why), login ? "; login: " : "",
                       login ? json_object_get_string(login) : "");
    json_object_put(o);
}

/* The link of a call is its caller's for as long as the session. */
static void hold_link(void *ctx, struct wcp_link *l)
{
}

static void on_connected(void *ctx)
{
    struct session *s = ctx;
    const struct options *o = s->o;
    session_wake(s);
    s->rpc = rpc_new(&(struct rpc_config){
        .transport = s->nats ? nats_conn_transport(s->nats) : offline_transport(s->offline),
        .lattice = s->lattice,
        .id = o->value[OPT_SOURCE] ? o->value[OPT_SOURCE] : "wcp",
        .limits = {.call_ms = o->value[OPT_TIMEOUT] ? o->timeout_ms : 0},
        .links = {.hold = hold_link, .release = hold_link}});
}

static void on_lost(void *ctx, int sub)
{
    struct session *s = ctx;
    if (!rpc_lost(s->rpc, sub))
        s->losses++;
}

static void on_writable(void *ctx)
{
    struct session *s = ctx;
    rpc_writable(s->rpc);
}

static void on_message(void *ctx, int sub, struct wcp_msg *m)
{
    struct session *s = ctx;
    if (rpc_message(s->rpc, sub, m))
        return;
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].sub == sub)
            s->listeners[i].fn(s->listeners[i].ctx, m);
}

static void on_disconnected(void *ctx)
{
    struct session *s = ctx;
    s->losses++;
    rpc_disconnected(s->rpc);
}

static void on_timer(uv_timer_t *t)
{
    uv_stop(t->loop); /* or, due before the poll already, it would leave the poll to wait */
}

/* As session_turn, at most until the time `until`. */
static void turn(struct session *s, uint64_t until)
{
    uint64_t next = s->rpc ? rpc_next(s->rpc) : TIMER_NEVER, now = uv_now(&s->loop);
    next = next < until ? next : until;
    uv_timer_start(&s->timer, on_timer, next > now ? next - now : 0, 0);
    uv_run(&s->loop, UV_RUN_ONCE);
    if (s->rpc)
        rpc_tick(s->rpc);
}

uint64_t session_now(const struct session *s)
{
    return uv_now(&s->loop);
}

void session_sleep(struct session *s, uint32_t ms)
{
    uint64_t until = uv_now(&s->loop) + ms;
    while (uv_now(&s->loop) < until)
        turn(s, until);
}

struct session *session_new(const struct options *o)
{
    struct session *s = wcp_calloc(1, sizeof *s);
    s->o = o;
    s->lattice = o->value[OPT_LATTICE];
    s->timeout_ms = o->timeout_ms;
    log_set_level(WCP_WARN);
    log_set_sink(on_log, s);
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->timer);
    return s;
}

int session_connect(struct session *s, struct wcp_err *err)
{
    const struct options *o = s->o;
    const struct nats_events events = {.ctx = s,
                                       .connected = on_connected,
                                       .disconnected = on_disconnected,
                                       .message = on_message,
                                       .lost = on_lost,
                                       .writable = on_writable};
    if (o->value[OPT_UNIX] || o->value[OPT_TCP]) {
        s->offline = offline_new(&s->loop, &events);
        s->sockets = sockets_new(&s->loop);
    } else {
        const struct nats_config config = {.urls = o->value[OPT_NATS],
                                           .login =
                                               {
#define X(id, flag, arg, repeat, help, env, member) .member = o->value[OPT_##id],
                                                   NATS_LOGIN(X)
#undef X
                                               },
                                           .name = "wcp"};
        s->nats = nats_conn_new(&s->loop, &config, &events, err);
        if (!s->nats)
            return err->code;
    }
    uv_update_time(&s->loop);
    uint64_t until = uv_now(&s->loop) + s->timeout_ms;
    while (!s->rpc && uv_now(&s->loop) < until)
        turn(s, until);
    if (!s->rpc)
        return wcp_fail(err, WCP_ETIMEOUT, "no connection to NATS within %u ms%s", s->timeout_ms,
                        s->why);
    s->why[0] = '\0';
    return 0;
}

int session_open(const struct options *o, struct session **s, struct wcp_err *err)
{
    *s = session_new(o);
    return session_connect(*s, err);
}

static void on_flushed(void *ctx, bool flushed)
{
    bool *done = ctx;
    *done = true;
}

void session_close(struct session *s)
{
    if (!s)
        return;
    if (s->rpc) {
        bool done = !s->nats;
        if (s->nats)
            nats_conn_flush(s->nats, s->timeout_ms, on_flushed, &done);
        while (!done)
            turn(s, uv_now(&s->loop) + s->timeout_ms);
        rpc_free(s->rpc);
    }
    nats_conn_close(s->nats);
    sockets_close(s->sockets);
    offline_close(s->offline);
    for (int i = 0; i < 2; i++)
        if (s->signals[i].loop)
            uv_close((uv_handle_t *)&s->signals[i], NULL);
    uv_close((uv_handle_t *)&s->timer, NULL);
    while (uv_run(&s->loop, UV_RUN_DEFAULT)) /* session_wake may end it once */
        ;
    (void)uv_loop_close(&s->loop); /* a loop that still has handles would have run on */
    nats_conn_cleanup();
    log_set_sink(NULL, NULL);
    free(s->listeners);
    free(s);
}

const char *session_lattice(const struct session *s)
{
    return s->lattice;
}

const char *session_js_domain(const struct session *s)
{
    return s->o->value[OPT_JS_DOMAIN];
}

void session_js_prefix(const struct session *s, struct wcp_buf *b)
{
    const char *domain = session_js_domain(s);
    wcp_buf_fmt(b, "$JS%s%s.API.", domain ? "." : "", domain ? domain : "");
}

void session_tell(struct session *s, const char *subject, struct wcp_bytes data)
{
    struct wcp_transport *t = nats_conn_transport(s->nats);
    t->publish(t, &(struct wcp_msg){.subject = subject, .data = data});
}

int session_invoke(struct session *s, struct wcp_link *l, const struct wcp_interface *iface,
                   size_t func, const void *params, void (*done)(void), void *ctx,
                   struct wcp_outgoing **out, struct wcp_err *err)
{
    struct wcp_buf address = {0};
    const char *path = s->o->value[OPT_UNIX];
    if (!s->sockets) {
        *out = rpc_invoke(s->rpc, l, iface, func, params, done, ctx);
        return 0;
    }
    wcp_buf_fmt(&address, "%s:%s", path ? "unix" : "tcp", path ? path : s->o->value[OPT_TCP]);
    wcp_buf_put(&address, "", 1);
    struct wcp_conn *conn = socket_connect(s->sockets, (const char *)address.ptr, err);
    wcp_buf_free(&address);
    if (!conn)
        return err->code;
    *out = rpc_invoke_conn(s->rpc, conn, iface, func, params, done, ctx);
    return 0;
}

void session_turn(struct session *s, uint32_t ms)
{
    turn(s, uv_now(&s->loop) + ms);
}

void session_wake(struct session *s)
{
    uv_stop(&s->loop);
}

struct uv_loop_s *session_loop(struct session *s)
{
    return &s->loop;
}

bool session_is_connected(const struct session *s)
{
    return s->nats && nats_conn_is_up(s->nats);
}

size_t session_running(const struct session *s)
{
    return s->rpc ? rpc_running(s->rpc) : 0;
}

const char *session_why(const struct session *s)
{
    return s->why;
}

struct rpc *session_rpc(const struct session *s)
{
    return s->rpc;
}

size_t session_losses(const struct session *s)
{
    return s->losses;
}

void session_listen(struct session *s, const char *subject,
                    void (*fn)(void *ctx, struct wcp_msg *m), void *ctx)
{
    struct wcp_transport *t = nats_conn_transport(s->nats);
    s->listeners = wcp_realloc(s->listeners, (s->listener_count + 1) * sizeof *s->listeners);
    s->listeners[s->listener_count++] = (struct listener){t->subscribe(t, subject, NULL), fn, ctx};
}

struct gathering {
    void (*fn)(void *ctx, struct wcp_bytes answer);
    void *ctx;
    size_t count;
    bool nobody;
};

static void on_gathered(void *ctx, struct wcp_msg *m)
{
    struct gathering *g = ctx;
    g->nobody |= m->status == 503;
    if (m->status)
        return;
    g->count++;
    g->fn(g->ctx, m->data);
}

static void ignore(void *ctx, struct wcp_msg *m)
{
}

int session_ask_all(struct session *s, const char *subject,
                    void (*fn)(void *ctx, struct wcp_bytes answer), void *ctx)
{
    struct gathering g = {.fn = fn, .ctx = ctx};
    struct wcp_transport *t = nats_conn_transport(s->nats);
    char reply[128];
    (void)snprintf(reply, sizeof reply, "%s-all.%zu", t->inbox, s->listener_count);
    session_listen(s, reply, on_gathered, &g);
    struct listener *l = &s->listeners[s->listener_count - 1];
    t->publish(t, &(struct wcp_msg){.subject = subject, .reply = reply});
    uint64_t until = uv_now(&s->loop) + s->timeout_ms;
    for (size_t seen = 0; uv_now(&s->loop) < until && !g.nobody;) {
        turn(s, until);
        if (g.count && !seen) {
            seen = g.count;
            until = uv_now(&s->loop) + OTHERS_MS;
        }
    }
    t->leave(t, l->sub);
    l->fn = ignore; /* g is gone */
    return g.nobody ? WCP_ENOENT : 0;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct session *s = handle->data;
    s->signal = number;
}

void session_watch_signals(struct session *s)
{
    static const int which[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, which[i]);
    }
}

int session_signal(const struct session *s)
{
    return s->signal;
}

int session_flush(struct session *s, struct wcp_err *err)
{
    bool done = false;
    nats_conn_flush(s->nats, s->timeout_ms, on_flushed, &done);
    while (!done)
        turn(s, uv_now(&s->loop) + s->timeout_ms);
    return *s->why ? wcp_fail(err, WCP_EIO, "NATS%s", s->why) : 0;
}

static void on_answer(void *ctx, const struct wcp_msg *m, int status)
{
    struct session *s = ctx;
    s->answered = true;
    s->status = status;
    if (status == 0 && m->status)
        s->status = m->status == 503 ? WCP_ENOENT : WCP_EIO;
    else if (status == 0)
        wcp_buf_put(s->answer, m->data.ptr, m->data.len);
}

static int ask(struct session *s, const struct wcp_msg *m, struct wcp_buf *answer,
               struct wcp_err *err)
{
    s->answered = false;
    s->answer = answer;
    rpc_request(s->rpc, m, s->timeout_ms, on_answer, s);
    while (!s->answered)
        turn(s, uv_now(&s->loop) + s->timeout_ms);
    if (s->status == WCP_ENOENT)
        return wcp_fail(err, WCP_ENOENT, "nobody answers on %s", m->subject);
    if (s->status == WCP_ETIMEOUT)
        return wcp_fail(err, WCP_ETIMEOUT, "no answer on %s within %u ms%s", m->subject,
                        s->timeout_ms, s->why);
    return s->status
               ? wcp_fail(err, s->status, "%s: %s%s", m->subject, wcp_strerror(s->status), s->why)
               : 0;
}

int session_ask(struct session *s, const char *subject, struct wcp_bytes data,
                struct wcp_buf *answer, struct wcp_err *err)
{
    return ask(s, &(struct wcp_msg){.subject = subject, .data = data}, answer, err);
}

int session_ask_with(struct session *s, const char *subject, struct wcp_header header,
                     struct wcp_bytes data, struct wcp_buf *answer, struct wcp_err *err)
{
    struct wcp_msg m = {.subject = subject, .data = data, .headers = &header, .header_count = 1};
    return ask(s, &m, answer, err);
}

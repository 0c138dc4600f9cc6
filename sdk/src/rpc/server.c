/* server.c: an invocation comes in, a handler runs, its reply goes out.
 *
 * The plot (wrpc.md §2.3): the invocation carries the first parameter bytes and the caller's reply
 * subject Rc. We answer at once with the accept (to Rc, with our own subject Rs), collect the rest
 * of the parameters from Rs.params, find the link and run the handler. Its result goes to
 * Rc.results, then an empty message, then the streams in it.
 *
 * A caller on wrpc-transport-nats 0.29 (every wasmCloud 1.9 host) can drop what reaches it before
 * its own registration of the call is applied, and then hangs (§2.8a). But the first message that
 * it sends to Rs proves that it has routed our accept, and so can route everything that we send
 * after it: until that proof ("heard"), accept and result are repeated, and the end of the result
 * is kept back. A repeat does no harm: an extra accept is ignored, and so are bytes behind a value.
 */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>
#include <wcp/trace.h>

#define REPEAT_FIRST_MS   10
#define REPLY_SUBJECT_MAX 256
#define ID_SHOWN          128

enum reply_state {
    NOT_REPLIED,
    WAITS_FOR_PROOF, /* the result is encoded; sent too if it is a single message */
    SENT,            /* towards the caller the result is over; its streams may go on */
};

struct invocation {
    struct exchange x; /* first */
    struct wcp_call *call;
    const void *impl;
    char *reply;        /* Rc */
    void *owner;        /* the first message: arguments and headers point into it */
    void *params_owner; /* the later one that arguments point into, if the first had none */
    const char *source, *link_name; /* from the headers */
    struct timer repeat, link_wait;
    uint32_t repeat_ms;
    bool heard;
    bool running; /* the handler has the call and owes a reply */
    bool has_streams;
    enum reply_state state;
    struct wcp_buf result;
};

static void send_accept(struct invocation *v)
{
    struct rpc *r = v->x.rpc;
    char rs[INBOX_SUBJECT_MAX];
    inbox_subject(r, &v->x.entry, rs);
    r->t->publish(r->t, &(struct wcp_msg){.subject = v->reply, .reply = rs});
}

static void stop_waiting_for_link(struct invocation *v)
{
    if (v->link_wait.pos) {
        timers_clear(&v->x.rpc->timers, &v->link_wait);
        v->x.rpc->waiting_for_link--;
    }
}

static void destroy(struct exchange *x)
{
    struct invocation *v = (struct invocation *)x;
    struct wcp_transport *t = x->rpc->t;
    stop_waiting_for_link(v);
    timers_clear(&x->rpc->timers, &v->repeat);
    wcp_arena_free(&v->call->arena);
    wcp_buf_free(&v->result);
    if (v->owner)
        t->release(t, v->owner);
    if (v->params_owner)
        t->release(t, v->params_owner);
    free(v);
}

/* Frees v if nothing holds it any more. */
static void settle(struct exchange *x)
{
    struct invocation *v = (struct invocation *)x;
    x->wire->settled(x);
    if (v->running || v->state != SENT || !exchange_is_quiet(x))
        return;
    exchange_close(x);
    destroy(x);
}

/* May the result be sent before the proof? Only if it is one message: that can be repeated. */
static bool is_single(const struct invocation *v)
{
    return !v->has_streams && v->result.len <= v->x.rpc->t->max_payload;
}

/* The result without its end. A result of no bytes is its end. */
static void send_result(struct invocation *v)
{
    if (v->result.len)
        v->x.wire->send(&v->x, NULL, (struct wcp_bytes){v->result.ptr, v->result.len});
    else
        v->x.wire->end(&v->x, NULL, false);
}

/* Replied, and the caller is known to listen: what was kept back goes out. */
static void finish(struct invocation *v)
{
    if (!is_single(v))
        send_result(v);
    if (v->result.len)
        v->x.wire->end(&v->x, NULL, false);
    v->state = SENT;
    v->x.answered = v->x.root_sent = true;
    if (v->has_streams)
        exchange_open(&v->x);
}

/* v->result is what the caller gets. */
static void reply(struct invocation *v)
{
    v->state = WAITS_FOR_PROOF;
    if (is_single(v))
        send_result(v);
    if (v->heard)
        finish(v);
}

static void on_repeat(struct timer *t)
{
    struct invocation *v = (struct invocation *)((char *)t - offsetof(struct invocation, repeat));
    struct rpc *r = v->x.rpc;
    r->stats.repeated_accepts++;
    send_accept(v);
    if (v->state == WAITS_FOR_PROOF && is_single(v))
        send_result(v);
    v->repeat_ms *= 2;
    timers_set(&r->timers, t, r->t->now(r->t) + v->repeat_ms);
}

/* For the operator; the caller only sees that there is no value. status 0: the handler's words. */
static void log_failed(struct invocation *v, int status, const char *why)
{
    static const char what[] = "a call was not served";
    char from[ID_SHOWN + 1];
    exchange_failed(&v->x, status);
    if (!complain(v->x.rpc, what, status))
        return;
    snprintf(from, sizeof from, "%s", v->source); /* a header can be as long as a message */
    struct trace before;
    trace_enter(v->x.trace, &before);
    wcp_log(WCP_WARN, what, "function", v->x.func->name, "from", from, "why", why, NULL);
    trace_back(&before);
}

/* The call is over before its time: the caller sees the end of its results without a value, its
 * streams break off. A handler that runs still owes its reply, which is dropped. */
static void fail(struct exchange *x, int status, const char *why, bool tell_peer)
{
    struct invocation *v = (struct invocation *)x;
    if (x->dead)
        return;
    log_failed(v, status, why);
    stop_waiting_for_link(v);
    x->busy++;
    enum reply_state before = v->state;
    if (tell_peer && before == NOT_REPLIED) {
        exchange_touch(x);
        timers_set(&x->rpc->timers, &x->deadline, x->active + x->rpc->limits.call_ms);
        reply(v); /* of no bytes */
    } else {
        timers_clear(&x->rpc->timers, &v->repeat);
        if (tell_peer && before == WAITS_FOR_PROOF)
            x->wire->end(x, NULL, false);
        v->state = SENT;
    }
    exchange_cut(x, status, tell_peer && before == SENT);
    if (!v->running) /* a handler that runs may still start reading, and is told then */
        exchange_drop_unstarted(x);
    x->busy--;
    x->settled(x); /* analyzers that follow settle() overlook that busy callers keep x */
}

static void on_deadline(struct timer *t)
{
    struct invocation *v =
        (struct invocation *)((char *)t - offsetof(struct invocation, x.deadline));
    struct rpc *r = v->x.rpc;
    char why[160];
    if (!exchange_is_late(&v->x))
        return;
    if (v->state == WAITS_FOR_PROOF && (is_single(v) || v->x.dead)) {
        /* The result was sent, again and again; that the caller said nothing is its affair. */
        v->has_streams = false;
        timers_clear(&r->timers, &v->repeat);
        v->x.wire->end(&v->x, NULL, false);
        v->state = SENT;
        exchange_cut(&v->x, WCP_ETIMEOUT, false); /* what is still read of its parameters */
        settle(&v->x);
        return;
    }
    snprintf(why, sizeof why, "%s for %u ms",
             !v->x.decoded                 ? "its parameters are incomplete, nothing came"
             : v->state == NOT_REPLIED     ? "the handler did not answer"
             : v->state == WAITS_FOR_PROOF ? "the caller did not answer our accept"
                                           : "nothing moved on its streams",
             r->limits.call_ms);
    fail(&v->x, WCP_ETIMEOUT, why, true);
}

static void run_handler(struct invocation *v)
{
    struct exchange *x = &v->x;
    v->call->link = x->link;
    v->running = true;
    x->busy++;
    struct trace before;
    trace_enter(x->trace, &before);
    x->func->invoke(v->impl, v->call);
    trace_back(&before);
    x->busy--;
    x->settled(x);
}

static uint32_t link_wait_ms(const struct rpc *r)
{
    return r->limits.link_wait_ms == WCP_NO_LINK_WAIT ? 0 : r->limits.link_wait_ms;
}

/* Nobody else is to have it before the handler runs: it may be going down by then. *why: as in
 * struct rpc_links. */
static bool find_link(struct invocation *v, const char **why)
{
    struct rpc *r = v->x.rpc;
    if (!r->links.find)
        return r->serves_anyone;
    v->x.link =
        r->links.find(r->links.ctx, wcp_str(v->source), wcp_str(v->link_name), v->x.iface, why);
    return v->x.link || r->serves_anyone;
}

static void release_link(struct invocation *v)
{
    struct rpc *r = v->x.rpc;
    if (v->x.link)
        r->links.release(r->links.ctx, v->x.link);
    v->x.link = NULL;
}

static void fail_without_link(struct invocation *v)
{
    char why[600];
    const struct rpc *r = v->x.rpc;
    snprintf(why, sizeof why,
             "no link '%.64s' from '%.128s' to '%s' for %s came within %u ms: put one (wcp link "
             "put); wcp links %s tells which there are",
             v->link_name, v->source, r->id, v->x.iface->name, link_wait_ms(r), r->id);
    fail(&v->x, WCP_ENOENT, why, true);
}

static void fail_with_link(struct invocation *v, const char *reason)
{
    char why[400];
    v->x.outcome = OUTCOME_LINK_FAILED;
    snprintf(why, sizeof why, "its link '%.64s' does not work: %s", v->link_name, reason);
    fail(&v->x, WCP_EIO, why, true);
}

static void on_link_wait(struct timer *t)
{
    struct invocation *v =
        (struct invocation *)((char *)t - offsetof(struct invocation, link_wait));
    v->x.rpc->waiting_for_link--; /* the timer has fired, so destroy() would not */
    fail_without_link(v);
}

static void fail_params(struct invocation *v, const struct wcp_err *err)
{
    char why[sizeof err->msg + 40];
    snprintf(why, sizeof why, "its parameters are malformed: %s", err->msg);
    fail(&v->x, err->code, why, true);
}

/* first: parameter bytes that are not in x->root yet. The link comes first, since it says how
 * values are written; while the parameters are incomplete it is not held. */
static void on_params(struct invocation *v, struct wcp_bytes first)
{
    struct exchange *x = &v->x;
    struct rpc *r = x->rpc;
    struct wcp_err err = {0};
    const char *why = NULL;
    if (!find_link(v, &why)) {
        if (why) {
            fail_with_link(v, why);
        } else if (exchange_keep(x, first, &err)) {
            fail_params(v, &err);
        } else if (!v->link_wait.pos) {
            v->link_wait.fn = on_link_wait;
            timers_set(&r->timers, &v->link_wait, r->t->now(r->t) + link_wait_ms(r));
            r->waiting_for_link++;
            if (r->links.missing)
                r->links.missing(r->links.ctx);
        }
        return;
    }
    stop_waiting_for_link(v);
    int rc = exchange_decode(x, x->func->params, first, v->call, &err);
    if (rc == 0) {
        run_handler(v);
        return;
    }
    release_link(v);
    if (rc != WCP_EMORE || x->root_ended)
        fail_params(v, &err);
}

static void on_message(struct inbox_entry *e, struct wcp_str tail, struct wcp_msg *m)
{
    struct invocation *v = (struct invocation *)e;
    struct exchange *x = &v->x;
    bool root = wcp_str_eq(tail, WCP_STR("params"));
    if (!root && (tail.len < 7 || memcmp(tail.ptr, "params.", 7) != 0))
        return;
    x->busy++;
    exchange_touch(x);
    if (!v->heard) {
        v->heard = true;
        timers_clear(&x->rpc->timers, &v->repeat);
        if (v->state == WAITS_FOR_PROOF)
            finish(v);
    }
    if (!root) {
        struct path p;
        if (path_parse((struct wcp_str){tail.ptr + 7, tail.len - 7}, &p))
            exchange_receive(x, &p, m->data, m->data.len == 0);
    } else if (!x->decoded && !x->dead) {
        x->root_ended |= m->data.len == 0;
        if (m->data.len && !x->root.len) { /* may be all of them: not copied then */
            v->params_owner = m->owner;
            m->owner = NULL;
        }
        on_params(v, m->data);
    }
    x->busy--;
    settle(x);
}

/* Accept and end: this call cannot even be looked at. The subject is nobody's. */
static void refuse(struct rpc *r, const char *rc)
{
    char rs[INBOX_SUBJECT_MAX], results[REPLY_SUBJECT_MAX + 16];
    inbox_subject(r, &(struct inbox_entry){.number = 1}, rs);
    snprintf(results, sizeof results, "%s.results", rc);
    r->t->publish(r->t, &(struct wcp_msg){.subject = rc, .reply = rs});
    subjects_end(r, results);
}

/* One block: the invocation, the call struct, and room for more. */
static struct invocation *new_invocation(struct rpc *r, const struct served *s, size_t more,
                                         struct framed *framed)
{
    const size_t align = _Alignof(max_align_t);
    size_t at_call = (sizeof(struct invocation) + align - 1) / align * align;
    struct invocation *v = wcp_calloc(1, at_call + s->func->size + more);
    struct exchange *x = &v->x;
    exchange_init(x, r, true, s->stats, framed);
    x->iface = s->iface;
    x->func = s->func;
    x->settled = settle;
    x->fail = fail;
    x->destroy = destroy;
    x->deadline.fn = on_deadline;
    timers_set(&r->timers, &x->deadline, x->active + r->limits.call_ms);
    v->impl = s->impl;
    v->call = (struct wcp_call *)(void *)((char *)v + at_call);
    v->call->arena.limit = r->limits.arena_bytes;
    v->call->instance = r->instance;
    v->call->func = s->func;
    v->call->invocation = v;
    x->arena = &v->call->arena;
    return v;
}

static void on_root(struct exchange *x)
{
    if (!x->decoded && !x->dead)
        on_params((struct invocation *)x, (struct wcp_bytes){0});
}

/* A connection needs no handshake: its peer listens. */
struct exchange *server_framed(struct rpc *r, const struct served *s, struct framed *f,
                               const char *source, const char *link_name)
{
    struct invocation *v = new_invocation(r, s, 0, f);
    v->x.on_root = on_root;
    v->source = source;
    v->link_name = link_name;
    v->heard = true;
    return &v->x;
}

void server_message(struct rpc *r, const struct served *s, struct wcp_msg *m)
{
    size_t n = m->reply ? strlen(m->reply) : 0;
    if (n == 0 || n > REPLY_SUBJECT_MAX) {
        const char *what = n ? "an invocation's reply subject is too long: dropped"
                             : "an invocation without a reply subject: dropped";
        s->stats->ended[OUTCOME_MALFORMED]++;
        if (complain(r, what, WCP_EPROTO))
            wcp_log(WCP_WARN, what, "function", s->func->name, NULL);
        return;
    }
    bool refused = r->running_in >= r->limits.open_calls;
    if (r->running_in / 2 >=
        r->limits.open_calls) { /* not even a refusal can be kept and repeated */
        s->stats->ended[OUTCOME_REFUSED]++;
        if (complain(r, "a call was refused", WCP_ETOOBIG))
            wcp_logf(WCP_WARN, "%s: refused, %zu calls are open, the limit is %zu", s->func->name,
                     r->running_in, r->limits.open_calls);
        refuse(r, m->reply);
        return;
    }

    /* Behind it: Rc and Rc.results. */
    struct invocation *v = new_invocation(r, s, n + 1 + n + sizeof ".results", NULL);
    struct exchange *x = &v->x;
    v->reply = memcpy((char *)v->call + s->func->size, m->reply, n);
    x->send_base = memcpy(v->reply + n + 1, m->reply, n);
    memcpy(x->send_base + n, ".results", sizeof ".results");
    x->entry.on_message = on_message;
    const char *source = msg_header(m, "source-id"), *name = msg_header(m, "link-name");
    v->source = source ? source : "<unknown>";
    v->link_name = name ? name : "default";
    const char *parent = msg_header(m, "traceparent");
    if (parent)
        x->trace = trace_new(wcp_str(parent), wcp_str(msg_header(m, "tracestate")));
    v->owner = m->owner;
    m->owner = NULL;

    send_accept(v);
    v->repeat.fn = on_repeat;
    v->repeat_ms = REPEAT_FIRST_MS;
    timers_set(&r->timers, &v->repeat, x->active + v->repeat_ms);
    if (refused) {
        char why[80];
        snprintf(why, sizeof why, "%zu calls are open, the limit is %zu", r->running_in - 1,
                 r->limits.open_calls);
        x->outcome = OUTCOME_REFUSED;
        fail(x, WCP_ETOOBIG, why, true);
        return;
    }
    on_params(v, m->data);
}

void server_link_added(struct rpc *r)
{
    for (struct exchange *x = r->exchanges; x && r->waiting_for_link;) {
        struct invocation *v = (struct invocation *)x;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): settle() takes what it frees off the list */
        bool looks = x->incoming && v->link_wait.pos;
        if (looks) {
            x->busy++;
            on_params(v, (struct wcp_bytes){0});
            x->busy--;
        }
        if (looks && !v->link_wait.pos) {
            settle(x);
            x = r->exchanges; /* anything may have happened */
        } else {
            x = x->next;
        }
    }
}

/* --- the handler's side --- */

/* The handler is done with the call: it has replied or failed it. */
static void handler_done(struct invocation *v)
{
    exchange_touch(&v->x);
    exchange_drop_unstarted(&v->x);
    v->x.busy--;
    settle(&v->x);
}

static void send_reply(struct wcp_call *c, const void *result)
{
    struct invocation *v = c->invocation;
    assert(v->running && "a call is replied to once");
    v->running = false;
    v->x.busy++;
    if (v->state != NOT_REPLIED) { /* too late: only what it hands over is taken care of */
        struct wcp_buf b = {0};
        if (c->func->result)
            exchange_encode(&v->x, c->func->result, result, &b);
        wcp_buf_free(&b);
    } else {
        if (c->func->result)
            exchange_encode(&v->x, c->func->result, result, &v->result);
        v->has_streams = v->x.outs.first != NULL;
        exchange_answered(&v->x, result);
        reply(v);
    }
    handler_done(v);
}

void wcp_reply(struct wcp_call *c, const void *result)
{
    send_reply(c, result);
}

/* The result's err case says where in the result the error goes and how large it is. */
void wcp_reply_err(struct wcp_call *c, const void *error)
{
    const struct wcp_type *t = c->func->result;
    assert(t && t->kind == WCP_RESULT);
    const struct wcp_field *f = &t->fields[1];
    char *result = wcp_alloc(&c->arena, 1, t->size);
    *(bool *)(void *)result = true;
    if (f->type)
        memcpy(result + f->offset, error, f->type->size);
    send_reply(c, result);
}

void wcp_call_fail(struct wcp_call *c, const char *fmt, ...)
{
    struct invocation *v = c->invocation;
    char why[400];
    va_list ap;
    assert(v->running && "a call is replied to once");
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    v->running = false;
    v->x.busy++;
    if (v->state == NOT_REPLIED) {
        log_failed(v, 0, why);
        reply(v); /* of no bytes */
    }
    handler_done(v);
}

void wcp_trace_call(const struct wcp_call *c)
{
    trace_back(c ? c->invocation->x.trace : NULL);
}

/* client.c: calling a function of a linked peer.
 *
 * The plot (wrpc.md §2.3): publish the invocation with our reply subject Rc and the first parameter
 * bytes; the accept comes to Rc with the peer's own subject Rs; the rest of the parameters goes to
 * Rs.params, closed by an empty message, and the streams below it; the result arrives on
 * Rc.results.
 *
 * A wasmCloud 1.9 host can drop what reaches it right after its accept (§2.8a). Therefore as much
 * as possible goes with the invocation itself: values that are whole are inlined (stream.c). What
 * must be sent later waits SETTLE_MS after the accept, and an empty stream's end is repeated until
 * something of the result has arrived. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define SETTLE_MS         2
#define REPEAT_FIRST_MS   10
#define REPLY_SUBJECT_MAX 256
#define SUBJECT_MAX       1024

/* A call as bytes: there is no type to decode with, and what it is for is told as it comes. */
struct raw {
    struct rpc_raw c; /* only its functions and ctx are used */
    struct wcp_func func;
    struct wcp_interface iface;
    size_t messages; /* of the root; the first is kept in x.root */
    bool accept_repeated;
    char function[];
};

struct wcp_outgoing {
    struct exchange x; /* first */
    struct raw *raw;   /* NULL: it has types */
    struct wcp_arena arena;
    void (*done)(void);
    void *ctx;
    struct wcp_buf params;
    size_t sent; /* of params */
    void *result;
    void *owner; /* the message that the result points into */
    /* At most one is set: before the peer may be sent to, or while an empty end is repeated. */
    struct timer settle_wait, repeat;
    uint32_t repeat_ms;
    struct wcp_buf owed; /* given up before the accept: channels that the peer waits for */
    bool accepted, delivered /* or given up */, params_ended;
};

/* Who is called: a source link's target, or the one who links to us. */
static struct wcp_str peer_id(const struct wcp_link *l)
{
    return l->role == WCP_SOURCE ? l->target_id : l->source_id;
}

static void destroy(struct exchange *x)
{
    struct wcp_outgoing *o = (struct wcp_outgoing *)x;
    timers_clear(&x->rpc->timers, &o->settle_wait);
    timers_clear(&x->rpc->timers, &o->repeat);
    wcp_buf_free(&o->params);
    wcp_buf_free(&o->owed);
    wcp_arena_free(&o->arena);
    free(o->result);
    if (o->owner)
        x->rpc->t->release(x->rpc->t, o->owner);
    free(x->send_base);
    free(o->raw);
    free(o);
}

/* Frees o if nothing holds it any more. A call that was given up before its accept stays until
 * then, or until its deadline, since the peer must still be told that the parameters have ended
 * (§2.8). */
static void settle(struct exchange *x)
{
    struct wcp_outgoing *o = (struct wcp_outgoing *)x;
    x->wire->settled(x);
    if (!o->delivered || !exchange_is_quiet(x) || (!o->params_ended && x->deadline.pos))
        return;
    exchange_close(x);
    destroy(x);
}

static void deliver(struct wcp_outgoing *o, int status)
{
    struct exchange *x = &o->x;
    assert(!o->delivered);
    o->delivered = x->answered = true;
    if (!status)
        exchange_answered(x, o->result);
    x->busy++;
    struct trace before;
    trace_enter(x->trace, &before);
    x->func->deliver(o->done, o->ctx, status ? NULL : o->result, status);
    trace_back(&before);
    exchange_drop_unstarted(x);
    x->busy--;
}

/* Everything that the peer still expects from us ends. */
static void end_params(struct wcp_outgoing *o)
{
    if (o->accepted && !o->params_ended) {
        o->x.wire->end(&o->x, NULL, false);
        const char *tail = (const char *)o->owed.ptr;
        for (size_t at = 0; at < o->owed.len; at += strlen(tail + at) + 1) {
            char subject[SUBJECT_MAX];
            snprintf(subject, sizeof subject, "%s%s", o->x.send_base, tail + at);
            subjects_end(o->x.rpc, subject);
        }
    }
    o->params_ended = true;
    timers_clear(&o->x.rpc->timers, &o->settle_wait);
    timers_clear(&o->x.rpc->timers, &o->repeat);
}

/* Towards the peer the call is over. */
static void give_up(struct wcp_outgoing *o, int status, bool tell_peer)
{
    struct exchange *x = &o->x;
    struct rpc *r = x->rpc;
    timers_clear(&r->timers, &x->deadline);
    if (!o->accepted && tell_peer)
        outs_list(x, &o->owed);
    exchange_cut(x, status, tell_peer && o->accepted);
    /* A peer that has all parameters does not need their end, but for a call without any. */
    bool whole = o->params.len && o->sent == o->params.len && !o->owed.len;
    if (o->accepted || !tell_peer || whole)
        end_params(o);
    else /* it would wait for ever, and block the function for everybody: wait for the accept */
        timers_set(&r->timers, &x->deadline, r->t->now(r->t) + r->limits.call_ms);
}

static void fail(struct exchange *x, int status, const char *why, bool tell_peer)
{
    struct wcp_outgoing *o = (struct wcp_outgoing *)x;
    if (x->dead)
        return;
    static const char what[] = "an outgoing call failed";
    exchange_failed(x, status);
    struct trace before;
    trace_enter(x->trace, &before);
    if (complain(x->rpc, what, status))
        wcp_log(WCP_WARN, what, "function", x->func->name, "to",
                x->link     ? peer_id(x->link).ptr
                : x->framed ? "a socket"
                            : "another id",
                "why", why, NULL);
    trace_back(&before);
    x->busy++;
    give_up(o, status, tell_peer);
    if (!o->delivered)
        deliver(o, status);
    x->busy--;
    x->settled(x); /* analyzers that follow settle() overlook that busy callers keep x */
}

void wcp_cancel(struct wcp_outgoing *o)
{
    struct exchange *x = &o->x;
    assert(!o->delivered);
    x->busy++;
    o->delivered = true;
    x->outcome = OUTCOME_CANCELLED;
    exchange_drop_unstarted(x);
    give_up(o, WCP_ECLOSED, true);
    x->busy--;
    settle(x);
}

static void on_deadline(struct timer *t)
{
    struct wcp_outgoing *o =
        (struct wcp_outgoing *)((char *)t - offsetof(struct wcp_outgoing, x.deadline));
    struct rpc *r = o->x.rpc;
    char why[160];
    if (o->x.dead) { /* the accept that was waited for did not come */
        o->params_ended = true;
        settle(&o->x);
        return;
    }
    if (!exchange_is_late(&o->x))
        return;
    snprintf(why, sizeof why, "%s for %u ms",
             !o->accepted    ? "nobody accepted it"
             : !o->delivered ? "no answer came"
                             : "nothing moved on its streams",
             r->limits.call_ms);
    fail(&o->x, WCP_ETIMEOUT, why, true);
}

static void on_repeat(struct timer *t)
{
    struct wcp_outgoing *o =
        (struct wcp_outgoing *)((char *)t - offsetof(struct wcp_outgoing, repeat));
    exchange_end_again(&o->x);
    o->repeat_ms *= 2;
    timers_set(&o->x.rpc->timers, t, o->x.rpc->t->now(o->x.rpc->t) + o->repeat_ms);
}

/* The rest of the parameters, their end, and the streams. */
static void open_params(struct wcp_outgoing *o)
{
    struct exchange *x = &o->x;
    bool only_ends = x->outs.first && exchange_outs_empty(x);
    struct wcp_bytes rest = {o->params.ptr, o->params.len - o->sent};
    if (o->sent) /* else there may be nothing at all */
        rest.ptr += o->sent;
    x->wire->send(x, NULL, rest);
    o->sent = o->params.len;
    x->wire->end(x, NULL, false);
    o->params_ended = x->root_sent = true;
    if (only_ends && !o->delivered && !x->framed) { /* they can be repeated, so the channels stay */
        exchange_end_again(x);
        o->repeat.fn = on_repeat;
        o->repeat_ms = REPEAT_FIRST_MS;
        timers_set(&x->rpc->timers, &o->repeat, x->rpc->t->now(x->rpc->t) + o->repeat_ms);
    } else {
        exchange_open(x);
    }
}

static void on_settle_wait(struct timer *t)
{
    struct wcp_outgoing *o =
        (struct wcp_outgoing *)((char *)t - offsetof(struct wcp_outgoing, settle_wait));
    o->x.busy++;
    open_params(o);
    o->x.busy--;
    settle(&o->x);
}

/* Something of the result has come: the peer has all that it needed to hear. */
static void on_answering(struct wcp_outgoing *o)
{
    if (o->repeat.pos) {
        timers_clear(&o->x.rpc->timers, &o->repeat);
        exchange_open(&o->x); /* sends the ends once more, and lets go of the channels */
    }
}

static void on_accept(struct wcp_outgoing *o, const struct wcp_msg *m)
{
    struct exchange *x = &o->x;
    size_t n = m->reply ? strlen(m->reply) : 0;
    char why[64];
    if (o->accepted) { /* repeated */
        if (o->raw)
            o->raw->accept_repeated = true;
        return;
    }
    exchange_touch(x);
    if (x->dead && (m->status || n == 0)) { /* given up, and nothing will be accepted */
        end_params(o);
        return;
    }
    if (m->status == 503) {
        fail(x, WCP_ENOENT, "nobody serves it", false);
        return;
    }
    if (m->status || n == 0 || n > REPLY_SUBJECT_MAX) {
        snprintf(why, sizeof why,
                 m->status ? "answered with status %d" : "accepted without a reply subject",
                 m->status);
        fail(x, m->status == 408 ? WCP_ETIMEOUT : WCP_EPROTO, why, false);
        return;
    }
    o->accepted = true;
    x->send_base = wcp_calloc(1, n + sizeof ".params");
    memcpy(x->send_base, m->reply, n);
    memcpy(x->send_base + n, ".params", sizeof ".params");
    if (o->delivered && x->dead) { /* given up meanwhile */
        end_params(o);
    } else if (o->sent == o->params.len && exchange_outs_empty(x)) {
        open_params(o);
    } else {
        o->settle_wait.fn = on_settle_wait;
        timers_set(&x->rpc->timers, &o->settle_wait, x->rpc->t->now(x->rpc->t) + SETTLE_MS);
    }
}

/* first: result bytes that are not in x->root yet, in a message of that owner. */
static void on_result(struct wcp_outgoing *o, struct wcp_bytes first, void **owner)
{
    struct exchange *x = &o->x;
    const struct wcp_type *t = x->func->result;
    struct wcp_err err = {0};
    if (o->delivered)
        return; /* what follows the value */
    if (!t) {   /* a failure of such a function cannot be told from success (wrpc.md §2.5) */
        deliver(o, 0);
        return;
    }
    if (first.len == 0 && x->root.len == 0) {
        x->outcome = OUTCOME_FAILED;
        fail(x, WCP_ECLOSED, "the peer ended it without an answer", true);
        return;
    }
    if (!o->result)
        o->result = wcp_calloc(1, t->size);
    int rc = exchange_decode(x, t, first, o->result, &err);
    if (rc == WCP_EMORE && !x->root_ended)
        return;
    if (rc) {
        fail(x, rc == WCP_EMORE ? WCP_ECLOSED : rc, err.msg, true);
        return;
    }
    if (owner) {
        o->owner = *owner;
        *owner = NULL;
    }
    deliver(o, 0);
}

/* What is repeated with an accept (server.c) is bytes behind the value, for who knows its type.
 * Here it is known by being the same as all that came before. */
static bool is_repeated(struct wcp_outgoing *o, struct wcp_bytes data)
{
    struct raw *raw = o->raw;
    struct wcp_buf *root = &o->x.root;
    bool same = raw->accept_repeated && raw->messages == 1 && data.len == root->len &&
                memcmp(data.ptr, root->ptr, data.len) == 0;
    raw->accept_repeated = false;
    if (data.len && !same && raw->messages++ == 0)
        wcp_buf_put(root, data.ptr, data.len);
    return data.len && same;
}

static void on_raw(struct wcp_outgoing *o, struct wcp_str path, struct wcp_bytes data)
{
    exchange_touch(&o->x);
    if (!o->delivered && (path.len || !is_repeated(o, data)))
        o->raw->c.received(o->raw->c.ctx, path, data);
}

static void on_message(struct inbox_entry *e, struct wcp_str tail, struct wcp_msg *m)
{
    struct wcp_outgoing *o = (struct wcp_outgoing *)e;
    struct exchange *x = &o->x;
    x->busy++;
    if (tail.len == 0) {
        on_accept(o, m);
    } else if (wcp_str_eq(tail, WCP_STR("results"))) {
        exchange_touch(x);
        on_answering(o);
        x->root_ended |= m->data.len == 0;
        if (o->raw)
            on_raw(o, WCP_STR(""), m->data);
        else
            on_result(o, m->data, &m->owner);
    } else if (tail.len > 8 && memcmp(tail.ptr, "results.", 8) == 0) {
        struct path p;
        struct wcp_str path = {tail.ptr + 8, tail.len - 8};
        on_answering(o);
        if (o->raw)
            on_raw(o, path, m->data);
        else if (path_parse(path, &p))
            exchange_receive(x, &p, m->data, m->data.len == 0);
    }
    x->busy--;
    settle(x);
}

static struct wcp_outgoing *new_outgoing(struct rpc *r, struct framed *framed,
                                         const struct wcp_interface *iface, size_t func,
                                         void (*done)(void), void *ctx)
{
    struct wcp_outgoing *o = wcp_calloc(1, sizeof *o);
    struct exchange *x = &o->x;
    /* A call as bytes has no done, and its function goes with it: it is not counted. */
    exchange_init(x, r, false, done ? stats_of(r, false, iface, &iface->funcs[func]) : NULL,
                  framed);
    x->iface = iface;
    x->func = &iface->funcs[func];
    x->arena = &o->arena;
    x->settled = settle;
    x->fail = fail;
    x->destroy = destroy;
    o->arena.limit = r->limits.arena_bytes;
    o->done = done;
    o->ctx = ctx;
    const struct trace *t = trace_now();
    if (t)
        x->trace = trace_new(wcp_str(t->parent), wcp_str(t->state));
    x->deadline.fn = on_deadline;
    timers_set(&r->timers, &x->deadline, x->active + r->limits.call_ms);
    return o;
}

static void on_root(struct exchange *x)
{
    struct wcp_outgoing *o = (struct wcp_outgoing *)x;
    /* A function without a result has succeeded when the peer ends its direction, not before. */
    if (!o->delivered && !x->dead && (x->func->result || x->root_ended))
        on_result(o, (struct wcp_bytes){0}, NULL);
}

struct wcp_outgoing *rpc_invoke_conn(struct rpc *r, struct wcp_conn *conn,
                                     const struct wcp_interface *iface, size_t func,
                                     const void *params, void (*done)(void), void *ctx)
{
    struct wcp_outgoing *o = new_outgoing(r, framed_new(r, conn), iface, func, done, ctx);
    struct exchange *x = &o->x;
    x->on_root = on_root;
    exchange_encode(x, x->func->params, params, &o->params);
    o->accepted = true;
    framed_begin(x);
    open_params(o);
    x->wire->settled(x);
    return o;
}

/* The invocation, with as many of the parameters as it may hold. */
static void publish(struct wcp_outgoing *o, struct wcp_str to, const char *function,
                    const struct wcp_header *headers, size_t header_count)
{
    struct rpc *r = o->x.rpc;
    char subject[SUBJECT_MAX], rc[INBOX_SUBJECT_MAX];
    int n = snprintf(subject, sizeof subject, "%s.%.*s.wrpc.0.0.1.%s", r->lattice, WCP_ARG(to),
                     function);
    assert(n > 0 && (size_t)n < sizeof subject); /* ids are bounded where links are read */
    inbox_subject(r, &o->x.entry, rc);
    size_t overhead = sizeof "NATS/1.0\r\n\r\n" + strlen(rc);
    for (size_t i = 0; i < header_count; i++)
        overhead += strlen(headers[i].name) + strlen(headers[i].value) + sizeof ": \r\n";
    size_t most = r->t->max_payload > overhead ? r->t->max_payload - overhead : 0;
    o->sent = o->params.len < most ? o->params.len : most;
    r->t->publish(r->t, &(struct wcp_msg){.subject = subject,
                                          .reply = rc,
                                          .data = {o->params.ptr, o->sent},
                                          .headers = headers,
                                          .header_count = header_count});
}

struct wcp_outgoing *rpc_invoke(struct rpc *r, struct wcp_link *l,
                                const struct wcp_interface *iface, size_t func, const void *params,
                                void (*done)(void), void *ctx)
{
    struct wcp_outgoing *o = new_outgoing(r, NULL, iface, func, done, ctx);
    struct exchange *x = &o->x;
    x->entry.on_message = on_message;
    x->link = l;
    r->links.hold(r->links.ctx, l);
    exchange_encode(x, x->func->params, params, &o->params);

    struct wcp_header headers[5] = {
        {"source-id", r->id}, {"target-id", peer_id(l).ptr}, {"link-name", l->name.ptr}};
    size_t header_count = 3;
    if (x->trace)
        headers[header_count++] = (struct wcp_header){"traceparent", x->trace->parent};
    if (x->trace && *x->trace->state)
        headers[header_count++] = (struct wcp_header){"tracestate", x->trace->state};
    char function[SUBJECT_MAX];
    const char *instance = rpc_instance(iface);
    int n = snprintf(function, sizeof function, "%s%s%s", instance, *instance ? "." : "",
                     x->func->name);
    assert(n > 0 && (size_t)n < sizeof function); /* they are generated */
    publish(o, peer_id(l), function, headers, header_count);
    return o;
}

static void deliver_raw(void (*done)(void), void *ctx, const void *result, int status)
{
    const struct raw *raw = ctx;
    raw->c.failed(raw->c.ctx, status);
}

struct wcp_outgoing *rpc_invoke_raw(struct rpc *r, const char *to, const struct rpc_raw *c)
{
    static const struct wcp_type nothing = {.kind = WCP_RECORD};
    size_t n = strlen(c->function) + 1;
    struct raw *raw = wcp_calloc(1, sizeof *raw + n);
    memcpy(raw->function, c->function, n);
    raw->c = *c;
    raw->func =
        (struct wcp_func){.name = raw->function, .params = &nothing, .deliver = deliver_raw};
    raw->iface = (struct wcp_interface){.name = "", .funcs = &raw->func, .count = 1};
    struct wcp_outgoing *o = new_outgoing(r, NULL, &raw->iface, 0, NULL, raw);
    o->raw = raw;
    o->x.entry.on_message = on_message;
    wcp_buf_put(&o->params, c->params.ptr, c->params.len);
    for (size_t i = 0; i < c->channel_count; i++)
        outs_put_bytes(&o->x, &c->channels[i].path, c->channels[i].data);
    publish(o, wcp_str(to), raw->function, c->headers, c->header_count);
    return o;
}

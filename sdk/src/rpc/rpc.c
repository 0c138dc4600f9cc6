/* rpc.c: one identity's wRPC: subscriptions, inbox numbers, plain requests, events in. */
#include "rpc/exchange.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

/* An inbox number is generation << SLOT_BITS | slot, so that what comes late for a former call of
 * the same slot is recognised and dropped. */
#define SLOT_BITS 20

const char *msg_header(const struct wcp_msg *m, const char *name)
{
    if (m->header)
        return m->header(m, name);
    for (size_t i = 0; i < m->header_count; i++)
        if (strcmp(m->headers[i].name, name) == 0)
            return m->headers[i].value;
    return NULL;
}

static void limits_fill(struct wcp_limits *l)
{
#define DEFAULT(name, value) l->name = l->name ? l->name : (value)
    DEFAULT(message_bytes, (size_t)256 << 20);
    DEFAULT(arena_bytes, (size_t)512 << 20);
    DEFAULT(open_calls, 65536);
    DEFAULT(stream_bytes, (size_t)16 << 20);
    DEFAULT(stream_total_bytes, (size_t)64 << 20);
    DEFAULT(call_ms, 30000);
    DEFAULT(link_wait_ms, 500);
#undef DEFAULT
}

struct rpc *rpc_new(const struct rpc_config *c)
{
    struct rpc *r = wcp_calloc(1, sizeof *r);
    char subject[INBOX_SUBJECT_MAX];
    r->t = c->transport;
    r->lattice = wcp_str_dup(wcp_str(c->lattice));
    r->id = wcp_str_dup(wcp_str(c->id));
    r->limits = c->limits;
    limits_fill(&r->limits);
    /* Refused calls need numbers too, and so do calls out. */
    assert(r->limits.open_calls <= (size_t)1 << (SLOT_BITS - 2));
    r->links = c->links;
    r->instance = c->instance;
    r->serves_anyone = c->serves_anyone;
    r->inbox_len = strlen(r->t->inbox);
    assert(r->inbox_len + 32 < sizeof subject);
    snprintf(subject, sizeof subject, "%s.>", r->t->inbox);
    r->inbox_sub = r->t->subscribe(r->t, subject, NULL);
    return r;
}

/* --- inbox numbers --- */

void inbox_add(struct rpc *r, struct inbox_entry *e)
{
    if (!r->free_slot) {
        size_t n = r->slot_count ? 2 * r->slot_count : 64;
        assert(n <= (size_t)1 << SLOT_BITS);
        r->slots = wcp_realloc(r->slots, n * sizeof *r->slots);
        for (size_t i = n; i-- > r->slot_count;) {
            r->slots[i] = (struct slot){.next_free = r->free_slot};
            r->free_slot = (uint32_t)i + 1;
        }
        r->slot_count = n;
    }
    size_t i = r->free_slot - 1;
    struct slot *s = &r->slots[i];
    r->free_slot = s->next_free;
    s->generation++;
    s->entry = e;
    e->number = (uint64_t)s->generation << SLOT_BITS | i;
}

void inbox_remove(struct rpc *r, struct inbox_entry *e)
{
    if (!e->number)
        return;
    size_t i = e->number & ((1u << SLOT_BITS) - 1);
    r->slots[i].entry = NULL;
    r->slots[i].next_free = r->free_slot;
    r->free_slot = (uint32_t)i + 1;
    e->number = 0;
}

void inbox_subject(const struct rpc *r, const struct inbox_entry *e, char out[INBOX_SUBJECT_MAX])
{
    /* By hand: this runs for every call. */
    char digits[16];
    size_t n = 0;
    for (uint64_t v = e->number; v; v >>= 4)
        digits[n++] = "0123456789abcdef"[v & 15];
    memcpy(out, r->t->inbox, r->inbox_len);
    out += r->inbox_len;
    *out++ = '.';
    while (n)
        *out++ = digits[--n];
    *out = '\0';
}

static void inbox_message(struct rpc *r, struct wcp_msg *m)
{
    const char *p = m->subject + r->inbox_len + 1;
    char *end = NULL;
    uint64_t number = strtoull(p, &end, 16);
    size_t i = number & ((1u << SLOT_BITS) - 1);
    struct inbox_entry *e = i < r->slot_count ? r->slots[i].entry : NULL;
    if (e && e->number == number && (*end == '\0' || *end == '.'))
        e->on_message(e, wcp_str(*end ? end + 1 : end), m);
    else
        r->stats.late_messages++; /* for a call that is over */
}

/* --- plain requests --- */

struct request {
    struct inbox_entry entry;
    struct timer deadline;
    struct rpc *rpc;
    struct request *next, **prev;
    void (*done)(void *ctx, const struct wcp_msg *m, int status);
    void *ctx;
};

static void request_end(struct request *q, const struct wcp_msg *m, int status)
{
    struct request done = *q;
    inbox_remove(q->rpc, &q->entry);
    timers_clear(&q->rpc->timers, &q->deadline);
    *q->prev = q->next;
    if (q->next)
        q->next->prev = q->prev;
    free(q);
    done.done(done.ctx, m, status);
}

static void request_message(struct inbox_entry *e, struct wcp_str tail, struct wcp_msg *m)
{
    if (tail.len == 0)
        request_end((struct request *)e, m, 0);
}

static void request_timeout(struct timer *t)
{
    struct request *q = (struct request *)((char *)t - offsetof(struct request, deadline));
    request_end(q, NULL, WCP_ETIMEOUT);
}

void rpc_request(struct rpc *r, const struct wcp_msg *request, uint32_t timeout_ms,
                 void (*done)(void *ctx, const struct wcp_msg *m, int status), void *ctx)
{
    char reply[INBOX_SUBJECT_MAX];
    struct request *q = wcp_calloc(1, sizeof *q);
    q->entry.on_message = request_message;
    q->deadline.fn = request_timeout;
    q->rpc = r;
    q->done = done;
    q->ctx = ctx;
    q->next = r->requests;
    q->prev = &r->requests;
    if (q->next)
        q->next->prev = &q->next;
    r->requests = q;
    inbox_add(r, &q->entry);
    inbox_subject(r, &q->entry, reply);
    timers_set(&r->timers, &q->deadline, r->t->now(r->t) + timeout_ms);
    struct wcp_msg m = *request;
    m.reply = reply;
    r->t->publish(r->t, &m);
}

/* --- plain subscriptions --- */

/* Not below the inbox, whose own subscription would get everything, too. */
void rpc_subscribe(struct rpc *r, struct rpc_sub *s)
{
    snprintf(s->subject, sizeof s->subject, "%s-%" PRIu64, r->t->inbox, ++r->plain_subs_made);
    s->sub = r->t->subscribe(r->t, s->subject, NULL);
    s->next = r->plain_subs;
    r->plain_subs = s;
}

void rpc_unsubscribe(struct rpc *r, struct rpc_sub *s)
{
    struct rpc_sub **p = &r->plain_subs;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    r->t->leave(r->t, s->sub);
}

void rpc_publish(struct rpc *r, const char *subject)
{
    r->t->publish(r->t, &(struct wcp_msg){.subject = subject});
}

static struct rpc_sub *find_plain(const struct rpc *r, int sub)
{
    struct rpc_sub *s = r->plain_subs;
    while (s && s->sub != sub)
        s = s->next;
    return s;
}

struct timers *rpc_timers(struct rpc *r)
{
    return &r->timers;
}

uint64_t rpc_now(const struct rpc *r)
{
    return r->t->now(r->t);
}

/* --- serving --- */

const char *rpc_instance(const struct wcp_interface *i)
{
    return i->in_world ? "" : i->name;
}

static void serve_as(struct rpc *r, const struct wcp_export *e, const struct wcp_func *f,
                     const char *instance)
{
    char subject[512], queue[256];
    snprintf(queue, sizeof queue, "%s.%s", r->lattice, r->id);
    int n = snprintf(subject, sizeof subject, "%s.wrpc.0.0.1.%s%s%s", queue, instance,
                     *instance ? "." : "", f->name);
    assert(n > 0 && (size_t)n < sizeof subject);
    r->served = wcp_realloc(r->served, (r->served_count + 1) * sizeof *r->served);
    r->served[r->served_count++] = (struct served){.sub = r->t->subscribe(r->t, subject, queue),
                                                   .instance = instance,
                                                   .iface = e->interface,
                                                   .func = f,
                                                   .impl = e->impl,
                                                   .stats = stats_of(r, true, e->interface, f)};
}

void rpc_serve(struct rpc *r, const struct wcp_export *e)
{
    for (size_t i = 0; i < e->interface->count; i++) {
        const struct wcp_func *f = &e->interface->funcs[i];
        void (*handler)(void) = NULL;
        memcpy(&handler, (const char *)e->impl + e->interface->handlers[i], sizeof handler);
        if (!handler)
            continue;
        serve_as(r, e, f, rpc_instance(e->interface));
        if (e->interface->in_world) /* what Rust's bindgen up to 0.11 calls */
            serve_as(r, e, f, e->interface->name);
    }
}

void rpc_leave(struct rpc *r)
{
    for (size_t i = 0; i < r->served_count; i++)
        r->t->leave(r->t, r->served[i].sub);
    framed_leave(r);
}

size_t rpc_running(const struct rpc *r)
{
    return r->running_in + r->running_out;
}

bool rpc_has_left(const struct rpc *r)
{
    for (size_t i = 0; i < r->served_count; i++)
        if (!r->served[i].left)
            return false;
    return true;
}

bool rpc_idle(const struct rpc *r)
{
    return rpc_has_left(r) && rpc_running(r) == 0 && !r->headless;
}

/* Each failure can run callbacks that end others, so look anew. framed: also those that have a
 * connection of their own. */
static void fail_all(struct rpc *r, bool framed, const char *why, bool tell_peer)
{
    for (struct exchange *x = r->exchanges; x;) {
        if (!x->dead && (framed || !x->framed)) {
            x->fail(x, WCP_ECLOSED, why, tell_peer);
            x = r->exchanges;
        } else {
            x = x->next;
        }
    }
}

void rpc_abort(struct rpc *r)
{
    fail_all(r, true, "the provider is ending", true);
    framed_close_all(r);
}

void rpc_free(struct rpc *r)
{
    if (!r)
        return;
    rpc_abort(r);
    while (r->requests)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        request_end(r->requests, NULL, WCP_ECLOSED);
    /* A handler that still owes its reply keeps its call; there is nobody left to answer. */
    while (r->exchanges) {
        struct exchange *x = r->exchanges;
        exchange_close(x);
        x->destroy(x);
    }
    complaints_tell(r);
    timers_close(&r->timers);
    while (r->call_stats) {
        struct call_stats *s = r->call_stats;
        r->call_stats = s->next;
        free(s);
    }
    free(r->slots);
    free(r->served);
    free(r->lattice);
    free(r->id);
    free(r);
}

/* --- events --- */

static struct served *find_served(struct rpc *r, int sub)
{
    for (size_t i = 0; i < r->served_count; i++)
        if (r->served[i].sub == sub)
            return &r->served[i];
    return NULL;
}

bool rpc_message(struct rpc *r, int sub, struct wcp_msg *m)
{
    if (sub == r->inbox_sub) {
        inbox_message(r, m);
        return true;
    }
    const struct served *s = find_served(r, sub);
    struct rpc_sub *plain = s ? NULL : find_plain(r, sub);
    if (s)
        server_message(r, s, m);
    else if (plain)
        plain->message(plain, m);
    return s || plain;
}

bool rpc_left(struct rpc *r, int sub)
{
    struct served *s = find_served(r, sub);
    if (s)
        s->left = true;
    return s != NULL;
}

bool rpc_lost(struct rpc *r, int sub)
{
    r->stats.losses++;
    if (sub == r->inbox_sub) {
        /* Bytes of some call are missing, and values carry no sequence numbers: none can be
         * trusted. */
        wcp_log(WCP_ERROR, "messages of running calls were dropped: all of them are failed", NULL);
        fail_all(r, false, "messages were dropped", true);
        return true;
    }
    struct rpc_sub *plain = find_plain(r, sub);
    if (plain) {
        plain->lost(plain);
        return true;
    }
    const struct served *s = find_served(r, sub);
    static const char what[] =
        "invocations were dropped: this provider is too slow for its callers";
    if (s && complain(r, what, WCP_ETOOBIG))
        wcp_log(WCP_ERROR, what, "function", s->func->name, NULL);
    return s != NULL;
}

void rpc_writable(struct rpc *r)
{
    outs_writable(&r->blocked);
}

void rpc_disconnected(struct rpc *r)
{
    fail_all(r, false, "the connection to NATS was lost", false);
    while (r->requests)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        request_end(r->requests, NULL, WCP_ECLOSED);
}

void rpc_link_added(struct rpc *r)
{
    server_link_added(r);
}

uint64_t rpc_next(const struct rpc *r)
{
    return timers_next(&r->timers);
}

void rpc_tick(struct rpc *r)
{
    timers_fire(&r->timers, r->t->now(r->t));
}

struct rpc_stats rpc_stats(const struct rpc *r)
{
    struct rpc_stats s = r->stats;
    s.waiting_for_link = r->waiting_for_link;
    s.stream_bytes = r->stream_bytes;
    return s;
}

/* in.c: incoming streams and futures: bytes collect, and are delivered as values while the reader
 * wants them. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define STEP_VALUES 1024u
#define ORPHANS_MAX 64 /* channels that may come before what announces them */

struct wcp_in {
    struct exchange *x;
    struct wcp_in *next;
    const struct wcp_type *type; /* the stream or future */
    struct path path;
    struct wcp_buf buf; /* received and not delivered: from off on */
    size_t off;
    uint64_t chunk_left; /* elements of the current chunk still to come */
    const void *items;   /* inline values that wait for the reader */
    size_t item_count;
    bool inline_, started, paused, closed /* by the peer */, delivering, gone;
    bool over; /* nothing more will be delivered: end() is next, with status */
    int status;
    const struct wcp_in_handler *handler;
    void *ctx;
};

/* Channel bytes for a path that the root has not announced yet. */
struct orphan {
    struct orphan *next;
    struct path path;
    struct wcp_buf buf;
    bool closed;
};

static bool path_equal(const struct path *a, const struct path *b)
{
    return a->n == b->n && memcmp(a->at, b->at, a->n * sizeof *a->at) == 0;
}

static void in_unlink(struct wcp_in *s)
{
    for (struct wcp_in **p = &s->x->ins; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            return;
        }
}

/* Takes s out of its call. The memory stays while in_deliver works on it. */
static void in_remove(struct wcp_in *s)
{
    struct exchange *x = s->x;
    in_unlink(s);
    x->rpc->stream_bytes -= s->buf.len;
    wcp_buf_free(&s->buf);
    s->gone = true;
    if (!s->delivering)
        free(s);
}

static void in_drop_bytes(struct wcp_in *s)
{
    s->x->rpc->stream_bytes -= s->buf.len;
    wcp_buf_free(&s->buf);
    s->off = 0;
}

static void in_stop(struct wcp_in *s, int status)
{
    if (!s->over) {
        s->over = true;
        s->status = status;
    }
}

static struct wcp_bytes in_bytes(const struct wcp_in *s)
{
    return (struct wcp_bytes){s->off ? s->buf.ptr + s->off : s->buf.ptr, s->buf.len - s->off};
}

static void in_consume(struct wcp_in *s, struct wcp_bytes rest)
{
    s->off = s->buf.len - rest.len;
    if (s->off == s->buf.len) {
        s->x->rpc->stream_bytes -= s->buf.len;
        s->buf.len = s->off = 0;
    }
}

/* Delivers one step. False: nothing more can be done now. */
static bool in_step(struct wcp_in *s)
{
    const struct wcp_type *elem = s->type->elem;
    struct wcp_bytes in = in_bytes(s);
    struct wcp_err err = {0};
    int rc = 0;

    if (s->inline_) {
        s->inline_ = false;
        in_stop(s, 0);
        if (s->item_count)
            s->handler->data(s->ctx, s->items, s->item_count);
        return true;
    }
    if (s->type->kind == WCP_FUTURE && !elem) {
        if (s->closed)
            in_stop(s, 0);
        return s->closed;
    }
    if (s->type->kind == WCP_STREAM && s->chunk_left == 0) {
        if (in.len == 0 || (rc = codec_get_leb(&in, 32, &s->chunk_left, &err)) == WCP_EMORE) {
            if (s->closed) /* without the empty chunk that ends a stream: it broke off */
                in_stop(s, WCP_ECLOSED);
            return s->closed;
        }
        in_consume(s, in);
        if (rc || s->chunk_left == 0)
            in_stop(s, rc ? WCP_EPROTO : 0);
        return true;
    }
    if (s->type->kind == WCP_STREAM && elem->kind == WCP_U8) {
        size_t n = in.len < s->chunk_left ? in.len : (size_t)s->chunk_left;
        if (n == 0) {
            if (s->closed)
                in_stop(s, WCP_ECLOSED);
            return s->closed;
        }
        s->chunk_left -= n;
        /* The bytes must outlive the callback, which may let more of them come in. */
        struct wcp_buf taken = s->buf;
        size_t off = s->off;
        s->x->rpc->stream_bytes -= s->buf.len;
        s->buf = (struct wcp_buf){0};
        s->off = 0;
        if (n < in.len) {
            wcp_buf_put(&s->buf, in.ptr + n, in.len - n);
            s->x->rpc->stream_bytes += s->buf.len;
        }
        s->handler->data(s->ctx, taken.ptr + off, n);
        wcp_buf_free(&taken);
        return true;
    }
    /* Values of a type: several at a time, since what is behind them is copied. */
    struct wcp_arena arena = {.limit = s->x->rpc->limits.arena_bytes};
    struct decoder d = {.in = in, .arena = &arena, .err = &err};
    size_t most = s->type->kind == WCP_FUTURE ? 1 : (size_t)s->chunk_left, n = 0;
    most = most < in.len ? most : in.len; /* each takes a byte or more */
    most = most < STEP_VALUES ? most : STEP_VALUES;
    char *values = wcp_alloc(&arena, most ? most : 1, elem->size);
    do {
        in = d.in;
        rc = codec_decode(&d, elem, values + n * elem->size);
        n += rc == 0;
    } while (rc == 0 && n < most);
    if (n) { /* what is wrong behind them is the next step's */
        d.in = rc ? in : d.in;
        rc = 0;
        struct wcp_buf taken = s->buf; /* the values point into it */
        s->x->rpc->stream_bytes -= s->buf.len;
        s->buf = (struct wcp_buf){0};
        s->off = 0;
        if (d.in.len) {
            wcp_buf_put(&s->buf, d.in.ptr, d.in.len);
            s->x->rpc->stream_bytes += s->buf.len;
        }
        if (s->type->kind == WCP_FUTURE)
            in_stop(s, 0);
        else
            s->chunk_left -= n;
        s->handler->data(s->ctx, values, n);
        wcp_buf_free(&taken);
    } else if (rc != WCP_EMORE) {
        wcp_log(WCP_WARN, "a value on a stream cannot be decoded", "function", s->x->func->name,
                "error", err.msg, NULL);
        in_stop(s, WCP_EPROTO);
    } else if (s->closed) {
        in_stop(s, WCP_ECLOSED);
    }
    wcp_arena_free(&arena);
    return rc != WCP_EMORE || s->closed;
}

/* Gives the reader what it wants. Its callbacks may pause, cancel, reply or fail the call. */
static void in_deliver(struct wcp_in *s)
{
    struct exchange *x = s->x;
    if (!s->started || s->delivering)
        return;
    s->delivering = true;
    x->busy++;
    while (!s->gone && !s->over && !s->paused && in_step(s))
        exchange_touch(x); /* reading what is here already is progress too */
    s->delivering = false;
    if (s->gone) {
        free(s);
    } else if (s->over && (!s->paused || s->status)) {
        const struct wcp_in_handler *h = s->handler;
        void *ctx = s->ctx;
        int status = s->status;
        in_remove(s);
        h->end(ctx, status);
    }
    x->busy--;
    x->settled(x);
}

static bool in_waits(const struct wcp_in *s)
{
    return !s->started || s->paused;
}

static void in_receive(struct wcp_in *s, struct wcp_bytes data, bool closed)
{
    struct rpc *r = s->x->rpc;
    if (s->over || s->closed)
        return;                     /* what follows the end */
    bool waits = in_waits(s);       /* a reader that keeps up is no part of the total */
    if (!(waits && s->x->framed) && /* a connection is not read then */
        (s->buf.len - s->off + data.len > r->limits.stream_bytes ||
         (waits && r->stream_bytes + data.len > r->limits.stream_total_bytes))) {
        wcp_logf(
            WCP_ERROR,
            "%s: a stream's reader is too slow: %zu bytes would wait, the limits are %zu and %zu "
            "for all streams",
            s->x->func->name, s->buf.len - s->off + data.len, r->limits.stream_bytes,
            r->limits.stream_total_bytes);
        r->stats.failed++;
        in_stop(s, WCP_ETOOBIG);
        in_drop_bytes(s);
        in_deliver(s);
        return;
    }
    if (data.len) {
        if (s->off) { /* keep what waits at the front */
            memmove(s->buf.ptr, s->buf.ptr + s->off, s->buf.len - s->off);
            r->stream_bytes -= s->off;
            s->buf.len -= s->off;
            s->off = 0;
        }
        wcp_buf_put(&s->buf, data.ptr, data.len);
        r->stream_bytes += data.len;
    }
    s->closed = closed;
    in_deliver(s);
}

void wcp_in_start(struct wcp_in *s, const struct wcp_in_handler *h, void *ctx)
{
    assert(!s->started);
    s->started = true;
    s->handler = h;
    s->ctx = ctx;
    in_deliver(s);
}

void wcp_in_pause(struct wcp_in *s)
{
    s->paused = true;
}

void wcp_in_resume(struct wcp_in *s)
{
    s->paused = false;
    in_deliver(s);
}

void wcp_in_cancel(struct wcp_in *s)
{
    struct exchange *x = s->x;
    x->busy++;
    in_remove(s);
    x->busy--;
    x->settled(x);
}

static void orphans_free(struct exchange *x)
{
    while (x->orphans) {
        struct orphan *o = x->orphans;
        x->orphans = o->next;
        x->rpc->stream_bytes -= o->buf.len;
        wcp_buf_free(&o->buf);
        free(o);
    }
}

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n)
{
    struct exchange *x = d->ctx;
    struct wcp_in *s = wcp_calloc(1, sizeof *s);
    s->x = x;
    s->type = t;
    s->path = d->path;
    s->inline_ = !pending;
    s->items = items;
    s->item_count = n;
    s->closed = x->ins_ended;
    s->next = x->ins;
    x->ins = s;
    return s;
}

/* Hands over what came for the channels before the root announced them. */
static void adopt_orphans(struct exchange *x)
{
    for (struct orphan *o = x->orphans; o; o = o->next)
        for (struct wcp_in *s = x->ins; s; s = s->next)
            if (path_equal(&s->path, &o->path)) {
                s->buf = o->buf; /* counted already */
                s->closed |= o->closed;
                o->buf = (struct wcp_buf){0};
                break;
            }
    orphans_free(x);
}

int exchange_decode(struct exchange *x, const struct wcp_type *t, struct wcp_bytes first, void *out,
                    struct wcp_err *err)
{
    struct decoder d = {
        .in = first, .arena = x->arena, .err = err, .on_async = on_async_in, .ctx = x};
    d.path.n = x->incoming ? 0 : 1; /* a result is result number 0 */
    if (x->root.len) {
        wcp_buf_put(&x->root, first.ptr, first.len);
        if (x->root.len < x->root_want && !x->root_ended)
            return WCP_EMORE; /* no use in trying */
        d.in = (struct wcp_bytes){x->root.ptr, x->root.len};
    }
    int rc = codec_decode(&d, t, out);
    if (rc == 0) {
        x->decoded = true;
        adopt_orphans(x);
        return 0;
    }
    while (x->ins) /* made by this attempt, as is all in the arena */
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list */
        in_remove(x->ins);
    wcp_arena_free(x->arena);
    if (rc != WCP_EMORE)
        return rc;
    if (x->root.len == 0)
        wcp_buf_put(&x->root, first.ptr, first.len);
    x->root_want = x->root.len + d.need;
    if (x->root_want > x->rpc->limits.message_bytes)
        return wcp_fail(err, WCP_ETOOBIG, "at least %zu bytes, the limit is %zu", x->root_want,
                        x->rpc->limits.message_bytes);
    return WCP_EMORE;
}

void exchange_receive(struct exchange *x, const struct path *p, struct wcp_bytes data, bool closed)
{
    if (x->dead)
        return;
    exchange_touch(x);
    for (struct wcp_in *s = x->ins; s; s = s->next)
        if (path_equal(&s->path, p)) {
            in_receive(s, data, closed);
            return;
        }
    if (x->decoded)
        return; /* a parent path's empty message, or a channel that nobody reads any more */
    struct orphan *o = x->orphans;
    size_t count = 0;
    for (; o && !path_equal(&o->path, p); o = o->next)
        count++;
    if (!o) {
        o = wcp_calloc(1, sizeof *o);
        o->path = *p;
        o->next = x->orphans;
        x->orphans = o;
    }
    if (x->rpc->stream_bytes + data.len > x->rpc->limits.stream_total_bytes ||
        o->buf.len + data.len > x->rpc->limits.stream_bytes || count == ORPHANS_MAX) {
        x->fail(x, WCP_ETOOBIG, "its streams come before its parameters and are too many", true);
        return;
    }
    wcp_buf_put(&o->buf, data.ptr, data.len);
    x->rpc->stream_bytes += data.len;
    o->closed |= closed;
}

void exchange_drop_unstarted(struct exchange *x)
{
    for (struct wcp_in *s = x->ins, *next; s; s = next) {
        next = s->next;
        if (!s->started)
            in_remove(s);
    }
}

size_t ins_waiting(const struct exchange *x)
{
    size_t n = 0;
    for (const struct wcp_in *s = x->ins; s; s = s->next)
        if (in_waits(s))
            n += s->buf.len - s->off;
    return n;
}

void ins_end(struct exchange *x)
{
    x->ins_ended = true;
    for (bool again = true; again;) { /* each end may cancel others */
        again = false;
        for (struct wcp_in *s = x->ins; s && !again; s = s->next)
            if (!s->closed && !s->over) {
                again = true;
                in_receive(s, (struct wcp_bytes){0}, true);
            }
    }
}

void ins_cut(struct exchange *x, int status)
{
    for (struct wcp_in *s = x->ins, *next; s; s = next) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): after in_deliver, next is from the list */
        next = s->next;
        if (!s->started) { /* its reader learns it when it starts, or its owner drops it */
            in_stop(s, status);
            in_drop_bytes(s);
        } else if (s->delivering) { /* in_deliver ends it when the callback that runs is done */
            in_stop(s, status);
        } else if (!s->over) {
            in_stop(s, status);
            s->paused = false;
            in_deliver(s);
            next = x->ins; /* its end may have cancelled others */
        }
    }
}

void ins_close(struct exchange *x)
{
    while (x->ins)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list */
        in_remove(x->ins);
    orphans_free(x);
}

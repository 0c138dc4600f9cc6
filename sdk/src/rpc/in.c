/* in.c: incoming streams and futures: bytes collect, and are delivered as values while the reader
 * wants them.
 *
 * Values can hold streams and futures themselves, at any depth. A value's readers are made when it
 * is decoded. Those in the elements of a stream belong to its reader until they are delivered, and
 * are dropped when the callback that got them has not started them. What is inside the value of a
 * future can have the same path (wrpc.md §1.5): it then gets what follows the value on that
 * channel. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define STEP_VALUES 1024u
#define ORPHANS_MAX 1024 /* channels that may come before what announces them */
#define INS_MAX     4096 /* of one call at a time */

/* The memory of elements that hold streams or futures, which may be here already and lie in it too:
 * it lives as long as the last of them. */
struct piece {
    unsigned refs;
    struct wcp_arena arena;
    struct wcp_buf bytes;
};

struct wcp_in {
    struct exchange *x;
    struct wcp_in *next, **prev; /* in x->ins, those made later first */
    const struct wcp_type *type; /* the stream or future */
    struct path path;
    struct wcp_buf buf; /* received and not delivered: from off on */
    size_t off;
    struct walk *walk;   /* over the element that begins there and has not come as a whole */
    uint64_t chunk_left; /* elements of the current chunk still to come */
    uint32_t decoded;    /* elements that are: the number of the next one, for paths */
    const void *items;   /* inline values that wait for the reader */
    size_t item_count;
    struct piece *piece;  /* where they lie; NULL: with the call's other values */
    struct wcp_in *owner; /* whose element this is in, as long as that is not delivered */
    bool inline_, started, paused, closed /* by the peer */, delivering, gone, dropped;
    bool over; /* nothing more will be delivered: end() is next, with status */
    int status;
    const struct wcp_in_handler *handler;
    void *ctx;
};

/* Channel bytes for a path that nothing has announced yet. */
struct orphan {
    struct orphan *next;
    struct path path;
    struct wcp_buf buf;
    bool closed;
};

/* a begins with b. */
static bool path_within(const struct path *a, const struct path *b)
{
    return a->n >= b->n && memcmp(a->at, b->at, b->n * sizeof *a->at) == 0;
}

static bool path_equal(const struct path *a, const struct path *b)
{
    return a->n == b->n && path_within(a, b);
}

static void piece_release(struct piece *p)
{
    if (!p || --p->refs)
        return;
    wcp_arena_free(&p->arena);
    wcp_buf_free(&p->bytes);
    free(p);
}

static void in_drop_bytes(struct wcp_in *s)
{
    s->x->rpc->stream_bytes -= s->buf.len;
    wcp_buf_free(&s->buf);
    s->off = 0;
}

static void in_free(struct wcp_in *s)
{
    piece_release(s->piece);
    free(s);
}

/* Takes s out of its call. The memory stays while in_deliver works on it. */
static void in_unlink(struct wcp_in *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->x->in_count--;
    in_drop_bytes(s);
    walk_free(&s->walk);
    s->gone = true;
    if (!s->delivering)
        in_free(s);
}

/* What lay in values that are over now (owner's elements; NULL: parameters or results) and was not
 * started is dropped, with all in it. What was started goes on, on its own. */
static void drop_unstarted(struct exchange *x, const struct wcp_in *owner)
{
    /* Who owns others was made after them, and so comes first. */
    for (struct wcp_in *s = x->ins; s; s = s->next) {
        if (s->owner != owner)
            s->dropped = s->owner && s->owner->dropped;
        else if (s->started)
            s->owner = NULL;
        else
            s->dropped = true;
    }
    for (struct wcp_in *s = x->ins, *next; s; s = next) {
        next = s->next;
        if (s->dropped)
            in_unlink(s);
    }
}

static void in_remove(struct wcp_in *s)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): those that it has freed are off the list */
    if (s->inline_ && !s->delivering && s->type->elem && s->type->elem->async)
        drop_unstarted(s->x, s); /* they were to be delivered */
    in_unlink(s);
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

/* --- channels whose bytes come before what announces them --- */

/* Who can still announce path p, once the root is decoded. */
static struct wcp_in *announces(const struct exchange *x, const struct path *p)
{
    for (struct wcp_in *s = x->ins; s; s = s->next) {
        const struct wcp_type *elem = s->type->elem;
        if (elem && elem->async && !s->inline_ && !s->over && p->n > s->path.n &&
            path_within(p, &s->path) &&
            (s->type->kind == WCP_FUTURE || p->at[s->path.n] >= s->decoded))
            return s;
    }
    return NULL;
}

static void orphan_free(struct exchange *x, struct orphan *o)
{
    x->rpc->stream_bytes -= o->buf.len;
    wcp_buf_free(&o->buf);
    free(o);
}

/* Something was announced: hands over what came for it before, and forgets what came for paths that
 * nothing can announce any more. */
static void orphans_sort(struct exchange *x)
{
    for (struct orphan **p = &x->orphans, *o; (o = *p);) {
        struct wcp_in *s = x->ins;
        while (s && (s->inline_ || !path_equal(&s->path, &o->path)))
            s = s->next;
        if (!s && announces(x, &o->path)) {
            p = &o->next;
            continue;
        }
        if (s && !s->over) {
            s->buf = o->buf; /* counted already */
            s->closed |= o->closed;
            o->buf = (struct wcp_buf){0};
        }
        *p = o->next;
        orphan_free(x, o);
    }
}

static void orphans_free(struct exchange *x)
{
    for (struct orphan *o; (o = x->orphans);) {
        x->orphans = o->next;
        orphan_free(x, o);
    }
}

/* --- delivering --- */

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n);

/* Where readers come from: x's parameters or results, or elements of owner in piece. */
struct announcer {
    struct exchange *x;
    struct wcp_in *owner, *before; /* before: what was first in x->ins */
    struct piece *piece;
};

/* Takes back the readers that were made since. */
static void unannounce(const struct announcer *a)
{
    while (a->x->ins != a->before)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list */
        in_unlink(a->x->ins);
}

/* What follows a future's value belongs to what is in the value with the same path. */
static void in_bequeath(struct wcp_in *s, struct wcp_bytes rest)
{
    struct wcp_in *heir = s->x->ins;
    while (heir != s && (heir->inline_ || !path_equal(&heir->path, &s->path)))
        heir = heir->next;
    if (heir == s)
        return;
    wcp_buf_put(&heir->buf, rest.ptr, rest.len);
    s->x->rpc->stream_bytes += rest.len;
    heir->closed |= s->closed;
}

/* Values of a type: several at a time, since what is behind them is copied. */
static bool in_values(struct wcp_in *s)
{
    const struct wcp_type *elem = s->type->elem;
    struct exchange *x = s->x;
    struct rpc *r = x->rpc;
    struct wcp_bytes in = in_bytes(s);
    struct wcp_err err = {0};
    size_t n = 0, need = 0;
    bool future = s->type->kind == WCP_FUTURE;
    size_t most = future ? 1 : (size_t)s->chunk_left;
    most = most < in.len ? most : in.len; /* each takes a byte or more */
    most = most < STEP_VALUES ? most : STEP_VALUES;
    if (in.len == 0 ||
        (s->walk && walk(s->walk, s->buf.ptr + s->off, in.len, &need) == WCP_EMORE)) {
        if (s->closed)
            in_stop(s, WCP_ECLOSED);
        return s->closed;
    }
    walk_free(&s->walk);

    struct piece local = {.refs = 1}, *piece = elem->async ? wcp_calloc(1, sizeof *piece) : &local;
    piece->refs = 1;
    piece->arena.limit = r->limits.arena_bytes;
    struct announcer a = {x, s, x->ins, piece};
    struct decoder d = {.in = in,
                        .arena = &piece->arena,
                        .err = &err,
                        .path = s->path,
                        .padded_flags = exchange_codec(x).padded_flags,
                        .on_async = on_async_in,
                        .ctx = &a};
    char *values = wcp_alloc(&piece->arena, most, elem->size);
    int rc = 0;
    do {
        void *out = values + n * elem->size;
        in = d.in;
        a.before = x->ins;
        rc = future ? codec_decode(&d, elem, out)
                    : codec_decode_element(&d, elem, s->decoded + (uint32_t)n, out);
        n += rc == 0;
    } while (rc == 0 && n < most);
    if (rc)
        unannounce(&a);
    if (n) { /* what is wrong behind them is the next step's */
        d.in = rc ? in : d.in;
        rc = 0;
        piece->bytes = s->buf; /* the values point into it */
        r->stream_bytes -= s->buf.len;
        s->buf = (struct wcp_buf){0};
        s->off = 0;
        s->decoded += (uint32_t)n;
        if (future) {
            in_stop(s, 0);
            if (elem->async)
                in_bequeath(s, d.in);
        } else {
            s->chunk_left -= n;
            wcp_buf_put(&s->buf, d.in.ptr, d.in.len);
            r->stream_bytes += s->buf.len;
        }
        if (elem->async)
            orphans_sort(x);
        s->handler->data(s->ctx, values, n);
        if (elem->async)
            drop_unstarted(x, s);
    } else if (rc != WCP_EMORE) {
        static const char what[] = "a value on a stream cannot be decoded";
        if (complain(r, what, rc))
            wcp_log(WCP_WARN, what, "function", x->func->name, "error", err.msg, NULL);
        in_stop(s, rc == WCP_ETOOBIG ? rc : WCP_EPROTO);
    } else if (s->closed) {
        in_stop(s, WCP_ECLOSED);
    } else {
        s->walk = walk_new(elem, exchange_codec(x));
    }
    if (piece == &local) {
        wcp_arena_free(&local.arena);
        wcp_buf_free(&local.bytes);
    } else {
        piece_release(piece);
    }
    return rc != WCP_EMORE || s->closed;
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
        if (elem && elem->async)
            drop_unstarted(s->x, s);
        return true;
    }
    if (s->type->kind == WCP_FUTURE && !elem) {
        if (s->closed)
            in_stop(s, 0);
        return s->closed;
    }
    if (s->type->kind == WCP_STREAM && s->chunk_left == 0) {
        uint64_t n = 0; /* of an incomplete number nothing may stay */
        if (in.len == 0 || (rc = codec_get_leb(&in, 32, &n, &err)) == WCP_EMORE) {
            if (s->closed) /* without the empty chunk that ends a stream: it broke off */
                in_stop(s, WCP_ECLOSED);
            return s->closed;
        }
        in_consume(s, in);
        s->chunk_left = n;
        if (rc || n == 0)
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
        /* The bytes must outlive the callback, which may let more of them come in. What is left of
         * them goes back, not copied: a reader that was paused may have a lot of small chunks. */
        struct rpc *r = s->x->rpc;
        struct wcp_buf taken = s->buf;
        size_t off = s->off, rest = in.len - n;
        r->stream_bytes -= off + n;
        s->buf = (struct wcp_buf){0};
        s->off = 0;
        s->handler->data(s->ctx, taken.ptr + off, n);
        if (s->gone || rest == 0) {
            r->stream_bytes -= rest;
            wcp_buf_free(&taken);
            return true;
        }
        wcp_buf_put(&taken, s->buf.ptr, s->buf.len);
        wcp_buf_free(&s->buf);
        s->buf = taken;
        s->off = off + n;
        r->stream_bytes += s->off;
        return true;
    }
    return in_values(s);
}

/* Gives the reader what it wants. Its callbacks may pause, cancel, reply or fail the call. */
static void in_deliver(struct wcp_in *s)
{
    struct exchange *x = s->x;
    if (!s->started || s->delivering)
        return;
    s->delivering = true;
    x->busy++;
    struct trace before;
    trace_enter(x->trace, &before);
    while (!s->gone && !s->over && !s->paused && in_step(s))
        exchange_touch(x); /* reading what is here already is progress too */
    s->delivering = false;
    if (s->gone) {
        in_free(s);
    } else if (s->over && (!s->paused || s->status)) {
        const struct wcp_in_handler *h = s->handler;
        void *ctx = s->ctx;
        int status = s->status;
        in_remove(s);
        h->end(ctx, status);
    }
    trace_back(&before);
    x->busy--;
    x->settled(x);
}

/* More than the limits allow would wait for s. */
static void in_overflow(struct wcp_in *s, size_t bytes)
{
    struct rpc *r = s->x->rpc;
    if (complain(r, "a stream's reader is too slow", WCP_ETOOBIG))
        wcp_logf(WCP_ERROR,
                 "%s: a stream's reader is too slow: %zu bytes would wait, the limits are %zu and "
                 "%zu for all streams",
                 s->x->func->name, bytes, r->limits.stream_bytes, r->limits.stream_total_bytes);
    exchange_failed(s->x, WCP_ETOOBIG);
    in_stop(s, WCP_ETOOBIG);
    in_drop_bytes(s);
    in_deliver(s);
}

static bool in_waits(const struct wcp_in *s)
{
    return !s->started || s->paused;
}

static void in_receive(struct wcp_in *s, struct wcp_bytes data, bool closed)
{
    struct rpc *r = s->x->rpc;
    size_t bytes = s->buf.len - s->off + data.len;
    if (s->over || s->closed)
        return;                     /* what follows the end */
    bool waits = in_waits(s);       /* a reader that keeps up is no part of the total */
    if (!(waits && s->x->framed) && /* a connection is not read then */
        (bytes > r->limits.stream_bytes ||
         (waits && r->stream_bytes + data.len > r->limits.stream_total_bytes))) {
        in_overflow(s, bytes);
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

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n)
{
    const struct announcer *a = d->ctx;
    struct exchange *x = a->x;
    if (x->in_count == INS_MAX)
        return NULL;
    struct wcp_in *s = wcp_calloc(1, sizeof *s);
    s->x = x;
    s->type = t;
    s->path = d->path;
    s->owner = a->owner;
    if (!pending) {
        s->inline_ = true;
        s->items = items;
        s->item_count = n;
        s->piece = a->piece;
        if (s->piece)
            s->piece->refs++;
        /* What is in its values was decoded just before. */
        for (struct wcp_in *i = x->ins; i != a->before && path_within(&i->path, &s->path);
             i = i->next)
            if (i->owner == a->owner)
                i->owner = s;
    }
    s->closed = x->ins_ended;
    s->next = x->ins;
    s->prev = &x->ins;
    if (s->next)
        s->next->prev = &s->next;
    x->ins = s;
    x->in_count++;
    return s;
}

int exchange_keep(struct exchange *x, struct wcp_bytes first, struct wcp_err *err)
{
    size_t n = x->root.len + first.len, most = x->rpc->limits.message_bytes;
    if (n > most)
        return wcp_fail(err, WCP_ETOOBIG, "%zu bytes, the limit is %zu", n, most);
    wcp_buf_put(&x->root, first.ptr, first.len);
    return 0;
}

int exchange_decode(struct exchange *x, const struct wcp_type *t, struct wcp_bytes first, void *out,
                    struct wcp_err *err)
{
    struct announcer a = {.x = x};
    struct decoder d = {.in = first,
                        .arena = x->arena,
                        .err = err,
                        .padded_flags = exchange_codec(x).padded_flags,
                        .on_async = on_async_in,
                        .ctx = &a};
    const size_t most = x->rpc->limits.message_bytes;
    int rc = 0;
    d.path.n = x->incoming ? 0 : 1; /* a result is result number 0 */
    if (x->root.len) {
        if ((rc = exchange_keep(x, first, err)))
            return rc;
        d.in = (struct wcp_bytes){x->root.ptr, x->root.len};
    } else if (first.len > most) {
        return wcp_fail(err, WCP_ETOOBIG, "%zu bytes, the limit is %zu", first.len, most);
    }
    if (x->root_walk && x->root.len && !x->root_ended)
        rc = walk(x->root_walk, x->root.ptr, x->root.len, &d.need);
    if (rc != WCP_EMORE) {
        rc = codec_decode(&d, t, out);
        if (rc == 0) {
            x->decoded = true;
            orphans_sort(x);
            return 0;
        }
        unannounce(&a); /* made by this attempt, as is all in the arena */
        wcp_arena_free(x->arena);
        if (rc != WCP_EMORE)
            return rc;
        if (x->root.len == 0)
            wcp_buf_put(&x->root, first.ptr, first.len);
        if (x->root.len && !x->root_walk)
            x->root_walk = walk_new(t, exchange_codec(x));
    }
    if (d.need > most - x->root.len)
        return wcp_fail(err, WCP_ETOOBIG, "at least %zu bytes, the limit is %zu",
                        x->root.len + d.need, most);
    return WCP_EMORE;
}

void exchange_receive(struct exchange *x, const struct path *p, struct wcp_bytes data, bool closed)
{
    struct wcp_in *parent = NULL;
    if (x->dead)
        return;
    exchange_touch(x);
    for (struct wcp_in *s = x->ins; s; s = s->next)
        if (!s->inline_ && !s->over && path_equal(&s->path, p)) {
            in_receive(s, data, closed);
            return;
        }
    if (x->decoded && !(parent = announces(x, p)))
        return; /* a parent path's empty message, or a channel that nobody reads any more */
    struct orphan *o = x->orphans;
    size_t count = 0;
    for (; o && !path_equal(&o->path, p); o = o->next)
        count++;
    if (x->rpc->stream_bytes + data.len > x->rpc->limits.stream_total_bytes ||
        (o ? o->buf.len : 0) + data.len > x->rpc->limits.stream_bytes || count == ORPHANS_MAX) {
        if (parent)
            in_overflow(parent, (o ? o->buf.len : 0) + data.len);
        else
            x->fail(x, WCP_ETOOBIG, "its streams come before its parameters and are too many",
                    true);
        return;
    }
    if (!o) {
        o = wcp_calloc(1, sizeof *o);
        o->path = *p;
        o->next = x->orphans;
        x->orphans = o;
    }
    wcp_buf_put(&o->buf, data.ptr, data.len);
    x->rpc->stream_bytes += data.len;
    o->closed |= closed;
}

void exchange_drop_unstarted(struct exchange *x)
{
    drop_unstarted(x, NULL);
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
    for (struct wcp_in *s = x->ins; s;)
        if (s->closed || s->over) {
            s = s->next;
        } else {
            in_receive(s, (struct wcp_bytes){0}, true);
            s = x->ins; /* its end may have cancelled others */
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

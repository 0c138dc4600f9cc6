/* out.c: outgoing streams and futures: values are encoded when they are written; what is written
 * before the call is on its way, or before the peer may be sent to, waits. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define OUT_WAITING_MAX ((size_t)256 << 10) /* in wcp_out.buf before a writer is told to wait */

struct wcp_out {
    struct exchange *x; /* NULL: not part of a sent value yet, or the call is over */
    struct wcp_out *next;
    struct wcp_out *next_blocked, **prev_blocked;
    const struct wcp_type *elem;
    bool future, ended, aborted, dead;
    struct path path;
    struct wcp_buf buf; /* encoded elements that wait */
    size_t item_count;  /* how many */
    void (*drained)(void *ctx);
    void *ctx;
};

struct wcp_out *wcp_out_new(const struct wcp_type *elem)
{
    struct wcp_out *o = wcp_calloc(1, sizeof *o);
    o->elem = elem;
    return o;
}

static void out_unblock(struct wcp_out *o)
{
    if (!o->prev_blocked)
        return;
    *o->prev_blocked = o->next_blocked;
    if (o->next_blocked)
        o->next_blocked->prev_blocked = o->prev_blocked;
    o->prev_blocked = NULL;
}

void wcp_out_free(struct wcp_out *o)
{
    if (!o)
        return;
    assert(!o->x);
    wcp_buf_free(&o->buf);
    free(o);
}

/* Unlinks o from its call and frees it. */
static void out_remove(struct wcp_out *o)
{
    struct wcp_out **p = &o->x->outs;
    while (*p != o)
        p = &(*p)->next;
    *p = o->next;
    out_unblock(o);
    o->x = NULL;
    wcp_out_free(o);
}

/* Sends what waits, and the end if it was written. True: o has ended. */
static bool out_flush(struct wcp_out *o)
{
    struct exchange *x = o->x;
    bool end_mark = o->ended && !o->aborted && !o->future;
    if (!o->item_count && !o->ended)
        return false;
    if (o->item_count || end_mark) {
        struct wcp_buf b = {0};
        if (o->item_count && !o->future)
            codec_put_leb(&b, o->item_count);
        wcp_buf_put(&b, o->buf.ptr, o->buf.len);
        if (end_mark)
            wcp_buf_put(&b, "", 1); /* the empty chunk */
        x->wire->send(x, &o->path, (struct wcp_bytes){b.ptr, b.len});
        wcp_buf_free(&b);
        o->buf.len = o->item_count = 0;
    }
    if (o->ended)
        x->wire->end(x, &o->path, o->aborted && !o->future);
    return o->ended;
}

bool wcp_out_write(struct wcp_out *o, const void *items, size_t n)
{
    struct exchange *x = o->x;
    assert(!o->ended);
    if (o->dead || n == 0)
        return true;
    assert(!o->future || (n == 1 && o->item_count == 0));
    if (o->elem && o->elem->kind == WCP_U8)
        wcp_buf_put(&o->buf, items, n);
    else if (o->elem)
        for (size_t i = 0; i < n; i++)
            wcp_encode(o->elem, (const char *)items + i * o->elem->size, &o->buf);
    o->item_count += n;
    if (!x)
        return o->buf.len < OUT_WAITING_MAX;
    exchange_touch(x);
    if (!x->may_send)
        return o->buf.len < OUT_WAITING_MAX;
    /* A future's value and its end are one message with what ends it. */
    if (!o->future)
        out_flush(o);
    return !x->wire->is_full(x);
}

static void out_drained(struct wcp_out *o)
{
    void (*fn)(void *ctx) = o->drained;
    out_unblock(o);
    o->drained = NULL;
    if (fn)
        fn(o->ctx);
}

void wcp_out_on_drained(struct wcp_out *o, void (*fn)(void *ctx), void *ctx)
{
    o->drained = fn;
    o->ctx = ctx;
    if (o->dead) {
        out_drained(o);
    } else if (fn && !o->prev_blocked && o->x) {
        struct wcp_out **last = o->x->blocked; /* they take turns */
        while (*last)
            last = &(*last)->next_blocked;
        o->next_blocked = NULL;
        o->prev_blocked = last;
        *last = o;
    }
}

static void out_end(struct wcp_out *o, bool abort_)
{
    struct exchange *x = o->x;
    assert(!o->ended);
    o->ended = true;
    o->aborted = abort_;
    if (o->dead) {
        wcp_out_free(o);
    } else if (x && x->may_send) {
        exchange_touch(x);
        out_flush(o);
        x->busy++;
        out_remove(o);
        x->busy--;
        x->settled(x);
    }
}

void wcp_out_end(struct wcp_out *o)
{
    out_end(o, false);
}

void wcp_out_abort(struct wcp_out *o)
{
    out_end(o, true);
}

void outs_writable(struct wcp_out **blocked)
{
    for (;;) {
        struct wcp_out *o = *blocked;
        while (o && !o->x->may_send) /* these wait for their peer, not for the wire */
            o = o->next_blocked;
        if (!o || o->x->wire->is_full(o->x))
            return;
        out_drained(o);
    }
}

static void on_async_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *o)
{
    struct exchange *x = e->ctx;
    if (!o) {
        /* Nothing was given: an empty stream, a future of nothing or of none. */
        static const void *const none = NULL;
        o = wcp_out_new(t->elem);
        if (t->kind == WCP_FUTURE && t->elem) {
            assert(t->elem->kind == WCP_OPTION && "a future needs its wcp_out");
            wcp_out_write(o, &none, 1);
        }
        o->ended = true;
    }
    assert(!o->x && !o->dead && "an outgoing stream was sent twice");
    assert(o->elem == t->elem && "an outgoing stream of another type");
    o->future = t->kind == WCP_FUTURE;
    if (x->dead) {
        wcp_buf_put(e->buf, "", 1);
        if (o->ended) {
            wcp_out_free(o);
        } else {
            o->dead = true;
            if (o->drained) /* it waits for a receiver that will not come */
                out_drained(o);
        }
        return;
    }
    if (o->ended && !o->aborted && (o->future ? !o->elem || o->item_count : o->item_count)) {
        /* Whole already: inline, ready (wrpc.md §1.5, §2.8a). */
        codec_put_leb(e->buf, o->future ? 1 : o->item_count);
        wcp_buf_put(e->buf, o->buf.ptr, o->buf.len);
        wcp_out_free(o);
        return;
    }
    wcp_buf_put(e->buf, "", 1); /* pending */
    o->x = x;
    o->path = e->path;
    o->next = x->outs;
    x->outs = o;
    if (o->drained)
        wcp_out_on_drained(o, o->drained, o->ctx);
}

void exchange_encode(struct exchange *x, const struct wcp_type *t, const void *value,
                     struct wcp_buf *b)
{
    struct encoder e = {.buf = b, .on_async = on_async_out, .ctx = x};
    e.path.n = x->incoming ? 1 : 0; /* a result is result number 0 */
    codec_encode(&e, t, value);
}

void exchange_open(struct exchange *x)
{
    x->may_send = true;
    x->busy++;
    for (struct wcp_out *o = x->outs, *next; o; o = next) {
        next = o->next;
        if (out_flush(o))
            out_remove(o);
    }
    /* Writers that filled up what may wait can go on. */
    for (bool again = true; again && !x->dead;) {
        again = false;
        for (struct wcp_out *o = x->outs; o && !again; o = o->next)
            if (o->prev_blocked && !x->wire->is_full(x)) {
                out_drained(o);
                again = true;
            }
    }
    x->busy--;
}

bool exchange_outs_empty(const struct exchange *x)
{
    for (const struct wcp_out *o = x->outs; o; o = o->next)
        if (!o->ended || o->aborted || o->item_count)
            return false;
    return true;
}

void exchange_end_again(struct exchange *x)
{
    for (struct wcp_out *o = x->outs; o; o = o->next)
        out_flush(o); /* it has nothing but its end: this changes nothing in it */
}

void outs_list(const struct exchange *x, struct wcp_buf *b)
{
    for (const struct wcp_out *o = x->outs; o; o = o->next) {
        char tail[PATH_TEXT_MAX];
        wcp_buf_put(b, tail, path_print(&o->path, tail) + 1);
    }
}

/* Takes o out of its call; its writer still has it, and frees it by ending it. */
static void out_orphan(struct wcp_out *o)
{
    o->x->outs = o->next;
    o->x = NULL;
    o->dead = true;
    out_drained(o);
}

void outs_cut(struct exchange *x, bool tell_peer)
{
    while (x->outs) {
        struct wcp_out *o = x->outs;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the former one was taken off the list */
        assert(o->x == x);
        if (tell_peer)
            x->wire->end(x, &o->path, !o->future);
        if (o->ended)
            out_remove(o);
        else
            out_orphan(o);
    }
}

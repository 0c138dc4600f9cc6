/* out.c: outgoing streams and futures: values are encoded when they are written; what is written
 * before the call is on its way, or before the peer may be sent to, waits.
 *
 * Values that are written may hold streams and futures themselves, at any depth. Each gets the path
 * of its place (wrpc.md §1.5): what was written to a stream as number k has the stream's path and
 * then k. While a stream is in no sent value its path is not known; what was written to it waits in
 * its list inner, flat, with paths from there on. A future adds nothing to the path, so that what
 * is inside its value can have the same one: then the future's bytes go ahead of it on their
 * channel. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define OUT_WAITING_MAX ((size_t)256 << 10) /* in wcp_out.buf before a writer is told to wait */

struct wcp_out {
    struct exchange *x;    /* NULL: not part of a sent value yet, or the call is over */
    struct out_list *list; /* x's, or inner of one that is in no value; NULL: this is in no value */
    struct wcp_out *next, *before; /* there */
    struct wcp_out *next_blocked, **prev_blocked;
    const struct wcp_type *elem;
    /* given: part of a value. dead: nobody receives it, or all of it is sent; its writer has it. */
    bool future, given, ended, aborted, dead;
    uint32_t element;      /* in inner: number of the element that this is in */
    struct path path;      /* in inner: within that element */
    struct wcp_buf head;   /* goes ahead: values of futures with the same path */
    struct wcp_buf buf;    /* encoded elements that wait */
    size_t item_count;     /* how many */
    uint32_t written;      /* elements so far: the number of the next one */
    struct out_list inner; /* see above */
    void (*drained)(void *ctx);
    void *ctx;
};

static void list_add(struct out_list *l, struct wcp_out *o)
{
    o->list = l;
    o->next = NULL;
    o->before = l->last;
    *(l->last ? &l->last->next : &l->first) = o;
    l->last = o;
}

static void list_remove(struct wcp_out *o)
{
    struct out_list *l = o->list;
    *(o->before ? &o->before->next : &l->first) = o->next;
    *(o->next ? &o->next->before : &l->last) = o->before;
    o->list = NULL;
}

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

static void out_free(struct wcp_out *o)
{
    wcp_buf_free(&o->head);
    wcp_buf_free(&o->buf);
    free(o);
}

static void out_drained(struct wcp_out *o)
{
    void (*fn)(void *ctx) = o->drained;
    out_unblock(o);
    o->drained = NULL;
    if (fn)
        fn(o->ctx);
}

/* The end of o, but for its writer, who has it until it is ended. */
static void out_let_go(struct wcp_out *o)
{
    if (o->list)
        list_remove(o);
    o->x = NULL;
    o->dead = true;
    while (o->inner.first) /* flat: these have none */
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        out_let_go(o->inner.first);
    out_unblock(o);
    if (o->ended)
        out_free(o);
    else if (o->drained) /* it waits for what will not come */
        out_drained(o);
}

void wcp_out_free(struct wcp_out *o)
{
    if (!o)
        return;
    assert(!o->given);
    o->ended = true;
    out_let_go(o);
}

/* Nothing will follow what waits. */
static bool out_is_over(const struct wcp_out *o)
{
    return o->ended || (o->future && o->item_count);
}

/* Sends what waits, and the end if that is known. True: that was all. */
static bool out_flush(struct wcp_out *o)
{
    struct exchange *x = o->x;
    bool over = out_is_over(o), end_mark = o->ended && !o->aborted && !o->future;
    if (!o->head.len && !o->item_count && !over)
        return false;
    if (o->head.len || o->item_count || end_mark) {
        struct wcp_buf b = {0};
        wcp_buf_put(&b, o->head.ptr, o->head.len);
        if (o->item_count && !o->future)
            codec_put_leb(&b, o->item_count);
        if (o->item_count && o->elem && exchange_codec(x).cut_signed)
            codec_cut_signed(o->elem, o->item_count, o->buf.ptr, o->buf.len);
        wcp_buf_put(&b, o->buf.ptr, o->buf.len);
        if (end_mark)
            wcp_buf_put(&b, "", 1); /* the empty chunk */
        x->wire->send(x, &o->path, (struct wcp_bytes){b.ptr, b.len});
        wcp_buf_free(&b);
        o->head.len = o->buf.len = o->item_count = 0;
    }
    if (over)
        x->wire->end(x, &o->path, o->aborted && !o->future);
    return over;
}

/* --- values with streams and futures in them --- */

struct placing {
    struct out_list *to;
    struct exchange *x; /* NULL: not known yet */
    bool dead;          /* nobody will receive it */
    uint32_t element;
    const struct path *future; /* the path of the future whose value this is */
    struct wcp_out *first,
        *heir; /* the first one placed; the one that has the path of the future */
};

static void place(struct placing *p, struct wcp_out *o)
{
    if (p->dead) {
        out_let_go(o);
        return;
    }
    o->x = p->x;
    o->element = p->element;
    list_add(p->to, o);
    if (!p->first)
        p->first = o;
    if (p->future && o->path.n == p->future->n)
        p->heir = o;
    if (o->drained)
        wcp_out_on_drained(o, o->drained, o->ctx);
}

static void path_append(struct path *p, const uint32_t *at, size_t n)
{
    assert(p->n + n <= PATH_MAX_DEPTH);
    memcpy(p->at + p->n, at, n * sizeof *at);
    p->n += n;
}

static void on_async_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *o)
{
    struct placing *p = e->ctx;
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
    assert(!o->given && "an outgoing stream was sent twice");
    assert(o->elem == t->elem && "an outgoing stream of another type");
    o->given = true;
    o->future = t->kind == WCP_FUTURE;
    assert(!o->future || o->written <= 1);
    /* Whole already: inline, ready (wrpc.md §1.5, §2.8a). */
    bool whole = o->item_count && (o->future || (o->ended && !o->aborted));
    whole |= o->future && !o->elem && o->ended && !o->aborted;
    codec_put_leb(e->buf, !whole ? 0 : o->future ? 1 : o->item_count);
    if (whole)
        wcp_buf_put(e->buf, o->buf.ptr, o->buf.len);
    if (!whole && !p->dead) {
        o->path = e->path;
        place(p, o); /* before what is announced on it */
    }
    for (struct wcp_out *i; (i = o->inner.first);) {
        struct path path = e->path;
        if (!o->future)
            path_append(&path, &i->element, 1);
        path_append(&path, i->path.at, i->path.n);
        i->path = path;
        list_remove(i);
        place(p, i);
    }
    if (whole || p->dead)
        out_let_go(o);
}

void exchange_encode(struct exchange *x, const struct wcp_type *t, const void *value,
                     struct wcp_buf *b)
{
    struct placing p = {.to = &x->outs, .x = x, .dead = x->dead};
    struct encoder e = {.buf = b, .on_async = on_async_out, .ctx = &p};
    size_t from = b->len;
    e.path.n = x->incoming ? 1 : 0; /* a result is result number 0 */
    codec_encode(&e, t, value);
    if (exchange_codec(x).cut_signed)
        codec_cut_signed(t, 1, b->ptr + from, b->len - from);
}

/* Encodes n values with streams and futures in them, which o->written counts already. Returns the
 * first of those that wait to be sent now. o is dead after this if one took its channel over. */
static struct wcp_out *put_values(struct wcp_out *o, const char *items, size_t n)
{
    struct wcp_buf discarded = {0};
    struct placing p = {.to = o->list ? o->list : &o->inner, .x = o->x, .dead = o->dead};
    struct encoder e = {.buf = o->dead ? &discarded : &o->buf, .on_async = on_async_out, .ctx = &p};
    if (o->future && !o->dead)
        p.future = &o->path;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = o->written - (uint32_t)(n - i);
        e.path = o->path; /* empty while o is in no value */
        p.element = o->list ? o->element : k;
        if (o->list && !o->future)
            codec_encode_element(&e, o->elem, k, items + i * o->elem->size);
        else
            codec_encode(&e, o->elem, items + i * o->elem->size);
    }
    wcp_buf_free(&discarded);
    if (p.heir) {
        wcp_buf_put(&o->head, o->buf.ptr, o->buf.len);
        p.heir->head = o->head;
        o->head = (struct wcp_buf){0};
        out_let_go(o);
    }
    return p.first;
}

/* All of o is sent, or cannot be. */
static bool flush_and_let_go(struct wcp_out *o)
{
    bool over = out_flush(o);
    if (over)
        out_let_go(o);
    return over;
}

/* Publishes what waits in the outs from o on, which are x's, and lets go of those that are over. */
static void flush_from(struct exchange *x, struct wcp_out *o)
{
    x->busy++;
    while (o) {
        struct wcp_out *next = o->next;
        bool wakes = o->drained;
        if (flush_and_let_go(o) && wakes)
            next = x->outs.first; /* the writer was told, and may have done anything */
        o = x->dead ? NULL : next;
    }
    /* Writers that filled up what may wait can go on. */
    for (bool again = true; again && !x->dead;) {
        again = false;
        for (o = x->outs.first; o && !again; o = o->next)
            if (o->prev_blocked && !x->wire->is_full(x)) {
                out_drained(o);
                again = true;
            }
    }
    x->busy--;
}

bool wcp_out_write(struct wcp_out *o, const void *items, size_t n)
{
    const struct wcp_type *elem = o->elem;
    struct exchange *x = o->x;
    struct wcp_out *first = NULL;
    bool async = elem && elem->async;
    assert(!o->ended);
    if (n == 0 || (o->dead && !async))
        return true;
    assert(!o->future || (n == 1 && o->written == 0));
    o->item_count += n;
    o->written += (uint32_t)n;
    if (async)
        first = put_values(o, items, n);
    else if (elem && elem->kind == WCP_U8)
        wcp_buf_put(&o->buf, items, n);
    else if (elem)
        for (size_t i = 0; i < n; i++)
            wcp_encode(elem, (const char *)items + i * elem->size, &o->buf);
    if (x)
        exchange_touch(x);
    if (!x || !x->may_send)
        return o->dead || o->buf.len < OUT_WAITING_MAX;
    x->busy++;
    bool over = o->dead || flush_and_let_go(o);
    if (first)
        flush_from(x, first);
    bool room = !x->wire->is_full(x);
    x->busy--;
    if (over || first)
        x->settled(x);
    return over || room;
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
        out_free(o);
    } else if (x && x->may_send) {
        exchange_touch(x);
        x->busy++;
        (void)flush_and_let_go(o);
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

void exchange_open(struct exchange *x)
{
    x->may_send = true;
    flush_from(x, x->outs.first);
}

bool exchange_outs_empty(const struct exchange *x)
{
    for (const struct wcp_out *o = x->outs.first; o; o = o->next)
        if (!o->ended || o->aborted || o->item_count || o->head.len)
            return false;
    return true;
}

void exchange_end_again(struct exchange *x)
{
    for (struct wcp_out *o = x->outs.first; o; o = o->next)
        out_flush(o); /* it has nothing but its end: this changes nothing in it */
}

void outs_list(const struct exchange *x, struct wcp_buf *b)
{
    for (const struct wcp_out *o = x->outs.first; o; o = o->next) {
        char tail[PATH_TEXT_MAX];
        wcp_buf_put(b, tail, path_print(&o->path, tail) + 1);
    }
}

void outs_put_bytes(struct exchange *x, const struct path *p, struct wcp_bytes data)
{
    struct wcp_out *o = wcp_out_new(NULL);
    o->x = x;
    o->path = *p;
    o->future = o->given = o->ended = true;
    wcp_buf_put(&o->head, data.ptr, data.len);
    list_add(&x->outs, o);
}

void outs_cut(struct exchange *x, bool tell_peer)
{
    for (struct wcp_out *o; (o = x->outs.first);) {
        if (tell_peer)
            x->wire->end(x, &o->path, !o->future);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        out_let_go(o);
    }
}

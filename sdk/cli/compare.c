/* compare.c: see compare.h.
 *
 * With types, both answers are brought into one form: the root is decoded and encoded again with
 * each stream and future as an empty place, and the values of each of these, inlined or from its
 * channel, are decoded and encoded one behind the other, without chunks. */
#include "cli/compare.h"
#include "rpc/codec.h"
#include "wave/wave.h"
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES 16  /* of each, in hexadecimal */
#define SHOWN_TEXT  300 /* characters of a value */

/* A stream or future of an answer; values hold a pointer to it. */
struct part {
    struct part *next;
    const struct wcp_type *type;
    struct path path;
    bool pending;
    bool inherits;         /* in a future's value, with its path: */
    struct wcp_bytes rest; /* its channel is what is left of that one */
    const void *items;     /* inline ones */
    size_t item_count;
    struct wcp_buf values; /* encoded */
    const char *broken;    /* how it ended too early; NULL: it did not */
};

struct form {
    const struct answer *answer;
    struct wcp_arena arena;
    void *value;
    struct wcp_buf root;
    struct part *parts, **last;
    struct wcp_err err;
};

static size_t first_difference(struct wcp_bytes a, struct wcp_bytes b)
{
    size_t i = 0;
    while (i < a.len && i < b.len && a.ptr[i] == b.ptr[i])
        i++;
    return i;
}

static bool same_bytes(struct wcp_bytes a, struct wcp_bytes b)
{
    return a.len == b.len && first_difference(a, b) == a.len;
}

static struct wcp_bytes bytes_of(const struct wcp_buf *b)
{
    return (struct wcp_bytes){b->ptr, b->len};
}

static void put_hex(struct wcp_buf *text, struct wcp_bytes b, size_t at)
{
    if (at >= b.len) {
        wcp_buf_fmt(text, "its end");
        return;
    }
    for (size_t i = at; i < b.len && i < at + SHOWN_BYTES; i++)
        wcp_buf_fmt(text, "%02x", b.ptr[i]);
    if (b.len > at + SHOWN_BYTES)
        wcp_buf_fmt(text, "...");
}

static void put_difference(struct wcp_buf *text, struct wcp_bytes was, struct wcp_bytes came)
{
    size_t at = first_difference(was, came);
    wcp_buf_fmt(text, "at byte %zu: ", at);
    put_hex(text, was, at);
    wcp_buf_fmt(text, " recorded, ");
    put_hex(text, came, at);
    wcp_buf_fmt(text, " came (%zu and %zu bytes in all)", was.len, came.len);
}

static const struct wcp_bytes *channel_of(const struct answer *a, const struct path *p)
{
    for (size_t i = 0; i < a->channel_count; i++)
        if (a->channels[i].path.n == p->n &&
            memcmp(a->channels[i].path.at, p->at, p->n * sizeof *p->at) == 0)
            return &a->channels[i].data;
    return NULL;
}

/* --- without types --- */

/* The bytes of a stream<u8> without its chunks. False: that is not what it is. */
static bool join_chunks(struct wcp_bytes in, struct wcp_buf *out)
{
    for (;;) {
        uint64_t n = 0;
        if (codec_get_leb(&in, 32, &n, NULL) || n > in.len)
            return false;
        if (n == 0)
            return in.len == 0;
        wcp_buf_put(out, in.ptr, (size_t)n);
        in.ptr += n;
        in.len -= (size_t)n;
    }
}

static bool same_channel(struct wcp_bytes was, struct wcp_bytes came, const char *path,
                         struct wcp_buf *text)
{
    struct wcp_buf a = {0}, b = {0};
    bool joined = join_chunks(was, &a) && join_chunks(came, &b);
    bool same = same_bytes(was, came) || (joined && same_bytes(bytes_of(&a), bytes_of(&b)));
    if (!same) {
        wcp_buf_fmt(text, "channel %s differs ", path);
        put_difference(text, joined ? bytes_of(&a) : was, joined ? bytes_of(&b) : came);
    }
    wcp_buf_free(&a);
    wcp_buf_free(&b);
    return same;
}

/* An empty message on a parent's path is no channel (wrpc.md §2.3): those without bytes count as
 * absent. */
static bool same_channels(const struct answer *was, const struct answer *came, struct wcp_buf *text)
{
    static const struct wcp_bytes none;
    char path[PATH_TEXT_MAX];
    for (size_t i = 0; i < was->channel_count; i++) {
        const struct wcp_bytes *other = channel_of(came, &was->channels[i].path);
        path_print(&was->channels[i].path, path);
        if (!same_channel(was->channels[i].data, other ? *other : none, path + 1, text))
            return false;
    }
    for (size_t i = 0; i < came->channel_count; i++)
        if (!channel_of(was, &came->channels[i].path)) {
            path_print(&came->channels[i].path, path);
            if (!same_channel(none, came->channels[i].data, path + 1, text))
                return false;
        }
    return true;
}

/* --- with types --- */

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n)
{
    struct form *f = d->ctx;
    struct part *p = wcp_alloc(&f->arena, 1, sizeof *p);
    *p = (struct part){
        .type = t, .path = d->path, .pending = pending, .items = items, .item_count = n};
    *f->last = p;
    f->last = &p->next;
    return (struct wcp_in *)(void *)p;
}

static void on_async_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    wcp_buf_put(e->buf, "", 1);
}

static void encode(const struct wcp_type *t, const void *value, struct wcp_buf *b)
{
    codec_encode(&(struct encoder){.buf = b, .on_async = on_async_out}, t, value);
}

/* One element number index of a stream, or a future's value. */
static int take_value(struct form *f, struct part *p, struct wcp_bytes *in, size_t index)
{
    const struct wcp_type *elem = p->type->elem;
    struct decoder d = {.in = *in,
                        .arena = &f->arena,
                        .err = &f->err,
                        .path = p->path,
                        .on_async = on_async_in,
                        .ctx = f};
    struct part **first = f->last;
    bool future = p->type->kind == WCP_FUTURE;
    void *value = wcp_alloc(&f->arena, 1, elem->size);
    int rc = future ? codec_decode(&d, elem, value) : codec_decode_element(&d, elem, index, value);
    if (rc)
        return rc;
    encode(elem, value, &p->values);
    *in = d.in;
    for (struct part *q = *first; q && future; q = q->next)
        if (q->path.n == p->path.n) {
            q->inherits = true;
            q->rest = d.in;
        }
    return 0;
}

static void take_channel(struct form *f, struct part *p, struct wcp_bytes in)
{
    uint64_t count = 1;
    size_t index = 0;
    if (p->type->kind == WCP_FUTURE) {
        if (p->type->elem && take_value(f, p, &in, 0))
            p->broken = "without its value";
        return;
    }
    while (count) {
        if (codec_get_leb(&in, 32, &count, NULL)) {
            p->broken = "without its end";
            return;
        }
        if (p->type->elem->kind == WCP_U8 && count <= in.len) {
            wcp_buf_put(&p->values, in.ptr, (size_t)count);
            in.ptr += count;
            in.len -= (size_t)count;
            continue;
        }
        for (uint64_t i = 0; i < count; i++)
            if (take_value(f, p, &in, index++)) {
                p->broken = "in the middle of a value, or with bytes that are none";
                return;
            }
    }
}

static int make_form(struct form *f, const struct wcp_type *t, const struct answer *a)
{
    struct decoder d = {.in = a->root,
                        .arena = &f->arena,
                        .err = &f->err,
                        .path = {{0}, 1}, /* result number 0 */
                        .on_async = on_async_in,
                        .ctx = f};
    f->answer = a;
    f->last = &f->parts;
    f->value = wcp_alloc(&f->arena, 1, t->size);
    int rc = codec_decode(&d, t, f->value);
    if (rc)
        return rc;
    encode(t, f->value, &f->root);
    for (struct part *p = f->parts; p; p = p->next) { /* values on a stream may hold more */
        const struct wcp_bytes *channel = p->inherits ? &p->rest : channel_of(a, &p->path);
        const struct wcp_type *elem = p->type->elem;
        if (p->pending && (channel || (p->type->kind == WCP_FUTURE && !elem)))
            take_channel(f, p, channel ? *channel : (struct wcp_bytes){0});
        else if (p->pending)
            p->broken = "before it began";
        else
            for (size_t i = 0; elem && i < p->item_count; i++)
                encode(elem, (const char *)p->items + i * elem->size, &p->values);
    }
    return 0;
}

static void free_form(struct form *f)
{
    for (struct part *p = f->parts; p; p = p->next)
        wcp_buf_free(&p->values);
    wcp_buf_free(&f->root);
    wcp_arena_free(&f->arena);
}

static void print_async(struct wave_writer *w, const struct wcp_type *t, union wcp_async a,
                        struct wcp_buf *out)
{
    wcp_buf_fmt(out, "%s", t->kind == WCP_STREAM ? "<stream>" : "<future>");
}

static void put_value(struct wcp_buf *text, const struct form *f, const struct wcp_type *t)
{
    struct wcp_buf b = {0};
    wave_print(&(struct wave_writer){.text = true, .async = print_async}, t, f->value, &b);
    wcp_buf_put(text, b.ptr, b.len < SHOWN_TEXT ? b.len : SHOWN_TEXT);
    if (b.len > SHOWN_TEXT)
        wcp_buf_fmt(text, "...");
    wcp_buf_free(&b);
}

/* Inlined ones are met in another order: inner ones first. */
static const struct part *find_part(const struct form *f, const struct part *like)
{
    const struct part *p = f->parts;
    while (p && (p->type != like->type || p->path.n != like->path.n ||
                 memcmp(p->path.at, like->path.at, p->path.n * sizeof *p->path.at) != 0))
        p = p->next;
    return p;
}

/* Their roots are the same, so they have the same parts, but for what is on streams that differ. */
static bool same_parts(const struct form *was, const struct form *came, struct wcp_buf *text)
{
    for (const struct part *a = was->parts; a; a = a->next) {
        const struct part *b = find_part(came, a);
        char path[PATH_TEXT_MAX];
        path_print(&a->path, path);
        if (!b) {
            wcp_buf_fmt(text, "%s did not come", path + 1);
            return false;
        }
        if (!same_bytes(bytes_of(&a->values), bytes_of(&b->values))) {
            wcp_buf_fmt(text, "the values of %s differ ", path + 1);
            put_difference(text, bytes_of(&a->values), bytes_of(&b->values));
            return false;
        }
        if (!a->broken != !b->broken) {
            wcp_buf_fmt(text, "%s was %s%s when recorded, and is %s%s", path + 1,
                        a->broken ? "cut " : "whole", a->broken ? a->broken : "",
                        b->broken ? "cut " : "whole", b->broken ? b->broken : "");
            return false;
        }
    }
    return true;
}

static bool same_values(const struct wcp_type *t, const struct answer *was,
                        const struct answer *came, struct wcp_buf *text)
{
    struct form a = {0}, b = {0};
    bool same = false;
    int rc_a = make_form(&a, t, was), rc_b = make_form(&b, t, came);
    if (rc_a || rc_b) {
        same = rc_a && rc_b && same_bytes(was->root, came->root);
        if (!same)
            wcp_buf_fmt(text, "what %s is no value of its type: %s", rc_b ? "came" : "was recorded",
                        rc_b ? b.err.msg : a.err.msg);
    } else if (!same_bytes(bytes_of(&a.root), bytes_of(&b.root))) {
        put_value(text, &a, t);
        wcp_buf_fmt(text, " recorded, ");
        put_value(text, &b, t);
        wcp_buf_fmt(text, " came");
    } else {
        same = same_parts(&a, &b, text);
    }
    free_form(&a);
    free_form(&b);
    return same;
}

bool answers_are_same(const struct wcp_type *t, const struct answer *was, const struct answer *came,
                      struct wcp_buf *text)
{
    if (!was->root.len != !came->root.len && (was->root.len || came->root.len)) {
        const char *what = "the end without an answer";
        wcp_buf_fmt(text, "%s recorded, %s came", was->root.len ? "an answer" : what,
                    came->root.len ? "an answer" : what);
        return false;
    }
    if (t && was->root.len)
        return same_values(t, was, came, text);
    if (!same_bytes(was->root, came->root)) {
        wcp_buf_fmt(text, "results differ ");
        put_difference(text, was->root, came->root);
        return false;
    }
    return same_channels(was, came, text);
}

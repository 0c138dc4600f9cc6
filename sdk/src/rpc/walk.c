/* walk.c: over encoded values by their types, without making them (wrpc.md §1). No I/O.
 *
 * The decoder starts anew when a value turns out to be incomplete; were it tried with each small
 * piece that comes, a large value would take quadratic time. A walk remembers where it is, in a
 * stack of the records and lists that it is in, and so tells when trying makes sense. It only looks
 * at lengths, tags and cases: what else is wrong is for the decoder to find. */
#include "rpc/codec.h"
#include <stdlib.h>

/* A record's or list's members: the next is number i. */
struct walk_frame {
    const struct wcp_type *type;
    uint32_t i, n;
};

struct walk {
    const struct wcp_type *next; /* to be walked over; NULL: the top frame says */
    struct walk_frame *frames;
    size_t depth, cap;
    size_t at; /* so many bytes are behind us */
    struct wcp_codec codec;
};

struct walk *walk_new(const struct wcp_type *t, struct wcp_codec codec)
{
    struct walk *w = wcp_calloc(1, sizeof *w);
    w->next = t;
    w->codec = codec;
    return w;
}

void walk_free(struct walk **w)
{
    if (!*w)
        return;
    free((*w)->frames);
    free(*w);
    *w = NULL;
}

static void push(struct walk *w, const struct wcp_type *t, uint32_t n)
{
    if (w->depth == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 8;
        w->frames = wcp_realloc(w->frames, w->cap * sizeof *w->frames);
    }
    w->frames[w->depth++] = (struct walk_frame){.type = t, .n = n};
}

static int skip(struct wcp_bytes *in, uint64_t n, size_t *need)
{
    if (n > in->len) {
        *need = (size_t)n - in->len;
        return WCP_EMORE;
    }
    in->ptr += n;
    in->len -= (size_t)n;
    return 0;
}

static int get_leb(struct wcp_bytes *in, uint64_t *n, size_t *need)
{
    *need = 1;
    return codec_get_leb(in, 32, n, NULL);
}

/* The form that cuts the sign's copies off has zeros there instead, in the last byte that the type
 * can have. p is that byte, the value's byte number n. */
static void cut(uint8_t *p, size_t n, unsigned bits)
{
    if (7 * n > bits)
        *p &= (uint8_t)((1u << (bits - 7 * (n - 1))) - 1);
}

static int integer(struct walk *w, const struct wcp_type *t, uint8_t *bytes, struct wcp_bytes *in,
                   size_t *need)
{
    const size_t bits = 8 * (size_t)t->size, most = (bits + 6) / 7;
    for (size_t n = 1; n <= most; n++) {
        if (skip(in, 1, need))
            return WCP_EMORE;
        if (in->ptr[-1] < 0x80) {
            if (w->codec.cut_signed && t->kind >= WCP_S16)
                cut(bytes + (in->ptr - 1 - bytes), n, (unsigned)bits);
            return 0;
        }
    }
    return WCP_EPROTO;
}

/* One type, in one piece or not at all; what it holds is left to w->next and the frames. */
static int step(struct walk *w, const struct wcp_type *t, uint8_t *bytes, struct wcp_bytes *in,
                size_t *need)
{
    uint64_t n = 0;
    int rc = 0;
    w->next = NULL;
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL:
    case WCP_U8:
    case WCP_S8: return skip(in, 1, need);
    case WCP_U16:
    case WCP_U32:
    case WCP_U64:
    case WCP_S16:
    case WCP_S32:
    case WCP_S64: return integer(w, t, bytes, in, need);
    case WCP_F32:
    case WCP_F64: return skip(in, t->size, need);
    case WCP_CHAR:
        if ((rc = skip(in, 1, need)))
            return rc;
        n = in->ptr[-1];
        return skip(in, n < 0xc0 ? 0 : n < 0xe0 ? 1 : n < 0xf0 ? 2 : 3, need);
    case WCP_STRING:
    case WCP_HANDLE: return (rc = get_leb(in, &n, need)) ? rc : skip(in, n, need);
    case WCP_LIST:
    case WCP_STREAM:
        if ((rc = get_leb(in, &n, need)))
            return rc;
        if (t->elem->kind == WCP_U8)
            return skip(in, n, need);
        if (n > in->len) { /* each takes a byte or more, as in decode.c */
            *need = (size_t)n - in->len;
            return WCP_EMORE;
        }
        push(w, t, (uint32_t)n);
        return 0;
    case WCP_OPTION:
    case WCP_FUTURE:
    case WCP_RESULT:
        if ((rc = skip(in, 1, need)))
            return rc;
        if (in->ptr[-1] > 1)
            return WCP_EPROTO;
        if (t->kind == WCP_RESULT)
            w->next = t->fields[in->ptr[-1]].type;
        else if (in->ptr[-1])
            w->next = t->elem;
        return 0;
    case WCP_VARIANT:
    case WCP_ENUM:
        if ((rc = get_leb(in, &n, need)))
            return rc;
        if (n >= t->count)
            return WCP_EPROTO;
        if (t->kind == WCP_VARIANT)
            w->next = t->fields[n].type;
        return 0;
    case WCP_FLAGS: return skip(in, codec_flags_size(t, w->codec), need);
    case WCP_RECORD: push(w, t, t->count); return 0;
    }
    abort(); /* a type table with an unknown kind */
}

int walk(struct walk *w, uint8_t *bytes, size_t len, size_t *need)
{
    for (;;) {
        const struct wcp_type *t = w->next;
        if (!t) {
            struct walk_frame *f = w->depth ? &w->frames[w->depth - 1] : NULL;
            if (!f)
                return 0;
            if (f->i == f->n) {
                w->depth--;
                continue;
            }
            t = f->type->kind == WCP_RECORD ? f->type->fields[f->i].type : f->type->elem;
            f->i++;
        }
        struct wcp_bytes in = {bytes + w->at, len - w->at};
        int rc = step(w, t, bytes, &in, need);
        if (rc) {
            w->next = t; /* once more, when there is more */
            return rc;
        }
        w->at = len - in.len;
    }
}

void codec_cut_signed(const struct wcp_type *t, size_t count, uint8_t *bytes, size_t len)
{
    struct walk w = {.codec.cut_signed = true};
    size_t need = 0;
    for (size_t i = 0; i < count; i++) {
        w.next = t;
        if (walk(&w, bytes, len, &need))
            abort(); /* we have encoded it ourselves */
    }
    free(w.frames);
}

/* codec.c: fuzzing the codec: bytes to value to bytes to value must settle after one round, with
 * the same streams and futures at the same paths; walking over them must end where decoding does;
 * and what is cut for old peers must be the same value.
 *
 * The first byte picks a type, and with its highest bit padded flags; the rest is the input. */
#include "base/arena.h"
#include "rpc/codec.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT(a)         (sizeof(a) / sizeof *(a))
#define OPTION(name, of) static const struct wcp_type name = {WCP_OPTION, .size = 8, .elem = &of}
#define LIST(name, of)   static const struct wcp_type name = {WCP_LIST, .size = 16, .elem = &of}
#define FLAGS(name, n, bytes)                                                                      \
    static const struct wcp_type name = {WCP_FLAGS, .count = n, .size = bytes}
#define MEMBERS(name, kind, bytes, has_async, ...)                                                 \
    static const struct wcp_field name##_fields[] = {__VA_ARGS__};                                 \
    static const struct wcp_type name = {kind,  has_async,     COUNT(name##_fields),               \
                                         bytes, name##_fields, NULL}

OPTION(option_u64, wcp_u64);
OPTION(option_string, wcp_string);
LIST(list_s16, wcp_s16);
LIST(list_string, wcp_string);
LIST(list_list_string, list_string);
LIST(list_bool, wcp_bool);
LIST(list_char, wcp_char);
OPTION(option_list, list_list_string);
FLAGS(flags3, 3, 4);
FLAGS(flags17, 17, 4);
FLAGS(flags33, 33, 8);
FLAGS(flags64, 64, 8);
FLAGS(flags70, 70, 9);
static const struct wcp_type enum300 = {WCP_ENUM, .count = 300, .size = 4};
MEMBERS(numbers, WCP_RECORD, 80, false, {"a", &wcp_u16, 0}, {"b", &wcp_u32, 8}, {"c", &wcp_s32, 16},
        {"d", &wcp_s64, 24}, {"e", &wcp_f32, 32}, {"f", &wcp_f64, 40}, {"g", &wcp_s8, 48},
        {"h", &wcp_bool, 56}, {"i", &enum300, 64}, {"j", &wcp_u8, 72});
MEMBERS(variant, WCP_VARIANT, 88, false, {"none", NULL, 0}, {"str", &wcp_string, 8},
        {"num", &numbers, 8}, {"opt", &option_u64, 8}, {"flags", &flags70, 8});
LIST(list_variant, variant);
MEMBERS(result, WCP_RESULT, 24, false, {"ok", &list_variant, 8}, {"err", &wcp_string, 8});
MEMBERS(mixed, WCP_RECORD, 112, false, {"result", &result, 0}, {"handle", &wcp_handle, 24},
        {"option", &option_string, 40}, {"chars", &list_char, 48}, {"bools", &list_bool, 64},
        {"shorts", &list_s16, 80}, {"small", &flags17, 96}, {"three", &flags3, 104});
LIST(list_mixed, mixed);
LIST(list_flags, flags64);
OPTION(option_flags, flags33);

static const struct wcp_type stream_u8 = {WCP_STREAM, true, 0, 8, NULL, &wcp_u8};
static const struct wcp_type stream_mixed = {WCP_STREAM, true, 0, 8, NULL, &mixed};
static const struct wcp_type future = {WCP_FUTURE, true, 0, 8, NULL, NULL};
static const struct wcp_type future_result = {WCP_FUTURE, true, 0, 8, NULL, &result};
static const struct wcp_type stream_future = {WCP_STREAM, true, 0, 8, NULL, &future_result};
static const struct wcp_type list_future = {WCP_LIST, true, 0, 16, NULL, &future};
MEMBERS(async, WCP_RECORD, 64, true, {"body", &stream_u8, 0}, {"trailers", &future_result, 8},
        {"code", &wcp_u16, 16}, {"many", &stream_mixed, 24}, {"nested", &stream_future, 32},
        {"futures", &list_future, 40});
static const struct wcp_type stream_stream = {WCP_STREAM, true, 0, 8, NULL, &stream_u8};
static const struct wcp_type future_stream = {WCP_FUTURE, true, 0, 8, NULL, &stream_stream};
static const struct wcp_type future_future = {WCP_FUTURE, true, 0, 8, NULL, &future_stream};
static const struct wcp_type option_future = {WCP_OPTION, true, 0, 8, NULL, &future_future};
MEMBERS(async_variant, WCP_VARIANT, 16, true, {"none", NULL, 0}, {"s", &stream_future, 8},
        {"o", &option_future, 8}, {"n", &wcp_s64, 8});
static const struct wcp_type stream_variant = {WCP_STREAM, true, 0, 8, NULL, &async_variant};
static const struct wcp_type list_streams = {WCP_LIST, true, 0, 16, NULL, &stream_variant};
static const struct wcp_type deep = {WCP_FUTURE, true, 0, 8, NULL, &list_streams};
MEMBERS(async_result, WCP_RESULT, 96, true, {"ok", &async, 8}, {"err", &variant, 8});

static const struct wcp_type *const types[] = {
    &numbers,    &variant,        &result,        &mixed,        &list_mixed, &option_list,
    &list_flags, &option_flags,   &async,         &async_result, &wcp_char,   &list_list_string,
    &deep,       &stream_variant, &future_future, &list_streams,
};

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "line %d: not true: %s\n", __LINE__, #cond);                           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A stream or future in both directions: what it was made from. */
struct fake {
    const struct wcp_type *type;
    struct path path;
    bool pending;
    const void *items;
    size_t n;
};
static size_t met; /* by the codec */

static struct wcp_in *on_in(struct decoder *d, const struct wcp_type *t, bool pending,
                            const void *items, size_t n)
{
    struct fake *f = arena_try(d->arena, 1, sizeof *f);
    met++;
    if (f)
        *f = (struct fake){t, d->path, pending, items, n};
    return (struct wcp_in *)(void *)f;
}

static void on_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    const struct fake *f = (const struct fake *)(const void *)out;
    MUST(f->type == t && f->path.n == e->path.n &&
         memcmp(f->path.at, e->path.at, e->path.n * sizeof *e->path.at) == 0);
    met++;
    codec_put_leb(e->buf, f->pending ? 0 : t->kind == WCP_FUTURE ? 1 : f->n);
    for (size_t i = 0; i < f->n; i++) {
        const char *item = (const char *)f->items + i * t->elem->size;
        if (t->kind == WCP_STREAM)
            codec_encode_element(e, t->elem, i, item);
        else
            codec_encode(e, t->elem, item);
    }
}

static int decode(const struct wcp_type *t, bool padded, struct wcp_bytes *in, void *out,
                  struct wcp_arena *a)
{
    struct wcp_err err = {0};
    struct decoder d = {
        .in = *in, .arena = a, .err = &err, .padded_flags = padded, .on_async = on_in};
    met = 0;
    int rc = codec_decode(&d, t, out);
    MUST(d.in.len <= in->len && d.in.ptr + d.in.len == in->ptr + in->len);
    MUST(rc == 0 || (rc == err.code && err.msg[0] && (rc != WCP_EMORE || d.need)));
    *in = d.in;
    return rc;
}

static void encode(const struct wcp_type *t, const void *value, struct wcp_buf *b)
{
    struct encoder e = {.buf = b, .on_async = on_out};
    size_t read = met;
    met = 0;
    codec_encode(&e, t, value);
    MUST(met == read);
}

/* Walks over it in two steps: the last of size bytes ends the value, or, if it is incomplete,
 * nothing does. */
static void walk_over(const struct wcp_type *t, bool padded, struct wcp_bytes in, bool whole)
{
    struct walk *w = walk_new(t, (struct wcp_codec){.padded_flags = padded});
    uint8_t *copy = memcpy(wcp_realloc(NULL, in.len + 1), in.ptr, in.len);
    size_t need = 0;
    if (in.len) {
        int rc = walk(w, copy, in.len - 1, &need);
        MUST(!whole || (rc == WCP_EMORE && need == 1));
    }
    int rc = walk(w, copy, in.len, &need);
    MUST(whole ? rc == 0 : rc == WCP_EMORE && need);
    walk_free(&w);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct wcp_type *t = types[(data[0] & 0x7f) % COUNT(types)];
    bool padded = data[0] & 0x80;
    struct wcp_arena a = {.limit = 1 << 20};
    struct wcp_buf first = {0}, second = {0};
    struct wcp_bytes all = {data + 1, size - 1}, in = all;
    void *value = wcp_alloc(&a, 1, t->size);
    int rc = decode(t, padded, &in, value, &a);
    if (rc == 0 || rc == WCP_EMORE)
        walk_over(t, padded, (struct wcp_bytes){all.ptr, rc ? all.len : all.len - in.len}, rc == 0);
    if (rc == 0) {
        encode(t, value, &first);
        void *again = wcp_alloc(&a, 1, t->size);
        a.limit = 0;
        for (int cut = 0; cut < 2; cut++) { /* what we write is what we read */
            if (cut)
                codec_cut_signed(t, 1, first.ptr, first.len);
            struct wcp_bytes rest = {first.ptr, first.len};
            MUST(decode(t, false, &rest, again, &a) == 0 && rest.len == 0);
            second.len = 0;
            encode(t, again, &second);
            MUST(first.len == second.len);
            MUST(cut || first.len == 0 || memcmp(first.ptr, second.ptr, first.len) == 0);
            codec_cut_signed(t, 1, second.ptr, second.len);
            MUST(!cut || first.len == 0 || memcmp(first.ptr, second.ptr, first.len) == 0);
        }
    }
    wcp_buf_free(&first);
    wcp_buf_free(&second);
    wcp_arena_free(&a);
    return 0;
}

/* decode.c: bytes to WIT values, driven by wcp_type tables (wrpc.md §1). No I/O.
 *
 * One function, recursive over the type; types are finite trees, so input cannot make them deeper.
 * A path is kept only on the way to streams and futures. */
#include "rpc/codec.h"
#include "base/arena.h"
#include "base/str.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Values lie where the generated structs put them, as any type: memcpy is the access that is always
 * right, and one instruction. */
#define STORE(T, v) memcpy(out, &(T){(T)(v)}, sizeof(T))

static int decode(struct decoder *d, const struct wcp_type *t, char *out);

static int too_short(struct decoder *d, size_t need)
{
    d->need = need;
    return wcp_fail(d->err, WCP_EMORE, "%zu more byte%s needed", need, need == 1 ? " is" : "s are");
}

static inline int get_byte(struct decoder *d, uint8_t *out)
{
    if (d->in.len == 0)
        return too_short(d, 1);
    *out = *d->in.ptr++;
    d->in.len--;
    return 0;
}

/* A byte that can only be 0 or 1. */
static int get_tag(struct decoder *d, const char *what, uint8_t *out)
{
    int rc = get_byte(d, out);
    if (rc == 0 && *out > 1)
        return wcp_fail(d->err, WCP_EPROTO, "%s is %u, expected 0 or 1", what, *out);
    return rc;
}

static struct wcp_bytes take(struct decoder *d, size_t n)
{
    struct wcp_bytes b = {d->in.ptr, n};
    d->in.ptr += n;
    d->in.len -= n;
    return b;
}

static uint64_t little_endian(struct wcp_bytes b)
{
    uint64_t v = 0;
    for (size_t i = 0; i < b.len; i++)
        v |= (uint64_t)b.ptr[i] << (8 * i);
    return v;
}

static int overflow(struct decoder *d, unsigned bits)
{
    return wcp_fail(d->err, WCP_EPROTO, "integer does not fit in %u bits", bits);
}

/* Forms longer than necessary are fine, up to as many bytes as the type can need. */
static int get_long_leb(struct decoder *d, unsigned bits, uint64_t *out)
{
    uint8_t byte = 0;
    *out = 0;
    for (unsigned shift = 0;; shift += 7) {
        int rc = get_byte(d, &byte);
        if (rc)
            return rc;
        if (shift + 7 > bits &&
            byte >> (bits - shift)) /* the last byte: nothing may follow either */
            return overflow(d, bits);
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return 0;
    }
}

static inline int get_leb(struct decoder *d, unsigned bits, uint64_t *out)
{
    if (d->in.len == 0 || *d->in.ptr >= 0x80)
        return get_long_leb(d, bits, out);
    *out = *d->in.ptr++; /* lengths and cases mostly are one byte */
    d->in.len--;
    return 0;
}

/* Signed. In a form of full length the bits above the type's are either copies of the sign, which
 * is standard, or all zero, which is what the Rust decoder of wasmCloud 1.9 insists on (wrpc.md
 * §1.2). */
static int get_sleb(struct decoder *d, unsigned bits, int64_t *out)
{
    uint8_t byte = 0;
    uint64_t v = 0;
    unsigned shift = 0;
    do {
        int rc = get_byte(d, &byte);
        if (rc)
            return rc;
        if (shift + 7 > bits) {
            unsigned rest = bits - shift; /* so many bits of this byte are the type's */
            uint8_t above = (uint8_t)(byte >> rest), ones = (uint8_t)(0x7f >> rest);
            bool negative = byte >> (rest - 1) & 1;
            if (above != 0 && !(negative && above == ones))
                return overflow(d, bits);
            byte = (uint8_t)(negative ? byte | ones << rest : byte);
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40))
        v |= UINT64_MAX << shift;
    memcpy(out, &v, sizeof v);
    return 0;
}

/* A count of items. Each takes at least one byte, so that a peer cannot claim more than it sent. */
static inline int get_len(struct decoder *d, size_t *out)
{
    uint64_t n;
    int rc = get_leb(d, 32, &n);
    if (rc)
        return rc;
    if (n > d->in.len) {
        d->need = (size_t)n - d->in.len;
        return wcp_fail(d->err, WCP_EMORE, "length %zu, but %zu bytes are left", (size_t)n,
                        d->in.len);
    }
    *out = (size_t)n;
    return 0;
}

static int allocate(struct decoder *d, size_t n, size_t size, char **out)
{
    *out = arena_try(d->arena, n, size);
    if (*out)
        return 0;
    return wcp_fail(d->err, WCP_ETOOBIG,
                    "%zu times %zu bytes do not fit: %zu of at most %zu bytes are taken", n, size,
                    d->arena->used, d->arena->limit);
}

/* A member: with its index on the path if it holds streams or futures. */
static inline int decode_at(struct decoder *d, const struct wcp_type *t, size_t index, char *out)
{
    if (!t->async)
        return decode(d, t, out);
    if (d->path.n == PATH_MAX_DEPTH)
        return wcp_fail(d->err, WCP_EINVAL, "streams more than %d levels deep are not supported",
                        PATH_MAX_DEPTH);
    d->path.at[d->path.n++] = (uint32_t)index;
    int rc = decode(d, t, out);
    d->path.n--;
    return rc;
}

static int decode_list(struct decoder *d, const struct wcp_type *elem, struct list_layout *l)
{
    int rc = get_len(d, &l->len);
    if (rc || l->len == 0)
        return rc;
    if (elem->kind == WCP_U8) {
        l->ptr = take(d, l->len).ptr;
        return 0;
    }
    char *items;
    if ((rc = allocate(d, l->len, elem->size, &items)))
        return rc;
    for (size_t i = 0; i < l->len; i++)
        if ((rc = decode_at(d, elem, i, items + i * elem->size)))
            return d->err ? wcp_wrap(d->err, "[%zu]", i) : rc;
    l->ptr = items;
    return 0;
}

/* A string is a list of bytes that are UTF-8; a handle one that can be anything. */
static int decode_bytes(struct decoder *d, bool text, char *out)
{
    size_t n = 0;
    int rc = get_len(d, &n);
    if (rc)
        return rc;
    struct wcp_bytes b = take(d, n);
    size_t good = text ? utf8_span(b.ptr, n) : n;
    if (good < n)
        return wcp_fail(d->err, WCP_EPROTO, "byte %zu of %zu, 0x%02x, is not UTF-8", good, n,
                        b.ptr[good]);
    memcpy(out, &(struct list_layout){b.ptr, n}, sizeof(struct list_layout));
    return 0;
}

/* One scalar value. Its overlong forms are accepted, as the Rust decoder does. */
static int decode_char(struct decoder *d, char *out)
{
    uint8_t byte = 0;
    int rc = get_byte(d, &byte);
    if (rc)
        return rc;
    unsigned more = byte < 0x80 ? 0 : byte >> 5 == 6 ? 1 : byte >> 4 == 14 ? 2 : 3;
    if (more == 3 && byte >> 3 != 30)
        return wcp_fail(d->err, WCP_EPROTO, "char starts with 0x%02x", byte);
    uint32_t c = more ? byte & (0x3fu >> more) : byte;
    for (unsigned i = 0; i < more; i++) {
        if (d->in.len == 0)
            return too_short(d, more - i);
        if ((rc = get_byte(d, &byte)))
            return rc;
        if (byte >> 6 != 2)
            return wcp_fail(d->err, WCP_EPROTO, "char goes on with 0x%02x", byte);
        c = c << 6 | (byte & 0x3f);
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return wcp_fail(d->err, WCP_EPROTO, "U+%04X is no character", c);
    STORE(uint32_t, c);
    return 0;
}

size_t codec_flags_size(const struct wcp_type *t, struct wcp_codec codec)
{
    size_t n = (t->count + 7u) / 8u;
    if (!codec.padded_flags || n > 16 || n < 3)
        return n;
    return n > 8 ? 16 : n > 4 ? 8 : 4;
}

static int decode_flags(struct decoder *d, const struct wcp_type *t, char *out)
{
    size_t n = (t->count + 7u) / 8u;
    size_t all = codec_flags_size(t, (struct wcp_codec){.padded_flags = d->padded_flags});
    if (d->in.len < all)
        return too_short(d, all - d->in.len);
    struct wcp_bytes bits = take(d, all);
    for (size_t i = t->count / 8; i < all; i++) /* what is above the last flag must be zero */
        if (bits.ptr[i] >> (i < n ? t->count % 8 : 0))
            return wcp_fail(d->err, WCP_EPROTO,
                            "byte %zu of the flags is 0x%02x, but there are %u flags", i,
                            bits.ptr[i], t->count);
    bits.len = n;
    if (t->count <= 32)
        STORE(uint32_t, little_endian(bits));
    else if (t->count <= 64)
        STORE(uint64_t, little_endian(bits));
    else
        memcpy(out, bits.ptr, n);
    return 0;
}

static int get_discriminant(struct decoder *d, const struct wcp_type *t, char *out, uint32_t *n)
{
    uint64_t u;
    int rc = get_leb(d, 32, &u);
    if (rc)
        return rc;
    if (u >= t->count)
        return wcp_fail(d->err, WCP_EPROTO, "case %llu, but there are %u cases",
                        (unsigned long long)u, t->count);
    *n = (uint32_t)u;
    STORE(uint32_t, u);
    return 0;
}

/* The payload of a variant's or result's case. */
static int decode_case(struct decoder *d, const struct wcp_field *f, char *out)
{
    if (!f->type)
        return 0;
    int rc = decode(d, f->type, out + f->offset);
    return rc && d->err ? wcp_wrap(d->err, "%s", f->name) : rc;
}

static int decode_async(struct decoder *d, const struct wcp_type *t, char *out)
{
    struct list_layout l = {0};
    bool pending = false;
    int rc = 0;
    if (!d->on_async)
        return wcp_fail(d->err, WCP_EINVAL, "no stream or future is possible here");
    if (t->kind == WCP_STREAM) { /* the whole stream as a list; an empty one means pending */
        if ((rc = decode_list(d, t->elem, &l)))
            return rc;
        pending = l.len == 0;
    } else {
        uint8_t ready = 0;
        if ((rc = get_tag(d, "future", &ready)))
            return rc;
        pending = !ready;
        if (ready && t->elem) {
            char *item;
            if ((rc = allocate(d, 1, t->elem->size, &item)) || (rc = decode(d, t->elem, item)))
                return rc;
            l = (struct list_layout){item, 1};
        }
    }
    struct wcp_in *in = d->on_async(d, t, pending, l.ptr, l.len);
    if (!in)
        return wcp_fail(d->err, WCP_ETOOBIG, "no more streams or futures are possible");
    memcpy(out, &(union wcp_async){.in = in}, sizeof(union wcp_async));
    return 0;
}

static int decode_unsigned(struct decoder *d, const struct wcp_type *t, char *out)
{
    uint64_t v = 0;
    int rc = get_leb(d, 8 * t->size, &v);
    if (t->size == 2)
        STORE(uint16_t, v);
    else if (t->size == 4)
        STORE(uint32_t, v);
    else
        STORE(uint64_t, v);
    return rc;
}

static int decode_signed(struct decoder *d, const struct wcp_type *t, char *out)
{
    int64_t v = 0;
    int rc = get_sleb(d, 8 * t->size, &v);
    if (t->size == 2)
        STORE(int16_t, v);
    else if (t->size == 4)
        STORE(int32_t, v);
    else
        STORE(int64_t, v);
    return rc;
}

static int decode(struct decoder *d, const struct wcp_type *t, char *out)
{
    uint8_t byte = 0;
    int rc = 0;

    d->item = d->in.ptr;
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL:
        if ((rc = get_tag(d, "bool", &byte)))
            return rc;
        STORE(bool, byte);
        return 0;
    case WCP_U8:
    case WCP_S8:
        if ((rc = get_byte(d, &byte)))
            return rc;
        STORE(uint8_t, byte);
        return 0;
    case WCP_U16:
    case WCP_U32:
    case WCP_U64: return decode_unsigned(d, t, out);
    case WCP_S16:
    case WCP_S32:
    case WCP_S64: return decode_signed(d, t, out);
    case WCP_F32:
    case WCP_F64:
        if (d->in.len < t->size)
            return too_short(d, t->size - d->in.len);
        if (t->kind == WCP_F32)
            STORE(uint32_t, little_endian(take(d, 4)));
        else
            STORE(uint64_t, little_endian(take(d, 8)));
        return 0;
    case WCP_CHAR: return decode_char(d, out);
    case WCP_STRING: return decode_bytes(d, true, out);
    case WCP_HANDLE: return decode_bytes(d, false, out);
    case WCP_LIST: {
        struct list_layout l = {0};
        if ((rc = decode_list(d, t->elem, &l)))
            return rc;
        memcpy(out, &l, sizeof l);
        return 0;
    }
    case WCP_OPTION: {
        char *some = NULL;
        if ((rc = get_tag(d, "option", &byte)))
            return rc;
        if (byte &&
            ((rc = allocate(d, 1, t->elem->size, &some)) || (rc = decode(d, t->elem, some))))
            return rc;
        /* cppcheck-suppress pointerSize ; the value is a pointer */
        STORE(void *, some);
        return 0;
    }
    case WCP_RESULT:
        if ((rc = get_tag(d, "result", &byte)))
            return rc;
        STORE(bool, byte);
        return decode_case(d, &t->fields[byte], out);
    case WCP_RECORD:
        for (size_t i = 0; i < t->count; i++) {
            const struct wcp_field *f = &t->fields[i];
            if ((rc = decode_at(d, f->type, i, out + f->offset)))
                return d->err ? wcp_wrap(d->err, "%s", f->name) : rc;
        }
        return 0;
    case WCP_VARIANT: {
        uint32_t n = 0;
        if ((rc = get_discriminant(d, t, out, &n)))
            return rc;
        return decode_case(d, &t->fields[n], out);
    }
    case WCP_ENUM: return get_discriminant(d, t, out, &(uint32_t){0});
    case WCP_FLAGS: return decode_flags(d, t, out);
    case WCP_STREAM:
    case WCP_FUTURE: return decode_async(d, t, out);
    }
    abort(); /* a type table with an unknown kind */
}

int codec_decode(struct decoder *d, const struct wcp_type *t, void *out)
{
    return decode(d, t, out);
}

int codec_decode_element(struct decoder *d, const struct wcp_type *t, size_t index, void *out)
{
    return decode_at(d, t, index, out);
}

int wcp_decode(const struct wcp_type *t, struct wcp_bytes *in, void *out, struct wcp_arena *a,
               struct wcp_err *err)
{
    assert(!t->async);
    struct decoder d;
    d.in = *in;
    d.arena = a;
    d.err = err;
    d.on_async = NULL;
    d.padded_flags = false;
    d.path.n = 0; /* the rest is only used with async types */
    int rc = decode(&d, t, out);
    *in = d.in;
    return rc;
}

int codec_get_leb(struct wcp_bytes *in, unsigned bits, uint64_t *out, struct wcp_err *err)
{
    struct decoder d = {.in = *in, .err = err};
    int rc = get_leb(&d, bits, out);
    *in = d.in;
    return rc;
}

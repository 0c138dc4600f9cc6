/* encode.c: WIT values to bytes, driven by wcp_type tables (wrpc.md §1), and the tables of the
 * primitive types. No I/O. */
#include "rpc/codec.h"
#include "base/buf.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PRIMITIVE(name, KIND, T) const struct wcp_type name = {.kind = (KIND), .size = sizeof(T)}
PRIMITIVE(wcp_bool, WCP_BOOL, bool);
PRIMITIVE(wcp_u8, WCP_U8, uint8_t);
PRIMITIVE(wcp_u16, WCP_U16, uint16_t);
PRIMITIVE(wcp_u32, WCP_U32, uint32_t);
PRIMITIVE(wcp_u64, WCP_U64, uint64_t);
PRIMITIVE(wcp_s8, WCP_S8, int8_t);
PRIMITIVE(wcp_s16, WCP_S16, int16_t);
PRIMITIVE(wcp_s32, WCP_S32, int32_t);
PRIMITIVE(wcp_s64, WCP_S64, int64_t);
PRIMITIVE(wcp_f32, WCP_F32, float);
PRIMITIVE(wcp_f64, WCP_F64, double);
PRIMITIVE(wcp_char, WCP_CHAR, uint32_t);
PRIMITIVE(wcp_string, WCP_STRING, struct wcp_str);
PRIMITIVE(wcp_handle, WCP_HANDLE, struct wcp_bytes);
const struct wcp_type wcp_list_u8 = {
    .kind = WCP_LIST, .size = sizeof(struct wcp_bytes), .elem = &wcp_u8};

/* As STORE in decode.c. */
#define LOAD(T) (*(T *)memcpy(&(T){0}, value, sizeof(T)))

static void encode(struct encoder *e, const struct wcp_type *t, const char *value);

static inline void put_byte(struct wcp_buf *b, uint8_t byte)
{
    *buf_room(b, 1) = byte;
    b->len++;
}

void codec_put_leb(struct wcp_buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put_byte(b, (uint8_t)(v | 0x80));
    put_byte(b, (uint8_t)v);
}

static void put_sleb(struct wcp_buf *b, int64_t v)
{
    while (v < -0x40 || v > 0x3f) {
        put_byte(b, (uint8_t)((v & 0x7f) | 0x80));
        /* cppcheck-suppress shiftNegativeLHS ; gcc and clang keep the sign */
        v >>= 7;
    }
    put_byte(b, (uint8_t)(v & 0x7f));
}

static void put_little_endian(struct wcp_buf *b, uint64_t v, size_t n)
{
    uint8_t *p = buf_room(b, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    b->len += n;
}

static void put_char(struct wcp_buf *b, uint32_t c)
{
    assert(c <= 0x10ffff && (c < 0xd800 || c >= 0xe000));
    if (c < 0x80) {
        put_byte(b, (uint8_t)c);
        return;
    }
    unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    put_byte(b, (uint8_t)(0x7f80u >> more | c >> (6 * more)));
    while (more--)
        put_byte(b, (uint8_t)(0x80 | (c >> (6 * more) & 0x3f)));
}

static void put_len(struct wcp_buf *b, size_t n)
{
    assert(n <= UINT32_MAX);
    codec_put_leb(b, n);
}

static inline void put_bytes(struct wcp_buf *b, struct list_layout l)
{
    put_len(b, l.len);
    if (l.len) /* ptr may be NULL */
        memcpy(buf_room(b, l.len), l.ptr, l.len);
    b->len += l.len;
}

static inline void encode_at(struct encoder *e, const struct wcp_type *t, size_t index,
                             const char *value)
{
    if (!t->async) {
        encode(e, t, value);
        return;
    }
    assert(e->path.n < PATH_MAX_DEPTH);
    e->path.at[e->path.n++] = (uint32_t)index;
    encode(e, t, value);
    e->path.n--;
}

static void encode_flags(struct wcp_buf *b, const struct wcp_type *t, const char *value)
{
    size_t n = (t->count + 7u) / 8u;
    if (t->count <= 32)
        put_little_endian(b, LOAD(uint32_t), n);
    else if (t->count <= 64)
        put_little_endian(b, LOAD(uint64_t), n);
    else
        wcp_buf_put(b, value, n);
    assert(t->count % 8 == 0 || b->ptr[b->len - 1] >> t->count % 8 == 0);
}

static void encode(struct encoder *e, const struct wcp_type *t, const char *value)
{
    /* cppcheck-suppress ctuuninitvar ; wcp_encode sets what is used */
    struct wcp_buf *b = e->buf;
    const struct wcp_field *f;
    uint32_t tag;

    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL: put_byte(b, LOAD(bool)); return;
    case WCP_U8:
    case WCP_S8: put_byte(b, LOAD(uint8_t)); return;
    case WCP_U16: codec_put_leb(b, LOAD(uint16_t)); return;
    case WCP_U32: codec_put_leb(b, LOAD(uint32_t)); return;
    case WCP_U64: codec_put_leb(b, LOAD(uint64_t)); return;
    case WCP_S16: put_sleb(b, LOAD(int16_t)); return;
    case WCP_S32: put_sleb(b, LOAD(int32_t)); return;
    case WCP_S64: put_sleb(b, LOAD(int64_t)); return;
    case WCP_F32: put_little_endian(b, LOAD(uint32_t), 4); return;
    case WCP_F64: put_little_endian(b, LOAD(uint64_t), 8); return;
    case WCP_CHAR: put_char(b, LOAD(uint32_t)); return;
    case WCP_STRING:
    case WCP_HANDLE: put_bytes(b, LOAD(struct list_layout)); return;
    case WCP_LIST: {
        struct list_layout l = LOAD(struct list_layout);
        if (t->elem->kind == WCP_U8) {
            put_bytes(b, l);
            return;
        }
        put_len(b, l.len);
        for (size_t i = 0; i < l.len; i++)
            encode_at(e, t->elem, i, (const char *)l.ptr + i * t->elem->size);
        return;
    }
    case WCP_OPTION: {
        /* cppcheck-suppress pointerSize ; the value is a pointer */
        const char *some = LOAD(const char *);
        put_byte(b, some != NULL);
        if (some)
            encode(e, t->elem, some);
        return;
    }
    case WCP_RESULT:
        tag = LOAD(bool);
        put_byte(b, (uint8_t)tag);
        f = &t->fields[tag];
        if (f->type)
            encode(e, f->type, value + f->offset);
        return;
    case WCP_RECORD:
        for (size_t i = 0; i < t->count; i++)
            encode_at(e, t->fields[i].type, i, value + t->fields[i].offset);
        return;
    case WCP_VARIANT:
        tag = LOAD(uint32_t);
        assert(tag < t->count);
        codec_put_leb(b, tag);
        f = &t->fields[tag];
        if (f->type)
            encode(e, f->type, value + f->offset);
        return;
    case WCP_ENUM:
        tag = LOAD(uint32_t);
        assert(tag < t->count);
        codec_put_leb(b, tag);
        return;
    case WCP_FLAGS: encode_flags(b, t, value); return;
    case WCP_STREAM:
    case WCP_FUTURE:
        assert(e->on_async);
        e->on_async(e, t, LOAD(union wcp_async).out);
        return;
    }
    abort(); /* a type table with an unknown kind */
}

void codec_encode(struct encoder *e, const struct wcp_type *t, const void *value)
{
    encode(e, t, value);
}

void codec_encode_element(struct encoder *e, const struct wcp_type *t, size_t index,
                          const void *value)
{
    encode_at(e, t, index, value);
}

void wcp_encode(const struct wcp_type *t, const void *value, struct wcp_buf *b)
{
    assert(!t->async);
    struct encoder e;
    e.buf = b;
    e.on_async = NULL;
    e.path.n = 0; /* the rest is only used with async types */
    encode(&e, t, value);
}

/* read.c: values in the server's binary format: numbers, texts, bits, shapes. */
#include "read.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bytes --- */

bool read_bad(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

bool read_bytes(struct reader *r, size_t n, const uint8_t **out)
{
    if ((size_t)(r->end - r->at) < n)
        return read_bad(r, "ends too early");
    *out = r->at;
    r->at += n;
    return true;
}

bool read_u64(struct reader *r, uint64_t *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 8, &p))
        return false;
    *out = 0;
    for (size_t i = 0; i < 8; i++)
        *out = *out << 8 | p[i];
    return true;
}

bool read_u32(struct reader *r, uint32_t *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 4, &p))
        return false;
    *out = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    return true;
}

bool read_u16(struct reader *r, uint16_t *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 2, &p))
        return false;
    *out = (uint16_t)(p[0] << 8 | p[1]);
    return true;
}

bool read_u8(struct reader *r, uint8_t *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 1, &p))
        return false;
    *out = *p;
    return true;
}

void *read_room(struct reader *r, size_t n, size_t size)
{
    if (n > (size_t)(r->end - r->at)) {
        (void)read_bad(r, "ends too early");
        return NULL;
    }
    if (r->arena->used > r->arena_limit || n * size > r->arena_limit - r->arena->used) {
        (void)read_bad(r, "is larger than the limit for results");
        return NULL;
    }
    return wcp_alloc(r->arena, n, size);
}

/* --- numbers --- */

bool read_bool(struct reader *r, void *out)
{
    uint8_t v;
    if (!read_u8(r, &v))
        return false;
    *(bool *)out = v != 0;
    return true;
}

bool read_int2(struct reader *r, void *out)
{
    return read_u16(r, out);
}

bool read_int4(struct reader *r, void *out)
{
    return read_u32(r, out);
}

bool read_oid(struct reader *r, void *out)
{
    return read_u32(r, out);
}

bool read_int8(struct reader *r, void *out)
{
    return read_u64(r, out);
}

bool read_lsn(struct reader *r, void *out)
{
    return read_u64(r, out);
}

/* Infinity and NaN keep the exponent that their bits have: 2^52 * 2^972 is infinite. */
bool read_float8(struct reader *r, void *out)
{
    uint64_t bits;
    if (!read_u64(r, &bits))
        return false;
    struct postgres_types_hashable_f64 *f = out;
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t fraction = bits & 0xfffffffffffff;
    f->f0 = exponent ? fraction | 1ULL << 52 : fraction << 1;
    f->f1 = (int16_t)(exponent - 1075);
    f->f2 = bits >> 63 ? -1 : 1;
    return true;
}

bool read_float4(struct reader *r, void *out)
{
    uint32_t bits;
    if (!read_u32(r, &bits))
        return false;
    struct postgres_types_hashable_f64 *f = out;
    int exponent = (int)(bits >> 23 & 0xff);
    uint32_t fraction = bits & 0x7fffff;
    f->f0 = exponent ? fraction | 1U << 23 : fraction << 1;
    f->f1 = (int16_t)(exponent - 150);
    f->f2 = bits >> 31 ? -1 : 1;
    return true;
}

/* --- texts and bytes: all that is left --- */

static bool read_rest(struct reader *r, struct wcp_bytes *out)
{
    size_t n = (size_t)(r->end - r->at);
    uint8_t *copy = n ? read_room(r, n, 1) : wcp_alloc(r->arena, 1, 1);
    if (!copy)
        return false;
    memcpy(copy, r->at, n);
    r->at = r->end;
    *out = (struct wcp_bytes){copy, n};
    return true;
}

struct wcp_str read_keep(struct reader *r, struct wcp_buf *b)
{
    char *copy = wcp_alloc(r->arena, b->len + 1, 1);
    if (b->len)
        memcpy(copy, b->ptr, b->len);
    struct wcp_str s = {copy, b->len};
    wcp_buf_free(b);
    return s;
}

bool read_bytea(struct reader *r, void *out)
{
    return read_rest(r, out);
}

bool read_text(struct reader *r, void *out)
{
    struct wcp_bytes b;
    if (!read_rest(r, &b))
        return false;
    if (!wcp_is_utf8(b))
        return read_bad(r, "is text that is not UTF-8");
    *(struct wcp_str *)out = (struct wcp_str){(const char *)b.ptr, b.len};
    return true;
}

bool read_jsonb(struct reader *r, void *out)
{
    uint8_t version;
    if (!read_u8(r, &version))
        return false;
    return version == 1 ? read_text(r, out) : read_bad(r, "is jsonb of an unknown version");
}

bool read_chars(struct reader *r, void *out)
{
    struct postgres_types_tuple_u32_bytes *c = out;
    if (!read_rest(r, &c->f1))
        return false;
    c->f0 = (uint32_t)c->f1.len;
    return true;
}

bool read_char1(struct reader *r, void *out)
{
    return read_chars(r, out);
}

bool read_varchar(struct reader *r, void *out)
{
    struct postgres_types_tuple_option_u32_bytes *v = out;
    v->f0 = NULL; /* the column's limit is not told */
    return read_rest(r, &v->f1);
}

bool read_bits(struct reader *r, void *out)
{
    struct postgres_types_tuple_u32_bytes *b = out;
    if (!read_u32(r, &b->f0) || !read_rest(r, &b->f1))
        return false;
    return b->f1.len == ((size_t)b->f0 + 7) / 8 || read_bad(r, "has another number of bits");
}

bool read_varbits(struct reader *r, void *out)
{
    struct postgres_types_tuple_u32_bytes b;
    if (!read_bits(r, &b))
        return false;
    uint32_t *count = wcp_alloc(r->arena, 1, sizeof *count);
    *count = b.f0;
    *(struct postgres_types_tuple_option_u32_bytes *)out =
        (struct postgres_types_tuple_option_u32_bytes){count, b.f1};
    return true;
}

bool read_uuid(struct reader *r, void *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 16, &p))
        return false;
    struct wcp_buf b = {0};
    for (size_t i = 0; i < 16; i++)
        wcp_buf_fmt(&b, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", p[i]);
    *(struct wcp_str *)out = read_keep(r, &b);
    return true;
}

bool read_mac6(struct reader *r, void *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 6, &p))
        return false;
    memcpy(out, p, 6);
    return true;
}

bool read_mac8(struct reader *r, void *out)
{
    const uint8_t *p;
    if (!read_bytes(r, 8, &p))
        return false;
    memcpy(out, p, 8);
    return true;
}

/* --- shapes --- */

bool read_point(struct reader *r, void *out)
{
    struct postgres_types_point *p = out;
    return read_float8(r, &p->f0) && read_float8(r, &p->f1);
}

bool read_two_points(struct reader *r, void *out)
{
    struct postgres_types_tuple_point_point *p = out;
    return read_point(r, &p->f0) && read_point(r, &p->f1);
}

/* The server says the upper right corner first. */
bool read_box(struct reader *r, void *out)
{
    struct postgres_types_tuple_point_point *p = out;
    return read_point(r, &p->f1) && read_point(r, &p->f0);
}

bool read_circle(struct reader *r, void *out)
{
    struct postgres_types_tuple_point_hashable_f64 *c = out;
    return read_point(r, &c->f0) && read_float8(r, &c->f1);
}

static bool read_double(struct reader *r, double *out)
{
    uint64_t bits;
    if (!read_u64(r, &bits))
        return false;
    memcpy(out, &bits, sizeof bits);
    return true;
}

static struct postgres_types_hashable_f64 float_of(double v)
{
    uint8_t bytes[8];
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(bits >> (56 - 8 * i));
    struct reader r = {.at = bytes, .end = bytes + 8};
    struct postgres_types_hashable_f64 f = {0};
    (void)read_float8(&r, &f); /* eight bytes are there */
    return f;
}

/* The server has a*x + b*y + c = 0; the interface has two points: those at x 0 and 1, or if it is
 * upright at y 0 and 1. */
bool read_line(struct reader *r, void *out)
{
    double a, b, c;
    if (!read_double(r, &a) || !read_double(r, &b) || !read_double(r, &c))
        return false;
    struct postgres_types_tuple_point_point *p = out;
    bool upright = b == 0;
    p->f0.f0 = float_of(upright ? -c / a : 0);
    p->f0.f1 = float_of(upright ? 0 : -c / b);
    p->f1.f0 = float_of(upright ? -c / a : 1);
    p->f1.f1 = float_of(upright ? 1 : -(a + c) / b);
    return true;
}

/* With room for one point more. */
static bool read_points(struct reader *r, struct postgres_types_point **out, uint32_t *n)
{
    if (!read_u32(r, n))
        return false;
    if (*n > (size_t)(r->end - r->at) / 16)
        return read_bad(r, "ends too early");
    struct postgres_types_point *points = read_room(r, *n + 1, sizeof *points);
    for (uint32_t i = 0; points && i < *n; i++)
        if (!read_point(r, &points[i]))
            return false;
    *out = points;
    return points != NULL;
}

/* A closed path ends where it begins. */
bool read_path(struct reader *r, void *out)
{
    uint8_t closed;
    uint32_t n;
    struct postgres_types_point *points;
    if (!read_u8(r, &closed) || !read_points(r, &points, &n))
        return false;
    if (closed && n > 0)
        points[n++] = points[0];
    *(struct postgres_types_point_list *)out = (struct postgres_types_point_list){points, n};
    return true;
}

bool read_polygon(struct reader *r, void *out)
{
    uint32_t n;
    struct postgres_types_point *points;
    if (!read_points(r, &points, &n))
        return false;
    *(struct postgres_types_point_list *)out = (struct postgres_types_point_list){points, n};
    return true;
}

/* write.c: pg-values as text that the server's types read. */
#include "values.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is being written, and for what. */
struct writer {
    struct wcp_buf *b;
    uint32_t oid; /* the parameter's type */
    const char *why;
};
/* One value; v is of the C type of a case. */
typedef bool write_fn(struct writer *w, const void *v);

static bool bad(struct writer *w, const char *why)
{
    w->why = why;
    return false;
}

static bool put(struct writer *w, struct wcp_str s)
{
    if (memchr(s.ptr ? s.ptr : "", 0, s.len))
        return bad(w, "has a NUL, which PostgreSQL's texts cannot hold");
    wcp_buf_put(w->b, s.ptr, s.len);
    return true;
}

static bool put_text(struct writer *w, const void *v)
{
    return put(w, *(const struct wcp_str *)v);
}

/* --- numbers --- */

static bool put_s64(struct writer *w, const void *v)
{
    wcp_buf_fmt(w->b, "%" PRId64, *(const int64_t *)v);
    return true;
}

static bool put_s32(struct writer *w, const void *v)
{
    wcp_buf_fmt(w->b, "%" PRId32, *(const int32_t *)v);
    return true;
}

static bool put_s16(struct writer *w, const void *v)
{
    wcp_buf_fmt(w->b, "%d", *(const int16_t *)v);
    return true;
}

static bool put_u32(struct writer *w, const void *v)
{
    wcp_buf_fmt(w->b, "%" PRIu32, *(const uint32_t *)v);
    return true;
}

static bool put_bool(struct writer *w, const void *v)
{
    wcp_buf_fmt(w->b, "%s", *(const bool *)v ? "true" : "false");
    return true;
}

static bool put_lsn(struct writer *w, const void *v)
{
    uint64_t n = *(const uint64_t *)v;
    wcp_buf_fmt(w->b, "%" PRIX32 "/%" PRIX32, (uint32_t)(n >> 32), (uint32_t)n);
    return true;
}

/* Exponent and mantissa of a float as it is, see read_float8; what is no finite number is known by
 * the largest exponent. 17 digits tell a double from every other. */
static void put_number(struct writer *w, const struct postgres_types_hashable_f64 *f, int largest,
                       uint64_t one)
{
    if (f->f1 == largest && f->f0 >= one)
        wcp_buf_fmt(w->b, "%s", f->f0 > one ? "NaN" : f->f2 < 0 ? "-Infinity" : "Infinity");
    else
        wcp_buf_fmt(w->b, "%.17g", f->f2 * ldexp((double)f->f0, f->f1));
}

static bool put_f64(struct writer *w, const void *v)
{
    put_number(w, v, 972, 1ULL << 52);
    return true;
}

static bool put_f32(struct writer *w, const void *v)
{
    put_number(w, v, 105, 1U << 23);
    return true;
}

bool money_parse(struct wcp_str text, unsigned digits, int64_t *out)
{
    const char *p = text.ptr, *end = p + text.len;
    bool negative = p < end && *p == '-', point = false, some = false;
    uint64_t amount = 0;
    unsigned behind = 0;
    for (p += negative; p < end; p++) {
        if (*p == '.' && !point) {
            point = true;
            continue;
        }
        if (*p < '0' || *p > '9')
            return false;
        some = true;
        if (point && behind == digits) {
            if (*p != '0') /* finer than the smallest unit */
                return false;
            continue;
        }
        behind += point;
        if (__builtin_mul_overflow(amount, 10, &amount) ||
            __builtin_add_overflow(amount, (uint64_t)(*p - '0'), &amount))
            return false;
    }
    for (; behind < digits; behind++)
        if (__builtin_mul_overflow(amount, 10, &amount))
            return false;
    if (!some || amount > (uint64_t)INT64_MAX)
        return false;
    *out = negative ? -(int64_t)amount : (int64_t)amount;
    return true;
}

/* --- bytes and bits --- */

static bool put_bytea(struct writer *w, const void *v)
{
    const struct wcp_bytes *b = v;
    wcp_buf_fmt(w->b, "\\x");
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < b->len; i++)
        wcp_buf_put(w->b, (char[]){hex[b->ptr[i] >> 4], hex[b->ptr[i] & 15]}, 2);
    return true;
}

static bool put_count_of_bits(struct writer *w, struct wcp_bytes b, uint64_t n)
{
    if (b.len != (n + 7) / 8)
        return bad(w, "has not as many bytes as its number of bits needs");
    for (uint64_t i = 0; i < n; i++)
        wcp_buf_put(w->b, b.ptr[i / 8] & 128 >> i % 8 ? "1" : "0", 1);
    return true;
}

static bool put_bits(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_u32_bytes *t = v;
    return put_count_of_bits(w, t->f1, t->f0);
}

static bool put_varbits(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_option_u32_bytes *t = v;
    return put_count_of_bits(w, t->f1, t->f0 ? *t->f0 : (uint64_t)t->f1.len * 8);
}

static bool put_chars(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_u32_bytes *t = v;
    if (t->f1.len != t->f0)
        return bad(w, "has not as many bytes as it says");
    return put(w, (struct wcp_str){(const char *)t->f1.ptr, t->f1.len});
}

static bool put_varchar(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_option_u32_bytes *t = v;
    if (t->f0 && t->f1.len > *t->f0)
        return bad(w, "has more bytes than the limit that it says");
    return put(w, (struct wcp_str){(const char *)t->f1.ptr, t->f1.len});
}

static void put_mac(struct writer *w, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wcp_buf_fmt(w->b, "%s%02x", i ? ":" : "", p[i]);
}

static bool put_mac6(struct writer *w, const void *v)
{
    put_mac(w, v, 6);
    return true;
}

static bool put_mac8(struct writer *w, const void *v)
{
    put_mac(w, v, 8);
    return true;
}

/* --- shapes --- */

static bool put_point(struct writer *w, const void *v)
{
    const struct postgres_types_point *p = v;
    wcp_buf_fmt(w->b, "(");
    (void)put_f64(w, &p->f0); /* these cannot fail */
    wcp_buf_fmt(w->b, ",");
    (void)put_f64(w, &p->f1);
    wcp_buf_fmt(w->b, ")");
    return true;
}

static void put_points(struct writer *w, const struct postgres_types_point *p, size_t n, char open,
                       char close)
{
    wcp_buf_put(w->b, &open, 1);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            wcp_buf_fmt(w->b, ",");
        (void)put_point(w, &p[i]); /* cannot fail */
    }
    wcp_buf_put(w->b, &close, 1);
}

static bool put_box(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_point_point *p = v;
    put_points(w, (struct postgres_types_point[]){p->f0, p->f1}, 2, '(', ')');
    return true;
}

static bool put_segment(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_point_point *p = v;
    put_points(w, (struct postgres_types_point[]){p->f0, p->f1}, 2, '[', ']');
    return true;
}

static bool put_circle(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_point_hashable_f64 *c = v;
    wcp_buf_fmt(w->b, "<");
    (void)put_point(w, &c->f0); /* these cannot fail */
    wcp_buf_fmt(w->b, ",");
    (void)put_f64(w, &c->f1);
    wcp_buf_fmt(w->b, ">");
    return true;
}

static bool same_float(const struct postgres_types_hashable_f64 *a,
                       const struct postgres_types_hashable_f64 *b)
{
    return a->f0 == b->f0 && a->f1 == b->f1 && a->f2 == b->f2;
}

/* One that ends where it begins is closed. */
static bool put_path(struct writer *w, const void *v)
{
    const struct postgres_types_point_list *l = v;
    if (l->len == 0)
        return bad(w, "has no points");
    const struct postgres_types_point *first = l->ptr, *last = l->ptr + l->len - 1;
    bool closed =
        l->len > 1 && same_float(&first->f0, &last->f0) && same_float(&first->f1, &last->f1);
    put_points(w, l->ptr, l->len - closed, closed ? '(' : '[', closed ? ')' : ']');
    return true;
}

static bool put_polygon(struct writer *w, const void *v)
{
    const struct postgres_types_point_list *l = v;
    put_points(w, l->ptr, l->len, '(', ')');
    return l->len > 0 || bad(w, "has no points");
}

/* --- times --- */

static bool put_ymd(struct writer *w, const struct postgres_types_date *d)
{
    int64_t year = d->ymd.f0;
    if (d->ymd.f1 < 1 || d->ymd.f1 > 12 || d->ymd.f2 < 1 || d->ymd.f2 > 31)
        return bad(w, "has a month or day that no year has");
    wcp_buf_fmt(w->b, "%04" PRId64 "-%02u-%02u", year > 0 ? year : 1 - year, d->ymd.f1, d->ymd.f2);
    return true;
}

static const char *era(const struct postgres_types_date *d)
{
    return d->ymd.f0 > 0 ? "" : " BC";
}

/* True: it is, and that is written. */
static bool put_infinity(struct writer *w, const struct postgres_types_date *d)
{
    if (d->tag == POSTGRES_TYPES_DATE_YMD)
        return false;
    wcp_buf_fmt(w->b, d->tag == POSTGRES_TYPES_DATE_POSITIVE_INFINITY ? "infinity" : "-infinity");
    return true;
}

static bool put_date(struct writer *w, const void *v)
{
    const struct postgres_types_date *d = v;
    if (put_infinity(w, d))
        return true;
    if (!put_ymd(w, d))
        return false;
    wcp_buf_fmt(w->b, "%s", era(d));
    return true;
}

static bool put_time(struct writer *w, const void *v)
{
    const struct postgres_types_time *t = v;
    if (t->hour > 24 || t->min > 59 || t->sec > 60 || t->micro > 999999)
        return bad(w, "is no time of a day");
    wcp_buf_fmt(w->b, "%02u:%02u:%02u.%06u", t->hour, t->min, t->sec, t->micro);
    return true;
}

static bool put_timetz(struct writer *w, const void *v)
{
    const struct postgres_types_time_tz *t = v;
    const struct wcp_str zone = t->timezone;
    if (!put_time(w, &t->time))
        return false;
    if (zone.len > 0 && zone.ptr[0] != '+' && zone.ptr[0] != '-')
        wcp_buf_fmt(w->b, " ");
    return put(w, zone);
}

static bool put_moment(struct writer *w, const struct postgres_types_timestamp *t)
{
    if (!put_ymd(w, &t->date))
        return false;
    wcp_buf_fmt(w->b, " ");
    return put_time(w, &t->time);
}

static bool put_timestamp(struct writer *w, const void *v)
{
    const struct postgres_types_timestamp *t = v;
    if (put_infinity(w, &t->date))
        return true;
    if (!put_moment(w, t))
        return false;
    wcp_buf_fmt(w->b, "%s", era(&t->date));
    return true;
}

static bool put_timestamptz(struct writer *w, const void *v)
{
    const struct postgres_types_timestamp_tz *t = v;
    if (put_infinity(w, &t->timestamp.date))
        return true;
    if (!put_moment(w, &t->timestamp))
        return false;
    int64_t east = t->offset.tag == POSTGRES_TYPES_OFFSET_EASTERN_HEMISPHERE_SECS
                       ? t->offset.eastern_hemisphere_secs
                       : -(int64_t)t->offset.western_hemisphere_secs;
    int64_t s = east < 0 ? -east : east;
    wcp_buf_fmt(w->b, "%c%02" PRId64 ":%02" PRId64 ":%02" PRId64 "%s", east < 0 ? '-' : '+',
                s / 3600, s / 60 % 60, s % 60, era(&t->timestamp.date));
    return true;
}

/* An infinite side that is not inclusive is one without a bound, see read_daterange. */
static bool put_daterange(struct writer *w, const void *v)
{
    const struct postgres_types_interval *r = v;
    bool open = r->start.tag == POSTGRES_TYPES_DATE_NEGATIVE_INFINITY && !r->start_inclusive;
    wcp_buf_fmt(w->b, r->start_inclusive ? "[" : "(");
    if (!open && !put_date(w, &r->start))
        return false;
    wcp_buf_fmt(w->b, ",");
    open = r->end.tag == POSTGRES_TYPES_DATE_POSITIVE_INFINITY && !r->end_inclusive;
    if (!open && !put_date(w, &r->end))
        return false;
    wcp_buf_fmt(w->b, r->end_inclusive ? "]" : ")");
    return true;
}

/* --- lists that are one value --- */

static bool put_int2vector(struct writer *w, const void *v)
{
    const struct postgres_types_s16_list *l = v;
    bool array = w->oid != OID_INT2VECTOR && w->oid != 1006;
    wcp_buf_put(w->b, "{", array);
    for (size_t i = 0; i < l->len; i++)
        wcp_buf_fmt(w->b, "%s%d", i == 0 ? "" : array ? "," : " ", l->ptr[i]);
    wcp_buf_put(w->b, "}", array);
    return true;
}

static bool put_snapshot(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_s64_s64_s64_list *s = v;
    wcp_buf_fmt(w->b, "%" PRId64 ":%" PRId64 ":", s->f0, s->f1);
    for (size_t i = 0; i < s->f2.len; i++)
        wcp_buf_fmt(w->b, "%s%" PRId64, i ? "," : "", s->f2.ptr[i]);
    return true;
}

/* Between marks; a mark in it, and a backslash, has a backslash before it. */
static bool put_quoted(struct writer *w, struct wcp_str s, char mark)
{
    wcp_buf_put(w->b, &mark, 1);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == mark || s.ptr[i] == '\\')
            wcp_buf_put(w->b, "\\", 1);
        if (!put(w, (struct wcp_str){s.ptr + i, 1}))
            return false;
    }
    wcp_buf_put(w->b, &mark, 1);
    return true;
}

static bool put_tsvector(struct writer *w, const void *v)
{
    const struct postgres_types_lexeme_list *l = v;
    for (size_t i = 0; i < l->len; i++) {
        const struct postgres_types_lexeme *x = &l->ptr[i];
        if (x->weight && !x->position)
            return bad(w, "has a weight without a position");
        if (!put_quoted(w, x->data, '\''))
            return false;
        if (x->position)
            wcp_buf_fmt(w->b, ":%u%c", *x->position,
                        x->weight && *x->weight <= POSTGRES_TYPES_LEXEME_WEIGHT_D
                            ? "ABCD"[*x->weight]
                            : 'D');
        wcp_buf_fmt(w->b, " ");
    }
    return true;
}

static bool put_hstore(struct writer *w, const void *v)
{
    const struct postgres_types_tuple_string_option_string_list *l = v;
    for (size_t i = 0; i < l->len; i++) {
        wcp_buf_put(w->b, ",", i > 0);
        if (!put_quoted(w, l->ptr[i].f0, '"'))
            return false;
        wcp_buf_fmt(w->b, "=>%s", l->ptr[i].f1 ? "" : "NULL");
        if (l->ptr[i].f1 && !put_quoted(w, *l->ptr[i].f1, '"'))
            return false;
    }
    return true;
}

/* --- all cases --- */

#define CASE(name) [POSTGRES_TYPES_PG_VALUE_##name]
/* An array's elements are written by its own entry. */
static write_fn *const writers[] = {
    CASE(BIG_INT) = put_s64,
    CASE(INT8) = put_s64,
    CASE(INT8_ARRAY) = put_s64,
    CASE(BIG_SERIAL) = put_s64,
    CASE(SERIAL8) = put_s64,
    CASE(BOOL) = put_bool,
    CASE(BOOLEAN) = put_bool,
    CASE(BOOL_ARRAY) = put_bool,
    CASE(DOUBLE) = put_f64,
    CASE(FLOAT8) = put_f64,
    CASE(FLOAT8_ARRAY) = put_f64,
    CASE(REAL) = put_f32,
    CASE(FLOAT4) = put_f32,
    CASE(FLOAT4_ARRAY) = put_f32,
    CASE(INTEGER) = put_s32,
    CASE(INT) = put_s32,
    CASE(INT4) = put_s32,
    CASE(INT4_ARRAY) = put_s32,
    CASE(NUMERIC) = put_text,
    CASE(DECIMAL) = put_text,
    CASE(NUMERIC_ARRAY) = put_text,
    CASE(SERIAL) = put_u32,
    CASE(SERIAL4) = put_u32,
    CASE(SMALL_INT) = put_s16,
    CASE(INT2) = put_s16,
    CASE(INT2_ARRAY) = put_s16,
    CASE(INT2_VECTOR) = put_int2vector,
    CASE(INT2_VECTOR_ARRAY) = put_int2vector,
    CASE(SMALL_SERIAL) = put_s16,
    CASE(SERIAL2) = put_s16,
    CASE(BIT) = put_bits,
    CASE(BIT_ARRAY) = put_bits,
    CASE(BIT_VARYING) = put_varbits,
    CASE(VARBIT) = put_varbits,
    CASE(VARBIT_ARRAY) = put_varbits,
    CASE(BYTEA) = put_bytea,
    CASE(BYTEA_ARRAY) = put_bytea,
    CASE(CHAR) = put_chars,
    CASE(CHAR_ARRAY) = put_chars,
    CASE(VARCHAR) = put_varchar,
    CASE(VARCHAR_ARRAY) = put_varchar,
    CASE(CIDR) = put_text,
    CASE(CIDR_ARRAY) = put_text,
    CASE(INET) = put_text,
    CASE(INET_ARRAY) = put_text,
    CASE(MACADDR) = put_mac6,
    CASE(MACADDR_ARRAY) = put_mac6,
    CASE(MACADDR8) = put_mac8,
    CASE(MACADDR8_ARRAY) = put_mac8,
    CASE(BOX) = put_box,
    CASE(BOX_ARRAY) = put_box,
    CASE(CIRCLE) = put_circle,
    CASE(CIRCLE_ARRAY) = put_circle,
    CASE(LINE) = put_segment,
    CASE(LINE_ARRAY) = put_segment,
    CASE(LSEG) = put_segment,
    CASE(LSEG_ARRAY) = put_segment,
    CASE(PATH) = put_path,
    CASE(PATH_ARRAY) = put_path,
    CASE(POINT) = put_point,
    CASE(POINT_ARRAY) = put_point,
    CASE(POLYGON) = put_polygon,
    CASE(POLYGON_ARRAY) = put_polygon,
    CASE(DATE) = put_date,
    CASE(DATE_ARRAY) = put_date,
    CASE(INTERVAL) = put_daterange,
    CASE(INTERVAL_ARRAY) = put_daterange,
    CASE(TIME) = put_time,
    CASE(TIME_ARRAY) = put_time,
    CASE(TIME_TZ) = put_timetz,
    CASE(TIME_TZ_ARRAY) = put_timetz,
    CASE(TIMESTAMP) = put_timestamp,
    CASE(TIMESTAMP_ARRAY) = put_timestamp,
    CASE(TIMESTAMP_TZ) = put_timestamptz,
    CASE(TIMESTAMP_TZ_ARRAY) = put_timestamptz,
    CASE(JSON) = put_text,
    CASE(JSON_ARRAY) = put_text,
    CASE(JSONB) = put_text,
    CASE(JSONB_ARRAY) = put_text,
    CASE(MONEY) = put_text,
    CASE(MONEY_ARRAY) = put_text,
    CASE(PG_LSN) = put_lsn,
    CASE(PG_LSN_ARRAY) = put_lsn,
    CASE(PG_SNAPSHOT) = put_snapshot,
    CASE(TXID_SNAPSHOT) = put_s64,
    CASE(NAME) = put_text,
    CASE(NAME_ARRAY) = put_text,
    CASE(TEXT) = put_text,
    CASE(TEXT_ARRAY) = put_text,
    CASE(XML) = put_text,
    CASE(XML_ARRAY) = put_text,
    CASE(TS_QUERY) = put_text,
    CASE(TS_VECTOR) = put_tsvector,
    CASE(UUID) = put_text,
    CASE(UUID_ARRAY) = put_text,
    CASE(HSTORE) = put_hstore,
};

static bool is_array(const struct postgres_types_pg_value *v)
{
    const char *name = value_case_name(v);
    size_t n = strlen(name);
    return n > 6 && strcmp(name + n - 6, "-array") == 0;
}

static bool put_array(struct writer *w, const struct postgres_types_pg_value *v)
{
    const struct wcp_type *elem = postgres_types_pg_value_type.fields[v->tag].type->elem;
    const struct postgres_types_bytes_list *list = &v->bytea_array; /* all lists look the same */
    const char *separator = v->tag == POSTGRES_TYPES_PG_VALUE_BOX_ARRAY ? ";" : ",";
    struct wcp_buf one = {0};
    struct writer element = {.b = &one, .oid = w->oid};
    bool good = true;
    wcp_buf_fmt(w->b, "{");
    for (size_t i = 0; good && i < list->len; i++) {
        one.len = 0;
        good = writers[v->tag](&element, (const char *)list->ptr + i * elem->size);
        wcp_buf_put(w->b, separator, i > 0);
        if (good)
            (void)put_quoted(w, (struct wcp_str){(const char *)one.ptr, one.len}, '"'); /* no NUL */
    }
    wcp_buf_fmt(w->b, "}");
    wcp_buf_free(&one);
    w->why = element.why;
    return good;
}

bool value_write(const struct postgres_types_pg_value *v, uint32_t oid, struct wcp_buf *out,
                 const char **why)
{
    struct writer w = {.b = out, .oid = oid};
    bool good = is_array(v) ? put_array(&w, v) : writers[v->tag](&w, &v->int8);
    *why = w.why;
    return good;
}

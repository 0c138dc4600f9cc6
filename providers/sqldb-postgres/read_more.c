/* read_more.c: values in the server's binary format that need some thought: decimal numbers,
 * addresses, snapshots, text search, hstore. */
#include "read.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- decimal numbers --- */

struct digits {
    const uint8_t *at;
    int count;
};

/* Digit i to the base of 10,000; there are zeros before and behind those that are sent. */
static unsigned digit(const struct digits *d, int i)
{
    if (i < 0 || i >= d->count)
        return 0;
    const uint8_t *p = d->at + (size_t)i * 2;
    return (unsigned)(p[0] << 8 | p[1]) % 10000;
}

/* The first digit stands for 10,000^weight; scale decimal digits are behind the point. */
bool read_numeric(struct reader *r, void *out)
{
    enum { NEGATIVE = 0x4000, NO_NUMBER = 0xC000, INFINITE = 0xD000, MINUS_INFINITE = 0xF000 };
    uint16_t count, weight_bits, sign, scale;
    struct digits d;
    if (!read_u16(r, &count) || !read_u16(r, &weight_bits) || !read_u16(r, &sign) ||
        !read_u16(r, &scale) || !read_bytes(r, (size_t)count * 2, &d.at))
        return false;
    d.count = count;
    int weight = (int16_t)weight_bits;
    struct wcp_buf b = {0};
    if (sign == NO_NUMBER) {
        wcp_buf_fmt(&b, "NaN");
    } else if (sign == INFINITE || sign == MINUS_INFINITE) {
        wcp_buf_fmt(&b, sign == INFINITE ? "Infinity" : "-Infinity");
    } else if (sign & ~NEGATIVE || scale > 0x3fff) {
        return read_bad(r, "is no number");
    } else {
        wcp_buf_fmt(&b, "%s%u", sign ? "-" : "", weight < 0 ? 0 : digit(&d, 0));
        for (int i = 1; i <= weight; i++)
            wcp_buf_fmt(&b, "%04u", digit(&d, i));
        if (scale > 0)
            wcp_buf_fmt(&b, ".");
        for (int left = scale, i = weight + 1; left > 0; left -= 4, i++) {
            char four[8];
            (void)snprintf(four, sizeof four, "%04u", digit(&d, i));
            wcp_buf_put(&b, four, left < 4 ? (size_t)left : 4);
        }
    }
    *(struct wcp_str *)out = read_keep(r, &b);
    return true;
}

bool read_money(struct reader *r, void *out)
{
    uint64_t v;
    if (!read_u64(r, &v))
        return false;
    int64_t amount = (int64_t)v;
    uint64_t size = amount < 0 ? 0 - v : v, unit = 1;
    for (unsigned i = 0; i < r->money_digits; i++)
        unit *= 10;
    const char *sign = amount < 0 ? "-" : "";
    *(struct wcp_str *)out = r->money_digits == 0
                                 ? wcp_fmt(r->arena, "%s%" PRIu64, sign, size)
                                 : wcp_fmt(r->arena, "%s%" PRIu64 ".%0*" PRIu64, sign, size / unit,
                                           (int)r->money_digits, size % unit);
    return true;
}

/* --- addresses --- */

static bool read_address(struct reader *r, bool always_bits, void *out)
{
    enum { INET4 = 2, INET6 = 3 };
    uint8_t family, bits, is_cidr, size;
    const uint8_t *p;
    if (!read_u8(r, &family) || !read_u8(r, &bits) || !read_u8(r, &is_cidr) || !read_u8(r, &size) ||
        !read_bytes(r, size, &p))
        return false;
    unsigned want = family == INET4 ? 4 : family == INET6 ? 16 : 0;
    if (size != want || bits > want * 8 || want == 0)
        return read_bad(r, "is no address");
    char text[INET6_ADDRSTRLEN];
    (void)inet_ntop(family == INET4 ? AF_INET : AF_INET6, p, text, sizeof text); /* fits */
    *(struct wcp_str *)out = always_bits || bits != want * 8
                                 ? wcp_fmt(r->arena, "%s/%u", text, bits)
                                 : wcp_fmt(r->arena, "%s", text);
    return true;
}

bool read_inet(struct reader *r, void *out)
{
    return read_address(r, false, out);
}

bool read_cidr(struct reader *r, void *out)
{
    return read_address(r, true, out);
}

/* --- lists --- */

bool read_snapshot(struct reader *r, void *out)
{
    struct postgres_types_tuple_s64_s64_s64_list *s = out;
    uint32_t n;
    if (!read_u32(r, &n) || !read_int8(r, &s->f0) || !read_int8(r, &s->f1))
        return false;
    int64_t *running = n ? read_room(r, n, sizeof *running) : NULL;
    if (n && !running)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!read_int8(r, &running[i]))
            return false;
    s->f2.ptr = running;
    s->f2.len = n;
    return true;
}

/* It is sent as an array of one dimension. */
bool read_int2vector(struct reader *r, void *out)
{
    uint32_t dimensions, has_null, oid, n = 0, lower;
    if (!read_u32(r, &dimensions) || !read_u32(r, &has_null) || !read_u32(r, &oid))
        return false;
    if (dimensions > 1 || (dimensions && (!read_u32(r, &n) || !read_u32(r, &lower))))
        return read_bad(r, "is no vector");
    int16_t *items = n ? read_room(r, n, sizeof *items) : NULL;
    if (n && !items)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size;
        if (!read_u32(r, &size) || size != 2 || !read_int2(r, &items[i]))
            return read_bad(r, "is no vector");
    }
    *(struct postgres_types_s16_list *)out = (struct postgres_types_s16_list){items, n};
    return true;
}

static bool read_n(struct reader *r, uint32_t n, struct wcp_str *out)
{
    struct reader part = *r;
    if (!read_bytes(r, n, &part.at))
        return false;
    part.end = r->at;
    return read_text(&part, out) || read_bad(r, part.why);
}

bool read_hstore(struct reader *r, void *out)
{
    uint32_t n;
    if (!read_u32(r, &n))
        return false;
    struct postgres_types_tuple_string_option_string *pairs = NULL;
    if (n && !(pairs = read_room(r, n, sizeof *pairs)))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t key, value;
        if (!read_u32(r, &key) || !read_n(r, key, &pairs[i].f0) || !read_u32(r, &value))
            return false;
        if (value == UINT32_MAX)
            continue;
        struct wcp_str *text = wcp_alloc(r->arena, 1, sizeof *text);
        if (!read_n(r, value, text))
            return false;
        pairs[i].f1 = text;
    }
    *(struct postgres_types_tuple_string_option_string_list *)out =
        (struct postgres_types_tuple_string_option_string_list){pairs, n};
    return true;
}

/* --- text search --- */

/* Up to a NUL, which is taken, too. */
static bool read_word(struct reader *r, struct wcp_str *out)
{
    const uint8_t *nul = memchr(r->at, 0, (size_t)(r->end - r->at));
    if (!nul)
        return read_bad(r, "ends too early");
    bool good = read_n(r, (uint32_t)(nul - r->at), out);
    r->at = nul + 1;
    return good;
}

/* Each word comes once, with all of its positions; the interface has one of them in each lexeme. */
bool read_tsvector(struct reader *r, void *out)
{
    uint32_t n;
    if (!read_u32(r, &n))
        return false;
    /* Each lexeme of ours has two bytes of input at least. */
    struct postgres_types_lexeme *list = read_room(r, (size_t)(r->end - r->at), sizeof *list);
    size_t len = 0;
    for (uint32_t i = 0; list && i < n; i++) {
        struct wcp_str word;
        uint16_t positions;
        if (!read_word(r, &word) || !read_u16(r, &positions))
            return false;
        if (positions == 0)
            list[len++].data = word;
        for (uint16_t k = 0; k < positions; k++) {
            uint16_t at;
            if (!read_u16(r, &at))
                return false;
            uint16_t *position = wcp_alloc(r->arena, 1, sizeof *position);
            uint32_t *weight = wcp_alloc(r->arena, 1, sizeof *weight);
            *position = at & 0x3fff;
            *weight = POSTGRES_TYPES_LEXEME_WEIGHT_D - (uint32_t)(at >> 14); /* 3 is A */
            list[len++] = (struct postgres_types_lexeme){position, weight, word};
        }
    }
    *(struct postgres_types_lexeme_list *)out = (struct postgres_types_lexeme_list){list, len};
    return list != NULL;
}

struct item {
    struct wcp_str word; /* of an operand */
    bool is_operand, prefix;
    uint8_t weights, op;
    uint16_t distance;
    uint32_t size; /* of this item with all that belongs to it */
};
enum { NOT = 1, AND, OR, PHRASE };

static bool read_item(struct reader *r, struct item *it)
{
    enum { OPERAND = 1, OPERATOR = 2 };
    uint8_t kind, prefix;
    if (!read_u8(r, &kind))
        return false;
    it->is_operand = kind == OPERAND;
    if (kind == OPERAND) {
        if (!read_u8(r, &it->weights) || !read_u8(r, &prefix) || !read_word(r, &it->word))
            return false;
        it->prefix = prefix;
        return true;
    }
    if (kind != OPERATOR || !read_u8(r, &it->op))
        return read_bad(r, "is no query");
    if (it->op < NOT || it->op > PHRASE)
        return read_bad(r, "is no query");
    return it->op != PHRASE || read_u16(r, &it->distance);
}

static void put_operand(struct wcp_buf *b, const struct item *it)
{
    wcp_buf_put(b, "'", 1);
    for (size_t i = 0; i < it->word.len; i++) {
        char c = it->word.ptr[i];
        if (c == '\'' || c == '\\')
            wcp_buf_put(b, &c, 1);
        wcp_buf_put(b, &c, 1);
    }
    wcp_buf_put(b, "'", 1);
    if (it->prefix || it->weights & 15)
        wcp_buf_fmt(b, ":%s%s%s%s%s", it->prefix ? "*" : "", it->weights & 8 ? "A" : "",
                    it->weights & 4 ? "B" : "", it->weights & 2 ? "C" : "",
                    it->weights & 1 ? "D" : "");
}

/* Operators come before their operands, the right one before the left one. First the sizes are
 * found, from the end; then it is written, from left to right. */
bool read_tsquery(struct reader *r, void *out)
{
    uint32_t n;
    if (!read_u32(r, &n))
        return false;
    struct item *items = n ? read_room(r, n, sizeof *items) : NULL;
    /* What is to be written next, last in first out: items; above n: what follows their operands.
     */
    uint32_t *todo = n ? read_room(r, n, 4 * sizeof *todo) : NULL, len = 0;
    if (n && (!items || !todo))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!read_item(r, &items[i]))
            return false;
    for (uint32_t i = n; i-- > 0;) {
        uint32_t size = 1;
        for (int k = items[i].is_operand ? 0 : items[i].op == NOT ? 1 : 2; k > 0; k--) {
            if (i + size >= n)
                return read_bad(r, "is no query");
            size += items[i + size].size;
        }
        items[i].size = size;
    }
    if (n && items[0].size != n)
        return read_bad(r, "is no query");
    struct wcp_buf b = {0};
    if (n)
        todo[len++] = 0;
    while (len > 0) {
        uint32_t i = todo[--len];
        const struct item *it = &items[i % n];
        if (i >= 2 * n) {
            wcp_buf_fmt(&b, " )");
        } else if (i >= n) {
            if (it->op == PHRASE && it->distance != 1)
                wcp_buf_fmt(&b, " <%u> ", it->distance);
            else
                wcp_buf_fmt(&b, " %s ", it->op == AND ? "&" : it->op == OR ? "|" : "<->");
        } else if (it->is_operand) {
            put_operand(&b, it);
        } else {
            uint32_t right = i + 1;
            wcp_buf_fmt(&b, it->op == NOT ? "!( " : "( ");
            todo[len++] = 2 * n + i;
            todo[len++] = right;
            if (it->op != NOT) {
                todo[len++] = n + i;
                todo[len++] = right + items[right].size;
            }
        }
    }
    *(struct wcp_str *)out = read_keep(r, &b);
    return true;
}

/* test_codec.c: decoding and encoding: errors, limits and less usual types. The wire itself:
 * test_vectors.c.
 */
#include "rpc/codec.h"
#include "test.h"
#include <stddef.h>

#define LIST(T)                                                                                    \
    struct {                                                                                       \
        const T *ptr;                                                                              \
        size_t len;                                                                                \
    }
#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct wcp_type option_u64 = {WCP_OPTION, .size = sizeof(void *), .elem = &wcp_u64};
static const struct wcp_type list_u64 = {WCP_LIST, .size = sizeof(LIST(uint64_t)),
                                         .elem = &wcp_u64};
static const struct wcp_type list_string = {WCP_LIST, .size = sizeof(LIST(struct wcp_str)),
                                            .elem = &wcp_string};

struct set {
    struct wcp_str bucket, key;
    struct wcp_bytes value;
};
static const struct wcp_field set_fields[] = {
    {"bucket", &wcp_string, offsetof(struct set, bucket)},
    {"key", &wcp_string, offsetof(struct set, key)},
    {"value", &wcp_list_u8, offsetof(struct set, value)},
};
static const struct wcp_type set = {WCP_RECORD, false, 3, sizeof(struct set), set_fields, NULL};

static struct wcp_arena mem; /* reachable for the leak checker */

struct decoded {
    int rc;
    size_t left, need;
    struct wcp_err err;
    _Alignas(max_align_t) char value[256];
};

static struct decoded decode_bytes(const struct wcp_type *t, struct wcp_bytes in)
{
    struct decoded r = {0};
    struct decoder d = {.in = in, .arena = &mem, .err = &r.err};
    CHECK(t->size <= sizeof r.value);
    r.rc = codec_decode(&d, t, r.value);
    r.left = d.in.len;
    r.need = d.need;
    struct wcp_bytes again = in;
    char value[sizeof r.value];
    CHECK_INT(wcp_decode(t, &again, value, &mem, NULL), r.rc); /* without anybody to tell */
    CHECK_INT(again.len, r.left);
    return r;
}
#define DECODE(t, literal)                                                                         \
    decode_bytes(t, (struct wcp_bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

static const char *message(struct decoded d, int rc)
{
    static char text[256];
    CHECK_INT(d.rc, rc);
    CHECK_INT(d.err.code, rc);
    return strcpy(text, d.err.msg);
}

TEST(errors_say_where_and_what)
{
    CHECK_STR(message(DECODE(&set, "\1b\7k"), WCP_EMORE), "key: length 7, but 1 bytes are left");
    CHECK_STR(message(DECODE(&set, "\1b"), WCP_EMORE), "key: 1 more byte is needed");
    CHECK_STR(message(DECODE(&set, "\1b\2k\xff"), WCP_EPROTO),
              "key: byte 1 of 2, 0xff, is not UTF-8");
    CHECK_STR(message(DECODE(&wcp_bool, "\2"), WCP_EPROTO), "bool is 2, expected 0 or 1");
    CHECK_STR(message(DECODE(&option_u64, "\5"), WCP_EPROTO), "option is 5, expected 0 or 1");
    CHECK_STR(message(DECODE(&wcp_u16, "\xff\xff\4"), WCP_EPROTO),
              "integer does not fit in 16 bits");
    CHECK_STR(message(DECODE(&wcp_f64, "1234567"), WCP_EMORE), "1 more byte is needed");
    CHECK_STR(message(DECODE(&wcp_f32, "12"), WCP_EMORE), "2 more bytes are needed");
    CHECK_STR(message(DECODE(&wcp_char, "\xff"), WCP_EPROTO), "char starts with 0xff");
    CHECK_STR(message(DECODE(&wcp_char, "\xc3("), WCP_EPROTO), "char goes on with 0x28");
    CHECK_STR(message(DECODE(&wcp_char, "\xed\xa0\x80"), WCP_EPROTO), "U+D800 is no character");
    CHECK_STR(message(DECODE(&list_string, "\3\1a\1b\5c"), WCP_EMORE),
              "[2]: length 5, but 1 bytes are left");

    static const struct wcp_field cases[] = {{"none", NULL, 0}, {"other", &wcp_string, 8}};
    static const struct wcp_type variant = {WCP_VARIANT, .count = 2, .size = 24, .fields = cases};
    static const struct wcp_type result = {WCP_RESULT, .count = 2, .size = 24, .fields = cases};
    static const struct wcp_type list = {WCP_LIST, .size = sizeof(LIST(char)), .elem = &variant};
    static const struct wcp_type enumeration = {WCP_ENUM, .count = 3, .size = 4};
    CHECK_STR(message(DECODE(&variant, "\2"), WCP_EPROTO), "case 2, but there are 2 cases");
    CHECK_STR(message(DECODE(&enumeration, "\3"), WCP_EPROTO), "case 3, but there are 3 cases");
    CHECK_STR(message(DECODE(&result, "\2"), WCP_EPROTO), "result is 2, expected 0 or 1");
    CHECK_STR(message(DECODE(&list, "\2\0\1\1\xff"), WCP_EPROTO),
              "[1]: other: byte 0 of 1, 0xff, is not UTF-8");
}

TEST(bytes_behind_the_value_are_left)
{
    struct decoded d = DECODE(&set, "\1b\0\3abcXYZ");
    CHECK_INT(d.rc, 0);
    CHECK_INT(d.left, 3);
    const struct set *s = (const void *)d.value;
    CHECK(wcp_str_eq(s->bucket, WCP_STR("b")) && s->key.len == 0);
    CHECK_HEX(s->value, "616263");
}

TEST(need_tells_how_much_is_missing_at_least)
{
    CHECK_INT(DECODE(&set, "").need, 1);
    CHECK_INT(DECODE(&set, "\1b\1k\xe8\7abc").need, 997);
    CHECK_INT(DECODE(&list_u64, "\x64\1").need, 99);
    CHECK_INT(DECODE(&wcp_f64, "1").need, 7);
    CHECK_INT(DECODE(&wcp_char, "\xf0\x9f").need, 2);
    CHECK_INT(DECODE(&wcp_string, "\xff\xff\xff\xff\17").need, UINT32_MAX);
}

/* Type of n flags, decoded from hex and encoded again. */
static struct decoded flags(uint16_t n, const char *hex)
{
    struct wcp_type t = {WCP_FLAGS, .count = n, .size = n <= 32 ? 4 : n <= 64 ? 8 : (n + 7u) / 8};
    struct decoded d = decode_bytes(&t, test_unhex(hex));
    if (d.rc == 0) {
        struct wcp_buf b = {0};
        wcp_encode(&t, d.value, &b);
        CHECK_HEX(((struct wcp_bytes){b.ptr, b.len}), hex);
        wcp_buf_free(&b);
    }
    return d;
}

TEST(flags_of_every_size)
{
    uint32_t u32;
    uint64_t u64;
    struct decoded d = flags(17, "010001");
    CHECK_INT(d.rc, 0);
    memcpy(&u32, d.value, 4);
    CHECK_INT(u32, 0x10001);
    d = flags(33, "0000000001");
    memcpy(&u64, d.value, 8);
    CHECK_INT(u64, INT64_C(1) << 32);
    CHECK_INT(flags(32, "ffffffff").rc, 0);
    CHECK_INT(flags(64, "ffffffffffffffff").rc, 0);
    d = flags(65, "000000000000008001"); /* bytes: flags 63 and 64 */
    CHECK_INT(d.rc, 0);
    CHECK_INT((uint8_t)d.value[7], 0x80);
    CHECK_INT(d.value[8], 1);
    CHECK_INT(flags(128, "ffffffffffffffffffffffffffffffff").rc, 0);
    CHECK_STR(message(flags(9, "0002"), WCP_EPROTO),
              "byte 1 of the flags is 0x02, but there are 9 flags");
    CHECK_STR(message(flags(65, "000000000000000002"), WCP_EPROTO),
              "byte 8 of the flags is 0x02, but there are 65 flags");
    CHECK_STR(message(flags(33, "00000000"), WCP_EMORE), "1 more byte is needed");
}

TEST(a_count_is_checked_before_anything_is_allocated)
{
    static const struct wcp_type huge = {WCP_LIST, .size = 16, .elem = &list_u64};
    CHECK_STR(message(DECODE(&huge, "\xff\xff\xff\xff\17\1\1"), WCP_EMORE),
              "length 4294967295, but 2 bytes are left");
    CHECK_INT(mem.used, 0);
    /* Items without any bytes (WIT has none such) cannot be many either. */
    static const struct wcp_type nothing = {WCP_RECORD, .size = 0, .fields = set_fields};
    static const struct wcp_type nothings = {WCP_LIST, .size = 16, .elem = &nothing};
    CHECK_INT(DECODE(&nothings, "\2ab").rc, 0);
    CHECK_INT(DECODE(&nothings, "\3ab").rc, WCP_EMORE);
}

TEST(the_arena_s_limit_holds)
{
    struct wcp_err err = {0};
    LIST(uint64_t) l;
    const uint8_t bytes[] = {10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (size_t limit = 64; limit <= 96; limit += 16) { /* 80 bytes are needed: below, at, above */
        struct wcp_arena a = {.limit = limit};
        struct wcp_bytes in = {bytes, sizeof bytes};
        int rc = wcp_decode(&list_u64, &in, &l, &a, &err);
        CHECK_INT(rc, limit < 80 ? WCP_ETOOBIG : 0);
        if (rc)
            CHECK_STR(err.msg, "10 times 8 bytes do not fit: 0 of at most 64 bytes are taken");
        wcp_arena_free(&a);
    }
    /* Views of the input take nothing. */
    struct wcp_arena a = {.limit = 1};
    struct set s;
    struct wcp_bytes in = {(const uint8_t *)"\1b\1k\3abc", 8};
    CHECK_INT(wcp_decode(&set, &in, &s, &a, &err), 0);
    const uint64_t *some;
    in = (struct wcp_bytes){(const uint8_t *)"\1\1", 2};
    CHECK_INT(wcp_decode(&option_u64, &in, &some, &a, &err), WCP_ETOOBIG);
    CHECK_STR(err.msg, "1 times 8 bytes do not fit: 0 of at most 1 bytes are taken");
}

static void check_s64(int64_t v, const char *hex)
{
    struct wcp_buf b = {0};
    wcp_encode(&wcp_s64, &v, &b);
    struct wcp_bytes in = {b.ptr, b.len};
    CHECK_HEX(in, hex);
    int64_t back = 0;
    CHECK_INT(wcp_decode(&wcp_s64, &in, &back, &mem, NULL), 0);
    CHECK_INT(back, v);
    wcp_buf_free(&b);
}

TEST(signed_integers_at_every_length)
{
    check_s64(0, "00");
    check_s64(63, "3f");
    check_s64(64, "c000");
    check_s64(-64, "40");
    check_s64(-65, "bf7f");
    check_s64(INT64_MAX, "ffffffffffffffffff00");
    check_s64(INT64_MIN, "8080808080808080807f");
    for (int shift = 0; shift < 63; shift++) {
        for (int64_t near = -2; near <= 2; near++) {
            int64_t v[2] = {(INT64_C(1) << shift) + near, -(INT64_C(1) << shift) + near};
            for (int i = 0; i < 2; i++) {
                struct wcp_buf b = {0};
                int64_t back = 0;
                wcp_encode(&wcp_s64, &v[i], &b);
                struct wcp_bytes in = {b.ptr, b.len};
                CHECK_INT(wcp_decode(&wcp_s64, &in, &back, &mem, NULL), 0);
                CHECK(back == v[i] && in.len == 0);
                wcp_buf_free(&b);
            }
        }
    }
}

TEST(every_s16_and_every_last_byte)
{
    for (int v = INT16_MIN; v <= INT16_MAX; v++) {
        int16_t in = (int16_t)v, out = 0;
        struct wcp_buf b = {0};
        wcp_encode(&wcp_s16, &in, &b);
        struct wcp_bytes bytes = {b.ptr, b.len};
        CHECK_INT(wcp_decode(&wcp_s16, &bytes, &out, &mem, NULL), 0);
        CHECK(out == in && bytes.len == 0);
        wcp_buf_free(&b);
    }
    /* The third byte has two bits of the value; the rest is the sign's copy, or zero. */
    for (unsigned last = 0; last < 256; last++) {
        uint8_t bytes[] = {0x80, 0x80, (uint8_t)last, 0};
        struct wcp_bytes in = {bytes, 4};
        int16_t out = 0;
        int rc = wcp_decode(&wcp_s16, &in, &out, &mem, NULL);
        bool good = last < 4 || last == 0x7e || last == 0x7f;
        CHECK_INT(rc, good ? 0 : WCP_EPROTO);
        if (good)
            CHECK_INT(out, (int16_t)(uint16_t)((last & 3) << 14));
    }
}

TEST(every_character)
{
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 || (c > 0xd700 && c < 0xe100) ? 1 : 37) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        struct wcp_buf b = {0};
        uint32_t back = ~c;
        wcp_encode(&wcp_char, &c, &b);
        struct wcp_bytes in = {b.ptr, b.len};
        CHECK_INT(b.len, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        CHECK_INT(wcp_decode(&wcp_char, &in, &back, &mem, NULL), 0);
        CHECK(back == c && in.len == 0);
        wcp_buf_free(&b);
    }
}

TEST(lebs_for_streams)
{
    struct wcp_buf b = {0};
    struct wcp_err err = {0};
    uint64_t v = 0;
    codec_put_leb(&b, 300);
    codec_put_leb(&b, UINT64_MAX);
    struct wcp_bytes in = {b.ptr, b.len};
    CHECK_HEX(in, "ac02ffffffffffffffffff01");
    CHECK_INT(codec_get_leb(&in, 32, &v, &err), 0);
    CHECK_INT(v, 300);
    struct wcp_bytes rest = in;
    CHECK_INT(codec_get_leb(&rest, 32, &v, &err), WCP_EPROTO);
    CHECK_STR(err.msg, "integer does not fit in 32 bits");
    CHECK_INT(codec_get_leb(&in, 64, &v, &err), 0);
    CHECK(v == UINT64_MAX && in.len == 0);
    CHECK_INT(codec_get_leb(&in, 64, &v, &err), WCP_EMORE);
    wcp_buf_free(&b);
}

/* --- streams and futures: the paths are in test_vectors.c, here what is refused --- */

static const struct wcp_type stream_u8 = {WCP_STREAM, .async = true,
                                          .size = sizeof(union wcp_async), .elem = &wcp_u8};
static const struct wcp_type future = {WCP_FUTURE, .async = true, .size = sizeof(union wcp_async)};

static struct wcp_in *refuse(struct decoder *d, const struct wcp_type *t, bool pending,
                             const void *items, size_t n)
{
    return NULL;
}

static struct wcp_in *take(struct decoder *d, const struct wcp_type *t, bool pending,
                           const void *items, size_t n)
{
    *(size_t *)d->ctx = pending ? 1000 : n;
    return (struct wcp_in *)d->ctx;
}

TEST(streams_are_refused_where_they_are_impossible_or_too_many)
{
    struct wcp_err err;
    union wcp_async out;
    struct decoder d = {.in = {(const uint8_t *)"", 1}, .arena = &mem, .err = &err};
    CHECK_INT(codec_decode(&d, &stream_u8, &out), WCP_EINVAL);
    CHECK_STR(err.msg, "no stream or future is possible here");
    d.on_async = refuse;
    CHECK_INT(codec_decode(&d, &stream_u8, &out), WCP_ETOOBIG);
    CHECK_STR(err.msg, "no more streams or futures are possible");
}

TEST(ready_streams_and_futures_bring_their_items)
{
    size_t n = 0;
    union wcp_async out;
    struct decoder d = {
        .in = {(const uint8_t *)"\2ab\1\0\0", 6}, .arena = &mem, .on_async = take, .ctx = &n};
    CHECK_INT(codec_decode(&d, &stream_u8, &out), 0);
    CHECK_INT(n, 2);
    CHECK((void *)out.in == (void *)&n);
    CHECK_INT(codec_decode(&d, &future, &out), 0);
    CHECK_INT(n, 0);
    CHECK_INT(codec_decode(&d, &future, &out), 0);
    CHECK_INT(n, 1000); /* pending */
    CHECK_INT(codec_decode(&d, &stream_u8, &out), 0);
    CHECK_INT(n, 1000);
    CHECK_INT(d.path.n, 0);
}

TEST(streams_are_found_down_to_the_deepest_path)
{
    /* 15, 16 and 17 records around a stream, each its only member. */
    struct wcp_type t[18] = {stream_u8};
    struct wcp_field f[18];
    struct wcp_err err;
    union wcp_async out;
    size_t n = 0;
    for (size_t i = 1; i < COUNT(t); i++) {
        f[i] = (struct wcp_field){"x", &t[i - 1], 0};
        t[i] = (struct wcp_type){WCP_RECORD, true, 1, sizeof out, &f[i], NULL};
    }
    for (size_t depth = 15; depth <= 17; depth++) {
        struct decoder d = {.in = {(const uint8_t *)"", 1},
                            .arena = &mem,
                            .err = &err,
                            .on_async = take,
                            .ctx = &n};
        int rc = codec_decode(&d, &t[depth], &out);
        CHECK_INT(rc, depth <= PATH_MAX_DEPTH ? 0 : WCP_EINVAL);
        if (rc)
            CHECK(strstr(err.msg, "x: streams more than 16 levels deep are not supported"));
    }
}

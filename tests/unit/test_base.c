/* test_base.c: errors, arena, buffer, texts. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "test.h"

TEST(every_code_has_a_text)
{
    CHECK_STR(wcp_strerror(0), "success");
    CHECK_STR(wcp_strerror(WCP_ETIMEOUT), "timed out");
    CHECK_STR(wcp_strerror(-1000), "unknown error");
}

TEST(fail_fills_the_error_and_returns_the_code)
{
    struct wcp_err err;
    CHECK_INT(wcp_fail(&err, WCP_EPROTO, "frame: %d bytes left over", 3), WCP_EPROTO);
    CHECK_INT(err.code, WCP_EPROTO);
    CHECK_STR(err.msg, "frame: 3 bytes left over");
    CHECK_INT(wcp_fail(NULL, WCP_EIO, "nobody wants to know"), WCP_EIO);
    /* Its own text as argument. */
    CHECK_INT(wcp_fail(&err, WCP_EIO, "again: %s", err.msg), WCP_EIO);
    CHECK_STR(err.msg, "again: frame: 3 bytes left over");
}

TEST(wrap_says_where)
{
    struct wcp_err err;
    (void)wcp_fail(&err, WCP_EAUTH, "cannot be decrypted");
    CHECK_INT(wcp_wrap(&err, "secret '%s'", "password"), WCP_EAUTH);
    CHECK_INT(wcp_wrap(&err, "link '%s'", "default"), WCP_EAUTH);
    CHECK_STR(err.msg, "link 'default': secret 'password': cannot be decrypted");
}

TEST(messages_that_are_too_long_are_cut)
{
    char text[400], want[256] = "x: ";
    struct wcp_err err;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)wcp_fail(&err, WCP_EIO, "%s", text);
    CHECK_INT(strlen(err.msg), 255);
    (void)wcp_wrap(&err, "x");
    memset(want + 3, 'a', 252);
    CHECK_STR(err.msg, want);
    for (size_t n = 250; n < 260; n++) { /* around the end of the room */
        (void)wcp_fail(&err, WCP_EIO, "old");
        (void)wcp_wrap(&err, "%.*s", (int)n, text);
        CHECK(strlen(err.msg) <= 255 && memcmp(err.msg, text, 250) == 0);
    }
}

TEST(arena_gives_zeroed_aligned_memory_that_does_not_overlap)
{
    struct wcp_arena a = {0};
    static const size_t sizes[] = {0, 1, 7, 16, 100, 239, 240, 241, 5000, 32768, 32769, 200000, 3};
    uint8_t *p[200];
    for (size_t i = 0; i < 200; i++) {
        size_t n = sizes[i % (sizeof sizes / sizeof *sizes)];
        p[i] = wcp_alloc(&a, n, 1);
        CHECK((uintptr_t)p[i] % _Alignof(max_align_t) == 0);
        for (size_t k = 0; k < n; k++)
            CHECK_INT(p[i][k], 0);
        if (n)
            memset(p[i], (int)i + 1, n);
    }
    for (size_t i = 0; i < 200; i++) {
        size_t n = sizes[i % (sizeof sizes / sizeof *sizes)];
        for (size_t k = 0; k < n; k++)
            CHECK_INT(p[i][k], (uint8_t)(i + 1));
    }
    CHECK(a.used >= 200000u * 15);
    wcp_arena_free(&a);
    CHECK(a.used == 0 && !a.head);
    CHECK(wcp_alloc(&a, 3, 5)); /* and can be used again */
    wcp_arena_free(&a);
}

TEST(the_arena_s_limit_holds_for_what_peers_choose)
{
    struct wcp_arena a = {.limit = 1024};
    CHECK(arena_try(&a, 1, 1023 - 15)); /* below: 1008 */
    CHECK(!arena_try(&a, 1, 17));       /* above */
    CHECK_INT(a.used, 1008);
    CHECK(arena_try(&a, 4, 4)); /* at the limit */
    CHECK(!arena_try(&a, 1, 1));
    CHECK(wcp_alloc(&a, 1, 100)); /* not for the program's own needs */
    CHECK(!arena_try(&a, 1, 1));
    CHECK(!arena_try(&a, SIZE_MAX / 2, 3));
    a.limit = 0;
    CHECK(!arena_try(&a, SIZE_MAX, SIZE_MAX)); /* a product that does not exist */
    CHECK(arena_try(&a, 1, 100000));
    wcp_arena_free(&a);
}

TEST(fmt_gives_a_terminated_text_of_any_length)
{
    struct wcp_arena a = {0};
    struct wcp_str s = wcp_fmt(&a, "%s-%d", "x", 5);
    CHECK_STR(s.ptr, "x-5");
    CHECK_INT(s.len, 3);
    s = wcp_fmt(&a, "%*d", 10000, 1);
    CHECK_INT(s.len, 10000);
    CHECK_INT(strlen(s.ptr), 10000);
    wcp_arena_free(&a);
}

TEST(buf_grows_and_keeps_what_was_put)
{
    struct wcp_buf b = {0};
    wcp_buf_put(&b, NULL, 0);
    CHECK(!b.ptr);
    for (unsigned i = 0; i < 10000; i++)
        wcp_buf_fmt(&b, "%04u", i);
    CHECK_INT(b.len, 40000);
    CHECK(memcmp(b.ptr, "0000000100020003", 16) == 0);
    CHECK(memcmp(b.ptr + 39996, "9999", 4) == 0);
    memcpy(buf_room(&b, 100000), "end", 3);
    CHECK(b.cap - b.len >= 100000 && b.len == 40000);
    wcp_buf_free(&b);
    CHECK(!b.ptr && !b.len && !b.cap);
}

TEST(texts_are_compared_and_copied)
{
    struct wcp_str empty = wcp_str(NULL);
    CHECK(empty.len == 0);
    CHECK(wcp_str_eq(empty, WCP_STR("")));
    CHECK(wcp_str_eq(wcp_str("ab"), WCP_STR("ab")));
    CHECK(!wcp_str_eq(WCP_STR("ab"), WCP_STR("ac")));
    CHECK(!wcp_str_eq(WCP_STR("ab"), WCP_STR("abc")));
    char *s = wcp_str_dup(empty), *t = wcp_str_dup((struct wcp_str){"abc", 2});
    CHECK_STR(s, "");
    CHECK_STR(t, "ab");
    struct wcp_bytes *b = wcp_bytes_dup((struct wcp_bytes){(const uint8_t *)"\0\1", 2});
    struct wcp_bytes *none = wcp_bytes_dup((struct wcp_bytes){0});
    CHECK_HEX(*b, "0001");
    CHECK_INT(none->len, 0);
    free(s);
    free(t);
    free(b);
    free(none);
}

static size_t span(const char *text)
{
    size_t n = strlen(text);
    uint8_t *exact = wcp_calloc(1, n);
    memcpy(exact, text, n);
    size_t good = utf8_span(exact, n);
    free(exact);
    return good;
}

TEST(utf8_is_told_from_what_is_not)
{
    CHECK_INT(utf8_span(NULL, 0), 0);
    CHECK(wcp_is_utf8((struct wcp_bytes){0}));
    CHECK(wcp_is_utf8((struct wcp_bytes){(const uint8_t *)"\xc3\x9f", 2}));
    CHECK(!wcp_is_utf8((struct wcp_bytes){(const uint8_t *)"\xc3\x9f", 1}));
    CHECK_INT(span("plain text of more than eight bytes"), 35);
    CHECK_INT(span("\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 12345678 \xc3\x9f"), 23);
    CHECK_INT(span("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"),
              10); /* beside surrogates, the last */
    CHECK_INT(span("12345678\x80"), 8);
    CHECK_INT(span("1234567\xff"), 7);
    CHECK_INT(span("a\xc3"), 1);            /* cut */
    CHECK_INT(span("\xe2\x82"), 0);         /* cut */
    CHECK_INT(span("\xf0\x9f\x98"), 0);     /* cut */
    CHECK_INT(span("\xc0\x80"), 0);         /* overlong */
    CHECK_INT(span("\xe0\x9f\xbf"), 0);     /* overlong */
    CHECK_INT(span("\xf0\x8f\xbf\xbf"), 0); /* overlong */
    CHECK_INT(span("\xed\xa0\x80"), 0);     /* surrogate */
    CHECK_INT(span("\xf4\x90\x80\x80"), 0); /* above U+10FFFF */
    CHECK_INT(span("\xe2\x28\xa1"), 0);     /* not a continuation */
    CHECK_INT(span("\xf0\x9f\x98\x28"), 0); /* not a continuation */
}

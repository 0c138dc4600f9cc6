/* test_recording.c: recordings as bytes, from wherever they come (docs/recording.md). */
#include "cli/recording.h"
#include "test.h"
#include <stdio.h>
#include <string.h>

#define BYTES(lit) ((struct wcp_bytes){(const uint8_t *)(lit), sizeof(lit) - 1})

static const struct wcp_header headers[] = {{"source-id", "comp"}, {"x", ""}};
static const struct rpc_channel channels[] = {{{{0, 1}, 2}, {(const uint8_t *)"\1a", 3}},
                                              {{{7}, 1}, {NULL, 0}}};
static const struct recorded sample = {.number = 7,
                                       .time_us = 1700000000000000,
                                       .answer_us = 250,
                                       .function = "a:b/c@0.1.0.d",
                                       .headers = headers,
                                       .header_count = 2,
                                       .params = {(const uint8_t *)"p\0q", 3},
                                       .results_channels = channels,
                                       .results_channel_count = 2,
                                       .ended = RECORDED_CUT};

static struct wcp_arena arena;
static struct wcp_err err;
static struct recorded got;

static int get(const void *p, size_t n)
{
    struct wcp_bytes in = {p, n};
    err = (struct wcp_err){0};
    int rc = recording_get(&in, &got, &arena, &err);
    CHECK(rc || in.len == 0);
    return rc;
}

TEST(a_call_is_written_and_read)
{
    struct wcp_buf b = {0};
    recording_put(&b, &sample);
    CHECK_INT(get(b.ptr, b.len), 0);
    CHECK_INT(got.number, 7);
    CHECK_INT(got.time_us, 1700000000000000);
    CHECK_INT(got.answer_us, 250);
    CHECK_STR(got.function, "a:b/c@0.1.0.d");
    CHECK_INT(got.header_count, 2);
    CHECK_STR(got.headers[0].value, "comp");
    CHECK_STR(got.headers[1].value, "");
    CHECK_INT(got.params.len, 3);
    CHECK(memcmp(got.params.ptr, "p\0q", 3) == 0);
    CHECK_INT(got.results.len, 0);
    CHECK_INT(got.params_channel_count, 0);
    CHECK_INT(got.results_channel_count, 2);
    CHECK_INT(got.results_channels[0].path.n, 2);
    CHECK_INT(got.results_channels[0].path.at[1], 1);
    CHECK_INT(got.results_channels[0].data.len, 3);
    CHECK_INT(got.results_channels[1].data.len, 0);
    CHECK_INT(got.ended, RECORDED_CUT);
    wcp_buf_free(&b);
    wcp_arena_free(&arena);
}

TEST(a_head_is_written_and_read)
{
    struct wcp_buf b = {0};
    struct recording_head h;
    recording_put_head(&b, &(struct recording_head){"default", "kv", 5});
    struct wcp_bytes in = {b.ptr, b.len};
    CHECK_INT(recording_get_head(&in, &h, &arena, &err), 0);
    CHECK_STR(h.lattice, "default");
    CHECK_STR(h.id, "kv");
    CHECK_INT(h.time_us, 5);
    wcp_buf_free(&b);
    wcp_arena_free(&arena);
}

TEST(a_call_that_is_cut_anywhere_wants_more)
{
    struct wcp_buf b = {0};
    recording_put(&b, &sample);
    for (size_t n = 0; n < b.len; n++)
        CHECK_INT(get(b.ptr, n), WCP_EMORE);
    wcp_buf_free(&b);
    wcp_arena_free(&arena);
}

TEST(a_flipped_byte_is_read_or_told)
{
    struct wcp_buf b = {0};
    recording_put(&b, &sample);
    for (size_t i = 0; i < b.len; i++)
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            struct wcp_bytes in = {b.ptr, b.len};
            b.ptr[i] ^= (uint8_t)flip;
            err = (struct wcp_err){0};
            int rc = recording_get(&in, &got, &arena, &err);
            CHECK(rc == 0 || rc == WCP_EMORE || *err.msg);
            b.ptr[i] ^= (uint8_t)flip;
        }
    wcp_buf_free(&b);
    wcp_arena_free(&arena);
}

static void refused(struct wcp_bytes in, int code, const char *message)
{
    CHECK_INT(get(in.ptr, in.len), code);
    CHECK_STR(err.msg, message);
}

TEST(what_no_recording_holds_is_refused)
{
    refused(BYTES("\x91\1"), WCP_EPROTO, "byte 0: 0x91 found, a MessagePack map expected");
    refused(BYTES("\x81\xc1\1"), WCP_EPROTO, "byte 1: 0xc1 found, which begins no value");
    refused(BYTES("\x81\xa1x\1"), WCP_EPROTO, "call is missing");
    refused(BYTES("\x81\xa4"
                  "call\xff"),
            WCP_EPROTO, "call: a number found, a number from 0 on expected");
    refused(BYTES("\x81\xa4"
                  "call\xc0"),
            WCP_EPROTO, "call: nothing found, a number from 0 on expected");
    refused(BYTES("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\1"), WCP_EPROTO,
            "byte 9: more than 8 levels found");
    wcp_arena_free(&arena);
}

/* An array of n things: one below, at, and above what is allowed, all of which count. */
TEST(the_number_of_things_is_limited)
{
    struct wcp_buf b = {0};
    for (int n = RECORD_ITEMS - 3; n <= RECORD_ITEMS - 1; n++) {
        b.len = 0;
        wcp_buf_put(&b, "\x81\xa1x\xdc", 4);
        wcp_buf_put(&b, (uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, 2);
        for (int i = 0; i < n; i++)
            wcp_buf_put(&b, "\xc0", 1);
        if (n < RECORD_ITEMS - 1)
            refused((struct wcp_bytes){b.ptr, b.len}, WCP_EPROTO, "call is missing");
        else
            refused((struct wcp_bytes){b.ptr, b.len}, WCP_ETOOBIG,
                    "byte 3: 9999 things found, at most 10000 in all expected");
    }
    wcp_buf_free(&b);
    wcp_arena_free(&arena);
}

TEST(the_size_of_a_call_is_limited)
{
    /* Three bytes and the five of the length are before it. */
    uint8_t in[] = {0x81, 0xa1, 'x', 0xc6, 0x3f, 0xff, 0xff, 0xf8};
    CHECK_INT(get(in, sizeof in), WCP_EMORE);
    in[7]++;
    refused((struct wcp_bytes){in, sizeof in}, WCP_ETOOBIG,
            "byte 3: a value of 1073741817 bytes found, at most 1073741824 in all expected");
    wcp_arena_free(&arena);
}

TEST(headers_and_functions_that_cannot_be_sent_are_not_taken)
{
    CHECK(recording_takes_header("a", "b\tc"));
    CHECK(!recording_takes_header("", "b"));
    CHECK(!recording_takes_header("a b", "c"));
    CHECK(!recording_takes_header("a:", "c"));
    CHECK(!recording_takes_header("a", "c\r\nx: y"));
    CHECK(recording_takes_function("a:b/c.d"));
    CHECK(!recording_takes_function(""));
    CHECK(!recording_takes_function("a.>"));
    CHECK(!recording_takes_function("a b"));
    char long_one[RPC_FUNCTION_MAX + 2];
    memset(long_one, 'x', sizeof long_one);
    long_one[RPC_FUNCTION_MAX + 1] = '\0';
    CHECK(!recording_takes_function(long_one));
    long_one[RPC_FUNCTION_MAX] = '\0';
    CHECK(recording_takes_function(long_one));
}

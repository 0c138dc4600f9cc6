/* test_compare.c: are two answers the same? As bytes, and as values of a type. */
#include "cli/compare.h"
#include "test.h"
#include "wave/tables.h"
#include "wit/load.h"
#include <string.h>

static struct wit w; /* of the running test; reachable for the leak checker */

/* An answer in words: "root 0=bytes 0.1=bytes", all in hexadecimal digits. */
static void answer(const char *text, struct answer *a, struct rpc_channel channels[4],
                   struct wcp_arena *arena)
{
    *a = (struct answer){.channels = channels};
    for (int i = 0; *text || i == 0; i++) {
        struct wcp_str word = {text, strcspn(text, " ")};
        text += word.len + (text[word.len] == ' ');
        const char *eq = memchr(word.ptr, '=', word.len);
        struct wcp_str hex =
            eq ? (struct wcp_str){eq + 1, word.len - (size_t)(eq + 1 - word.ptr)} : word;
        struct wcp_bytes bytes = test_unhex(wcp_fmt(arena, "%.*s", WCP_ARG(hex)).ptr);
        if (!eq) {
            a->root = bytes;
            continue;
        }
        CHECK(path_parse((struct wcp_str){word.ptr, (size_t)(eq - word.ptr)},
                         &channels[a->channel_count].path));
        channels[a->channel_count++].data = bytes;
    }
}

/* type NULL: not known. Returns what differs, or "". */
static const char *compare(const char *type, const char *was, const char *came)
{
    static char out[1000];
    struct wcp_arena arena = {0};
    struct wcp_buf text = {0};
    struct answer a, b;
    struct rpc_channel of_a[4], of_b[4];
    const struct wcp_type *t = NULL;
    if (type) {
        struct wit_type *parsed = NULL;
        wit_init(&w);
        if (wit_try_type(&w, "TYPE", wcp_str(type), &parsed))
            FAIL("%s: %s", type, w.error.msg);
        t = tables_type(&w, parsed);
    }
    answer(was, &a, of_a, &arena);
    answer(came, &b, of_b, &arena);
    bool same = answers_are_same(t, &a, &b, &text);
    CHECK_INT(same, text.len == 0);
    snprintf(out, sizeof out, "%.*s", (int)text.len, (const char *)text.ptr);
    wcp_buf_free(&text);
    wcp_arena_free(&arena);
    if (type)
        wit_free(&w);
    return out;
}

TEST(bytes_are_compared_where_the_type_is_not_known)
{
    CHECK_STR(compare(NULL, "", ""), "");
    CHECK_STR(compare(NULL, "00ff", "00ff"), "");
    CHECK_STR(compare(NULL, "00ff", "00fe"),
              "results differ at byte 1: ff recorded, fe came (2 and 2 bytes in all)");
    CHECK_STR(compare(NULL, "00", "0001"),
              "results differ at byte 1: its end recorded, 01 came (1 and 2 bytes in all)");
    CHECK_STR(compare(NULL, "", "00"), "the end without an answer recorded, an answer came");
    CHECK_STR(compare(NULL, "00", ""), "an answer recorded, the end without an answer came");
    CHECK_STR(compare(NULL, "000102030405060708090a0b0c0d0e0f1011", "ff"),
              "results differ at byte 0: 000102030405060708090a0b0c0d0e0f... recorded, ff came "
              "(18 and 1 bytes in all)");
}

TEST(channels_are_compared_without_their_chunks)
{
    CHECK_STR(compare(NULL,
                      "00 0=0261620163"
                      "00",
                      "00 0=03616263"
                      "00"),
              "");
    CHECK_STR(compare(NULL,
                      "00 0=026162"
                      "00",
                      "00 0=026163"
                      "00"),
              "channel 0 differs at byte 1: 62 recorded, 63 came (2 and 2 bytes in all)");
    /* Without its end it is no such stream: bytes are compared. */
    CHECK_STR(compare(NULL,
                      "00 0=026162"
                      "00",
                      "00 0=026162"),
              "channel 0 differs at byte 3: 00 recorded, its end came (4 and 3 bytes in all)");
    /* An empty message on a parent's path is no channel. */
    CHECK_STR(compare(NULL, "00 0= 0.1=00", "00 0.1=00"), "");
    CHECK_STR(compare(NULL, "00 0.1=00", "00 0= 0.1=00"), "");
    CHECK_STR(compare(NULL, "00", "00 0.1=0100"),
              "channel 0.1 differs at byte 0: its end recorded, 0100 came (0 and 2 bytes in all)");
}

TEST(values_are_compared_however_they_are_encoded)
{
    CHECK_STR(compare("u32", "05", "8500"), "");
    CHECK_STR(compare("u32", "05", "06"), "5 recorded, 6 came");
    CHECK_STR(compare("result<option<string>, u8>", "00010161", "0000"),
              "ok(some(\"a\")) recorded, ok(none) came");
    CHECK_STR(compare("u32", "05", "ff"),
              "what came is no value of its type: 1 more byte is needed");
    CHECK_STR(compare("bool", "02", "02"), "");
    CHECK_STR(compare("bool", "02", "01"),
              "what was recorded is no value of its type: bool is 2, expected 0 or 1");
    CHECK_STR(compare("u32", "05", "05ff"), ""); /* bytes behind a value are none of it */
    CHECK_STR(compare("u32", "05", ""), "an answer recorded, the end without an answer came");
}

TEST(streams_and_futures_are_compared_inlined_or_not)
{
    CHECK_STR(compare("stream<u8>",
                      "00 0=0261620163"
                      "00",
                      "03616263"),
              "");
    CHECK_STR(compare("stream<u8>",
                      "00 0=0261620163"
                      "00",
                      "00 0=03616263"
                      "00"),
              "");
    CHECK_STR(compare("stream<u8>",
                      "00 0=026162"
                      "00",
                      "00 0=026163"
                      "00"),
              "the values of 0 differ at byte 1: 62 recorded, 63 came (2 and 2 bytes in all)");
    CHECK_STR(compare("stream<u8>",
                      "00 0=026162"
                      "00",
                      "00 0=026162"),
              "0 was whole when recorded, and is cut without its end");
    CHECK_STR(compare("stream<u8>", "00 0=00", "00"),
              "0 was whole when recorded, and is cut before it began");
    CHECK_STR(compare("stream<u32>", "00 0=010501850000", "00 0=02050500"), "");
    CHECK_STR(compare("stream<string>",
                      "00 0=0101610101"
                      "6200",
                      "00 0=020161016200"),
              "");
    CHECK_STR(
        compare("stream<string>",
                "00 0=0101"
                "6100",
                "00 0=01056100"),
        "the values of 0 differ at byte 0: 0161 recorded, its end came (2 and 0 bytes in all)");
    CHECK_STR(compare("future<u32>", "0105", "00 0=8500"), "");
    CHECK_STR(compare("future<u32>", "0105", "00 0="),
              "the values of 0 differ at byte 0: 05 recorded, its end came (1 and 0 bytes in all)");
    CHECK_STR(compare("future", "00 0=", "01"), "");
    CHECK_STR(compare("tuple<u8, stream<u8>, future<option<string>>>",
                      "0700"
                      "00 0.1=0161"
                      "00 0.2=00",
                      "07"
                      "0161"
                      "0100"),
              "");
    CHECK_STR(compare("tuple<u8, stream<u8>>", "0700 0.1=00", "0800 0.1=00"),
              "(7, <stream>) recorded, (8, <stream>) came");
}

TEST(streams_and_futures_within_streams_and_futures_are_compared)
{
    CHECK_STR(compare("stream<future<u32>>",
                      "00 0=020000"
                      "00 0.0=05 0.1=06",
                      "00 0=0100010106"
                      "00 0.0=05"),
              "");
    CHECK_STR(compare("stream<future<u32>>",
                      "00 0=020000"
                      "00 0.0=05 0.1=06",
                      "00 0=020000"
                      "00 0.0=05 0.1=07"),
              "the values of 0.1 differ at byte 0: 06 recorded, 07 came (1 and 1 bytes in all)");
    CHECK_STR(compare("future<future<u32>>", "00 0=0005", "010105"), "");
    CHECK_STR(compare("future<future<u32>>", "00 0=0005", "00 0=0006"),
              "the values of 0 differ at byte 0: 05 recorded, 06 came (1 and 1 bytes in all)");
}

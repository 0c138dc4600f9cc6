/* test_wave.c: text to values and back. tests/golden/wave.txt has a line for each case: a type of
 * wave.wit, the text (\N, \R and \T are line end, return and tab), and what is printed of it or
 * where it is wrong. What it says of forms that WAVE has, the published wasm-wave says too, but for
 * the %-names and missing commas of flags. */
#include "test.h"
#include "wave/tables.h"
#include "wave/wave.h"
#include "wit/load.h"

static struct wit w; /* of the running test; reachable for the leak checker */
static struct wcp_arena arena;

static void load(struct wit *into, void *arg)
{
    wit_load_any(into, "tests/golden/wave.wit", NULL, 0);
}

static void begin(void)
{
    wit_init(&w);
    if (wit_try(&w, load, NULL))
        FAIL("%s", w.error.msg);
}

static void end(void)
{
    wcp_arena_free(&arena);
    wit_free(&w);
}

static const struct wcp_type *table_of(struct wcp_str text)
{
    struct wit_type *t = NULL;
    if (wit_try_type(&w, "TYPE", text, &t))
        FAIL("%.*s: %s", WCP_ARG(text), w.error.msg);
    return tables_type(&w, t);
}

/* A copy without room behind it, so that reading too far is seen. */
static struct wcp_str exact(struct wcp_str text)
{
    char *copy = wcp_alloc(&arena, text.len, 1);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return (struct wcp_str){copy, text.len};
}

/* "= printed", "! offset: message" */
static void read_and_print(const struct wcp_type *t, struct wcp_str text, struct wcp_buf *out)
{
    struct wave_error err = {0};
    struct wave_reader r = {.arena = &arena};
    struct wave_writer writer = {0};
    void *value = wcp_alloc(&arena, 1, t->size);
    if (wave_parse(&r, t, exact(text), value, &err) == 0) {
        wcp_buf_put(out, "= ", 2);
        wave_print(&writer, t, value, out);
    } else {
        wcp_buf_fmt(out, "! %zu: %s", err.at, err.msg);
    }
    wcp_buf_put(out, "", 1);
}

static void check_read(const char *type, const char *text, const char *want)
{
    struct wcp_buf got = {0};
    read_and_print(table_of(wcp_str(type)), wcp_str(text), &got);
    if (strcmp((const char *)got.ptr, want) != 0)
        FAIL("%s %s: '%s', expected '%s'", type, text, (const char *)got.ptr, want);
    wcp_buf_free(&got);
}

/* Replaces \N and the like. */
static struct wcp_str unescape(struct wcp_str s)
{
    static const char names[] = "NRT", values[] = "\n\r\t";
    char *out = wcp_alloc(&arena, s.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        const char *k = s.ptr[i] == '\\' && i + 1 < s.len ? strchr(names, s.ptr[i + 1]) : NULL;
        out[n++] = k ? values[k - names] : s.ptr[i];
        i += k != NULL;
    }
    return (struct wcp_str){out, n};
}

TEST(texts_are_read_and_printed_as_in_the_golden_file)
{
    char line[4096];
    int count = 0, wrong = 0;
    FILE *f = fopen("tests/golden/wave.txt", "re");
    begin();
    CHECK(f);
    while (fgets(line, sizeof line, f)) {
        char *text = strchr(line, '\t'), *want = text ? strchr(text + 1, '\t') : NULL;
        CHECK(want);
        *text++ = *want++ = '\0';
        want[strcspn(want, "\n")] = '\0';
        struct wcp_buf got = {0};
        read_and_print(table_of(wcp_str(line)), unescape(wcp_str(text)), &got);
        count++;
        if (strcmp((const char *)got.ptr, want) != 0 && ++wrong < 20)
            fprintf(stderr, "%s %s: '%s', expected '%s'\n", line, text, (const char *)got.ptr,
                    want);
        wcp_buf_free(&got);
    }
    (void)fclose(f);
    CHECK_INT(wrong, 0);
    CHECK(count > 500);
    end();
}

TEST(control_characters_are_read_as_they_are_and_printed_escaped)
{
    begin();
    check_read("string", "\"\x01\t\x7f\xc2\x85\xe2\x80\xae\"",
               "= \"\\u{1}\\t\\u{7f}\\u{85}\\u{202e}\"");
    check_read("char", "'\x01'", "= '\\u{1}'");
    check_read("u8", "\x01", "! 0: expected an integer from 0 to 255, found byte 0x01");
    check_read("string", "\"a\xff\"", "! 2: byte 0xff is not UTF-8");
    check_read("string", "\"a\xed\xa0\x80\"", "! 2: byte 0xed is not UTF-8");
    end();
}

TEST(comments_stand_between_tokens)
{
    begin();
    check_read("list<u8>", "// a\n[ // b\n1, // c ]\n2]// d", "= [1, 2]");
    check_read("p", "{ x // c\n: 1, name: \"// no comment\"}", "= {x: 1, name: \"// no comment\"}");
    end();
}

static void check_printed(const char *type, const char *text, const char *want)
{
    const struct wcp_type *t = table_of(wcp_str(type));
    struct wave_writer writer = {.text = true};
    struct wave_error err = {0};
    struct wcp_buf out = {0};
    void *value = wcp_alloc(&arena, 1, t->size);
    CHECK_INT(wave_parse(&(struct wave_reader){.arena = &arena}, t, wcp_str(text), value, &err), 0);
    wave_print(&writer, t, value, &out);
    wcp_buf_put(&out, "", 1);
    CHECK_STR((const char *)out.ptr, want);
    wcp_buf_free(&out);
}

TEST(bytes_can_be_printed_as_text)
{
    begin();
    check_printed("list<u8>", "[104, 105, 0, 255, 34]", "\"hi\\u{0}\\xff\\\"\"");
    check_printed("option<list<u8>>", "some([])", "some(\"\")");
    check_printed("stream<u8>", "[195, 169, 195]", "\"\xc3\xa9\\xc3\"");
    end();
}

static int give_file(void *ctx, const char *name, struct wcp_bytes *out, struct wcp_err *err)
{
    if (strcmp(name, "there") != 0 && strcmp(name, "-") != 0)
        return wcp_fail(err, WCP_EIO, "%s: no such file", name);
    *out = (struct wcp_bytes){(const uint8_t *)"ab", 2};
    return 0;
}

static int no_async(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                    union wcp_async *out, struct wcp_err *err)
{
    CHECK_INT(a->kind, WAVE_FILE);
    return wcp_fail(err, WCP_EINVAL, "no stream from %s", a->file);
}

TEST(files_and_streams_are_the_callers)
{
    struct wave_reader r = {.arena = &arena, .file = give_file, .async = no_async};
    struct wave_error err = {0};
    struct wcp_bytes got[2];
    begin();
    const struct wcp_type *t = table_of(wcp_str("tuple<list<u8>, list<u8>>"));
    CHECK_INT(wave_parse(&r, t, wcp_str("(@there, -)"), got, &err), 0);
    CHECK_HEX(got[0], "6162");
    CHECK_HEX(got[1], "6162");
    CHECK_INT(wave_parse(&r, t, wcp_str("(@there, @gone)"), got, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "1: gone: no such file");
    CHECK_INT(err.at, 9);
    CHECK_INT(wave_parse(&r, table_of(wcp_str("stream<u32>")), wcp_str(" @f"), got, &err),
              WCP_EINVAL);
    CHECK_STR(err.msg, "no stream from f");
    CHECK_INT(err.at, 1);
    end();
}

/* The path of what is printed, as wRPC names the channels. */
static void print_path(struct wave_writer *writer, const struct wcp_type *t, union wcp_async a,
                       struct wcp_buf *out)
{
    for (size_t i = 0; i < writer->path.n; i++)
        wcp_buf_fmt(out, "%s%u", i ? "." : "@", writer->path.at[i]);
}

TEST(streams_are_printed_by_the_caller_who_is_told_their_path)
{
    struct wave_writer writer = {.path = {.at = {0}, .n = 1}, .async = print_path};
    struct wave_error err = {0};
    struct wcp_buf out = {0};
    void *value[8];
    begin();
    const struct wcp_type *t =
        table_of(wcp_str("result<tuple<u8, list<stream<u8>>, option<future<u8>>>>"));
    CHECK(t->size <= sizeof value);
    CHECK_INT(wave_parse(&(struct wave_reader){.arena = &arena}, t,
                         wcp_str("(1, [pending, pending], some(1))"), value, &err),
              0);
    wave_print(&writer, t, value, &out);
    wcp_buf_put(&out, "", 1);
    CHECK_STR((const char *)out.ptr, "ok((1, [@0.1.0, @0.1.1], some(@0.2)))");
    CHECK_INT(writer.path.n, 1);
    wcp_buf_free(&out);
    end();
}

TEST(floats_are_printed_with_the_digits_that_matter)
{
    static const double values[] = {1e300,
                                    -1.5e-300,
                                    0.1,
                                    1.0 / 3,
                                    5e-324,
                                    1.7976931348623157e308,
                                    1e21,
                                    123456789012345680.0,
                                    4.35,
                                    0.000001,
                                    9007199254740993.0};
    begin();
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct wcp_buf out = {0};
        struct wave_error err = {0};
        double back = 0;
        wave_print(&(struct wave_writer){0}, &wcp_f64, &values[i], &out);
        CHECK(!memchr(out.ptr, 'e', out.len));
        CHECK_INT(wave_parse(&(struct wave_reader){.arena = &arena}, &wcp_f64,
                             (struct wcp_str){(const char *)out.ptr, out.len}, &back, &err),
                  0);
        CHECK(memcmp(&back, &values[i], sizeof back) == 0);
        wcp_buf_free(&out);
    }
    end();
}

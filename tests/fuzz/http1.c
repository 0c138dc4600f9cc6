/* http1.c: fuzzing the HTTP/1.1 parser: however the bytes are cut, the events must be the same.
 *
 * The first byte picks how. */
#include "adapters/http1_parse.c"
#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_options options = {
    .head_bytes = 2000, .head_fields = 20, .url_bytes = 200, .body_bytes = 5000};

static void put_str(struct wcp_buf *b, struct wcp_str s)
{
    wcp_buf_put(b, s.ptr, s.len);
    wcp_buf_put(b, "|", 1);
}

static void put_fields(struct wcp_buf *b, const struct http1_header *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert(http1_check_header(h[i], NULL) == 0);
        put_str(b, h[i].name);
        put_str(b, h[i].value);
    }
}

/* What a run told, with neighbouring parts of a body joined. */
static void run(const char *in, const char *end, size_t most, struct wcp_buf *told)
{
    struct http1_parser p = {.o = &options};
    while (in < end) {
        const char *stop = (size_t)(end - in) > most ? in + most : end;
        const char *before = in;
        enum http1_event event = http1_parse(&p, &in, stop);
        const struct http1_request *r = &p.req;
        assert(in <= stop);
        if (event == HTTP1_HEAD) {
            put_str(told, r->method);
            put_str(told, r->path);
            put_str(told, r->authority);
            put_fields(told, r->headers, r->header_count);
            wcp_buf_fmt(told, "%d %llu %d %d\n", r->minor, (unsigned long long)r->length,
                        p.keep_alive, p.expects);
        }
        if (event == HTTP1_BODY || event == HTTP1_LAST)
            wcp_buf_put(told, p.body.ptr, p.body.len);
        if (event == HTTP1_END || event == HTTP1_LAST) {
            wcp_buf_fmt(told, "end ");
            put_fields(told, r->trailers, r->trailer_count);
        }
        if (event == HTTP1_BAD) {
            wcp_buf_fmt(told, "bad");
            break;
        }
        if (event == HTTP1_END || event == HTTP1_LAST || (event == HTTP1_HEAD && !r->has_body))
            http1_parser_next(&p);
        assert(event != HTTP1_MORE || in > before);
    }
    http1_parser_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wcp_buf whole = {0}, cut = {0};
    if (size == 0)
        return 0;
    const char *in = (const char *)data + 1, *end = (const char *)data + size;
    run(in, end, size, &whole);
    run(in, end, (size_t)data[0] % 32 + 1, &cut);
    assert(whole.len == cut.len && (!whole.len || memcmp(whole.ptr, cut.ptr, whole.len) == 0));
    wcp_buf_free(&whole);
    wcp_buf_free(&cut);
    return 0;
}

/* recording.c: fuzzes recordings: a head and calls, from memory: what is read and written again
 * reads as the same. */
#include "cli/recording.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_same_bytes(struct wcp_bytes a, struct wcp_bytes b)
{
    check(a.len == b.len && (!a.len || memcmp(a.ptr, b.ptr, a.len) == 0));
}

static void check_same_channels(const struct rpc_channel *a, size_t n, const struct rpc_channel *b,
                                size_t m)
{
    check(n == m);
    for (size_t i = 0; i < n; i++) {
        check(a[i].path.n == b[i].path.n &&
              memcmp(a[i].path.at, b[i].path.at, a[i].path.n * sizeof *a[i].path.at) == 0);
        check_same_bytes(a[i].data, b[i].data);
    }
}

static void check_again(const struct recorded *c)
{
    struct wcp_buf b = {0};
    struct wcp_arena arena = {0};
    struct recorded d;
    check(recording_takes_function(c->function));
    recording_put(&b, c);
    struct wcp_bytes in = {b.ptr, b.len};
    check(recording_get(&in, &d, &arena, &(struct wcp_err){0}) == 0 && in.len == 0);
    check(c->number == d.number && c->time_us == d.time_us && c->answer_us == d.answer_us &&
          c->ended == d.ended && strcmp(c->function, d.function) == 0 &&
          c->header_count == d.header_count);
    for (size_t i = 0; i < c->header_count; i++) {
        check(recording_takes_header(c->headers[i].name, c->headers[i].value));
        check(strcmp(c->headers[i].name, d.headers[i].name) == 0 &&
              strcmp(c->headers[i].value, d.headers[i].value) == 0);
    }
    check_same_bytes(c->params, d.params);
    check_same_bytes(c->results, d.results);
    check_same_channels(c->params_channels, c->params_channel_count, d.params_channels,
                        d.params_channel_count);
    check_same_channels(c->results_channels, c->results_channel_count, d.results_channels,
                        d.results_channel_count);
    wcp_arena_free(&arena);
    wcp_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wcp_bytes in = {data, size};
    struct wcp_arena arena = {0};
    struct recording_head head;
    struct wcp_err err = {0};
    int rc = recording_get_head(&in, &head, &arena, &err);
    while (rc == 0 && in.len) {
        struct recorded c;
        size_t before = in.len;
        rc = recording_get(&in, &c, &arena, &err);
        check(rc || in.len < before);
        if (rc == 0)
            check_again(&c);
    }
    check(rc == 0 || rc == WCP_EMORE || err.msg[0]);
    wcp_arena_free(&arena);
    return 0;
}

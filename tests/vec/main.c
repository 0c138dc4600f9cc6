/* main.c: a provider for tests: it serves the functions of tests/wit, with streams and futures both
 * ways, errors, and answers that break off. It serves anyone. */
#include "vec_api.h"
#include "vec_echo.h"
#include "vec_tests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- numbers, texts, errors --- */

static void add(struct vec_api_add *c)
{
    vec_api_add_ok(c, c->a + c->b);
}

static void describe(struct vec_api_describe *c)
{
    if (c->name.len == 0)
        vec_api_fail_(&c->call, WCP_STR("no name"));
    else
        vec_api_describe_ok(c, wcp_fmt(&c->call.arena, "%.*s at %d,%d%s", WCP_ARG(c->name), c->p.x,
                                       c->p.y, c->loud ? "!" : ""));
}

static void nothing(struct vec_api_nothing *c)
{
    vec_api_nothing_ok(c);
}

static void blob_len(struct vec_api_blob_len *c)
{
    vec_api_blob_len_ok(c, c->data.len);
}

static void big_result(struct vec_api_big_result *c)
{
    vec_api_big_result_ok(c, (struct wcp_bytes){wcp_alloc(&c->call.arena, c->n, 1), c->n});
}

static void fail(struct vec_api_fail *c)
{
    wcp_call_fail(&c->call, "asked to fail with %u", c->x);
}

static void check(struct vec_echo_check *c)
{
    if (c->v)
        vec_echo_check_ok(c);
    else
        vec_echo_check_err(c);
}

static void ping(struct vec_tests_ping *c)
{
    vec_tests_ping_ok(c, c->p.v);
}

/* --- counters: a handle is the number of one --- */

#define COUNTERS 100
static uint32_t counters[COUNTERS];
static uint8_t counter_count;

static struct wcp_bytes new_counter(struct wcp_call *c, uint32_t start)
{
    uint8_t *handle = wcp_alloc(&c->arena, 1, 1);
    *handle = counter_count++ % COUNTERS;
    counters[*handle] = start;
    return (struct wcp_bytes){handle, 1};
}

static uint32_t *counter_of(struct wcp_bytes handle)
{
    return &counters[handle.len ? handle.ptr[0] % COUNTERS : 0];
}

static void counter(struct vec_api_counter *c)
{
    vec_api_counter_ok(c, new_counter(&c->call, c->start));
}

static void counter_make(struct vec_api_counter_make *c)
{
    vec_api_counter_make_ok(c, new_counter(&c->call, c->start));
}

static void counter_incr(struct vec_api_counter_incr *c)
{
    vec_api_counter_incr_ok(c, *counter_of(c->self) += c->by);
}

static void use_counter(struct vec_api_use_counter *c)
{
    vec_api_use_counter_ok(c, *counter_of(c->c));
}

/* --- streams in --- */

struct sum { /* of an upload's bytes */
    struct vec_api_upload *c;
    uint64_t bytes;
};

static void on_upload(void *ctx, const void *items, size_t n)
{
    ((struct sum *)ctx)->bytes += n;
}

static void on_uploaded(void *ctx, int status)
{
    struct sum *s = ctx;
    if (status)
        wcp_call_fail(&s->c->call, "the upload broke off: %s", wcp_strerror(status));
    else
        vec_api_upload_ok(s->c, s->bytes);
}

static void upload(struct vec_api_upload *c)
{
    static const struct wcp_in_handler handler = {on_upload, on_uploaded};
    struct sum *s = wcp_alloc(&c->call.arena, 1, sizeof *s);
    s->c = c;
    wcp_in_start(c->data.in, &handler, s);
}

/* --- streams and futures out, of what comes in --- */

struct relay {
    struct wcp_in *in;
    struct wcp_out *out;
};

static void on_drained(void *ctx)
{
    struct relay *r = ctx;
    wcp_in_resume(r->in);
}

static void give(struct relay *r, const void *items, size_t n)
{
    if (wcp_out_write(r->out, items, n))
        return;
    wcp_in_pause(r->in);
    wcp_out_on_drained(r->out, on_drained, r);
}

static void on_end(void *ctx, int status)
{
    struct relay *r = ctx;
    wcp_out_on_drained(r->out, NULL, NULL);
    if (status)
        wcp_out_abort(r->out);
    else
        wcp_out_end(r->out);
    free(r);
}

/* Reads in by h, which gives to a new stream or future of elem. */
static union wcp_async relay(union wcp_async in, const struct wcp_type *elem,
                             const struct wcp_in_handler *h)
{
    struct relay *r = wcp_calloc(1, sizeof *r);
    union wcp_async out = {.out = wcp_out_new(elem)};
    r->in = in.in;
    r->out = out.out;
    wcp_in_start(in.in, h, r);
    return out;
}

static void on_same(void *ctx, const void *items, size_t n)
{
    give(ctx, items, n);
}
static const struct wcp_in_handler same = {on_same, on_end};

static void pipe_(struct vec_api_pipe *c)
{
    vec_api_pipe_ok(c, relay(c->data, &wcp_u8, &same));
}

static void echo_stream(struct vec_echo_echo_stream *c)
{
    vec_echo_echo_stream_ok(c, relay(c->v, &vec_echo_tuple_u8_string_type, &same));
}

static void take_rec(struct vec_api_take_rec *c)
{
    struct vec_api_tuple_u32_stream_u8 r = {.f0 = c->r.b, .f1 = relay(c->r.a, &wcp_u8, &same)};
    vec_api_take_rec_ok(c, r);
}

/* Numbers to texts: of a stream, and of the delayed number. */
static void on_numbers(void *ctx, const void *items, size_t n)
{
    const uint32_t *v = items;
    for (size_t i = 0; i < n; i++) {
        char text[16];
        struct wcp_str s = {text, (size_t)snprintf(text, sizeof text, "#%u", v[i])};
        give(ctx, &s, 1);
    }
}
static const struct wcp_in_handler numbers = {on_numbers, on_end};

static void nums(struct vec_api_nums *c)
{
    vec_api_nums_ok(c, relay(c->s, &wcp_string, &numbers));
}

static void delay(struct vec_api_delay *c)
{
    vec_api_delay_ok(c, relay(c->v, &wcp_string, &numbers));
}

/* The moment has come, and nothing went wrong. */
static void on_moment(void *ctx, int status)
{
    static const struct vec_echo_result_none_string ok = {0};
    if (status == 0)
        give(ctx, &ok, 1);
    on_end(ctx, status);
}

static void echo_moment(struct vec_echo_echo_moment *c)
{
    static const struct wcp_in_handler handler = {on_same, on_moment}; /* it has no value */
    vec_echo_echo_moment_ok(c, relay(c->v, &vec_echo_result_none_string_type, &handler));
}

/* --- streams of our own --- */

struct download {
    struct wcp_out *out;
    uint32_t left;
    bool breaks;
};

static void go_on(void *ctx)
{
    static const uint8_t zeros[65536];
    struct download *d = ctx;
    while (d->left) {
        uint32_t n = d->left < sizeof zeros ? d->left : (uint32_t)sizeof zeros;
        d->left -= n;
        if (!wcp_out_write(d->out, zeros, n)) {
            wcp_out_on_drained(d->out, go_on, d);
            return;
        }
    }
    if (d->breaks)
        wcp_out_abort(d->out);
    else
        wcp_out_end(d->out);
    free(d);
}

static union wcp_async start_download(uint32_t n, bool breaks)
{
    struct download *d = wcp_calloc(1, sizeof *d);
    union wcp_async out = {.out = wcp_out_new(&wcp_u8)};
    *d = (struct download){out.out, n, breaks};
    go_on(d);
    return out;
}

static void download(struct vec_api_download *c)
{
    vec_api_download_ok(c, start_download(c->n, false));
}

static void fail_late(struct vec_api_fail_late *c)
{
    vec_api_fail_late_ok(c, start_download(c->n, true));
}

int main(int argc, char **argv)
{
    static const struct vec_api api = {
        .counter = counter,
        .counter_incr = counter_incr,
        .counter_make = counter_make,
        .use_counter = use_counter,
        .add = add,
        .describe = describe,
        .nothing = nothing,
        .blob_len = blob_len,
        .big_result = big_result,
        .upload = upload,
        .download = download,
        .pipe = pipe_,
        .delay = delay,
        .nums = nums,
        .take_rec = take_rec,
        .fail = fail,
        .fail_late = fail_late,
    };
    static const struct vec_echo echo = {
        .check = check, .echo_stream = echo_stream, .echo_moment = echo_moment};
    static const struct vec_tests world = {.ping = ping};
    return wcp_main(argc, argv,
                    &(struct wcp_provider){
                        .name = "vec",
                        .exports = (struct wcp_export[]){{&vec_api_interface, &api},
                                                         {&vec_echo_interface, &echo},
                                                         {&vec_tests_interface, &world},
                                                         {0}},
                        .serves_anyone = true,
                    });
}

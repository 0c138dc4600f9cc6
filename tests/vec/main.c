/* main.c: a provider for tests: it serves every function of tests/wit but not-served, with streams
 * and futures both ways, errors, and answers that break off. It serves anyone. What the functions
 * answer is told in tests/wrpc/cases.py; tests/peers/wrpc/server.rs does the same. */
#include "vec.h"
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

static void one_way(struct vec_api_one_way *c)
{
    vec_api_one_way_ok(c);
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

static void fail_void(struct vec_api_fail_void *c)
{
    wcp_call_fail(&c->call, "asked to fail with %u", c->x);
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
    *handle = counter_count < COUNTERS ? counter_count++ : COUNTERS - 1;
    counters[*handle] = start;
    return (struct wcp_bytes){handle, 1};
}

static uint32_t *counter_of(struct wcp_call *c, struct wcp_bytes handle)
{
    if (handle.len == 1 && handle.ptr[0] < counter_count)
        return &counters[handle.ptr[0]];
    wcp_call_fail(c, "no such counter");
    return NULL;
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
    uint32_t *n = counter_of(&c->call, c->self);
    if (n)
        vec_api_counter_incr_ok(c, *n += c->by);
}

static void use_counter(struct vec_api_use_counter *c)
{
    const uint32_t *n = counter_of(&c->call, c->c);
    if (n)
        vec_api_use_counter_ok(c, *n);
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

/* The futures in a stream: each is started when it comes. */
struct total {
    struct vec_api_many *c;
    uint32_t total;
    size_t running; /* futures, and the stream */
    int status;     /* of the first that broke off */
};

static void on_over(void *ctx, int status)
{
    struct total *t = ctx;
    t->status = t->status ? t->status : status;
    if (--t->running)
        return;
    if (t->status)
        wcp_call_fail(&t->c->call, "a number is missing: %s", wcp_strerror(t->status));
    else
        vec_api_many_ok(t->c, t->total);
}

static void on_number(void *ctx, const void *items, size_t n)
{
    ((struct total *)ctx)->total += *(const uint32_t *)items;
}

static void on_futures(void *ctx, const void *items, size_t n)
{
    static const struct wcp_in_handler handler = {on_number, on_over};
    struct total *t = ctx;
    for (size_t i = 0; i < n; i++) {
        t->running++;
        wcp_in_start(((const union wcp_async *)items)[i].in, &handler, t);
    }
}

static void many(struct vec_api_many *c)
{
    static const struct wcp_in_handler handler = {on_futures, on_over};
    struct total *t = wcp_alloc(&c->call.arena, 1, sizeof *t);
    *t = (struct total){.c = c, .running = 1};
    wcp_in_start(c->v.in, &handler, t);
}

/* --- streams and futures out, of what comes in --- */

static void pipe_(struct vec_api_pipe *c)
{
    vec_api_pipe_ok(c, relay(c->data, &wcp_u8, &relay_same));
}

static void take_rec(struct vec_api_take_rec *c)
{
    struct vec_api_tuple_u32_stream_u8 r = {.f0 = c->r.b,
                                            .f1 = relay(c->r.a, &wcp_u8, &relay_same)};
    vec_api_take_rec_ok(c, r);
}

/* Numbers to texts: of a stream, and of the delayed number. */
static void on_numbers(void *ctx, const void *items, size_t n)
{
    const uint32_t *v = items;
    for (size_t i = 0; i < n; i++) {
        char text[16];
        struct wcp_str s = {text, (size_t)snprintf(text, sizeof text, "#%u", v[i])};
        relay_give(ctx, &s, 1);
    }
}
static const struct wcp_in_handler numbers = {on_numbers, relay_end};

static void nums(struct vec_api_nums *c)
{
    vec_api_nums_ok(c, relay(c->s, &wcp_string, &numbers));
}

static void delay(struct vec_api_delay *c)
{
    vec_api_delay_ok(c, relay(c->v, &wcp_string, &numbers));
}

/* --- streams of our own --- */

static void download(struct vec_api_download *c)
{
    vec_api_download_ok(c, source(c->n, true, false));
}

static void fail_late(struct vec_api_fail_late *c)
{
    vec_api_fail_late_ok(c, source(c->n, true, true));
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
        .one_way = one_way,
        .blob_len = blob_len,
        .big_result = big_result,
        .upload = upload,
        .download = download,
        .pipe = pipe_,
        .delay = delay,
        .nums = nums,
        .take_rec = take_rec,
        .many = many,
        .fail = fail,
        .fail_void = fail_void,
        .fail_late = fail_late,
    };
    static const struct vec_tests tests = {ping};
    return wcp_main(
        argc, argv,
        &(struct wcp_provider){
            .name = "vec",
            .exports = (struct wcp_export[]){{&vec_api_interface, &api},
                                             {&vec_echo_interface, &vec_echo_handlers},
                                             {&vec_tests_interface, &tests},
                                             {&keyvalue_store_interface, &vec_store},
                                             {&keyvalue_atomics_interface, &vec_atomics},
                                             {&keyvalue_batch_interface, &vec_batch},
                                             {&keyvalue_watcher_interface, &vec_watcher},
                                             {&http_incoming_handler_interface, &vec_incoming},
                                             {&http_outgoing_handler_interface, &vec_outgoing},
                                             {&blobstore_blobstore_interface, &vec_blobstore},
                                             {0}},
            .serves_anyone = true,
        });
}

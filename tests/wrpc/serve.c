/* serve.c: test:vec/api and echo: what comes in goes out, or an answer that the caller can work out
 * (cases.py tells each). */
#include "serve.h"
#include <string.h>
#include <vec_api.h>
#include <vec_echo.h>

/* --- api --- */

/* All counters that there ever were. */
static struct {
    uint32_t count[1000];
    size_t n;
} counters;

static struct wcp_bytes new_counter(struct wcp_call *c, uint32_t start)
{
    size_t n = counters.n++ % (sizeof counters.count / sizeof *counters.count);
    counters.count[n] = start;
    struct wcp_str handle = wcp_fmt(&c->arena, "counter %zu", n);
    return (struct wcp_bytes){(const uint8_t *)handle.ptr, handle.len};
}

static uint32_t *find_counter(struct wcp_call *c, struct wcp_bytes handle)
{
    struct wcp_str text = {(const char *)handle.ptr, handle.len};
    for (size_t i = 0; i < counters.n; i++)
        if (wcp_str_eq(text, wcp_fmt(&c->arena, "counter %zu", i)))
            return &counters.count[i];
    wcp_call_fail(c, "no such counter");
    return NULL;
}

static void api_counter(struct vec_api_counter *c)
{
    vec_api_counter_ok(c, new_counter(&c->call, c->start));
}

static void api_counter_incr(struct vec_api_counter_incr *c)
{
    uint32_t *n = find_counter(&c->call, c->self);
    if (n)
        vec_api_counter_incr_ok(c, *n += c->by);
}

static void api_counter_make(struct vec_api_counter_make *c)
{
    vec_api_counter_make_ok(c, new_counter(&c->call, c->start));
}

static void api_use_counter(struct vec_api_use_counter *c)
{
    const uint32_t *n = find_counter(&c->call, c->c);
    if (n)
        vec_api_use_counter_ok(c, *n);
}

static void api_add(struct vec_api_add *c)
{
    vec_api_add_ok(c, c->a + c->b);
}

static void api_describe(struct vec_api_describe *c)
{
    const char *end = c->loud ? "!" : ".";
    if (c->name.len == 0)
        vec_api_fail_(&c->call, wcp_fmt(&c->call.arena, "no name%s", end));
    else
        vec_api_describe_ok(c, wcp_fmt(&c->call.arena, "%.*s at %d,%d%s", WCP_ARG(c->name), c->p.x,
                                       c->p.y, end));
}

static void api_nothing(struct vec_api_nothing *c)
{
    vec_api_nothing_ok(c);
}

static void api_one_way(struct vec_api_one_way *c)
{
    vec_api_one_way_ok(c);
}

static void api_blob_len(struct vec_api_blob_len *c)
{
    size_t n = 0;
    while (n < c->data.len && c->data.ptr[n] == peer_pattern(n))
        n++;
    vec_api_blob_len_ok(c, n);
}

static void api_big_result(struct vec_api_big_result *c)
{
    uint8_t *p = wcp_alloc(&c->call.arena, c->n, 1);
    for (size_t i = 0; i < c->n; i++)
        p[i] = peer_pattern(i);
    vec_api_big_result_ok(c, (struct wcp_bytes){p, c->n});
}

static void uploaded(void *ctx, size_t n, int status)
{
    struct vec_api_upload *c = ctx;
    if (status)
        wcp_call_fail(&c->call, "the upload broke off: %s", wcp_strerror(status));
    else
        vec_api_upload_ok(c, n);
}

static void api_upload(struct vec_api_upload *c)
{
    serve_match(c->data, uploaded, c);
}

static void api_download(struct vec_api_download *c)
{
    vec_api_download_ok(c, serve_pattern(c->n, false));
}

static void api_pipe(struct vec_api_pipe *c)
{
    vec_api_pipe_ok(c, serve_relay(c->data, &wcp_u8, NULL));
}

static void as_text(struct wcp_out *to, const void *items, size_t n)
{
    struct wcp_arena a = {0};
    for (size_t i = 0; i < n; i++) {
        struct wcp_str text = wcp_fmt(&a, "%u", ((const uint32_t *)items)[i]);
        wcp_out_write(to, &text, 1);
    }
    wcp_arena_free(&a);
}

static void api_delay(struct vec_api_delay *c)
{
    vec_api_delay_ok(c, serve_relay(c->v, &wcp_string, as_text));
}

static void api_nums(struct vec_api_nums *c)
{
    vec_api_nums_ok(c, serve_relay(c->s, &wcp_string, as_text));
}

static void api_take_rec(struct vec_api_take_rec *c)
{
    vec_api_take_rec_ok(c, (struct vec_api_tuple_u32_stream_u8){
                               c->r.b + 1, serve_relay(c->r.a, &wcp_u8, NULL)});
}

static void api_fail(struct vec_api_fail *c)
{
    wcp_call_fail(&c->call, "as asked");
}

static void api_fail_late(struct vec_api_fail_late *c)
{
    vec_api_fail_late_ok(c, serve_pattern(c->n, true));
}

/* The futures of a stream are of use only to who starts them at once. */
struct sum {
    struct vec_api_many *call;
    uint32_t sum;
    size_t running;
    int status;
};

static void sum_up(struct sum *s, int status)
{
    s->running--;
    s->status = s->status ? s->status : status;
    if (s->running)
        return;
    if (s->status)
        wcp_call_fail(&s->call->call, "a stream broke off: %s", wcp_strerror(s->status));
    else
        vec_api_many_ok(s->call, s->sum);
}

static void add_future(void *ctx, const void *items, size_t n)
{
    ((struct sum *)ctx)->sum += *(const uint32_t *)items;
}

static void end_of_sum(void *ctx, int status)
{
    sum_up(ctx, status);
}

static void add_futures(void *ctx, const void *items, size_t n)
{
    static const struct wcp_in_handler handler = {add_future, end_of_sum};
    struct sum *s = ctx;
    for (size_t i = 0; i < n; i++) {
        s->running++;
        wcp_in_start(((const union wcp_async *)items)[i].in, &handler, s);
    }
}

static void api_many(struct vec_api_many *c)
{
    static const struct wcp_in_handler handler = {add_futures, end_of_sum};
    struct sum *s = wcp_alloc(&c->call.arena, 1, sizeof *s);
    *s = (struct sum){.call = c, .running = 1};
    wcp_in_start(c->v.in, &handler, s);
}

static void api_fail_void(struct vec_api_fail_void *c)
{
    wcp_call_fail(&c->call, "as asked");
}

static const struct vec_api api = {
    .counter = api_counter,
    .counter_incr = api_counter_incr,
    .counter_make = api_counter_make,
    .add = api_add,
    .describe = api_describe,
    .nothing = api_nothing,
    .one_way = api_one_way,
    .blob_len = api_blob_len,
    .big_result = api_big_result,
    .upload = api_upload,
    .download = api_download,
    .pipe = api_pipe,
    .delay = api_delay,
    .nums = api_nums,
    .take_rec = api_take_rec,
    .fail = api_fail,
    .fail_late = api_fail_late,
    .use_counter = api_use_counter,
    .many = api_many,
    .fail_void = api_fail_void,
};

/* --- echo --- */

static void echo_nested(struct vec_echo_echo_nested *c)
{
    vec_echo_echo_nested_ok(c, c->v);
}

static void echo_shape(struct vec_echo_echo_shape *c)
{
    if (c->v.tag == VEC_TYPES_SHAPE_NONE)
        vec_echo_echo_shape_err(c);
    else
        vec_echo_echo_shape_ok(c, c->v);
}

static void echo_all(struct vec_echo_echo_all *c)
{
    if (c->v.b)
        vec_echo_echo_all_ok(c, c->v);
    else
        vec_echo_echo_all_err(c, VEC_TYPES_COLOR_GREEN);
}

static void echo_flags(struct vec_echo_echo_flags *c)
{
    vec_echo_echo_flags_ok(c, c->v);
}

static void echo_list(struct vec_echo_echo_list *c)
{
    vec_echo_echo_list_ok(c, c->v);
}

static void echo_spot(struct vec_echo_echo_spot *c)
{
    vec_echo_echo_spot_ok(c, c->v);
}

static void echo_outcome(struct vec_echo_echo_outcome *c)
{
    if (c->v.is_err)
        vec_echo_echo_outcome_err(c, c->v.err);
    else
        vec_echo_echo_outcome_ok(c, c->v.ok);
}

static void echo_async(struct vec_echo_echo_async *c)
{
    struct vec_echo_tuple_withfuts_vs r = {
        .f0 = {.f = serve_relay(c->v.f, &wcp_u32, NULL),
               .s = serve_relay(c->v.s, &wcp_u32, NULL),
               .t = serve_relay(c->v.t, &vec_types_option_string_type, NULL),
               .n = c->v.n},
        .f1 = c->w};
    if (c->w.tag == VEC_TYPES_VS_DATA)
        r.f1.data.a = serve_relay(c->w.data.a, &wcp_u8, NULL);
    vec_echo_echo_async_ok(c, r);
}

static void echo_words(struct vec_echo_echo_words *c)
{
    struct vec_types_words w = c->call_;
    double sum = 0;
    for (size_t i = 0; i < c->done.len; i++)
        for (size_t k = 0; k < c->done.ptr[i].len; k++)
            sum += c->done.ptr[i].ptr[k];
    if (c->l.tag == VEC_TYPES_TAGS_TAG)
        w.default_ = wcp_fmt(&c->call.arena, "%u", c->l.tag_);
    else if (c->l.tag == VEC_TYPES_TAGS_NEW)
        w.default_ = c->l.new_;
    w.class_ = (uint8_t)sum;
    w.errno_ = c->ctx;
    vec_echo_echo_words_ok(c, w);
}

static void echo_stream(struct vec_echo_echo_stream *c)
{
    vec_echo_echo_stream_ok(c, serve_relay(c->v, &vec_echo_tuple_u8_string_type, NULL));
}

/* A future without a type has no value, only an end. */
static void no_value(void *ctx, const void *items, size_t n)
{
}

static void at_the_moment(void *ctx, int status)
{
    const struct vec_echo_result_none_string ok = {0};
    struct wcp_out *out = ctx;
    if (status == 0)
        wcp_out_write(out, &ok, 1);
    (status ? wcp_out_abort : wcp_out_end)(out);
}

static void echo_moment(struct vec_echo_echo_moment *c)
{
    static const struct wcp_in_handler handler = {no_value, at_the_moment};
    union wcp_async to = {.out = wcp_out_new(&vec_echo_result_none_string_type)};
    wcp_in_start(c->v.in, &handler, to.out);
    vec_echo_echo_moment_ok(c, to);
}

static void echo_check(struct vec_echo_check *c)
{
    if (c->v)
        vec_echo_check_ok(c);
    else
        vec_echo_check_err(c);
}

static const struct vec_echo echo = {echo_nested, echo_shape, echo_all,     echo_flags,
                                     echo_list,   echo_spot,  echo_outcome, echo_async,
                                     echo_words,  echo_stream, echo_moment, echo_check};

const struct wcp_export peer_exports[] = {{&vec_api_interface, &api},
                                          {&vec_echo_interface, &echo},
                                          {&keyvalue_store_interface, &serve_store},
                                          {&keyvalue_atomics_interface, &serve_atomics},
                                          {&keyvalue_batch_interface, &serve_batch},
                                          {&keyvalue_watcher_interface, &serve_watcher},
                                          {&http_incoming_handler_interface, &serve_incoming},
                                          {&http_outgoing_handler_interface, &serve_outgoing},
                                          {&blobstore_blobstore_interface, &serve_blobstore},
                                          {0}};

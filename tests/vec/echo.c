/* echo.c: what comes in goes out. */
#include "vec.h"

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
        .f0 = {.f = relay(c->v.f, &wcp_u32, &relay_same),
               .s = relay(c->v.s, &wcp_u32, &relay_same),
               .t = relay(c->v.t, &vec_types_option_string_type, &relay_same),
               .n = c->v.n},
        .f1 = c->w};
    if (c->w.tag == VEC_TYPES_VS_DATA)
        r.f1.data.a = relay(c->w.data.a, &wcp_u8, &relay_same);
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
    vec_echo_echo_stream_ok(c, relay(c->v, &vec_echo_tuple_u8_string_type, &relay_same));
}

static void no_value(void *ctx, const void *items, size_t n)
{
}

/* A future without a type has no value: the moment is its end. */
static void at_the_moment(void *ctx, int status)
{
    static const struct vec_echo_result_none_string ok = {0};
    if (status == 0)
        relay_give(ctx, &ok, 1);
    relay_end(ctx, status);
}

static void echo_moment(struct vec_echo_echo_moment *c)
{
    static const struct wcp_in_handler handler = {no_value, at_the_moment};
    vec_echo_echo_moment_ok(c, relay(c->v, &vec_echo_result_none_string_type, &handler));
}

static void echo_check(struct vec_echo_check *c)
{
    if (c->v)
        vec_echo_check_ok(c);
    else
        vec_echo_check_err(c);
}

const struct vec_echo vec_echo_handlers = {echo_nested, echo_shape,  echo_all,     echo_flags,
                                           echo_list,   echo_spot,   echo_outcome, echo_async,
                                           echo_words,  echo_stream, echo_moment,  echo_check};

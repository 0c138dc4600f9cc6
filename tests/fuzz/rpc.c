/* rpc.c: fuzz target for the wRPC core: the input is a list of events, each a byte that says which,
 * and what it needs. Messages come for functions and for running calls, time passes, the
 * connection breaks, handlers answer, writers write, callers cancel. Whatever happens, every call
 * must end once and leave nothing behind. */
#include "base/log.h"
#include "fake_transport.h"
#include "must.h"
#include "rpc/exchange.h"
#include "vec_api.h"
#include "vec_echo.h"
#include <string.h>

#define MANY 32

static struct fake net;
static struct rpc *rpc;
static int held;
static bool linked;
static struct wcp_link a_link = {
    .role = WCP_SOURCE, .source_id = {"me", 2}, .target_id = {"comp", 4}, .name = {"default", 7}};

static struct wcp_bytes input;

static uint8_t byte(void)
{
    if (!input.len)
        return 0;
    input.len--;
    return *input.ptr++;
}

static struct wcp_bytes some(size_t most)
{
    size_t n = byte() % (most + 1);
    n = n < input.len ? n : input.len;
    struct wcp_bytes b = {input.ptr, n};
    input.ptr += n;
    input.len -= n;
    return b;
}

/* --- streams of both directions --- */

#define ASYNC(name, kind, of) static const struct wcp_type name = {kind, true, 0, 8, NULL, of}
ASYNC(stream_u8, WCP_STREAM, &wcp_u8);
ASYNC(stream_text, WCP_STREAM, &wcp_string);
ASYNC(stream_stream, WCP_STREAM, &stream_u8);
ASYNC(future_text, WCP_FUTURE, &wcp_string);
ASYNC(option_future, WCP_OPTION, &future_text);
ASYNC(future_future, WCP_FUTURE, &option_future);
ASYNC(stream_future, WCP_STREAM, &future_text);
static const struct wcp_type list_stream = {WCP_LIST, true, 0, 16, NULL, &stream_future};
struct deep {
    union wcp_async streams, future;
    struct {
        const union wcp_async *ptr;
        size_t len;
    } list;
};
static const struct wcp_field deep_fields[] = {
    {"streams", &stream_stream, 0}, {"future", &future_future, 8}, {"list", &list_stream, 16}};
static const struct wcp_type deep = {WCP_RECORD, true, 3, sizeof(struct deep), deep_fields, NULL};

static struct reader {
    struct wcp_in *in;
    const struct wcp_type *type;
    bool pauses, cancels;
} readers[MANY];
static struct wcp_out *writers[MANY];
/* 0 bytes, 1 numbers, 2 texts, 3 a future text, 4 streams of bytes, 5 future texts, 6 a future of
 * such or none; 8: a written future */
static size_t writer_kinds[MANY];

static void read_it(struct wcp_in *in, const struct wcp_type *t);

static void on_async(struct encoder *e, const struct wcp_type *t, struct wcp_out *in)
{
    read_it((struct wcp_in *)(void *)in, t); /* the value was received */
}

/* The streams and futures in a received value. */
static void read_all(const struct wcp_type *t, const void *value)
{
    struct wcp_buf unused = {0};
    struct encoder e = {.buf = &unused, .on_async = on_async};
    codec_encode(&e, t, value);
    wcp_buf_free(&unused);
}

static void on_data(void *ctx, const void *items, size_t n)
{
    struct reader *r = ctx;
    const struct wcp_type *elem = r->type->elem;
    MUST(n > 0 && r->in);
    for (size_t i = 0; i < n && elem->async; i++)
        read_all(elem, (const char *)items + i * elem->size);
    if (!r->in)
        return; /* what was started in there has ended it */
    if (r->cancels) {
        wcp_in_cancel(r->in);
        r->in = NULL;
    } else if (r->pauses) {
        wcp_in_pause(r->in);
    }
}

static void on_end(void *ctx, int status)
{
    struct reader *r = ctx;
    MUST(r->in);
    r->in = NULL;
}

static void read_it(struct wcp_in *in, const struct wcp_type *t)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    uint8_t how = byte();
    for (size_t i = 0; i < MANY && how % 8; i++)
        if (!readers[i].in) {
            readers[i] = (struct reader){in, t, how & 16, how & 32};
            if (how & 64)
                wcp_in_pause(in);
            wcp_in_start(in, &handler, &readers[i]);
            return;
        }
}

static void on_drained(void *ctx)
{
}

static union wcp_async write_it(size_t kind);

static void write_some(size_t i)
{
    static const struct wcp_str words[] = {{"one", 3}, {"", 0}, {"three", 5}};
    static const uint32_t numbers[] = {1, 200, 70000};
    static const uint8_t octets[300] = {0};
    size_t kind = writer_kinds[i];
    bool more = true;
    if (kind == 0)
        more = wcp_out_write(writers[i], octets, byte() % 300u);
    else if (kind == 1)
        more = wcp_out_write(writers[i], numbers, byte() % 4u);
    else if (kind == 2)
        more = wcp_out_write(writers[i], words, byte() % 4u);
    else if (kind == 3)
        more = wcp_out_write(writers[i], words, 1);
    else if (kind == 4 || kind == 5) {
        union wcp_async two[2] = {write_it(kind == 4 ? 0 : 3), write_it(kind == 4 ? 0 : 3)};
        more = wcp_out_write(writers[i], two, 2);
    } else if (kind == 6) {
        union wcp_async one, *some = byte() % 4 ? &one : NULL;
        if (some)
            one = write_it(3);
        more = wcp_out_write(writers[i], &some, 1);
    }
    if (kind == 3 || kind == 6)
        writer_kinds[i] = 8;
    if (!more)
        wcp_out_on_drained(writers[i], on_drained, NULL);
}

static void end_writer(size_t i, bool abort_)
{
    struct wcp_out *o = writers[i];
    writers[i] = NULL;
    if (abort_)
        wcp_out_abort(o);
    else
        wcp_out_end(o);
}

static union wcp_async write_it(size_t kind)
{
    static const struct wcp_type *const types[] = {
        &wcp_u8, &wcp_u32, &wcp_string, &wcp_string, &stream_u8, &future_text, &option_future};
    uint8_t how = byte();
    for (size_t i = 0; i < MANY; i++)
        if (!writers[i]) {
            struct wcp_out *o = writers[i] = wcp_out_new(types[kind]);
            writer_kinds[i] = kind;
            if (how & 1)
                write_some(i);
            if (how & 2)
                end_writer(i, how & 4);
            return (union wcp_async){.out = o};
        }
    struct wcp_out *o = wcp_out_new(types[kind]);
    wcp_out_abort(o);
    return (union wcp_async){.out = o};
}

static void write_deep(void (*fn)(void *ctx, const struct deep *v), void *ctx)
{
    union wcp_async two[2];
    struct deep v = {.streams = write_it(4), .future = write_it(6), .list = {two, byte() % 3}};
    for (size_t i = 0; i < v.list.len; i++)
        two[i] = write_it(5);
    fn(ctx, &v);
}

/* --- handlers: now, or when an event says so --- */

static struct wcp_call *waiting[MANY];

static void answer_deep(void *c, const struct deep *v)
{
    wcp_reply(c, v);
}

static void answer(struct wcp_call *c)
{
    const char *name = c->func->name;
    void *p = c;
    if (byte() % 8 == 0)
        wcp_call_fail(c, "fails");
    else if (strcmp(name, "add") == 0)
        vec_api_add_ok(p, 1);
    else if (strcmp(name, "describe") == 0)
        vec_api_describe_ok(p, ((struct vec_api_describe *)p)->name); /* must still be there */
    else if (strcmp(name, "nothing") == 0)
        vec_api_nothing_ok(p);
    else if (strcmp(name, "big-result") == 0)
        vec_api_big_result_ok(p, (struct wcp_bytes){(const uint8_t *)name, 10});
    else if (strcmp(name, "upload") == 0)
        vec_api_upload_ok(p, ((struct vec_api_upload *)p)->name.len);
    else if (strcmp(name, "download") == 0)
        vec_api_download_ok(p, write_it(0));
    else if (strcmp(name, "pipe") == 0)
        vec_api_pipe_ok(p, write_it(0));
    else if (strcmp(name, "many") == 0)
        vec_api_many_ok(p, 1);
    else if (strcmp(name, "nums") == 0)
        vec_api_nums_ok(p, write_it(2));
    else if (strcmp(name, "delay") == 0)
        vec_api_delay_ok(p, write_it(3));
    else if (strcmp(name, "deep") == 0)
        write_deep(answer_deep, c);
    else
        wcp_call_fail(c, "an unknown function");
}

/* t: of what is read in the parameters, which lie at params; NULL: nothing. */
static void handle(struct wcp_call *c, const struct wcp_type *t, const void *params)
{
    uint8_t how = byte();
    if (t && how & 1)
        read_all(t, params);
    for (size_t i = 0; i < MANY && how & 2; i++)
        if (!waiting[i]) {
            waiting[i] = c;
            return;
        }
    answer(c);
}

static void api_add(struct vec_api_add *c)
{
    handle(&c->call, NULL, NULL);
}
static void api_describe(struct vec_api_describe *c)
{
    handle(&c->call, NULL, NULL);
}
static void api_nothing(struct vec_api_nothing *c)
{
    handle(&c->call, NULL, NULL);
}
static void api_big_result(struct vec_api_big_result *c)
{
    handle(&c->call, NULL, NULL);
}
static void api_upload(struct vec_api_upload *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void api_download(struct vec_api_download *c)
{
    handle(&c->call, NULL, NULL);
}
static void api_pipe(struct vec_api_pipe *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void api_nums(struct vec_api_nums *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void api_delay(struct vec_api_delay *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void echo_async(struct vec_echo_echo_async *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void echo_moment(struct vec_echo_echo_moment *c)
{
    handle(&c->call, c->call.func->params, c);
}
static void api_many(struct vec_api_many *c)
{
    handle(&c->call, c->call.func->params, c);
}
static const struct vec_api api = {.add = api_add,
                                   .describe = api_describe,
                                   .nothing = api_nothing,
                                   .big_result = api_big_result,
                                   .upload = api_upload,
                                   .download = api_download,
                                   .pipe = api_pipe,
                                   .nums = api_nums,
                                   .delay = api_delay,
                                   .many = api_many};

struct deep_call {
    struct wcp_call call;
    struct deep v;
};
static const struct wcp_field deep_param = {"v", &deep, offsetof(struct deep_call, v)};
static const struct wcp_type deep_params = {WCP_RECORD,  true, 1, sizeof(struct deep_call),
                                            &deep_param, NULL};

static void deep_invoke(const void *impl, struct wcp_call *c)
{
    handle(c, &deep_params, c);
}
static void deep_deliver(void (*done)(void), void *ctx, const void *result, int status);

static const struct wcp_func deep_func = {
    "deep", sizeof(struct deep_call), &deep_params, &deep, deep_invoke, deep_deliver};
static const struct wcp_interface deep_interface = {
    .name = "test:deep/deep", .funcs = &deep_func, .count = 1, .handlers = (uint32_t[]){0}};
static void nothing(void)
{
}
static void (*const deep_impl)(void) = nothing;
static const struct vec_echo echo = {.echo_async = echo_async, .echo_moment = echo_moment};

/* --- calls out --- */

static struct out_call {
    struct wcp_outgoing *o;
    const struct wcp_type *result; /* of those that are streams */
} outs[MANY];

struct wcp_outgoing *wcp_invoke(struct wcp_link *l, const struct wcp_interface *iface, size_t func,
                                const void *params, void (*done)(void), void *ctx)
{
    return rpc_invoke(rpc, l, iface, func, params, done, ctx);
}

static void done(struct out_call *c)
{
    MUST(c->o); /* once */
    c->o = NULL;
}
static void on_number(void *ctx, const uint32_t *r, int status)
{
    done(ctx);
}
static void on_count(void *ctx, const uint64_t *r, int status)
{
    done(ctx);
}
static void on_nothing(void *ctx, int status)
{
    done(ctx);
}
static void on_text(void *ctx, const struct vec_api_describe_result *r, int status)
{
    done(ctx);
}
static void on_stream(void *ctx, const union wcp_async *r, int status)
{
    const struct out_call *c = ctx;
    const struct wcp_type *t = c->result;
    done(ctx);
    if (r)
        read_all(t, r);
}

static void deep_deliver(void (*unused)(void), void *ctx, const void *result, int status)
{
    done(ctx);
    if (result)
        read_all(&deep, result);
}

static void call_deep(void *ctx, const struct deep *v)
{
    struct out_call *c = ctx;
    struct deep_call params = {.v = *v};
    c->o = wcp_invoke(&a_link, &deep_interface, 0, &params, nothing, c);
}

static void call_out(void)
{
    for (size_t i = 0; i < MANY; i++) {
        struct out_call *c = &outs[i];
        if (c->o)
            continue;
        switch (byte() % 9) {
        case 0: c->o = vec_api_add(&a_link, 1, 2, on_number, c); break;
        case 1: c->o = vec_api_nothing(&a_link, on_nothing, c); break;
        case 2: c->o = vec_api_upload(&a_link, WCP_STR("f"), write_it(0), on_count, c); break;
        case 3:
            c->result = &stream_u8;
            c->o = vec_api_download(&a_link, WCP_STR("f"), 3, on_stream, c);
            break;
        case 4:
            c->result = &stream_u8;
            c->o = vec_api_pipe(&a_link, write_it(0), on_stream, c);
            break;
        case 5:
            c->result = &stream_text;
            c->o = vec_api_nums(&a_link, write_it(1), on_stream, c);
            break;
        case 7: write_deep(call_deep, c); break;
        case 6:
            c->o = vec_api_describe(&a_link, WCP_STR("x"), (struct vec_types_point){0}, true,
                                    on_text, c);
            break;
        default: {
            static const uint8_t zeros[4 * 256];
            c->o = vec_api_blob_len(&a_link, (struct wcp_bytes){zeros, 4u * byte()}, on_count, c);
        }
        }
        return;
    }
}

/* --- messages --- */

static void message(int sub, const char *subject, const char *reply, int status)
{
    static const char *const headers[] = {"source-id", "peer", NULL};
    struct wcp_msg m = fake_message(&net, subject, reply, some(60), headers);
    m.status = status;
    MUST(rpc_message(rpc, sub, &m));
    fake_done(&net, &m);
}

/* To a running call, or to where one might have been. */
static void inbox_message(void)
{
    static const char *const tails[] = {"",
                                        ".params",
                                        ".params.0",
                                        ".params.1",
                                        ".params.0.0",
                                        ".params.0.1",
                                        ".params.0.2",
                                        ".params.1.0",
                                        ".results",
                                        ".results.0",
                                        ".results.0.1",
                                        ".params.9",
                                        ".",
                                        ".params.",
                                        ".results.x",
                                        ".params.4294967296",
                                        ".params.0.0.0",
                                        ".params.0.0.1",
                                        ".params.0.2.0",
                                        ".params.0.2.0.0",
                                        ".params.0.2.1",
                                        ".results.0.0",
                                        ".results.0.0.0",
                                        ".results.0.2",
                                        ".results.0.2.0",
                                        ".results.0.2.0.0",
                                        ".results.0.2.1.0"};
    uint8_t which = byte();
    const char *tail = tails[byte() % (sizeof tails / sizeof *tails)];
    char subject[400];
    struct exchange *x = rpc->exchanges;
    for (uint8_t i = which % 32; i && x; i--)
        x = x->next;
    if (x) {
        char base[INBOX_SUBJECT_MAX];
        inbox_subject(rpc, &x->entry, base);
        snprintf(subject, sizeof subject, "%s%s", base, tail);
    } else {
        struct wcp_bytes text = some(80);
        snprintf(subject, sizeof subject, "%s.%.*s", net.t.inbox, (int)text.len, text.ptr);
    }
    uint8_t how = byte();
    message(0, subject, how & 1 ? "_INBOX.peer.7" : NULL,
            (how & 14) == 14   ? 503
            : (how & 14) == 12 ? 408
                               : 0);
}

static struct wcp_link *find(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface, const char **why)
{
    held += linked;
    return linked ? &a_link : NULL;
}
static void hold(void *ctx, struct wcp_link *l)
{
    held++;
}
static void release(void *ctx, struct wcp_link *l)
{
    held--;
}
static void ignore(void *ctx, enum wcp_level level, const char *line)
{
}

static void pass_ms(uint64_t ms)
{
    uint64_t until = net.now_ms + ms;
    for (uint64_t next; (next = rpc_next(rpc)) <= until;) {
        net.now_ms = next > net.now_ms ? next : net.now_ms;
        rpc_tick(rpc);
    }
    net.now_ms = until;
}

static void event(void)
{
    uint8_t what = byte(), which = 0;
    switch (what % 16) {
    case 0:
    case 1: /* subscription 0 is the inbox */
        message(1 + byte() % (int)(net.sub_count - 1), "a.function",
                what & 16 ? NULL : "_INBOX.c.1", 0);
        break;
    case 2:
    case 3:
    case 4:
    case 5: inbox_message(); break;
    case 6: pass_ms(byte()); break;
    case 7: call_out(); break;
    case 8:
        which = byte() % MANY;
        if (waiting[which]) {
            struct wcp_call *c = waiting[which];
            waiting[which] = NULL;
            answer(c);
        }
        break;
    case 9:
        which = byte() % MANY;
        if (writers[which])
            write_some(which);
        break;
    case 10:
        which = byte() % MANY;
        if (writers[which])
            end_writer(which, what & 16);
        break;
    case 11:
        which = byte() % MANY;
        if (readers[which].in) {
            readers[which].pauses = what & 32;
            if (what & 16) {
                wcp_in_cancel(readers[which].in);
                readers[which].in = NULL;
            } else {
                wcp_in_resume(readers[which].in);
            }
        }
        break;
    case 12:
        which = byte() % MANY;
        if (outs[which].o) {
            wcp_cancel(outs[which].o);
            outs[which].o = NULL;
        }
        break;
    case 13:
        net.buffered_bytes = what & 16 ? 2u << 20 : 0;
        rpc_writable(rpc);
        break;
    case 14:
        linked = what & 16;
        rpc_link_added(rpc);
        break;
    default:
        if (what == 15)
            rpc_disconnected(rpc);
        else if (what == 31)
            rpc_lost(rpc, 0);
        else if (what == 47)
            rpc_abort(rpc);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_sink(ignore, NULL);
    input = (struct wcp_bytes){data, size};
    fake_init(&net);
    net.t.max_payload = 300;
    linked = true;
    rpc = rpc_new(&(struct rpc_config){
        .transport = &net.t,
        .lattice = "default",
        .id = "me",
        .limits = {.call_ms = 300,
                   .link_wait_ms = 50,
                   .open_calls = 20,
                   .stream_bytes = 100,
                   .stream_total_bytes = 150,
                   .message_bytes = 400,
                   .arena_bytes = 10000},
        .links = {.ctx = NULL, .find = find, .hold = hold, .release = release}});
    rpc_serve(rpc, &(struct wcp_export){&vec_api_interface, &api});
    rpc_serve(rpc, &(struct wcp_export){&vec_echo_interface, &echo});
    rpc_serve(rpc, &(struct wcp_export){&deep_interface, &deep_impl});
    while (input.len)
        event();

    /* Everyone finishes what is theirs to finish; the rest is up to deadlines. */
    for (size_t i = 0; i < MANY; i++)
        if (waiting[i]) {
            struct wcp_call *c = waiting[i];
            waiting[i] = NULL;
            wcp_call_fail(c, "at last");
        }
    for (size_t i = 0; i < MANY; i++) {
        if (writers[i])
            end_writer(i, false);
        readers[i].pauses = false;
        if (readers[i].in)
            wcp_in_resume(readers[i].in);
    }
    pass_ms(5000);
    for (size_t i = 0; i < MANY; i++)
        MUST(!outs[i].o && !readers[i].in && !waiting[i]);
    MUST(rpc_running(rpc) == 0 && held == 0 && rpc->stream_bytes == 0 && !rpc->blocked);
    rpc_free(rpc);
    fake_close(&net);
    return 0;
}

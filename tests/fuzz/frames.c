/* frames.c: fuzz target for calls over connections. The input is what a peer sends: the first byte
 * says whether we serve it or call it, how the connection ends and what readers do, the second how
 * its bytes are cut. However they are cut, the same frames must be read; every call must end once
 * and leave nothing behind. */
#include "base/log.h"
#include "base/timer.h"
#include "fake_conn.h"
#include "fake_transport.h"
#include "must.h"
#include "rpc/exchange.h"
#include "vec_api.h"
#include <string.h>

static struct fake net;
static struct rpc *rpc;
static bool pauses, cancels;
static unsigned dones;

static void ignore(void *ctx, enum wcp_level level, const char *line)
{
}

/* --- streams: what comes goes back, or is only read --- */

static struct stream {
    struct wcp_in *in;
    struct wcp_out *out; /* NULL: nowhere */
    const struct wcp_type *elem;
    struct vec_api_upload *owed;
    size_t count;
} streams[8];
static size_t stream_count;

static void on_data(void *ctx, const void *items, size_t n)
{
    struct stream *s = ctx;
    MUST(s->in && n > 0);
    s->count += n;
    if (s->out && s->elem == &wcp_u8)
        wcp_out_write(s->out, items, n);
    if (pauses)
        wcp_in_pause(s->in);
}

static void stop(struct stream *s, bool broken)
{
    s->in = NULL;
    if (s->out && broken)
        wcp_out_abort(s->out);
    else if (s->out)
        wcp_out_end(s->out);
    s->out = NULL;
    if (s->owed)
        vec_api_upload_ok(s->owed, s->count);
    s->owed = NULL;
}

static void on_end(void *ctx, int status)
{
    stop(ctx, status != 0);
}

static struct stream *read_stream(struct wcp_in *in, const struct wcp_type *elem,
                                  struct wcp_out *out, struct vec_api_upload *owed)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    MUST(stream_count < sizeof streams / sizeof *streams);
    struct stream *s = &streams[stream_count++];
    *s = (struct stream){.in = in, .out = out, .elem = elem, .owed = owed};
    wcp_in_start(in, &handler, s);
    return s;
}

static void api_add(struct vec_api_add *c)
{
    vec_api_add_ok(c, c->a + c->b);
}
static void api_describe(struct vec_api_describe *c)
{
    vec_api_describe_ok(c, c->name);
}
static void api_nothing(struct vec_api_nothing *c)
{
    vec_api_nothing_ok(c);
}
static void api_blob_len(struct vec_api_blob_len *c)
{
    vec_api_blob_len_ok(c, c->data.len);
}
static void api_upload(struct vec_api_upload *c)
{
    read_stream(c->data.in, &wcp_u8, NULL, c);
}
static void api_pipe(struct vec_api_pipe *c)
{
    struct wcp_out *out = wcp_out_new(&wcp_u8);
    read_stream(c->data.in, &wcp_u8, out, NULL);
    vec_api_pipe_ok(c, (union wcp_async){.out = out});
}
static void api_nums(struct vec_api_nums *c)
{
    struct wcp_out *out = wcp_out_new(&wcp_string);
    read_stream(c->s.in, &wcp_u32, out, NULL);
    vec_api_nums_ok(c, (union wcp_async){.out = out});
}
static void api_delay(struct vec_api_delay *c)
{
    wcp_call_fail(&c->call, "its future is not read");
}

static const struct vec_api api = {.add = api_add,
                                   .describe = api_describe,
                                   .nothing = api_nothing,
                                   .blob_len = api_blob_len,
                                   .upload = api_upload,
                                   .pipe = api_pipe,
                                   .nums = api_nums,
                                   .delay = api_delay};

static void on_pipe(void *ctx, const union wcp_async *r, int status)
{
    dones++;
    if (r)
        read_stream(r->in, &wcp_u8, NULL, NULL);
}

/* --- the same frames however they are cut --- */

struct seen {
    uint64_t hash;
    size_t bytes;
    int rc;
};

static void mix(struct seen *s, uint64_t v)
{
    s->hash = (s->hash ^ v) * 0x100000001b3u;
}

static struct seen read_frames(struct wcp_bytes all, size_t piece, bool header)
{
    struct seen s = {0};
    struct frames f = {0};
    struct wcp_str instance, function;
    while (all.len && (s.rc == 0 || s.rc == WCP_EMORE)) {
        size_t n = all.len < piece ? all.len : piece;
        struct wcp_bytes in = {all.ptr, n};
        struct frame_piece p;
        all.ptr += n;
        all.len -= n;
        if (header) {
            s.rc = frames_header(&f, &in, &instance, &function, NULL);
            if (s.rc)
                continue;
            header = false;
            mix(&s, instance.len << 16 | function.len);
        }
        while ((s.rc = frames_next(&f, &in, &p, NULL)) == 0)
            for (size_t i = 0; i < p.data.len; i++, s.bytes++) {
                mix(&s, p.path.n);
                for (size_t k = 0; k < p.path.n; k++)
                    mix(&s, p.path.at[k]);
                mix(&s, p.data.ptr[i]);
                mix(&s, p.before + i);
            }
    }
    frames_close(&f);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake_conn conn;
    if (size < 2)
        return 0;
    uint8_t how = data[0];
    size_t piece = data[1] ? data[1] : SIZE_MAX;
    struct wcp_bytes all = {data + 2, size - 2};
    bool served = how & 1;
    pauses = how & 2;
    cancels = how & 4;
    struct seen whole = read_frames(all, SIZE_MAX, served), cut = read_frames(all, piece, served);
    MUST(whole.hash == cut.hash && whole.bytes == cut.bytes && whole.rc == cut.rc);

    log_set_sink(ignore, NULL);
    stream_count = dones = 0;
    fake_init(&net);
    rpc = rpc_new(&(struct rpc_config){.transport = &net.t,
                                       .lattice = "default",
                                       .id = "me",
                                       .serves_anyone = true,
                                       .limits = {.call_ms = 300,
                                                  .stream_bytes = 100,
                                                  .stream_total_bytes = 150,
                                                  .message_bytes = 400,
                                                  .arena_bytes = 10000}});
    rpc_serve(rpc, &(struct wcp_export){&vec_api_interface, &api});
    fake_conn_init(&conn);
    if (served) {
        rpc_accept(rpc, &conn.conn, "peer", "default");
    } else {
        struct vec_api_pipe params = {.data.out = NULL}; /* an empty stream */
        size_t pipe = 0;
        while (strcmp(vec_api_interface.funcs[pipe].name, "pipe") != 0)
            pipe++;
        rpc_invoke_conn(rpc, &conn.conn, &vec_api_interface, pipe, &params, (void (*)(void))on_pipe,
                        NULL);
    }
    fake_conn_feed(&conn, all, piece);
    if (how & 8)
        fake_conn_eof(&conn);
    if (how & 16 && !conn.closed)
        rpc_conn_lost(&conn.conn, WCP_ECLOSED, "cut");
    for (size_t i = 0; i < stream_count; i++) {
        struct stream *s = &streams[i];
        if (s->in && cancels) {
            struct wcp_in *in = s->in;
            stop(s, true);
            wcp_in_cancel(in);
        }
        for (pauses = false; s->in && s->count < SIZE_MAX / 2;) {
            size_t before = s->count;
            wcp_in_resume(s->in);
            if (s->count == before)
                break;
        }
    }
    net.now_ms += 5000;
    while (rpc_next(rpc) <= net.now_ms)
        rpc_tick(rpc);
    for (size_t i = 0; i < stream_count; i++)
        MUST(!streams[i].in && !streams[i].out && !streams[i].owed);
    MUST(served || dones == 1);
    MUST(rpc_running(rpc) == 0 && rpc->stream_bytes == 0 && !rpc->headless);
    rpc_free(rpc);
    fake_conn_free(&conn);
    fake_close(&net);
    return 0;
}

/* test_simulation.c: our client against our server over a network that misbehaves by chance, but
 * the same way for the same seed.
 *
 * Two clients and two servers of one queue group, each an rpc on its own fake transport, share one
 * clock. The network keeps order as NATS does: from one connection to one subscription. Everything
 * else is chance: delays, which server gets an invocation, what handlers, readers and writers do
 * and when, and per seed one kind of fault (below). After each seed everything must have ended,
 * once, in time, with the right values, and nothing may be left over. Then single calls of each
 * function, with one fault at each message in turn. The calls by chance then go over connections
 * of their own (sim_conn.h).
 *
 * usage: [SEEDS=n] [FIRST=seed] [TRACE=1] test_simulation [FAULT]; make soak SEEDS=n. */
#include "base/log.h"
#include "base/timer.h"
#include "chance.h"
#include "fake_transport.h"
#include "rpc/exchange.h"
#include "sim_conn.h"
#include "test.h"
#include "vec_api.h"
#include <signal.h>
#include <unistd.h>

#define NODES       4 /* 0 and 1 call, 2 and 3 serve */
#define CLIENTS     2
#define CALLS_MAX   24
#define CALL_MS     600
#define MAX_PAYLOAD 400
#define NEVER_MS    (6 * CALL_MS)

enum fault {
    NONE,
    OLD_CLIENTS, /* callers drop what comes before their registration (wrpc.md §2.8a) */
    OLD_BOTH,    /* those who serve too */
    SLOW,        /* a subscription overflows: messages are dropped, and rpc_lost says so */
    CUT,         /* connections break and come back */
    ABSENT,      /* sometimes nobody serves: 503 */
    LOSSY,       /* messages vanish */
    REPEATING,   /* messages come twice */
    REORDERED,   /* messages are overtaken */
    /* From here on calls have connections of their own. */
    CONNECTED,
    REFUSED, /* some connections */
    RESET,   /* cut, at any byte */
    STALLED, /* nothing more goes through, at any byte */
    FAULTS
};
static const char *const fault_names[] = {
    "none",      "old clients", "old both",  "slow",    "cut",   "absent", "lossy",
    "repeating", "reordered",   "connected", "refused", "reset", "stalled"};

enum function {
    ADD,
    DESCRIBE,
    BLOB_LEN,
    BIG_RESULT,
    ONE_WAY,
    NOTHING,
    UPLOAD,
    DOWNLOAD,
    PIPE,
    NUMS,
    TAKE_REC,
    DELAY,
    FUNCTIONS
};

/* --- chance --- */

static uint64_t seed;
static enum fault fault;
static uint64_t delivered; /* messages of this seed */
static uint64_t fault_at;  /* this message only has the fault; 0: any, by chance */
static bool struck;        /* there was such a message */

/* Does the fault happen to the message that is delivered now? */
static bool strikes(enum fault kind, uint32_t n)
{
    bool yes = fault == kind && (fault_at ? delivered == fault_at : one_in(n));
    struck |= yes;
    return yes;
}

#define REQUIRE(cond, ...)                                                                         \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "seed %llu (%s) at %llu ms: ", (unsigned long long)seed,               \
                    fault_names[fault], (unsigned long long)clock_ms);                             \
            FAIL(__VA_ARGS__);                                                                     \
        }                                                                                          \
    } while (0)

/* --- the world --- */

static uint64_t clock_ms;
static struct timers agenda; /* what handlers, readers and writers do later */

struct task {
    struct timer timer;
    void (*fn)(void *ctx);
    void *ctx;
};

static void run_task(struct timer *t)
{
    struct task k = *(struct task *)t;
    free(t);
    k.fn(k.ctx);
}

static void later(uint32_t ms, void (*fn)(void *ctx), void *ctx)
{
    struct task *k = wcp_calloc(1, sizeof *k);
    *k = (struct task){.timer.fn = run_task, .fn = fn, .ctx = ctx};
    timers_set(&agenda, &k->timer, clock_ms + ms);
}

struct node {
    struct fake net;
    struct rpc *rpc;
    struct wcp_link link; /* to the servers, or from any client */
    int held;
    bool connected;
    char inbox[24];
    struct known { /* what an old peer knows of a call number */
        uint64_t number;
        unsigned dropped;
        bool registered;
    } known[128];
    size_t known_count;
};
static struct node nodes[NODES];

struct packet {
    struct packet *next;
    uint64_t due;
    int from, to, sub, status;
    char *subject, *reply;
    struct wcp_bytes data;
    struct wcp_header headers[8];
    size_t header_count;
};
static struct packet *packets;

/* --- calls: what both sides know of one --- */

enum manner { AT_ONCE, LATER, NEVER, FAILS };

enum kind { BYTES, NUMBERS, ONE_NUMBER, BYTES_BACK, TEXTS_BACK };

struct call {
    enum function function;
    enum manner manner;
    int client;
    struct wcp_outgoing *out;
    int done, status;
    bool cancelled, absent;
    uint64_t moved; /* when the client last saw something of it */
    char rc[64];
    uint32_t a, b; /* numbers, or sizes */
    /* What the client sends (0) and what the server sends (1). */
    struct flow {
        struct call *call;
        bool server; /* its writer is the server */
        enum kind kind;
        struct wcp_out *out;
        uint32_t total, written;
        bool ended, aborts, waits;
        struct wcp_in *in;
        uint32_t read, pauses;
        bool started, finished, stopped /* by the reader */;
        int status;
        void (*then)(struct flow *f);
    } flows[2];
    uint64_t number; /* the server's answer to an upload */
    void *pending;   /* the call struct of a handler that has not answered */
    bool answered;
};
static struct call calls[CALLS_MAX];
static uint32_t call_count;
static bool careful_only; /* no writer aborts, no reader stops, no call is cancelled */

static uint32_t number_of(const struct call *c)
{
    return (uint32_t)(c - calls);
}

/* --- streams --- */

static uint8_t byte_at(const struct flow *f, uint32_t i)
{
    return (uint8_t)(i * 31 + number_of(f->call) * 7 + f->server);
}

static uint32_t number_at(const struct flow *f, uint32_t i)
{
    return i * 2654435761u + number_of(f->call);
}

/* What a server makes of element i: the number as text. */
static size_t text_at(const struct flow *f, uint32_t i, char out[16])
{
    return (size_t)snprintf(out, 16, "%u", number_at(f, i));
}

static void flow_write(void *ctx);

static void flow_drained(void *ctx)
{
    ((struct flow *)ctx)->waits = false;
    flow_write(ctx);
}

static void flow_write_some(struct flow *f)
{
    uint32_t n = 1 + any(one_in(4) ? 1000 : 60);
    n = f->total - f->written < n ? f->total - f->written : n;
    bool more = true;
    if (f->kind == BYTES) {
        uint8_t piece[1000];
        for (uint32_t i = 0; i < n; i++)
            piece[i] = byte_at(f, f->written + i);
        more = wcp_out_write(f->out, piece, n);
    } else {
        uint32_t piece[1000];
        for (uint32_t i = 0; i < n; i++)
            piece[i] = number_at(f, f->written + i);
        more = wcp_out_write(f->out, piece, n);
    }
    if (!f->server)
        f->call->moved = clock_ms;
    f->written += n;
    if (!more) {
        f->waits = true;
        wcp_out_on_drained(f->out, flow_drained, f);
    }
}

static void flow_stop(struct flow *f, void (*how)(struct wcp_out *o))
{
    f->ended = true;
    if (!f->server)
        f->call->moved = clock_ms;
    how(f->out);
}

/* Writes until there is nothing more, with pauses; sometimes only a part, and breaks off. */
static void flow_write(void *ctx)
{
    struct flow *f = ctx;
    if (f->ended || f->waits)
        return;
    do {
        if (f->aborts && (f->written + 1) * 2 > f->total) {
            flow_stop(f, wcp_out_abort);
            return;
        }
        if (f->written < f->total)
            flow_write_some(f);
        else if (!f->waits) {
            flow_stop(f, wcp_out_end);
            return;
        }
        if (f->waits)
            return;
    } while (!one_in(3));
    later(any(30), flow_write, f);
}

/* A writer whose value is about to be sent. */
static union wcp_async flow_open(struct flow *f)
{
    f->aborts = !careful_only && one_in(12);
    f->out = wcp_out_new(f->kind == BYTES ? &wcp_u8 : &wcp_u32);
    if (one_in(2))
        flow_write(f); /* some, or all, before it is sent */
    else
        later(any(20), flow_write, f);
    return (union wcp_async){.out = f->out};
}

static bool values_are_trusted(void)
{
    return fault != LOSSY && fault != REPEATING && fault != REORDERED && fault != OLD_BOTH;
}

static void flow_resume(void *ctx)
{
    struct flow *f = ctx;
    if (f->in)
        wcp_in_resume(f->in);
}

static void flow_data(void *ctx, const void *items, size_t n)
{
    struct flow *f = ctx;
    REQUIRE(!f->finished && !f->stopped, "call %u: data after the end", number_of(f->call));
    for (size_t i = 0; i < n && values_are_trusted(); i++, f->read++) {
        const struct flow *source = f->kind >= BYTES_BACK ? &f->call->flows[0] : f;
        bool right = f->read < f->total;
        if (f->kind == BYTES || f->kind == BYTES_BACK) {
            right &= ((const uint8_t *)items)[i] == byte_at(source, f->read);
        } else if (f->kind == NUMBERS || f->kind == ONE_NUMBER) {
            right &= ((const uint32_t *)items)[i] == number_at(source, f->read);
        } else {
            char text[16];
            size_t len = text_at(source, f->read, text);
            right &= wcp_str_eq(((const struct wcp_str *)items)[i], (struct wcp_str){text, len});
        }
        REQUIRE(right, "call %u: element %u is wrong", number_of(f->call), f->read);
    }
    if (f->server) /* read by the client */
        f->call->moved = clock_ms;
    if (one_in(6) && f->pauses++ < 4) {
        wcp_in_pause(f->in);
        later(any(60), flow_resume, f);
    } else if (!careful_only && one_in(60)) {
        struct wcp_in *in = f->in;
        f->stopped = true;
        f->in = NULL;
        wcp_in_cancel(in);
        if (f->then)
            f->then(f);
    }
}

static void flow_end(void *ctx, int status)
{
    struct flow *f = ctx;
    REQUIRE(!f->finished && !f->stopped, "call %u: a second end", number_of(f->call));
    f->finished = true;
    f->status = status;
    f->in = NULL;
    REQUIRE(status != 0 || f->read == f->total || !values_are_trusted(),
            "call %u: %u elements of %u, and a good end", number_of(f->call), f->read, f->total);
    if (f->then)
        f->then(f);
}

static void flow_start(void *ctx)
{
    static const struct wcp_in_handler handler = {flow_data, flow_end};
    struct flow *f = ctx;
    if (f->in && !f->started) {
        f->started = true;
        wcp_in_start(f->in, &handler, f);
    }
}

/* --- the server's handlers --- */

static void no_longer_readable(struct call *c)
{
    if (!c->flows[0].started)
        c->flows[0].in = NULL; /* dropped with the reply */
}

static void answer(void *ctx)
{
    struct call *c = ctx;
    void *p = c->pending;
    struct flow *f = &c->flows[1];
    if (!p)
        return;
    c->pending = NULL;
    c->answered = true;
    if (c->manner == FAILS) {
        wcp_call_fail(p, "this one fails");
        no_longer_readable(c);
        return;
    }
    switch (c->function) {
    case ADD: {
        struct vec_api_add *v = p;
        vec_api_add_ok(v, v->a + v->b);
        break;
    }
    case DESCRIBE: {
        struct vec_api_describe *v = p;
        vec_api_describe_ok(v, v->name);
        break;
    }
    case BLOB_LEN: {
        struct vec_api_blob_len *v = p;
        uint64_t sum = 0;
        for (size_t i = 0; i < v->data.len; i++)
            sum = sum * 31 + v->data.ptr[i];
        vec_api_blob_len_ok(v, sum);
        break;
    }
    case BIG_RESULT: {
        struct vec_api_big_result *v = p;
        uint8_t *bytes = wcp_alloc(&v->call.arena, c->b, 1);
        for (uint32_t i = 0; i < c->b; i++)
            bytes[i] = byte_at(f, i);
        vec_api_big_result_ok(v, (struct wcp_bytes){bytes, c->b});
        break;
    }
    case ONE_WAY: vec_api_one_way_ok(p); break;
    case NOTHING: vec_api_nothing_ok(p); break;
    case UPLOAD:
        c->number = c->flows[0].read;
        vec_api_upload_ok(p, c->number);
        break;
    case DOWNLOAD: vec_api_download_ok(p, flow_open(f)); break;
    case TAKE_REC:
        vec_api_take_rec_ok(p, (struct vec_api_tuple_u32_stream_u8){c->a, flow_open(f)});
        break;
    default: FAIL("function %d does not come here", c->function);
    }
    no_longer_readable(c);
}

static void answer_upload(struct flow *f)
{
    if (f->status == 0 && !f->stopped) {
        answer(f->call);
    } else if (f->call->pending) { /* it broke off */
        f->call->manner = FAILS;
        answer(f->call);
    }
}

/* The handler of every function: it answers as the call says. */
static void serve(struct call *c, struct wcp_call *w)
{
    if (c->pending || c->answered) { /* the same invocation twice */
        REQUIRE(fault == REPEATING, "call %u is served twice", number_of(c));
        wcp_call_fail(w, "a repeated invocation");
        return;
    }
    c->pending = w;
    struct flow *f = &c->flows[0];
    if (f->in) {
        if (c->function == UPLOAD)
            f->then = answer_upload;
        if (one_in(4))
            later(any(40), flow_start, f);
        else
            flow_start(f);
        if (c->function == UPLOAD && !one_in(5))
            return; /* answers at the end of the stream */
    }
    if (!c->pending)
        return;
    if (c->manner == AT_ONCE || (c->manner == FAILS && one_in(2)))
        answer(c);
    else
        later(c->manner == NEVER ? NEVER_MS : any(CALL_MS / 2), answer, c);
}

/* A flow can be read by the first call that gets it; a repeated invocation has its own. */
static struct call *reading(uint32_t number, struct wcp_in *in)
{
    REQUIRE(number < call_count, "no such call: %u", number);
    struct call *c = &calls[number];
    if (!c->pending && !c->answered)
        c->flows[0].in = in;
    return c;
}

static struct call *find_call(enum function function)
{
    for (uint32_t i = 0; i < call_count; i++)
        if (calls[i].function == function && !calls[i].pending && !calls[i].answered)
            return &calls[i];
    return NULL;
}

static void api_add(struct vec_api_add *c)
{
    serve(reading(c->a & 0xff, NULL), &c->call);
}
static void api_describe(struct vec_api_describe *c)
{
    serve(reading((uint32_t)c->p.x, NULL), &c->call);
}
static void api_blob_len(struct vec_api_blob_len *c)
{
    if (c->data.len) /* the size is on its way too, so that a cut value is not taken for another */
        serve(reading(c->data.ptr[0], NULL), &c->call);
    else
        wcp_call_fail(&c->call, "empty");
}
static void api_big_result(struct vec_api_big_result *c)
{
    serve(reading(c->n & 0xff, NULL), &c->call);
}
static void api_one_way(struct vec_api_one_way *c)
{
    serve(reading(c->x, NULL), &c->call);
}
static void api_nothing(struct vec_api_nothing *c)
{
    struct call *k = find_call(NOTHING); /* which one cannot be told, and does not matter */
    if (k)
        serve(k, &c->call);
    else
        wcp_call_fail(&c->call, "a repeated invocation");
}
static void api_upload(struct vec_api_upload *c)
{
    serve(reading((uint32_t)c->name.ptr[0] - ' ', c->data.in), &c->call);
}
static void api_download(struct vec_api_download *c)
{
    serve(reading(c->n, NULL), &c->call);
}
static void api_take_rec(struct vec_api_take_rec *c)
{
    serve(reading(c->r.b, c->r.a.in), &c->call);
}
/* The others say nothing of themselves: what they stream is given back. */
struct mirror {
    struct wcp_out *out;
};

static void mirror_bytes(void *ctx, const void *items, size_t n)
{
    wcp_out_write(((struct mirror *)ctx)->out, items, n);
}

static void mirror_numbers(void *ctx, const void *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "%u", ((const uint32_t *)items)[i]);
        wcp_out_write(((struct mirror *)ctx)->out, &(struct wcp_str){text, (size_t)len}, 1);
    }
}

static void mirror_end(void *ctx, int status)
{
    struct mirror *m = ctx;
    if (status)
        wcp_out_abort(m->out);
    else
        wcp_out_end(m->out);
    free(m);
}

static union wcp_async mirror(struct wcp_in *in, const struct wcp_type *t,
                              const struct wcp_in_handler *h)
{
    struct mirror *m = wcp_calloc(1, sizeof *m);
    m->out = wcp_out_new(t);
    union wcp_async a = {.out = m->out};
    wcp_in_start(in, h, m);
    return a;
}

static void api_pipe(struct vec_api_pipe *c)
{
    static const struct wcp_in_handler h = {mirror_bytes, mirror_end};
    vec_api_pipe_ok(c, mirror(c->data.in, &wcp_u8, &h));
}
static void api_nums(struct vec_api_nums *c)
{
    static const struct wcp_in_handler h = {mirror_numbers, mirror_end};
    vec_api_nums_ok(c, mirror(c->s.in, &wcp_string, &h));
}
static void api_delay(struct vec_api_delay *c)
{
    static const struct wcp_in_handler h = {mirror_numbers, mirror_end};
    vec_api_delay_ok(c, mirror(c->v.in, &wcp_string, &h));
}

static const struct vec_api api = {.add = api_add,
                                   .describe = api_describe,
                                   .blob_len = api_blob_len,
                                   .big_result = api_big_result,
                                   .one_way = api_one_way,
                                   .nothing = api_nothing,
                                   .upload = api_upload,
                                   .download = api_download,
                                   .pipe = api_pipe,
                                   .nums = api_nums,
                                   .take_rec = api_take_rec,
                                   .delay = api_delay};

/* --- the client's calls --- */

static struct sim_net connections;

static void on_moved(void *call)
{
    ((struct call *)call)->moved = clock_ms;
}

static struct wcp_outgoing *invoke_connected(int client, const struct wcp_interface *iface,
                                             size_t func, const void *params, void (*done)(void),
                                             void *call)
{
    struct rpc *server = nodes[CLIENTS + (int)any(NODES - CLIENTS)].rpc;
    struct wcp_conn *c = sim_connect(&connections, server, call);
    ((struct call *)call)->absent = sim_is_refused(c);
    return rpc_invoke_conn(nodes[client].rpc, c, iface, func, params, done, call);
}

struct wcp_outgoing *wcp_invoke(struct wcp_link *l, const struct wcp_interface *iface, size_t func,
                                const void *params, void (*done)(void), void *ctx)
{
    for (int i = 0; i < CLIENTS; i++)
        if (l == &nodes[i].link)
            return fault < CONNECTED ? rpc_invoke(nodes[i].rpc, l, iface, func, params, done, ctx)
                                     : invoke_connected(i, iface, func, params, done, ctx);
    FAIL("not a client's link");
}

static void on_done(struct call *c, int status)
{
    uint32_t n = number_of(c);
    REQUIRE(!c->cancelled && !c->done, "call %u ends a second time", n);
    c->done++;
    c->status = status;
    c->out = NULL;
    REQUIRE(clock_ms <= c->moved + CALL_MS, "call %u ends %llu ms too late", n,
            (unsigned long long)(clock_ms - c->moved - CALL_MS));
    REQUIRE(!c->absent || status == WCP_ENOENT || status == WCP_ECLOSED, "call %u: status %d", n,
            status);
    bool healthy = fault == NONE || fault == OLD_CLIENTS || fault == CONNECTED;
    bool sure = c->function <= NOTHING || careful_only;
    if (healthy && sure && c->manner <= LATER)
        REQUIRE(status == 0, "call %u: status %d", n, status);
}

static void on_add(void *ctx, const uint32_t *r, int status)
{
    struct call *c = ctx;
    REQUIRE(!r || *r == c->a + c->b || !values_are_trusted(), "call %u: sum %u", number_of(c), *r);
    on_done(c, status);
}
static void on_describe(void *ctx, const struct vec_api_describe_result *r, int status)
{
    REQUIRE(!r || (!r->is_err && r->ok.len == ((struct call *)ctx)->b) || !values_are_trusted(),
            "call %u: another text", number_of(ctx));
    on_done(ctx, status);
}
static void on_number(void *ctx, const uint64_t *r, int status)
{
    struct call *c = ctx;
    uint64_t want = 0;
    if (c->function == BLOB_LEN) {
        want = number_of(c);
        for (uint32_t i = 1; i < c->b; i++)
            want = want * 31 + byte_at(&c->flows[0], i);
    } else {
        want = c->number;
    }
    REQUIRE(!r || *r == want || !values_are_trusted(), "call %u: number %llu, not %llu",
            number_of(c), (unsigned long long)*r, (unsigned long long)want);
    on_done(c, status);
}
static void on_bytes(void *ctx, const struct wcp_bytes *r, int status)
{
    struct call *c = ctx;
    bool right = !r || r->len == c->b;
    for (uint32_t i = 0; right && r && i < c->b; i++)
        right = r->ptr[i] == byte_at(&c->flows[1], i);
    REQUIRE(right || !values_are_trusted(), "call %u: other bytes", number_of(c));
    on_done(c, status);
}
static void on_nothing(void *ctx, int status)
{
    on_done(ctx, status);
}
static void on_stream(void *ctx, const union wcp_async *r, int status)
{
    struct call *c = ctx;
    on_done(c, status);
    if (!r || (!careful_only && one_in(15)))
        return; /* not interested */
    c->flows[1].in = r->in;
    flow_start(&c->flows[1]);
}
static void on_take_rec(void *ctx, const struct vec_api_tuple_u32_stream_u8 *r, int status)
{
    struct call *c = ctx;
    REQUIRE(!r || r->f0 == c->a || !values_are_trusted(), "call %u: number", number_of(c));
    on_stream(c, r ? &r->f1 : NULL, status);
}

static void cancel(void *ctx)
{
    struct call *c = ctx;
    if (c->done)
        return;
    c->cancelled = true;
    wcp_cancel(c->out);
}

static void begin(void *ctx)
{
    struct call *c = ctx;
    struct node *n = &nodes[c->client];
    struct wcp_link *l = &n->link;
    struct flow *f = &c->flows[0];
    static const char text[700] = {0};
    uint8_t blob[2000];
    c->moved = clock_ms;
    switch (c->function) {
    case ADD: c->out = vec_api_add(l, c->a, c->b, on_add, c); break;
    case DESCRIBE:
        c->out = vec_api_describe(l, (struct wcp_str){text, c->b},
                                  (struct vec_types_point){.x = (int)number_of(c)}, true,
                                  on_describe, c);
        break;
    case BLOB_LEN:
        for (uint32_t i = 0; i < c->b; i++)
            blob[i] = byte_at(f, i);
        blob[0] = (uint8_t)number_of(c);
        c->out = vec_api_blob_len(l, (struct wcp_bytes){blob, c->b}, on_number, c);
        break;
    case BIG_RESULT: c->out = vec_api_big_result(l, number_of(c), on_bytes, c); break;
    case ONE_WAY: c->out = vec_api_one_way(l, number_of(c), on_nothing, c); break;
    case NOTHING: c->out = vec_api_nothing(l, on_nothing, c); break;
    case UPLOAD: {
        char name[300] = {(char)(' ' + number_of(c))};
        c->out =
            vec_api_upload(l, (struct wcp_str){name, 1 + c->b % 299}, flow_open(f), on_number, c);
        break;
    }
    case DOWNLOAD: c->out = vec_api_download(l, WCP_STR("f"), number_of(c), on_stream, c); break;
    case PIPE: c->out = vec_api_pipe(l, flow_open(f), on_stream, c); break;
    case NUMS: c->out = vec_api_nums(l, flow_open(f), on_stream, c); break;
    case TAKE_REC:
        c->out =
            vec_api_take_rec(l, (struct vec_api_rec){flow_open(f), number_of(c)}, on_take_rec, c);
        break;
    case DELAY: c->out = vec_api_delay(l, flow_open(f), on_stream, c); break;
    case FUNCTIONS: break;
    }
    if (fault < CONNECTED)
        snprintf(c->rc, sizeof c->rc, "%s", n->net.sent[n->net.count - 1].reply);
    if (!careful_only && one_in(8))
        later(any(one_in(2) ? 10 : 200), cancel, c);
}

static void plan(struct call *c, enum function function)
{
    static const enum kind kinds[FUNCTIONS][2] = {
        [UPLOAD] = {BYTES, BYTES},    [DOWNLOAD] = {BYTES, BYTES},
        [PIPE] = {BYTES, BYTES_BACK}, [NUMS] = {NUMBERS, TEXTS_BACK},
        [TAKE_REC] = {BYTES, BYTES},  [DELAY] = {ONE_NUMBER, TEXTS_BACK}};
    static const uint32_t sizes[] = {0, 1, 10, 200, MAX_PAYLOAD, MAX_PAYLOAD + 1, 600};
    *c = (struct call){.function = function, .client = (int)any(CLIENTS)};
    c->manner = !one_in(4) ? any(2) : one_in(3) ? NEVER : FAILS;
    if (c->function == NOTHING)
        c->manner = any(2); /* the handlers cannot tell these from each other */
    c->a = number_of(c) | any(1000) << 8;
    c->b = c->function == ADD ? any(1u << 30) : 1 + any(one_in(2) ? 60 : 699);
    if (c->function == BIG_RESULT && one_in(3))
        c->b = MAX_PAYLOAD - 4 + any(8);
    for (int i = 0; i < 2; i++) {
        struct flow *f = &c->flows[i];
        f->call = c;
        f->server = i == 1;
        f->kind = kinds[c->function][i];
        f->total = sizes[any(sizeof sizes / sizeof *sizes)];
        if (c->function == DELAY)
            f->total = 1;
        else if (i == 1 && f->kind >= BYTES_BACK)
            f->total = c->flows[0].total;
    }
    later(any(200), begin, c);
}

/* --- the network --- */

static bool trace;
static uint32_t slowness; /* of this seed's network, in ms */

static void put(struct packet p)
{
    struct packet **at = &packets, *n = wcp_calloc(1, sizeof *n);
    p.next = NULL;
    p.due = clock_ms + any(slowness);
    for (; *at; at = &(*at)->next)
        if ((*at)->from == p.from && (*at)->to == p.to && (*at)->sub == p.sub && (*at)->due > p.due)
            p.due = (*at)->due;
    *n = p;
    *at = n;
}

/* Where a published message goes. */
static void route(int from, const struct fake_msg *m)
{
    struct packet p = {.from = from, .to = -1, .subject = m->subject, .reply = m->reply};
    p.data = m->data;
    p.header_count = m->header_count;
    memcpy(p.headers, m->headers, sizeof p.headers);
    if (!nodes[from].connected)
        return;
    for (int i = 0; i < NODES; i++)
        if (strncmp(m->subject, nodes[i].inbox, strlen(nodes[i].inbox)) == 0) {
            p.to = i;
            if (nodes[i].connected)
                put(p);
            return;
        }
    int first = CLIENTS + (int)any(NODES - CLIENTS);
    bool absent = fault == ABSENT && one_in(3);
    for (int k = 0; k < NODES - CLIENTS && !absent && p.to < 0; k++) {
        int to = CLIENTS + (first + k) % (NODES - CLIENTS);
        if (nodes[to].connected)
            p.to = to;
    }
    if (p.to >= 0) {
        p.sub = fake_sub(&nodes[p.to].net, m->subject);
    } else {
        for (uint32_t i = 0; i < call_count; i++)
            calls[i].absent |= strcmp(calls[i].rc, m->reply) == 0;
        p = (struct packet){.from = from, .to = from, .status = 503, .subject = m->reply};
    }
    put(p);
}

static void collect(void)
{
    for (int i = 0; i < NODES; i++)
        for (const struct fake_msg *m; (m = fake_take(&nodes[i].net));)
            route(i, m);
}

/* An old peer's routing: a call's subjects are known after a while, all at once. */
static bool is_dropped_by_old_peer(struct node *n, const char *subject)
{
    uint64_t number = strtoull(subject + strlen(n->inbox) + 1, NULL, 16);
    size_t i = 0;
    while (i < n->known_count && n->known[i].number != number)
        i++;
    if (i == sizeof n->known / sizeof *n->known)
        return false;
    if (i == n->known_count)
        n->known[n->known_count++].number = number;
    n->known[i].registered |= one_in(2) || n->known[i].dropped == 4;
    n->known[i].dropped += !n->known[i].registered;
    return !n->known[i].registered;
}

static void disconnect(void *ctx);

static void deliver(const struct packet *p)
{
    struct node *n = &nodes[p->to];
    delivered++;
    if (trace)
        fprintf(stderr, "%llu: %c>%c %s %s %zu\n", (unsigned long long)clock_ms, 'a' + p->from,
                'a' + p->to, p->subject, p->reply ? p->reply : "", p->data.len);
    const char *headers[17] = {0};
    bool inbox = p->sub == 0;
    if ((fault == OLD_BOTH || (fault == OLD_CLIENTS && p->to < CLIENTS)) && inbox && !p->status &&
        is_dropped_by_old_peer(n, p->subject)) {
        if (trace)
            fprintf(stderr, "  dropped\n");
        return;
    }
    if (strikes(LOSSY, 15))
        return;
    if (strikes(SLOW, 25)) {
        rpc_lost(n->rpc, p->sub);
        return;
    }
    if (strikes(REORDERED, 15)) { /* what is on its way already comes before it */
        put(*p);
        return;
    }
    if (fault_at && strikes(CUT, 1)) {
        disconnect(one_in(2) ? n : &nodes[p->from]);
        return;
    }
    for (size_t i = 0; i < p->header_count; i++) {
        headers[2 * i] = p->headers[i].name;
        headers[2 * i + 1] = p->headers[i].value;
    }
    for (uint32_t i = 0; inbox && i < call_count; i++)
        if (*calls[i].rc && strncmp(p->subject, calls[i].rc, strlen(calls[i].rc)) == 0)
            calls[i].moved = clock_ms;
    int times = strikes(REPEATING, 15) ? 2 : 1;
    for (int i = 0; i < times; i++) {
        struct wcp_msg m = fake_message(&n->net, p->subject, p->reply, p->data, headers);
        m.status = p->status;
        REQUIRE(rpc_message(n->rpc, p->sub, &m), "%s is nobody's", p->subject);
        fake_done(&n->net, &m);
    }
}

static void reconnect(void *ctx)
{
    ((struct node *)ctx)->connected = true;
}

static void disconnect(void *ctx)
{
    struct node *n = ctx;
    int i = (int)(n - nodes);
    if (!n->connected)
        return;
    collect(); /* what was published before is on its way, and is lost now */
    n->connected = false;
    for (struct packet **at = &packets, *p; (p = *at);)
        if (p->from == i || p->to == i) {
            *at = p->next;
            free(p);
        } else {
            at = &p->next;
        }
    rpc_disconnected(n->rpc);
    later(any(50), reconnect, n);
}

static void unblock(void *ctx)
{
    struct node *n = ctx;
    n->net.buffered_bytes = 0;
    rpc_writable(n->rpc);
}

static void block(void *ctx)
{
    struct node *n = ctx;
    n->net.buffered_bytes = 2u << 20;
    later(any(40), unblock, n);
}

/* --- links --- */

static bool links_are_up;

static struct wcp_link *find_link(void *ctx, struct wcp_str source, struct wcp_str name,
                                  const struct wcp_interface *iface, const char **why)
{
    struct node *n = ctx;
    if (!links_are_up)
        return NULL;
    REQUIRE(wcp_str_eq(source, WCP_STR("cli")) && wcp_str_eq(name, n->link.name), "headers");
    n->held++;
    return &n->link;
}

static void hold(void *ctx, struct wcp_link *l)
{
    ((struct node *)ctx)->held++;
}

static void release(void *ctx, struct wcp_link *l)
{
    ((struct node *)ctx)->held--;
}

static void link_up(void *ctx)
{
    links_are_up = true;
    for (int i = CLIENTS; i < NODES; i++)
        rpc_link_added(nodes[i].rpc);
}

/* --- one seed --- */

static void start_node(int i)
{
    struct node *n = &nodes[i];
    bool client = i < CLIENTS;
    *n = (struct node){.connected = true,
                       .link = {.role = client ? WCP_SOURCE : WCP_TARGET,
                                .source_id = WCP_STR("cli"),
                                .target_id = WCP_STR("srv"),
                                .name = WCP_STR("default")}};
    fake_init(&n->net);
    snprintf(n->inbox, sizeof n->inbox, "_INBOX.%c", 'a' + i);
    n->net.t.inbox = n->inbox;
    n->net.t.max_payload = MAX_PAYLOAD;
    n->net.now_ms = clock_ms;
    n->rpc = rpc_new(&(struct rpc_config){
        .transport = &n->net.t,
        .lattice = "lat",
        .id = client ? "cli" : "srv",
        .limits = {.call_ms = CALL_MS, .link_wait_ms = 100},
        .links = {.ctx = n, .find = find_link, .hold = hold, .release = release}});
    if (!client)
        rpc_serve(n->rpc, &(struct wcp_export){&vec_api_interface, &api});
}

/* Whatever is next, by chance among what is due. False: nothing will ever happen any more. */
static bool step(void)
{
    struct packet **ready[64];
    uint64_t next = timers_next(&agenda);
    for (struct packet *p = packets; p; p = p->next)
        next = p->due < next ? p->due : next;
    for (int i = 0; i < NODES; i++)
        next = rpc_next(nodes[i].rpc) < next ? rpc_next(nodes[i].rpc) : next;
    next = sim_next(&connections) < next ? sim_next(&connections) : next;
    if (next == TIMER_NEVER)
        return false;
    REQUIRE(next < 100 * NEVER_MS, "there is no end to it");
    clock_ms = next > clock_ms ? next : clock_ms;
    static uint64_t steps;
    steps++;
    uint32_t n = 0;
    for (struct packet **at = &packets; *at && n < 60; at = &(*at)->next) {
        static uint64_t seen[NODES][NODES][64]; /* the step that saw one of this subscription */
        uint64_t *last = &seen[(*at)->from][(*at)->to][(*at)->sub];
        if (*last != steps && (*at)->due <= clock_ms)
            ready[n++] = at;
        *last = steps;
    }
    /* After the packets: whose timers are due; -1 is the agenda, -2 a connection. */
    int timers[2 + NODES];
    uint32_t m = 0;
    if (timers_next(&agenda) <= clock_ms)
        timers[m++] = -1;
    if (sim_next(&connections) <= clock_ms)
        timers[m++] = -2;
    for (int i = 0; i < NODES; i++) {
        nodes[i].net.now_ms = clock_ms;
        if (rpc_next(nodes[i].rpc) <= clock_ms)
            timers[m++] = i;
    }
    uint32_t pick = any(n + m);
    if (pick < n) {
        struct packet *p = *ready[pick];
        *ready[pick] = p->next;
        deliver(p);
        free(p);
    } else if (timers[pick - n] == -2) {
        sim_step(&connections);
    } else if (timers[pick - n] == -1) {
        timers_fire(&agenda, clock_ms);
    } else {
        rpc_tick(nodes[timers[pick - n]].rpc);
    }
    collect();
    return true;
}

static void check_the_end(void)
{
    for (uint32_t i = 0; i < call_count; i++) {
        struct call *c = &calls[i];
        REQUIRE(c->done == !c->cancelled, "call %u of function %d ended %d times", i, c->function,
                c->done);
        REQUIRE(!c->pending, "call %u is still served", i);
        for (int k = 0; k < 2; k++) {
            struct flow *f = &c->flows[k];
            REQUIRE(!f->out || f->ended, "call %u: writer %d waits for ever", i, k);
            REQUIRE(!f->started || f->finished || f->stopped, "call %u: reader %d waits for ever",
                    i, k);
            bool healthy = fault == NONE || fault == OLD_CLIENTS || fault == CONNECTED;
            if (healthy && careful_only && f->started && c->manner <= LATER)
                REQUIRE(f->status == 0, "call %u: reader %d ended with %d", i, k, f->status);
        }
    }
    for (int i = 0; i < NODES; i++) {
        struct node *n = &nodes[i];
        REQUIRE(rpc_running(n->rpc) == 0, "node %d: %zu calls are running", i, rpc_running(n->rpc));
        REQUIRE(n->held == 0, "node %d: %d link references", i, n->held);
        REQUIRE(n->rpc->stream_bytes == 0, "node %d: %zu bytes", i, n->rpc->stream_bytes);
        REQUIRE(!n->rpc->blocked && !n->rpc->exchanges, "node %d: lists", i);
        REQUIRE(n->net.owners == 0, "node %d: %zu messages are held", i, n->net.owners);
        REQUIRE(!n->rpc->headless, "node %d: %zu connections wait", i, n->rpc->headless_count);
    }
    REQUIRE(!connections.ends, "a connection was not closed");
}

/* function FUNCTIONS: many calls of any; else one of that. */
static void run_seed(uint64_t s, enum fault kind, enum function function)
{
    seed = chance = s;
    fault = kind;
    delivered = 0;
    clock_ms = 1000;
    links_are_up = false;
    chance += (uint64_t)kind << 40;
    for (int i = 0; i < NODES; i++)
        start_node(i);
    careful_only = one_in(2);
    slowness = one_in(3) ? 1 : one_in(2) ? 4 : 20;
    connections = (struct sim_net){.any = any,
                                   .clock_ms = &clock_ms,
                                   .slowness = slowness,
                                   .refuses = kind == REFUSED ? 3 : 0,
                                   .cuts = kind == RESET ? 3 : 0,
                                   .stalls = kind == STALLED ? 3 : 0,
                                   .moved = on_moved};
    call_count = function == FUNCTIONS ? 1 + any(CALLS_MAX) : 1;
    for (uint32_t i = 0; i < call_count; i++)
        plan(&calls[i], function == FUNCTIONS ? any(FUNCTIONS) : function);
    later(any(80), link_up, NULL);
    for (int i = 0; i < NODES; i++) {
        if (one_in(2))
            later(any(250), block, &nodes[i]);
        if (kind == CUT && !fault_at)
            for (uint32_t k = any(4); k; k--)
                later(any(300), disconnect, &nodes[i]);
    }
    while (step())
        ;
    check_the_end();
    for (int i = 0; i < NODES; i++) {
        rpc_free(nodes[i].rpc);
        fake_close(&nodes[i].net);
    }
    timers_close(&agenda);
    agenda = (struct timers){0};
}

static void ignore(void *ctx, enum wcp_level level, const char *line)
{
}

static void say_seed(void)
{
    fprintf(stderr, "seed %llu (%s)\n", (unsigned long long)seed, fault_names[fault]);
}

static void on_abort(int number)
{
    say_seed();
    _exit(1);
}

void __sanitizer_set_death_callback(void (*f)(void)) __attribute__((weak));

struct seeds {
    uint64_t from, n;
};

/* Those that the environment asks for. */
static struct seeds prepare(uint64_t n)
{
    const char *count = getenv("SEEDS"), *first = getenv("FIRST");
    trace = getenv("TRACE") != NULL;
    if (count)
        alarm(0);
    log_set_sink(ignore, NULL);
    log_set_level(WCP_ERROR);
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_seed);
    return (struct seeds){first ? strtoull(first, NULL, 10) : 1, count   ? strtoull(count, NULL, 10)
                                                                 : first ? 1
                                                                         : n};
}

static void run_seeds(enum fault kind)
{
    struct seeds k = prepare(400);
    fault_at = 0;
    for (uint64_t s = k.from; s < k.from + k.n; s++)
        run_seed(s, kind, FUNCTIONS);
}

/* One call of each function, with the fault at its first message, its second, and so on. */
static void run_each_step(enum fault kind)
{
    struct seeds k = prepare(400);
    for (uint64_t s = k.from; s <= k.from + k.n / 80; s++) /* each is about 500 calls */
        for (int f = 0; f < FUNCTIONS; f++)
            for (fault_at = 1, struck = true; struck; fault_at++) {
                struck = false;
                run_seed(s, kind, (enum function)f);
            }
}

TEST(a_network_without_faults)
{
    run_seeds(NONE);
}
TEST(callers_that_drop_what_comes_before_their_registration)
{
    run_seeds(OLD_CLIENTS);
}
TEST(peers_that_drop_what_comes_before_their_registration)
{
    run_seeds(OLD_BOTH);
}
TEST(subscriptions_that_overflow)
{
    run_seeds(SLOW);
}
TEST(connections_that_break)
{
    run_seeds(CUT);
}
TEST(services_that_are_absent)
{
    run_seeds(ABSENT);
}
TEST(messages_that_vanish)
{
    run_seeds(LOSSY);
}
TEST(messages_that_come_twice)
{
    run_seeds(REPEATING);
}
TEST(connections_without_faults)
{
    run_seeds(CONNECTED);
}
TEST(connections_that_are_refused)
{
    run_seeds(REFUSED);
}
TEST(connections_that_are_reset)
{
    run_seeds(RESET);
}
TEST(connections_that_stall)
{
    run_seeds(STALLED);
}
TEST(messages_that_are_overtaken)
{
    run_seeds(REORDERED);
}
TEST(one_message_vanishes_at_each_step_of_a_call)
{
    run_each_step(LOSSY);
}
TEST(one_message_comes_twice_at_each_step_of_a_call)
{
    run_each_step(REPEATING);
}
TEST(one_message_is_overtaken_at_each_step_of_a_call)
{
    run_each_step(REORDERED);
}
TEST(a_subscription_overflows_at_each_step_of_a_call)
{
    run_each_step(SLOW);
}
TEST(a_connection_breaks_at_each_step_of_a_call)
{
    run_each_step(CUT);
}

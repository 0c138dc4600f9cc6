/* test_async.c: streams and futures of every element type at every depth, there and back.
 *
 * A client sends a random value of a type, whose streams and futures are written, ended and broken
 * off by chance, before and after the call is on its way. A server sends back what it gets: each
 * stream that it reads goes into one that it writes, down to the deepest. In between are messages
 * in order, or messages of which those of different channels overtake each other, or a connection
 * that cuts its bytes anywhere. What arrives must be what was sent, with the same ends; and nothing
 * is left over. */
#include "chance.h"
#include "fake_conn.h"
#include "fake_transport.h"
#include "rpc/exchange.h"
#include "test.h"

/* --- types --- */

#define COUNT(a)           (sizeof(a) / sizeof *(a))
#define ASYNC(name, k, of) static const struct wcp_type name = {k, true, 0, 8, NULL, of}
#define LIST(name, of)     static const struct wcp_type name = {WCP_LIST, true, 0, 16, NULL, &of}
#define OPTION(name, of)   static const struct wcp_type name = {WCP_OPTION, true, 0, 8, NULL, &of}
#define MEMBERS(name, kind, bytes, ...)                                                            \
    static const struct wcp_field name##_fields[] = {__VA_ARGS__};                                 \
    static const struct wcp_type name = {kind,  true,          COUNT(name##_fields),               \
                                         bytes, name##_fields, NULL}

ASYNC(stream_u8, WCP_STREAM, &wcp_u8);
ASYNC(stream_string, WCP_STREAM, &wcp_string);
ASYNC(future_u32, WCP_FUTURE, &wcp_u32);
ASYNC(future_string, WCP_FUTURE, &wcp_string);
ASYNC(future_nothing, WCP_FUTURE, NULL);
ASYNC(stream_future, WCP_STREAM, &future_u32);
ASYNC(stream_moments, WCP_STREAM, &future_nothing);
ASYNC(stream_stream, WCP_STREAM, &stream_string);
LIST(list_stream, stream_u8);
ASYNC(future_future, WCP_FUTURE, &future_u32);
ASYNC(future_stream, WCP_FUTURE, &stream_u8);
OPTION(option_stream, stream_u8);
OPTION(option_future, future_string);
MEMBERS(result_stream, WCP_RESULT, 24, {"ok", &stream_u8, 8}, {"err", &wcp_string, 8});
MEMBERS(record, WCP_RECORD, 48, {"a", &wcp_u16, 0}, {"r", &result_stream, 8},
        {"o", &option_future, 32}, {"s", &wcp_s32, 40});
ASYNC(stream_record, WCP_STREAM, &record);
MEMBERS(result_strings, WCP_RESULT, 16, {"ok", &stream_string, 8}, {"err", &wcp_s32, 8});
ASYNC(future_result, WCP_FUTURE, &result_strings);
MEMBERS(variant, WCP_VARIANT, 16, {"none", NULL, 0}, {"bytes", &stream_u8, 8},
        {"result", &future_result, 8}, {"records", &stream_record, 8});
ASYNC(future3, WCP_FUTURE, &stream_record);
ASYNC(future2, WCP_FUTURE, &future3);
ASYNC(future1, WCP_FUTURE, &future2);
OPTION(option_future2, future2);
ASYNC(future_option, WCP_FUTURE, &option_future2);
ASYNC(stream_variant, WCP_STREAM, &variant);
MEMBERS(tuple, WCP_RECORD, 24, {"0", &stream_variant, 0}, {"1", &wcp_u8, 8},
        {"2", &future_nothing, 16});
LIST(list_tuple, tuple);
OPTION(option_strings, stream_string);
ASYNC(future_strings, WCP_FUTURE, &option_strings);
LIST(list_futures, future_strings);
ASYNC(stream_list, WCP_STREAM, &list_futures);
ASYNC(stream3, WCP_STREAM, &stream_list);
MEMBERS(result_nothing, WCP_RESULT, 24, {"ok", NULL, 0}, {"err", &wcp_string, 8});
ASYNC(future_status, WCP_FUTURE, &result_nothing);
MEMBERS(body, WCP_RECORD, 16, {"0", &stream_u8, 0}, {"1", &future_status, 8});
MEMBERS(result_body, WCP_RESULT, 24, {"ok", &body, 8}, {"err", &wcp_string, 8});

static const struct wcp_type *const types[] = {
    &stream_u8,     &stream_string, &future_u32,    &future_nothing, &stream_future, &stream_stream,
    &list_stream,   &future_future, &future_stream, &option_stream,  &result_stream, &record,
    &stream_record, &variant,       &future1,       &future_option,  &list_tuple,    &stream_list,
    &stream3,       &result_body,   &stream_moments};

static uint64_t seed;

/* --- what was sent and what was got: trees that can be compared as texts --- */

struct node {
    const struct wcp_type *t; /* the stream or future */
    struct wcp_out *out;      /* of those that we send; or */
    struct wcp_in *in;
    bool done, paused;
    int status;
    struct shot { /* one value: its bytes, with every stream and future pending, and those */
        struct wcp_buf bytes;
        struct node *kids[20];
        size_t kid_count;
    } items[60];
    size_t count;
};

static struct node *nodes[4000]; /* of this seed */
static size_t node_count;
static struct wcp_arena mem; /* of this seed */

static void on_async(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    struct shot *s = e->ctx;
    struct node *n = wcp_calloc(1, sizeof *n);
    CHECK(node_count < COUNT(nodes) && s->kid_count < COUNT(s->kids));
    nodes[node_count++] = s->kids[s->kid_count++] = n;
    n->t = t;
    n->out = out;
    wcp_buf_put(e->buf, "", 1);
}

static void take(struct shot *s, const struct wcp_type *t, const void *value)
{
    struct encoder e = {.buf = &s->bytes, .on_async = on_async, .ctx = s};
    codec_encode(&e, t, value);
}

static void print_node(const struct node *n, struct wcp_buf *b);

static void print_shot(const struct shot *s, struct wcp_buf *b)
{
    for (size_t i = 0; i < s->bytes.len; i++)
        wcp_buf_fmt(b, "%02x", s->bytes.ptr[i]);
    for (size_t i = 0; i < s->kid_count; i++)
        print_node(s->kids[i], b);
}

static void print_node(const struct node *n, struct wcp_buf *b)
{
    wcp_buf_fmt(b, n->t->kind == WCP_STREAM ? " s[" : " f[");
    for (size_t i = 0; i < n->count; i++) {
        wcp_buf_fmt(b, i ? "," : "");
        print_shot(&n->items[i], b);
    }
    wcp_buf_fmt(b, n->done ? "]%d" : "... %d", n->status);
}

static void node_free(struct node *n)
{
    for (size_t i = 0; i < n->count; i++)
        wcp_buf_free(&n->items[i].bytes);
    free(n);
}

/* --- sending --- */

static void make(const struct wcp_type *t, char *out);

static void *make_list(const struct wcp_type *elem, size_t *n)
{
    *n = node_count > 60 ? 0 : any(4);
    char *items = wcp_alloc(&mem, *n, elem->size);
    for (size_t i = 0; i < *n; i++)
        make(elem, items + i * elem->size);
    return items;
}

static void make(const struct wcp_type *t, char *out)
{
    static const char letters[] = "the quick brown fox jumps over the lazy dog";
    uint32_t k = t->count ? any(t->count) : 0;
    switch ((enum wcp_kind)t->kind) {
    case WCP_U8: *(uint8_t *)out = (uint8_t)any(256); return;
    case WCP_U16: *(uint16_t *)(void *)out = (uint16_t)any(65536); return;
    case WCP_U32:
    case WCP_S32: *(uint32_t *)(void *)out = any(UINT32_MAX); return;
    case WCP_STRING:
        *(struct wcp_str *)(void *)out = (struct wcp_str){letters, any(sizeof letters)};
        return;
    case WCP_LIST: {
        struct wcp_bytes *l = (struct wcp_bytes *)(void *)out;
        l->ptr = make_list(t->elem, &l->len);
        return;
    }
    case WCP_OPTION:
        if (node_count < 60 && !one_in(4)) {
            char *some = wcp_alloc(&mem, 1, t->elem->size);
            make(t->elem, some);
            *(void **)(void *)out = some;
        }
        return;
    case WCP_RECORD:
        for (size_t i = 0; i < t->count; i++)
            make(t->fields[i].type, out + t->fields[i].offset);
        return;
    case WCP_RESULT: *(bool *)out = k; break;
    case WCP_VARIANT: *(uint32_t *)(void *)out = k; break;
    case WCP_STREAM:
    case WCP_FUTURE: { /* NULL where that is possible: nothing, or none */
        bool optional = t->kind == WCP_STREAM || !t->elem || t->elem->kind == WCP_OPTION;
        *(struct wcp_out **)(void *)out = optional && one_in(8) ? NULL : wcp_out_new(t->elem);
        return;
    }
    default: FAIL("kind %d", t->kind);
    }
    if (t->fields[k].type)
        make(t->fields[k].type, out + t->fields[k].offset);
}

/* Those that were given no wcp_out are whole. */
static void take_sent(struct shot *s, const struct wcp_type *t, const void *value)
{
    size_t first = node_count;
    take(s, t, value);
    for (size_t i = first; i < node_count; i++) {
        struct node *n = nodes[i];
        n->done = !n->out;
        if (n->done && n->t->kind == WCP_FUTURE && n->t->elem)
            wcp_buf_put(&n->items[n->count++].bytes, "", 1);
    }
}

static void on_drained(void *ctx)
{
}

static void write_more(struct node *n)
{
    const struct wcp_type *elem = n->t->elem;
    bool future = n->t->kind == WCP_FUTURE, full = n->count >= COUNT(n->items) - 4;
    size_t k = future ? !n->count : full || node_count > 150 ? 0 : any(4);
    bool cut = !n->count && one_in(20);
    if (future && !elem)
        k = cut = 0;
    if (k && !cut) {
        char *items = wcp_alloc(&mem, k, elem->size);
        for (size_t i = 0; i < k; i++) {
            make(elem, items + i * elem->size);
            take_sent(&n->items[n->count++], elem, items + i * elem->size);
        }
        if (!wcp_out_write(n->out, items, k))
            wcp_out_on_drained(n->out, on_drained, NULL);
    }
    if (cut || (!future && one_in(20))) {
        n->status = WCP_ECLOSED;
        n->done = true;
        wcp_out_abort(n->out);
    } else if (future ? one_in(2) : full || node_count > 150 || one_in(4)) {
        if (future && elem && !n->count)
            return;
        n->done = true;
        wcp_out_end(n->out);
    }
}

/* One of the open writers goes on. False: there is none. */
static bool some_writer(void)
{
    size_t open = 0;
    for (size_t i = 0; i < node_count; i++)
        open += nodes[i]->out && !nodes[i]->done;
    if (!open)
        return false;
    open = any((uint32_t)open);
    for (size_t i = 0;; i++)
        if (nodes[i]->out && !nodes[i]->done && open-- == 0) {
            write_more(nodes[i]);
            return true;
        }
}

/* --- receiving --- */

static void start_kids(struct shot *s);

static void on_data(void *ctx, const void *items, size_t k)
{
    struct node *n = ctx;
    for (size_t i = 0; i < k; i++) {
        CHECK(n->count < COUNT(n->items));
        struct shot *s = &n->items[n->count++];
        take(s, n->t->elem, (const char *)items + i * n->t->elem->size);
        start_kids(s);
    }
}

static void on_end(void *ctx, int status)
{
    struct node *n = ctx;
    CHECK(!n->done);
    n->done = true;
    n->status = status;
    n->in = NULL;
    n->paused = false;
}

static void start_kids(struct shot *s)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    for (size_t i = 0; i < s->kid_count; i++) {
        struct node *n = s->kids[i];
        n->in = (struct wcp_in *)(void *)n->out; /* it was received: out is in truth a reader */
        n->out = NULL;
        n->paused = one_in(4);
        if (n->paused)
            wcp_in_pause(n->in);
        wcp_in_start(n->in, &handler, n);
    }
}

/* --- giving back --- */

struct pump {
    const struct wcp_type *t;
    struct wcp_in *in;
    struct wcp_out *out;
    struct pump *next;
    bool paused;
};
static struct pump *pumps;

static void pump_value(const struct wcp_type *t, char *value);

static void on_pump_data(void *ctx, const void *items, size_t k)
{
    struct pump *p = ctx;
    const struct wcp_type *elem = p->t->elem;
    for (size_t i = 0; i < k && elem->async; i++)
        pump_value(elem, (char *)(uintptr_t)items + i * elem->size);
    wcp_out_write(p->out, items, k);
}

static void on_pump_end(void *ctx, int status)
{
    struct pump *p = ctx;
    p->in = NULL;
    p->paused = false;
    if (status)
        wcp_out_abort(p->out);
    else
        wcp_out_end(p->out);
    p->out = NULL;
}

/* Replaces every reader in value by a writer which it feeds. */
static void pump_value(const struct wcp_type *t, char *value)
{
    static const struct wcp_in_handler handler = {on_pump_data, on_pump_end};
    struct wcp_bytes l;
    char *some;
    uint32_t k = 0;
    if (!t || !t->async)
        return;
    switch ((enum wcp_kind)t->kind) {
    case WCP_LIST:
        memcpy(&l, value, sizeof l);
        for (size_t i = 0; i < l.len; i++)
            pump_value(t->elem, (char *)(uintptr_t)l.ptr + i * t->elem->size);
        return;
    case WCP_OPTION:
        memcpy(&some, value, sizeof some);
        if (some)
            pump_value(t->elem, some);
        return;
    case WCP_RECORD:
        for (size_t i = 0; i < t->count; i++)
            pump_value(t->fields[i].type, value + t->fields[i].offset);
        return;
    case WCP_RESULT: k = *(bool *)value; break;
    case WCP_VARIANT: memcpy(&k, value, sizeof k); break;
    default: {
        struct pump *p = wcp_alloc(&mem, 1, sizeof *p);
        union wcp_async a;
        memcpy(&a, value, sizeof a);
        *p = (struct pump){t, a.in, wcp_out_new(t->elem), pumps, one_in(3)};
        pumps = p;
        a.out = p->out;
        memcpy(value, &a, sizeof a);
        if (p->paused)
            wcp_in_pause(p->in);
        wcp_in_start(p->in, &handler, p);
        return;
    }
    }
    pump_value(t->fields[k].type, value + t->fields[k].offset);
}

/* --- the network: one of two rpcs on each side --- */

struct peer {
    struct fake net;
    struct rpc *rpc;
    struct wcp_link link;
    int held;
};
static struct peer peers[2]; /* 0 calls, 1 serves */

static struct wcp_link *find(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface, const char **why)
{
    ((struct peer *)ctx)->held++;
    return &((struct peer *)ctx)->link;
}
static void hold(void *ctx, struct wcp_link *l)
{
    ((struct peer *)ctx)->held++;
}
static void release(void *ctx, struct wcp_link *l)
{
    ((struct peer *)ctx)->held--;
}

static struct packet {
    struct packet *next;
    struct fake_msg m;
} * packets[2]; /* to each peer, in order */

static enum network { ORDERED, OVERTAKING, CONNECTION, NETWORKS } network;

static struct fake_conn conns[2]; /* each peer's end of the connection */
static size_t moved[2];           /* so many bytes have come to it */
static bool ended[2];

/* Some bytes come to peer i, or the end. */
static bool deliver_bytes(int i)
{
    struct fake_conn *from = &conns[1 - i], *to = &conns[i];
    size_t left = from->sent.len - moved[i];
    if (to->closed || to->stopped || ended[i])
        return false;
    if (left) {
        size_t n = 1 + any(one_in(2) ? 3 : 200);
        struct wcp_bytes data = {from->sent.ptr + moved[i], n < left ? n : left};
        moved[i] += data.len;
        fake_conn_feed(to, data, 0);
    } else if (from->shut) {
        ended[i] = true;
        fake_conn_eof(to);
    }
    return left || from->shut;
}

/* Delivers a message to peer i, if there is one: the next, or the next of some subject. */
static bool deliver(int i)
{
    if (network == CONNECTION)
        return deliver_bytes(i);
    for (const struct fake_msg *m; (m = fake_take(&peers[1 - i].net));) {
        struct packet **last = &packets[i], *p = wcp_alloc(&mem, 1, sizeof *p);
        while (*last)
            last = &(*last)->next;
        p->m = *m;
        *last = p;
    }
    struct packet **pick = &packets[i];
    size_t n = 0;
    for (struct packet *p = *pick; p; p = p->next)
        n++;
    if (!n)
        return false;
    for (uint32_t k = network == OVERTAKING ? any((uint32_t)n) : 0; k; k--)
        pick = &(*pick)->next;
    for (struct packet **p = &packets[i]; *p; p = &(*p)->next)
        if (strcmp((*p)->m.subject, (*pick)->m.subject) == 0) {
            pick = p;
            break;
        }
    const struct fake_msg *m = &(*pick)->m;
    *pick = (*pick)->next;
    int sub = strncmp(m->subject, "_INBOX", 6) == 0 ? 0 : fake_sub(&peers[i].net, m->subject);
    struct wcp_msg in = fake_message(&peers[i].net, m->subject, m->reply, m->data, NULL);
    CHECK(rpc_message(peers[i].rpc, sub, &in));
    fake_done(&peers[i].net, &in);
    return true;
}

/* --- the function --- */

static struct wcp_field param = {.name = "v"};
static struct wcp_type params = {.kind = WCP_RECORD, .async = true, .count = 1, .fields = &param};
static struct shot sent, got;
static bool answered;
static struct wcp_call *waiting;

static void answer(void)
{
    struct wcp_call *c = waiting;
    waiting = NULL;
    wcp_reply(c, (char *)c + param.offset);
}

static void invoke(const void *impl, struct wcp_call *c)
{
    pump_value(param.type, (char *)c + param.offset);
    waiting = c;
    if (one_in(2))
        answer();
}

static void deliver_result(void (*done)(void), void *ctx, const void *result, int status)
{
    CHECK_INT(status, 0);
    answered = true;
    take(&got, param.type, result);
    start_kids(&got);
}

static struct wcp_func function = {
    .name = "echo", .params = &params, .invoke = invoke, .deliver = deliver_result};
static const struct wcp_interface interface = {
    .name = "test:async/echo", .funcs = &function, .count = 1, .handlers = (uint32_t[]){0}};

static void ignore(void)
{
}
static void (*const handler)(void) = ignore;

static void start(void)
{
    static const char *const names[] = {"client", "server"}, *const inboxes[] = {"_INBOX.c",
                                                                                 "_INBOX.s"};
    for (int i = 0; i < 2; i++) {
        struct peer *p = &peers[i];
        *p = (struct peer){.link = {.role = i ? WCP_TARGET : WCP_SOURCE,
                                    .source_id = WCP_STR("client"),
                                    .target_id = WCP_STR("server"),
                                    .name = WCP_STR("default")}};
        fake_init(&p->net);
        p->net.t.inbox = inboxes[i];
        p->net.t.max_payload = 200 + any(300);
        p->rpc = rpc_new(&(struct rpc_config){
            .transport = &p->net.t,
            .lattice = "default",
            .id = names[i],
            .links = {.ctx = p, .find = find, .hold = hold, .release = release}});
    }
    rpc_serve(peers[1].rpc, &(struct wcp_export){&interface, &handler});
}

/* Something that someone can do. False: nothing, but time can pass. */
static bool act(void)
{
    switch (any(6)) {
    case 0:
        if (waiting) {
            answer();
            return true;
        }
        break;
    case 1:
        if (some_writer())
            return true;
        break;
    case 2:
        for (struct pump *p = pumps; p; p = p->next)
            if (p->paused && one_in(2)) {
                p->paused = false;
                wcp_in_resume(p->in);
                return true;
            }
        break;
    case 3:
        for (size_t i = 0; i < node_count; i++)
            if (nodes[i]->paused && one_in(2)) {
                nodes[i]->paused = false;
                wcp_in_resume(nodes[i]->in);
                return true;
            }
        break;
    default:
        if (deliver((int)any(2)))
            return true;
    }
    return false;
}

static void check_same(void)
{
    struct wcp_buf a = {0}, b = {0};
    print_shot(&sent, &a);
    print_shot(&got, &b);
    if (a.len != b.len || (a.len && memcmp(a.ptr, b.ptr, a.len) != 0))
        FAIL("seed %llu\nsent %.*s\ngot  %.*s", (unsigned long long)seed, (int)a.len,
             (const char *)a.ptr, (int)b.len, (const char *)b.ptr);
    wcp_buf_free(&a);
    wcp_buf_free(&b);
}

static void run_seed(const struct wcp_type *t)
{
    network = seed % NETWORKS;
    chance = seed;
    param = (struct wcp_field){"v", t, (sizeof(struct wcp_call) + 15) / 16 * 16};
    function.size = params.size = param.offset + t->size;
    function.result = t;
    answered = false;
    start();

    char *call = wcp_alloc(&mem, 1, params.size);
    make(t, call + param.offset);
    take_sent(&sent, t, call + param.offset);
    for (uint32_t n = any(3) ? any(20) : 0; n && some_writer(); n--)
        continue;
    if (network == CONNECTION) {
        for (int i = 0; i < 2; i++) {
            fake_conn_init(&conns[i]);
            moved[i] = 0;
            ended[i] = false;
        }
        rpc_accept(peers[1].rpc, &conns[1].conn, "client", "default");
        rpc_invoke_conn(peers[0].rpc, &conns[0].conn, &interface, 0, call, ignore, NULL);
    } else {
        rpc_invoke(peers[0].rpc, &peers[0].link, &interface, 0, call, ignore, NULL);
    }

    unsigned idle = 0;
    for (unsigned long steps = 0; idle < 200; steps++) {
        CHECK(steps < 1000000);
        idle = act() ? 0 : idle + 1;
        if (idle % 50 == 49)
            for (int i = 0; i < 2; i++) {
                peers[i].net.now_ms++; /* settling after the accept; repeats */
                rpc_tick(peers[i].rpc);
                idle = peers[i].net.now_ms < 1000 + 3 + steps / 1000 ? 0 : idle;
            }
    }
    CHECK(answered);
    check_same();
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rpc_running(peers[i].rpc), 0);
        if (network == CONNECTION)
            fake_conn_free(&conns[i]);
        CHECK_INT(peers[i].held, 0);
        CHECK_INT(peers[i].rpc->stream_bytes, 0);
        rpc_free(peers[i].rpc);
        fake_close(&peers[i].net);
    }
    for (size_t i = 0; i < node_count; i++)
        node_free(nodes[i]);
    node_count = 0;
    wcp_buf_free(&sent.bytes);
    wcp_buf_free(&got.bytes);
    sent = got = (struct shot){0};
    pumps = NULL;
    wcp_arena_free(&mem);
}

TEST(values_with_streams_and_futures_at_any_depth_come_back_as_they_were_sent)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t last = one ? strtoull(one, NULL, 10) : many ? strtoull(many, NULL, 10) : 3000;
    for (seed = one ? last : 1; seed <= last; seed++)
        run_seed(types[seed / NETWORKS % COUNT(types)]);
}

/* test_replay.c: recorded exchanges of real Rust peers (tests/vectors/nats), one side of each
 * played by us.
 *
 * What the recorded peer sent is fed message by message, subjects mapped onto ours; what we publish
 * is compared with what the other recorded peer sent in our place. Compared are, per channel:
 * - the root (parameters or results): the same bytes. Messages may be cut at other places.
 * - streams: the same elements, byte for byte, and the same end mark; chunks may be others.
 *   Futures: the same bytes.
 * - each channel ends with one empty message, the server's accept comes first, the root before
 *   what it announces. The empty messages that Rust sends on parent paths are not wanted.
 * Then all of it again with streams and futures that are whole before they are sent, and so go
 * inline: then the root is decoded, its synchronous part compared as bytes, and the inline values
 * as above. Values are made from the recorded bytes and the type tables, so that each function of
 * each recording is served and called by the same few lines. */
#include "blobstore_blobstore.h"
#include "http_incoming_handler.h"
#include "keyvalue_store.h"
#include "rpc/codec.h"
#include "rpc_fixture.h"
#include "test.h"
#include "vec_api.h"
#include <dirent.h>
#include <json-c/json.h>

#define FOLDER   "tests/vectors/nats/"
#define PREFIX   "default.vec-server.wrpc.0.0.1."
#define RC       "_INBOX.caller.1"
#define RS       "_INBOX.peer.7"
#define CHANNELS 8
#define ASYNCS   8

static struct fixture f;
static struct wcp_arena arena;
static bool whole; /* streams and futures are ended before they are sent */

/* --- one recorded or published direction: bytes per channel --- */

struct channel {
    char path[40]; /* "" for the root, ".0.1" */
    struct wcp_buf bytes;
    unsigned ends;
    size_t first; /* number of its first message */
};
struct side {
    struct channel channels[CHANNELS];
    size_t count, messages;
};

static struct channel *channel(struct side *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->channels[i].path, path) == 0)
            return &s->channels[i];
    CHECK(s->count < CHANNELS);
    struct channel *c = &s->channels[s->count++];
    *c = (struct channel){.first = s->messages};
    snprintf(c->path, sizeof c->path, "%s", path);
    return c;
}

static void side_add(struct side *s, const char *path, struct wcp_bytes data)
{
    struct channel *c = channel(s, path);
    s->messages++;
    CHECK(c->ends == 0 || data.len == 0); /* nothing follows the end */
    c->ends += data.len == 0;
    wcp_buf_put(&c->bytes, data.ptr, data.len);
}

static void side_free(struct side *s)
{
    for (size_t i = 0; i < s->count; i++)
        wcp_buf_free(&s->channels[i].bytes);
    *s = (struct side){0};
}

/* --- values by their types --- */

struct value;
struct async {
    struct value *value; /* that it is in, perhaps as part of another async's element */
    struct path at;
    char path[40]; /* the same as text */
    const struct wcp_type *type;
    struct wcp_in *in;
    struct wcp_out *out;
    struct wcp_buf got; /* the elements, encoded */
    uint32_t count;
    bool inline_, ended;
    int status;
};
struct value {
    void *p;
    struct async asyncs[ASYNCS];
    size_t count;
    bool make_outs;
};

static struct async *async_add(struct value *v, const struct wcp_type *t, const struct path *p)
{
    CHECK(v->count < ASYNCS);
    struct async *a = &v->asyncs[v->count++];
    *a = (struct async){.value = v, .type = t, .at = *p, .status = 1};
    for (size_t i = 0, n = 0; i < p->n; i++)
        n += (size_t)snprintf(a->path + n, sizeof a->path - n, ".%u", p->at[i]);
    return a;
}

static struct async *async_at(struct value *v, const char *path)
{
    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->asyncs[i].path, path) == 0)
            return &v->asyncs[i];
    FAIL("nothing has the path %s", path);
}

/* Collects the streams of a value that we have received: out is in truth a reader. */
static void on_async_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    wcp_buf_put(e->buf, "", 1);
    if (e->ctx)
        async_add(e->ctx, t, &e->path)->in = (struct wcp_in *)(void *)out;
}

/* The synchronous bytes of a value. v collects its streams; NULL: not wanted. */
static struct wcp_buf sync_bytes(const struct wcp_type *t, bool result, const void *value,
                                 struct value *v)
{
    struct wcp_buf b = {0};
    struct encoder e = {.buf = &b, .on_async = on_async_out, .ctx = v, .path.n = result ? 1 : 0};
    codec_encode(&e, t, value);
    return b;
}

/* Appends those of an element to what a has got; v as above. */
static void got_element(struct async *a, const void *value, struct value *v)
{
    struct encoder e = {.buf = &a->got, .on_async = on_async_out, .ctx = v, .path = a->at};
    if (a->type->kind == WCP_STREAM)
        codec_encode_element(&e, a->type->elem, a->count++, value);
    else
        codec_encode(&e, a->type->elem, value);
}

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n)
{
    struct value *v = d->ctx;
    struct async *a = async_add(v, t, &d->path);
    a->inline_ = !pending;
    for (size_t i = 0; i < n && t->elem; i++)
        got_element(a, (const char *)items + i * t->elem->size, NULL);
    if (!v->make_outs)
        return (struct wcp_in *)(void *)a; /* anything but NULL, which is a refusal */
    a->out = wcp_out_new(t->elem);
    return (struct wcp_in *)(void *)a->out;
}

/* Decodes a root; its streams become writers if make_outs is set. */
static void value_decode(struct value *v, const struct wcp_type *t, bool result,
                         struct wcp_bytes in, size_t size)
{
    struct wcp_err err = {0};
    struct decoder d = {.in = in,
                        .arena = &arena,
                        .err = &err,
                        .on_async = on_async_in,
                        .ctx = v,
                        .path.n = result ? 1 : 0};
    v->p = wcp_alloc(&arena, 1, size);
    if (codec_decode(&d, t, v->p))
        FAIL("%s", err.msg);
}

static void value_free(struct value *v)
{
    for (size_t i = 0; i < v->count; i++)
        wcp_buf_free(&v->asyncs[i].got);
    *v = (struct value){0};
}

static struct wcp_bytes bytes(const struct wcp_buf *b)
{
    return (struct wcp_bytes){b->ptr, b->len};
}

static void write_from(struct value *v, size_t first, struct side *recorded);

/* What came on a's channel: its elements are a's now, those in them its value's; and are written,
 * if a has a writer. */
static void channel_decode(struct async *a, struct side *recorded)
{
    const struct wcp_type *elem = a->type->elem;
    struct decoder d = {.in = bytes(&channel(recorded, a->path)->bytes),
                        .arena = &arena,
                        .on_async = on_async_in,
                        .ctx = a->value,
                        .path = a->at};
    bool future = a->ended = a->type->kind == WCP_FUTURE;
    for (uint64_t n = 1; d.in.len && elem && n;) { /* to the end mark */
        if (!future && codec_get_leb(&d.in, 32, &n, NULL))
            FAIL("%s: a chunk without a length", a->path);
        a->ended |= n == 0;
        for (uint64_t i = 0; i < n; i++) {
            void *p = wcp_alloc(&arena, 1, elem->size);
            size_t first = a->value->count;
            if (future)
                CHECK_INT(codec_decode(&d, elem, p), 0);
            else
                CHECK_INT(codec_decode_element(&d, elem, a->count, p), 0);
            got_element(a, p, NULL);
            if (a->out && whole)
                write_from(a->value, first, recorded);
            if (a->out)
                wcp_out_write(a->out, p, 1);
        }
    }
}

/* Writes into a value's writers, from number first on, what was recorded on their channels, and
 * ends them. */
static void write_from(struct value *v, size_t first, struct side *recorded)
{
    for (size_t i = first; i < v->count; i++) {
        struct async *a = &v->asyncs[i];
        if (a->ended)
            continue; /* with what it is in */
        channel_decode(a, recorded);
        if (a->ended)
            wcp_out_end(a->out);
        else
            wcp_out_abort(a->out);
    }
}

static void check_same(const char *what, struct wcp_bytes got, struct wcp_bytes want)
{
    size_t n = got.len < want.len ? got.len : want.len, i = 0;
    while (i < n && got.ptr[i] == want.ptr[i])
        i++;
    if (i < n || got.len != want.len)
        FAIL("%s: %zu bytes, expected %zu; they differ from byte %zu on", what, got.len, want.len,
             i);
}

/* What we sent against what was recorded in our place. */
static void check_sent(const struct wcp_type *t, bool result, struct side *got,
                       struct side *recorded)
{
    struct wcp_bytes root = bytes(&channel(got, "")->bytes);
    struct wcp_bytes want = bytes(&channel(recorded, "")->bytes);
    struct value ours = {0}, theirs = {0};
    CHECK_INT(channel(got, "")->ends, 1);
    if (!t || want.len == 0) {
        check_same("root", root, want);
        return;
    }
    if (!whole)
        check_same("root", root, want);
    value_decode(&ours, t, result, root, t->size + 4096);
    value_decode(&theirs, t, result, want, t->size + 4096);
    struct wcp_buf a = sync_bytes(t, result, ours.p, NULL),
                   b = sync_bytes(t, result, theirs.p, NULL);
    check_same("synchronous part", bytes(&a), bytes(&b));
    for (size_t i = 0; i < theirs.count; i++) {
        struct async *y = &theirs.asyncs[i];
        channel_decode(y, recorded);
    }
    for (size_t i = 0; i < ours.count; i++) {
        struct async *x = &ours.asyncs[i], *y = async_at(&theirs, x->path);
        if (!x->inline_) {
            struct channel *mine = channel(got, x->path);
            CHECK_INT(mine->ends, 1);
            CHECK(mine->first > channel(got, "")->first);
            channel_decode(x, got);
            CHECK_INT(x->ended, y->ended);
        }
        /* Whole and not empty goes inline, if that is asked for; otherwise nothing does. */
        CHECK_INT(x->inline_, whole && y->ended && (y->got.len || !x->type->elem));
        check_same(x->path, bytes(&x->got), bytes(&y->got));
    }
    CHECK_INT(ours.count, theirs.count);
    wcp_buf_free(&a);
    wcp_buf_free(&b);
    value_free(&ours);
    value_free(&theirs);
}

/* --- reading what we are sent --- */

static void start_from(struct value *v, size_t first);

static void on_data(void *ctx, const void *items, size_t n)
{
    struct async *a = ctx;
    size_t first = a->value->count;
    for (size_t i = 0; i < n; i++)
        got_element(a, (const char *)items + i * a->type->elem->size, a->value);
    start_from(a->value, first);
}

static void on_end(void *ctx, int status)
{
    struct async *a = ctx;
    a->status = status;
    a->in = NULL;
}

/* Starts reading: some of v's streams, from number first on, before there are any in their
 * elements.
 */
static void start_from(struct value *v, size_t first)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    for (size_t i = first, n = v->count; i < n; i++)
        wcp_in_start(v->asyncs[i].in, &handler, &v->asyncs[i]);
}

/* Starts reading every stream of a received value, and gives its synchronous bytes. */
static struct wcp_buf receive(struct value *v, const struct wcp_type *t, bool result,
                              const void *value)
{
    struct wcp_buf b = sync_bytes(t, result, value, v);
    start_from(v, 0);
    return b;
}

static void check_received(struct value *v, struct side *recorded)
{
    struct value want = {0};
    for (size_t i = 0; i < v->count; i++) {
        struct async *a = &v->asyncs[i], *w = async_add(&want, a->type, &a->at);
        channel_decode(w, recorded);
        want.count = i + 1; /* what is in its elements has its turn later */
        check_same(a->path, bytes(&a->got), bytes(&w->got));
        CHECK_INT(a->status, w->ended ? 0 : WCP_ECLOSED);
    }
    value_free(&want);
}

/* --- the recordings --- */

struct message {
    bool from_client;
    const char *subject, *reply, *headers[17];
    int status;
    struct wcp_buf data;
};
struct recorded {
    const struct wcp_interface *iface;
    size_t func;
    char rc[80], rs[80];
    struct message messages[32];
    size_t count;
    struct side client, server; /* bytes per channel */
};

/* 0.1.0 of the blob store differs from 0.2.0 in its results. */
struct stream_or_error {
    bool is_err;
    union {
        union wcp_async ok;
        struct wcp_str err;
    };
};
static const struct wcp_type texts = {
    .kind = WCP_STREAM, .async = true, .size = sizeof(union wcp_async), .elem = &wcp_string};
static const struct wcp_type octets = {
    .kind = WCP_STREAM, .async = true, .size = sizeof(union wcp_async), .elem = &wcp_u8};
#define OR_ERROR(name, ok_type)                                                                    \
    static const struct wcp_type name = {                                                          \
        .kind = WCP_RESULT,                                                                        \
        .async = true,                                                                             \
        .count = 2,                                                                                \
        .size = sizeof(struct stream_or_error),                                                    \
        .fields = (const struct wcp_field[]){                                                      \
            {"ok", ok_type, offsetof(struct stream_or_error, ok)},                                 \
            {"err", &wcp_string, offsetof(struct stream_or_error, err)}}}
OR_ERROR(octets_or_error, &octets);
OR_ERROR(texts_or_error, &texts);
OR_ERROR(nothing_or_error, NULL);

static void generic_invoke(const void *impl, struct wcp_call *c);
static void generic_deliver(void (*done)(void), void *ctx, const void *result, int status);

static void implemented(void)
{
}
static void (*const any_handler)(void) = implemented;

/* The generated tables, but for what runs. */
static struct wcp_func functions[64];
static struct wcp_interface interfaces[6];
static const uint32_t offsets[32];

static struct wcp_interface *add_interface(const char *name, const struct wcp_interface *from)
{
    static size_t used, count;
    struct wcp_interface *i = &interfaces[count++];
    *i = (struct wcp_interface){name, &functions[used], from->count, offsets};
    CHECK(used + from->count <= sizeof functions / sizeof *functions && from->count <= 32);
    for (size_t k = 0; k < from->count; k++) {
        functions[used] = from->funcs[k];
        functions[used].invoke = generic_invoke;
        functions[used++].deliver = generic_deliver;
    }
    return i;
}

static void load_interfaces(void)
{
    if (interfaces[0].name)
        return;
    add_interface(vec_api_interface.name, &vec_api_interface);
    add_interface(keyvalue_store_interface.name, &keyvalue_store_interface);
    add_interface(http_incoming_handler_interface.name, &http_incoming_handler_interface);
    add_interface(blobstore_blobstore_interface.name, &blobstore_blobstore_interface);
    struct wcp_interface *old =
        add_interface("wrpc:blobstore/blobstore@0.1.0", &blobstore_blobstore_interface);
    for (size_t i = 0; i < old->count; i++) {
        struct wcp_func *w = &functions[old->funcs - functions + (ptrdiff_t)i];
        if (strcmp(w->name, "get-container-data") == 0)
            w->result = &octets_or_error;
        else if (strcmp(w->name, "list-container-objects") == 0)
            w->result = &texts_or_error;
        else if (strcmp(w->name, "write-container-data") == 0)
            w->result = &nothing_or_error;
    }
    /* A world's own function that nobody serves: shaped like fail. */
    const struct wcp_interface *api = &interfaces[0];
    for (size_t i = 0; i < api->count; i++)
        if (strcmp(api->funcs[i].name, "fail") == 0) {
            struct wcp_interface *all = add_interface(
                "test:vec/all@0.1.0",
                &(struct wcp_interface){.funcs = &vec_api_interface.funcs[i], .count = 1});
            functions[all->funcs - functions].name = "ping";
        }
}

static void find_function(struct recorded *e, const char *subject)
{
    for (size_t i = 0; i < sizeof interfaces / sizeof *interfaces; i++)
        for (size_t k = 0; k < interfaces[i].count; k++) {
            char want[200];
            snprintf(want, sizeof want, PREFIX "%s.%s", interfaces[i].name,
                     interfaces[i].funcs[k].name);
            if (strcmp(subject, want) == 0) {
                e->iface = &interfaces[i];
                e->func = k;
                return;
            }
        }
    FAIL("unknown function: %s", subject);
}

static const char *text(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    json_object_object_get_ex(o, key, &v);
    return v ? json_object_get_string(v) : NULL;
}

/* A large payload is a piece, from at on, of the 3 MiB parameter that README.md describes. */
static void load_data(struct wcp_buf *b, struct json_object *o, size_t *at)
{
    const char *hex = text(o, "payload_hex");
    struct json_object *len = NULL;
    json_object_object_get_ex(o, "payload_len", &len);
    size_t n = (size_t)json_object_get_int64(len);
    if (hex) {
        struct wcp_bytes data = test_unhex(hex);
        CHECK_INT(data.len, n);
        wcp_buf_put(b, data.ptr, n);
        return;
    }
    static const uint8_t length[4] = {0x80, 0x80, 0xc0, 0x01};
    for (size_t i = *at; i < *at + n; i++) {
        uint8_t byte = i < 4 ? length[i] : (uint8_t)((i - 4) * 31 + 7);
        wcp_buf_put(b, &byte, 1);
    }
    *at += n;
    struct wcp_bytes head = test_unhex(text(o, "payload_head_hex"));
    check_same("head of a large payload", (struct wcp_bytes){b->ptr, head.len}, head);
}

/* Loads the exchanges of a file, which follow each other, and runs one at a time. */
static unsigned replay(const char *name, void (*run)(struct recorded *e))
{
    char path[300];
    snprintf(path, sizeof path, FOLDER "%s", name);
    struct json_object *file = json_object_from_file(path), *list = NULL;
    CHECK(json_object_object_get_ex(file, "messages", &list));
    unsigned exchanges = 0;
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n;) {
        struct recorded *e = wcp_calloc(1, sizeof *e);
        size_t at = 0;
        for (; i < n; i++) {
            struct json_object *o = json_object_array_get_idx(list, i), *v = NULL;
            struct message *m = &e->messages[e->count];
            CHECK(e->count < sizeof e->messages / sizeof *e->messages);
            *m = (struct message){.from_client = text(o, "direction")[0] == 'c',
                                  .subject = text(o, "subject"),
                                  .reply = text(o, "reply")};
            bool invocation = m->from_client && m->reply;
            if (invocation && e->count)
                break; /* the next exchange */
            e->count++;
            if (json_object_object_get_ex(o, "status", &v))
                m->status = json_object_get_int(v);
            size_t h = 0;
            if (json_object_object_get_ex(o, "headers", &v)) {
                json_object_object_foreach(v, key, value)
                {
                    m->headers[h++] = key;
                    m->headers[h++] = json_object_get_string(value);
                }
            }
            load_data(&m->data, o, &at);
            if (invocation) {
                find_function(e, m->subject);
                snprintf(e->rc, sizeof e->rc, "%s", m->reply);
                side_add(&e->client, "", bytes(&m->data));
                channel(&e->client, "")->ends = 0; /* an empty invocation is no end */
            } else if (m->from_client) {
                size_t rs = strlen(e->rs);
                CHECK(strncmp(m->subject, e->rs, rs) == 0);
                side_add(&e->client, m->subject + rs + strlen(".params"), bytes(&m->data));
            } else if (strcmp(m->subject, e->rc) == 0) {
                snprintf(e->rs, sizeof e->rs, "%s", m->reply ? m->reply : "");
            } else {
                side_add(&e->server, m->subject + strlen(e->rc) + strlen(".results"),
                         bytes(&m->data));
            }
        }
        run(e);
        exchanges++;
        for (size_t k = 0; k < e->count; k++)
            wcp_buf_free(&e->messages[k].data);
        side_free(&e->client);
        side_free(&e->server);
        free(e);
        wcp_arena_free(&arena);
    }
    json_object_put(file);
    return exchanges;
}

/* --- our server, the recorded client --- */

static struct recorded *now;
static struct value params, answer;
static struct wcp_buf params_sync;
static unsigned served;

/* Every function's handler: reads all, and answers as the recorded server did. */
static void generic_invoke(const void *impl, struct wcp_call *c)
{
    const struct wcp_func *w = &now->iface->funcs[now->func];
    CHECK_STR(c->func->name, w->name);
    served++;
    params_sync = receive(&params, w->params, false, c);
    struct wcp_bytes result = bytes(&channel(&now->server, "")->bytes);
    if (!w->result) {
        wcp_reply(c, NULL);
        return;
    }
    if (!result.len) {
        wcp_call_fail(c, "as recorded");
        return;
    }
    answer.make_outs = true;
    value_decode(&answer, w->result, true, result, w->result->size);
    if (whole)
        write_from(&answer, 0, &now->server);
    wcp_reply(c, answer.p);
    if (!whole)
        write_from(&answer, 0, &now->server);
}

static void run_server(struct recorded *e)
{
    const struct wcp_func *w = &e->iface->funcs[e->func];
    char rs[100] = "";
    struct side sent = {0};
    now = e;
    served = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct message *m = &e->messages[i];
        char subject[200];
        if (!m->from_client)
            continue;
        int sub = 0;
        if (m->reply) {
            snprintf(subject, sizeof subject, "default.me.wrpc.0.0.1.%s",
                     m->subject + strlen(PREFIX));
            sub = fake_sub(&f.net, subject);
        } else {
            snprintf(subject, sizeof subject, "%s%s", rs, m->subject + strlen(e->rs));
            sub = fake_sub(&f.net, "_INBOX.me.>");
        }
        struct wcp_msg in =
            fake_message(&f.net, subject, m->reply ? RC : NULL, bytes(&m->data), m->headers);
        CHECK(rpc_message(f.rpc, sub, &in));
        fake_done(&f.net, &in);
        if (m->reply) { /* the accept is first, and there is one */
            const struct fake_msg *accept = fake_take(&f.net);
            CHECK(accept != NULL);
            CHECK_STR(accept->subject, RC);
            CHECK_INT(accept->data.len, 0);
            CHECK_INT(accept->header_count, 0);
            CHECK(accept->reply != NULL);
            snprintf(rs, sizeof rs, "%s", accept->reply);
        }
    }
    for (const struct fake_msg *m; (m = fake_take(&f.net));) {
        CHECK(strncmp(m->subject, RC ".results", strlen(RC ".results")) == 0);
        CHECK(!m->reply && !m->header_count);
        side_add(&sent, m->subject + strlen(RC ".results"), m->data);
    }
    CHECK_INT(served, 1);
    /* Nothing was lost on the way to the handler. */
    check_same("parameters", bytes(&params_sync), bytes(&channel(&e->client, "")->bytes));
    check_received(&params, &e->client);
    check_sent(w->result, true, &sent, &e->server);
    CHECK_INT(rpc_running(f.rpc), 0);
    wcp_buf_free(&params_sync);
    value_free(&params);
    value_free(&answer);
    side_free(&sent);
}

/* --- our client, the recorded server --- */

static int done_status;
static struct wcp_buf result_sync;
static struct value result_value;

static void generic_deliver(void (*done)(void), void *ctx, const void *result, int status)
{
    const struct wcp_func *w = &now->iface->funcs[now->func];
    CHECK_INT(done_status, 1);
    done_status = status;
    CHECK_INT(result != NULL, status == 0 && w->result);
    if (result)
        result_sync = receive(&result_value, w->result, true, result);
}

static void run_client(struct recorded *e)
{
    static struct wcp_link link = {.role = WCP_SOURCE,
                                   .source_id = WCP_STR("me"),
                                   .target_id = WCP_STR("vec-server"),
                                   .name = WCP_STR("default")};
    const struct wcp_func *w = &e->iface->funcs[e->func];
    struct value v = {.make_outs = true};
    struct side sent = {0};
    char rc[100];
    now = e;
    done_status = 1;
    value_decode(&v, w->params, false, bytes(&channel(&e->client, "")->bytes), w->size);
    if (whole)
        write_from(&v, 0, &e->client);
    rpc_invoke(f.rpc, &link, e->iface, e->func, v.p, NULL, NULL);
    if (!whole)
        write_from(&v, 0, &e->client);
    const struct fake_msg *m = fake_take(&f.net);
    CHECK(m != NULL);
    CHECK_STR(m->subject, e->messages[0].subject);
    snprintf(rc, sizeof rc, "%s", m->reply);
    side_add(&sent, "", m->data);
    channel(&sent, "")->ends = 0;
    CHECK(!fake_take(&f.net)); /* nothing before the accept */
    for (size_t i = 0; i < e->count; i++) {
        char subject[200];
        if (e->messages[i].from_client)
            continue;
        bool accept = strcmp(e->messages[i].subject, e->rc) == 0;
        snprintf(subject, sizeof subject, "%s%s", rc, e->messages[i].subject + strlen(e->rc));
        struct wcp_msg in = fake_message(&f.net, subject, e->messages[i].reply ? RS : NULL,
                                         bytes(&e->messages[i].data), NULL);
        in.status = e->messages[i].status;
        CHECK(rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &in));
        fake_done(&f.net, &in);
        if (accept)
            fixture_pass_ms(&f, 2);
    }
    bool absent = e->messages[e->count - 1].status == 503;
    struct wcp_bytes want = bytes(&channel(&e->server, "")->bytes);
    CHECK_INT(done_status, absent ? WCP_ENOENT : w->result && !want.len ? WCP_ECLOSED : 0);
    check_same("result", bytes(&result_sync), want);
    check_received(&result_value, &e->server);
    while ((m = fake_take(&f.net))) {
        CHECK(strncmp(m->subject, RS ".params", strlen(RS ".params")) == 0);
        CHECK(!m->reply && !m->header_count);
        struct channel *c = channel(&sent, m->subject + strlen(RS ".params"));
        if (c->ends && w->params->async && !c->bytes.len)
            continue;
        /* The end of an empty stream is repeated when the peer answers (client.c). */
        if (c->ends && c->bytes.len == 1 && !c->bytes.ptr[0])
            continue;
        side_add(&sent, m->subject + strlen(RS ".params"), m->data);
    }
    channel(&sent, "")->ends += absent; /* there is nobody to tell */
    check_sent(w->params, false, &sent, &e->client);
    CHECK_INT(rpc_running(f.rpc), 0);
    wcp_buf_free(&result_sync);
    value_free(&result_value);
    value_free(&v);
    side_free(&sent);
}

/* --- all of them --- */

static void replay_all(void (*run)(struct recorded *e), unsigned want_files,
                       unsigned want_exchanges)
{
    unsigned files = 0, exchanges = 0;
    load_interfaces();
    fixture_init(&f, NULL);
    f.link.source_id = WCP_STR("test-component");
    for (size_t i = 0; i < 5; i++) /* not the last, which nobody serves */
        rpc_serve(f.rpc, &(struct wcp_export){&interfaces[i], &any_handler});
    DIR *folder = opendir(FOLDER);
    CHECK(folder != NULL);
    for (struct dirent *d; (d = readdir(folder));) {
        bool skip = d->d_name[0] == '.' || strcmp(d->d_name, "_server-subscriptions.json") == 0 ||
                    (run == run_server && strcmp(d->d_name, "unimplemented.json") == 0);
        if (skip)
            continue;
        fprintf(stderr, "%s\n", d->d_name);
        /* Calls without headers come from nobody in particular. */
        f.link.source_id =
            strncmp(d->d_name, "nohdr-", 6) == 0 ? WCP_STR("<unknown>") : WCP_STR("test-component");
        exchanges += replay(d->d_name, run);
        files++;
    }
    closedir(folder);
    CHECK_INT(files, want_files);
    CHECK_INT(exchanges, want_exchanges);
    fixture_close(&f);
}

TEST(the_server_answers_recorded_clients_as_the_recorded_server_did)
{
    replay_all(run_server, 26, 38);
}

TEST(the_server_answers_recorded_clients_inline)
{
    whole = true;
    replay_all(run_server, 26, 38);
}

TEST(the_client_calls_recorded_servers_as_the_recorded_client_did)
{
    replay_all(run_client, 27, 39);
}

TEST(the_client_calls_recorded_servers_inline)
{
    whole = true;
    replay_all(run_client, 27, 39);
}

TEST(functions_are_subscribed_as_the_recorded_server_did)
{
    struct json_object *file = json_object_from_file(FOLDER "_server-subscriptions.json");
    struct json_object *subs = NULL;
    unsigned same = 0;
    load_interfaces();
    fixture_init(&f, NULL);
    for (size_t i = 0; i < 5; i++)
        rpc_serve(f.rpc, &(struct wcp_export){&interfaces[i], &any_handler});
    CHECK(json_object_object_get_ex(file, "subs", &subs));
    for (size_t i = 0; i < json_object_array_length(subs); i++) {
        struct json_object *s = json_object_array_get_idx(subs, i);
        const char *subject = json_object_get_string(json_object_array_get_idx(s, 0));
        if (strncmp(subject, PREFIX, strlen(PREFIX)) != 0)
            continue; /* the inbox */
        CHECK_STR(json_object_get_string(json_object_array_get_idx(s, 1)), "default.vec-server");
        char ours[200];
        snprintf(ours, sizeof ours, "default.me.wrpc.0.0.1.%s", subject + strlen(PREFIX));
        CHECK_STR(f.net.subs[fake_sub(&f.net, ours)].queue, "default.me");
        same++;
    }
    CHECK_INT(same, 55);
    CHECK_INT(f.net.sub_count, 1 + same); /* and no others */
    json_object_put(file);
    fixture_close(&f);
}

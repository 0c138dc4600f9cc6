/* recorded.c: see recorded.h. */
#include "recorded.h"
#include "blobstore_blobstore.h"
#include "http_incoming_handler.h"
#include "keyvalue_store.h"
#include "test.h"
#include "vec_api.h"

struct play play;

/* --- one recorded or published direction: bytes per channel --- */

struct channel *channel(struct side *s, const char *path)
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

/* How often a channel has ended. */
static unsigned ends(struct side *s, const char *path)
{
    return s->all_ended ? 1 : channel(s, path)->ends;
}

void side_add(struct side *s, const char *path, struct wcp_bytes data)
{
    struct channel *c = channel(s, path);
    s->messages++;
    CHECK(c->ends == 0 || data.len == 0); /* nothing follows the end */
    c->ends += data.len == 0;
    wcp_buf_put(&c->bytes, data.ptr, data.len);
}

void side_free(struct side *s)
{
    for (size_t i = 0; i < s->count; i++)
        wcp_buf_free(&s->channels[i].bytes);
    *s = (struct side){0};
}

/* --- values by their types --- */

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
void value_decode(struct value *v, const struct wcp_type *t, bool result, struct wcp_bytes in,
                  size_t size)
{
    struct wcp_err err = {0};
    struct decoder d = {.in = in,
                        .arena = &play.arena,
                        .err = &err,
                        .on_async = on_async_in,
                        .ctx = v,
                        .path.n = result ? 1 : 0};
    v->p = wcp_alloc(&play.arena, 1, size);
    if (codec_decode(&d, t, v->p))
        FAIL("%s", err.msg);
}

void value_free(struct value *v)
{
    for (size_t i = 0; i < v->count; i++)
        wcp_buf_free(&v->asyncs[i].got);
    *v = (struct value){0};
}

void check_same(const char *what, struct wcp_bytes got, struct wcp_bytes want)
{
    size_t n = got.len < want.len ? got.len : want.len, i = 0;
    while (i < n && got.ptr[i] == want.ptr[i])
        i++;
    if (i < n || got.len != want.len)
        FAIL("%s: %zu bytes, expected %zu; they differ from byte %zu on", what, got.len, want.len,
             i);
}

struct wcp_bytes bytes(const struct wcp_buf *b)
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
                        .arena = &play.arena,
                        .on_async = on_async_in,
                        .ctx = a->value,
                        .path = a->at};
    bool future = a->ended = a->type->kind == WCP_FUTURE;
    for (uint64_t n = 1; d.in.len && elem && n;) { /* to the end mark */
        if (!future && codec_get_leb(&d.in, 32, &n, NULL))
            FAIL("%s: a chunk without a length", a->path);
        a->ended |= n == 0;
        for (uint64_t i = 0; i < n; i++) {
            void *p = wcp_alloc(&play.arena, 1, elem->size);
            size_t first = a->value->count;
            if (future)
                CHECK_INT(codec_decode(&d, elem, p), 0);
            else
                CHECK_INT(codec_decode_element(&d, elem, a->count, p), 0);
            got_element(a, p, NULL);
            if (a->out && play.whole)
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

void write_all(struct value *v, struct side *recorded)
{
    write_from(v, 0, recorded);
}

/* What we sent against what was recorded in our place. */
void check_sent(const struct wcp_type *t, bool result, struct side *got, struct side *recorded)
{
    struct wcp_bytes root = bytes(&channel(got, "")->bytes);
    struct wcp_bytes want = bytes(&channel(recorded, "")->bytes);
    struct value ours = {0}, theirs = {0};
    CHECK_INT(ends(got, ""), 1);
    if (!t || want.len == 0) {
        check_same("root", root, want);
        return;
    }
    if (!play.whole)
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
            CHECK_INT(ends(got, x->path), 1);
            CHECK(mine->first > channel(got, "")->first);
            channel_decode(x, got);
            CHECK_INT(x->ended, y->ended);
        }
        /* Whole and not empty goes inline, if that is asked for; otherwise nothing does. */
        CHECK_INT(x->inline_, play.whole && y->ended && (y->got.len || !x->type->elem));
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

void check_received(struct value *v, struct side *recorded)
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

/* --- the interfaces --- */

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
void (*const any_handler)(void) = implemented;

/* The generated tables, but for what runs. */
static struct wcp_func functions[64];
struct wcp_interface interfaces[INTERFACES];
static const uint32_t offsets[32];

static struct wcp_interface *add_interface(const char *name, const struct wcp_interface *from)
{
    static size_t used, count;
    struct wcp_interface *i = &interfaces[count++];
    *i = (struct wcp_interface){
        .name = name, .funcs = &functions[used], .count = from->count, .handlers = offsets};
    CHECK(used + from->count <= sizeof functions / sizeof *functions && from->count <= 32);
    for (size_t k = 0; k < from->count; k++) {
        functions[used] = from->funcs[k];
        functions[used].invoke = generic_invoke;
        functions[used++].deliver = generic_deliver;
    }
    return i;
}

void load_interfaces(void)
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

const char *json_text(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    json_object_object_get_ex(o, key, &v);
    return v ? json_object_get_string(v) : NULL;
}

void load_data(struct wcp_buf *b, struct json_object *o, const char *prefix, size_t *at)
{
    char key[3][40];
    snprintf(key[0], sizeof key[0], "%s_hex", prefix);
    snprintf(key[1], sizeof key[1], "%s_len", prefix);
    snprintf(key[2], sizeof key[2], "%s_head_hex", prefix);
    const char *hex = json_text(o, key[0]);
    struct json_object *len = NULL;
    json_object_object_get_ex(o, key[1], &len);
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
    struct wcp_bytes head = test_unhex(json_text(o, key[2]));
    check_same("head of a large payload", (struct wcp_bytes){b->ptr, head.len}, head);
}

/* --- our side of an exchange --- */

/* Every function's handler: reads all, and answers as the recorded server did. */
static void generic_invoke(const void *impl, struct wcp_call *c)
{
    const struct wcp_func *w = &play.now->iface->funcs[play.now->func];
    CHECK_STR(c->func->name, w->name);
    play.served++;
    play.params_sync = receive(&play.params, w->params, false, c);
    struct wcp_bytes result = bytes(&channel(&play.now->server, "")->bytes);
    if (!w->result) {
        wcp_reply(c, NULL);
        return;
    }
    if (!result.len) {
        wcp_call_fail(c, "as recorded");
        return;
    }
    play.answer.make_outs = true;
    value_decode(&play.answer, w->result, true, result, w->result->size);
    if (play.whole)
        write_all(&play.answer, &play.now->server);
    wcp_reply(c, play.answer.p);
    if (!play.whole)
        write_all(&play.answer, &play.now->server);
}

static void generic_deliver(void (*done)(void), void *ctx, const void *result, int status)
{
    const struct wcp_func *w = &play.now->iface->funcs[play.now->func];
    CHECK_INT(play.status, 1);
    play.status = status;
    CHECK_INT(result != NULL, status == 0 && w->result);
    if (result)
        play.result_sync = receive(&play.result, w->result, true, result);
}

void play_free(void)
{
    wcp_buf_free(&play.params_sync);
    wcp_buf_free(&play.result_sync);
    value_free(&play.params);
    value_free(&play.answer);
    value_free(&play.result);
    wcp_arena_free(&play.arena);
}

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

static void path_text(const struct path *p, char out[40])
{
    int n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < p->n; i++)
        n += snprintf(out + n, (size_t)(40 - n), ".%u", p->at[i]);
}

static struct wcp_in *on_async_in(struct decoder *d, const struct wcp_type *t, bool pending,
                                  const void *items, size_t n)
{
    struct value *v = d->ctx;
    CHECK(v->count < ASYNCS);
    struct async *a = &v->asyncs[v->count++];
    *a = (struct async){.type = t, .inline_ = !pending};
    path_text(&d->path, a->path);
    for (size_t i = 0; i < n && t->elem; i++)
        wcp_encode(t->elem, (const char *)items + i * t->elem->size, &a->got);
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

static void on_async_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    struct value *v = e->ctx;
    wcp_buf_put(e->buf, "", 1);
    if (!v)
        return;
    CHECK(v->count < ASYNCS); /* a received value: out is in truth a reader */
    struct async *a = &v->asyncs[v->count++];
    *a = (struct async){.type = t, .in = (struct wcp_in *)(void *)out, .status = 1};
    path_text(&e->path, a->path);
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

/* Channel bytes to elements one behind the other; ended: with the mark, or a future's value. */
static struct wcp_buf elements(const struct wcp_type *t, struct wcp_bytes in, bool *ended)
{
    struct wcp_buf out = {0};
    *ended = t->kind == WCP_FUTURE;
    if (t->kind == WCP_FUTURE) {
        wcp_buf_put(&out, in.ptr, in.len);
        return out;
    }
    while (in.len && !*ended) {
        uint64_t n = 0;
        CHECK_INT(codec_get_leb(&in, 32, &n, NULL), 0);
        *ended = n == 0;
        for (; n; n--) {
            const uint8_t *from = in.ptr;
            void *p = wcp_alloc(&play.arena, 1, t->elem->size);
            CHECK_INT(wcp_decode(t->elem, &in, p, &play.arena, NULL), 0);
            wcp_buf_put(&out, from, (size_t)(in.ptr - from));
        }
    }
    return out;
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

/* Writes into a value's writers what was recorded on their channels, and ends them. */
void write_all(struct value *v, struct side *recorded)
{
    for (size_t i = 0; i < v->count; i++) {
        struct async *a = &v->asyncs[i];
        struct wcp_bytes in = bytes(&channel(recorded, a->path)->bytes);
        bool ended = false;
        struct wcp_buf all = elements(a->type, in, &ended);
        in = bytes(&all);
        while (a->type->elem && in.len) {
            void *p = wcp_alloc(&play.arena, 1, a->type->elem->size);
            CHECK_INT(wcp_decode(a->type->elem, &in, p, &play.arena, NULL), 0);
            wcp_out_write(a->out, p, 1);
        }
        wcp_buf_put(&a->got, all.ptr, all.len); /* what was written points into it: kept till now */
        wcp_buf_free(&all);
        if (ended)
            wcp_out_end(a->out);
        else
            wcp_out_abort(a->out);
    }
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
    CHECK_INT(ours.count, theirs.count);
    for (size_t i = 0; i < ours.count; i++) {
        struct async *x = &ours.asyncs[i];
        bool ended = true, want_ended = false;
        CHECK_STR(x->path, theirs.asyncs[i].path);
        struct channel *c = channel(recorded, x->path);
        struct wcp_buf e = elements(x->type, bytes(&c->bytes), &want_ended), o = {0};
        if (!x->inline_) {
            struct channel *mine = channel(got, x->path);
            CHECK_INT(ends(got, x->path), 1);
            CHECK(mine->first > channel(got, "")->first);
            o = elements(x->type, bytes(&mine->bytes), &ended);
        }
        CHECK_INT(ended, want_ended);
        /* Whole and not empty goes inline, if that is asked for; otherwise nothing does. */
        CHECK_INT(x->inline_, play.whole && want_ended && (e.len || !x->type->elem));
        check_same(x->path, bytes(x->inline_ ? &x->got : &o), bytes(&e));
        wcp_buf_free(&e);
        wcp_buf_free(&o);
    }
    wcp_buf_free(&a);
    wcp_buf_free(&b);
    value_free(&ours);
    value_free(&theirs);
}

/* --- reading what we are sent --- */

static void on_data(void *ctx, const void *items, size_t n)
{
    struct async *a = ctx;
    for (size_t i = 0; i < n; i++)
        wcp_encode(a->type->elem, (const char *)items + i * a->type->elem->size, &a->got);
}

static void on_end(void *ctx, int status)
{
    struct async *a = ctx;
    a->status = status;
    a->in = NULL;
}

/* Starts reading every stream of a received value, and gives its synchronous bytes. */
static struct wcp_buf receive(struct value *v, const struct wcp_type *t, bool result,
                              const void *value)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    struct wcp_buf b = sync_bytes(t, result, value, v);
    for (size_t i = 0; i < v->count; i++)
        wcp_in_start(v->asyncs[i].in, &handler, &v->asyncs[i]);
    return b;
}

void check_received(struct value *v, struct side *recorded)
{
    for (size_t i = 0; i < v->count; i++) {
        struct async *a = &v->asyncs[i];
        bool ended = false;
        struct wcp_buf e = elements(a->type, bytes(&channel(recorded, a->path)->bytes), &ended);
        check_same(a->path, bytes(&a->got), bytes(&e));
        CHECK_INT(a->status, ended ? 0 : WCP_ECLOSED);
        wcp_buf_free(&e);
    }
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
    *i = (struct wcp_interface){name, &functions[used], from->count, offsets};
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

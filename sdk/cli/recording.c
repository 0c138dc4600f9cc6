/* recording.c: see recording.h. The files are in recording_file.c. */
#include "cli/recording.h"
#include "cli/measure.h"
#include <msgpack.h>
#include <string.h>

#define VERSION 1

const char *const recorded_end_texts[RECORDED_ENDINGS] = {
#define X(name, text) text,
    RECORDED_ENDS(X)
#undef X
};

/* --- writing --- */

static int append(void *buf, const char *data, size_t n)
{
    wcp_buf_put(buf, data, n);
    return 0;
}

/* msgpack-c's functions tell what append returned: never anything but 0. */
static void put_text(msgpack_packer *p, const char *s)
{
    (void)msgpack_pack_str(p, strlen(s));
    (void)msgpack_pack_str_body(p, s, strlen(s));
}

static void put_number(msgpack_packer *p, const char *key, uint64_t v)
{
    put_text(p, key);
    (void)msgpack_pack_uint64(p, v);
}

static void put_member(msgpack_packer *p, const char *key, const char *value)
{
    put_text(p, key);
    put_text(p, value);
}

static void put_bytes(msgpack_packer *p, struct wcp_bytes b)
{
    (void)msgpack_pack_bin(p, b.len);
    (void)msgpack_pack_bin_body(p, b.len ? (const void *)b.ptr : "", b.len);
}

static void put_channels(msgpack_packer *p, const char *key, const struct rpc_channel *channels,
                         size_t n)
{
    put_text(p, key);
    (void)msgpack_pack_map(p, n);
    for (size_t i = 0; i < n; i++) {
        char path[PATH_TEXT_MAX];
        path_print(&channels[i].path, path);
        put_text(p, path + 1); /* without its first dot */
        put_bytes(p, channels[i].data);
    }
}

void recording_put_head(struct wcp_buf *b, const struct recording_head *h)
{
    msgpack_packer p;
    msgpack_packer_init(&p, b, append);
    (void)msgpack_pack_map(&p, 5);
    put_number(&p, "wcp-recording", VERSION);
    put_member(&p, "tool", "Outrigger wcp");
    put_member(&p, "lattice", h->lattice);
    put_member(&p, "id", h->id);
    put_number(&p, "time_us", h->time_us);
}

void recording_put(struct wcp_buf *b, const struct recorded *c)
{
    msgpack_packer p;
    msgpack_packer_init(&p, b, append);
    (void)msgpack_pack_map(&p, 10);
    put_number(&p, "call", c->number);
    put_member(&p, "function", c->function);
    put_number(&p, "time_us", c->time_us);
    put_number(&p, "answer_us", c->answer_us);
    put_member(&p, "ended", recorded_end_texts[c->ended]);
    put_text(&p, "headers");
    (void)msgpack_pack_map(&p, c->header_count);
    for (size_t i = 0; i < c->header_count; i++)
        put_member(&p, c->headers[i].name, c->headers[i].value);
    put_text(&p, "params");
    put_bytes(&p, c->params);
    put_channels(&p, "params_channels", c->params_channels, c->params_channel_count);
    put_text(&p, "results");
    put_bytes(&p, c->results);
    put_channels(&p, "results_channels", c->results_channels, c->results_channel_count);
}

/* --- reading --- */

static const char *const kinds[] = {"nothing", "a boolean", "a number", "a number", "a number",
                                    "a text",  "an array",  "a map",    "bytes",    "an extension"};

static const char *kind(const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_FLOAT32: return "a number";
    default: return (size_t)o->type < sizeof kinds / sizeof *kinds ? kinds[o->type] : "something";
    }
}

static bool text_is(const msgpack_object *o, const char *s)
{
    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(s) &&
           memcmp(o->via.str.ptr, s, o->via.str.size) == 0;
}

/* The member of that type, or NULL with err. */
static const msgpack_object *member(const msgpack_object *map, const char *key,
                                    msgpack_object_type type, const char *expected,
                                    struct wcp_err *err)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (!text_is(&kv->key, key))
            continue;
        if (kv->val.type == type)
            return &kv->val;
        wcp_fail(err, WCP_EPROTO, "%s: %s found, %s expected", key, kind(&kv->val), expected);
        return NULL;
    }
    wcp_fail(err, WCP_EPROTO, "%s is missing", key);
    return NULL;
}

static int get_number(const msgpack_object *map, const char *key, uint64_t *out,
                      struct wcp_err *err)
{
    const msgpack_object *o =
        member(map, key, MSGPACK_OBJECT_POSITIVE_INTEGER, "a number from 0 on", err);
    if (!o)
        return err->code;
    *out = o->via.u64;
    return 0;
}

/* The first byte that cannot stand in a message's head; s.len: there is none. */
static size_t bad_byte(struct wcp_str s, const char *forbidden)
{
    size_t i = 0;
    for (; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f || strchr(forbidden, c))
            break;
    }
    return i;
}

#define NAME_FORBIDDEN     ": \t"
#define FUNCTION_FORBIDDEN " \t*>"
#define NAME_MAX_BYTES     1000
#define VALUE_MAX_BYTES    65536

static bool fits(const char *text, const char *forbidden, size_t max)
{
    struct wcp_str s = wcp_str(text);
    return s.len <= max && bad_byte(s, forbidden) == s.len;
}

bool recording_takes_header(const char *name, const char *value)
{
    return *name && fits(name, NAME_FORBIDDEN, NAME_MAX_BYTES) && fits(value, "", VALUE_MAX_BYTES);
}

bool recording_takes_function(const char *function)
{
    return *function && fits(function, FUNCTION_FORBIDDEN, RPC_FUNCTION_MAX);
}

static int copy_text(const msgpack_object *o, const char *what, const char *forbidden, size_t max,
                     const char **out, struct wcp_arena *a, struct wcp_err *err)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return wcp_fail(err, WCP_EPROTO, "%s: %s found, a text expected", what, kind(o));
    if (o->via.str.size > max)
        return wcp_fail(err, WCP_ETOOBIG, "%s: %u bytes found, at most %zu expected", what,
                        (unsigned)o->via.str.size, max);
    struct wcp_str s = {o->via.str.ptr, o->via.str.size};
    size_t bad = bad_byte(s, forbidden);
    if (bad < s.len)
        return wcp_fail(err, WCP_EPROTO, "%s: 0x%02x found, which cannot stand there", what,
                        (unsigned char)s.ptr[bad]);
    *out = wcp_fmt(a, "%.*s", WCP_ARG(s)).ptr;
    return 0;
}

static int get_text(const msgpack_object *map, const char *key, const char *forbidden, size_t max,
                    const char **out, struct wcp_arena *a, struct wcp_err *err)
{
    const msgpack_object *o = member(map, key, MSGPACK_OBJECT_STR, "a text", err);
    return o ? copy_text(o, key, forbidden, max, out, a, err) : err->code;
}

static int get_bytes(const msgpack_object *map, const char *key, struct wcp_bytes *out,
                     struct wcp_err *err)
{
    const msgpack_object *o = member(map, key, MSGPACK_OBJECT_BIN, "bytes", err);
    if (!o)
        return err->code;
    *out = (struct wcp_bytes){(const uint8_t *)o->via.bin.ptr, o->via.bin.size};
    return 0;
}

static int get_headers(const msgpack_object *map, struct recorded *c, struct wcp_arena *a,
                       struct wcp_err *err)
{
    const msgpack_object *o = member(map, "headers", MSGPACK_OBJECT_MAP, "a map", err);
    if (!o)
        return err->code;
    struct wcp_header *headers = wcp_alloc(a, o->via.map.size + 1, sizeof *headers);
    int rc = 0;
    for (uint32_t i = 0; i < o->via.map.size && rc == 0; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        rc = copy_text(&kv->key, "headers: a name", NAME_FORBIDDEN, NAME_MAX_BYTES,
                       &headers[i].name, a, err);
        if (rc == 0 && !*headers[i].name)
            rc = wcp_fail(err, WCP_EPROTO, "headers: an empty name found");
        if (rc == 0)
            rc = copy_text(&kv->val, "headers: a value", "", VALUE_MAX_BYTES, &headers[i].value, a,
                           err);
    }
    c->headers = headers;
    c->header_count = o->via.map.size;
    return rc;
}

static int get_channels(const msgpack_object *map, const char *key, const struct rpc_channel **out,
                        size_t *count, struct wcp_arena *a, struct wcp_err *err)
{
    const msgpack_object *o = member(map, key, MSGPACK_OBJECT_MAP, "a map", err);
    if (!o)
        return err->code;
    struct rpc_channel *channels = wcp_alloc(a, o->via.map.size + 1, sizeof *channels);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_STR ||
            !path_parse((struct wcp_str){kv->key.via.str.ptr, kv->key.via.str.size},
                        &channels[i].path))
            return wcp_fail(err, WCP_EPROTO, "%s: an index path as \"0.1\" expected as key", key);
        if (kv->val.type != MSGPACK_OBJECT_BIN)
            return wcp_fail(err, WCP_EPROTO, "%s: %s found, bytes expected", key, kind(&kv->val));
        channels[i].data =
            (struct wcp_bytes){(const uint8_t *)kv->val.via.bin.ptr, kv->val.via.bin.size};
    }
    *out = channels;
    *count = o->via.map.size;
    return 0;
}

static int get_head(const msgpack_object *map, struct recording_head *h, struct wcp_arena *a,
                    struct wcp_err *err)
{
    uint64_t version = 0;
    int rc = get_number(map, "wcp-recording", &version, err);
    if (rc == 0 && version != VERSION)
        rc = wcp_fail(err, WCP_EPROTO, "a recording of version %llu found, %d expected",
                      (unsigned long long)version, VERSION);
    rc = rc ? rc : get_text(map, "lattice", "", 1000, &h->lattice, a, err);
    rc = rc ? rc : get_text(map, "id", "", 1000, &h->id, a, err);
    return rc ? rc : get_number(map, "time_us", &h->time_us, err);
}

static int get_call(const msgpack_object *map, struct recorded *c, struct wcp_arena *a,
                    struct wcp_err *err)
{
    const char *ended = "";
    int rc = get_number(map, "call", &c->number, err);
    rc = rc ? rc
            : get_text(map, "function", FUNCTION_FORBIDDEN, RPC_FUNCTION_MAX, &c->function, a,
                       err); /* part of a subject */
    if (rc == 0 && !*c->function)
        rc = wcp_fail(err, WCP_EPROTO, "function: it is empty");
    rc = rc ? rc : get_number(map, "time_us", &c->time_us, err);
    rc = rc ? rc : get_number(map, "answer_us", &c->answer_us, err);
    rc = rc ? rc : get_headers(map, c, a, err);
    rc = rc ? rc : get_bytes(map, "params", &c->params, err);
    rc = rc ? rc : get_bytes(map, "results", &c->results, err);
    rc = rc ? rc
            : get_channels(map, "params_channels", &c->params_channels, &c->params_channel_count, a,
                           err);
    rc = rc ? rc
            : get_channels(map, "results_channels", &c->results_channels, &c->results_channel_count,
                           a, err);
    rc = rc ? rc : get_text(map, "ended", "", 100, &ended, a, err);
    if (rc)
        return rc;
    for (int i = 0; i < RECORDED_ENDINGS; i++)
        if (strcmp(ended, recorded_end_texts[i]) == 0) {
            c->ended = (enum recorded_end)i;
            return 0;
        }
    return wcp_fail(err, WCP_EPROTO, "ended: '%s' found, which is no known ending", ended);
}

/* One map at the front of *in, into *u, which the caller destroys unless this fails. */
static int get_map(struct wcp_bytes *in, msgpack_unpacked *u, struct wcp_err *err)
{
    size_t length = 0, used = 0;
    if (in->len && (in->ptr[0] & 0xf0) != 0x80 && in->ptr[0] != 0xde && in->ptr[0] != 0xdf)
        return wcp_fail(err, WCP_EPROTO, "byte 0: 0x%02x found, a MessagePack map expected",
                        in->ptr[0]);
    int rc = measure(*in, RECORD_MAX, RECORD_ITEMS, &length, err);
    if (rc)
        return rc;
    msgpack_unpacked_init(u);
    if (msgpack_unpack_next(u, (const char *)in->ptr, length, &used) != MSGPACK_UNPACK_SUCCESS) {
        msgpack_unpacked_destroy(u);
        return wcp_fail(err, WCP_EPROTO, "not MessagePack");
    }
    in->ptr += length;
    in->len -= length;
    return 0;
}

int recording_get_head(struct wcp_bytes *in, struct recording_head *h, struct wcp_arena *a,
                       struct wcp_err *err)
{
    msgpack_unpacked u = {0};
    *h = (struct recording_head){0};
    int rc = get_map(in, &u, err);
    if (rc)
        return rc;
    rc = get_head(&u.data, h, a, err);
    msgpack_unpacked_destroy(&u);
    return rc;
}

int recording_get(struct wcp_bytes *in, struct recorded *c, struct wcp_arena *a,
                  struct wcp_err *err)
{
    msgpack_unpacked u = {0};
    *c = (struct recorded){0};
    int rc = get_map(in, &u, err);
    if (rc)
        return rc;
    rc = get_call(&u.data, c, a, err);
    msgpack_unpacked_destroy(&u);
    return rc;
}

/* wasmcloud.c: key-value, HTTP and blob store interfaces, with answers that the caller can work out
 * (cases.py tells each). */
#include "vec.h"
#include <stdio.h>
#include <stdlib.h>

static bool is(struct wcp_str s, const char *text)
{
    return wcp_str_eq(s, wcp_str(text));
}

/* --- key-value: every key but "missing" is there, with its name as the value --- */

/* False: the bucket has an error, which is the answer to c. All interfaces have the same. */
static bool open_bucket(struct wcp_call *c, struct wcp_str bucket)
{
    if (is(bucket, "nowhere"))
        keyvalue_store_fail(c, keyvalue_store_error_no_such_store());
    else if (is(bucket, "locked"))
        keyvalue_store_fail(c, keyvalue_store_error_access_denied());
    else if (is(bucket, "broken"))
        keyvalue_store_fail(c, keyvalue_store_error_other(WCP_STR("it is broken")));
    else
        return true;
    return false;
}

static bool has_key(struct wcp_str key)
{
    return !is(key, "missing");
}

static struct wcp_bytes value_of(struct wcp_str key)
{
    return (struct wcp_bytes){(const uint8_t *)key.ptr, key.len};
}

static bool has_value(struct wcp_str key, struct wcp_bytes value)
{
    return has_key(key) && wcp_str_eq(key, (struct wcp_str){(const char *)value.ptr, value.len});
}

static void store_get(struct keyvalue_store_get *c)
{
    struct wcp_bytes value = value_of(c->key);
    if (open_bucket(&c->call, c->bucket))
        keyvalue_store_get_ok(c, has_key(c->key) ? &value : NULL);
}

static void store_set(struct keyvalue_store_set *c)
{
    if (!open_bucket(&c->call, c->bucket))
        return;
    if (has_value(c->key, c->value))
        keyvalue_store_set_ok(c);
    else
        keyvalue_store_fail(&c->call, keyvalue_store_error_other(c->key));
}

static void store_delete(struct keyvalue_store_delete *c)
{
    if (open_bucket(&c->call, c->bucket))
        keyvalue_store_delete_ok(c);
}

static void store_exists(struct keyvalue_store_exists *c)
{
    if (open_bucket(&c->call, c->bucket))
        keyvalue_store_exists_ok(c, has_key(c->key));
}

static void store_list_keys(struct keyvalue_store_list_keys *c)
{
    uint64_t at = c->cursor ? *c->cursor : 0, next = at + 1;
    struct wcp_str keys[] = {c->bucket, wcp_fmt(&c->call.arena, "%llu", (unsigned long long)at)};
    if (open_bucket(&c->call, c->bucket))
        keyvalue_store_list_keys_ok(
            c, (struct keyvalue_store_key_response){{keys, 2}, c->cursor ? &next : NULL});
}

static void atomics_increment(struct keyvalue_atomics_increment *c)
{
    if (open_bucket(&c->call, c->bucket))
        keyvalue_atomics_increment_ok(c, c->delta + c->key.len);
}

static void batch_get_many(struct keyvalue_batch_get_many *c)
{
    struct wcp_arena *a = &c->call.arena;
    const struct keyvalue_batch_tuple_string_bytes **all = wcp_alloc(a, c->keys.len, sizeof *all);
    for (size_t i = 0; i < c->keys.len; i++) {
        struct keyvalue_batch_tuple_string_bytes *pair = wcp_alloc(a, 1, sizeof *pair);
        pair->f0 = c->keys.ptr[i];
        pair->f1 = value_of(pair->f0);
        all[i] = has_key(pair->f0) ? pair : NULL;
    }
    if (open_bucket(&c->call, c->bucket))
        keyvalue_batch_get_many_ok(
            c, (struct keyvalue_batch_option_tuple_string_bytes_list){all, c->keys.len});
}

static void batch_set_many(struct keyvalue_batch_set_many *c)
{
    if (!open_bucket(&c->call, c->bucket))
        return;
    for (size_t i = 0; i < c->key_values.len; i++) {
        const struct keyvalue_batch_tuple_string_bytes *pair = &c->key_values.ptr[i];
        if (!has_value(pair->f0, pair->f1)) {
            keyvalue_batch_fail(&c->call, keyvalue_store_error_other(pair->f0));
            return;
        }
    }
    keyvalue_batch_set_many_ok(c);
}

static void batch_delete_many(struct keyvalue_batch_delete_many *c)
{
    if (open_bucket(&c->call, c->bucket))
        keyvalue_batch_delete_many_ok(c);
}

static void watcher_on_set(struct keyvalue_watcher_on_set *c)
{
    keyvalue_watcher_on_set_ok(c);
}

static void watcher_on_delete(struct keyvalue_watcher_on_delete *c)
{
    keyvalue_watcher_on_delete_ok(c);
}

const struct keyvalue_store vec_store = {store_get, store_set, store_delete, store_exists,
                                         store_list_keys};
const struct keyvalue_atomics vec_atomics = {atomics_increment};
const struct keyvalue_batch vec_batch = {batch_get_many, batch_set_many, batch_delete_many};
const struct keyvalue_watcher vec_watcher = {watcher_on_set, watcher_on_delete};

/* --- HTTP: the request comes back as the response --- */

static bool is_error(struct wcp_call *c, const struct http_types_request *r)
{
    if (!r->path_with_query || !is(*r->path_with_query, "/error"))
        return false;
    http_incoming_handler_fail(c, http_types_error_code_internal_error(r->path_with_query));
    return true;
}

static struct http_types_response respond(const struct http_types_request *r, uint64_t status)
{
    return (struct http_types_response){
        .body = relay(r->body, &wcp_u8, &relay_same),
        .trailers = relay(r->trailers, &http_types_option_fields_type, &relay_same),
        .status = (uint16_t)status,
        .headers = r->headers};
}

static void incoming_handle(struct http_incoming_handler_handle *c)
{
    const struct http_types_method *m = &c->request.method;
    if (!is_error(&c->call, &c->request))
        http_incoming_handler_handle_ok(
            c, respond(&c->request, m->tag == HTTP_TYPES_METHOD_GET     ? 200
                                    : m->tag == HTTP_TYPES_METHOD_POST  ? 201
                                    : m->tag == HTTP_TYPES_METHOD_OTHER ? 400 + m->other.len
                                                                        : 405));
}

static void outgoing_handle(struct http_outgoing_handler_handle *c)
{
    const uint64_t *status = c->options ? c->options->connect_timeout : NULL;
    if (!is_error(&c->call, &c->request))
        http_outgoing_handler_handle_ok(c, respond(&c->request, status ? *status : 204));
}

const struct http_incoming_handler vec_incoming = {incoming_handle};
const struct http_outgoing_handler vec_outgoing = {outgoing_handle};

/* --- blob store: all is there but what is called "missing"; "bad" names are errors --- */

static bool is_good(struct wcp_call *c, struct wcp_str name)
{
    if (!is(name, "bad"))
        return true;
    blobstore_blobstore_fail(c, WCP_STR("bad is bad"));
    return false;
}

static void clear_container(struct blobstore_blobstore_clear_container *c)
{
    if (is_good(&c->call, c->name))
        blobstore_blobstore_clear_container_ok(c);
}

static void container_exists(struct blobstore_blobstore_container_exists *c)
{
    if (is_good(&c->call, c->name))
        blobstore_blobstore_container_exists_ok(c, !is(c->name, "missing"));
}

static void create_container(struct blobstore_blobstore_create_container *c)
{
    if (is_good(&c->call, c->name))
        blobstore_blobstore_create_container_ok(c);
}

static void delete_container(struct blobstore_blobstore_delete_container *c)
{
    if (is_good(&c->call, c->name))
        blobstore_blobstore_delete_container_ok(c);
}

static void get_container_info(struct blobstore_blobstore_get_container_info *c)
{
    if (is_good(&c->call, c->name))
        blobstore_blobstore_get_container_info_ok(
            c, (struct blobstore_types_container_metadata){c->name.len});
}

/* A future that tells how a transfer has ended. */
static union wcp_async transfer(struct wcp_str why)
{
    const struct blobstore_blobstore_result_none_string r = {.is_err = why.len > 0, .err = why};
    union wcp_async a = {.out = wcp_out_new(&blobstore_blobstore_result_none_string_type)};
    wcp_out_write(a.out, &r, 1);
    wcp_out_end(a.out);
    return a;
}

static void list_container_objects(struct blobstore_blobstore_list_container_objects *c)
{
    uint64_t i = c->offset ? *c->offset : 0, end = i + (c->limit ? *c->limit : 3);
    if (!is_good(&c->call, c->name))
        return;
    struct blobstore_blobstore_tuple_stream_string_future_result_none_string r = {
        .f0.out = wcp_out_new(&wcp_string), .f1 = transfer(WCP_STR(""))};
    struct wcp_out *names = r.f0.out;
    for (; i < end; i++) {
        struct wcp_str name =
            wcp_fmt(&c->call.arena, "%.*s-%llu", WCP_ARG(c->name), (unsigned long long)i);
        wcp_out_write(names, &name, 1);
    }
    wcp_out_end(names);
    blobstore_blobstore_list_container_objects_ok(c, r);
}

static void copy_object(struct blobstore_blobstore_copy_object *c)
{
    if (is_good(&c->call, c->src.object) && is_good(&c->call, c->dest.object))
        blobstore_blobstore_copy_object_ok(c);
}

static void delete_object(struct blobstore_blobstore_delete_object *c)
{
    if (is_good(&c->call, c->id.object))
        blobstore_blobstore_delete_object_ok(c);
}

static void delete_objects(struct blobstore_blobstore_delete_objects *c)
{
    for (size_t i = 0; i < c->objects.len; i++)
        if (!is_good(&c->call, c->objects.ptr[i]))
            return;
    blobstore_blobstore_delete_objects_ok(c);
}

static void get_container_data(struct blobstore_blobstore_get_container_data *c)
{
    if (!is_good(&c->call, c->id.container))
        return;
    blobstore_blobstore_get_container_data_ok(
        c, (struct blobstore_blobstore_tuple_stream_u8_future_result_none_string){
               source(c->end - c->start, false, false),
               transfer(is(c->id.object, "bad") ? WCP_STR("bad is bad") : WCP_STR(""))});
}

static void get_object_info(struct blobstore_blobstore_get_object_info *c)
{
    if (is_good(&c->call, c->id.object))
        blobstore_blobstore_get_object_info_ok(
            c, (struct blobstore_types_object_metadata){c->id.container.len, c->id.object.len});
}

static void has_object(struct blobstore_blobstore_has_object *c)
{
    if (is_good(&c->call, c->id.object))
        blobstore_blobstore_has_object_ok(c, !is(c->id.object, "missing"));
}

static void move_object(struct blobstore_blobstore_move_object *c)
{
    if (is_good(&c->call, c->src.object) && is_good(&c->call, c->dest.object))
        blobstore_blobstore_move_object_ok(c);
}

/* An object's data; the call is answered before they have come. */
struct writing {
    struct wcp_out *end;
    size_t right; /* bytes as the pattern has them, up to the first that is not */
    bool wrong, bad;
};

static void on_write(void *ctx, const void *items, size_t n)
{
    struct writing *w = ctx;
    for (size_t i = 0; i < n && !w->wrong; i++) {
        w->wrong = ((const uint8_t *)items)[i] != pattern(w->right);
        w->right += !w->wrong;
    }
}

static void on_written(void *ctx, int status)
{
    struct writing *w = ctx;
    char text[24];
    (void)snprintf(text, sizeof text, "%zu", w->right);
    const struct blobstore_blobstore_result_none_string r = {.is_err = w->bad,
                                                             .err = wcp_str(text)};
    if (status == 0)
        wcp_out_write(w->end, &r, 1);
    (status ? wcp_out_abort : wcp_out_end)(w->end);
    free(w);
}

/* For a bad object the future tells in its error how many bytes were right. */
static void write_container_data(struct blobstore_blobstore_write_container_data *c)
{
    if (!is_good(&c->call, c->id.container))
        return;
    static const struct wcp_in_handler handler = {on_write, on_written};
    struct writing *w = wcp_calloc(1, sizeof *w);
    union wcp_async end = {.out = wcp_out_new(&blobstore_blobstore_result_none_string_type)};
    *w = (struct writing){.end = end.out, .bad = is(c->id.object, "bad")};
    wcp_in_start(c->data.in, &handler, w);
    blobstore_blobstore_write_container_data_ok(c, end);
}

const struct blobstore_blobstore vec_blobstore = {
    clear_container,    container_exists,       create_container, delete_container,
    get_container_info, list_container_objects, copy_object,      delete_object,
    delete_objects,     get_container_data,     get_object_info,  has_object,
    move_object,        write_container_data};

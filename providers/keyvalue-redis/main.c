/* keyvalue-redis: wrpc:keyvalue store, atomics and batch, one pipelined Redis connection per link.
 * The bucket of a call is ignored, as the reference provider does: a link is a store. */
#include "keyvalue_atomics.h"
#include "keyvalue_batch.h"
#include "keyvalue_store.h"
#include "backend.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS  (1U << REDIS_REPLY_STATUS)
#define STRING  (1U << REDIS_REPLY_STRING)
#define INTEGER (1U << REDIS_REPLY_INTEGER)
#define ARRAY   (1U << REDIS_REPLY_ARRAY)
#define NIL     (1U << REDIS_REPLY_NIL)

static struct wcp_bytes text(struct wcp_str s)
{
    return (struct wcp_bytes){(const uint8_t *)s.ptr, s.len};
}
#define WORD(lit) text(WCP_STR(lit))

static struct wcp_bytes bytes_of(const redisReply *r)
{
    return (struct wcp_bytes){(const uint8_t *)r->str, (size_t)r->len};
}

/* --- store --- */

static void got_value(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_store_get *c = ctx;
    if (!backend_answered(&c->call, r, why, STRING | NIL))
        return;
    struct wcp_bytes value = bytes_of(r);
    keyvalue_store_get_ok(c, r->type == REDIS_REPLY_NIL ? NULL : &value);
}

static void store_get(struct keyvalue_store_get *c)
{
    backend_command(&c->call, got_value, 2, (struct wcp_bytes[]){WORD("GET"), text(c->key)});
}

static void value_set(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_store_set *c = ctx;
    if (backend_answered(&c->call, r, why, STATUS))
        keyvalue_store_set_ok(c);
}

static void store_set(struct keyvalue_store_set *c)
{
    backend_command(&c->call, value_set, 3,
                    (struct wcp_bytes[]){WORD("SET"), text(c->key), c->value});
}

static void value_deleted(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_store_delete *c = ctx;
    if (backend_answered(&c->call, r, why, INTEGER)) /* 0: there was none, which is fine */
        keyvalue_store_delete_ok(c);
}

static void store_delete(struct keyvalue_store_delete *c)
{
    backend_command(&c->call, value_deleted, 2, (struct wcp_bytes[]){WORD("DEL"), text(c->key)});
}

static void existence_known(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_store_exists *c = ctx;
    if (backend_answered(&c->call, r, why, INTEGER))
        keyvalue_store_exists_ok(c, r->integer != 0);
}

static void store_exists(struct keyvalue_store_exists *c)
{
    backend_command(&c->call, existence_known, 2,
                    (struct wcp_bytes[]){WORD("EXISTS"), text(c->key)});
}

/* SCAN answers [next cursor, [key ...]]. */
static void keys_listed(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_store_list_keys *c = ctx;
    if (!backend_answered(&c->call, r, why, ARRAY))
        return;
    char *end = NULL;
    uint64_t cursor = 0;
    if (r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING)
        cursor = strtoull(r->element[0]->str, &end, 10);
    if (!end || *end || end == r->element[0]->str || r->element[1]->type != REDIS_REPLY_ARRAY) {
        backend_misunderstood(&c->call, r);
        return;
    }
    const redisReply *list = r->element[1];
    struct wcp_str *keys = wcp_alloc(&c->call.arena, list->elements, sizeof *keys);
    size_t n = 0;
    for (size_t i = 0; i < list->elements; i++) {
        struct wcp_bytes key = bytes_of(list->element[i]);
        if (list->element[i]->type == REDIS_REPLY_STRING && wcp_is_utf8(key))
            keys[n++] = (struct wcp_str){list->element[i]->str, key.len};
        else
            backend_skipped_key(&c->call);
    }
    struct keyvalue_store_key_response page = {.cursor = cursor ? &cursor : NULL};
    page.keys.ptr = keys;
    page.keys.len = n;
    keyvalue_store_list_keys_ok(c, page);
}

static void store_list_keys(struct keyvalue_store_list_keys *c)
{
    char cursor[24];
    (void)snprintf(cursor, sizeof cursor, "%" PRIu64, c->cursor ? *c->cursor : 0);
    backend_command(
        &c->call, keys_listed, 4,
        (struct wcp_bytes[]){WORD("SCAN"), text(wcp_str(cursor)), WORD("COUNT"), WORD("100")});
}

/* --- atomics --- */

static void incremented(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_atomics_increment *c = ctx;
    if (backend_answered(&c->call, r, why, INTEGER))
        keyvalue_atomics_increment_ok(c,
                                      (uint64_t)r->integer); /* Redis counts signed: -1 is 2^64-1 */
}

static void atomics_increment(struct keyvalue_atomics_increment *c)
{
    if (c->delta > INT64_MAX) {
        backend_fail(&c->call, "redis: delta %" PRIu64 ", expected at most %" PRId64, c->delta,
                     INT64_MAX);
        return;
    }
    char delta[24];
    (void)snprintf(delta, sizeof delta, "%" PRIu64, c->delta);
    backend_command(&c->call, incremented, 3,
                    (struct wcp_bytes[]){WORD("INCRBY"), text(c->key), text(wcp_str(delta))});
}

/* --- batch: Redis refuses empty lists, for us they are done at once --- */

static void got_many(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_batch_get_many *c = ctx;
    if (!backend_answered(&c->call, r, why, ARRAY))
        return;
    if (r->elements != c->keys.len) {
        backend_misunderstood(&c->call, r);
        return;
    }
    struct keyvalue_batch_tuple_string_bytes *pairs, **found;
    pairs = wcp_alloc(&c->call.arena, r->elements, sizeof *pairs);
    found = wcp_alloc(&c->call.arena, r->elements, sizeof *found);
    for (size_t i = 0; i < r->elements; i++) {
        if (r->element[i]->type != REDIS_REPLY_STRING)
            continue; /* none; also what is no string value */
        pairs[i].f0 = c->keys.ptr[i];
        pairs[i].f1 = bytes_of(r->element[i]);
        found[i] = &pairs[i];
    }
    keyvalue_batch_get_many_ok(
        c, (struct keyvalue_batch_option_tuple_string_bytes_list){
               (const struct keyvalue_batch_tuple_string_bytes *const *)found, r->elements});
}

static void batch_get_many(struct keyvalue_batch_get_many *c)
{
    if (c->keys.len == 0) {
        keyvalue_batch_get_many_ok(c, (struct keyvalue_batch_option_tuple_string_bytes_list){0});
        return;
    }
    struct wcp_bytes *words = wcp_alloc(&c->call.arena, c->keys.len + 1, sizeof *words);
    words[0] = WORD("MGET");
    for (size_t i = 0; i < c->keys.len; i++)
        words[i + 1] = text(c->keys.ptr[i]);
    backend_command(&c->call, got_many, c->keys.len + 1, words);
}

static void many_set(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_batch_set_many *c = ctx;
    if (backend_answered(&c->call, r, why, STATUS))
        keyvalue_batch_set_many_ok(c);
}

static void batch_set_many(struct keyvalue_batch_set_many *c)
{
    if (c->key_values.len == 0) {
        keyvalue_batch_set_many_ok(c);
        return;
    }
    size_t n = 0;
    struct wcp_bytes *words = wcp_alloc(&c->call.arena, 2 * c->key_values.len + 1, sizeof *words);
    words[n++] = WORD("MSET");
    for (size_t i = 0; i < c->key_values.len; i++) {
        words[n++] = text(c->key_values.ptr[i].f0);
        words[n++] = c->key_values.ptr[i].f1;
    }
    backend_command(&c->call, many_set, n, words);
}

static void many_deleted(void *ctx, const redisReply *r, const char *why)
{
    struct keyvalue_batch_delete_many *c = ctx;
    if (backend_answered(&c->call, r, why, INTEGER))
        keyvalue_batch_delete_many_ok(c);
}

static void batch_delete_many(struct keyvalue_batch_delete_many *c)
{
    if (c->keys.len == 0) {
        keyvalue_batch_delete_many_ok(c);
        return;
    }
    struct wcp_bytes *words = wcp_alloc(&c->call.arena, c->keys.len + 1, sizeof *words);
    words[0] = WORD("DEL");
    for (size_t i = 0; i < c->keys.len; i++)
        words[i + 1] = text(c->keys.ptr[i]);
    backend_command(&c->call, many_deleted, c->keys.len + 1, words);
}

static const struct keyvalue_store store = {store_get, store_set, store_delete, store_exists,
                                            store_list_keys};
static const struct keyvalue_atomics atomics = {atomics_increment};
static const struct keyvalue_batch batch = {batch_get_many, batch_set_many, batch_delete_many};

int main(int argc, char **argv)
{
    return wcp_main(argc, argv,
                    &(struct wcp_provider){
                        .name = "keyvalue-redis",
                        .exports = (struct wcp_export[]){{&keyvalue_store_interface, &store},
                                                         {&keyvalue_atomics_interface, &atomics},
                                                         {&keyvalue_batch_interface, &batch},
                                                         {0}},
                        .start = backend_start,
                        .stop = backend_stop,
                        .link_up = backend_link_up,
                        .link_down = backend_link_down,
                    });
}

/* keyvalue-memory: wrpc:keyvalue store and atomics, kept in this process, one store per link. */
#include "keyvalue_atomics.h" /* generated from wit/; brings in <wcp/wcp.h> */
#include "keyvalue_store.h"
#include <stdlib.h>

static void store_get(struct keyvalue_store_get *c)
{
    keyvalue_store_get_ok(c, wcp_map_get(c->call.link->data, c->key));
}

static void store_set(struct keyvalue_store_set *c)
{
    wcp_map_put(c->call.link->data, c->key, wcp_bytes_dup(c->value));
    keyvalue_store_set_ok(c);
}

static void store_delete(struct keyvalue_store_delete *c)
{
    wcp_map_del(c->call.link->data, c->key);
    keyvalue_store_delete_ok(c);
}

static void store_exists(struct keyvalue_store_exists *c)
{
    keyvalue_store_exists_ok(c, wcp_map_get(c->call.link->data, c->key) != NULL);
}

static void store_list_keys(struct keyvalue_store_list_keys *c)
{
    struct keyvalue_store_key_response r = {0};
    r.keys.len = wcp_map_keys(c->call.link->data, &c->call.arena, &r.keys.ptr);
    keyvalue_store_list_keys_ok(c, r); /* all at once: there is never a cursor to go on from */
}

/* Counters are decimal text, as in Redis: get shows them. */
static void atomics_increment(struct keyvalue_atomics_increment *c)
{
    uint64_t n = 0;
    const struct wcp_bytes *old = wcp_map_get(c->call.link->data, c->key);
    for (size_t i = 0; old && i < old->len; i++) {
        if (old->ptr[i] < '0' || old->ptr[i] > '9') {
            keyvalue_atomics_fail(&c->call,
                                  keyvalue_store_error_other(WCP_STR("the value is not a number")));
            return;
        }
        n = n * 10 + old->ptr[i] - '0';
    }
    n += c->delta;
    struct wcp_str text = wcp_fmt(&c->call.arena, "%llu", (unsigned long long)n);
    wcp_map_put(c->call.link->data, c->key,
                wcp_bytes_dup((struct wcp_bytes){(const uint8_t *)text.ptr, text.len}));
    keyvalue_atomics_increment_ok(c, n);
}

static int link_up(struct wcp_link *l, struct wcp_err *err)
{
    l->data = wcp_map_new(free);
    return 0;
}

static void link_down(struct wcp_link *l)
{
    wcp_map_free(l->data);
}

static const struct keyvalue_store store = {store_get, store_set, store_delete, store_exists,
                                            store_list_keys};
static const struct keyvalue_atomics atomics = {atomics_increment};

int main(int argc, char **argv)
{
    return wcp_main(argc, argv,
                    &(struct wcp_provider){
                        .name = "keyvalue-memory",
                        .exports = (struct wcp_export[]){{&keyvalue_store_interface, &store},
                                                         {&keyvalue_atomics_interface, &atomics},
                                                         {0}},
                        .link_up = link_up,
                        .link_down = link_down,
                    });
}

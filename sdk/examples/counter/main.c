/* counter: a component without Wasm: GET /<name> adds one to the counter <name> in the linked
 * key-value store and answers "<name>: <count>". The store can be swapped under it: the link that
 * came last is used, and the one before it again if that goes. */
#include "http_incoming_handler.h"
#include "keyvalue_atomics.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct stores { /* links to key-value providers, the oldest first */
    struct wcp_link **links;
    size_t count;
};

static void answer(struct http_incoming_handler_handle *c, uint16_t status, struct wcp_str text)
{
    struct wcp_out *body = wcp_out_new(&wcp_u8),
                   *trailers = wcp_out_new(&http_types_option_fields_type);
    (void)wcp_out_write(body, text.ptr,
                        text.len); /* that is all: no need to wait until it is sent */
    wcp_out_end(body);
    const struct http_types_fields *none = NULL;
    (void)wcp_out_write(trailers, &none, 1);
    wcp_out_end(trailers);
    struct http_types_response r = {.status = status};
    r.body.out = body;
    r.trailers.out = trailers;
    http_incoming_handler_handle_ok(c, r);
}

/* The path without its slash and its query; it lives as long as the call. */
static struct wcp_str counter_name(const struct http_incoming_handler_handle *c)
{
    struct wcp_str path = c->request.path_with_query ? *c->request.path_with_query : WCP_STR("/");
    const char *query = memchr(path.ptr, '?', path.len);
    size_t end = query ? (size_t)(query - path.ptr) : path.len;
    size_t start = end > 0 && path.ptr[0] == '/';
    return (struct wcp_str){path.ptr + start, end - start};
}

static void counted(void *ctx, const struct keyvalue_atomics_increment_result *r, int status)
{
    struct http_incoming_handler_handle *c = ctx;
    struct wcp_arena *a = &c->call.arena;
    struct wcp_str name = counter_name(c);
    if (status)
        answer(c, 502,
               wcp_fmt(a, "the key-value store did not answer: %s\n", wcp_strerror(status)));
    else if (r->is_err && r->err.tag == KEYVALUE_STORE_ERROR_OTHER)
        answer(c, 502, wcp_fmt(a, "the key-value store says: %.*s\n", WCP_ARG(r->err.other)));
    else if (r->is_err)
        answer(c, 502, WCP_STR("the key-value store refused\n"));
    else
        answer(c, 200, wcp_fmt(a, "%.*s: %" PRIu64 "\n", WCP_ARG(name), r->ok));
}

static void handle(struct http_incoming_handler_handle *c)
{
    const struct stores *s = wcp_instance_data(c->call.instance);
    if (c->request.method.tag != HTTP_TYPES_METHOD_GET)
        answer(c, 405, WCP_STR("only GET counts\n"));
    else if (counter_name(c).len == 0)
        answer(c, 404, WCP_STR("GET /<name> counts <name>\n"));
    else if (s->count == 0)
        answer(c, 503, WCP_STR("no key-value store is linked\n"));
    else
        keyvalue_atomics_increment(s->links[s->count - 1], WCP_STR("default"), counter_name(c), 1,
                                   counted, c);
}

static int link_up(struct wcp_link *l, struct wcp_err *err)
{
    struct stores *s = wcp_instance_data(l->instance);
    if (l->role != WCP_SOURCE || !wcp_link_has_interface(l, "atomics"))
        return 0; /* from an http-server, which needs nothing; or of no use to us */
    s->links = wcp_realloc(s->links, (s->count + 1) * sizeof(struct wcp_link *));
    s->links[s->count++] = l;
    return 0;
}

static void link_down(struct wcp_link *l)
{
    struct stores *s = wcp_instance_data(l->instance);
    for (size_t i = 0; i < s->count; i++) {
        if (s->links[i] == l) {
            s->count--;
            memmove(&s->links[i], &s->links[i + 1], (s->count - i) * sizeof(struct wcp_link *));
            return;
        }
    }
}

static int start(struct wcp_instance *i, struct wcp_err *err)
{
    wcp_instance_set_data(i, wcp_calloc(1, sizeof(struct stores)));
    return 0;
}

static void stop(struct wcp_instance *i)
{
    struct stores *s = wcp_instance_data(i);
    free(s->links);
    free(s);
}

static const struct http_incoming_handler handler = {handle};

int main(int argc, char **argv)
{
    return wcp_main(
        argc, argv,
        &(struct wcp_provider){
            .name = "counter",
            .exports = (struct wcp_export[]){{&http_incoming_handler_interface, &handler}, {0}},
            .start = start,
            .stop = stop,
            .link_up = link_up,
            .link_down = link_down,
            .serves_anyone = true,
        });
}

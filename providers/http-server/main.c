/* http-server: HTTP requests become calls of wrpc:http/incoming-handler. Each link opens its
 * address, or waits behind the link that has it; the next in order takes over when that one goes.
 */
#include "server.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* The provider's own state. */
struct server {
    struct listener *listeners;
    struct http1_options options;
};

static void on_listener_closed(void *ctx)
{
    struct listener *l = ctx;
    free(l->address);
    free(l);
}

static void close_listener(struct server *server, struct listener *l)
{
    for (struct listener **p = &server->listeners; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    http1_close(l->http, on_listener_closed, l);
}

void site_unref(struct site *s)
{
    if (--s->refs)
        return;
    settings_free(&s->settings);
    free(s);
}

/* No new requests for s; the last one at an address closes it. */
static void retire(struct site *s)
{
    struct listener *l = s->listener;
    if (!l)
        return;
    for (struct site **p = &l->sites; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    s->listener = NULL;
    s->next = NULL;
    if (!l->sites)
        close_listener(wcp_instance_data(s->link->instance), l);
}

static struct listener *find_listener(const struct server *server, const struct sockaddr_storage *a)
{
    for (struct listener *l = server->listeners; l; l = l->next)
        if (memcmp(l->address, a, sizeof *a) == 0)
            return l;
    return NULL;
}

/* The site of the link that l is a new version of. */
static struct site *find_former(const struct server *server, const struct wcp_link *l)
{
    for (struct listener *i = server->listeners; i; i = i->next)
        for (struct site *s = i->sites; s; s = s->next)
            if (wcp_str_eq(s->link->target_id, l->target_id) && wcp_str_eq(s->link->name, l->name))
                return s;
    return NULL;
}

static int link_up(struct wcp_link *l, struct wcp_err *err)
{
    struct server *server = wcp_instance_data(l->instance);
    struct settings settings;
    struct sockaddr_storage address;
    int rc;
    if (l->role != WCP_SOURCE)
        return wcp_fail(err, WCP_EINVAL,
                        "'%s' is the link's source: expected this provider, which calls components",
                        l->source_id.ptr);
    if ((rc = settings_read(l, &settings, err)))
        return rc;
    if ((rc = http1_parse_address(settings.address, &address, err)))
        goto fail;
    struct listener *on = find_listener(server, &address);
    if (!on) {
        on = wcp_calloc(1, sizeof *on);
        on->address = wcp_calloc(1, sizeof address);
        *on->address = address;
        rc = http1_listen(wcp_loop(l->instance), settings.address, &server->options,
                          &exchange_handler, on, &on->http, err);
        if (rc) {
            on_listener_closed(on);
            goto fail;
        }
        on->next = server->listeners;
        server->listeners = on;
    }
    struct site *s = wcp_calloc(1, sizeof *s), *former = find_former(server, l);
    s->link = l;
    s->settings = settings;
    s->listener = on;
    s->refs = 1;
    l->data = s;
    struct site **place = &on->sites;
    while (*place && *place != former) /* a changed link keeps its place in the queue */
        place = &(*place)->next;
    s->next = *place;
    *place = s;
    if (former)
        retire(former);
    wcp_log(WCP_INFO, on->sites == s ? "serving" : "waiting behind another link", "address",
            settings.address, "component", l->target_id.ptr, "link", l->name.ptr, NULL);
    return 0;
fail:
    settings_free(&settings);
    return rc;
}

static void link_drain(struct wcp_link *l)
{
    retire(l->data);
}

static void link_down(struct wcp_link *l)
{
    struct site *s = l->data;
    retire(s);
    site_unref(s);
}

static int start(struct wcp_instance *i, struct wcp_err *err)
{
    const char *mode = wcp_provider_config(i, "routing_mode");
    const char *address = wcp_provider_config(i, "default_address");
    struct sockaddr_storage parsed;
    struct http1_options o = {.head_fields = HEADERS_MAX};
    uint64_t connections = 0, head_ms = 0, idle_ms = 0;
    int rc;
    if (mode && strcmp(mode, "address") != 0)
        return wcp_fail(
            err, WCP_EINVAL,
            "routing_mode: found '%.64s', but only 'address' is supported (not yet 'path' "
            "and 'host')",
            mode);
    if (address && http1_parse_address(address, &parsed, err))
        return wcp_wrap(err, "default_address");
    const struct {
        const char *key;
        uint64_t most, *out;
    } numbers[] = {{"max_connections", 1000000, &connections},
                   {"max_body_bytes", UINT64_MAX / 4, &o.body_bytes},
                   {"head_timeout_ms", UINT32_MAX, &head_ms},
                   {"idle_timeout_ms", UINT32_MAX, &idle_ms}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        if ((rc = settings_number(numbers[k].key, wcp_provider_config(i, numbers[k].key),
                                  numbers[k].most, numbers[k].out, err)))
            return rc;
    o.connections = (size_t)connections;
    o.head_ms = (uint32_t)head_ms;
    o.idle_ms = (uint32_t)idle_ms;
    struct server *server = wcp_calloc(1, sizeof *server);
    server->options = o;
    wcp_instance_set_data(i, server);
    return 0;
}

/* Every link is down, so every listener is closed or closing by itself. */
static void stop(struct wcp_instance *i)
{
    free(wcp_instance_data(i));
}

int main(int argc, char **argv)
{
    return wcp_main(
        argc, argv,
        &(struct wcp_provider){
            .name = "http-server",
            .start = start,
            .stop = stop,
            .link_up = link_up,
            .link_drain = link_drain,
            .link_down = link_down,
            /* As long as wasi:http waits by default; timeout_ms of a link shortens it. */
            .limits = {.call_ms = 600000},
        });
}

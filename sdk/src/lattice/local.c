/* local.c: the links of callers over sockets. */
#include "lattice/local.h"
#include <stdlib.h>

static bool is_same_package(const struct wcp_interface *a, const struct wcp_interface *b)
{
    struct wcp_str ns[2], package[2], name;
    interface_split(a->name, &ns[0], &package[0], &name);
    interface_split(b->name, &ns[1], &package[1], &name);
    return wcp_str_eq(ns[0], ns[1]) && wcp_str_eq(package[0], package[1]);
}

static bool is_first_of_package(const struct wcp_export *all, const struct wcp_export *e)
{
    while (!is_same_package(all->interface, e->interface))
        all++;
    return all == e;
}

void local_links_put(struct links *t, const struct wcp_provider *def, const struct hostdata *hd)
{
    for (const struct wcp_export *e = def->exports; hd->listens && e && e->interface; e++) {
        struct wcp_str ns, package, name;
        if (!is_first_of_package(def->exports, e))
            continue;
        interface_split(e->interface->name, &ns, &package, &name);
        struct linkdef l = {.source_id = wcp_str_dup(WCP_STR(LOCAL_SOURCE)),
                            .target = wcp_str_dup(wcp_str(hd->provider_id)),
                            .name = wcp_str_dup(WCP_STR(LOCAL_NAME)),
                            .wit_namespace = wcp_str_dup(ns),
                            .wit_package = wcp_str_dup(package)};
        for (const struct wcp_export *k = e; k->interface; k++)
            if (is_same_package(k->interface, e->interface)) {
                interface_split(k->interface->name, &ns, &package, &name);
                char *text = wcp_str_dup(name);
                strings_put(&l.interfaces, text);
                free(text);
            }
        for (size_t i = 0; i < hd->config.n; i++)
            config_put(&l.target_config, hd->config.at[i].key, hd->config.at[i].value);
        links_put_local(t, &l);
    }
}

/* local.c: the links that only this process knows. */
#include "lattice/local.h"
#include "lattice/json.h"
#include <stdlib.h>
#include <string.h>

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

static int parse_link(struct json_object *o, const char *id, struct linkdef *l, struct wcp_err *err)
{
    int rc = linkdef_from_json(o, l, err);
    if (rc)
        return rc;
    if (l->source_secrets.ptr || l->target_secrets.ptr)
        rc = wcp_fail(err, WCP_EINVAL,
                      "sealed secrets found, none expected: give the provider its secrets in files "
                      "(--secrets-dir)");
    else if (strcmp(l->source_id, id) != 0 && strcmp(l->target, id) != 0)
        rc = wcp_fail(err, WCP_EINVAL,
                      "source_id '%.64s' and target '%.64s' found, '%.64s' "
                      "expected in one of them: it is this provider's id",
                      l->source_id, l->target, id);
    if (rc)
        linkdef_free(l);
    return rc;
}

int local_links_parse(struct wcp_bytes json, struct hostdata *hd, struct wcp_err *err)
{
    struct json_object *list = NULL;
    int rc = json_parse_list(json, &list, err);
    size_t n = rc ? 0 : json_object_array_length(list);
    hd->local_links = wcp_calloc(n + 1, sizeof *hd->local_links);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = parse_link(json_object_array_get_idx(list, i), hd->provider_id,
                        &hd->local_links[hd->local_link_count], err);
        if (rc)
            wcp_wrap(err, "item %zu", i);
        else
            hd->local_link_count++;
    }
    json_object_put(list);
    return rc;
}

void local_links_put(struct links *t, const struct wcp_provider *def, const struct hostdata *hd)
{
    for (size_t i = 0; i < hd->local_link_count; i++) {
        struct linkdef l;
        linkdef_copy(&l, &hd->local_links[i]);
        links_put_local(t, &l, false);
    }
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
        links_put_local(t, &l, true);
    }
}

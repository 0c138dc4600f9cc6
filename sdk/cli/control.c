/* control.c: see control.h. */
#include "cli/control.h"
#include "cli/document.h"
#include "cli/stored.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- operations --- */

/* One operation of a host. body may be NULL; *response, if asked for, is the caller's then (NULL:
 * there was none). */
static int ask_host(struct session *s, const char *operation, struct json_object *body,
                    struct json_object **response, struct wcp_err *err)
{
    char subject[512];
    struct wcp_buf answer = {0};
    int n =
        snprintf(subject, sizeof subject, "wasmbus.ctl.v1.%s.%s", session_lattice(s), operation);
    if (n < 0 || (size_t)n >= sizeof subject)
        return wcp_fail(err, WCP_ETOOBIG, "%.60s...: the ids are too long", operation);
    int rc =
        session_ask(s, subject, body ? document_bytes(body) : (struct wcp_bytes){0}, &answer, err);
    if (rc == WCP_ENOENT)
        rc = wcp_fail(
            err, rc,
            "nobody answers on %s: no host is in lattice '%s' (start one, or use --direct)",
            subject, session_lattice(s));
    if (rc == 0) {
        struct json_object *o = document_parse(&answer),
                           *ok = document_member(o, "success", json_type_boolean);
        if (!ok)
            rc = wcp_fail(err, WCP_EPROTO, "%s: '%.80s' found, {\"success\":...} expected", subject,
                          (const char *)answer.ptr);
        else if (!json_object_get_boolean(ok))
            rc = wcp_fail(err, WCP_EIO, "%s: the host says: %s", subject,
                          document_text(o, "message"));
        else if (response)
            *response = json_object_get(json_object_object_get(o, "response"));
        json_object_put(o);
    }
    wcp_buf_free(&answer);
    return rc;
}

/* --- named config --- */

void control_config_prefix(const struct linkdef *l, struct wcp_buf *b)
{
    wcp_buf_fmt(b, "wcp-%s-%s-%s-%s-", l->source_id, l->wit_namespace, l->wit_package, l->name);
}

int control_config_put(struct session *s, const struct linkdef *l, const char *end,
                       const struct config *c, struct strings *names, struct wcp_err *err)
{
    if (c->n == 0)
        return 0;
    struct wcp_buf operation = {0};
    struct json_object *map = json_object_new_object();
    for (size_t i = 0; i < c->n; i++)
        document_add(map, c->at[i].key, c->at[i].value);
    wcp_buf_fmt(&operation, "config.put.");
    size_t name = operation.len;
    control_config_prefix(l, &operation);
    wcp_buf_fmt(&operation, "%s-%s", l->target, end);
    wcp_buf_put(&operation, "", 1);
    int rc = ask_host(s, (const char *)operation.ptr, map, NULL, err);
    if (rc == 0)
        strings_put(names, (const char *)operation.ptr + name);
    json_object_put(map);
    wcp_buf_free(&operation);
    return rc;
}

int control_config_drop(struct session *s, const struct linkdef *l, const struct strings *names,
                        struct wcp_err *err)
{
    struct wcp_buf prefix = {0};
    int rc = 0;
    control_config_prefix(l, &prefix);
    for (size_t i = 0; i < names->n && rc == 0; i++) {
        if (strncmp(names->at[i], (const char *)prefix.ptr, prefix.len) != 0)
            continue;
        struct wcp_buf operation = {0};
        wcp_buf_fmt(&operation, "config.del.%s", names->at[i]);
        wcp_buf_put(&operation, "", 1);
        rc = ask_host(s, (const char *)operation.ptr, NULL, NULL, err);
        wcp_buf_free(&operation);
    }
    wcp_buf_free(&prefix);
    return rc;
}

int control_config_get(struct session *s, const struct strings *names, struct config *c,
                       struct wcp_err *err)
{
    for (size_t i = 0; i < names->n; i++) {
        char operation[400];
        struct json_object *map = NULL;
        struct config one = {0};
        if (strncmp(names->at[i], "SECRET", 6) == 0)
            return wcp_fail(err, WCP_EAUTH, "config '%.100s' is a secret: only hosts read it",
                            names->at[i]);
        (void)snprintf(operation, sizeof operation, "config.get.%s", names->at[i]);
        int rc = ask_host(s, operation, NULL, &map, err);
        if (rc == 0 && !map)
            rc = wcp_fail(err, WCP_ENOENT, "there is no config '%.100s'", names->at[i]);
        if (rc == 0 && (rc = config_from_json(map, &one, err)))
            (void)wcp_wrap(err, "config '%.100s'", names->at[i]);
        for (size_t k = 0; k < one.n && rc == 0; k++)
            config_put(c, one.at[k].key, one.at[k].value);
        config_free(&one);
        json_object_put(map);
        if (rc)
            return rc;
    }
    return 0;
}

/* --- links --- */

int control_link_put(struct session *s, const struct linkdef *l, const struct strings *source_names,
                     const struct strings *target_names, struct wcp_err *err)
{
    struct json_object *o = json_object_new_object();
    document_add(o, "source_id", l->source_id);
    document_add(o, "target", l->target);
    document_add(o, "name", l->name);
    document_add(o, "wit_namespace", l->wit_namespace);
    document_add(o, "wit_package", l->wit_package);
    json_object_object_add(o, "interfaces", document_array(&l->interfaces));
    json_object_object_add(o, "source_config", document_array(source_names));
    json_object_object_add(o, "target_config", document_array(target_names));
    int rc = ask_host(s, "link.put", o, NULL, err);
    json_object_put(o);
    return rc;
}

int control_link_del(struct session *s, const struct linkdef *l, struct wcp_err *err)
{
    struct strings names = {0};
    struct json_object *all = NULL, *o = json_object_new_object();
    int rc = ask_host(s, "link.get", NULL, &all, err);
    if (rc == 0 && json_object_is_type(all, json_type_array)) {
        /* Hosts delete the first match. */
        for (size_t i = 0; i < json_object_array_length(all); i++) {
            struct json_object *link = json_object_array_get_idx(all, i);
            if (document_is_link(link, l)) {
                document_strings(document_member(link, "source_config", json_type_array), &names);
                document_strings(document_member(link, "target_config", json_type_array), &names);
                break;
            }
        }
    }
    struct former former = {0};
    if (rc == 0 && stored_former_get(s, l, &former, &(struct wcp_err){0}) == 0) {
        for (size_t i = 0; i < former.target_names.n; i++)
            strings_put(&names, former.target_names.at[i]);
        stored_former_name(l, &names);
    }
    former_free(&former);
    document_add(o, "source_id", l->source_id);
    document_add(o, "name", l->name);
    document_add(o, "wit_namespace", l->wit_namespace);
    document_add(o, "wit_package", l->wit_package);
    if (rc == 0)
        rc = ask_host(s, "link.del", o, NULL, err);
    if (rc == 0)
        rc = control_config_drop(s, l, &names, err);
    json_object_put(all);
    json_object_put(o);
    strings_free(&names);
    return rc;
}

/* --- hosts and their providers --- */

static void on_host(void *ctx, struct wcp_bytes answer)
{
    struct wcp_buf b = {0};
    wcp_buf_put(&b, answer.ptr, answer.len);
    struct json_object *o = document_parse(&b);
    const char *id = document_text(document_member(o, "response", json_type_object), "id");
    if (options_id("host", id, &(struct wcp_err){0}) == 0)
        strings_put(ctx, id);
    json_object_put(o);
    wcp_buf_free(&b);
}

int control_lists(struct session *s, const char *host, const char *id, struct wcp_err *err)
{
    char operation[ID_MAX + 32];
    struct json_object *inventory = NULL;
    (void)snprintf(operation, sizeof operation, "host.get.%s", host);
    int rc = ask_host(s, operation, NULL, &inventory, err);
    struct json_object *list = document_member(inventory, "providers", json_type_array);
    bool found = false;
    for (size_t i = 0; list && i < json_object_array_length(list) && !found; i++)
        found = strcmp(document_text(json_object_array_get_idx(list, i), "id"), id) == 0;
    json_object_put(inventory);
    return rc ? rc : found ? 0 : wcp_fail(err, WCP_ENOENT, "host %s does not list '%s'", host, id);
}

int control_hosts_of(struct session *s, const char *id, struct strings *hosts, struct wcp_err *err)
{
    char subject[ID_MAX + 64];
    struct strings all = {0};
    (void)snprintf(subject, sizeof subject, "wasmbus.ctl.v1.%s.host.ping", session_lattice(s));
    (void)session_ask_all(s, subject, on_host, &all);
    for (size_t i = 0; i < all.n; i++)
        if (control_lists(s, all.at[i], id, err) == 0)
            strings_put(hosts, all.at[i]);
    int rc = hosts->n ? 0
                      : wcp_fail(err, WCP_ENOENT, "none of %zu hosts in lattice '%s' lists '%s'%s",
                                 all.n, session_lattice(s), id, session_why(s));
    strings_free(&all);
    return rc;
}

int control_provider_stop(struct session *s, const char *host, const char *id, struct wcp_err *err)
{
    char operation[ID_MAX + 32];
    struct json_object *o = json_object_new_object();
    document_add(o, "host_id", host);
    document_add(o, "provider_id", id);
    (void)snprintf(operation, sizeof operation, "provider.stop.%s", host);
    int rc = ask_host(s, operation, o, NULL, err);
    json_object_put(o);
    return rc;
}

/* link.c: wcp link put and del, wcp health, and what commands about links share (link.h). With
 * --direct we play the host: link messages go to both ends, and nothing is stored. */
#include "cli/link.h"
#include "cli/control.h"
#include "cli/document.h"
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_MS 100 /* between two questions for health */

int options_link(const struct options *o, const char *target, bool need_interfaces,
                 struct linkdef *l, struct wcp_err *err)
{
    const char *text = o->value[OPT_INTERFACE], *name = o->value[OPT_NAME];
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    if (strchr(text, '@'))
        return wcp_fail(err, WCP_EINVAL, "interface %.100s: links have no version: leave %.40s out",
                        text, strchr(text, '@'));
    if (!colon || colon == text || (slash && slash < colon) || colon[1] == '\0' ||
        slash == colon + 1)
        return wcp_fail(err, WCP_EINVAL, "interface: '%.100s' found, NS:PKG/IFACE[,IFACE] expected",
                        text);
    if (!slash && need_interfaces)
        return wcp_fail(
            err, WCP_EINVAL,
            "interface %.100s: the interfaces are missing, as in wasi:keyvalue/store,atomics",
            text);
    const char *end = slash ? slash : text + strlen(text);
    l->source_id = wcp_str_dup(wcp_str(o->value[OPT_SOURCE]));
    l->target = wcp_str_dup(wcp_str(target ? target : ""));
    l->name = wcp_str_dup(wcp_str(name ? name : "default"));
    l->wit_namespace = wcp_str_dup((struct wcp_str){text, (size_t)(colon - text)});
    l->wit_package = wcp_str_dup((struct wcp_str){colon + 1, (size_t)(end - colon - 1)});
    while (*end) {
        const char *iface = end + 1;
        end = iface + strcspn(iface, ",");
        if (end == iface || memchr(iface, '/', (size_t)(end - iface)))
            return wcp_fail(err, WCP_EINVAL, "interface %.100s: names separated by commas expected",
                            text);
        char *copy = wcp_str_dup((struct wcp_str){iface, (size_t)(end - iface)});
        strings_put(&l->interfaces, copy);
        free(copy);
    }
    return 0;
}

void link_copy_config(struct config *to, const struct config *from)
{
    for (size_t i = 0; i < from->n; i++)
        config_put(to, from->at[i].key, from->at[i].value);
}

/* --- health --- */

int link_health(struct session *s, const char *id, struct wcp_err *err)
{
    char subject[300];
    struct wcp_buf answer = {0};
    (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s.health", session_lattice(s), id);
    int rc = session_ask(s, subject, (struct wcp_bytes){0}, &answer, err);
    wcp_buf_put(&answer, "", 1);
    struct json_object *o = rc ? NULL : json_tokener_parse((const char *)answer.ptr), *v;
    if (rc == WCP_ENOENT)
        rc = wcp_fail(err, rc, "nobody answers on %s: '%s' does not run in lattice '%s'", subject,
                      id, session_lattice(s));
    else if (rc == 0 && (!json_object_object_get_ex(o, "healthy", &v) ||
                         !json_object_is_type(v, json_type_boolean)))
        rc = wcp_fail(err, WCP_EPROTO, "%s: '%.100s' found, {\"healthy\":true|false} expected",
                      subject, (const char *)answer.ptr);
    else if (rc == 0 && !json_object_get_boolean(v))
        rc = wcp_fail(err, WCP_EIO, "%s is not healthy: %s", id,
                      json_object_object_get_ex(o, "message", &v) ? json_object_get_string(v)
                                                                  : "it does not say why");
    json_object_put(o);
    wcp_buf_free(&answer);
    return rc;
}

int link_wait_healthy(struct session *s, const char *id, uint32_t wait_ms, struct wcp_err *err)
{
    uint64_t end = session_now(s) + wait_ms;
    int rc;
    while ((rc = link_health(s, id, err)) != 0 && session_now(s) < end)
        session_sleep(s, ASK_AGAIN_MS);
    return rc;
}

int cmd_health(const struct options *o, struct wcp_err *err)
{
    struct session *s = NULL;
    const char *id = o->operands[0];
    int rc = options_id("ID", id, err);
    if (rc == 0)
        rc = session_open(o, &s, err);
    if (rc == 0)
        rc = link_wait_healthy(s, id, o->wait_ms, err);
    if (rc == 0)
        printf("%s: healthy\n", id);
    session_close(s);
    return rc;
}

/* --- link messages --- */

void link_tell(struct session *s, const char *id, const char *what, const struct linkdef *l)
{
    char subject[300];
    struct wcp_buf b = {0};
    struct linkdef bare = *l;
    if (strcmp(what, "del") == 0) { /* hosts send it without configuration */
        bare.source_config = (struct config){0};
        bare.target_config = (struct config){0};
    }
    linkdef_print(&bare, &b);
    (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s.linkdefs.%s", session_lattice(s), id,
                   what);
    session_tell(s, subject, (struct wcp_bytes){b.ptr, b.len});
    wcp_buf_free(&b);
}

/* The provider may have answered the first question just before it took the put in the same turn;
 * when it answers the second one it has it. */
int link_put_and_see(struct session *s, const char *id, const struct linkdef *l, uint32_t wait_ms,
                     struct wcp_err *err)
{
    link_tell(s, id, "put", l);
    int rc = link_health(s, id, err);
    if (rc != WCP_ENOENT)
        rc = link_wait_healthy(s, id, wait_ms, err);
    return rc;
}

/* What the replicas of a target say of one link. */
struct sight {
    const struct linkdef *link;
    size_t answers, ready;
    char why[300]; /* of one that is not */
};

static void on_links(void *ctx, struct wcp_bytes answer)
{
    struct sight *x = ctx;
    struct wcp_buf b = {0};
    wcp_buf_put(&b, answer.ptr, answer.len);
    struct json_object *o = document_parse(&b),
                       *list = document_member(o, "links", json_type_array),
                       *omitted = document_member(o, "omitted", json_type_int);
    const char *state = "not there", *reason = "";
    if (json_object_get_int64(omitted)) /* of too many links; those that are ready come last */
        state = "ready";
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *l = json_object_array_get_idx(list, i);
        /* An older one of the same name may still be draining: the one that lives counts. */
        if (document_is_link(l, x->link) &&
            strcmp(document_text(l, "target"), x->link->target) == 0 &&
            strcmp(document_text(l, "state"), "draining") != 0) {
            state = document_text(l, "state");
            reason = document_text(l, "reason");
        }
    }
    x->answers++;
    if (strcmp(state, "ready") == 0)
        x->ready++;
    else
        (void)snprintf(x->why, sizeof x->why, "%.20s%s%.250s", state, *reason ? ": " : "", reason);
    json_object_put(o);
    wcp_buf_free(&b);
}

/* Is l ready at its target, at all replicas? Providers of others say only how they are in all. */
static int link_ready(struct session *s, const struct linkdef *l, struct wcp_err *err)
{
    char subject[300];
    struct sight x = {.link = l};
    (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s.links", session_lattice(s),
                   l->target);
    int rc = session_ask_all(s, subject, on_links, &x);
    if (rc == WCP_ENOENT)
        return link_health(s, l->target, err);
    if (!x.answers)
        return wcp_fail(err, WCP_ETIMEOUT, "no answer on %s%s", subject, session_why(s));
    return x.ready == x.answers
               ? 0
               : wcp_fail(err, WCP_EIO, "the link at '%s' is %s", l->target, x.why);
}

int link_put_ready(struct session *s, const struct linkdef *l, uint32_t wait_ms,
                   struct wcp_err *err)
{
    uint64_t end = session_now(s) + wait_ms;
    int rc;
    link_tell(s, l->target, "put", l);
    while ((rc = link_ready(s, l, err)) != 0 && rc != WCP_ENOENT && session_now(s) < end)
        session_sleep(s, ASK_AGAIN_MS);
    return rc;
}

void link_print(const struct linkdef *l, const char *what)
{
    printf("%s -> %s (%s:%s, link '%s'): %s\n", l->source_id, l->target, l->wit_namespace,
           l->wit_package, l->name, what);
}

int link_direct_configs(const struct options *o, struct wcp_err *err)
{
    const struct strings *names = o->source_names.n ? &o->source_names : &o->target_names;
    return names->n ? wcp_fail(err, WCP_EINVAL,
                               "'%.100s' found, KEY=VALUE expected: named configs are resolved by "
                               "hosts, not with --direct",
                               names->at[0])
                    : 0;
}

static int put_direct(struct session *s, const struct options *o, const struct linkdef *l,
                      struct wcp_err *err)
{
    const char *ends[] = {l->target, l->source_id};
    int there = 0;
    for (int i = 0; i < 2; i++) {
        int rc = link_put_and_see(s, ends[i], l, o->timeout_ms, err); /* its backend connects */
        if (rc == 0)
            there++;
        else if (rc == WCP_ENOENT)
            printf("%s: not there, or a component under a host: not told\n", ends[i]);
        else
            return rc;
    }
    if (!there)
        return wcp_fail(
            err, WCP_ENOENT,
            "neither '%s' nor '%s' runs in lattice '%s', and with --direct nobody keeps "
            "the link until they do",
            l->target, l->source_id, session_lattice(s));
    return 0;
}

static int put_by_host(struct session *s, const struct options *o, const struct linkdef *l,
                       struct wcp_err *err)
{
    struct strings source = {0}, target = {0};
    for (size_t i = 0; i < o->source_names.n; i++)
        strings_put(&source, o->source_names.at[i]);
    for (size_t i = 0; i < o->target_names.n; i++)
        strings_put(&target, o->target_names.at[i]);
    int rc = control_config_put(s, l, "source", &o->source_config, &source, err);
    if (rc == 0)
        rc = control_config_put(s, l, "target", &o->target_config, &target, err);
    if (rc == 0)
        rc = control_link_put(s, l, &source, &target, err);
    strings_free(&source);
    strings_free(&target);
    return rc;
}

int cmd_link_put(const struct options *o, struct wcp_err *err)
{
    struct linkdef l = {0};
    struct session *s = NULL;
    bool direct = o->value[OPT_DIRECT] != NULL;
    int rc = options_link(o, o->value[OPT_TARGET], true, &l, err);
    if (rc == 0 && direct)
        rc = link_direct_configs(o, err);
    if (rc == 0)
        rc = session_open(o, &s, err);
    if (rc == 0) {
        link_copy_config(&l.source_config, &o->source_config);
        link_copy_config(&l.target_config, &o->target_config);
        rc = direct ? put_direct(s, o, &l, err) : put_by_host(s, o, &l, err);
    }
    if (rc == 0)
        link_print(&l, "put");
    session_close(s);
    linkdef_free(&l);
    return rc;
}

int cmd_link_del(const struct options *o, struct wcp_err *err)
{
    struct linkdef l = {0};
    struct session *s = NULL;
    bool direct = o->value[OPT_DIRECT] != NULL;
    int rc = options_link(o, o->value[OPT_TARGET], false, &l, err);
    if (rc == 0 && direct && !o->value[OPT_TARGET])
        rc = wcp_fail(err, WCP_EINVAL, "--target ID is missing: with --direct both ends are told");
    if (rc == 0)
        rc = session_open(o, &s, err);
    if (rc == 0 && direct) {
        link_tell(s, l.source_id, "del", &l);
        link_tell(s, l.target, "del", &l);
    } else if (rc == 0) {
        rc = control_link_del(s, &l, err);
    }
    if (rc == 0)
        printf("%s (%s:%s, link '%s'): deleted\n", l.source_id, l.wit_namespace, l.wit_package,
               l.name);
    session_close(s);
    linkdef_free(&l);
    return rc;
}

/* control.c: see control.h. */
#include "cli/control.h"
#include <json-c/json.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- JSON --- */

static struct json_object *member(struct json_object *o, const char *name, json_type type)
{
    struct json_object *v = NULL;
    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, name, &v) &&
                   json_object_is_type(v, type)
               ? v
               : NULL;
}

static const char *text_member(struct json_object *o, const char *name)
{
    struct json_object *v = member(o, name, json_type_string);
    return v ? json_object_get_string(v) : "";
}

static void add_text(struct json_object *o, const char *name, const char *value)
{
    json_object_object_add(o, name, json_object_new_string(value));
}

static struct json_object *array_of(const struct strings *s)
{
    struct json_object *a = json_object_new_array();
    for (size_t i = 0; i < s->n; i++)
        json_object_array_add(a, json_object_new_string(s->at[i]));
    return a;
}

static void strings_of(struct json_object *array, struct strings *s)
{
    for (size_t i = 0; array && i < json_object_array_length(array); i++)
        strings_put(s, json_object_get_string(json_object_array_get_idx(array, i)));
}

static struct json_object *parse(struct wcp_buf *b)
{
    wcp_buf_put(b, "", 1);
    return json_tokener_parse((const char *)b->ptr);
}

static struct wcp_bytes bytes_of(struct json_object *o)
{
    const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    return (struct wcp_bytes){(const uint8_t *)text, strlen(text)};
}

/* --- the control interface --- */

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
    int rc = session_ask(s, subject, body ? bytes_of(body) : (struct wcp_bytes){0}, &answer, err);
    if (rc == WCP_ENOENT)
        rc = wcp_fail(
            err, rc,
            "nobody answers on %s: no host is in lattice '%s' (start one, or use --direct)",
            subject, session_lattice(s));
    if (rc == 0) {
        struct json_object *o = parse(&answer), *ok = member(o, "success", json_type_boolean);
        if (!ok)
            rc = wcp_fail(err, WCP_EPROTO, "%s: '%.80s' found, {\"success\":...} expected", subject,
                          (const char *)answer.ptr);
        else if (!json_object_get_boolean(ok))
            rc =
                wcp_fail(err, WCP_EIO, "%s: the host says: %s", subject, text_member(o, "message"));
        else if (response)
            *response = json_object_get(json_object_object_get(o, "response"));
        json_object_put(o);
    }
    wcp_buf_free(&answer);
    return rc;
}

int control_link_put(struct session *s, const struct linkdef *l, const struct strings *source_names,
                     const struct strings *target_names, struct wcp_err *err)
{
    struct json_object *o = json_object_new_object();
    add_text(o, "source_id", l->source_id);
    add_text(o, "target", l->target);
    add_text(o, "name", l->name);
    add_text(o, "wit_namespace", l->wit_namespace);
    add_text(o, "wit_package", l->wit_package);
    json_object_object_add(o, "interfaces", array_of(&l->interfaces));
    json_object_object_add(o, "source_config", array_of(source_names));
    json_object_object_add(o, "target_config", array_of(target_names));
    int rc = ask_host(s, "link.put", o, NULL, err);
    json_object_put(o);
    return rc;
}

/* Is the link document o the one of l's source, package and name? */
static bool same_link(struct json_object *o, const struct linkdef *l)
{
    struct json_object *name = member(o, "name", json_type_string);
    return strcmp(text_member(o, "source_id"), l->source_id) == 0 &&
           strcmp(text_member(o, "wit_namespace"), l->wit_namespace) == 0 &&
           strcmp(text_member(o, "wit_package"), l->wit_package) == 0 &&
           strcmp(name ? json_object_get_string(name) : "default", l->name) == 0;
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
            if (same_link(link, l)) {
                strings_of(member(link, "source_config", json_type_array), &names);
                strings_of(member(link, "target_config", json_type_array), &names);
                break;
            }
        }
    }
    add_text(o, "source_id", l->source_id);
    add_text(o, "name", l->name);
    add_text(o, "wit_namespace", l->wit_namespace);
    add_text(o, "wit_package", l->wit_package);
    if (rc == 0)
        rc = ask_host(s, "link.del", o, NULL, err);
    if (rc == 0)
        rc = control_config_drop(s, l, &names, err);
    json_object_put(all);
    json_object_put(o);
    strings_free(&names);
    return rc;
}

/* --- named config --- */

/* What the names of the configs begin with that wcp makes for l. */
static void config_prefix(const struct linkdef *l, struct wcp_buf *b)
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
        add_text(map, c->at[i].key, c->at[i].value);
    wcp_buf_fmt(&operation, "config.put.");
    size_t name = operation.len;
    config_prefix(l, &operation);
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
    config_prefix(l, &prefix);
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

/* --- where hosts keep the links of a source: COMPONENT_<id> in LATTICEDATA (lattice.md §9) --- */

static int jetstream_off(struct wcp_err *err)
{
    return wcp_fail(err, WCP_ENOENT,
                    "nobody answers for JetStream, where hosts keep links: it is off in this NATS "
                    "server or account (or use --direct)");
}

/* The code of a JetStream error in answer o; 0: it is none. */
static int error_code(struct json_object *o, const char **text)
{
    struct json_object *e = member(o, "error", json_type_object);
    if (!e)
        return 0;
    struct json_object *code = member(e, "err_code", json_type_int);
    *text = text_member(e, "description");
    return code ? json_object_get_int(code) : -1;
}

enum { NO_MESSAGE = 10037, NO_STREAM = 10059, WRONG_LAST_SEQUENCE = 10071 };

/* The document with the links of source, and its revision. Asks the stream itself, not one of its
 * mirrors as a direct get may: what a write is based on should be the newest. */
static int read_links(struct session *s, const char *source, struct json_object **document,
                      uint64_t *revision, struct wcp_err *err)
{
    char subject[400], body[400];
    const char *lattice = session_lattice(s), *text = "";
    struct wcp_buf answer = {0}, data = {0};
    struct json_object *message;
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.GET.KV_LATTICEDATA_%s", lattice);
    (void)snprintf(body, sizeof body, "{\"last_by_subj\":\"$KV.LATTICEDATA_%s.COMPONENT_%s\"}",
                   lattice, source);
    int rc = session_ask(s, subject, (struct wcp_bytes){(const uint8_t *)body, strlen(body)},
                         &answer, err);
    if (rc) {
        wcp_buf_free(&answer);
        return rc == WCP_ENOENT ? jetstream_off(err) : rc;
    }
    struct json_object *o = parse(&answer);
    int code = error_code(o, &text);
    if (code == NO_STREAM) {
        rc = wcp_fail(err, WCP_ENOENT,
                      "there is no bucket LATTICEDATA_%s: no host has been in lattice '%s'",
                      lattice, lattice);
    } else if (code == NO_MESSAGE) {
        rc = wcp_fail(err, WCP_ENOENT, "'%s' has no links in lattice '%s'", source, lattice);
    } else if (code) {
        rc = wcp_fail(err, WCP_EIO, "%s: %s", subject, text);
    } else {
        const char *base64;
        message = member(o, "message", json_type_object);
        base64 = text_member(message, "data");
        data.cap = strlen(base64) + 1;
        data.ptr = wcp_calloc(1, data.cap);
        if (sodium_base642bin(data.ptr, data.cap - 1, base64, strlen(base64), NULL, &data.len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
            data.len = 0;
        *revision = (uint64_t)json_object_get_int64(member(message, "seq", json_type_int));
        *document = parse(&data);
        /* An empty one is the mark of a deleted key. */
        if (!member(*document, "links", json_type_array))
            rc = wcp_fail(err, WCP_EPROTO, "LATTICEDATA_%s: COMPONENT_%s holds no links", lattice,
                          source);
    }
    json_object_put(o);
    wcp_buf_free(&answer);
    wcp_buf_free(&data);
    return rc;
}

/* The link that l describes, but with this target, among those of the document; NULL: none. *other
 * is the target of one that differs in that alone. */
static struct json_object *find_link(struct json_object *document, const struct linkdef *l,
                                     const char *target, const char **other)
{
    struct json_object *links = member(document, "links", json_type_array);
    for (size_t i = 0; i < json_object_array_length(links); i++) {
        struct json_object *o = json_object_array_get_idx(links, i);
        if (!same_link(o, l))
            continue;
        if (strcmp(text_member(o, "target"), target) == 0)
            return o;
        *other = text_member(o, "target");
    }
    return NULL;
}

/* Reads the links of l's source; *link is the one that l describes. */
static int read_link(struct session *s, const struct linkdef *l, struct json_object **document,
                     struct json_object **link, uint64_t *revision, struct wcp_err *err)
{
    const char *other = NULL;
    int rc = read_links(s, l->source_id, document, revision, err);
    if (rc)
        return rc;
    *link = find_link(*document, l, l->target, &other);
    if (*link)
        return 0;
    if (other)
        return wcp_fail(err, WCP_ENOENT, "link '%s' of '%s' for %s:%s goes to '%.60s', not to '%s'",
                        l->name, l->source_id, l->wit_namespace, l->wit_package, other, l->target);
    return wcp_fail(err, WCP_ENOENT, "'%s' has no link '%s' for %s:%s", l->source_id, l->name,
                    l->wit_namespace, l->wit_package);
}

int control_stored_link(struct session *s, struct linkdef *l, const char *to,
                        struct strings *source_names, struct strings *target_names,
                        struct wcp_err *err)
{
    struct json_object *document = NULL, *link = NULL;
    const char *other;
    uint64_t revision;
    int rc = read_link(s, l, &document, &link, &revision, err);
    if (rc == 0 && find_link(document, l, to, &other))
        rc = wcp_fail(err, WCP_EINVAL, "link '%s' of '%s' for %s:%s goes to '%s' as well", l->name,
                      l->source_id, l->wit_namespace, l->wit_package, to);
    if (rc == 0) {
        strings_free(&l->interfaces);
        l->interfaces = (struct strings){0};
        strings_of(member(link, "interfaces", json_type_array), &l->interfaces);
        strings_of(member(link, "source_config", json_type_array), source_names);
        strings_of(member(link, "target_config", json_type_array), target_names);
    }
    json_object_put(document);
    return rc;
}

/* Writes the document if it has not changed since revision. WCP_EMORE: it has. */
static int write_links(struct session *s, const char *source, struct json_object *document,
                       uint64_t revision, struct wcp_err *err)
{
    char subject[400], expected[24];
    const char *text = "";
    struct wcp_buf answer = {0};
    (void)snprintf(subject, sizeof subject, "$KV.LATTICEDATA_%s.COMPONENT_%s", session_lattice(s),
                   source);
    (void)snprintf(expected, sizeof expected, "%llu", (unsigned long long)revision);
    struct wcp_header header = {"Nats-Expected-Last-Subject-Sequence", expected};
    int rc = session_ask_with(s, subject, header, bytes_of(document), &answer, err);
    if (rc == 0) {
        struct json_object *o = parse(&answer);
        int code = error_code(o, &text);
        if (code == WRONG_LAST_SEQUENCE)
            rc = wcp_fail(err, WCP_EMORE, "%s: others keep changing it", subject);
        else if (code || !member(o, "seq", json_type_int))
            rc = wcp_fail(err, WCP_EIO, "%s: not written: %s", subject, text);
        json_object_put(o);
    } else if (rc != WCP_ENOENT) {
        (void)wcp_wrap(err, "whether the link has moved is not known");
    } else {
        rc = jetstream_off(err);
    }
    wcp_buf_free(&answer);
    return rc;
}

int control_retarget(struct session *s, const struct linkdef *l, const char *to,
                     const struct strings *target_names, struct wcp_err *err)
{
    int rc = WCP_EMORE;
    /* Who loses against another writer reads again; ten times in a row is no coincidence. */
    for (int tries = 0; rc == WCP_EMORE && tries < 10; tries++) {
        struct json_object *document = NULL, *link = NULL;
        uint64_t revision = 0;
        rc = read_link(s, l, &document, &link, &revision, err);
        if (rc == 0) {
            add_text(link, "target", to);
            json_object_object_add(link, "target_config", array_of(target_names));
            rc = write_links(s, l->source_id, document, revision, err);
        }
        json_object_put(document);
    }
    return rc;
}

/* stored.c: see stored.h. */
#include "cli/stored.h"
#include "cli/control.h"
#include "cli/document.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int jetstream_off(struct wcp_err *err)
{
    return wcp_fail(err, WCP_ENOENT,
                    "nobody answers for JetStream, where hosts keep links: it is off in this NATS "
                    "server or account (or use --direct)");
}

/* The code of a JetStream error in answer o; 0: it is none. */
static int error_code(struct json_object *o, const char **text)
{
    struct json_object *e = document_member(o, "error", json_type_object);
    if (!e)
        return 0;
    struct json_object *code = document_member(e, "err_code", json_type_int);
    *text = document_text(e, "description");
    return code ? json_object_get_int(code) : -1;
}

enum { NO_MESSAGE = 10037, NO_STREAM = 10059, WRONG_LAST_SEQUENCE = 10071 };

/* A key of a bucket. Asks the stream itself, not one of its mirrors as a direct get may: what a
 * write is based on should be the newest. An empty document, NULL, is the mark of a deleted key.
 * WCP_ENOENT: there is none, and what is missing. */
static int read_key(struct session *s, const char *bucket, const char *key,
                    struct json_object **document, uint64_t *revision, struct wcp_err *err)
{
    const char *lattice = session_lattice(s), *text = "";
    struct wcp_buf subject = {0}, body = {0}, answer = {0}, data = {0};
    session_js_prefix(s, &subject);
    wcp_buf_fmt(&subject, "STREAM.MSG.GET.KV_%s_%s", bucket, lattice);
    wcp_buf_put(&subject, "", 1);
    wcp_buf_fmt(&body, "{\"last_by_subj\":\"$KV.%s_%s.%s\"}", bucket, lattice, key);
    int rc = session_ask(s, (const char *)subject.ptr, (struct wcp_bytes){body.ptr, body.len},
                         &answer, err);
    if (rc) {
        rc = rc == WCP_ENOENT ? jetstream_off(err) : rc;
        goto out;
    }
    struct json_object *o = document_parse(&answer);
    int code = error_code(o, &text);
    if (code == NO_STREAM) {
        rc = wcp_fail(err, WCP_ENOENT, "there is no bucket %s_%s: no host has been in lattice '%s'",
                      bucket, lattice, lattice);
    } else if (code == NO_MESSAGE) {
        rc = wcp_fail(err, WCP_ENOENT, "%s_%s has no key %s", bucket, lattice, key);
    } else if (code) {
        rc = wcp_fail(err, WCP_EIO, "%s: %s", (const char *)subject.ptr, text);
    } else {
        struct json_object *message = document_member(o, "message", json_type_object);
        const char *base64 = document_text(message, "data");
        data.cap = strlen(base64) + 1;
        data.ptr = wcp_calloc(1, data.cap);
        if (sodium_base642bin(data.ptr, data.cap - 1, base64, strlen(base64), NULL, &data.len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
            data.len = 0;
        *revision = (uint64_t)json_object_get_int64(document_member(message, "seq", json_type_int));
        *document = document_parse(&data);
    }
    json_object_put(o);
out:
    wcp_buf_free(&subject);
    wcp_buf_free(&body);
    wcp_buf_free(&answer);
    wcp_buf_free(&data);
    return rc;
}

/* Writes the document if the key has not changed since *revision (NULL: in any case). WCP_EMORE: it
 * has. */
static int write_key(struct session *s, const char *bucket, const char *key,
                     struct json_object *document, const uint64_t *revision, struct wcp_err *err)
{
    struct wcp_buf subject = {0}, answer = {0};
    char expected[24];
    const char *text = "";
    if (session_js_domain(s)) /* writes to another domain go by way of its API */
        session_js_prefix(s, &subject);
    wcp_buf_fmt(&subject, "$KV.%s_%s.%s", bucket, session_lattice(s), key);
    wcp_buf_put(&subject, "", 1);
    const char *to = (const char *)subject.ptr;
    (void)snprintf(expected, sizeof expected, "%llu",
                   (unsigned long long)(revision ? *revision : 0));
    struct wcp_header header = {"Nats-Expected-Last-Subject-Sequence", expected};
    int rc = revision ? session_ask_with(s, to, header, document_bytes(document), &answer, err)
                      : session_ask(s, to, document_bytes(document), &answer, err);
    if (rc == 0) {
        struct json_object *o = document_parse(&answer);
        int code = error_code(o, &text);
        if (code == WRONG_LAST_SEQUENCE)
            rc = wcp_fail(err, WCP_EMORE, "%s: others keep changing it", to);
        else if (code || !document_member(o, "seq", json_type_int))
            rc = wcp_fail(err, WCP_EIO, "%s: not written: %s", to, text);
        json_object_put(o);
    } else if (rc != WCP_ENOENT) {
        (void)wcp_wrap(err, "whether it is written is not known");
    } else {
        rc = wcp_fail(err, rc, "nobody takes %s: the bucket is missing, or JetStream is off", to);
    }
    wcp_buf_free(&subject);
    wcp_buf_free(&answer);
    return rc;
}

/* --- links --- */

static int read_links(struct session *s, const char *source, struct json_object **document,
                      uint64_t *revision, struct wcp_err *err)
{
    char key[ID_MAX + 16];
    (void)snprintf(key, sizeof key, "COMPONENT_%s", source);
    int rc = read_key(s, "LATTICEDATA", key, document, revision, err);
    if (rc == 0 && !document_member(*document, "links", json_type_array))
        rc =
            wcp_fail(err, WCP_EPROTO, "LATTICEDATA_%s: %s holds no links", session_lattice(s), key);
    return rc;
}

/* The link that l describes, but with this target ("": any), among those of the document; NULL:
 * none. *other is the target of one that differs in that alone. */
static struct json_object *find_link(struct json_object *document, const struct linkdef *l,
                                     const char *target, const char **other)
{
    struct json_object *links = document_member(document, "links", json_type_array);
    for (size_t i = 0; i < json_object_array_length(links); i++) {
        struct json_object *o = json_object_array_get_idx(links, i);
        if (!document_is_link(o, l))
            continue;
        if (!*target || strcmp(document_text(o, "target"), target) == 0)
            return o;
        *other = document_text(o, "target");
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

int stored_find(struct session *s, struct linkdef *l, const char *to, struct strings *source_names,
                struct strings *target_names, struct wcp_err *err)
{
    struct json_object *document = NULL, *link = NULL;
    const char *other = NULL;
    uint64_t revision;
    int rc = read_link(s, l, &document, &link, &revision, err);
    if (rc == 0 && !*l->target) {
        free(l->target);
        l->target = wcp_str_dup(wcp_str(document_text(link, "target")));
        (void)find_link(document, l, "\n", &other); /* no id: all that differ are others */
        if (strcmp(other, l->target) != 0)
            rc =
                wcp_fail(err, WCP_EINVAL,
                         "link '%s' of '%s' for %s:%s goes to '%.60s' and to '%.60s': choose one "
                         "with --from",
                         l->name, l->source_id, l->wit_namespace, l->wit_package, l->target, other);
    }
    if (rc == 0 && find_link(document, l, to, &other))
        rc = wcp_fail(err, WCP_EINVAL, "link '%s' of '%s' for %s:%s goes to '%s'%s", l->name,
                      l->source_id, l->wit_namespace, l->wit_package, to,
                      strcmp(to, l->target) == 0 ? " already" : " as well");
    if (rc == 0) {
        strings_free(&l->interfaces);
        l->interfaces = (struct strings){0};
        document_strings(document_member(link, "interfaces", json_type_array), &l->interfaces);
        document_strings(document_member(link, "source_config", json_type_array), source_names);
        document_strings(document_member(link, "target_config", json_type_array), target_names);
    }
    json_object_put(document);
    return rc;
}

int stored_retarget(struct session *s, const struct linkdef *l, const char *to,
                    const struct strings *target_names, struct wcp_err *err)
{
    char key[ID_MAX + 16];
    int rc = WCP_EMORE;
    /* Who loses against another writer reads again; ten times in a row is no coincidence. */
    for (int tries = 0; rc == WCP_EMORE && tries < 10; tries++) {
        struct json_object *document = NULL, *link = NULL;
        uint64_t revision = 0;
        rc = read_link(s, l, &document, &link, &revision, err);
        if (rc == 0) {
            document_add(link, "target", to);
            json_object_object_add(link, "target_config", document_array(target_names));
            (void)snprintf(key, sizeof key, "COMPONENT_%s", l->source_id);
            rc = write_key(s, "LATTICEDATA", key, document, &revision, err);
        }
        json_object_put(document);
    }
    return rc;
}

/* --- undoing a swap --- */

void stored_former_name(const struct linkdef *l, struct strings *names)
{
    struct wcp_buf name = {0};
    control_config_prefix(l, &name);
    wcp_buf_fmt(&name, "swap");
    wcp_buf_put(&name, "", 1);
    strings_put(names, (const char *)name.ptr);
    wcp_buf_free(&name);
}

int stored_former_get(struct session *s, const struct linkdef *l, struct former *f,
                      struct wcp_err *err)
{
    struct strings name = {0};
    struct json_object *document = NULL;
    uint64_t revision;
    stored_former_name(l, &name);
    int rc = read_key(s, "CONFIGDATA", name.at[0], &document, &revision, err);
    const char *from = document_text(document, "from"), *to = document_text(document, "to"),
               *names = document_text(document, "target-config");
    if (rc == 0 && !*from) /* deleted */
        rc = wcp_fail(err, WCP_ENOENT, "CONFIGDATA_%s has no key %s", session_lattice(s),
                      name.at[0]);
    if (rc == 0) {
        f->from = wcp_str_dup(wcp_str(from));
        f->to = wcp_str_dup(wcp_str(to));
        for (size_t n; *names; names += n + (names[n] == ',')) {
            n = strcspn(names, ",");
            char *one = wcp_str_dup((struct wcp_str){names, n});
            strings_put(&f->target_names, one);
            free(one);
        }
    }
    json_object_put(document);
    strings_free(&name);
    return rc;
}

int stored_former_put(struct session *s, const struct linkdef *l, const struct former *f,
                      struct wcp_err *err)
{
    struct strings name = {0};
    struct wcp_buf names = {0};
    struct json_object *document = json_object_new_object();
    stored_former_name(l, &name);
    for (size_t i = 0; i < f->target_names.n; i++)
        wcp_buf_fmt(&names, "%s%s", i ? "," : "", f->target_names.at[i]);
    wcp_buf_put(&names, "", 1);
    document_add(document, "from", f->from);
    document_add(document, "to", f->to);
    document_add(document, "target-config", (const char *)names.ptr);
    int rc = write_key(s, "CONFIGDATA", name.at[0], document, NULL, err);
    json_object_put(document);
    wcp_buf_free(&names);
    strings_free(&name);
    return rc;
}

void former_free(struct former *f)
{
    free(f->from);
    free(f->to);
    strings_free(&f->target_names);
    *f = (struct former){0};
}

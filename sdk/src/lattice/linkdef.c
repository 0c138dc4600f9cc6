/* linkdef.c: link documents (lattice.md §6.1) and the maps in them. */
#include "lattice/linkdef.h"
#include "lattice/json.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- lists and maps of texts --- */

bool strings_have(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i], text) == 0)
            return true;
    return false;
}

void strings_put(struct strings *s, const char *text)
{
    s->at = wcp_realloc(s->at, (s->n + 1) * sizeof *s->at);
    s->at[s->n++] = wcp_str_dup(wcp_str(text));
}

void strings_free(struct strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->at[i]);
    free(s->at);
    *s = (struct strings){0};
}

int strings_from_json(struct json_object *o, const char *member, struct strings *out,
                      struct wcp_err *err)
{
    struct json_object *list = NULL;
    int rc = member_list(o, member, &list, err);
    if (rc || !list)
        return rc;
    size_t n = json_object_array_length(list);
    if (n > STRINGS_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "%s: %zu items, at most %d are allowed", member, n,
                        STRINGS_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *text = NULL;
        if ((rc = json_text_of(json_object_array_get_idx(list, i), member, &text, err))) {
            strings_free(out);
            return rc;
        }
        strings_put(out, text);
    }
    return 0;
}

static void append(struct config *c, const char *key, const char *value)
{
    c->at = wcp_realloc(c->at, (c->n + 1) * sizeof *c->at);
    c->at[c->n++] = (struct config_entry){wcp_str_dup(wcp_str(key)), wcp_str_dup(wcp_str(value))};
}

void config_put(struct config *c, const char *key, const char *value)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->at[i].key, key) == 0) {
            char *copy = wcp_str_dup(wcp_str(value));
            free(c->at[i].value);
            c->at[i].value = copy;
            return;
        }
    }
    append(c, key, value);
}

const char *config_get(const struct config *c, const char *key)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->at[i].key, key) == 0)
            return c->at[i].value;
    for (size_t i = 0; i < c->n; i++)
        if (strcasecmp(c->at[i].key, key) == 0)
            return c->at[i].value;
    return NULL;
}

static int by_key(const void *a, const void *b)
{
    const struct config_entry *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static struct config_entry *sorted(const struct config *c)
{
    struct config_entry *copy = wcp_calloc(c->n, sizeof *copy);
    memcpy(copy, c->at, c->n * sizeof *copy);
    qsort(copy, c->n, sizeof *copy, by_key);
    return copy;
}

bool config_equal(const struct config *a, const struct config *b)
{
    if (a->n != b->n)
        return false;
    if (a->n == 0)
        return true;
    struct config_entry *x = sorted(a), *y = sorted(b);
    bool equal = true;
    for (size_t i = 0; i < a->n && equal; i++)
        equal = strcmp(x[i].key, y[i].key) == 0 && strcmp(x[i].value, y[i].value) == 0;
    free(x);
    free(y);
    return equal;
}

int config_from_json(struct json_object *o, struct config *out, struct wcp_err *err)
{
    int rc = json_check_object(o, err);
    if (!rc && json_object_object_length(o) > CONFIG_MAX)
        rc = wcp_fail(err, WCP_ETOOBIG, "%d entries, at most %d are allowed",
                      json_object_object_length(o), CONFIG_MAX);
    if (rc)
        return rc;
    json_object_object_foreach(o, key, value)
    {
        const char *text = NULL;
        if ((rc = json_text_of(value, key, &text, err))) {
            config_free(out);
            return rc;
        }
        append(out, key, text); /* each key occurs once in a JSON object */
    }
    return 0;
}

int config_member(struct json_object *o, const char *member, struct config *out,
                  struct wcp_err *err)
{
    struct json_object *map = NULL;
    int rc = member_object(o, member, &map, err);
    if (!rc && map && (rc = config_from_json(map, out, err)))
        return wcp_wrap(err, "%s", member);
    return rc;
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->at[i].key);
        free(c->at[i].value);
    }
    free(c->at);
    *c = (struct config){0};
}

/* --- links --- */

void interface_split(const char *name, struct wcp_str *wit_namespace, struct wcp_str *package,
                     struct wcp_str *interface)
{
    const char *colon = strchr(name, ':'), *at = colon ? colon + 1 : name;
    *wit_namespace = (struct wcp_str){name, colon ? (size_t)(colon - name) : 0};
    *package = (struct wcp_str){at, strcspn(at, "/@")};
    at += package->len + (at[package->len] == '/');
    *interface = (struct wcp_str){at, strcspn(at, "@")};
}

int id_check(const char *what, const char *id, struct wcp_err *err)
{
    size_t n = strlen(id);
    if (n == 0)
        return wcp_fail(err, WCP_EPROTO, "%s is missing", what);
    if (n > ID_MAX)
        return wcp_fail(err, WCP_EPROTO, "%s has %zu characters, at most %d expected", what, n,
                        ID_MAX);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)id[i];
        if (c <= ' ' || c == 0x7f || c == '*' || c == '>' ||
            (c == '.' && (i == 0 || i + 1 == n || id[i - 1] == '.')))
            return wcp_fail(err, WCP_EPROTO,
                            "%s: character %zu (code %u) cannot stand in a NATS subject", what,
                            i + 1, c);
    }
    return 0;
}

/* Names that are not part of a subject, but of keys and log lines. */
static int name_check(const char *what, const char *name, struct wcp_err *err)
{
    if (!*name)
        return wcp_fail(err, WCP_EPROTO, "%s is missing", what);
    for (size_t i = 0; name[i]; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return wcp_fail(err, WCP_EPROTO, "%s: character %zu is a control character", what,
                            i + 1);
    return 0;
}

static void no_null(char **text, const char *otherwise)
{
    if (!*text)
        *text = wcp_str_dup(wcp_str(otherwise));
}

int linkdef_from_json(struct json_object *o, struct linkdef *out, struct wcp_err *err)
{
    struct wcp_err local = {0};
    struct linkdef l = {0};
    err = err ? err : &local;
    int rc = json_check_object(o, err);
    if (rc)
        return rc;
    const struct {
        const char *member;
        char **out;
        const char *otherwise;
    } texts[] = {{"source_id", &l.source_id, ""},
                 {"target", &l.target, ""},
                 {"name", &l.name, "default"},
                 {"wit_namespace", &l.wit_namespace, ""},
                 {"wit_package", &l.wit_package, ""}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if ((rc = member_text(o, texts[i].member, texts[i].out, err)))
            goto bad;
        no_null(texts[i].out, texts[i].otherwise);
        rc = i < 2 ? id_check(texts[i].member, *texts[i].out, err)
                   : name_check(texts[i].member, *texts[i].out, err);
        if (rc)
            goto bad;
    }
    if ((rc = strings_from_json(o, "interfaces", &l.interfaces, err)) ||
        (rc = config_member(o, "source_config", &l.source_config, err)) ||
        (rc = config_member(o, "target_config", &l.target_config, err)) ||
        (rc = member_bytes(o, "source_secrets", &l.source_secrets, err)) ||
        (rc = member_bytes(o, "target_secrets", &l.target_secrets, err)))
        goto bad;
    *out = l;
    return 0;
bad:
    linkdef_free(&l);
    return rc;
}

int linkdef_parse(struct wcp_bytes json, struct linkdef *out, struct wcp_err *err)
{
    struct json_object *o = NULL;
    int rc = json_parse(json, &o, err);
    if (!rc)
        rc = linkdef_from_json(o, out, err);
    json_object_put(o);
    return rc;
}

void config_add(struct json_object *o, const char *member, const struct config *c)
{
    struct json_object *map = json_object_new_object();
    for (size_t i = 0; i < c->n; i++)
        json_object_object_add(map, c->at[i].key, json_object_new_string(c->at[i].value));
    json_object_object_add(o, member, map);
}

void linkdef_print(const struct linkdef *l, struct wcp_buf *b)
{
    struct json_object *o = json_object_new_object(), *interfaces = json_object_new_array();
    json_object_object_add(o, "source_id", json_object_new_string(l->source_id));
    json_object_object_add(o, "target", json_object_new_string(l->target));
    json_object_object_add(o, "name", json_object_new_string(l->name));
    json_object_object_add(o, "wit_namespace", json_object_new_string(l->wit_namespace));
    json_object_object_add(o, "wit_package", json_object_new_string(l->wit_package));
    for (size_t i = 0; i < l->interfaces.n; i++)
        json_object_array_add(interfaces, json_object_new_string(l->interfaces.at[i]));
    json_object_object_add(o, "interfaces", interfaces);
    config_add(o, "source_config", &l->source_config);
    config_add(o, "target_config", &l->target_config);
    size_t n = 0;
    const char *text = json_object_to_json_string_length(
        o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    wcp_buf_put(b, text, n);
    json_object_put(o);
}

static void copy_config(struct config *to, const struct config *from)
{
    for (size_t i = 0; i < from->n; i++)
        append(to, from->at[i].key, from->at[i].value);
}

static struct wcp_bytes copy_bytes(struct wcp_bytes b)
{
    if (!b.ptr)
        return b;
    uint8_t *p = wcp_calloc(b.len + 1, 1);
    memcpy(p, b.ptr, b.len);
    return (struct wcp_bytes){p, b.len};
}

void linkdef_copy(struct linkdef *to, const struct linkdef *from)
{
    *to = (struct linkdef){.source_id = wcp_str_dup(wcp_str(from->source_id)),
                           .target = wcp_str_dup(wcp_str(from->target)),
                           .name = wcp_str_dup(wcp_str(from->name)),
                           .wit_namespace = wcp_str_dup(wcp_str(from->wit_namespace)),
                           .wit_package = wcp_str_dup(wcp_str(from->wit_package)),
                           .source_secrets = copy_bytes(from->source_secrets),
                           .target_secrets = copy_bytes(from->target_secrets)};
    for (size_t i = 0; i < from->interfaces.n; i++)
        strings_put(&to->interfaces, from->interfaces.at[i]);
    copy_config(&to->source_config, &from->source_config);
    copy_config(&to->target_config, &from->target_config);
}

void linkdef_free(struct linkdef *l)
{
    free(l->source_id);
    free(l->target);
    free(l->name);
    free(l->wit_namespace);
    free(l->wit_package);
    strings_free(&l->interfaces);
    config_free(&l->source_config);
    config_free(&l->target_config);
    free((void *)(uintptr_t)l->source_secrets.ptr);
    free((void *)(uintptr_t)l->target_secrets.ptr);
    *l = (struct linkdef){0};
}

int codec_parse(const char *words, struct wcp_codec *out, struct wcp_err *err)
{
    size_t n;
    for (const char *p = words; p && *p; p += n) {
        p += strspn(p, " ,");
        n = strcspn(p, " ,");
        struct wcp_str word = {p, n};
        if (wcp_str_eq(word, WCP_STR("cut-signed")))
            out->cut_signed = true;
        else if (wcp_str_eq(word, WCP_STR("padded-flags")))
            out->padded_flags = true;
        else if (n)
            return wcp_fail(err, WCP_EINVAL,
                            "config key wrpc-codec has '%.*s', expected cut-signed or padded-flags",
                            (int)(n < 64 ? n : 64), p);
    }
    return 0;
}

/* config.c: the links of one provider, and the named configs they use, as the lattice's buckets
 * say.
 *
 * Three steps: list the keys of LATTICEDATA; get each COMPONENT_ key and keep the links that are
 * ours; get each named config that they use. Then everything is handed over at once. */
#include "lattice/config.h"
#include "lattice/json.h"
#include "lattice/kv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>
#include <wcp/map.h>

#define IN_FLIGHT_MAX 32

struct found {
    struct linkdef def; /* our side's config is empty until it is resolved */
    bool source;        /* which side is ours */
    struct strings names;
};

struct named { /* a config in CONFIGDATA */
    bool present;
    struct config values;
    char *malformed; /* why, or NULL */
};

struct lattice_read {
    struct lattice_read_config c;
    char links_bucket[ID_MAX + 32], config_bucket[ID_MAX + 32];
    struct strings keys; /* of the present step */
    size_t asked;        /* of keys */
    size_t in_flight;
    bool configs; /* the present step: false: links */
    struct found *found;
    size_t found_count;
    struct wcp_map *named; /* of struct named, once read */
    bool cancelled, unsure;
    struct wcp_err err; /* code 0: none yet */
};

struct step { /* one get */
    struct lattice_read *r;
    const char *key;
};

static void drop_named(void *value)
{
    struct named *n = value;
    config_free(&n->values);
    free(n->malformed);
    free(n);
}

static void free_read(struct lattice_read *r)
{
    for (size_t i = 0; i < r->found_count; i++) {
        linkdef_free(&r->found[i].def);
        strings_free(&r->found[i].names);
    }
    free(r->found);
    strings_free(&r->keys);
    wcp_map_free(r->named);
    free(r);
}

/* --- the links in one COMPONENT_ value --- */

static bool is_id(struct json_object *o, const char *member, const char *id)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, member, &v) && json_object_is_type(v, json_type_string) &&
           strcmp(json_object_get_string(v), id) == 0;
}

/* As the control interface and the buckets have it: the configs are lists of names. */
static int add_link(struct lattice_read *r, struct json_object *o, struct wcp_err *err)
{
    struct found f = {.source = is_id(o, "source_id", r->c.id)};
    int rc = strings_from_json(o, f.source ? "source_config" : "target_config", &f.names, err);
    json_object_object_del(o, "source_config");
    json_object_object_del(o, "target_config");
    if (!rc)
        rc = linkdef_from_json(o, &f.def, err);
    if (rc) {
        strings_free(&f.names);
        return rc;
    }
    r->found = wcp_realloc(r->found, (r->found_count + 1) * sizeof *r->found);
    r->found[r->found_count++] = f;
    return 0;
}

static void add_component(struct lattice_read *r, const char *key, struct wcp_bytes value)
{
    struct wcp_err err = {0};
    struct json_object *o = NULL, *links = NULL;
    int rc = json_parse(value, &o, &err);
    if (!rc)
        rc = member_list(o, "links", &links, &err);
    if (rc) {
        wcp_log(WCP_WARN, "a malformed value in the lattice is ignored", "bucket", r->links_bucket,
                "key", key, "error", err.msg, NULL);
        r->unsure = true;
    }
    for (size_t i = 0; !rc && links && i < json_object_array_length(links); i++) {
        struct json_object *l = json_object_array_get_idx(links, i);
        if (!json_object_is_type(l, json_type_object) ||
            (!is_id(l, "source_id", r->c.id) && !is_id(l, "target", r->c.id)))
            continue;
        if (add_link(r, l, &err)) {
            wcp_wrap(&err, "links, item %zu", i);
            wcp_log(WCP_WARN, "a malformed link in the lattice is ignored", "bucket",
                    r->links_bucket, "key", key, "error", err.msg, NULL);
            r->unsure = true;
        }
    }
    json_object_put(o);
}

/* --- named configs --- */

static bool is_secret(const char *name)
{
    return strncmp(name, "SECRET", 6) == 0;
}

static void add_named(struct lattice_read *r, const char *key, const struct wcp_bytes *value)
{
    struct named *n = wcp_calloc(1, sizeof *n);
    struct wcp_err err = {0};
    struct json_object *o = NULL;
    n->present = value != NULL;
    if (value && (json_parse(*value, &o, &err) || config_from_json(o, &n->values, &err)))
        n->malformed = wcp_str_dup(wcp_str(err.msg));
    json_object_put(o);
    wcp_map_put(r->named, wcp_str(key), n);
}

/* The named configs of f, later ones over earlier ones. False: not all of them could be asked for.
 * why gets a text when the lattice does not have what the link needs. */
static bool resolve(const struct lattice_read *r, struct found *f, struct wcp_err *why)
{
    struct config *to = f->source ? &f->def.source_config : &f->def.target_config;
    for (size_t i = 0; i < f->names.n && !why->code; i++) {
        const char *name = f->names.at[i];
        if (is_secret(name)) {
            wcp_fail(why, WCP_ENOENT,
                     "secret reference '%.64s' cannot be resolved outside a wasmCloud host: mount "
                     "the secret for this provider and remove the reference",
                     name);
            continue;
        }
        const struct named *n = wcp_map_get(r->named, wcp_str(name));
        if (!kv_key_is_valid(name))
            wcp_fail(why, WCP_EINVAL, "config name '%.64s' is not a valid key", name);
        else if (!n)
            return false;
        else if (!n->present)
            wcp_fail(why, WCP_ENOENT, "config '%.64s' is not in %s", name, r->config_bucket);
        else if (n->malformed)
            wcp_fail(why, WCP_EPROTO, "config '%.64s' in %s: %s", name, r->config_bucket,
                     n->malformed);
        else if (to->n > CONFIG_MAX)
            wcp_fail(why, WCP_ETOOBIG, "its configs have more than %d entries", CONFIG_MAX);
        for (size_t k = 0; !why->code && k < n->values.n; k++)
            config_put(to, n->values.at[k].key, n->values.at[k].value);
    }
    return true;
}

static void end(struct lattice_read *r)
{
    for (size_t i = 0; i < r->found_count && !r->cancelled; i++) {
        struct wcp_err why = {0};
        /* One that could not be asked for stays as it is: the reading is repeated. */
        if (resolve(r, &r->found[i], &why))
            r->c.link(r->c.ctx, &r->found[i].def, why.code ? why.msg : NULL);
    }
    if (!r->cancelled)
        r->c.done(r->c.ctx, !r->unsure && !r->err.code, r->err.code ? &r->err : NULL);
    free_read(r);
}

/* --- the steps --- */

static void go_on(struct lattice_read *r);

static void on_get(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err)
{
    struct step s = *(struct step *)ctx;
    free(ctx);
    s.r->in_flight--;
    if (err)
        s.r->err = *err;
    else if (s.r->configs)
        add_named(s.r, s.key, value);
    else if (value)
        add_component(s.r, s.key, *value);
    go_on(s.r);
}

static void start_configs(struct lattice_read *r)
{
    struct wcp_map *seen = wcp_map_new(NULL);
    strings_free(&r->keys);
    r->configs = true;
    r->asked = 0;
    for (size_t i = 0; i < r->found_count; i++) {
        for (size_t k = 0; k < r->found[i].names.n; k++) {
            const char *name = r->found[i].names.at[k];
            if (is_secret(name) || !kv_key_is_valid(name) || wcp_map_get(seen, wcp_str(name)))
                continue;
            wcp_map_put(seen, wcp_str(name), r);
            strings_put(&r->keys, name);
        }
    }
    wcp_map_free(seen);
}

/* Asks for the next keys. After an error only those on the way are waited for. */
static void go_on(struct lattice_read *r)
{
    bool stop = r->err.code || r->cancelled;
    if (!stop && !r->configs && r->asked == r->keys.n && r->in_flight == 0)
        start_configs(r);
    while (!stop && r->asked < r->keys.n && r->in_flight < IN_FLIGHT_MAX) {
        struct step *s = wcp_calloc(1, sizeof *s);
        *s = (struct step){r, r->keys.at[r->asked++]};
        r->in_flight++;
        kv_get(r->c.rpc, r->configs ? r->config_bucket : r->links_bucket, s->key, on_get, s);
    }
    if (r->in_flight == 0)
        end(r);
}

static void on_list(void *ctx, struct strings *keys, const struct wcp_err *err)
{
    struct lattice_read *r = ctx;
    r->in_flight--;
    if (err)
        r->err = *err;
    for (size_t i = 0; i < keys->n; i++)
        if (strncmp(keys->at[i], "COMPONENT_", 10) == 0 && kv_key_is_valid(keys->at[i]))
            strings_put(&r->keys, keys->at[i]);
    go_on(r);
}

struct lattice_read *lattice_read(const struct lattice_read_config *c)
{
    struct lattice_read *r = wcp_calloc(1, sizeof *r);
    r->c = *c;
    r->named = wcp_map_new(drop_named);
    snprintf(r->links_bucket, sizeof r->links_bucket, "LATTICEDATA_%s", c->lattice);
    snprintf(r->config_bucket, sizeof r->config_bucket, "CONFIGDATA_%s", c->lattice);
    r->in_flight = 1;
    kv_list(c->rpc, r->links_bucket, on_list, r);
    return r;
}

void lattice_read_cancel(struct lattice_read *r)
{
    r->cancelled = true; /* freed when its last answer or time-out is there */
}

/* config.c: the links of one provider, and the named configs they use, as the lattice's buckets
 * say.
 *
 * LATTICEDATA is watched with its values, of which we keep the links that are ours. Of CONFIGDATA
 * only the keys are watched: a name that our links use is got, and again when its key comes by.
 * When nothing is missing, everything is told at once, and so it is after each change.
 *
 * A config that was deleted is absent. One that is absent without a marker of its deletion was lost
 * with the bucket: its last content stays in use. */
#include "lattice/config.h"
#include "lattice/json.h"
#include "lattice/watch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>
#include <wcp/map.h>

#define IN_FLIGHT_MAX 32
#define PAUSE_MS      2000 /* before configs are asked for again; doubled each time */
#define PAUSE_MOST_MS 60000

struct found {
    struct linkdef def; /* our side's config is empty until it is resolved */
    bool source;        /* which side is ours */
    struct strings names;
};

struct component { /* a COMPONENT_ key with links of ours, or malformed */
    struct found *found;
    size_t n;
    unsigned reading; /* the last one that had it */
    bool malformed;   /* then found is what it was before */
};

struct named {           /* a config in CONFIGDATA that our links use */
    bool stale;          /* it may be another one now: to be asked for (again) */
    bool asked, changed; /* changed: since it was asked for */
    bool deleted;        /* the last that was seen of its key is a marker */
    bool lost;           /* that was said */
    bool used;
    bool present;
    struct config values;
    char *malformed; /* why, or NULL */
};

/* A bucket: being read; read, and watched; or it cannot be. */
enum bucket_state { READING, READ, FAILED };

struct lattice_watch {
    struct lattice_watch_config c;
    char links_bucket[ID_MAX + 32], config_bucket[ID_MAX + 32];
    struct kv_watch *links_watch, *config_watch;
    enum bucket_state links, configs;
    struct wcp_map *components; /* by key */
    unsigned reading;
    struct wcp_map *named;
    size_t in_flight;
    bool untold; /* something has changed */
    struct timer soon;
    uint32_t pause_ms;
    struct lattice_state state; /* to be told */
    bool config_failure_told;
    bool closed; /* freed when the last get has ended */
};

static void drop_component(void *value)
{
    struct component *k = value;
    for (size_t i = 0; i < k->n; i++) {
        linkdef_free(&k->found[i].def);
        strings_free(&k->found[i].names);
    }
    free(k->found);
    free(k);
}

static void drop_named(void *value)
{
    struct named *n = value;
    config_free(&n->values);
    free(n->malformed);
    free(n);
}

/* In the next turn: what has changed several times by then is worked on once. */
static void soon(struct lattice_watch *w)
{
    timers_set(rpc_timers(w->c.kv.rpc), &w->soon, rpc_now(w->c.kv.rpc));
}

/* --- the links in one COMPONENT_ value --- */

static bool is_id(struct json_object *o, const char *member, const char *id)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, member, &v) && json_object_is_type(v, json_type_string) &&
           strcmp(json_object_get_string(v), id) == 0;
}

/* As the control interface and the buckets have it: the configs are lists of names. */
static int add_link(const struct lattice_watch *w, struct component *k, struct json_object *o,
                    struct wcp_err *err)
{
    struct found f = {.source = is_id(o, "source_id", w->c.id)};
    int rc = strings_from_json(o, f.source ? "source_config" : "target_config", &f.names, err);
    json_object_object_del(o, "source_config");
    json_object_object_del(o, "target_config");
    if (!rc)
        rc = linkdef_from_json(o, &f.def, err);
    if (rc) {
        strings_free(&f.names);
        return rc;
    }
    k->found = wcp_realloc(k->found, (k->n + 1) * sizeof *k->found);
    k->found[k->n++] = f;
    return 0;
}

static struct component *read_component(const struct lattice_watch *w, const char *key,
                                        struct wcp_bytes value)
{
    struct component *k = wcp_calloc(1, sizeof *k);
    struct wcp_err err = {0};
    struct json_object *o = NULL, *links = NULL;
    int rc = json_parse(value, &o, &err);
    if (!rc)
        rc = member_list(o, "links", &links, &err);
    if (rc) {
        wcp_log(WCP_WARN, "a malformed value in the lattice is ignored", "bucket", w->links_bucket,
                "key", key, "error", err.msg, NULL);
        k->malformed = true;
    }
    for (size_t i = 0; !rc && links && i < json_object_array_length(links); i++) {
        struct json_object *l = json_object_array_get_idx(links, i);
        if (!json_object_is_type(l, json_type_object) ||
            (!is_id(l, "source_id", w->c.id) && !is_id(l, "target", w->c.id)))
            continue;
        if (add_link(w, k, l, &err)) {
            wcp_wrap(&err, "links, item %zu", i);
            wcp_log(WCP_WARN, "a malformed link in the lattice is ignored", "bucket",
                    w->links_bucket, "key", key, "error", err.msg, NULL);
            k->malformed = true;
        }
    }
    json_object_put(o);
    return k;
}

/* --- telling --- */

static bool is_secret(const char *name)
{
    return strncmp(name, "SECRET", 6) == 0;
}

/* The named configs of f, later ones over earlier ones, into l. False: not all of them are known.
 * why gets a text when the lattice does not have what the link needs. */
static bool resolve(const struct lattice_watch *w, const struct found *f, struct linkdef *l,
                    struct wcp_err *why)
{
    struct config *to = f->source ? &l->source_config : &l->target_config;
    for (size_t i = 0; i < f->names.n && !why->code; i++) {
        const char *name = f->names.at[i];
        if (is_secret(name)) {
            wcp_fail(why, WCP_ENOENT,
                     "secret reference '%.64s' cannot be resolved outside a wasmCloud host: mount "
                     "the secret for this provider and remove the reference",
                     name);
            continue;
        }
        const struct named *n = wcp_map_get(w->named, wcp_str(name));
        if (!kv_key_is_valid(name))
            wcp_fail(why, WCP_EINVAL, "config name '%.64s' is not a valid key", name);
        else if (!n || n->stale)
            return false;
        else if (!n->present)
            wcp_fail(why, WCP_ENOENT, "config '%.64s' is not in %s", name, w->config_bucket);
        else if (n->malformed)
            wcp_fail(why, WCP_EPROTO, "config '%.64s' in %s: %s", name, w->config_bucket,
                     n->malformed);
        else if (to->n > CONFIG_MAX)
            wcp_fail(why, WCP_ETOOBIG, "its configs have more than %d entries", CONFIG_MAX);
        for (size_t k = 0; !why->code && k < n->values.n; k++)
            config_put(to, n->values.at[k].key, n->values.at[k].value);
    }
    return true;
}

static void tell_component(struct lattice_watch *w, const struct component *k)
{
    w->state.complete &= !k->malformed;
    for (size_t i = 0; i < k->n; i++) {
        struct wcp_err why = {0};
        struct linkdef l = {0};
        linkdef_copy(&l, &k->found[i].def);
        if (resolve(w, &k->found[i], &l, &why))
            w->c.link(w->c.ctx, &l, why.code ? why.msg : NULL);
        else
            w->state.complete = false; /* it stays as it is */
        linkdef_free(&l);              /* empty when it was taken */
    }
}

static void tell(struct lattice_watch *w)
{
    struct wcp_arena a = {0};
    const struct wcp_str *keys = NULL;
    size_t n = w->links == READ ? wcp_map_keys(w->components, &a, &keys) : 0;
    w->untold &= w->links != READ;
    w->state.complete = w->links == READ && !w->state.err.code;
    if (w->c.begin && w->links == READ)
        w->c.begin(w->c.ctx);
    for (size_t i = 0; i < n; i++)
        tell_component(w, wcp_map_get(w->components, keys[i]));
    wcp_arena_free(&a);
    w->c.done(w->c.ctx, &w->state);
    w->state = (struct lattice_state){0};
}

/* --- named configs --- */

struct get {
    struct lattice_watch *w;
    struct named *named;
    const char *name; /* the key of named */
};

static void forget(struct named *n)
{
    n->stale = true;
    n->changed = n->asked;
}

static void forget_all(struct lattice_watch *w)
{
    struct wcp_arena a = {0};
    const struct wcp_str *names = NULL;
    size_t n = wcp_map_keys(w->named, &a, &names);
    for (size_t i = 0; i < n; i++)
        forget(wcp_map_get(w->named, names[i]));
    wcp_arena_free(&a);
}

static void free_watch(struct lattice_watch *w)
{
    wcp_map_free(w->components);
    wcp_map_free(w->named);
    free(w);
}

static void keep_values(const struct lattice_watch *w, struct named *n, const char *name,
                        const struct wcp_bytes *value)
{
    struct wcp_err err = {0};
    struct json_object *o = NULL;
    n->stale = false;
    if (!value && n->present && !n->deleted) {
        if (!n->lost)
            wcp_log(WCP_WARN, "a config is lost with its bucket: its last content is used",
                    "bucket", w->config_bucket, "config", name, NULL);
        n->lost = true;
        return;
    }
    n->lost = false;
    config_free(&n->values);
    free(n->malformed);
    n->malformed = NULL;
    n->present = value != NULL;
    if (value && (json_parse(*value, &o, &err) || config_from_json(o, &n->values, &err)))
        n->malformed = wcp_str_dup(wcp_str(err.msg));
    json_object_put(o);
}

static void on_get(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err)
{
    struct get g = *(struct get *)ctx;
    free(ctx);
    g.named->asked = false;
    g.w->in_flight--;
    if (g.w->closed) {
        if (g.w->in_flight == 0)
            free_watch(g.w);
        return;
    }
    if (err)
        g.w->state.err = *err;
    else if (!g.named->changed)
        keep_values(g.w, g.named, g.name, value);
    g.named->changed = false;
    g.w->untold = true;
    soon(g.w);
}

/* The entries of named are those that our links use. */
static void use_names(struct lattice_watch *w)
{
    struct wcp_arena a = {0};
    const struct wcp_str *keys = NULL, *names = NULL;
    size_t n = wcp_map_keys(w->components, &a, &keys);
    for (size_t i = 0; i < n; i++) {
        const struct component *k = wcp_map_get(w->components, keys[i]);
        for (size_t f = 0; f < k->n; f++) {
            for (size_t m = 0; m < k->found[f].names.n; m++) {
                const char *name = k->found[f].names.at[m];
                struct named *c = wcp_map_get(w->named, wcp_str(name));
                if (is_secret(name) || !kv_key_is_valid(name))
                    continue;
                if (!c) {
                    c = wcp_calloc(1, sizeof *c);
                    c->stale = true;
                    wcp_map_put(w->named, wcp_str(name), c);
                }
                c->used = true;
            }
        }
    }
    n = wcp_map_keys(w->named, &a, &names);
    for (size_t i = 0; i < n; i++) {
        struct named *c = wcp_map_get(w->named, names[i]);
        bool unused = !c->used && !c->asked;
        c->used = false;
        if (unused)
            (void)wcp_map_del(w->named, names[i]); /* it is there */
    }
    wcp_arena_free(&a);
}

/* After an error only the answers on the way are waited for. True: some configs are not known. */
static bool ask(struct lattice_watch *w)
{
    struct wcp_arena a = {0};
    const struct wcp_str *names = NULL;
    size_t n = wcp_map_keys(w->named, &a, &names);
    bool unknown = false;
    for (size_t i = 0; i < n; i++) {
        struct named *c = wcp_map_get(w->named, names[i]);
        unknown |= c->stale;
        if (!c->stale || c->asked || w->state.err.code || w->in_flight == IN_FLIGHT_MAX)
            continue;
        struct get *g = wcp_calloc(1, sizeof *g);
        *g = (struct get){w, c, names[i].ptr};
        c->asked = true;
        w->in_flight++;
        kv_get(&w->c.kv, w->config_bucket, names[i].ptr, on_get, g);
    }
    wcp_arena_free(&a);
    return unknown;
}

/* Asks for what is missing; when all is there, or cannot be had now, it is told. */
static void on_soon(struct timer *t)
{
    struct lattice_watch *w =
        (struct lattice_watch *)((char *)t - offsetof(struct lattice_watch, soon));
    if (w->links == READ && w->configs != READING) {
        use_names(w);
        bool unknown = ask(w);
        if (w->in_flight)
            return;
        w->pause_ms = !unknown ? 0 : w->pause_ms ? 2 * w->pause_ms : PAUSE_MS;
        if (w->pause_ms > PAUSE_MOST_MS)
            w->pause_ms = PAUSE_MOST_MS;
        if (unknown)
            timers_set(rpc_timers(w->c.kv.rpc), &w->soon, rpc_now(w->c.kv.rpc) + w->pause_ms);
    } else if (!w->state.err.code) {
        return; /* whoever reads the buckets comes back to it */
    }
    if (w->untold || w->state.err.code)
        tell(w);
}

static void on_config_begin(void *ctx)
{
    struct lattice_watch *w = ctx;
    w->configs = READING;
    forget_all(w);
}

static void on_config_entry(void *ctx, const char *key, const struct wcp_bytes *value)
{
    struct lattice_watch *w = ctx;
    struct named *n = wcp_map_get(w->named, wcp_str(key));
    if (!n)
        return;
    n->deleted = !value;
    forget(n);
    soon(w);
}

static void on_config_whole(void *ctx, bool older)
{
    struct lattice_watch *w = ctx;
    w->configs = READ;
    w->config_failure_told = false;
    soon(w);
}

/* They can still be got, and are, whenever the watch is tried again. */
static void on_config_failed(void *ctx, const struct wcp_err *err)
{
    struct lattice_watch *w = ctx;
    w->configs = FAILED;
    forget_all(w);
    if (w->links == READ && err->code != WCP_ENOENT && !w->config_failure_told) {
        wcp_log(WCP_WARN, "changes of named configs are noticed late", "error", err->msg, NULL);
        w->config_failure_told = true;
    }
    soon(w);
}

/* --- the bucket of the links --- */

static void on_links_begin(void *ctx)
{
    struct lattice_watch *w = ctx;
    w->links = READING;
    w->reading++;
}

static void on_links_entry(void *ctx, const char *key, const struct wcp_bytes *value)
{
    struct lattice_watch *w = ctx;
    if (strncmp(key, "COMPONENT_", 10) != 0)
        return;
    struct component *old = wcp_map_get(w->components, wcp_str(key));
    struct component *k = value ? read_component(w, key, *value) : wcp_calloc(1, sizeof *k);
    if (old && k->malformed && !k->n) { /* what it was is the best that we know */
        k->found = old->found;
        k->n = old->n;
        old->found = NULL;
        old->n = 0;
    }
    k->reading = w->reading;
    if (!old && !k->n && !k->malformed) {
        drop_component(k);
        return;
    }
    if (k->n || k->malformed) {
        wcp_map_put(w->components, wcp_str(key), k);
    } else {
        (void)wcp_map_del(w->components, wcp_str(key)); /* it is there */
        drop_component(k);
    }
    w->untold = true;
    soon(w);
}

static void on_links_whole(void *ctx, bool older)
{
    struct lattice_watch *w = ctx;
    struct wcp_arena a = {0};
    const struct wcp_str *keys = NULL;
    size_t n = wcp_map_keys(w->components, &a, &keys);
    for (size_t i = 0; i < n; i++)
        if (((struct component *)wcp_map_get(w->components, keys[i]))->reading != w->reading)
            (void)wcp_map_del(w->components, keys[i]); /* it is there */
    wcp_arena_free(&a);
    w->links = READ;
    w->state.older |= older;
    w->untold = true;
    soon(w);
}

static void on_links_failed(void *ctx, const struct wcp_err *err)
{
    struct lattice_watch *w = ctx;
    w->links = FAILED;
    w->state.err = *err;
    soon(w);
}

/* --- from outside --- */

struct lattice_watch *lattice_watch(const struct lattice_watch_config *c)
{
    struct lattice_watch *w = wcp_calloc(1, sizeof *w);
    w->c = *c;
    w->components = wcp_map_new(drop_component);
    w->named = wcp_map_new(drop_named);
    w->soon.fn = on_soon;
    snprintf(w->links_bucket, sizeof w->links_bucket, "LATTICEDATA_%s", c->lattice);
    snprintf(w->config_bucket, sizeof w->config_bucket, "CONFIGDATA_%s", c->lattice);
    w->links_watch = kv_watch_new(&(struct kv_watch_config){.kv = c->kv,
                                                            .bucket = w->links_bucket,
                                                            .begin = on_links_begin,
                                                            .entry = on_links_entry,
                                                            .whole = on_links_whole,
                                                            .failed = on_links_failed,
                                                            .ctx = w});
    w->config_watch = kv_watch_new(&(struct kv_watch_config){.kv = c->kv,
                                                             .bucket = w->config_bucket,
                                                             .headers_only = true,
                                                             .begin = on_config_begin,
                                                             .entry = on_config_entry,
                                                             .whole = on_config_whole,
                                                             .failed = on_config_failed,
                                                             .ctx = w});
    return w;
}

void lattice_again(struct lattice_watch *w)
{
    w->untold = true;
    soon(w);
}

void lattice_hint(struct lattice_watch *w)
{
    kv_watch_hint(w->links_watch);
    kv_watch_hint(w->config_watch);
}

void lattice_disconnected(struct lattice_watch *w)
{
    kv_watch_disconnected(w->links_watch);
    kv_watch_disconnected(w->config_watch);
    w->links = w->configs = READING;
}

void lattice_reconnected(struct lattice_watch *w)
{
    kv_watch_reconnected(w->links_watch);
    kv_watch_reconnected(w->config_watch);
}

void lattice_close(struct lattice_watch *w)
{
    if (!w)
        return;
    kv_watch_free(w->links_watch);
    kv_watch_free(w->config_watch);
    timers_clear(rpc_timers(w->c.kv.rpc), &w->soon);
    w->closed = true;
    if (w->in_flight == 0)
        free_watch(w);
}

/* links.c: the link table: which links there are, which work, and taking them up and down. */
#include "lattice/links.h"
#include "lattice/json.h"
#include "lattice/link.h"
#include "lattice/secrets.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>
#include <wcp/map.h>

/* The host of who calls us follows the same watch, perhaps later than we do: until then it may
 * still call over a link that has got another target. */
#define HOSTS_FOLLOW_MS 1000

struct links {
    struct links_config c;
    struct shared_secrets *provided; /* the provider's; NULL: links see none of them */
    struct wcp_map *by_peer;         /* of those that do not drain; see key() */
    struct link *all;
    size_t count, max;
    unsigned sync;
    struct timers timers;
};

/* Calls name peer, link and interface, but the namespace of the interface need not be the link's
 * ("wrpc:keyvalue" serves "wasi:keyvalue"). So the namespace is not in the key; links that differ
 * in nothing else are chained. The fields have no control characters. False: too long. */
#define KEY_MAX 1024
static bool key(char out[KEY_MAX], enum wcp_role role, struct wcp_str peer, struct wcp_str name,
                struct wcp_str package, struct wcp_str *k)
{
    size_t n = 0;
    if (peer.len + name.len + package.len + 4 > KEY_MAX)
        return false;
    out[n++] = role == WCP_TARGET ? 't' : 's';
    const struct wcp_str parts[] = {peer, name, package};
    for (size_t i = 0; i < 3; i++) {
        out[n++] = '\n';
        if (parts[i].len)
            memcpy(out + n, parts[i].ptr, parts[i].len);
        n += parts[i].len;
    }
    *k = (struct wcp_str){out, n};
    return true;
}

struct links *links_new(const struct links_config *c)
{
    struct links *t = wcp_calloc(1, sizeof *t);
    t->c = *c;
    t->max = c->def->limits.links ? c->def->limits.links : 65536;
    t->by_peer = wcp_map_new(NULL);
    return t;
}

/* Each link has a pointer to its table's c. */
static struct links *table_of(const struct link *l)
{
    return (struct links *)((uintptr_t)l->c - offsetof(struct links, c));
}

static uint64_t now(const struct links *t)
{
    return t->c.transport->now(t->c.transport);
}

static void forget(struct link *l)
{
    struct links *t = table_of(l);
    t->count--;
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    link_free(l);
}

void links_free(struct links *t)
{
    if (!t)
        return;
    while (t->all)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        forget(t->all);
    wcp_map_free(t->by_peer);
    secrets_drop(t->provided);
    timers_close(&t->timers);
    free(t);
}

size_t links_count(const struct links *t)
{
    return t->count;
}

/* --- finding --- */

static struct link *chain(const struct links *t, enum wcp_role role, struct wcp_str peer,
                          struct wcp_str name, struct wcp_str package)
{
    char text[KEY_MAX];
    struct wcp_str k;
    return key(text, role, peer, name, package, &k) ? wcp_map_get(t->by_peer, k) : NULL;
}

static struct link *same_key(const struct links *t, const struct wcp_link *w)
{
    struct link *l = chain(t, w->role, link_peer(w), w->name, w->wit_package);
    while (l && !wcp_str_eq(l->pub.wit_namespace, w->wit_namespace))
        l = l->same;
    return l;
}

static void chain_add(struct link *l)
{
    struct links *t = table_of(l);
    char text[KEY_MAX];
    struct wcp_str k = {0};
    bool fits = key(text, l->pub.role, link_peer(&l->pub), l->pub.name, l->pub.wit_package, &k);
    assert(fits); /* put() has checked */
    (void)fits;
    l->same = wcp_map_get(t->by_peer, k);
    wcp_map_put(t->by_peer, k, l);
}

static void chain_remove(struct link *l)
{
    struct links *t = table_of(l);
    char text[KEY_MAX];
    struct wcp_str k = {0};
    (void)key(text, l->pub.role, link_peer(&l->pub), l->pub.name, l->pub.wit_package, &k);
    struct link *head = wcp_map_get(t->by_peer, k), **p = &head;
    while (*p != l)
        p = &(*p)->same;
    *p = l->same;
    l->same = NULL;
    if (head)
        wcp_map_put(t->by_peer, k, head);
    else
        (void)wcp_map_del(t->by_peer, k); /* it is there */
}

static struct wcp_link *find(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface, const char **why)
{
    struct wcp_str ns, pkg, interface;
    struct link *best = NULL;
    int best_rank = -1;
    interface_split(iface->name, &ns, &pkg, &interface);
    for (struct link *l = chain(ctx, WCP_TARGET, source, name, pkg); l; l = l->same) {
        int rank = 2 * wcp_str_eq(l->pub.wit_namespace, ns) + l->up;
        if (rank > best_rank) {
            best = l;
            best_rank = rank;
        }
    }
    if (best && !best->up)
        *why = best->why;
    if (!best || !best->up)
        return NULL;
    best->refs++;
    return &best->pub;
}

static void missing(void *ctx)
{
    struct links *t = ctx;
    if (t->c.missing)
        t->c.missing(t->c.ctx);
}

static void hold(void *ctx, struct wcp_link *l)
{
    ((struct link *)l)->refs++;
}

static void release(void *ctx, struct wcp_link *w)
{
    struct link *l = (struct link *)w;
    assert(l->refs > 0);
    /* Not here: this may be in the middle of a handler that still uses the link. */
    if (--l->refs == 0 && l->state == LINK_DRAINING)
        timers_set(l->timers, &l->due, now(table_of(l)));
}

struct rpc_links links_for_rpc(struct links *t)
{
    return (struct rpc_links){
        .ctx = t, .find = find, .missing = missing, .hold = hold, .release = release};
}

/* --- time --- */

static void tell_added(const struct link *l)
{
    if (l->c->added)
        l->c->added(l->c->ctx);
}

static void on_due(struct timer *timer)
{
    struct link *l = (struct link *)((char *)timer - offsetof(struct link, due));
    if (l->state != LINK_DRAINING) {
        link_try(l);
        if (l->up)
            tell_added(l);
        return;
    }
    link_down(l);
    if (l->refs == 0)
        forget(l);
    /* else: a handler still owes its reply and holds a pointer to it; release() comes back here. */
}

uint64_t links_next(const struct links *t)
{
    return timers_next(&t->timers);
}

void links_tick(struct links *t)
{
    timers_fire(&t->timers, now(t));
}

/* --- draining --- */

void links_tell_drain(struct links *t)
{
    for (struct link *l = t->all; l; l = l->next)
        link_tell_drain(l);
}

static void drain(struct link *l, uint32_t limit_ms)
{
    if (l->state != LINK_DRAINING)
        chain_remove(l);
    link_drain(l, limit_ms);
}

void links_drain_all(struct links *t, bool at_once)
{
    for (struct link *l = t->all; l; l = l->next)
        drain(l, at_once ? 0 : t->c.drain_ms);
}

/* --- put and del --- */

/* Only one side of a link document is ours: if we are the source we call the target, else the
 * source calls us (lattice.md §6.1). False: it is not about us. */
static bool our_role(const struct links *t, const struct linkdef *l, enum wcp_role *role)
{
    *role = strcmp(l->source_id, t->c.id) == 0 ? WCP_SOURCE : WCP_TARGET;
    if (*role == WCP_SOURCE || strcmp(l->target, t->c.id) == 0)
        return true;
    wcp_logf(WCP_WARN, "link '%.64s' from '%s' to '%s' is not about this provider: ignored",
             l->name, l->source_id, l->target);
    return false;
}

static struct link *add(struct links *t, struct linkdef *def, enum wcp_role role)
{
    struct link *l = link_new(&t->c, &t->timers, def, role);
    l->due.fn = on_due;
    l->provided = secrets_hold(t->provided);
    l->next = t->all;
    l->prev = &t->all;
    if (l->next)
        l->next->prev = &l->next;
    t->all = l;
    t->count++;
    return l;
}

static int open_secrets(struct link *l, struct wcp_err *err)
{
    struct wcp_bytes sealed =
        l->pub.role == WCP_SOURCE ? l->def.source_secrets : l->def.target_secrets;
    if (!sealed.ptr)
        return 0;
    if (secrets_open(sealed, l->c->host_xkey, l->c->xkey_seed, &l->secrets, err))
        return wcp_wrap(err, "its secrets");
    return 0;
}

static bool same_content(const struct link *a, const struct link *b)
{
    if (a->def.interfaces.n != b->def.interfaces.n)
        return false;
    for (size_t i = 0; i < a->def.interfaces.n; i++)
        if (strcmp(a->def.interfaces.at[i], b->def.interfaces.at[i]) != 0)
            return false;
    return a->provided == b->provided && config_equal(a->config, b->config) &&
           secrets_equal(&a->secrets, &b->secrets);
}

/* Is l what old is already? err: what is wrong with the content of l; code 0: nothing. */
static bool is_repetition(const struct link *old, const struct link *l, const struct wcp_err *err)
{
    if (old->useless || err->code)
        return old->useless && err->code && strcmp(old->why, err->msg) == 0;
    return same_content(old, l);
}

static void put_again(struct link *l, uint64_t told_at)
{
    struct links *t = table_of(l);
    l->gone_at = 0;
    if (!told_at) { /* the bucket has it: if it no longer has, that is not because it is late */
        l->told_at = 0;
        l->sync = t->sync;
        return;
    }
    if (!l->sync || l->sync != t->sync)
        l->told_at = told_at;
    if (!l->up) { /* somebody wants it, now */
        link_hurry(l);
        if (l->up)
            tell_added(l);
    }
}

/* What its content tells: its secrets and its codec. err says what is wrong with it; code 0:
 * nothing. why: the lattice lacks what it needs; may be NULL. */
static void read_content(struct link *l, const char *why, struct wcp_err *err)
{
    if (why)
        wcp_fail(err, WCP_ENOENT, "%s", why);
    else if (open_secrets(l, err) == 0)
        (void)codec_parse(config_get(l->config, "wrpc-codec"), &l->pub.codec, err); /* err tells */
}

/* l comes up in the place of old, which may be NULL. err is what read_content said. */
static void replace(struct link *old, struct link *l, struct wcp_err *err)
{
    struct links *t = table_of(l);
    if (err->code)
        link_refuse(l, err);
    else
        link_try(l);
    /* Only now: calls go to the old one as long as the new one is not there. A failed one has
     * nothing to take down and goes at the next tick. */
    if (old)
        drain(old, t->c.drain_ms);
    chain_add(l);
    link_tell(l);
    tell_added(l);
}

/* Where a link comes from. */
struct origin {
    uint64_t told_at; /* by a message; 0: by a bucket, which has: */
    const char *why;  /* what it lacks; may be NULL */
    bool local, of_provider;
};

static void put(struct links *t, struct linkdef *def, struct origin from)
{
    enum wcp_role role;
    struct wcp_err err = {0};
    if (!our_role(t, def, &role)) {
        linkdef_free(def);
        return;
    }
    struct wcp_link w = link_public(def, role);
    char text[KEY_MAX];
    struct wcp_str k;
    if (!key(text, role, link_peer(&w), w.name, w.wit_package, &k)) {
        wcp_fail(&err, WCP_ETOOBIG, "its names are longer than %d bytes: refused", KEY_MAX);
        wcp_log(WCP_ERROR, link_described(&w, &err), NULL);
        linkdef_free(def);
        return;
    }
    struct link *old = same_key(t, &w);
    if (old && old->local && !from.local) { /* this process knows better */
        linkdef_free(def);
        return;
    }
    if (!old && t->count >= t->max) {
        wcp_fail(&err, WCP_ETOOBIG, "refused: there are %zu links already, the limit is %zu",
                 t->count, t->max);
        wcp_log(WCP_ERROR, link_described(&w, &err), NULL);
        linkdef_free(def);
        return;
    }
    struct link *l = add(t, def, role);
    l->local = from.local;
    l->of_provider = from.of_provider;
    read_content(l, from.why, &err);
    if (old && !from.local && is_repetition(old, l, &err)) {
        forget(l); /* hosts send each link several times */
        put_again(old, from.told_at);
        return;
    }
    l->told_at = from.told_at;
    l->sync = from.told_at ? 0 : t->sync;
    replace(old, l, &err);
}

void links_put(struct links *t, struct linkdef *def)
{
    put(t, def, (struct origin){.told_at = now(t)});
}

void links_put_local(struct links *t, struct linkdef *def, bool of_provider)
{
    put(t, def, (struct origin){.told_at = now(t), .local = true, .of_provider = of_provider});
}

void links_renew(struct links *t, bool local)
{
    for (struct link *old = t->all, *next; old; old = next) {
        next = old->next; /* new ones come in front */
        if (old->state == LINK_DRAINING || old->useless || (old->local && !local))
            continue;
        struct linkdef def;
        struct wcp_err err = {0};
        linkdef_copy(&def, &old->def);
        struct link *l = add(t, &def, old->pub.role);
        l->local = old->local;
        l->of_provider = old->of_provider;
        l->told_at = old->told_at;
        l->sync = old->sync;
        l->gone_at = old->gone_at;
        read_content(l, NULL, &err);
        replace(old, l, &err);
    }
}

void links_provide_secrets(struct links *t, struct shared_secrets *s)
{
    struct shared_secrets *former = t->provided;
    t->provided = secrets_hold(s);
    links_renew(t, true);
    secrets_drop(former);
}

void links_del(struct links *t, const struct linkdef *def)
{
    enum wcp_role role;
    if (!our_role(t, def, &role))
        return;
    struct wcp_link w = link_public(def, role);
    struct link *l = same_key(t, &w);
    if (!l || l->local)
        return; /* every host says it, and to everyone: not worth a line */
    wcp_log(WCP_INFO, "link is deleted", "link", w.name.ptr, role == WCP_TARGET ? "from" : "to",
            link_peer(&w).ptr, NULL);
    drain(l, t->c.drain_ms);
}

void links_sync_begin(struct links *t)
{
    t->sync++;
}

void links_sync_put(struct links *t, struct linkdef *def, const char *why)
{
    put(t, def, (struct origin){.why = why});
}

uint64_t links_sync_end(struct links *t, uint32_t grace_ms)
{
    uint64_t again = TIMER_NEVER;
    for (struct link *l = t->all; l; l = l->next) {
        if (l->state == LINK_DRAINING || l->sync == t->sync || l->local)
            continue;
        if (l->told_at && now(t) < l->told_at + grace_ms) {
            again = again < l->told_at + grace_ms ? again : l->told_at + grace_ms;
            continue;
        }
        l->gone_at = l->gone_at ? l->gone_at : now(t);
        if (l->sync && l->pub.role == WCP_TARGET && now(t) < l->gone_at + HOSTS_FOLLOW_MS) {
            again = again < l->gone_at + HOSTS_FOLLOW_MS ? again : l->gone_at + HOSTS_FOLLOW_MS;
            continue;
        }
        wcp_log(WCP_INFO, "link is no longer in the lattice", "link", l->pub.name.ptr, "peer",
                link_peer(&l->pub).ptr, NULL);
        drain(l, t->c.drain_ms);
    }
    return again;
}

/* --- telling --- */

bool links_healthy(const struct links *t, struct wcp_buf *b)
{
    const struct link *worst = NULL;
    size_t bad = 0;
    for (const struct link *l = t->all; l; l = l->next) {
        if (l->state != LINK_CONNECTING && l->state != LINK_FAILED)
            continue;
        bad++;
        if (!worst || l->state > worst->state)
            worst = l;
    }
    if (!worst)
        return true;
    struct wcp_err err = {0};
    wcp_fail(&err, WCP_EIO, "%s", worst->why ? worst->why : link_state_text(worst->state));
    wcp_buf_fmt(b, "%s", link_described(&worst->pub, &err));
    if (bad > 1)
        wcp_buf_fmt(b, "; and %zu more", bad - 1);
    return false;
}

bool links_any_failed(const struct links *t)
{
    const struct link *l = t->all;
    while (l && l->state != LINK_FAILED)
        l = l->next;
    return l != NULL;
}

void links_each(const struct links *t, void (*fn)(void *ctx, const struct link_view *v), void *ctx)
{
    for (const struct link *l = t->all; l; l = l->next) {
        struct link_view v = link_view(l);
        fn(ctx, &v);
    }
}

static struct json_object *text(struct wcp_str s)
{
    return json_object_new_string_len(s.ptr, (int)s.len);
}

void link_describe(const struct link_view *v, struct json_object *o)
{
    const struct wcp_link *l = v->link;
    struct json_object *interfaces = json_object_new_array();
    for (size_t i = 0; i < l->interface_count; i++)
        json_object_array_add(interfaces, text(l->interfaces[i]));
    json_object_object_add(o, "source_id", text(l->source_id));
    json_object_object_add(o, "target", text(l->target_id));
    json_object_object_add(o, "name", text(l->name));
    json_object_object_add(o, "wit_namespace", text(l->wit_namespace));
    json_object_object_add(o, "wit_package", text(l->wit_package));
    json_object_object_add(o, "interfaces", interfaces);
    json_object_object_add(o, "state", text(wcp_str(link_state_text(v->state))));
    if (v->why)
        json_object_object_add(o, "reason", text(wcp_str(v->why)));
}

static struct json_object *to_json(const struct links *t, const struct link_view *v)
{
    struct json_object *o = json_object_new_object();
    link_describe(v, o);
    json_object_object_add(o, "for_ms", json_object_new_int64((int64_t)(now(t) - v->since_ms)));
    json_object_object_add(o, "attempts", json_object_new_int64(v->attempts));
    if (v->retry_ms != TIMER_NEVER) {
        uint64_t in = v->retry_ms > now(t) ? v->retry_ms - now(t) : 0;
        json_object_object_add(o, "retry_in_ms", json_object_new_int64((int64_t)in));
    }
    json_object_object_add(o, "calls", json_object_new_int64((int64_t)v->calls));
    if (v->local)
        json_object_object_add(o, "local", json_object_new_boolean(true));
    return o;
}

size_t links_json(const struct links *t, size_t max, struct wcp_buf *b)
{
    size_t left_out = 0, begin = b->len;
    wcp_buf_put(b, "[", 1);
    for (int pass = 0; pass < 2; pass++) {
        for (const struct link *l = t->all; l; l = l->next) {
            if ((l->state == LINK_READY) != (pass == 1))
                continue;
            struct link_view v = link_view(l);
            struct json_object *o = to_json(t, &v);
            size_t n = 0;
            const char *text = json_object_to_json_string_length(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
            size_t comma = b->len > begin + 1;
            if (b->len - begin + comma + n + 1 > max) {
                left_out++;
            } else {
                wcp_buf_put(b, ",", comma);
                wcp_buf_put(b, text, n);
            }
            json_object_put(o);
        }
    }
    wcp_buf_put(b, "]", 1);
    return left_out;
}

/* links.c: the link table: which links there are, which work, and taking them up and down. */
#include "lattice/links.h"
#include "lattice/secrets.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>
#include <wcp/map.h>

enum link_state { LINK_UP, LINK_FAILED, LINK_DRAINING, LINK_DOWN };

struct link {
    struct wcp_link pub; /* first: the two pointers convert into each other */
    struct links *table;
    struct linkdef def;
    struct config *config;           /* our side of def */
    struct secrets secrets;          /* its own */
    struct shared_secrets *provided; /* the provider's, which it sees, too; NULL: it does not */
    enum link_state state;
    bool was_up;     /* link_down is owed */
    bool told;       /* link_drain was called */
    bool local;      /* by links_put_local */
    bool unresolved; /* the lattice lacks what it needs */
    char *why;       /* failed or unhealthy; NULL: healthy */
    size_t refs;     /* running calls */
    struct timer end;
    uint64_t told_at;          /* by a message; 0: only the buckets have told */
    unsigned sync;             /* the last one that had it */
    struct link *same;         /* the next with the same peer, name and package */
    struct link *next, **prev; /* all */
};

struct links {
    struct links_config c;
    struct shared_secrets *provided;
    struct wcp_map *by_peer; /* of those that are up or failed; see key() */
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

static struct wcp_str peer_of(const struct wcp_link *l)
{
    return l->role == WCP_TARGET ? l->source_id : l->target_id;
}

/* "link 'default' from 'comp-a'", the start of every line about a link. */
static struct wcp_err *described(const struct wcp_link *l, struct wcp_err *err)
{
    wcp_wrap(err, "link '%.64s' %s '%.*s'", l->name.ptr, l->role == WCP_TARGET ? "from" : "to",
             WCP_ARG(peer_of(l)));
    return err;
}

struct links *links_new(const struct links_config *c)
{
    struct links *t = wcp_calloc(1, sizeof *t);
    t->c = *c;
    t->max = c->def->limits.links ? c->def->limits.links : 65536;
    t->by_peer = wcp_map_new(NULL);
    return t;
}

static uint64_t now(const struct links *t)
{
    return t->c.transport->now(t->c.transport);
}

static void forget_secrets(struct link *l)
{
    secrets_free(&l->secrets);
    secrets_drop(l->provided);
    l->provided = NULL;
}

static void free_link(struct link *l)
{
    timers_clear(&l->table->timers, &l->end);
    l->table->count--;
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    forget_secrets(l);
    linkdef_free(&l->def);
    free((void *)(uintptr_t)l->pub.interfaces);
    free(l->why);
    free(l);
}

void links_free(struct links *t)
{
    if (!t)
        return;
    while (t->all)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        free_link(t->all);
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
    struct link *l = chain(t, w->role, peer_of(w), w->name, w->wit_package);
    while (l && !wcp_str_eq(l->pub.wit_namespace, w->wit_namespace))
        l = l->same;
    return l;
}

static void chain_add(struct link *l)
{
    char text[KEY_MAX];
    struct wcp_str k = {0};
    bool fits = key(text, l->pub.role, peer_of(&l->pub), l->pub.name, l->pub.wit_package, &k);
    assert(fits); /* put() has checked */
    (void)fits;
    l->same = wcp_map_get(l->table->by_peer, k);
    wcp_map_put(l->table->by_peer, k, l);
}

static void chain_remove(struct link *l)
{
    char text[KEY_MAX];
    struct wcp_str k = {0};
    (void)key(text, l->pub.role, peer_of(&l->pub), l->pub.name, l->pub.wit_package, &k);
    struct link *head = wcp_map_get(l->table->by_peer, k), **p = &head;
    while (*p != l)
        p = &(*p)->same;
    *p = l->same;
    l->same = NULL;
    if (head)
        wcp_map_put(l->table->by_peer, k, head);
    else
        (void)wcp_map_del(l->table->by_peer, k); /* it is there */
}

static struct wcp_link *find(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface)
{
    struct wcp_str ns, pkg, interface;
    struct link *best = NULL;
    interface_split(iface->name, &ns, &pkg, &interface);
    for (struct link *l = chain(ctx, WCP_TARGET, source, name, pkg); l; l = l->same)
        if (l->state == LINK_UP && (!best || wcp_str_eq(l->pub.wit_namespace, ns)))
            best = l;
    if (!best)
        return NULL;
    best->refs++;
    return &best->pub;
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
    if (--l->refs == 0 && l->state >= LINK_DRAINING)
        timers_set(&l->table->timers, &l->end, now(l->table));
}

struct rpc_links links_for_rpc(struct links *t)
{
    return (struct rpc_links){.ctx = t, .find = find, .hold = hold, .release = release};
}

/* --- down --- */

static void on_end(struct timer *timer)
{
    struct link *l = (struct link *)((char *)timer - offsetof(struct link, end));
    const struct wcp_provider *def = l->table->c.def;
    if (l->state != LINK_DOWN) {
        l->state = LINK_DOWN;
        if (l->refs) {
            struct wcp_err err = {0};
            wcp_fail(&err, WCP_ETIMEOUT, "taken down while %zu calls still run", l->refs);
            wcp_log(WCP_WARN, described(&l->pub, &err)->msg, NULL);
        }
        if (l->was_up && def->link_down)
            def->link_down(&l->pub);
        l->was_up = false;
        forget_secrets(l);
    }
    if (l->refs == 0)
        free_link(l);
    /* else: a handler still owes its reply and holds a pointer to it; release() comes back here. */
}

static void tell_drain(struct link *l)
{
    const struct wcp_provider *def = l->table->c.def;
    if (l->was_up && !l->told && def->link_drain)
        def->link_drain(&l->pub);
    l->told = true;
}

void links_tell_drain(struct links *t)
{
    for (struct link *l = t->all; l; l = l->next)
        tell_drain(l);
}

static void drain(struct link *l, uint32_t limit_ms)
{
    tell_drain(l);
    if (l->state < LINK_DRAINING) {
        chain_remove(l);
        l->state = LINK_DRAINING;
    }
    if (l->state == LINK_DRAINING) {
        uint64_t at = now(l->table) + (l->refs ? limit_ms : 0);
        if (!l->end.pos || at < l->end.at)
            timers_set(&l->table->timers, &l->end, at);
    }
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

static struct wcp_link public_part(const struct linkdef *l, enum wcp_role role)
{
    return (struct wcp_link){.role = role,
                             .source_id = wcp_str(l->source_id),
                             .target_id = wcp_str(l->target),
                             .name = wcp_str(l->name),
                             .wit_namespace = wcp_str(l->wit_namespace),
                             .wit_package = wcp_str(l->wit_package)};
}

static struct link *new_link(struct links *t, struct linkdef *def, enum wcp_role role)
{
    struct link *l = wcp_calloc(1, sizeof *l);
    l->table = t;
    l->def = *def;
    *def = (struct linkdef){0};
    l->config = role == WCP_SOURCE ? &l->def.source_config : &l->def.target_config;
    l->provided = secrets_hold(t->provided);
    l->end.fn = on_end;
    l->pub = public_part(&l->def, role);
    l->pub.instance = t->c.instance;
    struct wcp_str *interfaces = wcp_calloc(l->def.interfaces.n + 1, sizeof *interfaces);
    for (size_t i = 0; i < l->def.interfaces.n; i++)
        interfaces[i] = wcp_str(l->def.interfaces.at[i]);
    l->pub.interfaces = interfaces;
    l->pub.interface_count = l->def.interfaces.n;
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
    const struct links_config *c = &l->table->c;
    if (!sealed.ptr)
        return 0;
    if (secrets_open(sealed, c->host_xkey, c->xkey_seed, &l->secrets, err))
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

static void fail(struct link *l, struct wcp_err *err)
{
    l->state = LINK_FAILED;
    free(l->why); /* link_up may have called it unhealthy, too */
    l->why = wcp_str_dup(wcp_str(err->msg));
    wcp_log(WCP_ERROR, described(&l->pub, err)->msg, NULL);
}

static void bring_up(struct link *l, const char *why, int secrets_rc, struct wcp_err *err)
{
    const struct wcp_provider *def = l->table->c.def;
    if (why)
        wcp_fail(err, WCP_ENOENT, "%s", why);
    if (why || secrets_rc || codec_parse(config_get(l->config, "wrpc-codec"), &l->pub.codec, err)) {
        fail(l, err);
        return;
    }
    if (def->link_up && def->link_up(&l->pub, err) != 0) {
        if (!err->msg[0])
            wcp_fail(err, WCP_EIO, "the provider's link_up does not say why");
        fail(l, err);
        return;
    }
    l->state = LINK_UP;
    l->was_up = true;
    wcp_log(WCP_INFO, "link is up", "link", l->pub.name.ptr,
            l->pub.role == WCP_TARGET ? "from" : "to", peer_of(&l->pub).ptr, NULL);
}

/* l comes up in the place of old, which may be NULL. */
static void replace(struct link *old, struct link *l, const char *why, int secrets_rc,
                    struct wcp_err *err)
{
    struct links *t = l->table;
    l->unresolved = why != NULL;
    bring_up(l, why, secrets_rc, err);
    /* Only now: calls go to the old one as long as the new one is not there. A failed one has
     * nothing to take down and goes at the next tick. */
    if (old)
        drain(old, t->c.drain_ms);
    chain_add(l);
    if (l->state == LINK_UP && t->c.added)
        t->c.added(t->c.ctx);
}

static void put(struct links *t, struct linkdef *def, const char *why, uint64_t told_at, bool local)
{
    enum wcp_role role;
    struct wcp_err err = {0};
    if (!our_role(t, def, &role)) {
        linkdef_free(def);
        return;
    }
    struct wcp_link w = public_part(def, role);
    char text[KEY_MAX];
    struct wcp_str k;
    if (!key(text, role, peer_of(&w), w.name, w.wit_package, &k)) {
        wcp_fail(&err, WCP_ETOOBIG, "its names are longer than %d bytes: refused", KEY_MAX);
        wcp_log(WCP_ERROR, described(&w, &err)->msg, NULL);
        linkdef_free(def);
        return;
    }
    struct link *old = same_key(t, &w);
    if (!old && t->count >= t->max) {
        wcp_fail(&err, WCP_ETOOBIG, "refused: there are %zu links already, the limit is %zu",
                 t->count, t->max);
        wcp_log(WCP_ERROR, described(&w, &err)->msg, NULL);
        linkdef_free(def);
        return;
    }
    struct link *l = new_link(t, def, role);
    l->local = local;
    int rc = open_secrets(l, &err);
    if (old && old->state == LINK_UP && !rc && !why && same_content(old, l)) {
        free_link(l); /* a repetition: hosts send each link several times */
        old->told_at = told_at > old->told_at ? told_at : old->told_at;
        old->sync = t->sync;
        return;
    }
    l->told_at = told_at;
    l->sync = t->sync;
    replace(old, l, why, rc, &err);
}

void links_put(struct links *t, struct linkdef *def)
{
    put(t, def, NULL, now(t), false);
}

void links_put_local(struct links *t, struct linkdef *def)
{
    put(t, def, NULL, now(t), true);
}

void links_renew(struct links *t, bool local)
{
    for (struct link *old = t->all, *next; old; old = next) {
        next = old->next; /* new ones come in front */
        if (old->state >= LINK_DRAINING || old->unresolved || (old->local && !local))
            continue;
        struct linkdef def;
        struct wcp_err err = {0};
        linkdef_copy(&def, &old->def);
        struct link *l = new_link(t, &def, old->pub.role);
        l->local = old->local;
        l->told_at = old->told_at;
        l->sync = old->sync;
        int rc = open_secrets(l, &err);
        replace(old, l, NULL, rc, &err);
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
    struct wcp_link w = public_part(def, role);
    struct link *l = same_key(t, &w);
    if (!l)
        return; /* every host says it, and to everyone: not worth a line */
    wcp_log(WCP_INFO, "link is deleted", "link", w.name.ptr, role == WCP_TARGET ? "from" : "to",
            peer_of(&w).ptr, NULL);
    drain(l, t->c.drain_ms);
}

void links_sync_begin(struct links *t)
{
    t->sync++;
}

void links_sync_put(struct links *t, struct linkdef *def, const char *why)
{
    put(t, def, why, 0, false);
}

uint64_t links_sync_end(struct links *t, uint32_t grace_ms)
{
    uint64_t again = TIMER_NEVER;
    for (struct link *l = t->all; l; l = l->next) {
        if (l->state >= LINK_DRAINING || l->sync == t->sync || l->local)
            continue;
        if (l->told_at && now(t) < l->told_at + grace_ms) {
            again = again < l->told_at + grace_ms ? again : l->told_at + grace_ms;
            continue;
        }
        wcp_log(WCP_INFO, "link is no longer in the lattice", "link", l->pub.name.ptr, "peer",
                peer_of(&l->pub).ptr, NULL);
        drain(l, t->c.drain_ms);
    }
    return again;
}

/* --- health --- */

bool links_healthy(const struct links *t, struct wcp_buf *b)
{
    size_t bad = 0;
    for (struct link *l = t->all; l; l = l->next) {
        if (l->state >= LINK_DRAINING || !l->why)
            continue;
        struct wcp_err err = {0};
        wcp_fail(&err, WCP_EIO, "%s", l->why);
        if (bad++ == 0)
            wcp_buf_fmt(b, "%s", described(&l->pub, &err)->msg);
    }
    if (bad > 1)
        wcp_buf_fmt(b, "; and %zu more", bad - 1);
    return bad == 0;
}

void wcp_link_unhealthy(struct wcp_link *w, const char *why)
{
    struct link *l = (struct link *)w;
    struct wcp_err err = {0};
    why = why && *why ? why : "unhealthy";
    if (l->why && strcmp(l->why, why) == 0)
        return;
    char *copy = wcp_str_dup(wcp_str(why));
    free(l->why);
    l->why = copy;
    wcp_fail(&err, WCP_EIO, "%s", why);
    wcp_log(WCP_WARN, described(w, &err)->msg, NULL);
}

void wcp_link_healthy(struct wcp_link *w)
{
    struct link *l = (struct link *)w;
    if (!l->why)
        return;
    free(l->why);
    l->why = NULL;
    wcp_log(WCP_INFO, "link is healthy again", "link", w->name.ptr, "peer", peer_of(w).ptr, NULL);
}

/* --- for providers --- */

bool wcp_link_has_interface(const struct wcp_link *l, const char *name)
{
    for (size_t i = 0; i < l->interface_count; i++)
        if (strcmp(l->interfaces[i].ptr, name) == 0)
            return true;
    return false;
}

const char *wcp_link_config(const struct wcp_link *l, const char *name)
{
    return config_get(((const struct link *)l)->config, name);
}

struct wcp_bytes wcp_link_secret_bytes(const struct wcp_link *l, const char *name)
{
    const struct link *own = (const struct link *)l;
    const struct secret *s = secrets_get(&own->secrets, name);
    /* The nearest wins. A local link has nothing of its own: its configuration is the provider's,
     * and secrets go before that. */
    if (!s && own->provided && (own->local || !config_get(own->config, name)))
        s = secrets_get(&own->provided->secrets, name);
    return s ? (struct wcp_bytes){s->value, s->len} : (struct wcp_bytes){0};
}

const char *wcp_link_secret(const struct wcp_link *l, const char *name)
{
    return (const char *)wcp_link_secret_bytes(l, name).ptr;
}

/* --- time --- */

uint64_t links_next(const struct links *t)
{
    return timers_next(&t->timers);
}

void links_tick(struct links *t)
{
    timers_fire(&t->timers, now(t));
}

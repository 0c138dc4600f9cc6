/* link.c: one link of the link table: its life and its state.
 *
 * new -> link_up: ready, or connecting until the provider says more, or failed -> draining -> down.
 * While it is up, the provider says what its backend is: ready or failed. When link_up has failed
 * it is called again, after 1 s, 2 s, ... 60 s, each less a part by chance. */
#include "lattice/link.h"
#include "lattice/secrets.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define RETRY_MS      1000 /* doubles */
#define RETRY_MOST_MS 60000

const char *link_state_text(enum link_state s)
{
    static const char *const texts[] = {"connecting", "ready", "failed", "draining"};
    return texts[s];
}

struct wcp_str link_peer(const struct wcp_link *l)
{
    return l->role == WCP_TARGET ? l->source_id : l->target_id;
}

const char *link_described(const struct wcp_link *l, struct wcp_err *err)
{
    wcp_wrap(err, "link '%.64s' %s '%.*s'", l->name.ptr, l->role == WCP_TARGET ? "from" : "to",
             WCP_ARG(link_peer(l)));
    return err->msg;
}

static void log_state(const struct link *l, const char *what)
{
    wcp_log(WCP_INFO, what, "link", l->pub.name.ptr, l->pub.role == WCP_TARGET ? "from" : "to",
            link_peer(&l->pub).ptr, NULL);
}

static uint64_t now(const struct link *l)
{
    return l->c->transport->now(l->c->transport);
}

struct link_view link_view(const struct link *l)
{
    bool retries = l->state == LINK_FAILED && l->due.pos;
    return (struct link_view){.link = &l->pub,
                              .peer = link_peer(&l->pub),
                              .state = l->state,
                              .since_ms = l->since,
                              .why = l->why,
                              .attempts = l->attempts,
                              .retry_ms = retries ? l->due.at : TIMER_NEVER,
                              .calls = l->refs,
                              .local = l->local};
}

/* --- states --- */

void link_tell(struct link *l)
{
    l->quiet = false;
    l->since = now(l);
    if (l->c->changed) {
        struct link_view v = link_view(l);
        l->c->changed(l->c->ctx, &v);
    }
}

/* why: copied. */
static void become(struct link *l, enum link_state state, const char *why)
{
    bool turned = state != l->state;
    char *copy = why ? wcp_str_dup(wcp_str(why)) : NULL;
    free(l->why);
    l->why = copy;
    l->state = state;
    if (turned && !l->quiet)
        link_tell(l);
}

static void fail(struct link *l, enum wcp_level level, const char *why)
{
    struct wcp_err err = {0};
    bool said = l->why && strcmp(l->why, why) == 0;
    become(l, LINK_FAILED, why);
    wcp_fail(&err, WCP_EIO, "%s", why);
    if (!said)
        wcp_log(level, link_described(&l->pub, &err), NULL);
}

static void forget_secrets(struct link *l)
{
    secrets_free(&l->secrets);
    secrets_drop(l->provided);
    l->provided = NULL;
}

void link_refuse(struct link *l, struct wcp_err *err)
{
    forget_secrets(l); /* nobody will see them */
    l->useless = true;
    fail(l, WCP_ERROR, err->msg);
}

/* link_up has failed. Many links that fail together shall not be tried together again and again. */
static void try_later(struct link *l)
{
    l->pause_ms = l->pause_ms ? 2 * l->pause_ms : RETRY_MS;
    if (l->pause_ms > RETRY_MOST_MS)
        l->pause_ms = RETRY_MOST_MS;
    uint32_t half = l->pause_ms / 2;
    timers_set(l->timers, &l->due, now(l) + half + randombytes_uniform(half + 1));
}

void link_try(struct link *l)
{
    const struct wcp_provider *def = l->c->def;
    struct wcp_err err = {0};
    enum link_state before = l->state;
    char *why = l->why;
    bool first = l->quiet;
    /* What link_up says of its state holds when it has succeeded. */
    l->why = NULL;
    l->state = LINK_READY;
    l->quiet = true;
    l->pub.data = NULL;
    l->attempts++;
    l->tried_at = now(l);
    int rc = def->link_up ? def->link_up(&l->pub, &err) : 0;
    l->quiet = first;
    if (rc) {
        free(l->why);
        l->why = why; /* said already, if it is the same again */
        l->state = before;
        fail(l, WCP_ERROR, err.msg[0] ? err.msg : "the provider's link_up does not say why");
        try_later(l);
        return;
    }
    free(why);
    l->up = true;
    timers_clear(l->timers, &l->due);
    if (l->state != LINK_FAILED) /* that is said already */
        log_state(l, l->state == LINK_READY ? "link is up" : "link is connecting");
    if (!first && l->state != before)
        link_tell(l);
}

void link_hurry(struct link *l)
{
    uint64_t at = l->tried_at + RETRY_MS;
    if (l->up || l->useless || l->state != LINK_FAILED)
        return;
    if (now(l) >= at)
        link_try(l);
    else if (at < l->due.at)
        timers_set(l->timers, &l->due, at);
}

void wcp_link_connecting(struct wcp_link *w)
{
    struct link *l = (struct link *)w;
    if (l->state == LINK_READY)
        become(l, LINK_CONNECTING, NULL);
}

void wcp_link_unhealthy(struct wcp_link *w, const char *why)
{
    struct link *l = (struct link *)w;
    if (l->state != LINK_DRAINING)
        fail(l, WCP_WARN, why && *why ? why : "unhealthy");
}

void wcp_link_healthy(struct wcp_link *w)
{
    struct link *l = (struct link *)w;
    if (l->state == LINK_READY || l->state == LINK_DRAINING)
        return;
    if (!l->quiet)
        log_state(l, l->state == LINK_FAILED ? "link is healthy again" : "link is up");
    become(l, LINK_READY, NULL);
}

/* --- from its beginning to its end --- */

struct wcp_link link_public(const struct linkdef *l, enum wcp_role role)
{
    return (struct wcp_link){.role = role,
                             .source_id = wcp_str(l->source_id),
                             .target_id = wcp_str(l->target),
                             .name = wcp_str(l->name),
                             .wit_namespace = wcp_str(l->wit_namespace),
                             .wit_package = wcp_str(l->wit_package)};
}

struct link *link_new(const struct links_config *c, struct timers *timers, struct linkdef *def,
                      enum wcp_role role)
{
    struct link *l = wcp_calloc(1, sizeof *l);
    l->c = c;
    l->timers = timers;
    l->quiet = true;
    l->def = *def;
    *def = (struct linkdef){0};
    l->config = role == WCP_SOURCE ? &l->def.source_config : &l->def.target_config;
    l->pub = link_public(&l->def, role);
    l->pub.instance = c->instance;
    struct wcp_str *interfaces = wcp_calloc(l->def.interfaces.n + 1, sizeof *interfaces);
    for (size_t i = 0; i < l->def.interfaces.n; i++)
        interfaces[i] = wcp_str(l->def.interfaces.at[i]);
    l->pub.interfaces = interfaces;
    l->pub.interface_count = l->def.interfaces.n;
    return l;
}

void link_free(struct link *l)
{
    timers_clear(l->timers, &l->due);
    forget_secrets(l);
    linkdef_free(&l->def);
    free((void *)(uintptr_t)l->pub.interfaces);
    free(l->why);
    free(l);
}

void link_tell_drain(struct link *l)
{
    if (l->up && !l->told && l->c->def->link_drain)
        l->c->def->link_drain(&l->pub);
    l->told = true;
    if (l->state == LINK_FAILED && !l->up) /* nor is it tried again */
        timers_clear(l->timers, &l->due);
}

void link_drain(struct link *l, uint32_t limit_ms)
{
    uint64_t at = now(l) + (l->refs ? limit_ms : 0);
    link_tell_drain(l);
    if (l->gone)
        return;
    bool first = l->state != LINK_DRAINING;
    become(l, LINK_DRAINING, NULL);
    if (first || at < l->due.at)
        timers_set(l->timers, &l->due, at);
}

void link_down(struct link *l)
{
    if (l->gone)
        return;
    l->gone = true;
    if (l->refs) {
        struct wcp_err err = {0};
        wcp_fail(&err, WCP_ETIMEOUT, "taken down while %zu calls still run", l->refs);
        wcp_log(WCP_WARN, link_described(&l->pub, &err), NULL);
    }
    if (l->up && l->c->def->link_down)
        l->c->def->link_down(&l->pub);
    l->up = false;
    forget_secrets(l);
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
    /* The nearest wins. Configuration that is the provider's is as far as its secrets, and secrets
     * go before that. */
    if (!s && own->provided && (own->of_provider || !config_get(own->config, name)))
        s = secrets_get(&own->provided->secrets, name);
    return s ? (struct wcp_bytes){s->value, s->len} : (struct wcp_bytes){0};
}

const char *wcp_link_secret(const struct wcp_link *l, const char *name)
{
    return (const char *)wcp_link_secret_bytes(l, name).ptr;
}

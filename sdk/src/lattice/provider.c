/* provider.c: one provider in one lattice: control messages, links and calls joined. No I/O.
 *
 * Starting: control subjects first, so that no link message is missed; then the provider's own
 * start; then the links we were told of; then the functions. Standalone, the links are in the
 * lattice's buckets, so the last step waits until they have been read; from then on the buckets are
 * watched, and link messages are hints.
 *
 * Leaving, by a host's message or a signal, is one path, taken by on_check() from the tick:
 * leave the queue groups -> what runs ends (or the limit passes) -> links go down -> stop -> the
 * answers to the shutdown messages -> env.done. */
#include "lattice/provider.h"
#include "base/timer.h"
#include "lattice/config.h"
#include "lattice/control.h"
#include "lattice/events.h"
#include "lattice/host.h"
#include "lattice/json.h"
#include "lattice/links.h"
#include "lattice/local.h"
#include "lattice/metrics.h"
#include "lattice/secrets.h"
#include "lattice/xkey.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define HOST_DRAIN_MS  250 /* a host kills the process 300 ms after its shutdown message */
#define DRAIN_MS       10000
#define DRAIN_CHECK_MS 10    /* while leaving: calls end in many places, none of which tells us */
#define LINK_GRACE_MS  60000 /* a link that was put may not be in the bucket yet */
#define REPLIES_MAX    16

struct wcp_instance {
    const struct wcp_provider *def;
    struct hostdata hd;             /* its secrets are in: */
    struct shared_secrets *secrets; /* and links may hold them, too */
    struct instance_env env;
    struct rpc *rpc;
    struct links *links;
    struct control control;
    struct events events;
    struct host *host; /* NULL: another one stands for us */
    /* Standalone only. */
    struct lattice_watch *lattice; /* NULL: not yet, or no more */
    bool read_once, unreadable;
    uint64_t doubt_until;      /* the bucket does not take links away before */
    uint64_t outages, rewinds; /* as metrics have them */
    void *data;
    /* Former configurations: what wcp_provider_config gave out lives as long as the instance. */
    struct config *old;
    size_t old_count;

    bool started, serving;
    enum { RUNNING, LEAVING, ENDED } state;
    uint64_t drain_until;
    struct strings replies; /* owed to shutdown messages */
    struct timers timers;
    struct timer check;
    struct timer compare; /* with what the buckets have: the grace of a link ends */
    bool told;            /* env.done has been called */
};

static uint64_t now(const struct wcp_instance *i)
{
    return i->env.transport->now(i->env.transport);
}

static void compare_at(struct wcp_instance *i, uint64_t at)
{
    if (at != TIMER_NEVER && (!i->compare.pos || at < i->compare.at))
        timers_set(&i->timers, &i->compare, at);
}

/* Under a host a link has its own secrets only. Without one nobody seals any. */
static void provide_secrets(struct wcp_instance *i)
{
    if (i->hd.standalone || i->hd.listens)
        links_provide_secrets(i->links, i->secrets);
}

/* --- what control messages ask for --- */

/* Whoever gets a link while we leave may call at once, and reach us until we are out of the queue
 * groups. What we ourselves would call over is not begun any more. */
static bool takes(const struct wcp_instance *i, const struct linkdef *l)
{
    bool calls_us = strcmp(l->source_id, i->hd.provider_id) != 0;
    return i->state == RUNNING || (i->state == LEAVING && calls_us && !rpc_has_left(i->rpc));
}

static void on_put(void *ctx, struct linkdef *l)
{
    struct wcp_instance *i = ctx;
    if (!takes(i, l)) {
        linkdef_free(l);
        return;
    }
    links_put(i->links, l);
    if (i->lattice) {
        lattice_hint(i->lattice);
        compare_at(i, now(i) + LINK_GRACE_MS);
    }
}

static void on_del(void *ctx, struct linkdef *l)
{
    struct wcp_instance *i = ctx;
    links_del(i->links, l);
    linkdef_free(l);
}

static bool on_health(void *ctx, struct wcp_buf *why)
{
    struct wcp_instance *i = ctx;
    return links_healthy(i->links, why);
}

static uint32_t drain_ms(const struct wcp_instance *i)
{
    uint32_t own = i->def->limits.drain_ms;
    return i->hd.drain_ms ? i->hd.drain_ms : own ? own : DRAIN_MS;
}

static void on_links(void *ctx, size_t max, struct wcp_buf *b)
{
    instance_links_json(ctx, max, b);
}

static void on_shutdown(void *ctx, const char *reply)
{
    struct wcp_instance *i = ctx;
    if (i->replies.n < REPLIES_MAX)
        strings_put(&i->replies, reply);
    instance_drain(i, drain_ms(i) < HOST_DRAIN_MS ? drain_ms(i) : HOST_DRAIN_MS);
}

/* For the host that we are ourselves. A link that is connecting is no news for everybody. */
static bool on_host_health(void *ctx)
{
    struct wcp_instance *i = ctx;
    return !links_any_failed(i->links);
}

static void on_host_stop(void *ctx, uint32_t limit_ms)
{
    instance_drain(ctx, limit_ms);
}

void instance_config(struct wcp_instance *i, struct config *c)
{
    if (config_equal(&i->hd.config, c)) {
        config_free(c); /* hosts send one after every start */
        return;
    }
    i->old = wcp_realloc(i->old, (i->old_count + 1) * sizeof *i->old);
    i->old[i->old_count++] = i->hd.config;
    i->hd.config = *c;
    wcp_log(WCP_INFO, "the configuration has changed", NULL);
    if (i->started && i->state == RUNNING) {
        if (i->def->config_changed)
            i->def->config_changed(i);
        local_links_put(i->links, i->def, &i->hd);
        links_renew(i->links, false);
    }
}

static void on_config(void *ctx, struct config *c)
{
    instance_config(ctx, c);
}

void instance_secrets(struct wcp_instance *i, struct secrets *s)
{
    struct shared_secrets *former = i->secrets;
    if (secrets_equal(&former->secrets, s)) {
        secrets_free(s);
        return;
    }
    i->secrets = secrets_share(s);
    wcp_log(WCP_INFO, "the secrets have changed", NULL);
    if (i->state == RUNNING) {
        if (i->started && i->def->config_changed)
            i->def->config_changed(i);
        provide_secrets(i);
    }
    secrets_drop(former);
}

/* --- starting --- */

static void on_link_added(void *ctx)
{
    struct wcp_instance *i = ctx;
    rpc_link_added(i->rpc);
}

/* Only who is its own host may speak of it: a real host's events are its own, and providers under
 * it may not even be permitted to. When we leave, provider_stopped says it for all links. */
static void on_link_changed(void *ctx, const struct link_view *v)
{
    struct wcp_instance *i = ctx;
    if (!i->host || i->state != RUNNING)
        return;
    struct json_object *data = json_object_new_object();
    json_object_object_add(data, "host_id", json_object_new_string(i->hd.host_id));
    json_object_object_add(data, "provider_id", json_object_new_string(i->hd.provider_id));
    link_describe(v, data);
    events_publish(&i->events, "link_state_changed", data);
    host_check(i->host);
}

/* A call has come before its link, and waits a little: if the buckets could not be read, perhaps
 * they can now. */
static void on_link_missing(void *ctx)
{
    struct wcp_instance *i = ctx;
    if (i->lattice)
        lattice_hint(i->lattice);
}

static void on_check(struct timer *t);
static void on_compare(struct timer *t);

struct wcp_instance *instance_new(const struct wcp_provider *def, struct hostdata *hd,
                                  const struct instance_env *env)
{
    struct wcp_instance *i = wcp_calloc(1, sizeof *i);
    struct wcp_limits limits = def->limits;
    limits.link_wait_ms = hd->link_wait_ms ? hd->link_wait_ms : limits.link_wait_ms;
    i->def = def;
    i->hd = *hd;
    *hd = (struct hostdata){0};
    i->secrets = secrets_share(&i->hd.secrets);
    i->env = *env;
    i->check.fn = on_check;
    i->compare.fn = on_compare;
    i->links = links_new(&(struct links_config){
        .instance = i,
        .def = def,
        .id = i->hd.provider_id,
        .host_xkey = i->hd.host_xkey,
        .xkey_seed = i->hd.provider_xkey_seed,
        .transport = env->transport,
        .drain_ms = drain_ms(i),
        .added = on_link_added,
        .changed = on_link_changed,
        .missing = on_link_missing,
        .ctx = i,
    });
    provide_secrets(i);
    i->rpc = rpc_new(&(struct rpc_config){
        .transport = env->transport,
        .lattice = i->hd.lattice,
        .id = i->hd.provider_id,
        .limits = limits,
        .links = links_for_rpc(i->links),
        .instance = i,
        .serves_anyone = def->serves_anyone,
    });
    i->control = (struct control){
        .t = env->transport,
        .host_id = i->hd.host_id,
        .on = {on_put, on_del, on_health, on_links, on_shutdown, on_config},
        .ctx = i,
        .subs = {-1, -1, -1, -1, -1, -1, -1, -1},
        .malformed = i->hd.bad_links,
    };
    i->events = (struct events){
        .t = env->transport,
        .lattice = i->hd.lattice,
        .source = i->hd.host_id,
        .wall_us = env->wall_us,
    };
    if (i->hd.registration.on)
        i->host = host_new(&(struct host_config){
            .events = &i->events,
            .registration = &i->hd.registration,
            .provider_id = i->hd.provider_id,
            .healthy = on_host_health,
            .stop = on_host_stop,
            .ctx = i,
        });
    return i;
}

static void serve(struct wcp_instance *i)
{
    if (i->serving || i->state != RUNNING)
        return;
    i->serving = true;
    for (const struct wcp_export *e = i->def->exports; e && e->interface; e++)
        rpc_serve(i->rpc, e);
    host_start(i->host);
    wcp_logf(WCP_INFO, "serving: %zu links", links_count(i->links));
    i->env.serving(i->env.ctx);
}

/* --- the links that the lattice's buckets have; standalone only --- */

static void on_stored_begin(void *ctx)
{
    struct wcp_instance *i = ctx;
    links_sync_begin(i->links);
}

static void on_stored_link(void *ctx, struct linkdef *l, const char *why)
{
    struct wcp_instance *i = ctx;
    if (takes(i, l))
        links_sync_put(i->links, l, why);
}

static void on_compare(struct timer *t)
{
    lattice_again(
        ((struct wcp_instance *)((char *)t - offsetof(struct wcp_instance, compare)))->lattice);
}

/* Once per outage. */
static void tell_unreadable(struct wcp_instance *i, const struct wcp_err *err)
{
    char count[24];
    if (i->unreadable)
        return;
    i->unreadable = true;
    i->outages++;
    snprintf(count, sizeof count, "%zu", links_count(i->links));
    wcp_log(WCP_WARN,
            err->code == WCP_ENOENT && i->read_once
                ? "the lattice's links are gone with their bucket: those that are known are kept"
                : "the lattice's links cannot be read: those that are known, put by message or of "
                  "--links are served",
            "error", err->msg, "links", count, NULL);
}

/* A bucket that has lost writes is what the lattice has now, and hosts act on it, too. But often
 * somebody restores what was lost: until then a link that works is better than none. */
static void on_stored_done(void *ctx, const struct lattice_state *s)
{
    struct wcp_instance *i = ctx;
    if (i->state != RUNNING)
        return;
    if (s->older) {
        i->rewinds++;
        i->doubt_until = now(i) + LINK_GRACE_MS;
        wcp_log(WCP_WARN,
                "the bucket of the lattice's links has lost writes, or was made anew: links that "
                "it no longer has are kept for a minute",
                NULL);
    }
    if (s->complete && now(i) < i->doubt_until)
        compare_at(i, i->doubt_until);
    else if (s->complete)
        compare_at(i, links_sync_end(i->links, LINK_GRACE_MS));
    if (s->err.code) {
        tell_unreadable(i, &s->err);
    } else {
        i->unreadable = false;
        i->read_once = true;
    }
    serve(i);
}

static void watch_links(struct wcp_instance *i)
{
    i->lattice = lattice_watch(&(struct lattice_watch_config){
        .kv = {.rpc = i->rpc, .domain = i->hd.js_domain},
        .lattice = i->hd.lattice,
        .id = i->hd.provider_id,
        .begin = on_stored_begin,
        .link = on_stored_link,
        .done = on_stored_done,
        .ctx = i,
    });
}

int instance_start(struct wcp_instance *i, struct wcp_err *err)
{
    struct wcp_err local = {0};
    char xkey[NKEY_PUBLIC_LEN + 1] = "";
    err = err ? err : &local;
    *err = local;
    int rc = *i->hd.provider_xkey_seed ? xkey_public(i->hd.provider_xkey_seed, xkey, err) : 0;
    if (rc)
        return wcp_wrap(err, "provider_xkey_private_key");
    control_start(&i->control, i->hd.lattice, i->hd.provider_id, xkey);
    if (i->def->start && (rc = i->def->start(i, err)))
        return err->msg[0] ? rc : wcp_fail(err, rc, "the provider's start does not say why");
    i->started = true;
    for (size_t k = 0; k < i->hd.link_count; k++)
        links_put(i->links, &i->hd.links[k]);
    local_links_put(i->links, i->def, &i->hd);
    if (i->hd.standalone)
        watch_links(i);
    else
        serve(i);
    return 0;
}

/* --- leaving --- */

/* What still runs is cut off. */
static void take_down(struct wcp_instance *i)
{
    lattice_close(i->lattice);
    i->lattice = NULL;
    timers_clear(&i->timers, &i->compare);
    rpc_abort(i->rpc);
    links_drain_all(i->links, true);
    links_tick(i->links);
    if (i->started && i->def->stop)
        i->def->stop(i);
    i->started = false;
}

static void on_check(struct timer *t)
{
    struct wcp_instance *i =
        (struct wcp_instance *)((char *)t - offsetof(struct wcp_instance, check));
    struct wcp_transport *net = i->env.transport;
    links_tell_drain(i->links);
    if (!rpc_idle(i->rpc) && now(i) < i->drain_until) {
        uint64_t next = now(i) + DRAIN_CHECK_MS;
        timers_set(&i->timers, &i->check, next < i->drain_until ? next : i->drain_until);
        return;
    }
    if (rpc_running(i->rpc))
        wcp_logf(WCP_WARN, "leaving: %zu calls did not end in time and are cut off",
                 rpc_running(i->rpc));
    take_down(i);
    control_leave(&i->control);
    host_end(i->host);
    for (size_t k = 0; k < i->replies.n; k++)
        net->publish(net, &(struct wcp_msg){.subject = i->replies.at[k],
                                            .data = {(const uint8_t *)"shutting down", 13}});
    i->state = ENDED;
}

void instance_drain(struct wcp_instance *i, uint32_t limit_ms)
{
    uint64_t until = now(i) + (limit_ms ? limit_ms : drain_ms(i));
    if (i->state == RUNNING) {
        i->state = LEAVING;
        i->drain_until = until;
        wcp_log(WCP_INFO, "leaving", NULL);
        if (i->env.leaving)
            i->env.leaving(i->env.ctx);
        rpc_leave(i->rpc);
        host_leaving(i->host);
    } else if (until < i->drain_until) {
        i->drain_until = until;
    }
    /* All else from the tick: this may be called in the middle of anything. */
    if (i->state == LEAVING)
        timers_set(&i->timers, &i->check, now(i));
}

void instance_free(struct wcp_instance *i)
{
    if (!i)
        return;
    if (i->state != ENDED)
        take_down(i);
    rpc_free(i->rpc);
    links_free(i->links);
    host_free(i->host);
    timers_close(&i->timers);
    strings_free(&i->replies);
    for (size_t k = 0; k < i->old_count; k++)
        config_free(&i->old[k]);
    free(i->old);
    secrets_drop(i->secrets);
    hostdata_free(&i->hd);
    free(i);
}

/* --- events --- */

void instance_message(struct wcp_instance *i, int sub, struct wcp_msg *m)
{
    if (!rpc_message(i->rpc, sub, m) && !control_message(&i->control, sub, m))
        (void)host_message(i->host, sub, m); /* else: left a while ago */
}

void instance_accept(struct wcp_instance *i, struct wcp_conn *c)
{
    rpc_accept(i->rpc, c, LOCAL_SOURCE, LOCAL_NAME);
}

void instance_left(struct wcp_instance *i, int sub)
{
    (void)rpc_left(i->rpc, sub); /* or a control subject, when nothing follows any more */
    if (i->state == LEAVING)
        timers_set(&i->timers, &i->check, now(i));
}

void instance_lost(struct wcp_instance *i, int sub)
{
    if (rpc_lost(i->rpc, sub) || !control_has(&i->control, sub))
        return;
    wcp_log(WCP_ERROR, "control messages were dropped: links may be out of date", NULL);
    if (i->lattice)
        lattice_again(i->lattice);
}

void instance_writable(struct wcp_instance *i)
{
    rpc_writable(i->rpc);
}

void instance_disconnected(struct wcp_instance *i)
{
    rpc_disconnected(i->rpc);
    if (i->lattice)
        lattice_disconnected(i->lattice);
}

/* Link messages of the meantime are lost; only the buckets can be asked. */
void instance_reconnected(struct wcp_instance *i)
{
    if (i->lattice)
        lattice_reconnected(i->lattice);
}

uint64_t instance_next(const struct wcp_instance *i)
{
    uint64_t next = timers_next(&i->timers),
             others[] = {rpc_next(i->rpc), links_next(i->links), host_next(i->host)};
    for (size_t k = 0; k < 3; k++)
        if (others[k] < next)
            next = others[k];
    return next;
}

void instance_tick(struct wcp_instance *i)
{
    rpc_tick(i->rpc);
    links_tick(i->links);
    host_tick(i->host);
    timers_fire(&i->timers, now(i));
    if (i->state == ENDED && !i->told) {
        i->told = true;
        i->env.done(i->env.ctx, 0); /* i may be gone now */
    }
}

uint64_t instance_malformed(const struct wcp_instance *i)
{
    return i->control.malformed;
}

/* --- for the admin port --- */

static void put_unready(void *ctx, const struct link_view *v)
{
    if (v->state == LINK_CONNECTING || v->state == LINK_FAILED)
        wcp_buf_fmt(ctx, "link '%s' %s '%.*s' %s%s%s\n", v->link->name.ptr,
                    v->link->role == WCP_TARGET ? "from" : "to", WCP_ARG(v->peer),
                    v->why ? "has failed" : "is connecting", v->why ? ": " : "",
                    v->why ? v->why : "");
}

void instance_unready(const struct wcp_instance *i, struct wcp_buf *why)
{
    if (i->state != RUNNING)
        wcp_buf_fmt(why, "leaving\n");
    links_each(i->links, put_unready, why);
}

void instance_metrics(const struct wcp_instance *i, const char *name, struct wcp_buf *b)
{
    metric_family(b, "wcp_provider_info", "gauge", "Always 1; the labels say who this is.");
    metric_value(b, "wcp_provider_info", 1, "provider", name, "id", i->hd.provider_id, "lattice",
                 i->hd.lattice, NULL);
    metrics_rpc(b, i->rpc);
    metrics_links(b, i->links);
    metric_alone(b, "wcp_malformed_control_messages_total", "counter",
                 "Messages about links, health and the like that were malformed: ignored.",
                 i->control.malformed);
    if (!i->lattice)
        return; /* a host reads the buckets, or there are none */
    metric_alone(b, "wcp_lattice_readable", "gauge",
                 "1 while the lattice's buckets can be read; else the links known before serve.",
                 i->read_once && !i->unreadable);
    metric_alone(b, "wcp_lattice_outages_total", "counter",
                 "Times that the lattice's buckets could not be read any more, or not yet.",
                 i->outages);
    metric_alone(b, "wcp_lattice_rewinds_total", "counter",
                 "Times that the bucket of links had lost writes, or was made anew.", i->rewinds);
}

void instance_links_json(const struct wcp_instance *i, size_t max, struct wcp_buf *b)
{
    size_t begin = b->len;
    struct json_object *o = json_object_new_object();
    const struct {
        const char *name, *text;
    } members[] = {{"provider_id", i->hd.provider_id},
                   {"host_id", i->hd.host_id},
                   {"host_name", i->hd.registration.friendly_name}};
    for (size_t k = 0; k < 3; k++)
        if (members[k].text)
            json_object_object_add(o, members[k].name, json_object_new_string(members[k].text));
    const char *text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    wcp_buf_fmt(b, "%.*s,\"links\":", (int)strlen(text) - 1, text);
    json_object_put(o);
    size_t omitted = links_json(i->links, max - (b->len - begin) - 64, b);
    wcp_buf_fmt(b, ",\"omitted\":%zu}", omitted);
}

/* --- for providers --- */

const char *wcp_provider_config(const struct wcp_instance *i, const char *key)
{
    return config_get(&i->hd.config, key);
}

const char *wcp_provider_secret(const struct wcp_instance *i, const char *name)
{
    const struct secret *s = secrets_get(&i->secrets->secrets, name);
    return s ? (const char *)s->value : NULL;
}

void *wcp_instance_data(const struct wcp_instance *i)
{
    return i->data;
}

void wcp_instance_set_data(struct wcp_instance *i, void *data)
{
    i->data = data;
}

const char *wcp_instance_id(const struct wcp_instance *i)
{
    return i->hd.provider_id;
}

struct uv_loop_s *wcp_loop(const struct wcp_instance *i)
{
    return i->env.loop;
}

struct wcp_outgoing *wcp_invoke(struct wcp_link *l, const struct wcp_interface *iface, size_t func,
                                const void *params, void (*done)(void), void *ctx)
{
    return rpc_invoke(l->instance->rpc, l, iface, func, params, done, ctx);
}

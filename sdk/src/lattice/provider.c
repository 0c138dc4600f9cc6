/* provider.c: one provider in one lattice: control messages, links and calls joined. No I/O.
 *
 * Starting: control subjects first, so that no link message is missed; then the provider's own
 * start; then the links we were told of; then the functions. Standalone, the links are in the
 * lattice's buckets, so the last step waits until they have been read.
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
#include "lattice/links.h"
#include "lattice/local.h"
#include "lattice/secrets.h"
#include "lattice/xkey.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define HOST_DRAIN_MS      250 /* a host kills the process 300 ms after its shutdown message */
#define DRAIN_MS           10000
#define DRAIN_CHECK_MS     10 /* while leaving: calls end in many places, none of which tells us */
#define LINK_GRACE_MS      60000 /* a link that was put may not be in the bucket yet */
#define REPLIES_MAX        16
#define READ_PAUSE_MS      2000 /* before the buckets are read again; doubled each time */
#define READ_PAUSE_MOST_MS 60000

struct wcp_instance {
    const struct wcp_provider *def;
    struct hostdata hd;             /* its secrets are in: */
    struct shared_secrets *secrets; /* and links may hold them, too */
    struct instance_env env;
    struct rpc *rpc;
    struct links *links;
    struct control control;
    struct events events;
    struct host *host;         /* NULL: another one stands for us */
    struct lattice_read *read; /* running; standalone only */
    bool read_again;
    void *data;
    /* Former configurations: what wcp_provider_config gave out lives as long as the instance. */
    struct config *old;
    size_t old_count;

    bool started, serving;
    enum { RUNNING, LEAVING, ENDED } state;
    uint64_t drain_until;
    struct strings replies; /* owed to shutdown messages */
    struct timers timers;
    struct timer check, reread;
    uint32_t read_pause_ms; /* since the last complete reading; 0: that was the last */
    bool told;              /* env.done has been called */
};

static uint64_t now(const struct wcp_instance *i)
{
    return i->env.transport->now(i->env.transport);
}

/* Under a host a link has its own secrets only. Without one nobody seals any. */
static void provide_secrets(struct wcp_instance *i)
{
    if (i->hd.standalone || i->hd.listens)
        links_provide_secrets(i->links, i->secrets);
}

/* --- what control messages ask for --- */

static void on_put(void *ctx, struct linkdef *l)
{
    struct wcp_instance *i = ctx;
    if (i->state == RUNNING)
        links_put(i->links, l);
    else
        linkdef_free(l); /* leaving: no new links */
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

static uint32_t drain_ms(const struct wcp_instance *i, uint32_t otherwise)
{
    return i->def->limits.drain_ms ? i->def->limits.drain_ms : otherwise;
}

static void on_shutdown(void *ctx, const char *reply)
{
    struct wcp_instance *i = ctx;
    if (i->replies.n < REPLIES_MAX)
        strings_put(&i->replies, reply);
    instance_drain(i, drain_ms(i, HOST_DRAIN_MS));
}

/* For the host that we are ourselves. */
static bool on_host_health(void *ctx)
{
    struct wcp_instance *i = ctx;
    struct wcp_buf why = {0};
    bool healthy = links_healthy(i->links, &why);
    wcp_buf_free(&why);
    return healthy;
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

static void on_check(struct timer *t);
static void on_reread(struct timer *t);

struct wcp_instance *instance_new(const struct wcp_provider *def, struct hostdata *hd,
                                  const struct instance_env *env)
{
    struct wcp_instance *i = wcp_calloc(1, sizeof *i);
    i->def = def;
    i->hd = *hd;
    *hd = (struct hostdata){0};
    i->secrets = secrets_share(&i->hd.secrets);
    i->env = *env;
    i->check.fn = on_check;
    i->reread.fn = on_reread;
    i->links = links_new(&(struct links_config){
        .instance = i,
        .def = def,
        .id = i->hd.provider_id,
        .host_xkey = i->hd.host_xkey,
        .xkey_seed = i->hd.provider_xkey_seed,
        .transport = env->transport,
        .drain_ms = drain_ms(i, DRAIN_MS),
        .added = on_link_added,
        .ctx = i,
    });
    provide_secrets(i);
    i->rpc = rpc_new(&(struct rpc_config){
        .transport = env->transport,
        .lattice = i->hd.lattice,
        .id = i->hd.provider_id,
        .limits = def->limits,
        .links = links_for_rpc(i->links),
        .instance = i,
        .serves_anyone = def->serves_anyone,
    });
    i->control = (struct control){
        .t = env->transport,
        .host_id = i->hd.host_id,
        .on = {on_put, on_del, on_health, on_shutdown, on_config},
        .ctx = i,
        .subs = {-1, -1, -1, -1, -1, -1},
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

static void on_read_link(void *ctx, struct linkdef *l, const char *why)
{
    struct wcp_instance *i = ctx;
    links_sync_put(i->links, l, why);
}

static void read_links(struct wcp_instance *i);

static void on_read_done(void *ctx, bool complete, const struct wcp_err *err)
{
    struct wcp_instance *i = ctx;
    i->read = NULL;
    uint64_t again = complete ? links_sync_end(i->links, LINK_GRACE_MS) : TIMER_NEVER;
    if (again != TIMER_NEVER)
        timers_set(&i->timers, &i->reread, again);
    if (!err) {
        i->read_pause_ms = 0;
    } else {
        /* Perhaps the server is still starting, or the bucket is made later. Said once. */
        if (!i->read_pause_ms)
            wcp_log(WCP_WARN,
                    "the lattice's links cannot be read; put messages still work, and it is tried "
                    "again",
                    "error", err->msg, NULL);
        i->read_pause_ms = i->read_pause_ms ? 2 * i->read_pause_ms : READ_PAUSE_MS;
        if (i->read_pause_ms > READ_PAUSE_MOST_MS)
            i->read_pause_ms = READ_PAUSE_MOST_MS;
        timers_set(&i->timers, &i->reread, now(i) + i->read_pause_ms);
    }
    serve(i);
    if (i->read_again)
        read_links(i);
}

static void on_reread(struct timer *t)
{
    read_links((struct wcp_instance *)((char *)t - offsetof(struct wcp_instance, reread)));
}

static void read_links(struct wcp_instance *i)
{
    i->read_again = i->read != NULL;
    if (i->read || i->state != RUNNING)
        return;
    timers_clear(&i->timers, &i->reread);
    links_sync_begin(i->links);
    i->read = lattice_read(&(struct lattice_read_config){
        .rpc = i->rpc,
        .lattice = i->hd.lattice,
        .id = i->hd.provider_id,
        .link = on_read_link,
        .done = on_read_done,
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
        read_links(i);
    else
        serve(i);
    return 0;
}

/* --- leaving --- */

/* What still runs is cut off. */
static void take_down(struct wcp_instance *i)
{
    if (i->read)
        lattice_read_cancel(i->read);
    i->read = NULL;
    timers_clear(&i->timers, &i->reread);
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
    uint64_t until = now(i) + (limit_ms ? limit_ms : drain_ms(i, DRAIN_MS));
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
    if (i->hd.standalone && i->started)
        read_links(i);
}

void instance_writable(struct wcp_instance *i)
{
    rpc_writable(i->rpc);
}

void instance_disconnected(struct wcp_instance *i)
{
    rpc_disconnected(i->rpc);
}

/* Link messages of the meantime are lost; only the buckets can be asked. */
void instance_reconnected(struct wcp_instance *i)
{
    if (i->hd.standalone && i->started)
        read_links(i);
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

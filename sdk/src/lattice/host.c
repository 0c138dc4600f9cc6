/* host.c: a standalone provider as the lattice sees it: a host that runs this one provider and can
 * start nothing else (lattice.md §8-§12, §16, §17).
 *
 * It starts when the provider serves. A provider.start of its own id *adopts* it: from then on it
 * carries the annotations and the image of that command, by which wadm knows its own. A
 * provider.stop makes it leave; wadm and wash wait 2 s for answer and event, so these come when it
 * has drained or after STOP_REPLY_MS: it takes no new calls by then.
 *
 * Health is told when it differs from what was told last. What is unhealthy from the start gets a
 * few seconds to connect first, as under a real host. */
#include "lattice/host_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define HEARTBEAT_MS 30000
#define HEALTH_MS    30000
#define SETTLE_MS    5000 /* until unhealthy from the start is told */

#if defined __x86_64__
#define ARCH "x86_64"
#elif defined __aarch64__
#define ARCH "aarch64"
#elif defined __i386__
#define ARCH "x86"
#elif defined __arm__
#define ARCH "arm"
#elif defined __riscv
#define ARCH "riscv64"
#else
#define ARCH "unknown"
#endif

/* As hosts write it: 1day 2h 3m 4s. */
static void print_uptime(uint64_t seconds, char out[64])
{
    uint64_t days = seconds / 86400,
             parts[] = {seconds / 3600 % 24, seconds / 60 % 60, seconds % 60};
    int n = 0;
    out[0] = '\0';
    if (days)
        n += snprintf(out, 64, "%llu%s", (unsigned long long)days, days == 1 ? "day" : "days");
    for (size_t i = 0; i < 3; i++)
        if (parts[i] || (i == 2 && !n))
            n += snprintf(out + n, 64 - (size_t)n, "%s%llu%c", n ? " " : "",
                          (unsigned long long)parts[i], "hms"[i]);
}

/* --- what is told --- */

struct json_object *host_describe(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    uint64_t seconds = (h->t->now(h->t) - h->started_ms) / 1000;
    char human[64];
    print_uptime(seconds, human);
    json_add_text(o, "friendly_name", h->c.registration->friendly_name);
    config_add(o, "labels", &h->labels);
    json_add_text(o, "version", h->c.registration->version);
    json_add_text(o, "uptime_human", human);
    json_object_object_add(o, "uptime_seconds", json_object_new_int64((int64_t)seconds));
    return o;
}

struct json_object *host_inventory(const struct host *h)
{
    struct json_object *o = host_describe(h), *list = json_object_new_array();
    if (!h->leaving) {
        struct json_object *p = json_object_new_object();
        json_add_text(p, "id", h->c.provider_id);
        json_add_text(p, "image_ref", h->image);
        json_add_text(p, "name", h->c.registration->provider_name);
        json_object_object_add(p, "revision", json_object_new_int(0));
        config_add(p, "annotations", &h->annotations);
        json_object_array_add(list, p);
    }
    json_add_text(o, "host_id", h->id);
    json_object_object_add(o, "components", json_object_new_array());
    json_object_object_add(o, "providers", list);
    return o;
}

/* Data of an event about the provider. */
static struct json_object *provider_data(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    json_add_text(o, "host_id", h->id);
    json_add_text(o, "provider_id", h->c.provider_id);
    return o;
}

void host_tell_started(const struct host *h)
{
    struct json_object *o = provider_data(h);
    json_add_text(o, "image_ref", h->image);
    config_add(o, "annotations", &h->annotations);
    events_publish(h->c.events, "provider_started", o);
}

void host_tell_labels(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    json_add_text(o, "host_id", h->id);
    config_add(o, "labels", &h->labels);
    events_publish(h->c.events, "labels_changed", o);
}

void host_answer(const struct host *h, const char *reply, bool success, const char *message,
                 struct json_object *response)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "success", json_object_new_boolean(success));
    json_add_text(o, "message", message);
    if (response)
        json_object_object_add(o, "response", response);
    if (reply)
        json_publish(h->t, reply, o);
    else
        json_object_put(o);
}

static void tell_stopped(struct host *h)
{
    if (h->stopped)
        return;
    h->stopped = true;
    timers_clear(&h->timers, &h->stop);
    struct json_object *o = provider_data(h);
    config_add(o, "annotations", &h->annotations);
    json_add_text(o, "reason", "stop");
    events_publish(h->c.events, "provider_stopped", o);
    if (h->stop_reply)
        host_answer(h, h->stop_reply, true, "successfully stopped provider", NULL);
}

/* --- life --- */

static void on_beat(struct timer *t)
{
    struct host *h = (struct host *)((char *)t - offsetof(struct host, beat));
    timers_set(&h->timers, t, h->t->now(h->t) + HEARTBEAT_MS);
    events_publish(h->c.events, "host_heartbeat", host_inventory(h));
}

static void on_check(struct timer *t)
{
    struct host *h = (struct host *)((char *)t - offsetof(struct host, check));
    timers_set(&h->timers, t, h->t->now(h->t) + HEALTH_MS);
    host_check(h);
}

static void on_stop(struct timer *t)
{
    tell_stopped((struct host *)((char *)t - offsetof(struct host, stop)));
}

struct host *host_new(const struct host_config *c)
{
    struct host *h = wcp_calloc(1, sizeof *h);
    const struct config *labels = &c->registration->labels;
    h->c = *c;
    h->t = c->events->t;
    h->id = c->events->source;
    h->image = wcp_str_dup(wcp_str(c->registration->image));
    h->beat.fn = on_beat;
    h->check.fn = on_check;
    h->stop.fn = on_stop;
    h->started_ms = h->t->now(h->t);
    config_put(&h->labels, "hostcore.arch", ARCH);
    config_put(&h->labels, "hostcore.os", "linux");
    config_put(&h->labels, "hostcore.osfamily", "unix");
    config_put(&h->labels, HOST_MARK, c->provider_id);
    for (size_t i = 0; i < labels->n; i++)
        config_put(&h->labels, labels->at[i].key, labels->at[i].value);
    return h;
}

void host_free(struct host *h)
{
    if (!h)
        return;
    timers_close(&h->timers);
    config_free(&h->labels);
    config_free(&h->annotations);
    free(h->image);
    free(h->stop_reply);
    free(h);
}

void host_start(struct host *h)
{
    if (!h)
        return;
    static const struct {
        const char *tail;
        bool own; /* our id follows */
    } subjects[HOST_SUBS] = {{"host.ping", false},  {"provider.auction", false},
                             {"component.*", true}, {"provider.*", true},
                             {"label.*", true},     {"host.*", true}};
    for (size_t i = 0; i < HOST_SUBS; i++) {
        char subject[ID_MAX + 128];
        (void)snprintf(subject, sizeof subject, HOST_CTL "%s.%s%s%s", h->c.events->lattice,
                       subjects[i].tail, subjects[i].own ? "." : "", subjects[i].own ? h->id : "");
        h->subs[i] = h->t->subscribe(h->t, subject, NULL);
    }
    h->started = true;
    wcp_log(WCP_INFO, "answers as a host", "host", h->id, NULL);
    if (h->c.registration->wadm_host) {
        /* The first empties wadm's record of this host, the second fills it. */
        events_publish(h->c.events, "host_started", host_describe(h));
        on_beat(&h->beat);
    }
    host_tell_started(h);
    timers_set(&h->timers, &h->check, h->t->now(h->t) + SETTLE_MS);
    host_check(h);
}

void host_check(struct host *h)
{
    if (!h || !h->started || h->leaving)
        return;
    bool healthy = h->c.healthy(h->c.ctx);
    if (h->told == (healthy ? HEALTHY : UNHEALTHY) ||
        (!healthy && h->told == UNKNOWN && h->t->now(h->t) < h->started_ms + SETTLE_MS))
        return;
    h->told = healthy ? HEALTHY : UNHEALTHY;
    events_publish(h->c.events, healthy ? "health_check_passed" : "health_check_failed",
                   provider_data(h));
}

void host_leaving(struct host *h)
{
    if (!h)
        return;
    h->leaving = true;
    timers_clear(&h->timers, &h->check);
}

void host_end(struct host *h)
{
    if (!h || !h->started)
        return;
    tell_stopped(h);
    if (h->c.registration->wadm_host) {
        struct json_object *o = json_object_new_object();
        config_add(o, "labels", &h->labels);
        events_publish(h->c.events, "host_stopped", o);
    }
    for (size_t i = 0; i < HOST_SUBS; i++)
        h->t->leave(h->t, h->subs[i]);
    h->started = false;
    timers_clear(&h->timers, &h->beat);
}

uint64_t host_next(const struct host *h)
{
    return h ? timers_next(&h->timers) : TIMER_NEVER;
}

void host_tick(struct host *h)
{
    if (h)
        timers_fire(&h->timers, h->t->now(h->t));
}

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
#include "lattice/host.h"
#include "lattice/json.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wcp/log.h>

#define HEARTBEAT_MS  30000
#define HEALTH_MS     30000
#define SETTLE_MS     5000  /* until unhealthy from the start is told */
#define STOP_REPLY_MS 1000  /* those who wait give up after 2 s */
#define TEXTS_MAX     65536 /* bytes of labels, and of annotations: all must fit one message */
#define NO_SUCH       "provider with that ID is not running"
#define RUNS_ALREADY  "provider with that ID is already running"
#define CTL           "wasmbus.ctl.v1."
#define SUBS          6

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

struct host {
    struct host_config c;
    struct wcp_transport *t;
    const char *id;
    struct config labels;
    struct config annotations; /* of the provider.start that adopted us */
    char *image;
    bool started, adopted, leaving, stopped /* provider_stopped has been published */;
    enum { UNKNOWN, HEALTHY, UNHEALTHY } told;
    uint64_t started_ms;
    char *stop_reply; /* owed to a provider.stop */
    struct timers timers;
    struct timer beat, check, stop;
    int subs[SUBS];
};

/* --- texts --- */

static size_t count_bytes(const struct config *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += strlen(c->at[i].key) + strlen(c->at[i].value);
    return n;
}

static void add_text(struct json_object *o, const char *member, const char *text)
{
    json_object_object_add(o, member, json_object_new_string(text));
}

static void add_map(struct json_object *o, const char *member, const struct config *c)
{
    struct json_object *map = json_object_new_object();
    for (size_t i = 0; i < c->n; i++)
        add_text(map, c->at[i].key, c->at[i].value);
    json_object_object_add(o, member, map);
}

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

static int check_key(const char *key, struct wcp_err *err)
{
    if (!*key)
        return wcp_fail(err, WCP_EINVAL, "a label needs a name");
    if (strncasecmp(key, "hostcore.", 9) == 0 || strcmp(key, HOST_MARK) == 0)
        return wcp_fail(err, WCP_EINVAL, "%.100s says what this host is and cannot be changed",
                        key);
    return 0;
}

int host_label_put(struct config *labels, const char *key, const char *value, struct wcp_err *err)
{
    int rc = check_key(key, err);
    if (rc)
        return rc;
    size_t n = count_bytes(labels) + strlen(key) + strlen(value);
    if (n > TEXTS_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "%zu bytes of labels found, at most %d expected", n,
                        TEXTS_MAX);
    config_put(labels, key, value);
    return 0;
}

/* Its place, or labels->n. */
static size_t find_label(const struct config *labels, const char *key)
{
    size_t i = 0;
    while (i < labels->n && strcmp(labels->at[i].key, key) != 0)
        i++;
    return i;
}

static bool label_del(struct config *labels, const char *key)
{
    size_t i = find_label(labels, key);
    if (i == labels->n)
        return false;
    free(labels->at[i].key);
    free(labels->at[i].value);
    labels->at[i] = labels->at[--labels->n];
    return true;
}

/* --- what is told --- */

static struct json_object *describe(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    uint64_t seconds = (h->t->now(h->t) - h->started_ms) / 1000;
    char human[64];
    print_uptime(seconds, human);
    add_text(o, "friendly_name", h->c.registration->friendly_name);
    add_map(o, "labels", &h->labels);
    add_text(o, "version", h->c.registration->version);
    add_text(o, "uptime_human", human);
    json_object_object_add(o, "uptime_seconds", json_object_new_int64((int64_t)seconds));
    return o;
}

static struct json_object *inventory(const struct host *h)
{
    struct json_object *o = describe(h), *list = json_object_new_array();
    if (!h->leaving) {
        struct json_object *p = json_object_new_object();
        add_text(p, "id", h->c.provider_id);
        add_text(p, "image_ref", h->image);
        add_text(p, "name", h->c.registration->provider_name);
        json_object_object_add(p, "revision", json_object_new_int(0));
        add_map(p, "annotations", &h->annotations);
        json_object_array_add(list, p);
    }
    add_text(o, "host_id", h->id);
    json_object_object_add(o, "components", json_object_new_array());
    json_object_object_add(o, "providers", list);
    return o;
}

/* Data of an event about the provider. */
static struct json_object *provider_data(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    add_text(o, "host_id", h->id);
    add_text(o, "provider_id", h->c.provider_id);
    return o;
}

static void tell_started(const struct host *h)
{
    struct json_object *o = provider_data(h);
    add_text(o, "image_ref", h->image);
    add_map(o, "annotations", &h->annotations);
    events_publish(h->c.events, "provider_started", o);
}

static void tell_labels(const struct host *h)
{
    struct json_object *o = json_object_new_object();
    add_text(o, "host_id", h->id);
    add_map(o, "labels", &h->labels);
    events_publish(h->c.events, "labels_changed", o);
}

static void answer(const struct host *h, const char *reply, bool success, const char *message,
                   struct json_object *response)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "success", json_object_new_boolean(success));
    add_text(o, "message", message);
    if (response)
        json_object_object_add(o, "response", response);
    size_t n = 0;
    const char *text = json_object_to_json_string_length(
        o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    if (reply)
        h->t->publish(h->t,
                      &(struct wcp_msg){.subject = reply, .data = {(const uint8_t *)text, n}});
    json_object_put(o);
}

static void tell_stopped(struct host *h)
{
    if (h->stopped)
        return;
    h->stopped = true;
    timers_clear(&h->timers, &h->stop);
    struct json_object *o = provider_data(h);
    add_map(o, "annotations", &h->annotations);
    add_text(o, "reason", "stop");
    events_publish(h->c.events, "provider_stopped", o);
    if (h->stop_reply)
        answer(h, h->stop_reply, true, "successfully stopped provider", NULL);
}

/* --- commands: each answers if it succeeds; err is answered by the caller --- */

/* o: the payload. */
typedef int (*command)(struct host *h, struct json_object *o, const char *reply,
                       struct wcp_err *err);

static int ping(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    struct json_object *response = describe(h);
    add_text(response, "id", h->id);
    add_text(response, "lattice", h->c.events->lattice);
    answer(h, reply, true, "", response);
    return 0;
}

static int get(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    answer(h, reply, true, "", inventory(h));
    return 0;
}

/* Texts of a command, one block each; absent is an error but for host_id, which must be ours. */
static int read_texts(const struct host *h, struct json_object *o, const char *const names[2],
                      char *out[2], struct wcp_err *err)
{
    char *host = NULL;
    int rc = member_text(o, "host_id", &host, err);
    if (!rc && host && *host && strcmp(host, h->id) != 0)
        rc = wcp_fail(err, WCP_EINVAL, "host_id: %.60s found, %s expected", host, h->id);
    free(host);
    for (size_t i = 0; !rc && i < 2 && names[i]; i++) {
        rc = member_text(o, names[i], &out[i], err);
        if (!rc && !out[i])
            rc = wcp_fail(err, WCP_EPROTO, "%s is missing", names[i]);
    }
    return rc;
}

static int stop_host(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    int64_t timeout_ms = 0;
    int rc = read_texts(h, o, (const char *const[2]){NULL}, NULL, err);
    if (!rc)
        rc = member_integer(o, "timeout", &timeout_ms, err);
    if (!rc && (timeout_ms < 0 || timeout_ms > UINT32_MAX))
        rc = wcp_fail(err, WCP_EINVAL, "timeout: %lld found, 0 to %u expected",
                      (long long)timeout_ms, UINT32_MAX);
    if (rc)
        return rc;
    answer(h, reply, true, "successfully handled stop host", NULL);
    wcp_log(WCP_INFO, "told to end by host.stop", NULL);
    h->c.stop(h->c.ctx, (uint32_t)timeout_ms);
    return 0;
}

static int put_label(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    char *texts[2] = {NULL};
    int rc = read_texts(h, o, (const char *const[2]){"key", "value"}, texts, err);
    if (!rc)
        rc = host_label_put(&h->labels, texts[0], texts[1], err);
    if (!rc) {
        answer(h, reply, true, "successfully put label", NULL);
        tell_labels(h);
    }
    free(texts[0]);
    free(texts[1]);
    return rc;
}

static int del_label(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    char *texts[2] = {NULL};
    int rc = read_texts(h, o, (const char *const[2]){"key"}, texts, err);
    if (!rc)
        rc = check_key(texts[0], err);
    if (!rc && label_del(&h->labels, texts[0])) {
        answer(h, reply, true, "successfully deleted label", NULL);
        tell_labels(h);
    } else if (!rc) {
        answer(h, reply, true, "successfully deleted label (no such label)", NULL);
    }
    free(texts[0]);
    return rc;
}

/* Who wants to start the provider that runs here already, and is nobody's, is welcome. Anything
 * else gets no answer: one that says no would spoil the gathering of the others'. */
static int auction(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    char *texts[2] = {NULL};
    struct config constraints = {0};
    int rc = read_texts(h, o, (const char *const[2]){"provider_id", "provider_ref"}, texts, err);
    if (!rc)
        rc = config_member(o, "constraints", &constraints, err);
    bool bid = !rc && !h->adopted && !h->leaving && strcmp(texts[0], h->c.provider_id) == 0;
    for (size_t i = 0; bid && i < constraints.n; i++) {
        size_t k = find_label(&h->labels, constraints.at[i].key);
        bid = k < h->labels.n && strcmp(h->labels.at[k].value, constraints.at[i].value) == 0;
    }
    if (bid) {
        struct json_object *response = json_object_new_object();
        add_text(response, "host_id", h->id);
        add_text(response, "provider_id", texts[0]);
        add_text(response, "provider_ref", texts[1]);
        add_map(response, "constraints", &constraints);
        answer(h, reply, true, "", response);
    }
    config_free(&constraints);
    free(texts[0]);
    free(texts[1]);
    return rc;
}

static int check_start(const struct host *h, const char *id, const char *ref,
                       const struct config *annotations, struct wcp_err *err)
{
    size_t n = strlen(ref) + count_bytes(annotations);
    if (strcmp(id, h->c.provider_id) != 0)
        return wcp_fail(err, WCP_EINVAL,
                        "this host runs the provider %s and can start no other: %.100s",
                        h->c.provider_id, id);
    if (h->leaving)
        return wcp_fail(err, WCP_ECLOSED, "the provider %s is leaving", id);
    if (h->adopted)
        return wcp_fail(err, WCP_EINVAL, RUNS_ALREADY);
    if (n > TEXTS_MAX)
        return wcp_fail(err, WCP_ETOOBIG,
                        "%zu bytes of provider_ref and annotations found, at most %d expected", n,
                        TEXTS_MAX);
    return 0;
}

static int start_provider(struct host *h, struct json_object *o, const char *reply,
                          struct wcp_err *err)
{
    char *texts[2] = {NULL};
    struct config annotations = {0};
    struct strings config = {0};
    int rc = read_texts(h, o, (const char *const[2]){"provider_id", "provider_ref"}, texts, err);
    if (!rc)
        rc = config_member(o, "annotations", &annotations, err);
    if (!rc)
        rc = strings_from_json(o, "config", &config, err);
    if (!rc)
        rc = check_start(h, texts[0], texts[1], &annotations, err);
    if (!rc) {
        h->adopted = true;
        h->annotations = annotations;
        annotations = (struct config){0};
        free(h->image);
        h->image = texts[1];
        texts[1] = NULL;
        wcp_log(WCP_INFO, "adopted by provider.start", "image", h->image, NULL);
        if (config.n)
            wcp_log(WCP_WARN,
                    "the configurations named by provider.start are not used: this provider was "
                    "given its own",
                    "first", config.at[0], NULL);
        answer(h, reply, true, "successfully started provider", NULL);
        tell_started(h);
        h->told = UNKNOWN; /* whoever adopts wants to know */
        host_check(h);
    }
    config_free(&annotations);
    strings_free(&config);
    free(texts[0]);
    free(texts[1]);
    return rc;
}

static int stop_provider(struct host *h, struct json_object *o, const char *reply,
                         struct wcp_err *err)
{
    char *id = NULL;
    int rc = read_texts(h, o, (const char *const[2]){NULL}, NULL, err);
    if (!rc)
        rc = member_text(o, "provider_id", &id, err);
    if (!rc && !id)
        rc = member_text(o, "provider_ref", &id, err); /* older clients say it so */
    if (!rc && !id)
        rc = wcp_fail(err, WCP_EPROTO, "provider_id is missing");
    if (!rc && (strcmp(id, h->c.provider_id) != 0 || h->leaving))
        rc = wcp_fail(err, WCP_ENOENT, NO_SUCH);
    free(id);
    if (rc)
        return rc;
    h->stop_reply = reply ? wcp_str_dup(wcp_str(reply)) : NULL;
    timers_set(&h->timers, &h->stop, h->t->now(h->t) + STOP_REPLY_MS);
    wcp_log(WCP_INFO, "told to end by provider.stop", NULL);
    h->c.stop(h->c.ctx, 0);
    return 0;
}

static int no_components(struct host *h, struct json_object *o, const char *reply,
                         struct wcp_err *err)
{
    return wcp_fail(err, WCP_EINVAL,
                    "this host runs no components, only the provider %s: require a label that it "
                    "lacks (it has %s)",
                    h->c.provider_id, HOST_MARK);
}

static const struct {
    const char *name;
    command run;
    bool needs_payload;
} commands[] = {
    {"host.ping", ping, false},
    {"host.get", get, false},
    {"host.stop", stop_host, false},
    {"label.put", put_label, true},
    {"label.del", del_label, true},
    {"provider.auction", auction, true},
    {"provider.start", start_provider, true},
    {"provider.stop", stop_provider, true},
    {"component.scale", no_components, false},
    {"component.update", no_components, false},
};

/* The first two words behind the lattice; what follows is our host id, or nothing. */
static size_t find_command(const struct host *h, const char *subject)
{
    const char *name = subject + strlen(CTL) + strlen(h->c.events->lattice) + 1;
    size_t i = 0, n = strcspn(name, ".");
    n += name[n] ? 1 + strcspn(name + n + 1, ".") : 0;
    while (i < sizeof commands / sizeof *commands &&
           (strlen(commands[i].name) != n || memcmp(commands[i].name, name, n) != 0))
        i++;
    return i;
}

bool host_message(struct host *h, int sub, const struct wcp_msg *m)
{
    struct json_object *o = NULL;
    struct wcp_err err = {0};
    size_t i = 0;
    while (h && i < SUBS && (!h->started || h->subs[i] != sub))
        i++;
    if (!h || i == SUBS)
        return false;
    i = find_command(h, m->subject);
    if (i == sizeof commands / sizeof *commands) {
        answer(h, m->reply, false, "unsupported subject", NULL);
        return true;
    }
    int rc = 0;
    if (m->data.len || commands[i].needs_payload)
        rc = json_parse(m->data, &o, &err);
    else
        o = json_object_new_object();
    if (!rc)
        rc = commands[i].run(h, o, m->reply, &err);
    if (rc)
        wcp_log(WCP_WARN, "a command is refused", "command", commands[i].name, "why", err.msg,
                NULL);
    if (rc && commands[i].run != auction)
        answer(h, m->reply, false, err.msg, NULL);
    json_object_put(o);
    return true;
}

/* --- life --- */

static void on_beat(struct timer *t)
{
    struct host *h = (struct host *)((char *)t - offsetof(struct host, beat));
    timers_set(&h->timers, t, h->t->now(h->t) + HEARTBEAT_MS);
    events_publish(h->c.events, "host_heartbeat", inventory(h));
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
    } subjects[SUBS] = {{"host.ping", false}, {"provider.auction", false}, {"component.*", true},
                        {"provider.*", true}, {"label.*", true},           {"host.*", true}};
    for (size_t i = 0; i < SUBS; i++) {
        char subject[ID_MAX + 128];
        (void)snprintf(subject, sizeof subject, CTL "%s.%s%s%s", h->c.events->lattice,
                       subjects[i].tail, subjects[i].own ? "." : "", subjects[i].own ? h->id : "");
        h->subs[i] = h->t->subscribe(h->t, subject, NULL);
    }
    h->started = true;
    if (h->c.registration->wadm_host) {
        /* The first empties wadm's record of this host, the second fills it. */
        events_publish(h->c.events, "host_started", describe(h));
        on_beat(&h->beat);
    }
    tell_started(h);
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
        add_map(o, "labels", &h->labels);
        events_publish(h->c.events, "host_stopped", o);
    }
    for (size_t i = 0; i < SUBS; i++)
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

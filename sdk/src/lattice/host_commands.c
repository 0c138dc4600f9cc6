/* host_commands.c: what the host that a standalone provider is can be asked (lattice.md §8). */
#include "lattice/host_parts.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wcp/log.h>

#define STOP_REPLY_MS 1000  /* those who wait for answer and event give up after 2 s */
#define TEXTS_MAX     65536 /* bytes of labels, and of annotations: all must fit one message */

/* --- labels --- */

static size_t count_bytes(const struct config *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += strlen(c->at[i].key) + strlen(c->at[i].value);
    return n;
}

/* Its place, or labels->n. */
static size_t find_label(const struct config *labels, const char *key)
{
    size_t i = 0;
    while (i < labels->n && strcmp(labels->at[i].key, key) != 0)
        i++;
    return i;
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
    size_t old = find_label(labels, key), n = count_bytes(labels) + strlen(value);
    if (old < labels->n)
        n -= strlen(labels->at[old].value);
    else
        n += strlen(key);
    if (n > TEXTS_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "%zu bytes of labels found, at most %d expected", n,
                        TEXTS_MAX);
    config_put(labels, key, value);
    return 0;
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

/* --- commands: each answers if it succeeds; err is answered by the caller --- */

/* o: the payload, without members if there is none. */
typedef int (*command)(struct host *h, struct json_object *o, const char *reply,
                       struct wcp_err *err);

static int ping(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    struct json_object *response = host_describe(h);
    json_add_text(response, "id", h->id);
    json_add_text(response, "lattice", h->c.events->lattice);
    host_answer(h, reply, true, "", response);
    return 0;
}

static int get(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    host_answer(h, reply, true, "", host_inventory(h));
    return 0;
}

/* A command may name the host that it is for. */
static int check_host(const struct host *h, struct json_object *o, struct wcp_err *err)
{
    char *host = NULL;
    int rc = member_text(o, "host_id", &host, err);
    if (!rc && host && *host && strcmp(host, h->id) != 0)
        rc = wcp_fail(err, WCP_EINVAL, "host_id: %.60s found, %s expected", host, h->id);
    free(host);
    return rc;
}

static int missing(const char *name, struct wcp_err *err)
{
    wcp_fail(err, WCP_EPROTO, "%s is missing", name);
    return WCP_EPROTO;
}

/* The texts that a command must have: names to out, for free(); and its host. */
static int read_texts(const struct host *h, struct json_object *o, const char *const names[2],
                      char *out[2], struct wcp_err *err)
{
    int rc = check_host(h, o, err);
    for (size_t i = 0; !rc && i < 2 && names[i]; i++) {
        rc = member_text(o, names[i], &out[i], err);
        if (!rc && !out[i])
            rc = missing(names[i], err);
    }
    return rc;
}

static int stop_host(struct host *h, struct json_object *o, const char *reply, struct wcp_err *err)
{
    int64_t timeout_ms = 0;
    int rc = check_host(h, o, err);
    if (!rc)
        rc = member_integer(o, "timeout", &timeout_ms, err);
    if (!rc && (timeout_ms < 0 || timeout_ms > UINT32_MAX))
        rc = wcp_fail(err, WCP_EINVAL, "timeout: %lld found, 0 to %u expected",
                      (long long)timeout_ms, UINT32_MAX);
    if (rc)
        return rc;
    host_answer(h, reply, true, "successfully handled stop host", NULL);
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
        host_answer(h, reply, true, "successfully put label", NULL);
        host_tell_labels(h);
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
        host_answer(h, reply, true, "successfully deleted label", NULL);
        host_tell_labels(h);
    } else if (!rc) {
        host_answer(h, reply, true, "successfully deleted label (no such label)", NULL);
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
        json_add_text(response, "host_id", h->id);
        json_add_text(response, "provider_id", texts[0]);
        json_add_text(response, "provider_ref", texts[1]);
        config_add(response, "constraints", &constraints);
        host_answer(h, reply, true, "", response);
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
        return wcp_fail(err, WCP_EINVAL, "provider with that ID is already running");
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
        wcp_log(WCP_INFO, "adopted by provider.start", "as", texts[1], "instead_of", h->image,
                NULL);
        free(h->image);
        h->image = texts[1];
        texts[1] = NULL;
        if (config.n)
            wcp_log(WCP_WARN,
                    "the configurations named by provider.start are not used: this provider was "
                    "given its own",
                    "first", config.at[0], NULL);
        host_answer(h, reply, true, "successfully started provider", NULL);
        host_tell_started(h);
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
    int rc = check_host(h, o, err);
    if (!rc)
        rc = member_text(o, "provider_id", &id, err);
    if (!rc && !id)
        rc = member_text(o, "provider_ref", &id, err); /* older clients say it so */
    if (!rc && !id)
        rc = missing("provider_id", err);
    if (!rc && (strcmp(id, h->c.provider_id) != 0 || h->leaving))
        rc = wcp_fail(err, WCP_ENOENT, "provider with that ID is not running");
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
    enum { IGNORED, OPTIONAL, NEEDED } payload;
} commands[] = {
    {"host.ping", ping, IGNORED},
    {"host.get", get, IGNORED},
    {"host.stop", stop_host, OPTIONAL},
    {"label.put", put_label, NEEDED},
    {"label.del", del_label, NEEDED},
    {"provider.auction", auction, NEEDED},
    {"provider.start", start_provider, NEEDED},
    {"provider.stop", stop_provider, NEEDED},
    {"component.scale", no_components, IGNORED},
    {"component.update", no_components, IGNORED},
};

/* The first two words behind the lattice; what follows is our host id, or nothing. */
static size_t find_command(const struct host *h, const char *subject)
{
    const char *name = subject + strlen(HOST_CTL) + strlen(h->c.events->lattice) + 1;
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
    while (h && i < HOST_SUBS && (!h->started || h->subs[i] != sub))
        i++;
    if (!h || i == HOST_SUBS)
        return false;
    i = find_command(h, m->subject);
    if (i == sizeof commands / sizeof *commands) {
        host_answer(h, m->reply, false, "unsupported subject", NULL);
        return true;
    }
    int rc = 0;
    if (commands[i].payload == NEEDED || (commands[i].payload == OPTIONAL && m->data.len))
        rc = json_parse(m->data, &o, &err);
    else
        o = json_object_new_object();
    if (!rc)
        rc = commands[i].run(h, o, m->reply, &err);
    if (rc)
        wcp_log(WCP_WARN, "a command is refused", "command", commands[i].name, "why", err.msg,
                NULL);
    if (rc && commands[i].run != auction)
        host_answer(h, m->reply, false, err.msg, NULL);
    json_object_put(o);
    return true;
}

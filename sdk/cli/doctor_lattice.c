/* doctor_lattice.c: wcp doctor: JetStream, the lattice's buckets and hosts, the provider. */
#include "cli/doctor.h"
#include "lattice/host.h"
#include "lattice/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_STREAM = 10059 }; /* err_code of JetStream */

/* A request with a JSON object as answer, which is the caller's. */
static int ask(struct doctor *d, const char *subject, struct json_object **out, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    int rc = session_ask(d->session, subject, (struct wcp_bytes){0}, &b, err);
    if (rc == 0 && (rc = json_parse((struct wcp_bytes){b.ptr, b.len}, out, err)))
        (void)wcp_wrap(err, "%s", subject);
    wcp_buf_free(&b);
    return rc;
}

static int ask_js(struct doctor *d, const char *what, struct json_object **out, struct wcp_err *err)
{
    struct wcp_buf subject = {0};
    session_js_prefix(d->session, &subject);
    wcp_buf_fmt(&subject, "%s%c", what, 0);
    int rc = ask(d, (const char *)subject.ptr, out, err);
    wcp_buf_free(&subject);
    return rc;
}

static bool not_answered(const char *step, struct wcp_err *err, const char *nobody)
{
    return doctor_wrong(
        step, err, "%s",
        strstr(err->msg, "ermission") ? "permit this user to publish to that subject"
        : err->code == WCP_ENOENT     ? nobody
                                  : "it is there but does not answer: look at it, or give it more "
                                    "--timeout");
}

static int js_error(struct json_object *o, struct wcp_err *err)
{
    struct json_object *e = NULL;
    if (!json_object_object_get_ex(o, "error", &e))
        return 0;
    wcp_fail(err, WCP_EIO, "JetStream says: %.200s", doctor_text(e, "description"));
    int64_t code = doctor_number(e, "err_code");
    return code ? (int)code : -1;
}

bool doctor_jetstream(struct doctor *d)
{
    static const char on[] = "start nats-server with -js, or with jetstream {} in its "
                             "configuration, and enable it for this account";
    struct json_object *o = NULL;
    struct wcp_err err = {0};
    if (d->direct) {
        doctor_skip("jetstream", "--direct: links are not stored");
        return true;
    }
    if (ask_js(d, "INFO", &o, &err)) {
        if (err.code == WCP_ENOENT)
            wcp_fail(&err, WCP_ENOENT, "nobody answers for JetStream, where hosts keep links");
        return not_answered("jetstream", &err, on);
    }
    if (js_error(o, &err)) {
        json_object_put(o);
        return doctor_wrong("jetstream", &err, "%s", on);
    }
    doctor_ok("jetstream", "%lld streams in this account", (long long)doctor_number(o, "streams"));
    json_object_put(o);
    return true;
}

#define LINKS_BUCKET "KV_LATTICEDATA_"

/* The lattices that have a bucket, but for ours. */
static void other_lattices(struct doctor *d, struct strings *out)
{
    struct json_object *o = NULL, *streams = NULL;
    if (ask_js(d, "STREAM.NAMES", &o, &(struct wcp_err){0}) == 0 &&
        json_object_object_get_ex(o, "streams", &streams) &&
        json_object_is_type(streams, json_type_array))
        for (size_t i = 0; i < json_object_array_length(streams); i++) {
            const char *name = json_object_get_string(json_object_array_get_idx(streams, i));
            if (name && strncmp(name, LINKS_BUCKET, sizeof LINKS_BUCKET - 1) == 0 &&
                strcmp(name + sizeof LINKS_BUCKET - 1, session_lattice(d->session)) != 0)
                strings_put(out, name + sizeof LINKS_BUCKET - 1);
        }
    json_object_put(o);
}

static bool no_bucket(struct doctor *d, const char *stream, struct wcp_err *err)
{
    struct strings others = {0};
    struct wcp_buf names = {0};
    other_lattices(d, &others);
    for (size_t i = 0; i < others.n; i++)
        wcp_buf_fmt(&names, "%s%s", i ? ", " : "", others.at[i]);
    wcp_buf_put(&names, "", 1);
    wcp_fail(err, WCP_ENOENT, "there is no bucket %s: no host has been in lattice '%s'", stream + 3,
             session_lattice(d->session));
    if (others.n)
        doctor_wrong("buckets", err, "is it another --lattice? there is: %.200s", names.ptr);
    else
        doctor_wrong("buckets", err,
                     "start a wasmCloud host in this lattice (wash up), which makes "
                     "it; without any host, use --direct");
    strings_free(&others);
    wcp_buf_free(&names);
    return false;
}

bool doctor_buckets(struct doctor *d)
{
    static const char *const kinds[] = {"LATTICEDATA", "CONFIGDATA"};
    int64_t counts[2] = {0};
    if (d->direct) {
        doctor_skip("buckets", "--direct: links are not stored");
        return true;
    }
    for (int i = 0; i < 2; i++) {
        char what[ID_MAX + 64], *stream = what + strlen("STREAM.INFO.");
        struct json_object *o = NULL, *state = NULL;
        struct wcp_err err = {0};
        (void)snprintf(what, sizeof what, "STREAM.INFO.KV_%s_%s", kinds[i],
                       session_lattice(d->session));
        if (ask_js(d, what, &o, &err))
            return not_answered("buckets", &err, "JetStream went away meanwhile: run this again");
        int code = js_error(o, &err);
        if (!code && json_object_object_get_ex(o, "state", &state))
            counts[i] = doctor_number(state, "messages");
        json_object_put(o);
        if (code == NO_STREAM)
            return no_bucket(d, stream, &err);
        if (code)
            return doctor_wrong("buckets", &err, "look at the stream: nats stream info %s", stream);
    }
    doctor_ok("buckets", "LATTICEDATA_%s has %lld keys, CONFIGDATA_%s has %lld",
              session_lattice(d->session), (long long)counts[0], session_lattice(d->session),
              (long long)counts[1]);
    return true;
}

struct host_list {
    struct doctor *d;
    struct wcp_buf text;
    size_t alone; /* standalone providers: they answer as hosts and run nothing else */
};

static void on_host(void *ctx, struct wcp_bytes answer)
{
    struct host_list *h = ctx;
    struct json_object *o = NULL, *r = NULL, *labels = NULL;
    bool well = json_parse(answer, &o, &(struct wcp_err){0}) == 0 &&
                json_object_object_get_ex(o, "response", &r);
    if (well && json_object_object_get_ex(r, "labels", &labels) &&
        json_object_object_get_ex(labels, HOST_MARK, NULL)) {
        h->alone++;
    } else if (well) {
        wcp_buf_fmt(&h->text, "%s%.60s (%.12s..., %.20s)", h->d->hosts.n ? ", " : "",
                    doctor_text(r, "friendly_name"), doctor_text(r, "id"),
                    doctor_text(r, "version"));
        strings_put(&h->d->hosts, doctor_text(r, "id"));
    }
    json_object_put(o);
}

bool doctor_hosts(struct doctor *d)
{
    struct host_list h = {.d = d};
    char subject[ID_MAX + 64], alone[60] = "";
    if (d->direct) {
        doctor_skip("hosts", "--direct: it works without");
        return true;
    }
    (void)snprintf(subject, sizeof subject, "wasmbus.ctl.v1.%s.host.ping",
                   session_lattice(d->session));
    (void)session_ask_all(d->session, subject, on_host, &h);
    if (h.alone)
        (void)snprintf(alone, sizeof alone, ", %s %zu standalone provider%s",
                       d->hosts.n ? "and" : "but", h.alone, h.alone > 1 ? "s" : "");
    if (d->hosts.n) {
        wcp_buf_put(&h.text, "", 1);
        doctor_ok("hosts", "%zu: %s%s", d->hosts.n, (const char *)h.text.ptr, alone);
        wcp_buf_free(&h.text);
        return true;
    }
    struct wcp_err err = {0};
    wcp_fail(&err, WCP_ENOENT, "no host answers on %s%s%s", subject, session_why(d->session),
             alone);
    return not_answered("hosts", &err,
                        "start a wasmCloud host in this lattice (wash up), or look why it stopped; "
                        "without any host, use --direct");
}

/* --- the provider --- */

struct healths {
    struct doctor *d;
    size_t count;
};

static void on_health(void *ctx, struct wcp_bytes answer)
{
    struct healths *h = ctx;
    struct json_object *o = NULL, *v = NULL;
    struct wcp_buf *b = &h->d->complaint;
    struct wcp_err err = {0};
    h->count++;
    int rc = json_parse(answer, &o, &err);
    bool healthy =
        rc == 0 && json_object_object_get_ex(o, "healthy", &v) && json_object_get_boolean(v);
    if (!healthy)
        wcp_buf_fmt(b, "%s%.300s", b->len ? "; another: " : "",
                    rc                                              ? err.msg
                    : json_object_object_get_ex(o, "message", NULL) ? doctor_text(o, "message")
                                                                    : "it does not say why");
    json_object_put(o);
}

size_t doctor_health(struct doctor *d, struct wcp_err *err)
{
    struct healths h = {.d = d};
    char subject[2 * ID_MAX + 64];
    d->complaint.len = 0;
    (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s.health", session_lattice(d->session),
                   d->id);
    int rc = session_ask_all(d->session, subject, on_health, &h);
    if (h.count == 0)
        wcp_fail(err, rc ? rc : WCP_ETIMEOUT, "%s on %s%s",
                 rc ? "nobody answers" : "no answer comes", subject, session_why(d->session));
    if (d->complaint.len)
        wcp_buf_put(&d->complaint, "", 1);
    return h.count;
}

/* In which of the other lattices does it answer? */
static bool is_elsewhere(struct doctor *d, char where[ID_MAX + 1])
{
    struct strings others = {0};
    bool found = false;
    if (!d->direct)
        other_lattices(d, &others);
    for (size_t i = 0; i < others.n && !found; i++) {
        char subject[2 * ID_MAX + 64];
        struct wcp_buf b = {0};
        (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%.127s.%s.health", others.at[i],
                       d->id);
        found =
            session_ask(d->session, subject, (struct wcp_bytes){0}, &b, &(struct wcp_err){0}) == 0;
        (void)snprintf(where, ID_MAX + 1, "%s", others.at[i]);
        wcp_buf_free(&b);
    }
    strings_free(&others);
    return found;
}

/* A host that gave up restarting a provider still lists it, and starts no other (host-gaps). */
static const char *listing_host(struct doctor *d)
{
    for (size_t i = 0; i < d->hosts.n; i++) {
        char subject[2 * ID_MAX + 128];
        struct json_object *o = NULL, *r = NULL, *list = NULL;
        bool found = false;
        (void)snprintf(subject, sizeof subject, "wasmbus.ctl.v1.%s.host.get.%.127s",
                       session_lattice(d->session), d->hosts.at[i]);
        if (ask(d, subject, &o, &(struct wcp_err){0}) == 0 &&
            json_object_object_get_ex(o, "response", &r) &&
            json_object_object_get_ex(r, "providers", &list) &&
            json_object_is_type(list, json_type_array))
            for (size_t k = 0; k < json_object_array_length(list) && !found; k++)
                found = strcmp(doctor_text(json_object_array_get_idx(list, k), "id"), d->id) == 0;
        json_object_put(o);
        if (found)
            return d->hosts.at[i];
    }
    return NULL;
}

bool doctor_provider(struct doctor *d)
{
    struct wcp_err err = {0};
    char where[ID_MAX + 1];
    if (!d->id) {
        doctor_skip("provider", "no ID was given");
        return true;
    }
    size_t n = doctor_health(d, &err);
    if (n) {
        doctor_ok("provider", "%zu instance%s of '%s' answer%s, %s", n, n > 1 ? "s" : "", d->id,
                  n > 1 ? "" : "s", d->complaint.len ? "not healthy (see below)" : "healthy");
        return true;
    }
    if (err.code != WCP_ENOENT)
        return not_answered("provider", &err, "");
    if (is_elsewhere(d, where))
        return doctor_wrong("provider", &err,
                            "it runs in lattice '%s': give --lattice %s, or start it in this one",
                            where, where);
    const char *host = listing_host(d);
    if (host)
        return doctor_wrong("provider", &err,
                            "host %s lists it, but it does not run: it gave up restarting it. wash "
                            "stop provider %s, and start it again",
                            host, d->id);
    return doctor_wrong("provider", &err,
                        "start it: with a host (wash start provider), or itself with --id %s and "
                        "--lattice %s",
                        d->id, session_lattice(d->session));
}

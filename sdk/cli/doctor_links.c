/* doctor_links.c: wcp doctor: the links of a provider, as they are stored, and tried by calls.
 *
 * NATS does not tell who is subscribed to what, only by its 503 that nobody is. So a call is sent
 * for each interface: where there is a function that reads without changing anything, that one,
 * over the link and in the name of its source; else one without parameters, of a function that has
 * some: it is refused before anything is done. Either leaves at most a line in the provider's log.
 */
#include "cli/doctor.h"
#include "lattice/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct examined_link {
    struct linkdef def;
    char *why; /* its configs cannot be resolved, or NULL */
};

/* What components and their links call it, and how it is called on the wire (lattice.md §7.1). */
static const struct
try {
    const char *package, *interface;
    const char *function, *older; /* on the wire; older: if nobody serves that one */
    const char *read;             /* the parameters of a call that only reads; NULL: none */
    size_t read_len;
    size_t error_tag; /* bytes of the error's case, in front of its text */
}
tries[] = {
#define READ(params) .read = (params), .read_len = sizeof(params) - 1
    {"wasi:keyvalue", "store", "wrpc:keyvalue/store@0.2.0-draft.exists", NULL,
     READ("\0\12wcp-doctor"), 1},
    {"wasi:keyvalue", "atomics", "wrpc:keyvalue/atomics@0.2.0-draft.increment", NULL, NULL, 0, 0},
    {"wasi:keyvalue", "batch", "wrpc:keyvalue/batch@0.2.0-draft.get-many", NULL, NULL, 0, 0},
    {"wasi:blobstore", "blobstore", "wrpc:blobstore/blobstore@0.2.0.container-exists",
     "wrpc:blobstore/blobstore@0.1.0.container-exists", READ("\12wcp-doctor"), 0},
    {"wasi:http", "outgoing-handler", "wrpc:http/outgoing-handler@0.1.0.handle", NULL, NULL, 0, 0},
    {"wasi:http", "incoming-handler", "wrpc:http/incoming-handler@0.1.0.handle", NULL, NULL, 0, 0},
    {"wasmcloud:messaging", "consumer", "wasmcloud:messaging/consumer@0.2.0.publish", NULL, NULL, 0,
     0},
    {"wasmcloud:messaging", "handler", "wasmcloud:messaging/handler@0.2.0.handle-message", NULL,
     NULL, 0, 0},
#undef READ
};

/* --- what is stored --- */

static bool fits(const struct options *o, const struct linkdef *l)
{
    struct linkdef wanted = {0};
    struct options with_source = *o;
    bool fit = true;
    if (o->value[OPT_INTERFACE]) {
        with_source.value[OPT_SOURCE] = "";
        (void)options_link(&with_source, NULL, false, &wanted, &(struct wcp_err){0}); /* checked */
        fit = strcmp(l->wit_namespace, wanted.wit_namespace) == 0 &&
              strcmp(l->wit_package, wanted.wit_package) == 0;
        for (size_t i = 0; i < wanted.interfaces.n && fit; i++) {
            fit = false;
            for (size_t k = 0; k < l->interfaces.n && !fit; k++)
                fit = strcmp(l->interfaces.at[k], wanted.interfaces.at[i]) == 0;
        }
    }
    linkdef_free(&wanted);
    return fit && (!o->value[OPT_SOURCE] || strcmp(l->source_id, o->value[OPT_SOURCE]) == 0) &&
           (!o->value[OPT_NAME] || strcmp(l->name, o->value[OPT_NAME]) == 0);
}

struct reading {
    struct doctor *d;
    bool all; /* links to any target */
    bool done, complete;
    struct wcp_err err;
    size_t count;
    struct wcp_buf elsewhere; /* where links that fit go instead */
};

static void on_link(void *ctx, struct linkdef *l, const char *why)
{
    struct reading *r = ctx;
    struct doctor *d = r->d;
    bool fit = fits(d->o, l);
    r->count++;
    if (fit && !r->all) {
        d->links = wcp_realloc(d->links, (d->link_count + 1) * sizeof *d->links);
        d->links[d->link_count++] =
            (struct examined_link){*l, why ? wcp_str_dup(wcp_str(why)) : NULL};
        *l = (struct linkdef){0}; /* taken */
        return;
    }
    if (fit)
        wcp_buf_fmt(&r->elsewhere, "%s'%s' (%s:%s, link '%s')", r->elsewhere.len ? ", " : "",
                    l->target, l->wit_namespace, l->wit_package, l->name);
}

static void on_done(void *ctx, const struct lattice_state *s)
{
    struct reading *r = ctx;
    r->done = true;
    r->complete = s->complete;
    r->err = s->err;
}

static void read_links(struct doctor *d, const char *id, struct reading *r)
{
    r->d = d;
    struct lattice_watch *w = lattice_watch(&(struct lattice_watch_config){
        .kv = {.rpc = session_rpc(d->session), .domain = session_js_domain(d->session)},
        .lattice = session_lattice(d->session),
        .id = id,
        .link = on_link,
        .done = on_done,
        .ctx = r});
    while (!r->done)
        session_turn(d->session, d->o->timeout_ms);
    lattice_close(w);
}

static const char * or (const char *value, const char *otherwise)
{
    return value ? value : otherwise;
}

static bool no_link(struct doctor *d, size_t others, bool complete)
{
    const struct options *o = d->o;
    struct reading r = {.all = true};
    struct wcp_err err = {0};
    const char *source = o->value[OPT_SOURCE];
    if (source && strcmp(source, d->id) != 0)
        read_links(d, source, &r);
    wcp_buf_put(&r.elsewhere, "", 1);
    if (!complete)
        wcp_fail(&err, WCP_EPROTO, "LATTICEDATA_%s: a link document in it is malformed",
                 session_lattice(d->session));
    else if (r.elsewhere.len > 1)
        wcp_fail(&err, WCP_ENOENT, "the links of '%s' go to %.150s, not to '%s'", source,
                 (const char *)r.elsewhere.ptr, d->id);
    else
        wcp_fail(&err, WCP_ENOENT, "'%s' has no such link in lattice '%s', and %zu others", d->id,
                 session_lattice(d->session), others);
    if (!complete)
        doctor_wrong("links", &err, "read it (nats kv get) and put its links again");
    else if (r.elsewhere.len > 1)
        doctor_wrong("links", &err, "wcp swap %s %s --to %s", source,
                     or (o->value[OPT_INTERFACE], "NS:PKG"), d->id);
    else
        doctor_wrong("links", &err, "wcp link put --source %s --target %s --interface %s%s%s",
                     or (source, "ID"), d->id, or (o->value[OPT_INTERFACE], "NS:PKG/IFACE"),
                     o->value[OPT_NAME] ? " --name " : "", or (o->value[OPT_NAME], ""));
    wcp_buf_free(&r.elsewhere);
    return false;
}

/* --direct: the one that the options describe, if they do. */
static bool described_link(struct doctor *d)
{
    struct linkdef l = {0};
    struct wcp_err err = {0};
    if (!d->o->value[OPT_SOURCE] || !d->o->value[OPT_INTERFACE]) {
        doctor_skip("links", "--direct: none are stored; one is tried with --source and "
                             "--interface");
        return true;
    }
    if (options_link(d->o, d->id, true, &l, &err)) {
        linkdef_free(&l);
        return doctor_wrong("links", &err, "give --interface NS:PKG/IFACE, without a version");
    }
    d->links = wcp_calloc(1, sizeof *d->links);
    d->links[d->link_count++].def = l;
    doctor_skip("links", "--direct: none are stored; the one described here is tried");
    return true;
}

static bool interface_is_one(struct doctor *d)
{
    struct linkdef l = {0};
    struct wcp_err err = {0};
    struct options o = *d->o;
    int rc = 0;
    o.value[OPT_SOURCE] = "";
    if (o.value[OPT_INTERFACE])
        rc = options_link(&o, NULL, false, &l, &err);
    linkdef_free(&l);
    return rc ? doctor_wrong("links", &err, "give it as in wasi:keyvalue/store") : true;
}

bool doctor_links(struct doctor *d)
{
    struct reading r = {0};
    struct wcp_buf text = {0};
    if (!d->id) {
        doctor_skip("links", "no ID was given");
        return true;
    }
    if (!interface_is_one(d))
        return false;
    if (d->direct)
        return described_link(d);
    read_links(d, d->id, &r);
    if (r.err.code)
        return doctor_wrong("links", &r.err,
                            "permit this user $JS.API.CONSUMER.> and "
                            "$JS.API.STREAM.MSG.GET.>, or look at JetStream");
    if (!d->link_count || !r.complete)
        return no_link(d, r.count, r.complete);
    for (size_t i = 0; i < d->link_count; i++) {
        const struct linkdef *l = &d->links[i].def;
        wcp_buf_fmt(&text, "%s%s -> %s (%s:%s, link '%s')", i ? ", " : "", l->source_id, l->target,
                    l->wit_namespace, l->wit_package, l->name);
    }
    wcp_buf_put(&text, "", 1);
    doctor_ok("links", "%zu: %s", d->link_count, (const char *)text.ptr);
    wcp_buf_free(&text);
    return true;
}

bool doctor_configs(struct doctor *d)
{
    size_t secret = 0;
    if (!d->link_count || d->direct) {
        doctor_skip("configs", d->direct ? "--direct: none are stored" : "no links to look at");
        return true;
    }
    for (size_t i = 0; i < d->link_count; i++) {
        const struct examined_link *l = &d->links[i];
        struct wcp_err err = {0};
        if (!l->why)
            continue;
        if (strncmp(l->why, "secret reference", 16) == 0) { /* a host opens it, if there is one */
            secret++;
            continue;
        }
        wcp_fail(&err, WCP_ENOENT, "link '%s' from '%s': %s", l->def.name, l->def.source_id,
                 l->why);
        return doctor_wrong("configs", &err,
                            "store it (wash config put NAME KEY=VALUE), or put the link again "
                            "with its values (wcp link put --target-config KEY=VALUE)");
    }
    if (secret)
        doctor_ok("configs",
                  "all that links refer to are there; %zu have secrets, which only hosts "
                  "can read",
                  secret);
    else
        doctor_ok("configs", "all that links refer to are there");
    return true;
}

/* --- what calls show --- */

struct trial {
    struct wcp_buf root;
    bool over;
    int status;
};

static void on_received(void *ctx, struct wcp_str path, struct wcp_bytes data)
{
    struct trial *t = ctx;
    if (path.len == 0 && data.len && t->root.len < 4096)
        wcp_buf_put(&t->root, data.ptr, data.len);
    t->over |= path.len == 0 && data.len == 0;
}

static void on_failed(void *ctx, int status)
{
    struct trial *t = ctx;
    t->status = status;
    t->over = true;
}

static void call(struct doctor *d, const struct linkdef *l, const char *function,
                 const struct try *try, struct trial *t)
{
    const struct wcp_header headers[] = {
        {"source-id", l->source_id}, {"target-id", l->target}, {"link-name", l->name}};
    uint64_t end = session_now(d->session) + d->o->timeout_ms;
    *t = (struct trial){0};
    struct wcp_outgoing *o =
        rpc_invoke_raw(session_rpc(d->session), l->target,
                       &(struct rpc_raw){.function = function,
                                         .headers = headers,
                                         .header_count = 3,
                                         .params = {(const uint8_t *)try->read, try->read_len},
                                         .received = on_received,
                                         .failed = on_failed,
                                         .ctx = t});
    while (!t->over && session_now(d->session) < end)
        session_turn(d->session, (uint32_t)(end - session_now(d->session)));
    if (!t->over)
        t->status = WCP_ETIMEOUT;
    if (!t->over || !t->status)
        wcp_cancel(o);
}

static const struct try *find_try(const struct linkdef *l, const char *interface)
{
    char package[300];
    (void)snprintf(package, sizeof package, "%s:%s", l->wit_namespace, l->wit_package);
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        if (strcmp(tries[i].package, package) == 0 && strcmp(tries[i].interface, interface) == 0)
            return &tries[i];
    return NULL;
}

/* The backend's error in an answer: the case of the error, and its text. */
static void keep_refusal(struct doctor *d, const struct linkdef *l, const struct try *try,
                         struct wcp_bytes root)
{
    if (d->refusal.len)
        return;
    size_t at = 1 + try->error_tag + 1; /* err, the case, and the length of a short text */
    wcp_buf_fmt(&d->refusal, "link '%s' from '%s': %s answers with the error ", l->name,
                l->source_id, try->function);
    if (root.len > at)
        wcp_buf_put(&d->refusal, root.ptr + at, root.len - at < 150 ? root.len - at : 150);
    else
        wcp_buf_fmt(&d->refusal, "of case %u", root.len > 1 ? root.ptr[1] : 0u);
    wcp_buf_put(&d->refusal, "", 1);
}

static bool try_interface(struct doctor *d, const struct linkdef *l, const struct try *try)
{
    struct wcp_err err = {0};
    struct trial t;
    const char *function = try->function;
    call(d, l, function, try, &t);
    if (t.status == WCP_ENOENT && try->older) {
        wcp_buf_free(&t.root);
        function = try->older;
        call(d, l, function, try, &t);
    }
    struct wcp_bytes root = {t.root.ptr, t.root.len};
    bool ok = false;
    if (t.status == WCP_ENOENT) {
        wcp_fail(&err, WCP_ENOENT, "nobody serves %s for '%s'", try->function, l->target);
        (void)doctor_wrong("calls", &err,
                           "is '%s' what exports that interface, in that version? and if it is a "
                           "component: does it run?",
                           l->target);
    } else if (t.status) {
        wcp_fail(&err, t.status, "%s for '%s' is not answered within %u ms%s", function, l->target,
                 d->o->timeout_ms, session_why(d->session));
        (void)doctor_wrong(
            "calls", &err,
            "it or its backend hangs: look at its log and restart it (or nobody "
            "serves it and a wcp record listens, or this user may not publish there)");
    } else if (try->read && root.len == 0) {
        (void)doctor_health(d, &err);
        wcp_fail(&err, WCP_ENOENT, "'%s' refuses link '%s' from '%s': %.150s", l->target, l->name,
                 l->source_id,
                 d->complaint.len ? (const char *)d->complaint.ptr
                                  : "it has not got it, or not with that interface");
        (void)doctor_wrong("calls", &err,
                           d->complaint.len
                               ? "cure what it complains of; its log says more"
                               : "put the link again (wcp link put), or restart the provider, "
                                 "which makes it read its links");
    } else {
        ok = true;
        if (try->read && root.ptr[0] != 0)
            keep_refusal(d, l, try, root);
        doctor_ok("calls", "%s -> %s, link '%s': %s is %s", l->source_id, l->target, l->name,
                  function, try->read ? "answered" : "served");
    }
    wcp_buf_free(&t.root);
    return ok;
}

bool doctor_calls(struct doctor *d)
{
    if (!d->link_count)
        doctor_skip("calls", "no links to try");
    for (size_t i = 0; i < d->link_count; i++) {
        const struct linkdef *l = &d->links[i].def;
        for (size_t k = 0; k < l->interfaces.n; k++) {
            const struct try *try = find_try(l, l->interfaces.at[k]);
            if (!try)
                doctor_skip("calls", "%s:%s/%s: no call is known that changes nothing",
                            l->wit_namespace, l->wit_package, l->interfaces.at[k]);
            else if (!try_interface(d, l, try))
                return false;
        }
    }
    return true;
}

bool doctor_backend(struct doctor *d)
{
    struct wcp_err err = {0};
    if (!d->id) {
        doctor_skip("backend", "no ID was given");
        return true;
    }
    if (doctor_health(d, &err) == 0)
        return doctor_wrong("backend", &err, "the provider has just gone: look at its log");
    if (d->complaint.len || d->refusal.len) {
        wcp_fail(&err, WCP_EIO, "%s",
                 (const char *)(d->complaint.len ? d->complaint.ptr : d->refusal.ptr));
        return doctor_wrong("backend", &err,
                            "is what it names running, and right in the link's configuration? the "
                            "provider tries again by itself");
    }
    doctor_ok("backend", "the provider says that all its links are healthy");
    return true;
}

void doctor_free_links(struct doctor *d)
{
    for (size_t i = 0; i < d->link_count; i++) {
        linkdef_free(&d->links[i].def);
        free(d->links[i].why);
    }
    free(d->links);
    d->links = NULL;
    d->link_count = 0;
}

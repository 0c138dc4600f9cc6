/* call.c: wcp call: one function of a provider or component, with values from the command line. */
#include "cli/streams.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    EXIT_ERR = 1,       /* the function's own error */
    EXIT_NO_ANSWER = 3, /* or not all of it */
    NAMES_MAX = 512,    /* bytes of an interface and function: they are part of a subject */
    TURN_MS = 1000,
    LET_GO_MS = 250, /* for telling the peer that we have gone away */
};

struct call {
    const struct options *o;
    struct values v;
    struct session *session;
    struct streams *streams;
    const struct wcp_interface *iface;
    const struct wcp_func *func;
    const struct wit_func *wit;
    size_t index;
    char *const *values;
    size_t value_count;
    struct wcp_link link;
    void *params;
    struct wcp_outgoing *outgoing; /* until it has answered */
    int status;                    /* of the call */
};

/* --- what to call --- */

static int wrong_count(const struct call *c, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    wit_print_func(c->wit, &b);
    (void)fprintf(stderr, "wcp: %zu value%s found, %zu expected:\n  %.*s\n", c->value_count,
                  c->value_count == 1 ? "" : "s", c->wit->count, (int)b.len, (const char *)b.ptr);
    if (c->wit->kind == WIT_METHOD)
        (void)fprintf(stderr, "The first is the handle of the %.*s.\n",
                      WCP_ARG(c->wit->resource->name));
    wcp_buf_free(&b);
    return err->code = WCP_EINVAL;
}

/* Options at the end may be missing. */
static bool is_count_right(const struct call *c)
{
    const struct wcp_type *t = c->func->params;
    size_t least = t->count;
    while (least && t->fields[least - 1].type->kind == WCP_OPTION)
        least--;
    return c->value_count >= least && c->value_count <= t->count;
}

/* The operands into c->params. */
static int read_params(struct call *c, struct wcp_err *err)
{
    const struct wcp_type *t = c->func->params;
    c->params = wcp_alloc(&c->v.arena, 1, t->size);
    for (size_t i = 0; i < c->value_count; i++) {
        const struct wcp_field *f = &t->fields[i];
        int rc = values_read(&c->v, f->name, f->type, c->values[i], streams_read, c->streams,
                             (char *)c->params + f->offset, err);
        if (rc)
            return rc;
    }
    return 0;
}

/* [ID] FUNCTION [VALUE]..., the ID only over NATS. */
static int read_operands(struct call *c, struct wcp_err *err)
{
    const struct options *o = c->o;
    bool socket = o->value[OPT_UNIX] || o->value[OPT_TCP];
    size_t first = socket ? 0 : 1;
    int rc = socket ? 0 : options_id("ID", o->operands[0], err);
    if (rc)
        return rc;
    if (o->value[OPT_UNIX] && o->value[OPT_TCP])
        return wcp_fail(err, WCP_EINVAL, "--unix and --tcp: only one of them is possible");
    static const enum opt of_links[] = {OPT_SOURCE, OPT_NAME, OPT_CODEC};
    for (size_t i = 0; socket && i < sizeof of_links / sizeof *of_links; i++)
        if (o->value[of_links[i]])
            return wcp_fail(err, WCP_EINVAL, "--%s: a call over a socket comes without a link",
                            option_texts[of_links[i]].name);
    if (o->operand_count <= first)
        return wcp_fail(err, WCP_EINVAL, "FUNCTION is missing");
    c->values = o->operands + first + 1;
    c->value_count = o->operand_count - first - 1;
    if (!socket) {
        const char *name = o->value[OPT_NAME];
        c->link = (struct wcp_link){.role = WCP_SOURCE,
                                    .target_id = wcp_str(o->operands[0]),
                                    .name = wcp_str(name ? name : "default"),
                                    .codec = o->codec};
    }
    if ((rc = values_open(o, true, &c->v, err)) ||
        (rc = values_function(&c->v, o->operands[first], &c->iface, &c->index, &c->wit, err)))
        return rc;
    c->func = &c->iface->funcs[c->index];
    if (strlen(c->iface->name) + strlen(c->func->name) > NAMES_MAX)
        return wcp_fail(err, WCP_EINVAL, "%.80s: the name is longer than %d bytes", c->iface->name,
                        NAMES_MAX);
    return is_count_right(c) ? 0 : wrong_count(c, err);
}

/* --- the call --- */

static void on_done(void *ctx, const void *result, int status)
{
    struct call *c = ctx;
    session_wake(c->session);
    c->outgoing = NULL;
    c->status = status;
    if (status == 0)
        streams_result(c->streams, result);
}

static int no_answer(const struct call *c, struct wcp_err *err)
{
    const char *id = c->link.target_id.len ? c->link.target_id.ptr : c->o->value[OPT_UNIX];
    id = id ? id : c->o->value[OPT_TCP];
    const char *source = c->o->value[OPT_SOURCE] ? c->o->value[OPT_SOURCE] : "wcp";
    const char *why = session_why(c->session);
    if (c->status == WCP_ENOENT && c->link.target_id.len)
        (void)wcp_fail(err, c->status, "nobody serves %.120s.%.60s as '%s' in lattice '%s'",
                       c->iface->name, c->func->name, id, session_lattice(c->session));
    else if (c->status == WCP_ENOENT)
        (void)wcp_fail(err, c->status, "nobody serves %.80s.%.40s at %.60s%s", c->iface->name,
                       c->func->name, id, why);
    else if (c->status == WCP_ECLOSED && session_is_connected(c->session))
        (void)wcp_fail(err, c->status,
                       "'%s' ended the call without an answer; its log tells why: perhaps it has "
                       "no link '%s' from '%s'",
                       id, c->link.name.ptr, source);
    else
        (void)wcp_fail(err, c->status, "%.100s: %s%s", id, wcp_strerror(c->status), why);
    return EXIT_NO_ANSWER;
}

/* The exit status, or an error. */
static int make_call(struct call *c, struct wcp_err *err)
{
    int rc = session_invoke(c->session, &c->link, c->iface, c->index, c->params,
                            (void (*)(void))(tables_done *)on_done, c, &c->outgoing, err);
    if (rc)
        return rc;
    streams_begin(c->streams);
    while (!c->status && !session_signal(c->session) && !streams_done(c->streams)) {
        session_turn(c->session, TURN_MS);
        if (c->link.target_id.len)
            streams_flush(c->streams, TURN_MS);
    }
    if (c->outgoing)
        wcp_cancel(c->outgoing);
    c->outgoing = NULL;
    if (session_signal(c->session)) {
        (void)wcp_fail(err, WCP_ECLOSED, "interrupted");
        return 128 + session_signal(c->session);
    }
    if (c->status)
        return no_answer(c, err);
    rc = streams_failure(c->streams, err);
    if (rc)
        return rc == WCP_EINVAL ? EXIT_USAGE : EXIT_NO_ANSWER;
    return streams_is_err(c->streams) ? EXIT_ERR : 0;
}

int cmd_call(const struct options *o, struct wcp_err *err)
{
    struct call c = {.o = o};
    int rc = read_operands(&c, err);
    if (rc) {
        values_close(&c.v);
        return rc;
    }
    assert(c.func);
    c.session = session_new(o);
    session_watch_signals(c.session);
    rc = streams_new(o, &c.v, c.session, c.func->result, &c.streams, err);
    if (rc == 0 && (rc = read_params(&c, err)) == 0 && (rc = session_connect(c.session, err)) == 0)
        rc = make_call(&c, err);
    streams_stop(c.streams);
    uint64_t until = session_now(c.session) + LET_GO_MS;
    while (session_running(c.session) && session_now(c.session) < until)
        session_turn(c.session, LET_GO_MS);
    session_close(c.session);
    streams_free(c.streams);
    values_close(&c.v);
    return rc < 0 && rc != WCP_EINVAL ? EXIT_NO_ANSWER : rc;
}

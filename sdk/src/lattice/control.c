/* control.c: the messages by which hosts control a provider (lattice.md §5.2), read and answered.
 */
#include "lattice/control.h"
#include "lattice/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

void control_start(struct control *c, const char *lattice, const char *id, const char *xkey)
{
    static const char *const tails[CONTROL_SUBJECTS] = {"linkdefs.put",     "linkdefs.put",
                                                        "linkdefs.del",     "health",
                                                        "default.shutdown", "config.update"};
    for (int i = 0; i < CONTROL_SUBJECTS; i++) {
        char subject[2 * ID_MAX + 64];
        const char *who = i == CONTROL_PUT_XKEY ? xkey : id;
        snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s.%s", lattice, who, tails[i]);
        c->subs[i] = *who ? c->t->subscribe(c->t, subject, NULL) : -1;
    }
}

void control_leave(struct control *c)
{
    for (int i = 0; i < CONTROL_SUBJECTS; i++)
        if (c->subs[i] >= 0)
            c->t->leave(c->t, c->subs[i]);
}

static int which(const struct control *c, int sub)
{
    int i = 0;
    while (i < CONTROL_SUBJECTS && (sub < 0 || c->subs[i] != sub))
        i++;
    return i;
}

bool control_has(const struct control *c, int sub)
{
    return which(c, sub) < CONTROL_SUBJECTS;
}

static void answer(const struct control *c, const struct wcp_msg *m)
{
    struct wcp_buf why = {0};
    struct json_object *o = json_object_new_object();
    bool healthy = c->on.healthy(c->ctx, &why);
    json_object_object_add(o, "healthy", json_object_new_boolean(healthy));
    if (!healthy)
        json_object_object_add(o, "message",
                               json_object_new_string_len((const char *)why.ptr, (int)why.len));
    json_publish(c->t, m->reply, o);
    wcp_buf_free(&why);
}

/* Only our own host's word, and only when it waits for the answer: that is how one of several
 * instances on different hosts is stopped. */
static int shutdown_message(const struct control *c, const struct wcp_msg *m, struct wcp_err *err)
{
    struct json_object *o = NULL;
    char *host = NULL;
    int rc = json_parse(m->data, &o, err);
    if (!rc)
        rc = member_text(o, "host_id", &host, err);
    if (!rc && !host)
        rc = wcp_fail(err, WCP_EPROTO, "host_id is missing");
    else if (!rc && m->reply && *c->host_id && strcmp(host, c->host_id) == 0)
        c->on.shutdown(c->ctx, m->reply);
    json_object_put(o);
    free(host);
    return rc;
}

static int config_message(const struct control *c, const struct wcp_msg *m, struct wcp_err *err)
{
    struct json_object *o = NULL;
    struct config config = {0};
    int rc = json_parse(m->data, &o, err);
    if (!rc)
        rc = config_from_json(o, &config, err);
    if (!rc)
        c->on.config(c->ctx, &config);
    json_object_put(o);
    return rc;
}

static int link_message(const struct control *c, const struct wcp_msg *m,
                        void (*handle)(void *ctx, struct linkdef *l), struct wcp_err *err)
{
    struct linkdef l = {0};
    int rc = linkdef_parse(m->data, &l, err);
    if (!rc)
        handle(c->ctx, &l);
    return rc;
}

bool control_message(struct control *c, int sub, const struct wcp_msg *m)
{
    struct wcp_err err = {0};
    int rc = 0;
    switch (which(c, sub)) {
    case CONTROL_PUT_XKEY:
    case CONTROL_PUT: rc = link_message(c, m, c->on.put, &err); break;
    case CONTROL_DEL: rc = link_message(c, m, c->on.del, &err); break;
    case CONTROL_HEALTH:
        if (m->reply)
            answer(c, m);
        break;
    case CONTROL_SHUTDOWN: rc = shutdown_message(c, m, &err); break;
    case CONTROL_CONFIG: rc = config_message(c, m, &err); break;
    default: return false;
    }
    if (rc) {
        c->malformed++;
        wcp_log(WCP_WARN, "a malformed control message is ignored", "subject", m->subject, "error",
                err.msg, NULL);
    }
    return true;
}

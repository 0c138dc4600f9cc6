/* swap.c: wcp swap: a link gets another target while calls keep coming.
 *
 * The plot: the new target gets the link and must be healthy; with --check it must then answer a
 * recording as the old one did. Up to here all can be taken back. Then the source switches: by one
 * write to the links that the lattice stores, which hosts follow, or with --direct by a message.
 * Then the old target loses the link, and finishes its calls. So at every moment some target serves
 * the source. */
#include "cli/control.h"
#include "cli/link.h"
#include "cli/replay.h"
#include "cli/stored.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READY_MS = 10000, /* for the new target to become healthy */
    /* Between a changed link in the bucket and the end of the old target: hosts follow their watch
     * within milliseconds, and nothing tells that all have. */
    HOSTS_FOLLOW_MS = 1000,
};

struct swap {
    const struct options *o;
    struct session *s;
    struct replay *check; /* NULL: without */
    struct linkdef to, from;
    struct strings source_names, to_names, from_names; /* named configs */
};

static uint32_t ready_ms(const struct swap *w)
{
    return w->o->wait_ms ? w->o->wait_ms : READY_MS;
}

static void take_back(const struct swap *w)
{
    link_tell(w->s, w->to.target, "del", &w->to);
}

/* Gives the link to the new target alone, waits until it is healthy, and checks its answers; takes
 * the link back if they are not good. */
static int make_ready(struct swap *w, struct wcp_err *err)
{
    int rc = link_put_and_see(w->s, w->to.target, &w->to, ready_ms(w), err);
    if (rc == 0 && w->check) {
        struct wcp_err why = {0};
        session_watch_signals(w->s);
        int status = replay_run(w->check, w->s, &why);
        if (status == EXIT_FAILED)
            rc = wcp_fail(err, WCP_EIO, "'%s' does not answer as '%s' did", w->to.target,
                          w->from.target);
        else if (status)
            rc = wcp_fail(err, WCP_EIO, "not all calls of the recording were answered%s%s",
                          *why.msg ? ": " : "", why.msg);
    }
    if (rc) {
        take_back(w);
        return wcp_wrap(err, "nothing is changed");
    }
    return 0;
}

static int swap_direct(struct swap *w, struct wcp_err *err)
{
    struct session *s = w->s;
    const char *source = w->to.source_id;
    int before = link_health(s, source, err); /* is there who must switch? */
    if (before == WCP_ENOENT)
        return wcp_wrap(err, "nothing is changed");
    int rc = make_ready(w, err);
    if (rc)
        return rc;
    /* A source that was unhealthy before may have that link to thank for it: it is switched all the
     * same. */
    rc = link_put_and_see(s, source, &w->to, 0, err);
    if (rc && before == 0) {
        link_tell(s, source, "del", &w->to);
        take_back(w);
        return wcp_wrap(err, "swapped back");
    }
    link_tell(s, source, "del", &w->from);
    /* Two answers: it has taken the del, before the old target does; see link_put_and_see. */
    rc = link_health(s, source, err);
    if (rc != WCP_ENOENT)
        rc = link_health(s, source, err);
    link_tell(s, w->from.target, "del", &w->from);
    return rc ? wcp_wrap(err, "swapped, but") : 0;
}

/* The new target's configs: those given, or when it was the target before, those of that time. */
static int find_configs(struct swap *w, struct former *former, struct wcp_err *err)
{
    const struct options *o = w->o;
    const struct strings *names = o->value[OPT_ROLLBACK] ? &former->target_names : &o->target_names;
    for (size_t i = 0; i < names->n; i++)
        strings_put(&w->to_names, names->at[i]);
    int rc = control_config_put(w->s, &w->to, "target", &o->target_config, &w->to_names, err);
    if (rc)
        return rc;
    strings_free(&w->to.interfaces);
    w->to.interfaces = (struct strings){0};
    for (size_t i = 0; i < w->from.interfaces.n; i++)
        strings_put(&w->to.interfaces, w->from.interfaces.at[i]);
    rc = control_config_get(w->s, &w->source_names, &w->to.source_config, err);
    return rc ? rc : control_config_get(w->s, &w->to_names, &w->to.target_config, err);
}

static bool has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i], text) == 0)
            return true;
    return false;
}

/* What only the swap before the last one would have needed. */
static int drop_older(struct swap *w, const struct former *former, struct wcp_err *err)
{
    struct strings unused = {0};
    for (size_t i = 0; i < former->target_names.n; i++)
        if (!has(&w->to_names, former->target_names.at[i]) &&
            !has(&w->from_names, former->target_names.at[i]))
            strings_put(&unused, former->target_names.at[i]);
    int rc = control_config_drop(w->s, &w->from, &unused, err);
    strings_free(&unused);
    return rc;
}

static int swap_stored(struct swap *w, struct former *former, struct wcp_err *err)
{
    struct session *s = w->s;
    int rc = stored_find(s, &w->from, w->to.target, &w->source_names, &w->from_names, err);
    if (rc == 0)
        rc = find_configs(w, former, err);
    /* The new target is told before a host does it. Only hosts can open secrets: a link with some
     * comes when they see the change, and the target must at least be there before. */
    bool announced = rc == 0;
    if (rc == 0)
        rc = make_ready(w, err);
    else if (rc == WCP_EAUTH && w->check)
        (void)wcp_wrap(err, "--check: the link cannot be made beforehand");
    else if (rc == WCP_EAUTH)
        rc = link_wait_healthy(s, w->to.target, ready_ms(w), err);
    if (rc)
        return rc;
    const struct former undo = {w->from.target, w->to.target, w->from_names};
    rc = stored_former_put(s, &w->from, &undo, err);
    if (rc == 0)
        rc = stored_retarget(s, &w->from, w->to.target, &w->to_names, err);
    if (rc) {
        if (announced && rc != WCP_ETIMEOUT && rc != WCP_ECLOSED) /* certainly not swapped */
            take_back(w);
        return rc;
    }
    session_sleep(s, HOSTS_FOLLOW_MS);
    link_tell(s, w->from.target, "del", &w->from);
    if ((rc = drop_older(w, former, err)) ||
        (rc = link_wait_healthy(s, w->to.target, w->o->timeout_ms, err)))
        (void)wcp_wrap(err, "swapped, but");
    return rc;
}

/* What is known of the last swap of the link; with --rollback it is the other way round now. */
static int find_former(struct swap *w, struct former *former, struct wcp_err *err)
{
    struct wcp_err why = {0};
    int rc = stored_former_get(w->s, &w->to, former, &why);
    if (!w->o->value[OPT_ROLLBACK])
        return 0; /* there need not be one */
    if (rc) {
        *err = why;
        return wcp_wrap(err, "no swap to undo");
    }
    free(w->to.target);
    free(w->from.target);
    w->to.target = wcp_str_dup(wcp_str(former->from));
    w->from.target = wcp_str_dup(wcp_str(former->to));
    return 0;
}

/* What the options say, before anything is connected. */
static int read_options(struct swap *w, struct wcp_err *err)
{
    const struct options *o = w->o;
    const char *const *v = o->value;
    bool direct = v[OPT_DIRECT], back = v[OPT_ROLLBACK];
    struct options link = *o;
    link.value[OPT_SOURCE] = o->operands[0];
    link.value[OPT_INTERFACE] = o->operands[1];
    int rc = options_id("SOURCE", o->operands[0], err);
    if (rc == 0 && !v[OPT_TO] == !back)
        rc = wcp_fail(err, WCP_EINVAL, "one of --to ID and --rollback expected");
    else if (rc == 0 && back && (v[OPT_FROM] || direct || v[OPT_TARGET_CONFIG]))
        rc = wcp_fail(err, WCP_EINVAL,
                      "--rollback: no --from, --target-config or --direct expected");
    else if (rc == 0 && direct && !v[OPT_FROM])
        rc = wcp_fail(err, WCP_EINVAL, "--from ID is missing: with --direct nothing is stored");
    else if (rc == 0 && v[OPT_FROM] && v[OPT_TO] && strcmp(v[OPT_FROM], v[OPT_TO]) == 0)
        rc = wcp_fail(err, WCP_EINVAL, "--from and --to are both '%s'", v[OPT_TO]);
    else if (rc == 0 && direct)
        rc = link_direct_configs(o, err);
    else if (rc == 0 && (o->source_config.n || o->source_names.n))
        rc = wcp_fail(err, WCP_EINVAL, "--source-config: the stored link's is kept");
    if (rc == 0)
        rc = options_link(&link, v[OPT_TO], direct, &w->to, err);
    if (rc == 0)
        rc = options_link(&link, v[OPT_FROM], direct, &w->from, err);
    return rc;
}

static int open_check(struct swap *w, struct wcp_err *err)
{
    const char *file = w->o->value[OPT_CHECK];
    int rc = replay_open(&(struct replay_config){.o = w->o,
                                                 .file = file,
                                                 .to = w->to.target,
                                                 .from = w->to.source_id,
                                                 .from_link = w->to.name},
                         &w->check, err);
    if (rc == 0 && replay_count(w->check) == 0)
        rc = wcp_fail(err, WCP_ENOENT, "%s: no whole call of '%s' over link '%s' is in it", file,
                      w->to.source_id, w->to.name);
    return rc;
}

int cmd_swap(const struct options *o, struct wcp_err *err)
{
    struct swap w = {.o = o};
    struct former former = {0};
    bool direct = o->value[OPT_DIRECT];
    int rc = read_options(&w, err);
    if (rc == 0)
        rc = session_open(o, &w.s, err);
    if (rc == 0 && !direct)
        rc = find_former(&w, &former, err);
    if (rc == 0 && o->value[OPT_CHECK])
        rc = open_check(&w, err);
    if (rc == 0) {
        link_copy_config(&w.to.source_config, &o->source_config);
        link_copy_config(&w.to.target_config, &o->target_config);
        rc = direct ? swap_direct(&w, err) : swap_stored(&w, &former, err);
    }
    if (rc == 0)
        link_print(&w.to, direct                   ? "swapped"
                          : o->value[OPT_ROLLBACK] ? "swapped back"
                                                   : "swapped; --rollback undoes it");
    session_close(w.s);
    replay_close(w.check);
    former_free(&former);
    linkdef_free(&w.to);
    linkdef_free(&w.from);
    strings_free(&w.source_names);
    strings_free(&w.to_names);
    strings_free(&w.from_names);
    return rc;
}

/* drain.c: wcp drain: a provider leaves as on SIGTERM. Those that run standalone are hosts of
 * themselves, one per replica, and leave when these are told to stop the provider. */
#include "cli/control.h"
#include <stdio.h>
#include <string.h>

enum {
    ASK_AGAIN_MS = 50,
    GONE_MS = 30000,
};

/* The running calls come to their end first, which can take longer than an answer may. */
static int drain(struct session *s, const char *host, const char *id, uint32_t wait_ms,
                 struct wcp_err *err)
{
    uint64_t end = session_now(s) + wait_ms;
    int rc = control_provider_stop(s, host, id, err);
    if (rc && rc != WCP_ETIMEOUT)
        return rc;
    while ((rc = control_lists(s, host, id, err)) != WCP_ENOENT && session_now(s) < end)
        session_sleep(s, ASK_AGAIN_MS);
    if (rc != WCP_ENOENT)
        return wcp_fail(err, WCP_ETIMEOUT, "'%s' on host %s has not left within %u ms", id, host,
                        wait_ms);
    printf("%s on host %s: left\n", id, host);
    return 0;
}

/* Which of the hosts are meant: all of them, if there are several, only when it is said. */
static int choose(const struct options *o, const char *id, const struct strings *hosts,
                  struct wcp_err *err)
{
    const char *host = o->value[OPT_HOST];
    struct wcp_buf list = {0};
    int rc = 0;
    for (size_t i = 0; i < hosts->n; i++) {
        wcp_buf_fmt(&list, "%s%s", i ? ", " : "", hosts->at[i]);
        if (host && strcmp(hosts->at[i], host) == 0)
            goto out;
    }
    wcp_buf_put(&list, "", 1);
    if (host)
        rc = wcp_fail(err, WCP_ENOENT, "'%s' does not run on host %s; it does on %s", id, host,
                      (const char *)list.ptr);
    else if (hosts->n > 1 && !o->value[OPT_ALL])
        rc = wcp_fail(err, WCP_EINVAL,
                      "'%s' runs on %zu hosts: give --all, or --host with one of %s", id, hosts->n,
                      (const char *)list.ptr);
out:
    wcp_buf_free(&list);
    return rc;
}

int cmd_drain(const struct options *o, struct wcp_err *err)
{
    const char *id = o->operands[0], *host = o->value[OPT_HOST];
    struct session *s = NULL;
    struct strings hosts = {0};
    int rc = options_id("ID", id, err);
    if (rc == 0 && host && o->value[OPT_ALL])
        rc = wcp_fail(err, WCP_EINVAL, "one of --host and --all expected, both found");
    if (rc == 0)
        rc = session_open(o, &s, err);
    if (rc == 0)
        rc = control_hosts_of(s, id, &hosts, err);
    if (rc == 0)
        rc = choose(o, id, &hosts, err);
    for (size_t i = 0; i < hosts.n && rc == 0; i++)
        if (!host || strcmp(hosts.at[i], host) == 0)
            rc = drain(s, hosts.at[i], id, o->wait_ms ? o->wait_ms : GONE_MS, err);
    session_close(s);
    strings_free(&hosts);
    return rc;
}

/* probe.h: NATS server addresses, and asking one whether it is there without holding up the loop.
 */
#ifndef PROBE_H
#define PROBE_H

#include <wcp/base.h>

struct uv_loop_s;

struct server {
    char *url;  /* as libnats takes it; may hold a password: never log it */
    char *name; /* "host:port", for logs */
    char *host, *port;
    bool tls;
};
struct servers {
    struct server *at;
    size_t n;
};

/* One or more URLs separated by commas: nats://[user:password@ or token@]host[:port], tls://..., or
 * host[:port]. "" is the local server. */
int servers_parse(const char *urls, struct servers *out, struct wcp_err *err);
/* Those of s from the number keep on are replaced by what is in with, but for those that are among
 * the first ones. Takes ownership of what is in with. */
void servers_replace(struct servers *s, size_t keep, struct servers *with);
void servers_free(struct servers *s);

struct probe;
/* done is called once, never before this returns: why is NULL when a NATS server answered, else
 * what is wrong; greeting is what it said first, "INFO {...}", or "" (both for that call only). The
 * probe is gone then. s must live until done or cancel. */
struct probe *probe_start(struct uv_loop_s *loop, const struct server *s,
                          void (*done)(void *ctx, const char *why, const char *greeting),
                          void *ctx);
void probe_cancel(struct probe *p); /* done is not called any more */

#endif

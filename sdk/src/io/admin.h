/* admin.h: the admin port, for those who watch this process: /livez, /readyz, /metrics and /links
 * over HTTP/1.1. It has neither a login nor encryption, and tells no configuration and no secrets.
 */
#ifndef IO_ADMIN_H
#define IO_ADMIN_H

#include <wcp/base.h>

struct uv_loop_s;
struct wcp_instance;
struct nats_conn;

/* What it tells about: it looks there each time it is asked. */
struct admin_view {
    struct wcp_instance *const *instance; /* NULL there: it does not exist yet */
    struct nats_conn *const *nats;        /* NULL there: this process goes without NATS */
    const bool *subscribed;               /* callers can reach us */
    const char *provider;                 /* its name, as in struct wcp_provider */
    uint64_t started_us;                  /* since 1970: when this process began */
};

struct admin;
/* address is IP:PORT, [IPv6]:PORT or :PORT (on all IPv4 addresses); port 0 takes a free one. Logs
 * where it listens. NULL with err: WCP_EINVAL for a malformed address, WCP_EIO when it cannot be
 * had. */
struct admin *admin_open(struct uv_loop_s *loop, const char *address, const struct admin_view *v,
                         struct wcp_err *err);
void admin_close(struct admin *a); /* at once; NULL is allowed */

#endif

/* provider.h: what a provider is, and running one. */
#ifndef WCP_PROVIDER_H
#define WCP_PROVIDER_H

#include <wcp/call.h>
#include <wcp/link.h>

/* Bounds on what peers can make us hold. 0 means the default. Not to be set: 4096 streams and
 * futures of a call at once, 1024 of them whose bytes come before what announces them, 16 levels of
 * them. */
struct wcp_limits {
    size_t message_bytes; /* parameters or results of one call without their streams: 256 MiB */
    size_t arena_bytes;   /* decoded arguments of one call: 512 MiB */
    size_t open_calls;    /* incoming calls at once: 65536; at most 262144 */
    size_t stream_bytes;  /* kept for one paused incoming stream: 16 MiB */
    size_t stream_total_bytes; /* ... for all of them: 64 MiB */
    size_t links;              /* 65536 */
    uint32_t call_ms;          /* until the answer; for streams: without any progress: 30,000 */
    uint32_t drain_ms;         /* calls that run may finish when leaving: 10,000, or what
                                  --drain-ms says; at most 250 when a host says shutdown */
    uint32_t link_wait_ms;     /* a call that comes before its link waits: 500, or what --link-wait
                                  says; WCP_NO_LINK_WAIT: it does not */
};

#define WCP_NO_LINK_WAIT UINT32_MAX

struct wcp_provider {
    const char *name;                 /* "keyvalue-redis", for logs and usage */
    const struct wcp_export *exports; /* ends with {0}; NULL for none */
    /* All may be NULL. start runs once, connected and before the first link; a failure ends the
     * process with its message. stop runs last, after every link_down. */
    int (*start)(struct wcp_instance *i, struct wcp_err *err);
    void (*stop)(struct wcp_instance *i);
    /* link_up failing makes the link refuse calls and health say why; the SDK logs it. Return soon:
     * connect in the background. link_down comes when the last running call of the link has ended.
     * A changed link is a new one: its link_up comes before the link_down of the old. */
    int (*link_up)(struct wcp_link *l, struct wcp_err *err);
    void (*link_down)(struct wcp_link *l);
    /* The link is going, link_down follows when its running calls have ended: begin nothing new on
     * it. For providers that call; what is called only gets no more calls. */
    void (*link_drain)(struct wcp_link *l);
    /* The provider's own configuration or secrets changed; wcp_provider_config and
     * wcp_provider_secret tell the new ones. After it the links are made anew: they may have used
     * these. */
    void (*config_changed)(struct wcp_instance *i);
    struct wcp_limits limits;
    bool serves_anyone; /* also callers without a link (a component, not a provider) */
};

/* The provider's own state, and the one loop, for client libraries' adapters. */
void *wcp_instance_data(const struct wcp_instance *i);
void wcp_instance_set_data(struct wcp_instance *i, void *data);
const char *wcp_instance_id(const struct wcp_instance *i);
struct uv_loop_s *wcp_loop(const struct wcp_instance *i);

/* Run p until a host or SIGTERM ends it: HostData on stdin, or standalone by flags and environment
 * (--help tells them). Returns the exit status for main. */
int wcp_main(int argc, char **argv, const struct wcp_provider *p);

#endif

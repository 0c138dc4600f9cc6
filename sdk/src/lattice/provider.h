/* provider.h: one provider in one lattice: control messages, links and calls joined. No I/O. */
#ifndef LATTICE_PROVIDER_H
#define LATTICE_PROVIDER_H

#include <wcp/provider.h>
#include "lattice/hostdata.h"
#include "rpc/rpc.h"

/* What an instance needs from the process around it. */
struct instance_env {
    struct wcp_transport *transport;
    void *loop;               /* struct uv_loop_s *, for wcp_loop */
    int64_t (*wall_us)(void); /* microseconds since 1970, UTC: for events */
    /* The functions have been subscribed, once: standalone that is after the links were read. */
    void (*serving)(void *ctx);
    void (*leaving)(void *ctx); /* accept no more connections; may be NULL */
    /* The instance has drained and said its last word: flush what is published, then free it and
     * end. status is the process's exit status. */
    void (*done)(void *ctx, int status);
    void *ctx;
};

/* Takes ownership of *hd (moved out). Call once the transport is connected. Nothing is sent yet. */
struct wcp_instance *instance_new(const struct wcp_provider *def, struct hostdata *hd,
                                  const struct instance_env *env);
/* Subscribes the control subjects, runs start, applies the links (standalone: reads them from the
 * lattice's buckets first, and watches those) and serves the exports. */
int instance_start(struct wcp_instance *i, struct wcp_err *err);
/* Leave politely: no new calls, finish what runs (at most limit_ms; 0: hd->drain_ms), take the
 * links down, env.done. A second call only shortens the limit. */
void instance_drain(struct wcp_instance *i, uint32_t limit_ms);
void instance_free(struct wcp_instance *i); /* at once; calls that run are failed */

/* The provider's own configuration and secrets are these now; both take the content. Nothing
 * happens when they are the same as before. */
void instance_config(struct wcp_instance *i, struct config *c);
void instance_secrets(struct wcp_instance *i, struct secrets *s);
/* Somebody has connected to call us (hd->listens). Takes ownership of c. */
void instance_accept(struct wcp_instance *i, struct wcp_conn *c);
void instance_message(struct wcp_instance *i, int sub, struct wcp_msg *m);
void instance_left(struct wcp_instance *i, int sub);
void instance_lost(struct wcp_instance *i, int sub);
void instance_writable(struct wcp_instance *i);
void instance_disconnected(struct wcp_instance *i);
void instance_reconnected(struct wcp_instance *i);
uint64_t instance_next(const struct wcp_instance *i); /* when to tick; TIMER_NEVER: not at all */
void instance_tick(struct wcp_instance *i);

/* Link and control messages, and links in HostData, that were ignored because they are malformed.
 */
uint64_t instance_malformed(const struct wcp_instance *i);

/* For the admin port. Appends why it is not ready to be called, one reason a line: none, it is. */
void instance_unready(const struct wcp_instance *i, struct wcp_buf *why);
/* Its metrics as Prometheus' text; name is the provider's. */
void instance_metrics(const struct wcp_instance *i, const char *name, struct wcp_buf *b);
/* Who it is and its links, as a JSON object of at most max bytes, more than a few hundred:
 * {"provider_id":...,"host_id":...,"host_name":...,"links":[...],"omitted":how many did not fit}.
 */
void instance_links_json(const struct wcp_instance *i, size_t max, struct wcp_buf *b);

#endif

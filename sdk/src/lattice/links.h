/* links.h: the link table: which links there are, which work, and taking them up and down.
 *
 * A link is known by role, peer, namespace, package and name. Putting the same content again does
 * nothing (or retries, if the link had failed); other content makes a new link, which comes up
 * before the old one drains. A link that could not come up stays in the table as failed: it refuses
 * calls and says why. Draining: no new calls, wait for the running ones, at most drain_ms, then
 * link_down. Provider callbacks run from links_put and links_tick only, never inside another one's
 * reply. */
#ifndef LINKS_H
#define LINKS_H

#include "base/timer.h"
#include "lattice/linkdef.h"
#include "rpc/rpc.h"

struct links;
struct shared_secrets;

struct links_config {
    struct wcp_instance *instance;     /* for wcp_link.instance */
    const struct wcp_provider *def;    /* link_up, link_down, limits.links */
    const char *id;                    /* ours */
    const char *host_xkey, *xkey_seed; /* to open sealed secrets; "" none */
    struct wcp_transport *transport;   /* for its clock */
    uint32_t drain_ms;
    void (*added)(void *ctx); /* a link is up */
    void *ctx;
};

struct links *links_new(const struct links_config *c);
/* Frees every link, without link_down for those that never came down: call links_drain_all first.
 */
void links_free(struct links *t);
struct rpc_links links_for_rpc(struct links *t);

/* A link that we were told of. Takes the content of *l. */
void links_put(struct links *t, struct linkdef *l);
/* The same for a link that only this process knows: no reading of the lattice's buckets takes it
 * away. */
void links_put_local(struct links *t, struct linkdef *l);
/* Something outside of the links has changed that they may have used when they came up: every link
 * is made anew, and comes up before the old one drains; those by links_put_local only if local. */
void links_renew(struct links *t, bool local);
/* The provider's secrets, which links see besides their own (wcp/link.h) from now on; t holds them,
 * too. Every link is made anew. */
void links_provide_secrets(struct links *t, struct shared_secrets *s);
/* The link of that role, peer, namespace, package and name; no matter when there is none. */
void links_del(struct links *t, const struct linkdef *l);
void links_drain_all(struct links *t,
                     bool at_once); /* at_once: running calls do not hold them up */
/* The provider is leaving: it shall begin nothing new, while calls to it are still served. */
void links_tell_drain(struct links *t);
size_t links_count(const struct links *t); /* with those that drain */

/* What the lattice's buckets say now: between begin and end all their links are put. why not NULL:
 * this one cannot come up, because of that. */
void links_sync_begin(struct links *t);
void links_sync_put(struct links *t, struct linkdef *l, const char *why);
/* Drains the links that were not among them, but for those that we were told of within the last
 * grace_ms: they may not be there yet. Returns when to ask again because of such; TIMER_NEVER: no
 * need. */
uint64_t links_sync_end(struct links *t, uint32_t grace_ms);

/* False: some link is not healthy, and b gets a text for people. */
bool links_healthy(const struct links *t, struct wcp_buf *b);

uint64_t links_next(const struct links *t);
void links_tick(struct links *t);

#endif

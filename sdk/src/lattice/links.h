/* links.h: the link table: which links there are, which work, and taking them up and down.
 *
 * A link is known by role, peer, namespace, package and name. Putting the same content again does
 * nothing; other content makes a new link, which comes up before the old one drains. A link whose
 * link_up fails stays in the table: it refuses calls, says why, and is tried again with growing
 * pauses; the same content put again tries it at once, but once a second at most. One that cannot
 * come up for what it says (its configuration, its secrets) waits for other content. Draining: no
 * new calls, wait for the running ones, at most drain_ms, then link_down; the link is gone then.
 * Provider callbacks run from links_put, links_renew and links_tick only, never inside another
 * one's reply. */
#ifndef LINKS_H
#define LINKS_H

#include "base/timer.h"
#include "lattice/linkdef.h"
#include "rpc/rpc.h"

struct links;
struct shared_secrets;

enum link_state {
    LINK_CONNECTING, /* up, but its backend is not there yet */
    LINK_READY,
    LINK_FAILED, /* link_up failed, or its backend is not usable: why tells */
    LINK_DRAINING,
};
const char *link_state_text(enum link_state s); /* "ready" */

/* What there is to say about a link: neither configuration nor secrets. All is borrowed. */
struct link_view {
    const struct wcp_link *link;
    struct wcp_str peer;
    enum link_state state;
    uint64_t since_ms; /* of the transport's clock: when it came into this state */
    const char *why;   /* LINK_FAILED: the reason; else NULL */
    uint32_t attempts; /* calls of link_up */
    uint64_t retry_ms; /* when link_up is called again; TIMER_NEVER: it is not */
    size_t calls;      /* running */
    bool local;        /* by links_put_local */
};

/* Adds source_id, target, name, wit_namespace, wit_package, interfaces, state and reason. */
void link_describe(const struct link_view *v, struct json_object *o);

struct links_config {
    struct wcp_instance *instance;     /* for wcp_link.instance */
    const struct wcp_provider *def;    /* link_up, link_down, limits.links */
    const char *id;                    /* ours */
    const char *host_xkey, *xkey_seed; /* to open sealed secrets; "" none */
    struct wcp_transport *transport;   /* for its clock */
    uint32_t drain_ms;
    void (*added)(void *ctx); /* there is a link: it is up, or known not to work */
    /* May be NULL. A link has come into another state; within calls of providers, too. A changed
     * link is told as draining before its new self is told. */
    void (*changed)(void *ctx, const struct link_view *v);
    void (*missing)(void *ctx); /* a call waits for a link that is not there; may be NULL */
    void *ctx;
};

struct links *links_new(const struct links_config *c);
/* Frees every link, without link_down for those that never came down: call links_drain_all first.
 */
void links_free(struct links *t);
struct rpc_links links_for_rpc(struct links *t);

/* A link that we were told of. Takes the content of *l. */
void links_put(struct links *t, struct linkdef *l);
/* The same for a link that only this process knows: neither messages nor the lattice's buckets
 * change it or take it away, and it is made anew also by the same content. of_provider: its
 * configuration is the provider's, so that the provider's secrets go before it. */
void links_put_local(struct links *t, struct linkdef *l, bool of_provider);
/* Something outside of the links has changed that they may have used when they came up: every link
 * is made anew, and comes up before the old one drains; those by links_put_local only if local. One
 * that waits for other content is left alone. */
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

/* False: some link is connecting or has failed, and b gets a text for people. */
bool links_healthy(const struct links *t, struct wcp_buf *b);
bool links_any_failed(const struct links *t);
/* All links. fn must not change the table. */
void links_each(const struct links *t, void (*fn)(void *ctx, const struct link_view *v), void *ctx);
/* Appends a JSON list of objects, those that are not ready first. At most max bytes: returns how
 * many links did not fit. */
size_t links_json(const struct links *t, size_t max, struct wcp_buf *b);

uint64_t links_next(const struct links *t);
void links_tick(struct links *t);

#endif

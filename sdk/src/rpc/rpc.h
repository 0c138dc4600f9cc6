/* rpc.h: wRPC for one identity, as server and as client: messages in, publishes out.
 *
 * The transport's events come in through the rpc_... functions below; the time comes from
 * transport->now(). Calls in and out share one inbox subscription "<inbox>.>": call number n has
 * the reply subject "<inbox>.<n>", and what belongs to it arrives below that. Calls over a
 * connection of their own (wrpc.md §3) come in by rpc_accept and go out by rpc_invoke_conn. */
#ifndef RPC_H
#define RPC_H

#include <wcp/invoke.h>
#include <wcp/provider.h>
#include "base/timer.h"
#include "rpc/codec.h"
#include "rpc/transport.h"

struct rpc;

/* What the wRPC core asks of the link table. */
struct rpc_links {
    void *ctx;
    /* The link of a call, with a reference taken; NULL: there is none (yet), or, with *why set
     * (borrowed), one that does not work because of that. source and name are as in the headers,
     * with their defaults filled in. */
    struct wcp_link *(*find)(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface, const char **why);
    void (*missing)(void *ctx); /* a call has no link, and may wait for one */
    void (*hold)(void *ctx, struct wcp_link *l);
    void (*release)(void *ctx, struct wcp_link *l);
};

struct rpc_config {
    struct wcp_transport *transport;
    const char *lattice, *id; /* copied */
    struct wcp_limits limits; /* 0: default */
    struct rpc_links links;
    struct wcp_instance *instance; /* for wcp_call.instance */
    bool serves_anyone;
};

struct rpc *rpc_new(const struct rpc_config *c); /* subscribes the inbox */
void rpc_free(struct rpc *r);                    /* ends every call first, as rpc_abort */

/* What an interface is called on the wire: "" for functions directly in a world. */
const char *rpc_instance(const struct wcp_interface *i);
/* Queue-subscribes every function of e that has a handler; one directly in a world also as one of
 * an interface that is called like the world. */
void rpc_serve(struct rpc *r, const struct wcp_export *e);
/* Leaves all of those subscriptions; running calls go on, and connections whose header comes within
 * 100 ms. Accept no more of them. */
void rpc_leave(struct rpc *r);
bool rpc_has_left(const struct rpc *r); /* after rpc_leave: no more invocations come */
/* Every function subscription has been left and no call is running, neither in nor out, nor may one
 * begin on a connection. */
bool rpc_idle(const struct rpc *r);
size_t rpc_running(const struct rpc *r);
void rpc_abort(
    struct rpc *r); /* fail every running call towards its peer, and outgoing ones here */
/* A link was added: calls that wait for one look again. */
void rpc_link_added(struct rpc *r);

/* wcp_invoke (invoke.h) for a link of this identity. */
struct wcp_outgoing *rpc_invoke(struct rpc *r, struct wcp_link *l,
                                const struct wcp_interface *iface, size_t func, const void *params,
                                void (*done)(void), void *ctx);

/* The same over a connection that may still be connecting: without a link, nobody needs to be
 * linked. Takes ownership of conn. WCP_ENOENT: it was refused; WCP_ECLOSED: it was reset. */
struct wcp_outgoing *rpc_invoke_conn(struct rpc *r, struct wcp_conn *conn,
                                     const struct wcp_interface *iface, size_t func,
                                     const void *params, void (*done)(void), void *ctx);
/* A call as bytes, by who has no types: the root of its parameters and the channels below it as
 * they travel. What comes back is told as it comes: bytes of the root (path "") or of a channel
 * ("0.1"), no bytes for its end. Which channels there will be, and so when all has come, only the
 * caller can know: it ends the call with wcp_cancel. Or failed is called, once, as done of
 * wcp_invoke is with a negative status. An end of the results without a value is no failure here.
 */
struct rpc_raw {
    const char *function; /* "wrpc:keyvalue/store@0.2.0-draft.get"; at most RPC_FUNCTION_MAX long */
    const struct wcp_header *headers;
    size_t header_count;
    struct wcp_bytes params;
    const struct rpc_channel {
        struct path path;
        struct wcp_bytes data;
    } * channels;
    size_t channel_count;
    void (*received)(void *ctx, struct wcp_str path, struct wcp_bytes data);
    void (*failed)(void *ctx, int status);
    void *ctx;
};
#define RPC_FUNCTION_MAX 512
/* Everything is copied before it returns; nothing is called before. */
struct wcp_outgoing *rpc_invoke_raw(struct rpc *r, const char *to, const struct rpc_raw *c);

/* A caller has connected. Its calls come from `source` over the link `name` (they live as long as
 * r). Takes ownership of conn. */
void rpc_accept(struct rpc *r, struct wcp_conn *conn, const char *source, const char *name);

/* Events of a connection that was given to one of the two; it may be closed within. */
void rpc_conn_data(struct wcp_conn *c, struct wcp_bytes data); /* data lives for this call */
void rpc_conn_eof(struct wcp_conn *c);                         /* the peer's direction has ended */
void rpc_conn_lost(struct wcp_conn *c, int status, const char *why); /* or could not be made */
void rpc_conn_sent(struct wcp_conn *c); /* some of what was written, or all: see buffered() */

/* Events. rpc_message returns false when sub is not one of rpc's. */
bool rpc_message(struct rpc *r, int sub, struct wcp_msg *m);
bool rpc_left(struct rpc *r, int sub);
bool rpc_lost(struct rpc *r, int sub); /* messages of sub were dropped */
void rpc_writable(struct rpc *r);
void rpc_disconnected(struct rpc *r);
uint64_t
rpc_next(const struct rpc *r); /* when rpc_tick wants to be called; TIMER_NEVER: not at all */
void rpc_tick(struct rpc *r);

/* A plain request with one answer, as an ordinary call of the transport. done is called exactly
 * once, never before this returns: m, or NULL with WCP_ETIMEOUT or WCP_ECLOSED. A status message
 * (503: nobody is there) is an answer, m->status tells. subject, headers and data are copied. */
void rpc_request(struct rpc *r, const struct wcp_msg *request, uint32_t timeout_ms,
                 void (*done)(void *ctx, const struct wcp_msg *m, int status), void *ctx);

#define INBOX_SUBJECT_MAX 128
/* A plain subscription to a subject of its own. The functions are the caller's, who owns s until it
 * unsubscribes, which both may do. */
struct rpc_sub {
    void (*message)(struct rpc_sub *s, const struct wcp_msg *m); /* m lives for this call */
    void (*lost)(struct rpc_sub *s);                             /* messages were dropped */
    char subject[INBOX_SUBJECT_MAX];
    int sub;
    struct rpc_sub *next;
};
void rpc_subscribe(struct rpc *r, struct rpc_sub *s); /* makes the subject up */
void rpc_unsubscribe(struct rpc *r, struct rpc_sub *s);
void rpc_publish(struct rpc *r, const char *subject); /* an empty message */

/* Timers that rpc_tick fires; the time is the transport's. */
struct timers *rpc_timers(struct rpc *r);
uint64_t rpc_now(const struct rpc *r);

/* How a call went, as its end counts it. What breaks a stream off after the answer counts, too. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_ERROR,       /* answered with the error of its interface */
    OUTCOME_FAILED,      /* wcp_call_fail; outgoing: the peer ended it without an answer */
    OUTCOME_ABSENT,      /* there is no link; outgoing: nobody serves it */
    OUTCOME_LINK_FAILED, /* there is one, which does not work; not of outgoing calls */
    OUTCOME_MALFORMED,   /* what the peer sent */
    OUTCOME_TOO_BIG,
    OUTCOME_REFUSED, /* too many calls are open */
    OUTCOME_TIMEOUT,
    OUTCOME_CLOSED, /* a connection was lost, messages of the call were, or we are ending */
    OUTCOME_CANCELLED,
    OUTCOMES
};

/* How long calls took until their answer, in microseconds: at most this, per bucket. */
#define CALL_BUCKETS 16
extern const uint32_t call_buckets_us[CALL_BUCKETS];

/* The calls of one function. */
struct call_stats {
    struct call_stats *next;
    const struct wcp_interface *iface;
    const struct wcp_func *func;
    bool incoming;
    size_t running;
    uint64_t ended[OUTCOMES];
    uint64_t took[CALL_BUCKETS + 1], took_us; /* of answered ones; the last: longer; and the sum */
};
const struct call_stats *rpc_call_stats(const struct rpc *r); /* those served come first */

struct rpc_stats {
    uint64_t repeated_accepts;
    uint64_t losses;        /* times that messages were dropped because we were too slow */
    uint64_t late_messages; /* for calls that were over */
    uint64_t connections_dropped, connections_refused; /* before their call had begun */
    uint64_t conn_in_bytes, conn_out_bytes;            /* of calls over connections */
    size_t waiting_for_link, stream_bytes;             /* now: calls; bytes that wait for readers */
};
struct rpc_stats rpc_stats(const struct rpc *r);
/* The age of the oldest call that is not answered yet, in microseconds; 0: there is none. */
uint64_t rpc_oldest_us(const struct rpc *r, bool incoming);

#endif

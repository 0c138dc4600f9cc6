/* exchange.h: what serving and calling share: one running call, its inbox number and its channels.
 *
 * A call's bytes travel on channels: the root (parameters or results) and one for each stream or
 * future in them, named by its index path. How their bytes travel is the wire's affair: as messages
 * on "<inbox>.<n>.<word>[.path]" and "<send_base>[.path]" (subjects.c), or as frames of a
 * connection (framed.c). An exchange is freed when its owner (server.c or client.c) is done with it
 * and no incoming or outgoing channel is open any more. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "base/timer.h"
#include "base/trace.h"
#include "rpc/codec.h"
#include "rpc/frames.h"
#include "rpc/rpc.h"

/* One connection of the framed transport. It belongs to its call, once there is one. */
struct framed {
    struct rpc *rpc;
    struct wcp_conn *conn; /* NULL: closed */
    struct exchange *x;    /* NULL: the header has not come */
    struct frames in;
    const char *source, *link_name; /* of who connected to us */
    struct timer deadline;          /* of the header */
    struct framed *next, **prev;    /* in rpc->headless */
    size_t counted;                 /* root bytes that were taken for progress */
    bool shut, stopped /* reading */, eof;
};

/* Something with a reply subject of its own. */
struct inbox_entry {
    uint64_t number;
    /* tail is what follows the number in the subject, without its dot: "", "params", "params.0.1".
     */
    void (*on_message)(struct inbox_entry *e, struct wcp_str tail, struct wcp_msg *m);
};

struct served { /* one exported function and its subscription */
    int sub;
    bool left;
    const char *instance; /* as callers say it */
    const struct wcp_interface *iface;
    const struct wcp_func *func;
    const void *impl;
    struct call_stats *stats;
};

/* How a call's bytes are sent. A path of NULL is the root. */
struct wire {
    void (*send)(struct exchange *x, const struct path *p, struct wcp_bytes data);
    /* The channel has ended; broken: in the middle of a stream. */
    void (*end)(struct exchange *x, const struct path *p, bool broken);
    bool (*is_full)(const struct exchange *x); /* writers are to wait until outs_writable() */
    void (*settled)(struct exchange *x);       /* something was sent, read or ended */
    void (*cut)(struct exchange *x);           /* the call is over in both directions */
    void (*close)(struct exchange *x);
};
extern const struct wire subjects_wire, frames_wire;

struct exchange {
    struct inbox_entry entry; /* not with frames */
    const struct wire *wire;
    struct framed *framed; /* with frames: the connection */
    struct rpc *rpc;
    struct exchange *next, **prev; /* in rpc->exchanges */
    bool incoming;
    struct wcp_link *link; /* held; may be NULL */
    const struct wcp_interface *iface;
    const struct wcp_func *func;
    struct wcp_arena *arena; /* where received values live */
    struct timer deadline;   /* no answer, or no progress */
    uint64_t active;         /* when something last moved */
    uint64_t began_us;
    struct call_stats *stats; /* NULL: it is not counted */
    enum outcome outcome;     /* so far */
    struct trace *trace;      /* that it belongs to; NULL: none */

    struct wcp_in *ins; /* the latest first */
    size_t in_count;
    struct orphan *orphans; /* channel bytes that came before what announces their channel */
    struct wcp_buf root;    /* received root bytes, if they did not come in one message */
    struct walk *root_walk; /* over them: when does decoding again make sense? */
    bool root_ended, decoded;
    bool ins_ended; /* no channel gets any more bytes */

    struct out_list {
        struct wcp_out *first, *last;
    } outs;
    struct wcp_out **blocked; /* the list of writers that wait for this wire: all calls', or */
    struct wcp_out *framed_blocked; /* with frames: of this one */
    char *send_base;                /* with subjects; NULL until known */
    bool may_send;                  /* outgoing channels may be published */
    bool root_sent;                 /* our part of the root is out */
    bool answered;                  /* the result has been sent, or delivered */
    bool dead;     /* towards the peer this call is over: what is still written is discarded */
    unsigned busy; /* its channels are being worked on: it must not be freed now */

    void (*settled)(struct exchange *x); /* a channel has closed: finish if that was the last */
    /* With frames: x->root has more, or root_ended. Over subjects its owner sees the messages. */
    void (*on_root)(struct exchange *x);
    void (*fail)(struct exchange *x, int status, const char *why, bool tell_peer);
    void (*destroy)(struct exchange *x); /* after exchange_close: frees it */
};

struct rpc {
    struct wcp_transport *t;
    char *lattice, *id;
    struct wcp_limits limits;
    struct rpc_links links;
    struct wcp_instance *instance;
    bool serves_anyone;
    struct timers timers;
    struct rpc_stats stats;
    struct call_stats *call_stats;
    int inbox_sub;
    size_t inbox_len; /* of t->inbox */
    struct slot {
        struct inbox_entry *entry;
        uint32_t generation;
        uint32_t next_free; /* index + 1 */
    } * slots;
    size_t slot_count;
    uint32_t free_slot; /* index + 1; 0: none */
    struct served *served;
    size_t served_count;
    struct exchange *exchanges;
    size_t running_in, running_out;
    size_t waiting_for_link;
    size_t stream_bytes; /* kept in all incoming streams */
    struct wcp_out *blocked;
    struct framed *headless; /* connections whose header has not come */
    size_t headless_count;
    bool leaving;
    struct request *requests;
    struct rpc_sub *plain_subs;
    uint64_t plain_subs_made;
#define COMPLAINTS 64
    struct complaint { /* what was logged in this second */
        const char *what;
        int status;
        uint64_t count;
    } complaints[COMPLAINTS];
    size_t complaint_count;
    struct timer complaints_over;
};

/* A line of that kind (a text that stays, and 0 or the status that it is about) is due. False:
 * there were many in this second; it is only counted. */
bool complain(struct rpc *r, const char *what, int status);
void complaints_tell(struct rpc *r); /* of those that were only counted, now */

void inbox_add(struct rpc *r, struct inbox_entry *e);
void inbox_remove(struct rpc *r, struct inbox_entry *e);
void inbox_subject(const struct rpc *r, const struct inbox_entry *e, char out[INBOX_SUBJECT_MAX]);

/* How values of x's peer are written. */
static inline struct wcp_codec exchange_codec(const struct exchange *x)
{
    return x->link ? x->link->codec : (struct wcp_codec){0};
}
/* stats NULL: not to be counted; framed NULL: over subjects. */
void exchange_init(struct exchange *x, struct rpc *r, bool incoming, struct call_stats *stats,
                   struct framed *framed);
/* Nothing is left of it but its memory: no channels, no timer, no inbox number, link released. */
void exchange_close(struct exchange *x);
/* Neither a channel is open nor one being worked on, nor has a connection bytes to send. */
bool exchange_is_quiet(const struct exchange *x);
void exchange_touch(struct exchange *x);   /* something moved: the deadline starts anew */
bool exchange_is_late(struct exchange *x); /* nothing moved for call_ms; else sets the deadline */
/* Sets answered, and counts how long that took and with what kind of result. */
void exchange_answered(struct exchange *x, const void *result);
void exchange_failed(struct exchange *x, int status); /* is counted; 0: in its handler's words */
struct call_stats *stats_of(struct rpc *r, bool incoming, const struct wcp_interface *iface,
                            const struct wcp_func *func); /* made when asked for first */
/* Keep root bytes until they can be decoded. WCP_ETOOBIG: more than the limit. */
int exchange_keep(struct exchange *x, struct wcp_bytes first, struct wcp_err *err);
/* Decode all of t from the bytes received so far (first: root bytes not yet in x->root). Returns 0,
 * WCP_EMORE (first has been kept) or an error. */
int exchange_decode(struct exchange *x, const struct wcp_type *t, struct wcp_bytes first, void *out,
                    struct wcp_err *err);
/* Encode value of type t; streams and futures in it become channels of x, or are inlined. */
void exchange_encode(struct exchange *x, const struct wcp_type *t, const void *value,
                     struct wcp_buf *b);
/* Bytes of a channel; closed: it ends behind them. */
void exchange_receive(struct exchange *x, const struct path *p, struct wcp_bytes data, bool closed);
void exchange_open(struct exchange *x);             /* may_send from now on: what waits goes out */
bool exchange_outs_empty(const struct exchange *x); /* every outgoing channel is ended and empty */
void exchange_end_again(struct exchange *x);        /* repeats the end of those */
/* Incoming values that nobody started reading are dropped. */
void exchange_drop_unstarted(struct exchange *x);
/* The call is over towards the peer. Incoming streams end with status, outgoing ones are cut (with
 * their end message if tell_peer). Sets dead. */
void exchange_cut(struct exchange *x, int status, bool tell_peer);

/* The parts of exchange_cut and exchange_close, in in.c and out.c. */
void ins_cut(struct exchange *x, int status);
void outs_cut(struct exchange *x, bool tell_peer);
/* Appends what follows send_base in the subject of each outgoing channel, ".0.1" with its NUL. */
void outs_list(const struct exchange *x, struct wcp_buf *b);
/* An outgoing channel of which all bytes are known, as they travel: sent as a future's value is. */
void outs_put_bytes(struct exchange *x, const struct path *p, struct wcp_bytes data);
void ins_close(struct exchange *x);
void ins_end(struct exchange *x); /* the peer has ended all its channels; sets ins_ended */
/* What was received for readers that do not want it now. */
size_t ins_waiting(const struct exchange *x);
void outs_writable(struct wcp_out **blocked); /* wakes writers that were told to wait */

void subjects_end(struct rpc *r, const char *subject); /* an empty message */

/* Calls over connections (framed.c). */
struct framed *framed_new(struct rpc *r, struct wcp_conn *conn);
void framed_begin(struct exchange *x); /* of an outgoing call: sends the header */
void framed_leave(struct rpc *r);      /* those without a call shall say soon what they want */
bool framed_is_sending(const struct exchange *x);
void framed_close_all(struct rpc *r); /* those without a call */

void server_message(struct rpc *r, const struct served *s, struct wcp_msg *m);
/* A call of s has begun on f. */
struct exchange *server_framed(struct rpc *r, const struct served *s, struct framed *f,
                               const char *source, const char *link_name);
void server_link_added(struct rpc *r);

#endif

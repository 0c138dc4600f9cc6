/* nats_conn.h: the connection, shared by its parts: nats.c (connecting, ending) and
 * nats_messages.c (what is sent and received while it is up). */
#ifndef IO_NATS_CONN_H
#define IO_NATS_CONN_H

#include "io/nats_login.h"
#include <stdatomic.h>
#include <uv.h>

#define MARKS 0 /* the number of our own subscription, for the marks */

struct sub {
    natsSubscription *sub; /* NULL while there is no connection */
    natsMsg *next;         /* taken from libnats, not yet handed over */
    char *subject, *queue; /* subject NULL: this number is free */
    bool leaving;
    uint64_t last_mark; /* of one that is leaving: when this mark is back, nothing more can come */
};

struct arrival {
    natsMsg *msg;
    bool unanswered; /* a 503: ours, no subscription has it */
};

/* Errors that the server reports: so many are told of in a second, the others counted. */
#define ERRORS_MAX 8

/* Messages that wait for their destruction: so many, or so many bytes of payload. */
#define DEAD_MAX       64
#define DEAD_BYTES_MAX ((size_t)64 << 10)

struct nats_conn {
    struct wcp_transport transport;
    uv_loop_t *loop;
    struct nats_events ev;
    char *name;
    struct login login;

    struct servers servers;
    size_t configured; /* of servers, the first; the others were learnt from these */
    size_t server;     /* the one to try, or tried last */
    size_t tried;      /* of servers, since the last pause */
    unsigned pauses;
    struct probe *probe;
    char *why; /* it did not connect, as logged last */

    natsConnection *nc;
    bool up, was_up, closing;
    bool server_wants_tls; /* the one that answered */
    uint64_t up_ms;        /* since when it is up */
    uv_work_t close_work;
    bool closed, told_closed; /* by natsConnection_Close, and by its callback */
    natsInbox *inbox;
    char *mark_subject;
    uint64_t mark_sent, mark_back, flush_mark;
    void (*flushed)(void *ctx, bool flushed); /* NULL: no flush is under way */
    void *flushed_ctx;
    bool saw_unwritten;
    struct nats_stats stats;
    uint64_t dropped_told_ms; /* the last log line about stats.unsent */

    struct sub *subs;
    size_t sub_count, last;
    struct arrival *order; /* of this turn */
    size_t order_len, order_cap;

    natsMsg *dead[DEAD_MAX];
    size_t dead_len, dead_bytes;

    uv_check_t check;
    uv_async_t wake;
    uv_timer_t retry, mark_timer, flush_timer;
    unsigned open_handles;
    atomic_uint signals;
    struct server_errors {
        char text[ERRORS_MAX][256];
        size_t n; /* that came; the first ERRORS_MAX are in text */
    } errors;
    uv_mutex_t errors_lock;
    uint64_t errors_told_ms; /* begin of the second in which so many were logged: */
    size_t errors_told;
};

/* --- nats_messages.c --- */

extern const struct wcp_transport messages_transport;       /* without inbox */
void messages_make_sub(struct nats_conn *n, struct sub *s); /* on the connection that is up */
void messages_end_sub(struct sub *s);
void messages_destroy_dead(struct nats_conn *n);
uint64_t messages_send_mark(struct nats_conn *n); /* its number */
/* libnats' filter: it has parsed a message. On the loop's thread, within the poll. */
void messages_on_arrival(natsConnection *nc, natsMsg **m, void *ctx);
void messages_deliver(struct nats_conn *n); /* what has arrived, in its order */
void messages_on_check(uv_check_t *c);      /* once per turn */

#endif

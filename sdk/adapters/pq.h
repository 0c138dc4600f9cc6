/* pq.h: one PostgreSQL connection on the loop. */
#ifndef ADAPTERS_PQ_H
#define ADAPTERS_PQ_H

#include <wcp/base.h>
#include <libpq-fe.h>

struct uv_loop_s;
struct pq_conn;

/* Where a server is, and who we are. All belong to the caller, and live as long as connections to
 * it do. */
struct pq_target {
    const char *host; /* a name, an address, or a Unix socket's folder, which starts with '/' */
    const char *port;
    /* Further parameters of PQconnectdbParams by their names: user, password, sslmode, ... The list
     * ends with a NULL key; a NULL value is left out. */
    enum { PQ_PARAMS = 12 } limit;
    struct pq_param {
        const char *key, *value;
    } params[PQ_PARAMS + 1];
    uint32_t connect_ms; /* for looking the name up, and for each address with login */
};

/* Each may call pq_conn_free. */
struct pq_events {
    void (*ready)(void *ctx); /* logged in, and in pipeline mode */
    /* What PQgetResult says, in its order; NULL: the end of a query's results. Cleared after. */
    void (*result)(void *ctx, const PGresult *r);
    /* It failed or was lost; why is for the operator. The last call. */
    void (*gone)(void *ctx, const char *why);
    void *ctx;
};

/* Starts connecting. Never NULL; events come later. */
struct pq_conn *pq_conn_new(struct uv_loop_s *loop, const struct pq_target *t,
                            const struct pq_events *e);
/* No more events. NULL is allowed. */
void pq_conn_free(struct pq_conn *c);

/* For PQsend functions, after ready. */
PGconn *pq_conn_pg(const struct pq_conn *c);
/* To be called after those: sees to it that what they wrote leaves. */
void pq_conn_sent(struct pq_conn *c);

#endif

/* pq_pool.h: some PostgreSQL connections, jobs that wait for one in order, and what makes a
 * connection fit for the next job. */
#ifndef ADAPTERS_PQ_POOL_H
#define ADAPTERS_PQ_POOL_H

#include "pq.h"

struct pq_pool;
struct pq_session; /* a connection of a pool */

struct pq_tuning {
    uint32_t size;       /* connections at most; they are made when needed, the first one at once */
    uint32_t queue;      /* jobs that may wait */
    uint32_t timeout_ms; /* for a job, with its waiting */
};

struct pq_pool_events {
    /* why NULL: a connection stands; else none does, and the last attempt to make one failed.
     * Called on changes only. */
    void (*state)(void *ctx, const char *why);
    /* data of pq_session_data is no longer true: the connection is gone, or made as new. */
    void (*forget)(void *data);
    void *ctx;
};

/* Something to do with a connection. It ends once: with pq_job_done, or in failed. */
struct pq_job {
    void (*run)(struct pq_job *j, struct pq_session *s);                       /* send something */
    void (*result)(struct pq_job *j, struct pq_session *s, const PGresult *r); /* see pq_events */
    void (*failed)(struct pq_job *j, const char *why); /* in words for the caller */
    /* The pool's. */
    struct pq_job *next;
    struct pq_session *session;
    uint64_t deadline;
};

/* Copies *t and its texts. Never NULL. */
struct pq_pool *pq_pool_new(struct uv_loop_s *loop, const struct pq_target *t,
                            const struct pq_tuning *tuning, const struct pq_pool_events *e);
/* Every job fails before this returns. NULL is allowed. */
void pq_pool_free(struct pq_pool *p);

/* Takes the job, which lives until it ends. It may run, or fail, before this returns. */
void pq_pool_do(struct pq_pool *p, struct pq_job *j);

/* The job has what it wants. What its connection is still doing is cancelled; whatever transaction
 * is open is rolled back; and if it is worn (the job may have changed its session: settings,
 * temporary tables, locks), all of that is reset. */
void pq_job_done(struct pq_job *j, bool worn);

PGconn *pq_session_pg(const struct pq_session *s); /* in pipeline mode when a job gets it */
void pq_session_sent(struct pq_session *s);        /* to be called after sending */
void **pq_session_data(struct pq_session *s);      /* a slot of the owner's, NULL at first */

#endif

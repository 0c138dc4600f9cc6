/* pq_pool.c: some PostgreSQL connections, and the jobs that wait for one.
 *
 * A session goes from EMPTY over CONNECTING to IDLE. A job makes it BUSY. When the job has ended it
 * is IDLE again at once if nothing is left of it; else it is DRAINING while the server still works
 * for the job, which is cancelled, and RESETTING while its transaction and its settings are undone.
 *
 * Cancelling is a query of its own on a connection of its own (pg_cancel_backend): PQcancel would
 * block, and go in clear. A session is not used before that is answered, so that a late one never
 * hits another job. */
#include "pq_pool.h"
#include <uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    FIRST_DELAY_MS = 50, /* between attempts to connect; doubles */
    MAX_DELAY_MS = 5000,
    PATIENCE = 3,         /* attempts may fail while jobs wait; then jobs fail at once */
    CLEAN_UP_MS = 3000,   /* for cancelling, and for resetting; else the connection is given up */
    STEADY_MS = 1000,     /* a connection that lived that long may be made again at once */
    TELL_AGAIN_MS = 1000, /* while down, a new reason is told that often at most */
};

enum state { EMPTY, CONNECTING, IDLE, BUSY, DRAINING, RESETTING };
enum cancel { NO_CANCEL, WANTED, SENT };

struct pq_session {
    struct pq_pool *pool;
    struct pq_conn *conn;
    enum state state;
    enum cancel cancel;
    struct pq_job *job; /* only while BUSY */
    uint64_t since;     /* connected */
    uint64_t until;     /* of cleaning up */
    unsigned syncs;     /* that are due of resetting */
    void *data;
};

struct pq_pool {
    uv_loop_t *loop;
    struct pq_target target;
    struct pq_tuning tuning;
    struct pq_pool_events events;
    bool closing;
    uv_timer_t timer;

    struct pq_job *first, **end; /* waiting */
    size_t waiting;
    bool turning, again;

    uint32_t failures; /* attempts to connect in a row */
    uint64_t next_attempt;
    bool told;
    char why[256]; /* none is connected; "": one is */
    uint64_t told_at;

    struct pq_conn *canceller;
    struct pq_session sessions[];
};

static void turn(struct pq_pool *p);

static void tell(struct pq_pool *p, const char *why)
{
    uint64_t now = uv_now(p->loop);
    bool turned = !p->told || !why != !p->why[0];
    if (!turned && (!why || strcmp(why, p->why) == 0 || now - p->told_at < TELL_AGAIN_MS))
        return;
    p->told = true;
    p->told_at = now;
    (void)snprintf(p->why, sizeof p->why, "%s", why ? why : ""); /* may be cut */
    p->events.state(p->events.ctx, why ? p->why : NULL);
}

static void forget(struct pq_session *s)
{
    if (s->data)
        s->pool->events.forget(s->data);
    s->data = NULL;
}

/* --- cancelling --- */

static void drop(struct pq_session *s)
{
    pq_conn_free(s->conn);
    s->conn = NULL;
    s->state = EMPTY;
    s->cancel = NO_CANCEL;
    forget(s);
}

static void end_canceller(struct pq_pool *p)
{
    pq_conn_free(p->canceller);
    p->canceller = NULL;
}

static void send_cancels(struct pq_pool *p)
{
    struct wcp_buf sql = {0};
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        struct pq_session *s = &p->sessions[i];
        if (s->cancel == WANTED) {
            wcp_buf_fmt(&sql, "%s pg_cancel_backend(%d)", sql.len ? "," : "SELECT",
                        PQbackendPID(pq_conn_pg(s->conn)));
            s->cancel = SENT;
        }
    }
    if (sql.len == 0) {
        end_canceller(p);
        return;
    }
    wcp_buf_put(&sql, "", 1);
    PGconn *pg = pq_conn_pg(p->canceller);
    /* What fails is told by the connection's end. */
    (void)PQsendQueryParams(pg, (const char *)sql.ptr, 0, NULL, NULL, NULL, NULL, 0);
    (void)PQpipelineSync(pg);
    pq_conn_sent(p->canceller);
    wcp_buf_free(&sql);
}

static void on_cancel_ready(void *ctx)
{
    struct pq_pool *p = ctx;
    send_cancels(p);
}

static void settle(struct pq_session *s);

static void on_cancel_result(void *ctx, const PGresult *r)
{
    struct pq_pool *p = ctx;
    if (PQresultStatus(r) != PGRES_PIPELINE_SYNC)
        return;
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        struct pq_session *s = &p->sessions[i];
        if (s->cancel == SENT) {
            s->cancel = NO_CANCEL;
            settle(s);
        }
    }
    if (p->canceller)
        send_cancels(p);
    turn(p);
}

static void on_cancel_gone(void *ctx, const char *why)
{
    struct pq_pool *p = ctx;
    end_canceller(p);
    for (uint32_t i = 0; i < p->tuning.size; i++)
        if (p->sessions[i].cancel != NO_CANCEL)
            drop(&p->sessions[i]);
    turn(p);
}

static void cancel(struct pq_session *s)
{
    struct pq_pool *p = s->pool;
    s->cancel = WANTED;
    if (!p->canceller)
        p->canceller = pq_conn_new(p->loop, &p->target,
                                   &(struct pq_events){.ready = on_cancel_ready,
                                                       .result = on_cancel_result,
                                                       .gone = on_cancel_gone,
                                                       .ctx = p});
}

/* --- between jobs --- */

static bool send_reset(PGconn *pg, const char *sql)
{
    return PQsendQueryParams(pg, sql, 0, NULL, NULL, NULL, NULL, 0) && PQpipelineSync(pg);
}

static void reset(struct pq_session *s)
{
    PGconn *pg = pq_conn_pg(s->conn);
    bool open = PQtransactionStatus(pg) != PQTRANS_IDLE;
    s->state = RESETTING;
    s->until = uv_now(s->pool->loop) + CLEAN_UP_MS;
    s->syncs = open ? 2 : 1;
    forget(s);
    if (!PQenterPipelineMode(pg) || (open && !send_reset(pg, "ROLLBACK")) ||
        !send_reset(pg, "DISCARD ALL"))
        drop(s);
    else
        pq_conn_sent(s->conn);
}

/* A session whose job has ended: is the server done with it, too? */
static void settle(struct pq_session *s)
{
    if (s->state == DRAINING && s->cancel != SENT &&
        PQtransactionStatus(pq_conn_pg(s->conn)) != PQTRANS_ACTIVE) {
        s->cancel = NO_CANCEL;
        reset(s);
    }
}

void pq_job_done(struct pq_job *j, bool worn)
{
    struct pq_session *s = j->session;
    j->session = NULL;
    s->job = NULL;
    PGTransactionStatusType status = PQtransactionStatus(pq_conn_pg(s->conn));
    s->until = uv_now(s->pool->loop) + CLEAN_UP_MS;
    if (status == PQTRANS_ACTIVE) {
        s->state = DRAINING;
        cancel(s);
    } else if (worn || status != PQTRANS_IDLE) {
        reset(s);
    } else {
        s->state = IDLE;
    }
    turn(s->pool);
}

/* --- sessions --- */

static void on_ready(void *ctx)
{
    struct pq_session *s = ctx;
    struct pq_pool *p = s->pool;
    s->state = IDLE;
    s->since = uv_now(p->loop);
    p->failures = 0;
    tell(p, NULL);
    turn(p);
}

static void on_result(void *ctx, const PGresult *r)
{
    struct pq_session *s = ctx;
    struct pq_pool *p = s->pool;
    if (s->state == BUSY) {
        s->job->result(s->job, s, r);
    } else if (s->state == DRAINING) {
        settle(s);
    } else if (s->state == RESETTING) {
        if (r && PQresultStatus(r) == PGRES_FATAL_ERROR)
            drop(s);
        else if (PQresultStatus(r) == PGRES_PIPELINE_SYNC && --s->syncs == 0)
            s->state = IDLE;
    }
    turn(p);
}

static bool is_connected(const struct pq_pool *p)
{
    for (uint32_t i = 0; i < p->tuning.size; i++)
        if (p->sessions[i].state >= IDLE)
            return true;
    return false;
}

static void fail_job(struct pq_job *j, const char *why)
{
    j->session = NULL;
    j->failed(j, why);
}

static struct pq_job *pop(struct pq_pool *p)
{
    struct pq_job *j = p->first;
    p->first = j->next;
    if (!p->first)
        p->end = &p->first;
    p->waiting--;
    return j;
}

static void on_gone(void *ctx, const char *why)
{
    struct pq_session *s = ctx;
    struct pq_pool *p = s->pool;
    struct pq_job *j = s->job;
    bool steady = s->state != CONNECTING && uv_now(p->loop) - s->since >= STEADY_MS;
    s->job = NULL;
    drop(s);
    if (!steady) {
        uint64_t delay = FIRST_DELAY_MS;
        for (uint32_t i = 0; i < p->failures && delay < MAX_DELAY_MS; i++)
            delay *= 2;
        if (delay > MAX_DELAY_MS)
            delay = MAX_DELAY_MS;
        p->failures++;
        /* Many that were thrown out together should not come back together. Nothing random to be
         * had is no harm. */
        uint32_t random = 0;
        (void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
        p->next_attempt = uv_now(p->loop) + delay / 2 + random % (delay / 2 + 1);
    }
    if (!is_connected(p))
        tell(p, why);
    if (j)
        fail_job(j, "the connection was lost");
    turn(p);
}

static void open_session(struct pq_session *s)
{
    s->state = CONNECTING;
    s->conn = pq_conn_new(
        s->pool->loop, &s->pool->target,
        &(struct pq_events){.ready = on_ready, .result = on_result, .gone = on_gone, .ctx = s});
}

/* --- the queue --- */

static void start_job(struct pq_session *s, struct pq_job *j)
{
    s->state = BUSY;
    s->job = j;
    j->session = s;
    j->run(j, s);
}

/* Opens what is missing for the jobs that wait; one connection is wanted always. While attempts
 * fail, one at a time. */
static void grow(struct pq_pool *p, uint64_t now)
{
    size_t coming = 0, open = 0;
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        coming += p->sessions[i].state == CONNECTING;
        open += p->sessions[i].state != EMPTY;
    }
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        if (now < p->next_attempt || (p->failures > 0 && coming > 0))
            return;
        if (open > 0 && coming >= p->waiting)
            return;
        if (p->sessions[i].state == EMPTY) {
            open_session(&p->sessions[i]);
            coming++;
            open++;
        }
    }
}

static void on_timer(uv_timer_t *t)
{
    struct pq_pool *p = t->data;
    uint64_t now = uv_now(p->loop);
    char why[96];
    (void)snprintf(why, sizeof why, "no answer within %u ms", p->tuning.timeout_ms);
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        struct pq_session *s = &p->sessions[i];
        if (s->state == BUSY && s->job->deadline <= now) {
            struct pq_job *j = s->job;
            pq_job_done(j, true);
            j->failed(j, why);
        } else if ((s->state == DRAINING || s->state == RESETTING) && s->until <= now) {
            drop(s);
            if (!is_connected(p))
                tell(p, why);
        }
    }
    (void)snprintf(why, sizeof why, "no connection was free within %u ms", p->tuning.timeout_ms);
    while (p->first && p->first->deadline <= now)
        fail_job(pop(p), is_connected(p) ? why : "not connected");
    turn(p);
}

static void rearm(struct pq_pool *p, uint64_t now)
{
    uint64_t at = p->first ? p->first->deadline : UINT64_MAX;
    bool some_empty = false;
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        const struct pq_session *s = &p->sessions[i];
        some_empty |= s->state == EMPTY;
        uint64_t due = s->state == BUSY ? s->job->deadline : s->until;
        if ((s->state == BUSY || s->state == DRAINING || s->state == RESETTING) && due < at)
            at = due;
    }
    if (some_empty && p->next_attempt > now && p->next_attempt < at)
        at = p->next_attempt;
    if (at == UINT64_MAX)
        (void)uv_timer_stop(&p->timer); /* cannot fail */
    else
        (void)uv_timer_start(&p->timer, on_timer, at > now ? at - now : 0, 0); /* not closing */
}

/* Whatever has changed: gives idle sessions to those who wait, and sees to what has to follow. */
static void turn(struct pq_pool *p)
{
    p->again = true;
    if (p->turning || p->closing)
        return;
    p->turning = true;
    uint64_t now = uv_now(p->loop);
    while (p->again) {
        p->again = false;
        for (uint32_t i = 0; i < p->tuning.size && p->first; i++)
            if (p->sessions[i].state == IDLE)
                start_job(&p->sessions[i], pop(p));
        while (p->first && p->failures > PATIENCE && !is_connected(p))
            fail_job(pop(p), "not connected");
        grow(p, now);
    }
    rearm(p, now);
    p->turning = false;
}

void pq_pool_do(struct pq_pool *p, struct pq_job *j)
{
    j->session = NULL;
    j->next = NULL;
    j->deadline = uv_now(p->loop) + p->tuning.timeout_ms;
    if (p->closing || p->waiting >= p->tuning.queue) {
        fail_job(j, p->closing ? "not connected" : "too many calls are waiting");
        return;
    }
    *p->end = j;
    p->end = &j->next;
    p->waiting++;
    turn(p);
}

/* --- the pool --- */

static char *copy(const char *text)
{
    return text ? wcp_str_dup(wcp_str(text)) : NULL;
}

static void wipe(const char *text)
{
    char *own = (char *)(uintptr_t)text; /* ours since pq_pool_new */
    if (own)
        explicit_bzero(own, strlen(own));
    free(own);
}

struct pq_pool *pq_pool_new(struct uv_loop_s *loop, const struct pq_target *t,
                            const struct pq_tuning *tuning, const struct pq_pool_events *e)
{
    struct pq_pool *p = wcp_calloc(1, sizeof *p + tuning->size * sizeof *p->sessions);
    p->loop = loop;
    p->target = *t;
    p->target.host = copy(t->host);
    p->target.port = copy(t->port);
    for (size_t i = 0; t->params[i].key; i++) {
        p->target.params[i].key = copy(t->params[i].key);
        p->target.params[i].value = copy(t->params[i].value);
    }
    p->tuning = *tuning;
    p->events = *e;
    p->end = &p->first;
    for (uint32_t i = 0; i < tuning->size; i++)
        p->sessions[i].pool = p;
    (void)uv_timer_init(loop, &p->timer); /* cannot fail */
    p->timer.data = p;
    turn(p);
    return p;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct pq_pool *p = h->data;
    wipe(p->target.host);
    wipe(p->target.port);
    for (struct pq_param *a = p->target.params; a->key; a++) {
        wipe(a->value);
        wipe(a->key);
    }
    free(p);
}

void pq_pool_free(struct pq_pool *p)
{
    if (!p)
        return;
    p->closing = true;
    end_canceller(p);
    for (uint32_t i = 0; i < p->tuning.size; i++) {
        struct pq_job *j = p->sessions[i].job;
        p->sessions[i].job = NULL;
        drop(&p->sessions[i]);
        if (j)
            fail_job(j, "the connection was closed");
    }
    while (p->first)
        fail_job(pop(p), "the connection was closed");
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

PGconn *pq_session_pg(const struct pq_session *s)
{
    return pq_conn_pg(s->conn);
}

void pq_session_sent(struct pq_session *s)
{
    pq_conn_sent(s->conn);
}

void **pq_session_data(struct pq_session *s)
{
    return &s->data;
}

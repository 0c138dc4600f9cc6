/* sim_conn.c: see sim_conn.h. */
#include "sim_conn.h"
#include "base/timer.h"
#include "test.h"

#define WINDOW 300 /* bytes on the way that count as written */

struct sim_end {
    struct wcp_conn conn; /* first */
    struct sim_net *net;
    struct sim_end *peer, *next;
    struct rpc *server;   /* which has to accept this end; NULL: done */
    void *call;           /* of the caller's end */
    struct wcp_buf queue; /* written by this end and not delivered: from off on */
    size_t off;
    size_t left;          /* bytes until this direction stalls, or the connection is cut */
    bool stalls, refused; /* what is to happen */
    bool stopped;         /* it does not want to read */
    bool shut, closed;    /* by its owner */
    bool got_eof, cut, owes_sent;
    uint64_t due; /* not before */
};

static struct sim_end *of(struct wcp_conn *c)
{
    struct sim_end *e = (struct sim_end *)c;
    CHECK(!e->closed);
    return e;
}

static size_t waiting(const struct sim_end *e)
{
    return e->queue.len - e->off;
}

static void on_write(struct wcp_conn *c, struct wcp_bytes data)
{
    CHECK(!of(c)->shut);
    wcp_buf_put(&of(c)->queue, data.ptr, data.len);
    of(c)->owes_sent |= waiting(of(c)) <= WINDOW;
}

static void on_shutdown(struct wcp_conn *c)
{
    CHECK(!of(c)->shut);
    of(c)->shut = true;
}

static void on_want(struct wcp_conn *c, bool reading)
{
    of(c)->stopped = !reading;
}

static size_t on_buffered(struct wcp_conn *c)
{
    size_t n = waiting(of(c));
    return n > WINDOW ? n - WINDOW : 0;
}

static void on_close(struct wcp_conn *c)
{
    struct sim_end *e = of(c);
    e->closed = true;
    if (!e->shut)
        e->queue.len = e->off = 0;
}

static struct sim_end *new_end(struct sim_net *n)
{
    struct sim_end *e = wcp_calloc(1, sizeof *e);
    *e = (struct sim_end){.conn = {.write = on_write,
                                   .shutdown = on_shutdown,
                                   .want = on_want,
                                   .buffered = on_buffered,
                                   .close = on_close},
                          .net = n,
                          .next = n->ends,
                          .left = SIZE_MAX};
    n->ends = e;
    return e;
}

static bool happens(struct sim_net *n, uint32_t one_in)
{
    return one_in && n->any(one_in) == 0;
}

struct wcp_conn *sim_connect(struct sim_net *n, struct rpc *server, void *call)
{
    struct sim_end *a = new_end(n), *b = new_end(n);
    a->peer = b;
    b->peer = a;
    a->call = call;
    b->server = server;
    a->due = b->due = *n->clock_ms + n->any(n->slowness);
    a->refused = happens(n, n->refuses);
    b->closed = a->refused;
    for (int i = 0; i < 2; i++) {
        struct sim_end *e = i ? b : a;
        if (happens(n, n->stalls)) {
            e->stalls = true;
            e->left = n->any(400);
        } else if (happens(n, n->cuts)) {
            e->left = n->any(400);
        }
    }
    return &a->conn;
}

bool sim_is_refused(const struct wcp_conn *c)
{
    return ((const struct sim_end *)c)->refused;
}

/* What e would see next. */
enum event { NOTHING, ACCEPT, LOST, DATA, END, SENT, GONE };

static enum event event_of(const struct sim_end *e)
{
    const struct sim_end *p = e->peer;
    bool stalled = p->stalls && p->left == 0;
    if (e->closed || (e->server && stalled)) /* nobody hears of one that is stuck from the start */
        return p->closed ? GONE : NOTHING;
    if (e->server)
        return ACCEPT;
    if (e->refused || e->cut)
        return LOST;
    if (e->owes_sent)
        return SENT;
    if (stalled || e->stopped)
        return NOTHING;
    if (waiting(p))
        return DATA;
    if (p->shut && !e->got_eof)
        return END;
    if (p->closed && !(p->shut && e->got_eof))
        return LOST;
    return NOTHING;
}

static void remove_pair(struct sim_end *e)
{
    struct sim_end *both[] = {e, e->peer};
    for (int i = 0; i < 2; i++) {
        struct sim_end **at = &e->net->ends;
        if (i)
            at = &both[1]->net->ends;
        while (*at != both[i])
            at = &(*at)->next;
        *at = both[i]->next;
    }
    for (int i = 0; i < 2; i++) {
        wcp_buf_free(&both[i]->queue);
        free(both[i]);
    }
}

static void moved(struct sim_end *e)
{
    if (e->call || e->peer->call)
        e->net->moved(e->call ? e->call : e->peer->call);
}

static void deliver(struct sim_end *e)
{
    struct sim_net *n = e->net;
    struct sim_end *p = e->peer;
    size_t most = waiting(p) < p->left ? waiting(p) : p->left;
    size_t k = most ? 1 + n->any(n->any(4) ? 20 : 2000) : 0;
    k = k < most ? k : most;
    if (k == 0) { /* here it is cut */
        e->cut = p->cut = true;
        return;
    }
    uint8_t *copy = wcp_calloc(1, k);
    memcpy(copy, p->queue.ptr + p->off, k);
    p->off += k;
    p->left -= p->left == SIZE_MAX ? 0 : k;
    p->owes_sent = !p->closed;
    moved(e);
    rpc_conn_data(&e->conn, (struct wcp_bytes){copy, k});
    free(copy);
}

static void happen(struct sim_end *e, enum event what)
{
    struct rpc *r = e->server;
    e->due = *e->net->clock_ms + e->net->any(e->net->slowness);
    switch (what) {
    case ACCEPT:
        e->server = NULL;
        rpc_accept(r, &e->conn, "cli", "default");
        return;
    case LOST:
        moved(e);
        e->peer->queue.len = e->peer->off = 0;
        rpc_conn_lost(&e->conn, e->refused ? WCP_ENOENT : WCP_ECLOSED, "simulated");
        CHECK(e->closed); /* the core owns it, and there is nothing more to it */
        return;
    case DATA: deliver(e); return;
    case END:
        e->got_eof = true;
        moved(e);
        rpc_conn_eof(&e->conn);
        return;
    case SENT:
        e->owes_sent = false;
        moved(e);
        rpc_conn_sent(&e->conn);
        return;
    case GONE: remove_pair(e); return;
    case NOTHING: return;
    }
}

uint64_t sim_next(const struct sim_net *n)
{
    uint64_t next = TIMER_NEVER;
    for (const struct sim_end *e = n->ends; e; e = e->next)
        if (event_of(e) != NOTHING && e->due < next)
            next = e->due;
    return next;
}

void sim_step(struct sim_net *n)
{
    struct sim_end *chosen = NULL;
    uint32_t count = 0;
    for (struct sim_end *e = n->ends; e; e = e->next)
        if (event_of(e) != NOTHING && e->due <= *n->clock_ms && n->any(++count) == 0)
            chosen = e;
    if (chosen)
        happen(chosen, event_of(chosen));
}

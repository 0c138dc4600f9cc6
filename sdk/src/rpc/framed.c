/* framed.c: calls over a connection of their own (wrpc.md §3), as server and as client.
 *
 * The plot: the caller connects, sends a header that names the function, and frames: slices of its
 * channels. After its last byte it ends its direction (FIN), which ends all its channels; so does
 * the server. There is no handshake and no message of failure: who fails closes. A stream that is
 * broken off is left in the middle of a chunk, since some take its end without that for a good one.
 *
 * A function without parameters starts when its header has come: a Rust server waits for the
 * caller's FIN, but Rust clients do not mind.
 *
 * While readers that pause hold more than a mark, the connection is not read: the sender feels it.
 */
#include "rpc/exchange.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define WAITING_MAX   ((size_t)256 << 10) /* for readers that pause, of one connection */
#define UNWRITTEN_MAX ((size_t)256 << 10) /* before its writers are told to wait */
#define LEAVE_MS      100
#define PROGRESS_MIN                                                                               \
    ((size_t)16 << 10) /* of parameters: less than this does not put off the end                   \
                        */

struct framed *framed_new(struct rpc *r, struct wcp_conn *conn)
{
    struct framed *f = wcp_calloc(1, sizeof *f);
    f->rpc = r;
    f->conn = conn;
    conn->framed = f;
    return f;
}

static void framed_free(struct framed *f)
{
    if (f->conn)
        f->conn->close(f->conn);
    frames_close(&f->in);
    free(f);
}

/* --- connections whose header has not come --- */

static void headless_remove(struct framed *f)
{
    timers_clear(&f->rpc->timers, &f->deadline);
    f->rpc->headless_count--;
    *f->prev = f->next;
    if (f->next)
        f->next->prev = f->prev;
}

static void drop(struct framed *f, const char *why)
{
    if (why) {
        static const char what[] = "a connection was dropped";
        f->rpc->stats.connections_dropped++;
        if (complain(f->rpc, what, WCP_EPROTO))
            wcp_log(WCP_WARN, what, "why", why, NULL);
    }
    headless_remove(f);
    framed_free(f);
}

void framed_close_all(struct rpc *r)
{
    while (r->headless)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        drop(r->headless, NULL);
}

void framed_leave(struct rpc *r)
{
    for (struct framed *f = r->headless; f; f = f->next)
        timers_set(&r->timers, &f->deadline, r->t->now(r->t) + LEAVE_MS);
    r->leaving = true;
}

static void on_no_header(struct timer *t)
{
    struct framed *f = (struct framed *)(void *)((char *)t - offsetof(struct framed, deadline));
    drop(f, f->rpc->leaving ? NULL : "its header did not come in time");
}

void rpc_accept(struct rpc *r, struct wcp_conn *conn, const char *source, const char *name)
{
    if (r->running_in + r->headless_count >= r->limits.open_calls) {
        r->stats.connections_refused++;
        if (complain(r, "a connection was refused", WCP_ETOOBIG))
            wcp_logf(WCP_WARN, "connections are refused: %zu calls are open, the limit is %zu",
                     r->running_in + r->headless_count, r->limits.open_calls);
        conn->close(conn);
        return;
    }
    struct framed *f = framed_new(r, conn);
    f->source = source;
    f->link_name = name;
    f->next = r->headless;
    f->prev = &r->headless;
    if (f->next)
        f->next->prev = &f->next;
    r->headless = f;
    r->headless_count++;
    f->deadline.fn = on_no_header;
    timers_set(&r->timers, &f->deadline, r->t->now(r->t) + r->limits.call_ms);
}

/* Reads the header. False: it is not complete, or f is gone. */
static bool begin_call(struct framed *f, struct wcp_bytes *data)
{
    struct rpc *r = f->rpc;
    struct wcp_str instance, function;
    struct wcp_err err = {0};
    int rc = frames_header(&f->in, data, &instance, &function, &err);
    if (rc) {
        if (rc != WCP_EMORE)
            drop(f, err.msg);
        return false;
    }
    for (size_t i = 0; i < r->served_count; i++) {
        const struct served *s = &r->served[i];
        if (wcp_str_eq(wcp_str(s->func->name), function) &&
            wcp_str_eq(wcp_str(s->instance), instance)) {
            headless_remove(f);
            server_framed(r, s, f, f->source, f->link_name);
            return true;
        }
    }
    wcp_fail(&err, WCP_ENOENT, "%.*s is not served, of %.*s",
             (int)(function.len < 100 ? function.len : 100), function.ptr,
             (int)(instance.len < 100 ? instance.len : 100), instance.ptr);
    drop(f, err.msg);
    return false;
}

/* --- what comes in --- */

/* Can a stream or future of t be at the end of that path? */
static bool is_async_at(const struct wcp_type *t, const uint32_t *at, size_t n)
{
    if (!t || !t->async)
        return false;
    switch ((enum wcp_kind)t->kind) {
    case WCP_STREAM: return n == 0 || is_async_at(t->elem, at + 1, n - 1);
    case WCP_FUTURE: return n == 0 || is_async_at(t->elem, at, n);
    case WCP_LIST: return n && is_async_at(t->elem, at + 1, n - 1);
    case WCP_OPTION: return is_async_at(t->elem, at, n);
    case WCP_RECORD:
        return n && at[0] < t->count && is_async_at(t->fields[at[0]].type, at + 1, n - 1);
    case WCP_RESULT:
    case WCP_VARIANT:
        for (size_t i = 0; i < t->count; i++)
            if (is_async_at(t->fields[i].type, at, n))
                return true;
        return false;
    default: return false;
    }
}

static bool is_channel(const struct exchange *x, const struct path *p)
{
    if (x->incoming)
        return is_async_at(x->func->params, p->at, p->n);
    return p->at[0] == 0 && is_async_at(x->func->result, p->at + 1, p->n - 1);
}

/* Takes root bytes. True: it makes sense to decode them. They are collected, since the value points
 * into them; and a frame is waited for, so that not every piece of it is tried. */
static bool receive_root(struct exchange *x, const struct frame_piece *p)
{
    size_t most = x->rpc->limits.message_bytes;
    char why[100];
    if (x->decoded)
        return false; /* what follows the value */
    size_t len = x->root.len + p->data.len + p->after;
    if (len > most) {
        snprintf(why, sizeof why, "at least %zu bytes, the limit is %zu", len, most);
        x->fail(x, WCP_ETOOBIG, why, true);
        return false;
    }
    wcp_buf_put(&x->root, p->data.ptr, p->data.len);
    return p->after == 0;
}

static void receive(struct framed *f, struct wcp_bytes data)
{
    struct exchange *x = f->x;
    struct frame_piece p;
    struct wcp_err err = {0};
    int rc = 0;
    /* No parameters are complete at once. */
    bool try_root = x->incoming && !x->decoded && x->func->params->count == 0;
    while (!x->dead && (rc = frames_next(&f->in, &data, &p, &err)) == 0) {
        if (p.path.n == 0) {
            try_root |= receive_root(x, &p);
            continue;
        }
        if (try_root && !x->decoded)
            x->on_root(x); /* it may announce this channel */
        try_root = false;
        if (x->dead)
            return;
        if (is_channel(x, &p.path))
            exchange_receive(x, &p.path, p.data, false);
        else
            x->fail(x, WCP_EPROTO, "a frame's path is not one of its streams or futures", true);
    }
    if (x->dead)
        return;
    if (rc != WCP_EMORE)
        x->fail(x, rc, err.msg, true);
    else if (try_root && !x->decoded)
        x->on_root(x);
}

void rpc_conn_data(struct wcp_conn *c, struct wcp_bytes data)
{
    struct framed *f = c->framed;
    f->rpc->stats.conn_in_bytes += data.len;
    if (!f->x && !begin_call(f, &data))
        return;
    struct exchange *x = f->x;
    x->busy++;
    receive(f, data);
    if (!x->incoming || x->decoded || x->root.len - f->counted >= PROGRESS_MIN) {
        f->counted = x->root.len;
        exchange_touch(x);
    }
    x->busy--;
    x->settled(x);
}

void rpc_conn_eof(struct wcp_conn *c)
{
    struct framed *f = c->framed;
    struct exchange *x = f->x;
    if (!x) {
        drop(f, f->in.part.len ? "it ended within its header" : NULL);
        return;
    }
    f->eof = true;
    x->busy++;
    x->root_ended = true;
    if (!x->decoded)
        x->on_root(x);
    if (!x->dead)
        ins_end(x);
    x->busy--;
    x->settled(x);
}

void rpc_conn_lost(struct wcp_conn *c, int status, const char *why)
{
    struct framed *f = c->framed;
    struct exchange *x = f->x;
    if (!x) {
        drop(f, NULL);
        return;
    }
    x->busy++;
    if (x->answered) /* the peer did not want to hear or say the rest */
        exchange_cut(x, WCP_ECLOSED, false);
    else
        x->fail(x, status, why, false);
    x->busy--;
    x->settled(x);
}

void rpc_conn_sent(struct wcp_conn *c)
{
    struct exchange *x = c->framed->x;
    if (!x)
        return;
    exchange_touch(x);
    x->busy++;
    outs_writable(x->blocked);
    x->busy--;
    x->settled(x);
}

/* --- what goes out --- */

static void send(struct exchange *x, const struct path *path, struct wcp_bytes data)
{
    struct wcp_conn *c = x->framed->conn;
    if (!c)
        return;
    do { /* also for no bytes: a Rust client sends such a frame for no parameters */
        uint8_t head[FRAME_HEAD_MAX];
        size_t n = data.len < FRAME_DATA_MAX ? data.len : FRAME_DATA_MAX;
        size_t head_len = frames_put_head(head, path, n);
        c->write(c, (struct wcp_bytes){head, head_len});
        c->write(c, (struct wcp_bytes){data.ptr, n});
        x->rpc->stats.conn_out_bytes += head_len + n;
        data.ptr += n;
        data.len -= n;
    } while (data.len);
}

bool framed_is_sending(const struct exchange *x)
{
    struct wcp_conn *c = x->framed->conn;
    return c && c->buffered(c);
}

void framed_begin(struct exchange *x)
{
    struct wcp_buf b = {0};
    frames_put_header(&b, rpc_instance(x->iface), x->func->name);
    x->framed->conn->write(x->framed->conn, (struct wcp_bytes){b.ptr, b.len});
    x->rpc->stats.conn_out_bytes += b.len;
    wcp_buf_free(&b);
}

static void end(struct exchange *x, const struct path *path, bool broken)
{
    if (broken) /* a chunk of one element, which does not come */
        send(x, path, (struct wcp_bytes){(const uint8_t *)"\1", 1});
}

static bool is_full(const struct exchange *x)
{
    struct wcp_conn *c = x->framed->conn;
    return c && c->buffered(c) >= UNWRITTEN_MAX;
}

/* --- both --- */

static void settled(struct exchange *x)
{
    struct framed *f = x->framed;
    struct rpc *r = x->rpc;
    if (!f->conn)
        return;
    if (!f->shut && x->root_sent && !x->outs.first) {
        f->shut = true;
        f->conn->shutdown(f->conn);
    }
    size_t waiting = ins_waiting(x);
    bool stop =
        waiting > WAITING_MAX || (waiting && r->stream_bytes > r->limits.stream_total_bytes);
    if (stop != f->stopped && !f->eof) {
        f->stopped = stop;
        f->conn->want(f->conn, !stop);
    }
}

static void cut(struct exchange *x)
{
    struct framed *f = x->framed;
    if (!f->conn)
        return;
    if (!f->shut)
        f->conn->shutdown(f->conn);
    f->conn->close(f->conn);
    f->conn = NULL;
}

static void close_(struct exchange *x)
{
    framed_free(x->framed);
    x->framed = NULL;
}

const struct wire frames_wire = {
    .send = send, .end = end, .is_full = is_full, .settled = settled, .cut = cut, .close = close_};

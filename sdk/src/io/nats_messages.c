/* nats_messages.c: what is sent and received over a libnats connection, as the transport of the
 * core.
 *
 * libnats hands received messages to synchronous subscriptions. Right after the loop has polled,
 * messages_deliver() takes out all that one read brought, in the order of arrival across
 * subscriptions: a "link deleted" and the "link put" behind it arrive on two. What is published
 * within a turn of the loop leaves in one write.
 *
 * A mark is a message to ourselves. When it is back, the server has handled everything that we sent
 * before it, and all that it had for us by then has arrived. So marks tell when a subscription that
 * is being left has run dry, and when what we published has really gone out, without a thread that
 * waits. */
#include "io/nats_conn.h"
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

#define MARK_TIMEOUT_MS 2000
#define UNWRITTEN_MARK  ((size_t)1 << 20)

static void settle(struct nats_conn *n);

/* --- sending --- */

static struct nats_conn *of(struct wcp_transport *t)
{
    return (struct nats_conn *)t;
}

static void cannot_publish(struct nats_conn *n, const char *subject, const char *why)
{
    char count[24];
    uint64_t ms = uv_now(n->loop);
    if (n->stats.unsent++ && ms - n->dropped_told_ms < 1000)
        return; /* a line per second is enough */
    n->dropped_told_ms = ms;
    snprintf(count, sizeof count, "%llu", (unsigned long long)n->stats.unsent);
    wcp_log(WCP_WARN, "nats: cannot publish", "subject", subject, "why", why, "dropped", count,
            NULL);
}

static natsStatus publish_with_headers(struct nats_conn *n, const struct wcp_msg *m)
{
    natsMsg *out = NULL;
    natsStatus s =
        natsMsg_Create(&out, m->subject, m->reply, (const char *)m->data.ptr, (int)m->data.len);
    for (size_t i = 0; !s && i < m->header_count; i++)
        s = natsMsgHeader_Add(out, m->headers[i].name, m->headers[i].value);
    if (!s)
        s = natsConnection_PublishMsg(n->nc, out);
    natsMsg_Destroy(out);
    return s;
}

static void publish(struct wcp_transport *t, const struct wcp_msg *m)
{
    struct nats_conn *n = of(t);
    natsStatus s;
    if (!n->nc)
        s = NATS_CONNECTION_DISCONNECTED;
    else if (m->data.len > INT_MAX)
        s = NATS_MAX_PAYLOAD;
    else if (m->header_count)
        s = publish_with_headers(n, m);
    else if (m->reply)
        s = natsConnection_PublishRequest(n->nc, m->subject, m->reply, m->data.ptr,
                                          (int)m->data.len);
    else
        s = natsConnection_Publish(n->nc, m->subject, m->data.ptr, (int)m->data.len);
    if (s) {
        cannot_publish(n, m->subject, natsStatus_GetText(s));
        return;
    }
    n->stats.out_messages++;
    n->stats.out_bytes += m->data.len;
}

static size_t buffered(struct wcp_transport *t)
{
    struct nats_conn *n = of(t);
    int bytes = n->up ? natsConnection_Buffered(n->nc) : 0;
    if (bytes >= (int)UNWRITTEN_MARK && !n->saw_unwritten) {
        n->saw_unwritten = true;
        /* The poller may write all of it at the end of this turn: settle() must run once more
         * before the loop waits, since nothing else might come. */
        (void)uv_async_send(&n->wake);
    }
    return bytes > 0 ? (size_t)bytes : 0;
}

static uint64_t now(struct wcp_transport *t)
{
    return uv_now(of(t)->loop);
}

static uint64_t now_us(struct wcp_transport *t)
{
    return uv_hrtime() / 1000;
}

void messages_destroy_dead(struct nats_conn *n)
{
    for (size_t i = 0; i < n->dead_len; i++)
        natsMsg_Destroy(n->dead[i]);
    n->dead_len = n->dead_bytes = 0;
}

/* natsMsg_Destroy hands the message to a thread of libnats and wakes it, which costs more than all
 * else about a small message: so they are handed over in batches. */
static void bury(struct nats_conn *n, natsMsg *msg)
{
    if (!msg)
        return;
    n->dead[n->dead_len++] = msg;
    n->dead_bytes += (size_t)natsMsg_GetDataLength(msg);
    if (n->dead_len == DEAD_MAX || n->dead_bytes > DEAD_BYTES_MAX)
        messages_destroy_dead(n);
}

static void release(struct wcp_transport *t, void *owner)
{
    bury(of(t), owner);
}

/* --- marks --- */

static void on_mark_timeout(uv_timer_t *t)
{
    struct nats_conn *n = t->data;
    wcp_log(WCP_WARN,
            "nats: a message to ourselves is not back in 2 s; may this user publish and "
            "subscribe _INBOX.>?",
            "subject", n->mark_subject, NULL);
    n->mark_back = n->mark_sent;
    settle(n);
}

uint64_t messages_send_mark(struct nats_conn *n)
{
    char number[24];
    int len = snprintf(number, sizeof number, "%llu", (unsigned long long)++n->mark_sent);
    publish(&n->transport, &(struct wcp_msg){.subject = n->mark_subject,
                                             .data = {(const uint8_t *)number, (size_t)len}});
    uv_timer_start(&n->mark_timer, on_mark_timeout, MARK_TIMEOUT_MS, 0);
    return n->mark_sent;
}

static void mark_came_back(struct nats_conn *n, struct wcp_bytes number)
{
    char text[24] = "";
    memcpy(text, number.ptr, number.len < sizeof text - 1 ? number.len : sizeof text - 1);
    uint64_t mark = strtoull(text, NULL, 10);
    if (mark > n->mark_back && mark <= n->mark_sent) /* who knows our inbox could write anything */
        n->mark_back = mark;
    if (n->mark_back == n->mark_sent)
        uv_timer_stop(&n->mark_timer);
}

static void end_flush(struct nats_conn *n, bool flushed)
{
    void (*done)(void *ctx, bool flushed) = n->flushed;
    n->flushed = NULL;
    uv_timer_stop(&n->flush_timer);
    if (done)
        done(n->flushed_ctx, flushed);
}

static void on_flush_timeout(uv_timer_t *t)
{
    end_flush(t->data, false);
}

void nats_conn_flush(struct nats_conn *n, uint32_t limit_ms, void (*done)(void *ctx, bool flushed),
                     void *ctx)
{
    n->flushed = done;
    n->flushed_ctx = ctx;
    n->flush_mark =
        n->up ? messages_send_mark(n) : UINT64_MAX; /* sent when the connection is back */
    uv_timer_start(&n->flush_timer, on_flush_timeout, limit_ms, 0);
}

/* --- subscriptions --- */

void messages_end_sub(struct sub *s)
{
    natsMsg_Destroy(s->next);
    natsSubscription_Destroy(s->sub);
    s->next = NULL;
    s->sub = NULL;
}

void messages_make_sub(struct nats_conn *n, struct sub *s)
{
    natsStatus status =
        s->queue ? natsConnection_QueueSubscribeSync(&s->sub, n->nc, s->subject, s->queue)
                 : natsConnection_SubscribeSync(&s->sub, n->nc, s->subject);
    /* Each turn takes everything out that it read, so the socket is the limit. */
    if (!status)
        status = natsSubscription_SetPendingLimits(s->sub, -1, -1);
    if (status)
        wcp_log(WCP_ERROR, "nats: cannot subscribe", "subject", s->subject, "why",
                natsStatus_GetText(status), NULL);
}

static int subscribe(struct wcp_transport *t, const char *subject, const char *queue)
{
    struct nats_conn *n = of(t);
    size_t i = 0;
    while (i < n->sub_count && n->subs[i].subject)
        i++;
    if (i == n->sub_count) {
        assert(i < INT_MAX);
        n->subs = wcp_realloc(n->subs, ++n->sub_count * sizeof *n->subs);
    }
    n->subs[i] = (struct sub){.subject = wcp_str_dup(wcp_str(subject)),
                              .queue = queue ? wcp_str_dup(wcp_str(queue)) : NULL};
    if (n->nc)
        messages_make_sub(n, &n->subs[i]);
    return (int)i;
}

static void leave(struct wcp_transport *t, int sub)
{
    struct nats_conn *n = of(t);
    struct sub *s = &n->subs[sub];
    assert(sub > MARKS && (size_t)sub < n->sub_count && s->subject);
    if (s->leaving)
        return;
    s->leaving = true;
    if (n->up && s->sub) {
        /* Tells the server, and keeps what arrives until it knows. libnats does that waiting on a
         * thread of its own; ours is the mark. */
        (void)natsSubscription_Drain(s->sub); /* fails only when the connection is gone */
        s->last_mark = messages_send_mark(n);
    }
    uv_async_send(&n->wake); /* without a connection it has left already */
}

/* --- receiving --- */

/* libnats has parsed a message; it goes on to its subscription unless we set *m to NULL. On the
 * loop's thread, within the poll. */
void messages_on_arrival(natsConnection *nc, natsMsg **m, void *ctx)
{
    struct nats_conn *n = ctx;
    n->has_parsed = true;
    if (n->order_len == n->order_cap) {
        n->order_cap = n->order_cap ? 2 * n->order_cap : 64;
        n->order = wcp_realloc(n->order, n->order_cap * sizeof *n->order);
    }
    bool unanswered = natsMsg_IsNoResponders(*m);
    n->order[n->order_len++] = (struct arrival){*m, unanswered};
    if (unanswered)
        *m = NULL;
}

static const char *header(const struct wcp_msg *m, const char *name)
{
    const char *value = NULL;
    return m->owner && natsMsgHeader_Get(m->owner, name, &value) == NATS_OK ? value : NULL;
}

void nats_headers(const struct wcp_msg *m,
                  void (*each)(void *ctx, const char *name, const char *value), void *ctx)
{
    const char **names = NULL, **values = NULL;
    int name_count = 0, value_count = 0;
    if (!m->owner || natsMsgHeader_Keys(m->owner, &names, &name_count))
        return; /* it has none */
    for (int i = 0; i < name_count; i++)
        if (!natsMsgHeader_Values(m->owner, names[i], &values, &value_count)) {
            for (int k = 0; k < value_count; k++)
                each(ctx, names[i], values[k]);
            free(values);
        }
    free(names);
}

static void hand_over(struct nats_conn *n, size_t i, natsMsg *msg)
{
    struct wcp_msg m = {
        .subject = natsMsg_GetSubject(msg),
        .reply = natsMsg_GetReply(msg),
        .data = {(const uint8_t *)natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg)},
        .header = header,
        .owner = msg,
    };
    n->stats.in_messages++;
    n->stats.in_bytes += m.data.len;
    if (i == MARKS) {
        mark_came_back(n, m.data);
    } else {
        /* Status messages are empty; libnats shows the status as if it were a header. */
        const char *status = m.data.len ? NULL : header(&m, "Status");
        m.status = status ? atoi(status) : 0;
        if (n->ev.message)
            n->ev.message(n->ev.ctx, (int)i, &m);
    }
    bury(n, m.owner); /* unless it was moved out */
}

/* Makes s->next the oldest message of s. */
static void take(struct nats_conn *n, size_t i)
{
    struct sub *s = &n->subs[i];
    int waiting = 0;
    /* Asked first because NextMsg makes an error text each time when there is none. */
    if (!s->sub || natsSubscription_GetPending(s->sub, &waiting, NULL) || !waiting)
        return;
    natsStatus status = natsSubscription_NextMsg(&s->next, s->sub, 0);
    if (status == NATS_SLOW_CONSUMER) { /* told once, the messages are still there */
        if (n->ev.lost && i != MARKS)
            n->ev.lost(n->ev.ctx, (int)i);
        s = &n->subs[i];
        status = natsSubscription_NextMsg(&s->next, s->sub, 0);
    }
    if (status)
        s->next = NULL;
}

/* The number of the subscription that msg came on; sub_count: none has it. */
static size_t sub_of(struct nats_conn *n, const natsMsg *msg)
{
    if (n->subs[n->last].next == msg)
        return n->last;
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].next == msg)
            return i;
    for (size_t i = 0; i < n->sub_count; i++) {
        if (!n->subs[i].next)
            take(n, i);
        if (n->subs[i].next == msg)
            return i;
    }
    return n->sub_count;
}

/* NATS wildcards: "*" is one token, ">" is all the rest. */
static bool subject_matches(const char *pattern, const char *subject)
{
    for (;;) {
        size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");
        if (pattern[0] == '>' && p == 1)
            return true;
        if (!(pattern[0] == '*' && p == 1) && (p != s || memcmp(pattern, subject, p) != 0))
            return false;
        if (!pattern[p] || !subject[s])
            return !pattern[p] && !subject[s];
        pattern += p + 1;
        subject += s + 1;
    }
}

static void hand_over_unanswered(struct nats_conn *n, natsMsg *msg)
{
    for (size_t i = 0; i < n->sub_count; i++)
        if (n->subs[i].subject && subject_matches(n->subs[i].subject, natsMsg_GetSubject(msg))) {
            hand_over(n, i, msg);
            return;
        }
    natsMsg_Destroy(msg); /* its subscription has just been left */
}

void messages_deliver(struct nats_conn *n)
{
    for (size_t k = 0; k < n->order_len && !n->closing; k++) {
        struct arrival a = n->order[k];
        n->order[k] = (struct arrival){0};
        if (a.unanswered) {
            hand_over_unanswered(n, a.msg);
            continue;
        }
        size_t i = sub_of(n, a.msg);
        if (i == n->sub_count)
            continue; /* it came for a subscription that was ended in the meantime */
        n->last = i;
        n->subs[i].next = NULL;
        take(n, i);
        hand_over(n, i, a.msg);
    }
    if (!n->closing)
        n->order_len = 0;
}

/* Tells what has come to pass without a message: subscriptions that are dry, a flush that is done,
 * room to write. */
static void settle(struct nats_conn *n)
{
    for (size_t i = 1; i < n->sub_count && !n->closing; i++) {
        struct sub *s = &n->subs[i];
        if (!s->leaving || (n->up && s->sub && s->last_mark > n->mark_back))
            continue;
        messages_end_sub(s);
        free(s->subject);
        free(s->queue);
        *s = (struct sub){0};
        if (n->ev.left)
            n->ev.left(n->ev.ctx, (int)i);
    }
    if (n->closing)
        return;
    if (n->flushed && n->up && n->flush_mark <= n->mark_back)
        end_flush(n, true);
    if (n->saw_unwritten && n->up && natsConnection_Buffered(n->nc) < (int)UNWRITTEN_MARK) {
        n->saw_unwritten = false;
        if (n->ev.writable)
            n->ev.writable(n->ev.ctx);
    }
}

void messages_on_check(uv_check_t *c)
{
    struct nats_conn *n = c->data;
    if (n->order_len)
        messages_deliver(n);
    settle(n);
}

const struct wcp_transport messages_transport = {publish, subscribe, leave,   release, buffered,
                                                 now,     now_us,    1 << 20, NULL};

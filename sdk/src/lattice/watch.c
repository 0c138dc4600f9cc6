/* watch.c: what a key-value bucket holds, and what becomes of it.
 *
 * The server sends what is in the bucket, the last value of each key, and then every change. Two
 * numbers tell that nothing is missing. The consumer's rises by one with each message: a jump, or a
 * heartbeat that knows a higher one, means loss, and the next consumer starts behind the last
 * message that we had. The stream's rises, too: if it does not, or if nothing at all comes any
 * more, or after a reconnect, this may not be the bucket that it was, and everything is read anew.
 * A consumer of ours that nobody listens to ends by itself, after 5 s. */
#include "lattice/watch.h"
#include "lattice/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_MS  5000
#define SILENCE_MS    15000 /* three heartbeats missed: the consumer is gone */
#define AGAIN_MS      1000  /* between two beginnings of making it, at least */
#define PAUSE_MS      2000  /* after a failure; doubled each time */
#define PAUSE_MOST_MS 60000
#define UNKNOWN       UINT64_MAX

struct creation {       /* a request on its way */
    struct kv_watch *w; /* NULL: nobody wants the answer any more */
};

struct kv_watch {
    struct rpc_sub sub; /* first; what the consumer sends */
    struct kv_watch_config c;
    enum { OFFLINE, WAITING, CREATING, WATCHING } state;
    struct creation *creation;
    char *consumer; /* its name; NULL: not known (yet) */
    /* The last message: its number from this consumer, and in the stream. */
    uint64_t consumer_seq, stream_seq;
    uint64_t highest;            /* stream_seq at the end of the former readings */
    bool read, gone;             /* there was a former reading; the bucket was gone since */
    uint64_t received, expected; /* of the values that come first */
    bool whole, resume;          /* resume: the next consumer goes on behind stream_seq */
    struct timer timer;          /* WAITING: create; WATCHING: it has been silent */
    uint64_t created_at;
    uint32_t pause_ms; /* since the last consumer; 0: there is one */
};

/* --- parsing --- */

/* Digits up to end. */
static bool number(const char *p, const char *end, uint64_t *out)
{
    uint64_t n = 0;
    if (p == end)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || n > (UINT64_MAX - 9) / 10)
            return false;
        n = 10 * n + (uint64_t)(*p - '0');
    }
    *out = n;
    return true;
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>; newer
 * servers have domain and account in front of the stream, and may have a token behind. */
bool kv_ack_parse(const char *reply, const char *bucket, struct kv_ack *out)
{
    enum { MOST = 12 };
    const char *token[MOST + 1], *p = reply;
    size_t n = 0;
    if (!reply || strncmp(reply, "$JS.ACK.", 8) != 0)
        return false;
    for (p += 8; n < MOST; p++) {
        token[n++] = p;
        p += strcspn(p, ".");
        if (!*p)
            break;
    }
    if (*p || (n != 7 && n < 9))
        return false;
    token[n] = p + 1; /* as if another one followed */
    const char **t = n == 7 ? token : token + 2;
    size_t len = (size_t)(t[1] - 1 - t[0]);
    return len == strlen(bucket) + 3 && memcmp(t[0], "KV_", 3) == 0 &&
           memcmp(t[0] + 3, bucket, len - 3) == 0 && number(t[3], t[4] - 1, &out->stream_seq) &&
           number(t[4], t[5] - 1, &out->consumer_seq) && number(t[6], t[7] - 1, &out->pending);
}

/* --- making it --- */

static void create(struct kv_watch *w);

static void on_deleted(void *ctx, const struct wcp_msg *m, int status)
{
    /* If it is still there, it ends by itself. */
}

/* Whatever still comes of the present consumer is of no use. */
static void leave(struct kv_watch *w, bool delete)
{
    timers_clear(rpc_timers(w->c.kv.rpc), &w->timer);
    if (w->creation)
        w->creation->w = NULL;
    w->creation = NULL;
    if (w->state >= CREATING)
        rpc_unsubscribe(w->c.kv.rpc, &w->sub);
    if (w->consumer && delete) {
        struct wcp_buf b = {0}, empty = {0};
        wcp_buf_fmt(&b, "%s.%s%c", w->c.bucket, w->consumer, 0);
        kv_request(&w->c.kv, "CONSUMER.DELETE", (const char *)b.ptr, &empty, on_deleted, NULL);
        wcp_buf_free(&b);
    }
    free(w->consumer);
    w->consumer = NULL;
    w->state = OFFLINE;
}

static void wait_until(struct kv_watch *w, uint64_t at)
{
    w->state = WAITING;
    timers_set(rpc_timers(w->c.kv.rpc), &w->timer, at);
}

/* In doubt. One who answers each consumer with nonsense does not get us to make them without end.
 */
static void again(struct kv_watch *w, bool resume)
{
    uint64_t now = rpc_now(w->c.kv.rpc);
    leave(w, true);
    w->resume = resume;
    if (now < w->created_at + AGAIN_MS)
        wait_until(w, w->created_at + AGAIN_MS);
    else
        create(w);
}

static void alive(struct kv_watch *w)
{
    if (w->state == WATCHING)
        timers_set(rpc_timers(w->c.kv.rpc), &w->timer, rpc_now(w->c.kv.rpc) + SILENCE_MS);
}

static void on_timer(struct timer *t)
{
    struct kv_watch *w = (struct kv_watch *)((char *)t - offsetof(struct kv_watch, timer));
    if (w->state == WATCHING)
        again(w, false);
    else
        create(w);
}

static void fail(struct kv_watch *w, struct wcp_err *err)
{
    leave(w, true);
    w->resume = false;
    w->gone |= err->code == WCP_ENOENT;
    w->pause_ms = w->pause_ms ? 2 * w->pause_ms : PAUSE_MS;
    if (w->pause_ms > PAUSE_MOST_MS)
        w->pause_ms = PAUSE_MOST_MS;
    wait_until(w, rpc_now(w->c.kv.rpc) + w->pause_ms);
    wcp_wrap(err, "bucket %s", w->c.bucket);
    w->c.failed(w->c.ctx, err);
}

static void now_whole(struct kv_watch *w)
{
    bool older = w->read && (w->gone || w->stream_seq < w->highest);
    w->whole = w->read = true;
    w->gone = false;
    w->highest = w->stream_seq;
    w->c.whole(w->c.ctx, older);
}

/* The last of the values that come first has come, or there are none. */
static void check_whole(struct kv_watch *w, bool last)
{
    if (!w->whole && (last || w->received >= w->expected))
        now_whole(w);
}

static int read_answer(struct kv_watch *w, struct json_object *o, struct wcp_err *err)
{
    struct json_object *delivered = NULL;
    int64_t pending = -1, sent = 0;
    int rc = member_text(o, "name", &w->consumer, err);
    if (!rc)
        rc = member_integer(o, "num_pending", &pending, err);
    if (!rc)
        rc = member_object(o, "delivered", &delivered, err);
    if (!rc && delivered)
        rc = member_integer(delivered, "consumer_seq", &sent, err);
    if (!rc && (!w->consumer || pending < 0))
        rc = wcp_fail(err, WCP_EPROTO, "name or num_pending of the consumer is missing");
    /* What was sent before it answered is not in num_pending. */
    w->expected = rc || sent < 0 ? UNKNOWN : (uint64_t)pending + (uint64_t)sent;
    return rc ? wcp_wrap(err, "JetStream's answer") : 0;
}

static void on_created(void *ctx, const struct wcp_msg *m, int status)
{
    struct kv_watch *w = ((struct creation *)ctx)->w;
    struct wcp_err err = {0};
    struct json_object *o = NULL;
    free(ctx);
    if (!w)
        return;
    w->creation = NULL;
    int rc = kv_answer(m, status, &o, &err);
    if (!rc)
        rc = read_answer(w, o, &err);
    json_object_put(o);
    if (rc) {
        fail(w, &err);
        return;
    }
    w->state = WATCHING;
    w->pause_ms = 0;
    alive(w);
    check_whole(w, false);
}

static void create(struct kv_watch *w)
{
    struct wcp_buf b = {0};
    w->creation = wcp_calloc(1, sizeof *w->creation);
    w->creation->w = w;
    w->created_at = rpc_now(w->c.kv.rpc);
    w->consumer_seq = 0;
    rpc_subscribe(w->c.kv.rpc, &w->sub);
    w->state = CREATING;
    wcp_buf_fmt(&b, "{\"stream_name\":\"KV_%s\",\"config\":{\"deliver_subject\":\"%s\",",
                w->c.bucket, w->sub.subject);
    if (w->resume) {
        wcp_buf_fmt(&b, "\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":%" PRIu64 ",",
                    w->stream_seq + 1);
    } else {
        wcp_buf_fmt(&b, "\"deliver_policy\":\"last_per_subject\",");
        w->whole = false;
        w->stream_seq = 0;
    }
    if (!w->whole) {
        w->received = 0;
        w->expected = UNKNOWN;
    }
    wcp_buf_fmt(&b,
                "\"filter_subject\":\"$KV.%s.>\",\"ack_policy\":\"none\",\"max_deliver\":1,"
                "\"flow_control\":true,\"idle_heartbeat\":%d000000,\"mem_storage\":true,"
                "\"num_replicas\":1,\"replay_policy\":\"instant\"%s}}",
                w->c.bucket, HEARTBEAT_MS, w->c.headers_only ? ",\"headers_only\":true" : "");
    bool resumes = w->resume;
    w->resume = false;
    kv_request(&w->c.kv, "CONSUMER.CREATE", w->c.bucket, &b, on_created, w->creation);
    wcp_buf_free(&b);
    if (!resumes)
        w->c.begin(w->c.ctx);
}

/* --- what comes --- */

/* Heartbeats, and requests to say that we keep up. */
static void on_status(struct kv_watch *w, const struct wcp_msg *m)
{
    const char *stalled = msg_header(m, "Nats-Consumer-Stalled");
    const char *last = msg_header(m, "Nats-Last-Consumer");
    uint64_t n = 0;
    if (m->status != 100) { /* it was moved or deleted */
        again(w, false);
        return;
    }
    alive(w);
    if (m->reply || stalled)
        rpc_publish(w->c.kv.rpc, m->reply ? m->reply : stalled);
    if (!last || !number(last, last + strlen(last), &n))
        return;
    if (n > w->consumer_seq)
        again(w, true);
    else if (w->state == WATCHING && !stalled)
        check_whole(w, true); /* it is idle: there is nothing left */
}

static void on_message(struct rpc_sub *s, const struct wcp_msg *m)
{
    struct kv_watch *w = (struct kv_watch *)s;
    struct kv_ack ack;
    size_t n = strlen(w->c.bucket);
    if (m->status) {
        on_status(w, m);
        return;
    }
    if (!kv_ack_parse(m->reply, w->c.bucket, &ack))
        return; /* from somebody who knows our inbox */
    alive(w);
    if (ack.consumer_seq != w->consumer_seq + 1 || ack.stream_seq <= w->stream_seq) {
        again(w, ack.stream_seq > w->stream_seq);
        return;
    }
    w->consumer_seq = ack.consumer_seq;
    w->stream_seq = ack.stream_seq;
    w->received++;
    if (strncmp(m->subject, "$KV.", 4) == 0 && strncmp(m->subject + 4, w->c.bucket, n) == 0 &&
        m->subject[4 + n] == '.')
        w->c.entry(w->c.ctx, m->subject + 4 + n + 1,
                   msg_header(m, "KV-Operation") ? NULL : &m->data);
    check_whole(w, ack.pending == 0);
    if (w->whole)
        w->highest = w->stream_seq;
}

static void on_lost(struct rpc_sub *s)
{
    again((struct kv_watch *)s, true);
}

/* --- from outside --- */

struct kv_watch *kv_watch_new(const struct kv_watch_config *c)
{
    struct kv_watch *w = wcp_calloc(1, sizeof *w);
    w->c = *c;
    w->sub.message = on_message;
    w->sub.lost = on_lost;
    w->timer.fn = on_timer;
    create(w);
    return w;
}

void kv_watch_free(struct kv_watch *w)
{
    if (!w)
        return;
    leave(w, true);
    free(w);
}

void kv_watch_hint(struct kv_watch *w)
{
    uint64_t at = w->created_at + AGAIN_MS;
    if (w->state == WAITING && at < w->timer.at)
        wait_until(w, at);
}

void kv_watch_disconnected(struct kv_watch *w)
{
    leave(w, false);
    w->resume = false;
}

void kv_watch_reconnected(struct kv_watch *w)
{
    leave(w, false);
    w->resume = false;
    w->pause_ms = 0;
    create(w);
}

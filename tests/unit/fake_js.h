/* fake_js.h: JetStream's key-value buckets for tests, answering what a fake transport recorded, and
 * sending to the consumers that were asked for. */
#ifndef FAKE_JS_H
#define FAKE_JS_H

#include "fake_transport.h"
#include "test.h"
#include <inttypes.h>
#include <sodium.h>

static struct fake_js {
    struct js_bucket {
        const char *name;
        uint64_t seq; /* of the last write */
    } buckets[10];
    size_t bucket_count;
    struct js_entry {
        const char *bucket, *key, *value; /* value NULL: deleted */
        uint64_t seq;
    } entries[400];
    size_t count;
    struct js_consumer {
        char bucket[128], deliver[128];
        uint64_t next; /* of the stream, to be sent */
        uint64_t seq;  /* of what was sent */
        bool headers_only, gone;
    } consumers[100];
    size_t consumer_count;
    bool off;                 /* nobody answers: 503 */
    bool silent;              /* nothing comes back */
    const char *no_consumers; /* of this bucket: no answer */
    bool late;                /* the answer comes behind the first values */
    const char *silent_key;   /* no answer to gets of this one */
    size_t lose;              /* this message to consumers is lost; 1: the next; 0: none */
    size_t lose_answer;       /* this answer to a request is lost; the same */
    size_t requests, gets, created, deleted, most_at_once;
    char last_create[1000];
} js;

static inline struct js_bucket *js_bucket(const char *name)
{
    for (size_t i = 0; i < js.bucket_count; i++)
        if (strcmp(js.buckets[i].name, name) == 0)
            return &js.buckets[i];
    return NULL;
}

static inline void js_make(const char *bucket)
{
    if (!js_bucket(bucket))
        js.buckets[js.bucket_count++] = (struct js_bucket){bucket, 0};
}

static inline struct js_entry *js_find(const char *bucket, const char *key)
{
    for (size_t i = 0; i < js.count; i++)
        if (strcmp(js.entries[i].bucket, bucket) == 0 && strcmp(js.entries[i].key, key) == 0)
            return &js.entries[i];
    return NULL;
}

static inline void js_put(const char *bucket, const char *key, const char *value)
{
    js_make(bucket);
    struct js_entry *e = js_find(bucket, key);
    if (e) /* the last of the bucket, then */
        memmove(e, e + 1, (size_t)((char *)&js.entries[js.count--] - (char *)(e + 1)));
    js.entries[js.count++] = (struct js_entry){bucket, key, value, ++js_bucket(bucket)->seq};
}

/* The bucket goes, with its consumers. */
static inline void js_drop(const char *bucket)
{
    size_t kept = 0;
    for (size_t i = 0; i < js.count; i++)
        if (strcmp(js.entries[i].bucket, bucket) != 0)
            js.entries[kept++] = js.entries[i];
    js.count = kept;
    for (size_t i = 0; i < js.consumer_count; i++)
        if (strcmp(js.consumers[i].bucket, bucket) == 0)
            js.consumers[i].gone = true;
    struct js_bucket *b = js_bucket(bucket);
    *b = js.buckets[--js.bucket_count];
}

static inline void js_reply(struct fake *net, const char *reply, const char *data, size_t n,
                            int status, const char *const *headers,
                            void (*deliver)(int sub, struct wcp_msg *m))
{
    struct wcp_msg m =
        fake_message(net, reply, NULL, (struct wcp_bytes){(const uint8_t *)data, n}, headers);
    m.status = status;
    deliver(fake_sub(net, "_INBOX.me.>"), &m);
    fake_done(net, &m);
}

/* Bucket of "<prefix>KV_<bucket>" and what follows. */
static inline bool js_split(const char *subject, const char *prefix, char bucket[128])
{
    size_t n = strlen(prefix);
    return strncmp(subject, prefix, n) == 0 && sscanf(subject + n, "KV_%127[^.]", bucket) == 1;
}

static inline void js_get(struct fake *net, const struct fake_msg *m, const char *bucket,
                          void (*deliver)(int sub, struct wcp_msg *m))
{
    static const char *const absent =
        "{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}";
    char key[256] = "", data[4000] = "", hdrs[100] = "", text[5000];
    CHECK(sscanf((const char *)m->data.ptr, "{\"last_by_subj\":\"$KV.%*[^.].%255[^\"]\"}", key) ==
          1);
    const struct js_entry *e = js_find(bucket, key);
    js.gets++;
    if (js.silent_key && strcmp(js.silent_key, key) == 0)
        return;
    if (!e) {
        js_reply(net, m->reply, absent, strlen(absent), 0, NULL, deliver);
        return;
    }
    const char *marker = "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n";
    if (e->value)
        sodium_bin2base64(data, sizeof data, (const uint8_t *)e->value, strlen(e->value),
                          sodium_base64_VARIANT_ORIGINAL);
    else
        sodium_bin2base64(hdrs, sizeof hdrs, (const uint8_t *)marker, strlen(marker),
                          sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof text, "{\"message\":{\"seq\":1%s%s%s%s%s%s}}",
             *hdrs ? ",\"hdrs\":\"" : "", hdrs, *hdrs ? "\"" : "", *data ? ",\"data\":\"" : "",
             data, *data ? "\"" : "");
    js_reply(net, m->reply, text, strlen(text), 0, NULL, deliver);
}

/* --- consumers --- */

static inline size_t js_pending(const struct js_consumer *c)
{
    size_t n = 0;
    for (size_t i = 0; i < js.count; i++)
        n += strcmp(js.entries[i].bucket, c->bucket) == 0 && js.entries[i].seq >= c->next;
    return n;
}

static inline bool js_is_heard(const struct fake *net, const struct js_consumer *c)
{
    return !c->gone && !net->subs[fake_sub(net, c->deliver)].left;
}

static inline void js_to_consumer(struct fake *net, const struct js_consumer *c,
                                  const char *subject, const char *reply, const char *data,
                                  int status, const char *const *headers,
                                  void (*deliver)(int sub, struct wcp_msg *m))
{
    if (js.lose && --js.lose == 0)
        return;
    struct wcp_msg m = fake_message(
        net, subject, reply, (struct wcp_bytes){(const uint8_t *)data, strlen(data)}, headers);
    m.status = status;
    deliver(fake_sub(net, c->deliver), &m);
    fake_done(net, &m);
}

/* False: it has had everything. */
static inline bool js_send_next(struct fake *net, struct js_consumer *c,
                                void (*deliver)(int sub, struct wcp_msg *m))
{
    static const char *const marker[] = {"KV-Operation", "DEL", NULL};
    for (size_t i = 0; i < js.count && js_is_heard(net, c); i++) {
        struct js_entry e = js.entries[i];
        char subject[400], reply[400];
        if (strcmp(e.bucket, c->bucket) != 0 || e.seq < c->next)
            continue;
        c->next = e.seq + 1;
        c->seq++;
        snprintf(subject, sizeof subject, "$KV.%s.%s", e.bucket, e.key);
        snprintf(reply, sizeof reply, "$JS.ACK.KV_%s.c.1.%" PRIu64 ".%" PRIu64 ".1700000000.%zu",
                 e.bucket, e.seq, c->seq, js_pending(c));
        js_to_consumer(net, c, subject, reply, e.value && !c->headers_only ? e.value : "", 0,
                       e.value ? NULL : marker, deliver);
        return true;
    }
    return false;
}

/* A heartbeat of each consumer; stalled: where it wants to be told that we are still there. */
static inline void js_heartbeat(struct fake *net, const char *stalled,
                                void (*deliver)(int sub, struct wcp_msg *m))
{
    for (size_t i = 0, n = js.consumer_count; i < n; i++) {
        struct js_consumer *c = &js.consumers[i];
        char last[24];
        const char *const headers[] = {"Nats-Last-Consumer", last,
                                       stalled ? "Nats-Consumer-Stalled" : NULL, stalled, NULL};
        snprintf(last, sizeof last, "%" PRIu64, c->seq);
        if (js_is_heard(net, c))
            js_to_consumer(net, c, c->deliver, NULL, "", 100, headers, deliver);
    }
}

static inline void js_create(struct fake *net, const struct fake_msg *m, const char *bucket,
                             void (*deliver)(int sub, struct wcp_msg *m))
{
    const char *json = (const char *)m->data.ptr, *at;
    struct js_consumer *c = &js.consumers[js.consumer_count++];
    char text[200];
    CHECK(js.consumer_count <= sizeof js.consumers / sizeof *js.consumers);
    js.created++;
    snprintf(js.last_create, sizeof js.last_create, "%s", json);
    *c = (struct js_consumer){.next = 1};
    snprintf(c->bucket, sizeof c->bucket, "%s", bucket);
    at = strstr(json, "\"deliver_subject\":\"");
    CHECK(at && sscanf(at, "\"deliver_subject\":\"%127[^\"]\"", c->deliver) == 1);
    at = strstr(json, "\"opt_start_seq\":");
    CHECK(!at || sscanf(at, "\"opt_start_seq\":%" SCNu64, &c->next) == 1);
    CHECK(!!at == !!strstr(json, "\"by_start_sequence\""));
    c->headers_only = strstr(json, "\"headers_only\":true") != NULL;
    if (js.late)
        js_send_next(net, c, deliver);
    snprintf(text, sizeof text,
             "{\"name\":\"c%zu\",\"num_pending\":%zu,\"delivered\":{\"consumer_seq\":%" PRIu64 "}}",
             js.consumer_count, js_pending(c), c->seq);
    js_reply(net, m->reply, text, strlen(text), 0, NULL, deliver);
}

/* --- answering --- */

static inline void js_answer(struct fake *net, const struct fake_msg *m,
                             void (*deliver)(int sub, struct wcp_msg *m))
{
    static const char *const no_stream =
        "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}";
    char bucket[128];
    bool get = js_split(m->subject, "$JS.API.STREAM.MSG.GET.", bucket);
    bool create = !get && js_split(m->subject, "$JS.API.CONSUMER.CREATE.", bucket);
    bool deletes = !get && !create && js_split(m->subject, "$JS.API.CONSUMER.DELETE.", bucket);
    js.requests++;
    if (js.lose_answer && --js.lose_answer == 0)
        return;
    if (js.off) {
        js_reply(net, m->reply, "", 0, 503, NULL, deliver);
    } else if (create && js.no_consumers && strcmp(js.no_consumers, bucket) == 0) {
        ;
    } else if (!get && !create && !deletes) {
        FAIL("an unknown request: %s", m->subject);
    } else if (!js_bucket(bucket)) {
        js_reply(net, m->reply, no_stream, strlen(no_stream), 0, NULL, deliver);
    } else if (get) {
        js_get(net, m, bucket, deliver);
    } else if (create) {
        js_create(net, m, bucket, deliver);
    } else {
        js.deleted++;
    }
}

/* Answers every request published so far, and those that follow from the answers, and sends all
 * that consumers have to get. Returns what was no request of JetStream's, the last one taken; or
 * NULL. */
static inline const struct fake_msg *js_run(struct fake *net,
                                            void (*deliver)(int sub, struct wcp_msg *m))
{
    for (bool sent = true; sent || net->seen < net->count;) {
        size_t waiting = net->count - net->seen;
        const struct fake_msg *found = fake_take(net);
        if (found && strncmp(found->subject, "$JS.API.", 8) != 0)
            return found;
        js.most_at_once = waiting > js.most_at_once ? waiting : js.most_at_once;
        if (found && !js.silent) {
            struct fake_msg copy = *found; /* the list moves when something is published */
            js_answer(net, &copy, deliver);
        }
        sent = false;
        for (size_t i = 0; i < js.consumer_count && !js.silent; i++)
            sent |= js_send_next(net, &js.consumers[i], deliver);
    }
    return NULL;
}

#endif

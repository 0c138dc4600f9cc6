/* fake_js.h: JetStream's key-value buckets for tests, answering what a fake transport recorded. */
#ifndef FAKE_JS_H
#define FAKE_JS_H

#include "fake_transport.h"
#include "test.h"
#include <sodium.h>

static struct fake_js {
    struct {
        const char *bucket, *key, *value; /* value NULL: deleted */
    } entries[200];
    size_t count;
    bool off;               /* nobody answers: 503 */
    bool silent;            /* nothing comes back */
    size_t page;            /* keys of one answer; 0: all */
    const char *silent_key; /* no answer to gets of this one */
    size_t requests, most_at_once;
} js;

static inline void js_put(const char *bucket, const char *key, const char *value)
{
    js.entries[js.count].bucket = bucket;
    js.entries[js.count].key = key;
    js.entries[js.count++].value = value;
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

/* Bucket and key of "<prefix>KV_<bucket>.$KV.<bucket>.<key>". */
static inline bool js_split(const char *subject, const char *prefix, char bucket[128],
                            char key[256])
{
    size_t n = strlen(prefix);
    if (strncmp(subject, prefix, n) != 0)
        return false;
    key[0] = '\0';
    return sscanf(subject + n, "KV_%127[^.].$KV.%*[^.].%255s", bucket, key) >= 1;
}

static inline int js_find(const char *bucket, const char *key)
{
    for (size_t i = 0; i < js.count; i++)
        if (strcmp(js.entries[i].bucket, bucket) == 0 && strcmp(js.entries[i].key, key) == 0)
            return (int)i;
    return -1;
}

static inline bool js_has(const char *bucket)
{
    for (size_t i = 0; i < js.count; i++)
        if (strcmp(js.entries[i].bucket, bucket) == 0)
            return true;
    return false;
}

static inline void js_list(struct fake *net, const struct fake_msg *m, const char *bucket,
                           void (*deliver)(int sub, struct wcp_msg *m))
{
    struct wcp_buf b = {0};
    size_t offset = 0, total = 0, given = 0;
    const char *at = strstr((const char *)m->data.ptr, "\"offset\":");
    CHECK(at && sscanf(at, "\"offset\":%zu", &offset) == 1);
    for (size_t i = 0; i < js.count; i++)
        total += strcmp(js.entries[i].bucket, bucket) == 0;
    wcp_buf_fmt(&b, "{\"type\":\"x\",\"total\":%zu,\"offset\":%zu,\"state\":{\"subjects\":{", total,
                offset);
    for (size_t i = 0, k = 0; i < js.count; i++) {
        if (strcmp(js.entries[i].bucket, bucket) != 0 || k++ < offset ||
            (js.page && given == js.page))
            continue;
        wcp_buf_fmt(&b, "%s\"$KV.%s.%s\":1", given++ ? "," : "", bucket, js.entries[i].key);
    }
    wcp_buf_fmt(&b, "}}}");
    js_reply(net, m->reply, (const char *)b.ptr, b.len, 0, NULL, deliver);
    wcp_buf_free(&b);
}

static inline void js_message(struct fake *net, const struct fake_msg *m, const char *bucket,
                              void (*deliver)(int sub, struct wcp_msg *m))
{
    static const char *const absent =
        "{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}";
    char key[256] = "", data[4000] = "", hdrs[100] = "", text[5000];
    CHECK(sscanf((const char *)m->data.ptr, "{\"last_by_subj\":\"$KV.%*[^.].%255[^\"]\"}", key) ==
          1);
    int i = js_find(bucket, key);
    if (js.silent_key && strcmp(js.silent_key, key) == 0)
        return;
    if (i < 0) {
        js_reply(net, m->reply, absent, strlen(absent), 0, NULL, deliver);
        return;
    }
    const char *value = js.entries[i].value, *marker = "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n";
    if (value)
        sodium_bin2base64(data, sizeof data, (const uint8_t *)value, strlen(value),
                          sodium_base64_VARIANT_ORIGINAL);
    else
        sodium_bin2base64(hdrs, sizeof hdrs, (const uint8_t *)marker, strlen(marker),
                          sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof text, "{\"message\":{\"seq\":1%s%s%s%s%s%s}}",
             *hdrs ? ",\"hdrs\":\"" : "", hdrs, *hdrs ? "\"" : "", *data ? ",\"data\":\"" : "",
             data, *data ? "\"" : "");
    js_reply(net, m->reply, text, strlen(text), 0, NULL, deliver);
}

/* Answers every request published so far, and those that follow from the answers. False: it was no
 * request of JetStream's; it is the last one taken. */
static inline const struct fake_msg *js_run(struct fake *net,
                                            void (*deliver)(int sub, struct wcp_msg *m))
{
    for (;;) {
        static const char *const no_stream =
            "{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}";
        size_t waiting = net->count - net->seen;
        const struct fake_msg *found = fake_take(net);
        char bucket[128], key[256];
        if (!found || strncmp(found->subject, "$JS.API.", 8) != 0)
            return found;
        js.most_at_once = waiting > js.most_at_once ? waiting : js.most_at_once;
        js.requests++;
        struct fake_msg copy = *found, *m = &copy; /* the list moves when something is published */
        if (js.silent)
            continue;
        if (js.off) {
            js_reply(net, m->reply, "", 0, 503, NULL, deliver);
        } else if (js_split(m->subject, "$JS.API.STREAM.INFO.", bucket, key)) {
            if (js_has(bucket))
                js_list(net, m, bucket, deliver);
            else
                js_reply(net, m->reply, no_stream, strlen(no_stream), 0, NULL, deliver);
        } else if (js_split(m->subject, "$JS.API.STREAM.MSG.GET.", bucket, key)) {
            if (js_has(bucket))
                js_message(net, m, bucket, deliver);
            else
                js_reply(net, m->reply, no_stream, strlen(no_stream), 0, NULL, deliver);
        } else {
            FAIL("an unknown request: %s", m->subject);
        }
    }
}

#endif

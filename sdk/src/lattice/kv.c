/* kv.c: JetStream's key-value buckets by plain requests, which never block (jetstream.md). */
#include "lattice/kv.h"
#include "lattice/json.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 2000

#define NO_STREAM  10059 /* err_code of JetStream's API */
#define NO_MESSAGE 10037

bool kv_key_is_valid(const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < n; i++) {
        char c = key[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr("-/_=", c) || (c == '.' && i > 0 && i + 1 < n && key[i - 1] != '.');
        if (!good)
            return false;
    }
    return n > 0;
}

void kv_request(const struct kv *kv, const char *what, const char *bucket,
                const struct wcp_buf *json,
                void (*done)(void *ctx, const struct wcp_msg *m, int status), void *ctx)
{
    struct wcp_buf subject = {0};
    wcp_buf_fmt(&subject, "$JS%s%s.API.%s.KV_%s%c", kv->domain ? "." : "",
                kv->domain ? kv->domain : "", what, bucket, 0);
    rpc_request(
        kv->rpc,
        &(struct wcp_msg){.subject = (const char *)subject.ptr, .data = {json->ptr, json->len}},
        TIMEOUT_MS, done, ctx);
    wcp_buf_free(&subject);
}

int kv_answer(const struct wcp_msg *m, int status, struct json_object **out, struct wcp_err *err)
{
    int64_t code = 0, err_code = 0;
    struct json_object *error = NULL;
    char *text = NULL;
    if (status == WCP_ETIMEOUT)
        return wcp_fail(err, status,
                        "JetStream did not answer within %d ms: is it busy, or may this "
                        "user not publish $JS.API.>?",
                        TIMEOUT_MS);
    if (status)
        return wcp_fail(err, status, "the connection was lost");
    if (m->status)
        return wcp_fail(err, WCP_EIO,
                        "nobody answers for JetStream (status %d): it is off, or in another domain "
                        "(--js-domain); nats-server -js starts it",
                        m->status);
    int rc = json_parse(m->data, out, err);
    if (rc)
        return wcp_wrap(err, "JetStream's answer");
    if (member_object(*out, "error", &error, NULL) || !error)
        return 0;
    (void)member_integer(error, "code", &code, NULL); /* whatever is there, for the message */
    (void)member_integer(error, "err_code", &err_code, NULL);
    (void)member_text(error, "description", &text, NULL);
    rc = err_code == NO_STREAM || err_code == NO_MESSAGE ? WCP_ENOENT : WCP_EIO;
    wcp_fail(err, rc, "JetStream says: %.100s (code %lld, %lld)", text ? text : "error",
             (long long)code, (long long)err_code);
    free(text);
    json_object_put(*out);
    *out = NULL;
    return rc;
}

/* --- get: by STREAM.MSG.GET, not DIRECT.GET: that one is answered by any replica, which may be
 * behind, and not answered at all (no 503 either) by streams that do not allow it --- */

struct get {
    char *bucket, *key;
    void (*done)(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err);
    void *ctx;
};

static void end_get(struct get *g, const struct wcp_bytes *value, struct wcp_err *err)
{
    if (err)
        wcp_wrap(err, "bucket %s, key %s", g->bucket, g->key);
    g->done(g->ctx, value, err);
    free(g->bucket);
    free(g->key);
    free(g);
}

/* *out: owned; an absent member is empty. */
static int from_base64(struct json_object *message, const char *member, uint8_t **out, size_t *len,
                       struct wcp_err *err)
{
    char *text = NULL;
    int rc = member_text(message, member, &text, err);
    size_t n = text ? strlen(text) : 0;
    *out = wcp_calloc(n + 1, 1);
    if (!rc && n &&
        sodium_base642bin(*out, n, text, n, NULL, len, NULL, sodium_base64_VARIANT_ORIGINAL))
        rc = wcp_fail(err, WCP_EPROTO, "JetStream's answer: %s is not base64", member);
    free(text);
    return rc;
}

static void on_get(void *ctx, const struct wcp_msg *m, int status)
{
    struct get *g = ctx;
    struct wcp_err err = {0};
    struct json_object *o = NULL, *message = NULL;
    uint8_t *headers = NULL, *data = NULL;
    size_t headers_len = 0, n = 0;
    int rc = kv_answer(m, status, &o, &err);
    if (!rc && !(rc = member_object(o, "message", &message, &err)) && !message)
        rc = wcp_fail(&err, WCP_EPROTO, "JetStream's answer has no message");
    if (!rc)
        rc = from_base64(message, "hdrs", &headers, &headers_len, &err);
    if (!rc)
        rc = from_base64(message, "data", &data, &n, &err);
    if (rc == WCP_ENOENT || (!rc && memmem(headers, headers_len, "\r\nKV-Operation:", 15)))
        end_get(g, NULL, NULL); /* no such message or bucket, or a marker of a deletion */
    else
        end_get(g, rc ? NULL : &(struct wcp_bytes){data, n}, rc ? &err : NULL);
    free(headers);
    free(data);
    json_object_put(o);
}

void kv_get(const struct kv *kv, const char *bucket, const char *key,
            void (*done)(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err),
            void *ctx)
{
    struct get *g = wcp_calloc(1, sizeof *g);
    struct wcp_buf json = {0};
    *g = (struct get){wcp_str_dup(wcp_str(bucket)), wcp_str_dup(wcp_str(key)), done, ctx};
    wcp_buf_fmt(&json, "{\"last_by_subj\":\"$KV.%s.%s\"}", bucket, key);
    kv_request(kv, "STREAM.MSG.GET", bucket, &json, on_get, g);
    wcp_buf_free(&json);
}

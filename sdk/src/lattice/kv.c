/* kv.c: JetStream's key-value buckets by plain requests, which never block (jetstream.md). */
#include "lattice/kv.h"
#include "lattice/json.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 2000
#define KEYS_MAX   1000000

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

static void request(struct rpc *r, struct wcp_buf *subject, const char *json,
                    void (*done)(void *ctx, const struct wcp_msg *m, int status), void *ctx)
{
    wcp_buf_put(subject, "", 1);
    rpc_request(r,
                &(struct wcp_msg){.subject = (const char *)subject->ptr,
                                  .data = {(const uint8_t *)json, strlen(json)}},
                TIMEOUT_MS, done, ctx);
    wcp_buf_free(subject);
}

/* The answer of JetStream's API as JSON; an error in it is an error here. */
static int api_answer(const struct wcp_msg *m, int status, struct json_object **out,
                      struct wcp_err *err)
{
    int64_t code = 0, err_code = 0;
    struct json_object *error = NULL;
    char *text = NULL;
    if (status == WCP_ETIMEOUT)
        return wcp_fail(err, status, "JetStream did not answer within %d ms", TIMEOUT_MS);
    if (status)
        return wcp_fail(err, status, "the connection was lost");
    if (m->status)
        return wcp_fail(err, WCP_EIO, "JetStream is not there (status %d)", m->status);
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

/* --- list: the subjects of the stream, a page at a time --- */

struct list {
    struct rpc *rpc;
    char *bucket;
    struct strings keys;
    int64_t offset;
    void (*done)(void *ctx, struct strings *keys, const struct wcp_err *err);
    void *ctx;
};

static void on_list(void *ctx, const struct wcp_msg *m, int status);

static void ask_list(struct list *l)
{
    struct wcp_buf subject = {0}, json = {0};
    wcp_buf_fmt(&subject, "$JS.API.STREAM.INFO.KV_%s", l->bucket);
    wcp_buf_fmt(&json, "{\"subjects_filter\":\"$KV.%s.>\",\"offset\":%lld}%c", l->bucket,
                (long long)l->offset, 0);
    request(l->rpc, &subject, (const char *)json.ptr, on_list, l);
    wcp_buf_free(&json);
}

static void end_list(struct list *l, const struct wcp_err *err)
{
    l->done(l->ctx, &l->keys, err);
    strings_free(&l->keys);
    free(l->bucket);
    free(l);
}

static int add_page(struct list *l, struct json_object *o, bool *more, struct wcp_err *err)
{
    struct json_object *state = NULL, *subjects = NULL;
    int64_t total = 0, page = 0;
    size_t prefix = strlen("$KV.") + strlen(l->bucket) + 1;
    int rc = member_object(o, "state", &state, err);
    if (!rc && state)
        rc = member_object(state, "subjects", &subjects, err);
    if (!rc)
        rc = member_integer(o, "total", &total, err);
    if (rc)
        return rc;
    if (subjects) {
        json_object_object_foreach(subjects, subject, count)
        {
            (void)count;
            page++;
            if (strlen(subject) > prefix)
                strings_put(&l->keys, subject + prefix);
        }
    }
    if (l->keys.n > KEYS_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "more than %d keys", KEYS_MAX);
    l->offset += page;
    *more = page > 0 && l->offset < total;
    return 0;
}

static void on_list(void *ctx, const struct wcp_msg *m, int status)
{
    struct list *l = ctx;
    struct wcp_err err = {0};
    struct json_object *o = NULL;
    bool more = false;
    int rc = api_answer(m, status, &o, &err);
    if (!rc)
        rc = add_page(l, o, &more, &err);
    json_object_put(o);
    if (rc)
        wcp_wrap(&err, "bucket %s", l->bucket);
    if (!rc && more)
        ask_list(l);
    else
        end_list(l, rc ? &err : NULL);
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
    int rc = api_answer(m, status, &o, &err);
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

void kv_list(struct rpc *r, const char *bucket,
             void (*done)(void *ctx, struct strings *keys, const struct wcp_err *err), void *ctx)
{
    struct list *l = wcp_calloc(1, sizeof *l);
    *l = (struct list){r, wcp_str_dup(wcp_str(bucket)), {0}, 0, done, ctx};
    ask_list(l);
}

void kv_get(struct rpc *r, const char *bucket, const char *key,
            void (*done)(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err),
            void *ctx)
{
    struct get *g = wcp_calloc(1, sizeof *g);
    struct wcp_buf subject = {0}, json = {0};
    *g = (struct get){wcp_str_dup(wcp_str(bucket)), wcp_str_dup(wcp_str(key)), done, ctx};
    wcp_buf_fmt(&subject, "$JS.API.STREAM.MSG.GET.KV_%s", bucket);
    wcp_buf_fmt(&json, "{\"last_by_subj\":\"$KV.%s.%s\"}%c", bucket, key, 0);
    request(r, &subject, (const char *)json.ptr, on_get, g);
    wcp_buf_free(&json);
}

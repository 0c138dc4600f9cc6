/* kv.h: JetStream's key-value buckets by plain requests, which never block (jetstream.md). */
#ifndef KV_H
#define KV_H

#include <wcp/base.h>
#include "rpc/rpc.h"

struct json_object;

struct kv {
    struct rpc *rpc;
    const char *domain; /* of JetStream; NULL: the server's own. Outlives the requests */
};

/* Each calls done exactly once, never before it returns. There is no cancelling: who may be gone
 * by then gives a ctx that is not. err NULL: it went well. WCP_ENOENT: no such bucket; others:
 * JetStream does not answer as it should, and another try may help. */

/* value NULL and err NULL: the key, or the bucket, is absent. key must be valid. value lives until
 * done returns. */
void kv_get(const struct kv *kv, const char *bucket, const char *key,
            void (*done)(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err),
            void *ctx);
bool kv_key_is_valid(const char *key);

/* A request of JetStream's API about a bucket, what: "STREAM.MSG.GET", and what its answer says:
 * *out is the JSON, whose error would be an error here. */
void kv_request(const struct kv *kv, const char *what, const char *bucket,
                const struct wcp_buf *json,
                void (*done)(void *ctx, const struct wcp_msg *m, int status), void *ctx);
int kv_answer(const struct wcp_msg *m, int status, struct json_object **out, struct wcp_err *err);

#endif

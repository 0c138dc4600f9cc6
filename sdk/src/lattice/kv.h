/* kv.h: JetStream's key-value buckets by plain requests, which never block (jetstream.md). */
#ifndef KV_H
#define KV_H

#include "lattice/linkdef.h"
#include "rpc/rpc.h"

/* Each calls done exactly once, never before it returns. There is no cancelling: who may be gone
 * by then gives a ctx that is not. err NULL: it went well. WCP_ENOENT: no such bucket; others:
 * JetStream does not answer as it should, and another try may help. */

/* All keys of bucket, also deleted ones; done may take the content of *keys. */
void kv_list(struct rpc *r, const char *bucket,
             void (*done)(void *ctx, struct strings *keys, const struct wcp_err *err), void *ctx);
/* value NULL and err NULL: the key is absent. key must be valid. value lives until done returns. */
void kv_get(struct rpc *r, const char *bucket, const char *key,
            void (*done)(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err),
            void *ctx);
bool kv_key_is_valid(const char *key);

#endif

/* watch.h: what a key-value bucket holds, and what becomes of it: an ordered push consumer, which
 * is made again whenever in doubt (jetstream.md). */
#ifndef LATTICE_WATCH_H
#define LATTICE_WATCH_H

#include "lattice/kv.h"

struct kv_watch;

/* None of the callbacks may free the watch. begin comes within kv_watch_new, nothing else does. */
struct kv_watch_config {
    struct kv kv;
    const char *bucket; /* outlives the watch */
    bool headers_only;  /* values are not sent: each is empty */
    /* What was told before may be wrong: all that the bucket holds comes anew, and then whole. */
    void (*begin)(void *ctx);
    /* value NULL: the key was deleted. It lives during the call. */
    void (*entry)(void *ctx, const char *key, const struct wcp_bytes *value);
    /* All that is in the bucket has come. older: it has lost writes that we had seen before, or was
     * gone in the meantime. */
    void (*whole)(void *ctx, bool older);
    /* It cannot be watched now (WCP_ENOENT: there is no such bucket). It is tried again after 2 s,
     * and ever more rarely, at last once a minute. */
    void (*failed)(void *ctx, const struct wcp_err *err);
    void *ctx;
};

struct kv_watch *kv_watch_new(const struct kv_watch_config *c);
void kv_watch_free(struct kv_watch *w);
/* Somebody hints that what failed may work now: it is tried again within a second. */
void kv_watch_hint(struct kv_watch *w);
void kv_watch_disconnected(struct kv_watch *w); /* after rpc_disconnected */
void kv_watch_reconnected(struct kv_watch *w);

/* What the reply subject of a consumer's message says. False: it is not one of that bucket's. */
struct kv_ack {
    uint64_t stream_seq, consumer_seq, pending;
};
bool kv_ack_parse(const char *reply, const char *bucket, struct kv_ack *out);

#endif

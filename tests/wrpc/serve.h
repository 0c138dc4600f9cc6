/* serve.h: the serving half. */
#ifndef SERVE_H
#define SERVE_H

#include "peer.h"
#include <blobstore_blobstore.h>
#include <http_incoming_handler.h>
#include <http_outgoing_handler.h>
#include <keyvalue_atomics.h>
#include <keyvalue_batch.h>
#include <keyvalue_store.h>
#include <keyvalue_watcher.h>

/* The handlers of wasmCloud's interfaces (serve_wasi.c). */
extern const struct keyvalue_store serve_store;
extern const struct keyvalue_atomics serve_atomics;
extern const struct keyvalue_batch serve_batch;
extern const struct keyvalue_watcher serve_watcher;
extern const struct http_incoming_handler serve_incoming;
extern const struct http_outgoing_handler serve_outgoing;
extern const struct blobstore_blobstore serve_blobstore;

/* A stream of n bytes of the pattern; it breaks off behind them if it is told to. */
union wcp_async serve_pattern(size_t n, bool breaks);
/* What comes from `from` goes on into a new stream or future of elem. map (NULL: as it is) writes
 * what n items become. */
union wcp_async serve_relay(union wcp_async from, const struct wcp_type *elem,
                            void (*map)(struct wcp_out *to, const void *items, size_t n));
/* Reads a stream<u8> to its end: done gets how many bytes were as the pattern has them, up to the
 * first that was not, and as which status it ended. */
void serve_match(union wcp_async from, void (*done)(void *ctx, size_t n, int status), void *ctx);

#endif

/* vec.h: a provider for tests, in parts. */
#ifndef VEC_H
#define VEC_H

#include <blobstore_blobstore.h>
#include <http_incoming_handler.h>
#include <http_outgoing_handler.h>
#include <keyvalue_atomics.h>
#include <keyvalue_batch.h>
#include <keyvalue_store.h>
#include <keyvalue_watcher.h>
#include <vec_api.h>
#include <vec_echo.h>
#include <vec_tests.h>

extern const struct vec_echo vec_echo_handlers; /* echo.c */

/* wasmcloud.c */
extern const struct keyvalue_store vec_store;
extern const struct keyvalue_atomics vec_atomics;
extern const struct keyvalue_batch vec_batch;
extern const struct keyvalue_watcher vec_watcher;
extern const struct http_incoming_handler vec_incoming;
extern const struct http_outgoing_handler vec_outgoing;
extern const struct blobstore_blobstore vec_blobstore;

/* --- streams.c: what these make frees itself when it has ended --- */

struct relay; /* from a stream or future that comes in to one that goes out */

/* Reads in by h, whose functions get a struct relay, to a new stream or future of elem. */
union wcp_async relay(union wcp_async in, const struct wcp_type *elem,
                      const struct wcp_in_handler *h);
void relay_give(struct relay *r, const void *items, size_t n);
/* The end function of a handler: goes on, and is the end of r. */
void relay_end(void *ctx, int status);
extern const struct wcp_in_handler relay_same; /* gives what it gets */

/* A stream of n bytes: zeros, or pattern(0), pattern(1) ... It breaks off behind them if told to.
 */
union wcp_async source(uint64_t n, bool zeros, bool breaks);
uint8_t pattern(uint64_t i);

#endif

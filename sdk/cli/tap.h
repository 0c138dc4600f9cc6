/* tap.h: calls put together from the messages that pass by (wrpc.md §2), without taking part. */
#ifndef TAP_H
#define TAP_H

#include "cli/recording.h"

struct tap;

struct tap_config {
    const char *lattice, *id; /* whose calls; they outlive the tap */
    size_t max_bytes;         /* of one call; a larger one is RECORDED_TRUNCATED */
    /* A call is over; it lives for this call only. */
    void (*ended)(void *ctx, const struct recorded *c);
    void *ctx;
};

struct tap_stats {
    uint64_t seen;    /* invocations that were taken; each has the count so far as its number */
    uint64_t refused; /* without a reply subject, or with what no recording holds */
};

struct tap *tap_new(const struct tap_config *c);
void tap_free(struct tap *t); /* what is open is forgotten */

/* The times are microseconds: now_us of a clock that only runs forward, time_us since 1970. */

/* A message on "<lattice>.<id>.wrpc.0.0.1.>". */
void tap_invocation(struct tap *t, const struct wcp_msg *m, const struct wcp_header *headers,
                    size_t header_count, uint64_t now_us, uint64_t time_us);
/* A message on any inbox. False: it belongs to no call that is open. */
bool tap_inbox(struct tap *t, const struct wcp_msg *m, uint64_t now_us);
/* Ends the calls in which nothing moves any more; every 100 ms or so. */
void tap_tick(struct tap *t, uint64_t now_us);
/* Messages may be missing from now on, or nothing more will come: ends all that is open. */
void tap_cut(struct tap *t);
size_t tap_open(const struct tap *t);
size_t tap_moving(const struct tap *t); /* those that wait for the end of a channel */
const struct tap_stats *tap_stats(const struct tap *t);

#endif

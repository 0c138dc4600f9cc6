/* redis_queue.h: the unanswered commands of a connection, in the order of the pipeline:
 *     [ late: given up, answer still to come | sent | not yet handed to hiredis ]
 * The texts of those that are not yet handed over wait in out. */
#ifndef REDIS_QUEUE_H
#define REDIS_QUEUE_H

#include "hiredis.h"

struct redis_pending {
    redis_done *done; /* NULL: late */
    void *ctx;
    uint64_t deadline;
    size_t bytes; /* of its text */
};

/* Zero-initialise it. late <= sent <= count. */
struct redis_queue {
    struct redis_pending *ring; /* capacity a power of two */
    size_t capacity, first, count, late, sent;
    size_t bytes; /* of all */
    struct wcp_buf out;
    size_t out_from; /* before that: texts that are no longer needed */
};

/* Appends a command; copies argv. */
void queue_push(struct redis_queue *q, redis_done *done, void *ctx, uint64_t deadline, size_t argc,
                const struct wcp_bytes *argv);
struct redis_pending *queue_nth(struct redis_queue *q, size_t i);
struct redis_pending
queue_pop(struct redis_queue *q); /* the first; the caller keeps late and sent right */
void queue_close(struct redis_queue *q);

#endif

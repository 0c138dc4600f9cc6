/* redis_queue.c: the unanswered commands of a connection, in the order of the pipeline. */
#include "redis_queue.h"
#include <assert.h>
#include <stdlib.h>

struct redis_pending *queue_nth(struct redis_queue *q, size_t i)
{
    return &q->ring[(q->first + i) & (q->capacity - 1)];
}

/* "$12\r\n" */
static void put_count(struct wcp_buf *b, char kind, size_t n)
{
    char text[24];
    size_t i = sizeof text;
    text[--i] = '\n';
    text[--i] = '\r';
    do
        text[--i] = (char)('0' + n % 10);
    while (n /= 10);
    text[--i] = kind;
    wcp_buf_put(b, text + i, sizeof text - i);
}

void queue_push(struct redis_queue *q, redis_done *done, void *ctx, uint64_t deadline, size_t argc,
                const struct wcp_bytes *argv)
{
    size_t before = q->out.len;
    put_count(&q->out, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        put_count(&q->out, '$', argv[i].len);
        wcp_buf_put(&q->out, argv[i].ptr, argv[i].len);
        wcp_buf_put(&q->out, "\r\n", 2);
    }
    if (q->count == q->capacity) {
        size_t n = q->capacity ? q->capacity * 2 : 16;
        struct redis_pending *ring = wcp_calloc(n, sizeof *ring);
        for (size_t i = 0; i < q->count; i++)
            ring[i] = *queue_nth(q, i);
        free(q->ring);
        q->ring = ring;
        q->capacity = n;
        q->first = 0;
    }
    size_t bytes = q->out.len - before;
    *queue_nth(q, q->count++) = (struct redis_pending){done, ctx, deadline, bytes};
    q->bytes += bytes;
}

struct redis_pending queue_pop(struct redis_queue *q)
{
    assert(q->count > 0);
    struct redis_pending p = *queue_nth(q, 0);
    q->first = (q->first + 1) & (q->capacity - 1);
    q->count--;
    q->bytes -= p.bytes;
    return p;
}

void queue_close(struct redis_queue *q)
{
    wcp_buf_free(&q->out);
    free(q->ring);
    *q = (struct redis_queue){0};
}

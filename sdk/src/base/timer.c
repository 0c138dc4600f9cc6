/* timer.c: deadlines in a binary heap. */
#include "base/timer.h"
#include <stdlib.h>
#include <wcp/base.h>

/* Positions are 1-based: the children of i are 2i and 2i + 1. */
static struct timer *at(const struct timers *ts, size_t pos)
{
    return ts->heap[pos - 1];
}

static void place(struct timers *ts, struct timer *t, size_t pos)
{
    ts->heap[pos - 1] = t;
    t->pos = pos;
}

/* Puts t where it belongs, starting from the free place pos. */
static void sift(struct timers *ts, struct timer *t, size_t pos)
{
    for (; pos > 1 && t->at < at(ts, pos / 2)->at; pos /= 2)
        place(ts, at(ts, pos / 2), pos);
    for (size_t child; (child = 2 * pos) <= ts->n; pos = child) {
        if (child < ts->n && at(ts, child + 1)->at < at(ts, child)->at)
            child++;
        if (t->at <= at(ts, child)->at)
            break;
        place(ts, at(ts, child), pos);
    }
    place(ts, t, pos);
}

void timers_set(struct timers *ts, struct timer *t, uint64_t when)
{
    if (!t->pos) {
        if (ts->n == ts->cap) {
            ts->cap = ts->cap ? 2 * ts->cap : 16;
            ts->heap = wcp_realloc(ts->heap, ts->cap * sizeof(struct timer *));
        }
        place(ts, t, ++ts->n);
    }
    t->at = when;
    sift(ts, t, t->pos);
}

void timers_clear(struct timers *ts, struct timer *t)
{
    size_t pos = t->pos;
    if (!pos)
        return;
    struct timer *last = at(ts, ts->n--);
    t->pos = 0;
    if (last != t)
        sift(ts, last, pos);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->n ? at(ts, 1)->at : TIMER_NEVER;
}

void timers_fire(struct timers *ts, uint64_t now)
{
    /* At most as many as there are now: a function that sets its timer to the past again is called
     * once per turn, not for ever. */
    for (size_t left = ts->n; left && timers_next(ts) <= now; left--) {
        struct timer *t = at(ts, 1);
        timers_clear(ts, t);
        t->fn(t);
    }
}

void timers_close(struct timers *ts)
{
    while (ts->n)
        timers_clear(ts, at(ts, ts->n));
    free(ts->heap);
    *ts = (struct timers){0};
}

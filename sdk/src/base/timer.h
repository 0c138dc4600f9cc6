/* timer.h: deadlines, ordered by time in a heap. The clock is the caller's: milliseconds. */
#ifndef TIMER_H
#define TIMER_H

#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t at;
    size_t pos; /* 1-based place in the heap; 0: not set */
    void (*fn)(struct timer *t);
};
struct timers {
    struct timer **heap;
    size_t n, cap;
};

#define TIMER_NEVER UINT64_MAX

void timers_set(struct timers *ts, struct timer *t, uint64_t at); /* sets or moves */
void timers_clear(struct timers *ts, struct timer *t);            /* no-op when not set */
uint64_t timers_next(const struct timers *ts); /* TIMER_NEVER when there is none */
/* Runs every timer that is due; a timer is unset before its function runs, which may set it again.
 */
void timers_fire(struct timers *ts, uint64_t now);
void timers_close(struct timers *ts);

#endif

/* test_timer.c: the heap of deadlines. */
#include "base/timer.h"
#include "test.h"

static struct timers ts;
static uint64_t fired[2000];
static size_t fired_count;

static void note(struct timer *t)
{
    CHECK_INT(t->pos, 0); /* unset before its function runs */
    fired[fired_count++] = t->at;
}

static void note_and_set_to_the_past(struct timer *t)
{
    note(t);
    timers_set(&ts, t, 0);
}

static struct timer *other;

static void note_and_clear_other(struct timer *t)
{
    note(t);
    timers_clear(&ts, other);
}

TEST(without_timers_there_is_nothing_to_wait_for)
{
    struct timer t = {.fn = note};
    CHECK(timers_next(&ts) == TIMER_NEVER);
    timers_fire(&ts, 100);
    timers_clear(&ts, &t); /* not set */
    timers_close(&ts);
}

TEST(timers_fire_in_order_and_not_too_early)
{
    enum { N = 1000 };
    struct timer t[N] = {0};
    uint64_t seed = 1;
    for (size_t i = 0; i < N; i++) {
        t[i].fn = note;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        timers_set(&ts, &t[i], seed >> 54);
    }
    for (size_t i = 0; i < N; i += 3) /* moved, both ways */
        timers_set(&ts, &t[i], 1023 - t[i].at);
    for (size_t i = 0; i < N; i += 5)
        timers_clear(&ts, &t[i]);
    size_t left = ts.n;
    CHECK_INT(left, N - N / 5);
    for (uint64_t now = 0; now <= 1023; now++) {
        uint64_t next = timers_next(&ts);
        size_t before = fired_count;
        timers_fire(&ts, now);
        for (size_t i = before; i < fired_count; i++)
            CHECK_INT(fired[i], now);
        CHECK_INT(fired_count > before, next == now);
    }
    CHECK_INT(fired_count, left);
    CHECK(timers_next(&ts) == TIMER_NEVER);
    timers_close(&ts);
}

TEST(a_timer_set_to_the_past_runs_once_per_turn)
{
    struct timer t = {.fn = note_and_set_to_the_past};
    timers_set(&ts, &t, 5);
    timers_fire(&ts, 4);
    CHECK_INT(fired_count, 0);
    timers_fire(&ts, 5);
    CHECK_INT(fired_count, 1);
    CHECK_INT(timers_next(&ts), 0);
    timers_fire(&ts, 5);
    CHECK_INT(fired_count, 2);
    timers_close(&ts);
    CHECK_INT(t.pos, 0);
}

TEST(a_timer_can_clear_another_that_is_due)
{
    struct timer a = {.fn = note_and_clear_other}, b = {.fn = note};
    other = &b;
    timers_set(&ts, &a, 1);
    timers_set(&ts, &b, 2);
    timers_fire(&ts, 10);
    CHECK_INT(fired_count, 1);
    CHECK_INT(b.pos, 0);
    timers_close(&ts);
}

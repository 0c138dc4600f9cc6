/* test_tap.c: calls put together from messages, and when they are over. */
#include "cli/tap.h"
#include "test.h"
#include <stdio.h>
#include <string.h>

#define SECOND   UINT64_C(1000000)
#define FUNCTION "default.kv.wrpc.0.0.1.a:b/c.d"

static struct tap *t;
static char ended[2000]; /* "number:ending:results " */

static void on_ended(void *ctx, const struct recorded *c)
{
    size_t n = strlen(ended);
    snprintf(ended + n, sizeof ended - n, "%d:%s:%.*s ", (int)c->number,
             recorded_end_texts[c->ended], (int)c->results.len, (const char *)c->results.ptr);
}

static void begin(size_t max_bytes)
{
    ended[0] = '\0';
    t = tap_new(&(struct tap_config){
        .lattice = "default", .id = "kv", .max_bytes = max_bytes, .ended = on_ended});
}

static void end(const char *expected)
{
    CHECK_STR(ended, expected);
    tap_free(t);
}

static struct wcp_msg message(const char *subject, const char *reply, const char *data)
{
    return (struct wcp_msg){
        .subject = subject, .reply = reply, .data = {(const uint8_t *)data, strlen(data)}};
}

static void invoke(const char *reply, uint64_t now)
{
    struct wcp_msg m = message(FUNCTION, reply, "p");
    tap_invocation(t, &m, NULL, 0, now, 1);
}

static void inbox(const char *subject, const char *reply, const char *data, uint64_t now)
{
    struct wcp_msg m = message(subject, reply, data);
    CHECK(tap_inbox(t, &m, now));
}

/* A whole call of a result without streams. */
static void whole(uint64_t now)
{
    invoke("c", now);
    inbox("c", "s", "", now);
    inbox("s.params", NULL, "", now);
    inbox("c.results", NULL, "r", now);
    inbox("c.results", NULL, "", now);
}

TEST(a_call_that_has_ended_waits_a_little_for_more)
{
    begin(100);
    whole(0);
    CHECK_INT(tap_moving(t), 0);
    tap_tick(t, 3 * SECOND - 1);
    CHECK_STR(ended, "");
    tap_tick(t, 3 * SECOND);
    CHECK_INT(tap_open(t), 0);
    struct wcp_msg late = message("c.results", NULL, "x");
    CHECK(!tap_inbox(t, &late, 3 * SECOND));
    end("1:complete:r ");
}

TEST(a_stream_that_begins_holds_its_call)
{
    begin(100);
    whole(0);
    inbox("c.results.0", NULL, "\1a", 2 * SECOND);
    CHECK_INT(tap_moving(t), 1);
    tap_tick(t, 31 * SECOND);
    CHECK_STR(ended, "");
    inbox("c.results.0", NULL, "", 31 * SECOND);
    tap_tick(t, 34 * SECOND);
    end("1:complete:r ");
}

TEST(a_call_in_which_nothing_moves_is_over_some_time)
{
    begin(100);
    invoke("a", 0); /* nobody accepts */
    invoke("b", 0); /* accepted only */
    inbox("b", "sb", "", SECOND);
    invoke("d", 0); /* a result without its end */
    inbox("d.results", NULL, "r", 2 * SECOND);
    tap_tick(t, 30 * SECOND - 1);
    CHECK_STR(ended, "");
    tap_tick(t, 30 * SECOND);
    tap_tick(t, 31 * SECOND);
    tap_tick(t, 32 * SECOND);
    end("1:no answer: 2:no answer: 3:cut:r ");
}

TEST(a_status_is_no_answer)
{
    begin(100);
    invoke("a", 0);
    inbox("a", NULL, "", 1);
    tap_tick(t, 4 * SECOND);
    end("1:no answer: ");
}

TEST(an_inbox_that_is_used_again_begins_another_call)
{
    begin(100);
    whole(0);
    invoke("c", 1);
    CHECK_STR(ended, "1:complete:r ");
    invoke("c", 2);
    tap_cut(t);
    end("1:complete:r 2:cut: 3:cut: ");
}

TEST(what_is_too_large_is_kept_without_its_bytes)
{
    for (size_t max = 3; max <= 5; max++) { /* p, r and ab are four */
        begin(max);
        whole(0);
        inbox("c.results.0", NULL, "ab", 0);
        inbox("c.results.0", NULL, "", 0);
        tap_tick(t, 30 * SECOND);
        end(max < 4 ? "1:truncated: " : "1:complete:r ");
    }
}

TEST(the_number_of_channels_is_limited)
{
    for (int n = 1000; n <= 1001; n++) {
        begin(100);
        whole(0);
        for (int i = 0; i < n; i++) {
            char subject[32];
            snprintf(subject, sizeof subject, "c.results.%d", i);
            inbox(subject, NULL, "", 0);
        }
        tap_tick(t, 30 * SECOND);
        end(n > 1000 ? "1:truncated: " : "1:complete:r ");
    }
}

TEST(what_is_no_part_of_a_call_is_left_alone)
{
    begin(100);
    whole(0);
    static const char *const others[] = {"x",          "c.other",  "c.params", "s.results",
                                         "c.resultsx", "x.params", "s",        "c.x.results"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct wcp_msg m = message(others[i], NULL, "x");
        CHECK(!tap_inbox(t, &m, 0));
    }
    inbox("c.results.x", NULL, "no path", 0);
    struct wcp_msg m = message("default.kv.wrpc.0.0.1.", "r", "");
    tap_invocation(t, &m, NULL, 0, 0, 0);
    CHECK_INT(tap_stats(t)->refused, 1);
    CHECK_INT(tap_stats(t)->seen, 1);
    tap_cut(t);
    end("1:complete:r ");
}

/* test_watch.c: the watch of a bucket, rule by rule (jetstream.md), and with each message lost. */
#include "lattice/watch.h"
#include "capture.h"
#include "fake_js.h"
#include <stdarg.h>

static struct fake net;
static struct rpc *rpc;
static struct kv_watch *w;
static char story[8192], cache[1000];

static void deliver(int sub, struct wcp_msg *m)
{
    (void)rpc_message(rpc, sub, m); /* or it has just left */
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(story + strlen(story), sizeof story - strlen(story), fmt, ap);
    va_end(ap);
}

static void on_begin(void *ctx)
{
    say("begin ");
    cache[0] = '\0';
}

static void on_entry(void *ctx, const char *key, const struct wcp_bytes *value)
{
    char text[100];
    if (value)
        snprintf(text, sizeof text, "%s=%.*s ", key, (int)value->len, (const char *)value->ptr);
    else
        snprintf(text, sizeof text, "-%s ", key);
    say("%s", text);
    strcat(cache, text);
}

static void on_whole(void *ctx, bool older)
{
    say("%s ", older ? "older" : "whole");
}

static void on_failed(void *ctx, const struct wcp_err *err)
{
    say("%s; ", err->msg);
}

static void begin(void)
{
    capture_start();
    fake_init(&net);
    rpc = rpc_new(&(struct rpc_config){.transport = &net.t, .lattice = "lat", .id = "kv"});
    story[0] = '\0';
    w = kv_watch_new(&(struct kv_watch_config){.kv = {.rpc = rpc},
                                               .bucket = "B",
                                               .begin = on_begin,
                                               .entry = on_entry,
                                               .whole = on_whole,
                                               .failed = on_failed});
    CHECK_STR(story, "begin ");
    story[0] = '\0';
}

static void end(void)
{
    kv_watch_free(w);
    rpc_free(rpc);
    fake_close(&net);
}

static const char *run(uint64_t ms)
{
    story[0] = '\0';
    net.now_ms += ms;
    rpc_tick(rpc);
    js_run(&net, deliver);
    return story;
}

static void fill(void)
{
    js_put("B", "a", "1");
    js_put("B", "gone", NULL);
    js_put("B", "b.c", "2");
}

/* What fill() has was told, a while ago. */
static void watch_filled(void)
{
    fill();
    begin();
    run(0);
    run(5000);
}

static void send_status(int status, const char *reply)
{
    struct wcp_msg m = fake_message(&net, "_INBOX.me-1", reply, (struct wcp_bytes){0}, NULL);
    m.status = status;
    deliver(fake_sub(&net, "_INBOX.me-1"), &m);
    fake_done(&net, &m);
}

/* --- rule 1: what is asked for --- */

TEST(watch_asks_for_an_ordered_push_consumer)
{
    fill();
    begin();
    CHECK_STR(net.sent[0].subject, "$JS.API.CONSUMER.CREATE.KV_B");
    CHECK_STR(net.subs[1].subject, "_INBOX.me-1"); /* not below the inbox */
    run(0);
    CHECK_STR(js.last_create,
              "{\"stream_name\":\"KV_B\",\"config\":{\"deliver_subject\":\"_INBOX.me-1\","
              "\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"$KV.B.>\","
              "\"ack_policy\":\"none\",\"max_deliver\":1,\"flow_control\":true,"
              "\"idle_heartbeat\":5000000000,\"mem_storage\":true,\"num_replicas\":1,"
              "\"replay_policy\":\"instant\"}}");
    end();
}

TEST(watch_of_an_empty_bucket_is_whole_at_once)
{
    js_make("B");
    begin();
    CHECK_STR(run(0), "whole ");
    js_put("B", "a", "1");
    CHECK_STR(run(0), "a=1 ");
    end();
}

/* --- rule 2: what comes --- */

TEST(watch_tells_values_then_changes)
{
    fill();
    begin();
    CHECK_STR(run(0), "a=1 -gone b.c=2 whole ");
    js_put("B", "a", "3");
    js_put("B", "b.c", NULL);
    CHECK_STR(run(0), "a=3 -b.c ");
    end();
}

TEST(watch_takes_values_that_come_before_the_answer)
{
    fill();
    js.late = true;
    begin();
    CHECK_STR(run(0), "a=1 -gone b.c=2 whole ");
    end();
    js = (struct fake_js){.late = true};
    js_put("B", "a", "1"); /* the only one: nothing is pending in the answer, and nothing missing */
    begin();
    CHECK_STR(run(0), "a=1 whole ");
    end();
}

TEST(watch_reads_what_consumers_say_of_old_and_new_servers)
{
    struct kv_ack a = {0};
    CHECK(kv_ack_parse("$JS.ACK.KV_B.name.1.42.7.1700000000.3", "B", &a));
    CHECK_INT(a.stream_seq, 42);
    CHECK_INT(a.consumer_seq, 7);
    CHECK_INT(a.pending, 3);
    CHECK(kv_ack_parse("$JS.ACK._.hash.KV_B.name.1.43.8.1700000000.0", "B", &a));
    CHECK_INT(a.stream_seq, 43);
    CHECK_INT(a.pending, 0);
    CHECK(kv_ack_parse("$JS.ACK.hub.hash.KV_B.name.1.18446744073709551.9.1700000000.5.token", "B",
                       &a));
    CHECK_INT(a.stream_seq, 18446744073709551);
    CHECK_INT(a.pending, 5);
    const char *const bad[] = {NULL,
                               "",
                               "_INBOX.x",
                               "$JS.ACK.",
                               "$JS.ACK.KV_B.name.1.42.7.1700000000",
                               "$JS.ACK.KV_B.name.1.42.7.1700000000.3.x",
                               "$JS.ACK.KV_BB.name.1.42.7.1700000000.3",
                               "$JS.ACK.KV_B.name.1.x.7.1700000000.3",
                               "$JS.ACK.KV_B.name.1.42.-7.1700000000.3",
                               "$JS.ACK.KV_B.name.1.42..1700000000.3",
                               "$JS.ACK.KV_B.name.1.42.7.1700000000.",
                               "$JS.ACK.KV_B.name.1.99999999999999999999.7.1700000000.3",
                               "$JS.ACK.a.b.KV_B.name.1.2.3.4.5.6.7.8.9.10.11.12.13.14"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kv_ack_parse(bad[i], "B", &a))
            FAIL("taken: %s", bad[i]);
}

TEST(watch_takes_no_messages_of_others_for_the_consumers)
{
    watch_filled();
    const char *const replies[] = {NULL, "x", "$JS.ACK.KV_X.c.1.9.4.1.0"};
    for (size_t i = 0; i < 3; i++) {
        struct wcp_msg m =
            fake_message(&net, "$KV.B.evil", replies[i], (struct wcp_bytes){0}, NULL);
        deliver(fake_sub(&net, "_INBOX.me-1"), &m);
        fake_done(&net, &m);
    }
    CHECK_STR(run(2000), "");
    CHECK_INT(js.created, 1);
    end();
}

/* --- rule 3: loss --- */

TEST(watch_goes_on_behind_the_last_message_after_a_loss)
{
    watch_filled();
    js.lose = 1;
    js_put("B", "x", "1");
    js_put("B", "y", "2");
    CHECK_STR(run(0), "x=1 y=2 ");
    CHECK(strstr(js.last_create, "\"by_start_sequence\",\"opt_start_seq\":4,"));
    CHECK_INT(js.created, 2);
    CHECK_INT(js.deleted, 1);
    CHECK(net.subs[1].left && !net.subs[2].left);
    end();
}

TEST(watch_misses_nothing_whichever_message_is_lost)
{
    for (size_t lost = 1; lost <= 10; lost++) {
        js = (struct fake_js){.lose = lost, .late = lost % 2};
        fill();
        begin();
        run(0);
        run(5000);
        js_put("B", "d", "3");
        js_put("B", "a", "4");
        run(0);
        run(5000);
        js_put("B", "e", "5");
        js_put("B", "d", NULL);
        run(0);
        js_heartbeat(&net, NULL, deliver);
        run(1000);
        js_heartbeat(&net, NULL, deliver);
        run(15000);
        js_heartbeat(&net, NULL, deliver);
        run(1000);
        const char *a = strstr(cache, "a=4"), *d = strstr(cache, "-d "), *e = strstr(cache, "e=5");
        if (!a || !d || !e || !strstr(cache, "b.c=2") || strstr(d, "d=3"))
            FAIL("%zu is lost: %s", lost, cache);
        end();
    }
}

TEST(watch_starts_anew_when_the_stream_has_smaller_sequences)
{
    watch_filled();
    js.bucket_count = js.count = 0; /* the same consumer goes on in another history */
    js.consumers[0].next = 1;
    js_put("B", "a", "9");
    CHECK_STR(run(0), "begin a=9 older ");
    CHECK_INT(js.created, 2);
    run(5000);
    js_put("B", "x", "1");
    CHECK_STR(run(0), "x=1 ");
    end();
}

TEST(watch_tells_that_the_bucket_was_gone_however_many_writes_are_in_the_new_one)
{
    begin();
    run(0); /* not there at first: nothing is lost */
    fill();
    CHECK_STR(run(2000), "begin a=1 -gone b.c=2 whole ");
    js_drop("B");
    CHECK_STR(run(15000), "begin bucket B: JetStream says: stream not found (code 404, 10059); ");
    fill();
    js_put("B", "d", "4");
    CHECK_STR(run(2000), "begin a=1 -gone b.c=2 d=4 older ");
    rpc_disconnected(rpc);
    kv_watch_disconnected(w);
    kv_watch_reconnected(w);
    CHECK_STR(run(0), "a=1 -gone b.c=2 d=4 whole ");
    end();
}

TEST(watch_starts_anew_after_a_reconnect)
{
    watch_filled();
    rpc_disconnected(rpc);
    kv_watch_disconnected(w);
    js_put("B", "b.c", NULL);
    CHECK_STR(run(60000), "");
    CHECK_INT(js.created, 1);
    kv_watch_reconnected(w);
    CHECK_STR(run(0), "a=1 -gone -b.c whole ");
    end();
}

TEST(watch_survives_losing_the_connection_while_it_begins)
{
    fill();
    begin();
    rpc_disconnected(rpc);
    CHECK_STR(story, "bucket B: the connection was lost; ");
    kv_watch_disconnected(w);
    kv_watch_reconnected(w);
    kv_watch_reconnected(w);
    CHECK_STR(run(0), "a=1 -gone b.c=2 whole ");
    end();
}

TEST(watch_starts_anew_when_messages_were_dropped_here)
{
    watch_filled();
    CHECK(rpc_lost(rpc, fake_sub(&net, "_INBOX.me-1")));
    js_put("B", "x", "1");
    CHECK_STR(run(0), "x=1 ");
    CHECK_INT(js.created, 2);
    end();
}

TEST(watch_does_not_make_consumers_without_end)
{
    watch_filled();
    for (int i = 0; i < 1000; i++) {
        js_put("B", "x", "1");
        js.lose = 1;
        js_put("B", "y", "1");
        run(10);
    }
    CHECK(js.created >= 3 && js.created < 15);
    end();
}

/* --- rule 4: heartbeats --- */

TEST(watch_starts_anew_after_three_missed_heartbeats)
{
    watch_filled();
    run(5000);
    js_heartbeat(&net, NULL, deliver);
    CHECK_STR(run(14999), "");
    CHECK_INT(js.created, 1);
    CHECK_STR(run(1), "begin a=1 -gone b.c=2 whole ");
    CHECK_INT(js.created, 2);
    end();
}

TEST(watch_learns_of_a_loss_from_a_heartbeat)
{
    watch_filled();
    js.lose = 1;
    js_put("B", "x", "1");
    CHECK_STR(run(0), "");
    js_heartbeat(&net, NULL, deliver);
    CHECK_STR(run(0), "x=1 ");
    CHECK(strstr(js.last_create, "\"opt_start_seq\":4,"));
    end();
}

TEST(watch_answers_flow_control)
{
    watch_filled();
    js_heartbeat(&net, "$JS.FC.stalled", deliver);
    const struct fake_msg *sent = js_run(&net, deliver);
    CHECK(sent);
    CHECK_STR(sent->subject, "$JS.FC.stalled");
    CHECK_INT(sent->data.len, 0);
    send_status(100, "$JS.FC.1");
    CHECK_STR(js_run(&net, deliver)->subject, "$JS.FC.1");
    CHECK_INT(js.created, 1);
    end();
}

TEST(watch_starts_anew_when_its_consumer_is_deleted)
{
    watch_filled();
    send_status(409, NULL);
    CHECK_INT(js.created, 1);
    run(0);
    CHECK_INT(js.created, 2);
    end();
}

/* --- what cannot be watched --- */

TEST(watch_tries_again_ever_more_rarely)
{
    uint64_t pauses[] = {2000, 4000, 8000, 16000, 32000, 60000, 60000};
    begin();
    CHECK_STR(run(0), "bucket B: JetStream says: stream not found (code 404, 10059); ");
    for (size_t i = 0; i < 7; i++) {
        CHECK_STR(run(pauses[i] - 1), "");
        CHECK_STR(run(1), "begin bucket B: JetStream says: stream not found (code 404, 10059); ");
    }
    fill();
    CHECK_STR(run(999), "");
    kv_watch_hint(w);
    CHECK_STR(run(0), "");
    CHECK_STR(run(1), "begin a=1 -gone b.c=2 whole ");
    kv_watch_hint(w); /* it is well */
    CHECK_STR(run(2000), "");
    end();
}

static void answer(const char *text)
{
    while (fake_take(&net))
        ;
    js_reply(&net, net.sent[net.count - 1].reply, text, strlen(text), 0, NULL, deliver);
}

TEST(watch_takes_no_nonsense_for_an_answer)
{
    const char *const bad[] = {"",
                               "[]",
                               "{}",
                               "{\"name\":\"x\"}",
                               "{\"num_pending\":0}",
                               "{\"name\":\"x\",\"num_pending\":-1}",
                               "{\"name\":1,\"num_pending\":0}",
                               "{\"name\":\"x\",\"num_pending\":0,\"delivered\":1}",
                               "{\"error\":{\"code\":\"x\"}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin();
        answer(bad[i]);
        CHECK(strncmp(story, "bucket B: JetStream", 19) == 0);
        end();
    }
}

TEST(watch_can_be_freed_while_it_begins)
{
    fill();
    begin();
    kv_watch_free(w);
    js_run(&net, deliver);
    CHECK_STR(story, "");
    rpc_free(rpc);
    fake_close(&net);
}

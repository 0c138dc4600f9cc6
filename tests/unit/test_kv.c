/* test_kv.c: buckets by plain requests, and the links and configs in them. */
#include "lattice/config.h"
#include "lattice/kv.h"
#include "capture.h"
#include "fake_js.h"
#include <stdarg.h>

static struct fake net;
static struct rpc *rpc;
static char story[8192];

static void deliver(int sub, struct wcp_msg *m)
{
    CHECK(rpc_message(rpc, sub, m));
}

static void start(void)
{
    capture_start();
    fake_init(&net);
    rpc = rpc_new(&(struct rpc_config){.transport = &net.t, .lattice = "lat", .id = "kv"});
}

static void stop(void)
{
    rpc_free(rpc);
    fake_close(&net);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(story + strlen(story), sizeof story - strlen(story), fmt, ap);
    va_end(ap);
}

static void on_get(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err)
{
    if (value)
        say("'%.*s'", (int)value->len, (const char *)value->ptr);
    else
        say("%s", err ? err->msg : "absent");
    say("; ");
}

static const char *get(const char *key)
{
    story[0] = '\0';
    kv_get(&(struct kv){.rpc = rpc}, "B", key, on_get, NULL);
    js_run(&net, deliver);
    return story;
}

static void answer_with(const char *text)
{
    const struct fake_msg *m = fake_take(&net);
    js_reply(&net, m->reply, text, strlen(text), 0, NULL, deliver);
}

TEST(kv_gets_values_and_knows_markers)
{
    start();
    js_put("B", "a", "one");
    js_put("B", "gone", NULL);
    js_put("B", "empty", "");
    CHECK_STR(get("a"), "'one'; ");
    CHECK_STR(get("gone"), "absent; ");
    CHECK_STR(get("other"), "absent; ");
    CHECK_STR(get("empty"), "''; ");
    CHECK_INT(js.requests, 4);
    stop();
}

TEST(kv_get_takes_no_nonsense_for_an_answer)
{
    start();
    const char *const bad[] = {"",
                               "{}",
                               "{\"message\":1}",
                               "{\"message\":{\"data\":\"*\"}}",
                               "{\"message\":{\"data\":7}}",
                               "{\"error\":{\"err_code\":1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        story[0] = '\0';
        kv_get(&(struct kv){.rpc = rpc}, "B", "a", on_get, NULL);
        answer_with(bad[i]);
        CHECK(strncmp(story, "bucket B, key a: ", 17) == 0);
    }
    stop();
}

TEST(kv_get_says_why_not)
{
    start();
    js.off = true;
    CHECK_STR(get("a"),
              "bucket B, key a: nobody answers for JetStream (status 503): it is off, or in "
              "another domain (--js-domain); nats-server -js starts it; ");
    js.off = false;
    CHECK_STR(get("a"), "absent; "); /* no such bucket */
    js.silent = true;
    CHECK_STR(get("a"), "");
    net.now_ms += 1999;
    rpc_tick(rpc);
    CHECK_STR(story, "");
    net.now_ms++;
    rpc_tick(rpc);
    CHECK(strstr(story, "bucket B, key a: JetStream did not answer within 2000 ms"));
    CHECK_STR(get("a"), "");
    rpc_disconnected(rpc);
    CHECK_STR(story, "bucket B, key a: the connection was lost; ");
    stop();
}

TEST(kv_asks_in_the_domain_of_jetstream)
{
    start();
    kv_get(&(struct kv){.rpc = rpc, .domain = "hub"}, "B", "a", on_get, NULL);
    CHECK_STR(net.sent[0].subject, "$JS.hub.API.STREAM.MSG.GET.KV_B");
    stop();
}

TEST(kv_knows_keys)
{
    CHECK(kv_key_is_valid("COMPONENT_a-b/c=d.e"));
    CHECK(!kv_key_is_valid(""));
    CHECK(!kv_key_is_valid("a b"));
    CHECK(!kv_key_is_valid(".a"));
    CHECK(!kv_key_is_valid("a."));
    CHECK(!kv_key_is_valid("a..b"));
    CHECK(!kv_key_is_valid("a>"));
    CHECK(!kv_key_is_valid("\xc3\xa4"));
}

/* --- the links in them --- */

static void on_link(void *ctx, struct linkdef *l, const char *why)
{
    const struct config *c =
        strcmp(l->source_id, "kv") == 0 ? &l->source_config : &l->target_config;
    say("%s>%s", l->source_id, l->target);
    for (size_t i = 0; i < c->n; i++)
        say(" %s=%s", c->at[i].key, c->at[i].value);
    say("%s%s; ", why ? ": " : "", why ? why : "");
    linkdef_free(l);
}

static void on_done(void *ctx, const struct lattice_state *s)
{
    say("%s%s%s", s->complete ? "complete" : "incomplete ", s->older ? ", older" : "", s->err.msg);
    if (s->err.code)
        say(" (%d)", s->err.code);
    say(". ");
}

static struct lattice_watch *w;

static void tick(uint64_t ms)
{
    net.now_ms += ms;
    rpc_tick(rpc);
}

static const char *run(void)
{
    story[0] = '\0';
    do {
        js_run(&net, deliver);
        rpc_tick(rpc);
    } while (net.seen < net.count);
    return story;
}

static void begin(void)
{
    start();
    w = lattice_watch(&(struct lattice_watch_config){
        .kv = {.rpc = rpc}, .lattice = "lat", .id = "kv", .link = on_link, .done = on_done});
    CHECK_STR(story, "");
}

static void end(void)
{
    lattice_close(w);
    stop();
}

#define LINK(source, target, source_names, target_names)                                           \
    "{\"source_id\":\"" source "\",\"target\":\"" target                                           \
    "\",\"name\":\"default\",\"wit_namespace\":\"wasi\","                                          \
    "\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\"],\"source_config\":[" source_names     \
    "],"                                                                                           \
    "\"target_config\":[" target_names "]}"
#define L "LATTICEDATA_lat"
#define C "CONFIGDATA_lat"

TEST(lattice_tells_our_links_with_their_configs_merged)
{
    js_put(L, "COMPONENT_a",
           "{\"url\":\"\",\"links\":[" LINK("a", "kv", "\"theirs\"",
                                            "\"one\",\"two\"") "," LINK("a", "other", "", "") "]}");
    js_put(L, "COMPONENT_b", NULL);
    js_put(L, "CLAIMS_x", "not ours to read");
    js_put(L, "COMPONENT_none", "{\"url\":\"x\"}");
    js_put(C, "one", "{\"url\":\"1\",\"bucket\":\"b\"}");
    js_put(C, "two", "{\"url\":\"2\"}");
    js_put(C, "theirs", "{\"url\":\"3\"}");
    begin();
    CHECK_STR(run(), "a>kv url=2 bucket=b; complete. ");
    CHECK_INT(js.requests, 2 + 2); /* a watch of each bucket; each config once, theirs never */
    CHECK(js.consumers[1].headers_only && !js.consumers[0].headers_only);
    CHECK_INT(rpc_next(rpc), net.now_ms + 15000); /* no work left but to see that it lives */
    js_put(L, "COMPONENT_kv", "{\"links\":[" LINK("kv", "c", "\"two\"", "\"theirs\"") "]}");
    run();
    CHECK(strstr(story, "a>kv url=2 bucket=b; ") && strstr(story, "kv>c url=2; "));
    CHECK_INT(js.gets, 2); /* known already */
    end();
}

TEST(lattice_of_an_empty_bucket_is_complete)
{
    js_make(L);
    begin();
    CHECK_STR(run(), "complete. ");
    end();
}

TEST(lattice_tells_changes_of_links_and_nothing_that_is_not_ours)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "") "]}");
    js_make(C);
    begin();
    CHECK_STR(run(), "a>kv; complete. ");
    js_put(L, "COMPONENT_x", "{\"links\":[" LINK("x", "other", "", "") "]}");
    js_put(L, "COMPONENT_x", NULL);
    js_put(C, "x", "{}");
    CHECK_STR(run(), "");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "") "]}");
    js_put(L, "COMPONENT_a", "{\"links\":[]}");
    CHECK_STR(run(), "b>kv; complete. "); /* both at once */
    js_put(L, "COMPONENT_b", NULL);
    CHECK_STR(run(), "complete. ");
    end();
}

TEST(lattice_tells_changes_of_configs_that_are_used)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js_put(C, "two", "{\"url\":\"2\"}");
    begin();
    CHECK_STR(run(), "a>kv url=1; complete. ");
    js_put(C, "two", "{\"url\":\"3\"}");
    CHECK_STR(run(), "");
    js_put(C, "one", "{\"url\":\"4\"}");
    CHECK_STR(run(), "a>kv url=4; complete. ");
    js_put(C, "one", NULL);
    CHECK_STR(run(), "a>kv: config 'one' is not in CONFIGDATA_lat; complete. ");
    js_put(C, "one", "{\"url\":\"5\"}");
    CHECK_STR(run(), "a>kv url=5; complete. ");
    /* One that is no longer used is forgotten, and asked for when it is again. */
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "") "]}");
    CHECK_STR(run(), "a>kv; complete. ");
    js_put(C, "one", "{\"url\":\"6\"}");
    CHECK_STR(run(), "");
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    CHECK_STR(run(), "a>kv url=6; complete. ");
    end();
}

TEST(lattice_config_that_changes_while_it_is_asked_for_is_asked_for_again)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    begin();
    run();
    js_put(C, "one", "{\"url\":\"2\"}");
    js.silent_key = "one";
    CHECK_STR(run(), "");
    const struct fake_msg asked = net.sent[net.count - 1];
    js_put(C, "one", "{\"url\":\"3\"}");
    js.silent_key = NULL;
    CHECK_STR(run(), "");
    static const char *const old = "{\"message\":{\"data\":\"eyJ1cmwiOiIyIn0=\"}}";
    js_reply(&net, asked.reply, old, strlen(old), 0, NULL, deliver);
    CHECK_STR(run(), "a>kv url=3; complete. ");
    end();
}

TEST(lattice_notices_a_bucket_of_configs_that_is_made_later)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    begin();
    CHECK_STR(run(), "a>kv: config 'one' is not in CONFIGDATA_lat; complete. ");
    js_put(C, "one", "{\"url\":\"1\"}");
    CHECK_STR(run(), "");
    tick(2000);
    CHECK_STR(run(), "a>kv url=1; complete. ");
    end();
}

TEST(lattice_config_that_is_lost_with_its_bucket_stays_in_use)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    begin();
    run();
    js_drop(C);
    tick(15000);
    CHECK_STR(run(), "a>kv url=1; complete. ");
    js_make(C);
    tick(2000);
    CHECK_STR(run(), "a>kv url=1; complete. ");
    CHECK_LOGGED("a config is lost with its bucket"); /* once */
    js_put(C, "one", "{\"url\":\"2\"}");
    CHECK_STR(run(), "a>kv url=2; complete. ");
    js_put(C, "one", NULL);
    rpc_disconnected(rpc);
    lattice_disconnected(w);
    lattice_reconnected(w);
    CHECK_STR(run(), "a>kv: config 'one' is not in CONFIGDATA_lat; complete. ");
    end();
}

TEST(lattice_configs_are_asked_for_again_if_they_cannot_be_watched)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js.no_consumers = C;
    begin();
    CHECK_STR(run(), "");
    tick(2000);
    CHECK_STR(run(), "a>kv url=1; complete. ");
    CHECK_LOGGED("changes of named configs are noticed late");
    js_put(C, "one", "{\"url\":\"2\"}");
    tick(2000);
    CHECK_STR(run(), "");
    tick(2000);
    CHECK_STR(run(), "a>kv url=2; complete. ");
    end();
}

TEST(lattice_fails_links_that_cannot_be_resolved)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "\"SECRET_theirs\"", "\"none\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"one\",\"SECRET_pw\"") "]}");
    js_put(L, "COMPONENT_c", "{\"links\":[" LINK("c", "kv", "", "\"bad\"") "]}");
    js_put(L, "COMPONENT_d", "{\"links\":[" LINK("d", "kv", "", "\"a b\"") "]}");
    js_put(L, "COMPONENT_e", "{\"links\":[" LINK("e", "kv", "", "\"gone\"") "]}");
    js_put(L, "COMPONENT_f", "{\"links\":[" LINK("f", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js_put(C, "bad", "{\"url\":1}");
    js_put(C, "gone", NULL);
    begin();
    run();
    CHECK(strstr(story, "a>kv: config 'none' is not in CONFIGDATA_lat; "));
    CHECK(strstr(
        story,
        "b>kv url=1: secret reference 'SECRET_pw' cannot be resolved outside a wasmCloud host"));
    CHECK(
        strstr(story, "c>kv: config 'bad' in CONFIGDATA_lat: url: number found, text expected; "));
    CHECK(strstr(story, "d>kv: config name 'a b' is not a valid key; "));
    CHECK(strstr(story, "e>kv: config 'gone' is not in CONFIGDATA_lat; "));
    CHECK(strstr(story, "f>kv url=1; "));
    CHECK(strstr(story, "complete. "));
    end();
}

TEST(lattice_goes_on_past_malformed_values_and_keeps_what_they_were)
{
    js_put(L, "COMPONENT_a", "{\"links\":7}");
    js_put(L, "COMPONENT_b", "nonsense");
    js_put(L, "COMPONENT_c",
           "{\"links\":[7,{\"target\":\"kv\"},{\"target\":\"x\"}," LINK("c", "kv", "", "") "]}");
    begin();
    CHECK_STR(run(), "c>kv; incomplete . ");
    CHECK_LOGGED("links: number found, list expected");
    CHECK_LOGGED("\"key\":\"COMPONENT_b\"");
    CHECK_LOGGED("links, item 1: source_id is missing");
    js_put(L, "COMPONENT_a", "{}");
    js_put(L, "COMPONENT_b", NULL);
    js_put(L, "COMPONENT_c", "{");
    CHECK_STR(run(), "c>kv; incomplete . ");
    js_put(L, "COMPONENT_c", "{}");
    CHECK_STR(run(), "complete. ");
    end();
}

TEST(lattice_without_buckets_says_so_and_finds_them_when_they_are_made)
{
    js.off = true;
    begin();
    run();
    CHECK(strstr(story, "incomplete bucket LATTICEDATA_lat: nobody answers for JetStream"));
    js.off = false;
    tick(2000);
    CHECK_STR(run(), "incomplete bucket LATTICEDATA_lat: JetStream says: stream not found (code "
                     "404, 10059) (-5). ");
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "") "]}");
    js_make(C);
    tick(999);
    lattice_hint(w);
    CHECK_STR(run(), "");
    tick(1);
    CHECK_STR(run(), "a>kv; complete. ");
    end();
}

TEST(lattice_tells_what_it_has_when_an_answer_is_lost)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"two\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js_put(C, "two", "{\"url\":\"2\"}");
    js.silent_key = "two";
    begin();
    CHECK_STR(run(), "");
    tick(2000);
    /* b is not handed over as failed: nobody knows. */
    CHECK(strstr(story, "a>kv url=1; incomplete bucket CONFIGDATA_lat, key two: JetStream did not "
                        "answer within 2000 ms"));
    js.silent_key = NULL;
    tick(1999);
    CHECK_STR(run(), "");
    tick(1);
    run();
    CHECK(strstr(story, "a>kv url=1; ") && strstr(story, "b>kv url=2; "));
    CHECK(strstr(story, "complete. ") && !strstr(story, "incomplete"));
    end();
}

TEST(lattice_ends_right_whichever_answer_or_message_is_lost)
{
    for (size_t lost = 1; lost <= 12; lost++) {
        js = (struct fake_js){.lose_answer = lost <= 6 ? lost : 0, .lose = lost > 6 ? lost - 6 : 0};
        js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
        js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"two\"") "]}");
        js_put(C, "one", "{\"url\":\"1\"}");
        js_put(C, "two", "{\"url\":\"2\"}");
        begin();
        run();
        for (int i = 0; i < 10; i++) {
            tick(3000);
            run();
            js_heartbeat(&net, NULL, deliver);
        }
        js_put(L, "COMPONENT_a", NULL);
        js_put(C, "two", "{\"url\":\"3\"}");
        char last[sizeof story] = "";
        for (int i = 0; i < 10; i++) {
            if (*run())
                memcpy(last, story, sizeof last);
            js_heartbeat(&net, NULL, deliver);
            tick(3000);
        }
        if (strcmp(last, "b>kv url=3; complete. ") != 0)
            FAIL("%zu is lost: %s", lost, last);
        end();
    }
}

TEST(lattice_after_a_reconnect_is_what_the_buckets_are_then)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    begin();
    run();
    rpc_disconnected(rpc);
    lattice_disconnected(w);
    js_put(C, "one", "{\"url\":\"2\"}");
    js_put(L, "COMPONENT_b", "{\"links\":[]}");
    tick(100000);
    CHECK_STR(run(), "");
    lattice_reconnected(w);
    CHECK_STR(run(), "a>kv url=2; complete. ");
    end();
}

TEST(lattice_that_went_back_in_time_is_told_as_such_once)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "") "]}");
    js_make(C);
    begin();
    run();
    js_drop(L);
    tick(15000); /* silence */
    run();
    CHECK(strstr(story, "stream not found"));
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "") "]}");
    tick(2000);
    CHECK_STR(run(), "a>kv; complete, older. ");
    lattice_again(w);
    CHECK_STR(run(), "a>kv; complete. ");
    end();
}

TEST(lattice_keeps_few_requests_in_flight)
{
    static char keys[150][20], values[150][300], names[150][20];
    for (size_t i = 0; i < 150; i++) {
        snprintf(keys[i], sizeof keys[i], "COMPONENT_%zu", i);
        snprintf(names[i], sizeof names[i], "c%zu", i);
        snprintf(values[i], sizeof values[i],
                 "{\"links\":[{\"source_id\":\"a\",\"target\":\"kv\",\"wit_namespace\":\"wasi\","
                 "\"wit_package\":\"keyvalue\",\"target_config\":[\"c%zu\"]}]}",
                 i);
        js_put(L, keys[i], values[i]);
        js_put(C, names[i], "{}");
    }
    begin();
    CHECK(strstr(run(), "complete"));
    CHECK_INT(js.gets, 150);
    CHECK_INT(js.most_at_once, 32);
    end();
}

TEST(lattice_can_be_closed_at_any_point)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"two\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    const struct fake_js at_first = js;
    for (size_t steps = 0; steps < 10; steps++) {
        js = at_first;
        begin();
        for (size_t i = 0; i < steps; i++) {
            struct fake_msg m = net.seen < net.count ? net.sent[net.seen] : (struct fake_msg){0};
            if (i % 2 == 0 && m.subject && net.seen++ < net.count)
                js_answer(&net, &m, deliver);
            for (size_t k = 0; i % 2 && k < js.consumer_count; k++)
                js_send_next(&net, &js.consumers[k], deliver);
        }
        end();
    }
}

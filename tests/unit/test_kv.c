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

static void on_list(void *ctx, struct strings *keys, const struct wcp_err *err)
{
    for (size_t i = 0; i < keys->n; i++)
        say("%s ", keys->at[i]);
    say("%s", err ? err->msg : "ok");
}

static void on_get(void *ctx, const struct wcp_bytes *value, const struct wcp_err *err)
{
    if (value)
        say("'%.*s'", (int)value->len, (const char *)value->ptr);
    else
        say("%s", err ? err->msg : "absent");
    say("; ");
}

static const char *list(void)
{
    story[0] = '\0';
    kv_list(rpc, "B", on_list, NULL);
    js_run(&net, deliver);
    return story;
}

static const char *get(const char *key)
{
    story[0] = '\0';
    kv_get(rpc, "B", key, on_get, NULL);
    js_run(&net, deliver);
    return story;
}

TEST(kv_lists_keys_page_by_page)
{
    start();
    js_put("B", "a", "1");
    js_put("B", "b.c", "2");
    js_put("B", "d", NULL);
    CHECK_STR(list(), "a b.c d ok");
    CHECK_INT(js.requests, 1);
    js.page = 1;
    CHECK_STR(list(), "a b.c d ok");
    CHECK_INT(js.requests, 4);
    stop();
}

TEST(kv_list_says_why_not)
{
    start();
    CHECK_STR(list(), "bucket B: JetStream says: stream not found (code 404, 10059)");
    js.off = true;
    CHECK_STR(list(), "bucket B: JetStream is not there (status 503)");
    js.silent = true;
    CHECK_STR(list(), "");
    net.now_ms += 1999;
    rpc_tick(rpc);
    CHECK_STR(story, "");
    net.now_ms++;
    rpc_tick(rpc);
    CHECK_STR(story, "bucket B: JetStream did not answer within 2000 ms");
    CHECK_STR(list(), "");
    rpc_disconnected(rpc);
    CHECK_STR(story, "bucket B: the connection was lost");
    stop();
}

static void answer_with(const char *text)
{
    const struct fake_msg *m = fake_take(&net);
    js_reply(&net, m->reply, text, strlen(text), 0, NULL, deliver);
}

TEST(kv_takes_no_nonsense_for_an_answer)
{
    start();
    const char *const bad[] = {"",
                               "x",
                               "[]",
                               "{\"state\":1}",
                               "{\"state\":{\"subjects\":[]}}",
                               "{\"total\":\"1\"}",
                               "{\"error\":{\"code\":\"x\"}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        story[0] = '\0';
        kv_list(rpc, "B", on_list, NULL);
        answer_with(bad[i]);
        CHECK(strncmp(story, "bucket B: ", 10) == 0);
    }
    /* A total that never comes must not make it ask for ever. */
    story[0] = '\0';
    kv_list(rpc, "B", on_list, NULL);
    answer_with("{\"total\":5,\"state\":{\"subjects\":{\"$KV.B.a\":1}}}");
    answer_with("{\"total\":5,\"state\":{}}");
    CHECK_STR(story, "a ok");
    stop();
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
        kv_get(rpc, "B", "a", on_get, NULL);
        answer_with(bad[i]);
        CHECK(strncmp(story, "bucket B, key a: ", 17) == 0);
    }
    stop();
}

TEST(kv_get_says_why_not)
{
    start();
    js.off = true;
    CHECK_STR(get("a"), "bucket B, key a: JetStream is not there (status 503); ");
    js.off = false;
    CHECK_STR(get("a"), "absent; "); /* no such bucket */
    js.silent = true;
    CHECK_STR(get("a"), "");
    net.now_ms += 2000;
    rpc_tick(rpc);
    CHECK_STR(story, "bucket B, key a: JetStream did not answer within 2000 ms; ");
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

static void on_done(void *ctx, bool complete, const struct wcp_err *err)
{
    say("%s%s", complete ? "complete" : "incomplete ", err ? err->msg : "");
}

static struct lattice_read *begin(void)
{
    story[0] = '\0';
    return lattice_read(&(struct lattice_read_config){
        .rpc = rpc, .lattice = "lat", .id = "kv", .link = on_link, .done = on_done});
}

static const char *read_all(void)
{
    begin();
    js_run(&net, deliver);
    return story;
}

#define LINK(source, target, source_names, target_names)                                           \
    "{\"source_id\":\"" source "\",\"target\":\"" target                                           \
    "\",\"name\":\"default\",\"wit_namespace\":\"wasi\","                                          \
    "\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\"],\"source_config\":[" source_names     \
    "],"                                                                                           \
    "\"target_config\":[" target_names "]}"
#define L "LATTICEDATA_lat"
#define C "CONFIGDATA_lat"

TEST(lattice_read_finds_our_links_and_merges_their_configs)
{
    start();
    js_put(L, "COMPONENT_a",
           "{\"url\":\"\",\"links\":[" LINK("a", "kv", "\"theirs\"",
                                            "\"one\",\"two\"") "," LINK("a", "other", "", "") "]}");
    js_put(L, "COMPONENT_b", NULL);
    js_put(L, "CLAIMS_x", "not ours to read");
    js_put(L, "COMPONENT_kv", "{\"links\":[" LINK("kv", "c", "\"two\"", "\"theirs\"") "]}");
    js_put(L, "COMPONENT_none", "{\"url\":\"x\"}");
    js_put(C, "one", "{\"url\":\"1\",\"bucket\":\"b\"}");
    js_put(C, "two", "{\"url\":\"2\"}");
    CHECK_STR(read_all(), "a>kv url=2 bucket=b; kv>c url=2; complete");
    CHECK_INT(js.requests, 1 + 4 + 2); /* each config once, theirs never */
    stop();
}

TEST(lattice_read_of_an_empty_bucket_is_complete)
{
    start();
    js_put(L, "CLAIMS_x", "");
    CHECK_STR(read_all(), "complete");
    stop();
}

TEST(lattice_read_fails_links_that_cannot_be_resolved)
{
    start();
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "\"SECRET_theirs\"", "\"none\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"one\",\"SECRET_pw\"") "]}");
    js_put(L, "COMPONENT_c", "{\"links\":[" LINK("c", "kv", "", "\"bad\"") "]}");
    js_put(L, "COMPONENT_d", "{\"links\":[" LINK("d", "kv", "", "\"a b\"") "]}");
    js_put(L, "COMPONENT_e", "{\"links\":[" LINK("e", "kv", "", "\"gone\"") "]}");
    js_put(L, "COMPONENT_f", "{\"links\":[" LINK("f", "kv", "", "\"one\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js_put(C, "bad", "{\"url\":1}");
    js_put(C, "gone", NULL);
    read_all();
    CHECK(strstr(story, "a>kv: config 'none' is not in CONFIGDATA_lat; "));
    CHECK(strstr(
        story,
        "b>kv url=1: secret reference 'SECRET_pw' cannot be resolved outside a wasmCloud host"));
    CHECK(
        strstr(story, "c>kv: config 'bad' in CONFIGDATA_lat: url: number found, text expected; "));
    CHECK(strstr(story, "d>kv: config name 'a b' is not a valid key; "));
    CHECK(strstr(story, "e>kv: config 'gone' is not in CONFIGDATA_lat; "));
    CHECK(strstr(story, "f>kv url=1; complete"));
    stop();
}

TEST(lattice_read_goes_on_past_malformed_values)
{
    start();
    js_put(L, "COMPONENT_a", "{\"links\":7}");
    js_put(L, "COMPONENT_b", "nonsense");
    js_put(L, "COMPONENT_c",
           "{\"links\":[7,{\"target\":\"kv\"},{\"target\":\"x\"}," LINK("c", "kv", "", "") "]}");
    CHECK_STR(read_all(), "c>kv; incomplete ");
    CHECK_LOGGED("links: number found, list expected");
    CHECK_LOGGED("\"key\":\"COMPONENT_b\"");
    CHECK_LOGGED("links, item 1: source_id is missing");
    stop();
}

TEST(lattice_read_without_buckets_says_so)
{
    start();
    CHECK_STR(
        read_all(),
        "incomplete bucket LATTICEDATA_lat: JetStream says: stream not found (code 404, 10059)");
    js.off = true;
    CHECK_STR(read_all(), "incomplete bucket LATTICEDATA_lat: JetStream is not there (status 503)");
    stop();
}

TEST(lattice_read_gives_what_it_has_when_an_answer_is_lost)
{
    start();
    js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"two\"") "]}");
    js_put(C, "one", "{\"url\":\"1\"}");
    js_put(C, "two", "{\"url\":\"2\"}");
    js.silent_key = "two";
    read_all();
    CHECK_STR(story, "");
    net.now_ms += 2000;
    rpc_tick(rpc);
    /* b is not handed over as failed: nobody knows. */
    CHECK_STR(story, "a>kv url=1; incomplete bucket CONFIGDATA_lat, key two: JetStream did not "
                     "answer within 2000 ms");
    stop();
}

TEST(lattice_read_keeps_few_requests_in_flight)
{
    static char keys[150][20];
    start();
    for (size_t i = 0; i < 150; i++) {
        snprintf(keys[i], sizeof keys[i], "COMPONENT_%zu", i);
        js_put(L, keys[i], "{\"links\":[" LINK("a", "kv", "", "") "]}");
    }
    CHECK(strstr(read_all(), "complete"));
    CHECK_INT(js.requests, 151);
    CHECK_INT(js.most_at_once, 32);
    stop();
}

TEST(lattice_read_can_be_cancelled_and_freed_at_any_point)
{
    for (size_t steps = 0; steps < 8; steps++) {
        start();
        js = (struct fake_js){0};
        js_put(L, "COMPONENT_a", "{\"links\":[" LINK("a", "kv", "", "\"one\"") "]}");
        js_put(L, "COMPONENT_b", "{\"links\":[" LINK("b", "kv", "", "\"two\"") "]}");
        js_put(C, "one", "{\"url\":\"1\"}");
        js.silent = true;
        struct lattice_read *r = begin();
        for (size_t i = 0; i < steps && !strstr(story, "complete"); i++) {
            if (net.seen < net.count)
                answer_with("{\"state\":{\"subjects\":{\"$KV.LATTICEDATA_lat.COMPONENT_a\":1}}}");
        }
        if (!strstr(story, "complete")) {
            lattice_read_cancel(r);
            story[0] = '\0';
        }
        stop();
        CHECK(!*story || strstr(story, "complete"));
    }
}

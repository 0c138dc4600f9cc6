/* test_provider.c: an instance from its start to its last word. */
#include "lattice/provider.h"
#include "base/timer.h"
#include "lattice/secrets.h"
#include "capture.h"
#include "fake_js.h"
#include "lattice/local.h"

#define XSEED "SXACAIJCEMSCKJRHFAUSUKZMFUXC6MBRGIZTINJWG44DSOR3HQ6T4PY4AQ"
#define XKEY  "XA2YA4WWGZMIBUNO5IZJVX4REE4DQUPNEGRI4O3V5FS5BUWNCZRFI2LE"

static struct fake net;
static struct wcp_instance *instance;
static char story[4096];
static int done_count, done_status = -1, serving;
static const char *start_fails, *up_fails;
static struct wcp_call *held; /* the handler's calls, newest first */
static bool answer_at_once = true, registered;
static uint32_t drain_ms, link_wait_ms; /* what the operator says */
static struct linkdef *local_links;     /* one, of --links; NULL: none */

static void say(const char *what, const char *name)
{
    snprintf(story + strlen(story), sizeof story - strlen(story), "%s%s%s; ", what,
             *name ? " " : "", name);
}

/* --- a provider with one function, wrpc:keyvalue/store.get: () -> () --- */

static const struct wcp_type no_params = {.kind = WCP_RECORD};
static void invoke(const void *impl, struct wcp_call *c)
{
    say("call", c->link->name.ptr);
    if (answer_at_once)
        wcp_reply(c, NULL);
    else
        held = c;
}
static void handler(void)
{
}
static const struct wcp_func funcs[] = {
    {.name = "get", .size = sizeof(struct wcp_call), .params = &no_params, .invoke = invoke}};
static const uint32_t handlers[] = {0};
static const struct wcp_interface store = {
    .name = "wrpc:keyvalue/store@0.2.0-draft", .funcs = funcs, .count = 1, .handlers = handlers};
static const struct {
    void (*get)(void);
} impl = {handler};

static int start_provider(struct wcp_instance *i, struct wcp_err *err)
{
    say("start", "");
    static int data;
    wcp_instance_set_data(i, &data);
    return start_fails ? wcp_fail(err, WCP_EINVAL, "%s", start_fails) : 0;
}
static void stop_provider(struct wcp_instance *i)
{
    say("stop", "");
}
static int up(struct wcp_link *l, struct wcp_err *err)
{
    say("up", l->name.ptr);
    return up_fails ? wcp_fail(err, WCP_EINVAL, "%s", up_fails) : 0;
}
static void down(struct wcp_link *l)
{
    say("down", l->name.ptr);
}
static void config_changed(struct wcp_instance *i)
{
    say("config", wcp_provider_config(i, "k"));
}

static struct wcp_provider def = {
    .name = "test",
    .exports = (struct wcp_export[]){{&store, &impl}, {0}},
    .start = start_provider,
    .stop = stop_provider,
    .link_up = up,
    .link_down = down,
    .config_changed = config_changed,
};

/* --- the world around it --- */

static int64_t wall_us(void)
{
    return 0;
}

static void on_serving(void *ctx)
{
    serving++;
}

static void on_done(void *ctx, int status)
{
    done_count++;
    done_status = status;
}

static void deliver(int sub, struct wcp_msg *m)
{
    instance_message(instance, sub, m);
}

static void make(bool standalone, const char *links)
{
    struct hostdata hd = {0};
    struct wcp_buf json = {0}, line = {0};
    struct wcp_err err = {0};
    capture_start();
    fake_init(&net);
    wcp_buf_fmt(
        &json,
        "{\"host_id\":\"NHOST\",\"lattice_rpc_prefix\":\"lat\",\"provider_key\":\"kv\","
        "\"config\":{\"k\":\"0\"},\"secrets\":{\"pw\":{\"kind\":\"String\",\"value\":\"s\"}},"
        "\"provider_xkey_private_key\":\"" XSEED "\",\"link_definitions\":[%s]}",
        links);
    char base64[8192];
    sodium_bin2base64(base64, sizeof base64, json.ptr, json.len, sodium_base64_VARIANT_ORIGINAL);
    wcp_buf_fmt(&line, "%s\r\n", base64);
    if (hostdata_parse((struct wcp_bytes){line.ptr, line.len}, &hd, &err))
        FAIL("%s", err.msg);
    hd.standalone = standalone;
    hd.drain_ms = drain_ms;
    hd.link_wait_ms = link_wait_ms;
    if (registered)
        hd.registration = (struct registration){.on = true,
                                                .image = wcp_str_dup(WCP_STR("i")),
                                                .friendly_name = wcp_str_dup(WCP_STR("f")),
                                                .provider_name = wcp_str_dup(WCP_STR("n")),
                                                .version = wcp_str_dup(WCP_STR("0.1.0"))};
    hd.local_links = local_links;
    hd.local_link_count = local_links ? 1 : 0;
    instance = instance_new(&def, &hd,
                            &(struct instance_env){.transport = &net.t,
                                                   .loop = &story,
                                                   .wall_us = wall_us,
                                                   .serving = on_serving,
                                                   .done = on_done});
    CHECK(!hd.host_id); /* moved out */
    wcp_buf_free(&json);
    wcp_buf_free(&line);
}

#define LINK(source, name, config)                                                                 \
    "{\"source_id\":\"" source "\",\"target\":\"kv\",\"name\":\"" name                             \
    "\",\"wit_namespace\":\"wasi\","                                                               \
    "\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\"],\"source_config\":{},\"target_"       \
    "config\":" config "}"

static void start(const char *links)
{
    struct wcp_err err = {0};
    make(false, links);
    if (instance_start(instance, &err))
        FAIL("%s", err.msg);
}

static void stop(void)
{
    instance_free(instance);
    fake_close(&net);
}

static void send_to(const char *subject, const char *reply, const char *data,
                    const char *const *headers)
{
    struct wcp_msg m = fake_message(
        &net, subject, reply, (struct wcp_bytes){(const uint8_t *)data, strlen(data)}, headers);
    instance_message(instance, fake_sub(&net, subject), &m);
    fake_done(&net, &m);
}

#define CONTROL "wasmbus.rpc.lat.kv."
#define GET     "lat.kv.wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get"

static bool subscribed(const char *subject)
{
    for (size_t i = 0; i < net.sub_count; i++)
        if (strcmp(net.subs[i].subject, subject) == 0)
            return true;
    return false;
}

static const char *health(void)
{
    size_t n = net.count;
    send_to(CONTROL "health", "_H", "", NULL);
    CHECK_INT(net.count, n + 1);
    return (const char *)net.sent[n].data.ptr;
}

/* A call from source; its accept's reply subject, to prove that we heard it. */
static const char *call(const char *source, const char *name)
{
    size_t n = net.count;
    send_to(GET, "_C.1", "", (const char *const[]){"source-id", source, "link-name", name, NULL});
    CHECK(net.count > n);
    return net.sent[n].reply;
}

static void heard(const char *rs)
{
    char subject[200];
    snprintf(subject, sizeof subject, "%s.params", rs);
    struct wcp_msg m = fake_message(&net, subject, NULL, (struct wcp_bytes){0}, NULL);
    instance_message(instance, fake_sub(&net, "_INBOX.me.>"), &m);
    fake_done(&net, &m);
}

static void tick(uint64_t ms)
{
    net.now_ms += ms;
    instance_tick(instance);
}

static void left_all(void)
{
    for (size_t i = 0; i < net.sub_count; i++)
        if (net.subs[i].left)
            instance_left(instance, (int)i);
}

static const struct fake_msg *last(void)
{
    return &net.sent[net.count - 1];
}

TEST(control_is_subscribed_before_start_and_functions_after_the_links)
{
    start(LINK("a", "one", "{}") "," LINK("b", "two", "{}"));
    CHECK_STR(story, "start; up one; up two; ");
    CHECK_STR(net.subs[0].subject, "_INBOX.me.>");
    CHECK_STR(net.subs[1].subject, "wasmbus.rpc.lat." XKEY ".linkdefs.put");
    CHECK_STR(net.subs[net.sub_count - 1].subject, GET);
    CHECK_STR(net.subs[net.sub_count - 1].queue, "lat.kv");
    CHECK_STR(wcp_instance_id(instance), "kv");
    CHECK_STR(wcp_provider_config(instance, "K"), "0");
    CHECK_STR(wcp_provider_secret(instance, "pw"), "s");
    CHECK(!wcp_provider_secret(instance, "x"));
    CHECK(wcp_instance_data(instance));
    CHECK((void *)wcp_loop(instance) == (void *)story);
    CHECK_INT(instance_next(instance), TIMER_NEVER);
    stop();
    CHECK_STR(story, "start; up one; up two; down two; down one; stop; ");
}

TEST(a_failing_start_is_an_error_of_instance_start)
{
    struct wcp_err err = {0};
    start_fails = "no licence";
    make(false, LINK("a", "one", "{}"));
    CHECK_INT(instance_start(instance, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "no licence");
    stop();
    CHECK_STR(story, "start; ");
}

TEST(an_instance_that_never_started_can_be_freed)
{
    make(true, "");
    stop();
    CHECK_STR(story, "");
}

TEST(initial_links_that_fail_show_in_health_and_stop_nothing)
{
    up_fails = "no backend";
    start(LINK("a", "one", "{}") ",{\"bad\":1}");
    CHECK_STR(health(), "{\"healthy\":false,\"message\":\"link 'one' from 'a': no backend\"}");
    CHECK(subscribed(GET));
    CHECK_INT(instance_malformed(instance), 1);
    up_fails = NULL;
    net.now_ms += 1000;
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    CHECK_STR(health(), "{\"healthy\":true}");
    stop();
}

TEST(a_call_runs_over_its_link)
{
    start(LINK("a", "one", "{}"));
    const char *rs = call("a", "one");
    CHECK_STR(story, "start; up one; call one; ");
    heard(rs);
    CHECK_STR(last()->subject, "_C.1.results");
    CHECK_INT(last()->data.len, 0);
    stop();
}

TEST(a_call_waits_for_its_link)
{
    start("");
    const char *rs = call("a", "one");
    CHECK_STR(story, "start; ");
    send_to("wasmbus.rpc.lat." XKEY ".linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    CHECK_STR(story, "start; up one; call one; ");
    heard(rs);
    stop();
}

TEST(both_copies_of_a_put_are_one_link_and_a_del_waits_for_calls)
{
    start("");
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{\"x\":\"1\"}"), NULL);
    send_to("wasmbus.rpc.lat." XKEY ".linkdefs.put", NULL, LINK("a", "one", "{\"x\":\"1\"}"), NULL);
    CHECK_STR(story, "start; up one; ");
    answer_at_once = false;
    heard(call("a", "one"));
    send_to(CONTROL "linkdefs.del", NULL, LINK("a", "one", "{}"), NULL);
    tick(100);
    CHECK_STR(story, "start; up one; call one; ");
    wcp_reply(held, NULL);
    CHECK(instance_next(instance) <= net.now_ms);
    tick(0);
    CHECK_STR(story, "start; up one; call one; down one; ");
    stop();
}

TEST(a_changed_configuration_is_told_and_an_equal_one_is_not)
{
    start("");
    const char *old = wcp_provider_config(instance, "k");
    send_to(CONTROL "config.update", NULL, "{\"k\":\"0\"}", NULL);
    CHECK_STR(story, "start; ");
    send_to(CONTROL "config.update", NULL, "{\"k\":\"1\",\"m\":\"2\"}", NULL);
    CHECK_STR(story, "start; config 1; ");
    CHECK_STR(old, "0"); /* lives as long as the instance */
    send_to(CONTROL "config.update", NULL, "{\"m\":2}", NULL);
    CHECK_STR(wcp_provider_config(instance, "m"), "2");
    CHECK_INT(instance_malformed(instance), 1);
    stop();
}

static void change_secret(const char *value)
{
    struct secrets s = {0};
    CHECK_INT(
        secrets_put(&s, "pw", (struct wcp_bytes){(const uint8_t *)value, strlen(value)}, NULL), 0);
    instance_secrets(instance, &s);
    CHECK(!s.at); /* taken */
}

TEST(changed_secrets_are_told_and_links_see_them_only_without_a_host)
{
    start(LINK("a", "one", "{}"));
    CHECK_STR(wcp_provider_secret(instance, "pw"), "s");
    change_secret("s");
    CHECK_STR(story, "start; up one; ");
    change_secret("t");
    CHECK_STR(wcp_provider_secret(instance, "pw"), "t");
    CHECK_STR(story, "start; up one; config 0; ");
    stop();
    story[0] = '\0';
    make(true, LINK("a", "one", "{}"));
    change_secret("early");
    CHECK_INT(instance_start(instance, NULL), 0);
    CHECK_STR(story, "start; up one; ");
    change_secret("later");
    tick(0);
    CHECK_STR(story, "start; up one; config 0; up one; down one; ");
    struct config c = {0};
    config_put(&c, "k", "9");
    instance_config(instance, &c);
    CHECK_STR(story, "start; up one; config 0; up one; down one; config 9; up one; ");
    instance_drain(instance, 0);
    change_secret("too late");
    CHECK_STR(story, "start; up one; config 0; up one; down one; config 9; up one; ");
    stop();
}

TEST(a_host_stops_an_idle_provider_at_once)
{
    start(LINK("a", "one", "{}"));
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    CHECK_INT(done_count, 0);
    left_all();
    tick(0);
    CHECK_STR(story, "start; up one; down one; stop; ");
    CHECK_STR(last()->subject, "_S");
    CHECK_STR((const char *)last()->data.ptr, "shutting down");
    CHECK_INT(done_count, 1);
    CHECK_INT(done_status, 0);
    for (size_t i = 1; i < net.sub_count; i++)
        CHECK(net.subs[i].left);
    tick(1000);
    instance_drain(instance, 0);
    tick(1000);
    CHECK_INT(done_count, 1);
    CHECK_INT(instance_next(instance), TIMER_NEVER);
    stop();
    CHECK_STR(story, "start; up one; down one; stop; ");
}

TEST(a_host_gets_its_answer_within_250_ms_whatever_runs)
{
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    left_all();
    size_t sent = net.count;
    for (uint64_t end = net.now_ms + 249; instance_next(instance) <= end;)
        tick(instance_next(instance) - net.now_ms);
    CHECK_INT(done_count, 0);
    CHECK_INT(net.count, sent);
    CHECK_STR(health(), "{\"healthy\":true}");
    tick(250);
    CHECK_STR(story, "start; up one; call one; down one; stop; ");
    CHECK_LOGGED("leaving: 1 calls did not end in time and are cut off");
    /* The caller hears the end, then the host its answer, which is the last word. */
    CHECK_STR(net.sent[net.count - 2].subject, "_C.1.results");
    CHECK_STR(last()->subject, "_S");
    CHECK_INT(done_count, 1);
    wcp_reply(held, NULL); /* still owed, and dropped */
    stop();
}

TEST(leaving_takes_no_more_time_than_the_calls_do)
{
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    instance_drain(instance, 0); /* SIGTERM */
    left_all();
    tick(5000);
    CHECK_INT(done_count, 0);
    wcp_reply(held, NULL);
    tick(10);
    CHECK_INT(done_count, 1);
    CHECK_STR(story, "start; up one; call one; down one; stop; ");
    stop();
}

TEST(leaving_still_serves_what_was_on_the_way)
{
    start(LINK("a", "one", "{}"));
    instance_drain(instance, 0);
    tick(0);
    CHECK(net.subs[fake_sub(&net, GET)].left);
    heard(call("a", "one"));
    CHECK(strstr(story, "call one"));
    /* ... also over a link that has just been put; but links for our own calls are not begun */
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "two", "{}"), NULL);
    heard(call("a", "two"));
    CHECK(strstr(story, "call two"));
    send_to(CONTROL "linkdefs.put", NULL,
            "{\"source_id\":\"kv\",\"target\":\"b\",\"name\":\"out\",\"wit_namespace\":\"wasi\","
            "\"wit_package\":\"keyvalue\"}",
            NULL);
    CHECK(!strstr(story, "up out"));
    CHECK_INT(done_count, 0);
    left_all();
    tick(0);
    CHECK_INT(done_count, 1);
    stop();
}

TEST(a_second_drain_only_shortens)
{
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    instance_drain(instance, 1000);
    instance_drain(instance, 5000);
    left_all();
    tick(999);
    CHECK_INT(done_count, 0);
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    tick(1);
    CHECK_INT(done_count, 1);
    CHECK_STR(last()->subject, "_S");
    wcp_call_fail(held, "too late");
    stop();
}

TEST(a_host_message_shortens_a_drain_to_its_250_ms)
{
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    instance_drain(instance, 0);
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    send_to(CONTROL "default.shutdown", "_S2", "{\"host_id\":\"NOTHER\"}", NULL);
    tick(249);
    CHECK_INT(done_count, 0);
    tick(1);
    CHECK_INT(done_count, 1);
    CHECK_STR(last()->subject, "_S");
    wcp_reply(held, NULL);
    stop();
}

TEST(leaving_does_not_wait_for_a_lost_connection)
{
    start(LINK("a", "one", "{}"));
    instance_disconnected(instance);
    instance_drain(instance, 0); /* nobody says that the subscriptions are left */
    tick(9999);
    CHECK_INT(done_count, 0);
    tick(1);
    CHECK_INT(done_count, 1);
    stop();
}

TEST(a_host_waits_no_longer_for_who_has_a_longer_limit)
{
    def.limits.drain_ms = 60000;
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    left_all();
    tick(250);
    CHECK_INT(done_count, 1);
    wcp_reply(held, NULL);
    stop();
}

TEST(the_operators_drain_limit_goes_before_the_providers)
{
    def.limits.drain_ms = 50;
    drain_ms = 70;
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    instance_drain(instance, 0);
    left_all();
    tick(69);
    CHECK_INT(done_count, 0);
    tick(1);
    CHECK_INT(done_count, 1);
    wcp_reply(held, NULL);
    stop();
}

TEST(the_providers_own_drain_limit_counts)
{
    def.limits.drain_ms = 50;
    start(LINK("a", "one", "{}"));
    answer_at_once = false;
    heard(call("a", "one"));
    instance_drain(instance, 0);
    left_all();
    tick(50);
    CHECK_INT(done_count, 1);
    wcp_reply(held, NULL);
    stop();
}

/* --- standalone --- */

#define KVLINK(source, names)                                                                      \
    "{\"source_id\":\"" source                                                                     \
    "\",\"target\":\"kv\",\"name\":\"default\",\"wit_namespace\":\"wasi\","                        \
    "\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\"],\"source_config\":[],\"target_"       \
    "config\":[" names "]}"

/* What the admin port would say. */
static void check_metric(const char *name, uint64_t value)
{
    struct wcp_buf b = {0};
    char line[100];
    snprintf(line, sizeof line, "\n%s %llu\n", name, (unsigned long long)value);
    instance_metrics(instance, "p", &b);
    wcp_buf_put(&b, "", 1);
    if (!strstr((const char *)b.ptr, line))
        FAIL("%s is not %llu", name, (unsigned long long)value);
    wcp_buf_free(&b);
}

static void start_standalone(void)
{
    struct wcp_err err = {0};
    make(true, "");
    if (instance_start(instance, &err))
        FAIL("%s", err.msg);
}

#define L "LATTICEDATA_lat"
#define C "CONFIGDATA_lat"

/* JetStream answers, and what follows happens. */
static void run_js(uint64_t ms)
{
    tick(ms);
    for (int i = 0; i < 3; i++) {
        js_run(&net, deliver);
        tick(0);
    }
}

/* As long as nothing happens in a healthy lattice: what is watched lives. */
static void quiet(uint64_t ms)
{
    for (uint64_t end = net.now_ms + ms; net.now_ms < end;) {
        js_heartbeat(&net, NULL, deliver);
        run_js(end - net.now_ms < 5000 ? end - net.now_ms : 5000);
    }
}

TEST(standalone_serves_when_the_links_of_the_lattice_are_up)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "\"cfg\"") "]}");
    js_put(C, "cfg", "{\"url\":\"u\"}");
    start_standalone();
    CHECK_STR(story, "start; ");
    CHECK(subscribed(CONTROL "linkdefs.put"));
    CHECK(!subscribed(GET));
    CHECK_INT(serving, 0);
    run_js(0);
    CHECK_STR(story, "start; up default; ");
    CHECK(subscribed(GET));
    CHECK_INT(serving, 1);
    CHECK_INT(instance_next(instance), net.now_ms + 15000); /* heartbeats are due */
    heard(call("a", "default"));
    CHECK_STR(story, "start; up default; call default; ");
    stop();
}

TEST(standalone_follows_the_buckets)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "\"cfg\"") "]}");
    js_put(C, "cfg", "{\"url\":\"u\"}");
    start_standalone();
    run_js(0);
    js_put(C, "cfg", "{\"url\":\"v\"}"); /* new content: a new link, then the old one goes */
    run_js(0);
    CHECK_STR(story, "start; up default; up default; down default; ");
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    run_js(0);
    CHECK_STR(story, "start; up default; up default; down default; up default; ");
    js_put(L, "COMPONENT_a", "{\"links\":[]}");
    run_js(0);
    run_js(999); /* a's host follows later, perhaps */
    CHECK_STR(story, "start; up default; up default; down default; up default; ");
    run_js(1);
    CHECK_STR(story, "start; up default; up default; down default; up default; down default; ");
    CHECK_INT(serving, 1);
    stop();
}

TEST(standalone_link_that_is_put_has_a_minute_to_get_into_the_bucket)
{
    js_make(L);
    js_make(C);
    start_standalone();
    run_js(0);
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    send_to(CONTROL "linkdefs.put", NULL, LINK("b", "default", "{}"), NULL);
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    quiet(59999);
    CHECK_STR(story, "start; up one; up default; ");
    quiet(1);
    CHECK_STR(story, "start; up one; up default; down one; ");
    stop();
}

TEST(standalone_link_that_was_in_the_bucket_has_no_such_grace)
{
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    send_to(CONTROL "linkdefs.put", NULL, LINK("b", "default", "{}"), NULL);
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    send_to(CONTROL "linkdefs.put", NULL, LINK("c", "default", "{}"), NULL);
    js_put(L, "COMPONENT_c", "{\"links\":[" KVLINK("c", "") "]}");
    run_js(0);
    CHECK_STR(story, "start; up default; up one; up default; ");
    js_put(L, "COMPONENT_b", NULL);
    js_put(L, "COMPONENT_c", NULL);
    run_js(0);
    run_js(1000);
    CHECK_STR(story, "start; up default; up one; up default; down default; down default; ");
    js_put(L, "COMPONENT_d", "{\"links\":[" KVLINK("d", "") "]}");
    run_js(0);
    story[0] = '\0';
    send_to(CONTROL "linkdefs.put", NULL, LINK("d", "default", "{}"), NULL); /* it is known */
    js_put(L, "COMPONENT_d", NULL);
    run_js(0);
    run_js(1000);
    CHECK_STR(story, "down default; ");
    stop();
}

TEST(standalone_put_with_other_content_than_the_bucket_holds_for_a_minute)
{
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    send_to(CONTROL "linkdefs.put", NULL, LINK("b", "default", "{\"x\":\"1\"}"), NULL);
    quiet(59999);
    CHECK_STR(story, "start; up default; up default; down default; ");
    quiet(1);
    CHECK_STR(story, "start; up default; up default; down default; up default; down default; ");
    stop();
}

TEST(standalone_without_jetstream_says_so_once_and_goes_on)
{
    js.off = true;
    start_standalone();
    run_js(0);
    CHECK_LOGGED("the lattice's links cannot be read");
    CHECK_LOGGED("nats-server -js starts it");
    CHECK(subscribed(GET));
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    CHECK_STR(story, "start; up one; ");
    for (int i = 0; i < 20; i++) {
        CHECK(instance_next(instance) <= net.now_ms + 60000);
        run_js(instance_next(instance) - net.now_ms);
    }
    CHECK_LOGGED("the lattice's links cannot be read"); /* one line */
    check_metric("wcp_lattice_outages_total", 1);
    CHECK_STR(story, "start; up one; ");
    /* ... and found when it is there; the link that was put is not in it, and it is long ago. */
    js.off = false;
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    run_js(60000);
    CHECK_STR(story, "start; up one; up default; down one; ");
    stop();
}

TEST(standalone_looks_again_when_a_call_has_no_link)
{
    js.off = true;
    start_standalone();
    run_js(0);
    for (int i = 0; i < 6; i++)
        run_js(60000);
    js.off = false;
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    run_js(30000);
    CHECK_STR(story, "start; ");
    heard(call("b", "default"));
    for (int i = 0; i < 3; i++)
        run_js(0);
    CHECK_STR(story, "start; up default; call default; ");
    stop();
}

TEST(many_calls_without_a_link_do_not_become_many_readings)
{
    js.off = true;
    start_standalone();
    run_js(0);
    for (int i = 0; i < 6; i++)
        run_js(60000);
    js.requests = 0;
    for (int i = 0; i < 2000; i++) {
        call("x", "default");
        for (int k = 0; k < 3; k++)
            run_js(k == 0);
    }
    CHECK_INT(js.requests, 2); /* once a second */
    stop();
}

TEST(a_call_that_waits_for_its_link_fails_when_that_fails)
{
    start("");
    heard(call("a", "one"));
    up_fails = "no backend";
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    CHECK_LOGGED("its link 'one' does not work: no backend");
    stop();
}

TEST(who_has_a_host_is_told_its_links_by_it)
{
    start("");
    heard(call("x", "default"));
    tick(10000);
    CHECK_INT(js.requests, 0);
    stop();
}

TEST(the_operators_wait_for_links_goes_before_the_providers)
{
    def.limits.link_wait_ms = 50;
    link_wait_ms = 70;
    start("");
    heard(call("x", "default"));
    tick(69);
    CHECK_INT(capture_count("no link 'default' from 'x'"), 0);
    tick(1);
    CHECK_LOGGED("no link 'default' from 'x' to 'kv' for wrpc:keyvalue/store@0.2.0-draft came "
                 "within 70 ms");
    stop();
}

TEST(the_links_are_told_with_who_tells_them)
{
    start(LINK("a", "one", "{\"url\":\"secret\"}"));
    send_to("wasmbus.rpc.lat.links", "_L", "", NULL);
    CHECK_STR(last()->subject, "_L");
    CHECK_STR((const char *)last()->data.ptr,
              "{\"provider_id\":\"kv\",\"host_id\":\"NHOST\",\"links\":[{\"source_id\":\"a\","
              "\"target\":\"kv\",\"name\":\"one\",\"wit_namespace\":\"wasi\",\"wit_package\":"
              "\"keyvalue\",\"interfaces\":[\"store\"],\"state\":\"ready\",\"for_ms\":0,"
              "\"attempts\":1,\"calls\":0}],\"omitted\":0}");
    net.t.max_payload = 200;
    send_to(CONTROL "links", "_L", "", NULL);
    CHECK(last()->data.len <= 200);
    CHECK_STR((const char *)last()->data.ptr,
              "{\"provider_id\":\"kv\",\"host_id\":\"NHOST\",\"links\":[],\"omitted\":1}");
    stop();
}

/* The last event of that name; "" without one. */
static const char *last_event(const char *name)
{
    char subject[100];
    snprintf(subject, sizeof subject, "wasmbus.evt.lat.%s", name);
    for (size_t i = net.count; i-- > 0;)
        if (strcmp(net.sent[i].subject, subject) == 0)
            return strstr((const char *)net.sent[i].data.ptr, "\"data\":");
    return "";
}

TEST(who_is_its_own_host_publishes_what_becomes_of_its_links)
{
    registered = true;
    start_standalone();
    js_run(&net, deliver);
    up_fails = "no";
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    CHECK_STR(last_event("link_state_changed"),
              "\"data\":{\"host_id\":\"NHOST\",\"provider_id\":\"kv\",\"source_id\":\"a\","
              "\"target\":\"kv\",\"name\":\"one\",\"wit_namespace\":\"wasi\",\"wit_package\":"
              "\"keyvalue\",\"interfaces\":[\"store\"],\"state\":\"failed\",\"reason\":\"no\"}}");
    up_fails = NULL;
    tick(1000);
    CHECK(strstr(last_event("link_state_changed"), "\"state\":\"ready\"}}"));
    send_to(CONTROL "linkdefs.del", NULL, LINK("a", "one", "{}"), NULL);
    CHECK(strstr(last_event("link_state_changed"), "\"state\":\"draining\"}}"));
    stop();
}

TEST(who_has_a_host_publishes_no_events)
{
    start(LINK("a", "one", "{}"));
    CHECK_STR(last_event("link_state_changed"), "");
    stop();
}

TEST(standalone_looks_again_when_a_link_is_put)
{
    start_standalone();
    run_js(0);
    for (int i = 0; i < 6; i++)
        run_js(60000);
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    run_js(30000);
    CHECK_STR(story, "start; ");
    send_to(CONTROL "linkdefs.put", NULL, LINK("b", "one", "{}"), NULL);
    run_js(0);
    CHECK_STR(story, "start; up one; up default; ");
    stop();
}

TEST(standalone_goes_on_after_a_time_out)
{
    js.silent = true;
    start_standalone();
    run_js(1999);
    CHECK(!subscribed(GET));
    run_js(1);
    CHECK(subscribed(GET));
    CHECK_LOGGED("JetStream did not answer within 2000 ms");
    stop();
}

TEST(standalone_reads_again_after_a_reconnect)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    CHECK_STR(story, "start; up default; up default; ");
    instance_disconnected(instance);
    js_put(L, "COMPONENT_b", "{\"links\":[]}");
    js_put(L, "COMPONENT_c", "{\"links\":[" KVLINK("c", "\"none\"") "]}");
    run_js(100000);
    CHECK_STR(story, "start; up default; up default; ");
    instance_reconnected(instance);
    run_js(0);
    run_js(1000);
    CHECK_STR(story, "start; up default; up default; down default; ");
    CHECK_STR(health(), "{\"healthy\":false,\"message\":\"link 'default' from 'c': config 'none' "
                        "is not in CONFIGDATA_lat\"}");
    stop();
}

TEST(standalone_keeps_its_links_when_their_bucket_is_gone)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    js_drop(L);
    for (int i = 0; i < 10; i++)
        run_js(15000);
    CHECK_STR(story, "start; up default; ");
    CHECK_LOGGED("the lattice's links are gone with their bucket: those that are known are kept");
    check_metric("wcp_lattice_outages_total", 1);
    stop();
}

TEST(standalone_waits_a_minute_before_it_follows_a_bucket_that_has_lost_writes)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    js_drop(L);
    js_make(L); /* empty */
    for (int i = 0; i < 3; i++)
        run_js(5000);
    CHECK_LOGGED("the bucket of the lattice's links has lost writes");
    check_metric("wcp_lattice_rewinds_total", 1);
    quiet(30000);
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}"); /* somebody restores it */
    quiet(29999);
    CHECK_STR(story, "start; up default; up default; ");
    quiet(1);
    quiet(1000); /* hosts have followed, too */
    CHECK_STR(story, "start; up default; up default; down default; ");
    heard(call("b", "default"));
    CHECK(strstr(story, "call default"));
    stop();
}

TEST(standalone_survives_losing_the_connection_while_it_reads)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    start_standalone();
    instance_disconnected(instance);
    tick(0);
    CHECK_LOGGED("the connection was lost");
    CHECK(subscribed(GET));
    instance_reconnected(instance);
    instance_reconnected(instance);
    run_js(0);
    CHECK_STR(story, "start; up default; ");
    stop();
}

TEST(standalone_can_leave_or_be_freed_while_it_reads)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    start_standalone();
    instance_drain(instance, 0);
    tick(0);
    CHECK_INT(done_count, 1);
    js_run(&net, deliver);
    CHECK_STR(story, "start; stop; ");
    CHECK(!subscribed(GET));
    stop();
    story[0] = '\0';
    start_standalone();
    stop();
    CHECK_STR(story, "start; stop; ");
}

TEST(standalone_takes_no_links_once_it_has_left_the_queue_groups)
{
    js_make(L);
    js_make(C);
    start_standalone();
    run_js(0);
    answer_at_once = false;
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
    heard(call("a", "one"));
    instance_drain(instance, 0);
    js_put(L, "COMPONENT_b", "{\"links\":[" KVLINK("b", "") "]}");
    run_js(0);
    CHECK_STR(story, "start; up one; call one; up default; "); /* b may call already */
    left_all();
    js_put(L, "COMPONENT_c", "{\"links\":[" KVLINK("c", "") "]}");
    run_js(0);
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "two", "{}"), NULL);
    CHECK_STR(story, "start; up one; call one; up default; ");
    wcp_reply(held, NULL);
    tick(10);
    CHECK_INT(done_count, 1);
    stop();
}

TEST(standalone_links_of_a_file_stay_whatever_the_buckets_and_messages_say)
{
    struct hostdata hd = {.provider_id = (char[]){"kv"}};
    struct wcp_err err = {0};
    static const char json[] = "[" LINK("a", "default", "{\"x\":\"1\"}") "]";
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    js_make(C);
    CHECK_INT(
        local_links_parse((struct wcp_bytes){(const uint8_t *)json, sizeof json - 1}, &hd, &err),
        0);
    local_links = hd.local_links;
    start_standalone();
    run_js(0);
    js_put(L, "COMPONENT_a", "{\"links\":[]}");
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "default", "{}"), NULL);
    send_to(CONTROL "linkdefs.del", NULL, LINK("a", "default", "{}"), NULL);
    quiet(120000);
    CHECK_STR(story, "start; up default; ");
    /* But it is made anew, once, by what the provider itself is told. */
    story[0] = '\0';
    struct config c = {0};
    config_put(&c, "k", "9");
    instance_config(instance, &c);
    tick(0);
    CHECK_STR(story, "config 9; up default; down default; ");
    story[0] = '\0';
    change_secret("new");
    tick(0);
    CHECK_STR(story, "config 9; up default; down default; ");
    stop();
}

TEST(lost_control_messages_are_logged_and_the_links_compared_again)
{
    js_put(L, "COMPONENT_a", "{\"links\":[" KVLINK("a", "") "]}");
    js_make(C);
    start_standalone();
    run_js(0);
    send_to(CONTROL "linkdefs.del", NULL, LINK("a", "default", "{}"), NULL); /* its put is lost */
    tick(0);
    CHECK_STR(story, "start; up default; down default; ");
    instance_lost(instance, fake_sub(&net, CONTROL "linkdefs.put"));
    run_js(0);
    CHECK_LOGGED("control messages were dropped");
    CHECK_STR(story, "start; up default; down default; up default; ");
    instance_lost(instance, 12345);
    instance_left(instance, 12345);
    instance_writable(instance);
    stop();
}

/* --- a host of its own: the commands are in test_host.c --- */

#define CTL "wasmbus.ctl.v1.lat."

static size_t count_sent(const char *subject, const char *part)
{
    size_t n = 0;
    for (size_t i = 0; i < net.count; i++)
        n += strcmp(net.sent[i].subject, subject) == 0 &&
             strstr((const char *)net.sent[i].data.ptr, part) != NULL;
    return n;
}

static void start_registered(void)
{
    registered = true;
    js.off = true;
    start_standalone();
    for (size_t i = 0; i < net.count; i++) /* nothing is told before it serves */
        CHECK(strncmp(net.sent[i].subject, "$JS.API.", 8) == 0);
    run_js(0);
    CHECK_INT(serving, 1);
    CHECK_INT(count_sent("wasmbus.evt.lat.provider_started", "\"source\":\"NHOST\""), 1);
    CHECK_INT(count_sent("wasmbus.evt.lat.health_check_passed", "\"provider_id\":\"kv\""), 1);
    send_to(CONTROL "linkdefs.put", NULL, LINK("a", "one", "{}"), NULL);
}

TEST(registered_answers_as_a_host_once_it_serves)
{
    start_registered();
    send_to(CTL "host.ping", "_P", "", NULL);
    CHECK_INT(count_sent("_P", "\"id\":\"NHOST\""), 1);
    up_fails = "no backend";
    send_to(CONTROL "linkdefs.put", NULL, LINK("b", "two", "{}"), NULL);
    tick(30000);
    CHECK_INT(count_sent("wasmbus.evt.lat.health_check_failed", "\"provider_id\":\"kv\""), 1);
    stop();
}

TEST(registered_leaves_when_told_and_answers_in_time)
{
    start_registered();
    answer_at_once = false;
    heard(call("a", "one"));
    send_to(CTL "provider.*.NHOST", "_X", "{}", NULL); /* no such command */
    CHECK_INT(count_sent("_X", "unsupported subject"), 1);
    struct wcp_msg m =
        fake_message(&net, CTL "provider.stop.NHOST", "_S",
                     (struct wcp_bytes){(const uint8_t *)"{\"provider_id\":\"kv\"}", 20}, NULL);
    instance_message(instance, fake_sub(&net, CTL "provider.*.NHOST"), &m);
    fake_done(&net, &m);
    left_all();
    CHECK(net.subs[fake_sub(&net, GET)].left);
    tick(999);
    CHECK_INT(count_sent("_S", ""), 0);
    tick(1);
    CHECK_INT(count_sent("_S", "successfully stopped provider"), 1);
    CHECK_INT(done_count, 0); /* the call still runs */
    wcp_reply(held, NULL);
    tick(10);
    CHECK_INT(done_count, 1);
    CHECK_INT(count_sent("wasmbus.evt.lat.provider_stopped", ""), 1);
    stop();
}

TEST(registered_obeys_shutdowns_meant_for_itself)
{
    start_registered();
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NOTHER\"}", NULL);
    CHECK_INT(net.subs[fake_sub(&net, GET)].left, 0);
    send_to(CONTROL "default.shutdown", "_S", "{\"host_id\":\"NHOST\"}", NULL);
    left_all();
    tick(0);
    CHECK_INT(done_count, 1);
    CHECK_INT(count_sent("_S", "shutting down"), 1);
    CHECK_INT(count_sent("wasmbus.evt.lat.provider_stopped", ""), 1);
    stop();
}

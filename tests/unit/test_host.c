/* test_host.c: a standalone provider as a host: commands, events, heartbeats, leaving. */
#include "lattice/host.h"
#include "capture.h"
#include "fake_transport.h"
#include "lattice/json.h"

#define ID  "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB"
#define CTL "wasmbus.ctl.v1.lat."

static struct fake net;
static struct events events;
static struct registration registration;
static struct host *host;
static bool healthy;
static size_t stops;
static uint32_t stop_limit;

static char image[] = "outrigger/kv:1", box[] = "kv-box", provider[] = "keyvalue",
            version[] = "0.1.0";

static int64_t wall_us(void)
{
    return 0;
}

static bool is_healthy(void *ctx)
{
    return healthy;
}

static void on_stop(void *ctx, uint32_t limit_ms)
{
    stops++;
    stop_limit = limit_ms;
    host_leaving(host);
}

/* wadm: with host events; events of the start are taken. */
static void make(bool wadm)
{
    capture_start();
    fake_init(&net);
    healthy = true;
    events = (struct events){.t = &net.t, .lattice = "lat", .source = ID, .wall_us = wall_us};
    registration = (struct registration){.on = true,
                                         .wadm_host = wadm,
                                         .image = image,
                                         .friendly_name = box,
                                         .provider_name = provider,
                                         .version = version};
    config_put(&registration.labels, "zone", "a");
    host = host_new(&(struct host_config){.events = &events,
                                          .registration = &registration,
                                          .provider_id = "kv",
                                          .healthy = is_healthy,
                                          .stop = on_stop});
}

static void start(void)
{
    make(false);
    host_start(host);
    net.seen = net.count;
}

static void stop(void)
{
    host_free(host);
    config_free(&registration.labels);
    fake_close(&net);
}

static void tick(uint64_t ms)
{
    net.now_ms += ms;
    host_tick(host);
}

/* Delivers to the subscription for subject, wildcards included. */
static void send_to(const char *subject, const char *reply, const char *data)
{
    struct wcp_msg m = fake_message(&net, subject, reply,
                                    (struct wcp_bytes){(const uint8_t *)data, strlen(data)}, NULL);
    char pattern[200], word[20] = "";
    (void)sscanf(subject, CTL "%19[^.]", word);
    if (strstr(subject, ID))
        snprintf(pattern, sizeof pattern, CTL "%s.*." ID, word);
    else
        snprintf(pattern, sizeof pattern, "%s", subject);
    CHECK(host_message(host, fake_sub(&net, pattern), &m));
    fake_done(&net, &m);
}

/* The next thing published must be on that subject; its text. */
static const char *next(const char *subject)
{
    const struct fake_msg *m = fake_take(&net);
    if (!m)
        FAIL("nothing was published, %s expected", subject);
    CHECK_STR(m->subject, subject);
    return (const char *)m->data.ptr;
}

static void nothing(void)
{
    const struct fake_msg *m = fake_take(&net);
    if (m)
        FAIL("%s was published: %s", m->subject, (const char *)m->data.ptr);
}

/* The data of the next event, which must have that name, as text. */
static const char *event(const char *name)
{
    char subject[100];
    snprintf(subject, sizeof subject, "wasmbus.evt.lat.%s", name);
    const char *data = strstr(next(subject), "\"data\":");
    CHECK(data);
    return data + 7;
}

static const char *ask(const char *command, const char *data)
{
    char subject[200];
    snprintf(subject, sizeof subject, CTL "%s." ID, command);
    send_to(subject, "_R", data);
    return next("_R");
}

#define REFUSED(why) "{\"success\":false,\"message\":\"" why "\"}"
#define DONE(what)   "{\"success\":true,\"message\":\"" what "\"}"
#if defined __x86_64__
#define ARCH "x86_64"
#else
#define ARCH "aarch64"
#endif
#define LABELS                                                                                     \
    "\"labels\":{\"hostcore.arch\":\"" ARCH "\",\"hostcore.os\":\"linux\","                        \
    "\"hostcore.osfamily\":\"unix\",\"outrigger.dev/provider\":\"kv\",\"zone\":\"a\"}"

TEST(host_answers_a_ping)
{
    start();
    net.now_ms += 3723000;
    send_to(CTL "host.ping", "_R", "");
    CHECK_STR(next("_R"), "{\"success\":true,\"message\":\"\",\"response\":{"
                          "\"friendly_name\":\"kv-box\"," LABELS ",\"version\":\"0.1.0\","
                          "\"uptime_human\":\"1h 2m 3s\",\"uptime_seconds\":3723,\"id\":\"" ID
                          "\",\"lattice\":\"lat\"}}");
    send_to(CTL "host.ping", NULL, ""); /* nobody wants to know */
    nothing();
    stop();
}

TEST(host_shows_its_provider_in_the_inventory)
{
    start();
    CHECK_STR(ask("host.get", "anything"),
              "{\"success\":true,\"message\":\"\",\"response\":{"
              "\"friendly_name\":\"kv-box\"," LABELS ",\"version\":\"0.1.0\","
              "\"uptime_human\":\"0s\",\"uptime_seconds\":0,\"host_id\":\"" ID
              "\",\"components\":[],\"providers\":[{\"id\":\"kv\",\"image_ref\":\"outrigger/kv:1\","
              "\"name\":\"keyvalue\",\"revision\":0,\"annotations\":{}}]}}");
    host_leaving(host);
    CHECK(strstr(ask("host.get", ""), "\"providers\":[]"));
    stop();
}

TEST(host_tells_its_uptime_as_people_do)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } cases[] = {{0, "0s"},
                 {59, "59s"},
                 {60, "1m"},
                 {3600, "1h"},
                 {86400, "1day"},
                 {2 * 86400 + 1, "2days 1s"},
                 {90061, "1day 1h 1m 1s"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[60];
        start();
        net.now_ms += cases[i].seconds * 1000;
        snprintf(expected, sizeof expected, "\"uptime_human\":\"%s\"", cases[i].text);
        CHECK(strstr(ask("host.get", ""), expected));
        stop();
    }
}

TEST(host_joins_no_queue_group_and_leaves_what_it_subscribed)
{
    static const char *const subjects[] = {CTL "host.ping",       CTL "provider.auction",
                                           CTL "component.*." ID, CTL "provider.*." ID,
                                           CTL "label.*." ID,     CTL "host.*." ID};
    start();
    CHECK_INT(net.sub_count, 6);
    for (size_t i = 0; i < 6; i++)
        CHECK(!net.subs[fake_sub(&net, subjects[i])].queue);
    host_end(host);
    for (size_t i = 0; i < 6; i++)
        CHECK(net.subs[i].left);
    CHECK(!host_message(host, 0, &(struct wcp_msg){0}));
    stop();
}

TEST(host_that_is_none_does_nothing)
{
    host_start(NULL);
    host_check(NULL);
    host_leaving(NULL);
    host_end(NULL);
    host_tick(NULL);
    host_free(NULL);
    CHECK(!host_message(NULL, 0, &(struct wcp_msg){0}));
    CHECK_INT(host_next(NULL), TIMER_NEVER);
}

TEST(host_never_started_says_nothing)
{
    make(true);
    host_check(host);
    host_leaving(host);
    host_end(host);
    nothing();
    stop();
}

TEST(host_labels_can_be_put_and_deleted)
{
    start();
    CHECK_STR(ask("label.put", "{\"key\":\"rack\",\"value\":\"7\"}"),
              DONE("successfully put label"));
    const char *data = event("labels_changed");
    CHECK(strstr(data, "{\"host_id\":\"" ID "\",\"labels\":{") && strstr(data, "\"rack\":\"7\""));
    CHECK_STR(ask("label.put", "{\"key\":\"rack\",\"value\":\"8\"}"),
              DONE("successfully put label"));
    CHECK(strstr(event("labels_changed"), "\"rack\":\"8\""));
    CHECK_STR(ask("label.del", "{\"key\":\"rack\"}"), DONE("successfully deleted label"));
    CHECK(!strstr(event("labels_changed"), "rack"));
    CHECK_STR(ask("label.del", "{\"key\":\"rack\"}"),
              DONE("successfully deleted label (no such label)"));
    CHECK_STR(ask("label.del", "{\"key\":\"Zone\"}"), /* names are exact */
              DONE("successfully deleted label (no such label)"));
    nothing();
    stop();
}

TEST(host_labels_that_say_what_it_is_stay)
{
    start();
    CHECK_STR(ask("label.put", "{\"key\":\"HostCore.os\",\"value\":\"x\"}"),
              REFUSED("HostCore.os says what this host is and cannot be changed"));
    CHECK_STR(ask("label.del", "{\"key\":\"hostcore.os\"}"),
              REFUSED("hostcore.os says what this host is and cannot be changed"));
    CHECK_STR(ask("label.put", "{\"key\":\"outrigger.dev/provider\",\"value\":\"x\"}"),
              REFUSED("outrigger.dev/provider says what this host is and cannot be changed"));
    CHECK_STR(ask("label.del", "{\"key\":\"outrigger.dev/provider\"}"),
              REFUSED("outrigger.dev/provider says what this host is and cannot be changed"));
    CHECK_STR(ask("label.put", "{\"key\":\"\",\"value\":\"x\"}"), REFUSED("a label needs a name"));
    nothing();
    CHECK_INT(capture_count("a command is refused"), 5);
    stop();
}

TEST(host_labels_fit_an_answer)
{
    char json[70000], value[66000];
    start(); /* with 79 bytes of labels and the architecture */
    const size_t most = 65536 - 79 - strlen(ARCH "k");
    for (size_t n = most + 1; n >= most; n--) {
        memset(value, 'x', n);
        value[n] = '\0';
        snprintf(json, sizeof json, "{\"key\":\"k\",\"value\":\"%s\"}", value);
        const char *got = ask("label.put", json);
        if (n > most)
            CHECK_STR(got, REFUSED("65537 bytes of labels found, at most 65536 expected"));
    }
    CHECK(event("labels_changed"));
    CHECK_STR(ask("label.put", json), DONE("successfully put label")); /* the same again */
    stop();
}

#define START(id)                                                                                  \
    "{\"provider_id\":\"" id "\",\"provider_ref\":\"oci://x/kv:2\",\"host_id\":\"" ID              \
    "\",\"config\":[],\"annotations\":{\"wasmcloud.dev/scaler\":\"5f\",\"b\":\"c\"}}"
#define ANNOTATIONS "\"annotations\":{\"wasmcloud.dev/scaler\":\"5f\",\"b\":\"c\"}"

TEST(host_adopts_its_own_provider_once)
{
    start();
    CHECK_STR(ask("provider.start", START("kv")), DONE("successfully started provider"));
    CHECK_STR(event("provider_started"), "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\","
                                         "\"image_ref\":\"oci://x/kv:2\"," ANNOTATIONS "}}");
    CHECK_STR(event("health_check_passed"), "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\"}}");
    nothing();
    CHECK(strstr(ask("host.get", ""), "\"image_ref\":\"oci://x/kv:2\",\"name\":\"keyvalue\","
                                      "\"revision\":0," ANNOTATIONS));
    CHECK_STR(ask("provider.start", START("kv")),
              REFUSED("provider with that ID is already running"));
    host_end(host);
    CHECK_STR(event("provider_stopped"),
              "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\"," ANNOTATIONS
              ",\"reason\":\"stop\"}}");
    nothing();
    stop();
}

TEST(host_adopts_without_annotations_and_says_what_config_it_does_not_use)
{
    start();
    CHECK_STR(ask("provider.start",
                  "{\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"config\":[\"kv-cfg\"]}"),
              DONE("successfully started provider"));
    CHECK(strstr(event("provider_started"), "\"annotations\":{}"));
    CHECK_LOGGED("are not used: this provider was given its own\",\"first\":\"kv-cfg\"");
    stop();
}

TEST(host_starts_nothing_else)
{
    start();
    CHECK_STR(ask("provider.start", START("other")),
              REFUSED("this host runs the provider kv and can start no other: other"));
    CHECK_STR(ask("component.scale", "{}"),
              REFUSED("this host runs no components, only the provider kv: require a label that it "
                      "lacks (it has outrigger.dev/provider)"));
    CHECK(strstr(ask("component.update", ""), "runs no components"));
    host_leaving(host);
    CHECK_STR(ask("provider.start", START("kv")), REFUSED("the provider kv is leaving"));
    nothing();
    stop();
}

TEST(host_answers_in_utf8_when_it_quotes_a_part)
{
    char json[400], id[200] = "x";
    start();
    for (int i = 0; i < 60; i++)
        strcat(id, "\xc3\xbc");
    snprintf(json, sizeof json, "{\"provider_id\":\"%s\",\"provider_ref\":\"r\"}", id);
    const char *got = ask("provider.start", json);
    CHECK(strstr(got, "start no other: x\xc3\xbc"));
    CHECK(wcp_is_utf8((struct wcp_bytes){(const uint8_t *)got, strlen(got)}));
    stop();
}

TEST(host_bounds_what_it_is_adopted_with)
{
    char json[70000], value[66000];
    start();
    for (size_t n = 65535; n >= 65534; n--) { /* and a byte each of ref and key */
        memset(value, 'x', n);
        value[n] = '\0';
        snprintf(json, sizeof json,
                 "{\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"annotations\":{\"a\":\"%s\"}}",
                 value);
        if (n == 65535)
            CHECK_STR(ask("provider.start", json),
                      REFUSED("65537 bytes of provider_ref and annotations found, at most 65536 "
                              "expected"));
        else
            CHECK_STR(ask("provider.start", json), DONE("successfully started provider"));
    }
    stop();
}

#define AUCTION(id, constraints)                                                                   \
    "{\"provider_ref\":\"r\",\"provider_id\":\"" id "\",\"constraints\":{" constraints "}}"

TEST(host_bids_for_its_own_provider_alone)
{
    start();
    send_to(CTL "provider.auction", "_R", AUCTION("kv", "\"zone\":\"a\""));
    CHECK_STR(next("_R"), "{\"success\":true,\"message\":\"\",\"response\":{\"host_id\":\"" ID
                          "\",\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"constraints\":{"
                          "\"zone\":\"a\"}}}");
    send_to(CTL "provider.auction", "_R", AUCTION("kv", "\"zone\":\"b\""));
    send_to(CTL "provider.auction", "_R", AUCTION("kv", "\"Zone\":\"a\""));
    send_to(CTL "provider.auction", "_R", AUCTION("kv", "\"x\":\"a\""));
    send_to(CTL "provider.auction", "_R", AUCTION("default", ""));
    send_to(CTL "provider.auction", "_R", "{");
    send_to(CTL "provider.auction", "_R", "");
    CHECK_INT(capture_count("a command is refused"), 2);
    nothing();
    CHECK(ask("provider.start", START("kv")));
    net.seen = net.count;
    send_to(CTL "provider.auction", "_R", AUCTION("kv", ""));
    nothing();
    stop();
}

TEST(host_stops_its_provider_and_answers_when_it_has_left)
{
    start();
    CHECK_STR(ask("provider.stop", "{\"provider_id\":\"other\"}"),
              REFUSED("provider with that ID is not running"));
    send_to(CTL "provider.stop." ID, "_S", "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\"}");
    CHECK_INT(stops, 1);
    CHECK_INT(stop_limit, 0);
    nothing();
    CHECK_STR(ask("provider.stop", "{\"provider_ref\":\"kv\"}"),
              REFUSED("provider with that ID is not running"));
    tick(300);
    nothing();
    host_end(host);
    CHECK(event("provider_stopped"));
    CHECK_STR(next("_S"), DONE("successfully stopped provider"));
    tick(5000);
    nothing();
    stop();
}

TEST(host_answers_a_stop_before_those_who_wait_give_up)
{
    start();
    send_to(CTL "provider.stop." ID, "_S", "{\"provider_ref\":\"kv\"}");
    tick(999);
    nothing();
    tick(1);
    CHECK(event("provider_stopped"));
    CHECK_STR(next("_S"), DONE("successfully stopped provider"));
    host_end(host);
    nothing();
    stop();
}

TEST(host_stops_itself_when_told)
{
    start();
    CHECK_STR(ask("host.stop", "{\"host_id\":\"" ID "\",\"timeout\":5000}"),
              DONE("successfully handled stop host"));
    CHECK_INT(stops, 1);
    CHECK_INT(stop_limit, 5000);
    CHECK_STR(ask("host.stop", ""), DONE("successfully handled stop host"));
    CHECK_INT(stop_limit, 0);
    stop();
}

TEST(host_publishes_what_the_provider_does)
{
    make(false);
    host_start(host);
    CHECK_STR(event("provider_started"), "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\","
                                         "\"image_ref\":\"outrigger/kv:1\",\"annotations\":{}}}");
    CHECK(event("health_check_passed"));
    nothing();
    tick(5000);
    tick(30000);
    nothing(); /* as before */
    healthy = false;
    host_check(host);
    CHECK_STR(event("health_check_failed"), "{\"host_id\":\"" ID "\",\"provider_id\":\"kv\"}}");
    healthy = true;
    tick(29999);
    nothing();
    tick(1);
    CHECK(event("health_check_passed"));
    healthy = false;
    host_leaving(host);
    host_check(host);
    nothing();
    CHECK_INT(host_next(host), TIMER_NEVER);
    stop();
}

TEST(host_gives_a_provider_some_time_before_it_is_unhealthy)
{
    make(false);
    healthy = false;
    host_start(host);
    CHECK(event("provider_started"));
    host_check(host);
    tick(4999);
    nothing();
    tick(1);
    CHECK(event("health_check_failed"));
    nothing();
    stop();
}

TEST(host_events_come_only_when_asked_for)
{
    make(true);
    host_start(host);
    const char *data = event("host_started");
    CHECK(strstr(data, "\"friendly_name\":\"kv-box\"") && strstr(data, "\"uptime_seconds\":0") &&
          strstr(data, "\"version\":\"0.1.0\"") && strstr(data, "\"zone\":\"a\""));
    CHECK(strstr(event("host_heartbeat"), "\"providers\":[{\"id\":\"kv\""));
    CHECK(event("provider_started"));
    CHECK(event("health_check_passed"));
    tick(29999);
    nothing();
    tick(1);
    CHECK(strstr(event("host_heartbeat"), "\"uptime_seconds\":30"));
    tick(30000);
    CHECK(event("host_heartbeat"));
    host_leaving(host);
    host_end(host);
    CHECK(event("provider_stopped"));
    CHECK(strstr(event("host_stopped"), "{\"labels\":{"));
    tick(60000);
    nothing();
    CHECK_INT(host_next(host), TIMER_NEVER);
    stop();
}

TEST(host_says_what_is_wrong_with_a_command)
{
    static const struct {
        const char *command, *data, *why;
    } cases[] = {
        {"host.stop", "{", NULL},
        {"host.stop", "{\"host_id\":\"NX\"}", "host_id: NX found, " ID " expected"},
        {"host.stop", "{\"timeout\":-1}", "timeout: -1 found, 0 to 4294967295 expected"},
        {"label.put", "", NULL},
        {"label.put", "[]", NULL},
        {"label.put", "{\"value\":\"x\"}", "key is missing"},
        {"label.put", "{\"key\":\"x\"}", "value is missing"},
        {"label.put", "{\"key\":1,\"value\":\"x\"}", "key: number found, text expected"},
        {"label.del", "{}", "key is missing"},
        {"label.del", "{\"key\":\"a\",\"key\":\"b\"}", NULL},
        {"provider.start", "not json", NULL},
        {"provider.start", "{\"provider_id\":\"kv\"}", "provider_ref is missing"},
        {"provider.start", "{\"provider_ref\":\"kv\"}", "provider_id is missing"},
        {"provider.start", "{\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"host_id\":\"NX\"}",
         "host_id: NX found, " ID " expected"},
        {"provider.start",
         "{\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"annotations\":{\"a\":1}}", NULL},
        {"provider.start", "{\"provider_id\":\"kv\",\"provider_ref\":\"r\",\"config\":7}", NULL},
        {"provider.stop", "{}", "provider_id is missing"},
        {"provider.stop", "{\"provider_id\":\"kv\",\"host_id\":7}", NULL},
        {"provider.stop", "", NULL},
        {"provider.fly", "", "unsupported subject"},
        {"component.stop", "", "unsupported subject"},
        {"host.restart", "", "unsupported subject"},
        {"label.get", "", "unsupported subject"},
    };
    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[200];
        const char *got = ask(cases[i].command, cases[i].data);
        snprintf(expected, sizeof expected, REFUSED("%s"), cases[i].why ? cases[i].why : "");
        if (cases[i].why)
            CHECK_STR(got, expected);
        else if (strncmp(got, "{\"success\":false,\"message\":\"", 28) != 0 || got[28] == '"')
            FAIL("%s %s is answered with %s", cases[i].command, cases[i].data, got);
    }
    nothing();
    CHECK_INT(stops, 0);
    stop();
}

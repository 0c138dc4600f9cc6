/* test_links.c: the link table: identity, change, failure, draining, secrets, limits. */
#include "lattice/links.h"
#include "lattice/secrets.h"
#include "lattice/xkey.h"
#include "capture.h"
#include "fake_transport.h"

#define HOST_SEED   "SXAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H74KM"
#define HOST_PUBLIC "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7"
#define OUR_SEED    "SXACAIJCEMSCKJRHFAUSUKZMFUXC6MBRGIZTINJWG44DSOR3HQ6T4PY4AQ"
#define OUR_PUBLIC  "XA2YA4WWGZMIBUNO5IZJVX4REE4DQUPNEGRI4O3V5FS5BUWNCZRFI2LE"

static struct fake net;
static struct links *links;
static struct rpc_links rpc_links;
static char story[4096];   /* ups and downs, in order */
static char changes[4096]; /* of states, in order */
static int added;
static void (*up_says)(struct wcp_link *l); /* called in link_up */
static const char *up_fails;                /* NULL: it does not */
static const char *refused;                 /* by the last find() */
static struct wcp_link *last_up;

static void tell(const char *what, const struct wcp_link *l)
{
    const char *url = wcp_link_config(l, "url");
    snprintf(story + strlen(story), sizeof story - strlen(story), "%s %s %s; ", what, l->name.ptr,
             url ? url : "-");
}

static void on_changed(void *ctx, const struct link_view *v)
{
    snprintf(changes + strlen(changes), sizeof changes - strlen(changes), "%s %s%s%s; ",
             v->link->name.ptr, link_state_text(v->state), v->why ? ": " : "",
             v->why ? v->why : "");
}

static int up(struct wcp_link *l, struct wcp_err *err)
{
    tell("up", l);
    last_up = l;
    if (up_says)
        up_says(l);
    return up_fails ? wcp_fail(err, WCP_EINVAL, "%s", up_fails) : 0;
}

static void down(struct wcp_link *l)
{
    tell("down", l);
}

static void on_added(void *ctx)
{
    added++;
}

static void start(size_t limit)
{
    static struct wcp_provider def = {.name = "test", .link_up = up, .link_down = down};
    def.limits.links = limit;
    capture_start();
    fake_init(&net);
    links = links_new(&(struct links_config){.def = &def,
                                             .id = "kv",
                                             .host_xkey = HOST_PUBLIC,
                                             .xkey_seed = OUR_SEED,
                                             .transport = &net.t,
                                             .drain_ms = 10000,
                                             .added = on_added,
                                             .changed = on_changed});
    rpc_links = links_for_rpc(links);
}

static void stop(void)
{
    links_drain_all(links, true);
    links_tick(links);
    CHECK_INT(links_count(links), 0);
    links_free(links);
    fake_close(&net);
}

static struct linkdef link_def(const char *source, const char *target, const char *name,
                               const char *ns, const char *package, const char *url)
{
    struct linkdef l = {.source_id = wcp_str_dup(wcp_str(source)),
                        .target = wcp_str_dup(wcp_str(target)),
                        .name = wcp_str_dup(wcp_str(name)),
                        .wit_namespace = wcp_str_dup(wcp_str(ns)),
                        .wit_package = wcp_str_dup(wcp_str(package))};
    strings_put(&l.interfaces, "store");
    if (url)
        config_put(strcmp(target, "kv") == 0 ? &l.target_config : &l.source_config, "url", url);
    return l;
}

/* From comp to us. */
static void put(const char *name, const char *url)
{
    struct linkdef l = link_def("comp", "kv", name, "wasi", "keyvalue", url);
    links_put(links, &l);
}

static void del(const char *name)
{
    struct linkdef l = link_def("comp", "kv", name, "wasi", "keyvalue", NULL);
    links_del(links, &l);
    linkdef_free(&l);
}

static struct wcp_link *find(const char *source, const char *name, const char *iface)
{
    struct wcp_interface i = {.name = iface};
    refused = NULL;
    return rpc_links.find(rpc_links.ctx, wcp_str(source), wcp_str(name), &i, &refused);
}

static struct wcp_link *find_store(const char *name)
{
    return find("comp", name, "wrpc:keyvalue/store@0.2.0-draft");
}

static void release(struct wcp_link *l)
{
    rpc_links.release(rpc_links.ctx, l);
}

static const char *health(void)
{
    static char text[600];
    struct wcp_buf b = {0};
    bool ok = links_healthy(links, &b);
    snprintf(text, sizeof text, "%s%.*s", ok ? "healthy" : "", (int)b.len, (const char *)b.ptr);
    wcp_buf_free(&b);
    return text;
}

static void count_attempts(void *ctx, const struct link_view *v)
{
    *(uint32_t *)ctx += v->attempts;
}

static uint32_t attempts(void) /* of all links */
{
    uint32_t n = 0;
    links_each(links, count_attempts, &n);
    return n;
}

static void tick(uint64_t ms)
{
    net.now_ms += ms;
    links_tick(links);
}

TEST(a_link_serves_calls_of_its_peer_name_and_package)
{
    start(0);
    put("default", "redis://a");
    CHECK_INT(added, 1);
    struct wcp_link *l = find_store("default");
    CHECK(l && l == last_up);
    CHECK_STR(l->source_id.ptr, "comp");
    CHECK_STR(l->target_id.ptr, "kv");
    CHECK_STR(wcp_link_config(l, "URL"), "redis://a");
    CHECK(wcp_link_has_interface(l, "store") && !wcp_link_has_interface(l, "atomics"));
    CHECK(!wcp_link_config(l, "nothing"));
    CHECK(!find("comp", "other", "wrpc:keyvalue/store@0.2.0-draft"));
    CHECK(!find("comp2", "default", "wrpc:keyvalue/store@0.2.0-draft"));
    CHECK(!find("comp", "default", "wrpc:blobstore/container@0.2.0"));
    CHECK(!find("", "", "nothing"));
    release(l);
    stop();
}

TEST(an_overlong_source_or_odd_interface_finds_nothing)
{
    char name[3000];
    start(0);
    put("default", "x");
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK(!find(name, "default", "wrpc:keyvalue/store"));
    CHECK(!find("comp", "default", ""));
    CHECK(!find("comp", "default", ":"));
    stop();
}

TEST(the_namespace_of_the_interface_decides_between_two_links)
{
    start(0);
    struct linkdef a = link_def("comp", "kv", "default", "wasi", "keyvalue", "wasi");
    struct linkdef b = link_def("comp", "kv", "default", "acme", "keyvalue", "acme");
    links_put(links, &a);
    links_put(links, &b);
    CHECK_INT(links_count(links), 2);
    struct wcp_link *l = find("comp", "default", "acme:keyvalue/store");
    CHECK_STR(wcp_link_config(l, "url"), "acme");
    release(l);
    l = find("comp", "default", "wasi:keyvalue/store");
    CHECK_STR(wcp_link_config(l, "url"), "wasi");
    release(l);
    l = find("comp", "default", "wrpc:keyvalue/store@0.2.0-draft");
    CHECK(l);
    release(l);
    a = link_def("comp", "kv", "default", "acme", "keyvalue", NULL);
    links_del(links, &a);
    linkdef_free(&a);
    l = find("comp", "default", "acme:keyvalue/store");
    CHECK_STR(wcp_link_config(l, "url"), "wasi");
    release(l);
    stop();
}

TEST(only_our_own_side_is_used)
{
    start(0);
    struct linkdef l = link_def("kv", "comp", "default", "wasi", "http", NULL);
    config_put(&l.source_config, "url", "mine");
    config_put(&l.target_config, "url", "theirs");
    links_put(links, &l);
    CHECK_STR(story, "up default mine; ");
    CHECK_INT(last_up->role, WCP_SOURCE);
    /* Nobody calls us over it. */
    CHECK(!find("comp", "default", "wasi:http/incoming-handler"));
    l = link_def("x", "y", "default", "wasi", "http", NULL);
    links_put(links, &l);
    CHECK_INT(links_count(links), 1);
    CHECK_LOGGED("link 'default' from 'x' to 'y' is not about this provider: ignored");
    stop();
}

TEST(the_same_content_again_is_ignored)
{
    start(0);
    put("default", "a");
    put("default", "a");
    CHECK_STR(story, "up default a; ");
    CHECK_INT(links_count(links), 1);
    stop();
}

TEST(changed_content_comes_up_before_the_old_goes_down)
{
    start(0);
    put("default", "a");
    struct wcp_link *old = find_store("default");
    put("default", "b");
    CHECK_STR(story, "up default a; up default b; ");
    struct wcp_link *new = find_store("default");
    CHECK(new != old);
    CHECK_STR(wcp_link_config(old, "url"), "a");
    tick(0);
    CHECK_STR(story, "up default a; up default b; ");
    release(old);
    CHECK_STR(story, "up default a; up default b; "); /* not inside the handler */
    CHECK_INT(links_next(links), net.now_ms);
    tick(0);
    CHECK_STR(story, "up default a; up default b; down default a; ");
    CHECK_INT(links_count(links), 1);
    release(new);
    stop();
}

TEST(changed_interfaces_count_as_content)
{
    start(0);
    put("default", "a");
    struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", "a");
    strings_put(&l.interfaces, "atomics");
    links_put(links, &l);
    tick(0);
    CHECK_STR(story, "up default a; up default a; down default a; ");
    stop();
}

TEST(a_failed_link_refuses_calls_and_is_tried_when_it_is_put_again)
{
    start(0);
    up_fails = "port 80 is in use";
    put("default", "foo");
    CHECK_LOGGED("link 'default' from 'comp': port 80 is in use");
    CHECK(!find_store("default"));
    CHECK_STR(refused, "port 80 is in use");
    CHECK_STR(health(), "link 'default' from 'comp': port 80 is in use");
    CHECK_INT(added, 1); /* calls that wait for it are to fail */
    tick(499);           /* the shortest time by chance to the next attempt, less one */
    up_fails = NULL;
    put("default", "foo"); /* once a second at most: hosts send each put twice */
    CHECK_STR(story, "up default foo; ");
    CHECK(links_next(links) <= net.now_ms + 501);
    tick(501);
    CHECK_STR(story, "up default foo; up default foo; ");
    CHECK_STR(changes, "default failed: port 80 is in use; default ready; ");
    CHECK_STR(health(), "healthy");
    CHECK_INT(links_count(links), 1);
    CHECK_INT(added, 2);
    struct wcp_link *l = find_store("default");
    CHECK(l && l == last_up);
    release(l);
    put("default", "foo");
    CHECK_STR(story, "up default foo; up default foo; ");
    CHECK_INT(links_next(links), TIMER_NEVER);
    stop();
}

TEST(a_failed_link_is_tried_again_with_growing_pauses)
{
    start(0);
    up_fails = "no";
    put("default", "a");
    for (uint64_t pause = 1000, i = 0; i < 10; i++) {
        uint64_t in = links_next(links) - net.now_ms;
        CHECK(in >= pause / 2 && in <= pause);
        pause = pause < 30000 ? 2 * pause : 60000;
        tick(in);
    }
    CHECK_INT(attempts(), 11);
    CHECK_LOGGED("link 'default' from 'comp': no");
    CHECK_STR(changes, "default failed: no; ");
    /* Putting it again tries it at once, and does not start the pauses anew. */
    tick(1000);
    put("default", "a");
    CHECK_INT(attempts(), 12);
    CHECK(links_next(links) - net.now_ms >= 30000);
    /* Another reason is said, but is no other state. */
    up_fails = "still no";
    tick(60000);
    CHECK_INT(attempts(), 13);
    CHECK_LOGGED("link 'default' from 'comp': still no");
    CHECK_STR(changes, "default failed: no; ");
    CHECK_STR(health(), "link 'default' from 'comp': still no");
    stop();
    CHECK_STR(changes, "default failed: no; default draining; ");
    CHECK(!strstr(story, "down"));
}

TEST(other_content_of_a_failed_link_is_tried_at_once)
{
    start(0);
    up_fails = "no";
    put("default", "a");
    up_fails = NULL;
    put("default", "b");
    tick(0);
    CHECK_STR(story, "up default a; up default b; ");
    CHECK_STR(changes, "default failed: no; default draining; default ready; ");
    CHECK_INT(links_next(links), TIMER_NEVER);
    CHECK_INT(links_count(links), 1);
    stop();
}

TEST(a_link_that_waits_for_other_content_is_not_tried)
{
    start(0);
    for (int i = 0; i < 3; i++) {
        struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", NULL);
        links_sync_put(links, &l, "config 'x' is not there");
        tick(100000);
    }
    CHECK_STR(story, "");
    CHECK_LOGGED("config 'x' is not there");
    CHECK_STR(changes, "default failed: config 'x' is not there; ");
    CHECK_INT(links_count(links), 1);
    CHECK_INT(links_next(links), TIMER_NEVER);
    struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", NULL);
    links_sync_put(links, &l, NULL);
    tick(0);
    CHECK_STR(story, "up default -; ");
    CHECK_STR(health(), "healthy");
    stop();
}

static void connecting(struct wcp_link *l)
{
    wcp_link_connecting(l);
}

static void refused_at_once(struct wcp_link *l)
{
    wcp_link_connecting(l);
    wcp_link_unhealthy(l, "refused");
}

TEST(a_link_is_connecting_until_the_provider_says_more)
{
    start(0);
    up_says = connecting;
    put("default", "a");
    CHECK_STR(changes, "default connecting; ");
    CHECK_LOGGED("link is connecting");
    CHECK_STR(health(), "link 'default' from 'comp': connecting");
    release(find_store("default")); /* the provider decides what calls get meanwhile */
    CHECK_INT(added, 1);
    wcp_link_healthy(last_up);
    CHECK_LOGGED("link is up");
    CHECK_STR(health(), "healthy");
    wcp_link_unhealthy(last_up, "gone");
    wcp_link_unhealthy(last_up, "refused");
    wcp_link_connecting(last_up); /* a new attempt after a failure is no news */
    wcp_link_healthy(last_up);
    CHECK_STR(changes, "default connecting; default ready; default failed: gone; default ready; ");
    CHECK_INT(links_next(links), TIMER_NEVER);
    stop();
}

TEST(a_link_may_be_unhealthy_from_the_start)
{
    start(0);
    up_says = refused_at_once;
    put("default", "a");
    CHECK_STR(changes, "default failed: refused; ");
    CHECK_LOGGED("link 'default' from 'comp': refused");
    release(find_store("default"));
    up_says = connecting;
    up_fails = "no";
    put("other", "b"); /* what it has said before it failed does not hold */
    CHECK_STR(changes, "default failed: refused; other failed: no; ");
    up_fails = NULL;
    tick(1000);
    CHECK_STR(changes, "default failed: refused; other failed: no; other connecting; ");
    CHECK_STR(health(), "link 'default' from 'comp': refused; and 1 more");
    stop();
}

TEST(a_draining_link_is_beyond_health)
{
    start(0);
    put("default", "a");
    struct wcp_link *l = find_store("default");
    del("default");
    wcp_link_unhealthy(l, "gone");
    wcp_link_healthy(l);
    CHECK_STR(changes, "default ready; default draining; ");
    CHECK_STR(health(), "healthy");
    release(l);
    stop();
}

static const char *json(size_t max, size_t left_out)
{
    static char text[2000];
    struct wcp_buf b = {0};
    CHECK_INT(links_json(links, max, &b), left_out);
    CHECK(b.len <= max);
    snprintf(text, sizeof text, "%.*s", (int)b.len, (const char *)b.ptr);
    wcp_buf_free(&b);
    return text;
}

#define JSON(name, rest)                                                                           \
    "{\"source_id\":\"comp\",\"target\":\"kv\",\"name\":\"" name                                   \
    "\",\"wit_namespace\":\"wasi\",\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\"]," rest  \
    "}"

TEST(links_are_told_as_json_without_their_configuration)
{
    start(0);
    CHECK_STR(json(2, 0), "[]");
    put("good", "redis://:hunter2@a");
    struct wcp_link *l = find_store("good");
    tick(1000);
    up_says = refused_at_once;
    put("bad", "redis://:hunter2@a");
    static const char bad[] =
        "[" JSON("bad", "\"state\":\"failed\",\"reason\":\"refused\",\"for_ms\":0,"
                        "\"attempts\":1,\"calls\":0");
    static const char good[] =
        "," JSON("good", "\"state\":\"ready\",\"for_ms\":1000,\"attempts\":1,\"calls\":1") "]";
    char both[1000], one[1000];
    snprintf(both, sizeof both, "%s%s", bad, good);
    snprintf(one, sizeof one, "%s]", bad);
    CHECK_STR(json(strlen(both), 0), both);
    CHECK_STR(json(strlen(both) - 1, 1), one);
    CHECK_STR(json(strlen(one), 1), one);
    CHECK_STR(json(2, 2), "[]");
    up_fails = "no";
    put("worse", "redis://:hunter2@a");
    CHECK(strstr(json(2000, 0), "\"reason\":\"no\",\"for_ms\":0,\"attempts\":1,\"retry_in_ms\":"));
    release(l);
    stop();
}

TEST(a_link_that_fails_after_a_change_replaces_the_good_one)
{
    start(0);
    put("default", "a");
    up_fails = "no";
    put("default", "b");
    tick(0);
    CHECK_STR(story, "up default a; up default b; down default a; ");
    CHECK(!find_store("default"));
    CHECK_STR(health(), "link 'default' from 'comp': no");
    stop();
    CHECK_STR(story,
              "up default a; up default b; down default a; "); /* the failed one was not up */
}

TEST(one_bad_link_does_not_harm_another)
{
    start(0);
    put("good", "a");
    up_fails = "no";
    put("bad", "b");
    put("worse", "c");
    CHECK_STR(health(), "link 'worse' from 'comp': no; and 1 more");
    struct wcp_link *l = find_store("good");
    CHECK(l);
    release(l);
    stop();
}

TEST(del_waits_for_running_calls_and_stops_new_ones)
{
    start(0);
    put("default", "a");
    struct wcp_link *l = find_store("default");
    rpc_links.hold(rpc_links.ctx, l);
    del("default");
    CHECK(!find_store("default"));
    tick(5000);
    release(l);
    tick(0);
    CHECK_STR(story, "up default a; ");
    release(l);
    tick(0);
    CHECK_STR(story, "up default a; down default a; ");
    CHECK_INT(links_count(links), 0);
    stop();
}

TEST(del_takes_the_link_down_at_the_limit)
{
    start(0);
    put("default", "a");
    struct wcp_link *l = find_store("default");
    del("default");
    CHECK_INT(links_next(links), net.now_ms + 10000);
    tick(9999);
    CHECK_STR(story, "up default a; ");
    tick(1);
    CHECK_STR(story, "up default a; down default a; ");
    CHECK_LOGGED("taken down while 1 calls still run");
    CHECK_STR(wcp_link_config(l, "url"), "a"); /* the call still has it */
    CHECK_INT(links_count(links), 1);
    release(l);
    tick(0);
    CHECK_STR(story, "up default a; down default a; ");
    CHECK_INT(links_count(links), 0);
    stop();
}

TEST(del_of_the_unknown_is_no_matter)
{
    start(0);
    del("default");
    put("default", "a");
    del("other");
    del("default");
    del("default");
    tick(0);
    CHECK_STR(story, "up default a; down default a; ");
    CHECK_INT(capture_count("warn"), 0);
    stop();
}

TEST(a_link_put_while_its_former_self_drains_is_a_new_one)
{
    start(0);
    put("default", "a");
    struct wcp_link *old = find_store("default");
    del("default");
    put("default", "a");
    CHECK_STR(story, "up default a; up default a; ");
    struct wcp_link *new = find_store("default");
    CHECK(new &&new != old);
    release(new);
    release(old);
    tick(0);
    CHECK_STR(story, "up default a; up default a; down default a; ");
    stop();
}

static struct linkdef with_secret(const char *plain, int nonce_byte)
{
    struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", "a");
    size_t n = strlen(plain);
    uint8_t *sealed = wcp_calloc(n + XKEY_OVERHEAD, 1),
            nonce[XKEY_NONCE_LEN] = {(uint8_t)nonce_byte};
    CHECK_INT(xkey_seal((struct wcp_bytes){(const uint8_t *)plain, n}, OUR_PUBLIC, HOST_SEED, nonce,
                        sealed, NULL),
              0);
    l.target_secrets = (struct wcp_bytes){sealed, n + XKEY_OVERHEAD};
    return l;
}

TEST(sealed_secrets_are_opened_and_count_as_content)
{
    start(0);
    struct linkdef l = with_secret("{\"pw\":{\"kind\":\"String\",\"value\":\"hunter2\"}}", 1);
    links_put(links, &l);
    struct wcp_link *w = find_store("default");
    CHECK_STR(wcp_link_secret(w, "PW"), "hunter2");
    CHECK_INT(wcp_link_secret_bytes(w, "pw").len, 7);
    CHECK(!wcp_link_secret(w, "other"));
    l = with_secret("{\"pw\":{\"kind\":\"String\",\"value\":\"hunter2\"}}", 2); /* sealed anew */
    links_put(links, &l);
    CHECK_STR(story, "up default a; ");
    l = with_secret("{\"pw\":{\"kind\":\"String\",\"value\":\"hunter3\"}}", 3);
    links_put(links, &l);
    CHECK_STR(story, "up default a; up default a; ");
    links_drain_all(links, true);
    tick(0);
    CHECK(
        !wcp_link_secret(w, "pw")); /* wiped after link_down, though a call still holds the link */
    release(w);
    CHECK_INT(capture_count("hunter"), 0);
    stop();
}

static void provide(const char *name, const char *value)
{
    struct secrets s = {0};
    CHECK_INT(
        secrets_put(&s, name, (struct wcp_bytes){(const uint8_t *)value, strlen(value)}, NULL), 0);
    struct shared_secrets *shared = secrets_share(&s);
    links_provide_secrets(links, shared);
    secrets_drop(shared); /* the table holds it */
}

TEST(a_link_sees_the_nearest_of_its_own_and_the_providers_secrets)
{
    start(0);
    provide("pw", "of-provider");
    put("plain", "a");
    CHECK_STR(wcp_link_secret(last_up, "PW"), "of-provider");
    provide("url", "of-provider");
    put("configured", "b"); /* its configuration has "url" */
    CHECK(!wcp_link_secret(last_up, "URL"));
    put("bare", NULL);
    CHECK_STR(wcp_link_secret(last_up, "URL"), "of-provider");
    struct linkdef l = with_secret("{\"url\":{\"kind\":\"String\",\"value\":\"sealed\"}}", 1);
    links_put(links, &l);
    CHECK_STR(wcp_link_secret(last_up, "url"), "sealed");
    /* All that a local link has is the provider's. */
    l = link_def("local", "kv", "default", "wasi", "keyvalue", "c");
    links_put_local(links, &l, true);
    CHECK_STR(wcp_link_secret(last_up, "url"), "of-provider");
    /* But not of one that a file tells. */
    l = link_def("filed", "kv", "default", "wasi", "keyvalue", "d");
    links_put_local(links, &l, false);
    CHECK(!wcp_link_secret(last_up, "url"));
    stop();
}

TEST(other_secrets_of_the_provider_make_links_anew)
{
    start(0);
    provide("pw", "first");
    struct linkdef l = with_secret("{\"own\":{\"kind\":\"String\",\"value\":\"sealed\"}}", 1);
    links_put(links, &l);
    struct wcp_link *old = find_store("default");
    links_sync_begin(links);
    l = link_def("comp", "kv", "missing", "wasi", "keyvalue", NULL);
    links_sync_put(links, &l, "its config is not there");
    up_fails = "no server";
    put("failed", "f");
    up_fails = NULL;
    story[0] = '\0';
    provide("pw", "second");
    CHECK_STR(story, "up failed f; up default a; "); /* what is missing is so still */
    struct wcp_link *new = find_store("default");
    CHECK(new != old);
    CHECK_STR(wcp_link_secret(old, "pw"), "first"); /* as long as it lives */
    CHECK_STR(wcp_link_secret(new, "pw"), "second");
    CHECK_STR(wcp_link_secret(new, "own"), "sealed");
    CHECK_STR(wcp_link_config(new, "url"), "a");
    CHECK(wcp_link_has_interface(new, "store"));
    release(old);
    tick(0);
    CHECK_STR(story, "up failed f; up default a; down default a; ");
    CHECK_INT(links_count(links), 3);
    l = with_secret("{\"own\":{\"kind\":\"String\",\"value\":\"sealed\"}}", 2);
    links_put(links, &l); /* the same again */
    CHECK_STR(story, "up failed f; up default a; down default a; ");
    release(new);
    stop();
}

TEST(a_link_whose_secrets_cannot_be_opened_fails)
{
    start(0);
    struct linkdef l = with_secret("{}", 1);
    ((uint8_t *)(uintptr_t)l.target_secrets.ptr)[40] ^= 1;
    links_put(links, &l);
    CHECK_STR(story, "");
    CHECK_STR(
        health(),
        "link 'default' from 'comp': its secrets: cannot be decrypted with this provider's key");
    stop();
}

TEST(the_other_sides_secrets_do_not_matter)
{
    start(0);
    struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", "a");
    uint8_t *garbage = wcp_calloc(3, 1);
    l.source_secrets = (struct wcp_bytes){garbage, 3};
    links_put(links, &l);
    CHECK_STR(health(), "healthy");
    stop();
}

TEST(the_limit_refuses_new_links_but_not_changes)
{
    start(2);
    put("one", "a");
    put("two", "a");
    put("three", "a");
    CHECK_STR(story, "up one a; up two a; ");
    CHECK_LOGGED("link 'three' from 'comp': refused: there are 2 links already, the limit is 2");
    put("two", "b");
    tick(0);
    CHECK_STR(story, "up one a; up two a; up two b; down two a; ");
    del("one");
    tick(0);
    put("three", "a");
    CHECK(strstr(story, "up three a"));
    stop();
}

TEST(health_follows_what_the_provider_says)
{
    start(0);
    put("default", "a");
    wcp_link_unhealthy(last_up, "redis: refused");
    wcp_link_unhealthy(last_up, "redis: refused");
    CHECK_LOGGED("link 'default' from 'comp': redis: refused");
    CHECK_STR(health(), "link 'default' from 'comp': redis: refused");
    struct wcp_link *l = find_store("default"); /* still serves: the provider answers errors */
    CHECK(l);
    release(l);
    wcp_link_healthy(last_up);
    wcp_link_healthy(last_up);
    CHECK_LOGGED("link is healthy again");
    CHECK_STR(health(), "healthy");
    stop();
}

TEST(a_link_with_a_reason_against_it_fails_without_being_tried)
{
    start(0);
    struct linkdef l = link_def("comp", "kv", "default", "wasi", "keyvalue", NULL);
    links_sync_put(links, &l, "config 'x' is not there");
    CHECK_STR(story, "");
    CHECK_STR(health(), "link 'default' from 'comp': config 'x' is not there");
    put("default", "a");
    CHECK_STR(health(), "healthy");
    stop();
}

static void sync_put(const char *name)
{
    struct linkdef l = link_def("comp", "kv", name, "wasi", "keyvalue", "a");
    links_sync_put(links, &l, NULL);
}

TEST(what_the_lattice_no_longer_has_goes_down_when_hosts_have_followed)
{
    start(0);
    links_sync_begin(links);
    sync_put("stays");
    sync_put("goes");
    sync_put("comes back");
    struct linkdef out = link_def("kv", "other", "out", "wasi", "keyvalue", "a");
    links_sync_put(links, &out, NULL);
    CHECK_INT(links_sync_end(links, 60000), TIMER_NEVER);
    uint64_t gone = net.now_ms + 1000;
    story[0] = '\0';
    for (int i = 0; i < 2; i++) {
        links_sync_begin(links);
        sync_put("stays");
        CHECK_INT(links_sync_end(links, 60000), gone);
        tick(i ? 0 : 999);
    }
    CHECK_STR(story, "down out a; "); /* over which we call: at once */
    links_sync_begin(links);
    sync_put("stays");
    sync_put("comes back");
    CHECK_INT(links_sync_end(links, 60000), gone);
    tick(1);
    links_sync_begin(links);
    sync_put("stays");
    CHECK_INT(links_sync_end(links, 60000), gone + 1000);
    tick(0);
    CHECK_STR(story, "down out a; down goes a; ");
    stop();
}

TEST(what_we_were_told_may_take_a_while_to_be_in_the_lattice)
{
    start(0);
    put("old", "a");
    net.now_ms += 50000;
    put("fresh", "a");
    uint64_t told = net.now_ms;
    net.now_ms += 20000;
    links_sync_begin(links);
    CHECK_INT(links_sync_end(links, 60000), told + 60000);
    tick(0);
    CHECK_STR(story, "up old a; up fresh a; down old a; ");
    net.now_ms = told + 60000;
    links_sync_begin(links);
    CHECK_INT(links_sync_end(links, 60000), TIMER_NEVER);
    tick(0);
    CHECK_STR(story, "up old a; up fresh a; down old a; down fresh a; ");
    stop();
}

TEST(names_that_fit_no_key_are_refused)
{
    char name[2000];
    start(0);
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    put(name, "a");
    CHECK_INT(links_count(links), 0);
    CHECK_LOGGED("its names are longer than 1024 bytes: refused");
    stop();
}

TEST(many_links_are_found_and_deleted)
{
    start(0);
    for (int i = 0; i < 3000; i++) {
        char name[20];
        snprintf(name, sizeof name, "l%d", i);
        put(name, "a");
    }
    CHECK_INT(links_count(links), 3000);
    for (int i = 0; i < 3000; i += 2) {
        char name[20];
        snprintf(name, sizeof name, "l%d", i);
        struct wcp_link *l = find_store(name);
        CHECK(l);
        release(l);
        del(name);
    }
    tick(0);
    CHECK_INT(links_count(links), 1500);
    stop();
}

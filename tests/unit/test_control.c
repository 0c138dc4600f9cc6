/* test_control.c: the control subjects, and what is not such a message. */
#include "lattice/control.h"
#include "capture.h"
#include "fake_transport.h"

#define XKEY "XA2YA4WWGZMIBUNO5IZJVX4REE4DQUPNEGRI4O3V5FS5BUWNCZRFI2LE"

static struct fake net;
static struct control control;
static char seen[2048]; /* what the handlers were called with */

static void put(void *ctx, struct linkdef *l)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "put %s ", l->name);
    linkdef_free(l);
}

static void del(void *ctx, struct linkdef *l)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "del %s ", l->name);
    linkdef_free(l);
}

static bool sick;
static bool healthy(void *ctx, struct wcp_buf *why)
{
    if (sick)
        wcp_buf_fmt(why, "link \"x\": http://down");
    return !sick;
}

static void on_links(void *ctx, size_t max, struct wcp_buf *b)
{
    wcp_buf_fmt(b, "links in %zu bytes", max);
}

static void on_shutdown(void *ctx, const char *reply)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "shutdown %s ", reply);
}

static void on_config(void *ctx, struct config *c)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "config %s ", config_get(c, "k"));
    config_free(c);
}

static void start(const char *xkey)
{
    capture_start();
    fake_init(&net);
    control = (struct control){.t = &net.t,
                               .host_id = "NHOST",
                               .on = {put, del, healthy, on_links, on_shutdown, on_config}};
    control_start(&control, "lat", "prov", xkey);
}

static const char *deliver(const char *subject, const char *reply, const char *data)
{
    struct wcp_msg m = fake_message(&net, subject, reply,
                                    (struct wcp_bytes){(const uint8_t *)data, strlen(data)}, NULL);
    seen[0] = '\0';
    CHECK(control_message(&control, fake_sub(&net, subject), &m));
    fake_done(&net, &m);
    return seen;
}

#define LINK                                                                                       \
    "{\"source_id\":\"a\",\"target\":\"prov\",\"name\":\"n\",\"wit_namespace\":\"w\",\"wit_"       \
    "package\":\"p\"}"

TEST(control_hands_on_each_kind_of_message)
{
    start(XKEY);
    CHECK_STR(deliver("wasmbus.rpc.lat." XKEY ".linkdefs.put", NULL, LINK), "put n ");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.linkdefs.put", NULL, LINK), "put n ");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.linkdefs.del", NULL, LINK), "del n ");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.config.update", NULL, "{\"k\":\"v\"}"), "config v ");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.default.shutdown", "r1", "{\"host_id\":\"NHOST\"}"),
              "shutdown r1 ");
    for (size_t i = 0; i < net.sub_count; i++)
        CHECK(!net.subs[i].queue);
    CHECK_INT(net.sub_count, 8);
    CHECK_INT(control.malformed, 0);
    CHECK(!control_message(&control, 99, &(struct wcp_msg){0}));
    CHECK(control_has(&control, 0) && !control_has(&control, 99) && !control_has(&control, -1));
    control_leave(&control);
    for (size_t i = 0; i < net.sub_count; i++)
        CHECK(net.subs[i].left);
    fake_close(&net);
}

TEST(control_without_an_xkey_subscribes_the_id_alone)
{
    start("");
    CHECK_INT(net.sub_count, 7);
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.linkdefs.put", NULL, LINK), "put n ");
    control_leave(&control);
    fake_close(&net);
}

TEST(health_answers_are_honest_json)
{
    start(XKEY);
    deliver("wasmbus.rpc.lat.prov.health", "_INBOX.q", "");
    const struct fake_msg *m = fake_take(&net);
    CHECK_STR(m->subject, "_INBOX.q");
    CHECK_STR((const char *)m->data.ptr, "{\"healthy\":true}");
    sick = true;
    deliver("wasmbus.rpc.lat.prov.health", "_INBOX.q", "what{ever");
    CHECK_STR((const char *)fake_take(&net)->data.ptr,
              "{\"healthy\":false,\"message\":\"link \\\"x\\\": http://down\"}");
    deliver("wasmbus.rpc.lat.prov.health", NULL, "");
    CHECK(!fake_take(&net));
    CHECK_INT(control.malformed, 0);
    fake_close(&net);
}

TEST(links_are_told_to_who_asks_this_provider_or_all)
{
    start("");
    net.t.max_payload = 1000;
    deliver("wasmbus.rpc.lat.prov.links", "_INBOX.q", "");
    deliver("wasmbus.rpc.lat.links", "_INBOX.r", "");
    for (const char *to = "_INBOX.q"; to; to = strcmp(to, "_INBOX.r") ? "_INBOX.r" : NULL) {
        const struct fake_msg *m = fake_take(&net);
        CHECK_STR(m->subject, to);
        CHECK_STR((const char *)m->data.ptr, "links in 1000 bytes");
    }
    deliver("wasmbus.rpc.lat.links", NULL, "");
    CHECK(!fake_take(&net));
    CHECK_INT(control.malformed, 0);
    fake_close(&net);
}

TEST(shutdown_needs_our_host_and_a_reply_subject)
{
    start(XKEY);
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.default.shutdown", "r", "{\"host_id\":\"NOTHER\"}"),
              "");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.default.shutdown", NULL, "{\"host_id\":\"NHOST\"}"),
              "");
    CHECK_INT(control.malformed, 0);
    control.host_id = ""; /* standalone: no host */
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.default.shutdown", "r", "{\"host_id\":\"\"}"), "");
    fake_close(&net);
}

TEST(malformed_control_messages_are_logged_and_counted)
{
    start(XKEY);
    CHECK_STR(deliver("wasmbus.rpc.lat." XKEY ".linkdefs.put", NULL, ""), "");
    CHECK_LOGGED("nothing found, a JSON object expected");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.linkdefs.put", NULL, "{\"source_id\":[]}"), "");
    CHECK_LOGGED("\"subject\":\"wasmbus.rpc.lat.prov.linkdefs.put\"");
    CHECK_LOGGED("source_id: list found, text expected");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.linkdefs.del", NULL, "{}"), "");
    CHECK_LOGGED("source_id is missing");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.config.update", NULL, "{\"k\":{}}"), "");
    CHECK_LOGGED("k: object found, text expected");
    CHECK_STR(deliver("wasmbus.rpc.lat.prov.default.shutdown", "r", "{}"), "");
    CHECK_LOGGED("host_id is missing");
    CHECK_INT(control.malformed, 5);
    CHECK_INT(capture_count("a malformed control message is ignored"), 5);
    fake_close(&net);
}

/* test_replay.c: recorded exchanges over NATS (tests/vectors/nats), one side of each played by us:
 * see recorded.h. What the recorded peer sent is fed message by message, subjects mapped onto ours.
 * Besides: each channel ends with one empty message, and the server's accept comes first. The empty
 * messages that Rust sends on parent paths are not wanted. */
#include "recorded.h"
#include "rpc_fixture.h"
#include "test.h"
#include <dirent.h>

#define FOLDER "tests/vectors/nats/"
#define PREFIX "default.vec-server.wrpc.0.0.1."
#define RC     "_INBOX.caller.1"
#define RS     "_INBOX.peer.7"

static struct fixture f;

/* --- the recordings --- */

struct message {
    bool from_client;
    const char *subject, *reply, *headers[17];
    int status;
    struct wcp_buf data;
};
struct exchange {
    struct recorded r;
    char rc[80], rs[80];
    struct message messages[32];
    size_t count;
};

static void find_function(struct exchange *e, const char *subject)
{
    for (size_t i = 0; i < INTERFACES; i++)
        for (size_t k = 0; k < interfaces[i].count; k++) {
            char want[200];
            snprintf(want, sizeof want, PREFIX "%s.%s", interfaces[i].name,
                     interfaces[i].funcs[k].name);
            if (strcmp(subject, want) == 0) {
                e->r.iface = &interfaces[i];
                e->r.func = k;
                return;
            }
        }
    FAIL("unknown function: %s", subject);
}

/* Loads the exchanges of a file, which follow each other, and runs one at a time. */
static unsigned replay(const char *name, void (*run)(struct exchange *e))
{
    char path[300];
    snprintf(path, sizeof path, FOLDER "%s", name);
    struct json_object *file = json_object_from_file(path), *list = NULL;
    CHECK(json_object_object_get_ex(file, "messages", &list));
    unsigned exchanges = 0;
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n;) {
        struct exchange *e = wcp_calloc(1, sizeof *e);
        size_t at = 0;
        for (; i < n; i++) {
            struct json_object *o = json_object_array_get_idx(list, i), *v = NULL;
            struct message *m = &e->messages[e->count];
            CHECK(e->count < sizeof e->messages / sizeof *e->messages);
            *m = (struct message){.from_client = json_text(o, "direction")[0] == 'c',
                                  .subject = json_text(o, "subject"),
                                  .reply = json_text(o, "reply")};
            bool invocation = m->from_client && m->reply;
            if (invocation && e->count)
                break; /* the next exchange */
            e->count++;
            if (json_object_object_get_ex(o, "status", &v))
                m->status = json_object_get_int(v);
            size_t h = 0;
            if (json_object_object_get_ex(o, "headers", &v)) {
                json_object_object_foreach(v, key, value)
                {
                    m->headers[h++] = key;
                    m->headers[h++] = json_object_get_string(value);
                }
            }
            load_data(&m->data, o, "payload", &at);
            if (invocation) {
                find_function(e, m->subject);
                snprintf(e->rc, sizeof e->rc, "%s", m->reply);
                side_add(&e->r.client, "", bytes(&m->data));
                channel(&e->r.client, "")->ends = 0; /* an empty invocation is no end */
            } else if (m->from_client) {
                size_t rs = strlen(e->rs);
                CHECK(strncmp(m->subject, e->rs, rs) == 0);
                side_add(&e->r.client, m->subject + rs + strlen(".params"), bytes(&m->data));
            } else if (strcmp(m->subject, e->rc) == 0) {
                snprintf(e->rs, sizeof e->rs, "%s", m->reply ? m->reply : "");
            } else {
                side_add(&e->r.server, m->subject + strlen(e->rc) + strlen(".results"),
                         bytes(&m->data));
            }
        }
        run(e);
        exchanges++;
        for (size_t k = 0; k < e->count; k++)
            wcp_buf_free(&e->messages[k].data);
        side_free(&e->r.client);
        side_free(&e->r.server);
        free(e);
    }
    json_object_put(file);
    return exchanges;
}

/* --- our server, the recorded client --- */

static void run_server(struct exchange *e)
{
    const struct wcp_func *w = &e->r.iface->funcs[e->r.func];
    char rs[100] = "";
    struct side sent = {0};
    play.now = &e->r;
    play.served = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct message *m = &e->messages[i];
        char subject[200];
        if (!m->from_client)
            continue;
        int sub = 0;
        if (m->reply) {
            snprintf(subject, sizeof subject, "default.me.wrpc.0.0.1.%s",
                     m->subject + strlen(PREFIX));
            sub = fake_sub(&f.net, subject);
        } else {
            snprintf(subject, sizeof subject, "%s%s", rs, m->subject + strlen(e->rs));
            sub = fake_sub(&f.net, "_INBOX.me.>");
        }
        struct wcp_msg in =
            fake_message(&f.net, subject, m->reply ? RC : NULL, bytes(&m->data), m->headers);
        CHECK(rpc_message(f.rpc, sub, &in));
        fake_done(&f.net, &in);
        if (m->reply) { /* the accept is first, and there is one */
            const struct fake_msg *accept = fake_take(&f.net);
            CHECK(accept != NULL);
            CHECK_STR(accept->subject, RC);
            CHECK_INT(accept->data.len, 0);
            CHECK_INT(accept->header_count, 0);
            CHECK(accept->reply != NULL);
            snprintf(rs, sizeof rs, "%s", accept->reply);
        }
    }
    for (const struct fake_msg *m; (m = fake_take(&f.net));) {
        CHECK(strncmp(m->subject, RC ".results", strlen(RC ".results")) == 0);
        CHECK(!m->reply && !m->header_count);
        side_add(&sent, m->subject + strlen(RC ".results"), m->data);
    }
    CHECK_INT(play.served, 1);
    /* Nothing was lost on the way to the handler. */
    check_same("parameters", bytes(&play.params_sync), bytes(&channel(&e->r.client, "")->bytes));
    check_received(&play.params, &e->r.client);
    check_sent(w->result, true, &sent, &e->r.server);
    CHECK_INT(rpc_running(f.rpc), 0);
    play_free();
    side_free(&sent);
}

/* --- our client, the recorded server --- */

static void run_client(struct exchange *e)
{
    static struct wcp_link link = {.role = WCP_SOURCE,
                                   .source_id = WCP_STR("me"),
                                   .target_id = WCP_STR("vec-server"),
                                   .name = WCP_STR("default")};
    const struct wcp_func *w = &e->r.iface->funcs[e->r.func];
    struct value v = {.make_outs = true};
    struct side sent = {0};
    char rc[100];
    play.now = &e->r;
    play.status = 1;
    value_decode(&v, w->params, false, bytes(&channel(&e->r.client, "")->bytes), w->size);
    if (play.whole)
        write_all(&v, &e->r.client);
    rpc_invoke(f.rpc, &link, e->r.iface, e->r.func, v.p, NULL, NULL);
    if (!play.whole)
        write_all(&v, &e->r.client);
    const struct fake_msg *m = fake_take(&f.net);
    CHECK(m != NULL);
    CHECK_STR(m->subject, e->messages[0].subject);
    snprintf(rc, sizeof rc, "%s", m->reply);
    side_add(&sent, "", m->data);
    channel(&sent, "")->ends = 0;
    CHECK(!fake_take(&f.net)); /* nothing before the accept */
    for (size_t i = 0; i < e->count; i++) {
        char subject[200];
        if (e->messages[i].from_client)
            continue;
        bool accept = strcmp(e->messages[i].subject, e->rc) == 0;
        snprintf(subject, sizeof subject, "%s%s", rc, e->messages[i].subject + strlen(e->rc));
        struct wcp_msg in = fake_message(&f.net, subject, e->messages[i].reply ? RS : NULL,
                                         bytes(&e->messages[i].data), NULL);
        in.status = e->messages[i].status;
        CHECK(rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &in));
        fake_done(&f.net, &in);
        if (accept)
            fixture_pass_ms(&f, 2);
    }
    bool absent = e->messages[e->count - 1].status == 503;
    struct wcp_bytes want = bytes(&channel(&e->r.server, "")->bytes);
    CHECK_INT(play.status, absent ? WCP_ENOENT : w->result && !want.len ? WCP_ECLOSED : 0);
    check_same("result", bytes(&play.result_sync), want);
    check_received(&play.result, &e->r.server);
    while ((m = fake_take(&f.net))) {
        CHECK(strncmp(m->subject, RS ".params", strlen(RS ".params")) == 0);
        CHECK(!m->reply && !m->header_count);
        struct channel *c = channel(&sent, m->subject + strlen(RS ".params"));
        if (c->ends && w->params->async && !c->bytes.len)
            continue;
        /* The end of an empty stream is repeated when the peer answers (client.c). */
        if (c->ends && c->bytes.len == 1 && !c->bytes.ptr[0])
            continue;
        side_add(&sent, m->subject + strlen(RS ".params"), m->data);
    }
    channel(&sent, "")->ends += absent; /* there is nobody to tell */
    check_sent(w->params, false, &sent, &e->r.client);
    CHECK_INT(rpc_running(f.rpc), 0);
    value_free(&v);
    play_free();
    side_free(&sent);
}

/* --- all of them --- */

static void replay_all(void (*run)(struct exchange *e), unsigned want_files,
                       unsigned want_exchanges)
{
    unsigned files = 0, exchanges = 0;
    load_interfaces();
    fixture_init(&f, NULL);
    f.link.source_id = WCP_STR("test-component");
    for (size_t i = 0; i < 5; i++) /* not the last, which nobody serves */
        rpc_serve(f.rpc, &(struct wcp_export){&interfaces[i], &any_handler});
    DIR *folder = opendir(FOLDER);
    CHECK(folder != NULL);
    for (struct dirent *d; (d = readdir(folder));) {
        bool skip = d->d_name[0] == '.' || strcmp(d->d_name, "_server-subscriptions.json") == 0 ||
                    (run == run_server && strcmp(d->d_name, "unimplemented.json") == 0);
        if (skip)
            continue;
        fprintf(stderr, "%s\n", d->d_name);
        /* Calls without headers come from nobody in particular. */
        f.link.source_id =
            strncmp(d->d_name, "nohdr-", 6) == 0 ? WCP_STR("<unknown>") : WCP_STR("test-component");
        exchanges += replay(d->d_name, run);
        files++;
    }
    closedir(folder);
    CHECK_INT(files, want_files);
    CHECK_INT(exchanges, want_exchanges);
    fixture_close(&f);
}

TEST(the_server_answers_recorded_clients_as_the_recorded_server_did)
{
    replay_all(run_server, 26, 38);
}

TEST(the_server_answers_recorded_clients_inline)
{
    play.whole = true;
    replay_all(run_server, 26, 38);
}

TEST(the_client_calls_recorded_servers_as_the_recorded_client_did)
{
    replay_all(run_client, 27, 39);
}

TEST(the_client_calls_recorded_servers_inline)
{
    play.whole = true;
    replay_all(run_client, 27, 39);
}

TEST(functions_are_subscribed_as_the_recorded_server_did)
{
    struct json_object *file = json_object_from_file(FOLDER "_server-subscriptions.json");
    struct json_object *subs = NULL;
    unsigned same = 0;
    load_interfaces();
    fixture_init(&f, NULL);
    for (size_t i = 0; i < 5; i++)
        rpc_serve(f.rpc, &(struct wcp_export){&interfaces[i], &any_handler});
    CHECK(json_object_object_get_ex(file, "subs", &subs));
    for (size_t i = 0; i < json_object_array_length(subs); i++) {
        struct json_object *s = json_object_array_get_idx(subs, i);
        const char *subject = json_object_get_string(json_object_array_get_idx(s, 0));
        if (strncmp(subject, PREFIX, strlen(PREFIX)) != 0)
            continue; /* the inbox */
        CHECK_STR(json_object_get_string(json_object_array_get_idx(s, 1)), "default.vec-server");
        char ours[200];
        snprintf(ours, sizeof ours, "default.me.wrpc.0.0.1.%s", subject + strlen(PREFIX));
        CHECK_STR(f.net.subs[fake_sub(&f.net, ours)].queue, "default.me");
        same++;
    }
    CHECK_INT(same, 55);
    CHECK_INT(f.net.sub_count, 1 + same); /* and no others */
    json_object_put(file);
    fixture_close(&f);
}

/* test_replay_framed.c: recorded exchanges over connections (tests/vectors/framed), one side of
 * each played by us: see recorded.h. What the recorded peer sent comes in one piece, cut in two at
 * every place, and byte by byte. A direction without streams must be the recorded one to the last
 * byte. */
#include "base/log.h"
#include "fake_conn.h"
#include "recorded.h"
#include "rpc/frames.h"
#include "rpc_fixture.h"
#include "test.h"
#include <dirent.h>

#define FOLDER    "tests/vectors/framed/"
#define SPLIT_MAX 5000 /* longer ones are not cut at every place */

static struct fixture f;

struct exchange {
    struct recorded r;
    struct wcp_buf header, client, server; /* bytes */
};

/* How the peer's bytes come: in pieces of so many; the first may be another. */
static size_t first_piece, piece;

static void feed(struct fake_conn *c, struct wcp_bytes data)
{
    size_t n = first_piece < data.len ? first_piece : data.len;
    fake_conn_feed(c, (struct wcp_bytes){data.ptr, n}, 0);
    fake_conn_feed(c, (struct wcp_bytes){data.ptr + n, data.len - n}, piece);
    fake_conn_eof(c);
}

/* What we sent, as channels. */
static void read_sent(struct fake_conn *c, struct wcp_bytes header, struct side *out)
{
    struct wcp_bytes in = bytes(&c->sent);
    struct frames frames = {0};
    struct frame_piece p;
    CHECK(in.len >= header.len);
    check_same("header", (struct wcp_bytes){in.ptr, header.len}, header);
    in = (struct wcp_bytes){in.ptr + header.len, in.len - header.len};
    while (frames_next(&frames, &in, &p, NULL) == 0) {
        char path[40] = "";
        int n = 0;
        for (size_t i = 0; i < p.path.n; i++)
            n += snprintf(path + n, sizeof path - (size_t)n, ".%u", p.path.at[i]);
        CHECK(p.before + p.data.len + p.after <= FRAME_DATA_MAX);
        side_add(out, path, p.data);
    }
    CHECK_INT(in.len, 0);
    CHECK_INT(frames.left, 0);
    CHECK_INT(frames.part.len, 0);
    frames_close(&frames);
    CHECK(c->shut); /* which ends all its channels */
    out->all_ended = true;
}

static void run_server(struct exchange *e)
{
    const struct wcp_func *w = &e->r.iface->funcs[e->r.func];
    struct fake_conn c;
    struct side sent = {0};
    play.now = &e->r;
    play.served = 0;
    fake_conn_init(&c);
    rpc_accept(f.rpc, &c.conn, "peer", "default");
    feed(&c, bytes(&e->client));
    CHECK_INT(rpc_running(f.rpc), 0);
    if (e->r.iface == &interfaces[INTERFACES - 1]) { /* nobody serves it */
        CHECK_INT(play.served, 0);
        CHECK(!c.shut && c.sent.len == 0);
    } else {
        CHECK_INT(play.served, 1);
        read_sent(&c, (struct wcp_bytes){0}, &sent);
        check_same("parameters", bytes(&play.params_sync),
                   bytes(&channel(&e->r.client, "")->bytes));
        check_received(&play.params, &e->r.client);
        check_sent(w->result, true, &sent, &e->r.server);
        if (!w->result || !w->result->async)
            check_same("answer", bytes(&c.sent), bytes(&e->server));
    }
    fake_conn_free(&c);
    play_free();
    side_free(&sent);
}

static void run_client(struct exchange *e)
{
    const struct wcp_func *w = &e->r.iface->funcs[e->r.func];
    struct value v = {.make_outs = true};
    struct fake_conn c;
    struct side sent = {0};
    play.now = &e->r;
    play.status = 1;
    fake_conn_init(&c);
    value_decode(&v, w->params, false, bytes(&channel(&e->r.client, "")->bytes), w->size);
    if (play.whole)
        write_all(&v, &e->r.client);
    rpc_invoke_conn(f.rpc, &c.conn, e->r.iface, e->r.func, v.p, NULL, NULL);
    if (!play.whole)
        write_all(&v, &e->r.client);
    feed(&c, bytes(&e->server));
    struct wcp_bytes want = bytes(&channel(&e->r.server, "")->bytes);
    CHECK_INT(play.status, w->result && !want.len ? WCP_ECLOSED : 0);
    check_same("result", bytes(&play.result_sync), want);
    check_received(&play.result, &e->r.server);
    read_sent(&c, bytes(&e->header), &sent);
    check_sent(w->params, false, &sent, &e->r.client);
    if (!w->params->async && e->client.len < FRAME_DATA_MAX) /* Rust does not cut */
        check_same("call", bytes(&c.sent), bytes(&e->client));
    CHECK_INT(rpc_running(f.rpc), 0);
    fake_conn_free(&c);
    value_free(&v);
    play_free();
    side_free(&sent);
}

/* --- the recordings --- */

static void load_frames(struct json_object *connection, const char *key, struct wcp_buf *raw,
                        struct side *out)
{
    struct json_object *list = NULL, *path = NULL;
    json_object_object_get_ex(connection, key, &list);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        struct wcp_buf data = {0};
        size_t at = 0;
        char text[40] = "";
        struct wcp_bytes head = test_unhex(json_text(o, "frame_prefix_hex"));
        wcp_buf_put(raw, head.ptr, head.len);
        load_data(&data, o, "data", &at);
        wcp_buf_put(raw, data.ptr, data.len);
        json_object_object_get_ex(o, "path", &path);
        for (size_t k = 0, n = 0; k < json_object_array_length(path); k++)
            n += (size_t)snprintf(text + n, sizeof text - n, ".%d",
                                  json_object_get_int(json_object_array_get_idx(path, k)));
        if (data.len)
            side_add(out, text, bytes(&data));
        wcp_buf_free(&data);
    }
}

static void find_function(struct recorded *r, const char *instance, const char *name)
{
    for (size_t i = 0; i < INTERFACES; i++)
        for (size_t k = 0; k < interfaces[i].count; k++)
            if (strcmp(interfaces[i].name, instance) == 0 &&
                strcmp(interfaces[i].funcs[k].name, name) == 0) {
                r->iface = &interfaces[i];
                r->func = k;
                return;
            }
    FAIL("unknown function: %s %s", instance, name);
}

static void run_split(struct exchange *e, void (*run)(struct exchange *e), struct wcp_buf *in)
{
    first_piece = piece = 0;
    run(e);
    for (size_t i = 1; i < in->len && in->len <= SPLIT_MAX; i++) {
        first_piece = i;
        run(e);
    }
    first_piece = 0;
    piece = in->len <= SPLIT_MAX ? 1 : 65521;
    run(e);
}

static unsigned replay(const char *name, void (*run)(struct exchange *e))
{
    char path[300];
    snprintf(path, sizeof path, FOLDER "%s", name);
    struct json_object *file = json_object_from_file(path), *list = NULL, *header = NULL;
    CHECK(json_object_object_get_ex(file, "connections", &list));
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        struct exchange *e = wcp_calloc(1, sizeof *e);
        CHECK(json_object_object_get_ex(o, "header", &header));
        find_function(&e->r, json_text(header, "instance"), json_text(header, "name"));
        struct wcp_bytes raw = test_unhex(json_text(header, "hex"));
        wcp_buf_put(&e->header, raw.ptr, raw.len);
        wcp_buf_put(&e->client, raw.ptr, raw.len);
        load_frames(o, "client_to_server_frames", &e->client, &e->r.client);
        load_frames(o, "server_to_client_frames", &e->server, &e->r.server);
        run_split(e, run, run == run_server ? &e->client : &e->server);
        wcp_buf_free(&e->header);
        wcp_buf_free(&e->client);
        wcp_buf_free(&e->server);
        side_free(&e->r.client);
        side_free(&e->r.server);
        free(e);
    }
    json_object_put(file);
    return (unsigned)n;
}

static void ignore(void *ctx, enum wcp_level level, const char *line)
{
}

static void replay_all(void (*run)(struct exchange *e))
{
    unsigned files = 0, exchanges = 0;
    log_set_sink(ignore, NULL); /* the same few lines for each split */
    load_interfaces();
    fixture_init(&f, NULL);
    for (size_t i = 0; i < INTERFACES - 1; i++)
        rpc_serve(f.rpc, &(struct wcp_export){&interfaces[i], &any_handler});
    DIR *folder = opendir(FOLDER);
    CHECK(folder != NULL);
    for (struct dirent *d; (d = readdir(folder));) {
        bool skip = d->d_name[0] == '.';
        if (skip)
            continue;
        fprintf(stderr, "%s\n", d->d_name);
        exchanges += replay(d->d_name, run);
        files++;
    }
    closedir(folder);
    CHECK_INT(files, 25);
    CHECK_INT(exchanges, 37);
    fixture_close(&f);
}

TEST(the_server_answers_recorded_connections_as_the_recorded_server_did)
{
    replay_all(run_server);
}

TEST(the_server_answers_recorded_connections_inline)
{
    play.whole = true;
    replay_all(run_server);
}

TEST(the_client_calls_recorded_connections_as_the_recorded_client_did)
{
    replay_all(run_client);
}

TEST(the_client_calls_recorded_connections_inline)
{
    play.whole = true;
    replay_all(run_client);
}

/* test_io_socket.c: our client and our server over real sockets, in one loop (io/socket.c,
 * io/listen.c, io/offline.c). */
#include "capture.h"
#include "io/listen.h"
#include "io/offline.h"
#include "rpc/rpc.h"
#include "vec_api.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t tick;
static struct offline *offline;
static struct rpc *rpc;
static struct sockets *sockets;
static struct listeners *listeners;
static char path[100], tcp[100];
static unsigned dones;
static int status;
static size_t bytes;

static void on_tick(uv_timer_t *t)
{
    if (rpc)
        rpc_tick(rpc);
}

static void api_add(struct vec_api_add *c)
{
    vec_api_add_ok(c, c->a + c->b);
}

static void api_fail(struct vec_api_fail *c)
{
    wcp_call_fail(&c->call, "as told");
}

static void on_data(void *ctx, const void *items, size_t n)
{
    bytes += n;
}

static void on_end(void *ctx, int why)
{
    vec_api_upload_ok(ctx, bytes);
}

static struct wcp_in *held;

static void resume(uv_timer_t *t)
{
    wcp_in_resume(held);
    uv_close((uv_handle_t *)t, NULL);
}

/* Reads the first, waits, and reads the rest. */
static void api_upload(struct vec_api_upload *c)
{
    static const struct wcp_in_handler reader = {on_data, on_end};
    static uv_timer_t later;
    held = c->data.in;
    wcp_in_start(held, &reader, c);
    wcp_in_pause(held);
    uv_timer_init(&loop, &later);
    uv_timer_start(&later, resume, 300, 0);
}

static const struct vec_api api = {.add = api_add, .fail = api_fail, .upload = api_upload};

static void on_accept(void *ctx, struct wcp_conn *c)
{
    rpc_accept(rpc, c, "local", "default");
}

static void on_connected(void *ctx)
{
    struct wcp_err err;
    struct strings where = {0};
    snprintf(path, sizeof path, "unix:/tmp/outrigger-socket-%d", getpid());
    strings_put(&where, path);
    strings_put(&where, "tcp:127.0.0.1:0");
    rpc = rpc_new(&(struct rpc_config){.transport = offline_transport(offline),
                                       .lattice = "default",
                                       .id = "me",
                                       .serves_anyone = true,
                                       .limits = {.call_ms = 5000}});
    rpc_serve(rpc, &(struct wcp_export){&vec_api_interface, &api});
    listeners = listeners_open(&loop, sockets, &where, on_accept, NULL, &err);
    strings_free(&where);
    if (!listeners)
        FAIL("%s", err.msg);
    for (size_t i = 0; i < captured_count; i++) {
        char *at = strstr(captured[i], "listening on tcp:");
        if (at)
            snprintf(tcp, sizeof tcp, "%.*s", (int)strcspn(at + 13, "\""), at + 13);
    }
}

static void on_message(void *ctx, int sub, struct wcp_msg *m)
{
    CHECK(rpc_message(rpc, sub, m));
}

static unsigned lefts;

static void on_left(void *ctx, int sub)
{
    lefts += rpc_left(rpc, sub);
}

static void start(void)
{
    capture_start();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    sockets = sockets_new(&loop);
    offline = offline_new(
        &loop,
        &(struct nats_events){.connected = on_connected, .message = on_message, .left = on_left});
    while (!listeners)
        uv_run(&loop, UV_RUN_ONCE);
}

static void stop(void)
{
    listeners_close(listeners);
    rpc_free(rpc);
    rpc = NULL;
    offline_close(offline);
    sockets_close(sockets);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0); /* nothing is left of anything */
    CHECK(access(path + 5, F_OK) != 0);
}

static void until_done(unsigned n)
{
    while (dones < n)
        uv_run(&loop, UV_RUN_ONCE);
}

static uint32_t sum;
static void on_add(void *ctx, const uint32_t *r, int why)
{
    dones++;
    status = why;
    sum = r ? *r : 0;
}

static uint64_t count;
static void on_upload(void *ctx, const uint64_t *r, int why)
{
    dones++;
    status = why;
    count = r ? *r : 0;
}

static size_t function(const char *name)
{
    for (size_t i = 0; i < vec_api_interface.count; i++)
        if (strcmp(vec_api_interface.funcs[i].name, name) == 0)
            return i;
    FAIL("no function %s", name);
}

static struct wcp_outgoing *call(const char *address, const char *name, const void *params,
                                 void (*done)(void))
{
    struct wcp_err err;
    struct wcp_conn *c = socket_connect(sockets, address, &err);
    if (!c)
        FAIL("%s", err.msg);
    return rpc_invoke_conn(rpc, c, &vec_api_interface, function(name), params, done, NULL);
}

static void add(const char *address)
{
    unsigned before = dones;
    call(address, "add", &(struct vec_api_add){.a = 2, .b = 300}, (void (*)(void))on_add);
    CHECK_INT(dones, before); /* not from within */
    until_done(before + 1);
}

TEST(calls_go_over_unix_sockets_and_tcp)
{
    char named[100];
    start();
    add(path);
    CHECK(status == 0 && sum == 302);
    add(tcp);
    CHECK(status == 0 && sum == 302);
    snprintf(named, sizeof named, "tcp:localhost%s", strrchr(tcp, ':')); /* ::1 may come first */
    add(named);
    CHECK(status == 0 && sum == 302);
    stop();
}

TEST(many_calls_go_at_once)
{
    start();
    for (int i = 0; i < 500; i++)
        call(i % 2 ? path : tcp, "add", &(struct vec_api_add){.a = 2, .b = 300},
             (void (*)(void))on_add);
    until_done(500);
    CHECK_INT(rpc_call_stats(rpc)->ended[OUTCOME_CLOSED], 0);
    stop();
}

TEST(a_peer_that_is_not_there_is_told)
{
    start();
    add("unix:/nonexistent/socket");
    CHECK_INT(status, WCP_ENOENT);
    CHECK_LOGGED("no such file or directory");
    /* A port that is ours, and on which nobody listens. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    CHECK(bind(fd, (struct sockaddr *)&a, len) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    char address[100];
    snprintf(address, sizeof address, "tcp:localhost:%u", ntohs(a.sin_port));
    add(address);
    CHECK_INT(status, WCP_ENOENT);
    CHECK_LOGGED("connection refused");
    close(fd);
    add("tcp:no-such-host.invalid:1");
    CHECK(status == WCP_ENOENT || status == WCP_ECLOSED); /* as the resolver can tell */
    stop();
}

TEST(an_address_that_is_none_is_refused)
{
    struct wcp_err err;
    start();
    CHECK(!socket_connect(sockets, "localhost:80", &err));
    CHECK_INT(err.code, WCP_EINVAL);
    CHECK_STR(err.msg, "\"localhost:80\" found, unix:PATH or tcp:HOST:PORT expected");
    stop();
}

TEST(a_peer_that_resets_is_told)
{
    start();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    CHECK(bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 1) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    char address[100];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", ntohs(a.sin_port));
    call(address, "add", &(struct vec_api_add){.a = 2, .b = 300}, (void (*)(void))on_add);
    int peer = -1;
    char buf[1000];
    while (peer < 0 || recv(peer, buf, sizeof buf, MSG_DONTWAIT) <= 0) {
        uv_run(&loop, UV_RUN_ONCE);
        peer = peer < 0 ? accept(fd, NULL, NULL) : peer;
    }
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(peer);
    until_done(1);
    CHECK_INT(status, WCP_ECLOSED);
    CHECK_LOGGED("connection reset by peer");
    close(fd);
    stop();
}

TEST(a_call_may_be_cancelled_before_it_is_connected)
{
    start();
    wcp_cancel(call(path, "add", &(struct vec_api_add){.a = 1}, (void (*)(void))on_add));
    wcp_cancel(
        call("tcp:localhost:1", "add", &(struct vec_api_add){.a = 1}, (void (*)(void))on_add));
    stop();
    CHECK_INT(dones, 0);
}

/* --- a writer that is faster than its reader --- */

static struct wcp_out *out;
static size_t to_write, waits;

static void write_more(void *ctx)
{
    static uint8_t piece[100000];
    while (to_write) {
        size_t n = to_write < sizeof piece ? to_write : sizeof piece;
        to_write -= n;
        if (!wcp_out_write(out, piece, n)) {
            waits++;
            wcp_out_on_drained(out, write_more, NULL);
            return;
        }
    }
    wcp_out_end(out);
}

TEST(a_writer_waits_for_a_reader_that_pauses)
{
    size_t size = 30000000;
    start();
    for (int i = 0; i < 2; i++) {
        bytes = 0;
        to_write = size;
        out = wcp_out_new(&wcp_u8);
        call(i ? tcp : path, "upload", &(struct vec_api_upload){.data.out = out},
             (void (*)(void))on_upload);
        waits = 0;
        write_more(NULL);
        uint64_t end = uv_hrtime() + 200000000; /* less than it pauses */
        while (uv_hrtime() < end)
            uv_run(&loop, UV_RUN_NOWAIT);
        CHECK(to_write > size / 2); /* buffers of the kernel took some */
        until_done((unsigned)i + 1);
        CHECK_INT(status, 0);
        CHECK_INT(count, size);
        CHECK(waits > 10);
    }
    stop();
}

TEST(what_was_answered_is_sent_although_all_is_closed)
{
    start();
    call(path, "add", &(struct vec_api_add){.a = 2, .b = 300}, (void (*)(void))on_add);
    until_done(1);
    call(tcp, "fail", &(struct vec_api_fail){.call = {0}}, (void (*)(void))on_add);
    stop(); /* the second is cut, and told so */
    CHECK_INT(dones, 2);
    CHECK_INT(status, WCP_ECLOSED);
}

/* --- without NATS --- */

TEST(without_nats_a_request_finds_nobody_and_leaving_is_at_once)
{
    start();
    rpc_leave(rpc);
    while (lefts < 8) /* each function that has a handler, and more */
        if (uv_run(&loop, UV_RUN_ONCE), rpc_idle(rpc))
            break;
    CHECK(rpc_idle(rpc));
    CHECK_INT(lefts, 3);
    stop();
}

static void on_answer(void *ctx, const struct wcp_msg *m, int why)
{
    dones++;
    status = m ? m->status : why;
}

TEST(without_nats_a_request_is_answered_with_503)
{
    start();
    rpc_request(rpc, &(struct wcp_msg){.subject = "a.b"}, 5000, on_answer, NULL);
    CHECK_INT(dones, 0);
    until_done(1);
    CHECK_INT(status, 503);
    stop();
}

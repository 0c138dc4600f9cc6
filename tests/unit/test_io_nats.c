/* test_io_nats.c: the NATS transport against a real nats-server that each test starts itself. */
#include "test.h"
#include "base/log.h"
#include "io/nats.h"
#include "io/probe.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

struct rig {
    uv_loop_t loop;
    uv_timer_t limit;
    struct nats_conn *n;
    struct wcp_transport *t;
    pid_t server;
    int port;
    unsigned connected, disconnected, reconnected, messages, left, lost, writable, flushed;
    int last_sub, left_sub, last_status;
    char last_subject[200], last_data[200], last_header[100], order[200];
    void (*on_message)(struct rig *r, int sub, struct wcp_msg *m);
    bool out_of_time;
};

/* --- a server --- */

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, n) || getsockname(fd, (struct sockaddr *)&a, &n))
        FAIL("no free port");
    close(fd);
    return ntohs(a.sin_port);
}

static pid_t start_server(int port, const char *option, const char *value)
{
    char text[8];
    snprintf(text, sizeof text, "%d", port);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", text, option, value, NULL);
        _exit(127);
    }
    return pid;
}

static void stop_server(struct rig *r)
{
    kill(r->server, SIGKILL);
    waitpid(r->server, NULL, 0);
}

/* --- events --- */

static void on_connected(void *ctx)
{
    ((struct rig *)ctx)->connected++;
}

static void on_disconnected(void *ctx)
{
    ((struct rig *)ctx)->disconnected++;
}

static void on_reconnected(void *ctx)
{
    ((struct rig *)ctx)->reconnected++;
}

static void on_message(void *ctx, int sub, struct wcp_msg *m)
{
    struct rig *r = ctx;
    r->messages++;
    r->last_sub = sub;
    r->last_status = m->status;
    snprintf(r->last_subject, sizeof r->last_subject, "%s", m->subject);
    snprintf(r->last_data, sizeof r->last_data, "%.*s", (int)m->data.len,
             (const char *)m->data.ptr);
    const char *h = m->header(m, "source-id");
    snprintf(r->last_header, sizeof r->last_header, "%s", h ? h : "(none)");
    size_t k = strlen(r->order);
    if (k + 1 < sizeof r->order)
        r->order[k] = m->data.len ? (char)m->data.ptr[0] : '-';
    if (r->on_message)
        r->on_message(r, sub, m);
}

static void on_left(void *ctx, int sub)
{
    struct rig *r = ctx;
    r->left++;
    r->left_sub = sub;
}

static void on_lost(void *ctx, int sub)
{
    ((struct rig *)ctx)->lost++;
}

static void on_writable(void *ctx)
{
    ((struct rig *)ctx)->writable++;
}

static void on_flushed(void *ctx, bool flushed)
{
    ((struct rig *)ctx)->flushed += flushed;
}

static const struct nats_events events = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .reconnected = on_reconnected,
    .message = on_message,
    .left = on_left,
    .lost = on_lost,
    .writable = on_writable,
};

/* --- the rig --- */

static void on_limit(uv_timer_t *t)
{
    struct rig *r = t->data;
    r->out_of_time = true;
}

/* Runs the loop until *counter reaches want. */
static void run_until(struct rig *r, const unsigned *counter, unsigned want, const char *what)
{
    r->out_of_time = false;
    uv_timer_start(&r->limit, on_limit, 20000, 0);
    while (*counter < want && !r->out_of_time)
        uv_run(&r->loop, UV_RUN_ONCE);
    uv_timer_stop(&r->limit);
    if (*counter < want)
        FAIL("%s: %u in 20 s, expected %u", what, *counter, want);
}
#define UNTIL(counter, want) run_until(&r, &r.counter, want, #counter)

static void run_ms(struct rig *r, uint64_t ms)
{
    r->out_of_time = false;
    uv_timer_start(&r->limit, on_limit, ms, 0);
    while (!r->out_of_time)
        uv_run(&r->loop, UV_RUN_ONCE);
}

static void open_rig(struct rig *r, const struct nats_config *c)
{
    struct nats_events ev = events;
    struct wcp_err err;
    char url[64];
    struct nats_config with_url = *c;
    ev.ctx = r;
    uv_loop_init(&r->loop);
    uv_timer_init(&r->loop, &r->limit);
    r->limit.data = r;
    if (!r->port)
        r->port = free_port();
    snprintf(url, sizeof url, "nats://127.0.0.1:%d", r->port);
    if (!with_url.urls)
        with_url.urls = url;
    r->n = nats_conn_new(&r->loop, &with_url, &ev, &err);
    if (!r->n)
        FAIL("%s", err.msg);
    r->t = nats_conn_transport(r->n);
}

static void open_connected(struct rig *r)
{
    r->port = free_port();
    r->server = start_server(r->port, NULL, NULL);
    open_rig(r, &(struct nats_config){.name = "test"});
    run_until(r, &r->connected, 1, "connected");
}

/* Everything ends: handles, memory (the leak checker looks when the test exits), threads. */
static void close_rig(struct rig *r)
{
    nats_conn_close(r->n);
    uv_close((uv_handle_t *)&r->limit, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&r->loop), 0);
    nats_conn_cleanup();
    if (r->server)
        stop_server(r);
}

static void put(struct rig *r, const char *subject, const char *reply, const char *data)
{
    r->t->publish(r->t, &(struct wcp_msg){.subject = subject,
                                          .reply = reply,
                                          .data = {(const uint8_t *)data, strlen(data)}});
}

/* --- tests --- */

TEST(nats_delivers_to_the_subscription_and_tells_subject_reply_and_data)
{
    struct rig r = {0};
    open_connected(&r);
    int a = r.t->subscribe(r.t, "a.*", NULL), b = r.t->subscribe(r.t, "b.>", "group");
    put(&r, "a.one", NULL, "hello");
    UNTIL(messages, 1);
    CHECK_INT(r.last_sub, a);
    CHECK_STR(r.last_subject, "a.one");
    CHECK_STR(r.last_data, "hello");
    CHECK_STR(r.last_header, "(none)");
    CHECK_INT(r.last_status, 0);
    put(&r, "b.two.three", "answer.here", "");
    UNTIL(messages, 2);
    CHECK_INT(r.last_sub, b);
    CHECK_STR(r.last_data, "");
    close_rig(&r);
}

TEST(nats_keeps_the_order_of_arrival_across_subscriptions)
{
    struct rig r = {0};
    open_connected(&r);
    r.t->subscribe(r.t, "z.put", NULL);
    r.t->subscribe(r.t, "z.del", NULL);
    r.t->subscribe(r.t, "z.other", "q");
    const char *script = "dpdpoopdpppddo";
    for (const char *c = script; *c; c++)
        put(&r, *c == 'd' ? "z.del" : *c == 'p' ? "z.put" : "z.other", NULL, (char[]){*c, 0});
    UNTIL(messages, 14);
    CHECK_STR(r.order, script);
    close_rig(&r);
}

TEST(nats_gives_each_of_two_overlapping_subscriptions_its_copy)
{
    struct rig r = {0};
    open_connected(&r);
    r.t->subscribe(r.t, "o.x", NULL);
    r.t->subscribe(r.t, "o.*", NULL);
    r.t->subscribe(r.t, "o.x", NULL);
    put(&r, "o.x", NULL, "1");
    UNTIL(messages, 3);
    run_ms(&r, 50);
    CHECK_INT(r.messages, 3);
    close_rig(&r);
}

TEST(nats_tells_that_nobody_is_there_with_the_subject_of_the_request)
{
    struct rig r = {0};
    char inbox[200], reply[200];
    open_connected(&r);
    snprintf(inbox, sizeof inbox, "%s.>", r.t->inbox);
    snprintf(reply, sizeof reply, "%s.77", r.t->inbox);
    int sub = r.t->subscribe(r.t, inbox, NULL);
    put(&r, "nobody.serves.this", reply, "x");
    UNTIL(messages, 1);
    CHECK_INT(r.last_status, 503);
    CHECK_INT(r.last_sub, sub);
    CHECK_STR(r.last_subject, reply);
    close_rig(&r);
}

TEST(nats_sends_and_receives_headers)
{
    struct rig r = {0};
    open_connected(&r);
    r.t->subscribe(r.t, "h", NULL);
    struct wcp_header h[] = {{"link-name", "default"}, {"source-id", "echo"}};
    r.t->publish(r.t, &(struct wcp_msg){.subject = "h",
                                        .reply = "r",
                                        .data = {(const uint8_t *)"abc", 3},
                                        .headers = h,
                                        .header_count = 2});
    r.t->publish(r.t, &(struct wcp_msg){.subject = "h", .headers = h, .header_count = 2});
    UNTIL(messages, 2);
    CHECK_STR(r.last_header, "echo");
    CHECK_INT(r.last_status, 0);
    close_rig(&r);
}

static void *kept;
static const char *kept_data;
static void keep_it(struct rig *r, int sub, struct wcp_msg *m)
{
    kept = m->owner;
    kept_data = (const char *)m->data.ptr;
    m->owner = NULL;
}

TEST(nats_leaves_a_message_to_who_moves_it_out)
{
    struct rig r = {.on_message = keep_it};
    open_connected(&r);
    r.t->subscribe(r.t, "k", NULL);
    put(&r, "k", NULL, "still here");
    UNTIL(messages, 1);
    run_ms(&r, 20);
    CHECK(memcmp(kept_data, "still here", 10) == 0);
    r.t->release(r.t, kept);
    close_rig(&r);
}

static size_t big_len;
static void note_len(struct rig *r, int sub, struct wcp_msg *m)
{
    big_len = m->data.len;
}

TEST(nats_carries_a_full_payload_and_drops_a_larger_one_with_a_log_line)
{
    struct rig r = {.on_message = note_len};
    open_connected(&r);
    r.t->subscribe(r.t, "big", NULL);
    CHECK_INT(r.t->max_payload, 1 << 20);
    uint8_t *p = calloc(1, r.t->max_payload + 1);
    r.t->publish(r.t, &(struct wcp_msg){.subject = "big", .data = {p, r.t->max_payload}});
    UNTIL(messages, 1);
    CHECK_INT(big_len, 1 << 20);
    r.t->publish(r.t, &(struct wcp_msg){.subject = "big", .data = {p, r.t->max_payload + 1}});
    run_ms(&r, 50);
    CHECK_INT(r.messages, 1);
    CHECK_INT(r.disconnected, 0);
    free(p);
    close_rig(&r);
}

TEST(nats_tells_when_there_is_room_to_write_again)
{
    struct rig r = {0};
    open_connected(&r);
    uint8_t *p = calloc(1, 100000);
    for (int i = 0; i < 20; i++)
        r.t->publish(r.t, &(struct wcp_msg){.subject = "sink", .data = {p, 100000}});
    CHECK(r.t->buffered(r.t) >= 1 << 20);
    UNTIL(writable, 1);
    CHECK(r.t->buffered(r.t) < 1 << 20);
    run_ms(&r, 50);
    CHECK_INT(r.writable, 1);
    free(p);
    close_rig(&r);
}

TEST(nats_drops_nothing_of_50000_messages_in_a_burst)
{
    struct rig r = {0};
    open_connected(&r);
    r.t->subscribe(r.t, "burst", NULL);
    for (int i = 0; i < 50000; i++)
        put(&r, "burst", NULL, "0123456789");
    UNTIL(messages, 50000);
    CHECK_INT(r.lost, 0);
    close_rig(&r);
}

TEST(nats_leaving_a_subscription_delivers_what_is_on_its_way_first)
{
    struct rig r = {0};
    open_connected(&r);
    int sub = r.t->subscribe(r.t, "l", "q"), other = r.t->subscribe(r.t, "other", NULL);
    for (int i = 0; i < 100; i++)
        put(&r, "l", NULL, "x");
    r.t->leave(r.t, sub);
    r.t->leave(r.t, sub); /* twice is once */
    for (int i = 0; i < 100; i++)
        put(&r, "l", NULL, "after");
    UNTIL(left, 1);
    CHECK_INT(r.left_sub, sub);
    CHECK_INT(r.messages, 100);
    put(&r, "other", NULL, "y");
    UNTIL(messages, 101);
    CHECK_INT(r.last_sub, other);
    CHECK_INT(r.t->subscribe(r.t, "new", NULL), sub); /* the number is free again */
    close_rig(&r);
}

TEST(nats_flush_tells_when_the_server_has_everything)
{
    struct rig r = {0};
    open_connected(&r);
    nats_conn_flush(r.n, 5000, on_flushed, &r);
    UNTIL(flushed, 1);
    close_rig(&r);
}

TEST(nats_waits_for_a_server_that_comes_later)
{
    struct rig r = {0};
    r.port = free_port();
    open_rig(&r, &(struct nats_config){0});
    run_ms(&r, 300);
    CHECK_INT(r.connected, 0);
    CHECK(!nats_conn_is_up(r.n));
    r.server = start_server(r.port, NULL, NULL);
    UNTIL(connected, 1);
    close_rig(&r);
}

TEST(nats_comes_back_when_the_server_does)
{
    struct rig r = {0};
    open_connected(&r);
    int a = r.t->subscribe(r.t, "a", NULL), b = r.t->subscribe(r.t, "b", NULL);
    nats_conn_flush(r.n, 5000, on_flushed, &r);
    UNTIL(flushed, 1);
    stop_server(&r);
    UNTIL(disconnected, 1);
    r.t->leave(r.t, b); /* nothing can come any more */
    UNTIL(left, 1);
    nats_conn_flush(r.n, 20000, on_flushed, &r);
    r.server = start_server(r.port, NULL, NULL);
    UNTIL(reconnected, 1);
    UNTIL(flushed, 2);
    put(&r, "b", NULL, "nobody listens");
    put(&r, "a", NULL, "again");
    UNTIL(messages, 1);
    CHECK_INT(r.last_sub, a);
    CHECK_INT(r.connected, 1);
    close_rig(&r);
}

static void say(FILE *to, const char *text)
{
    if (fputs(text, to) < 0 || fflush(to))
        _exit(1);
}

/* Serves one connection after the other. Who subscribes first gets half of a message, and then the
 * connection's end; who does later gets a whole one. */
static void serve_half_a_message(int listener)
{
    for (bool lost = false;;) {
        FILE *f = fdopen(accept(listener, NULL, NULL), "r+");
        char line[1000], sid[10];
        say(f, "INFO {\"max_payload\":1048576,\"headers\":true}\r\n");
        while (fgets(line, sizeof line, f)) {
            fseek(f, 0, SEEK_CUR); /* reading has to end before writing */
            if (strncmp(line, "PING", 4) == 0)
                say(f, "PONG\r\n");
            if (sscanf(line, "SUB s %9s", sid) != 1)
                continue;
            fprintf(f, "MSG s %s %d\r\n", sid, lost ? 5 : 1000);
            say(f, lost ? "again\r\n" : "half of it");
            if (!lost)
                break;
        }
        lost |= strncmp(line, "SUB", 3) == 0;
        fclose(f);
    }
}

TEST(nats_begins_anew_after_half_a_message)
{
    struct rig r = {.port = free_port()};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)r.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
    r.server = fork();
    if (r.server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_half_a_message(fd);
    }
    close(fd);
    open_rig(&r, &(struct nats_config){0});
    UNTIL(connected, 1);
    r.t->subscribe(r.t, "s", NULL);
    UNTIL(reconnected, 1);
    UNTIL(messages, 1);
    CHECK_STR(r.last_data, "again");
    close_rig(&r);
}

TEST(nats_closes_while_it_connects_and_while_the_server_is_away)
{
    struct rig r = {0};
    r.port = free_port();
    open_rig(&r, &(struct nats_config){0});
    close_rig(&r);
    r = (struct rig){0};
    r.port = free_port();
    open_rig(&r, &(struct nats_config){.urls = "nats://name.invalid:4222"});
    close_rig(&r);
}

TEST(nats_closes_while_it_reconnects)
{
    struct rig r = {0};
    open_connected(&r);
    stop_server(&r);
    UNTIL(disconnected, 1);
    r.server = 0;
    close_rig(&r);
}

static char log_lines[4000];
static void collect(void *ctx, enum wcp_level level, const char *line)
{
    size_t k = strlen(log_lines);
    snprintf(log_lines + k, sizeof log_lines - k, "%s\n", line);
}

static unsigned times(const char *what)
{
    unsigned n = 0;
    for (const char *p = log_lines; (p = strstr(p, what)); p++)
        n++;
    return n;
}

TEST(nats_tries_on_when_it_is_refused_and_says_so_once)
{
    struct rig r = {0};
    log_set_sink(collect, NULL);
    r.port = free_port();
    r.server = start_server(r.port, "--auth", "opensesame");
    open_rig(&r, &(struct nats_config){0});
    run_ms(&r, 1500);
    CHECK_INT(r.connected, 0);
    CHECK_INT(times("Authorization Violation"), 1);
    CHECK(times("no connection, trying on") <= 2); /* perhaps one that it was not up yet */
    stop_server(&r);
    r.server = start_server(r.port, NULL, NULL);
    UNTIL(connected, 1);
    /* Libnats gives a connection up when it is refused twice; we do not. */
    int sub = r.t->subscribe(r.t, "s", NULL);
    stop_server(&r);
    r.server = start_server(r.port, "--auth", "opensesame");
    UNTIL(disconnected, 1);
    run_ms(&r, 2500);
    CHECK_INT(r.reconnected, 0);
    stop_server(&r);
    r.server = start_server(r.port, NULL, NULL);
    UNTIL(reconnected, 1);
    put(&r, "s", NULL, "x");
    UNTIL(messages, 1);
    CHECK_INT(r.last_sub, sub);
    close_rig(&r);
}

TEST(nats_logs_in_with_what_the_url_says_and_never_logs_it)
{
    struct rig r = {0};
    char url[100];
    log_set_sink(collect, NULL);
    r.port = free_port();
    r.server = start_server(r.port, "--auth", "opensesame");
    snprintf(url, sizeof url, "nats://127.0.0.1:1, nats://opensesame@127.0.0.1:%d", r.port);
    open_rig(&r, &(struct nats_config){.urls = url});
    UNTIL(connected, 1);
    CHECK_INT(times("opensesame"), 0);
    CHECK_INT(times("nats: connected"), 1);
    close_rig(&r);
}

TEST(nats_says_that_what_answers_is_no_nats_server)
{
    struct rig r = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    log_set_sink(collect, NULL);
    r.port = free_port();
    a.sin_port = htons((uint16_t)r.port);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 8))
            _exit(1);
        for (;;) {
            int c = accept(fd, NULL, NULL);
            if (write(c, "SSH-2.0-x\r\n", 11) < 0)
                _exit(1);
            close(c);
        }
    }
    r.server = pid;
    open_rig(&r, &(struct nats_config){0});
    run_ms(&r, 500);
    CHECK_INT(times("what answers is not a NATS server"), 1);
    close_rig(&r);
}

TEST(nats_urls_are_checked_and_their_passwords_not_quoted)
{
    static const struct {
        const char *urls, *text;
    } bad[] = {
        {"http://x", "NATS URL 1: \"http://\" found, nats:// or tls:// expected"},
        {"nats://", "NATS URL 1: no host found, nats://host:port expected"},
        {"nats://a,b:70000", "NATS URL 2: \":70000\" found behind the host, a port expected"},
        {"nats://user:secret@h:port",
         "NATS URL 1: \":port\" found behind the host, a port expected"},
        {"nats://[::1", "NATS URL 1: \"[\" found without its \"]\""},
    };
    static const struct {
        const char *urls, *names;
    } good[] = {
        {"", "127.0.0.1:4222 "},
        {" , ", "127.0.0.1:4222 "},
        {"host", "host:4222 "},
        {"nats://u:p@ss@host:1/,tls://[fe80::1]:7", "host:1 [fe80::1]:7 "},
    };
    struct servers s;
    struct wcp_err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(servers_parse(bad[i].urls, &s, &err), WCP_EINVAL);
        CHECK_STR(err.msg, bad[i].text);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char names[100] = "";
        CHECK_INT(servers_parse(good[i].urls, &s, &err), 0);
        for (size_t k = 0; k < s.n; k++) {
            strcat(names, s.at[k].name);
            strcat(names, " ");
        }
        CHECK_STR(names, good[i].names);
        servers_free(&s);
    }
}

TEST(nats_refuses_logins_that_cannot_be_right)
{
    struct wcp_err err;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct nats_events none = {0};
    static const struct {
        struct nats_config config;
        const char *text;
    } bad[] = {
        {{.user_jwt = "x"}, "NATS login: a user JWT found without its seed"},
        {{.user_seed = "SUX"}, "NATS login: user seed: "},
        {{.login = {.creds_file = "/nonexistent"}},
         "NATS login: --creds /nonexistent: No such file or directory"},
        {{.login = {.creds_file = "/dev/null", .token_file = "/dev/null"}},
         "NATS login: --creds and --nats-token-file found, one of them expected"},
        {{.login = {.user = "me"}}, "NATS login: --nats-user found without --nats-password-file"},
        {{.login = {.key_file = "/dev/null"}}, "NATS login: --nats-key found without --nats-cert"},
        {{.login = {.nkey_file = "/dev/null"}}, "NATS login: --nkey: /dev/null: not a file"},
        {{.login = {.nkey_file = "/etc/passwd"}}, "NATS login: user seed: "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(!nats_conn_new(&loop, &bad[i].config, &none, &err));
        CHECK(strncmp(err.msg, bad[i].text, strlen(bad[i].text)) == 0);
        CHECK(!strstr(err.msg, "root")); /* what is in the file */
    }
    CHECK_INT(uv_loop_close(&loop), 0);
}

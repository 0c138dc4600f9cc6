/* test_redis.c: Redis URLs, and the hiredis adapter against a real server and against false ones.
 */
#include "test.h"
#include "adapters/hiredis.h"
#include "base/log.h"
#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

/* --- URLs --- */

static char *describe(const char *url)
{
    static char text[512];
    struct redis_address a;
    struct wcp_err err = {0};
    int rc = redis_url_parse(url, &a, &err);
    if (rc) {
        snprintf(text, sizeof text, "%d: %s", rc, err.msg);
        return text;
    }
    snprintf(text, sizeof text, "%s user=%s password=%s", a.text, a.user ? a.user : "-",
             a.password ? a.password : "-");
    redis_address_close(&a);
    return text;
}

TEST(redis_url_tells_where_the_server_is)
{
    CHECK_STR(describe("redis://127.0.0.1"), "127.0.0.1:6379/0 user=- password=-");
    CHECK_STR(describe("redis://localhost:7000/"), "localhost:7000/0 user=- password=-");
    CHECK_STR(describe("REDIS://cache.example:7000/15"), "cache.example:7000/15 user=- password=-");
    CHECK_STR(describe("redis://[::1]:7000/2"), "::1:7000/2 user=- password=-");
    CHECK_STR(describe("redis://[fe80::1%25eth0]"), "fe80::1%eth0:6379/0 user=- password=-");
    CHECK_STR(describe("redis:///3"), "127.0.0.1:6379/3 user=- password=-");
    CHECK_STR(describe("redis://h?protocol=resp3"), "h:6379/0 user=- password=-");
    CHECK_STR(describe("unix:///run/redis.sock"), "/run/redis.sock?db=0 user=- password=-");
    CHECK_STR(describe("redis+unix:///run/a%20b.sock?db=4&user=u&pass=p%26q"),
              "/run/a b.sock?db=4 user=u password=p&q");
}

TEST(redis_url_tells_who_we_are)
{
    CHECK_STR(describe("redis://:secret@h"), "h:6379/0 user=- password=secret");
    CHECK_STR(describe("redis://me:se%2Fcr%40et@h:1/1"), "h:1/1 user=me password=se/cr@et");
    CHECK_STR(describe("redis://me:a@b@h"), "h:6379/0 user=me password=a@b");
    CHECK_STR(describe("redis://me:a:b@h"), "h:6379/0 user=me password=a:b");
    CHECK_STR(describe("redis://:@h"), "h:6379/0 user=- password=-");
}

TEST(redis_url_errors_say_what_is_wrong_and_show_no_password)
{
    CHECK_STR(describe(""), "-1: does not start with redis:// or unix://");
    CHECK_STR(describe("foo"), "-1: does not start with redis:// or unix://");
    CHECK_STR(describe("me:secret@h"), "-1: does not start with redis:// or unix://");
    CHECK_STR(describe("http://h"), "-1: scheme 'http', expected redis or unix");
    CHECK_STR(describe("rediss://h"),
              "-1: rediss:// needs TLS, which this build does not have; redis:// is not "
              "encrypted");
    CHECK_STR(describe("redis://h:0"), "-1: the port is no number from 1 to 65535");
    CHECK_STR(describe("redis://h:65536"), "-1: the port is no number from 1 to 65535");
    CHECK_STR(describe("redis://h:6379x"), "-1: the port is no number from 1 to 65535");
    CHECK_STR(describe("redis://h/db"), "-1: the database is no number from 0 to 2147483647");
    CHECK_STR(describe("redis://h/99999999999"), "-1: the database is no number from 0 to "
                                                 "2147483647");
    CHECK_STR(describe("redis://me@h"),
              "-1: a user without a password, expected user:password@ or :password@");
    CHECK_STR(describe("redis://me:@h"), "-1: the password is empty");
    CHECK_STR(describe("redis://me:se/cret@h"),
              "-1: '/', '?' and '#' in a user or password are written %2F, %3F and %23");
    CHECK_STR(describe("redis://me:se#cret@h"),
              "-1: '/', '?' and '#' in a user or password are written %2F, %3F and %23");
    CHECK_STR(describe("redis://:%zz@h"),
              "-1: the password has a '%' without two hexadecimal digits, or a NUL");
    CHECK_STR(describe("redis://me:secret"), "-1: the port is no number from 1 to 65535");
    CHECK_STR(describe("redis://:a%4@h"),
              "-1: the password has a '%' without two hexadecimal digits, or a NUL");
    CHECK_STR(describe("redis://:%00@h"),
              "-1: the password has a '%' without two hexadecimal digits, or a NUL");
    CHECK_STR(describe("redis://[::1"), "-1: the ']' after the IPv6 address is missing");
    CHECK_STR(describe("redis://[::1]x"),
              "-1: after the IPv6 address something else than ':' and a port");
    CHECK_STR(describe("redis://:6379"), "-1: a host of 0 bytes, expected 1 to 255");
    CHECK_STR(describe("redis://h/1?timeout=3"),
              "-1: something after the database that is not understood");
    CHECK_STR(describe("unix://run"),
              "-1: the path of a Unix socket starts with '/': unix:///run/redis.sock");
    CHECK_STR(describe("unix:///r?pass=x&pass=y"),
              "-1: something after '?' that is not db=, user= or pass=, once");
    CHECK_STR(describe("unix:///r?user=x"), "-1: a user without a password");
}

/* --- the adapter --- */

static uv_loop_t loop;
static char state[256]; /* what the last state event said; "up" for NULL */
static int state_events;

static void on_state(void *ctx, const char *why)
{
    snprintf(state, sizeof state, "%s", why ? why : "up");
    state_events++;
}

static void be_quiet(void *ctx, enum wcp_level level, const char *line)
{
}

static struct redis_conn *connect_to(const char *url, struct redis_tuning t)
{
    struct redis_address a;
    struct wcp_err err = {0};
    if (redis_url_parse(url, &a, &err))
        FAIL("%s", err.msg);
    return redis_conn_new(&loop, &a, &t, &(struct redis_events){.state = on_state});
}

static const struct redis_tuning usual = {3000, 1000, 3, 300};

struct answer { /* of one command */
    bool done;
    char text[256]; /* the reply, or "failed: why" */
};

static void on_answer(void *ctx, const redisReply *r, const char *why)
{
    struct answer *a = ctx;
    if (a->done)
        FAIL("answered twice: %s", a->text);
    a->done = true;
    if (!r)
        snprintf(a->text, sizeof a->text, "failed: %s", why);
    else if (r->type == REDIS_REPLY_INTEGER)
        snprintf(a->text, sizeof a->text, "%lld", r->integer);
    else
        snprintf(a->text, sizeof a->text, "%s", r->type == REDIS_REPLY_NIL ? "nil" : r->str);
}

static void send_words(struct redis_conn *c, struct answer *a, const char *text)
{
    struct wcp_bytes words[8];
    size_t n = 0;
    while (*text) {
        size_t len = strcspn(text, " ");
        words[n++] = (struct wcp_bytes){(const uint8_t *)text, len};
        text += len + (text[len] == ' ');
    }
    redis_command(c, on_answer, a, n, words);
}

static void until(const bool *condition)
{
    while (!*condition)
        uv_run(&loop, UV_RUN_ONCE);
}

static void wait_for_state(const char *part)
{
    while (!strstr(state, part))
        uv_run(&loop, UV_RUN_ONCE);
}

static void on_tick(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

static void wait_ms(uint64_t ms)
{
    bool over = false;
    uv_timer_t t = {.data = &over};
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_tick, ms, 0);
    until(&over);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void start(void)
{
    log_set_sink(be_quiet, NULL);
    signal(SIGPIPE, SIG_IGN);
    CHECK_INT(uv_loop_init(&loop), 0);
}

static void finish(struct redis_conn *c)
{
    redis_conn_free(c);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
}

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

static pid_t start_redis(int port, const char *password)
{
    char text[8];
    snprintf(text, sizeof text, "%d", port);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execlp("redis-server", "redis-server", "--port", text, "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", "--requirepass", password, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void stop_redis(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

TEST(redis_commands_sent_while_connecting_are_answered_in_order)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "pa ss");
    char url[64];
    snprintf(url, sizeof url, "redis://:pa%%20ss@localhost:%d/3", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){3000, 5000, 1000, 20});
    struct answer a[4] = {0};
    send_words(c, &a[0], "SET k one");
    send_words(c, &a[1], "GET k");
    send_words(c, &a[2], "GET none");
    send_words(c, &a[3], "INCRBY k 1");
    until(&a[3].done);
    CHECK_STR(a[0].text, "OK");
    CHECK_STR(a[1].text, "one");
    CHECK_STR(a[2].text, "nil");
    CHECK_STR(a[3].text, "ERR value is not an integer or out of range");
    CHECK_STR(state, "up");
    stop_redis(redis);
    finish(c);
}

TEST(redis_that_pauses_fails_calls_in_time_and_is_used_again_afterwards)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "");
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){3000, 200, 1000, 20});
    wait_for_state("up");
    kill(redis, SIGSTOP);
    struct answer a = {0}, b = {0}, d = {0};
    uint64_t before = uv_hrtime();
    send_words(c, &a, "INCRBY n 1");
    until(&a.done);
    uint64_t took = (uv_hrtime() - before) / 1000000;
    CHECK_STR(a.text, "failed: no answer within 200 ms");
    CHECK(took >= 190 && took < 400);
    CHECK(strstr(state, "no answer within 200 ms"));
    send_words(c, &b, "GET n");
    kill(redis, SIGCONT);
    until(&b.done);
    CHECK_STR(b.text, "1"); /* the late answer of a was not taken for b's */
    CHECK_STR(state, "up");

    /* Paused for so long that the connection is given up. */
    kill(redis, SIGSTOP);
    send_words(c, &d, "INCRBY n 1");
    wait_ms(1500);
    CHECK_STR(d.text, "failed: no answer within 200 ms");
    struct answer e = {0};
    send_words(c, &e, "GET n");
    kill(redis, SIGCONT);
    until(&e.done);
    CHECK_STR(e.text, "2"); /* once: nothing is sent twice */
    stop_redis(redis);
    finish(c);
}

TEST(redis_that_is_killed_fails_what_is_pending_and_is_found_again)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "");
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){3000, 2000, 2, 20});
    wait_for_state("up");
    kill(redis, SIGSTOP);
    struct answer a = {0}, b = {0}, d = {0};
    send_words(c, &a, "SET k v");
    wait_ms(50);
    stop_redis(redis);
    until(&a.done);
    CHECK_STR(a.text, "failed: the connection was lost");
    wait_for_state("refused");
    wait_ms(200); /* more than the retries */
    send_words(c, &b, "GET k");
    CHECK(b.done);
    CHECK_STR(b.text, "failed: not connected");
    redis = start_redis(port, "");
    wait_for_state("up");
    send_words(c, &d, "GET k");
    until(&d.done);
    CHECK_STR(d.text, "nil");
    stop_redis(redis);
    finish(c);
}

TEST(redis_that_wants_another_password_is_told_apart)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "right");
    char url[64];
    snprintf(url, sizeof url, "redis://:wrong@127.0.0.1:%d", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){3000, 1000, 1000, 20});
    wait_for_state("WRONGPASS");
    CHECK(!strstr(state, "wrong"));
    redis_conn_free(c);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    c = connect_to(url, usual);
    wait_for_state("NOAUTH");
    redis_conn_free(c);
    snprintf(url, sizeof url, "redis://:right@127.0.0.1:%d/9999", port);
    c = connect_to(url, usual);
    struct answer a = {0};
    send_words(c, &a, "SET k v"); /* must not land in database 0 */
    wait_for_state("SELECT");
    until(&a.done);
    CHECK_STR(a.text, "failed: not connected");
    stop_redis(redis);
    finish(c);
}

/* A server that answers what it reads with its lines, one each time; a NULL closes. */
struct fake {
    uv_tcp_t listener, peer;
    const char *const *lines;
    size_t next;
    int connections;
};

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    static char room[65536];
    *buf = uv_buf_init(room, sizeof room);
}

static void on_fake_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct fake *f = s->data;
    if (uv_is_closing((uv_handle_t *)s))
        return;
    const char *line = n > 0 ? f->lines[f->next++] : NULL;
    if (!line) {
        uv_close((uv_handle_t *)s, NULL);
        return;
    }
    uv_buf_t out = {.base = strdup(line), .len = strlen(line)};
    CHECK_INT(uv_try_write(s, &out, 1), (int)out.len);
    free(out.base);
}

static void on_fake_connection(uv_stream_t *s, int status)
{
    struct fake *f = s->data;
    f->connections++;
    if (f->connections >
        1) /* one act only: further ones are closed at once, by closing the listener */
        return;
    uv_tcp_init(&loop, &f->peer);
    f->peer.data = f;
    CHECK_INT(uv_accept(s, (uv_stream_t *)&f->peer), 0);
    uv_read_start((uv_stream_t *)&f->peer, on_alloc, on_fake_read);
}

static void fake_answers(const char *const *lines, const char *answer, const char *why)
{
    start();
    struct fake f = {.lines = lines};
    struct sockaddr_in at;
    int port = free_port();
    uv_ip4_addr("127.0.0.1", port, &at);
    uv_tcp_init(&loop, &f.listener);
    f.listener.data = &f;
    CHECK_INT(uv_tcp_bind(&f.listener, (const struct sockaddr *)&at, 0), 0);
    CHECK_INT(uv_listen((uv_stream_t *)&f.listener, 8, on_fake_connection), 0);
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){300, 300, 0, 50});
    struct answer a = {0};
    send_words(c, &a, "GET k");
    until(&a.done);
    CHECK_STR(a.text, answer);
    wait_for_state(why);
    if (!uv_is_closing((uv_handle_t *)&f.peer))
        uv_close((uv_handle_t *)&f.peer, NULL);
    uv_close((uv_handle_t *)&f.listener, NULL);
    finish(c);
}

TEST(redis_that_talks_garbage_is_left)
{
    fake_answers((const char *const[]){"+PONG\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", NULL},
                 "failed: the connection was lost", "Protocol error, got \"H\" as reply type byte");
    fake_answers((const char *const[]){"HTTP/1.1 400 Bad Request\r\n\r\n", NULL},
                 "failed: not connected", "Protocol error");
    fake_answers((const char *const[]){"$5\r\nhello\r\n", NULL}, "failed: not connected",
                 "no Redis server");
}

TEST(redis_that_answers_unasked_is_left)
{
    fake_answers((const char *const[]){"+PONG\r\n", "+OK\r\n+more\r\n", NULL}, "OK",
                 "an answer that nobody asked for");
    fake_answers((const char *const[]){"+PONG\r\n*2\r\n:1\r\n:2\r\n", NULL},
                 "failed: not connected", "an answer that nobody asked for");
    fake_answers((const char *const[]){"+PONG\r\n-ERR max number of clients reached\r\n", NULL},
                 "failed: not connected", "ERR max number of clients reached");
}

TEST(redis_that_promises_too_much_is_left)
{
    fake_answers((const char *const[]){"+PONG\r\n", "*2147483647\r\n", NULL},
                 "failed: the connection was lost", "an array of more than 16777216 elements");
    fake_answers((const char *const[]){"+PONG\r\n", "*-5\r\n", NULL},
                 "failed: the connection was lost", "");
}

TEST(redis_that_is_silent_or_loading_is_not_used)
{
    fake_answers((const char *const[]){"", "", NULL}, "failed: not connected",
                 "not connected within 300 ms");
    fake_answers((const char *const[]){"-LOADING Redis is loading the dataset in memory\r\n", NULL},
                 "failed: not connected", "PING: LOADING");
    fake_answers((const char *const[]){NULL}, "failed: not connected",
                 "Server closed the connection");
}

struct quitter {
    struct redis_conn *conn;
    bool done;
};

static void quit(void *ctx, const redisReply *r, const char *why)
{
    struct quitter *q = ctx;
    redis_conn_free(q->conn);
    q->done = true;
}

TEST(redis_connection_may_be_freed_in_its_own_callback)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "");
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    struct quitter q = {.conn = connect_to(url, (struct redis_tuning){3000, 2000, 1000, 20})};
    struct answer a = {0}, b = {0};
    wait_for_state("up");
    send_words(q.conn, &a, "GET k");
    redis_command(q.conn, quit, &q, 1, &(struct wcp_bytes){(const uint8_t *)"PING", 4});
    send_words(q.conn, &b, "GET k");
    until(&q.done);
    CHECK_STR(a.text, "nil");
    CHECK_STR(b.text, "failed: the connection was closed");
    stop_redis(redis);
    finish(NULL);

    start(); /* and in one that runs because its time is over, with nobody there */
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", free_port());
    struct quitter p = {.conn = connect_to(url, (struct redis_tuning){3000, 50, 1000, 1000})};
    redis_command(p.conn, quit, &p, 1, &(struct wcp_bytes){(const uint8_t *)"PING", 4});
    struct answer d = {0};
    send_words(p.conn, &d, "GET k");
    until(&p.done);
    CHECK_STR(d.text, "failed: the connection was closed");
    finish(NULL);
}

TEST(redis_commands_are_bounded)
{
    start();
    struct redis_conn *c =
        connect_to("redis://192.0.2.1", (struct redis_tuning){60000, 60000, 1000, 20});
    static struct answer a[65537];
    for (size_t i = 0; i < 65536; i++)
        send_words(c, &a[i], "GET k");
    CHECK(!a[65535].done);
    send_words(c, &a[65536], "GET k");
    CHECK_STR(a[65536].text, "failed: too many commands are waiting");
    redis_conn_free(c);
    CHECK_STR(a[0].text, "failed: the connection was closed");
    CHECK_STR(a[65535].text, "failed: the connection was closed");
    finish(NULL);
}

TEST(redis_takes_large_values_whole)
{
    start();
    int port = free_port();
    pid_t redis = start_redis(port, "");
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", port);
    struct redis_conn *c = connect_to(url, (struct redis_tuning){3000, 20000, 1000, 20});
    size_t n = 20 << 20;
    uint8_t *value = wcp_calloc(n, 1);
    struct answer a = {0}, b = {0};
    redis_command(
        c, on_answer, &a, 3,
        (struct wcp_bytes[]){{(const uint8_t *)"SET", 3}, {(const uint8_t *)"k", 1}, {value, n}});
    free(value);
    send_words(c, &b, "STRLEN k");
    until(&b.done);
    CHECK_STR(a.text, "OK");
    CHECK_STR(b.text, "20971520");
    stop_redis(redis);
    finish(c);
}

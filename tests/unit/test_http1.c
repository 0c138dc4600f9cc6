/* test_http1.c: the HTTP/1.1 connection, over real sockets on loopback, server and client in turn.
 */
#include "adapters/http1.h"
#include "test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

static uv_loop_t loop;
static struct http1_server *server;
static struct http1_request *held; /* of /hold */
static int requests, dones, completes, writables, ends, closes;
static struct wcp_buf seen; /* what the handler saw of bodies */
static char last[256]; /* of the last request: "METHOD path authority minor headers trailers" */
static bool blocked;

static void on_request(struct http1_request *r)
{
    struct wcp_err err;
    requests++;
    snprintf(last, sizeof last, "%.*s %.*s [%.*s] 1.%d %zu", WCP_ARG(r->method), WCP_ARG(r->path),
             WCP_ARG(r->authority), r->minor, r->header_count);
    if (strncmp(r->path.ptr, "/hold", 5) == 0) {
        held = r;
    } else if (strncmp(r->path.ptr, "/echo", 5) == 0) {
        CHECK_INT(http1_head(r, 200, NULL, 0, &err), 0);
        if (!r->has_body)
            http1_end(r, NULL, 0);
    } else {
        http1_answer(r, 200, NULL, 0, (struct wcp_bytes){(const uint8_t *)"hi", 2});
    }
}

static void on_body(struct http1_request *r, struct wcp_bytes chunk)
{
    wcp_buf_put(&seen, chunk.ptr, chunk.len);
    if (strncmp(r->path.ptr, "/echo", 5) != 0)
        return;
    blocked = !http1_write(r, chunk);
    if (blocked)
        http1_pause(r);
}

static void on_end(struct http1_request *r)
{
    ends++;
    if (strncmp(r->path.ptr, "/echo", 5) == 0)
        http1_end(r, r->trailers, r->trailer_count);
}

static void on_writable(struct http1_request *r)
{
    writables++;
    blocked = false;
    http1_resume(r);
}

static void on_done(struct http1_request *r, bool complete)
{
    dones++;
    completes += complete;
    if (r == held)
        held = NULL;
}

static const struct http1_handler handler = {.request = on_request,
                                             .body = on_body,
                                             .end = on_end,
                                             .writable = on_writable,
                                             .done = on_done};

static void start(struct http1_options o)
{
    struct wcp_err err;
    CHECK_INT(uv_loop_init(&loop), 0);
    if (http1_listen(&loop, "127.0.0.1:0", &o, &handler, NULL, &server, &err))
        FAIL("%s", err.msg);
}

static void on_closed(void *ctx)
{
    closes++;
}

/* Also proves that nothing is left on the loop. */
static void stop(void)
{
    http1_close(server, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(closes, 1);
    CHECK_INT(uv_loop_close(&loop), 0);
    CHECK_INT(dones, requests);
    wcp_buf_free(&seen);
}

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http1_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_INT(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void turn(int ms)
{
    uint64_t until = uv_hrtime() + (uint64_t)ms * 1000000;
    do {
        uv_run(&loop, UV_RUN_NOWAIT);
        if (ms)
            usleep(200);
    } while (uv_hrtime() < until);
}

static void say(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t w = send(fd, text, n, MSG_NOSIGNAL);
        if (w < 0 && errno != EAGAIN)
            return; /* the server has had enough: its answer tells */
        if (w > 0) {
            text += w;
            n -= (size_t)w;
        }
        turn(0);
    }
}

static void says(int fd, const char *text)
{
    say(fd, text, strlen(text));
}

/* What the server says until it closes ("<eof>" or "<reset>" is appended), or until `until` has
 * come, or for 3 s ("<quiet>"). Without its date headers. */
static char *hear(int fd, const char *until)
{
    static char text[4 << 20];
    size_t n = 0;
    uint64_t end = uv_hrtime() + UINT64_C(3000000000);
    const char *how = "<quiet>";
    while (uv_hrtime() < end && n < sizeof text - 64) {
        uv_run(&loop, UV_RUN_NOWAIT);
        ssize_t r = recv(fd, text + n, sizeof text - 64 - n, 0);
        if (r == 0 || (r < 0 && errno != EAGAIN)) {
            how = r == 0 ? "<eof>" : "<reset>";
            break;
        }
        if (r < 0) {
            usleep(100);
            continue;
        }
        n += (size_t)r;
        text[n] = '\0';
        if (until && strstr(text, until)) {
            how = "";
            break;
        }
    }
    strcpy(text + n, how);
    for (char *d; (d = strstr(text, "\r\ndate: "));) {
        char *e = strstr(d + 2, "\r\n");
        CHECK(e);
        memmove(d, e, strlen(e) + 1);
    }
    return text;
}

static char *talk_n(const char *text, size_t n)
{
    int fd = dial();
    say(fd, text, n);
    char *answer = hear(fd, NULL);
    close(fd);
    turn(0);
    return answer;
}

static char *talk(const char *text)
{
    return talk_n(text, strlen(text));
}

#define END "connection: close\r\n\r\n"

TEST(http1_answers_a_request_and_closes_when_asked)
{
    start((struct http1_options){0});
    CHECK_STR(talk("GET /a?b=c%20d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" END "hi<eof>");
    CHECK_STR(last, "GET /a?b=c%20d [] 1.1 2");
    CHECK_STR(talk("OPTIONS * HTTP/1.0\r\n\r\n"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" END "hi<eof>");
    CHECK_STR(last, "OPTIONS * [] 1.0 0");
    (void)talk("FROB http://h:1/x?y HTTP/1.1\r\nHost: z\r\nConnection: x, CLOSE\r\n\r\n");
    CHECK_STR(last, "FROB /x?y [h:1] 1.1 2");
    (void)talk("GET http://h?y HTTP/1.0\r\n\r\n");
    CHECK_STR(last, "GET ?y [h] 1.0 0");
    (void)talk("CONNECT h:1 HTTP/1.0\r\n\r\n");
    CHECK_STR(last, "CONNECT h:1 [h:1] 1.0 0");
    CHECK_INT(completes, 5);
    stop();
}

TEST(http1_keeps_alive_and_answers_a_pipeline_in_order)
{
    start((struct http1_options){0});
    int fd = dial();
    const char *three = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n\r\n"
                        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
                        "GET /hold HTTP/1.1\r\nHost: x\r\n\r\nGET /last HTTP/1.0\r\n\r\n";
    says(fd, three);
    CHECK_STR(hear(fd, "0\r\n\r\n"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
              "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    turn(5);
    CHECK(held);
    CHECK_INT(requests, 3);
    http1_answer(held, 404, NULL, 0, (struct wcp_bytes){0});
    CHECK_STR(hear(fd, NULL), "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
                              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" END "hi<eof>");
    close(fd);
    fd = dial();
    says(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK_STR(hear(fd, "hi"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi");
    close(fd);
    stop();
}

/* However the bytes of a stream of requests are cut into packets, the answers are the same. */
TEST(http1_reads_the_same_byte_by_byte)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nTE: trailers\r\n\r\n"
        "5\r\nhello\r\n006;a=\"b\"\r\n world\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1 \r\nY:\r\n\r\n"
        "POST /echo HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
        "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n";
    static const char want[] =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n"
        "a\r\n0123456789\r\n0\r\nx-sum: 1\r\ny: \r\n\r\n"
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" END "hi<eof>";
    start((struct http1_options){0});
    CHECK_STR(talk(text), want);
    /* Cut once, at every place. The echo's chunks follow the packets, so compare what was seen. */
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        int fd = dial();
        seen.len = 0;
        say(fd, text, cut);
        turn(1);
        say(fd, text + cut, sizeof text - 1 - cut);
        char *got = hear(fd, NULL);
        close(fd);
        CHECK_INT(seen.len, 25);
        CHECK(memcmp(seen.ptr, "hello world0123456789body", 25) == 0);
        CHECK(strstr(got, "0\r\nx-sum: 1\r\ny: \r\n\r\nHTTP/1.1 200 OK"));
    }
    seen.len = 0;
    int fd = dial();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        say(fd, text + i, 1);
        turn(1);
    }
    CHECK(strstr(hear(fd, NULL), "1\r\nh\r\n1\r\ne\r\n"));
    CHECK_INT(seen.len, 25);
    close(fd);
    CHECK_INT(requests, completes);
    stop();
}

/* Each byte of the request's body is answered before the next is sent: nothing waits to be joined.
 */
TEST(http1_is_full_duplex_without_delay)
{
    start((struct http1_options){0});
    int fd = dial();
    const char *head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    says(fd, head);
    CHECK(strstr(hear(fd, "\r\n\r\n"), "chunked"));
    uint64_t began = uv_hrtime();
    for (int i = 0; i < 50; i++) {
        says(fd, "1\r\nx\r\n");
        CHECK_STR(hear(fd, "x\r\n"), "1\r\nx\r\n");
    }
    CHECK((uv_hrtime() - began) / 1000000 < 1500);
    says(fd, "0\r\n\r\n");
    CHECK_STR(hear(fd, "0\r\n\r\n"), "0\r\n\r\n");
    close(fd);
    stop();
}

TEST(http1_refuses_what_two_readers_could_read_differently)
{
    static const struct {
        const char *text, *status, *why;
    } bad[] = {
        {"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
         "both"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "400",
         "both"},
        {"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "400", "twice"},
        {"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "400", "twice"},
        {"POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length: 3 \t4\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "400", "not a number"},
        {"POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", "400", "not 'name: value'"},
        {"POST / HTTP/1.1\r\n Content-Length: 3\r\n\r\nabc", "400", "folding"},
        {"POST / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", "400", "folding"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", "400", "not chunked"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "400", "not chunked"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n", "400", "not chunked"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", "400", "not chunked"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "400", "not chunked"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: \x0b"
         "chunked\r\n\r\n",
         "400", "control"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400", "twice"},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400", "HTTP/1.0"},
        {"POST / HTTP/1.1\r\nTransfer-Encoding\r\n : chunked\r\n\r\n", "400", "not 'name: value'"},
        {"GET / HTTP/1.1\nHost: x\r\n\r\n", "400", "LF"},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", "400", "LF"},
        {"GET / HTTP/1.1\r\nHost: x\r\n\n", "400", "LF"},
        {"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", "400", "control"},
        {"GET / HTTP/1.1\r\nA: b\r\r\n\r\n", "400", "control"},
        {"GET / HTTP/1.1\r\r\nA: b\r\n\r\n", "400", "HTTP/1.1"},
        {"GET / HTTP/1.1\r\nA\rB: b\r\n\r\n", "400", "not 'name: value'"},
        {"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", "400", "control"},
        {"GET / HTTP/1.1\r\nA(b): c\r\n\r\n", "400", "not 'name: value'"},
        {"GET / HTTP/1.1\r\n: c\r\n\r\n", "400", "not 'name: value'"},
        {"GET / HTTP/1.1\r\nno colon\r\n\r\n", "400", "not 'name: value'"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400", "Host"},
        {"GET  / HTTP/1.1\r\n\r\n", "400", "target"},
        {"GET /\tHTTP/1.1\r\n\r\n", "400", "target"},
        {"GET / x HTTP/1.1\r\n\r\n", "400", "HTTP/1.1"},
        {"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", "400", "target"},
        {"GET /#f HTTP/1.1\r\n\r\n", "400", "target"},
        {"GET x HTTP/1.1\r\n\r\n", "400", "path"},
        {"GET * HTTP/1.1\r\n\r\n", "400", "path"},
        {"GET http:///x HTTP/1.1\r\n\r\n", "400", "host"},
        {"GET /\r\n\r\n", "400", "HTTP/1.1"},
        {"G@T / HTTP/1.1\r\n\r\n", "400", "method"},
        {" GET / HTTP/1.1\r\n\r\n", "400", "not HTTP"},
        {"\x16\x03\x01\x02", "400", "not HTTP"},
        {"\r\n\r\n\r\n\r\n\r\n\r\n", "400", "empty"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "1.1"},
        {"GET / HTTP/1.2\r\n\r\n", "505", "1.1"},
        {"GET / http/1.1\r\n\r\n", "400", "HTTP/1.1"},
        {"GET / HTTP/1.1\r\nExpect: 200-maybe\r\n\r\n", "417", "100-continue"},
    };
    static const char head[] = "POST /hold HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const struct {
        const char *text, *why;
    } chunks[] = {
        {"0x5\r\nhello\r\n0\r\n\r\n", "size"},
        {"5 \r\nhello\r\n0\r\n\r\n", "size"},
        {" 5\r\nhello\r\n0\r\n\r\n", "size"},
        {"-1\r\n", "size"},
        {"\r\n", "size"},
        {";a\r\n", "size"},
        {"5\nhello\r\n0\r\n\r\n", "size"},
        {"5;a\nb\r\nhello\r\n", "size"},
        {"5;a\rb\r\nhello\r\n", "size"},
        {"1000000000000000\r\n", "size"},
        {"fffffffffffffffff\r\n", "size"},
        {"5\r\r\nhello\r\n", "size"},
        {"5\r\nhelloX\r\n0\r\n\r\n", "end"},
        {"5\r\nhello\n0\r\n\r\n", "end"},
        {"5\r\nhello\r0\r\n\r\n", "end"},
        {"0\r\nA: b\n\r\n", "LF"},
        {"0\r\nA: b\r\n c\r\n\r\n", "folding"},
        {"0\r\nContent-Length: 5\r\n\r\n", "trailer"},
        {"0\r\n\n", "LF"},
    };
    start((struct http1_options){0});
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *got = talk(bad[i].text);
        if (strncmp(got, "HTTP/1.1 ", 9) != 0 || strncmp(got + 9, bad[i].status, 3) != 0 ||
            !strstr(got, bad[i].why) || !strstr(got, END) || !strstr(got, "<eof>"))
            FAIL("case %zu: %s\ngot %s", i, bad[i].text, got);
    }
    static const char nul[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
                      nul2[] = "GET /\0 HTTP/1.1\r\n\r\n";
    CHECK(strstr(talk_n(nul, sizeof nul - 1), " 400 "));
    CHECK(strstr(talk_n(nul2, sizeof nul2 - 1), " 400 "));
    CHECK_INT(requests, 0);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", head, chunks[i].text);
        const char *got = talk(text);
        if (!strstr(got, " 400 ") || !strstr(got, chunks[i].why) || !strstr(got, END "") ||
            !strstr(got, "<eof>"))
            FAIL("chunk %zu: %s\ngot %s", i, chunks[i].text, got);
    }
    CHECK_INT(completes, 0);
    CHECK_INT(ends, 0);
    stop();
}

TEST(http1_limits_are_exact)
{
    char *text = calloc(1, 400000);
    CHECK(text);
    start((struct http1_options){
        .head_bytes = 1000, .head_fields = 5, .url_bytes = 50, .body_bytes = 10});
    static const char fields[] = "A:1\r\nA:2\r\nA:3\r\nA:4\r\n";
    sprintf(text, "GET / HTTP/1.1\r\n%sConnection: close\r\n\r\n", fields);
    CHECK(strstr(talk(text), " 200 "));
    sprintf(text, "GET / HTTP/1.1\r\n%sA:5\r\nA:6\r\n\r\n", fields);
    CHECK(strstr(talk(text), " 431 "));
    sprintf(text, "GET /%049d HTTP/1.0\r\n\r\n", 1);
    CHECK(strstr(talk(text), " 200 "));
    sprintf(text, "GET /%050d HTTP/1.0\r\n\r\n", 1);
    CHECK(strstr(talk(text), " 414 "));
    sprintf(text, "GET /%0200d", 1); /* long before its end */
    CHECK(strstr(talk(text), " 414 "));
    for (size_t n = 999; n <= 1001; n++) {
        static const char a[] = "GET / HTTP/1.0\r\nX: ", b[] = "\r\n\r\n";
        strcpy(text, a);
        memset(text + sizeof a - 1, 'x', n - (sizeof a - 1) - (sizeof b - 1));
        strcpy(text + n - (sizeof b - 1), b);
        CHECK(strstr(talk(text), n <= 1000 ? " 200 " : " 431 "));
    }
    CHECK(
        strstr(talk("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789"),
               " 200 "));
    CHECK(strstr(talk("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n"), " 413 "));
    static const char chunked[] = "POST /hold HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    sprintf(text, "%s5\r\n01234\r\n6\r\n", chunked);
    CHECK(strstr(talk(text), " 413 "));
    sprintf(text, "%s5;%02000d\r\n", chunked, 1);
    CHECK(strstr(talk(text), " 400 "));
    strcpy(text, chunked);
    for (int i = 0; i < 40; i++)
        sprintf(text + strlen(text), "0%0*d;%0500d\r\n", 0, 1, 1);
    CHECK(strstr(talk(text), " 400 "));
    sprintf(text, "%s0\r\nA: %02000d\r\n\r\n", chunked, 1);
    CHECK(strstr(talk(text), " 431 "));
    free(text);
    stop();
}

TEST(http1_times_out)
{
    start((struct http1_options){.head_ms = 100, .idle_ms = 200});
    CHECK_STR(talk(""), "<eof>"); /* idle: nothing to say */
    CHECK(strstr(talk("GET / HTTP/1.1\r\nHo"), " 408 "));
    CHECK(strstr(talk("POST /hold HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), " 408 "));
    CHECK(!held);
    CHECK(strstr(talk("POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"), "2\r\nab\r\n<reset>"));
    CHECK_STR(talk("GET / HTTP/1.1\r\n\r\n"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi<eof>");
    /* A request that waits for its handler is not idle. */
    int fd = dial();
    says(fd, "GET /hold HTTP/1.1\r\n\r\n");
    turn(500);
    CHECK(held);
    http1_answer(held, 200, NULL, 0, (struct wcp_bytes){0});
    CHECK(strstr(hear(fd, "\r\n\r\n"), " 200 "));
    close(fd);
    stop();
}

TEST(http1_says_continue_unless_it_has_answered)
{
    start((struct http1_options){0});
    int fd = dial();
    const char *echo = "POST /echo2 HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    const char *hold = "POST /hold HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    says(fd, hold);
    CHECK_STR(hear(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    says(fd, "ab");
    turn(5);
    CHECK_INT(ends, 1);
    http1_answer(held, 204, NULL, 0, (struct wcp_bytes){0});
    CHECK_STR(hear(fd, "\r\n\r\n"), "HTTP/1.1 204 No Content\r\n\r\n");
    close(fd);
    /* A final answer at once: the body may or may not come, so the connection cannot be used on. */
    CHECK(strstr(talk(echo), "chunked\r\n" END));
    CHECK_STR(talk("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
              "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" END "hi<eof>");
    stop();
}

TEST(http1_frames_responses)
{
    struct wcp_err err;
    start((struct http1_options){.idle_ms = 300});
    struct wcp_bytes five = {(const uint8_t *)"12345", 5};
    struct http1_header length[] = {{WCP_STR("Content-Length"), WCP_STR("5")},
                                    {WCP_STR("Transfer-Encoding"), WCP_STR("gzip")},
                                    {WCP_STR("x"), WCP_STR("y")}};
    struct {
        const char *request, *want;
        int status;
        size_t headers;
        bool none;
    } cases[] = {
        {"GET /hold HTTP/1.1\r\n\r\n", "Content-Length: 5\r\nx: y\r\n\r\n12345<eof>", 200, 3,
         false},
        {"HEAD /hold HTTP/1.1\r\n\r\n", "Content-Length: 5\r\nx: y\r\n\r\n<eof>", 200, 3, false},
        {"HEAD /hold HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n<eof>", 200, 0, false},
        {"GET /hold HTTP/1.1\r\n\r\n",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n<eof>", 304, 1, false},
        {"GET /hold HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n<eof>", 204, 1, false},
        {"GET /hold HTTP/1.0\r\n\r\n", "HTTP/1.1 299 \r\nconnection: close\r\n\r\n12345<eof>", 299,
         0, false},
        {"GET /hold HTTP/1.1\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n<eof>", 200, 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = dial();
        says(fd, cases[i].request);
        turn(2);
        CHECK(held);
        CHECK_INT(http1_head(held, cases[i].status, length, cases[i].headers, &err), 0);
        if (!cases[i].none)
            CHECK(http1_write(held, five));
        http1_end(held, NULL, 0); /* too few bytes: breaks off */
        char *got = hear(fd, NULL);
        if (!strstr(got, cases[i].want))
            FAIL("case %zu: got %s", i, got);
        close(fd);
    }
    /* Too many bytes break off, too. */
    int fd = dial();
    says(fd, "GET /hold HTTP/1.1\r\n\r\n");
    turn(2);
    CHECK_INT(http1_head(held, 200, length, 1, &err), 0);
    http1_write(held, five);
    http1_write(held, five);
    CHECK(!held);
    CHECK(strstr(hear(fd, NULL), "12345<eof>"));
    close(fd);
    /* What is not HTTP is told to the caller, who can still answer. */
    fd = dial();
    says(fd, "GET /hold HTTP/1.1\r\n\r\n");
    turn(2);
    struct http1_header bad[] = {{WCP_STR("a b"), WCP_STR("c")},
                                 {WCP_STR("a"), WCP_STR("c\r\nd: e")},
                                 {WCP_STR(""), WCP_STR("c")},
                                 {WCP_STR("content-length"), WCP_STR("x")}};
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(http1_head(held, 200, &bad[i], 1, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "content-length 'x': expected a number");
    struct http1_header twice[] = {length[0], length[0]};
    CHECK_INT(http1_head(held, 200, twice, 2, &err), WCP_EINVAL);
    CHECK_INT(http1_head(held, 101, NULL, 0, &err), WCP_EINVAL);
    CHECK_INT(http1_head(held, 1000, NULL, 0, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "status 1000: expected 200 to 999");
    http1_answer(held, 500, NULL, 0, five);
    CHECK(strstr(hear(fd, NULL), "HTTP/1.1 500 "));
    close(fd);
    stop();
}

TEST(http1_pushes_back_both_ways)
{
    size_t n = 32 << 20; /* more than the kernel buffers */
    char *big = malloc(n + 200);
    CHECK(big);
    start((struct http1_options){0});
    int fd = dial();
    int len =
        sprintf(big, "POST /echo HTTP/1.1\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", n);
    for (size_t i = 0; i < n; i++)
        big[(size_t)len + i] = (char)('a' + i % 23);
    /* The client sends and does not read: the server must stop reading, not pile up. */
    size_t sent = 0, total = n + (size_t)len;
    for (int quiet = 0; quiet < 50;) {
        ssize_t w = send(fd, big + sent, total - sent, MSG_NOSIGNAL);
        turn(1);
        sent += w > 0 ? (size_t)w : 0;
        quiet = w > 0 ? 0 : quiet + 1;
        CHECK(sent < total);
    }
    CHECK(blocked);
    size_t kept = seen.len;
    CHECK(kept < n);
    /* Then it reads everything, and sends the rest. */
    size_t at = 0, room = n * 2;
    char *got = malloc(room);
    CHECK(got);
    for (uint64_t end = uv_hrtime() + UINT64_C(20000000000); uv_hrtime() < end;) {
        if (sent < total) {
            ssize_t w = send(fd, big + sent, total - sent, MSG_NOSIGNAL);
            sent += w > 0 ? (size_t)w : 0;
        }
        turn(0);
        ssize_t r = recv(fd, got + at, room - at, 0);
        if (r == 0)
            break;
        at += r > 0 ? (size_t)r : 0;
    }
    CHECK_INT(seen.len, n);
    CHECK(memcmp(seen.ptr, big + len, n) == 0);
    CHECK(at > n);
    CHECK(memcmp(got + at - 5, "0\r\n\r\n", 5) == 0);
    CHECK(writables > 0);
    CHECK_INT(completes, 1);
    free(got);
    free(big);
    close(fd);
    stop();
}

TEST(http1_tells_when_the_client_leaves)
{
    start((struct http1_options){0});
    int fd = dial();
    says(fd, "GET /hold HTTP/1.1\r\n\r\nGET /never HTTP/1.1\r\n\r\n");
    turn(5);
    CHECK(held);
    close(fd);
    turn(20);
    CHECK(!held);
    fd = dial();
    says(fd, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    turn(5);
    CHECK_INT(requests, 2);
    close(fd);
    turn(20);
    CHECK_INT(dones, 2);
    CHECK_INT(completes, 0);
    stop();
}

TEST(http1_lets_a_body_come_after_the_response)
{
    struct wcp_err err;
    start((struct http1_options){0});
    int fd = dial();
    says(fd, "POST /hold HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    turn(5);
    CHECK_INT(http1_head(held, 202, NULL, 0, &err), 0);
    struct http1_request *r = held;
    http1_end(r, NULL, 0);
    CHECK(strstr(hear(fd, "0\r\n\r\n"), " 202 Accepted\r\n"));
    CHECK_INT(dones, 0);
    says(fd, "cdeGET / HTTP/1.0\r\n\r\n");
    CHECK(strstr(hear(fd, NULL), "hi<eof>"));
    CHECK_INT(seen.len, 5);
    CHECK_INT(completes, 2);
    close(fd);
    stop();
}

TEST(http1_close_finishes_what_runs)
{
    struct wcp_err err;
    start((struct http1_options){0});
    int idle = dial(), busy = dial(), streaming = dial();
    says(idle, "GET / HTTP/1.1\r\n\r\n");
    CHECK(strstr(hear(idle, "hi"), "hi"));
    says(streaming, "GET /hold HTTP/1.1\r\n\r\n");
    turn(5);
    struct http1_request *s = held;
    CHECK_INT(http1_head(s, 200, NULL, 0, &err), 0);
    says(busy, "GET /hold HTTP/1.1\r\n\r\n");
    turn(5);
    http1_close(server, on_closed, NULL);
    turn(5);
    CHECK_STR(hear(idle, NULL), "<eof>");
    CHECK_INT(closes, 0);
    http1_answer(held, 200, NULL, 0, (struct wcp_bytes){0});
    CHECK_STR(hear(busy, NULL), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" END "<eof>");
    CHECK(http1_write(s, (struct wcp_bytes){(const uint8_t *)"z", 1}));
    http1_end(s, NULL, 0);
    CHECK(strstr(hear(streaming, NULL), "1\r\nz\r\n0\r\n\r\n<eof>"));
    close(idle);
    close(busy);
    close(streaming);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(closes, 1);
    CHECK_INT(uv_loop_close(&loop), 0);
}

TEST(http1_stop_waits_for_nobody)
{
    start((struct http1_options){0});
    int idle = dial(), answered = dial(), busy = dial();
    says(idle, "GET / HTTP/1.1\r\n\r\n");
    CHECK(strstr(hear(idle, "hi"), "hi"));
    says(answered, "GET /hold HTTP/1.1\r\n\r\n");
    turn(5);
    struct http1_request *first = held;
    says(busy, "GET /hold HTTP/1.1\r\n\r\n");
    turn(5);
    http1_answer(first, 200, NULL, 0, (struct wcp_bytes){(const uint8_t *)"last", 4});
    http1_stop(server);
    CHECK_INT(dones, 3);
    CHECK_INT(completes, 2);
    uv_run(&loop, UV_RUN_DEFAULT); /* nothing is left, though no client has done anything */
    CHECK_STR(hear(idle, NULL), "<eof>");
    CHECK(strstr(hear(answered, NULL), "last<eof>"));
    CHECK_STR(hear(busy, NULL), "<reset>");
    CHECK_INT(uv_loop_close(&loop), 0);
    close(idle);
    close(answered);
    close(busy);
}

TEST(http1_refuses_connections_above_the_limit)
{
    start((struct http1_options){.connections = 2});
    int a = dial(), b = dial();
    turn(5);
    CHECK(strstr(talk(""), " 503 Service Unavailable"));
    close(a);
    turn(20);
    int c = dial();
    says(c, "GET / HTTP/1.1\r\n\r\n");
    CHECK(strstr(hear(c, "hi"), "hi"));
    close(b);
    close(c);
    stop();
}

TEST(http1_addresses)
{
    struct sockaddr_storage a;
    struct wcp_err err;
    static const char *const bad[] = {"",        "8080",        ":8080",      "localhost:80",
                                      "1.2.3:4", "1.2.3.4:",    "1.2.3.4:x",  "1.2.3.4:65536",
                                      "::1:80",  "[1.2.3.4]:1", "1.2.3.4:-1", "1.2.3.4: 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(http1_parse_address(bad[i], &a, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "address '1.2.3.4: 1': expected IP:port or [IPv6]:port");
    CHECK_INT(http1_parse_address("0.0.0.0:8000", &a, &err), 0);
    CHECK_INT(http1_parse_address("[::1]:8000", &a, &err), 0);
    /* A port that is taken. */
    start((struct http1_options){0});
    char taken[64];
    struct http1_server *other;
    snprintf(taken, sizeof taken, "127.0.0.1:%d", http1_port(server));
    CHECK_INT(http1_listen(&loop, taken, &(struct http1_options){0}, &handler, NULL, &other, &err),
              WCP_EIO);
    CHECK(strstr(err.msg, "cannot listen: address already in use"));
    stop();
}

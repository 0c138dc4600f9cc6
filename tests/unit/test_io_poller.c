/* test_io_poller.c: what a watched socket tells. */
#include "test.h"
#include "io/poller.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <unistd.h>
#include <uv.h>

struct reader {
    struct poller *poller;
    int fd;
    unsigned bytes;
    int error; /* that a read ended with; 0: none yet */
};

static void on_ready(void *ctx, bool readable, bool writable)
{
    struct reader *r = ctx;
    char c;
    ssize_t n = readable ? read(r->fd, &c, 1) : 0;
    if (n > 0)
        r->bytes++;
    else if (n < 0 && !r->error) {
        r->error = errno;
        poller_close(r->poller);
    }
}

/* Two ends of a connection over loopback. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&a, n) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&a, &n) ||
        connect(ends[0], (struct sockaddr *)&a, n) || (ends[1] = accept(listener, NULL, NULL)) < 0)
        FAIL("no connection over loopback");
    close(listener);
}

static void on_limit(uv_timer_t *t)
{
    FAIL("the loop still waits after 5 s");
}

TEST(poller_tells_of_a_reset_behind_bytes_that_came_before_it)
{
    uv_loop_t loop;
    uv_timer_t limit;
    int ends[2];
    struct reader r = {0};
    struct linger at_once = {.l_onoff = 1};
    connect_pair(ends);
    r.fd = ends[0];
    uv_loop_init(&loop);
    uv_timer_init(&loop, &limit);
    uv_timer_start(&limit, on_limit, 5000, 0);
    uv_unref((uv_handle_t *)&limit);
    r.poller = poller_new(&loop, on_ready, &r);
    CHECK_INT(poller_watch(r.poller, r.fd), 0);
    CHECK_INT(write(ends[1], "ab", 2), 2);
    setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(ends[1]);
    uv_run(&loop, UV_RUN_DEFAULT); /* until r.error closes the poller */
    CHECK_INT(r.bytes, 2);
    CHECK_INT(r.error, ECONNRESET);
    close(r.fd);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
}

/* output.c: see output.h. A file takes everything at once; of anything else, libuv tells when it
 * takes more. */
#include "cli/output.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

struct output {
    uv_poll_t poll;
    int fd, error;
    const char *name;
    bool pollable, polling;
    struct wcp_buf waiting;
    void (*drained)(void *ctx);
    void *ctx;
};

/* Behind this, a write to a pipe that has room for anything does not block. */
enum { PIECE = 4096 };

struct output *output_new(struct uv_loop_s *loop, int fd, const char *name,
                          void (*drained)(void *ctx), void *ctx)
{
    struct output *o = wcp_calloc(1, sizeof *o);
    int flags = fcntl(fd, F_GETFL);
    o->fd = fd;
    o->name = name;
    o->drained = drained;
    o->ctx = ctx;
    o->poll.data = o;
    o->pollable = uv_poll_init(loop, &o->poll, fd) == 0; /* not for files */
    if (o->pollable && flags != -1)
        (void)fcntl(fd, F_SETFL, flags); /* libuv made it non-blocking, for all who share it */
    return o;
}

static bool has_room(const struct output *o, int ms)
{
    struct pollfd p = {.fd = o->fd, .events = POLLOUT};
    return !o->pollable || poll(&p, 1, ms) > 0;
}

/* Writes what it takes now; how much that was. */
static size_t write_some(struct output *o, const uint8_t *p, size_t n)
{
    size_t done = 0;
    while (done < n && !o->error && has_room(o, 0)) {
        size_t piece = o->pollable && n - done > PIECE ? PIECE : n - done;
        ssize_t k = write(o->fd, p + done, piece);
        if (k > 0)
            done += (size_t)k;
        else if (k < 0 && errno == EAGAIN)
            break;
        else if (k < 0 && errno != EINTR)
            o->error = errno;
    }
    return o->error ? n : done;
}

static void write_waiting(struct output *o)
{
    size_t n = write_some(o, o->waiting.ptr, o->waiting.len);
    memmove(o->waiting.ptr, o->waiting.ptr + n, o->waiting.len - n);
    o->waiting.len -= n;
    if (o->waiting.len)
        return;
    uv_poll_stop(&o->poll);
    o->polling = false;
    o->drained(o->ctx);
}

static void on_room(uv_poll_t *poll, int status, int events)
{
    write_waiting(poll->data);
}

void output_flush(struct output *o, int ms)
{
    while (o->waiting.len && has_room(o, ms))
        write_waiting(o);
}

bool output_write(struct output *o, const void *p, size_t n)
{
    if (o->error)
        return true;
    size_t done = o->waiting.len ? 0 : write_some(o, p, n);
    if (done == n)
        return true;
    wcp_buf_put(&o->waiting, (const uint8_t *)p + done, n - done);
    if (!o->polling)
        uv_poll_start(&o->poll, UV_WRITABLE, on_room);
    o->polling = true;
    return false;
}

bool output_waits(const struct output *o)
{
    return o->waiting.len > 0;
}

int output_error(const struct output *o, struct wcp_err *err)
{
    return o->error ? wcp_fail(err, WCP_EIO, "%.150s: %s", o->name, strerror(o->error)) : 0;
}

void output_stop(struct output *o)
{
    if (o->pollable)
        uv_close((uv_handle_t *)&o->poll, NULL);
    o->waiting.len = 0;
}

void output_free(struct output *o)
{
    if (!o)
        return;
    if (o->fd > 2)
        (void)close(o->fd); /* write() has told what went wrong */
    wcp_buf_free(&o->waiting);
    free(o);
}

/* source.c: see source.h. */
#include "cli/source.h"
#include "cli/values.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define LINE_MAX_BYTES ((size_t)16 << 20)
#define READS_MAX      64 /* of a file in one go: a receiver that is gone always has room */

struct source {
    uv_poll_t poll;
    uv_timer_t soon;
    int fd;
    const char *name;
    const struct wcp_type *t;
    struct wcp_out *out; /* NULL once it has ended */
    bool pollable, polling;
    struct wcp_buf line; /* read, and not given yet */
    size_t line_number;
    void (*failed)(void *ctx, const struct wcp_err *err);
    void *ctx;
};

static void pump(struct source *s);

static void end(struct source *s, const struct wcp_err *err)
{
    struct wcp_out *out = s->out;
    s->out = NULL;
    if (s->polling)
        uv_poll_stop(&s->poll);
    s->polling = false;
    if (err)
        wcp_out_abort(out);
    else
        wcp_out_end(out);
    if (err)
        s->failed(s->ctx, err);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    pump(poll->data);
}

/* Goes on when there is more to read. */
static void wait(struct source *s)
{
    if (!s->polling)
        uv_poll_start(&s->poll, UV_READABLE, on_readable);
    s->polling = true;
}

static void on_drained(void *ctx)
{
    struct source *s = ctx;
    if (!s->out)
        return;
    if (s->pollable)
        wait(s);
    else
        pump(s);
}

/* One value in text; true: there is room for more. */
static bool give(struct source *s, struct wcp_str text, bool *good)
{
    struct wcp_arena arena = {0};
    struct wcp_buf what = {0};
    bool room = true;
    wcp_buf_fmt(&what, "%s", s->name);
    if (s->t->kind == WCP_STREAM)
        wcp_buf_fmt(&what, ", value %zu", s->line_number);
    wcp_buf_put(&what, "", 1);
    if (!s->t->elem) { /* a future of nothing: what the file says does not matter */
        *good = true;
    } else {
        void *value = wcp_alloc(&arena, 1, s->t->elem->size);
        *good = values_read_text((const char *)what.ptr, s->t->elem, text, &arena, value) == 0;
        room = !*good || wcp_out_write(s->out, value, 1);
    }
    wcp_buf_free(&what);
    wcp_arena_free(&arena);
    return room;
}

/* Gives the whole lines of what has been read, and at the end the rest. */
static bool give_lines(struct source *s, bool at_end, bool *good)
{
    size_t from = 0;
    bool room = true;
    *good = true;
    while (*good && from < s->line.len) {
        const char *p = (const char *)s->line.ptr + from;
        const char *eol = memchr(p, '\n', s->line.len - from);
        if (!eol && !at_end)
            break;
        struct wcp_str text = {p, eol ? (size_t)(eol - p) : s->line.len - from};
        from += text.len + (eol != NULL);
        size_t blank = 0;
        while (blank < text.len && strchr(" \t\r", p[blank]) && p[blank])
            blank++;
        s->line_number++;
        if (blank < text.len)
            room &= give(s, text, good);
    }
    if (from)
        memmove(s->line.ptr, s->line.ptr + from, s->line.len - from);
    s->line.len -= from;
    return room;
}

/* What was read; at_end: there is no more. True: there is room for more. */
static bool take(struct source *s, const char *p, size_t n, bool at_end)
{
    bool good = true, room = true;
    if (s->t->kind == WCP_STREAM && s->t->elem->kind == WCP_U8)
        return at_end || wcp_out_write(s->out, p, n);
    wcp_buf_put(&s->line, p, n);
    if (s->t->kind == WCP_STREAM)
        room = give_lines(s, at_end, &good);
    else if (at_end)
        give(s, (struct wcp_str){(const char *)s->line.ptr, s->line.len}, &good);
    if (!good) {
        end(s, &(struct wcp_err){.code = WCP_EINVAL});
    } else if (s->line.len > LINE_MAX_BYTES) {
        struct wcp_err err = {0};
        (void)wcp_fail(&err, WCP_ETOOBIG, "%.150s: a value of more than %zu bytes", s->name,
                       LINE_MAX_BYTES);
        end(s, &err);
    }
    return room;
}

static void on_soon(uv_timer_t *t)
{
    pump(t->data);
}

static void pump(struct source *s)
{
    char part[65536];
    for (int reads = 0; s->out; reads++) {
        if (reads == READS_MAX) {
            uv_timer_start(&s->soon, on_soon, 0, 0);
            return;
        }
        ssize_t n = read(s->fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && s->pollable) {
            wait(s);
            return;
        }
        if (n < 0) {
            struct wcp_err err = {0};
            (void)wcp_fail(&err, WCP_EIO, "%.150s: %s", s->name, strerror(errno));
            end(s, &err);
            return;
        }
        bool room = take(s, part, (size_t)n, n == 0);
        if (n == 0 && s->out)
            end(s, NULL);
        if (!s->out)
            return;
        if (!room) {
            if (s->polling)
                uv_poll_stop(&s->poll);
            s->polling = false;
            wcp_out_on_drained(s->out, on_drained, s);
            return;
        }
        if (s->pollable) {
            wait(s);
            return;
        }
    }
}

struct source *source_new(struct uv_loop_s *loop, int fd, const char *name,
                          const struct wcp_type *t, struct wcp_out *out,
                          void (*failed)(void *ctx, const struct wcp_err *err), void *ctx)
{
    struct source *s = wcp_calloc(1, sizeof *s);
    int flags = fcntl(fd, F_GETFL);
    s->fd = fd;
    s->name = name;
    s->t = t;
    s->out = out;
    s->failed = failed;
    s->ctx = ctx;
    s->poll.data = s->soon.data = s;
    uv_timer_init(loop, &s->soon);
    s->pollable = uv_poll_init(loop, &s->poll, fd) == 0; /* not for files */
    if (s->pollable && flags != -1)
        (void)fcntl(fd, F_SETFL, flags); /* libuv made it non-blocking, for all who share it */
    if (s->pollable)
        wait(s);
    else
        pump(s);
    return s;
}

bool source_is_over(const struct source *s)
{
    return !s->out;
}

void source_stop(struct source *s, bool sent)
{
    if (s->out && sent)
        wcp_out_abort(s->out);
    s->out = NULL;
    uv_close((uv_handle_t *)&s->soon, NULL);
    if (s->pollable)
        uv_close((uv_handle_t *)&s->poll, NULL);
}

void source_free(struct source *s)
{
    if (!s)
        return;
    if (s->fd > 2)
        (void)close(s->fd); /* only read */
    wcp_buf_free(&s->line);
    free(s);
}

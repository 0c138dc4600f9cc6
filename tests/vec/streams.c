/* streams.c: streams and futures of what comes in, and of our own. */
#include "vec.h"
#include <stdlib.h>

struct relay {
    struct wcp_in *in;
    struct wcp_out *out;
};

static void on_drained(void *ctx)
{
    struct relay *r = ctx;
    wcp_in_resume(r->in);
}

void relay_give(struct relay *r, const void *items, size_t n)
{
    if (wcp_out_write(r->out, items, n))
        return;
    wcp_in_pause(r->in);
    wcp_out_on_drained(r->out, on_drained, r);
}

void relay_end(void *ctx, int status)
{
    struct relay *r = ctx;
    wcp_out_on_drained(r->out, NULL, NULL);
    if (status)
        wcp_out_abort(r->out);
    else
        wcp_out_end(r->out);
    free(r);
}

union wcp_async relay(union wcp_async in, const struct wcp_type *elem,
                      const struct wcp_in_handler *h)
{
    struct relay *r = wcp_calloc(1, sizeof *r);
    union wcp_async out = {.out = wcp_out_new(elem)};
    r->in = in.in;
    r->out = out.out;
    wcp_in_start(in.in, h, r);
    return out;
}

static void on_same(void *ctx, const void *items, size_t n)
{
    relay_give(ctx, items, n);
}
const struct wcp_in_handler relay_same = {on_same, relay_end};

uint8_t pattern(uint64_t i)
{
    return (uint8_t)(i * 31 + 7);
}

struct source {
    struct wcp_out *out;
    uint64_t left;
    bool zeros, breaks;
};

static void go_on(void *ctx)
{
    static const uint8_t zeros[65536];
    static uint8_t bytes[sizeof zeros]; /* each piece is the same: the pattern repeats itself */
    struct source *s = ctx;
    for (size_t i = 0; i < sizeof bytes && !s->zeros; i++)
        bytes[i] = pattern(i);
    while (s->left) {
        size_t n = s->left < sizeof zeros ? (size_t)s->left : sizeof zeros;
        s->left -= n;
        if (!wcp_out_write(s->out, s->zeros ? zeros : bytes, n)) {
            wcp_out_on_drained(s->out, go_on, s);
            return;
        }
    }
    if (s->breaks)
        wcp_out_abort(s->out);
    else
        wcp_out_end(s->out);
    free(s);
}

union wcp_async source(uint64_t n, bool zeros, bool breaks)
{
    struct source *s = wcp_calloc(1, sizeof *s);
    union wcp_async out = {.out = wcp_out_new(&wcp_u8)};
    *s = (struct source){out.out, n, zeros, breaks};
    go_on(s);
    return out;
}

/* serve_streams.c: see serve.h. */
#include "serve.h"
#include <stdlib.h>

enum { CHUNK = 60000 };

struct source {
    struct wcp_out *out;
    size_t at, end;
    bool breaks;
};

static void pour(void *ctx)
{
    struct source *s = ctx;
    uint8_t chunk[CHUNK];
    while (s->at < s->end) {
        size_t n = s->end - s->at < CHUNK ? s->end - s->at : CHUNK;
        for (size_t i = 0; i < n; i++)
            chunk[i] = peer_pattern(s->at + i);
        s->at += n;
        if (!wcp_out_write(s->out, chunk, n)) {
            wcp_out_on_drained(s->out, pour, s);
            return;
        }
    }
    (s->breaks ? wcp_out_abort : wcp_out_end)(s->out);
    free(s);
}

union wcp_async serve_pattern(size_t n, bool breaks)
{
    struct source *s = wcp_calloc(1, sizeof *s);
    union wcp_async a = {.out = wcp_out_new(&wcp_u8)};
    *s = (struct source){.out = a.out, .end = n, .breaks = breaks};
    pour(s);
    return a;
}

struct relay {
    struct wcp_in *in;
    struct wcp_out *out;
    void (*map)(struct wcp_out *to, const void *items, size_t n);
};

static void on_drained(void *ctx)
{
    struct relay *r = ctx;
    if (r->in)
        wcp_in_resume(r->in);
}

static void relay_data(void *ctx, const void *items, size_t n)
{
    struct relay *r = ctx;
    if (r->map) {
        r->map(r->out, items, n);
    } else if (!wcp_out_write(r->out, items, n)) {
        wcp_in_pause(r->in);
        wcp_out_on_drained(r->out, on_drained, r);
    }
}

static void relay_end(void *ctx, int status)
{
    struct relay *r = ctx;
    (status ? wcp_out_abort : wcp_out_end)(r->out);
    free(r);
}

union wcp_async serve_relay(union wcp_async from, const struct wcp_type *elem,
                            void (*map)(struct wcp_out *to, const void *items, size_t n))
{
    static const struct wcp_in_handler handler = {relay_data, relay_end};
    struct relay *r = wcp_calloc(1, sizeof *r);
    union wcp_async to = {.out = wcp_out_new(elem)};
    *r = (struct relay){.in = from.in, .out = to.out, .map = map};
    wcp_in_start(from.in, &handler, r);
    return to;
}

struct match {
    size_t n;
    bool wrong;
    void (*done)(void *ctx, size_t n, int status);
    void *ctx;
};

static void match_data(void *ctx, const void *items, size_t n)
{
    struct match *m = ctx;
    for (size_t i = 0; i < n && !m->wrong; i++) {
        m->wrong = ((const uint8_t *)items)[i] != peer_pattern(m->n);
        m->n += !m->wrong;
    }
}

static void match_end(void *ctx, int status)
{
    struct match *m = ctx;
    m->done(m->ctx, m->n, status);
    free(m);
}

void serve_match(union wcp_async from, void (*done)(void *ctx, size_t n, int status), void *ctx)
{
    static const struct wcp_in_handler handler = {match_data, match_end};
    struct match *m = wcp_calloc(1, sizeof *m);
    *m = (struct match){.done = done, .ctx = ctx};
    wcp_in_start(from.in, &handler, m);
}

/* http-echo: a component without Wasm that answers with the request's body, byte by byte as it
 * comes, and with its trailers. It shows streams in both directions, and how one pushes back on the
 * other. */
#include "http_incoming_handler.h"
#include <stdlib.h>

/* Lives until both of the request's streams have ended; its call is answered long before. */
struct echo {
    struct wcp_in *from;
    struct wcp_out *to, *trailers; /* NULL: ended */
};

static void free_when_done(struct echo *e)
{
    if (!e->to && !e->trailers)
        free(e);
}

/* A stream that broke off on one side breaks off on the other. */
static void finish(struct wcp_out **o, int status)
{
    if (status)
        wcp_out_abort(*o);
    else
        wcp_out_end(*o);
    *o = NULL;
}

static void go_on(void *ctx)
{
    struct echo *e = ctx;
    if (e->to)
        wcp_in_resume(e->from);
}

static void on_body(void *ctx, const void *items, size_t n)
{
    struct echo *e = ctx;
    if (wcp_out_write(e->to, items, n))
        return;
    wcp_in_pause(e->from);
    wcp_out_on_drained(e->to, go_on, e);
}

static void on_body_end(void *ctx, int status)
{
    struct echo *e = ctx;
    finish(&e->to, status);
    free_when_done(e);
}

static void on_trailers(void *ctx, const void *items, size_t n)
{
    struct echo *e = ctx;
    (void)wcp_out_write(e->trailers, items,
                        n); /* a single value: nothing follows that could wait */
}

static void on_trailers_end(void *ctx, int status)
{
    struct echo *e = ctx;
    finish(&e->trailers, status);
    free_when_done(e);
}

static const struct wcp_in_handler body_in = {on_body, on_body_end};
static const struct wcp_in_handler trailers_in = {on_trailers, on_trailers_end};

static void handle(struct http_incoming_handler_handle *c)
{
    struct echo *e = wcp_calloc(1, sizeof *e);
    struct wcp_out *to = wcp_out_new(&wcp_u8),
                   *trailers = wcp_out_new(&http_types_option_fields_type);
    *e = (struct echo){c->request.body.in, to, trailers};
    /* Started before the answer, which drops what nobody reads. What is there already is read at
     * once, so that a small request is answered in one message; e may be gone afterwards. */
    wcp_in_start(c->request.body.in, &body_in, e);
    wcp_in_start(c->request.trailers.in, &trailers_in, e);
    struct http_types_response r = {.status = 200};
    r.body.out = to;
    r.trailers.out = trailers;
    http_incoming_handler_handle_ok(c, r);
}

static const struct http_incoming_handler handler = {handle};

int main(int argc, char **argv)
{
    return wcp_main(
        argc, argv,
        &(struct wcp_provider){
            .name = "http-echo",
            .exports = (struct wcp_export[]){{&http_incoming_handler_interface, &handler}, {0}},
            .serves_anyone = true,
        });
}

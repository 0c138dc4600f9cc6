/* work.c: wcp_work, the one door for work that blocks or takes long. */
#include "io/work.h"
#include <assert.h>
#include <stdlib.h>
#include <uv.h>
#include <wcp/work.h>

struct work {
    uv_work_t req;
    void (*work)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

static void on_thread(uv_work_t *req)
{
    struct work *w = req->data;
    w->work(w->ctx);
}

static void on_done(uv_work_t *req, int status)
{
    struct work *w = req->data;
    struct work_count *count = req->loop->data;
    if (w->done)
        w->done(w->ctx);
    free(w);
    if (--count->running == 0)
        count->idle(count->ctx);
}

void wcp_work(struct wcp_instance *i, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    uv_loop_t *loop = wcp_loop(i);
    struct work_count *count = loop->data;
    struct work *w = wcp_calloc(1, sizeof *w);
    *w = (struct work){.req.data = w, .work = work, .done = done, .ctx = ctx};
    int rc = uv_queue_work(loop, &w->req, on_thread, on_done);
    assert(rc == 0); /* it refuses nothing but a NULL function */
    count->running++;
}

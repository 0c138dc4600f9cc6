/* upload.c: write-container-data.
 *
 * The first job opens the draft; then the call is answered, since 1.9 hosts forward what the guest
 * writes only from then on. What comes in collects in one buffer while a worker writes the other
 * one away; when that is too much the stream is paused. The last job commits. A small object that
 * came with its call takes one job and one message. */
#include "folder.h"
#include "transfer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FULL       ((size_t)256 << 10) /* may always wait of an upload */
#define TOTAL_MAX  ((size_t)8 << 20)   /* more may, as long as it is less than this of all */
#define WRITE_BACK ((off_t)8 << 20)    /* the disk begins that early: the commit is short then */

struct upload {
    struct blobstore_blobstore_write_container_data *c; /* NULL: answered */
    struct store *store;
    struct wcp_in *in;   /* NULL: it has ended */
    struct wcp_out *out; /* how it went */
    struct wcp_buf filling, writing;
    bool ended, paused, running;
    int status; /* that the stream ended with */
    /* The job's: */
    struct draft draft;
    bool open, last;
    int cut; /* status, when it began */
    off_t written, flushed;
    const char *why;
};

static const char broke_off[] = "the data broke off before its end";
static const char too_fast[] = "the data came faster than the disk could take it";

static size_t total; /* bytes that wait for the disk, of all uploads; of the loop's thread */

/* --- on a worker thread --- */

static const char *write_all(struct upload *u)
{
    for (size_t at = 0; at < u->writing.len;) {
        ssize_t n = write(u->draft.fd, u->writing.ptr + at, u->writing.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return why_of(errno);
        at += (size_t)n;
    }
    u->written += (off_t)u->writing.len;
    if (u->written - u->flushed >= WRITE_BACK) {
        /* Only a hint: fsync tells what went wrong. */
        (void)sync_file_range(u->draft.fd, u->flushed, u->written - u->flushed,
                              SYNC_FILE_RANGE_WRITE);
        u->flushed = u->written;
    }
    return NULL;
}

static void step(void *ctx)
{
    struct upload *u = ctx;
    if (!u->open && !u->cut) {
        u->why = draft_open(u->store, u->c->id.container, u->c->id.object, &u->draft);
        u->open = !u->why;
    }
    if (!u->why && u->cut)
        u->why = u->cut == WCP_ETOOBIG ? too_fast : broke_off;
    if (!u->why)
        u->why = write_all(u);
    if (u->why || u->last) {
        if (u->open && u->why)
            draft_discard(&u->draft);
        else if (u->open)
            u->why = draft_commit(&u->draft);
        u->open = false;
    }
}

/* --- on the loop --- */

static void stepped(void *ctx);

static void go_on(struct upload *u)
{
    struct wcp_buf full = u->filling;
    u->filling = u->writing;       /* empty */
    if (u->filling.cap > 4 * FULL) /* after a time of waiting */
        wcp_buf_free(&u->filling);
    u->writing = full;
    u->last = u->ended;
    u->cut = u->status;
    u->running = true;
    store_work(u->store, step, stepped, u);
}

static void finish(struct upload *u)
{
    if (u->why && u->why != broke_off)
        store_suspect(u->store, u->why);
    if (u->in)
        wcp_in_cancel(u->in);
    if (u->c)
        blobstore_blobstore_fail(&u->c->call, wcp_str(u->why));
    else
        transfer_over(u->out, u->why);
    total -= u->filling.len; /* it has failed meanwhile */
    wcp_buf_free(&u->filling);
    wcp_buf_free(&u->writing);
    store_unref(u->store);
    free(u);
}

static void answer(struct upload *u)
{
    struct blobstore_blobstore_write_container_data *c = u->c;
    union wcp_async status = {.out = wcp_out_new(&blobstore_blobstore_result_none_string_type)};
    u->c = NULL;
    u->out = status.out;
    if (u->last) /* all of it in one message */
        finish(u);
    blobstore_blobstore_write_container_data_ok(c, status);
}

static void stepped(void *ctx)
{
    struct upload *u = ctx;
    bool over = u->why || u->last;
    u->running = false;
    total -= u->writing.len;
    u->writing.len = 0;
    if (over && (!u->c || u->why)) {
        finish(u);
        return;
    }
    if (u->c)
        answer(u);
    if (over)
        return;
    if (u->paused) {
        u->paused = false;
        wcp_in_resume(u->in); /* which may begin the next job */
    }
    if (!u->running && (u->filling.len || u->ended))
        go_on(u);
}

static void on_data(void *ctx, const void *items, size_t n)
{
    struct upload *u = ctx;
    wcp_buf_put(&u->filling, items, n);
    total += n;
    if (u->filling.len >= FULL && total >= TOTAL_MAX) {
        wcp_in_pause(u->in);
        u->paused = true;
    }
    if (!u->running)
        go_on(u);
}

static void on_end(void *ctx, int status)
{
    struct upload *u = ctx;
    u->in = NULL;
    u->paused = false;
    u->ended = true;
    u->status = status;
    if (!u->running)
        go_on(u);
}

void upload(struct blobstore_blobstore_write_container_data *c)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    struct store *s = transfer_begin(&c->call);
    if (!s)
        return;
    struct upload *u = wcp_calloc(1, sizeof *u);
    u->c = c;
    u->store = s;
    u->in = c->data.in;
    u->running = true; /* not before what is here already has been read */
    wcp_in_start(c->data.in, &handler, u);
    go_on(u);
}

/* download.c: get-container-data. The first job opens the object and reads the first piece: a small
 * object takes one job and one message. The others follow as fast as they are taken. */
#include "folder.h"
#include "transfer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)

struct download {
    struct blobstore_blobstore_get_container_data *c; /* NULL: answered */
    struct store *store;
    struct wcp_out *out, *status;
    /* The job's: */
    int fd; /* -1: not open */
    uint64_t at, end;
    uint8_t *piece;
    size_t len;
    const char *why;
};

/* --- on a worker thread --- */

static void open_range(struct download *d)
{
    struct stat st;
    d->at = d->c->start;
    d->end = d->c->end;
    if (d->end < d->at) {
        d->why = "the range ends before it begins";
        return;
    }
    d->why = object_open(d->store, d->c->id.container, d->c->id.object, &d->fd, &st);
    if (d->why) {
        d->fd = -1;
        return;
    }
    if (d->end > (uint64_t)st.st_size)
        d->end = (uint64_t)st.st_size;
    if (d->at > d->end)
        d->at = d->end;
    uint64_t left = d->end - d->at;
    if (left > PIECE) /* the others are read at once */
        (void)posix_fadvise(d->fd, (off_t)d->at, (off_t)left, POSIX_FADV_SEQUENTIAL);
    d->piece = wcp_realloc(NULL, left < PIECE ? (size_t)left + 1 : PIECE);
}

static void step(void *ctx)
{
    struct download *d = ctx;
    if (d->fd < 0)
        open_range(d);
    d->len = 0;
    while (!d->why && d->at < d->end && d->len < PIECE) {
        size_t want = PIECE - d->len;
        if (want > d->end - d->at)
            want = (size_t)(d->end - d->at);
        ssize_t n = pread(d->fd, d->piece + d->len, want, (off_t)d->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            d->why = why_of(errno);
        else if (n == 0)
            d->why = "the object was cut short meanwhile";
        else {
            d->len += (size_t)n;
            d->at += (size_t)n;
        }
    }
    if (d->fd >= 0 && (d->why || d->at == d->end)) {
        (void)close(d->fd); /* it was only read */
        d->fd = -1;
    }
}

/* --- on the loop --- */

static void stepped(void *ctx);

static void go_on(void *ctx)
{
    struct download *d = ctx;
    if (transfer_is_unheard(d->out))
        d->end = d->at; /* which closes the file */
    store_work(d->store, step, stepped, d);
}

static void download_free(struct download *d)
{
    if (d->why)
        store_suspect(d->store, d->why);
    store_unref(d->store);
    free(d->piece);
    free(d);
}

static void stepped(void *ctx)
{
    struct download *d = ctx;
    struct blobstore_blobstore_get_container_data *c = d->c;
    struct wcp_out *out = d->out, *status = d->status;
    if (c && d->why) {
        blobstore_blobstore_fail(&c->call, wcp_str(d->why));
        download_free(d);
        return;
    }
    if (c) {
        out = d->out = wcp_out_new(&wcp_u8);
        status = d->status = wcp_out_new(&blobstore_blobstore_result_none_string_type);
        d->c = NULL;
    }
    bool room = wcp_out_write(out, d->piece, d->len), over = d->why || d->at == d->end;
    if (over) {
        if (d->why)
            wcp_out_abort(out);
        else
            wcp_out_end(out);
        transfer_over(status, d->why);
    } else if (!room) {
        wcp_out_on_drained(out, go_on, d); /* before the answer, which may make room */
    }
    if (c)
        blobstore_blobstore_get_container_data_ok(
            c, (struct blobstore_blobstore_tuple_stream_u8_future_result_none_string){
                   .f0.out = out, .f1.out = status});
    if (over)
        download_free(d);
    else if (room)
        go_on(d);
}

void download(struct blobstore_blobstore_get_container_data *c)
{
    struct store *s = transfer_begin(&c->call);
    if (!s)
        return;
    struct download *d = wcp_calloc(1, sizeof *d);
    d->c = c;
    d->store = s;
    d->fd = -1;
    store_work(s, step, stepped, d);
}

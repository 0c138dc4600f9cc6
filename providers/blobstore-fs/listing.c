/* listing.c: list-container-objects, and what all transfers share. */
#include "folder.h"
#include "transfer.h"
#include "tree.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_NAMES 128 /* as many as 1.9's own provider sends at once */

struct listing {
    struct blobstore_blobstore_list_container_objects *c; /* NULL: answered */
    struct store *store;
    struct wcp_out *out, *status;
    uint64_t skip, left;
    /* The job's: */
    struct tree *tree;
    struct wcp_buf text; /* the names of this chunk, one behind the other */
    struct wcp_str names[CHUNK_NAMES];
    size_t count;
    uint64_t unnameable;
    bool over;
    const char *why;
};

/* --- on a worker thread --- */

static void step(void *ctx)
{
    struct listing *l = ctx;
    struct tree_entry e;
    int rc = 1, dir;
    if (!l->tree) {
        l->why = container_open(l->store, l->c->name, &dir);
        if (!l->why && !(l->tree = tree_new(dir)))
            l->why = why_of(EMFILE);
    }
    l->count = l->text.len = 0;
    while (!l->why && l->left && l->count < CHUNK_NAMES && (rc = tree_next(l->tree, &e)) > 0) {
        if (e.kind != TREE_FILE)
            continue;
        if (draft_is_name(e.name)) {
            draft_sweep(e.dir, e.name);
            continue;
        }
        if (e.path_len > NAME_BYTES_MAX ||
            !wcp_is_utf8((struct wcp_bytes){(const uint8_t *)e.path, e.path_len})) {
            l->unnameable++;
            continue;
        }
        if (l->skip) {
            l->skip--;
            continue;
        }
        l->left--;
        l->names[l->count++].len = e.path_len;
        wcp_buf_put(&l->text, e.path, e.path_len);
    }
    for (size_t i = 0, at = 0; i < l->count; at += l->names[i++].len)
        l->names[i].ptr = (const char *)l->text.ptr + at;
    if (rc < 0)
        l->why = why_of(-rc);
    l->over = l->why || rc == 0 || l->left == 0;
    if (l->over && l->tree)
        tree_free(l->tree);
}

/* --- on the loop --- */

static void stepped(void *ctx);

static void go_on(void *ctx)
{
    struct listing *l = ctx;
    if (transfer_is_unheard(l->out))
        l->left = 0; /* which ends it */
    store_work(l->store, step, stepped, l);
}

static void listing_free(struct listing *l)
{
    if (l->why)
        store_suspect(l->store, l->why);
    if (l->unnameable)
        wcp_logf(WCP_WARN,
                 "a listing leaves %llu files out: their names are longer than %d bytes or not "
                 "UTF-8",
                 (unsigned long long)l->unnameable, NAME_BYTES_MAX);
    store_unref(l->store);
    wcp_buf_free(&l->text);
    free(l);
}

static void stepped(void *ctx)
{
    struct listing *l = ctx;
    struct blobstore_blobstore_list_container_objects *c = l->c;
    if (c && l->why) {
        blobstore_blobstore_fail(&c->call, wcp_str(l->why));
        listing_free(l);
        return;
    }
    if (c) {
        l->out = wcp_out_new(&wcp_string);
        l->status = wcp_out_new(&blobstore_blobstore_result_none_string_type);
        l->c = NULL;
    }
    struct wcp_out *out = l->out, *status = l->status;
    bool room = wcp_out_write(out, l->names, l->count), over = l->over;
    if (over) {
        if (l->why)
            wcp_out_abort(out);
        else
            wcp_out_end(out);
        transfer_over(status, l->why);
    } else if (!room) {
        wcp_out_on_drained(out, go_on, l); /* before the answer, which may make room */
    }
    if (c)
        blobstore_blobstore_list_container_objects_ok(
            c, (struct blobstore_blobstore_tuple_stream_string_future_result_none_string){
                   .f0.out = out, .f1.out = status});
    if (over)
        listing_free(l);
    else if (room)
        go_on(l);
}

void listing(struct blobstore_blobstore_list_container_objects *c)
{
    struct store *s = transfer_begin(&c->call);
    if (!s)
        return;
    struct listing *l = wcp_calloc(1, sizeof *l);
    l->c = c;
    l->store = s;
    l->skip = c->offset ? *c->offset : 0;
    l->left = c->limit ? *c->limit : UINT64_MAX;
    store_work(s, step, stepped, l);
}

/* --- of all transfers --- */

void transfer_over(struct wcp_out *o, const char *why)
{
    const struct blobstore_blobstore_result_none_string r = {.is_err = why, .err = wcp_str(why)};
    (void)wcp_out_write(o, &r, 1); /* nothing follows that could wait */
    wcp_out_end(o);
}

static void on_unheard(void *ctx)
{
    *(bool *)ctx = true;
}

bool transfer_is_unheard(struct wcp_out *o)
{
    bool unheard = false;
    wcp_out_on_drained(o, on_unheard, &unheard); /* at once if the receiver is gone */
    wcp_out_on_drained(o, NULL, NULL);
    return unheard;
}

struct store *transfer_begin(struct wcp_call *c)
{
    const char *why = store_busy(c->link->data);
    if (!why)
        return store_ref(c);
    blobstore_blobstore_fail(c, wcp_str(why));
    return NULL;
}

/* main.c: blobstore-fs: wrpc:blobstore in folders. A link has a root, a container is a folder in
 * it, an object a file in that, in folders of its own where its name has slashes. All that the disk
 * does is done on libuv's worker threads. */
#include "blobstore_blobstore.h"
#include "folder.h"
#include "objects.h"
#include "transfer.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* --- calls of one job: work on a thread, then reply --- */

struct task {
    struct wcp_call *call;
    struct store *store;
    void (*work)(struct task *t);
    void (*reply)(struct task *t); /* when why is NULL */
    const char *why;
    uint64_t created_at, size;
    bool exists;
};

static void on_thread(void *ctx)
{
    struct task *t = ctx;
    t->work(t);
}

static void on_done(void *ctx)
{
    struct task *t = ctx;
    struct store *s = t->store;
    if (t->why) {
        store_suspect(s, t->why);
        blobstore_blobstore_fail(t->call, wcp_str(t->why));
    } else {
        t->reply(t);
    }
    store_unref(s);
}

static void begin(struct wcp_call *c, void (*work)(struct task *t), void (*reply)(struct task *t))
{
    struct store *s = transfer_begin(c);
    if (!s)
        return;
    struct task *t = wcp_alloc(&c->arena, 1, sizeof *t);
    *t = (struct task){.call = c, .store = s, .work = work, .reply = reply};
    store_work(s, on_thread, on_done, t);
}

/* --- containers --- */

static void work_clear(struct task *t)
{
    const struct blobstore_blobstore_clear_container *c = (const void *)t->call;
    t->why = objects_clear(t->store, c->name);
}
static void reply_clear(struct task *t)
{
    blobstore_blobstore_clear_container_ok((void *)t->call);
}
static void clear_container(struct blobstore_blobstore_clear_container *c)
{
    begin(&c->call, work_clear, reply_clear);
}

static void work_exists(struct task *t)
{
    const struct blobstore_blobstore_container_exists *c = (const void *)t->call;
    int dir;
    t->why = container_open(t->store, c->name, &dir);
    t->exists = !t->why;
    if (t->exists)
        (void)close(dir); /* a folder */
    else if (t->why == no_container)
        t->why = NULL;
}
static void reply_exists(struct task *t)
{
    blobstore_blobstore_container_exists_ok((void *)t->call, t->exists);
}
static void container_exists(struct blobstore_blobstore_container_exists *c)
{
    begin(&c->call, work_exists, reply_exists);
}

static void work_create(struct task *t)
{
    const struct blobstore_blobstore_create_container *c = (const void *)t->call;
    t->why = container_make(t->store, c->name);
}
static void reply_create(struct task *t)
{
    blobstore_blobstore_create_container_ok((void *)t->call);
}
static void create_container(struct blobstore_blobstore_create_container *c)
{
    begin(&c->call, work_create, reply_create);
}

static void work_delete_container(struct task *t)
{
    const struct blobstore_blobstore_delete_container *c = (const void *)t->call;
    t->why = objects_delete_container(t->store, c->name);
}
static void reply_delete_container(struct task *t)
{
    blobstore_blobstore_delete_container_ok((void *)t->call);
}
static void delete_container(struct blobstore_blobstore_delete_container *c)
{
    begin(&c->call, work_delete_container, reply_delete_container);
}

static void work_container_info(struct task *t)
{
    const struct blobstore_blobstore_get_container_info *c = (const void *)t->call;
    int dir;
    t->why = container_open(t->store, c->name, &dir);
    if (t->why)
        return;
    t->created_at = created_at(dir, "");
    (void)close(dir); /* a folder */
}
static void reply_container_info(struct task *t)
{
    blobstore_blobstore_get_container_info_ok(
        (void *)t->call, (struct blobstore_types_container_metadata){t->created_at});
}
static void get_container_info(struct blobstore_blobstore_get_container_info *c)
{
    begin(&c->call, work_container_info, reply_container_info);
}

/* --- objects --- */

static void work_copy(struct task *t)
{
    const struct blobstore_blobstore_copy_object *c = (const void *)t->call;
    t->why = objects_copy(t->store, c->src, c->dest);
}
static void reply_copy(struct task *t)
{
    blobstore_blobstore_copy_object_ok((void *)t->call);
}
static void copy_object(struct blobstore_blobstore_copy_object *c)
{
    begin(&c->call, work_copy, reply_copy);
}

static void work_move(struct task *t)
{
    const struct blobstore_blobstore_move_object *c = (const void *)t->call;
    t->why = objects_move(t->store, c->src, c->dest);
}
static void reply_move(struct task *t)
{
    blobstore_blobstore_move_object_ok((void *)t->call);
}
static void move_object(struct blobstore_blobstore_move_object *c)
{
    begin(&c->call, work_move, reply_move);
}

/* What is not there is deleted already. */
static const char *delete_one(struct store *s, struct wcp_str container, struct wcp_str object)
{
    const char *why = object_delete(s, container, object);
    return why == no_object ? NULL : why;
}

static void work_delete(struct task *t)
{
    const struct blobstore_blobstore_delete_object *c = (const void *)t->call;
    t->why = delete_one(t->store, c->id.container, c->id.object);
}
static void reply_delete(struct task *t)
{
    blobstore_blobstore_delete_object_ok((void *)t->call);
}
static void delete_object(struct blobstore_blobstore_delete_object *c)
{
    begin(&c->call, work_delete, reply_delete);
}

/* Each is tried; the first error is told. */
static void work_delete_many(struct task *t)
{
    const struct blobstore_blobstore_delete_objects *c = (const void *)t->call;
    for (size_t i = 0; i < c->objects.len; i++) {
        const char *why = delete_one(t->store, c->container, c->objects.ptr[i]);
        t->why = t->why ? t->why : why;
    }
}
static void reply_delete_many(struct task *t)
{
    blobstore_blobstore_delete_objects_ok((void *)t->call);
}
static void delete_objects(struct blobstore_blobstore_delete_objects *c)
{
    begin(&c->call, work_delete_many, reply_delete_many);
}

static void stat_object(struct task *t, struct blobstore_types_object_id id)
{
    struct place p;
    struct stat st;
    t->why = object_place(t->store, id.container, id.object, &p);
    if (t->why)
        return;
    t->why = object_stat(&p, &st);
    if (!t->why) {
        t->size = (uint64_t)st.st_size;
        t->created_at = created_at(p.dir, p.name);
    }
    place_close(&p);
}

static void work_info(struct task *t)
{
    const struct blobstore_blobstore_get_object_info *c = (const void *)t->call;
    stat_object(t, c->id);
}
static void reply_info(struct task *t)
{
    blobstore_blobstore_get_object_info_ok(
        (void *)t->call,
        (struct blobstore_types_object_metadata){.created_at = t->created_at, .size = t->size});
}
static void get_object_info(struct blobstore_blobstore_get_object_info *c)
{
    begin(&c->call, work_info, reply_info);
}

static void work_has(struct task *t)
{
    const struct blobstore_blobstore_has_object *c = (const void *)t->call;
    stat_object(t, c->id);
    t->exists = !t->why;
    if (t->why == no_object)
        t->why = NULL;
}
static void reply_has(struct task *t)
{
    blobstore_blobstore_has_object_ok((void *)t->call, t->exists);
}
static void has_object(struct blobstore_blobstore_has_object *c)
{
    begin(&c->call, work_has, reply_has);
}

static const struct blobstore_blobstore handlers = {
    .clear_container = clear_container,
    .container_exists = container_exists,
    .create_container = create_container,
    .delete_container = delete_container,
    .get_container_info = get_container_info,
    .list_container_objects = listing,
    .copy_object = copy_object,
    .delete_object = delete_object,
    .delete_objects = delete_objects,
    .get_container_data = download,
    .get_object_info = get_object_info,
    .has_object = has_object,
    .move_object = move_object,
    .write_container_data = upload,
};

int main(int argc, char **argv)
{
    /* Most of what the threads do is wait for the disk. */
    (void)setenv("UV_THREADPOOL_SIZE", "16", false); /* else there are 4, which will do */
    (void)signal(SIGXFSZ, SIG_IGN);                  /* write says EFBIG instead */
    return wcp_main(
        argc, argv,
        &(struct wcp_provider){
            .name = "blobstore-fs",
            .exports = (struct wcp_export[]){{&blobstore_blobstore_interface, &handlers}, {0}},
            .start = store_start,
            .stop = store_stop,
            .link_up = store_link_up,
            .link_down = store_link_down,
        });
}

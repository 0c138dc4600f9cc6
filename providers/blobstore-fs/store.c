/* store.c: the folder behind a link, work on it, and whether it is usable.
 *
 * The folder is opened by its path for each call, so that one that is mounted again, or is given
 * room or permissions, works at once. Every PROBE_MS a worker thread looks at it: what it finds is
 * the state of the link. The folder is made once: one that vanishes later may be a volume that is
 * not mounted, and what would be written below its mount point would be lost with the next mount.
 */
#include "store.h"
#include "folder.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#define PROBE_MS    2000
#define SILENT_MS   10000               /* a probe that takes longer: the file system hangs */
#define ROOM_MIN    ((uint64_t)1 << 20) /* bytes; less is a full disk */
#define WAITING_MAX 4096                /* jobs in the queue; new calls are refused above it */

struct store {
    struct stores *stores;
    struct store *next;    /* in stores, while it has a link */
    struct wcp_link *link; /* NULL: it is down */
    char *root;
    unsigned refs;
    atomic_bool made;
    bool probing, suspect; /* suspect: probe again when this one is done */
    uint64_t probe_ms;     /* when it began */
    const char *found;     /* by the probe; NULL: all is well */
    const char *why;       /* as reported */
    bool reported;
};

/* The provider's own state. */
struct stores {
    struct wcp_instance *instance;
    struct store *first;
    uv_timer_t timer;
    size_t jobs;
    bool closed; /* freed with the last job */
};

struct job {
    struct stores *stores;
    void (*work)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

/* --- work --- */

struct store *store_ref(const struct wcp_call *c)
{
    struct store *s = c->link->data;
    s->refs++;
    return s;
}

void store_unref(struct store *s)
{
    if (--s->refs)
        return;
    free(s->root);
    free(s);
}

const char *store_busy(const struct store *s)
{
    return s->stores->jobs < WAITING_MAX ? NULL : "too many calls are waiting for the disk";
}

static void on_thread(void *ctx)
{
    const struct job *j = ctx;
    j->work(j->ctx);
}

static void on_done(void *ctx)
{
    struct job *j = ctx;
    struct stores *all = j->stores;
    j->done(j->ctx);
    free(j);
    if (--all->jobs == 0 && all->closed)
        free(all);
}

void store_work(struct store *s, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    struct job *j = wcp_calloc(1, sizeof *j);
    *j = (struct job){s->stores, work, done, ctx};
    s->stores->jobs++;
    wcp_work(s->stores->instance, on_thread, on_done, j);
}

/* --- the root --- */

/* The path and all above it. */
static int make_path(char *path)
{
    int rc = 0;
    for (char *p = path + 1; rc == 0; p++) {
        char c = *p;
        if (c && c != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            rc = -1;
        *p = c;
        if (!c)
            break;
    }
    return rc;
}

int store_open(struct store *s, const char **why)
{
    if (!atomic_load(&s->made)) {
        char *path = wcp_str_dup(wcp_str(s->root)); /* it is written to; others may do this, too */
        int rc = make_path(path), e = errno;
        free(path);
        /* What cannot be made may be there all the same, on a disk that is read-only. */
        if (rc != 0 && access(s->root, F_OK) != 0) {
            *why = why_of(e);
            return -1;
        }
        atomic_store(&s->made, true);
    }
    int fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        *why = errno == ENOENT || errno == ENOTDIR ? "the store's folder is gone" : why_of(errno);
    return fd;
}

/* --- health --- */

static void report(struct store *s, const char *why)
{
    if (!s->link || (s->reported && s->why == why))
        return;
    s->reported = true;
    s->why = why;
    if (!why) {
        wcp_link_healthy(s->link);
        return;
    }
    struct wcp_arena a = {0};
    wcp_link_unhealthy(s->link, wcp_fmt(&a, "%s: %s", s->root, why).ptr);
    wcp_arena_free(&a);
}

static void look(void *ctx)
{
    struct store *s = ctx;
    struct statvfs v;
    s->found = NULL;
    int fd = store_open(s, &s->found);
    if (fd < 0)
        return;
    if (faccessat(fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0 || fstatvfs(fd, &v) != 0)
        s->found = why_of(errno);
    else if ((uint64_t)v.f_bavail * v.f_frsize < ROOM_MIN || (v.f_files && !v.f_favail))
        s->found = why_of(ENOSPC);
    (void)close(fd); /* it was only read */
}

static void probe(struct store *s);

static void looked(void *ctx)
{
    struct store *s = ctx;
    s->probing = false;
    report(s, s->found);
    if (s->suspect && s->link)
        probe(s);
    store_unref(s);
}

static void probe(struct store *s)
{
    s->suspect = false;
    s->probing = true;
    s->probe_ms = uv_now(s->stores->timer.loop);
    s->refs++;
    store_work(s, look, looked, s);
}

void store_suspect(struct store *s, const char *why)
{
    if (why == no_container || why == no_object)
        return;
    if (s->probing)
        s->suspect = true;
    else if (s->link)
        probe(s);
}

static void on_timer(uv_timer_t *t)
{
    const struct stores *all = t->data;
    for (struct store *s = all->first; s; s = s->next) {
        if (!s->probing)
            probe(s);
        else if (uv_now(t->loop) - s->probe_ms > SILENT_MS)
            report(s, "the file system does not answer");
    }
}

/* --- links --- */

/* Where a link's objects are if it does not say: a folder of the component's own. NULL: there is
 * none of that name. */
static char *default_root(const struct wcp_link *l)
{
    const char *base = wcp_provider_config(l->instance, "ROOT");
    if (!base || !*base)
        base = getenv("TMPDIR");
    if (!base || !*base)
        base = "/tmp";
    if (strchr(l->source_id.ptr, '/') || name_wrong(l->source_id))
        return NULL;
    struct wcp_arena a = {0};
    char *root = wcp_str_dup(wcp_fmt(&a, "%s/%s", base, l->source_id.ptr));
    wcp_arena_free(&a);
    return root;
}

int store_link_up(struct wcp_link *l, struct wcp_err *err)
{
    struct stores *all = wcp_instance_data(l->instance);
    if (l->role != WCP_TARGET)
        return wcp_fail(err, WCP_EINVAL,
                        "this provider is the link's source: expected a component, which calls it");
    const char *root = wcp_link_config(l, "ROOT");
    char *path = root && *root ? wcp_str_dup(wcp_str(root)) : default_root(l);
    if (!path)
        return wcp_fail(err, WCP_EINVAL,
                        "'%s' is no name of a folder: expected ROOT in the link's configuration",
                        l->source_id.ptr);
    struct store *s = wcp_calloc(1, sizeof *s);
    s->stores = all;
    s->link = l;
    s->root = path;
    s->refs = 1;
    s->next = all->first;
    all->first = s;
    l->data = s;
    wcp_link_connecting(l);
    probe(s);
    return 0;
}

void store_link_down(struct wcp_link *l)
{
    struct store *s = l->data;
    for (struct store **p = &s->stores->first; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    s->link = NULL;
    store_unref(s);
}

int store_start(struct wcp_instance *i, struct wcp_err *err)
{
    struct stores *all = wcp_calloc(1, sizeof *all);
    all->instance = i;
    (void)uv_timer_init(wcp_loop(i), &all->timer); /* it refuses nothing */
    all->timer.data = all;
    (void)uv_timer_start(&all->timer, on_timer, PROBE_MS, PROBE_MS);
    wcp_instance_set_data(i, all);
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct stores *all = h->data;
    all->closed = true;
    if (all->jobs == 0)
        free(all);
}

void store_stop(struct wcp_instance *i)
{
    struct stores *all = wcp_instance_data(i);
    uv_close((uv_handle_t *)&all->timer, on_closed);
}

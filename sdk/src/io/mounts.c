/* mounts.c: folders of configuration and secrets, read at the start and whenever they change.
 *
 * The kubelet writes all files of a mount anew into a folder beside and then swaps the link
 * "..data", which the names we read go through. So a reading may see some files from before and
 * some from after: it counts only if the folder is the same behind it. inotify tells at once; where
 * there is none, or a folder was replaced itself, looking every ten seconds does. */
#include "io/mounts.h"
#include "io/files.h"
#include "lattice/secrets.h"
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <wcp/log.h>

#define SETTLE_MS 100 /* who writes one file mostly writes another */
#define LOOK_MS   10000
#define UNREAD    UINT64_MAX /* no file's stamp */

static int put_config(void *ctx, const char *name, struct wcp_bytes value, struct wcp_err *err)
{
    struct config *c = ctx;
    if (memchr(value.ptr, 0, value.len))
        return wcp_fail(err, WCP_EINVAL, "%s: a NUL byte found, text expected", name);
    if (c->n >= CONFIG_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "more than %d files", CONFIG_MAX);
    char *text = wcp_str_dup((struct wcp_str){(const char *)value.ptr, value.len});
    config_put(c, name, text);
    free(text);
    return 0;
}

static int put_secret(void *ctx, const char *name, struct wcp_bytes value, struct wcp_err *err)
{
    return secrets_put(ctx, name, value, err);
}

static void put_all(struct config *to, const struct config *from)
{
    for (size_t i = 0; i < from->n; i++)
        config_put(to, from->at[i].key, from->at[i].value);
}

int mounts_read(const struct mounts *m, struct config *config, struct secrets *secrets,
                struct wcp_err *err)
{
    put_all(config, &m->below);
    int rc = 0;
    if (m->config_dir && folder_read(m->config_dir, put_config, config, err))
        rc = wcp_wrap(err, "--config-dir");
    put_all(config, &m->above);
    if (!rc)
        rc = secrets_copy(secrets, &m->secrets_below, err);
    if (!rc && m->secrets_dir && folder_read(m->secrets_dir, put_secret, secrets, err))
        rc = wcp_wrap(err, "--secrets-dir");
    if (rc) {
        config_free(config);
        secrets_free(secrets);
    }
    return rc;
}

void mounts_free(struct mounts *m)
{
    free(m->config_dir);
    free(m->secrets_dir);
    config_free(&m->below);
    config_free(&m->above);
    secrets_free(&m->secrets_below);
    *m = (struct mounts){0};
}

/* --- watching --- */

struct folder {
    const char *path; /* NULL: none */
    uv_fs_event_t event;
    uint64_t stamp; /* when it was read */
};

struct mounts_watch {
    const struct mounts *m;
    struct folder folders[2];
    uv_timer_t look;
    unsigned open_handles;
    char why[sizeof((struct wcp_err *)0)->msg]; /* it could not be read, as logged last */
    void (*changed)(void *ctx, struct config *config, struct secrets *secrets);
    void *ctx;
};

static void on_look(uv_timer_t *t);

static void on_event(uv_fs_event_t *e, const char *name, int events, int status)
{
    struct mounts_watch *w = e->data;
    uv_timer_start(&w->look, on_look, SETTLE_MS, 0);
}

/* Again after each change: the folder may be another one under the same name. */
static void watch_folders(struct mounts_watch *w)
{
    for (size_t i = 0; i < 2; i++) {
        struct folder *f = &w->folders[i];
        if (!f->path)
            continue;
        uv_fs_event_stop(&f->event);
        (void)uv_fs_event_start(&f->event, on_event, f->path, 0); /* else looking must do */
    }
}

static bool has_changed(const struct mounts_watch *w)
{
    bool changed = false;
    for (size_t i = 0; i < 2; i++)
        changed |= w->folders[i].path && file_stamp(w->folders[i].path) != w->folders[i].stamp;
    return changed;
}

static void take_stamps(struct mounts_watch *w)
{
    for (size_t i = 0; i < 2; i++)
        if (w->folders[i].path)
            w->folders[i].stamp = file_stamp(w->folders[i].path);
}

static void read_again(struct mounts_watch *w)
{
    struct config config = {0};
    struct secrets secrets = {0};
    struct wcp_err err = {0};
    watch_folders(w);
    take_stamps(w);
    int rc = mounts_read(w->m, &config, &secrets, &err);
    if (has_changed(w)) {
        uv_timer_start(&w->look, on_look, SETTLE_MS, 0); /* read while it was being changed */
    } else if (rc) {
        if (strcmp(w->why, err.msg) != 0)
            wcp_log(WCP_ERROR, "changed files cannot be read: what was read before stays", "why",
                    err.msg, NULL);
        memcpy(w->why, err.msg, sizeof w->why);
        w->folders[0].stamp = w->folders[1].stamp = UNREAD; /* try again */
    } else {
        w->why[0] = '\0';
        w->changed(w->ctx, &config, &secrets);
    }
    config_free(&config);
    secrets_free(&secrets);
}

static void on_look(uv_timer_t *t)
{
    struct mounts_watch *w = t->data;
    uv_timer_start(&w->look, on_look, LOOK_MS, 0);
    if (has_changed(w))
        read_again(w);
}

struct mounts_watch *
mounts_watch(uv_loop_t *loop, const struct mounts *m,
             void (*changed)(void *ctx, struct config *config, struct secrets *secrets), void *ctx)
{
    if (!m->config_dir && !m->secrets_dir)
        return NULL;
    struct mounts_watch *w = wcp_calloc(1, sizeof *w);
    *w = (struct mounts_watch){.m = m, .changed = changed, .ctx = ctx, .open_handles = 3};
    w->folders[0].path = m->config_dir;
    w->folders[1].path = m->secrets_dir;
    for (size_t i = 0; i < 2; i++) {
        uv_fs_event_init(loop, &w->folders[i].event);
        w->folders[i].event.data = w;
        w->folders[i].stamp = UNREAD;
    }
    uv_timer_init(loop, &w->look);
    w->look.data = w;
    watch_folders(w);
    /* They may have changed since they were read: what is the same does no harm. */
    uv_timer_start(&w->look, on_look, SETTLE_MS, 0);
    return w;
}

static void on_closed(uv_handle_t *h)
{
    struct mounts_watch *w = h->data;
    if (--w->open_handles == 0)
        free(w);
}

void mounts_unwatch(struct mounts_watch *w)
{
    if (!w)
        return;
    uv_close((uv_handle_t *)&w->look, on_closed);
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&w->folders[i].event, on_closed);
}

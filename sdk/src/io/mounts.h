/* mounts.h: a standalone provider's configuration and secrets: folders of files (mounted ConfigMaps
 * and Secrets), read at the start and again whenever they change. */
#ifndef MOUNTS_H
#define MOUNTS_H

#include "lattice/linkdef.h"

struct uv_loop_s;

struct mounts {                     /* owned */
    char *config_dir, *secrets_dir; /* NULL: none */
    struct config below, above;     /* what the folder's configuration wins over, and what wins */
    struct secrets secrets_below;
};

/* All of it together, into empty ones. On failure nothing is left in them. */
int mounts_read(const struct mounts *m, struct config *config, struct secrets *secrets,
                struct wcp_err *err);
void mounts_free(struct mounts *m);

struct mounts_watch;
/* changed is called from the loop when a folder has changed and could be read; it may take the
 * content of both. What cannot be read is logged and tried again; until then the former stays. m
 * outlives the watch. NULL: there is no folder. */
struct mounts_watch *
mounts_watch(struct uv_loop_s *loop, const struct mounts *m,
             void (*changed)(void *ctx, struct config *config, struct secrets *secrets), void *ctx);
void mounts_unwatch(struct mounts_watch *w); /* freed while the loop runs on; NULL is allowed */

#endif

/* store.h: the folder behind a link, work on it, and whether it is usable. */
#ifndef STORE_H
#define STORE_H

#include <wcp/wcp.h>

/* Outlives its link while work on it runs. root is for worker threads, too; the rest is not. */
struct store;

int store_start(struct wcp_instance *i, struct wcp_err *err);
void store_stop(struct wcp_instance *i);
int store_link_up(struct wcp_link *l, struct wcp_err *err);
void store_link_down(struct wcp_link *l);

/* Of a call's link; until store_unref. */
struct store *store_ref(const struct wcp_call *c);
void store_unref(struct store *s);

/* NULL, or why a new call cannot be taken: too much work waits already. */
const char *store_busy(const struct store *s);
/* wcp_work, counted. The caller has a reference until done. */
void store_work(struct store *s, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);
/* A call failed because of why: look at once whether all of the store has. */
void store_suspect(struct store *s, const char *why);

/* On a worker thread: the root folder, made when it is used for the first time; -1 and *why. */
int store_open(struct store *s, const char **why);

#endif

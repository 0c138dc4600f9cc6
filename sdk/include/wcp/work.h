/* work.h: the one door for work that blocks or takes long. */
#ifndef WCP_WORK_H
#define WCP_WORK_H

#include <wcp/provider.h>

/* Runs work(ctx) on a thread of the pool, then done(ctx) on the loop. work must not touch calls,
 * links or anything else of the SDK but wcp_log. The instance waits for it when it ends. */
void wcp_work(struct wcp_instance *i, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);

#endif

/* backend.h: the Redis connection behind a link, and what its answers mean for a call. */
#ifndef BACKEND_H
#define BACKEND_H

#include <wcp/wcp.h>
#include "hiredis.h"

int backend_start(struct wcp_instance *i, struct wcp_err *err);
void backend_stop(struct wcp_instance *i);
int backend_link_up(struct wcp_link *l, struct wcp_err *err);
void backend_link_down(struct wcp_link *l);

/* Sends a command for call c; done gets c as its ctx. */
void backend_command(struct wcp_call *c, redis_done *done, size_t argc,
                     const struct wcp_bytes *argv);

/* True when r is an answer of the kind wanted (a bit 1 << REDIS_REPLY_... for each). Otherwise the
 * call has been failed and is gone. */
bool backend_answered(struct wcp_call *c, const redisReply *r, const char *why, unsigned wanted);

/* Fails c with the interface's other(text); a component may read the text. */
void backend_fail(struct wcp_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Fails c: r cannot be the answer to its command. */
void backend_misunderstood(struct wcp_call *c, const redisReply *r);

/* A key that the answer cannot carry was left out; logged once for each connection. */
void backend_skipped_key(struct wcp_call *c);

#endif

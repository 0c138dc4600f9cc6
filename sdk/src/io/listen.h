/* listen.h: accepting connections on Unix sockets and TCP ports. */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include "io/socket.h"
#include "lattice/linkdef.h"

struct listeners;
/* Listens on each address ("unix:PATH", "tcp:HOST:PORT") and gives what connects to accept. A Unix
 * socket that nobody answers on any more is replaced, and ours removed at the end; its mode is
 * 0660. NULL with err if one of them cannot be had. */
struct listeners *listeners_open(struct uv_loop_s *loop, struct sockets *sockets,
                                 const struct strings *addresses,
                                 void (*accept)(void *ctx, struct wcp_conn *c), void *ctx,
                                 struct wcp_err *err);
/* Accepts what has connected until now, then no more. Freed while the loop runs; NULL is allowed.
 */
void listeners_close(struct listeners *l);

#endif

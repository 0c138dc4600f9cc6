/* socket.h: connections over Unix sockets and TCP on a libuv loop, as byte streams of the core. A
 * program that calls over them makes one struct sockets, and gives what socket_connect returns to
 * rpc_invoke_conn. It must ignore SIGPIPE. All events come from the loop, never from within a
 * function called here or of the connection. */
#ifndef IO_SOCKET_H
#define IO_SOCKET_H

#include "rpc/transport.h"

struct uv_loop_s;

struct sockets *sockets_new(struct uv_loop_s *loop);
/* Connects to "unix:PATH" or "tcp:HOST:PORT" (IPv6 in brackets; each address of the host is tried).
 * NULL with err (WCP_EINVAL) if that is none; everything else is told by rpc_conn_lost. */
struct wcp_conn *socket_connect(struct sockets *s, const char *address, struct wcp_err *err);
/* A connection that was accepted. Takes ownership of fd. Within a callback of the loop's poll: it
 * is read right after those. */
struct wcp_conn *socket_adopt(struct sockets *s, int fd);
/* Every connection must have been closed by the core. What is still to be sent is sent, for a
 * second at most; s is freed while the loop runs on. NULL is allowed. */
void sockets_close(struct sockets *s);

#endif

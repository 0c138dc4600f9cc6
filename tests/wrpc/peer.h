/* peer.h: our side of make check-peers, in two halves: what it serves, and how it calls. */
#ifndef PEER_H
#define PEER_H

#include <wcp/wcp.h>

/* Every function of tests/wit but not-served: tests/peers/wrpc/server.rs does the same. */
extern const struct wcp_export peer_exports[];

/* The bytes that every large value here is made of. */
uint8_t peer_pattern(size_t i);

/* Does what a script says, as tests/peers/wrpc/script.rs tells. address is "nats://HOST:PORT" with
 * the callee's id, or "unix:PATH" or "tcp:HOST:PORT" with NULL. The exit status. */
int peer_call(const char *address, const char *id, const char *script);

#endif

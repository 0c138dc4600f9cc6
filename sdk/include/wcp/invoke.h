/* invoke.h: calling a linked component. Generated wrappers do this with types. */
#ifndef WCP_INVOKE_H
#define WCP_INVOKE_H

#include <wcp/call.h>
#include <wcp/stream.h>

/* Call function number func of iface on the other end of l. params is the generated call struct
 * with the arguments filled in (its call member is not used); they are copied before this returns.
 * done is called exactly once, never before this returns: status 0 and the result (NULL for a
 * function without one), or a negative status and NULL: WCP_ENOENT nobody serves it, WCP_ETIMEOUT,
 * WCP_ECLOSED the peer ended without an answer or the connection is lost, WCP_EPROTO. The result
 * lives until done returns; what is behind a stream that done started lives until that stream ends.
 * The return value is for wcp_cancel, valid until done. */
struct wcp_outgoing *wcp_invoke(struct wcp_link *l, const struct wcp_interface *iface, size_t func,
                                const void *params, void (*done)(void), void *ctx);

/* The caller no longer wants the answer: done will not be called. Outgoing streams of the call stay
 * valid until they are ended; what is written to them is discarded. */
void wcp_cancel(struct wcp_outgoing *o);

#endif

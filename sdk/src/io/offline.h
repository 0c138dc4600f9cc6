/* offline.h: the message transport of a provider without NATS: nobody else is there. */
#ifndef IO_OFFLINE_H
#define IO_OFFLINE_H

#include "io/nats.h"

struct offline;
/* Of ev, connected, message and left are used, always from the loop: connected at once, and then a
 * request is answered with status 503, as a NATS server does when nobody has subscribed. */
struct offline *offline_new(struct uv_loop_s *loop, const struct nats_events *ev);
struct wcp_transport *offline_transport(struct offline *o);
/* No more events; o is freed while the loop runs on. NULL is allowed. */
void offline_close(struct offline *o);

#endif

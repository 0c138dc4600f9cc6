/* trace.h: traces (W3C Trace Context) across calls.
 *
 * What runs belongs to a trace, or to none: log lines have its trace_id, and calls that are made
 * carry it on. The SDK sees to that while a handler runs, while streams of a call deliver, and
 * while done of an outgoing call runs (which has the trace in which the call was made). In a
 * callback of a client library only the provider knows which call it is about. What it says holds
 * until it says something else, and at most until the loop turns. */
#ifndef WCP_TRACE_H
#define WCP_TRACE_H

#include <wcp/call.h>

/* What follows is about c; NULL: about no call. */
void wcp_trace_call(const struct wcp_call *c);
/* What follows belongs to a trace that came from elsewhere, as an HTTP request's headers
 * traceparent and tracestate (or empty); copied. A parent that is malformed: to none. */
void wcp_trace_set(struct wcp_str parent, struct wcp_str state);

#endif

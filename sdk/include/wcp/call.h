/* call.h: a call that came in, and its one reply. */
#ifndef WCP_CALL_H
#define WCP_CALL_H

#include <wcp/link.h>
#include <wcp/type.h>

/* One invocation of one function. Generated call structs start with this; the arguments follow it
 * and live until the reply. Every call is replied to exactly once, now or later:
 * - a second reply asserts;
 * - without a reply within the deadline the SDK ends the call towards the peer and logs its name;
 * the handler's own reply is still owed then, and is dropped silently. */
struct wcp_call {
    struct wcp_instance *instance;
    struct wcp_link *link; /* NULL only if the provider serves callers without a link */
    struct wcp_arena arena;
    const struct wcp_func *func;
    struct invocation *invocation; /* the SDK's side of it */
};

/* Both for generated code, both end c: result is the C form of func->result, error that of its
 * error case. Values are copied before they return. */
void wcp_reply(struct wcp_call *c, const void *result);
void wcp_reply_err(struct wcp_call *c, const void *error);
/* This call could not be served: the operator's log gets the text, the peer sees the end of the
 * stream at once (wrpc.md §2.5). Ends c. */
void wcp_call_fail(struct wcp_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct wcp_func {
    const char *name;              /* as on the wire: "get", "counter.incr" */
    uint32_t size;                 /* of the generated call struct */
    const struct wcp_type *params; /* a record laid out in that struct */
    const struct wcp_type *result; /* NULL for none */
    /* Calls the handler in impl; and calls back the done function of an outgoing call, by its type.
     */
    void (*invoke)(const void *impl, struct wcp_call *c);
    void (*deliver)(void (*done)(void), void *ctx, const void *result, int status);
};
struct wcp_interface {
    const char *name; /* "wrpc:keyvalue/store@0.2.0-draft" */
    const struct wcp_func *funcs;
    size_t count;
    /* Offsets in the struct of handlers, one per function: a NULL handler is not served. */
    const uint32_t *handlers;
    bool in_world; /* functions directly in a world, whose id is name: on the wire they have none */
};
struct wcp_export {
    const struct wcp_interface *interface;
    const void *impl; /* the generated struct of handlers */
};

#endif

/* control.h: the messages by which hosts control a provider (lattice.md §5.2), and by which wcp
 * asks for its links, read and answered. */
#ifndef CONTROL_H
#define CONTROL_H

#include "lattice/linkdef.h"
#include "rpc/transport.h"

/* What the messages ask for. */
struct control_handler {
    void (*put)(void *ctx, struct linkdef *l);               /* takes the content of *l */
    void (*del)(void *ctx, struct linkdef *l);               /* the same */
    bool (*healthy)(void *ctx, struct wcp_buf *why);         /* false: why gets a text for people */
    void (*links)(void *ctx, size_t max, struct wcp_buf *b); /* as JSON, in at most max bytes */
    void (*shutdown)(void *ctx, const char *reply);          /* reply is owed, as the last word */
    void (*config)(void *ctx, struct config *c);             /* takes the content of *c */
};

enum {
    CONTROL_PUT_XKEY,
    CONTROL_PUT,
    CONTROL_DEL,
    CONTROL_HEALTH,
    CONTROL_SHUTDOWN,
    CONTROL_CONFIG,
    CONTROL_LINKS,
    CONTROL_ALL_LINKS, /* asked of every provider in the lattice */
    CONTROL_SUBJECTS
};

struct control {
    struct wcp_transport *t;
    const char *host_id; /* whose shutdown messages count; "": nobody's */
    struct control_handler on;
    void *ctx;
    int subs[CONTROL_SUBJECTS]; /* -1: not subscribed */
    uint64_t malformed;
};

/* Subscribes. c has t, host_id, on and ctx set. xkey: the public key that links are sent to, or "".
 * Link messages also come on the plain id, from hosts that send each link twice: the link table
 * knows repetitions. */
void control_start(struct control *c, const char *lattice, const char *id, const char *xkey);
void control_leave(struct control *c);
/* False: sub is not one of these. A malformed message is logged and counted. */
bool control_message(struct control *c, int sub, const struct wcp_msg *m);
bool control_has(const struct control *c, int sub);

#endif

/* transport.h: what the protocol needs from a network: messages on subjects (io/nats.c,
 * tests/fake_transport.c), and byte streams (io/socket.c, tests/fake_conn.c). Nothing here may
 * block or call back into the core. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include <wcp/base.h>

struct wcp_header {
    const char *name, *value;
};

struct wcp_msg {
    const char *subject, *reply; /* NUL-terminated; reply NULL: none */
    struct wcp_bytes data;
    int status; /* of a NATS status message: 503 nobody subscribed, 404, 408 ...; else 0 */
    /* Headers to send; on a received message NULL if header() is there to ask. */
    const struct wcp_header *headers;
    size_t header_count;
    const char *(*header)(const struct wcp_msg *m, const char *name); /* NULL when absent */
    /* What keeps all of the above alive. A receiver who needs it longer than its callback moves it
     * out (sets it to NULL) and gives it to release() later. */
    void *owner;
};

const char *msg_header(const struct wcp_msg *m, const char *name); /* NULL when absent */

struct wcp_transport {
    void (*publish)(struct wcp_transport *t, const struct wcp_msg *m); /* copies */
    /* Returns the number that messages of this subscription come with, >= 0. queue may be NULL. */
    int (*subscribe)(struct wcp_transport *t, const char *subject, const char *queue);
    /* No new messages from the server; those on the way still come, then ..._left(). */
    void (*leave)(struct wcp_transport *t, int sub);
    void (*release)(struct wcp_transport *t, void *owner);
    /* Bytes not yet written: streams stop above a mark and go on at ..._writable(). */
    size_t (*buffered)(struct wcp_transport *t);
    uint64_t (*now)(struct wcp_transport *t);    /* milliseconds of a monotonic clock */
    uint64_t (*now_us)(struct wcp_transport *t); /* a finer one, to measure calls with */
    size_t max_payload;                          /* of the server's last INFO; headers count */
    /* Unique prefix of this connection's inboxes, "_INBOX.xyz": the core subscribes "<inbox>.>". */
    const char *inbox;
};

/* A connection of wRPC's framed transport (wrpc.md §3): one call. It may still be connecting: what
 * is written before waits. Its events go to rpc_conn_...() in rpc.h, until close(). */
struct wcp_conn {
    struct framed *framed; /* the core's: what it knows of this connection; NULL at first */
    void (*write)(struct wcp_conn *c, struct wcp_bytes data); /* copies */
    void (*shutdown)(struct wcp_conn *c);           /* our direction ends behind what was written */
    void (*want)(struct wcp_conn *c, bool reading); /* at first it reads */
    size_t (*buffered)(struct wcp_conn *c);         /* bytes not yet sent: rpc_conn_sent tells */
    /* No more events, c is gone. After shutdown() what was written is still sent, else it is not.
     */
    void (*close)(struct wcp_conn *c);
};

#endif

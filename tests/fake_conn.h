/* fake_conn.h: a connection as two lists of bytes. */
#ifndef FAKE_CONN_H
#define FAKE_CONN_H

#include "rpc/transport.h"

struct fake_conn {
    struct wcp_conn conn; /* first */
    struct wcp_buf sent;  /* all that was written */
    size_t kept;          /* what buffered() answers */
    bool stopped;         /* it is not to be read */
    bool shut, closed;    /* by the core */
};

void fake_conn_init(struct fake_conn *c);
void fake_conn_free(struct fake_conn *c); /* fails the test if the core has not closed it */
/* Delivers bytes, in pieces of at most n (0: in one), until the core closes. */
void fake_conn_feed(struct fake_conn *c, struct wcp_bytes data, size_t n);
void fake_conn_eof(struct fake_conn *c); /* unless the core has closed */

#endif

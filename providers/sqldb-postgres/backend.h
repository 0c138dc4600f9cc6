/* backend.h: the pool of connections behind a link, and what is known of its server. */
#ifndef BACKEND_H
#define BACKEND_H

#include <wcp/wcp.h>
#include "pq_pool.h"
#include "values.h"

/* A type that is not built in, or not into us. */
struct known_type {
    uint32_t oid;
    const struct pg_type *type; /* NULL: no pg-value can hold it */
    bool is_array;
    char name[64];
};

struct backend {
    struct wcp_link *link;
    struct pq_pool *pool;
    size_t max_result_bytes;
    int money_digits; /* -1: not known yet */
    struct known_type *types;
    size_t type_count;
    bool said_open; /* that a transaction was left open */
};

int backend_link_up(struct wcp_link *l, struct wcp_err *err);
void backend_link_down(struct wcp_link *l);

#endif

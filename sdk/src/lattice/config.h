/* config.h: the links of one provider, and the named configs they use, as the lattice's buckets say
 * (lattice.md §6.2, §9, §14). For providers that no host tells. */
#ifndef LATTICE_CONFIG_H
#define LATTICE_CONFIG_H

#include "lattice/linkdef.h"
#include "rpc/rpc.h"

struct lattice_read;

struct lattice_read_config {
    struct rpc *rpc;
    const char *lattice, *id; /* of the provider; outlive the reading */
    /* For each link whose source or target is id, with its config resolved; takes the content of
     * *l. why not NULL: it cannot be resolved, because of that. All come right before done. */
    void (*link)(void *ctx, struct linkdef *l, const char *why);
    /* The last callback: the reading is gone then. complete: there are no other links. err: the
     * buckets could not be read (completely); another try may help. */
    void (*done)(void *ctx, bool complete, const struct wcp_err *err);
    void *ctx;
};

struct lattice_read *lattice_read(const struct lattice_read_config *c);
void lattice_read_cancel(struct lattice_read *r); /* no more callbacks */

#endif

/* config.h: the links of one provider, and the named configs they use, as the lattice's buckets say
 * (lattice.md §6.2, §9, §14), now and from now on. For providers that no host tells. */
#ifndef LATTICE_CONFIG_H
#define LATTICE_CONFIG_H

#include "lattice/kv.h"
#include "lattice/linkdef.h"

struct lattice_watch;

/* How much is known. */
struct lattice_state {
    bool complete;      /* there are no other links than those just told */
    bool older;         /* the bucket of the links has lost writes that it had before: told once */
    struct wcp_err err; /* code 0, or why the buckets cannot be read (WCP_ENOENT: no bucket of
                           links); it is tried again */
};

/* None of the callbacks may close the watch, nor does any come before lattice_watch returns. */
struct lattice_watch_config {
    struct kv kv;
    const char *lattice, *id; /* of the provider; outlive the watch */
    /* What the buckets say now, at first and whenever that changes: begin (may be NULL), link for
     * each link whose source or target is id, with its config resolved, then done. link takes the
     * content of *l; why not NULL: it cannot be resolved, because of that. */
    void (*begin)(void *ctx);
    void (*link)(void *ctx, struct linkdef *l, const char *why);
    void (*done)(void *ctx, const struct lattice_state *s);
    void *ctx;
};

struct lattice_watch *lattice_watch(const struct lattice_watch_config *c);
void lattice_again(struct lattice_watch *w); /* tell all again, if it is known */
void lattice_hint(struct lattice_watch *w);  /* buckets that cannot be read may be there now */
void lattice_disconnected(struct lattice_watch *w); /* after rpc_disconnected */
void lattice_reconnected(struct lattice_watch *w);
void lattice_close(struct lattice_watch *w); /* no more callbacks */

#endif

/* stored.h: the links of a source as hosts keep them: COMPONENT_<id> in the bucket LATTICEDATA
 * (lattice.md §9). The control interface cannot change a link without a gap; here it can be done.
 */
#ifndef STORED_H
#define STORED_H

#include "cli/session.h"

/* Reads the stored link that l describes, with its target l->target, or the only one if that is "":
 * its target and interfaces into l, the names of its configs into source_names and target_names.
 * Fails if there is one to the target `to`, too, as then l cannot go there. */
int stored_find(struct session *s, struct linkdef *l, const char *to, struct strings *source_names,
                struct strings *target_names, struct wcp_err *err);
/* Gives the stored link l the target `to` and the target configs target_names, in one
 * compare-and-set write, again if others write at the same time. */
int stored_retarget(struct session *s, const struct linkdef *l, const char *to,
                    const struct strings *target_names, struct wcp_err *err);

/* What a swap of a link is undone with. It is a key of its own, in CONFIGDATA as if it were a named
 * config: hosts drop from their own keys what they do not know. It is deleted with the link. */
struct former {
    char *from, *to; /* the target before the swap, and after it */
    struct strings target_names;
};
/* l: any target. WCP_ENOENT: nothing is kept. Fills *f; free it in any case. */
int stored_former_get(struct session *s, const struct linkdef *l, struct former *f,
                      struct wcp_err *err);
int stored_former_put(struct session *s, const struct linkdef *l, const struct former *f,
                      struct wcp_err *err);
void stored_former_name(const struct linkdef *l, struct strings *names); /* adds it */
void former_free(struct former *f);

#endif

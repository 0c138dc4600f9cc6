/* control.h: links as hosts keep them: through the control interface (lattice.md §8), and the one
 * change it cannot make without a gap, in their key-value bucket. */
#ifndef CONTROL_H
#define CONTROL_H

#include "cli/session.h"

int control_link_put(struct session *s, const struct linkdef *l, const struct strings *source_names,
                     const struct strings *target_names, struct wcp_err *err);
/* Also deletes the named configs that wcp made for it. */
int control_link_del(struct session *s, const struct linkdef *l, struct wcp_err *err);

/* Stores c as a named config made for one end of l ("source", "target") and adds its name to names.
 * Does nothing when c is empty. */
int control_config_put(struct session *s, const struct linkdef *l, const char *end,
                       const struct config *c, struct strings *names, struct wcp_err *err);
/* Deletes those of names that control_config_put made. */
int control_config_drop(struct session *s, const struct linkdef *l, const struct strings *names,
                        struct wcp_err *err);
/* All of names merged in order into c. WCP_EAUTH: one of them is a secret, which only hosts read.
 */
int control_config_get(struct session *s, const struct strings *names, struct config *c,
                       struct wcp_err *err);

/* Reads the stored link that l describes, with its target l->target: its interfaces into l, the
 * names of its configs into source_names and target_names. Fails if there is one to the target `to`
 * as well, as then it cannot be moved there. */
int control_stored_link(struct session *s, struct linkdef *l, const char *to,
                        struct strings *source_names, struct strings *target_names,
                        struct wcp_err *err);
/* Gives the stored link l the target `to` and the target configs target_names, in one
 * compare-and-set write. */
int control_retarget(struct session *s, const struct linkdef *l, const char *to,
                     const struct strings *target_names, struct wcp_err *err);

#endif

/* control.h: what is asked of hosts, through the control interface (lattice.md §8). */
#ifndef CONTROL_H
#define CONTROL_H

#include "cli/session.h"

int control_link_put(struct session *s, const struct linkdef *l, const struct strings *source_names,
                     const struct strings *target_names, struct wcp_err *err);
/* Also deletes the named configs that wcp made for it, and what a swap of it is undone with. */
int control_link_del(struct session *s, const struct linkdef *l, struct wcp_err *err);

/* What the names of the configs begin with that wcp makes for l. */
void control_config_prefix(const struct linkdef *l, struct wcp_buf *b);
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

/* Adds to *hosts the ids of the hosts whose inventory lists the provider id. Our providers that no
 * host has started are hosts of their own. */
int control_hosts_of(struct session *s, const char *id, struct strings *hosts, struct wcp_err *err);
/* Does host list the provider? 0: yes; WCP_ENOENT: no, or the host is gone. */
int control_lists(struct session *s, const char *host, const char *id, struct wcp_err *err);
int control_provider_stop(struct session *s, const char *host, const char *id, struct wcp_err *err);

#endif

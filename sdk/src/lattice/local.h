/* local.h: the links that only this process knows: those of --links, and those of callers over
 * sockets, of whom no header says who they are, and the lattice has no link. */
#ifndef LATTICE_LOCAL_H
#define LATTICE_LOCAL_H

#include "lattice/hostdata.h"
#include "lattice/links.h"

#define LOCAL_SOURCE "local"
#define LOCAL_NAME   "default"

/* Reads hd->local_links: a JSON list of link documents (lattice.md §6.1) that name hd->provider_id,
 * without secrets. err says which item is wrong. */
int local_links_parse(struct wcp_bytes json, struct hostdata *hd, struct wcp_err *err);
/* Puts the links of hd->local_links. If hd->listens: also puts a link for each package that def
 * exports, with the provider's own configuration. Again when that has changed: all are made anew.
 */
void local_links_put(struct links *t, const struct wcp_provider *def, const struct hostdata *hd);

#endif

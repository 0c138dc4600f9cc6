/* local.h: the links of callers over sockets. No header says who they are, and the lattice has no
 * link of theirs. */
#ifndef LATTICE_LOCAL_H
#define LATTICE_LOCAL_H

#include "lattice/hostdata.h"
#include "lattice/links.h"

#define LOCAL_SOURCE "local"
#define LOCAL_NAME   "default"

/* If hd->listens: puts a link for each package that def exports, with the provider's own
 * configuration. Again when that has changed. */
void local_links_put(struct links *t, const struct wcp_provider *def, const struct hostdata *hd);

#endif

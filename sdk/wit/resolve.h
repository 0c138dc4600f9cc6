/* resolve.h: binds every name to what it means, and checks what only the whole can tell. */
#ifndef WIT_RESOLVE_H
#define WIT_RESOLVE_H

#include "wit/types.h"

/* All packages that w's texts refer to must have been parsed. Ends by wit_fail: call it inside
 * wit_try. Afterwards types neither contain themselves nor are deeper than WIT_MAX_DEPTH. */
void wit_resolve(struct wit *w);

/* The same for a type of wit_parse_type, after wit_resolve or without any package. A name that its
 * scope lacks is looked for in the interfaces of the first package, then in all. */
void wit_resolve_type(struct wit *w, struct wit_type *t);

#endif

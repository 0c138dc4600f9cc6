/* worlds.h: what each world imports and exports, all told. */
#ifndef WIT_WORLDS_H
#define WIT_WORLDS_H

#include "wit/types.h"

/* Fills in the imports and exports of every world: its own, copies of what it includes, and the
 * interfaces whose types those use. Ends by wit_fail for names that meet and exports that cannot
 * be. */
void worlds_fill_in(struct wit *w);

#endif

/* gates.h: which items a package shows: @since, @unstable and @deprecated. */
#ifndef WIT_GATES_H
#define WIT_GATES_H

#include "wit/types.h"

/* Does the gate let its item into the package p? An @unstable item wants its feature among
 * w->features. Ends by wit_fail for a @since that is no version of p. */
bool gate_is_open(struct wit *w, const struct wit_package *p, const struct wit_gate *gate);

/* Takes every item out of its list whose gate is not open. Ends by wit_fail if what is left refers
 * to it. All names are bound. */
void gates_apply(struct wit *w);

#endif

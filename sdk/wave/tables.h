/* tables.h: resolved WIT to the tables that witc would have written, made at run time. */
#ifndef WAVE_TABLES_H
#define WAVE_TABLES_H

#include "wit/types.h"
#include <wcp/call.h>

/* The table of a resolved type: sizes and offsets are those of the generated structs. Enums and
 * flags have fields too, for their names. Lives as long as w. Ends by wit_fail when the type has no
 * encoding or no reasonable size: call it inside wit_try. */
const struct wcp_type *tables_type(struct wit *w, struct wit_type *t);

/* An interface with all its functions, for wcp_invoke: params is a struct laid out by
 * funcs[n].params, and done a tables_done. It has no handlers. Otherwise as tables_type. */
const struct wcp_interface *tables_interface(struct wit *w, struct wit_interface *i);
/* Functions directly in a world become those of an interface of the world's name: its exports, and
 * what it imports besides. Once, after wit_resolve. */
void tables_add_worlds(struct wit *w);
typedef void tables_done(void *ctx, const void *result, int status);

#endif

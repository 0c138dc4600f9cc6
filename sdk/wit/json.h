/* json.h: resolved packages as JSON, in the shape of "wasm-tools component wit --json". */
#ifndef WIT_JSON_H
#define WIT_JSON_H

#include "wit/types.h"

/* Appends {"worlds": […], "interfaces": […], "types": […], "packages": […]}; items refer to each
 * other by their place in these lists. w is resolved. */
void wit_json(struct wit *w, struct wcp_buf *out);

#endif

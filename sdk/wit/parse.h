/* parse.h: WIT text to packages with unresolved names. */
#ifndef WIT_PARSE_H
#define WIT_PARSE_H

#include "wit/types.h"

/* All of these end by wit_fail when something is wrong: call them inside wit_try.
 *
 * A package may be spread over files, of which at least one must tell its name: begin it, parse
 * each file into it, end it. where is what its files are called together, for the error that no
 * file names the package. */
struct wit_package *wit_package_begin(struct wit *w);
void wit_parse(struct wit *w, struct wit_package *p, const char *file_name, struct wcp_str text);
void wit_package_end(struct wit *w, struct wit_package *p, const char *where);

/* The package that text says it belongs to, without parsing the rest: false if it does not say. */
bool wit_peek_package(struct wit *w, const char *file_name, struct wcp_str text,
                      struct wit_package *out);

/* A type alone, after definitions that it may need: "record p { x: u8 } list<p>"; without one, the
 * last definition. A name may say its interface: store.error. The type's owner is a scope of its
 * own. */
struct wit_type *wit_parse_type(struct wit *w, const char *file_name, struct wcp_str text);

#endif

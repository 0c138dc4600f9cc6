/* document.h: JSON documents of hosts, read leniently: what is missing or of another type is
 * absent. */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include "lattice/linkdef.h"
#include <json-c/json.h>

/* The object in b, to which a NUL is added; NULL: it is none. For json_object_put(). */
struct json_object *document_parse(struct wcp_buf *b);
/* Borrowed. */
struct json_object *document_member(struct json_object *o, const char *name, json_type type);
const char *document_text(struct json_object *o, const char *name); /* "": absent */
/* Adds the texts of an array, or of NULL, to s. */
void document_strings(struct json_object *array, struct strings *s);

void document_add(struct json_object *o, const char *name, const char *value);
struct json_object *document_array(const struct strings *s);
struct wcp_bytes document_bytes(struct json_object *o); /* lives in o */

/* Is the link document o the one of l's source, package and name? */
bool document_is_link(struct json_object *o, const struct linkdef *l);

#endif

/* json.h: reading JSON that others wrote: strict, bounded, with errors that say where. */
#ifndef LATTICE_JSON_H
#define LATTICE_JSON_H

#include "rpc/transport.h"
#include <json-c/json.h>

#define JSON_MAX_BYTES ((size_t)64 << 20)
#define JSON_MAX_DEPTH 32

/* One JSON object and nothing after it; a member that occurs twice is an error. */
int json_parse(struct wcp_bytes text, struct json_object **out, struct wcp_err *err);
/* json_object_put for documents with secrets: texts and numbers are overwritten first. */
void json_put_wiped(struct json_object *o);
const char *json_kind(const struct json_object *o); /* "number", "text" ... for error messages */

/* Reading members of o. Absent and null are the same and leave *out as it is. */
int json_check_object(struct json_object *o, struct wcp_err *err);
int member_text(struct json_object *o, const char *member, char **out,
                struct wcp_err *err); /* a copy */
int member_bool(struct json_object *o, const char *member, bool *out, struct wcp_err *err);
int member_integer(struct json_object *o, const char *member, int64_t *out, struct wcp_err *err);
/* A list of numbers 0..255; *out is one block, for free(). */
int member_bytes(struct json_object *o, const char *member, struct wcp_bytes *out,
                 struct wcp_err *err);
/* *out: borrowed. */
int member_list(struct json_object *o, const char *member, struct json_object **out,
                struct wcp_err *err);
int member_object(struct json_object *o, const char *member, struct json_object **out,
                  struct wcp_err *err);
/* o itself is a text without zero bytes. what is for the error. */
int json_text_of(struct json_object *o, const char *what, const char **out, struct wcp_err *err);

/* Writing. What is not UTF-8, as in an error that quotes half a character, becomes "?". */
void json_add_text(struct json_object *o, const char *member, const char *text);
/* Takes ownership of o. */
void json_publish(struct wcp_transport *t, const char *subject, struct json_object *o);

#endif

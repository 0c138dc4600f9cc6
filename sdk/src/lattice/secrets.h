/* secrets.h: secrets in locked memory: from HostData, from files, or sealed in a link. */
#ifndef SECRETS_H
#define SECRETS_H

#include "lattice/linkdef.h"

#define SECRETS_MAX 1000 /* in one document: each takes pages of its own */

/* Copies value, replaces one of that name; fails when no memory can be locked away. */
int secrets_put(struct secrets *s, const char *name, struct wcp_bytes value, struct wcp_err *err);
/* An object of {"kind":"String","value":"text"} or {"kind":"Bytes","value":[1,2]}. On failure
 * nothing is left in out. err names secrets but never quotes them. */
int secrets_from_json(struct json_object *o, struct secrets *out, struct wcp_err *err);
/* The same, sealed (lattice.md §2.2) for the xkey of seed by that of sender. */
int secrets_open(struct wcp_bytes sealed, const char *sender, const char *seed, struct secrets *out,
                 struct wcp_err *err);
const struct secret *secrets_get(const struct secrets *s, const char *name); /* as config_get */
int secrets_copy(struct secrets *to, const struct secrets *from, struct wcp_err *err);
bool secrets_equal(const struct secrets *a, const struct secrets *b);
void secrets_free(struct secrets *s); /* wipes */

/* A set with several holders: the last one wipes it. */
struct shared_secrets {
    size_t refs;
    struct secrets secrets;
};
struct shared_secrets *secrets_share(struct secrets *s);       /* takes the content of *s */
struct shared_secrets *secrets_hold(struct shared_secrets *s); /* another one; NULL is allowed */
void secrets_drop(struct shared_secrets *s);                   /* NULL is allowed */

#endif

/* load.h: WIT folders to a resolved package and what it needs. */
#ifndef WIT_LOAD_H
#define WIT_LOAD_H

#include "wit/types.h"

/* Reads the package in the .wit files of dir and the packages in dir/deps/, or the one file that
 * dir is, and of the folders in each of includes those packages that are referred to. w->packages
 * is then the package of dir, resolved. Ends by wit_fail: call it inside wit_try. */
void wit_load(struct wit *w, const char *dir, const char *const *includes, size_t count);

/* The same where path may also be a folder without .wit files but with folders of packages, which
 * are all loaded. */
void wit_load_any(struct wit *w, const char *path, const char *const *includes, size_t count);

/* The same of one text, for a package that refers to no other; with the wit_try. */
int wit_try_text(struct wit *w, const char *name, struct wcp_str text);
/* A type alone (parse.h), resolved; with the wit_try. */
int wit_try_type(struct wit *w, const char *name, struct wcp_str text, struct wit_type **out);

#endif

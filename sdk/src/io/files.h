/* files.h: small files that hold configuration or secrets, and whether they have changed. */
#ifndef FILES_H
#define FILES_H

#include <wcp/base.h>

#define FILE_MAX   ((size_t)1 << 20) /* of a configuration value or secret: as Kubernetes has it */
#define FOLDER_MAX (16 * FILE_MAX)   /* of all files of a folder */

/* The whole file, for file_free, NUL-terminated. dir: as for openat. */
int file_read(int dir, const char *path, size_t max, char **text, size_t *len, struct wcp_err *err);
/* The same without the one line end behind it: a secret or key that somebody wrote with an editor.
 * A NUL in it, or nothing at all, is an error. */
int file_read_text(const char *path, char **text, struct wcp_err *err);
void file_free(char *text, size_t len); /* wipes; NULL is allowed */

/* Calls put with every file of the folder and its text less one line end. Names with a dot in front
 * are not ours: Kubernetes mounts have "..data" and the like. */
int folder_read(const char *path,
                int (*put)(void *ctx, const char *name, struct wcp_bytes value,
                           struct wcp_err *err),
                void *ctx, struct wcp_err *err);

/* Another number when the file, or a file of the folder, is replaced, written, added or removed: it
 * is made of inodes, sizes and times. 0: there is none. */
uint64_t file_stamp(const char *path);

#endif

/* folder.h: names of containers and objects as folders and files below a root, and files that are
 * being written. All of it blocks: it is for worker threads. Every const char * that is returned is
 * NULL, or why it could not be done: a text for the component that lives for ever. */
#ifndef FOLDER_H
#define FOLDER_H

#include "store.h"
#include <sys/stat.h>

#define NAME_BYTES_MAX 1024 /* of a container or object; S3's limit */

extern const char no_container[], no_object[]; /* compare pointers with these */

const char *why_of(int error);
const char *name_wrong(struct wcp_str name);

/* Something in a folder: dir is open. */
struct place {
    int dir;
    char name[256];
};
void place_close(struct place *p);
/* Makes the names in a folder safe on the disk, where folders can be synced: 0, or -1 and errno. */
int folder_sync(int dir);

/* The container's folder as an open file in *fd, or its place. */
const char *container_open(struct store *s, struct wcp_str name, int *fd);
const char *container_make(struct store *s, struct wcp_str name);
const char *container_place(struct store *s, struct wcp_str name, struct place *p);

/* Where an object is, or could be; no_object if there is no such folder. */
const char *object_place(struct store *s, struct wcp_str container, struct wcp_str object,
                         struct place *p);
/* An object's file for reading, with what is known about it. */
const char *object_open(struct store *s, struct wcp_str container, struct wcp_str object, int *fd,
                        struct stat *st);
const char *object_stat(const struct place *p, struct stat *st);
/* Deletes it; no_object if there is none. Folders that it leaves empty go, too. */
const char *object_delete(struct store *s, struct wcp_str container, struct wcp_str object);
/* Removes the folders of an object that is gone, as far as they are empty. */
void object_prune(struct store *s, struct wcp_str container, struct wcp_str object);
/* Seconds since 1970 when the file or folder was made; 0: the file system does not know. */
uint64_t created_at(int dir, const char *name);

/* A new content of an object, which nobody sees before draft_commit. Its file has a name of its own
 * in the object's folder, and is locked, so that what a crash leaves can be told from it. */
struct draft {
    struct place at;
    int fd;
    char name[32];
    struct store *store;
    char *container, *object; /* to remove the folders made for it, if it is discarded */
};
const char *draft_open(struct store *s, struct wcp_str container, struct wcp_str object,
                       struct draft *d);
/* Makes it the object, and safe on the disk. Ends d, whether it could or not. */
const char *draft_commit(struct draft *d);
void draft_discard(struct draft *d); /* nothing of it stays */
bool draft_is_name(const char *name);
/* Removes what a crash has left; not what somebody writes to. */
void draft_sweep(int dir, const char *name);

#endif

/* tree.h: all that is in a folder and below, in order and in bounded memory. */
#ifndef TREE_H
#define TREE_H

#include <stddef.h>

enum tree_kind {
    TREE_FILE,
    TREE_OTHER,  /* symbolic links, sockets, ... */
    TREE_FOLDER, /* after all that is in it */
};
struct tree_entry {
    enum tree_kind kind;
    int dir; /* the folder it is in, and its name there */
    const char *name;
    const char *path; /* from the top, with '/', NUL-terminated */
    size_t path_len;
};

struct tree;
/* Takes the open folder dir. */
struct tree *tree_new(int dir);
/* The next entry in *e, which lives until the next call: 1; 0: there is none; or a negative errno.
 * What is removed or added meanwhile comes or does not; all else comes once. */
int tree_next(struct tree *t, struct tree_entry *e);
void tree_free(struct tree *t);

#endif

/* objects.c: copying, moving, and deleting all of a container. */
#include "objects.h"
#include "folder.h"
#include "tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#define STEP_BYTES ((size_t)64 << 20)
/* A call that has no answer after 30 s is ended by the SDK: say before that what was too much. */
#define PATIENCE_S 25

static const char too_many[] =
    "there are too many objects to delete in one call: many are gone, call again for the others";
static const char too_large[] = "the object is too large to be copied within one call";

static time_t now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return t.tv_sec;
}

/* Removes all that is in the folder dir, which this closes; drafts only with drafts_too. */
static const char *empty(int dir, bool drafts_too)
{
    const time_t until = now_s() + PATIENCE_S;
    struct tree_entry e;
    struct tree *t = tree_new(dir);
    const char *why = t ? NULL : why_of(EMFILE);
    int rc = 0;
    while (!why && (rc = tree_next(t, &e)) > 0) {
        if (draft_is_name(e.name) && !drafts_too) {
            draft_sweep(e.dir, e.name);
            continue;
        }
        /* Gone already, or not empty: somebody else deletes and writes, too. */
        if (unlinkat(e.dir, e.name, e.kind == TREE_FOLDER ? AT_REMOVEDIR : 0) != 0 &&
            errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
            why = why_of(errno);
        else if (now_s() > until)
            why = too_many;
    }
    if (t)
        tree_free(t);
    return why ? why : rc < 0 ? why_of(-rc) : NULL;
}

const char *objects_clear(struct store *s, struct wcp_str container)
{
    int dir;
    const char *why = container_open(s, container, &dir);
    return why ? why : empty(dir, false);
}

const char *objects_delete_container(struct store *s, struct wcp_str container)
{
    struct place p;
    int dir;
    const char *why = container_open(s, container, &dir);
    if (why || (why = empty(dir, true)) || (why = container_place(s, container, &p)))
        return why;
    if (unlinkat(p.dir, p.name, AT_REMOVEDIR) != 0)
        why = errno == ENOTEMPTY || errno == EEXIST ? "an object was written meanwhile"
              : errno == ENOENT || errno == ENOTDIR ? no_container
                                                    : why_of(errno);
    else if (folder_sync(p.dir) != 0)
        why = why_of(errno);
    place_close(&p);
    return why;
}

/* All of from, size bytes, to the end of to. */
static const char *copy_bytes(int from, int to, off_t size)
{
    const time_t until = now_s() + PATIENCE_S;
    bool plain = false; /* without the file system's own way, which may share the blocks */
    for (off_t done = 0;;) {
        ssize_t n = plain ? sendfile(to, from, NULL, STEP_BYTES)
                          : copy_file_range(from, NULL, to, NULL, STEP_BYTES, 0);
        int e = errno;
        if (!plain && (n == 0 || (n < 0 && e != ENOSPC && e != EDQUOT && e != EFBIG && e != EIO)) &&
            done < size) {
            plain = true; /* not on this file system, or not between these two */
            continue;
        }
        if (n < 0)
            return why_of(e);
        if (n == 0)
            return NULL;
        done += n;
        if (now_s() > until)
            return too_large;
    }
}

const char *objects_copy(struct store *s, struct blobstore_types_object_id src,
                         struct blobstore_types_object_id dest)
{
    struct draft d;
    struct stat st;
    int from;
    const char *why = object_open(s, src.container, src.object, &from, &st);
    if (why)
        return why;
    why = draft_open(s, dest.container, dest.object, &d);
    if (!why) {
        why = copy_bytes(from, d.fd, st.st_size);
        if (why)
            draft_discard(&d);
        else
            why = draft_commit(&d);
    }
    (void)close(from); /* it was only read */
    return why;
}

/* a is renamed to b, which may be the same. "": they are on two file systems. */
static const char *rename_object(const struct place *a, const struct place *b)
{
    struct stat from, to;
    const char *why = object_stat(a, &from);
    if (why)
        return why;
    if (renameat(a->dir, a->name, b->dir, b->name) != 0)
        return errno == ENOENT ? no_object : errno == EXDEV ? "" : why_of(errno);
    /* Nothing happens to two names of one file, which others have linked; so a goes here, unless
     * both are one name. */
    struct stat fa, fb;
    if (from.st_nlink > 1 && fstat(a->dir, &fa) == 0 && fstat(b->dir, &fb) == 0 &&
        (fa.st_ino != fb.st_ino || fa.st_dev != fb.st_dev || strcmp(a->name, b->name) != 0) &&
        object_stat(a, &to) == NULL && to.st_ino == from.st_ino)
        (void)unlinkat(a->dir, a->name, 0); /* or somebody else just did */
    return folder_sync(b->dir) == 0 && folder_sync(a->dir) == 0 ? NULL : why_of(errno);
}

const char *objects_move(struct store *s, struct blobstore_types_object_id src,
                         struct blobstore_types_object_id dest)
{
    struct draft d;
    struct place a;
    const char *why = object_place(s, src.container, src.object, &a);
    if (why)
        return why;
    /* A draft makes the folders of dest, and keeps them from being removed as empty. */
    why = draft_open(s, dest.container, dest.object, &d);
    if (!why) {
        why = rename_object(&a, &d.at);
        draft_discard(&d);
    }
    place_close(&a);
    if (why && !*why) { /* another file system is mounted on one of the containers */
        why = objects_copy(s, src, dest);
        if (!why)
            why = object_delete(s, src.container, src.object);
    } else if (!why) {
        object_prune(s, src.container, src.object);
    }
    return why;
}

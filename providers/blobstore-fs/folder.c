/* folder.c: names as folders and files below a root.
 *
 * Nothing leads out of the root: a name has no part "." or "..", and the parts are opened one by
 * one, each in the folder before it, never through a symbolic link. Links and mounts in the path of
 * the root itself are the operator's. */
#include "folder.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define DRAFT       ".outrigger-" /* then 16 hexadecimal digits */
#define DRAFT_LEN   (sizeof DRAFT - 1)
#define LEFT_S      60 /* a draft that nobody has locked for so long was left by a crash */
#define TRIES       16

const char no_container[] = "there is no such container";
const char no_object[] = "there is no such object";

const char *why_of(int error)
{
    switch (error) {
    case ENOENT: return "it was deleted meanwhile";
    case ENOTDIR:
    case ELOOP: return "a part of the name before a '/' is no folder";
    case EISDIR:
    case EEXIST:
    case ENOTEMPTY: return "there are objects whose names go on with a '/' after this name";
    case ENAMETOOLONG: return "the name is too long";
    case ENOSPC: return "the disk is full";
    case EDQUOT: return "the disk quota is used up";
    case EFBIG: return "the object is too large for the file system";
    case EROFS: return "the store is read-only";
    case EPERM:
    case EACCES: return "permission denied";
    case EMFILE:
    case ENFILE: return "too many files are open";
    case EIO: return "the disk has an input or output error";
    default: {
        const char *text = strerrordesc_np(error);
        return text ? text : "the file system has an unknown error";
    }
    }
}

const char *name_wrong(struct wcp_str name)
{
    if (name.len == 0)
        return "the name is empty";
    if (name.len > NAME_BYTES_MAX)
        return "the name is too long: expected at most 1024 bytes, 255 between slashes";
    if (memchr(name.ptr, 0, name.len))
        return "the name has a NUL in it";
    for (size_t at = 0; at <= name.len;) {
        const char *part = name.ptr + at, *slash = memchr(part, '/', name.len - at);
        size_t n = slash ? (size_t)(slash - part) : name.len - at;
        if (n == 0)
            return "the name begins or ends with a '/', or has two in a row";
        if ((n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return "the name has a part '.' or '..'";
        if (n > 255)
            return "the name is too long: expected at most 1024 bytes, 255 between slashes";
        if (n >= DRAFT_LEN && memcmp(part, DRAFT, DRAFT_LEN) == 0)
            return "names that begin with '" DRAFT "' are for the provider itself";
        at += n + 1;
    }
    return NULL;
}

void place_close(struct place *p)
{
    (void)close(p->dir); /* of a folder: nothing was written */
    p->dir = -1;
}

int folder_sync(int dir)
{
    return fsync(dir) == 0 || errno == EINVAL ? 0 : -1;
}

/* Goes from folder p->dir along name, which is right, to the last part, which p has then. 0, or an
 * errno with p->dir closed. */
static int walk(struct place *p, struct wcp_str name, bool make)
{
    for (size_t at = 0;;) {
        const char *part = name.ptr + at, *slash = memchr(part, '/', name.len - at);
        size_t n = slash ? (size_t)(slash - part) : name.len - at;
        memcpy(p->name, part, n);
        p->name[n] = '\0';
        if (!slash)
            return 0;
        int made = make ? mkdirat(p->dir, p->name, 0777) : -1, why_not = make ? errno : EEXIST;
        int next = openat(p->dir, p->name, OPEN_FOLDER), e = errno;
        if (next >= 0 && made == 0 && folder_sync(p->dir) != 0) {
            e = errno;
            (void)close(next); /* a folder */
            next = -1;
        } else if (next < 0 && e == ENOENT && made != 0 && why_not != EEXIST) {
            e = why_not;
        }
        place_close(p);
        if (next < 0)
            return e;
        p->dir = next;
        at += n + 1;
    }
}

const char *container_place(struct store *s, struct wcp_str name, struct place *p)
{
    const char *why = name_wrong(name);
    if (why)
        return why;
    if ((p->dir = store_open(s, &why)) < 0)
        return why;
    int e = walk(p, name, false);
    if (e)
        return e == ENOENT || e == ENOTDIR || e == ELOOP ? no_container : why_of(e);
    return NULL;
}

const char *container_open(struct store *s, struct wcp_str name, int *fd)
{
    struct place p;
    const char *why = container_place(s, name, &p);
    if (why)
        return why;
    *fd = openat(p.dir, p.name, OPEN_FOLDER);
    int e = errno;
    place_close(&p);
    if (*fd >= 0)
        return NULL;
    return e == ENOENT || e == ENOTDIR || e == ELOOP ? no_container : why_of(e);
}

const char *container_make(struct store *s, struct wcp_str name)
{
    struct place p;
    struct stat st;
    const char *why = name_wrong(name);
    if (why)
        return why;
    if ((p.dir = store_open(s, &why)) < 0)
        return why;
    int e = walk(&p, name, true);
    if (e)
        return why_of(e);
    if (mkdirat(p.dir, p.name, 0777) != 0) {
        e = errno;
        if (e == EEXIST && fstatat(p.dir, p.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            why = S_ISDIR(st.st_mode) ? NULL : "there is a file of this name";
        else
            why = why_of(e);
    } else if (folder_sync(p.dir) != 0) {
        why = why_of(errno);
    }
    place_close(&p);
    return why;
}

/* As object_place; an errno of a part of the object's name goes to *e. */
static const char *object_walk(struct store *s, struct wcp_str container, struct wcp_str object,
                               bool make, struct place *p, int *e)
{
    const char *why = name_wrong(object);
    *e = 0;
    if (why || (why = container_open(s, container, &p->dir)))
        return why;
    *e = walk(p, object, make);
    return *e ? why_of(*e) : NULL;
}

const char *object_place(struct store *s, struct wcp_str container, struct wcp_str object,
                         struct place *p)
{
    int e;
    const char *why = object_walk(s, container, object, false, p, &e);
    return e == ENOENT || e == ENOTDIR || e == ELOOP ? no_object : why;
}

const char *object_stat(const struct place *p, struct stat *st)
{
    if (fstatat(p->dir, p->name, st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? no_object : why_of(errno);
    return S_ISREG(st->st_mode) ? NULL : no_object;
}

const char *object_open(struct store *s, struct wcp_str container, struct wcp_str object, int *fd,
                        struct stat *st)
{
    struct place p;
    const char *why = object_place(s, container, object, &p);
    if (why)
        return why;
    /* Not blocked by a FIFO that somebody has put there; regular files ignore it. */
    *fd = openat(p.dir, p.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int e = errno;
    place_close(&p);
    if (*fd < 0)
        return e == ENOENT || e == ELOOP || e == ENXIO ? no_object : why_of(e);
    if (fstat(*fd, st) != 0)
        why = why_of(errno);
    else if (!S_ISREG(st->st_mode))
        why = no_object;
    if (why)
        (void)close(*fd); /* it was not written to */
    return why;
}

void object_prune(struct store *s, struct wcp_str container, struct wcp_str object)
{
    const char *slash;
    while ((slash = memrchr(object.ptr, '/', object.len))) {
        struct place p;
        object.len = (size_t)(slash - object.ptr);
        if (object_place(s, container, object, &p))
            return;
        int rc = unlinkat(p.dir, p.name, AT_REMOVEDIR);
        place_close(&p);
        if (rc != 0) /* it has others */
            return;
    }
}

const char *object_delete(struct store *s, struct wcp_str container, struct wcp_str object)
{
    struct place p;
    struct stat st;
    const char *why = object_place(s, container, object, &p);
    if (why)
        return why;
    why = object_stat(&p, &st);
    if (!why && unlinkat(p.dir, p.name, 0) != 0)
        why = errno == ENOENT ? no_object : why_of(errno);
    place_close(&p);
    if (!why)
        object_prune(s, container, object);
    return why;
}

uint64_t created_at(int dir, const char *name)
{
    struct statx st;
    if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &st) != 0)
        return 0;
    if (st.stx_mask & STATX_BTIME && st.stx_btime.tv_sec > 0)
        return (uint64_t)st.stx_btime.tv_sec;
    /* An object's content is never changed in place; a folder's is. */
    return S_ISREG(st.stx_mode) && st.stx_mtime.tv_sec > 0 ? (uint64_t)st.stx_mtime.tv_sec : 0;
}

/* --- drafts --- */

const char *draft_open(struct store *s, struct wcp_str container, struct wcp_str object,
                       struct draft *d)
{
    /* A folder that was just made may be removed by who deletes the last object in it. */
    for (int tries = 0;; tries++) {
        uint64_t random;
        int e;
        const char *why = object_walk(s, container, object, true, &d->at, &e);
        if (why && e == ENOENT && tries < TRIES)
            continue;
        if (why)
            return why;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            random = (uint64_t)time(NULL); /* O_EXCL tells whether it is new */
        (void)snprintf(d->name, sizeof d->name, DRAFT "%016llx", (unsigned long long)random);
        d->fd =
            openat(d->at.dir, d->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        e = errno;
        if (d->fd >= 0) {
            (void)flock(d->fd, LOCK_EX | LOCK_NB); /* where there are no locks, age alone tells */
            d->store = s;
            d->container = wcp_str_dup(container);
            d->object = wcp_str_dup(object);
            return NULL;
        }
        place_close(&d->at);
        if ((e != ENOENT && e != EEXIST) || tries == TRIES)
            return why_of(e);
    }
}

static void draft_close(struct draft *d)
{
    (void)close(d->fd); /* fsync has told, or nobody wants what was written */
    place_close(&d->at);
    free(d->container);
    free(d->object);
}

void draft_discard(struct draft *d)
{
    (void)unlinkat(d->at.dir, d->name, 0); /* it may be gone with its container */
    object_prune(d->store, wcp_str(d->container), wcp_str(d->object));
    draft_close(d);
}

const char *draft_commit(struct draft *d)
{
    if (fsync(d->fd) != 0 || renameat(d->at.dir, d->name, d->at.dir, d->at.name) != 0) {
        const char *why = why_of(errno);
        draft_discard(d);
        return why;
    }
    const char *why = folder_sync(d->at.dir) == 0 ? NULL : why_of(errno);
    draft_close(d);
    return why;
}

bool draft_is_name(const char *name)
{
    return strncmp(name, DRAFT, DRAFT_LEN) == 0;
}

void draft_sweep(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > LEFT_S &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(dir, name, 0); /* or the next time */
    (void)close(fd);                  /* it was not written to */
}

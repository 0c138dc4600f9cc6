/* tree.c: all that is in a folder and below.
 *
 * Files come in the order of their paths' bytes, as in S3, whatever the order on the disk: pages of
 * a listing fit together, and what changes meanwhile does not shift the others. A folder with more
 * names than may be kept at once is read again for the names behind those. */
#include "tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wcp/wcp.h>

#define BATCH_MAX ((size_t)2 << 20)  /* bytes of names kept of the top folder; half for the next */
#define BATCH_MIN ((size_t)16 << 10) /* ... but that for each */

/* A name with its kind before it and, of folders, a '/' after it, which it is sorted by. */
struct names {
    struct wcp_buf text;
    uint32_t *at; /* where they begin in text */
    size_t count, cap;
};

struct level {
    DIR *dir;
    struct names names;
    size_t next;     /* of names */
    size_t path_len; /* of the folder, with '/' */
    bool more;       /* names behind these were left out */
};

struct tree {
    struct level *levels;
    size_t depth, cap;
    struct wcp_buf path;
    char name[258];
};

static const char *name_at(const struct names *n, size_t i)
{
    return (const char *)n->text.ptr + n->at[i];
}

static void add(struct names *n, enum tree_kind kind, const char *key)
{
    char k = (char)('0' + kind);
    if (n->count == n->cap) {
        n->cap = n->cap ? 2 * n->cap : 64;
        n->at = wcp_realloc(n->at, n->cap * sizeof *n->at);
    }
    n->at[n->count++] = (uint32_t)n->text.len;
    wcp_buf_put(&n->text, &k, 1);
    wcp_buf_put(&n->text, key, strlen(key) + 1);
}

static void names_free(struct names *n)
{
    wcp_buf_free(&n->text);
    free(n->at);
    *n = (struct names){0};
}

static int by_name(const void *a, const void *b, void *text)
{
    const char *names = text;
    return strcmp(names + *(const uint32_t *)a + 1, names + *(const uint32_t *)b + 1);
}

/* Sorts, and drops what is above max bytes. True: something was. */
static bool cut(struct names *n, size_t max)
{
    struct names kept = {0};
    if (n->count == 0)
        return false;
    qsort_r(n->at, n->count, sizeof *n->at, by_name, n->text.ptr);
    if (n->text.len <= max)
        return false;
    for (size_t i = 0; i < n->count && kept.text.len < max; i++)
        add(&kept, (enum tree_kind)(name_at(n, i)[0] - '0'), name_at(n, i) + 1);
    bool dropped = kept.count < n->count;
    names_free(n);
    *n = kept;
    return dropped;
}

static enum tree_kind kind_of(int dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR ? TREE_FOLDER : e->d_type == DT_REG ? TREE_FILE : TREE_OTHER;
    if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return TREE_OTHER;
    return S_ISDIR(st.st_mode) ? TREE_FOLDER : S_ISREG(st.st_mode) ? TREE_FILE : TREE_OTHER;
}

static void copy_last(const struct names *n, char key[258])
{
    const char *last = name_at(n, n->count - 1) + 1;
    memcpy(key, last, strlen(last) + 1);
}

/* Reads the names behind the last of those that l has. 0 or a negative errno. */
static int fill(struct level *l, size_t max)
{
    char after[258] = "", before[258] = "", key[258];
    const struct dirent *e;
    if (l->names.count)
        copy_last(&l->names, after);
    names_free(&l->names);
    l->next = 0;
    l->more = false;
    rewinddir(l->dir);
    while ((void)(errno = 0), (e = readdir(l->dir))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        enum tree_kind kind = kind_of(dirfd(l->dir), e);
        size_t n = strnlen(e->d_name, 255);
        memcpy(key, e->d_name, n);
        key[n] = '/';
        key[n + (kind == TREE_FOLDER)] = '\0';
        if (strcmp(key, after) <= 0)
            continue;
        if (*before && strcmp(key, before) >= 0) {
            l->more = true;
            continue;
        }
        add(&l->names, kind, key);
        if (l->names.text.len > 2 * max && cut(&l->names, max)) {
            l->more = true;
            copy_last(&l->names, before);
        }
    }
    int rc = -errno;
    l->more |= cut(&l->names, max);
    return rc;
}

static void push(struct tree *t, DIR *dir)
{
    if (t->depth == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 4;
        t->levels = wcp_realloc(t->levels, t->cap * sizeof *t->levels);
    }
    t->levels[t->depth++] = (struct level){.dir = dir, .path_len = t->path.len, .more = true};
}

static void pop(struct tree *t)
{
    struct level *l = &t->levels[--t->depth];
    (void)closedir(l->dir); /* it was only read */
    names_free(&l->names);
}

/* 0, or a negative errno with fd closed. */
static int enter(struct tree *t, int fd)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = -errno;
        (void)close(fd); /* it was only read */
        return rc;
    }
    push(t, dir);
    return 0;
}

struct tree *tree_new(int dir)
{
    struct tree *t = wcp_calloc(1, sizeof *t);
    if (enter(t, dir) == 0)
        return t;
    free(t);
    return NULL;
}

/* Sets *e to what l, the deepest level, has under key. */
static void show(struct tree *t, const struct level *l, enum tree_kind kind, const char *key,
                 struct tree_entry *e)
{
    size_t n = strlen(key) - (kind == TREE_FOLDER);
    memcpy(t->name, key, n);
    t->name[n] = '\0';
    t->path.len = l->path_len;
    wcp_buf_put(&t->path, t->name, n + 1);
    *e = (struct tree_entry){kind, dirfd(l->dir), t->name, (const char *)t->path.ptr,
                             t->path.len - 1};
}

int tree_next(struct tree *t, struct tree_entry *e)
{
    while (t->depth) {
        struct level *l = &t->levels[t->depth - 1];
        if (l->next < l->names.count) {
            const char *entry = name_at(&l->names, l->next++);
            enum tree_kind kind = (enum tree_kind)(entry[0] - '0');
            show(t, l, kind, entry + 1, e);
            if (kind != TREE_FOLDER)
                return 1;
            int fd = openat(e->dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                continue; /* gone, or another thing, since it was read */
            if (fd < 0)
                return -errno;
            t->path.ptr[t->path.len - 1] = '/';
            int rc = enter(t, fd);
            if (rc)
                return rc;
            continue;
        }
        if (l->more) {
            size_t max = t->depth > 20 ? 0 : BATCH_MAX >> (t->depth - 1);
            int rc = fill(l, max > BATCH_MIN ? max : BATCH_MIN);
            if (rc)
                return rc;
            continue;
        }
        pop(t);
        if (t->depth == 0)
            break;
        l = &t->levels[t->depth - 1];
        show(t, l, TREE_FOLDER, name_at(&l->names, l->next - 1) + 1, e);
        return 1;
    }
    return 0;
}

void tree_free(struct tree *t)
{
    while (t->depth)
        pop(t);
    free(t->levels);
    wcp_buf_free(&t->path);
    free(t);
}

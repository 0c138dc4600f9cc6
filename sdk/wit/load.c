/* load.c: WIT folders to a resolved package and what it needs. */
#include "wit/load.h"
#include "wit/parse.h"
#include "wit/resolve.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct wit_pos nowhere;

struct entry {
    struct entry *next;
    const char *name, *path;
    bool is_dir, is_binary;
};

static bool ends_with_wit(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".wit") == 0;
}

static bool is_binary(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".wasm") == 0 || strcmp(dot, ".wat") == 0);
}

/* True also of what cannot be looked at: listing it then says why. */
static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 || S_ISDIR(st.st_mode);
}

/* The .wit files and the folders in dir, in the order of their names, without hidden ones. */
static struct entry *list_dir(struct wit *w, const char *dir, bool must_exist)
{
    struct dirent **found = NULL;
    int n = scandir(dir, &found, NULL, alphasort);
    if (n < 0) {
        if (must_exist || errno != ENOENT)
            wit_fail(w, nowhere, "%s: %s", dir, strerror(errno));
        return NULL;
    }
    struct entry *list = NULL, **end = &list;
    for (int k = 0; k < n; k++) {
        struct stat st;
        struct entry *e = wcp_alloc(&w->arena, 1, sizeof *e);
        e->name = wcp_fmt(&w->arena, "%s", found[k]->d_name).ptr;
        e->path = wcp_fmt(&w->arena, "%s/%s", dir, e->name).ptr;
        free(found[k]);
        e->is_dir = stat(e->path, &st) == 0 && S_ISDIR(st.st_mode);
        e->is_binary = !e->is_dir && is_binary(e->name);
        if (e->name[0] != '.' && (e->is_dir || e->is_binary || ends_with_wit(e->name))) {
            *end = e;
            end = &e->next;
        }
    }
    free(found);
    return list;
}

static struct wcp_str read_file(struct wit *w, const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        wit_fail(w, nowhere, "%s: %s", path, strerror(errno));
    w->scratch.len = 0;
    char part[4096];
    for (size_t n; w->scratch.len <= WIT_MAX_FILE && (n = fread(part, 1, sizeof part, f)) > 0;)
        wcp_buf_put(&w->scratch, part, n);
    int failed = ferror(f) ? errno : 0;
    (void)fclose(f); /* it was only read */
    if (failed)
        wit_fail(w, nowhere, "%s: %s", path, strerror(failed));
    if (w->scratch.len > WIT_MAX_FILE)
        wit_fail(w, nowhere, "%s: larger than %d bytes", path, WIT_MAX_FILE);
    char *text = wcp_alloc(&w->arena, w->scratch.len + 1, 1);
    if (w->scratch.len)
        memcpy(text, w->scratch.ptr, w->scratch.len);
    return (struct wcp_str){text, w->scratch.len};
}

static void load_files(struct wit *w, const struct entry *files, const char *where)
{
    struct wit_package *p = wit_package_begin(w);
    size_t count = 0;
    for (const struct entry *e = files; e; e = e->next)
        if (!e->is_dir && !e->is_binary) {
            wit_parse(w, p, e->path, read_file(w, e->path));
            count++;
        }
    if (!count)
        wit_fail(w, nowhere, "%s: no .wit files", where);
    wit_package_end(w, p, where);
}

/* A package per folder, or per file directly in deps. */
static void load_deps(struct wit *w, const char *deps)
{
    for (struct entry *e = list_dir(w, deps, false); e; e = e->next) {
        struct entry alone = {.name = e->name, .path = e->path};
        if (e->is_binary)
            wit_fail(w, nowhere,
                     "%s: packages in binary form are not read: make text of it (wasm-tools "
                     "component wit)",
                     e->path);
        load_files(w, e->is_dir ? list_dir(w, e->path, true) : &alone, e->path);
    }
}

static const struct wit_package *find(const struct wit *w, const struct wit_path *path)
{
    const struct wit_package *p = w->packages;
    while (p && !wit_package_is(p, path->ns, path->package, path->version))
        p = p->next;
    return p;
}

/* What the first of the folder's files that says so says it is. */
static struct wit_package folder_id(struct wit *w, const struct entry *files)
{
    struct wit_package id = {0};
    for (const struct entry *e = files; e; e = e->next)
        if (!e->is_dir && !e->is_binary && wit_peek_package(w, e->path, read_file(w, e->path), &id))
            break;
    return id;
}

/* other: the version of a package that is the wanted one but for that. */
static void load_include(struct wit *w, const char *include, const struct wit_path *path,
                         struct wcp_str *other)
{
    for (struct entry *e = list_dir(w, include, true); e && !find(w, path); e = e->next) {
        if (!e->is_dir)
            continue;
        struct entry *files = list_dir(w, e->path, true);
        struct wit_package id = folder_id(w, files);
        if (wit_package_is(&id, path->ns, path->package, path->version))
            load_files(w, files, e->path);
        else if (wit_package_is(&id, path->ns, path->package, id.version))
            *other = id.version;
    }
}

/* What is loaded may refer to more: its paths come to the end of the list. */
static void load_referred(struct wit *w, const char *const *includes, size_t count)
{
    for (const struct wit_path *path = w->paths; path; path = path->next) {
        struct wcp_str other = {0};
        for (size_t k = 0; k < count && !find(w, path); k++)
            load_include(w, includes[k], path, &other);
        if (other.len && !find(w, path))
            wit_fail(w, path->pos, "package '%.*s:%.*s' is here in version '%.*s', not '%.*s'",
                     WCP_ARG(path->ns), WCP_ARG(path->package), WCP_ARG(other),
                     WCP_ARG(path->version));
    }
}

void wit_load(struct wit *w, const char *dir, const char *const *includes, size_t count)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    dir = wcp_fmt(&w->arena, "%.*s", (int)n, dir).ptr;
    if (is_folder(dir)) {
        load_files(w, list_dir(w, dir, true), dir);
        load_deps(w, wcp_fmt(&w->arena, "%s/deps", dir).ptr);
    } else {
        load_files(w, &(struct entry){.name = dir, .path = dir}, dir);
    }
    load_referred(w, includes, count);
    wit_resolve(w);
}

void wit_load_any(struct wit *w, const char *path, const char *const *includes, size_t count)
{
    const struct entry *all = is_folder(path) ? list_dir(w, path, true) : NULL, *e = all;
    while (e && e->is_dir)
        e = e->next;
    if (e || !all) {
        wit_load(w, path, includes, count);
        return;
    }
    load_deps(w, path);
    load_referred(w, includes, count);
    wit_resolve(w);
}

struct text {
    const char *name;
    struct wcp_str text;
};

static void load_text(struct wit *w, void *arg)
{
    const struct text *t = arg;
    struct wit_package *p = wit_package_begin(w);
    wit_parse(w, p, t->name, t->text);
    wit_package_end(w, p, t->name);
    wit_resolve(w);
}

int wit_try_text(struct wit *w, const char *name, struct wcp_str text)
{
    struct text t = {name, text};
    return wit_try(w, load_text, &t);
}

struct lone_type {
    struct text text;
    struct wit_type **out;
};

static void load_type(struct wit *w, void *arg)
{
    struct lone_type *t = arg;
    *t->out = wit_parse_type(w, t->text.name, t->text.text);
    wit_resolve_type(w, *t->out);
}

int wit_try_type(struct wit *w, const char *name, struct wcp_str text, struct wit_type **out)
{
    struct lone_type t = {{name, text}, out};
    return wit_try(w, load_type, &t);
}

/* witc.c: the WIT to C compiler's command line. */
#include "wit/load.h"
#include "witc/emit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: witc [-I DIR]... -o OUTDIR WITDIR\n"
    "\n"
    "Compiles the WIT package in the .wit files of WITDIR to C: one .h and one .c per interface\n"
    "that a world of the package exports (handlers to fill in) or imports (functions to call), "
    "and\n"
    "per interface that those use. A package without a world: all its interfaces, both ways.\n"
    "Other packages are looked for in WITDIR/deps/ and in the folders of each DIR.\n"
    "\n"
    "  -I DIR      a folder of packages, one folder each\n"
    "  -o OUTDIR   where the files go; untouched when anything is wrong\n"
    "  -h, --help  this text\n";

enum { MAX_INCLUDES = 64 };

struct options {
    const char *includes[MAX_INCLUDES];
    size_t include_count;
    const char *out, *dir;
};

/* --- what to generate --- */

static void need(struct wit_interface *i)
{
    if (i->needed)
        return;
    i->needed = true;
    for (const struct wit_type *t = i->types; t; t = t->next)
        if (t->kind == WIT_USE)
            need(t->elem->owner);
}

static void select_side(struct wit_interface *i, bool exported)
{
    if (exported)
        i->exported = true;
    else
        i->imported = true;
    need(i);
}

static void select_world(struct wit *w, const struct wit_world *o)
{
    for (const struct wit_world_item *i = o->items; i; i = i->next) {
        if (i->kind == WIT_INCLUDE)
            select_world(w, i->world);
        else if (i->interface)
            select_side(i->interface, i->kind == WIT_EXPORT);
        else
            wit_fail(
                w, i->func->pos,
                "function '%.*s' stands directly in a world, for which wRPC has no name that all "
                "peers agree on: put it into an interface",
                WCP_ARG(i->func->name));
    }
}

static void select_all(struct wit *w)
{
    for (const struct wit_world *o = w->packages->worlds; o; o = o->next)
        select_world(w, o);
    if (!w->packages->worlds)
        for (struct wit_interface *i = w->packages->interfaces; i; i = i->next) {
            select_side(i, false);
            select_side(i, true);
        }
}

/* --- output --- */

struct output {
    struct output *next;
    const char *path;
    struct wcp_buf text;
};

struct job {
    const struct options *o;
    struct emit e;
    struct output *outputs;
};

static struct wcp_buf *new_output(struct job *j, const char *name, const char *extension)
{
    struct output *o = wcp_alloc(&j->e.w->arena, 1, sizeof *o);
    o->path = emit_fmt(&j->e, "%s/%s.%s", j->o->out, name, extension);
    o->next = j->outputs;
    j->outputs = o;
    return &o->text;
}

static void compile(struct wit *w, void *arg)
{
    struct job *j = arg;
    wit_load(w, j->o->dir, j->o->includes, j->o->include_count);
    select_all(w);
    emit_names(&j->e);
    for (struct unit *u = j->e.units; u; u = u->next) {
        emit_header(&j->e, u, new_output(j, u->i->c_name, "h"));
        emit_source(&j->e, u, new_output(j, u->i->c_name, "c"));
    }
    if (!j->e.units)
        wit_fail(w, (struct wit_pos){0}, "%s: the package has no interface to generate", j->o->dir);
}

static bool write_file(const struct output *o)
{
    FILE *f = fopen(o->path, "we");
    bool ok = f && (!o->text.len || fwrite(o->text.ptr, o->text.len, 1, f) == 1);
    if (f && fclose(f) != 0)
        ok = false;
    if (!ok)
        fprintf(stderr, "witc: error: %s: %s\n", o->path, strerror(errno));
    return ok;
}

static bool make_dirs(const char *dir)
{
    char *path = wcp_str_dup(wcp_str(dir));
    bool ok = true;
    for (char *p = path + 1; ok; p++) {
        char c = *p;
        if (c != '/' && c)
            continue;
        *p = '\0';
        ok = mkdir(path, 0777) == 0 || errno == EEXIST;
        *p = c;
        if (!c)
            break;
    }
    if (!ok)
        fprintf(stderr, "witc: error: %s: %s\n", dir, strerror(errno));
    free(path);
    return ok;
}

static bool write_all(const struct job *j)
{
    bool ok = make_dirs(j->o->out);
    for (const struct output *o = j->outputs; ok && o; o = o->next)
        ok = write_file(o);
    return ok;
}

/* --- the command line --- */

static int bad_usage(const char *why, const char *what)
{
    fprintf(stderr, "witc: error: %s%s\n\n%s", why, what, usage);
    return 2;
}

static int run(const struct options *o)
{
    struct wit w;
    wit_init(&w);
    struct job j = {.o = o, .e = {.w = &w, .taken = wcp_map_new(NULL)}};
    int status = 1;
    if (wit_try(&w, compile, &j) == 0) {
        status = write_all(&j) ? 0 : 1;
    } else {
        struct wcp_buf text = {0};
        wit_error_print(&w, &text);
        fprintf(stderr, "%s%.*s", w.error.pos.file ? "" : "witc: ", (int)text.len,
                (const char *)text.ptr);
        wcp_buf_free(&text);
    }
    for (struct output *out = j.outputs; out; out = out->next)
        wcp_buf_free(&out->text);
    wcp_map_free(j.e.taken);
    wit_free(&w);
    return status;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    for (int k = 1; k < argc; k++) {
        const char *a = argv[k];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (a[0] != '-' || !a[1]) {
            if (o.dir)
                return bad_usage("more than one WITDIR: ", a);
            o.dir = a;
            continue;
        }
        if (a[1] != 'I' && a[1] != 'o')
            return bad_usage("unknown option ", a);
        const char *value = a[2] ? a + 2 : k + 1 < argc ? argv[++k] : NULL;
        if (!value || !*value)
            return bad_usage("a folder must follow ", a);
        if (a[1] == 'o')
            o.out = value;
        else if (o.include_count == MAX_INCLUDES)
            return bad_usage("too many folders with ", "-I");
        else
            o.includes[o.include_count++] = value;
    }
    if (!o.dir || !o.out)
        return bad_usage(o.dir ? "-o OUTDIR is missing" : "WITDIR is missing", "");
    return run(&o);
}

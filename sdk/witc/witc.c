/* witc.c: the WIT to C compiler's command line. */
#include "wit/json.h"
#include "wit/load.h"
#include "witc/emit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: witc [-I DIR]... [--features LIST] -o OUTDIR WIT\n"
    "       witc [-I DIR]... [--features LIST] --json WIT\n"
    "\n"
    "Compiles the WIT package in the folder or file WIT to C: one .h and one .c per interface\n"
    "that a world of the package exports (handlers to fill in) or imports (functions to call), "
    "and\n"
    "per interface that those use. A package without a world: all its interfaces, both ways.\n"
    "Other packages are looked for in WIT/deps/ and in the folders of each DIR.\n"
    "\n"
    "  -I DIR           a folder of packages, one folder each\n"
    "  -o OUTDIR        where the files go; untouched when anything is wrong\n"
    "  --json           print the resolved packages instead, as wasm-tools component wit --json\n"
    "  --features LIST  include what is @unstable with one of these features (comma between)\n"
    "  --all-features   include everything that is @unstable\n"
    "  --world-id       call functions that stand directly in a world by the world's id, as\n"
    "                   wit-bindgen-wrpc 0.10 does; without it they have no instance, as in a\n"
    "                   wasmCloud host\n"
    "  -h, --help       this text\n";

enum { MAX_INCLUDES = 64, MAX_FEATURES = 64 };

struct options {
    const char *includes[MAX_INCLUDES];
    size_t include_count;
    struct wcp_str features[MAX_FEATURES];
    size_t feature_count;
    bool all_features, json, world_id;
    const char *out, *dir;
};

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
    struct wcp_buf json;
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
    w->features = j->o->features;
    w->feature_count = j->o->feature_count;
    w->all_features = j->o->all_features;
    wit_load(w, j->o->dir, j->o->includes, j->o->include_count);
    if (j->o->json) {
        wit_json(w, &j->json);
        return;
    }
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

static bool write_json(const struct wcp_buf *text)
{
    bool ok = fwrite(text->ptr, text->len, 1, stdout) == 1 && fflush(stdout) == 0;
    if (!ok)
        fprintf(stderr, "witc: error: standard output: %s\n", strerror(errno));
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
    struct job j = {.o = o, .e = {.w = &w, .taken = wcp_map_new(NULL), .world_id = o->world_id}};
    int status = 1;
    if (wit_try(&w, compile, &j) == 0) {
        status = (o->json ? write_json(&j.json) : write_all(&j)) ? 0 : 1;
    } else {
        struct wcp_buf text = {0};
        wit_error_print(&w, &text);
        fprintf(stderr, "%s%.*s", w.error.pos.file ? "" : "witc: ", (int)text.len,
                (const char *)text.ptr);
        wcp_buf_free(&text);
    }
    for (struct output *out = j.outputs; out; out = out->next)
        wcp_buf_free(&out->text);
    wcp_buf_free(&j.json);
    wcp_map_free(j.e.taken);
    wit_free(&w);
    return status;
}

/* Appends the features in list, which has commas or spaces between them. */
static bool add_features(struct options *o, const char *list)
{
    for (size_t n; *list; list += n + (list[n] != '\0')) {
        n = strcspn(list, ", ");
        if (n && o->feature_count == MAX_FEATURES)
            return false;
        if (n)
            o->features[o->feature_count++] = (struct wcp_str){list, n};
    }
    return true;
}

/* -I, -o and --features, with their value behind them or in the next word. */
static int take_value(struct options *o, const char *option, const char *value)
{
    if (!value || !*value)
        return bad_usage(option[1] == '-' ? "a list must follow " : "a folder must follow ",
                         option);
    if (option[1] == 'o')
        o->out = value;
    else if (option[1] == '-')
        return add_features(o, value) ? 0 : bad_usage("too many features with ", option);
    else if (o->include_count == MAX_INCLUDES)
        return bad_usage("too many folders with ", "-I");
    else
        o->includes[o->include_count++] = value;
    return 0;
}

int main(int argc, char **argv)
{
    static const char features[] = "--features";
    struct options o = {0};
    for (int k = 1; k < argc; k++) {
        const char *a = argv[k];
        int status = 0;
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strcmp(a, "--json") == 0)
            o.json = true;
        else if (strcmp(a, "--all-features") == 0)
            o.all_features = true;
        else if (strcmp(a, "--world-id") == 0)
            o.world_id = true;
        else if (strcmp(a, features) == 0)
            status = take_value(&o, features, k + 1 < argc ? argv[++k] : NULL);
        else if (strncmp(a, features, sizeof features - 1) == 0 && a[sizeof features - 1] == '=')
            status = take_value(&o, features, a + sizeof features);
        else if (a[0] == '-' && (a[1] == 'I' || a[1] == 'o'))
            status = take_value(&o, a[1] == 'o' ? "-o" : "-I",
                                a[2]           ? a + 2
                                : k + 1 < argc ? argv[++k]
                                               : NULL);
        else if (a[0] == '-')
            return bad_usage("unknown option ", a);
        else if (o.dir)
            return bad_usage("more than one WIT: ", a);
        else
            o.dir = a;
        if (status)
            return status;
    }
    if (!o.dir)
        return bad_usage("WIT is missing", "");
    if (!o.out == !o.json)
        return bad_usage(o.json ? "-o OUTDIR and --json exclude each other"
                                : "-o OUTDIR or --json is missing",
                         "");
    return run(&o);
}

/* values.c: see values.h. */
#include "cli/values.h"
#include "wit/load.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX ((size_t)1 << 30)

int read_file(const char *path, struct wcp_buf *b, struct wcp_err *err)
{
    char part[65536];
    size_t n;
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    if (!f)
        return wcp_fail(err, WCP_EIO, "%.150s: %s", path, strerror(errno));
    while (b->len <= FILE_MAX && (n = fread(part, 1, sizeof part, f)) > 0)
        wcp_buf_put(b, part, n);
    int rc = ferror(f)           ? wcp_fail(err, WCP_EIO, "%.150s: %s", path, strerror(errno))
             : b->len > FILE_MAX ? wcp_fail(err, WCP_ETOOBIG, "%.150s: larger than 1 GiB", path)
                                 : 0;
    if (!is_stdin)
        (void)fclose(f); /* only read */
    return rc;
}

int values_take_stdin(struct values *v, struct wcp_err *err)
{
    if (v->stdin_taken)
        return wcp_fail(err, WCP_EINVAL, "the standard input is one operand's already");
    v->stdin_taken = true;
    return 0;
}

/* --- where WIT comes from --- */

/* The interfaces installed with this executable, or beside it in the source tree: share/wcp/
 * interfaces or sdk/interfaces in one of the folders above it. */
static bool find_installed(char path[PATH_MAX])
{
    static const char *const places[] = {"share/wcp/interfaces", "sdk/interfaces"};
    char exe[PATH_MAX / 2];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return false;
    exe[n] = '\0';
    for (char *slash; (slash = strrchr(exe, '/')) != NULL;) {
        *slash = '\0';
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            (void)snprintf(path, PATH_MAX, "%s/%s", exe, places[i]);
            if (access(path, R_OK | X_OK) == 0)
                return true;
        }
    }
    return false;
}

static int print_wit_error(const struct wit *w, struct wcp_err *err)
{
    struct wcp_buf text = {0};
    wit_error_print(w, &text);
    (void)fprintf(stderr, "wcp: %.*s", (int)text.len, (const char *)text.ptr);
    wcp_buf_free(&text);
    return err->code = WCP_EINVAL;
}

struct loading {
    const char *path, *installed;
};

static void load(struct wit *w, void *arg)
{
    const struct loading *l = arg;
    wit_load_any(w, l->path, &l->installed, l->installed != NULL);
    tables_add_worlds(w);
}

int values_open(const struct options *o, bool need, struct values *v, struct wcp_err *err)
{
    char installed[PATH_MAX];
    const char *path = o->value[OPT_WIT], *env = getenv("WCP_WIT");
    struct loading l = {.installed = find_installed(installed) ? installed : NULL};
    *v = (struct values){0};
    wit_init(&v->wit);
    v->wit.all_features = true; /* who serves it decides what there is */
    l.path = path ? path : env && *env ? env : l.installed;
    if (l.path)
        return wit_try(&v->wit, load, &l) ? print_wit_error(&v->wit, err) : 0;
    return need ? wcp_fail(err, WCP_EINVAL,
                           "no interfaces: neither --wit nor WCP_WIT is given, and there is no "
                           "share/wcp/interfaces above wcp's own folder")
                : 0;
}

void values_close(struct values *v)
{
    wcp_arena_free(&v->arena);
    wit_free(&v->wit);
}

/* --- types and functions --- */

struct making {
    struct wit_type *type;
    struct wit_interface *interface;
    const void *table;
};

static void make(struct wit *w, void *arg)
{
    struct making *m = arg;
    if (m->type)
        m->table = tables_type(w, m->type);
    else
        m->table = tables_interface(w, m->interface);
}

int values_type(struct values *v, const char *text, const struct wcp_type **out,
                struct wcp_err *err)
{
    struct making m = {0};
    if (wit_try_type(&v->wit, "TYPE", wcp_str(text), &m.type) || wit_try(&v->wit, make, &m))
        return print_wit_error(&v->wit, err);
    *out = m.table;
    return 0;
}

/* What of text follows the name of i and a dot; NULL: it does not begin with that name. The name
 * may lack its version, or its package. *whole: it lacks nothing. */
static const char *behind_name(struct wit *w, const struct wit_interface *i, const char *text,
                               bool *whole)
{
    const char *id = wit_interface_id(w, i).ptr;
    size_t lengths[] = {strlen(id), strcspn(id, "@"), i->name.len};
    const char *names[] = {id, id, i->name.ptr};
    for (size_t k = 0; k < 3; k++)
        if (strncmp(text, names[k], lengths[k]) == 0 &&
            (text[lengths[k]] == '.' || !text[lengths[k]])) {
            *whole = k == 0;
            return text + lengths[k] + (text[lengths[k]] == '.');
        }
    return NULL;
}

static void print_func(const struct wit_func *f)
{
    struct wcp_buf b = {0};
    wit_print_func(f, &b);
    (void)fprintf(stderr, "  %.*s\n", (int)b.len, (const char *)b.ptr);
    wcp_buf_free(&b);
}

/* Which interfaces or, if the name of one was right, functions there are. */
static int unknown_function(struct values *v, const char *text, struct wcp_err *err)
{
    bool whole, found = false;
    struct wit *w = &v->wit;
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            if (behind_name(w, i, text, &whole)) {
                (void)fprintf(stderr, "wcp: there is no function '%s'; %s has\n", text,
                              wit_interface_id(w, i).ptr);
                for (const struct wit_func *f = i->funcs; f; f = f->next)
                    print_func(f);
                found = true;
            }
    if (!found)
        (void)fprintf(stderr, "wcp: '%s' found, INTERFACE.FUNCTION expected; the interfaces are\n",
                      text);
    for (struct wit_package *p = found ? NULL : w->packages; p; p = p->next)
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            if (i->funcs)
                (void)fprintf(stderr, "  %s\n", wit_interface_id(w, i).ptr);
    return err->code = WCP_EINVAL;
}

int values_function(struct values *v, const char *text, const struct wcp_interface **iface,
                    size_t *index, const struct wit_func **f, struct wcp_err *err)
{
    struct making m = {0};
    struct wit *w = &v->wit;
    bool exact = false;
    *f = NULL;
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (struct wit_interface *i = p->interfaces; i; i = i->next) {
            bool whole = false;
            const char *name = behind_name(w, i, text, &whole);
            size_t n = 0;
            const struct wit_func *g = name ? i->funcs : NULL;
            for (; g && !wcp_str_eq(g->wire, wcp_str(name)); g = g->next)
                n++;
            if (!g || (exact && !whole))
                continue;
            if (*f && whole == exact)
                return wcp_fail(err, WCP_EINVAL, "'%.60s' is a function of %.80s and of %.80s",
                                text, wit_interface_id(w, m.interface).ptr,
                                wit_interface_id(w, i).ptr);
            exact = whole;
            m.interface = i;
            *f = g;
            *index = n;
        }
    if (!*f)
        return unknown_function(v, text, err);
    if (wit_try(w, make, &m))
        return print_wit_error(w, err);
    *iface = m.table;
    return 0;
}

/* --- values --- */

/* Prints what is wrong in text, which is called what, where it is. */
static void print_wave_error(const char *what, struct wcp_str text, const struct wave_error *e)
{
    struct wcp_buf out = {0};
    struct wit_file file = {.name = what, .text = text};
    struct wit w = {.error = {.pos = {&file, e->at}}};
    (void)snprintf(w.error.msg, sizeof w.error.msg, "%s", e->msg);
    wit_error_print(&w, &out);
    (void)fprintf(stderr, "wcp: %.*s", (int)out.len, (const char *)out.ptr);
    wcp_buf_free(&out);
}

int values_read_text(const char *what, const struct wcp_type *t, struct wcp_str text,
                     struct wcp_arena *arena, void *out)
{
    struct wave_error e = {0};
    const struct wave_reader r = {.arena = arena};
    int rc = wave_parse(&r, t, text, out, &e);
    if (rc)
        print_wave_error(what, text, &e);
    return rc;
}

int values_file(struct values *v, const char *name, struct wcp_bytes *out, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    int rc = strcmp(name, "-") == 0 ? values_take_stdin(v, err) : 0;
    if (rc == 0 && (rc = read_file(name, &b, err)) == 0) {
        uint8_t *copy = wcp_alloc(&v->arena, b.len + 1, 1);
        if (b.len)
            memcpy(copy, b.ptr, b.len);
        *out = (struct wcp_bytes){copy, b.len};
    }
    wcp_buf_free(&b);
    return rc;
}

struct reading {
    struct values *v;
    int (*async)(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                 union wcp_async *out, struct wcp_err *err);
    void *ctx;
};

static int give_file(void *ctx, const char *name, struct wcp_bytes *out, struct wcp_err *err)
{
    struct reading *r = ctx;
    return values_file(r->v, name, out, err);
}

static int give_async(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                      union wcp_async *out, struct wcp_err *err)
{
    struct reading *r = ctx;
    return r->async(r->ctx, t, a, out, err);
}

/* Does a file that stands for a value of t hold its bytes, rather than its text? */
static bool is_bytes(const struct wcp_type *t)
{
    while (t && (t->kind == WCP_OPTION || t->kind == WCP_RESULT))
        t = t->kind == WCP_OPTION ? t->elem : t->fields[0].type;
    return t && (t->kind == WCP_STREAM || t->kind == WCP_FUTURE ||
                 (t->kind == WCP_LIST && t->elem->kind == WCP_U8));
}

int values_read(struct values *v, const char *what, const struct wcp_type *t, const char *text,
                int (*async)(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                             union wcp_async *out, struct wcp_err *err),
                void *ctx, void *out, struct wcp_err *err)
{
    struct reading reading = {v, async, ctx};
    const struct wave_reader r = {
        .arena = &v->arena, .ctx = &reading, .file = give_file, .async = async ? give_async : NULL};
    struct wave_error e = {0};
    struct wcp_bytes content = {(const uint8_t *)text, strlen(text)};
    bool is_stdin = strcmp(text, "-") == 0;
    if ((is_stdin || *text == '@') && !is_bytes(t)) {
        int rc = values_file(v, is_stdin ? "-" : text + 1, &content, err);
        if (rc)
            return err->code = WCP_EINVAL; /* as for any other operand that is wrong */
    }
    struct wcp_str whole = {(const char *)content.ptr, content.len};
    int rc = wave_parse(&r, t, whole, out, &e);
    if (rc)
        print_wave_error(what, whole, &e);
    return rc ? (err->code = WCP_EINVAL) : 0;
}

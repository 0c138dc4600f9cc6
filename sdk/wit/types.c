/* types.c: errors with their place in the text, and questions about types. */
#include "wit/types.h"
#include "base/str.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wit_init(struct wit *w)
{
    *w = (struct wit){0};
    w->scopes = wcp_map_new(NULL);
    w->packages_end = &w->packages;
    w->paths_end = &w->paths;
    w->names_end = &w->names;
}

int wit_try(struct wit *w, void (*fn)(struct wit *w, void *arg), void *arg)
{
    if (setjmp(w->bail))
        return WCP_EINVAL;
    fn(w, arg);
    return 0;
}

void wit_fail(struct wit *w, struct wit_pos pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->error.msg, sizeof w->error.msg, fmt, ap);
    va_end(ap);
    w->error.pos = pos;
    longjmp(w->bail, 1);
}

void wit_free(struct wit *w)
{
    wcp_arena_free(&w->arena);
    wcp_map_free(w->scopes);
    wcp_buf_free(&w->scratch);
    *w = (struct wit){0};
}

bool wit_is_invisible(const uint8_t *p, size_t n)
{
    if (n == 1)
        return (p[0] < ' ' && p[0] != '\n' && p[0] != '\t' && p[0] != '\r') || p[0] == 0x7f;
    if (n == 2)
        return p[0] == 0xc2 && p[1] < 0xa0; /* U+0080 to U+009F */
    return n == 3 && p[0] == 0xe2 &&
           ((p[1] == 0x80 && (p[2] >= 0xaa && p[2] <= 0xae)) || /* U+202A to U+202E */
            (p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f)) || /* U+200E, U+200F */
            (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));    /* U+2066 to U+2069 */
}

static struct wcp_str scoped(struct wit *w, const void *scope, struct wcp_str name)
{
    w->scratch.len = 0;
    wcp_buf_fmt(&w->scratch, "%p ", scope);
    wcp_buf_put(&w->scratch, name.ptr, name.len);
    return (struct wcp_str){(const char *)w->scratch.ptr, w->scratch.len};
}

bool wit_name_add(struct wit *w, const void *scope, struct wcp_str name, void *what)
{
    struct wcp_str key = scoped(w, scope, name);
    if (wcp_map_get(w->scopes, key))
        return false;
    wcp_map_put(w->scopes, key, what);
    return true;
}

void *wit_name_get(struct wit *w, const void *scope, struct wcp_str name)
{
    return wcp_map_get(w->scopes, scoped(w, scope, name));
}

static bool starts_with(struct wcp_str s, struct wcp_str start)
{
    return s.len >= start.len && memcmp(s.ptr, start.ptr, start.len) == 0;
}

/* As the component model compares them: [constructor] and [set] are names apart, other kinds are
 * not, and r.r is r. */
const char *wit_name_claim(struct wit *w, const void *scope, struct wcp_str name)
{
    struct wcp_str rest = name;
    bool is_new = starts_with(name, WCP_STR("[constructor]")), is_set = false;
    while (rest.len && *rest.ptr == '[') {
        size_t n = (size_t)((const char *)memchr(rest.ptr, ']', rest.len) - rest.ptr) + 1;
        is_set |= starts_with(rest, WCP_STR("[set]"));
        rest = (struct wcp_str){rest.ptr + n, rest.len - n};
    }
    char *plain = wcp_alloc(&w->arena, rest.len + 1, 1), *end = plain;
    for (size_t k = 0; k < rest.len; k++)
        if (rest.ptr[k] != '-')
            *end++ = (char)tolower((unsigned char)rest.ptr[k]);
    const char *dot = strchr(plain, '.');
    struct wcp_str key;
    size_t n = dot ? (size_t)(dot - plain) : 0;
    if (dot && strlen(dot + 1) == n && memcmp(plain, dot + 1, n) == 0)
        key = (struct wcp_str){plain, n};
    else
        key = wcp_fmt(&w->arena, "%s%s", is_new ? "[constructor]" : is_set ? "[set]" : "", plain);
    key = wcp_fmt(&w->arena, "~%.*s", WCP_ARG(key));
    const char *before = wit_name_get(w, scope, key);
    if (before)
        return before;
    char *copy = wcp_alloc(&w->arena, name.len + 1, 1);
    memcpy(copy, name.ptr, name.len);
    wit_name_add(w, scope, key, copy);
    return NULL;
}

/* A line can be a whole minified file: at most this much of it is shown, around the caret. */
enum { SHOW_BEFORE = 80, SHOW_AFTER = 60 };

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The text from start to end, with '?' for what is no character or would move the cursor; or as
 * many spaces. */
static void put_line(struct wcp_buf *out, const char *start, const char *end, bool blank)
{
    for (size_t n; start < end; start += n) {
        const uint8_t *p = (const uint8_t *)start;
        n = utf8_next(p, (size_t)(end - start));
        bool plain = n && !wit_is_invisible(p, n);
        if (*start == '\t')
            wcp_buf_put(out, "\t", 1);
        else if (blank)
            wcp_buf_put(out, " ", 1);
        else
            wcp_buf_put(out, plain ? start : "?", plain ? n : 1);
        n += !n;
    }
}

void wit_error_print(const struct wit *w, struct wcp_buf *out)
{
    const struct wit_file *f = w->error.pos.file;
    if (!f) {
        wcp_buf_fmt(out, "error: %s\n", w->error.msg);
        return;
    }
    const char *text = f->text.ptr, *at = text + w->error.pos.offset, *end = text + f->text.len;
    const char *start = at, *stop = at;
    size_t line = 1, col = 1;
    while (start > text && start[-1] != '\n')
        start--;
    while (stop < end && *stop != '\n' && *stop != '\r')
        stop++;
    for (const char *p = text; p < start; p++)
        line += *p == '\n';
    for (const char *p = start; p < at; p++)
        col += !is_continuation(*p);
    wcp_buf_fmt(out, "%s:%zu:%zu: error: %s\n", f->name, line, col, w->error.msg);

    const char *from = start, *to = stop;
    if (at - start > SHOW_BEFORE)
        for (from = at - SHOW_BEFORE; from < at && is_continuation(*from);)
            from++;
    if (stop - at > SHOW_AFTER)
        for (to = at + SHOW_AFTER; to > at && is_continuation(*to);)
            to--;
    wcp_buf_fmt(out, "%s", from > start ? "..." : "");
    put_line(out, from, to, false);
    wcp_buf_fmt(out, "%s\n%s", to < stop ? "..." : "", from > start ? "   " : "");
    put_line(out, from, at, true);
    wcp_buf_put(out, "^\n", 2);
}

const struct wit_type *wit_real(const struct wit_type *t)
{
    while (t && (t->kind == WIT_NAME || t->kind == WIT_ALIAS || t->kind == WIT_USE))
        t = t->elem;
    return t;
}

static const char *const kind_names[] = {
#define X(name, wit, c) wit,
    WIT_PRIMITIVES(X)
#undef X
        "list",
    "option",
    "result",
    "tuple",
    "stream",
    "future",
    "own",
    "borrow",
    "map",
    "list",
    "error-context",
};

void wit_print_type(const struct wit_type *t, struct wcp_buf *out)
{
    if (!t) {
        wcp_buf_put(out, "_", 1);
        return;
    }
    if (t->kind >= WIT_NAME) {
        wcp_buf_put(out, t->name.ptr, t->name.len);
        return;
    }
    wcp_buf_fmt(out, "%s", kind_names[t->kind]);
    if (!t->elem && !t->err && !t->items)
        return;
    wcp_buf_put(out, "<", 1);
    if (t->kind == WIT_TUPLE) {
        for (const struct wit_item *i = t->items; i; i = i->next) {
            wit_print_type(i->type, out);
            wcp_buf_fmt(out, "%s", i->next ? ", " : "");
        }
    } else {
        wit_print_type(t->elem, out);
        if (t->err) {
            wcp_buf_put(out, ", ", 2);
            wit_print_type(t->err, out);
        }
        if (t->kind == WIT_ARRAY)
            wcp_buf_fmt(out, ", %zu", t->count);
    }
    wcp_buf_put(out, ">", 1);
}

void wit_print_func(const struct wit_func *f, struct wcp_buf *out)
{
    const struct wit_item *i = f->params;
    if (f->kind == WIT_CONSTRUCTOR) {
        wcp_buf_fmt(out, "%.*s: constructor(", WCP_ARG(f->wire));
    } else {
        static const char *const words[] = {"func", "get", "set"};
        wcp_buf_fmt(out, "%.*s: %s%s%s(", WCP_ARG(f->wire), f->kind == WIT_STATIC ? "static " : "",
                    f->async ? "async " : "", words[f->accessor]);
        if (f->kind == WIT_METHOD)
            i = i->next;
    }
    for (; i; i = i->next) {
        wcp_buf_fmt(out, "%.*s: ", WCP_ARG(i->name));
        wit_print_type(i->type, out);
        wcp_buf_fmt(out, "%s", i->next ? ", " : "");
    }
    wcp_buf_put(out, ")", 1);
    if (f->result && !(f->kind == WIT_CONSTRUCTOR && f->result->kind == WIT_NAME)) {
        wcp_buf_put(out, " -> ", 4);
        wit_print_type(f->result, out);
    }
}

struct wcp_str wit_package_id(struct wit *w, const struct wit_package *p)
{
    return wcp_fmt(&w->arena, "%.*s:%.*s%s%.*s", WCP_ARG(p->ns), WCP_ARG(p->name),
                   p->version.len ? "@" : "", WCP_ARG(p->version));
}

struct wcp_str wit_interface_id(struct wit *w, const struct wit_interface *i)
{
    const struct wit_package *p = i->package;
    if (i->is_inline)
        return wcp_fmt(&w->arena, "%.*s", WCP_ARG(i->name));
    return wcp_fmt(&w->arena, "%.*s:%.*s/%.*s%s%.*s", WCP_ARG(p->ns), WCP_ARG(p->name),
                   WCP_ARG(i->name), p->version.len ? "@" : "", WCP_ARG(p->version));
}

void wit_func_ids(struct wit *w, struct wit_func *f)
{
    static const char *const kinds[] = {"", "[constructor]", "[method]", "[static]"};
    static const char *const accessors[] = {"", "[get]", "[set]"};
    if (f->kind == WIT_FREE || f->kind == WIT_CONSTRUCTOR)
        f->wire = f->name;
    else
        f->wire = wcp_fmt(&w->arena, "%.*s.%.*s", WCP_ARG(f->resource->name), WCP_ARG(f->name));
    f->id =
        wcp_fmt(&w->arena, "%s%s%.*s", kinds[f->kind], accessors[f->accessor], WCP_ARG(f->wire));
}

struct wcp_str wit_getter_of(struct wit *w, struct wcp_str setter)
{
    size_t n = 0; /* before the s of [set] */
    while (setter.ptr[n++] != '[' || setter.ptr[n] != 's' || setter.ptr[n + 1] != 'e')
        ;
    return wcp_fmt(&w->arena, "%.*sg%.*s", (int)n, setter.ptr, (int)(setter.len - n - 1),
                   setter.ptr + n + 1);
}

const char *wit_no_encoding(const struct wit_type *t)
{
    if (t->levels >= WIT_MAX_LEVELS)
        return "streams more than 16 levels deep are not supported";
    switch (t->kind) {
    case WIT_MAP: return "maps have no encoding in wRPC: use list<tuple<key, value>>";
    case WIT_ARRAY:
        return "lists of a fixed length have no encoding in wRPC: use list<> or tuple<>";
    case WIT_STREAM: return t->elem ? NULL : "a stream without a type has no encoding in wRPC";
    case WIT_ERROR_CONTEXT: return "type 'error-context' has no encoding in wRPC";
    default: return NULL;
    }
}

bool wit_package_is(const struct wit_package *p, struct wcp_str ns, struct wcp_str name,
                    struct wcp_str version)
{
    return wcp_str_eq(p->ns, ns) && wcp_str_eq(p->name, name) && wcp_str_eq(p->version, version);
}

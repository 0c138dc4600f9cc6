/* emit_h.c: the header of one interface: types, call structs, replies, handlers, callers. */
#include "witc/emit.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 100 };

/* Where text is best broken so that at most max bytes stay: behind the last ", ", or 0. */
static size_t break_at(const char *text, size_t max)
{
    for (size_t k = max; k > 1; k--)
        if (text[k - 1] == ' ' && text[k - 2] == ',')
            return k;
    return 0;
}

static size_t longest_piece(const char *text)
{
    size_t longest = 0;
    for (const char *comma; (comma = strstr(text, ", ")); text = comma + 2)
        longest = (size_t)(comma - text) > longest ? (size_t)(comma - text) : longest;
    return strlen(text) > longest ? strlen(text) : longest;
}

void emit_line(struct wcp_buf *out, const char *fmt, ...)
{
    va_list ap;
    assert(fmt);
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = wcp_calloc((size_t)n + 1, 1), *rest = text;
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    /* Below what the first bracket holds, if there is room for that. */
    size_t open = strcspn(text, "({"), indent = 0;
    size_t inner = open < WIDTH / 2 ? open + 1 : strspn(text, " ") + 4;
    if (inner + longest_piece(text + open) > WIDTH)
        inner = strspn(text, " ") + 4;
    while (indent + strlen(rest) > WIDTH) {
        size_t k = break_at(rest, WIDTH + 1 - indent);
        if (k) {
            wcp_buf_fmt(out, "%*s%.*s\n", (int)indent, "", (int)k - 1, rest);
        } else if (!indent && text[open]) { /* nothing to break at but the bracket */
            k = open + 1;
            inner = strspn(text, " ") + 4;
            wcp_buf_fmt(out, "%.*s\n", (int)k, rest);
        } else {
            break;
        }
        rest += k;
        indent = inner;
    }
    wcp_buf_fmt(out, "%*s%s\n", (int)indent, "", rest);
    free(text);
}

void emit_gap(struct wcp_buf *out)
{
    wcp_buf_put(out, "\n", 1);
}

/* Text of WIT may hold what ends or nests a comment in C. */
static void comment_text(struct wcp_buf *out, const char *p, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        wcp_buf_put(out, p + k, 1);
        if (k + 1 < n && ((p[k] == '*' && p[k + 1] == '/') || (p[k] == '/' && p[k + 1] == '*')))
            wcp_buf_put(out, " ", 1);
    }
}

void emit_comment(struct wcp_buf *out, unsigned indent, struct wcp_str text)
{
    if (!text.len)
        return;
    size_t room = WIDTH - 6 - indent;
    const char *p = text.ptr, *end = text.ptr + text.len, *lead = "/*";
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((eol ? eol : end) - p);
        if (n > room) { /* at the last space that fits */
            size_t k = room;
            while (k && p[k] != ' ')
                k--;
            if (!k)
                k = strcspn(p, " \n");
            n = k < n ? k : n;
        }
        wcp_buf_fmt(out, "%*s%s", (int)indent, "", lead);
        if (n)
            wcp_buf_put(out, " ", 1);
        comment_text(out, p, n);
        p += n;
        if (p < end)
            p++; /* the newline or space */
        wcp_buf_fmt(out, "%s\n", p < end ? "" : " */");
        lead = " *";
    }
}

static void both_comments(struct emit *e, struct wcp_buf *out, struct wcp_str doc,
                          struct wcp_str text)
{
    struct wcp_str all =
        doc.len ? wcp_fmt(&e->w->arena, "%.*s\n%.*s", WCP_ARG(doc), WCP_ARG(text)) : text;
    emit_comment(out, 0, all);
}

/* --- types --- */

static void members(struct emit *e, struct unit *u, const struct wit_type *t, unsigned indent,
                    struct wcp_buf *out)
{
    int k = 0;
    for (const struct wit_item *i = t->items; i; i = i->next, k++) {
        if (!i->type)
            continue;
        const char *name = t->kind == WIT_TUPLE     ? emit_fmt(e, "f%d", k)
                           : t->kind == WIT_VARIANT ? emit_case(e, i)
                                                    : emit_member(e, i->name);
        if (t->kind == WIT_RECORD) /* a case's is at its constant */
            emit_comment(out, indent, i->doc);
        emit_line(out, "%*s%s%s;", (int)indent, "", emit_type(e, u, i->type), name);
    }
}

static bool has_payload(const struct wit_type *t)
{
    const struct wit_item *i = t->items;
    while (i && !i->type)
        i = i->next;
    return i != NULL;
}

static void constants(struct emit *e, const struct decl *d, struct wcp_buf *out)
{
    const char *upper = emit_upper(e, wcp_str(d->c_name));
    emit_line(out, "enum {");
    for (const struct wit_item *i = d->body->items; i; i = i->next) {
        emit_comment(out, 4, i->doc);
        emit_line(out, "    %s_%s,", upper, emit_upper(e, i->name));
    }
    emit_line(out, "};");
}

/* Macros, because a constant of an enum cannot be unsigned. */
static void flags(struct emit *e, const struct decl *d, struct wcp_buf *out)
{
    const char *upper = emit_upper(e, wcp_str(d->c_name));
    size_t count = d->body->count, bit = 0;
    if (count > 64) {
        emit_line(out, "/* Flag n is bit n %% 8 of bits[n / 8]. */");
        constants(e, d, out);
        emit_line(out, "struct %s {", d->c_name);
        emit_line(out, "    uint8_t bits[%zu];", (count + 7) / 8);
        emit_line(out, "};");
        return;
    }
    for (const struct wit_item *i = d->body->items; i; i = i->next, bit++) {
        emit_comment(out, 0, i->doc);
        emit_line(out, "#define %s_%s (UINT%d_C(1) << %zu)", upper, emit_upper(e, i->name),
                  count > 32 ? 64 : 32, bit);
    }
}

/* struct name { bool is_err; union { T ok; E err; }; }, of which what has no type is left out. */
static void result_struct(struct emit *e, struct unit *u, const char *name,
                          const struct wit_type *t, struct wcp_buf *out)
{
    bool both = t->elem && t->err;
    int indent = both ? 8 : 4;
    emit_line(out, "struct %s {", name);
    emit_line(out, "    bool is_err;");
    if (both)
        emit_line(out, "    union {");
    if (t->elem)
        emit_line(out, "%*s%sok;", indent, "", emit_type(e, u, t->elem));
    if (t->err)
        emit_line(out, "%*s%serr;", indent, "", emit_type(e, u, t->err));
    if (both)
        emit_line(out, "    };");
    emit_line(out, "};");
}

static bool has_c_form(const struct decl *d)
{
    return d->body->kind != WIT_OPTION && d->body->kind != WIT_STREAM &&
           d->body->kind != WIT_FUTURE;
}

static void wit_of(const struct decl *d, struct wcp_buf *text)
{
    if (d->def && d->def->kind == WIT_ALIAS)
        wcp_buf_fmt(text, "%.*s: ", WCP_ARG(d->def->name));
    wit_print_type(d->body, text);
}

static void type(struct emit *e, struct unit *u, const struct decl *d, struct wcp_buf *out)
{
    const struct wit_type *t = d->body;
    struct wcp_buf text = {0};
    struct wcp_str doc = d->def ? d->def->doc : (struct wcp_str){0};
    if (t->kind <= WIT_FUTURE)
        wit_of(d, &text);
    else if (t->kind == WIT_ENUM || (t->kind == WIT_FLAGS && t->count <= 64))
        wcp_buf_fmt(&text, "%.*s: %s", WCP_ARG(t->name),
                    t->kind == WIT_ENUM ? "a uint32_t, one of"
                                        : emit_fmt(e, "a %sof", emit_type(e, u, t)));
    if (has_c_form(d) || d->def)
        both_comments(e, out, doc, (struct wcp_str){(const char *)text.ptr, text.len});
    wcp_buf_free(&text);
    switch (t->kind) {
    case WIT_RECORD:
    case WIT_TUPLE:
        emit_line(out, "struct %s {", d->c_name);
        members(e, u, t, 4, out);
        if (!t->count) /* C++ would make it larger than C */
            emit_line(out, "    char no_fields;");
        emit_line(out, "};");
        break;
    case WIT_LIST:
        emit_line(out, "struct %s {", d->c_name);
        emit_line(out, "    %sptr;", emit_pointer(e, emit_type(e, u, t->elem)));
        emit_line(out, "    size_t len;");
        emit_line(out, "};");
        break;
    case WIT_RESULT: result_struct(e, u, d->c_name, t, out); break;
    case WIT_VARIANT:
        constants(e, d, out);
        emit_line(out, "struct %s {", d->c_name);
        emit_line(out, "    uint32_t tag; /* one of these */");
        if (has_payload(t)) {
            emit_line(out, "    union {");
            members(e, u, t, 8, out);
            emit_line(out, "    };");
        }
        emit_line(out, "};");
        for (const struct wit_item *i = t->items; i; i = i->next)
            emit_line(out, "%s;", emit_prototype_case(e, u, d, i));
        break;
    case WIT_ENUM: constants(e, d, out); break;
    case WIT_FLAGS: flags(e, d, out); break;
    default: break; /* its C form needs no declaration */
    }
    if (d->is_public)
        emit_line(out, "extern const struct wcp_type %s_type;", d->c_name);
    if (has_c_form(d) || d->is_public)
        emit_gap(out);
}

/* --- functions --- */

static const char *done_arg(struct emit *e, struct unit *u, const struct wit_func *f)
{
    const char *r = emit_result_type(e, u, f);
    return r ? emit_fmt(e, "%sresult, ", emit_pointer(e, r)) : "";
}

static void func(struct emit *e, struct unit *u, const struct wit_func *f, struct wcp_buf *out)
{
    struct wcp_buf text = {0};
    wit_print_func(f, &text);
    both_comments(e, out, f->doc, (struct wcp_str){(const char *)text.ptr, text.len});
    wcp_buf_free(&text);
    emit_line(out, "struct %s {", f->c_name);
    emit_line(out, "    struct wcp_call call;");
    for (const struct wit_item *i = f->params; i; i = i->next)
        emit_line(out, "    %s%s;", emit_type(e, u, i->type), emit_param(e, i));
    emit_line(out, "};");
    if (f->c_result)
        result_struct(e, u, f->c_result, emit_result(f), out);
    if (u->i->exported) {
        emit_line(out, "%s;", emit_prototype_ok(e, u, f));
        if (emit_result(f) && !u->i->c_fail)
            emit_line(out, "%s;", emit_prototype_err(e, u, f));
    }
    if (u->i->imported) {
        emit_line(out, "typedef void %s_done(void *ctx, %sint status);", f->c_name,
                  done_arg(e, u, f));
        emit_line(out, "%s;", emit_prototype_call(e, u, f));
    }
    emit_gap(out);
}

static void handlers(struct emit *e, struct unit *u, const char *id, struct wcp_buf *out)
{
    if (u->i->c_fail) {
        emit_line(out, "/* Replies to any call above with its error. */");
        emit_line(out, "%s;", emit_prototype_fail(e, u));
        emit_gap(out);
    }
    emit_comment(out, 0,
                 wcp_fmt(&e->w->arena,
                         "What a provider of %s implements. A NULL function is "
                         "not served.",
                         id));
    emit_line(out, "struct %s {", u->i->c_name);
    for (const struct wit_func *f = u->i->funcs; f; f = f->next)
        emit_line(out, "    void (*%s)(struct %s *c);", f->c_member, f->c_name);
    emit_line(out, "};");
}

static void includes(struct unit *u, struct wcp_buf *out)
{
    if (u->i->types_in)
        emit_line(out, "#include \"%s.h\"", u->i->types_in->c_name);
    for (const struct wit_type *t = u->i->types; t; t = t->next) {
        if (t->kind != WIT_USE)
            continue;
        const struct wit_type *before = u->i->types;
        while (before != t && !(before->kind == WIT_USE && before->elem->owner == t->elem->owner))
            before = before->next;
        if (before == t)
            emit_line(out, "#include \"%s.h\"", t->elem->owner->c_name);
    }
}

void emit_header(struct emit *e, struct unit *u, struct wcp_buf *out)
{
    const struct wit_interface *i = u->i;
    const char *guard = emit_fmt(e, "%s_H", emit_upper(e, wcp_str(i->c_name)));
    const char *id = emit_id(e, i);
    emit_line(out, "/* %s.h: generated by witc from %.*s. Do not edit. */", i->c_name,
              (int)strlen(id), id);
    emit_line(out, "#ifndef %s", guard);
    emit_line(out, "#define %s", guard);
    emit_gap(out);
    includes(u, out);
    emit_line(out, "#include <wcp/wcp.h>");
    emit_gap(out);
    emit_line(out, "#ifdef __cplusplus");
    emit_line(out, "extern \"C\" {");
    emit_line(out, "#endif");
    emit_gap(out);
    emit_comment(out, 0, i->doc);
    if (i->doc.len)
        emit_gap(out);
    for (const struct decl *d = u->decls; d; d = d->next)
        type(e, u, d, out);
    if (i->funcs && (i->imported || i->exported)) {
        if (i->imported) {
            emit_line(out, "/* A function that takes a link calls the other end of it. done is "
                           "called once, with the");
            emit_line(out, " * result, which lives until done returns, or with NULL and a negative "
                           "status: see");
            emit_line(out, " * wcp/invoke.h. */");
            emit_gap(out);
        }
        for (const struct wit_func *f = i->funcs; f; f = f->next)
            func(e, u, f, out);
        if (i->exported)
            handlers(e, u, id, out);
        emit_line(out, "extern const struct wcp_interface %s_interface;", i->c_name);
        emit_gap(out);
    }
    emit_line(out, "#ifdef __cplusplus");
    emit_line(out, "}");
    emit_line(out, "#endif");
    emit_gap(out);
    emit_line(out, "#endif");
}

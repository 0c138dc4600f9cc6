/* names.c: what everything is called in C, and in which order it must be defined. */
#include "witc/emit.h"
#include <ctype.h>
#include <string.h>

/* Words that a member or function cannot be called: keywords of C and C++, and object-like macros
 * that the headers we include define. */
static const char reserved[] =
    " alignas alignof and and_eq asm assert auto bitand bitor bool break case catch char "
    "char16_t char32_t char8_t class co_await co_return co_yield compl concept const "
    "const_cast consteval constexpr constinit continue decltype default delete do double "
    "dynamic_cast else enum errno explicit export extern false float for friend goto i386 if "
    "inline int linux long mutable namespace new noexcept not not_eq nullptr operator or "
    "or_eq private protected public register reinterpret_cast requires restrict return short "
    "signed sizeof static static_assert static_cast stderr stdin stdout struct switch "
    "template this thread_local throw true try typedef typeid typename typeof union unix "
    "unsigned using virtual void volatile wchar_t while xor xor_eq ";

static const char *spell(struct emit *e, struct wcp_str name, int (*change)(int))
{
    char *s = wcp_alloc(&e->w->arena, name.len + 1, 1);
    for (size_t k = 0; k < name.len; k++) {
        unsigned char c = (unsigned char)name.ptr[k];
        s[k] = isalnum(c) ? (char)change(c) : '_';
    }
    return s;
}

const char *emit_snake(struct emit *e, struct wcp_str name)
{
    return spell(e, name, tolower);
}

const char *emit_upper(struct emit *e, struct wcp_str name)
{
    return spell(e, name, toupper);
}

static bool is_reserved(struct emit *e, const char *name)
{
    return strstr(reserved, emit_fmt(e, " %s ", name)) != NULL;
}

const char *emit_member(struct emit *e, struct wcp_str name)
{
    const char *s = emit_snake(e, name);
    return is_reserved(e, s) ? emit_fmt(e, "%s_", s) : s;
}

const char *emit_case(struct emit *e, const struct wit_item *i)
{
    const char *s = emit_member(e, i->name);
    return strcmp(s, "tag") == 0 ? "tag_" : s; /* beside it in the struct */
}

const char *emit_param(struct emit *e, const struct wit_item *i)
{
    const char *s = emit_member(e, i->name);
    return strcmp(s, "call") == 0 ? "call_" : s; /* beside it in the struct */
}

/* --- names at file scope --- */

static bool is_free(struct emit *e, const char *name)
{
    return !wcp_map_get(e->taken, wcp_str(name)) && !is_reserved(e, name);
}

static void take(struct emit *e, const char *name)
{
    static int yes;
    wcp_map_put(e->taken, wcp_str(name), &yes);
}

/* stem, with as many "_" behind it as it takes to make it and all stem + suffix free. */
static const char *claim(struct emit *e, const char *stem, const char *const *suffixes)
{
    for (;; stem = emit_fmt(e, "%s_", stem)) {
        bool ok = is_free(e, stem);
        for (const char *const *s = suffixes; ok && *s; s++)
            ok = is_free(e, emit_fmt(e, "%s_%s", stem, *s));
        if (ok)
            break;
    }
    take(e, stem);
    for (const char *const *s = suffixes; *s; s++)
        take(e, emit_fmt(e, "%s_%s", stem, *s));
    return stem;
}

static bool cases_are_free(struct emit *e, const char *stem, const struct wit_type *t)
{
    const char *upper = emit_upper(e, wcp_str(stem));
    for (const struct wit_item *i = t->items; i; i = i->next)
        if (!is_free(e, emit_fmt(e, "%s_%s", upper, emit_upper(e, i->name))) ||
            !is_free(e, emit_fmt(e, "%s_%s", stem, emit_snake(e, i->name))))
            return false;
    return true;
}

/* A type, its table, its constants, and its constructors. */
static const char *claim_type(struct emit *e, const char *stem, const struct wit_type *t)
{
    bool cases = t->kind == WIT_VARIANT || t->kind == WIT_ENUM || t->kind == WIT_FLAGS;
    while (cases && !cases_are_free(e, stem, t))
        stem = emit_fmt(e, "%s_", stem);
    stem = claim(e, stem, (const char *const[]){"type", NULL});
    if (!cases)
        return stem;
    const char *upper = emit_upper(e, wcp_str(stem));
    for (const struct wit_item *i = t->items; i; i = i->next) {
        take(e, emit_fmt(e, "%s_%s", upper, emit_upper(e, i->name)));
        if (t->kind == WIT_VARIANT)
            take(e, emit_fmt(e, "%s_%s", stem, emit_snake(e, i->name)));
    }
    return stem;
}

/* --- which types get a table, in which order --- */

bool emit_is_bytes(const struct wit_type *t)
{
    return t->kind == WIT_LIST && wit_real(t->elem)->kind == WIT_U8;
}

bool emit_is_handle(const struct wit_type *t)
{
    return t->kind == WIT_OWN || t->kind == WIT_BORROW || t->kind == WIT_RESOURCE;
}

bool emit_is_composite(const struct wit_type *t)
{
    return (t->kind == WIT_LIST && !emit_is_bytes(t)) || t->kind == WIT_OPTION ||
           t->kind == WIT_RESULT || t->kind == WIT_TUPLE || t->kind == WIT_STREAM ||
           t->kind == WIT_FUTURE;
}

const struct wit_type *emit_strip(const struct wit_type *t)
{
    while (t->kind == WIT_NAME || t->kind == WIT_USE ||
           (t->kind == WIT_ALIAS && !emit_is_composite(t->elem)))
        t = t->elem;
    return t;
}

static struct unit *unit_of(struct emit *e, const struct wit_interface *i)
{
    struct unit *u = e->units;
    while (u && u->i != i)
        u = u->next;
    return u;
}

static const char *const primitive_names[] = {
#define X(name, wit, c) wit,
    WIT_PRIMITIVES(X)
#undef X
};

/* The name that a type written in place goes by: string_list, option_fields, tuple_string_bytes. */
static const char *mangle(struct emit *e, const struct wit_type *t)
{
    if (!t)
        return "none";
    if (t->kind >= WIT_NAME)
        return emit_snake(e, t->name);
    if (t->kind <= WIT_STRING)
        return primitive_names[t->kind];
    if (emit_is_bytes(t))
        return "bytes";
    switch (t->kind) {
    case WIT_LIST: return emit_fmt(e, "%s_list", mangle(e, t->elem));
    case WIT_OPTION: return emit_fmt(e, "option_%s", mangle(e, t->elem));
    case WIT_RESULT: return emit_fmt(e, "result_%s_%s", mangle(e, t->elem), mangle(e, t->err));
    case WIT_STREAM: return emit_fmt(e, "stream_%s", mangle(e, t->elem));
    case WIT_FUTURE: return emit_fmt(e, "future_%s", mangle(e, t->elem));
    case WIT_TUPLE: break;
    default: return mangle(e, t->elem); /* own, borrow */
    }
    const char *s = "tuple";
    for (const struct wit_item *i = t->items; i; i = i->next)
        s = emit_fmt(e, "%s_%s", s, mangle(e, i->type));
    return s;
}

/* Equal for equal types: as mangle, but without two meanings of one text. */
static const char *type_key(struct emit *e, const struct wit_type *t)
{
    if (!t)
        return "_";
    t = emit_strip(t);
    if (emit_is_handle(t))
        return "handle";
    if (t->kind >= WIT_RECORD)
        return t->c_name;
    if (t->kind <= WIT_STRING)
        return primitive_names[t->kind];
    if (t->kind != WIT_TUPLE)
        return emit_fmt(e, "%d<%s,%s>", (int)t->kind, type_key(e, t->elem), type_key(e, t->err));
    const char *s = "(";
    for (const struct wit_item *i = t->items; i; i = i->next)
        s = emit_fmt(e, "%s%s,", s, type_key(e, i->type));
    return emit_fmt(e, "%s)", s);
}

static struct decl *find_decl(struct unit *u, const struct wit_type *def, const char *key)
{
    struct decl *d = u->decls;
    while (d && !(key ? d->key && strcmp(d->key, key) == 0 : d->def == def))
        d = d->next;
    return d;
}

static struct decl *collect(struct emit *e, struct unit *u, const struct wit_type *t);

static void collect_parts(struct emit *e, struct unit *u, const struct wit_type *t)
{
    bool async = t->kind == WIT_STREAM || t->kind == WIT_FUTURE;
    struct decl *elem = collect(e, u, t->elem);
    if (async && elem)
        elem->is_public = true; /* for wcp_out_new */
    collect(e, u, t->err);
    for (const struct wit_item *i = t->items; i; i = i->next)
        collect(e, u, i->type);
}

/* Adds t, after what it is made of, if it needs a table and is not there yet. */
static struct decl *collect(struct emit *e, struct unit *u, const struct wit_type *t)
{
    if (!t)
        return NULL;
    t = emit_strip(t);
    bool is_def = t->kind >= WIT_RECORD;
    if (emit_is_handle(t) || (!is_def && !emit_is_composite(t)))
        return NULL;
    if (is_def && t->owner != u->i)
        return NULL; /* in that one's files */
    const struct wit_type *body = t->kind == WIT_ALIAS ? t->elem : t;
    const char *key = is_def ? NULL : type_key(e, t);
    struct decl *d = find_decl(u, t, key);
    if (d)
        return d;
    collect_parts(e, u, body);
    d = wcp_alloc(&e->w->arena, 1, sizeof *d);
    d->body = body;
    d->def = is_def ? t : NULL;
    d->key = key;
    d->is_public = is_def;
    d->c_name = is_def ? t->c_name
                       : claim(e, emit_fmt(e, "%s_%s", u->i->c_name, mangle(e, t)),
                               (const char *const[]){"type", NULL});
    *u->decls_end = d;
    u->decls_end = &d->next;
    return d;
}

const struct wit_type *emit_result(const struct wit_func *f)
{
    const struct wit_type *t = wit_real(f->result);
    return t && t->kind == WIT_RESULT ? t : NULL;
}

/* --- functions --- */

static void name_func(struct emit *e, struct wit_interface *i, struct wit_func *f)
{
    const char *name = emit_snake(e, f->wire); /* the dot of counter.incr too */
    const char *stem = claim(e, emit_fmt(e, "%s_%s", i->c_name, name),
                             (const char *const[]){"ok", "err", "result", "done", NULL});
    f->c_name = stem;
    f->c_member = emit_member(e, wcp_str(stem + strlen(i->c_name) + 1));
    const struct wit_type *r = f->result ? emit_strip(f->result) : NULL;
    if (r && r->kind == WIT_RESULT)
        f->c_result = emit_fmt(e, "%s_result", stem);
}

/* One function replies with an error to any call, if all that can fail have the same error. */
static void name_fail(struct emit *e, struct wit_interface *i)
{
    const char *error = NULL;
    for (const struct wit_func *f = i->funcs; f; f = f->next) {
        const struct wit_type *r = emit_result(f);
        if (!r)
            continue;
        const char *key = type_key(e, r->err);
        if (error && strcmp(error, key) != 0)
            return;
        error = key;
    }
    if (error)
        i->c_fail = claim(e, emit_fmt(e, "%s_fail", i->c_name), (const char *const[]){NULL});
}

static bool has_side(const struct wit_interface *i)
{
    return i->imported || i->exported;
}

static void name_interface(struct emit *e, struct unit *u)
{
    struct wit_interface *i = u->i;
    i->c_name = claim(e, i->c_name, (const char *const[]){"interface", NULL});
    take(e, emit_fmt(e, "%s_H", emit_upper(e, wcp_str(i->c_name))));
    for (struct wit_type *t = i->types; t; t = t->next)
        if (t->kind != WIT_USE && emit_strip(t) == t && t->kind != WIT_RESOURCE)
            t->c_name = claim_type(e, emit_fmt(e, "%s_%s", i->c_name, emit_snake(e, t->name)), t);
    for (struct wit_func *f = i->funcs; has_side(i) && f; f = f->next)
        name_func(e, i, f);
    if (i->exported)
        name_fail(e, i);

    for (const struct wit_type *t = i->types; t; t = t->next)
        collect(e, u, t);
    for (const struct wit_func *f = i->funcs; has_side(i) && f; f = f->next) {
        for (const struct wit_item *p = f->params; p; p = p->next)
            collect(e, u, p->type);
        if (f->c_result)
            collect_parts(e, u, emit_result(f));
        else
            collect(e, u, f->result);
    }
}

/* --- interfaces --- */

/* keyvalue_store; with the version and namespace only if more than one would be called that. */
static const char *prefix(struct emit *e, const struct wit_interface *i, int detail)
{
    const struct wit_package *p = i->package;
    const char *s = emit_fmt(e, "%s_%s", emit_snake(e, p->name), emit_snake(e, i->name));
    if (strncmp(s, "wcp_", 4) == 0 || detail > 1) /* wcp_ is the SDK's */
        s = emit_fmt(e, "%s_%s", emit_snake(e, p->ns), s);
    if (detail > 0 && p->version.len)
        s = emit_fmt(e, "%s_%s", s, emit_snake(e, p->version));
    return s;
}

static const char *unique_prefix(struct emit *e, const struct wit_interface *i)
{
    for (int detail = 0; detail < 2; detail++) {
        bool alone = true;
        for (const struct unit *u = e->units; u; u = u->next)
            alone &= u->i == i || strcmp(prefix(e, u->i, detail), prefix(e, i, detail)) != 0;
        if (alone)
            return prefix(e, i, detail);
    }
    return prefix(e, i, 2);
}

static void add_unit(struct emit *e, struct wit_interface *i)
{
    struct unit *u = wcp_alloc(&e->w->arena, 1, sizeof *u);
    u->i = i;
    u->decls_end = &u->decls;
    *e->units_end = u;
    e->units_end = &u->next;
}

void emit_names(struct emit *e)
{
    e->units_end = &e->units;
    for (unsigned depth = 1; depth <= WIT_MAX_DEPTH + 1; depth++) /* what is used comes first */
        for (const struct wit_package *p = e->w->packages; p; p = p->next)
            for (struct wit_interface *i = p->interfaces; i; i = i->next)
                if (i->needed && i->depth == depth)
                    add_unit(e, i);
    for (struct unit *u = e->units; u; u = u->next)
        u->i->c_name = unique_prefix(e, u->i);
    for (struct unit *u = e->units; u; u = u->next)
        name_interface(e, u);
}

const char *emit_id(struct emit *e, const struct wit_interface *i)
{
    return wit_interface_id(e->w, i->types_in ? i->types_in : i).ptr;
}

/* --- C types --- */

/* The decl of what emit_strip left: of its owner if it has a name, else of u. */
static const struct decl *decl_of(struct emit *e, struct unit *u, const struct wit_type *t)
{
    bool is_def = t->kind >= WIT_RECORD;
    return is_def ? find_decl(unit_of(e, t->owner), t, NULL) : find_decl(u, NULL, type_key(e, t));
}

const char *emit_pointer(struct emit *e, const char *type)
{
    size_t n = strlen(type);
    return type[n - 1] == '*' ? emit_fmt(e, "%sconst *", type) : emit_fmt(e, "const %s*", type);
}

const char *emit_type(struct emit *e, struct unit *u, const struct wit_type *t)
{
    static const char *const c_types[] = {
#define X(name, wit, c) c " ",
        WIT_PRIMITIVES(X)
#undef X
    };
    if (!t)
        return NULL;
    t = emit_strip(t);
    if (t->kind <= WIT_STRING)
        return c_types[t->kind];
    if (emit_is_handle(t) || emit_is_bytes(t))
        return "struct wcp_bytes ";
    if (t->kind == WIT_ALIAS || t->kind == WIT_OPTION) {
        /* What is behind an alias was named where the alias was written. */
        const struct wit_type *body = t->kind == WIT_ALIAS ? t->elem : t;
        if (body != t)
            u = unit_of(e, t->owner);
        if (body->kind == WIT_OPTION)
            return emit_pointer(e, emit_type(e, u, body->elem));
        if (body->kind == WIT_STREAM || body->kind == WIT_FUTURE)
            return "union wcp_async ";
    }
    switch (t->kind) {
    case WIT_STREAM:
    case WIT_FUTURE: return "union wcp_async ";
    case WIT_ENUM: return "uint32_t ";
    case WIT_FLAGS:
        if (t->count <= 32)
            return "uint32_t ";
        if (t->count <= 64)
            return "uint64_t ";
        break;
    default: break;
    }
    return emit_fmt(e, "struct %s ", decl_of(e, u, t)->c_name);
}

const char *emit_table(struct emit *e, struct unit *u, const struct wit_type *t)
{
    if (!t)
        return "NULL";
    t = emit_strip(t);
    if (t->kind <= WIT_STRING)
        return emit_fmt(e, "&wcp_%s", primitive_names[t->kind]);
    if (emit_is_handle(t))
        return "&wcp_handle";
    if (emit_is_bytes(t))
        return "&wcp_list_u8";
    return emit_fmt(e, "&%s_type", decl_of(e, u, t)->c_name);
}

const char *emit_result_type(struct emit *e, struct unit *u, const struct wit_func *f)
{
    return f->c_result ? emit_fmt(e, "struct %s ", f->c_result) : emit_type(e, u, f->result);
}

/* --- prototypes, without what ends them --- */

const char *emit_arg(struct emit *e, const struct wit_item *param)
{
    static const char *const ours[] = {"l", "p", "done", "ctx"};
    const char *s = emit_param(e, param);
    for (size_t k = 0; k < sizeof ours / sizeof *ours; k++)
        if (strcmp(s, ours[k]) == 0)
            return emit_fmt(e, "%s_", s);
    return s;
}

/* Where the parts of f's result<> were written: at the alias, if it is one. */
static struct unit *result_unit(struct emit *e, struct unit *u, const struct wit_func *f)
{
    const struct wit_type *t = emit_strip(f->result);
    return t->kind == WIT_ALIAS ? unit_of(e, t->owner) : u;
}

const char *emit_prototype_ok(struct emit *e, struct unit *u, const struct wit_func *f)
{
    const struct wit_type *r = emit_result(f);
    const char *value =
        r ? emit_type(e, result_unit(e, u, f), r->elem) : emit_type(e, u, f->result);
    return emit_fmt(e, "void %s_ok(struct %s *c%s%s%s)", f->c_name, f->c_name, value ? ", " : "",
                    value ? value : "", value ? "value" : "");
}

static const char *error_arg(struct emit *e, struct unit *u, const struct wit_func *f)
{
    const char *type = emit_type(e, result_unit(e, u, f), emit_result(f)->err);
    return type ? emit_fmt(e, ", %serror", type) : "";
}

const char *emit_prototype_err(struct emit *e, struct unit *u, const struct wit_func *f)
{
    return emit_fmt(e, "void %s_err(struct %s *c%s)", f->c_name, f->c_name, error_arg(e, u, f));
}

const char *emit_prototype_fail(struct emit *e, struct unit *u)
{
    const struct wit_func *f = u->i->funcs;
    while (!emit_result(f))
        f = f->next;
    return emit_fmt(e, "void %s(struct wcp_call *c%s)", u->i->c_fail, error_arg(e, u, f));
}

const char *emit_prototype_case(struct emit *e, struct unit *u, const struct decl *d,
                                const struct wit_item *i)
{
    const char *type = emit_type(e, u, i->type);
    return emit_fmt(e, "struct %s %s_%s(%s%s)", d->c_name, d->c_name, emit_snake(e, i->name),
                    type ? type : "void", type ? "value" : "");
}

const char *emit_prototype_call(struct emit *e, struct unit *u, const struct wit_func *f)
{
    const char *s = emit_fmt(e, "struct wcp_outgoing *%s(struct wcp_link *l", f->c_name);
    for (const struct wit_item *i = f->params; i; i = i->next)
        s = emit_fmt(e, "%s, %s%s", s, emit_type(e, u, i->type), emit_arg(e, i));
    return emit_fmt(e, "%s, %s_done *done, void *ctx)", s, f->c_name);
}

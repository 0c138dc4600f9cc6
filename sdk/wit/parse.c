/* parse.c: WIT text to packages with unresolved names: one function per construct of the grammar.
 *
 * Each is called with the construct's first token as the current one and leaves the one behind its
 * last. The only recursion is of types in types, and that is bounded. */
#include "wit/parse.h"
#include "wit/lex.h"
#include <ctype.h>
#include <string.h>

struct parser {
    struct wit_lexer x;
    struct wit *w;
    struct wit_file *file;
    struct wit_package *package;
    struct wit_interface *scope; /* where names of types are looked up */
    unsigned depth;              /* of the type being parsed */
    bool alone;                  /* see wit_parse_type */
};

#define NEW(p, T) ((T *)wcp_alloc(&(p)->w->arena, 1, sizeof(T)))

/* --- tokens --- */

static bool is_punct(const struct parser *p, char c)
{
    return p->x.kind == WIT_PUNCT && p->x.text.ptr[0] == c;
}

static bool is_keyword(const struct parser *p, const char *word)
{
    return p->x.kind == WIT_WORD && !p->x.escaped && wcp_str_eq(p->x.text, wcp_str(word));
}

_Noreturn static void unexpected(struct parser *p, const char *wanted)
{
    wit_fail(p->w, p->x.pos, "expected %s, found %s", wanted, wit_lex_found(&p->x));
}

static bool accept(struct parser *p, char c)
{
    bool yes = is_punct(p, c);
    if (yes)
        wit_lex_next(&p->x);
    return yes;
}

static void expect(struct parser *p, char c)
{
    char wanted[] = {'\'', c, '\'', '\0'};
    if (!accept(p, c))
        unexpected(p, wanted);
}

static bool accept_keyword(struct parser *p, const char *word)
{
    bool yes = is_keyword(p, word);
    if (yes)
        wit_lex_next(&p->x);
    return yes;
}

/* Words of letters and digits joined by single '-'; the letters of a word are all lower or all
 * upper case; the first begins with a letter. */
static bool is_kebab(struct wcp_str s)
{
    bool lower = false, upper = false, start = true;
    if (!s.len || !isalpha((unsigned char)s.ptr[0]))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '-') {
            if (start)
                return false;
            lower = upper = false;
            start = true;
            continue;
        }
        if (c == '_')
            return false;
        lower |= islower(c) != 0;
        upper |= isupper(c) != 0;
        start = false;
        if (lower && upper)
            return false;
    }
    return !start;
}

static struct wcp_str name(struct parser *p, const char *what)
{
    struct wcp_str s = p->x.text;
    if (p->x.kind != WIT_WORD)
        unexpected(p, what);
    if (!p->x.escaped && wit_is_keyword(s))
        wit_fail(p->w, p->x.pos, "expected %s, found the keyword '%.*s'; as a name it is %%%.*s",
                 what, WCP_ARG(s), WCP_ARG(s));
    if (!is_kebab(s))
        wit_fail(
            p->w, p->x.pos,
            "expected %s, found %s, which is not words-joined-like-this in lower or UPPER case",
            what, wit_lex_found(&p->x));
    wit_lex_next(&p->x);
    return s;
}

/* --- types --- */

static struct wit_type *type(struct parser *p);
static struct wit_path *new_path(struct parser *p);

static struct wit_type *new_type(struct parser *p, enum wit_kind kind)
{
    struct wit_type *t = NEW(p, struct wit_type);
    t->kind = kind;
    t->pos = p->x.pos;
    t->owner = p->scope;
    return t;
}

/* A reference to a definition. */
static struct wit_type *type_name(struct parser *p)
{
    struct wit_type *t = new_type(p, WIT_NAME);
    t->name = name(p, "a type");
    if (p->alone && accept(p, '.')) {
        t->from = new_path(p);
        t->from->name = t->name;
        t->name = name(p, "a type");
    }
    *p->w->names_end = t;
    p->w->names_end = &t->next_name;
    return t;
}

/* Appends to a list of which end is the last link, and counts. */
static void add_item(struct parser *p, struct wit_item ***end, size_t *count, struct wit_item *item)
{
    if (++*count > WIT_MAX_COUNT)
        wit_fail(p->w, item->pos, "more than %d members", WIT_MAX_COUNT);
    **end = item;
    *end = &item->next;
}

static void tuple(struct parser *p, struct wit_type *t)
{
    struct wit_item **end = &t->items;
    expect(p, '<');
    do {
        struct wit_item *i = NEW(p, struct wit_item);
        if (t->items && is_punct(p, '>'))
            break; /* behind a last comma */
        i->pos = p->x.pos;
        i->type = type(p);
        add_item(p, &end, &t->count, i);
    } while (accept(p, ','));
    expect(p, '>');
}

static void one_parameter(struct parser *p, struct wit_type *t)
{
    expect(p, '<');
    t->elem = type(p);
    if (t->kind == WIT_LIST && is_punct(p, ','))
        wit_fail(p->w, p->x.pos, "lists of a fixed length have no encoding in wRPC");
    expect(p, '>');
}

/* result, result<T>, result<_, E>, result<T, E> */
static void result(struct parser *p, struct wit_type *t)
{
    if (!accept(p, '<'))
        return;
    if (!accept_keyword(p, "_"))
        t->elem = type(p);
    if (accept(p, ','))
        t->err = type(p);
    else if (!t->elem)
        unexpected(p, "','");
    expect(p, '>');
}

static struct wit_type *handle(struct parser *p, struct wit_type *t)
{
    expect(p, '<');
    t->elem = type_name(p);
    expect(p, '>');
    return t;
}

static const struct {
    const char *name;
    enum wit_kind kind;
} builtin[] = {
#define X(name, wit, c) {wit, WIT_##name},
    WIT_PRIMITIVES(X)
#undef X
        {"list", WIT_LIST},
    {"option", WIT_OPTION},
    {"result", WIT_RESULT},
    {"tuple", WIT_TUPLE},
    {"stream", WIT_STREAM},
    {"future", WIT_FUTURE},
    {"own", WIT_OWN},
    {"borrow", WIT_BORROW},
};

static struct wit_type *type(struct parser *p)
{
    enum wit_kind kind = WIT_NAME;
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++)
        if (is_keyword(p, builtin[i].name))
            kind = builtin[i].kind;
    if (kind == WIT_NAME) {
        if (is_keyword(p, "error-context") || is_keyword(p, "map"))
            wit_fail(p->w, p->x.pos, "type '%.*s' has no encoding in wRPC", WCP_ARG(p->x.text));
        return type_name(p);
    }
    if (++p->depth > WIT_MAX_DEPTH)
        wit_fail(p->w, p->x.pos, "types are nested deeper than %d", WIT_MAX_DEPTH);
    struct wit_type *t = new_type(p, kind);
    wit_lex_next(&p->x);
    switch (kind) {
    case WIT_LIST:
    case WIT_OPTION: one_parameter(p, t); break;
    case WIT_STREAM:
    case WIT_FUTURE:
        if (is_punct(p, '<'))
            one_parameter(p, t);
        break;
    case WIT_RESULT: result(p, t); break;
    case WIT_TUPLE: tuple(p, t); break;
    case WIT_OWN:
    case WIT_BORROW: handle(p, t); break;
    default: break;
    }
    p->depth--;
    return t;
}

/* --- gates: @since(version = 0.2.0), @unstable(feature = x), @deprecated(version = 1.0.0) --- */

/* They are checked and have no effect: everything is generated. */
static void gates(struct parser *p)
{
    while (accept(p, '@')) {
        struct wit_pos pos = p->x.pos;
        struct wcp_str gate = name(p, "since, unstable or deprecated");
        bool unstable = wcp_str_eq(gate, WCP_STR("unstable"));
        if (!unstable && !wcp_str_eq(gate, WCP_STR("since")) &&
            !wcp_str_eq(gate, WCP_STR("deprecated")))
            wit_fail(p->w, pos, "unknown gate '@%.*s': since, unstable and deprecated are known",
                     WCP_ARG(gate));
        expect(p, '(');
        do {
            pos = p->x.pos;
            struct wcp_str key = name(p, "version or feature");
            if (!is_punct(p, '='))
                unexpected(p, "'='");
            if (wcp_str_eq(key, WCP_STR("version"))) {
                wit_lex_version(&p->x);
            } else if (wcp_str_eq(key, WCP_STR("feature"))) {
                wit_lex_next(&p->x);
                name(p, "the name of a feature");
            } else {
                wit_fail(p->w, pos, "expected version or feature, found '%.*s'", WCP_ARG(key));
            }
        } while (accept(p, ','));
        expect(p, ')');
    }
}

/* What stands before an item: its doc comment, and gates. */
static struct wcp_str doc_and_gates(struct parser *p)
{
    struct wcp_str doc = p->x.doc;
    gates(p);
    return doc.len ? doc : p->x.doc;
}

/* --- definitions of types --- */

static void add_name(struct parser *p, const void *scope, struct wcp_str n, struct wit_pos pos,
                     void *what)
{
    if (!wit_name_add(p->w, scope, n, what))
        wit_fail(p->w, pos, "'%.*s' is already defined here", WCP_ARG(n));
}

static void define(struct parser *p, struct wit_type *t)
{
    add_name(p, p->scope, t->name, t->pos, t);
    *p->scope->types_end = t;
    p->scope->types_end = &t->next;
}

/* { name, name(type), name: type } in any of the forms that kind has */
static void members(struct parser *p, struct wit_type *t)
{
    struct wit_item **end = &t->items;
    const char *what = t->kind == WIT_RECORD  ? "a field"
                       : t->kind == WIT_FLAGS ? "a flag"
                                              : "a case";
    expect(p, '{');
    while (!is_punct(p, '}')) {
        struct wit_item *i = NEW(p, struct wit_item);
        i->doc = doc_and_gates(p);
        i->pos = p->x.pos;
        i->name = name(p, what);
        add_name(p, t, i->name, i->pos, i);
        if (t->kind == WIT_RECORD) {
            expect(p, ':');
            i->type = type(p);
        } else if (t->kind == WIT_VARIANT && accept(p, '(')) {
            i->type = type(p);
            expect(p, ')');
        }
        add_item(p, &end, &t->count, i);
        if (!accept(p, ',') && !is_punct(p, '}'))
            unexpected(p, "',' or '}'");
    }
    if (!t->count)
        unexpected(p, what);
    expect(p, '}');
}

/* (a: u32, b: string), after what is in params already */
static void params(struct parser *p, struct wit_func *f, struct wit_item **end)
{
    expect(p, '(');
    while (!is_punct(p, ')')) {
        struct wit_item *i = NEW(p, struct wit_item);
        i->pos = p->x.pos;
        i->name = name(p, "a parameter");
        add_name(p, f, i->name, i->pos, i);
        expect(p, ':');
        i->type = type(p);
        add_item(p, &end, &f->count, i);
        if (!accept(p, ',') && !is_punct(p, ')'))
            unexpected(p, "',' or ')'");
    }
    expect(p, ')');
}

/* A type that names the resource r, as if written in the text. */
static struct wit_type *name_of(struct parser *p, struct wit_type *r)
{
    struct wit_type *t = NEW(p, struct wit_type);
    *t = (struct wit_type){.kind = WIT_NAME, .pos = r->pos, .name = r->name, .owner = p->scope};
    t->elem = r;
    return t;
}

/* [async] func(params) [-> type]; the current token is behind the colon. */
static void signature(struct parser *p, struct wit_func *f)
{
    struct wit_item **end = &f->params;
    if (f->resource && accept_keyword(p, "static"))
        f->kind = WIT_STATIC;
    accept_keyword(p, "async"); /* every call may take its time anyway */
    if (!accept_keyword(p, "func"))
        unexpected(p, "func");
    if (f->kind == WIT_METHOD) {
        struct wit_item *self = NEW(p, struct wit_item);
        self->name = WCP_STR("self");
        add_name(p, f, self->name, f->pos, self);
        self->pos = f->pos;
        self->type = NEW(p, struct wit_type);
        *self->type = (struct wit_type){.kind = WIT_BORROW, .pos = f->pos, .owner = p->scope};
        self->type->elem = name_of(p, f->resource);
        add_item(p, &end, &f->count, self);
    }
    params(p, f, end);
    if (p->x.kind == WIT_ARROW) {
        wit_lex_next(&p->x);
        f->result = type(p);
    } else if (!is_punct(p, ';')) {
        unexpected(p, "'->' or ';'");
    }
}

static void add_func(struct parser *p, struct wit_func *f)
{
    *p->scope->funcs_end = f;
    p->scope->funcs_end = &f->next;
}

/* constructor(…); and name: [static] func(…); of resource r */
static void resource_func(struct parser *p, struct wit_type *r)
{
    struct wit_func *f = NEW(p, struct wit_func);
    f->doc = doc_and_gates(p);
    f->pos = p->x.pos;
    f->resource = r;
    if (accept_keyword(p, "constructor")) {
        if (!wit_name_add(p->w, r, WCP_STR("%constructor"), f)) /* which no name can be */
            wit_fail(p->w, f->pos, "a resource has one constructor");
        f->kind = WIT_CONSTRUCTOR;
        f->name = f->wire = r->name;
        params(p, f, &f->params);
        f->result = name_of(p, r);
        if (p->x.kind == WIT_ARROW) {
            wit_lex_next(&p->x);
            f->result = type(p);
        }
    } else {
        f->kind = WIT_METHOD;
        f->name = name(p, "a function or '}'");
        add_name(p, r, f->name, f->pos, f);
        f->wire = wcp_fmt(&p->w->arena, "%.*s.%.*s", WCP_ARG(r->name), WCP_ARG(f->name));
        expect(p, ':');
        signature(p, f);
    }
    add_func(p, f);
    expect(p, ';');
}

static void resource(struct parser *p, struct wit_type *r)
{
    if (accept(p, ';'))
        return;
    expect(p, '{');
    while (!accept(p, '}'))
        resource_func(p, r);
}

/* A definition of a type, if the current token begins one. */
static bool definition(struct parser *p, struct wcp_str doc)
{
    static const struct {
        const char *word;
        enum wit_kind kind;
    } kinds[] = {{"record", WIT_RECORD}, {"variant", WIT_VARIANT},   {"enum", WIT_ENUM},
                 {"flags", WIT_FLAGS},   {"resource", WIT_RESOURCE}, {"type", WIT_ALIAS}};
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && !accept_keyword(p, kinds[k].word))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return false;
    struct wit_type *t = new_type(p, kinds[k].kind);
    t->doc = doc;
    t->name = name(p, "the name of a type");
    define(p, t);
    if (t->kind == WIT_RESOURCE) {
        resource(p, t);
    } else if (t->kind == WIT_ALIAS) {
        expect(p, '=');
        t->elem = type(p);
        expect(p, ';');
    } else {
        members(p, t);
    }
    return true;
}

/* --- uses --- */

static struct wit_path *new_path(struct parser *p)
{
    struct wit_path *path = NEW(p, struct wit_path);
    path->pos = p->x.pos;
    path->scope = p->package;
    return path;
}

/* ns:package, up to the version. */
static void package_name(struct parser *p, struct wcp_str *ns, struct wcp_str *package)
{
    *ns = name(p, "a namespace");
    expect(p, ':');
    *package = name(p, "the name of a package");
}

/* name, or ns:package/name[@version]; first is a name that was read already. */
static void path_after(struct parser *p, struct wit_path *path, struct wcp_str first)
{
    path->name = first;
    if (!accept(p, ':'))
        return;
    path->ns = first;
    path->package = name(p, "the name of a package");
    expect(p, '/');
    path->name = name(p, "the name of an interface or world");
    if (is_punct(p, '@'))
        path->version = wit_lex_version(&p->x);
    *p->w->paths_end = path;
    p->w->paths_end = &path->next;
}

static struct wit_path *path(struct parser *p)
{
    struct wit_path *q = new_path(p);
    path_after(p, q, name(p, "the name of an interface or package"));
    return q;
}

/* use path.{name, name as other}; behind its keyword */
static void use_types(struct parser *p)
{
    struct wit_path *from = path(p);
    expect(p, '.');
    expect(p, '{');
    do {
        if (is_punct(p, '}'))
            break;
        struct wit_type *t = new_type(p, WIT_USE);
        t->name = t->original = name(p, "a type");
        if (accept_keyword(p, "as")) {
            t->pos = p->x.pos;
            t->name = name(p, "a new name");
        }
        t->from = from;
        define(p, t);
    } while (accept(p, ','));
    expect(p, '}');
    expect(p, ';');
}

/* --- interfaces and worlds --- */

static struct wit_interface *new_interface(struct parser *p, struct wcp_str doc)
{
    struct wit_interface *i = NEW(p, struct wit_interface);
    i->doc = doc;
    i->pos = p->x.pos;
    i->package = p->package;
    i->types_end = &i->types;
    i->funcs_end = &i->funcs;
    return i;
}

static struct wit_func *named_func(struct parser *p, struct wcp_str doc, struct wcp_str n,
                                   struct wit_pos pos)
{
    struct wit_func *f = NEW(p, struct wit_func);
    f->doc = doc;
    f->pos = pos;
    f->name = f->wire = n;
    /* A name that is no type is found to be nothing: see find_type. */
    add_name(p, p->scope, n, pos, p->w);
    signature(p, f);
    add_func(p, f);
    expect(p, ';');
    return f;
}

static void interface_body(struct parser *p, struct wit_interface *i)
{
    struct wit_interface *outer = p->scope;
    p->scope = i;
    expect(p, '{');
    while (!accept(p, '}')) {
        struct wcp_str doc = doc_and_gates(p);
        if (accept_keyword(p, "use")) {
            use_types(p);
        } else if (!definition(p, doc)) {
            struct wit_pos pos = p->x.pos;
            struct wcp_str n = name(p, "a function, a type or '}'");
            expect(p, ':');
            named_func(p, doc, n, pos);
        }
    }
    p->scope = outer;
}

/* What follows import and export:  path;  name: func(…);  name: interface { … } */
static void world_item(struct parser *p, struct wit_world *world, struct wit_world_item *item,
                       struct wcp_str doc)
{
    struct wit_path *q = new_path(p);
    struct wit_pos pos = p->x.pos;
    struct wcp_str n = name(p, "the name of an interface or function");
    /* After the colon, a keyword cannot be the name of a package. */
    if (is_punct(p, ':')) {
        struct wit_lexer colon = p->x;
        wit_lex_next(&p->x);
        if (is_keyword(p, "interface")) {
            struct wit_interface *i = new_interface(p, doc);
            wit_lex_next(&p->x);
            i->name = n;
            i->pos = pos;
            i->is_inline = true;
            interface_body(p, i);
            *p->package->interfaces_end = i;
            p->package->interfaces_end = &i->next;
            item->interface = i;
            return;
        }
        if (is_keyword(p, "func") || is_keyword(p, "async")) {
            item->func = NEW(p, struct wit_func);
            item->func->name = item->func->wire = n;
            item->func->pos = pos;
            item->func->doc = doc;
            signature(p, item->func);
            expect(p, ';');
            return;
        }
        p->x = colon;
    }
    path_after(p, q, n);
    item->path = q;
    expect(p, ';');
}

/* include path; include path with { a as b }; */
static void include(struct parser *p, struct wit_world_item *item)
{
    item->path = path(p);
    if (accept_keyword(p, "with")) {
        /* New names for functions and inline interfaces of the other world: their code has been
         * generated there. */
        expect(p, '{');
        do {
            if (is_punct(p, '}'))
                break;
            name(p, "a name");
            if (!accept_keyword(p, "as"))
                unexpected(p, "as");
            name(p, "a new name");
        } while (accept(p, ','));
        expect(p, '}');
        accept(p, ';'); /* the grammar has none here; many write it */
    } else {
        expect(p, ';');
    }
}

static void world(struct parser *p, struct wcp_str doc)
{
    struct wit_world *world = NEW(p, struct wit_world);
    world->doc = doc;
    world->pos = p->x.pos;
    world->name = name(p, "the name of a world");
    world->items_end = &world->items;
    world->scope = new_interface(p, doc);
    world->scope->is_world = true;
    world->scope->name = world->name;
    add_name(p, &p->package->worlds, world->name, world->pos, world);
    *p->package->worlds_end = world;
    p->package->worlds_end = &world->next;

    p->scope = world->scope;
    expect(p, '{');
    while (!accept(p, '}')) {
        struct wcp_str item_doc = doc_and_gates(p);
        if (accept_keyword(p, "use")) {
            use_types(p);
            continue;
        }
        if (definition(p, item_doc))
            continue;
        struct wit_world_item *item = NEW(p, struct wit_world_item);
        item->pos = p->x.pos;
        if (accept_keyword(p, "import")) {
            item->kind = WIT_IMPORT;
            world_item(p, world, item, item_doc);
        } else if (accept_keyword(p, "export")) {
            item->kind = WIT_EXPORT;
            world_item(p, world, item, item_doc);
        } else if (accept_keyword(p, "include")) {
            item->kind = WIT_INCLUDE;
            include(p, item);
        } else {
            unexpected(p, "import, export, include, use, a type or '}'");
        }
        *world->items_end = item;
        world->items_end = &item->next;
    }
    p->scope = NULL;
}

/* --- files --- */

static void interface(struct parser *p, struct wcp_str doc)
{
    struct wit_interface *i = new_interface(p, doc);
    i->name = name(p, "the name of an interface");
    add_name(p, &p->package->interfaces, i->name, i->pos, i);
    *p->package->interfaces_end = i;
    p->package->interfaces_end = &i->next;
    interface_body(p, i);
}

/* use path [as name]; in this file, name is then that interface */
static void use_interface(struct parser *p)
{
    struct wit_rename *r = NEW(p, struct wit_rename);
    r->path = path(p);
    r->name = r->path->name;
    if (accept_keyword(p, "as"))
        r->name = name(p, "a new name");
    r->next = p->file->renames;
    p->file->renames = r;
    expect(p, ';');
}

static struct wit_package *new_package(struct wit *w)
{
    struct wit_package *p = wcp_alloc(&w->arena, 1, sizeof *p);
    p->interfaces_end = &p->interfaces;
    p->worlds_end = &p->worlds;
    *w->packages_end = p;
    w->packages_end = &p->next;
    return p;
}

/* ns:name[@version]; behind its keyword. */
static void package_id(struct parser *p, struct wit_package *id)
{
    id->pos = p->x.pos;
    package_name(p, &id->ns, &id->name);
    if (is_punct(p, '@'))
        id->version = wit_lex_version(&p->x);
}

static void check_new_package(struct wit *w, const struct wit_package *id)
{
    for (const struct wit_package *o = w->packages; o; o = o->next)
        if (o != id && o->name.len && wit_package_is(o, id->ns, id->name, id->version))
            wit_fail(w, id->pos, "package '%.*s:%.*s%s%.*s' is already defined in %s",
                     WCP_ARG(id->ns), WCP_ARG(id->name), id->version.len ? "@" : "",
                     WCP_ARG(id->version), o->pos.file->name);
}

/* False: there is nothing more. */
static bool file_item(struct parser *p)
{
    struct wcp_str doc = doc_and_gates(p);
    if (accept_keyword(p, "use"))
        use_interface(p);
    else if (accept_keyword(p, "interface"))
        interface(p, doc);
    else if (accept_keyword(p, "world"))
        world(p, doc);
    else
        return false;
    return true;
}

/* package ns:name; says it for the folder, package ns:name { … } holds another package. */
static void package(struct parser *p, bool first)
{
    struct wit_package id = {0}, *outer = p->package;
    package_id(p, &id);
    if (accept(p, '{')) {
        p->package = new_package(p->w);
        p->package->ns = id.ns;
        p->package->name = id.name;
        p->package->version = id.version;
        p->package->pos = id.pos;
        check_new_package(p->w, p->package);
        while (file_item(p))
            ;
        if (!accept(p, '}'))
            unexpected(p, "use, interface, world or '}'");
        p->package = outer;
        return;
    }
    expect(p, ';');
    if (!first)
        wit_fail(p->w, id.pos, "the package's name comes first in a file");
    if (!outer->name.len) {
        outer->ns = id.ns;
        outer->name = id.name;
        outer->version = id.version;
        outer->pos = id.pos;
        check_new_package(p->w, outer);
    } else if (!wit_package_is(outer, id.ns, id.name, id.version)) {
        wit_fail(p->w, id.pos, "this folder holds package '%.*s:%.*s%s%.*s' (%s)",
                 WCP_ARG(outer->ns), WCP_ARG(outer->name), outer->version.len ? "@" : "",
                 WCP_ARG(outer->version), outer->pos.file->name);
    }
}

static struct wit_file *new_file(struct wit *w, const char *file_name, struct wcp_str text)
{
    struct wit_file *f = wcp_alloc(&w->arena, 1, sizeof *f);
    f->name = wcp_fmt(&w->arena, "%s", file_name).ptr;
    char *copy = wcp_alloc(&w->arena, text.len + 1, 1);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    f->text = (struct wcp_str){copy, text.len};
    return f;
}

struct wit_package *wit_package_begin(struct wit *w)
{
    return new_package(w);
}

void wit_parse(struct wit *w, struct wit_package *into, const char *file_name, struct wcp_str text)
{
    struct parser p = {.w = w, .file = new_file(w, file_name, text), .package = into};
    wit_lex_start(&p.x, w, p.file);
    for (bool first = true; p.x.kind != WIT_END; first = false) {
        if (accept_keyword(&p, "package"))
            package(&p, first);
        else if (!file_item(&p))
            unexpected(&p, "package, use, interface or world");
    }
}

void wit_package_end(struct wit *w, struct wit_package *p, const char *where)
{
    if (!p->name.len)
        wit_fail(w, (struct wit_pos){0}, "%s: no file says 'package namespace:name;'", where);
}

bool wit_peek_package(struct wit *w, const char *file_name, struct wcp_str text,
                      struct wit_package *out)
{
    struct parser p = {.w = w, .file = new_file(w, file_name, text)};
    wit_lex_start(&p.x, w, p.file);
    if (!accept_keyword(&p, "package"))
        return false;
    package_id(&p, out);
    return true;
}

struct wit_type *wit_parse_type(struct wit *w, const char *file_name, struct wcp_str text)
{
    struct wit_package *home = w->packages ? w->packages : new_package(w);
    struct parser p = {
        .w = w, .file = new_file(w, file_name, text), .package = home, .alone = true};
    struct wit_type *t = NULL;
    wit_lex_start(&p.x, w, p.file);
    p.scope = new_interface(&p, (struct wcp_str){0});
    while (definition(&p, doc_and_gates(&p)))
        ;
    if (p.x.kind != WIT_END || !p.scope->types)
        t = type(&p);
    else
        for (t = p.scope->types; t->next;)
            t = t->next;
    if (p.x.kind != WIT_END)
        unexpected(&p, "the end of the type");
    return t;
}

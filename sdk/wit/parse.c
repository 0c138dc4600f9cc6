/* parse.c: WIT text to packages with unresolved names: files, packages, worlds and interfaces, one
 * function per construct of the grammar. parse_items.c is about what stands in interfaces. */
#include "wit/parse.h"
#include "wit/parser.h"
#include <string.h>

/* --- paths and uses --- */

static struct wit_path *new_path(struct parser *p)
{
    struct wit_path *path = PARSE_NEW(p, struct wit_path);
    path->pos = p->x.pos;
    path->scope = p->package;
    return path;
}

/* ns:package, up to the version. */
static void package_name(struct parser *p, struct wcp_str *ns, struct wcp_str *package)
{
    *ns = parse_name(p, "a namespace");
    parse_expect(p, ':');
    *package = parse_name(p, "the name of a package");
}

/* name, or ns:package/name[@version]; first is a name that was read already. */
static void path_after(struct parser *p, struct wit_path *path, struct wcp_str first)
{
    path->name = first;
    if (!parse_accept(p, ':'))
        return;
    path->ns = first;
    path->package = parse_name(p, "the name of a package");
    parse_expect(p, '/');
    path->name = parse_name(p, "the name of an interface or world");
    if (parse_is(p, '@'))
        path->version = wit_lex_version(&p->x);
    *p->w->paths_end = path;
    p->w->paths_end = &path->next;
    *p->package->paths_end = path;
    p->package->paths_end = &path->next_here;
}

static struct wit_path *path(struct parser *p)
{
    struct wit_path *q = new_path(p);
    path_after(p, q, parse_name(p, "the name of an interface or package"));
    return q;
}

/* Remembers a path that is to be checked even if nothing refers to it. */
static struct wit_rename *add_use(struct parser *p, struct wit_path *path)
{
    struct wit_rename *r = PARSE_NEW(p, struct wit_rename);
    r->path = path;
    r->pos = path->pos;
    r->next_use = p->w->uses;
    p->w->uses = r;
    return r;
}

/* use path.{name, name as other}; behind its keyword */
static void use_types(struct parser *p, const struct wit_gate *gate)
{
    struct wit_path *from = path(p);
    size_t count = 0;
    parse_expect(p, '.');
    parse_expect(p, '{');
    do {
        if (parse_is(p, '}'))
            break;
        struct wit_type *t = parse_new_type(p, WIT_USE);
        t->gate = gate;
        t->name = t->original = parse_name(p, "a type");
        if (parse_accept_keyword(p, "as")) {
            t->pos = p->x.pos;
            t->name = parse_name(p, "a new name");
        }
        t->from = from;
        parse_define(p, t);
        count++;
    } while (parse_accept(p, ','));
    if (!count) {
        struct wit_rename *r = add_use(p, from);
        r->next = p->scope->empty_uses;
        p->scope->empty_uses = r;
    }
    parse_expect(p, '}');
    parse_expect(p, ';');
}

/* --- interfaces --- */

static struct wit_interface *new_interface(struct parser *p, struct wcp_str doc,
                                           const struct wit_gate *gate)
{
    struct wit_interface *i = PARSE_NEW(p, struct wit_interface);
    i->doc = doc;
    i->gate = gate;
    i->pos = p->x.pos;
    i->package = p->package;
    i->types_end = &i->types;
    i->funcs_end = &i->funcs;
    return i;
}

static void add_interface(struct parser *p, struct wit_interface *i)
{
    *p->package->interfaces_end = i;
    p->package->interfaces_end = &i->next;
}

static void interface_body(struct parser *p, struct wit_interface *i)
{
    struct wit_interface *outer = p->scope;
    p->scope = i;
    parse_expect(p, '{');
    while (!parse_accept(p, '}')) {
        struct wcp_str doc = p->x.doc;
        const struct wit_gate *gate = parse_gates(p);
        if (parse_accept_keyword(p, "use")) {
            use_types(p, gate);
        } else if (!parse_definition(p, doc, gate)) {
            struct wit_pos pos = p->x.pos;
            struct wcp_str name = parse_name(p, "a function, a type or '}'");
            parse_expect(p, ':');
            struct wit_func *f = parse_func(p, doc, gate, name, pos);
            parse_claim(p, i, f->id, pos);
            parse_add_func(p, f);
        }
    }
    p->scope = outer;
}

/* --- worlds --- */

/* What follows import and export:  path;  label: path;  name: func(…);  name: interface { … } */
static void external(struct parser *p, struct wit_world *world, struct wit_world_item *item)
{
    /* Imports share names with the world's types. */
    const void *names =
        item->kind == WIT_IMPORT ? (const void *)world->scope : (const void *)&world->items;
    struct wit_pos pos = p->x.pos;
    item->path = new_path(p);
    struct wcp_str n = parse_name(p, "the name of an interface or function");
    if (!parse_is(p, ':')) {
        path_after(p, item->path, n);
        parse_expect(p, ';');
        return;
    }
    struct wit_lexer colon = p->x;
    wit_lex_next(&p->x);
    if (parse_is_signature(p)) {
        item->path = NULL;
        item->func = parse_func(p, item->doc, item->gate, n, pos);
        parse_claim(p, names, item->func->id, pos);
        return;
    }
    if (parse_is_keyword(p, "interface")) {
        struct wit_interface *i = new_interface(p, item->doc, item->gate);
        wit_lex_next(&p->x);
        item->path = NULL;
        i->name = n;
        i->pos = pos;
        i->is_inline = true;
        interface_body(p, i);
        add_interface(p, i);
        item->interface = i;
        parse_claim(p, names, n, pos);
        return;
    }
    /* ns:package/interface, or label: interface */
    struct wit_lexer second = p->x;
    parse_name(p, "func, interface, or the name of an interface or package");
    bool is_package = parse_is(p, '/');
    if (is_package) {
        p->x = colon;
        path_after(p, item->path, n);
    } else {
        p->x = second;
        item->path = path(p);
        item->label = n;
        parse_claim(p, names, n, pos);
    }
    parse_expect(p, ';');
}

/* include path;  include path with { a as b } */
static void include(struct parser *p, struct wit_world_item *item)
{
    struct wit_rename **end = &item->renames;
    parse_no_external_id(p, item->gate, "an include");
    item->path = path(p);
    if (!parse_accept_keyword(p, "with")) {
        parse_expect(p, ';');
        return;
    }
    parse_expect(p, '{');
    do {
        if (parse_is(p, '}'))
            break;
        struct wit_rename *r = PARSE_NEW(p, struct wit_rename);
        r->pos = p->x.pos;
        r->name = parse_name(p, "a name");
        if (!parse_accept_keyword(p, "as"))
            parse_unexpected(p, "as");
        r->as = parse_name(p, "a new name");
        *end = r;
        end = &r->next;
    } while (parse_accept(p, ','));
    parse_expect(p, '}');
}

static void world_item(struct parser *p, struct wit_world *world)
{
    struct wcp_str doc = p->x.doc;
    const struct wit_gate *gate = parse_gates(p);
    if (parse_accept_keyword(p, "use")) {
        use_types(p, gate);
        return;
    }
    if (parse_definition(p, doc, gate))
        return;
    struct wit_world_item *item = PARSE_NEW(p, struct wit_world_item);
    item->doc = doc;
    item->gate = gate;
    item->pos = p->x.pos;
    if (parse_accept_keyword(p, "import")) {
        item->kind = WIT_IMPORT;
        external(p, world, item);
    } else if (parse_accept_keyword(p, "export")) {
        item->kind = WIT_EXPORT;
        external(p, world, item);
    } else if (parse_accept_keyword(p, "include")) {
        item->kind = WIT_INCLUDE;
        include(p, item);
    } else {
        parse_unexpected(p, "import, export, include, use, a type or '}'");
    }
    *world->items_end = item;
    world->items_end = &item->next;
}

/* --- files and packages --- */

/* A name that interfaces, worlds and uses of one file share; as are those of one package. */
static void top_name(struct parser *p, const void *scope, struct wcp_str n, struct wit_pos pos,
                     void *what)
{
    if (!wit_name_add(p->w, scope, n, what))
        wit_fail(p->w, pos, "'%.*s' already names something in this %s", WCP_ARG(n),
                 scope == p->package ? "package" : "file");
}

static void world(struct parser *p, struct wcp_str doc, const struct wit_gate *gate)
{
    struct wit_world *world = PARSE_NEW(p, struct wit_world);
    parse_no_external_id(p, gate, "a world");
    world->doc = doc;
    world->gate = gate;
    world->package = p->package;
    world->pos = p->x.pos;
    world->name = parse_name(p, "the name of a world");
    world->items_end = &world->items;
    world->scope = new_interface(p, doc, gate);
    world->scope->is_world = true;
    world->scope->name = world->name;
    top_name(p, p->package, world->name, world->pos, world);
    top_name(p, p->file, world->name, world->pos, world);
    wit_name_add(p->w, &p->package->worlds, world->name, world);
    *p->package->worlds_end = world;
    p->package->worlds_end = &world->next;

    p->scope = world->scope;
    parse_expect(p, '{');
    while (!parse_accept(p, '}'))
        world_item(p, world);
    p->scope = NULL;
}

static void interface(struct parser *p, struct wcp_str doc, const struct wit_gate *gate)
{
    struct wit_interface *i = new_interface(p, doc, gate);
    parse_no_external_id(p, gate, "an interface");
    i->name = parse_name(p, "the name of an interface");
    top_name(p, p->package, i->name, i->pos, i);
    top_name(p, p->file, i->name, i->pos, i);
    wit_name_add(p->w, &p->package->interfaces, i->name, i);
    add_interface(p, i);
    interface_body(p, i);
}

/* use path [as name]; in this file, name is then that interface or world */
static void use_path(struct parser *p)
{
    struct wit_rename *r = add_use(p, path(p));
    r->as = r->path->name;
    if (parse_accept_keyword(p, "as")) {
        r->pos = p->x.pos;
        r->as = parse_name(p, "a new name");
    }
    top_name(p, p->file, r->as, r->pos, r);
    r->next = p->file->renames;
    p->file->renames = r;
    parse_expect(p, ';');
}

static struct wit_package *new_package(struct wit *w)
{
    struct wit_package *p = wcp_alloc(&w->arena, 1, sizeof *p);
    p->interfaces_end = &p->interfaces;
    p->worlds_end = &p->worlds;
    p->paths_end = &p->paths;
    *w->packages_end = p;
    w->packages_end = &p->next;
    return p;
}

/* ns:name[@version]; behind its keyword. */
static void package_id(struct parser *p, struct wit_package *id)
{
    id->pos = p->x.pos;
    package_name(p, &id->ns, &id->name);
    if (parse_is(p, '@'))
        id->version = wit_lex_version(&p->x);
}

static void check_new_package(struct wit *w, const struct wit_package *id)
{
    for (const struct wit_package *o = w->packages; o; o = o->next)
        if (o != id && o->name.len && wit_package_is(o, id->ns, id->name, id->version))
            wit_fail(w, id->pos, "package '%s' is already defined in %s", wit_package_id(w, id).ptr,
                     o->pos.file->name);
}

/* False: there is nothing more. */
static bool file_item(struct parser *p, struct wcp_str doc, const struct wit_gate *gate)
{
    if (parse_accept_keyword(p, "use")) {
        parse_no_gate(p, gate, "a use outside of interfaces and worlds");
        use_path(p);
    } else if (parse_accept_keyword(p, "interface")) {
        interface(p, doc, gate);
    } else if (parse_accept_keyword(p, "world")) {
        world(p, doc, gate);
    } else {
        return false;
    }
    return true;
}

/* package ns:name { … } holds another package. Its names are as in a file of its own. */
static void nested_package(struct parser *p, const struct wit_package *id)
{
    struct wit_package *outer = p->package;
    struct wit_file *file = p->file;
    struct wit_file *inner = PARSE_NEW(p, struct wit_file);
    *inner = (struct wit_file){.name = file->name, .text = file->text};
    p->package = new_package(p->w);
    p->package->ns = id->ns;
    p->package->name = id->name;
    p->package->version = id->version;
    p->package->doc = id->doc;
    p->package->pos = id->pos;
    p->x.file = p->x.pos.file = p->file = inner;
    check_new_package(p->w, p->package);
    for (;;) {
        struct wcp_str doc = p->x.doc;
        const struct wit_gate *gate = parse_gates(p);
        if (!file_item(p, doc, gate))
            break;
    }
    if (!parse_is(p, '}'))
        parse_unexpected(p, "use, interface, world or '}'");
    p->x.file = p->file = file;
    p->package = outer;
    wit_lex_next(&p->x);
}

/* package ns:name; says it for the folder. */
static void package_header(struct parser *p, const struct wit_package *id)
{
    struct wit_package *folder = p->package;
    if (!folder->name.len) {
        folder->ns = id->ns;
        folder->name = id->name;
        folder->version = id->version;
        folder->pos = id->pos;
        check_new_package(p->w, folder);
    } else if (!wit_package_is(folder, id->ns, id->name, id->version)) {
        wit_fail(p->w, id->pos, "this folder holds package '%s' (%s)",
                 wit_package_id(p->w, folder).ptr, folder->pos.file->name);
    }
    if (folder->doc.len && id->doc.len)
        wit_fail(p->w, id->pos, "package '%s' has a doc comment in another file already",
                 wit_package_id(p->w, folder).ptr);
    if (id->doc.len)
        folder->doc = id->doc;
}

static void package(struct parser *p, bool first, struct wcp_str doc, const struct wit_gate *gate)
{
    struct wit_package id = {.doc = doc};
    package_id(p, &id);
    parse_no_gate(p, gate, "a package");
    if (parse_is(p, '{')) {
        wit_lex_next(&p->x);
        nested_package(p, &id);
        return;
    }
    parse_expect(p, ';');
    if (!first)
        wit_fail(p->w, id.pos, "the package's name comes first in a file");
    package_header(p, &id);
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
        struct wcp_str doc = p.x.doc;
        const struct wit_gate *gate = parse_gates(&p);
        if (parse_accept_keyword(&p, "package"))
            package(&p, first, doc, gate);
        else if (!file_item(&p, doc, gate))
            parse_unexpected(&p, "package, use, interface or world");
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
    if (!parse_accept_keyword(&p, "package"))
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
    p.scope = new_interface(&p, (struct wcp_str){0}, NULL);
    while (parse_definition(&p, p.x.doc, NULL))
        ;
    if (p.x.kind != WIT_END || !p.scope->types)
        t = parse_type(&p);
    else
        for (t = p.scope->types; t->next;)
            t = t->next;
    if (p.x.kind != WIT_END)
        parse_unexpected(&p, "the end of the type");
    return t;
}

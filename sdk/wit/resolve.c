/* resolve.c: binds every name to what it means, and checks what only the whole can tell.
 *
 * In this order: packages that need each other, uses to interfaces and their types, names to
 * definitions, then cycles and depth, so that everything after may follow pointers without a bound
 * of its own; gates.c then takes out what a feature hides, and worlds.c fills in the worlds. */
#include "wit/resolve.h"
#include "wit/gates.h"
#include "wit/worlds.h"

static struct wit_package *find_package(struct wit *w, const struct wit_path *path)
{
    if (!path->ns.len)
        return path->scope;
    for (struct wit_package *p = w->packages; p; p = p->next)
        if (wit_package_is(p, path->ns, path->package, path->version))
            return p;
    for (struct wit_package *p = w->packages; p; p = p->next)
        if (wcp_str_eq(p->ns, path->ns) && wcp_str_eq(p->name, path->package))
            wit_fail(w, path->pos, "package '%.*s:%.*s' is here in version '%.*s', not '%.*s'",
                     WCP_ARG(path->ns), WCP_ARG(path->package), WCP_ARG(p->version),
                     WCP_ARG(path->version));
    wit_fail(w, path->pos,
             "unknown package '%.*s:%.*s%s%.*s': it is not in deps/ nor in a folder of -I",
             WCP_ARG(path->ns), WCP_ARG(path->package), path->version.len ? "@" : "",
             WCP_ARG(path->version));
}

/* A bare name is first one of the file's "use … as name;", then one of the package. */
static const struct wit_path *target(const struct wit_path *path)
{
    if (!path->ns.len)
        for (const struct wit_rename *r = path->pos.file->renames; r; r = r->next)
            if (wcp_str_eq(r->as, path->name))
                return r->path;
    return path;
}

static struct wit_interface *find_interface_at(struct wit *w, const struct wit_path *target,
                                               struct wit_pos pos)
{
    struct wit_package *p = find_package(w, target);
    struct wit_interface *i = wit_name_get(w, &p->interfaces, target->name);
    if (!i)
        wit_fail(w, pos, "%s '%.*s'",
                 wit_name_get(w, &p->worlds, target->name)
                     ? "an interface belongs here, not the world"
                     : "unknown interface",
                 WCP_ARG(target->name));
    return i;
}

static struct wit_interface *find_interface(struct wit *w, const struct wit_path *path)
{
    return find_interface_at(w, target(path), path->pos);
}

static struct wit_world *find_world(struct wit *w, const struct wit_path *path)
{
    const struct wit_path *t = target(path);
    struct wit_package *p = find_package(w, t);
    struct wit_world *o = wit_name_get(w, &p->worlds, t->name);
    if (!o)
        wit_fail(w, path->pos, "%s '%.*s'",
                 wit_name_get(w, &p->interfaces, t->name)
                     ? "a world belongs here, not the interface"
                     : "unknown world",
                 WCP_ARG(t->name));
    return o;
}

/* --- packages --- */

static void check_packages(struct wit *w, struct wit_package *p, unsigned level)
{
    if (p->depth)
        return;
    p->checking = true;
    for (const struct wit_path *path = p->paths; path; path = path->next_here) {
        struct wit_package *other = find_package(w, path);
        if (other == p)
            wit_fail(w, path->pos, "within its own package, '%.*s' goes by this name alone",
                     WCP_ARG(path->name));
        if (other->checking)
            wit_fail(w, path->pos, "package '%s' would need itself through '%s'",
                     wit_package_id(w, p).ptr, wit_package_id(w, other).ptr);
        if (level > WIT_MAX_DEPTH)
            wit_fail(w, path->pos, "packages need each other more than %d deep", WIT_MAX_DEPTH);
        check_packages(w, other, level + 1);
    }
    p->checking = false;
    p->depth = 1;
}

/* --- each scope: an interface, or a world's own part --- */

static void for_each_scope(struct wit *w, void (*fn)(struct wit *w, struct wit_interface *i))
{
    for (struct wit_package *p = w->packages; p; p = p->next) {
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            fn(w, i);
        for (struct wit_world *o = p->worlds; o; o = o->next)
            fn(w, o->scope);
    }
}

/* Functions stand in other scopes. */
static struct wit_type *find_type(struct wit *w, const struct wit_interface *i, struct wcp_str name)
{
    return wit_name_get(w, i, name);
}

/* The uses outside of interfaces, which may be of a world of the package; those of no types. */
static void check_other_uses(struct wit *w)
{
    for (struct wit_rename *r = w->uses; r; r = r->next_use)
        if (!r->as.len)
            r->interface = find_interface(w, r->path);
        else if (r->path->ns.len || !wit_name_get(w, &r->path->scope->worlds, r->path->name))
            find_interface_at(w, r->path, r->path->pos);
}

static void bind_uses(struct wit *w, struct wit_interface *i)
{
    for (struct wit_type *t = i->types; t; t = t->next) {
        if (t->kind != WIT_USE)
            continue;
        /* What another package hides behind a feature may be missing there. */
        if (target(t->from)->ns.len && !gate_is_open(w, i->package, t->gate))
            continue;
        struct wit_interface *from = find_interface(w, t->from);
        t->elem = find_type(w, from, t->original);
        if (!t->elem)
            wit_fail(w, t->pos, "interface '%.*s' has no type '%.*s'", WCP_ARG(from->name),
                     WCP_ARG(t->original));
    }
}

static void bind_names(struct wit *w)
{
    for (struct wit_type *t = w->names; t; t = t->next_name) {
        t->elem = find_type(w, t->owner, t->name);
        if (!t->elem)
            wit_fail(w, t->pos, "unknown type '%.*s'", WCP_ARG(t->name));
    }
}

static void check_uses(struct wit *w, struct wit_interface *i, unsigned level);

static void check_use(struct wit *w, struct wit_interface *i, struct wit_interface *from,
                      struct wit_pos pos, unsigned level)
{
    if (from->checking)
        wit_fail(w, pos, "interface '%.*s' would use itself through '%.*s'", WCP_ARG(i->name),
                 WCP_ARG(from->name));
    check_uses(w, from, level + 1);
    if (from->depth > i->depth)
        i->depth = from->depth;
}

/* Interfaces that use each other's types must do so in one direction. */
static void check_uses(struct wit *w, struct wit_interface *i, unsigned level)
{
    if (i->depth)
        return;
    if (level > WIT_MAX_DEPTH)
        wit_fail(w, i->pos, "interfaces use each other more than %d deep", WIT_MAX_DEPTH);
    i->checking = true;
    for (const struct wit_type *t = i->types; t; t = t->next)
        if (t->kind == WIT_USE && t->elem)
            check_use(w, i, t->elem->owner, t->pos, level);
    for (const struct wit_rename *r = i->empty_uses; r; r = r->next)
        check_use(w, i, r->interface, r->pos, level);
    i->checking = false;
    if (++i->depth > WIT_MAX_DEPTH)
        wit_fail(w, i->pos, "interfaces use each other more than %d deep", WIT_MAX_DEPTH);
}

static void check_uses_of(struct wit *w, struct wit_interface *i)
{
    check_uses(w, i, 1);
}

/* level bounds the recursion, t->depth the types; a chain of definitions that were checked one by
 * one has only the latter. */
static void check_type(struct wit *w, struct wit_type *t, unsigned level)
{
    if (!t || t->depth)
        return;
    if (t->checking)
        wit_fail(w, t->pos, "type '%.*s' contains itself", WCP_ARG(t->name));
    if (level > WIT_MAX_DEPTH)
        wit_fail(w, t->pos, "types are nested deeper than %d", WIT_MAX_DEPTH);
    t->checking = true;
    unsigned depth = 0, levels = 0;
    bool async = t->kind == WIT_STREAM || t->kind == WIT_FUTURE;
    bool borrows = t->kind == WIT_BORROW;
    struct wit_type *inner[] = {t->elem, t->err};
    for (int k = 0; k < 2; k++) {
        if (!inner[k])
            continue;
        check_type(w, inner[k], level + 1);
        depth = inner[k]->depth > depth ? inner[k]->depth : depth;
        levels = inner[k]->levels > levels ? inner[k]->levels : levels;
        async |= inner[k]->async;
        borrows |= inner[k]->borrows;
    }
    for (struct wit_item *i = t->items; i; i = i->next) {
        if (!i->type)
            continue;
        check_type(w, i->type, level + 1);
        depth = i->type->depth > depth ? i->type->depth : depth;
        levels = i->type->levels > levels ? i->type->levels : levels;
        async |= i->type->async;
        borrows |= i->type->borrows;
    }
    if (depth >= WIT_MAX_DEPTH)
        wit_fail(w, t->pos, "types are nested deeper than %d", WIT_MAX_DEPTH);
    t->depth = depth + 1;
    t->async = async;
    /* Options, results, variants and futures add nothing. */
    t->levels = levels + (async && (t->kind == WIT_RECORD || t->kind == WIT_TUPLE ||
                                    t->kind == WIT_LIST || t->kind == WIT_STREAM));
    t->borrows = borrows;
    t->checking = false;
    /* NULL: of a use that a gate hides. */
    const struct wit_type *behind = t->elem ? wit_real(t->elem) : NULL;
    if ((t->kind == WIT_OWN || t->kind == WIT_BORROW) && behind && behind->kind != WIT_RESOURCE)
        wit_fail(w, t->pos, "'%.*s' is not a resource", WCP_ARG(t->elem->name));
    if (t->kind == WIT_MAP &&
        (t->elem->kind > WIT_STRING || t->elem->kind == WIT_F32 || t->elem->kind == WIT_F64))
        wit_fail(w, t->elem->pos,
                 "the key of a map is bool, an integer, char or string, by this name");
}

/* The result<> that t is, or is the name of. */
static const struct wit_type *written_result(const struct wit_type *t)
{
    if (t->kind == WIT_NAME && t->elem->kind == WIT_ALIAS)
        t = t->elem->elem;
    return t->kind == WIT_RESULT ? t : NULL;
}

/* Is t written as r or own<r>? */
static bool is_own(const struct wit_type *t, const struct wit_type *r)
{
    if (t && t->kind == WIT_OWN)
        t = t->elem;
    return t && t->kind == WIT_NAME && t->elem == r;
}

static void check_func(struct wit *w, struct wit_func *f)
{
    for (struct wit_item *i = f->params; i; i = i->next)
        check_type(w, i->type, 1);
    check_type(w, f->result, 1);
    if (!f->result)
        return;
    const struct wit_type *r = written_result(f->result);
    if (f->kind == WIT_CONSTRUCTOR && !is_own(f->result, f->resource) &&
        !(r && is_own(r->elem, f->resource)))
        wit_fail(w, f->result->pos, "a constructor of '%.*s' can only give result<%.*s, error>",
                 WCP_ARG(f->name), WCP_ARG(f->name));
    if (f->accessor == WIT_SET && !(r && !r->elem))
        wit_fail(w, f->result->pos, "a setter can only give result<_, error>");
    if (f->result->borrows)
        wit_fail(w, f->result->pos, "a result cannot hold a borrow<>");
}

/* Every setter has a getter; what is too much alike was refused before. */
static void check_setters(struct wit *w, struct wit_interface *i)
{
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        if (f->accessor == WIT_GET)
            wit_name_add(w, &i->funcs, f->id, i);
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        if (f->accessor == WIT_SET && !wit_name_get(w, &i->funcs, wit_getter_of(w, f->id)))
            wit_fail(w, f->pos, "'%.*s' has a setter, but no getter", WCP_ARG(f->wire));
}

static void check_scope(struct wit *w, struct wit_interface *i)
{
    for (struct wit_type *t = i->types; t; t = t->next)
        check_type(w, t, 1);
    for (struct wit_func *f = i->funcs; f; f = f->next)
        check_func(w, f);
    if (!i->is_world)
        check_setters(w, i);
}

/* --- worlds --- */

static void bind_world(struct wit *w, struct wit_world *o)
{
    for (struct wit_world_item *i = o->items; i; i = i->next) {
        if (i->func)
            check_func(w, i->func);
        if (!i->path || (target(i->path)->ns.len && !gate_is_open(w, o->package, i->gate)))
            continue;
        if (i->kind == WIT_INCLUDE) {
            i->world = find_world(w, i->path);
            continue;
        }
        i->interface = find_interface(w, i->path);
        bool import = i->kind == WIT_IMPORT;
        struct wcp_str key = wcp_fmt(&w->arena, "%p", (void *)i->interface);
        if (!i->label.len &&
            !wit_name_add(w, import ? (void *)o->scope : (void *)&o->items, key, i))
            wit_fail(w, i->pos, "'%.*s' is %s already", WCP_ARG(i->path->name),
                     import ? "imported" : "exported");
    }
}

static void check_includes(struct wit *w, struct wit_world *o, unsigned level)
{
    if (o->depth)
        return;
    o->checking = true;
    for (const struct wit_world_item *i = o->items; i; i = i->next) {
        if (i->kind != WIT_INCLUDE || !i->world)
            continue;
        if (i->world->checking)
            wit_fail(w, i->pos, "world '%.*s' would include itself", WCP_ARG(i->world->name));
        if (level > WIT_MAX_DEPTH)
            wit_fail(w, i->pos, "worlds include each other more than %d deep", WIT_MAX_DEPTH);
        check_includes(w, i->world, level + 1);
        if (i->world->depth > o->depth)
            o->depth = i->world->depth;
    }
    o->checking = false;
    if (++o->depth > WIT_MAX_DEPTH)
        wit_fail(w, o->pos, "worlds include each other more than %d deep", WIT_MAX_DEPTH);
}

void wit_resolve(struct wit *w)
{
    for (struct wit_package *p = w->packages; p; p = p->next)
        check_packages(w, p, 1);
    check_other_uses(w);
    for_each_scope(w, bind_uses);
    bind_names(w);
    for_each_scope(w, check_uses_of);
    for_each_scope(w, check_scope);
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (struct wit_world *o = p->worlds; o; o = o->next)
            bind_world(w, o);
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (struct wit_world *o = p->worlds; o; o = o->next)
            check_includes(w, o, 1);
    gates_apply(w);
    worlds_fill_in(w);
}

/* --- a type alone --- */

static struct wit_type *defined(struct wit_type *t)
{
    while (t && t->kind == WIT_USE)
        t = t->elem;
    return t;
}

/* The one definition of the name of t in p's interfaces, if before is NULL or the same. */
static struct wit_type *find_in(struct wit *w, const struct wit_package *p,
                                const struct wit_type *t, struct wit_type *before)
{
    for (struct wit_interface *i = p->interfaces; i; i = i->next) {
        if (t->from && !wcp_str_eq(i->name, t->from->name))
            continue;
        struct wit_type *found = defined(find_type(w, i, t->name));
        if (found && before && found != before)
            wit_fail(w, t->pos, "'%.*s' is a type of %s and another of %s: write %.*s.%.*s",
                     WCP_ARG(t->name), wit_interface_id(w, before->owner).ptr,
                     wit_interface_id(w, found->owner).ptr, WCP_ARG(found->owner->name),
                     WCP_ARG(t->name));
        before = found ? found : before;
    }
    return before;
}

static struct wit_type *find_anywhere(struct wit *w, struct wit_type *t)
{
    struct wit_type *found = t->from ? NULL : find_type(w, t->owner, t->name);
    if (!found)
        found = find_in(w, w->packages, t, NULL);
    for (const struct wit_package *p = found ? NULL : w->packages->next; p; p = p->next)
        found = find_in(w, p, t, found);
    return found;
}

void wit_resolve_type(struct wit *w, struct wit_type *t)
{
    for (struct wit_type *n = w->names; n; n = n->next_name) {
        if (!n->elem)
            n->elem = find_anywhere(w, n);
        if (!n->elem)
            wit_fail(w, n->pos, "unknown type '%.*s'", WCP_ARG(n->name));
    }
    check_scope(w, t->owner);
    check_type(w, t, 1);
}

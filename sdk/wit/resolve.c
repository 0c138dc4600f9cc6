/* resolve.c: binds every name to what it means, and checks what only the whole can tell.
 *
 * In this order: uses to interfaces and their types, names to definitions, then cycles and depth,
 * so that everything after may follow pointers without a bound of its own. */
#include "wit/resolve.h"

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

static struct wit_interface *lookup_interface(struct wit *w, const struct wit_path *path)
{
    struct wit_interface *i = wit_name_get(w, &find_package(w, path)->interfaces, path->name);
    return i && wcp_str_eq(i->name, path->name) ? i : NULL;
}

/* A bare name is first one of the file's "use … as name;", then an interface of the package. */
static struct wit_interface *find_interface(struct wit *w, const struct wit_path *path)
{
    const struct wit_path *target = path;
    if (!path->ns.len)
        for (const struct wit_rename *r = path->pos.file->renames; r; r = r->next)
            if (wcp_str_eq(r->name, path->name))
                target = r->path;
    struct wit_interface *i = lookup_interface(w, target);
    if (!i)
        wit_fail(w, path->pos, "unknown interface '%.*s'", WCP_ARG(target->name));
    return i;
}

static struct wit_world *find_world(struct wit *w, const struct wit_path *path)
{
    struct wit_world *o = wit_name_get(w, &find_package(w, path)->worlds, path->name);
    if (o && wcp_str_eq(o->name, path->name))
        return o;
    wit_fail(w, path->pos, "unknown world '%.*s'", WCP_ARG(path->name));
}

/* Functions stand in the same scope, as w itself. */
static struct wit_type *find_type(struct wit *w, const struct wit_interface *i, struct wcp_str name)
{
    void *what = wit_name_get(w, i, name);
    struct wit_type *t = what == w ? NULL : what;
    return t && wcp_str_eq(t->name, name) ? t : NULL;
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

static void bind_uses(struct wit *w, struct wit_interface *i)
{
    for (struct wit_type *t = i->types; t; t = t->next) {
        if (t->kind != WIT_USE)
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

/* Interfaces that use each other's types must do so in one direction. */
static void check_uses(struct wit *w, struct wit_interface *i, unsigned level)
{
    if (i->depth)
        return;
    if (level > WIT_MAX_DEPTH)
        wit_fail(w, i->pos, "interfaces use each other more than %d deep", WIT_MAX_DEPTH);
    i->checking = true;
    for (const struct wit_type *t = i->types; t; t = t->next) {
        if (t->kind != WIT_USE)
            continue;
        struct wit_interface *from = t->elem->owner;
        if (from->checking)
            wit_fail(w, t->pos, "interface '%.*s' would use itself through '%.*s'",
                     WCP_ARG(i->name), WCP_ARG(from->name));
        check_uses(w, from, level + 1);
        if (from->depth > i->depth)
            i->depth = from->depth;
    }
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
    unsigned depth = 0;
    bool async = t->kind == WIT_STREAM || t->kind == WIT_FUTURE;
    struct wit_type *inner[] = {t->elem, t->err};
    for (int k = 0; k < 2; k++) {
        if (!inner[k])
            continue;
        check_type(w, inner[k], level + 1);
        depth = inner[k]->depth > depth ? inner[k]->depth : depth;
        async |= inner[k]->async;
    }
    for (struct wit_item *i = t->items; i; i = i->next) {
        if (!i->type)
            continue;
        check_type(w, i->type, level + 1);
        depth = i->type->depth > depth ? i->type->depth : depth;
        async |= i->type->async;
    }
    if (depth >= WIT_MAX_DEPTH)
        wit_fail(w, t->pos, "types are nested deeper than %d", WIT_MAX_DEPTH);
    t->depth = depth + 1;
    t->async = async;
    t->checking = false;
    if ((t->kind == WIT_OWN || t->kind == WIT_BORROW) && wit_real(t->elem)->kind != WIT_RESOURCE)
        wit_fail(w, t->pos, "'%.*s' is not a resource", WCP_ARG(t->elem->name));
}

static void check_func(struct wit *w, struct wit_func *f)
{
    for (struct wit_item *i = f->params; i; i = i->next)
        check_type(w, i->type, 1);
    check_type(w, f->result, 1);
}

static void check_scope(struct wit *w, struct wit_interface *i)
{
    for (struct wit_type *t = i->types; t; t = t->next)
        check_type(w, t, 1);
    for (struct wit_func *f = i->funcs; f; f = f->next)
        check_func(w, f);
}

/* --- worlds --- */

static void bind_world(struct wit *w, struct wit_world *o)
{
    for (struct wit_world_item *i = o->items; i; i = i->next) {
        if (i->func)
            check_func(w, i->func);
        if (i->kind == WIT_INCLUDE)
            i->world = find_world(w, i->path);
        else if (i->path)
            i->interface = find_interface(w, i->path);
    }
}

static void check_includes(struct wit *w, struct wit_world *o, unsigned level)
{
    if (o->depth)
        return;
    o->checking = true;
    for (const struct wit_world_item *i = o->items; i; i = i->next) {
        if (i->kind != WIT_INCLUDE)
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

/* worlds.c: what each world imports and exports, all told.
 *
 * First its own types and items, then what it includes: named things (functions, types, inline
 * interfaces) as copies of its own, maybe under other names; interfaces with an id as they are,
 * once each. Last the interfaces that all these use types of: imports, unless they are exported
 * too. */
#include "wit/worlds.h"

/* --- lists --- */

static struct wcp_str key_of(struct wit *w, const struct wit_extern *x)
{
    return x->name.len ? x->name : wcp_fmt(&w->arena, "%p", (void *)x->interface);
}

static struct wit_externs *new_list(struct wit *w)
{
    struct wit_externs *list = wcp_alloc(&w->arena, 1, sizeof *list);
    list->end = &list->first;
    return list;
}

static struct wit_extern *find(struct wit *w, const struct wit_externs *list,
                               const struct wit_extern *x)
{
    return wit_name_get(w, list, key_of(w, x));
}

/* A copy of x; what has its name already is returned instead. */
static struct wit_extern *add(struct wit *w, struct wit_externs *list, const struct wit_extern *x)
{
    struct wit_extern *copy = find(w, list, x);
    if (copy)
        return copy;
    copy = wcp_alloc(&w->arena, 1, sizeof *copy);
    *copy = *x;
    copy->next = NULL;
    wit_name_add(w, list, key_of(w, copy), copy);
    *list->end = copy;
    list->end = &copy->next;
    return copy;
}

/* --- copies --- */

static struct wcp_str new_name(const struct wit_rename *renames, struct wcp_str name)
{
    while (renames && !wcp_str_eq(renames->name, name))
        renames = renames->next;
    return renames ? renames->as : name;
}

static struct wit_type *copy_type(struct wit *w, const struct wit_type *t);

static struct wit_item *copy_items(struct wit *w, const struct wit_item *items)
{
    struct wit_item *first = NULL, **end = &first;
    for (const struct wit_item *i = items; i; i = i->next) {
        struct wit_item *copy = wcp_alloc(&w->arena, 1, sizeof *copy);
        *copy = *i;
        copy->type = copy_type(w, i->type);
        *end = copy;
        end = &copy->next;
    }
    return first;
}

/* With the copies of definitions where they have one. */
static struct wit_type *copy_type(struct wit *w, const struct wit_type *t)
{
    if (!t)
        return NULL;
    struct wit_type *copy = wcp_alloc(&w->arena, 1, sizeof *copy);
    *copy = *t;
    copy->next = copy->next_name = NULL;
    if (t->kind == WIT_NAME) {
        if (t->elem->clone) {
            copy->elem = t->elem->clone;
            copy->name = t->elem->clone->name;
        }
        return copy;
    }
    if (t->kind != WIT_USE) {
        copy->elem = copy_type(w, t->elem);
        copy->err = copy_type(w, t->err);
        copy->items = copy_items(w, t->items);
    }
    return copy;
}

static struct wit_func *copy_func(struct wit *w, const struct wit_func *f,
                                  struct wit_interface *owner, struct wcp_str name)
{
    struct wit_func *copy = wcp_alloc(&w->arena, 1, sizeof *copy);
    *copy = *f;
    copy->next = NULL;
    copy->owner = owner;
    copy->name = name;
    if (f->resource)
        copy->resource = f->resource->clone;
    if (f->kind == WIT_CONSTRUCTOR)
        copy->name = copy->resource->name;
    copy->params = copy_items(w, f->params);
    copy->result = copy_type(w, f->result);
    wit_func_ids(w, copy);
    return copy;
}

/* Copies definitions that refer to each other: first each for itself, then what they are made of.
 */
static void copy_definitions(struct wit *w, const struct wit_interface *from,
                             struct wit_interface *to, const struct wit_rename *renames)
{
    struct wit_type **end = to->types_end;
    for (struct wit_type *t = from->types; t; t = t->next) {
        t->clone = wcp_alloc(&w->arena, 1, sizeof *t);
        t->clone->name = new_name(renames, t->name);
    }
    for (struct wit_type *t = from->types; t; t = t->next) {
        struct wit_type *copy = copy_type(w, t), *clone = t->clone;
        copy->name = clone->name;
        copy->owner = to;
        copy->clone = NULL;
        *clone = *copy;
        *end = clone;
        end = &clone->next;
    }
    to->types_end = end;
}

static void forget_copies(const struct wit_interface *from)
{
    for (struct wit_type *t = from->types; t; t = t->next)
        t->clone = NULL;
}

static struct wit_interface *copy_interface(struct wit *w, struct wit_interface *i,
                                            struct wit_package *package, struct wcp_str name)
{
    struct wit_interface *copy = wcp_alloc(&w->arena, 1, sizeof *copy);
    *copy = *i;
    copy->next = NULL;
    copy->name = name;
    copy->package = package;
    copy->clone_of = i;
    copy->types = NULL;
    copy->types_end = &copy->types;
    copy->funcs = NULL;
    copy->funcs_end = &copy->funcs;
    copy_definitions(w, i, copy, NULL);
    for (const struct wit_func *f = i->funcs; f; f = f->next) {
        struct wit_func *g = copy_func(w, f, copy, f->name);
        *copy->funcs_end = g;
        copy->funcs_end = &g->next;
    }
    forget_copies(i);
    *package->interfaces_end = copy;
    package->interfaces_end = &copy->next;
    return copy;
}

/* --- a world's own --- */

static void add_own(struct wit *w, struct wit_world *o)
{
    for (struct wit_type *t = o->scope->types; t; t = t->next)
        add(w, o->imports,
            &(struct wit_extern){.name = t->name, .pos = t->pos, .gate = t->gate, .type = t});
    for (struct wit_func *f = o->scope->funcs; f; f = f->next)
        add(w, o->imports,
            &(struct wit_extern){.name = f->id, .pos = f->pos, .gate = f->gate, .func = f});
    for (const struct wit_world_item *i = o->items; i; i = i->next) {
        struct wit_extern x = {.pos = i->pos,
                               .gate = i->gate,
                               .doc = i->doc,
                               .interface = i->interface,
                               .func = i->func};
        if (i->kind == WIT_INCLUDE)
            continue;
        if (i->func)
            x.name = i->func->id;
        else if (i->label.len)
            x.name = i->label;
        else if (i->interface->is_inline)
            x.name = i->interface->name;
        add(w, i->kind == WIT_IMPORT ? o->imports : o->exports, &x);
    }
    for (const struct wit_extern *x = o->imports->first; x; x = x->next)
        if (x->name.len)
            wit_name_claim(w, o->imports, x->name);
    for (const struct wit_extern *x = o->exports->first; x; x = x->next)
        if (x->name.len)
            wit_name_claim(w, o->exports, x->name);
}

/* --- includes --- */

/* The name itself, a function's, or its resource's. */
static struct wcp_str base_name(const struct wit_extern *x)
{
    return !x->func ? x->name : x->func->resource ? x->func->resource->name : x->func->name;
}

static bool same_gate(const struct wit_gate *a, const struct wit_gate *b)
{
    return wcp_str_eq(a->since, b->since) && wcp_str_eq(a->feature, b->feature) &&
           wcp_str_eq(a->deprecated, b->deprecated);
}

/* An interface that is there already keeps its gate if it has one. */
static void merge_gate(struct wit *w, const struct wit_world_item *include,
                       const struct wit_world *from, const struct wit_world *to,
                       const struct wit_extern *x, struct wit_extern *into)
{
    const struct wit_gate *gate = x->gate;
    if (!gate || !(gate->since.len || gate->feature.len))
        return;
    if (from->package != to->package && gate->since.len)
        into->gate = NULL; /* the version of another package means nothing here */
    else if (!into->gate)
        into->gate = gate;
    else if (!same_gate(gate, into->gate))
        wit_fail(w, include->pos, "interface '%s' is here with another gate",
                 wit_interface_id(w, x->interface).ptr);
}

static void include_list(struct wit *w, const struct wit_world_item *include, struct wit_world *to,
                         const struct wit_externs *from, struct wit_externs *list)
{
    for (const struct wit_extern *x = from->first; x; x = x->next) {
        struct wit_extern y = *x;
        if (!x->name.len) {
            struct wit_extern *into = add(w, list, &y);
            into->implied &= x->implied;
            merge_gate(w, include, include->world, to, x, into);
            continue;
        }
        struct wcp_str name = new_name(include->renames, base_name(x));
        y.name = name;
        if (x->type) {
            y.type = x->type->clone;
        } else if (x->func) {
            y.func = copy_func(w, x->func, to->scope, x->func->resource ? x->func->name : name);
            y.name = y.func->id;
        } else if (x->interface->is_inline) {
            y.interface = copy_interface(w, x->interface, to->package, name);
        }
        const char *before = wit_name_claim(w, list, y.name);
        if (before)
            wit_fail(w, include->pos,
                     "'%.*s' of world '%.*s' meets '%s' here: include it with { %.*s as … }",
                     WCP_ARG(y.name), WCP_ARG(include->world->name), before, WCP_ARG(base_name(x)));
        add(w, list, &y);
    }
}

static void mark_found(struct wit_rename *renames, const struct wit_externs *list)
{
    for (const struct wit_extern *x = list->first; x; x = x->next)
        for (struct wit_rename *r = renames; x->name.len && r; r = r->next)
            r->found |= wcp_str_eq(r->name, base_name(x));
}

static void include(struct wit *w, struct wit_world *o, const struct wit_world_item *item)
{
    mark_found(item->renames, item->world->imports);
    mark_found(item->renames, item->world->exports);
    for (const struct wit_rename *r = item->renames; r; r = r->next)
        if (!r->found)
            wit_fail(w, r->pos,
                     "world '%.*s' has no function, type or inline interface '%.*s' to rename",
                     WCP_ARG(item->world->name), WCP_ARG(r->name));
    copy_definitions(w, item->world->scope, o->scope, item->renames);
    include_list(w, item, o, item->world->imports, o->imports);
    include_list(w, item, o, item->world->exports, o->exports);
    forget_copies(item->world->scope);
}

static void check_setters(struct wit *w, const struct wit_world *o, const struct wit_externs *list)
{
    for (const struct wit_extern *x = list->first; x; x = x->next)
        if (x->func && x->func->accessor == WIT_SET &&
            !wit_name_get(w, list, wit_getter_of(w, x->name)))
            wit_fail(w, x->pos, "'%.*s' has a setter in world '%.*s', but no getter",
                     WCP_ARG(x->func->wire), WCP_ARG(o->name));
}

/* --- what others use types of --- */

static struct wit_extern implied(struct wit_interface *i, const struct wit_extern *because)
{
    return (struct wit_extern){
        .interface = i, .pos = because->pos, .gate = because->gate, .implied = true};
}

static struct wit_interface *used_by(const struct wit_type *t)
{
    return t->kind == WIT_USE && t->elem->owner != t->owner ? t->elem->owner : NULL;
}

/* x, after what it uses. */
static void add_import(struct wit *w, struct wit_externs *list, const struct wit_extern *x)
{
    struct wit_extern *before = find(w, list, x);
    if (before) {
        before->implied &= x->implied;
        return;
    }
    for (const struct wit_type *t = x->interface->types; t; t = t->next)
        if (used_by(t)) {
            struct wit_extern y = implied(used_by(t), x);
            add_import(w, list, &y);
        }
    add(w, list, x);
}

struct elaboration {
    struct wit_externs *imports, *exports;      /* the new lists */
    const struct wit_externs *explicit_exports; /* the old one */
    struct wit_externs *required;               /* imports that exports need */
};

/* Adds x to the exports, or as what an export needs to the imports; false if it would be both. */
static bool add_export(struct wit *w, struct elaboration *e, const struct wit_extern *x,
                       bool exported)
{
    struct wit_extern *before = find(w, e->exports, x);
    if (before) {
        before->implied &= x->implied;
        return exported;
    }
    if (!exported && find(w, e->required, x))
        return true;
    for (const struct wit_type *t = x->interface->types; t; t = t->next) {
        if (!used_by(t))
            continue;
        struct wit_extern y = implied(used_by(t), x);
        if (!add_export(w, e, &y, exported && find(w, e->explicit_exports, &y)))
            return false;
    }
    const struct wit_extern by_id = {.interface = x->interface};
    if (exported) {
        if (find(w, e->required, &by_id))
            return false;
        add(w, e->exports, x);
    } else {
        add(w, e->required, &by_id);
        add(w, e->imports, x);
    }
    return true;
}

static void elaborate(struct wit *w, struct wit_world *o)
{
    struct elaboration e = {new_list(w), new_list(w), o->exports, new_list(w)};
    for (const struct wit_extern *x = o->imports->first; x; x = x->next)
        if (x->interface)
            add_import(w, e.imports, x);
    for (const struct wit_extern *x = o->imports->first; x; x = x->next) {
        if (x->type && used_by(x->type)) {
            struct wit_extern y = implied(used_by(x->type), x);
            add_import(w, e.imports, &y);
        }
        if (!x->interface)
            add(w, e.imports, x);
    }
    for (const struct wit_extern *x = o->exports->first; x; x = x->next) {
        if (x->func)
            add(w, e.exports, x);
        else if (!add_export(w, &e, x, true))
            wit_fail(w, x->pos,
                     "'%s' cannot be exported: types that it and another export use would be "
                     "imported and exported; export the interfaces between them too",
                     wit_interface_id(w, x->interface).ptr);
    }
    o->imports = e.imports;
    o->exports = e.exports;
}

static void fill_in(struct wit *w, struct wit_world *o)
{
    if (o->imports)
        return;
    for (const struct wit_world_item *i = o->items; i; i = i->next)
        if (i->kind == WIT_INCLUDE)
            fill_in(w, i->world); /* as deep as includes may be */
    o->imports = new_list(w);
    o->exports = new_list(w);
    add_own(w, o);
    for (const struct wit_world_item *i = o->items; i; i = i->next)
        if (i->kind == WIT_INCLUDE)
            include(w, o, i);
    check_setters(w, o, o->imports);
    check_setters(w, o, o->exports);
    elaborate(w, o);
}

void worlds_fill_in(struct wit *w)
{
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (struct wit_world *o = p->worlds; o; o = o->next)
            fill_in(w, o);
}

/* select.c: what is generated: which interfaces, which sides of them; and what wRPC cannot carry.
 */
#include "witc/emit.h"

static void need(struct wit_interface *i)
{
    if (i->needed)
        return;
    i->needed = true;
    for (const struct wit_type *t = i->types; t; t = t->next)
        if (t->kind == WIT_USE)
            need(t->elem->owner);
}

static void select_side(struct wit_interface *i, bool exported)
{
    /* What an include copied under its old name is the same on the wire. */
    while (i->clone_of && wcp_str_eq(i->clone_of->name, i->name))
        i = i->clone_of;
    if (exported)
        i->exported = true;
    else
        i->imported = true;
    need(i);
}

/* --- functions directly in a world --- */

static void add_func(struct wit_interface *i, struct wit_func *f)
{
    f->next = NULL;
    f->owner = i;
    *i->funcs_end = f;
    i->funcs_end = &f->next;
}

/* The world's scope becomes an interface of its types and exported functions, and another one is
 * made for the imported functions. */
static void select_functions(struct wit *w, struct wit_world *o)
{
    struct wit_interface *exports = o->scope, *imports = wcp_alloc(&w->arena, 1, sizeof *imports);
    *imports = *exports;
    imports->name = wcp_fmt(&w->arena, "%.*s-imports", WCP_ARG(o->name));
    imports->types_in = exports;
    imports->types = NULL;
    imports->depth = exports->depth + 1;
    exports->funcs = imports->funcs = NULL;
    exports->funcs_end = &exports->funcs;
    imports->funcs_end = &imports->funcs;
    for (const struct wit_extern *x = o->exports->first; x; x = x->next)
        if (x->func)
            add_func(exports, x->func);
    for (const struct wit_extern *x = o->imports->first; x; x = x->next)
        if (x->func)
            add_func(imports, x->func);
    exports->exported = exports->funcs != NULL;
    imports->imported = imports->funcs != NULL;
    if (exports->exported || imports->imported)
        need(exports);
    imports->needed = imports->imported;
    *o->package->interfaces_end = exports;
    o->package->interfaces_end = &exports->next;
    *o->package->interfaces_end = imports;
    o->package->interfaces_end = &imports->next;
}

static void select_world(struct wit *w, struct wit_world *o)
{
    for (int exported = 0; exported < 2; exported++) {
        const struct wit_externs *list = exported ? o->exports : o->imports;
        for (const struct wit_extern *x = list->first; x; x = x->next) {
            if (!x->interface || x->implied)
                continue;
            if (x->name.len && !x->interface->is_inline)
                wit_fail(w, x->pos, "wRPC has no name for interface '%s' as '%.*s': use its own",
                         wit_interface_id(w, x->interface).ptr, WCP_ARG(x->name));
            select_side(x->interface, exported);
        }
    }
    select_functions(w, o);
}

/* --- what wRPC cannot carry --- */

static void check_type(struct wit *w, const struct wit_type *t)
{
    if (!t || t->kind == WIT_NAME || t->kind == WIT_USE)
        return; /* that is checked where it is defined */
    const char *why = wit_no_encoding(t);
    if (why)
        wit_fail(w, t->pos, "%s", why);
    check_type(w, t->elem);
    check_type(w, t->err);
    for (const struct wit_item *i = t->items; i; i = i->next)
        check_type(w, i->type);
}

static void check_interface(struct wit *w, const struct wit_interface *i)
{
    for (const struct wit_type *t = i->types; t; t = t->next)
        check_type(w, t);
    for (const struct wit_func *f = i->funcs; f; f = f->next) {
        if (f->accessor)
            wit_fail(w, f->pos, "wRPC has no name for getters and setters: make '%.*s' a func()",
                     WCP_ARG(f->wire));
        for (const struct wit_item *p = f->params; p; p = p->next)
            check_type(w, p->type);
        check_type(w, f->result);
    }
}

void select_all(struct wit *w)
{
    struct wit_package *p = w->packages;
    for (struct wit_interface *i = p->worlds ? NULL : p->interfaces; i; i = i->next) {
        select_side(i, false);
        select_side(i, true);
    }
    for (struct wit_world *o = p->worlds; o; o = o->next)
        select_world(w, o);
    for (p = w->packages; p; p = p->next)
        for (const struct wit_interface *i = p->interfaces; i; i = i->next)
            if (i->needed)
                check_interface(w, i);
}

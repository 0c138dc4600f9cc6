/* gates.c: which items a package shows: @since, @unstable and @deprecated. */
#include "wit/gates.h"
#include "wit/version.h"

bool gate_is_open(struct wit *w, const struct wit_package *p, const struct wit_gate *gate)
{
    if (!gate)
        return true;
    if (gate->since.len) {
        if (!p->version.len)
            wit_fail(w, gate->pos, "@since needs a package with a version; '%s' has none",
                     wit_package_id(w, p).ptr);
        if (version_compare(gate->since, p->version) > 0)
            wit_fail(w, gate->pos, "@since %.*s is later than the package '%s'",
                     WCP_ARG(gate->since), wit_package_id(w, p).ptr);
    }
    if (!gate->feature.len || w->all_features)
        return true;
    for (size_t k = 0; k < w->feature_count; k++)
        if (wcp_str_eq(w->features[k], gate->feature))
            return true;
    return false;
}

/* --- what is left must not refer to what is not --- */

_Noreturn static void hidden(struct wit *w, struct wit_pos pos, const char *what,
                             struct wcp_str name)
{
    wit_fail(w, pos,
             "%s '%.*s' is @unstable and its feature is not enabled: gate this too, or "
             "enable it (--features)",
             what, WCP_ARG(name));
}

static void check_type(struct wit *w, const struct wit_type *t)
{
    if (!t)
        return;
    if (t->kind == WIT_NAME) {
        if (t->elem->excluded)
            hidden(w, t->pos, "type", t->name);
        return;
    }
    if (t->kind == WIT_USE) {
        if (t->elem->excluded)
            hidden(w, t->pos, "type", t->original);
        return;
    }
    check_type(w, t->elem);
    check_type(w, t->err);
    for (const struct wit_item *i = t->items; i; i = i->next)
        check_type(w, i->type);
}

static void check_func(struct wit *w, const struct wit_func *f)
{
    if (f->resource && f->resource->excluded)
        hidden(w, f->pos, "resource", f->resource->name);
    for (const struct wit_item *i = f->params; i; i = i->next)
        check_type(w, i->type);
    check_type(w, f->result);
}

/* Interfaces and the types in them are marked, functions taken out at once. */
static void mark_scope(struct wit *w, struct wit_interface *i)
{
    i->excluded = !gate_is_open(w, i->package, i->gate);
    for (struct wit_type *t = i->types; t; t = t->next) {
        t->excluded = !gate_is_open(w, i->package, t->gate);
        if (i->excluded && !t->excluded)
            hidden(w, t->pos, i->is_world ? "world" : "interface", i->name);
    }
    struct wit_func **end = &i->funcs;
    for (struct wit_func *f = i->funcs; f && !i->excluded; f = f->next)
        if (gate_is_open(w, i->package, f->gate)) {
            *end = f;
            end = &f->next;
        }
    *end = NULL;
    i->funcs_end = end;
}

static void sift_scope(struct wit *w, struct wit_interface *i)
{
    struct wit_type **end = &i->types;
    for (struct wit_type *t = i->types; t; t = t->next)
        if (!t->excluded) {
            check_type(w, t);
            *end = t;
            end = &t->next;
        } else if (i->is_world && !i->excluded) {
            hidden(w, t->pos, "in a world that is not gated, type", t->name);
        }
    *end = NULL;
    i->types_end = end;
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        check_func(w, f);
}

static void sift_items(struct wit *w, struct wit_world *o)
{
    struct wit_world_item **end = &o->items;
    for (struct wit_world_item *i = o->items; i && !o->excluded; i = i->next) {
        if (!gate_is_open(w, o->package, i->gate))
            continue;
        if (i->func)
            check_func(w, i->func);
        if (i->interface && i->interface->excluded)
            hidden(w, i->pos, "interface", i->interface->name);
        if (i->world && i->world->excluded)
            hidden(w, i->pos, "world", i->world->name);
        *end = i;
        end = &i->next;
    }
    *end = NULL;
    o->items_end = end;
}

static void sift_package(struct wit *w, struct wit_package *p)
{
    struct wit_interface **end = &p->interfaces;
    for (struct wit_interface *i = p->interfaces; i; i = i->next) {
        sift_scope(w, i);
        if (!i->excluded) {
            *end = i;
            end = &i->next;
        }
    }
    *end = NULL;
    p->interfaces_end = end;
    struct wit_world **worlds_end = &p->worlds;
    for (struct wit_world *o = p->worlds; o; o = o->next) {
        sift_scope(w, o->scope);
        sift_items(w, o);
        if (!o->excluded) {
            *worlds_end = o;
            worlds_end = &o->next;
        }
    }
    *worlds_end = NULL;
    p->worlds_end = worlds_end;
}

void gates_apply(struct wit *w)
{
    for (struct wit_package *p = w->packages; p; p = p->next) {
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            mark_scope(w, i);
        for (struct wit_world *o = p->worlds; o; o = o->next) {
            mark_scope(w, o->scope);
            o->excluded = o->scope->excluded;
        }
    }
    for (struct wit_package *p = w->packages; p; p = p->next)
        sift_package(w, p);
}

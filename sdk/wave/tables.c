/* tables.c: resolved WIT to tables. The rules are those of a C compiler for the structs that
 * emit_h.c writes; test_tables.c compares. */
#include "wave/tables.h"
#include "rpc/codec.h"
#include <assert.h>
#include <stdalign.h>
#include <wcp/stream.h>

static_assert(WIT_MAX_LEVELS == PATH_MAX_DEPTH, "what is carried is what witc takes");
enum { MAX_SIZE = 1 << 20 }; /* bytes of one value without what it points to */

/* A struct or union that grows by members. */
struct layout {
    uint64_t size, align;
};

#define LAYOUT(T) ((struct layout){sizeof(T), alignof(T)})

static uint64_t round_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

static uint32_t add_member(struct layout *l, uint64_t size, uint64_t align)
{
    uint64_t offset = round_up(l->size, align);
    l->size = offset + size;
    l->align = align > l->align ? align : l->align;
    return (uint32_t)offset; /* what is too large is refused before it is used */
}

static uint32_t finish(struct wit *w, const struct wit_type *t, struct layout *l)
{
    l->size = round_up(l->size, l->align);
    if (l->size > MAX_SIZE)
        wit_fail(w, t->pos, "a value of this type would take %llu bytes, the limit is %d",
                 (unsigned long long)l->size, MAX_SIZE);
    return (uint32_t)l->size;
}

static struct wit_type *made(struct wit *w, struct wit_type *t);

static const char *text(struct wit *w, struct wcp_str s)
{
    return wcp_fmt(&w->arena, "%.*s", WCP_ARG(s)).ptr;
}

/* A field for each item, without types and offsets. */
static struct wcp_field *names(struct wit *w, const struct wit_type *t)
{
    struct wcp_field *f = wcp_alloc(&w->arena, t->count, sizeof *f);
    size_t k = 0;
    for (const struct wit_item *i = t->items; i; i = i->next, k++)
        f[k].name = t->kind == WIT_TUPLE ? wcp_fmt(&w->arena, "%zu", k).ptr : text(w, i->name);
    return f;
}

static void members(struct wit *w, struct wit_item *items, struct wcp_field *f, struct layout *l)
{
    for (struct wit_item *i = items; i; i = i->next, f++) {
        const struct wit_type *m = made(w, i->type);
        f->type = m->table;
        f->offset = add_member(l, m->table->size, m->align);
    }
}

/* Cases share a union behind their tag. */
static void cases(struct wit *w, struct wit_type *const *types, size_t count, struct wcp_field *f,
                  struct layout *l)
{
    struct layout payload = {.align = 1};
    for (size_t k = 0; k < count; k++) {
        if (!types[k])
            continue;
        const struct wit_type *m = made(w, types[k]);
        f[k].type = m->table;
        payload.size = m->table->size > payload.size ? m->table->size : payload.size;
        payload.align = m->align > payload.align ? m->align : payload.align;
    }
    if (!payload.size)
        return;
    uint32_t offset = add_member(l, round_up(payload.size, payload.align), payload.align);
    for (size_t k = 0; k < count; k++)
        f[k].offset = f[k].type ? offset : 0;
}

static void variant(struct wit *w, struct wit_type *t, struct wcp_type *out, struct layout *l)
{
    struct wcp_field *f = names(w, t);
    struct wit_type **types = wcp_alloc(&w->arena, t->count, sizeof(struct wit_type *));
    size_t k = 0;
    for (const struct wit_item *i = t->items; i; i = i->next)
        types[k++] = i->type;
    *l = LAYOUT(uint32_t);
    cases(w, types, t->count, f, l);
    out->fields = f;
}

static void result(struct wit *w, struct wit_type *t, struct wcp_type *out, struct layout *l)
{
    struct wcp_field *f = wcp_alloc(&w->arena, 2, sizeof *f);
    struct wit_type *const types[] = {t->elem, t->err};
    f[0].name = "ok";
    f[1].name = "err";
    *l = LAYOUT(bool);
    cases(w, types, 2, f, l);
    out->fields = f;
    out->count = 2;
}

/* The element's table; what refers to it is laid out by l. */
static const struct wcp_type *elem(struct wit *w, struct wit_type *t, struct layout own,
                                   struct layout *l)
{
    *l = own;
    return t->elem ? made(w, t->elem)->table : NULL;
}

static void set(struct wit_type *t, const struct wcp_type *table, size_t align)
{
    t->table = table;
    t->align = (uint32_t)align;
}

static void composite(struct wit *w, struct wit_type *t)
{
    struct wcp_type *out = wcp_alloc(&w->arena, 1, sizeof *out);
    struct layout l = {.align = 1};
    const char *why = wit_no_encoding(t);
    if (why)
        wit_fail(w, t->pos, "%s", why);
    out->async = t->async;
    out->count = (uint16_t)t->count; /* at most WIT_MAX_COUNT */
    switch (t->kind) {
    case WIT_LIST:
        out->kind = WCP_LIST;
        out->elem = elem(w, t, LAYOUT(struct list_layout), &l);
        break;
    case WIT_OPTION:
        out->kind = WCP_OPTION;
        out->elem = elem(w, t, LAYOUT(void *), &l);
        break;
    case WIT_STREAM:
        out->kind = WCP_STREAM;
        out->elem = elem(w, t, LAYOUT(union wcp_async), &l);
        break;
    case WIT_FUTURE:
        out->kind = WCP_FUTURE;
        out->elem = elem(w, t, LAYOUT(union wcp_async), &l);
        break;
    case WIT_RESULT:
        out->kind = WCP_RESULT;
        result(w, t, out, &l);
        break;
    case WIT_VARIANT:
        out->kind = WCP_VARIANT;
        variant(w, t, out, &l);
        break;
    case WIT_ENUM:
        out->kind = WCP_ENUM;
        out->fields = names(w, t);
        l = LAYOUT(uint32_t);
        break;
    case WIT_FLAGS:
        out->kind = WCP_FLAGS;
        out->fields = names(w, t);
        l = t->count <= 32   ? LAYOUT(uint32_t)
            : t->count <= 64 ? LAYOUT(uint64_t)
                             : (struct layout){(t->count + 7) / 8, 1};
        break;
    default: { /* record, tuple */
        struct wcp_field *f = names(w, t);
        out->kind = WCP_RECORD;
        out->fields = f;
        members(w, t->items, f, &l);
        break;
    }
    }
    out->size = finish(w, t, &l);
    set(t, out, l.align);
}

/* The definition behind t, with its table. */
static struct wit_type *made(struct wit *w, struct wit_type *t)
{
    while (t->kind == WIT_NAME || t->kind == WIT_ALIAS || t->kind == WIT_USE)
        t = t->elem;
    if (t->table)
        return t;
    switch (t->kind) {
    case WIT_BOOL: set(t, &wcp_bool, alignof(bool)); break;
    case WIT_U8: set(t, &wcp_u8, alignof(uint8_t)); break;
    case WIT_U16: set(t, &wcp_u16, alignof(uint16_t)); break;
    case WIT_U32: set(t, &wcp_u32, alignof(uint32_t)); break;
    case WIT_U64: set(t, &wcp_u64, alignof(uint64_t)); break;
    case WIT_S8: set(t, &wcp_s8, alignof(int8_t)); break;
    case WIT_S16: set(t, &wcp_s16, alignof(int16_t)); break;
    case WIT_S32: set(t, &wcp_s32, alignof(int32_t)); break;
    case WIT_S64: set(t, &wcp_s64, alignof(int64_t)); break;
    case WIT_F32: set(t, &wcp_f32, alignof(float)); break;
    case WIT_F64: set(t, &wcp_f64, alignof(double)); break;
    case WIT_CHAR: set(t, &wcp_char, alignof(uint32_t)); break;
    case WIT_STRING: set(t, &wcp_string, alignof(struct wcp_str)); break;
    case WIT_OWN:
    case WIT_BORROW:
    case WIT_RESOURCE: set(t, &wcp_handle, alignof(struct wcp_bytes)); break;
    case WIT_LIST:
        if (wit_real(t->elem)->kind == WIT_U8)
            set(t, &wcp_list_u8, alignof(struct wcp_bytes));
        else
            composite(w, t);
        break;
    default: composite(w, t);
    }
    return t;
}

const struct wcp_type *tables_type(struct wit *w, struct wit_type *t)
{
    return made(w, t)->table;
}

static void deliver(void (*done)(void), void *ctx, const void *value, int status)
{
    ((tables_done *)done)(ctx, value, status);
}

static void func(struct wit *w, const struct wit_func *f, struct wcp_func *out)
{
    struct wit_type record = {
        .kind = WIT_RECORD, .pos = f->pos, .items = f->params, .count = f->count};
    struct wcp_type *params = wcp_alloc(&w->arena, 1, sizeof *params);
    struct wcp_field *fields = names(w, &record);
    struct layout l = LAYOUT(struct wcp_call);
    members(w, f->params, fields, &l);
    *params = (struct wcp_type){
        .kind = WCP_RECORD, .count = (uint16_t)f->count, .size = finish(w, &record, &l)};
    params->fields = fields;
    for (size_t k = 0; k < f->count; k++)
        params->async |= fields[k].type->async;
    *out = (struct wcp_func){.name = text(w, f->wire),
                             .size = params->size,
                             .params = params,
                             .result = f->result ? tables_type(w, f->result) : NULL,
                             .deliver = deliver};
}

const struct wcp_interface *tables_interface(struct wit *w, struct wit_interface *i)
{
    struct wcp_interface *out = wcp_alloc(&w->arena, 1, sizeof *out);
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        out->count++;
    struct wcp_func *funcs = wcp_alloc(&w->arena, out->count, sizeof *funcs);
    size_t k = 0;
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        func(w, f, &funcs[k++]);
    out->name = wit_interface_id(w, i).ptr;
    out->funcs = funcs;
    out->in_world = i->is_world;
    return out;
}

static void add_funcs(struct wit *w, struct wit_interface *i, const struct wit_externs *all)
{
    for (const struct wit_extern *x = all->first; x; x = x->next) {
        const struct wit_func *known = x->func ? i->funcs : NULL;
        while (known && !wcp_str_eq(known->wire, x->func->wire))
            known = known->next;
        if (!x->func || known)
            continue;
        struct wit_func *copy = wcp_alloc(&w->arena, 1, sizeof *copy);
        *copy = *x->func;
        copy->next = NULL;
        *i->funcs_end = copy;
        i->funcs_end = &copy->next;
    }
}

void tables_add_worlds(struct wit *w)
{
    for (struct wit_package *p = w->packages; p; p = p->next)
        for (const struct wit_world *o = p->worlds; o; o = o->next) {
            struct wit_interface *i = wcp_alloc(&w->arena, 1, sizeof *i);
            *i = (struct wit_interface){
                .name = o->name, .pos = o->pos, .package = p, .is_world = true};
            i->funcs_end = &i->funcs;
            add_funcs(w, i, o->exports);
            add_funcs(w, i, o->imports);
            if (!i->funcs)
                continue;
            *p->interfaces_end = i;
            p->interfaces_end = &i->next;
        }
}

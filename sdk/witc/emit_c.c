/* emit_c.c: the source of one interface: tables, and wrappers of one or two lines. */
#include "witc/emit.h"
#include <string.h>

/* --- tables --- */

/* The rest of a wcp_type's initialiser, after the kind. */
static const char *async(const struct wit_type *t)
{
    return t->async ? ".async = true, " : "";
}

/* { "name", type, offsetof } for each member; owner is the struct that they are in. */
static void fields(struct emit *e, struct unit *u, const char *name, const char *owner,
                   const struct wit_type *t, struct wcp_buf *out)
{
    int k = 0;
    emit_line(out, "static const struct wcp_field %s_fields[] = {", name);
    for (const struct wit_item *i = t->items; i; i = i->next, k++) {
        const char *wit =
            t->kind == WIT_TUPLE ? emit_fmt(e, "%d", k) : emit_fmt(e, "%.*s", WCP_ARG(i->name));
        const char *member = t->kind == WIT_TUPLE     ? emit_fmt(e, "f%d", k)
                             : t->kind == WIT_VARIANT ? emit_case(e, i)
                                                      : emit_member(e, i->name);
        if (i->type)
            emit_line(out, "    {\"%s\", %s, offsetof(struct %s, %s)},", wit,
                      emit_table(e, u, i->type), owner, member);
        else
            emit_line(out, "    {\"%s\", NULL, 0},", wit);
    }
    emit_line(out, "};");
}

static void result_table(struct emit *e, struct unit *u, const char *storage, const char *name,
                         const char *c_struct, const struct wit_type *t, struct wcp_buf *out)
{
    const char *ok = t->elem ? emit_fmt(e, "offsetof(struct %s, ok)", c_struct) : "0";
    const char *err = t->err ? emit_fmt(e, "offsetof(struct %s, err)", c_struct) : "0";
    emit_line(out, "static const struct wcp_field %s_fields[] = {", name);
    emit_line(out, "    {\"ok\", %s, %s},", emit_table(e, u, t->elem), ok);
    emit_line(out, "    {\"err\", %s, %s},", emit_table(e, u, t->err), err);
    emit_line(out, "};");
    emit_line(out,
              "%sconst struct wcp_type %s_type = {.kind = WCP_RESULT, %s.count = 2, "
              ".size = sizeof(struct %s), .fields = %s_fields};",
              storage, name, async(t), c_struct, name);
}

static const char *const kinds[] = {
    [WIT_LIST] = "LIST",     [WIT_OPTION] = "OPTION", [WIT_TUPLE] = "RECORD",
    [WIT_STREAM] = "STREAM", [WIT_FUTURE] = "FUTURE", [WIT_RECORD] = "RECORD",
    [WIT_ENUM] = "ENUM",     [WIT_FLAGS] = "FLAGS",   [WIT_VARIANT] = "VARIANT",
};

static void table(struct emit *e, struct unit *u, const struct decl *d, struct wcp_buf *out)
{
    const struct wit_type *t = d->body;
    const char *storage = d->is_public ? "" : "static ", *n = d->c_name;
    const char *start = t->kind == WIT_RESULT
                            ? ""
                            : emit_fmt(e, "%sconst struct wcp_type %s_type = {.kind = WCP_%s, %s",
                                       storage, n, kinds[t->kind], async(t));
    switch (t->kind) {
    case WIT_RESULT: result_table(e, u, storage, n, n, t, out); break;
    case WIT_LIST:
        emit_line(out, "%s.size = sizeof(struct %s), .elem = %s};", start, n,
                  emit_table(e, u, t->elem));
        break;
    case WIT_OPTION:
        emit_line(out, "%s.size = sizeof(void *), .elem = %s};", start, emit_table(e, u, t->elem));
        break;
    case WIT_STREAM:
    case WIT_FUTURE:
        emit_line(out, "%s.size = sizeof(union wcp_async), .elem = %s};", start,
                  emit_table(e, u, t->elem));
        break;
    case WIT_ENUM:
        emit_line(out, "%s.count = %zu, .size = sizeof(uint32_t)};", start, t->count);
        break;
    case WIT_FLAGS: {
        const char *type = emit_type(e, u, t);
        emit_line(out, "%s.count = %zu, .size = sizeof(%.*s)};", start, t->count,
                  (int)strlen(type) - 1, type);
        break;
    }
    default: /* record, tuple, variant */
        if (t->count)
            fields(e, u, n, n, t, out);
        emit_line(out, "%s.count = %zu, .size = sizeof(struct %s)%s};", start, t->count, n,
                  t->count ? emit_fmt(e, ", .fields = %s_fields", n) : "");
        break;
    }
    emit_gap(out);
}

/* A variant's value of one case. */
static void constructors(struct emit *e, struct unit *u, const struct decl *d, struct wcp_buf *out)
{
    const char *upper = emit_upper(e, wcp_str(d->c_name));
    for (const struct wit_item *i = d->body->items; i; i = i->next) {
        const char *tag = emit_fmt(e, "%s_%s", upper, emit_upper(e, i->name));
        emit_line(out, "%s", emit_prototype_case(e, u, d, i));
        emit_line(out, "{");
        const char *payload = i->type ? emit_fmt(e, ", .%s = value", emit_case(e, i)) : "";
        emit_line(out, "    const struct %s r = {.tag = %s%s};", d->c_name, tag, payload);
        emit_line(out, "    return r;");
        emit_line(out, "}");
        emit_gap(out);
    }
}

/* --- functions --- */

static const char *short_name(const struct unit *u, const struct wit_func *f)
{
    return f->c_name + strlen(u->i->c_name) + 1;
}

static void func_tables(struct emit *e, struct unit *u, const struct wit_func *f,
                        struct wcp_buf *out)
{
    const char *n = short_name(u, f);
    bool is_async = false;
    for (const struct wit_item *i = f->params; i; i = i->next)
        is_async |= i->type->async;
    if (f->params) {
        emit_line(out, "static const struct wcp_field params_%s_fields[] = {", n);
        for (const struct wit_item *i = f->params; i; i = i->next)
            emit_line(out, "    {\"%.*s\", %s, offsetof(struct %s, %s)},", WCP_ARG(i->name),
                      emit_table(e, u, i->type), f->c_name, emit_param(e, i));
        emit_line(out, "};");
    }
    const char *f_fields = f->params ? emit_fmt(e, ", .fields = params_%s_fields", n) : "";
    emit_line(out,
              "static const struct wcp_type params_%s_type = {.kind = WCP_RECORD, %s.count = %zu, "
              ".size = sizeof(struct %s)%s};",
              n, is_async ? ".async = true, " : "", f->count, f->c_name, f_fields);
    if (f->c_result)
        result_table(e, u, "static ", emit_fmt(e, "result_%s", n), f->c_result, emit_result(f),
                     out);
    emit_gap(out);
}

static void served(struct emit *e, struct unit *u, const struct wit_func *f, struct wcp_buf *out)
{
    const struct wit_type *r = emit_result(f);
    emit_line(out, "%s", emit_prototype_ok(e, u, f));
    emit_line(out, "{");
    if (r) {
        const char *type = emit_result_type(e, u, f);
        emit_line(out, "    const %sr = {%s};", type, r->elem ? ".ok = value" : ".is_err = false");
        emit_line(out, "    wcp_reply(&c->call, &r);");
    } else {
        emit_line(out, "    wcp_reply(&c->call, %s);", f->result ? "&value" : "NULL");
    }
    emit_line(out, "}");
    emit_gap(out);
    if (r && !u->i->c_fail) {
        emit_line(out, "%s", emit_prototype_err(e, u, f));
        emit_line(out, "{");
        emit_line(out, "    wcp_reply_err(&c->call, %s);", r->err ? "&error" : "NULL");
        emit_line(out, "}");
        emit_gap(out);
    }
    emit_line(out, "static void invoke_%s(const void *impl, struct wcp_call *c)", short_name(u, f));
    emit_line(out, "{");
    emit_line(out, "    const struct %s *handlers = impl;", u->i->c_name);
    emit_line(out, "    handlers->%s((struct %s *)c);", f->c_member, f->c_name);
    emit_line(out, "}");
    emit_gap(out);
}

static void called(struct emit *e, struct unit *u, size_t number, const struct wit_func *f,
                   struct wcp_buf *out)
{
    const char *args = "";
    for (const struct wit_item *i = f->params; i; i = i->next)
        args =
            emit_fmt(e, "%s%s.%s = %s", args, *args ? ", " : "", emit_param(e, i), emit_arg(e, i));
    emit_line(out, "%s", emit_prototype_call(e, u, f));
    emit_line(out, "{");
    emit_line(out, "    const struct %s p = {%s};", f->c_name,
              *args ? args : ".call = {.link = l}");
    emit_line(out, "    return wcp_invoke(l, &%s_interface, %zu, &p, (void (*)(void))done, ctx);",
              u->i->c_name, number);
    emit_line(out, "}");
    emit_gap(out);
    emit_line(
        out,
        "static void deliver_%s(void (*done)(void), void *ctx, const void *result, int status)",
        short_name(u, f));
    emit_line(out, "{");
    emit_line(out, "    ((%s_done *)done)(ctx, %sstatus);", f->c_name, f->result ? "result, " : "");
    emit_line(out, "}");
    emit_gap(out);
}

static const char *result_ref(struct emit *e, struct unit *u, const struct wit_func *f)
{
    return f->c_result ? emit_fmt(e, "&result_%s_type", short_name(u, f))
                       : emit_table(e, u, f->result);
}

static void interface(struct emit *e, struct unit *u, struct wcp_buf *out)
{
    const struct wit_interface *i = u->i;
    size_t count = 0;
    emit_line(out, "static const struct wcp_func funcs[] = {");
    for (const struct wit_func *f = i->funcs; f; f = f->next, count++) {
        const char *n = short_name(u, f);
        emit_line(out,
                  "    {.name = \"%.*s\", .size = sizeof(struct %s), .params = &params_%s_type, "
                  ".result = %s%s%s%s%s},",
                  WCP_ARG(f->wire), f->c_name, n, result_ref(e, u, f),
                  i->exported ? ", .invoke = invoke_" : "", i->exported ? n : "",
                  i->imported ? ", .deliver = deliver_" : "", i->imported ? n : "");
    }
    emit_line(out, "};");
    if (i->exported) {
        emit_line(out, "static const uint32_t offsets[] = {");
        for (const struct wit_func *f = i->funcs; f; f = f->next)
            emit_line(out, "    offsetof(struct %s, %s),", i->c_name, f->c_member);
        emit_line(out, "};");
    }
    emit_line(out,
              "const struct wcp_interface %s_interface = {.name = \"%s\", .funcs = funcs, "
              ".count = %zu%s%s};",
              i->c_name, emit_id(e, i), count, i->exported ? ", .handlers = offsets" : "",
              i->is_world && !e->world_id ? ", .in_world = true" : "");
}

void emit_source(struct emit *e, struct unit *u, struct wcp_buf *out)
{
    const struct wit_interface *i = u->i;
    size_t number = 0;
    emit_line(out, "/* %s.c: generated by witc from %s. Do not edit. */", i->c_name, emit_id(e, i));
    emit_line(out, "#include \"%s.h\"", i->c_name);
    emit_gap(out);
    for (const struct decl *d = u->decls; d; d = d->next) {
        table(e, u, d, out);
        if (d->body->kind == WIT_VARIANT)
            constructors(e, u, d, out);
    }
    if (!i->funcs || !(i->imported || i->exported))
        return;
    for (const struct wit_func *f = i->funcs; f; f = f->next)
        func_tables(e, u, f, out);
    if (i->exported && i->c_fail) {
        const struct wit_func *f = i->funcs;
        while (!emit_result(f) && f->next) /* c_fail: one has a result */
            f = f->next;
        emit_line(out, "%s", emit_prototype_fail(e, u));
        emit_line(out, "{");
        emit_line(out, "    wcp_reply_err(c, %s);", emit_result(f)->err ? "&error" : "NULL");
        emit_line(out, "}");
        emit_gap(out);
    }
    for (const struct wit_func *f = i->funcs; f; f = f->next, number++) {
        if (i->exported)
            served(e, u, f, out);
        if (i->imported)
            called(e, u, number, f, out);
    }
    interface(e, u, out);
}

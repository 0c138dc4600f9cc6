/* json.c: resolved packages as JSON, in the shape of "wasm-tools component wit --json".
 *
 * Types are listed as they are met, each after what it is made of. */
#include "wit/json.h"
#include <string.h>

struct json {
    struct wit *w;
    struct wcp_buf types; /* the list so far */
    size_t count;
};

static void put_string(struct wcp_buf *out, struct wcp_str s)
{
    wcp_buf_put(out, "\"", 1);
    for (size_t k = 0; k < s.len; k++) {
        char c = s.ptr[k];
        if (c == '"' || c == '\\')
            wcp_buf_fmt(out, "\\%c", c);
        else if ((unsigned char)c < ' ')
            wcp_buf_fmt(out, "\\u%04x", c);
        else
            wcp_buf_put(out, &c, 1);
    }
    wcp_buf_put(out, "\"", 1);
}

/* "key": "value" behind a comma, if there is a value. */
static void put_optional(struct wcp_buf *out, const char *key, struct wcp_str value)
{
    if (!value.ptr)
        return;
    wcp_buf_fmt(out, ", \"%s\": ", key);
    put_string(out, value);
}

static void put_docs(struct wcp_buf *out, struct wcp_str doc)
{
    if (!doc.len)
        return;
    wcp_buf_fmt(out, ", \"docs\": {\"contents\": ");
    put_string(out, doc);
    wcp_buf_fmt(out, "}");
}

static void put_gate(struct wcp_buf *out, const struct wit_gate *g)
{
    if (!g)
        return;
    if (g->since.ptr) {
        wcp_buf_fmt(out, ", \"stability\": {\"stable\": {\"since\": ");
        put_string(out, g->since);
    } else if (g->feature.ptr) {
        wcp_buf_fmt(out, ", \"stability\": {\"unstable\": {\"feature\": ");
        put_string(out, g->feature);
    }
    if (g->since.ptr || g->feature.ptr) {
        put_optional(out, "deprecated", g->deprecated);
        wcp_buf_fmt(out, "}}");
    }
    put_optional(out, "external_id", g->external_id);
}

/* --- types --- */

static size_t definition(struct json *j, struct wit_type *t);
static void reference(struct json *j, const struct wit_type *t, struct wcp_buf *out);

static void begin_type(struct json *j)
{
    wcp_buf_fmt(&j->types, "%s\n    ", j->count++ ? "," : "");
}

/* A handle, or another type that has no name. */
static size_t anonymous(struct json *j, struct wcp_buf *kind)
{
    begin_type(j);
    wcp_buf_fmt(&j->types, "{\"name\": null, \"kind\": %.*s, \"owner\": null}", (int)kind->len,
                (const char *)kind->ptr);
    wcp_buf_free(kind);
    return j->count - 1;
}

static void members(struct json *j, const struct wit_type *t, const char *kind, const char *list,
                    struct wcp_buf *out)
{
    wcp_buf_fmt(out, "{\"%s\": {\"%s\": [", kind, list);
    for (const struct wit_item *i = t->items; i; i = i->next) {
        if (t->kind == WIT_TUPLE) {
            reference(j, i->type, out);
        } else {
            wcp_buf_fmt(out, "{\"name\": ");
            put_string(out, i->name);
            if (t->kind == WIT_RECORD || t->kind == WIT_VARIANT) {
                wcp_buf_fmt(out, ", \"type\": ");
                reference(j, i->type, out);
            }
            put_docs(out, i->doc);
            wcp_buf_fmt(out, "}");
        }
        wcp_buf_fmt(out, "%s", i->next ? ", " : "");
    }
    wcp_buf_fmt(out, "]}}");
}

static void kind(struct json *j, const struct wit_type *t, struct wcp_buf *out)
{
    switch (t->kind) {
    case WIT_RECORD: members(j, t, "record", "fields", out); return;
    case WIT_VARIANT: members(j, t, "variant", "cases", out); return;
    case WIT_ENUM: members(j, t, "enum", "cases", out); return;
    case WIT_FLAGS: members(j, t, "flags", "flags", out); return;
    case WIT_TUPLE: members(j, t, "tuple", "types", out); return;
    case WIT_RESOURCE: wcp_buf_fmt(out, "\"resource\""); return;
    case WIT_OWN:
    case WIT_BORROW:
        wcp_buf_fmt(out, "{\"handle\": {\"%s\": %zu}}", t->kind == WIT_OWN ? "own" : "borrow",
                    definition(j, t->elem->elem));
        return;
    case WIT_NAME:
    case WIT_USE: wcp_buf_fmt(out, "{\"type\": %zu}", definition(j, t->elem)); return;
    case WIT_ALIAS: kind(j, t->elem, out); return;
    case WIT_LIST: wcp_buf_fmt(out, "{\"list\": "); break;
    case WIT_OPTION: wcp_buf_fmt(out, "{\"option\": "); break;
    case WIT_STREAM: wcp_buf_fmt(out, "{\"stream\": "); break;
    case WIT_FUTURE: wcp_buf_fmt(out, "{\"future\": "); break;
    case WIT_MAP: wcp_buf_fmt(out, "{\"map\": ["); break;
    case WIT_ARRAY: wcp_buf_fmt(out, "{\"fixed-length-list\": ["); break;
    case WIT_RESULT: wcp_buf_fmt(out, "{\"result\": {\"ok\": "); break;
    default: /* a primitive: only an alias has it for its kind */
        wcp_buf_fmt(out, "{\"type\": ");
        reference(j, t, out);
        wcp_buf_fmt(out, "}");
        return;
    }
    reference(j, t->elem, out);
    if (t->kind == WIT_MAP) {
        wcp_buf_fmt(out, ", ");
        reference(j, t->err, out);
        wcp_buf_fmt(out, "]");
    } else if (t->kind == WIT_ARRAY) {
        wcp_buf_fmt(out, ", %zu]", t->count);
    } else if (t->kind == WIT_RESULT) {
        wcp_buf_fmt(out, ", \"err\": ");
        reference(j, t->err, out);
        wcp_buf_fmt(out, "}");
    }
    wcp_buf_fmt(out, "}");
}

/* What a value is: "u8", or the place of a type. The name of a resource is a handle there. */
static void reference(struct json *j, const struct wit_type *t, struct wcp_buf *out)
{
    struct wcp_buf text = {0};
    if (!t) {
        wcp_buf_fmt(out, "null");
    } else if (t->kind <= WIT_STRING || t->kind == WIT_ERROR_CONTEXT) {
        wit_print_type(t, &text);
        put_string(out, (struct wcp_str){(const char *)text.ptr, text.len});
        wcp_buf_free(&text);
    } else if (t->kind == WIT_NAME && wit_real(t)->kind != WIT_RESOURCE) {
        wcp_buf_fmt(out, "%zu", definition(j, t->elem));
    } else {
        if (t->kind == WIT_NAME)
            wcp_buf_fmt(&text, "{\"handle\": {\"own\": %zu}}", definition(j, t->elem));
        else
            kind(j, t, &text);
        wcp_buf_fmt(out, "%zu", anonymous(j, &text));
    }
}

/* The place of a type with a name, which is written first if it was not yet. */
static size_t definition(struct json *j, struct wit_type *t)
{
    struct wcp_buf text = {0};
    if (t->number)
        return t->number - 1;
    kind(j, t, &text);
    begin_type(j);
    t->number = j->count;
    wcp_buf_fmt(&j->types, "{\"name\": ");
    put_string(&j->types, t->name);
    wcp_buf_fmt(&j->types, ", \"kind\": %.*s", (int)text.len, (const char *)text.ptr);
    wcp_buf_fmt(&j->types, ", \"owner\": {\"%s\": %zu}", t->owner->is_world ? "world" : "interface",
                t->owner->number);
    put_docs(&j->types, t->doc);
    put_gate(&j->types, t->gate);
    wcp_buf_fmt(&j->types, "}");
    wcp_buf_free(&text);
    return t->number - 1;
}

/* --- functions and interfaces --- */

static void function_kind(struct json *j, const struct wit_func *f, struct wcp_buf *out)
{
    static const char *const kinds[] = {"freestanding", "constructor", "method", "static"};
    static const char *const accessors[] = {"", "getter", "setter"};
    const char *prefix = f->async ? "async-" : "", *accessor = accessors[f->accessor];
    if (f->kind == WIT_FREE)
        wcp_buf_fmt(out, "\"%s%s\"", prefix, f->accessor ? accessor : kinds[f->kind]);
    else
        wcp_buf_fmt(out, "{\"%s%s%s%s\": %zu}", prefix, kinds[f->kind], f->accessor ? "-" : "",
                    accessor, definition(j, f->resource));
}

static void function(struct json *j, const struct wit_func *f, struct wcp_buf *out)
{
    wcp_buf_fmt(out, "{\"name\": ");
    put_string(out, f->id);
    wcp_buf_fmt(out, ", \"kind\": ");
    function_kind(j, f, out);
    wcp_buf_fmt(out, ", \"params\": [");
    for (const struct wit_item *i = f->params; i; i = i->next) {
        wcp_buf_fmt(out, "{\"name\": ");
        put_string(out, i->name);
        wcp_buf_fmt(out, ", \"type\": ");
        reference(j, i->type, out);
        wcp_buf_fmt(out, "}%s", i->next ? ", " : "");
    }
    wcp_buf_fmt(out, "]");
    if (f->result) {
        wcp_buf_fmt(out, ", \"result\": ");
        reference(j, f->result, out);
    }
    put_docs(out, f->doc);
    put_gate(out, f->gate);
    wcp_buf_fmt(out, "}");
}

static void interface(struct json *j, const struct wit_interface *i, struct wcp_buf *out)
{
    wcp_buf_fmt(out, "{\"name\": ");
    if (i->is_inline)
        wcp_buf_fmt(out, "null");
    else
        put_string(out, i->name);
    wcp_buf_fmt(out, ", \"types\": {");
    for (struct wit_type *t = i->types; t; t = t->next) {
        put_string(out, t->name);
        wcp_buf_fmt(out, ": %zu%s", definition(j, t), t->next ? ", " : "");
    }
    wcp_buf_fmt(out, "}, \"functions\": {");
    for (const struct wit_func *f = i->funcs; f; f = f->next) {
        put_string(out, f->id);
        wcp_buf_fmt(out, ": ");
        function(j, f, out);
        wcp_buf_fmt(out, "%s", f->next ? ", " : "");
    }
    wcp_buf_fmt(out, "}");
    put_docs(out, i->doc);
    put_gate(out, i->gate);
    wcp_buf_fmt(out, ", \"package\": %zu", i->package->number);
    if (i->clone_of)
        wcp_buf_fmt(out, ", \"clone_of\": %zu", i->clone_of->number);
    wcp_buf_fmt(out, "}");
}

/* --- worlds and packages --- */

static void externs(struct json *j, const struct wit_externs *list, struct wcp_buf *out)
{
    for (const struct wit_extern *x = list->first; x; x = x->next) {
        if (x->name.len)
            put_string(out, x->name);
        else
            wcp_buf_fmt(out, "\"interface-%zu\"", x->interface->number);
        if (x->type) {
            wcp_buf_fmt(out, ": {\"type\": %zu}", definition(j, x->type));
        } else if (x->func) {
            wcp_buf_fmt(out, ": {\"function\": ");
            function(j, x->func, out);
            wcp_buf_fmt(out, "}");
        } else {
            wcp_buf_fmt(out, ": {\"interface\": {\"id\": %zu", x->interface->number);
            put_gate(out, x->gate);
            if (!x->interface->is_inline)
                put_docs(out, x->doc);
            wcp_buf_fmt(out, "}}");
        }
        wcp_buf_fmt(out, "%s", x->next ? ", " : "");
    }
}

static void world(struct json *j, const struct wit_world *o, struct wcp_buf *out)
{
    wcp_buf_fmt(out, "{\"name\": ");
    put_string(out, o->name);
    wcp_buf_fmt(out, ", \"imports\": {");
    externs(j, o->imports, out);
    wcp_buf_fmt(out, "}, \"exports\": {");
    externs(j, o->exports, out);
    wcp_buf_fmt(out, "}, \"package\": %zu", o->package->number);
    put_docs(out, o->doc);
    put_gate(out, o->gate);
    wcp_buf_fmt(out, "}");
}

static void package(struct json *j, const struct wit_package *p, struct wcp_buf *out)
{
    wcp_buf_fmt(out, "{\"name\": ");
    put_string(out, wit_package_id(j->w, p));
    put_docs(out, p->doc);
    wcp_buf_fmt(out, ", \"interfaces\": {");
    const char *comma = "";
    for (const struct wit_interface *i = p->interfaces; i; i = i->next) {
        if (i->is_inline)
            continue;
        wcp_buf_fmt(out, "%s", comma);
        put_string(out, i->name);
        wcp_buf_fmt(out, ": %zu", i->number);
        comma = ", ";
    }
    wcp_buf_fmt(out, "}, \"worlds\": {");
    for (const struct wit_world *o = p->worlds; o; o = o->next) {
        put_string(out, o->name);
        wcp_buf_fmt(out, ": %zu%s", o->number, o->next ? ", " : "");
    }
    wcp_buf_fmt(out, "}}");
}

static void number(struct wit *w)
{
    size_t packages = 0, interfaces = 0, worlds = 0;
    for (struct wit_package *p = w->packages; p; p = p->next) {
        p->number = packages++;
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            i->number = interfaces++;
        for (struct wit_world *o = p->worlds; o; o = o->next)
            o->number = o->scope->number = worlds++;
    }
}

static void put_list(struct wcp_buf *out, const char *name, struct wcp_buf *list, const char *end)
{
    wcp_buf_fmt(out, "  \"%s\": [%.*s%s]%s\n", name, (int)list->len, (const char *)list->ptr,
                list->len ? "\n  " : "", end);
    wcp_buf_free(list);
}

void wit_json(struct wit *w, struct wcp_buf *out)
{
    struct json j = {.w = w};
    struct wcp_buf packages = {0}, interfaces = {0}, worlds = {0};
    number(w);
    for (const struct wit_package *p = w->packages; p; p = p->next) {
        wcp_buf_fmt(&packages, "%s\n    ", packages.len ? "," : "");
        package(&j, p, &packages);
        for (const struct wit_interface *i = p->interfaces; i; i = i->next) {
            wcp_buf_fmt(&interfaces, "%s\n    ", interfaces.len ? "," : "");
            interface(&j, i, &interfaces);
        }
        for (const struct wit_world *o = p->worlds; o; o = o->next) {
            wcp_buf_fmt(&worlds, "%s\n    ", worlds.len ? "," : "");
            world(&j, o, &worlds);
        }
    }
    wcp_buf_fmt(out, "{\n");
    put_list(out, "worlds", &worlds, ",");
    put_list(out, "interfaces", &interfaces, ",");
    put_list(out, "types", &j.types, ",");
    put_list(out, "packages", &packages, "");
    wcp_buf_fmt(out, "}\n");
}

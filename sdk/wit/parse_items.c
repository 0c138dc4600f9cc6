/* parse_items.c: what stands in interfaces: types, functions, and the gates before them.
 *
 * The only recursion is of types in types, and that is bounded. */
#include "wit/parser.h"
#include <assert.h>
#include <ctype.h>
#include <string.h>

/* --- tokens --- */

bool parse_is(const struct parser *p, char c)
{
    return p->x.kind == WIT_PUNCT && p->x.text.ptr[0] == c;
}

bool parse_is_keyword(const struct parser *p, const char *word)
{
    return p->x.kind == WIT_WORD && !p->x.escaped && wcp_str_eq(p->x.text, wcp_str(word));
}

_Noreturn void parse_unexpected(struct parser *p, const char *wanted)
{
    wit_fail(p->w, p->x.pos, "expected %s, found %s", wanted, wit_lex_found(&p->x));
}

bool parse_accept(struct parser *p, char c)
{
    bool yes = parse_is(p, c);
    if (yes)
        wit_lex_next(&p->x);
    return yes;
}

void parse_expect(struct parser *p, char c)
{
    char wanted[] = {'\'', c, '\'', '\0'};
    if (!parse_accept(p, c))
        parse_unexpected(p, wanted);
}

bool parse_accept_keyword(struct parser *p, const char *word)
{
    bool yes = parse_is_keyword(p, word);
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

struct wcp_str parse_name(struct parser *p, const char *what)
{
    struct wcp_str s = p->x.text;
    if (p->x.kind != WIT_WORD)
        parse_unexpected(p, what);
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

struct wit_type *parse_new_type(struct parser *p, enum wit_kind kind)
{
    struct wit_type *t = PARSE_NEW(p, struct wit_type);
    t->kind = kind;
    t->pos = p->x.pos;
    t->owner = p->scope;
    return t;
}

/* A reference to a definition. */
static struct wit_type *type_name(struct parser *p)
{
    struct wit_type *t = parse_new_type(p, WIT_NAME);
    t->name = parse_name(p, "a type");
    if (p->alone && parse_accept(p, '.')) {
        t->from = PARSE_NEW(p, struct wit_path);
        t->from->pos = t->pos;
        t->from->scope = p->package;
        t->from->name = t->name;
        t->name = parse_name(p, "a type");
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
    parse_expect(p, '<');
    do {
        struct wit_item *i = PARSE_NEW(p, struct wit_item);
        if (t->items && parse_is(p, '>'))
            break; /* behind a last comma */
        i->pos = p->x.pos;
        i->type = parse_type(p);
        add_item(p, &end, &t->count, i);
    } while (parse_accept(p, ','));
    parse_expect(p, '>');
}

static size_t length(struct parser *p)
{
    uint64_t n = 0;
    bool ok = p->x.kind == WIT_WORD;
    for (size_t k = 0; ok && k < p->x.text.len; k++) {
        unsigned char c = (unsigned char)p->x.text.ptr[k];
        n = n * 10 + (c - (unsigned)'0');
        ok = isdigit(c) && n <= UINT32_MAX;
    }
    if (!ok)
        parse_unexpected(p, "the length of the list");
    wit_lex_next(&p->x);
    return (size_t)n;
}

/* <T>, of a list also <T, 4> */
static void one_parameter(struct parser *p, struct wit_type *t)
{
    parse_expect(p, '<');
    t->elem = parse_type(p);
    if (t->kind == WIT_LIST && parse_accept(p, ',')) {
        t->kind = WIT_ARRAY;
        t->count = length(p);
    }
    parse_expect(p, '>');
}

/* map<K, V> */
static void map(struct parser *p, struct wit_type *t)
{
    parse_expect(p, '<');
    t->elem = parse_type(p);
    parse_expect(p, ',');
    t->err = parse_type(p);
    parse_expect(p, '>');
}

/* result, result<T>, result<_, E>, result<T, E> */
static void result(struct parser *p, struct wit_type *t)
{
    if (!parse_accept(p, '<'))
        return;
    if (!parse_accept_keyword(p, "_"))
        t->elem = parse_type(p);
    if (parse_accept(p, ','))
        t->err = parse_type(p);
    else if (!t->elem)
        parse_unexpected(p, "','");
    parse_expect(p, '>');
}

static struct wit_type *handle(struct parser *p, struct wit_type *t)
{
    parse_expect(p, '<');
    t->elem = type_name(p);
    parse_expect(p, '>');
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
    {"map", WIT_MAP},
    {"error-context", WIT_ERROR_CONTEXT},
};

struct wit_type *parse_type(struct parser *p)
{
    enum wit_kind kind = WIT_NAME;
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++)
        if (parse_is_keyword(p, builtin[i].name))
            kind = builtin[i].kind;
    if (kind == WIT_NAME)
        return type_name(p);
    if (++p->depth > WIT_MAX_DEPTH)
        wit_fail(p->w, p->x.pos, "types are nested deeper than %d", WIT_MAX_DEPTH);
    struct wit_type *t = parse_new_type(p, kind);
    wit_lex_next(&p->x);
    switch (kind) {
    case WIT_LIST:
    case WIT_OPTION: one_parameter(p, t); break;
    case WIT_STREAM:
    case WIT_FUTURE:
        if (parse_is(p, '<'))
            one_parameter(p, t);
        break;
    case WIT_RESULT: result(p, t); break;
    case WIT_TUPLE: tuple(p, t); break;
    case WIT_OWN:
    case WIT_BORROW: handle(p, t); break;
    case WIT_MAP: map(p, t); break;
    default: break;
    }
    p->depth--;
    return t;
}

/* --- gates: @since(version = 0.2.0), @unstable(feature = x), @deprecated(version = 1.0.0),
 * @external-id("x") --- */

/* (key = …), up to what follows the '=' */
static void gate_key(struct parser *p, const char *key)
{
    parse_expect(p, '(');
    struct wit_pos pos = p->x.pos;
    struct wcp_str found = parse_name(p, key);
    if (!wcp_str_eq(found, wcp_str(key)))
        wit_fail(p->w, pos, "expected %s, found '%.*s'", key, WCP_ARG(found));
    if (!parse_is(p, '='))
        parse_unexpected(p, "'='");
}

static void gate_version(struct parser *p, struct wcp_str *version)
{
    gate_key(p, "version");
    *version = wit_lex_version(&p->x);
}

static void gate_feature(struct parser *p, struct wcp_str *feature)
{
    gate_key(p, "feature");
    wit_lex_next(&p->x);
    *feature = parse_name(p, "the name of a feature");
}

static void gate_external_id(struct parser *p, struct wcp_str *id)
{
    parse_expect(p, '(');
    if (p->x.kind != WIT_TEXT)
        parse_unexpected(p, "\"text\"");
    *id = p->x.text;
    wit_lex_next(&p->x);
}

const struct wit_gate *parse_gates(struct parser *p)
{
    struct wit_gate *g = NULL;
    while (parse_is(p, '@')) {
        struct wit_pos pos = p->x.pos;
        wit_lex_next(&p->x);
        if (!g)
            g = PARSE_NEW(p, struct wit_gate);
        struct wcp_str name = parse_name(p, "the name of a gate"), *value = NULL;
        void (*rest)(struct parser * p, struct wcp_str * value) = gate_version;
        if (wcp_str_eq(name, WCP_STR("since")))
            value = &g->since;
        else if (wcp_str_eq(name, WCP_STR("deprecated")))
            value = &g->deprecated;
        else if (wcp_str_eq(name, WCP_STR("unstable")))
            value = &g->feature, rest = gate_feature;
        else if (wcp_str_eq(name, WCP_STR("external-id")))
            value = &g->external_id, rest = gate_external_id;
        else
            wit_fail(p->w, pos,
                     "unknown gate '@%.*s': since, unstable, deprecated and external-id are known",
                     WCP_ARG(name));
        if (value->ptr)
            wit_fail(p->w, pos, "@%.*s stands here already", WCP_ARG(name));
        rest(p, value);
        parse_expect(p, ')');
        g->pos = pos;
    }
    if (g && g->since.ptr && g->feature.ptr)
        wit_fail(p->w, g->pos, "what is @unstable is not there @since a version: one of them");
    if (g && g->deprecated.ptr && !g->since.ptr && !g->feature.ptr)
        wit_fail(p->w, g->pos, "@deprecated goes with @since or @unstable");
    return g;
}

void parse_no_external_id(struct parser *p, const struct wit_gate *gate, const char *what)
{
    if (gate && gate->external_id.ptr)
        wit_fail(p->w, gate->pos, "%s has no @external-id", what);
}

void parse_no_gate(struct parser *p, const struct wit_gate *gate, const char *what)
{
    if (gate)
        wit_fail(p->w, gate->pos, "%s cannot have a gate", what);
}

/* --- definitions of types --- */

void parse_claim(struct parser *p, const void *scope, struct wcp_str n, struct wit_pos pos)
{
    const char *before = wit_name_claim(p->w, scope, n);
    if (before && wcp_str_eq(wcp_str(before), n))
        wit_fail(p->w, pos, "'%.*s' is already defined here", WCP_ARG(n));
    if (before)
        wit_fail(p->w, pos,
                 "'%.*s' is too much like '%s': names differ by more than case and dashes",
                 WCP_ARG(n), before);
}

void parse_define(struct parser *p, struct wit_type *t)
{
    parse_claim(p, p->scope, t->name, t->pos);
    wit_name_add(p->w, p->scope, t->name, t);
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
    parse_expect(p, '{');
    while (!parse_is(p, '}')) {
        struct wit_item *i = PARSE_NEW(p, struct wit_item);
        i->doc = p->x.doc;
        i->pos = p->x.pos;
        i->name = parse_name(p, what);
        parse_claim(p, t, i->name, i->pos);
        if (t->kind == WIT_RECORD) {
            parse_expect(p, ':');
            i->type = parse_type(p);
        } else if (t->kind == WIT_VARIANT && parse_accept(p, '(')) {
            i->type = parse_type(p);
            parse_expect(p, ')');
        }
        add_item(p, &end, &t->count, i);
        if (!parse_accept(p, ',') && !parse_is(p, '}'))
            parse_unexpected(p, "',' or '}'");
    }
    if (!t->count && t->kind != WIT_RECORD)
        parse_unexpected(p, what);
    parse_expect(p, '}');
}

/* --- functions --- */

/* (a: u32, b: string), after what is in params already */
static void params(struct parser *p, struct wit_func *f, struct wit_item **end)
{
    parse_expect(p, '(');
    while (!parse_is(p, ')')) {
        struct wit_item *i = PARSE_NEW(p, struct wit_item);
        i->pos = p->x.pos;
        i->name = parse_name(p, "a parameter");
        parse_claim(p, f, i->name, i->pos);
        parse_expect(p, ':');
        i->type = parse_type(p);
        add_item(p, &end, &f->count, i);
        if (!parse_accept(p, ',') && !parse_is(p, ')'))
            parse_unexpected(p, "',' or ')'");
    }
    parse_expect(p, ')');
}

/* A type that names the resource r, as if written in the text. */
static struct wit_type *name_of(struct parser *p, struct wit_type *r)
{
    struct wit_type *t = PARSE_NEW(p, struct wit_type);
    *t = (struct wit_type){.kind = WIT_NAME, .pos = r->pos, .name = r->name, .owner = p->scope};
    t->elem = r;
    return t;
}

/* A method's first parameter. */
static void self(struct parser *p, struct wit_func *f, struct wit_item ***end)
{
    struct wit_item *self = PARSE_NEW(p, struct wit_item);
    assert(f->resource); /* it is a method */
    self->name = WCP_STR("self");
    parse_claim(p, f, self->name, f->pos);
    self->pos = f->pos;
    self->type = PARSE_NEW(p, struct wit_type);
    *self->type = (struct wit_type){.kind = WIT_BORROW, .pos = f->pos, .owner = p->scope};
    self->type->elem = name_of(p, f->resource);
    add_item(p, end, &f->count, self);
}

static bool is_accessor(const struct parser *p)
{
    struct wit_lexer after = p->x;
    if (!parse_is_keyword(p, "get") && !parse_is_keyword(p, "set"))
        return false;
    wit_lex_next(&after);
    return after.kind == WIT_PUNCT && after.text.ptr[0] == '(';
}

bool parse_is_signature(const struct parser *p)
{
    return parse_is_keyword(p, "func") || parse_is_keyword(p, "async") || is_accessor(p);
}

/* A getter takes nothing and gives a value, a setter takes one and may fail. */
static void check_accessor(struct parser *p, const struct wit_func *f)
{
    size_t count = f->count - (f->kind == WIT_METHOD);
    if (f->accessor == WIT_GET && (count || !f->result))
        wit_fail(p->w, f->pos, "a getter is get() -> type");
    if (f->accessor == WIT_SET && count != 1)
        wit_fail(p->w, f->pos, "a setter is set(value: type), maybe -> result<_, error>");
}

/* [async] func(params) [-> type], or get or set instead of func; the current token is behind the
 * colon. */
static void signature(struct parser *p, struct wit_func *f)
{
    struct wit_item **end = &f->params;
    if (f->resource && parse_accept_keyword(p, "static"))
        f->kind = WIT_STATIC;
    f->async = parse_accept_keyword(p, "async");
    if (!f->async && is_accessor(p)) {
        f->accessor = parse_is_keyword(p, "get") ? WIT_GET : WIT_SET;
        wit_lex_next(&p->x);
    } else if (!parse_accept_keyword(p, "func")) {
        parse_unexpected(p, "func");
    }
    if (f->kind == WIT_METHOD)
        self(p, f, &end);
    params(p, f, end);
    if (p->x.kind == WIT_ARROW) {
        wit_lex_next(&p->x);
        f->result = parse_type(p);
    } else if (!parse_is(p, ';')) {
        parse_unexpected(p, "'->' or ';'");
    }
    parse_expect(p, ';');
    check_accessor(p, f);
}

static struct wit_func *new_func(struct parser *p, struct wcp_str doc, const struct wit_gate *gate)
{
    struct wit_func *f = PARSE_NEW(p, struct wit_func);
    f->doc = doc;
    f->gate = gate;
    f->owner = p->scope;
    return f;
}

void parse_add_func(struct parser *p, struct wit_func *f)
{
    *p->scope->funcs_end = f;
    p->scope->funcs_end = &f->next;
}

struct wit_func *parse_func(struct parser *p, struct wcp_str doc, const struct wit_gate *gate,
                            struct wcp_str name, struct wit_pos pos)
{
    struct wit_func *f = new_func(p, doc, gate);
    f->pos = pos;
    f->name = name;
    signature(p, f);
    wit_func_ids(p->w, f);
    return f;
}

/* constructor(…); and name: [static] func(…); of resource r */
static void resource_func(struct parser *p, struct wit_type *r)
{
    struct wcp_str doc = p->x.doc;
    const struct wit_gate *gate = parse_gates(p);
    struct wit_func *f = new_func(p, doc, gate);
    f->pos = p->x.pos;
    f->resource = r;
    if (parse_accept_keyword(p, "constructor")) {
        f->kind = WIT_CONSTRUCTOR;
        f->name = r->name;
        params(p, f, &f->params);
        f->result = name_of(p, r);
        if (p->x.kind == WIT_ARROW) {
            wit_lex_next(&p->x);
            f->result = parse_type(p);
        }
        parse_expect(p, ';');
    } else {
        f->kind = WIT_METHOD;
        f->name = parse_name(p, "a function or '}'");
        parse_expect(p, ':');
        signature(p, f);
    }
    wit_func_ids(p->w, f);
    parse_claim(p, p->scope, f->id, f->pos);
    parse_add_func(p, f);
}

static void resource(struct parser *p, struct wit_type *r)
{
    if (parse_accept(p, ';'))
        return;
    parse_expect(p, '{');
    while (!parse_accept(p, '}'))
        resource_func(p, r);
}

bool parse_definition(struct parser *p, struct wcp_str doc, const struct wit_gate *gate)
{
    static const struct {
        const char *word;
        enum wit_kind kind;
    } kinds[] = {{"record", WIT_RECORD}, {"variant", WIT_VARIANT},   {"enum", WIT_ENUM},
                 {"flags", WIT_FLAGS},   {"resource", WIT_RESOURCE}, {"type", WIT_ALIAS}};
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && !parse_accept_keyword(p, kinds[k].word))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return false;
    struct wit_type *t = parse_new_type(p, kinds[k].kind);
    t->doc = doc;
    t->gate = gate;
    t->name = parse_name(p, "the name of a type");
    parse_define(p, t);
    if (t->kind == WIT_RESOURCE) {
        resource(p, t);
    } else if (t->kind == WIT_ALIAS) {
        parse_expect(p, '=');
        t->elem = parse_type(p);
        parse_expect(p, ';');
    } else {
        members(p, t);
    }
    return true;
}

/* test_wit.c: WIT text to resolved types: what the grammar allows, what names mean, and the limits.
 * The texts of errors are in tests/golden/wit-errors.txt. */
#include "test.h"
#include "wit/load.h"
#include "wit/lex.h"
#include "wit/version.h"

static struct wit w; /* of the running test; reachable for the leak checker */

static struct wit_package *load(const char *text)
{
    wit_init(&w);
    if (wit_try_text(&w, "a.wit", wcp_str(text)) != 0)
        FAIL("%s: offset %zu: %s", text, w.error.pos.offset, w.error.msg);
    return w.packages;
}

static void check_fails(const char *text, const char *message)
{
    wit_init(&w);
    CHECK_INT(wit_try_text(&w, "a.wit", wcp_str(text)), WCP_EINVAL);
    CHECK_STR(w.error.msg, message);
    wit_free(&w);
}

#define CHECK_NAME(got, want)                                                                      \
    do {                                                                                           \
        char *name_ = wcp_str_dup(got);                                                            \
        CHECK_STR(name_, want);                                                                    \
        free(name_);                                                                               \
    } while (0)

static void check_func(const struct wit_func *f, const char *want)
{
    struct wcp_buf b = {0};
    wit_print_func(f, &b);
    wcp_buf_put(&b, "", 1);
    CHECK_STR((const char *)b.ptr, want);
    wcp_buf_free(&b);
}

static void check_type(const struct wit_type *t, const char *want)
{
    struct wcp_buf b = {0};
    wit_print_type(t, &b);
    wcp_buf_put(&b, "", 1);
    CHECK_STR((const char *)b.ptr, want);
    wcp_buf_free(&b);
}

TEST(tokens_are_words_arrows_and_single_characters)
{
    static const struct {
        enum wit_token_kind kind;
        const char *text;
    } want[] = {{WIT_WORD, "a-b"},  {WIT_PUNCT, ":"}, {WIT_WORD, "func"},      {WIT_ARROW, "->"},
                {WIT_WORD, "type"}, {WIT_WORD, "_"},  {WIT_PUNCT, "\xc3\xa4"}, {WIT_END, ""}};
    struct wit_lexer x;
    struct wit_file file = {"a.wit", wcp_str("a-b:func->%type/* no */_ // no\n\xc3\xa4"), NULL};
    wit_init(&w);
    wit_lex_start(&x, &w, &file);
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        CHECK_INT(x.kind, want[k].kind);
        CHECK_NAME(x.text, want[k].text);
        CHECK_INT(x.escaped, k == 4);
        wit_lex_next(&x);
    }
    wit_free(&w);
}

TEST(doc_comments_lose_their_marks_and_stay_with_the_next_item)
{
    struct wit_package *p = load("/// Of all.\n"
                                 "package a:b@1.0.0;\n"
                                 "//// a ruler\n"
                                 "/// First.\n"
                                 "// no\n"
                                 "///   second\n"
                                 "interface i {\n"
                                 "  /** One\n"
                                 "   * two */\n"
                                 "  @since(version = 1.0.0)\n"
                                 "  f: func();\n"
                                 "  g: func();\n"
                                 "  /// Before the gate.\n"
                                 "  @since(version = 0.9.9) @deprecated(version = 1.2.3-rc.1+b)\n"
                                 "  /// After the gate.\n"
                                 "  h: func();\n"
                                 "}\n");
    const struct wit_func *f = p->interfaces->funcs;
    CHECK_NAME(p->doc, "Of all.");
    CHECK_NAME(p->interfaces->doc, "First.\n  second");
    CHECK_NAME(f->doc, "One\ntwo");
    CHECK_NAME(f->next->doc, "");
    CHECK_NAME(f->next->next->doc, "Before the gate.");
    wit_free(&w);
}

TEST(every_kind_of_type_is_understood)
{
    struct wit_package *p = load(
        "package a:b@0.2.0-draft;\n"
        "interface i {\n"
        "  resource r { constructor(x: u8); m: func(y: u8) -> r; s: static func(); p: get() -> u8; "
        "}\n"
        "  f: async func(a: list<option<bool>>, b: result, c: result<u8>, d: result<_, string>,\n"
        "    e: result<char, f64>, f: tuple<s8, s64,>, g: stream, h: stream<u8>, i: future,\n"
        "    j: future<f32>, k: own<r>, l: borrow<r>, m: r, n: map<u8, r>, o: list<u8, 4>,\n"
        "    p: error-context) -> u64;\n"
        "}\n");
    const struct wit_func *f = p->interfaces->funcs;
    check_func(f, "r: constructor(x: u8)");
    CHECK(wit_real(f->result)->kind == WIT_RESOURCE);
    check_func(f->next, "r.m: func(y: u8) -> r");
    CHECK_INT(f->next->count, 2);
    check_type(f->next->params->type, "borrow<r>");
    check_func(f->next->next, "r.s: static func()");
    check_func(f->next->next->next, "r.p: get() -> u8");
    CHECK_NAME(f->next->next->next->id, "[method][get]r.p");
    check_func(
        f->next->next->next->next,
        "f: async func(a: list<option<bool>>, b: result, c: result<u8>, d: result<_, string>, e: "
        "result<char, f64>, f: tuple<s8, s64>, g: stream, h: stream<u8>, i: future, j: "
        "future<f32>, k: own<r>, l: borrow<r>, m: r, n: map<u8, r>, o: list<u8, 4>, p: "
        "error-context) -> u64");
    CHECK_NAME(p->version, "0.2.0-draft");
    wit_free(&w);
}

TEST(names_may_be_escaped_keywords_acronyms_and_digits)
{
    struct wit_package *p =
        load("package a:b;\n"
             "interface i {\n"
             "  variant %result { HTTP-request-denied, DNS-2-timeout, %list, x9(u8) }\n"
             "  %type: func(%record: %result);\n"
             "}\n");
    const struct wit_interface *i = p->interfaces;
    CHECK_NAME(i->types->name, "result");
    CHECK_NAME(i->types->items->name, "HTTP-request-denied");
    CHECK_NAME(i->funcs->name, "type");
    CHECK(i->funcs->params->type->elem == i->types);
    wit_free(&w);
}

TEST(uses_lead_to_the_definition_through_renames_and_aliases)
{
    struct wit_package *p = load("package a:b;\n"
                                 "use deep as far;\n"
                                 "interface top { use middle.{m as t}; f: func(v: t) -> t; }\n"
                                 "interface middle { use far.{d as e}; type m = e; }\n"
                                 "interface deep { record d { s: stream<u8> } }\n");
    const struct wit_interface *top = p->interfaces, *deep = top->next->next;
    const struct wit_func *f = top->funcs;
    CHECK(wit_real(f->result) == deep->types);
    CHECK(f->params->type->async);
    CHECK_INT(deep->depth, 1);
    CHECK_INT(top->depth, 3);
    wit_free(&w);
}

TEST(types_may_be_used_before_they_are_defined)
{
    struct wit_package *p =
        load("package a:b; interface i { record a { b: b } record b { c: u8 } }");
    CHECK(wit_real(p->interfaces->types->items->type) == p->interfaces->types->next);
    CHECK(!p->interfaces->types->async);
    wit_free(&w);
}

TEST(worlds_hold_imports_exports_includes_and_their_own)
{
    struct wit_package *p = load("package a:b;\n"
                                 "interface i { }\n"
                                 "world base { import i; type t = u8; import f: func(v: t); }\n"
                                 "world w {\n"
                                 "  include base with { f as g }\n"
                                 "  export i;\n"
                                 "  export mine: interface { h: func(); }\n"
                                 "}\n");
    const struct wit_world_item *item = p->worlds->next->items;
    CHECK(item->kind == WIT_INCLUDE && item->world == p->worlds);
    CHECK(item->next->kind == WIT_EXPORT && item->next->interface == p->interfaces);
    const struct wit_interface *mine = item->next->next->interface;
    CHECK(mine->is_inline);
    CHECK_NAME(wit_interface_id(&w, mine), "mine");
    CHECK_NAME(wit_interface_id(&w, p->interfaces), "a:b/i");
    CHECK_NAME(p->worlds->items->next->func->name, "f");
    wit_free(&w);
}

TEST(a_file_may_hold_further_packages)
{
    struct wit_package *p = load("package a:b;\n"
                                 "package c:d@1.0.0 { interface i { type t = u8; } }\n"
                                 "interface j { use c:d/i@1.0.0.{t}; }\n");
    CHECK(p->interfaces->types->elem == p->next->interfaces->types);
    wit_free(&w);
}

static const struct wit_extern *extern_of(const struct wit_externs *list, const char *name)
{
    const struct wit_extern *x = list->first;
    while (x && !wcp_str_eq(x->name, wcp_str(name)) &&
           !(x->interface && !x->name.len && wcp_str_eq(x->interface->name, wcp_str(name))))
        x = x->next;
    if (!x)
        FAIL("no '%s'", name);
    return x;
}

TEST(includes_copy_what_has_a_name_and_rename_it)
{
    struct wit_package *p = load("package a:b;\n"
                                 "interface i { type t = u8; }\n"
                                 "world base {\n"
                                 "  use i.{t};\n"
                                 "  resource r { constructor(v: t); m: func() -> r; }\n"
                                 "  import f: func(v: borrow<r>);\n"
                                 "  import x: interface { record p { a: u8 } get: func() -> p; }\n"
                                 "  export f: func();\n"
                                 "}\n"
                                 "world w { include base with { r as s, f as g, x as y } }\n");
    const struct wit_world *base = p->worlds, *o = base->next;
    const struct wit_type *r = extern_of(base->imports, "r")->type;
    const struct wit_type *s = extern_of(o->imports, "s")->type;
    CHECK(s != r && s->kind == WIT_RESOURCE && s->owner == o->scope);
    check_func(extern_of(o->imports, "[method]s.m")->func, "s.m: func() -> s");
    CHECK(extern_of(o->imports, "[method]s.m")->func->result->elem == s);
    check_func(extern_of(o->imports, "[constructor]s")->func, "s: constructor(v: t)");
    check_func(extern_of(o->imports, "g")->func, "g: func(v: borrow<s>)");
    check_func(extern_of(o->exports, "g")->func, "g: func()");
    const struct wit_interface *x = extern_of(base->imports, "x")->interface;
    const struct wit_interface *y = extern_of(o->imports, "y")->interface;
    CHECK(y != x && y->clone_of == x && y->is_inline);
    CHECK(y->funcs->result->elem == y->types && y->types != x->types);
    CHECK(extern_of(o->imports, "i")->interface == p->interfaces);
    CHECK(extern_of(o->imports, "i")->implied);
    wit_free(&w);
}

TEST(interfaces_whose_types_are_used_are_imported_unless_exported)
{
    struct wit_package *p = load("package a:b;\n"
                                 "interface i { type t = u8; }\n"
                                 "interface j { use i.{t}; f: func(v: t); }\n"
                                 "world one { import j; }\n"
                                 "world two { export j; }\n"
                                 "world three { export j; export i; }\n"
                                 "world four { import j; import i; }\n");
    const struct wit_world *one = p->worlds, *two = one->next, *three = two->next;
    CHECK(extern_of(one->imports, "i")->implied && !extern_of(one->imports, "j")->implied);
    CHECK(extern_of(two->imports, "i")->implied && !two->exports->first->next);
    CHECK(!three->imports->first);
    CHECK(!extern_of(three->exports, "i")->implied);
    CHECK(!extern_of(three->next->imports, "i")->implied);
    wit_free(&w);
}

TEST(a_gate_hides_what_is_unstable_until_its_feature_is_enabled)
{
    static const char text[] = "package a:b@1.0.0;\n"
                               "@unstable(feature = red) interface r { }\n"
                               "interface i {\n"
                               "  @unstable(feature = red) type t = u8;\n"
                               "  @unstable(feature = red) f: func(v: t);\n"
                               "  @unstable(feature = green) g: func();\n"
                               "  @since(version = 1.0.0) h: func();\n"
                               "}\n"
                               "world w { @unstable(feature = red) import r; export i; }\n"
                               "@unstable(feature = green) world v { export i; }\n";
    const struct wcp_str red = WCP_STR("red");
    for (int k = 0; k < 3; k++) {
        wit_init(&w);
        w.features = &red;
        w.feature_count = k == 1;
        w.all_features = k == 2;
        CHECK_INT(wit_try_text(&w, "a.wit", wcp_str(text)), 0);
        const struct wit_interface *i = w.packages->interfaces;
        CHECK_NAME(i->name, k ? "r" : "i");
        i = k ? i->next : i;
        CHECK((i->types != NULL) == (k > 0));
        CHECK_NAME(i->funcs->name, k ? "f" : "h");
        CHECK((w.packages->worlds->items->kind == WIT_IMPORT) == (k > 0));
        CHECK((w.packages->worlds->next != NULL) == (k == 2));
        wit_free(&w);
    }
}

TEST(versions_are_valid_and_compare_as_semver_says)
{
    static const char *const rising[] = {"0.0.0",     "0.9.10",
                                         "1.0.0-1",   "1.0.0-2",
                                         "1.0.0-10",  "1.0.0--",
                                         "1.0.0-a",   "1.0.0-a.1",
                                         "1.0.0-a.b", "1.0.0-b",
                                         "1.0.0",     "1.0.0+1",
                                         "1.0.1",     "18446744073709551615.0.0"};
    static const char *const invalid[] = {
        "",          "1",      "1.0",        "1.0.0.0",   "1..0",
        "01.0.0",    "1.0.0-", "1.0.0-a..b", "1.0.0-01",  "1.0.0+",
        "1.0.0-a_b", "a.0.0",  "1.0.0-a.",   "1.0.0+a.+", "18446744073709551616.0.0"};
    size_t n = sizeof rising / sizeof *rising;
    for (size_t a = 0; a < n; a++) {
        CHECK(version_is_valid(wcp_str(rising[a])));
        for (size_t b = 0; b < n; b++) {
            int c = version_compare(wcp_str(rising[a]), wcp_str(rising[b]));
            if ((c > 0) - (c < 0) != (a > b) - (a < b))
                FAIL("%s and %s compare as %d", rising[a], rising[b], c);
        }
    }
    for (size_t k = 0; k < sizeof invalid / sizeof *invalid; k++)
        if (version_is_valid(wcp_str(invalid[k])))
            FAIL("'%s' passes for a version", invalid[k]);
    CHECK(version_is_valid(wcp_str("1.0.0+01")));
    CHECK_INT(version_compare(wcp_str("1.0.0-a"), wcp_str("1.0.0-a")), 0);
}

TEST(packages_have_a_limit)
{
    struct wcp_buf b = {0};
    wcp_buf_fmt(&b, "package a:b; package x:p0 { interface i { type t = u8; } }");
    for (int k = 1; k < 300; k++)
        wcp_buf_fmt(&b, "package x:p%d { interface i { use x:p%d/i.{t}; } }", k, k - 1);
    wcp_buf_fmt(&b, "interface i { use x:p299/i.{t}; }");
    wcp_buf_put(&b, "", 1);
    check_fails((char *)b.ptr, "packages need each other more than 100 deep");
    wcp_buf_free(&b);
}

TEST(quoted_text_has_escapes)
{
    struct wit_package *p =
        load("package a:b; interface i {"
             "@external-id(\"a\\n\\t\\r\\\"\\'\\\\ \\u{e4}\\u{1F600}\\c3\\a4\") "
             "f: func(); @external-id(\"\") g: func(); }");
    CHECK_NAME(p->interfaces->funcs->gate->external_id, "a\n\t\r\"'\\ \u00e4\U0001f600\u00e4");
    CHECK_NAME(p->interfaces->funcs->next->gate->external_id, "");
    wit_free(&w);
}

/* head, n times piece with its %zu, tail; for free() */
static char *repeat(const char *head, const char *piece, size_t n, const char *tail)
{
    struct wcp_buf b = {0};
    wcp_buf_fmt(&b, "package a:b; %s", head);
    for (size_t k = 0; k < n; k++) {
        const char *number = strchr(piece, '#');
        wcp_buf_fmt(&b, "%.*s", (int)strcspn(piece, "#"), piece);
        if (number)
            wcp_buf_fmt(&b, "%zu%s", k, number + 1);
    }
    wcp_buf_put(&b, tail, strlen(tail) + 1);
    return (char *)b.ptr;
}

static void nested(size_t depth, const char *message)
{
    struct wcp_buf b = {0};
    char *open = repeat("interface i { type t = ", "list<", depth, "u8");
    wcp_buf_fmt(&b, "%s", open);
    for (size_t k = 0; k < depth; k++)
        wcp_buf_fmt(&b, ">");
    wcp_buf_put(&b, "; }", 4);
    if (message)
        check_fails((char *)b.ptr, message);
    else
        load((char *)b.ptr), wit_free(&w);
    free(open);
    wcp_buf_free(&b);
}

TEST(types_nest_up_to_a_limit)
{
    nested(WIT_MAX_DEPTH - 2, NULL); /* and the alias, and the u8 */
    nested(WIT_MAX_DEPTH - 1, "types are nested deeper than 100");
    nested(WIT_MAX_DEPTH + 1, "types are nested deeper than 100");
    nested(100000, "types are nested deeper than 100");
}

/* The depth of a chain counts, although each link of it is shallow. */
TEST(chains_of_definitions_have_the_same_limit)
{
    for (int forward = 0; forward < 2; forward++) {
        struct wcp_buf b = {0};
        wcp_buf_fmt(&b, "package a:b; interface i { type t0 = u8; ");
        for (int k = 1; k < 1000; k++) {
            int n = forward ? k : 1000 - k;
            wcp_buf_fmt(&b, "type t%d = t%d;", n, n - 1);
        }
        wcp_buf_put(&b, "}", 2);
        check_fails((char *)b.ptr, "types are nested deeper than 100");
        wcp_buf_free(&b);
    }
}

TEST(uses_and_includes_have_a_limit)
{
    struct wcp_buf b = {0};
    wcp_buf_fmt(&b, "package a:b; interface i0 { type t = u8; }");
    for (int k = 1; k < 300; k++)
        wcp_buf_fmt(&b, "interface i%d { use i%d.{t as u}; type t = u8; use i0.{t as v}; }", k,
                    k - 1);
    wcp_buf_put(&b, "", 1);
    load("package a:b; interface i0 { type t = u8; } interface i1 { use i0.{t}; }");
    wit_free(&w);
    check_fails((char *)b.ptr, "interfaces use each other more than 100 deep");
    b.len = 0;
    wcp_buf_fmt(&b, "package a:b; world w0 { }");
    for (int k = 1; k < 300; k++)
        wcp_buf_fmt(&b, "world w%d { include w%d; }", k, k - 1);
    wcp_buf_put(&b, "", 1);
    check_fails((char *)b.ptr, "worlds include each other more than 100 deep");
    wcp_buf_free(&b);
}

TEST(a_type_has_at_most_65535_members)
{
    char *text = repeat("interface i { enum e {", "c#,", 65535, "} }");
    load(text), wit_free(&w);
    free(text);
    text = repeat("interface i { enum e {", "c#,", 65536, "} }");
    check_fails(text, "more than 65535 members");
    free(text);
}

TEST(comments_nest_to_any_depth)
{
    struct wcp_buf b = {0};
    wcp_buf_fmt(&b, "package a:b; ");
    for (int k = 0; k < 100000; k++)
        wcp_buf_fmt(&b, "/*");
    for (int k = 0; k < 100000; k++)
        wcp_buf_fmt(&b, "*/");
    wcp_buf_put(&b, "", 1);
    load((char *)b.ptr), wit_free(&w);
    wcp_buf_free(&b);
}

TEST(bytes_that_are_no_text_are_refused)
{
    check_fails("package a:b; \xff", "byte 0xff is not UTF-8");
    check_fails("\xc3", "byte 0xc3 is not UTF-8");
    static const char forbidden[] = "a character that is invisible, turns text around or is "
                                    "deprecated does not belong in WIT text";
    check_fails("package a:b; \x1b[31m", forbidden);
    check_fails("package a:b; // \u202e", forbidden);
    check_fails("package a:b; // \u0149", forbidden);
    load("package a:b; // \u200e"), wit_free(&w);
    check_fails("package a:b;\rinterface i {}",
                "expected package, use, interface or world, found '\r'");
    check_fails("", "a.wit: no file says 'package namespace:name;'");
    load("\xef\xbb\xbf"
         "package a:b;\r\n\r\n// the end"),
        wit_free(&w);
}

/* An error is where the text is cut, for each way to cut it, and never anything worse. */
TEST(a_text_cut_anywhere_is_an_error_or_a_shorter_text)
{
    static const char text[] =
        "package a:b@1.0.0; use c:d/e@1.0.0 as f; /// doc\n"
        "interface i { use f.{g as h}; @since(version = 1.0.0) record r { x: list<u8> } /* c */\n"
        "variant v { a, b(option<r>) } flags l { m } resource n { constructor(); o: static func(); "
        "}\n"
        "p: func(%type: result<_, v>) -> tuple<stream<u8>, future>; }\n"
        "world q { import i; export s: interface { } include t with { u as v }; }\n";
    for (size_t n = 0; n < sizeof text; n++) {
        char *copy = wcp_calloc(n + 1, 1); /* for the sanitizer: nothing behind the cut */
        memcpy(copy, text, n);
        wit_init(&w);
        int rc = wit_try_text(&w, "a.wit", (struct wcp_str){copy, n});
        CHECK(rc == 0 || (rc == WCP_EINVAL && w.error.msg[0]));
        wit_free(&w);
        free(copy);
    }
}

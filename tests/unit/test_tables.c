/* test_tables.c: tables made at run time are those that witc writes and the compiler lays out, for
 * every interface of tests/wit. */
#include "test.h"
#include "blobstore_blobstore.h"
#include "http_incoming_handler.h"
#include "http_outgoing_handler.h"
#include "keyvalue_atomics.h"
#include "keyvalue_batch.h"
#include "keyvalue_store.h"
#include "keyvalue_watcher.h"
#include "vec_api.h"
#include "vec_echo.h"
#include "vec_tests.h"
#include "wave/tables.h"
#include "wit/load.h"

static struct wit w; /* of the running test; reachable for the leak checker */

static void load(struct wit *into, void *arg)
{
    static const char *const includes[] = {"sdk/interfaces"};
    wit_load(into, "tests/wit", includes, 1);
}

static void load_tests(void)
{
    wit_init(&w);
    if (wit_try(&w, load, NULL))
        FAIL("%s", w.error.msg);
    tables_add_worlds(&w);
}

static unsigned compared;

/* where is for messages. Types do not contain themselves. */
static void compare(const char *where, const struct wcp_type *got, const struct wcp_type *want)
{
    compared++;
    if (!got != !want)
        FAIL("%s: a type on one side alone", where);
    if (!got || got == want)
        return;
    if (got->kind != want->kind || got->async != want->async || got->count != want->count ||
        got->size != want->size)
        FAIL("%s: kind %u async %d count %u size %u, expected %u %d %u %u", where, got->kind,
             got->async, got->count, got->size, want->kind, want->async, want->count, want->size);
    compare(where, got->elem, want->elem);
    for (unsigned i = 0; i < got->count && want->fields; i++) {
        const struct wcp_field *g = &got->fields[i], *f = &want->fields[i];
        if (strcmp(g->name, f->name) != 0 || g->offset != f->offset)
            FAIL("%s: '%s' at %u, expected '%s' at %u", where, g->name, g->offset, f->name,
                 f->offset);
        compare(g->name, g->type, f->type);
    }
}

static void compare_interface(const struct wcp_interface *want)
{
    const struct wcp_interface *got = NULL;
    for (struct wit_package *p = w.packages; p; p = p->next)
        for (struct wit_interface *i = p->interfaces; i; i = i->next)
            if (strcmp(wit_interface_id(&w, i).ptr, want->name) == 0)
                got = tables_interface(&w, i);
    if (!got)
        FAIL("there is no interface %s", want->name);
    CHECK_STR(got->name, want->name);
    CHECK_INT(got->count, want->count);
    CHECK_INT(got->in_world, want->in_world);
    for (size_t k = 0; k < want->count; k++) {
        const struct wcp_func *g = &got->funcs[k], *f = &want->funcs[k];
        CHECK_STR(g->name, f->name);
        CHECK_INT(g->size, f->size);
        compare(f->name, g->params, f->params);
        compare(f->name, g->result, f->result);
    }
}

TEST(tables_are_those_of_generated_code)
{
    load_tests();
    compare_interface(&vec_api_interface);
    compare_interface(&vec_echo_interface);
    compare_interface(&blobstore_blobstore_interface);
    compare_interface(&http_incoming_handler_interface);
    compare_interface(&http_outgoing_handler_interface);
    compare_interface(&keyvalue_atomics_interface);
    compare_interface(&keyvalue_batch_interface);
    compare_interface(&keyvalue_store_interface);
    compare_interface(&keyvalue_watcher_interface);
    compare_interface(&vec_tests_interface);
    CHECK(compared > 300);
    wit_free(&w);
}

static const struct wcp_type *table_of(const char *text)
{
    struct wit_type *t = NULL;
    if (wit_try_type(&w, "TYPE", wcp_str(text), &t))
        FAIL("%s: %s", text, w.error.msg);
    return tables_type(&w, t);
}

TEST(a_type_alone_finds_the_names_of_the_packages)
{
    load_tests();
    compare("point", table_of("point")->fields[0].type, &wcp_s32);
    CHECK_INT(table_of("list<option<shape>>")->elem->kind, WCP_OPTION);
    CHECK_INT(table_of("types.color")->kind, WCP_ENUM);
    CHECK_INT(table_of("result<store.error>")->kind, WCP_RESULT);
    wit_free(&w);
}

TEST(a_type_alone_can_bring_its_definitions)
{
    wit_init(&w);
    const struct wcp_type *t = table_of("record p { x: u8, y: u32 } list<p>");
    CHECK_INT(t->elem->size, 8);
    CHECK_STR(t->elem->fields[1].name, "y");
    t = table_of("flags f { a, b, c }");
    CHECK_INT(t->kind, WCP_FLAGS);
    CHECK_STR(t->fields[2].name, "c");
    CHECK(table_of("resource r; own<r>") == &wcp_handle);
    CHECK(table_of(" list < u8 > ") == &wcp_list_u8);
    wit_free(&w);
}

static void check_fails(const char *text, const char *message)
{
    struct wit_type *t = NULL;
    load_tests();
    CHECK_INT(wit_try_type(&w, "TYPE", wcp_str(text), &t), WCP_EINVAL);
    CHECK_STR(w.error.msg, message);
    wit_free(&w);
}

TEST(a_type_alone_that_is_wrong_says_where_and_why)
{
    check_fails("", "expected a type, found the end of the file");
    check_fails("u8 u8", "expected the end of the type, found 'u8'");
    check_fails("list<pointy>", "unknown type 'pointy'");
    check_fails("api.point2", "unknown type 'point2'");
    check_fails("other.point", "unknown type 'point'");
    check_fails("other", "unknown type 'other'");
    check_fails("record r { a: r }", "type 'r' contains itself");
}

TEST(a_name_that_means_two_types_must_say_which)
{
    struct wit_type *t = NULL;
    wit_init(&w);
    CHECK_INT(wit_try_text(&w, "a.wit",
                           wcp_str("package a:b; interface i { type n = u8; } interface j { enum n "
                                   "{ x } } interface k { use i.{n}; }")),
              0);
    CHECK(table_of("i.n") == &wcp_u8);
    CHECK(table_of("k.n") == &wcp_u8);
    CHECK_INT(table_of("j.n")->kind, WCP_ENUM);
    CHECK_INT(wit_try_type(&w, "TYPE", wcp_str("n"), &t), WCP_EINVAL);
    CHECK_STR(w.error.msg, "'n' is a type of a:b/i and another of a:b/j: write j.n");
    wit_free(&w);
}

static void make_table(struct wit *into, void *arg)
{
    tables_type(into, arg);
}

static void check_no_table(const char *text, const char *message)
{
    struct wit_type *t = NULL;
    wit_init(&w);
    CHECK_INT(wit_try_type(&w, "TYPE", wcp_str(text), &t), 0);
    CHECK_INT(wit_try(&w, make_table, t), WCP_EINVAL);
    CHECK_STR(w.error.msg, message);
    wit_free(&w);
}

TEST(a_type_without_a_reasonable_size_is_refused)
{
    check_no_table("type a = tuple<u64, u64, u64, u64, u64, u64, u64, u64>;"
                   "type b = tuple<a, a, a, a, a, a, a, a>; type c = tuple<b, b, b, b, b, b, b, b>;"
                   "type d = tuple<c, c, c, c, c, c, c, c>; type e = tuple<d, d, d, d, d, d, d, d>;"
                   "type f = tuple<e, e, e, e, e, e, e, e>; tuple<f>",
                   "a value of this type would take 2097152 bytes, the limit is 1048576");
    check_no_table("stream", "a stream without a type has no encoding in wRPC");
}

TEST(streams_are_no_deeper_than_their_index_paths)
{
    struct wit_type *t = NULL;
    char text[400] = "";
    for (int i = 0; i < 14; i++)
        strcat(text, "tuple<");
    strcat(text, "stream<u8");
    for (int i = 0; i < 15; i++)
        strcat(text, ">");
    wit_init(&w);
    CHECK_INT(wit_try_type(&w, "TYPE", wcp_str(text), &t), 0);
    CHECK_INT(wit_try(&w, make_table, t), 0);
    wit_free(&w);
    memmove(text + 6, text, strlen(text) + 1);
    memcpy(text, "tuple<", 6);
    strcat(text, ">");
    check_no_table(text, "streams more than 16 levels deep are not supported");
}

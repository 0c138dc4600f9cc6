/* test_witc.c: generated code at work: its tables lay values out as its structs say. The text of it
 * is checked by tests/e2e/test_witc.py. */
#include "test.h"
#include "vec_api.h"
#include "vec_echo.h"
#include "http_incoming_handler.h"
#include "keyvalue_batch.h"
#include "keyvalue_store.h"

static struct wcp_arena mem; /* of the running test; reachable for the leak checker */
static struct wcp_buf out;

static void decode(const struct wcp_type *t, const char *hex, void *value)
{
    struct wcp_bytes in = test_unhex(hex);
    struct wcp_err err;
    if (wcp_decode(t, &in, value, &mem, &err) != 0)
        FAIL("%s: %s", hex, err.msg);
    CHECK_INT(in.len, 0);
}

static void check_encoded(const struct wcp_type *t, const void *value, const char *hex)
{
    out.len = 0;
    wcp_encode(t, value, &out);
    CHECK_HEX(((struct wcp_bytes){out.ptr, out.len}), hex);
}

static void done(void)
{
    wcp_arena_free(&mem);
    wcp_buf_free(&out);
}

TEST(a_record_of_records_lists_and_options)
{
    static const char hex[] = "020301680201610162010809";
    struct vec_types_nested v;
    decode(&vec_types_nested_type, hex, &v);
    CHECK_INT(v.p.x, 2);
    CHECK_INT(v.p.y, 3);
    CHECK(wcp_str_eq(v.name, WCP_STR("h")));
    CHECK_INT(v.tags.len, 2);
    CHECK(wcp_str_eq(v.tags.ptr[1], WCP_STR("b")));
    CHECK_INT(v.o->x, 8);
    CHECK_INT(v.o->y, 9);
    check_encoded(&vec_types_nested_type, &v, hex);
    done();
}

TEST(every_primitive)
{
    static const char hex[] = "01"
                              "c3a4"
                              "0178"
                              "0200ff"
                              "ff"
                              "ffff03"
                              "8001"
                              "ffffffffffffffffff01"
                              "80"
                              "7f"
                              "ff00"
                              "7e"
                              "0000803f"
                              "000000000000f0bf";
    struct vec_types_all v;
    decode(&vec_types_all_type, hex, &v);
    CHECK(v.b && v.c == 0xe4 && v.bytes.len == 2 && v.a_u8 == 255 && v.a_u16 == 65535);
    CHECK(v.a_u32 == 128 && v.a_u64 == UINT64_MAX && v.a_s8 == -128 && v.a_s16 == -1);
    CHECK(v.a_s32 == 127 && v.a_s64 == -2 && v.a_f32 == 1.0f && v.a_f64 == -1.0);
    check_encoded(&vec_types_all_type, &v, hex);
    done();
}

TEST(a_variant_through_its_constructors)
{
    check_encoded(&vec_types_shape_type, &(struct vec_types_shape){.tag = VEC_TYPES_SHAPE_NONE},
                  "00");
    struct vec_types_shape v = vec_types_shape_named(WCP_STR("n"));
    CHECK_INT(v.tag, VEC_TYPES_SHAPE_NAMED);
    check_encoded(&vec_types_shape_type, &v, "03016e");
    v = vec_types_shape_pt((struct vec_types_point){.x = -1, .y = 1});
    check_encoded(&vec_types_shape_type, &v, "047f01");
    v = vec_types_shape_opt(&(uint8_t){7});
    check_encoded(&vec_types_shape_type, &v, "050107");
    v = vec_types_shape_lst((struct vec_types_u16_list){(const uint16_t[]){1, 300}, 2});
    check_encoded(&vec_types_shape_type, &v, "060201ac02");
    v = vec_types_shape_none();
    check_encoded(&vec_types_shape_type, &v, "00");
    v = vec_types_shape_rect((struct vec_types_tuple_u32_u32){.f0 = 3, .f1 = 4});
    check_encoded(&vec_types_shape_type, &v, "020304");
    decode(&vec_types_shape_type, "03026869", &v);
    CHECK(v.tag == VEC_TYPES_SHAPE_NAMED && wcp_str_eq(v.named, WCP_STR("hi")));
    done();
}

TEST(names_that_c_has_other_plans_for)
{
    struct vec_types_words v = {.int_ = 1,
                                .bool_ = true,
                                .default_ = WCP_STR("d"),
                                .class_ = 2,
                                .list = {(const uint8_t *)"l", 1},
                                .errno_ = 3};
    check_encoded(&vec_types_words_type, &v,
                  "01010164"
                  "02"
                  "016c"
                  "03");
    struct vec_types_tags t = vec_types_tags_tag(9);
    CHECK_INT(t.tag_, 9);
    check_encoded(&vec_types_tags_type, &t, "0009");
    t = vec_types_tags_new(WCP_STR("n"));
    check_encoded(&vec_types_tags_type, &t, "02016e");
    t = vec_types_tags_enum();
    check_encoded(&vec_types_tags_type, &t, "01");
    done();
}

TEST(flags_of_every_width)
{
    check_encoded(&vec_types_fl1_type, &(uint32_t){VEC_TYPES_FL1_B0}, "01");
    check_encoded(&vec_types_fl9_type, &(uint32_t){VEC_TYPES_FL9_B0 | VEC_TYPES_FL9_B8}, "0101");
    check_encoded(&vec_types_fl32_type, &(uint32_t){VEC_TYPES_FL32_B31}, "00000080");
    check_encoded(&vec_types_fl33_type, &(uint64_t){VEC_TYPES_FL33_B32}, "0000000001");
    check_encoded(&vec_types_fl64_type, &(uint64_t){VEC_TYPES_FL64_B63}, "0000000000000080");
    struct vec_types_fl70 big = {{0}};
    big.bits[VEC_TYPES_FL70_B69 / 8] = 1 << VEC_TYPES_FL70_B69 % 8;
    check_encoded(&vec_types_fl70_type, &big, "000000000000000020");
    done();
}

TEST(aliases_of_composites_have_types_of_their_own)
{
    struct vec_types_matrix m;
    decode(&vec_types_matrix_type, "0201000000000000f03f00", &m);
    CHECK(m.len == 2 && m.ptr[0].len == 1 && m.ptr[0].ptr[0] == 1.0 && m.ptr[1].len == 0);
    struct vec_types_outcome o = {.is_err = true, .err = vec_types_shape_circle(1.0)};
    check_encoded(&vec_types_outcome_type, &o, "0101000000000000f03f");
    const struct vec_types_point *spot;
    decode(&vec_types_maybe_point_type, "010102", &spot);
    CHECK(spot->x == 1 && spot->y == 2);
    decode(&vec_types_maybe_point_type, "00", &spot);
    CHECK(!spot);
    done();
}

static const struct wcp_func *func(const struct wcp_interface *i, const char *name)
{
    for (size_t k = 0; k < i->count; k++)
        if (strcmp(i->funcs[k].name, name) == 0)
            return &i->funcs[k];
    FAIL("%s has no function %s", i->name, name);
}

TEST(parameters_are_laid_out_in_the_call_struct)
{
    const struct wcp_func *f = func(&vec_echo_interface, "echo-list");
    struct vec_echo_echo_list c = {.v = {NULL, 0}};
    CHECK_INT(f->size, sizeof c);
    decode(f->params,
           "0301610001620100016301"
           "0105",
           &c);
    CHECK_INT(c.v.len, 3);
    CHECK(!c.v.ptr[0].f1);
    CHECK(c.v.ptr[1].f1 && !*c.v.ptr[1].f1);
    CHECK_INT(**c.v.ptr[2].f1, 5);
    CHECK(wcp_str_eq(c.v.ptr[2].f0, WCP_STR("c")));

    f = func(&keyvalue_store_interface, "list-keys");
    struct keyvalue_store_list_keys k = {.cursor = NULL};
    decode(f->params, "016201ac02", &k);
    CHECK(wcp_str_eq(k.bucket, WCP_STR("b")));
    CHECK_INT(*k.cursor, 300);

    f = func(&vec_api_interface, "counter.incr");
    struct vec_api_counter_incr i = {.by = 0};
    decode(f->params, "02beef07", &i);
    CHECK_INT(i.self.len, 2);
    CHECK_INT(i.by, 7);
    done();
}

TEST(results_have_the_form_of_their_struct)
{
    const struct wcp_func *f = func(&keyvalue_store_interface, "get");
    struct keyvalue_store_get_result r = {.ok = &(struct wcp_bytes){(const uint8_t *)"v", 1}};
    check_encoded(f->result, &r, "00010176");
    r = (struct keyvalue_store_get_result){.ok = NULL};
    check_encoded(f->result, &r, "0000");
    r = (struct keyvalue_store_get_result){.is_err = true,
                                           .err = keyvalue_store_error_other(WCP_STR("e"))};
    check_encoded(f->result, &r, "01020165");

    f = func(&keyvalue_store_interface, "set");
    check_encoded(f->result, &(struct keyvalue_store_set_result){.is_err = false}, "00");
    check_encoded(f->result,
                  &(struct keyvalue_store_set_result){.is_err = true,
                                                      .err = keyvalue_store_error_access_denied()},
                  "0101");
    f = func(&keyvalue_batch_interface, "get-many");
    struct keyvalue_batch_tuple_string_bytes pair = {WCP_STR("k"), {(const uint8_t *)"v", 1}};
    const struct keyvalue_batch_tuple_string_bytes *many[] = {&pair, NULL};
    struct keyvalue_batch_get_many_result b = {.ok = {many, 2}};
    check_encoded(f->result, &b, "000201016b017600");

    f = func(&vec_echo_interface, "check");
    check_encoded(f->result, &(struct vec_echo_check_result){.is_err = true}, "01");
    CHECK(!func(&vec_api_interface, "nothing")->result);
    CHECK_INT(func(&vec_api_interface, "nothing")->params->count, 0);
    done();
}

TEST(tables_know_what_holds_streams)
{
    const struct wcp_func *f = func(&http_incoming_handler_interface, "handle");
    CHECK(f->params->async && f->result->async);
    CHECK(f->params->fields[0].type == &http_types_request_type);
    CHECK(http_types_request_type.async && !http_types_fields_type.async);
    CHECK_INT(http_types_request_type.fields[0].type->kind, WCP_STREAM);
    CHECK(http_types_request_type.fields[0].type->elem == &wcp_u8);
    CHECK(http_types_request_type.fields[1].type->elem == &http_types_option_fields_type);
    CHECK(vec_types_vs_type.async && !vec_types_shape_type.async);
    CHECK(!func(&keyvalue_store_interface, "get")->result->async);
}

static void served(struct keyvalue_store_delete *c)
{
    c->key = WCP_STR("seen");
}

TEST(a_handler_is_found_by_its_offset_and_invoked)
{
    const struct keyvalue_store impl = {.delete_ = served};
    const struct wcp_interface *i = &keyvalue_store_interface;
    CHECK_STR(i->name, "wrpc:keyvalue/store@0.2.0-draft");
    CHECK_INT(i->count, 5);
    for (size_t k = 0; k < i->count; k++) {
        void (*handler)(void);
        memcpy(&handler, (const char *)&impl + i->handlers[k], sizeof handler);
        CHECK((handler != NULL) == (strcmp(i->funcs[k].name, "delete") == 0));
    }
    struct keyvalue_store_delete c = {.key = WCP_STR("")};
    func(i, "delete")->invoke(&impl, &c.call);
    CHECK(wcp_str_eq(c.key, WCP_STR("seen")));
}

static void on_done(void *ctx, const struct keyvalue_store_exists_result *r, int status)
{
    CHECK(r->ok);
    *(int *)ctx = status;
}

TEST(a_result_is_delivered_by_its_type)
{
    int status = 0;
    struct keyvalue_store_exists_result r = {.ok = true};
    func(&keyvalue_store_interface, "exists")->deliver((void (*)(void))on_done, &status, &r, 42);
    CHECK_INT(status, 42);
}

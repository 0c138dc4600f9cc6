/* test_linkdef.c: link documents and the maps in them. */
#include "lattice/linkdef.h"
#include "test.h"

static struct wcp_err err;

static int parse(const char *json, struct linkdef *l)
{
    return linkdef_parse((struct wcp_bytes){(const uint8_t *)json, strlen(json)}, l, &err);
}

static const char *parse_error(const char *json)
{
    struct linkdef l = {0};
    CHECK(parse(json, &l) < 0);
    CHECK(!l.source_id);
    return err.msg;
}

#define FULL                                                                                       \
    "{\"source_id\":\"comp-a\",\"target\":\"kv-redis\",\"name\":\"primary\","                      \
    "\"wit_namespace\":\"wasi\",\"wit_package\":\"keyvalue\",\"interfaces\":[\"store\","           \
    "\"atomics\"],"                                                                                \
    "\"source_config\":{},\"target_config\":{\"bucket\":\"b0\",\"url\":\"redis://r:6379\"},"       \
    "\"source_secrets\":null,\"target_secrets\":[120,107,118,49,64,65],\"later\":{\"x\":[1]}}"
/* A link with one more member. */
#define WITH(member)                                                                               \
    "{\"source_id\":\"a\",\"target\":\"b\",\"wit_namespace\":\"wasi\",\"wit_package\":"            \
    "\"http\"," member "}"

TEST(linkdef_reads_every_field)
{
    struct linkdef l = {0};
    CHECK_INT(parse(FULL, &l), 0);
    CHECK_STR(l.source_id, "comp-a");
    CHECK_STR(l.target, "kv-redis");
    CHECK_STR(l.name, "primary");
    CHECK_STR(l.wit_namespace, "wasi");
    CHECK_STR(l.wit_package, "keyvalue");
    CHECK_INT(l.interfaces.n, 2);
    CHECK_STR(l.interfaces.at[1], "atomics");
    CHECK_INT(l.source_config.n, 0);
    CHECK_STR(config_get(&l.target_config, "url"), "redis://r:6379");
    CHECK(!l.source_secrets.ptr);
    CHECK_HEX(l.target_secrets, "786b76314041");
    linkdef_free(&l);
}

TEST(linkdef_defaults_name_configs_and_secrets)
{
    struct linkdef l = {0};
    CHECK_INT(parse(WITH("\"interfaces\":[\"store\"],\"source_config\":null,\"name\":null"), &l),
              0);
    CHECK_STR(l.name, "default");
    CHECK_INT(l.source_config.n + l.target_config.n, 0);
    linkdef_free(&l);
}

TEST(linkdef_says_what_is_wrong)
{
    CHECK_STR(parse_error(""), "nothing found, a JSON object expected");
    CHECK_STR(parse_error("[]"), "list found, a JSON object expected");
    CHECK_STR(parse_error("{}"), "source_id is missing");
    CHECK_STR(parse_error("{\"source_id\":7}"), "source_id: number found, text expected");
    CHECK_STR(parse_error("{\"source_id\":\"a\"}"), "target is missing");
    CHECK_STR(parse_error("{\"source_id\":\"a b\"}"),
              "source_id: character 2 (code 32) cannot stand in a NATS subject");
    CHECK_STR(parse_error("{\"source_id\":\"a\",\"target\":\"b.>\"}"),
              "target: character 3 (code 62) cannot stand in a NATS subject");
    CHECK_STR(parse_error("{\"source_id\":\"a\",\"target\":\"b\\r\\nPUB x 0\"}"),
              "target: character 2 (code 13) cannot stand in a NATS subject");
    CHECK_STR(parse_error("{\"source_id\":\"a..b\"}"),
              "source_id: character 3 (code 46) cannot stand in a NATS subject");
    CHECK_STR(parse_error("{\"source_id\":\"a\\u0000b\"}"),
              "source_id: zero byte found at 1, text expected");
    CHECK_STR(parse_error("{\"source_id\":\"a\",\"target\":\"b\",\"wit_namespace\":\"wasi\"}"),
              "wit_package is missing");
    CHECK_STR(parse_error(WITH("\"name\":\"a\\nb\"")), "name: character 2 is a control character");
    CHECK_STR(parse_error(WITH("\"interfaces\":\"store\"")),
              "interfaces: text found, list expected");
    CHECK_STR(parse_error(WITH("\"interfaces\":[null]")), "interfaces: null found, text expected");
    CHECK_STR(parse_error(WITH("\"target_config\":[\"name\"]")),
              "target_config: list found, object expected");
    CHECK_STR(parse_error(WITH("\"target_config\":{\"port\":8080}")),
              "target_config: port: number found, text expected");
    CHECK_STR(parse_error(WITH("\"source_secrets\":[256]")),
              "source_secrets: item 0 is out of range, a number from 0 to 255 expected");
    CHECK_STR(parse_error(WITH("\"source_secrets\":[1,-1]")),
              "source_secrets: item 1 is out of range, a number from 0 to 255 expected");
    CHECK_STR(parse_error(WITH("\"source_secrets\":\"xkv1\"")),
              "source_secrets: text found, list expected");
}

TEST(linkdef_refuses_repeated_members_everywhere)
{
    CHECK_STR(parse_error("{\"target\":\"a\",\"target\":\"b\"}"),
              "byte 14: member 'target' occurs twice");
    CHECK_STR(parse_error("{\"a\":{\"x\":1,\"y\":[{\"k\":1},{\"k\":2}],\"x\":3},\"x\":1}"),
              "byte 34: member 'x' occurs twice");
    CHECK_STR(parse_error("{\"x\":1,\"\\u0078\":2}"), "a member occurs twice");
    struct linkdef l = {0};
    CHECK_INT(
        parse(WITH("\"source_config\":{\"a\":\"{\\\":\\\"b:\"},\"target_config\":{\"a\":\"\"}"),
              &l),
        0);
    linkdef_free(&l);
}

TEST(linkdef_refuses_what_is_not_json)
{
    CHECK_STR(parse_error("{\"a\":1} x"), "byte 8: more text after the JSON object");
    CHECK_STR(parse_error("{\"a\":1"), "byte 6: the JSON text ends too early");
    CHECK_STR(parse_error("{'a':1}"), "byte 1: not JSON: a single quote");
    CHECK_STR(parse_error("{\"a\":\"\xff\"}"), "byte 6: not JSON: invalid utf-8 string");
    char deep[4000];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof deep - 1] = '\0';
    CHECK_STR(parse_error(deep), "byte 36: not JSON: nesting too deep");
}

TEST(linkdef_survives_every_cut_and_every_changed_byte)
{
    for (size_t i = 0; i < sizeof FULL - 1; i++) {
        char text[] = FULL;
        struct linkdef l = {0};
        CHECK(linkdef_parse((struct wcp_bytes){(uint8_t *)text, i}, &l, &err) != 0);
        for (int bit = 0; bit < 8; bit++) {
            text[i] ^= (char)(1 << bit);
            if (linkdef_parse((struct wcp_bytes){(uint8_t *)text, sizeof text - 1}, &l, NULL) == 0)
                linkdef_free(&l);
            text[i] ^= (char)(1 << bit);
        }
    }
}

TEST(linkdef_prints_what_it_reads)
{
    struct linkdef l = {0}, back = {0};
    struct wcp_buf b = {0};
    CHECK_INT(parse(FULL, &l), 0);
    linkdef_print(&l, &b);
    CHECK_INT(linkdef_parse((struct wcp_bytes){b.ptr, b.len}, &back, &err), 0);
    CHECK_STR(back.name, "primary");
    CHECK_STR(back.interfaces.at[0], "store");
    CHECK(config_equal(&back.target_config, &l.target_config));
    CHECK(!back.target_secrets.ptr);
    wcp_buf_free(&b);
    linkdef_free(&l);
    linkdef_free(&back);
}

TEST(config_prefers_the_exact_key_and_replaces)
{
    struct config c = {0}, d = {0};
    config_put(&c, "url", "1");
    config_put(&c, "URL", "2");
    CHECK_STR(config_get(&c, "URL"), "2");
    CHECK_STR(config_get(&c, "Url"), "1");
    CHECK(!config_get(&c, "ur"));
    config_put(&c, "url", "3");
    CHECK_STR(config_get(&c, "url"), "3");
    CHECK_INT(c.n, 2);
    config_put(&d, "URL", "2");
    CHECK(!config_equal(&c, &d));
    config_put(&d, "url", "x");
    CHECK(!config_equal(&c, &d));
    config_put(&d, "url", "3");
    CHECK(config_equal(&c, &d));
    config_free(&c);
    config_free(&d);
}

TEST(ids_and_lists_have_limits)
{
    char id[ID_MAX + 2];
    memset(id, 'x', sizeof id);
    id[ID_MAX + 1] = '\0';
    CHECK_INT(id_check("id", id, &err), WCP_EPROTO);
    CHECK_STR(err.msg, "id has 128 characters, at most 127 expected");
    id[ID_MAX] = '\0';
    CHECK_INT(id_check("id", id, &err), 0);

    struct wcp_buf b = {0};
    wcp_buf_fmt(&b, "{\"source_id\":\"a\",\"target\":\"b\",\"wit_namespace\":\"w\",\"wit_package\":"
                    "\"p\",\"interfaces\":[\"i\"");
    for (int i = 0; i < STRINGS_MAX; i++)
        wcp_buf_fmt(&b, ",\"i\"");
    wcp_buf_fmt(&b, "]}%c", 0);
    CHECK_STR(parse_error((const char *)b.ptr), "interfaces: 1001 items, at most 1000 are allowed");
    wcp_buf_free(&b);
    b = (struct wcp_buf){0};
    wcp_buf_fmt(
        &b, "{\"source_id\":\"a\",\"target\":\"b\",\"wit_namespace\":\"w\",\"wit_package\":\"p\","
            "\"source_config\":{\"k\":\"\"");
    for (int i = 0; i < CONFIG_MAX; i++)
        wcp_buf_fmt(&b, ",\"%d\":\"\"", i);
    wcp_buf_fmt(&b, "}}%c", 0);
    CHECK_STR(parse_error((const char *)b.ptr),
              "source_config: 10001 entries, at most 10000 are allowed");
    wcp_buf_free(&b);
}

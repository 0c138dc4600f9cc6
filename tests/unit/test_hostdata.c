/* test_hostdata.c: what a provider is told when it starts, and how wrong lines are refused. */
#include "lattice/hostdata.h"
#include "lattice/secrets.h"
#include "capture.h"
#include <sodium.h>

static struct wcp_err err;

static char *encode(const char *json)
{
    size_t n = sodium_base64_ENCODED_LEN(strlen(json), sodium_base64_VARIANT_ORIGINAL);
    char *line = wcp_calloc(n + 3, 1);
    sodium_bin2base64(line, n, (const uint8_t *)json, strlen(json), sodium_base64_VARIANT_ORIGINAL);
    strcat(line, "\r\n");
    return line;
}

static int parse(const char *json, struct hostdata *h)
{
    char *line = encode(json);
    int rc = hostdata_parse((struct wcp_bytes){(uint8_t *)line, strlen(line)}, h, &err);
    free(line);
    return rc;
}

static const char *parse_error(const char *json)
{
    struct hostdata h = {0};
    CHECK(parse(json, &h) < 0);
    CHECK(!h.host_id);
    return err.msg;
}

static const char *line_error(const char *line)
{
    struct hostdata h = {0};
    CHECK(hostdata_parse((struct wcp_bytes){(const uint8_t *)line, strlen(line)}, &h, &err) < 0);
    return err.msg;
}

#define LINK                                                                                       \
    "{\"source_id\":\"http\",\"target\":\"comp\",\"name\":\"default\",\"wit_namespace\":\"wasi\"," \
    "\"wit_package\":\"http\",\"interfaces\":[\"incoming-handler\"],"                              \
    "\"source_config\":{\"address\":\"0.0.0.0:8000\"},\"target_config\":{},"                       \
    "\"source_secrets\":null,\"target_secrets\":null}"
#define FULL                                                                                       \
    "{\"host_id\":\"NAB2\",\"lattice_rpc_prefix\":\"default\",\"link_name\":\"default\","          \
    "\"lattice_rpc_user_jwt\":\"jwt\",\"lattice_rpc_user_seed\":\"SUseed\","                       \
    "\"lattice_rpc_url\":\"nats://"                                                                \
    "127.0.0.1:4222\",\"provider_key\":\"http\",\"env_values\":{\"A\":\"b\"},"                     \
    "\"instance_id\":\"3f1b\",\"link_definitions\":[" LINK "],\"cluster_issuers\":[\"C1\"],"       \
    "\"config\":{\"log\":\"verbose\"},"                                                            \
    "\"secrets\":{\"db_password\":{\"kind\":\"String\",\"value\":\"hunter2\"}},"                   \
    "\"host_xkey_public_key\":\"XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7\","       \
    "\"provider_xkey_private_key\":"                                                               \
    "\"SXACAIJCEMSCKJRHFAUSUKZMFUXC6MBRGIZTINJWG44DSOR3HQ6T4PY4AQ\","                              \
    "\"default_rpc_timeout_ms\":2000,\"structured_logging\":true,\"log_level\":\"info\","          \
    "\"otel_config\":{\"enable_observability\":true,\"enable_logs\":false,\"protocol\":\"Grpc\","  \
    "\"traces_endpoint\":\"http://t\",\"additional_ca_paths\":[\"/"                                \
    "ca\"],\"trace_level\":\"info\"},"                                                             \
    "\"of_a_later_version\":[1,{}]}"
/* The two that must be there, and more. */
#define WITH(members) "{\"lattice_rpc_prefix\":\"default\",\"provider_key\":\"p\"" members "}"

TEST(hostdata_reads_every_field)
{
    struct hostdata h = {0};
    CHECK_INT(parse(FULL, &h), 0);
    CHECK_STR(h.host_id, "NAB2");
    CHECK_STR(h.lattice, "default");
    CHECK_STR(h.link_name, "default");
    CHECK_STR(h.user_jwt, "jwt");
    CHECK_STR(h.user_seed, "SUseed");
    CHECK_STR(h.nats_url, "nats://127.0.0.1:4222");
    CHECK_STR(h.provider_id, "http");
    CHECK_STR(h.instance_id, "3f1b");
    CHECK_STR(config_get(&h.env_values, "A"), "b");
    CHECK_STR(config_get(&h.config, "log"), "verbose");
    CHECK_STR((const char *)secrets_get(&h.secrets, "db_password")->value, "hunter2");
    CHECK_INT(h.link_count, 1);
    CHECK_STR(config_get(&h.links[0].source_config, "address"), "0.0.0.0:8000");
    CHECK_STR(h.cluster_issuers.at[0], "C1");
    CHECK_INT(h.default_rpc_timeout_ms, 2000);
    CHECK(h.structured_logging);
    CHECK_STR(h.log_level, "info");
    CHECK(h.otel.enable_observability);
    CHECK_INT(h.otel.enable_logs, 0);
    CHECK_INT(h.otel.enable_traces, -1);
    CHECK_STR(h.otel.protocol, "Grpc");
    CHECK_STR(h.otel.traces_endpoint, "http://t");
    CHECK(!h.otel.metrics_endpoint);
    CHECK_STR(h.otel.additional_ca_paths.at[0], "/ca");
    CHECK_STR(h.otel.trace_level, "info");
    CHECK(!h.standalone);
    hostdata_free(&h);
}

TEST(hostdata_needs_little)
{
    struct hostdata h = {0};
    CHECK_INT(parse(WITH(",\"log_level\":null,\"host_id\":null"), &h), 0);
    CHECK_STR(h.host_id, "");
    CHECK_STR(h.nats_url, "");
    CHECK(!h.log_level);
    CHECK_INT(h.default_rpc_timeout_ms, -1);
    CHECK_INT(h.otel.enable_logs, -1);
    hostdata_free(&h);
}

TEST(hostdata_says_what_is_wrong_with_the_line)
{
    CHECK_STR(line_error(""), "host data: an empty line found, base64 of a JSON object expected");
    CHECK_STR(line_error(" \r\n"),
              "host data: an empty line found, base64 of a JSON object expected");
    CHECK_STR(line_error("{\"host_id\":\"N\"}"), "host data: byte 0 is not base64");
    CHECK_STR(line_error("  eyJhIjoxfQAAAAA !AAA"), "host data: byte 17 is not base64");
    CHECK_STR(line_error("eyJhIjoxfQ"), "host data: the base64 text ends too early");
    CHECK_STR(line_error("eyJhIjoxfQ=="), "host data: lattice_rpc_prefix is missing");
    CHECK_STR(line_error("eyJhIjoxfQ==="), "host data: byte 12 is not base64");
    CHECK_STR(line_error("eyJhIjox"), "host data: byte 6: the JSON text ends too early");
    CHECK_STR(line_error("bm90IGpzb24="), "host data: byte 1: not JSON: null expected");
}

TEST(hostdata_says_what_is_wrong_with_a_member)
{
    CHECK_STR(parse_error("{}"), "host data: lattice_rpc_prefix is missing");
    CHECK_STR(parse_error("{\"lattice_rpc_prefix\":7}"),
              "host data: lattice_rpc_prefix: number found, text expected");
    CHECK_STR(parse_error("{\"lattice_rpc_prefix\":\"d\"}"), "host data: provider_key is missing");
    CHECK_STR(parse_error("{\"lattice_rpc_prefix\":\"d\",\"provider_key\":\"a b\"}"),
              "host data: provider_key: character 2 (code 32) cannot stand in a NATS subject");
    CHECK_STR(parse_error(WITH(",\"env_values\":[]")),
              "host data: env_values: list found, object expected");
    CHECK_STR(parse_error(WITH(",\"config\":{\"port\":1}")),
              "host data: config: port: number found, text expected");
    CHECK_STR(parse_error(WITH(",\"secrets\":{\"pw\":\"hunter2\"}")),
              "host data: secrets: secret 'pw': text found, object expected");
    CHECK_STR(parse_error(WITH(",\"link_definitions\":{}")),
              "host data: link_definitions: object found, list expected");
    CHECK_STR(parse_error(WITH(",\"structured_logging\":\"yes\"")),
              "host data: structured_logging: text found, true or false expected");
    CHECK_STR(parse_error(WITH(",\"default_rpc_timeout_ms\":-5")),
              "host data: default_rpc_timeout_ms: -5 found, 0 or more expected");
    CHECK_STR(parse_error("42"), "host data: byte 0: a JSON object expected");
    CHECK_STR(parse_error(" null"), "host data: byte 1: a JSON object expected");
    CHECK_STR(parse_error(WITH(",\"default_rpc_timeout_ms\":1.5")),
              "host data: default_rpc_timeout_ms: number found, integer expected");
    CHECK_STR(parse_error(WITH(",\"otel_config\":{\"protocol\":1}")),
              "host data: otel_config: protocol: number found, text expected");
    CHECK_STR(parse_error(WITH(",\"host_xkey_public_key\":\"X\"")),
              "host data: host_xkey_public_key: 1 characters found, 56 expected");
    CHECK_STR(parse_error(WITH(",\"provider_xkey_private_key\":\"SUhunter2\"")),
              "host data: provider_xkey_private_key: 9 characters found, 58 expected");
    CHECK_STR(parse_error(WITH(",\"config\":{\"a\":\"1\",\"a\":\"2\"}")),
              "host data: byte 69: member 'a' occurs twice");
}

TEST(hostdata_of_old_hosts_is_recognised)
{
#define OLD                                                                                        \
    " found: this is of a host before wasmCloud 1.0, whose protocol is not served; a host of "     \
    "version 1.x expected"
    CHECK_STR(parse_error("{\"host_id\":\"N\",\"invocation_seed\":\"SC\"}"),
              "host data: invocation_seed" OLD);
    CHECK_STR(
        parse_error(WITH(",\"link_definitions\":[{\"actor_id\":\"M\",\"provider_id\":\"V\"}]")),
        "host data: actor_id in link_definitions" OLD);
    CHECK_STR(line_error("gaRob3N0oU4="), "host data: MessagePack" OLD);
    struct hostdata h = {0};
    CHECK_INT(parse(WITH(",\"invocation_seed\":\"\""), &h), 0);
    hostdata_free(&h);
}

TEST(hostdata_leaves_a_bad_link_out_and_keeps_the_others)
{
    struct hostdata h = {0};
    capture_start();
    CHECK_INT(parse(WITH(",\"link_definitions\":[{\"source_id\":1}," LINK ",7]"), &h), 0);
    CHECK_INT(h.link_count, 1);
    CHECK_INT(h.bad_links, 2);
    CHECK_STR(h.links[0].target, "comp");
    CHECK_LOGGED(
        "host data: link_definitions: item 0 is left out: source_id: number found, text expected");
    CHECK_LOGGED("host data: link_definitions: item 2 is left out: number found, object expected");
    hostdata_free(&h);
}

TEST(hostdata_survives_every_cut_and_every_changed_byte)
{
    capture_start();
    char *line = encode(FULL);
    size_t n = strlen(line);
    for (size_t i = 0; i < n - 2; i++) {
        struct hostdata h = {0};
        if (hostdata_parse((struct wcp_bytes){(uint8_t *)line, i}, &h, &err) == 0)
            FAIL("cut at %zu of %zu is accepted", i, n);
        line[i] ^= 1;
        if (hostdata_parse((struct wcp_bytes){(uint8_t *)line, n}, &h, NULL) == 0)
            hostdata_free(&h);
        line[i] ^= 1;
    }
    free(line);
}

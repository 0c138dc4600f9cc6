/* test_secrets.c: secrets in their two forms, plain and sealed. */
#include "lattice/secrets.h"
#include "lattice/json.h"
#include "lattice/xkey.h"
#include "test.h"

#define HOST_SEED   "SXAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H74KM"
#define HOST_PUBLIC "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7"
#define OUR_SEED    "SXACAIJCEMSCKJRHFAUSUKZMFUXC6MBRGIZTINJWG44DSOR3HQ6T4PY4AQ"
#define OUR_PUBLIC  "XA2YA4WWGZMIBUNO5IZJVX4REE4DQUPNEGRI4O3V5FS5BUWNCZRFI2LE"

static struct wcp_err err;

static int parse(const char *json, struct secrets *s)
{
    struct json_object *o = NULL;
    CHECK_INT(json_parse((struct wcp_bytes){(const uint8_t *)json, strlen(json)}, &o, &err), 0);
    int rc = secrets_from_json(o, s, &err);
    json_put_wiped(o);
    return rc;
}

static const char *parse_error(const char *json)
{
    struct secrets s = {0};
    CHECK_INT(parse(json, &s), WCP_EPROTO);
    CHECK_INT(s.n, 0);
    return err.msg;
}

TEST(secrets_are_texts_or_bytes)
{
    struct secrets s = {0};
    CHECK_INT(parse("{\"a\":{\"kind\":\"String\",\"value\":\"hunter2\"},"
                    "\"b\":{\"kind\":\"Bytes\",\"value\":[104,0,105]},"
                    "\"A\":{\"kind\":\"String\",\"value\":\"other\"},"
                    "\"empty\":{\"kind\":\"Bytes\",\"value\":[]}}",
                    &s),
              0);
    CHECK_STR((const char *)secrets_get(&s, "a")->value, "hunter2");
    CHECK_STR((const char *)secrets_get(&s, "A")->value, "other");
    CHECK_HEX(((struct wcp_bytes){secrets_get(&s, "B")->value, secrets_get(&s, "B")->len}),
              "680069");
    CHECK_INT(secrets_get(&s, "empty")->len, 0);
    CHECK(!secrets_get(&s, "c"));
    secrets_free(&s);
}

TEST(secrets_errors_name_the_secret_but_not_its_value)
{
    CHECK_STR(parse_error("{\"pw\":\"hunter2\"}"), "secret 'pw': text found, object expected");
    CHECK_STR(parse_error("{\"pw\":{\"value\":\"hunter2\"}}"), "secret 'pw': kind is missing");
    CHECK_STR(parse_error("{\"pw\":{\"kind\":\"String\"}}"), "secret 'pw': value is missing");
    CHECK_STR(parse_error("{\"pw\":{\"kind\":\"Base64\",\"value\":\"hunter2\"}}"),
              "secret 'pw': kind 'Base64' found, String or Bytes expected");
    CHECK_STR(parse_error("{\"pw\":{\"kind\":\"String\",\"value\":[1]}}"),
              "secret 'pw': value: list found, text expected");
    CHECK_STR(parse_error("{\"pw\":{\"kind\":\"Bytes\",\"value\":\"hunter2\"}}"),
              "secret 'pw': value: text found, list expected");
    CHECK_STR(parse_error("{\"ok\":{\"kind\":\"String\",\"value\":\"x\"},"
                          "\"pw\":{\"kind\":\"Bytes\",\"value\":[1,256]}}"),
              "secret 'pw': value: item 1 is out of range, a number from 0 to 255 expected");
    CHECK_STR(parse_error("{\"pw\":{\"kind\":\"Bytes\",\"value\":[\"hunter2\"]}}"),
              "secret 'pw': value: item 0 is text, a number from 0 to 255 expected");
}

TEST(secrets_compare_in_any_order)
{
    struct secrets a = {0}, b = {0}, c = {0}, d = {0};
    CHECK_INT(parse("{\"x\":{\"kind\":\"String\",\"value\":\"1\"},"
                    "\"y\":{\"kind\":\"String\",\"value\":\"2\"}}",
                    &a),
              0);
    CHECK_INT(parse("{\"y\":{\"kind\":\"Bytes\",\"value\":[50]},"
                    "\"x\":{\"kind\":\"String\",\"value\":\"1\"}}",
                    &b),
              0);
    CHECK_INT(parse("{\"y\":{\"kind\":\"String\",\"value\":\"2\"},"
                    "\"x\":{\"kind\":\"String\",\"value\":\"3\"}}",
                    &c),
              0);
    CHECK(secrets_equal(&a, &b));
    CHECK(!secrets_equal(&a, &c));
    CHECK(!secrets_equal(&a, &d));
    CHECK(secrets_equal(&d, &d));
    secrets_free(&a);
    secrets_free(&b);
    secrets_free(&c);
}

static int seal_and_open(const char *plain, const char *sender, const char *seed, struct secrets *s)
{
    uint8_t sealed[4096], nonce[XKEY_NONCE_LEN] = {7};
    struct wcp_bytes text = {(const uint8_t *)plain, strlen(plain)};
    CHECK_INT(xkey_seal(text, OUR_PUBLIC, HOST_SEED, nonce, sealed, &err), 0);
    return secrets_open((struct wcp_bytes){sealed, text.len + XKEY_OVERHEAD}, sender, seed, s,
                        &err);
}

TEST(secrets_open_what_the_host_sealed)
{
    struct secrets s = {0};
    CHECK_INT(seal_and_open("{\"password\":{\"kind\":\"String\",\"value\":\"hunter2\"}}",
                            HOST_PUBLIC, OUR_SEED, &s),
              0);
    CHECK_STR((const char *)secrets_get(&s, "PASSWORD")->value, "hunter2");
    secrets_free(&s);
}

TEST(secrets_that_cannot_be_opened_say_why)
{
    struct secrets s = {0};
    CHECK_INT(seal_and_open("{}", "", OUR_SEED, &s), WCP_EAUTH);
    CHECK_STR(err.msg, "this provider was started without its host's public key");
    CHECK_INT(seal_and_open("{}", HOST_PUBLIC, "", &s), WCP_EAUTH);
    CHECK_STR(err.msg, "this provider was started without a key to open sealed secrets");
    CHECK_INT(seal_and_open("{}", HOST_PUBLIC, HOST_SEED, &s), WCP_EAUTH);
    CHECK_STR(err.msg, "cannot be decrypted with this provider's key");
    CHECK_INT(seal_and_open("[]", HOST_PUBLIC, OUR_SEED, &s), WCP_EPROTO);
    CHECK_STR(err.msg, "list found, a JSON object expected");
    CHECK_INT(seal_and_open("{\"a\":1}", HOST_PUBLIC, OUR_SEED, &s), WCP_EPROTO);
    CHECK_STR(err.msg, "secret 'a': number found, object expected");
    CHECK_INT(s.n, 0);
}

TEST(secrets_are_limited_in_number)
{
    struct secrets s = {0};
    for (int i = 0; i < SECRETS_MAX; i++) {
        char name[24];
        snprintf(name, sizeof name, "x%d", i);
        CHECK_INT(secrets_put(&s, name, (struct wcp_bytes){0}, &err), 0);
    }
    CHECK_INT(secrets_put(&s, "x", (struct wcp_bytes){0}, &err), WCP_ETOOBIG);
    CHECK_STR(err.msg, "more than 1000 secrets");
    CHECK_INT(secrets_put(&s, "x7", (struct wcp_bytes){(const uint8_t *)"new", 3}, &err), 0);
    CHECK_INT(s.n, SECRETS_MAX);
    CHECK_STR((const char *)secrets_get(&s, "x7")->value, "new");
    secrets_free(&s);
}

/* test_postgres.c: values in PostgreSQL's binary format, and as text. The conformance suite has
 * each type with a real server; here is what no server sends, and what it would be hard to make it
 * send.
 */
#include "test.h"
#include "postgres_values.h"

static struct wcp_arena arena;

static const struct pg_type *type_named(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return strcmp(name, "hstore") == 0 ? &hstore : NULL;
}

/* Reads hex as a value of the type ("int4[]": an array), and writes it again; or says why not. */
static const char *text_of(const char *type, const char *hex)
{
    static char text[4096];
    char name[32];
    size_t n = strcspn(type, "[");
    snprintf(name, sizeof name, "%.*s", (int)n, type);
    const struct pg_type *t = type_named(name);
    CHECK(t != NULL);
    struct wcp_bytes in = test_unhex(hex);
    struct reader r = {.at = in.ptr,
                       .end = in.ptr + in.len,
                       .arena = &arena,
                       .arena_limit = 1 << 20,
                       .money_digits = 2};
    struct postgres_types_pg_value v = {0};
    if (!value_read(&r, t, type[n] != '\0', &v)) {
        snprintf(text, sizeof text, "bad: %s", r.why);
        return text;
    }
    struct wcp_buf b = {0};
    const char *why;
    bool good = value_write(&v, t->oid, &b, &why);
    snprintf(text, sizeof text, "%s%.*s", good ? "" : "cannot write: ", good ? (int)b.len : 99,
             good ? (b.len ? (char *)b.ptr : "") : why);
    wcp_buf_free(&b);
    return text;
}

TEST(numbers_are_exact)
{
    CHECK_STR(text_of("int2", "8000"), "-32768");
    CHECK_STR(text_of("int4", "7fffffff"), "2147483647");
    CHECK_STR(text_of("int8", "8000000000000000"), "-9223372036854775808");
    CHECK_STR(text_of("float8", "3ff0000000000000"), "1");
    CHECK_STR(text_of("float8", "8000000000000000"), "-0");
    CHECK_STR(text_of("float8", "0000000000000001"), "4.9406564584124654e-324");
    CHECK_STR(text_of("float8", "7ff0000000000000"), "Infinity");
    CHECK_STR(text_of("float8", "fff0000000000000"), "-Infinity");
    CHECK_STR(text_of("float8", "7ff8000000000001"), "NaN");
    CHECK_STR(text_of("float4", "3dcccccd"), "0.10000000149011612");
    CHECK_STR(text_of("float4", "7f800000"), "Infinity");
    CHECK_STR(text_of("float4", "7fc00000"), "NaN");
    CHECK_STR(text_of("float4", "00000001"), "1.4012984643248171e-45");
    CHECK_STR(text_of("pg_lsn", "00000016b374d848"), "16/B374D848");
}

TEST(decimal_numbers_have_every_digit)
{
    CHECK_STR(text_of("numeric", "0000000000000000"), "0");
    CHECK_STR(text_of("numeric", "0000000000000003"), "0.000");
    CHECK_STR(text_of("numeric", "0001000140000000"
                                 "0001"),
              "-10000");
    CHECK_STR(text_of("numeric", "0002000000000001"
                                 "00011388"),
              "1.5");
    CHECK_STR(text_of("numeric", "0001fffe00000008"
                                 "007b"),
              "0.00000123");
    CHECK_STR(text_of("numeric", "00000000c0000000"), "NaN");
    CHECK_STR(text_of("numeric", "00000000f0000000"), "-Infinity");
    CHECK_STR(text_of("numeric", "0000000010000000"), "bad: is no number");
    CHECK_STR(text_of("numeric", "0002000000000000"
                                 "0001"),
              "bad: ends too early");
    CHECK_STR(text_of("money", "000000000001e240"), "1234.56");
    CHECK_STR(text_of("money", "8000000000000000"), "-92233720368547758.08");
}

TEST(times_reach_their_ends)
{
    CHECK_STR(text_of("date", "7fffffff"), "infinity");
    CHECK_STR(text_of("date", "80000000"), "-infinity");
    CHECK_STR(text_of("date", "00000000"), "2000-01-01");
    CHECK_STR(text_of("date", "ffffffff"), "1999-12-31");
    CHECK_STR(text_of("date", "0000003b"), "2000-02-29");
    CHECK_STR(text_of("timestamp", "ffffffffffffffff"), "1999-12-31 23:59:59.999999");
    CHECK_STR(text_of("timestamp", "7fffffffffffffff"), "infinity");
    CHECK_STR(text_of("time", "000000141dd76000"), "24:00:00.000000");
    CHECK_STR(text_of("time", "000000141dd76001"), "bad: is no time of a day");
    CHECK_STR(text_of("timetz", "0000000000000000ffffb0b7"), "00:00:00.000000+05:38:17");
    CHECK_STR(text_of("interval", "00000000000000000000000000000000"), "PT0S");
    CHECK_STR(text_of("interval", "fffffffffff85ee0ffffffff0000000d"), "P1Y1M-1DT-0.500000S");
    CHECK_STR(text_of("daterange", "01"), "bad: is an empty range");
    CHECK_STR(text_of("daterange", "18"), "(,)");
    CHECK_STR(text_of("daterange", "02000000080000000000000000"), "bad: is no range of dates");
}

TEST(arrays_have_one_dimension_and_no_nulls)
{
    CHECK_STR(text_of("int4[]", "000000000000000000000017"), "{}");
    CHECK_STR(text_of("int4[]", "0000000100000000000000170000000200000001"
                                "0000000400000001"
                                "00000004fffffffe"),
              "{\"1\",\"-2\"}");
    CHECK_STR(text_of("int4[]", "0000000100000001000000170000000100000001ffffffff"),
              "bad: has a NULL among its elements");
    CHECK_STR(text_of("int4[]", "00000002"
                                "0000000000000017"),
              "bad: has more than one dimension");
    CHECK_STR(text_of("int4[]", "000000010000000000000017ffffffff00000001"), "bad: ends too early");
    CHECK_STR(text_of("int4[]", "0000000100000000000000170000000100000001000000050000000100"),
              "bad: has bytes left over");
    CHECK_STR(text_of("text[]", "00000001000000000000001900000001000000010000000361225c"),
              "{\"a\\\"\\\\\"}");
    CHECK_STR(text_of("int4", "0000000100"), "bad: has bytes left over");
    CHECK_STR(text_of("int4", "000000"), "bad: ends too early");
}

TEST(texts_are_utf8)
{
    CHECK_STR(text_of("text", "c3bc"), "\xc3\xbc");
    CHECK_STR(text_of("text", ""), "");
    CHECK_STR(text_of("text", "c3"), "bad: is text that is not UTF-8");
    CHECK_STR(text_of("jsonb", "017b7d"), "{}");
    CHECK_STR(text_of("jsonb", "027b7d"), "bad: is jsonb of an unknown version");
    CHECK_STR(text_of("bit", "00000003a0"), "101");
    CHECK_STR(text_of("bit", "00000009a0"), "bad: has another number of bits");
    CHECK_STR(text_of("inet", "020800040a000001"), "10.0.0.1/8");
}

TEST(text_search_is_written_in_order)
{
    /* operand: 1, weights, prefix, word; operator: 2, which */
    CHECK_STR(text_of("tsquery", "00000000"), "");
    CHECK_STR(text_of("tsquery", "00000001"
                                 "0100006100"),
              "'a'");
    CHECK_STR(text_of("tsquery", "00000004"
                                 "0202"
                                 "0201"
                                 "0108016200"
                                 "0100006100"),
              "( 'a' & !( 'b':*A ) )");
    CHECK_STR(text_of("tsquery", "00000003"
                                 "02040002"
                                 "0100006200"
                                 "0100006100"),
              "( 'a' <2> 'b' )");
    CHECK_STR(text_of("tsquery", "00000002"
                                 "0202"
                                 "0100006200"),
              "bad: is no query");
    CHECK_STR(text_of("tsquery", "00000002"
                                 "0100006200"
                                 "0100006100"),
              "bad: is no query");
    CHECK_STR(text_of("tsvector", "00000001"
                                  "6974277300"
                                  "0002"
                                  "c0018002"),
              "'it\\'s':1A 'it\\'s':2B ");
    CHECK_STR(text_of("hstore", "00000001"
                                "0000000161"
                                "ffffffff"),
              "\"a\"=>NULL");
}

TEST(money_is_parsed_exactly)
{
    int64_t v;
    CHECK(money_parse(WCP_STR("12.34"), 2, &v) && v == 1234);
    CHECK(money_parse(WCP_STR("-0.05"), 2, &v) && v == -5);
    CHECK(money_parse(WCP_STR("7"), 2, &v) && v == 700);
    CHECK(money_parse(WCP_STR("7.500"), 2, &v) && v == 750);
    CHECK(money_parse(WCP_STR("7"), 0, &v) && v == 7);
    CHECK(money_parse(WCP_STR("92233720368547758.07"), 2, &v) && v == INT64_MAX);
    CHECK(!money_parse(WCP_STR("92233720368547758.08"), 2, &v));
    CHECK(!money_parse(WCP_STR("0.001"), 2, &v));
    CHECK(!money_parse(WCP_STR("1,5"), 2, &v));
    CHECK(!money_parse(WCP_STR("1.2.3"), 2, &v));
    CHECK(!money_parse(WCP_STR("-"), 2, &v));
    CHECK(!money_parse(WCP_STR(""), 2, &v));
}

TEST(every_case_can_be_written)
{
    for (uint32_t tag = 1; tag < postgres_types_pg_value_type.count; tag++)
        CHECK(writers[tag] != NULL);
    CHECK_INT(sizeof writers / sizeof *writers, postgres_types_pg_value_type.count);
}

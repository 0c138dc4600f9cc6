/* types.c: which case of pg-value a type of PostgreSQL is. */
#include "read.h"
#include <string.h>

#define CASE(name) POSTGRES_TYPES_PG_VALUE_##name
#define NONE       POSTGRES_TYPES_PG_VALUE_NULL

/* The numbers are fixed (pg_type.dat). What has no case of its own but a plain text or number is
 * that: interval, which is another thing in the interface, oid, xid. */
static const struct pg_type types[] = {
    {16, 1000, "bool", CASE(BOOL), CASE(BOOL_ARRAY), read_bool},
    {OID_BYTEA, 1001, "bytea", CASE(BYTEA), CASE(BYTEA_ARRAY), read_bytea},
    {18, 1002, "\"char\"", CASE(CHAR), CASE(CHAR_ARRAY), read_char1},
    {19, 1003, "name", CASE(NAME), CASE(NAME_ARRAY), read_text},
    {20, 1016, "int8", CASE(INT8), CASE(INT8_ARRAY), read_int8},
    {21, 1005, "int2", CASE(INT2), CASE(INT2_ARRAY), read_int2},
    {OID_INT2VECTOR, 1006, "int2vector", CASE(INT2_VECTOR), CASE(INT2_VECTOR_ARRAY),
     read_int2vector},
    {23, 1007, "int4", CASE(INT4), CASE(INT4_ARRAY), read_int4},
    {25, 1009, "text", CASE(TEXT), CASE(TEXT_ARRAY), read_text},
    {26, 0, "oid", CASE(SERIAL4), NONE, read_oid},
    {28, 0, "xid", CASE(SERIAL4), NONE, read_oid},
    {29, 0, "cid", CASE(SERIAL4), NONE, read_oid},
    {114, 199, "json", CASE(JSON), CASE(JSON_ARRAY), read_text},
    {142, 143, "xml", CASE(XML), CASE(XML_ARRAY), read_text},
    {600, 1017, "point", CASE(POINT), CASE(POINT_ARRAY), read_point},
    {601, 1018, "lseg", CASE(LSEG), CASE(LSEG_ARRAY), read_two_points},
    {602, 1019, "path", CASE(PATH), CASE(PATH_ARRAY), read_path},
    {603, 1020, "box", CASE(BOX), CASE(BOX_ARRAY), read_box},
    {604, 1027, "polygon", CASE(POLYGON), CASE(POLYGON_ARRAY), read_polygon},
    {628, 629, "line", CASE(LINE), CASE(LINE_ARRAY), read_line},
    {650, 651, "cidr", CASE(CIDR), CASE(CIDR_ARRAY), read_cidr},
    {700, 1021, "float4", CASE(FLOAT4), CASE(FLOAT4_ARRAY), read_float4},
    {701, 1022, "float8", CASE(FLOAT8), CASE(FLOAT8_ARRAY), read_float8},
    {705, 0, "unknown", CASE(TEXT), NONE, read_text},
    {718, 719, "circle", CASE(CIRCLE), CASE(CIRCLE_ARRAY), read_circle},
    {774, 775, "macaddr8", CASE(MACADDR8), CASE(MACADDR8_ARRAY), read_mac8},
    {OID_MONEY, 791, "money", CASE(MONEY), CASE(MONEY_ARRAY), read_money},
    {829, 1040, "macaddr", CASE(MACADDR), CASE(MACADDR_ARRAY), read_mac6},
    {869, 1041, "inet", CASE(INET), CASE(INET_ARRAY), read_inet},
    {1042, 1014, "char", CASE(CHAR), CASE(CHAR_ARRAY), read_chars},
    {1043, 1015, "varchar", CASE(VARCHAR), CASE(VARCHAR_ARRAY), read_varchar},
    {1082, 1182, "date", CASE(DATE), CASE(DATE_ARRAY), read_date},
    {1083, 1183, "time", CASE(TIME), CASE(TIME_ARRAY), read_time},
    {1114, 1115, "timestamp", CASE(TIMESTAMP), CASE(TIMESTAMP_ARRAY), read_timestamp},
    {1184, 1185, "timestamptz", CASE(TIMESTAMP_TZ), CASE(TIMESTAMP_TZ_ARRAY), read_timestamptz},
    {1186, 1187, "interval", CASE(TEXT), CASE(TEXT_ARRAY), read_interval},
    {1266, 1270, "timetz", CASE(TIME_TZ), CASE(TIME_TZ_ARRAY), read_timetz},
    {1560, 1561, "bit", CASE(BIT), CASE(BIT_ARRAY), read_bits},
    {1562, 1563, "varbit", CASE(VARBIT), CASE(VARBIT_ARRAY), read_varbits},
    {1700, 1231, "numeric", CASE(NUMERIC), CASE(NUMERIC_ARRAY), read_numeric},
    {1790, 0, "refcursor", CASE(TEXT), NONE, read_text},
    {2275, 0, "cstring", CASE(TEXT), NONE, read_text},
    {2278, 0, "void", CASE(NULL), NONE, NULL},
    {2950, 2951, "uuid", CASE(UUID), CASE(UUID_ARRAY), read_uuid},
    {2970, 0, "txid_snapshot", CASE(PG_SNAPSHOT), NONE, read_snapshot},
    {3220, 3221, "pg_lsn", CASE(PG_LSN), CASE(PG_LSN_ARRAY), read_lsn},
    {3614, 0, "tsvector", CASE(TS_VECTOR), NONE, read_tsvector},
    {3615, 0, "tsquery", CASE(TS_QUERY), NONE, read_tsquery},
    {3802, 3807, "jsonb", CASE(JSONB), CASE(JSONB_ARRAY), read_jsonb},
    {3912, 3913, "daterange", CASE(INTERVAL), CASE(INTERVAL_ARRAY), read_daterange},
    {5038, 0, "pg_snapshot", CASE(PG_SNAPSHOT), NONE, read_snapshot},
    {5069, 0, "xid8", CASE(TXID_SNAPSHOT), NONE, read_int8},
};

static const struct pg_type hstore = {0, 0, "hstore", CASE(HSTORE), NONE, read_hstore};
static const struct pg_type labels = {0, 1, "enum", CASE(TEXT), CASE(TEXT_ARRAY), read_text};

const struct pg_type *pg_type_find(uint32_t oid, bool *is_array)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *is_array = types[i].oid != oid;
        if (types[i].oid == oid || (types[i].array_oid == oid && oid != 0))
            return &types[i];
    }
    return NULL;
}

const struct pg_type *pg_type_find_sent_by(const char *function)
{
    static const char *const texts[] = {"enum_send", "textsend", "citextsend"};
    if (strcmp(function, "hstore_send") == 0)
        return &hstore;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(function, texts[i]) == 0)
            return &labels;
    return NULL;
}

const char *value_case_name(const struct postgres_types_pg_value *v)
{
    return postgres_types_pg_value_type.fields[v->tag].name;
}

/* --- whole values --- */

static void *payload(struct postgres_types_pg_value *v)
{
    return &v->int8; /* members of a union start at the same place */
}

static bool read_array(struct reader *r, const struct pg_type *t, void *out)
{
    const struct wcp_type *elem = postgres_types_pg_value_type.fields[t->array_tag].type->elem;
    struct {
        void *ptr;
        size_t len;
    } list = {0};
    uint32_t dimensions, has_null, elem_oid, n, lower;
    if (!read_u32(r, &dimensions) || !read_u32(r, &has_null) || !read_u32(r, &elem_oid))
        return false;
    if (dimensions > 1)
        return read_bad(r, "has more than one dimension");
    if (dimensions == 1) {
        if (!read_u32(r, &n) || !read_u32(r, &lower))
            return false;
        list.ptr = read_room(r, n, elem->size);
        if (!list.ptr)
            return false;
        for (; list.len < n; list.len++) {
            uint32_t size;
            if (!read_u32(r, &size))
                return false;
            if (size == UINT32_MAX)
                return read_bad(r, "has a NULL among its elements");
            if (r->arena->used > r->arena_limit)
                return read_bad(r, "is larger than the limit for results");
            struct reader one = *r;
            if (!read_bytes(r, size, &one.at))
                return false;
            one.end = r->at;
            if (!t->read(&one, (char *)list.ptr + list.len * elem->size) || one.at != one.end)
                return read_bad(r, one.why ? one.why : "has bytes left over");
        }
    }
    memcpy(out, &list, sizeof list);
    return true;
}

bool value_read(struct reader *r, const struct pg_type *t, bool is_array,
                struct postgres_types_pg_value *out)
{
    out->tag = is_array ? t->array_tag : t->tag;
    if (!t->read)
        return true;
    if (is_array ? !read_array(r, t, payload(out)) : !t->read(r, payload(out)))
        return false;
    return r->at == r->end || read_bad(r, "has bytes left over");
}

/* postgres.c: fuzzing the values that a PostgreSQL server sends: whatever the bytes, they are a
 * value that can be sent on and written as text again, or an error with a reason.
 *
 * The first byte picks the type, the second one what it is in. */
#include "must.h"
#include "postgres_values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { COUNT = sizeof types / sizeof *types, LIMIT = 1 << 20 };
    if (size < 2)
        return 0;
    const struct pg_type *t =
        data[0] % (COUNT + 1) == COUNT ? &hstore : &types[data[0] % (COUNT + 1)];
    bool is_array = (data[1] & 1) && t->array_oid;
    struct wcp_arena arena = {0};
    struct reader r = {.at = data + 2,
                       .end = data + size,
                       .arena = &arena,
                       .arena_limit = LIMIT,
                       .money_digits = data[1] >> 1 & 3};
    struct postgres_types_pg_value v = {0};
    if (!value_read(&r, t, is_array, &v)) {
        MUST(r.why && *r.why);
        wcp_arena_free(&arena);
        return 0;
    }
    struct wcp_buf out = {0};
    wcp_encode(&postgres_types_pg_value_type, &v, &out);
    struct wcp_bytes in = {out.ptr, out.len};
    struct postgres_types_pg_value again;
    MUST(wcp_decode(&postgres_types_pg_value_type, &in, &again, &arena, NULL) == 0 && in.len == 0);
    struct wcp_buf text = {0};
    const char *why = NULL;
    if (v.tag != POSTGRES_TYPES_PG_VALUE_NULL)
        MUST(value_write(&v, t->oid, &text, &why) || (why && *why));
    int64_t amount;
    if (v.tag == POSTGRES_TYPES_PG_VALUE_MONEY && money_parse(v.money, r.money_digits, &amount)) {
        const uint8_t *p = data + 2;
        uint64_t sent = 0;
        for (size_t i = 0; i < 8; i++)
            sent = sent << 8 | p[i];
        MUST((uint64_t)amount == sent);
    }
    wcp_buf_free(&text);
    wcp_buf_free(&out);
    wcp_arena_free(&arena);
    return 0;
}

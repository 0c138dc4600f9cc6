/* values.h: pg-values to and from what the server speaks. */
#ifndef VALUES_H
#define VALUES_H

#include "postgres_types.h"

enum { /* types that the statements' code knows by itself */
       OID_BYTEA = 17,
       OID_INT2VECTOR = 22,
       OID_MONEY = 790,
};

/* --- results: the server's binary format --- */

/* Bytes of a value, and where its parts go. */
struct reader {
    const uint8_t *at, *end;
    struct wcp_arena *arena;
    size_t arena_limit;    /* of arena->used */
    unsigned money_digits; /* behind the point: the server's lc_monetary says */
    const char *why;       /* something is wrong: a phrase without a subject */
};

/* Reads one value into *out, whose C type is that of a case of pg-value. It may leave bytes over.
 * False: r->why says why not. */
typedef bool read_fn(struct reader *r, void *out);

struct pg_type {
    uint32_t oid, array_oid; /* 0: has none, or none that pg-value can hold */
    const char *name;
    uint8_t tag, array_tag; /* cases of pg-value */
    read_fn *read;
};

/* NULL: not built in. */
const struct pg_type *pg_type_find(uint32_t oid, bool *is_array);
/* By the function that sends values of the type, which tells their format: enums and types of
 * extensions have different numbers everywhere. NULL: none that pg-value can hold. */
const struct pg_type *pg_type_find_sent_by(const char *function);

/* Reads all of r as a value of the type, or as an array of them. */
bool value_read(struct reader *r, const struct pg_type *t, bool is_array,
                struct postgres_types_pg_value *out);

/* --- parameters: its text format --- */

/* Appends *v, which is not null, for a parameter of the type. False: *why is a phrase as above.
 * What the text means is the server's to judge, so values fit every type that can read them. */
bool value_write(const struct postgres_types_pg_value *v, uint32_t oid, struct wcp_buf *out,
                 const char **why);
/* The amount of money in its smallest unit; false: the text is no such number. */
bool money_parse(struct wcp_str text, unsigned digits, int64_t *out);

/* "int4-array" */
const char *value_case_name(const struct postgres_types_pg_value *v);

#endif

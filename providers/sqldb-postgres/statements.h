/* statements.h: the statements that a connection has prepared. */
#ifndef STATEMENTS_H
#define STATEMENTS_H

#include "backend.h"

struct column {
    struct wcp_str name; /* NUL-terminated behind its length */
    uint32_t oid;
    const struct pg_type *type;
    bool is_array;
};

struct statement {
    struct wcp_str sql;
    char name[24]; /* on the server */
    uint64_t used;
    size_t param_count, column_count;
    uint32_t *params; /* types */
    struct column *columns;
};

enum { MAX_STATEMENTS = 64 };

/* Of one connection. */
struct statements {
    struct statement *list[MAX_STATEMENTS];
    size_t count;
    uint64_t clock, made;
};

struct statements *statements_of(struct pq_session *s);
struct statement *statements_find(struct statements *all, struct wcp_str sql); /* or NULL */
/* A statement that is still to be prepared, under a new name; the caller's. */
struct statement *statement_new(struct statements *all, struct wcp_str sql);
/* What the server says of it. */
void statement_describe(struct statement *st, const PGresult *described);
void statement_free(struct statement *st);
void statements_add(struct statements *all, struct statement *st); /* there must be room */
/* Takes it out, or if NULL the one that was used longest ago, for the caller to end. */
struct statement *statements_take(struct statements *all, struct statement *st);

#endif

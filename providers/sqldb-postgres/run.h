/* run.h: one call's statements on a connection of its link. */
#ifndef RUN_H
#define RUN_H

#include "backend.h"
#include "postgres_query.h"

enum { QUERY_TIMEOUT_MAX_MS = 600000 };

enum run_kind {
    RUN_QUERY,   /* one statement, for its rows */
    RUN_EXEC,    /* one statement, for how many rows it changed */
    RUN_PREPARE, /* only checks a statement */
    RUN_BATCH,   /* any number of statements */
};

struct run_outcome {
    const struct postgres_types_query_error *error; /* NULL: it worked, and the rest is filled in */
    struct postgres_query_result_row_list rows;
    uint64_t changed;
};

/* Lives as long as the call, in its arena. */
struct run_request {
    enum run_kind kind;
    struct wcp_str sql;
    const struct postgres_types_pg_value *params;
    size_t param_count;
    void (*done)(struct wcp_call *c, const struct run_outcome *o); /* to reply; comes once */
};

void run_call(struct wcp_call *c, const struct run_request *request);

/* For pools: frees what is known of a connection's prepared statements. */
void statements_free(void *data);

#endif

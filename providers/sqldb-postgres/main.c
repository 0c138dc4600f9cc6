/* sqldb-postgres: wasmcloud:postgres query and prepared, a pool of PostgreSQL connections per link.
 */
#include "postgres_prepared.h"
#include "postgres_query.h"
#include "backend.h"
#include "run.h"
#include <inttypes.h>
#include <stdio.h>

/* --- query --- */

static void queried(struct wcp_call *call, const struct run_outcome *o)
{
    if (o->error)
        postgres_query_fail(call, *o->error);
    else
        postgres_query_query_ok((struct postgres_query_query *)call, o->rows);
}

static void query_query(struct postgres_query_query *c)
{
    run_call(&c->call, &(struct run_request){.kind = RUN_QUERY,
                                             .sql = c->query,
                                             .params = c->params.ptr,
                                             .param_count = c->params.len,
                                             .done = queried});
}

static void batch_done(struct wcp_call *call, const struct run_outcome *o)
{
    if (o->error)
        postgres_query_fail(call, *o->error);
    else
        postgres_query_query_batch_ok((struct postgres_query_query_batch *)call);
}

static void query_batch(struct postgres_query_query_batch *c)
{
    run_call(&c->call,
             &(struct run_request){.kind = RUN_BATCH, .sql = c->query, .done = batch_done});
}

/* --- prepared ---
 * A token is the statement itself behind a mark of the link that it was prepared on. So it lives as
 * long as the link does, whichever replica gets the call, and costs no memory. On another link it
 * is unknown; and whoever makes one up could have sent the statement as well. */

enum { MARK = 16 };

static void link_mark(const struct wcp_link *l, char out[MARK + 2])
{
    const struct wcp_str parts[] = {l->target_id, l->source_id, l->name};
    uint64_t hash = 14695981039346656037ULL; /* FNV-1a */
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k <= parts[i].len; k++) /* with the NUL behind it */
            hash = (hash ^ (uint8_t)parts[i].ptr[k]) * 1099511628211ULL;
    (void)snprintf(out, MARK + 2, "%016" PRIx64 ":", hash); /* fits */
}

static void statement_prepared(struct wcp_call *call, const struct run_outcome *o)
{
    struct postgres_prepared_prepare *c = (struct postgres_prepared_prepare *)call;
    if (o->error) {
        postgres_prepared_prepare_err(
            c, postgres_types_statement_prepare_error_unexpected(o->error->unexpected));
        return;
    }
    char mark[MARK + 2];
    link_mark(call->link, mark);
    struct wcp_buf token = {0};
    wcp_buf_put(&token, mark, MARK + 1);
    wcp_buf_put(&token, c->statement.ptr, c->statement.len);
    postgres_prepared_prepare_ok(c, (struct wcp_str){(const char *)token.ptr, token.len});
    wcp_buf_free(&token);
}

static void prepared_prepare(struct postgres_prepared_prepare *c)
{
    run_call(&c->call, &(struct run_request){
                           .kind = RUN_PREPARE, .sql = c->statement, .done = statement_prepared});
}

static void statement_executed(struct wcp_call *call, const struct run_outcome *o)
{
    struct postgres_prepared_exec *c = (struct postgres_prepared_exec *)call;
    if (o->error)
        postgres_prepared_exec_err(
            c, postgres_types_prepared_statement_exec_error_query_error(*o->error));
    else
        postgres_prepared_exec_ok(c, o->changed);
}

static void prepared_exec(struct postgres_prepared_exec *c)
{
    char mark[MARK + 2];
    link_mark(c->call.link, mark);
    struct wcp_str token = c->stmt_token;
    size_t n = token.len < MARK + 1 ? token.len : MARK + 1;
    if (!wcp_str_eq((struct wcp_str){token.ptr, n}, (struct wcp_str){mark, MARK + 1})) {
        postgres_prepared_exec_err(
            c, postgres_types_prepared_statement_exec_error_unknown_prepared_query());
        return;
    }
    run_call(&c->call, &(struct run_request){.kind = RUN_EXEC,
                                             .sql = {token.ptr + n, token.len - n},
                                             .params = c->params.ptr,
                                             .param_count = c->params.len,
                                             .done = statement_executed});
}

static const struct postgres_query query = {query_query, query_batch};
static const struct postgres_prepared prepared = {prepared_prepare, prepared_exec};

int main(int argc, char **argv)
{
    return wcp_main(argc, argv,
                    &(struct wcp_provider){
                        .name = "sqldb-postgres",
                        .exports = (struct wcp_export[]){{&postgres_query_interface, &query},
                                                         {&postgres_prepared_interface, &prepared},
                                                         {0}},
                        .link_up = backend_link_up,
                        .link_down = backend_link_down,
                        .limits = {.call_ms = QUERY_TIMEOUT_MAX_MS + 10000}, /* ours come first */
                    });
}

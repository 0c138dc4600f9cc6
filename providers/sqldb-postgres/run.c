/* run.c: one call's statements on a connection of its link.
 *
 * A statement that the connection has not prepared yet is prepared and described in one round trip.
 * If it has types that are not known, the server is asked for them. Only then, when it is clear
 * that all of its columns can be told, is it executed. A batch is one simple query instead. */
#include "run.h"
#include "statements.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_KEPT = 65536 }; /* longer texts are not kept prepared */

enum phase { PREPARING, ASKING, EXECUTING }; /* what the server is doing */

struct run {
    struct pq_job job;
    struct wcp_call *call;
    struct backend *backend;
    struct run_request q;
    const char *sql; /* NUL-terminated */

    enum phase phase;
    int answers; /* while preparing: how many have come; the last one describes */
    struct statement *st;
    bool owned;    /* st is not among the session's */
    bool was_kept; /* and was prepared by an earlier call */
    bool retried, stale;

    struct wcp_str *names; /* of columns */
    struct postgres_types_result_row *rows;
    size_t room, row_count, arena_limit;
    uint64_t changed;
    bool worn;
    bool failed;
    struct postgres_types_query_error error;
};

enum { INVALID_PARAMS, INVALID_QUERY, UNEXPECTED }; /* the interface's cases, in its order */

/* --- ends --- */

static void set_error(struct run *r, uint32_t tag, struct wcp_str text)
{
    if (r->failed)
        return; /* the first one tells the cause */
    r->failed = true;
    r->error.tag = tag;
    r->error.unexpected = text; /* all cases hold a text */
}

static void reply(struct run *r)
{
    if (r->owned)
        statement_free(r->st);
    wcp_trace_call(r->call);
    struct run_outcome o = {.error = r->failed ? &r->error : NULL, .changed = r->changed};
    o.rows.ptr = r->rows;
    o.rows.len = r->row_count;
    r->q.done(r->call, &o); /* r is gone */
}

static void finish(struct run *r, struct pq_session *s)
{
    PGTransactionStatusType status = PQtransactionStatus(pq_session_pg(s));
    if ((status == PQTRANS_INTRANS || status == PQTRANS_INERROR) && !r->backend->said_open) {
        const struct wcp_link *l = r->call->link;
        r->backend->said_open = true;
        wcp_log(WCP_WARN,
                "postgres: a call left a transaction open; it is rolled back. Put what belongs "
                "together into one query-batch (logged once)",
                "link", l->name.ptr, "source", l->source_id.ptr, NULL);
    }
    pq_job_done(&r->job, r->worn);
    reply(r);
}

static void on_failed(struct pq_job *j, const char *why)
{
    struct run *r = (struct run *)j; /* its first member */
    set_error(r, UNEXPECTED, wcp_fmt(&r->call->arena, "postgres: %s", why));
    reply(r);
}

/* For errors of ours, before the server has been asked or while it still answers. */
static void give_up(struct run *r, struct pq_session *s, uint32_t tag, struct wcp_str text)
{
    set_error(r, tag, text);
    finish(r, s);
}

/* --- what the server says is wrong --- */

/* 22: the data; of a statement with parameters that is mostly theirs. 42: the statement, but for
 * rights (42501). 08P01: the number of parameters. */
static uint32_t kind_of(const struct run *r, const char *state)
{
    if ((strncmp(state, "22", 2) == 0 && r->q.param_count > 0) || strcmp(state, "08P01") == 0)
        return INVALID_PARAMS;
    if (strncmp(state, "42", 2) == 0 && strcmp(state, "42501") != 0)
        return INVALID_QUERY;
    return UNEXPECTED;
}

static void on_error(struct run *r, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *where = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);
    const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
    if (!state || !text) { /* libpq's own: the connection is broken, which is told next */
        return;
    }
    /* The tables have changed under a statement that was prepared before, or it is gone. Nothing of
     * it has been executed. */
    r->stale =
        r->was_kept && r->phase == EXECUTING && r->row_count == 0 &&
        (strcmp(state, "26000") == 0 || (where && strcmp(where, "RevalidateCachedQuery") == 0));
    struct wcp_str s = detail ? wcp_fmt(&r->call->arena, "%s: %s (%s)", state, text, detail)
                              : wcp_fmt(&r->call->arena, "%s: %s", state, text);
    if (!wcp_is_utf8((struct wcp_bytes){(const uint8_t *)s.ptr, s.len}))
        s = wcp_fmt(&r->call->arena, "%.5s: (a message that is not UTF-8)", state);
    set_error(r, kind_of(r, state), s);
}

/* --- executing --- */

/* False: the parameters are wrong, which has been said. */
static bool write_params(struct run *r, const char **values, int *lengths, int *formats)
{
    struct wcp_arena *a = &r->call->arena;
    for (size_t i = 0; i < r->q.param_count; i++) {
        const struct postgres_types_pg_value *v = &r->q.params[i];
        uint32_t oid = r->st->params[i];
        if (v->tag == POSTGRES_TYPES_PG_VALUE_NULL)
            continue;
        if (v->tag == POSTGRES_TYPES_PG_VALUE_BYTEA && oid == OID_BYTEA) {
            values[i] = v->bytea.len ? (const char *)v->bytea.ptr : "";
            lengths[i] = (int)v->bytea.len; /* of a message: below 2 GiB */
            formats[i] = 1;
            continue;
        }
        struct wcp_buf text = {0};
        const char *why;
        bool good = value_write(v, oid, &text, &why);
        if (!good)
            set_error(
                r, INVALID_PARAMS,
                wcp_fmt(a, "postgres: parameter $%zu, a %s, %s", i + 1, value_case_name(v), why));
        int64_t amount;
        if (good && oid == OID_MONEY && r->backend->money_digits >= 0 &&
            money_parse((struct wcp_str){(const char *)text.ptr, text.len},
                        (unsigned)r->backend->money_digits, &amount)) {
            /* As text it would depend on the server's language where the point is. */
            uint8_t *bytes = wcp_alloc(a, 8, 1);
            for (unsigned k = 0; k < 8; k++)
                bytes[k] = (uint8_t)((uint64_t)amount >> (56 - 8 * k));
            values[i] = (const char *)bytes;
            lengths[i] = 8;
            formats[i] = 1;
        } else if (good) {
            char *copy = wcp_alloc(a, text.len + 1, 1);
            if (text.len)
                memcpy(copy, text.ptr, text.len);
            values[i] = copy;
        }
        wcp_buf_free(&text);
        if (!good)
            return false;
    }
    return true;
}

static void execute(struct run *r, struct pq_session *s)
{
    struct wcp_arena *a = &r->call->arena;
    size_t n = r->q.param_count;
    r->phase = EXECUTING;
    if (n != r->st->param_count) {
        give_up(r, s, INVALID_PARAMS,
                wcp_fmt(a, "postgres: the statement has %zu parameters, and %zu were given",
                        r->st->param_count, n));
        return;
    }
    const char **values = wcp_alloc(a, n + 1, sizeof *values);
    int *lengths = wcp_alloc(a, n + 1, sizeof *lengths);
    int *formats = wcp_alloc(a, n + 1, sizeof *formats);
    if (!write_params(r, values, lengths, formats)) {
        finish(r, s);
        return;
    }
    r->arena_limit = a->used + r->backend->max_result_bytes;
    r->names = wcp_alloc(a, r->st->column_count + 1, sizeof *r->names);
    for (size_t i = 0; i < r->st->column_count; i++)
        r->names[i] = wcp_fmt(a, "%s", r->st->columns[i].name.ptr);
    PGconn *pg = pq_session_pg(s);
    if (!PQsendQueryPrepared(pg, r->st->name, (int)n, values, lengths, formats, 1) ||
        !PQsetSingleRowMode(pg) || !PQpipelineSync(pg)) {
        r->worn = true;
        give_up(r, s, UNEXPECTED, WCP_STR("postgres: the statement could not be sent"));
        return;
    }
    pq_session_sent(s);
}

/* False: it could not be told, which has been said. */
static bool take_row(struct run *r, const PGresult *res)
{
    struct wcp_arena *a = &r->call->arena;
    if (r->row_count == r->room) {
        r->room = r->room ? r->room * 2 : 16;
        struct postgres_types_result_row *rows = wcp_alloc(a, r->room, sizeof *rows);
        if (r->row_count)
            memcpy(rows, r->rows, r->row_count * sizeof *rows);
        r->rows = rows;
    }
    size_t n = r->st->column_count;
    struct postgres_types_result_row_entry *entries = wcp_alloc(a, n, sizeof *entries);
    for (size_t i = 0; i < n; i++) {
        entries[i].column_name = r->names[i];
        if (PQgetisnull(res, 0, (int)i))
            continue; /* tag 0 is null */
        const struct column *column = &r->st->columns[i];
        const uint8_t *at = (const uint8_t *)PQgetvalue(res, 0, (int)i);
        struct reader in = {
            .at = at,
            .end = at + PQgetlength(res, 0, (int)i),
            .arena = a,
            .arena_limit = r->arena_limit,
            .money_digits =
                (unsigned)(r->backend->money_digits < 0 ? 2 : r->backend->money_digits)};
        if (!value_read(&in, column->type, column->is_array, &entries[i].value)) {
            set_error(r, UNEXPECTED,
                      wcp_fmt(a, "postgres: row %zu, column '%s', a %s%s, %s", r->row_count + 1,
                              column->name.ptr, column->type->name, column->is_array ? "[]" : "",
                              in.why));
            return false;
        }
        if (a->used > r->arena_limit) {
            set_error(r, UNEXPECTED,
                      wcp_fmt(a, "postgres: the result is larger than the limit of %zu bytes",
                              r->backend->max_result_bytes));
            return false;
        }
    }
    r->rows[r->row_count].ptr = entries;
    r->rows[r->row_count++].len = n;
    return true;
}

/* Could the statement have changed the session, other than by an open transaction? */
static bool wears(const struct run *r, const char *tag)
{
    static const char *const harmless[] = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", ""};
    static const char *const suspects[] = {"set_config", "advisory", "temp"};
    size_t n = strcspn(tag, " ");
    size_t i = 0;
    while (i < 6 && (strlen(harmless[i]) != n || strncmp(harmless[i], tag, n) != 0))
        i++;
    if (i == 6)
        return true;
    for (i = 0; i < 3; i++)
        if (strcasestr(r->sql, suspects[i]))
            return true;
    return false;
}

/* --- preparing --- */

static void prepare(struct run *r, struct pq_session *s)
{
    PGconn *pg = pq_session_pg(s);
    struct statements *all = statements_of(s);
    bool good = true;
    r->phase = PREPARING;
    r->answers = 1;
    bool keep = r->q.sql.len <= MAX_KEPT;
    struct statement *old = r->stale ? r->st : NULL;
    if (old || (keep && all->count == MAX_STATEMENTS)) {
        char text[48];
        old = statements_take(all, old);
        (void)snprintf(text, sizeof text, "DEALLOCATE %s", old->name); /* fits */
        statement_free(old);
        good = PQsendQueryParams(pg, text, 0, NULL, NULL, NULL, NULL, 0);
        r->answers = 0;
    }
    r->stale = false;
    r->st = statement_new(all, r->q.sql);
    r->owned = true;
    if (!keep)
        r->st->name[0] = '\0';
    if (!good || !PQsendPrepare(pg, r->st->name, r->sql, 0, NULL) ||
        !PQsendDescribePrepared(pg, r->st->name) || !PQpipelineSync(pg)) {
        r->worn = true;
        give_up(r, s, UNEXPECTED, WCP_STR("postgres: the statement could not be sent"));
        return;
    }
    pq_session_sent(s);
}

static const struct known_type *known(const struct backend *b, uint32_t oid)
{
    for (size_t i = 0; i < b->type_count; i++)
        if (b->types[i].oid == oid)
            return &b->types[i];
    return NULL;
}

/* Whether the column can be told is settled: its type is set, or r has failed. False: the server
 * has to be asked. */
static bool settle_column(struct run *r, struct column *c)
{
    if (c->type)
        return true;
    c->type = pg_type_find(c->oid, &c->is_array);
    const struct known_type *k = c->type ? NULL : known(r->backend, c->oid);
    if (k) {
        c->type = k->type;
        c->is_array = k->is_array;
    }
    if (k && !k->type)
        set_error(r, INVALID_QUERY,
                  wcp_fmt(&r->call->arena,
                          "postgres: column '%s' has the type %s, which no pg-value can hold: cast "
                          "it, perhaps to text",
                          c->name.ptr, k->name));
    return c->type || k;
}

static bool is_money(uint32_t oid)
{
    return oid == OID_MONEY || oid == 791;
}

/* The statement is prepared. Goes on when all of its types are known, or asks. */
static void settle_types(struct run *r, struct pq_session *s)
{
    struct statement *st = r->st;
    if (r->q.kind == RUN_PREPARE) {
        finish(r, s);
        return;
    }
    struct wcp_buf ask = {0};
    bool money = false;
    /* Nobody asks for rows of the other kinds. */
    for (size_t i = 0; r->q.kind == RUN_QUERY && i < st->column_count; i++) {
        money |= is_money(st->columns[i].oid);
        if (!settle_column(r, &st->columns[i]))
            wcp_buf_fmt(&ask, "%" PRIu32 ",", st->columns[i].oid);
    }
    for (size_t i = 0; i < st->param_count; i++)
        money |= is_money(st->params[i]);
    bool asks = ask.len > 0 || (money && r->backend->money_digits < 0);
    if (r->failed || !asks || r->phase == ASKING) { /* it is asked once */
        wcp_buf_free(&ask);
        if (asks && !r->failed)
            set_error(r, UNEXPECTED, WCP_STR("postgres: a type of the statement is gone"));
        if (r->failed)
            finish(r, s);
        else
            execute(r, s);
        return;
    }
    r->phase = ASKING;
    struct wcp_buf sql = {0};
    wcp_buf_fmt(&sql,
                "SELECT t.oid, p.proname, e.oid IS NOT NULL, t.typname, "
                "pg_catalog.encode(pg_catalog.cash_send(1::pg_catalog.int4::pg_catalog.money), "
                "'hex') FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = "
                "t.typelem AND t.typsend = 'pg_catalog.array_send'::pg_catalog.regproc JOIN "
                "pg_catalog.pg_proc p ON p.oid = coalesce(e.typsend, t.typsend) WHERE t.oid IN "
                "(%.*s%d)",
                (int)ask.len, ask.len ? (const char *)ask.ptr : "", OID_MONEY);
    wcp_buf_put(&sql, "", 1);
    PGconn *pg = pq_session_pg(s);
    bool good = PQsendQueryParams(pg, (const char *)sql.ptr, 0, NULL, NULL, NULL, NULL, 0) &&
                PQpipelineSync(pg);
    wcp_buf_free(&ask);
    wcp_buf_free(&sql);
    if (!good) {
        r->worn = true;
        give_up(r, s, UNEXPECTED, WCP_STR("postgres: the statement could not be sent"));
        return;
    }
    pq_session_sent(s);
}

static void learn_types(struct backend *b, const PGresult *res)
{
    for (int i = 0; i < PQntuples(res); i++) {
        struct known_type k = {.oid = (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10)};
        /* One unit of money in the smallest one: 100 has two digits behind the point. */
        unsigned long long unit = strtoull(PQgetvalue(res, i, 4), NULL, 16);
        b->money_digits = 0;
        for (; unit >= 10 && b->money_digits < 18; unit /= 10)
            b->money_digits++;
        if (k.oid == OID_MONEY || known(b, k.oid))
            continue;
        k.is_array = *PQgetvalue(res, i, 2) == 't';
        k.type = pg_type_find_sent_by(PQgetvalue(res, i, 1));
        if (k.type && k.is_array && k.type->array_oid == 0)
            k.type = NULL;
        (void)snprintf(k.name, sizeof k.name, "%s", PQgetvalue(res, i, 3)); /* names are short */
        b->types = wcp_realloc(b->types, (b->type_count + 1) * sizeof *b->types);
        b->types[b->type_count++] = k;
    }
}

/* --- the job --- */

static void on_run(struct pq_job *j, struct pq_session *s)
{
    struct run *r = (struct run *)j; /* its first member */
    if (r->q.kind == RUN_BATCH) {
        PGconn *pg = pq_session_pg(s);
        r->worn = true;
        r->phase = EXECUTING;
        if (!PQexitPipelineMode(pg) || !PQsendQuery(pg, r->sql))
            give_up(r, s, UNEXPECTED, WCP_STR("postgres: the statements could not be sent"));
        else
            pq_session_sent(s);
        return;
    }
    r->st = statements_find(statements_of(s), r->q.sql);
    r->was_kept = r->st != NULL;
    if (r->st)
        settle_types(r, s);
    else
        prepare(r, s);
}

/* The server has answered all that was sent. */
static void on_sync(struct run *r, struct pq_session *s)
{
    if (r->stale && !r->retried) {
        r->failed = false;
        r->retried = true;
        prepare(r, s);
        return;
    }
    if (r->phase == PREPARING && !r->failed) {
        if (r->st->name[0]) {
            statements_add(statements_of(s), r->st);
            r->owned = false;
        }
        settle_types(r, s);
    } else if (r->phase == ASKING && !r->failed) {
        settle_types(r, s);
    } else {
        finish(r, s);
    }
}

static void on_result(struct pq_job *j, struct pq_session *s, const PGresult *res)
{
    struct run *r = (struct run *)j; /* its first member */
    if (!res) {
        if (r->q.kind == RUN_BATCH) /* the end of all its statements */
            finish(r, s);
        return;
    }
    switch (PQresultStatus(res)) {
    case PGRES_PIPELINE_SYNC: on_sync(r, s); return;
    case PGRES_SINGLE_TUPLE:
        if (r->q.kind == RUN_QUERY && !take_row(r, res))
            finish(r, s); /* what is still coming is cancelled */
        return;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (r->phase == PREPARING && r->answers++ == 2)
            statement_describe(r->st, res);
        if (r->phase == ASKING)
            learn_types(r->backend, res);
        if (r->phase == EXECUTING) {
            PGresult *own = (PGresult *)(uintptr_t)res; /* libpq does not say const here */
            r->changed = strtoull(PQcmdTuples(own), NULL, 10);
            r->worn |= wears(r, PQcmdStatus(own));
        }
        return;
    case PGRES_FATAL_ERROR:
        r->worn |= r->phase == PREPARING && r->answers == 0;
        on_error(r, res);
        return;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        give_up(r, s, INVALID_QUERY, WCP_STR("postgres: COPY cannot be done over this interface"));
        return;
    default: return; /* an empty statement; what follows an error in a pipeline */
    }
}

void run_call(struct wcp_call *c, const struct run_request *q)
{
    struct run *r = wcp_alloc(&c->arena, 1, sizeof *r);
    r->job.run = on_run;
    r->job.result = on_result;
    r->job.failed = on_failed;
    r->call = c;
    r->backend = c->link->data;
    r->q = *q;
    char *sql = wcp_alloc(&c->arena, q->sql.len + 1, 1);
    if (q->sql.len)
        memcpy(sql, q->sql.ptr, q->sql.len);
    r->sql = sql;
    if (strlen(sql) != q->sql.len) {
        set_error(r, INVALID_QUERY, WCP_STR("postgres: the statement has a NUL in it"));
        reply(r);
        return;
    }
    pq_pool_do(r->backend->pool, &r->job);
}

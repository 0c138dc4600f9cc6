/* statements.c: the statements that a connection has prepared. */
#include "statements.h"
#include "run.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct statements *statements_of(struct pq_session *s)
{
    void **data = pq_session_data(s);
    if (!*data)
        *data = wcp_calloc(1, sizeof(struct statements));
    return *data;
}

struct statement *statements_find(struct statements *all, struct wcp_str sql)
{
    for (size_t i = 0; i < all->count; i++) {
        if (wcp_str_eq(all->list[i]->sql, sql)) {
            all->list[i]->used = ++all->clock;
            return all->list[i];
        }
    }
    return NULL;
}

struct statement *statement_new(struct statements *all, struct wcp_str sql)
{
    struct statement *st = wcp_calloc(1, sizeof *st);
    st->sql = (struct wcp_str){wcp_str_dup(sql), sql.len};
    (void)snprintf(st->name, sizeof st->name, "o%" PRIu64, ++all->made); /* fits */
    st->used = ++all->clock;
    return st;
}

void statement_describe(struct statement *st, const PGresult *r)
{
    st->param_count = (size_t)PQnparams(r);
    st->params = wcp_calloc(st->param_count + 1, sizeof *st->params);
    for (size_t i = 0; i < st->param_count; i++)
        st->params[i] = PQparamtype(r, (int)i);
    st->column_count = (size_t)PQnfields(r);
    st->columns = wcp_calloc(st->column_count + 1, sizeof *st->columns);
    for (size_t i = 0; i < st->column_count; i++) {
        const char *name = PQfname(r, (int)i);
        struct wcp_str s = wcp_str(name);
        if (!wcp_is_utf8((struct wcp_bytes){(const uint8_t *)s.ptr, s.len}))
            s = WCP_STR("?"); /* of a database without an encoding */
        st->columns[i].name = (struct wcp_str){wcp_str_dup(s), s.len};
        st->columns[i].oid = PQftype(r, (int)i);
    }
}

static void free_text(struct wcp_str s)
{
    free((char *)(uintptr_t)s.ptr); /* from wcp_str_dup */
}

void statement_free(struct statement *st)
{
    if (!st)
        return;
    for (size_t i = 0; i < st->column_count; i++)
        free_text(st->columns[i].name);
    free(st->columns);
    free(st->params);
    free_text(st->sql);
    free(st);
}

void statements_add(struct statements *all, struct statement *st)
{
    all->list[all->count++] = st;
}

struct statement *statements_take(struct statements *all, struct statement *st)
{
    size_t at = 0;
    for (size_t i = 0; i < all->count; i++)
        if (st ? all->list[i] == st : all->list[i]->used < all->list[at]->used)
            at = i;
    st = all->list[at];
    all->list[at] = all->list[--all->count];
    return st;
}

void statements_free(void *data)
{
    struct statements *all = data;
    for (size_t i = 0; i < all->count; i++)
        statement_free(all->list[i]);
    free(all);
}

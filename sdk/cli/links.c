/* links.c: wcp links: what providers say of their links, as a table. Every replica answers. */
#include "cli/session.h"
#include "lattice/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE, SINCE, PROVIDER, LINK, INTERFACES, HOST, WHY, COLUMNS };
static const char *const titles[COLUMNS] = {"STATE",      "SINCE", "PROVIDER", "LINK",
                                            "INTERFACES", "HOST",  "REASON"};

struct row {
    char *cells[COLUMNS];
};

struct table {
    bool json;
    size_t answers, failed, omitted;
    struct row *rows;
    size_t count;
    struct wcp_err err; /* the first answer that is none */
};

static const char *text_of(struct json_object *o, const char *member)
{
    struct json_object *v = NULL;
    bool is_text =
        json_object_object_get_ex(o, member, &v) && json_object_is_type(v, json_type_string);
    return is_text ? json_object_get_string(v) : "";
}

static int64_t number_of(struct json_object *o, const char *member)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, member, &v) ? json_object_get_int64(v) : 0;
}

/* For a cell: others wrote it, and it stays within its line. */
static char *cell(struct wcp_buf *b)
{
    char *text = wcp_str_dup((struct wcp_str){(const char *)b->ptr, b->len});
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    wcp_buf_free(b);
    return text;
}

static void put_age(struct wcp_buf *b, int64_t ms)
{
    static const struct {
        int64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    int64_t s = ms / 1000;
    size_t i = 0;
    while (i < 3 && s < units[i].s)
        i++;
    wcp_buf_fmt(b, "%" PRId64 "%c", s / units[i].s, units[i].unit);
}

static void put_interfaces(struct wcp_buf *b, struct json_object *link)
{
    struct json_object *list = NULL;
    wcp_buf_fmt(b, "%s:%s", text_of(link, "wit_namespace"), text_of(link, "wit_package"));
    if (member_list(link, "interfaces", &list, NULL) || !list)
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *v = json_object_array_get_idx(list, i);
        wcp_buf_fmt(b, "%c%s", i ? ',' : '/',
                    json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "?");
    }
}

static void add_row(struct table *t, struct json_object *answer, struct json_object *link)
{
    struct wcp_buf b[COLUMNS] = {{0}};
    const char *provider = text_of(answer, "provider_id"), *host = text_of(answer, "host_name");
    bool calls_us = strcmp(text_of(link, "target"), provider) == 0;
    int64_t retry = number_of(link, "retry_in_ms"), calls = number_of(link, "calls");
    t->failed += strcmp(text_of(link, "state"), "failed") == 0;
    wcp_buf_fmt(&b[STATE], "%s", text_of(link, "state"));
    put_age(&b[SINCE], number_of(link, "for_ms"));
    wcp_buf_fmt(&b[PROVIDER], "%s", provider);
    wcp_buf_fmt(&b[LINK], "%s %s %s", text_of(link, "name"), calls_us ? "from" : "to",
                text_of(link, calls_us ? "source_id" : "target"));
    put_interfaces(&b[INTERFACES], link);
    wcp_buf_fmt(&b[HOST], "%s", *host ? host : text_of(answer, "host_id"));
    wcp_buf_fmt(&b[WHY], "%s", text_of(link, "reason"));
    if (retry)
        wcp_buf_fmt(&b[WHY], " (attempt %" PRId64 "; again in %" PRId64 " s)",
                    number_of(link, "attempts"), (retry + 999) / 1000);
    if (strcmp(text_of(link, "state"), "draining") == 0)
        wcp_buf_fmt(&b[WHY], "%" PRId64 " calls still run", calls);
    t->rows = wcp_realloc(t->rows, (t->count + 1) * sizeof *t->rows);
    for (int i = 0; i < COLUMNS; i++)
        t->rows[t->count].cells[i] = cell(&b[i]);
    t->count++;
}

static void on_answer(void *ctx, struct wcp_bytes data)
{
    struct table *t = ctx;
    struct json_object *o = NULL, *links = NULL;
    struct wcp_err err = {0};
    if (json_parse(data, &o, &err) || member_list(o, "links", &links, &err)) {
        t->err = t->err.code ? t->err : err;
        json_object_put(o);
        return;
    }
    t->answers++;
    t->omitted += (size_t)number_of(o, "omitted");
    if (t->json)
        printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
    for (size_t i = 0; links && i < json_object_array_length(links); i++) {
        struct json_object *link = json_object_array_get_idx(links, i);
        if (json_object_is_type(link, json_type_object))
            add_row(t, o, link);
    }
    json_object_put(o);
}

static int by_place(const void *a, const void *b)
{
    static const int order[] = {PROVIDER, LINK, INTERFACES, HOST};
    const struct row *x = a, *y = b;
    int rc = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order && rc == 0; i++)
        rc = strcmp(x->cells[order[i]], y->cells[order[i]]);
    return rc;
}

static void print(struct table *t)
{
    size_t widths[COLUMNS] = {0};
    if (t->count)
        qsort(t->rows, t->count, sizeof *t->rows, by_place);
    for (int k = 0; k < COLUMNS - 1; k++) { /* nothing follows the last one */
        widths[k] = strlen(titles[k]);
        for (size_t i = 0; i < t->count; i++)
            if (strlen(t->rows[i].cells[k]) > widths[k])
                widths[k] = strlen(t->rows[i].cells[k]);
    }
    for (size_t i = 0; i <= t->count && t->count; i++) {
        const char *const *cells =
            i ? (const char *const *)t->rows[i - 1].cells : titles; /* the titles come first */
        int end = COLUMNS;
        while (!*cells[end - 1])
            end--;
        for (int k = 0; k < end; k++)
            printf("%-*s%s", k < end - 1 ? (int)widths[k] : 0, cells[k], k < end - 1 ? "  " : "\n");
    }
}

static void free_rows(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        for (int k = 0; k < COLUMNS; k++)
            free(t->rows[i].cells[k]);
    free(t->rows);
}

int cmd_links(const struct options *o, struct wcp_err *err)
{
    struct session *s = NULL;
    struct table t = {.json = o->value[OPT_JSON]};
    const char *id = o->operand_count ? o->operands[0] : NULL;
    char subject[300];
    int rc = id ? options_id("ID", id, err) : 0;
    if (rc == 0)
        rc = session_open(o, &s, err);
    if (rc == 0) {
        (void)snprintf(subject, sizeof subject, "wasmbus.rpc.%s.%s%slinks", session_lattice(s),
                       id ? id : "", id ? "." : "");
        (void)session_ask_all(s, subject, on_answer, &t); /* that nobody is there shows below */
        if (t.err.code) {
            *err = t.err;
            rc = wcp_wrap(err, "an answer on %s", subject);
        } else if (t.answers == 0) {
            rc = wcp_fail(err, WCP_ENOENT,
                          "nobody answers on %s: %s%s%s not run in lattice '%s', or is older than "
                          "this command",
                          subject, id ? "'" : "a provider", id ? id : "", id ? "' does" : " does",
                          session_lattice(s));
        } else if (!t.json) {
            print(&t);
            if (t.count == 0)
                printf("no links\n");
        }
    }
    if (rc == 0 && t.omitted)
        (void)fprintf(stderr, "wcp: %zu more links did not fit into the answers\n", t.omitted);
    if (rc == 0 && t.failed)
        rc = EXIT_FAILED;
    free_rows(&t);
    session_close(s);
    return rc;
}

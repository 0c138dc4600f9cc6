/* replay.c: wcp replay: recorded calls are sent again, and their answers compared. */
#include "cli/replay.h"
#include "cli/compare.h"
#include "cli/recording.h"
#include "cli/values.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <wcp/map.h>

enum {
    /* Another root than the recorded one may announce other channels: so long nothing must come
     * after it before the answer is taken as whole. */
    QUIET_MS = 500,
    ANSWER_MORE = 64 << 20, /* bytes that an answer may have above the recorded one's */
};

struct times {
    uint64_t *us;
    size_t n;
};

struct replay {
    struct replay_config c;
    struct session *session;
    struct wcp_arena head; /* of the file */
    struct recording *file;
    struct place {
        uint64_t number, at;
    } * places; /* of the calls to send, in their order */
    size_t place_count, next;
    struct sent *in_flight;
    size_t in_flight_count;
    struct values wit;
    struct wcp_map *types;   /* of struct result, by function */
    struct strings unserved; /* functions that nobody serves: said once each */
    uint64_t same, differ, not_sent, skipped;
    struct times recorded, now;
};

struct result {
    const struct wcp_type *type; /* NULL: none, or not known */
};

/* A call on its way. */
struct sent {
    struct replay *r;
    struct sent *next, **prev;
    struct wcp_arena arena;
    struct recorded c; /* its answer was copied, its parameters were not */
    struct wcp_outgoing *outgoing;
    struct wcp_buf root;
    struct came {
        struct path path;
        struct wcp_buf buf;
        bool ended;
    } * channels;
    size_t channel_count, bytes, most;
    bool root_ended;
    uint64_t began_us, answer_us, moved_ms;
};

/* --- which calls --- */

/* "get" and "store@0.2.0-draft.get" are ends of "wrpc:keyvalue/store@0.2.0-draft.get". */
static bool is_wanted(const char *function, const char *only)
{
    size_t n = strlen(function), m = only ? strlen(only) : 0;
    if (!only || strcmp(function, only) == 0)
        return true;
    return m < n && strcmp(function + n - m, only) == 0 &&
           (function[n - m - 1] == '.' || function[n - m - 1] == '/');
}

static int by_number(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    return p->number < q->number ? -1 : p->number > q->number;
}

static bool is_from(const struct recorded *c, const char *source, const char *link)
{
    const char *found_source = "", *found_link = "default";
    for (size_t i = 0; i < c->header_count; i++) {
        if (strcmp(c->headers[i].name, "source-id") == 0)
            found_source = c->headers[i].value;
        if (strcmp(c->headers[i].name, "link-name") == 0)
            found_link = c->headers[i].value;
    }
    return !source || (strcmp(found_source, source) == 0 && strcmp(found_link, link) == 0);
}

static int find_calls(struct replay *r, struct wcp_err *err)
{
    for (;;) {
        struct wcp_arena a = {0};
        struct recorded c;
        bool cut;
        uint64_t at = recording_at(r->file);
        int rc = recording_next(r->file, &c, &a, &cut, err);
        if (rc > 0 && is_wanted(c.function, r->c.only) && is_from(&c, r->c.from, r->c.from_link)) {
            if (c.ended == RECORDED_CUT || c.ended == RECORDED_TRUNCATED) {
                r->skipped++;
            } else {
                r->places = wcp_realloc(r->places, (r->place_count + 1) * sizeof *r->places);
                r->places[r->place_count++] = (struct place){c.number, at};
            }
        }
        wcp_arena_free(&a);
        if (rc == 0 && cut)
            (void)fprintf(stderr, "wcp: %s ends within a call, at byte %" PRIu64 ": without it\n",
                          r->c.file, at);
        if (rc <= 0) {
            if (r->place_count)
                qsort(r->places, r->place_count, sizeof *r->places, by_number);
            return rc;
        }
    }
}

/* --- one call --- */

static void add_time(struct times *t, uint64_t us)
{
    t->us = wcp_realloc(t->us, (t->n + 1) * sizeof *t->us);
    t->us[t->n++] = us;
}

static void free_sent(struct sent *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->r->in_flight_count--;
    for (size_t i = 0; i < s->channel_count; i++)
        wcp_buf_free(&s->channels[i].buf);
    free(s->channels);
    wcp_buf_free(&s->root);
    wcp_arena_free(&s->arena);
    free(s);
}

static void print_difference(const struct sent *s, const char *text)
{
    printf("call %" PRIu64 " %s: %s\n", s->c.number, s->c.function, text);
}

/* The type of a function's result, if --wit or what is installed has it. */
static const struct wcp_type *result_type(struct replay *r, const char *function)
{
    struct result *known = wcp_map_get(r->types, wcp_str(function));
    if (!known) {
        const struct wcp_interface *iface;
        const struct wit_func *f;
        size_t index;
        known = wcp_calloc(1, sizeof *known);
        if (values_function(&r->wit, function, &iface, &index, &f, &(struct wcp_err){0}) == 0)
            known->type = iface->funcs[index].result;
        else if (r->c.o->value[OPT_WIT])
            (void)fprintf(stderr, "wcp: %s is not in %s: its answers are compared as bytes\n",
                          function, r->c.o->value[OPT_WIT]);
        wcp_map_put(r->types, wcp_str(function), known);
    }
    return known->type;
}

/* Compares what came by now. why: what ended it too early, or NULL. */
static void judge(struct sent *s, const char *why)
{
    struct replay *r = s->r;
    struct wcp_buf text = {0};
    struct rpc_channel *channels = wcp_alloc(&s->arena, s->channel_count + 1, sizeof *channels);
    for (size_t i = 0; i < s->channel_count; i++)
        channels[i] = (struct rpc_channel){s->channels[i].path,
                                           {s->channels[i].buf.ptr, s->channels[i].buf.len}};
    struct answer was = {s->c.results, s->c.results_channels, s->c.results_channel_count},
                  came = {{s->root.ptr, s->root.len}, channels, s->channel_count};
    bool none = why && !s->root.len && !s->root_ended,
         none_recorded = s->c.ended == RECORDED_NO_ANSWER, same;
    if (none || none_recorded) {
        same = none && none_recorded;
        if (!same)
            wcp_buf_fmt(&text, "%s recorded, %s", none_recorded ? "no answer" : "an answer",
                        none ? why : "an answer came");
    } else {
        same = answers_are_same(result_type(r, s->c.function), &was, &came, &text);
        if (!same && why)
            wcp_buf_fmt(&text, "; %s", why);
    }
    *(same ? &r->same : &r->differ) += 1;
    if (!same) {
        wcp_buf_put(&text, "", 1);
        print_difference(s, (const char *)text.ptr);
    }
    if (s->answer_us && s->c.answer_us) {
        add_time(&r->recorded, s->c.answer_us);
        add_time(&r->now, s->answer_us);
    }
    wcp_buf_free(&text);
    free_sent(s);
}

static void stop_and_judge(struct sent *s, const char *why)
{
    wcp_cancel(s->outgoing);
    judge(s, why);
}

static struct came *find_channel(struct sent *s, const struct path *p)
{
    for (size_t i = 0; i < s->channel_count; i++)
        if (s->channels[i].path.n == p->n &&
            memcmp(s->channels[i].path.at, p->at, p->n * sizeof *p->at) == 0)
            return &s->channels[i];
    return NULL;
}

/* Has all come that was recorded, and all that began? */
static bool is_whole(struct sent *s)
{
    if (!s->root_ended)
        return false;
    for (size_t i = 0; i < s->channel_count; i++)
        if (!s->channels[i].ended)
            return false;
    bool same_root = s->root.len == s->c.results.len &&
                     (!s->root.len || memcmp(s->root.ptr, s->c.results.ptr, s->root.len) == 0);
    if (!same_root && s->root.len)
        return session_now(s->r->session) - s->moved_ms >= QUIET_MS;
    for (size_t i = 0; i < s->c.results_channel_count && same_root; i++)
        if (s->c.results_channels[i].data.len && !find_channel(s, &s->c.results_channels[i].path))
            return false;
    return true;
}

static void on_received(void *ctx, struct wcp_str path, struct wcp_bytes data)
{
    struct sent *s = ctx;
    struct path p;
    s->moved_ms = session_now(s->r->session);
    if (path.len == 0) {
        if (s->root_ended)
            return;
        s->root_ended = data.len == 0;
        if (data.len)
            s->answer_us = uv_hrtime() / 1000 - s->began_us;
        wcp_buf_put(&s->root, data.ptr, data.len);
    } else if (path_parse(path, &p)) {
        struct came *c = find_channel(s, &p);
        if (!c) {
            s->channels = wcp_realloc(s->channels, (s->channel_count + 1) * sizeof *s->channels);
            c = &s->channels[s->channel_count++];
            *c = (struct came){.path = p};
        }
        if (c->ended)
            return;
        c->ended = data.len == 0;
        wcp_buf_put(&c->buf, data.ptr, data.len);
    }
    s->bytes += data.len;
    if (s->bytes > s->most)
        stop_and_judge(s, "and much more than was recorded came");
    else if (is_whole(s))
        stop_and_judge(s, NULL);
}

static bool add_unserved(struct strings *s, const char *function)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i], function) == 0)
            return false;
    strings_put(s, function);
    return true;
}

static void on_failed(void *ctx, int status)
{
    struct sent *s = ctx;
    struct replay *r = s->r;
    char why[120];
    if (status == WCP_ENOENT && s->c.ended != RECORDED_NO_ANSWER) {
        r->not_sent++;
        if (add_unserved(&r->unserved, s->c.function)) {
            (void)snprintf(why, sizeof why, "nobody serves it for '%.80s'", r->c.to);
            print_difference(s, why);
        }
        free_sent(s);
    } else if (status == WCP_ECLOSED) { /* the connection is lost */
        r->not_sent++;
        free_sent(s);
    } else {
        if (status == WCP_ETIMEOUT)
            (void)snprintf(why, sizeof why, "nothing more came in time");
        else
            (void)snprintf(why, sizeof why, "%s",
                           status == WCP_ENOENT ? "nobody serves it" : wcp_strerror(status));
        judge(s, why);
    }
}

static struct wcp_bytes copy_bytes(struct wcp_arena *a, struct wcp_bytes b)
{
    uint8_t *p = wcp_alloc(a, b.len + 1, 1);
    if (b.len)
        memcpy(p, b.ptr, b.len);
    return (struct wcp_bytes){p, b.len};
}

/* The recorded headers, for who is called now. */
static size_t set_headers(const struct sent *s, struct wcp_header *out)
{
    const char *source = s->r->c.source;
    size_t n = 0;
    bool has_source = false;
    for (size_t i = 0; i < s->c.header_count; i++) {
        out[n] = s->c.headers[i];
        if (strcmp(out[n].name, "target-id") == 0)
            out[n].value = s->r->c.to;
        if (strcmp(out[n].name, "source-id") == 0 && source) {
            out[n].value = source;
            has_source = true;
        }
        n++;
    }
    if (source && !has_source)
        out[n++] = (struct wcp_header){"source-id", source};
    return n;
}

static int send_call(struct replay *r, uint64_t at, struct wcp_err *err)
{
    struct sent *s = wcp_calloc(1, sizeof *s);
    bool cut;
    *s = (struct sent){.r = r, .next = r->in_flight, .prev = &r->in_flight};
    if (s->next)
        s->next->prev = &s->next;
    r->in_flight = s;
    r->in_flight_count++;
    int rc = recording_seek(r->file, at, err);
    if (rc == 0)
        rc = recording_next(r->file, &s->c, &s->arena, &cut, err);
    if (rc == 0)
        rc = wcp_fail(err, WCP_EIO, "%s: it has become shorter", r->c.file);
    if (rc < 0) {
        free_sent(s);
        return rc;
    }
    struct wcp_header *headers = wcp_alloc(&s->arena, s->c.header_count + 1, sizeof *headers);
    struct rpc_channel *results =
        wcp_alloc(&s->arena, s->c.results_channel_count + 1, sizeof *results);
    s->c.results = copy_bytes(&s->arena, s->c.results);
    s->most = s->c.results.len + ANSWER_MORE;
    for (size_t i = 0; i < s->c.results_channel_count; i++) {
        results[i].path = s->c.results_channels[i].path;
        results[i].data = copy_bytes(&s->arena, s->c.results_channels[i].data);
        s->most += results[i].data.len;
    }
    s->c.results_channels = results;
    s->began_us = uv_hrtime() / 1000;
    s->moved_ms = session_now(r->session);
    s->outgoing = rpc_invoke_raw(session_rpc(r->session), r->c.to,
                                 &(struct rpc_raw){.function = s->c.function,
                                                   .headers = headers,
                                                   .header_count = set_headers(s, headers),
                                                   .params = s->c.params,
                                                   .channels = s->c.params_channels,
                                                   .channel_count = s->c.params_channel_count,
                                                   .received = on_received,
                                                   .failed = on_failed,
                                                   .ctx = s});
    return 0;
}

/* --- all of them --- */

static int run(struct replay *r, struct wcp_err *err)
{
    size_t most = r->c.concurrency ? r->c.concurrency : 1;
    int rc = 0;
    while (!session_signal(r->session) && !session_losses(r->session) && rc == 0 &&
           (r->in_flight || r->next < r->place_count)) {
        while (r->in_flight_count < most && r->next < r->place_count && rc == 0)
            rc = send_call(r, r->places[r->next++].at, err);
        session_turn(r->session, QUIET_MS / 5);
        for (struct sent *s = r->in_flight, *next; s; s = next) {
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
            next = s->next;
            if (is_whole(s))
                stop_and_judge(s, NULL);
        }
    }
    while (r->in_flight) { /* interrupted */
        r->not_sent++;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        wcp_cancel(r->in_flight->outgoing);
        free_sent(r->in_flight);
    }
    r->not_sent += r->place_count - r->next;
    if (rc == 0 && session_losses(r->session))
        rc = wcp_fail(err, WCP_ECLOSED, "the connection to NATS was lost%s",
                      session_why(r->session));
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const uint64_t *p = a, *q = b;
    return *p < *q ? -1 : *p > *q;
}

static void print_times(const char *what, struct times *t)
{
    static const int percentiles[] = {50, 90, 99};
    qsort(t->us, t->n, sizeof *t->us, by_time);
    printf("%-9s", what);
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        size_t at = (t->n - 1) * (size_t)percentiles[i] / 100;
        printf(" p%d %.3f ms ", percentiles[i], (double)t->us[at] / 1000);
    }
    printf(" most %.3f ms\n", (double)t->us[t->n - 1] / 1000);
}

static void print_summary(struct replay *r)
{
    printf("%" PRIu64 " same, %" PRIu64 " different", r->same, r->differ);
    if (r->not_sent)
        printf(", %" PRIu64 " not sent, or without the end of their answer", r->not_sent);
    if (r->skipped)
        printf(", %" PRIu64 " left out as they were not recorded whole", r->skipped);
    printf("\n");
    if (r->recorded.n) {
        print_times("recorded:", &r->recorded);
        print_times("now:", &r->now);
    }
}

int replay_open(const struct replay_config *c, struct replay **out, struct wcp_err *err)
{
    struct recording_head head;
    struct replay *r = wcp_calloc(1, sizeof *r);
    *out = r;
    r->c = *c;
    r->types = wcp_map_new(free);
    int rc = values_open(c->o, false, &r->wit, err);
    if (rc == 0)
        rc = recording_open(c->file, &r->file, &head, &r->head, err);
    return rc ? rc : find_calls(r, err);
}

size_t replay_count(const struct replay *r)
{
    return r->place_count;
}

int replay_run(struct replay *r, struct session *s, struct wcp_err *err)
{
    r->session = s;
    int rc = run(r, err);
    print_summary(r);
    return rc || r->not_sent ? EXIT_NOT_SENT : r->differ ? EXIT_FAILED : 0;
}

void replay_close(struct replay *r)
{
    if (!r)
        return;
    recording_close(r->file);
    wcp_arena_free(&r->head);
    wcp_map_free(r->types);
    values_close(&r->wit);
    strings_free(&r->unserved);
    free(r->places);
    free(r->recorded.us);
    free(r->now.us);
    free(r);
}

int cmd_replay(const struct options *o, struct wcp_err *err)
{
    struct replay *r;
    struct session *s = NULL;
    int rc = replay_open(&(struct replay_config){.o = o,
                                                 .file = o->operands[0],
                                                 .to = o->value[OPT_TO],
                                                 .only = o->value[OPT_ONLY],
                                                 .source = o->value[OPT_SOURCE],
                                                 .concurrency = o->concurrency},
                         &r, err);
    if (rc == 0 && session_open(o, &s, err)) {
        rc = EXIT_NOT_SENT;
    } else if (rc == 0) {
        session_watch_signals(s);
        rc = replay_run(r, s, err);
    }
    session_close(s);
    replay_close(r);
    return rc;
}

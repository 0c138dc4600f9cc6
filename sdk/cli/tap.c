/* tap.c: see tap.h.
 *
 * An invocation names its caller's inbox Rc, the accept on Rc names the server's Rs. What belongs
 * to the call passes on Rs.params[.path] and Rc.results[.path], each channel up to its empty
 * message; more behind that are repeated ends, which clients of ours send for empty streams.
 *
 * Until they know that they are heard, servers of ours repeat the accept, and behind it a result of
 * one message (wrpc.md §2.8a). So a message that equals the whole result so far, right behind a
 * repeated accept, is no part of it.
 *
 * Only who has the types knows which channels a call has. So a call in which every channel seen has
 * ended is over when nothing more comes for SETTLED_US, and any other after QUIET_US. */
#include "cli/tap.h"
#include <stdlib.h>
#include <string.h>
#include <wcp/map.h>

#define SETTLED_US   3000000u
#define QUIET_US     30000000u           /* as long as servers and clients of ours wait */
#define OPEN_MAX     200000              /* calls */
#define BYTES_MAX    ((size_t)512 << 20) /* in all calls that are open */
#define CHANNELS_MAX 1000                /* of a call */

struct channel {
    struct path path;
    struct wcp_buf buf;
    bool result, ended;
};

struct call {
    struct call *next, **prev;
    uint64_t number, time_us, began_us, answer_us, last_us;
    char *rc, *rs, *function;
    struct wcp_arena arena; /* of the headers */
    struct wcp_header *headers;
    size_t header_count;
    struct wcp_buf params, results;
    size_t result_messages;
    struct channel *channels;
    size_t channel_count, bytes;
    bool params_ended, results_ended, accept_repeated, truncated;
    bool refused; /* by a status */
    bool mixed;   /* two servers answer */
};

struct tap {
    struct tap_config c;
    size_t prefix_len;     /* of invocations' subjects */
    struct wcp_map *calls; /* by Rc, and by Rs */
    struct call *open;
    size_t open_count, bytes;
    struct tap_stats stats;
};

struct tap *tap_new(const struct tap_config *c)
{
    struct tap *t = wcp_calloc(1, sizeof *t);
    t->c = *c;
    t->prefix_len = strlen(c->lattice) + 1 + strlen(c->id) + strlen(".wrpc.0.0.1.");
    t->calls = wcp_map_new(NULL);
    return t;
}

static void drop_bytes(struct tap *t, struct call *c)
{
    wcp_buf_free(&c->params);
    wcp_buf_free(&c->results);
    for (size_t i = 0; i < c->channel_count; i++)
        wcp_buf_free(&c->channels[i].buf);
    free(c->channels);
    c->channels = NULL;
    c->channel_count = 0;
    t->bytes -= c->bytes;
    c->bytes = 0;
}

static void drop(struct tap *t, struct call *c)
{
    drop_bytes(t, c);
    wcp_map_del(t->calls, wcp_str(c->rc));
    if (c->rs)
        wcp_map_del(t->calls, wcp_str(c->rs));
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    t->open_count--;
    wcp_arena_free(&c->arena);
    free(c->rc);
    free(c->rs);
    free(c->function);
    free(c);
}

void tap_free(struct tap *t)
{
    while (t->open)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        drop(t, t->open);
    wcp_map_free(t->calls);
    free(t);
}

static bool is_settled(const struct call *c)
{
    bool ended = (c->params_ended && c->results_ended && !c->mixed) || c->refused;
    for (size_t i = 0; i < c->channel_count && ended; i++)
        ended = c->channels[i].ended;
    return ended;
}

static size_t list_channels(const struct call *c, bool result, struct rpc_channel *out)
{
    size_t n = 0;
    for (size_t i = 0; i < c->channel_count; i++)
        if (c->channels[i].result == result)
            out[n++] = (struct rpc_channel){c->channels[i].path,
                                            {c->channels[i].buf.ptr, c->channels[i].buf.len}};
    return n;
}

/* cut: there may be more of it that is not seen. */
static void end(struct tap *t, struct call *c, bool cut)
{
    struct rpc_channel *params = wcp_alloc(&c->arena, c->channel_count + 1, sizeof *params),
                       *results = wcp_alloc(&c->arena, c->channel_count + 1, sizeof *results);
    bool nothing = !c->result_messages && !c->results_ended;
    struct recorded r = {
        .number = c->number,
        .time_us = c->time_us,
        .answer_us = c->answer_us,
        .function = c->function,
        .headers = c->headers,
        .header_count = c->header_count,
        .params = {c->params.ptr, c->params.len},
        .results = {c->results.ptr, c->results.len},
        .params_channels = params,
        .params_channel_count = list_channels(c, false, params),
        .results_channels = results,
        .results_channel_count = list_channels(c, true, results),
        .ended = c->truncated      ? RECORDED_TRUNCATED
                 : c->refused      ? RECORDED_NO_ANSWER
                 : is_settled(c)   ? RECORDED_COMPLETE
                 : cut || !nothing ? RECORDED_CUT
                                   : RECORDED_NO_ANSWER,
    };
    t->c.ended(t->c.ctx, &r);
    drop(t, c);
}

static void keep(struct tap *t, struct call *c, struct wcp_buf *b, struct wcp_bytes data)
{
    if (c->truncated)
        return;
    if (c->bytes + data.len > t->c.max_bytes || t->bytes + data.len > BYTES_MAX) {
        c->truncated = true; /* b is gone now */
        drop_bytes(t, c);
        return;
    }
    wcp_buf_put(b, data.ptr, data.len);
    c->bytes += data.len;
    t->bytes += data.len;
}

void tap_invocation(struct tap *t, const struct wcp_msg *m, const struct wcp_header *headers,
                    size_t header_count, uint64_t now_us, uint64_t time_us)
{
    const char *function = m->subject + t->prefix_len;
    struct call *c = m->reply ? wcp_map_get(t->calls, wcp_str(m->reply)) : NULL;
    if (c) /* its inbox is used again */
        end(t, c, true);
    if (!m->reply || t->open_count == OPEN_MAX || !recording_takes_function(function)) {
        t->stats.refused++;
        return;
    }
    c = wcp_calloc(1, sizeof *c);
    *c = (struct call){.number = ++t->stats.seen,
                       .time_us = time_us,
                       .began_us = now_us,
                       .last_us = now_us,
                       .rc = wcp_str_dup(wcp_str(m->reply)),
                       .function = wcp_str_dup(wcp_str(function)),
                       .next = t->open,
                       .prev = &t->open};
    if (c->next)
        c->next->prev = &c->next;
    t->open = c;
    t->open_count++;
    wcp_map_put(t->calls, wcp_str(c->rc), c);
    c->headers = wcp_alloc(&c->arena, header_count + 1, sizeof *c->headers);
    for (size_t i = 0; i < header_count && i < RECORD_ITEMS / 4; i++)
        if (recording_takes_header(headers[i].name, headers[i].value))
            c->headers[c->header_count++] =
                (struct wcp_header){wcp_fmt(&c->arena, "%s", headers[i].name).ptr,
                                    wcp_fmt(&c->arena, "%s", headers[i].value).ptr};
    keep(t, c, &c->params, m->data);
}

static void on_accept(struct tap *t, struct call *c, const struct wcp_msg *m)
{
    if (m->status || !m->reply || !*m->reply) { /* that is the server's whole answer */
        c->refused = true;
        return;
    }
    if (c->rs) {
        if (strcmp(c->rs, m->reply) == 0)
            c->accept_repeated = true;
        else
            c->mixed = true;
        return;
    }
    c->rs = wcp_str_dup(wcp_str(m->reply));
    wcp_map_put(t->calls, wcp_str(c->rs), c);
}

static void on_root(struct tap *t, struct call *c, bool result, const struct wcp_msg *m,
                    uint64_t now_us)
{
    bool *ended = result ? &c->results_ended : &c->params_ended;
    bool expected = c->accept_repeated;
    if (*ended)
        return;
    if (m->data.len == 0) {
        *ended = true;
        return;
    }
    if (result) {
        c->accept_repeated = false;
        if (expected && c->result_messages == 1 && m->data.len == c->results.len &&
            memcmp(m->data.ptr, c->results.ptr, m->data.len) == 0)
            return;
        c->result_messages++;
        c->answer_us = now_us > c->began_us ? now_us - c->began_us : 1;
    }
    keep(t, c, result ? &c->results : &c->params, m->data);
}

static void on_channel(struct tap *t, struct call *c, bool result, struct wcp_str path,
                       const struct wcp_msg *m)
{
    struct path p;
    size_t i = 0;
    if (c->truncated || !path_parse(path, &p))
        return;
    while (i < c->channel_count &&
           (c->channels[i].result != result || c->channels[i].path.n != p.n ||
            memcmp(c->channels[i].path.at, p.at, p.n * sizeof *p.at) != 0))
        i++;
    if (i == CHANNELS_MAX) {
        c->truncated = true;
        drop_bytes(t, c);
        return;
    }
    if (i == c->channel_count) {
        c->channels = wcp_realloc(c->channels, (i + 1) * sizeof *c->channels);
        c->channels[c->channel_count++] = (struct channel){.path = p, .result = result};
    }
    struct channel *ch = &c->channels[i];
    if (m->data.len == 0)
        ch->ended = true;
    else if (!ch->ended)
        keep(t, c, &ch->buf, m->data);
}

/* The last ".word" in subject that ends it or is followed by a dot. */
static const char *last_token(const char *subject, const char *word)
{
    const char *found = NULL;
    size_t n = strlen(word);
    for (const char *p = subject; (p = strstr(p, word)) != NULL; p += n)
        if (p[n] == '\0' || p[n] == '.')
            found = p;
    return found;
}

bool tap_inbox(struct tap *t, const struct wcp_msg *m, uint64_t now_us)
{
    struct call *c = wcp_map_get(t->calls, wcp_str(m->subject));
    if (c && strcmp(c->rc, m->subject) == 0) {
        c->last_us = now_us;
        on_accept(t, c, m);
        return true;
    }
    static const char *const words[] = {".params", ".results"};
    for (int result = 0; result < 2; result++) {
        const char *at = last_token(m->subject, words[result]);
        if (!at)
            continue;
        c = wcp_map_get(t->calls, (struct wcp_str){m->subject, (size_t)(at - m->subject)});
        const char *tail = at + strlen(words[result]);
        if (!c || strncmp(result  ? c->rc
                          : c->rs ? c->rs
                                  : "",
                          m->subject, (size_t)(at - m->subject)) != 0)
            continue;
        c->last_us = now_us;
        if (*tail)
            on_channel(t, c, result, wcp_str(tail + 1), m);
        else
            on_root(t, c, result, m, now_us);
        return true;
    }
    return false;
}

void tap_tick(struct tap *t, uint64_t now_us)
{
    for (struct call *c = t->open, *next; c; c = next) {
        next = c->next;
        if (now_us - c->last_us >= (is_settled(c) ? SETTLED_US : QUIET_US))
            end(t, c, false);
    }
}

void tap_cut(struct tap *t)
{
    while (t->open)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself off the list */
        end(t, t->open, true);
}

size_t tap_open(const struct tap *t)
{
    return t->open_count;
}

size_t tap_moving(const struct tap *t)
{
    size_t n = 0;
    for (const struct call *c = t->open; c; c = c->next)
        n += !is_settled(c);
    return n;
}

const struct tap_stats *tap_stats(const struct tap *t)
{
    return &t->stats;
}

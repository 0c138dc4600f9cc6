/* call.c: a caller on the SDK, for make check-peers: any function by its tables, parameters and
 * results as their encoded bytes in hex, and what is on the channels beside them.
 *
 *     wrpc-call nats://HOST:PORT ID SCRIPT         calls the provider ID of the lattice "default"
 *     wrpc-call unix:PATH|tcp:HOST:PORT SCRIPT
 *
 * tests/peers/wrpc/script.rs tells what a script is. Data of "now:..." is written and ended before
 * the call is sent, and so goes inline. */
#include "cli/session.h"
#include "rpc/codec.h"
#include <blobstore_blobstore.h>
#include <http_incoming_handler.h>
#include <http_outgoing_handler.h>
#include <keyvalue_atomics.h>
#include <keyvalue_batch.h>
#include <keyvalue_store.h>
#include <keyvalue_watcher.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vec_api.h>
#include <vec_echo.h>
#include <vec_tests_imports.h>

enum { WORDS = 16, CHANNELS = 256, CHUNK = 60000, TIMEOUT_MS = 15000 };

static const struct {
    const char *name;
    const struct wcp_interface *interface;
} interfaces[] = {
    {"api", &vec_api_interface},
    {"echo", &vec_echo_interface},
    {"store", &keyvalue_store_interface},
    {"atomics", &keyvalue_atomics_interface},
    {"batch", &keyvalue_batch_interface},
    {"watcher", &keyvalue_watcher_interface},
    {"incoming-handler", &http_incoming_handler_interface},
    {"outgoing-handler", &http_outgoing_handler_interface},
    {"blobstore", &blobstore_blobstore_interface},
    {"tests", &vec_tests_imports_interface},
};

/* One stream or future of a call, ours or the peer's. */
struct channel {
    struct call *call;
    char path[40];
    const struct wcp_type *elem;
    struct wcp_out *out;
    struct wcp_bytes data; /* to be written: encoded elements */
    size_t written;        /* elements of it */
    bool later;            /* writing begins when the call is sent */
    bool incoming;
    struct wcp_buf got;
    int status;
};

struct call {
    struct wcp_arena arena;
    struct wcp_func func; /* one of the tables', delivered to us */
    struct wcp_interface interface;
    char *words[WORDS]; /* PATH=DATA */
    size_t word_count;
    struct channel *channels[CHANNELS];
    size_t channel_count, running; /* of them that have not ended; the answer is one, too */
    struct wcp_buf result;
    int status;
};

struct peer {
    struct session *session;
    struct wcp_link link;
    struct wcp_map *results; /* by case: struct wcp_bytes, the text */
};

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(2);
}

/* The bytes that every large value is made of; tests/vec has the same. */
static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + 7);
}

/* --- hex --- */

static void put_hex(struct wcp_buf *to, struct wcp_bytes data)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.len; i++)
        wcp_buf_put(to, (char[]){digits[data.ptr[i] >> 4], digits[data.ptr[i] & 15]}, 2);
}

static unsigned digit(char c)
{
    return (unsigned)(c >= 'a' ? c - 'a' + 10 : c - '0') & 15;
}

static struct wcp_bytes from_hex(struct wcp_arena *a, const char *text)
{
    size_t n = strlen(text) / 2;
    uint8_t *p = wcp_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    return (struct wcp_bytes){p, n};
}

/* --- channels --- */

static struct channel *channel_new(struct call *c, const struct path *path,
                                   const struct wcp_type *t)
{
    struct channel *ch = wcp_alloc(&c->arena, 1, sizeof *ch);
    size_t n = 0;
    for (size_t i = 0; i < path->n; i++)
        n += (size_t)snprintf(ch->path + n, sizeof ch->path - n, "%s%u", i ? "." : "", path->at[i]);
    if (c->channel_count == CHANNELS)
        give_up("%s: more than %d streams and futures", c->func.name, CHANNELS);
    c->channels[c->channel_count++] = ch;
    c->running++;
    ch->call = c;
    ch->elem = t->elem;
    return ch;
}

static struct wcp_in *make_out(struct decoder *d, const struct wcp_type *t, bool pending,
                               const void *items, size_t n);

/* Takes the next element off the data into item. */
static void next_item(struct channel *ch, void *item)
{
    struct decoder d = {
        .in = ch->data, .arena = &ch->call->arena, .on_async = make_out, .ctx = ch->call};
    for (const char *at = ch->path; *at; at += strcspn(at, ".") + (strchr(at, '.') != NULL))
        d.path.at[d.path.n++] = (uint32_t)strtoul(at, NULL, 10);
    if (codec_decode_element(&d, ch->elem, ch->written++, item))
        give_up("%s: what is given for %s is no such value", ch->call->func.name, ch->path);
    ch->data = d.in;
}

static void write_out(void *ctx)
{
    struct channel *ch = ctx;
    bool room = true;
    if (!ch->elem) {
        wcp_out_end(ch->out);
        ch->call->running--;
        return;
    }
    while (ch->data.len && room) {
        if (ch->elem->kind == WCP_U8) {
            size_t n = ch->data.len < CHUNK ? ch->data.len : CHUNK;
            room = wcp_out_write(ch->out, ch->data.ptr, n);
            ch->data = (struct wcp_bytes){ch->data.ptr + n, ch->data.len - n};
        } else {
            void *item = wcp_alloc(&ch->call->arena, 1, ch->elem->size);
            next_item(ch, item);
            room = wcp_out_write(ch->out, item, 1);
        }
    }
    if (ch->data.len) {
        wcp_out_on_drained(ch->out, write_out, ch);
        return;
    }
    wcp_out_end(ch->out);
    ch->call->running--;
}

/* The decoder of parameters has come to a stream or future. */
static struct wcp_in *make_out(struct decoder *d, const struct wcp_type *t, bool pending,
                               const void *items, size_t n)
{
    struct call *c = d->ctx;
    struct channel *ch = channel_new(c, &d->path, t);
    const char *data = "", *count;
    bool now = false;
    for (size_t i = 0; i < c->word_count; i++)
        if (strncmp(c->words[i], ch->path, strlen(ch->path)) == 0 &&
            c->words[i][strlen(ch->path)] == '=')
            data = c->words[i] + strlen(ch->path) + 1;
    if ((now = strncmp(data, "now:", 4) == 0))
        data += 4;
    if ((count = strncmp(data, "pattern:", 8) == 0 ? data + 8 : NULL)) {
        size_t size = strtoul(count, NULL, 10);
        uint8_t *p = wcp_alloc(&c->arena, size, 1);
        for (size_t i = 0; i < size; i++)
            p[i] = pattern(i);
        ch->data = (struct wcp_bytes){p, size};
    } else {
        ch->data = from_hex(&c->arena, data);
    }
    union wcp_async a = {.out = ch->out = wcp_out_new(t->elem)};
    ch->later = !now;
    if (now)
        write_out(ch);
    return a.in;
}

static void got_data(void *ctx, const void *items, size_t n)
{
    struct channel *ch = ctx;
    if (ch->elem && ch->elem->kind == WCP_U8)
        wcp_buf_put(&ch->got, items, n);
    else if (ch->elem)
        for (size_t i = 0; i < n; i++)
            wcp_encode(ch->elem, (const char *)items + i * ch->elem->size, &ch->got);
}

static void got_end(void *ctx, int status)
{
    struct channel *ch = ctx;
    ch->status = status;
    ch->call->running--;
}

/* The encoder of the result has come to a stream or future. */
static void take_in(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    static const struct wcp_in_handler handler = {got_data, got_end};
    union wcp_async a = {.out = out};
    struct channel *ch = channel_new(e->ctx, &e->path, t);
    ch->incoming = true;
    wcp_buf_put(e->buf, "", 1);
    wcp_in_start(a.in, &handler, ch);
}

/* --- calls --- */

static void deliver(void (*done)(void), void *ctx, const void *result, int status)
{
    struct call *c = ctx;
    struct encoder e = {.buf = &c->result, .on_async = take_in, .ctx = c, .path.n = 1};
    c->running--;
    c->status = status;
    if (result)
        codec_encode(&e, c->func.result, result);
}

/* what is INTERFACE.FUNCTION */
static void find(struct call *c, const char *what)
{
    for (size_t i = 0; i < sizeof interfaces / sizeof *interfaces; i++) {
        size_t n = strlen(interfaces[i].name);
        if (strncmp(what, interfaces[i].name, n) != 0 || what[n] != '.')
            continue;
        for (size_t k = 0; k < interfaces[i].interface->count; k++)
            if (strcmp(interfaces[i].interface->funcs[k].name, what + n + 1) == 0)
                c->func = interfaces[i].interface->funcs[k];
        c->interface = (struct wcp_interface){.name = interfaces[i].interface->name,
                                              .funcs = &c->func,
                                              .count = 1,
                                              .in_world = interfaces[i].interface->in_world};
        c->func.deliver = deliver;
    }
    if (!c->func.name)
        give_up("no such function: %s", what);
}

/* Begins the call that words say: INTERFACE.FUNCTION, PARAMS, PATH=DATA... */
static struct call *begin(struct peer *p, char *const *words, size_t n)
{
    struct call *c = wcp_calloc(1, sizeof *c);
    struct wcp_err err = {0};
    struct wcp_outgoing *outgoing;
    c->running = 1;
    find(c, words[0]);
    for (size_t i = 2; i < n; i++)
        c->words[c->word_count++] = words[i];
    void *params = wcp_alloc(&c->arena, 1, c->func.size);
    struct decoder d = {.in = from_hex(&c->arena, strcmp(words[1], "-") ? words[1] : ""),
                        .arena = &c->arena,
                        .err = &err,
                        .on_async = make_out,
                        .ctx = c};
    if (codec_decode(&d, c->func.params, params) || d.in.len)
        give_up("%s: params: %s", words[0], d.in.len ? "bytes left over" : err.msg);
    if (session_invoke(p->session, &p->link, &c->interface, 0, params, (void (*)(void))0, c,
                       &outgoing, &err))
        give_up("%s: %s", words[0], err.msg);
    for (size_t i = 0; i < c->channel_count; i++)
        if (c->channels[i]->later)
            write_out(c->channels[i]);
    return c;
}

static void end(struct call *c)
{
    for (size_t i = 0; i < c->channel_count; i++)
        wcp_buf_free(&c->channels[i]->got);
    wcp_buf_free(&c->result);
    wcp_arena_free(&c->arena);
    free(c);
}

/* DATA of what has come, as it is in the script. */
static void put_data(struct wcp_buf *to, const struct channel *ch)
{
    size_t n = 0, zeros = 0;
    while (n < ch->got.len && ch->got.ptr[n] == pattern(n))
        n++;
    while (zeros < ch->got.len && ch->got.ptr[zeros] == 0)
        zeros++;
    if (ch->got.len > 64 && (n == ch->got.len || zeros == ch->got.len))
        wcp_buf_fmt(to, "%s:%zu", zeros ? "zeros" : "pattern", ch->got.len);
    else
        put_hex(to, (struct wcp_bytes){ch->got.ptr, ch->got.len});
    if (ch->status)
        wcp_buf_fmt(to, "...%s", wcp_strerror(ch->status));
}

/* --- load --- */

enum outcome { RIGHT, WRONG, FAILED, HUNG, OUTCOMES };

/* Of a call that load made: of api.pipe, or of api.add, with this sum. */
static enum outcome judge(const struct call *c, uint32_t sum)
{
    struct wcp_buf wanted = {0}, got = {0};
    int status = c->status;
    for (size_t i = 0; i < c->channel_count; i++)
        status = status ? status : c->channels[i]->status;
    if (c->channel_count) {
        wcp_buf_fmt(&wanted, "pattern:20000");
        put_data(&got, c->channels[c->channel_count - 1]);
    } else {
        codec_put_leb(&wanted, sum);
        wcp_buf_put(&got, c->result.ptr, c->result.len);
    }
    bool same = got.len == wanted.len && memcmp(got.ptr, wanted.ptr, got.len) == 0;
    wcp_buf_free(&wanted);
    wcp_buf_free(&got);
    return status == WCP_ETIMEOUT ? HUNG : status ? FAILED : same ? RIGHT : WRONG;
}

static struct call *begin_number(struct peer *p, uint32_t number)
{
    char *pipe[] = {(char[]){"api.pipe"}, (char[]){"00"}, (char[]){"0=pattern:20000"}};
    struct wcp_buf params = {0}, hex = {0};
    if (number % 4 == 3)
        return begin(p, pipe, 3);
    codec_put_leb(&params, number);
    codec_put_leb(&params, 1);
    put_hex(&hex, (struct wcp_bytes){params.ptr, params.len});
    wcp_buf_put(&hex, "", 1);
    struct call *c = begin(p, (char *[]){(char[]){"api.add"}, (char *)hex.ptr}, 2);
    wcp_buf_free(&params);
    wcp_buf_free(&hex);
    return c;
}

static void put_counts(struct wcp_buf *to, const size_t counts[OUTCOMES])
{
    wcp_buf_fmt(to, "%zu right, %zu wrong, %zu failed, %zu hung", counts[RIGHT], counts[WRONG],
                counts[FAILED], counts[HUNG]);
}

static void load(struct peer *p, char *const *words, struct wcp_buf *to)
{
    uint32_t calls = (uint32_t)strtoul(words[1], NULL, 10), begun = 0, over = 0;
    size_t inflight = strtoul(words[2], NULL, 10), counts[2][OUTCOMES] = {0};
    struct slot {
        struct call *call;
        uint32_t number;
    } *slots = wcp_calloc(inflight, sizeof *slots);
    while (over < calls) {
        for (size_t i = 0; i < inflight; i++) {
            struct slot *s = &slots[i];
            if (s->call && s->call->running == 0) {
                counts[s->number % 4 == 3][judge(s->call, s->number + 1)]++;
                end(s->call);
                s->call = NULL;
                over++;
            }
            if (!s->call && begun < calls) {
                s->number = begun++;
                s->call = begin_number(p, s->number);
            }
        }
        if (over < calls)
            session_turn(p->session, TIMEOUT_MS);
    }
    put_counts(to, counts[0]);
    wcp_buf_fmt(to, "\", \"streams\": \"");
    put_counts(to, counts[1]);
    free(slots);
}

/* --- the script --- */

/* Puts results of former cases in place of {CASE}. */
static void fill_in(struct peer *p, const char *text, struct wcp_buf *to)
{
    for (const char *end; *text; text = end) {
        end = text + strcspn(text, "{");
        wcp_buf_put(to, text, (size_t)(end - text));
        if (!*end)
            break;
        const char *name = end + 1;
        end = name + strcspn(name, "}");
        const struct wcp_bytes *result =
            wcp_map_get(p->results, (struct wcp_str){name, (size_t)(end - name)});
        if (!result)
            give_up("no such result: %s", name);
        wcp_buf_put(to, result->ptr, result->len);
        end += *end != '\0';
    }
    wcp_buf_put(to, "", 1);
}

static void answer(struct peer *p, const char *name, struct call *c, struct wcp_buf *to)
{
    struct wcp_buf result = {0};
    wcp_buf_fmt(to, "{\"case\": \"%s\"", name);
    if (c->status) {
        wcp_buf_fmt(to, ", \"error\": \"%s\"}", wcp_strerror(c->status));
        return;
    }
    put_hex(&result, (struct wcp_bytes){c->result.ptr, c->result.len});
    wcp_buf_put(to, ", \"result\": \"", 13);
    wcp_buf_put(to, result.ptr, result.len);
    wcp_buf_put(to, "\"", 1);
    for (size_t i = 0; i < c->channel_count; i++)
        if (c->channels[i]->incoming) {
            wcp_buf_fmt(to, ", \"%s\": \"", c->channels[i]->path);
            put_data(to, c->channels[i]);
            wcp_buf_put(to, "\"", 1);
        }
    wcp_buf_put(to, "}", 1);
    wcp_map_put(p->results, wcp_str(name),
                wcp_bytes_dup((struct wcp_bytes){result.ptr, result.len}));
    wcp_buf_free(&result);
}

static void do_line(struct peer *p, char *line)
{
    char *words[WORDS], *rest = NULL;
    size_t n = 0;
    struct wcp_buf to = {0}, params = {0};
    for (char *w = strtok_r(line, " \n", &rest); w && n < WORDS; w = strtok_r(NULL, " \n", &rest))
        words[n++] = w;
    if (n < 3)
        give_up("too few words: %s", line);
    fill_in(p, words[2], &params);
    words[2] = (char *)params.ptr;
    if (strcmp(words[1], "load") == 0) {
        wcp_buf_fmt(&to, "{\"case\": \"%s\", \"result\": \"", words[0]);
        load(p, words + 1, &to);
        wcp_buf_put(&to, "\"}", 2);
    } else {
        struct call *c = begin(p, words + 1, n - 1);
        while (c->running)
            session_turn(p->session, TIMEOUT_MS);
        answer(p, words[0], c, &to);
        end(c);
    }
    (void)fwrite(to.ptr, 1, to.len, stdout);
    (void)putchar('\n');
    (void)fflush(stdout);
    wcp_buf_free(&to);
    wcp_buf_free(&params);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4)
        give_up("usage: wrpc-call ADDRESS [ID] SCRIPT");
    const char *address = argv[1], *id = argc == 4 ? argv[2] : NULL;
    struct options o = {.timeout_ms = TIMEOUT_MS,
                        .value = {[OPT_LATTICE] = "default", [OPT_TIMEOUT] = ""}};
    struct peer p = {.link = {.role = WCP_SOURCE,
                              .name = WCP_STR("default"),
                              .source_id = WCP_STR("wrpc-call"),
                              .target_id = wcp_str(id)}};
    struct wcp_err err = {0};
    o.value[id                                  ? OPT_NATS
            : strncmp(address, "unix:", 5) == 0 ? OPT_UNIX
                                                : OPT_TCP] =
        id ? address : address + strcspn(address, ":") + 1;
    if (session_open(&o, &p.session, &err))
        give_up("%s", err.msg);
    p.results = wcp_map_new(free);
    FILE *f = fopen(argv[argc - 1], "r");
    char *line = NULL;
    size_t size = 0;
    if (!f)
        give_up("%s cannot be read", argv[argc - 1]);
    while (getline(&line, &size, f) > 0)
        do_line(&p, line);
    free(line);
    (void)fclose(f);
    wcp_map_free(p.results);
    session_close(p.session);
    return 0;
}

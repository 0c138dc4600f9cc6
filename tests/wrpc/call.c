/* call.c: any function by its tables: parameters and results as their encoded bytes in hex, and
 * what is on the channels beside them. Data of "now:..." is written and ended before the call is
 * sent, and so goes inline. */
#include "call.h"
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

enum { CHUNK = 60000 };

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

void give_up(const char *fmt, ...)
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

void put_hex(struct wcp_buf *to, struct wcp_bytes data)
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

struct call *begin(struct peer *p, char *const *words, size_t n)
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

void end(struct call *c)
{
    for (size_t i = 0; i < c->channel_count; i++)
        wcp_buf_free(&c->channels[i]->got);
    wcp_buf_free(&c->result);
    wcp_arena_free(&c->arena);
    free(c);
}

void put_data(struct wcp_buf *to, const struct channel *ch)
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

/* main.c: a caller on the SDK, for make check-peers.
 *
 *     wrpc-call nats://HOST:PORT ID SCRIPT         calls the provider ID of the lattice "default"
 *     wrpc-call unix:PATH|tcp:HOST:PORT SCRIPT
 *
 * tests/peers/wrpc/script.rs tells what a script is. */
#include "call.h"
#include "rpc/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/map.h>

/* --- load --- */

enum verdict { RIGHT, WRONG, FAILED, HUNG, OUTCOMES };

/* Of a call that load made: of api.pipe, or of api.add, with this sum. */
static enum verdict judge(const struct call *c, uint32_t sum)
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

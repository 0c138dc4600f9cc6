/* bench.c: a load generator: a component that keeps N calls of wrpc:keyvalue/store.get in flight.
 *
 * It is told what to do by the source config of its link: inflight, seconds, warmup (seconds, both
 * with decimals), key; and socket (unix:PATH or tcp:HOST:PORT): then it calls there, without NATS.
 * It stores 64 bytes under key, warms up, prints "start", measures, prints "end" and one line of
 * JSON, and ends; so it does when it is told to end. tests/bench/run.py reads that. */
#include "io/offline.h"
#include "io/socket.h"
#include "rpc/rpc.h"
#include <keyvalue_store.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { VALUE_BYTES = 64 };

struct bench {
    struct wcp_link *link;
    const char *socket; /* NULL: calls go over the link */
    struct sockets *sockets;
    struct offline *offline; /* calls over sockets have an rpc of their own */
    struct rpc *rpc;
    uv_timer_t tick;
    struct wcp_str key;
    size_t inflight, running;
    double warmup, seconds;
    uint64_t began, ends; /* of the phase that runs, in ns */
    enum { WARMUP, MEASURE, OVER } phase;
    double took;
    uint32_t *us10; /* how long each call took, in tenths of a microsecond */
    size_t calls, cap, failed, warmup_failed;
    struct caller {
        struct bench *b;
        uint64_t sent;
    } callers[];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The time in µs that this part of all calls did not pass. */
static double percentile(const struct bench *b, double part)
{
    return b->calls ? b->us10[(size_t)((double)(b->calls - 1) * part)] / 10.0 : 0;
}

static void finish(void)
{
    (void)fflush(stdout);          /* a reader who has gone sees nothing anyway */
    (void)kill(getpid(), SIGTERM); /* the one way to end that every provider has */
}

static void report(struct bench *b)
{
    qsort(b->us10, b->calls, sizeof *b->us10, by_size);
    printf("{\"calls\": %zu, \"seconds\": %.3f, \"calls_per_s\": %.0f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"max_us\": %.1f, \"failed\": %zu, \"warmup_failed\": %zu}\n",
           b->calls, b->took, (double)b->calls / b->took, percentile(b, 0.5), percentile(b, 0.99),
           percentile(b, 1), b->failed, b->warmup_failed);
    finish();
}

static void mark(const char *what)
{
    puts(what);
    (void)fflush(stdout);
}

/* The phase that the time t belongs to. */
static void turn(struct bench *b, uint64_t t)
{
    if (t < b->ends)
        return;
    if (b->phase == WARMUP) {
        b->phase = MEASURE;
        mark("start");
        b->began = now_ns();
        b->ends = b->began + (uint64_t)(b->seconds * 1e9);
    } else if (b->phase == MEASURE) {
        b->phase = OVER;
        b->took = (double)(t - b->began) / 1e9;
        mark("end");
    }
}

static void got(void *ctx, const struct keyvalue_store_get_result *r, int status);

static size_t function(const char *name)
{
    size_t i = 0;
    while (strcmp(keyvalue_store_interface.funcs[i].name, name) != 0)
        i++;
    return i;
}

static void over_socket(struct bench *b, const char *name, const void *params, void (*done)(void),
                        void *ctx)
{
    struct wcp_conn *c = socket_connect(b->sockets, b->socket, NULL); /* link_up has checked it */
    rpc_invoke_conn(b->rpc, c, &keyvalue_store_interface, function(name), params, done, ctx);
}

static void call(struct caller *c)
{
    struct bench *b = c->b;
    c->sent = now_ns();
    b->running++;
    if (b->socket)
        over_socket(b, "get", &(struct keyvalue_store_get){.key = b->key}, (void (*)(void))got, c);
    else
        keyvalue_store_get(b->link, WCP_STR(""), b->key, got, c);
}

static void got(void *ctx, const struct keyvalue_store_get_result *r, int status)
{
    struct caller *c = ctx;
    struct bench *b = c->b;
    uint64_t t = now_ns();
    bool good = status == 0 && !r->is_err && r->ok && r->ok->len == VALUE_BYTES;
    b->running--;
    if (b->phase == MEASURE) {
        if (b->calls == b->cap) {
            b->cap = b->cap ? 2 * b->cap : 65536;
            b->us10 = wcp_realloc(b->us10, b->cap * sizeof *b->us10);
        }
        uint64_t took = (t - c->sent) / 100;
        if (good)
            b->us10[b->calls++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
        else
            b->failed++;
    } else if (b->phase == WARMUP && !good) {
        b->warmup_failed++;
    }
    turn(b, t);
    if (b->phase != OVER)
        call(c);
    else if (b->running == 0)
        report(b);
}

static void stored(void *ctx, const struct keyvalue_store_set_result *r, int status)
{
    struct bench *b = ctx;
    if (status || r->is_err) {
        (void)fprintf(stderr, "bench: the value could not be stored: %s\n",
                      status ? wcp_strerror(status) : "the provider answered with an error");
        finish();
        return;
    }
    b->ends = now_ns() + (uint64_t)(b->warmup * 1e9);
    for (size_t i = 0; i < b->inflight; i++)
        call(&b->callers[i]);
}

static double number(const struct wcp_link *l, const char *key, double fallback)
{
    const char *text = wcp_link_config(l, key);
    return text ? strtod(text, NULL) : fallback;
}

static void on_tick(uv_timer_t *t)
{
    rpc_tick(((struct bench *)t->data)->rpc);
}

static void on_connected(void *ctx)
{
}

static void on_message(void *ctx, int sub, struct wcp_msg *m)
{
}

static int open_socket(struct bench *b, struct wcp_err *err)
{
    uv_loop_t *loop = wcp_loop(b->link->instance);
    b->sockets = sockets_new(loop);
    struct wcp_conn *c = socket_connect(b->sockets, b->socket, err);
    if (!c)
        return err->code;
    c->close(c);
    b->offline =
        offline_new(loop, &(struct nats_events){.connected = on_connected, .message = on_message});
    b->rpc = rpc_new(&(struct rpc_config){.transport = offline_transport(b->offline),
                                          .lattice = "default",
                                          .id = "bench",
                                          .limits = {.call_ms = 2000}});
    uv_timer_init(loop, &b->tick);
    b->tick.data = b;
    return uv_timer_start(&b->tick, on_tick, 100, 100);
}

static int link_up(struct wcp_link *l, struct wcp_err *err)
{
    static const uint8_t value[VALUE_BYTES] = {1};
    double inflight = number(l, "inflight", 16);
    if (!(inflight >= 1 && inflight <= 65536))
        return wcp_fail(err, WCP_EINVAL, "inflight: %s found, 1 to 65536 expected",
                        wcp_link_config(l, "inflight"));
    size_t n = (size_t)inflight;
    struct bench *b = wcp_calloc(1, sizeof *b + n * sizeof *b->callers);
    const char *key = wcp_link_config(l, "key");
    b->link = l;
    b->key = wcp_str(key ? key : "bench");
    b->inflight = n;
    b->warmup = number(l, "warmup", 1);
    b->seconds = number(l, "seconds", 5);
    for (size_t i = 0; i < n; i++)
        b->callers[i].b = b;
    l->data = b;
    b->socket = wcp_link_config(l, "socket");
    int rc = b->socket ? open_socket(b, err) : 0;
    if (rc)
        return rc;
    struct wcp_bytes v = {value, sizeof value};
    if (b->socket)
        over_socket(b, "set", &(struct keyvalue_store_set){.key = b->key, .value = v},
                    (void (*)(void))stored, b);
    else
        keyvalue_store_set(l, WCP_STR(""), b->key, v, stored, b);
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void link_drain(struct wcp_link *l)
{
    struct bench *b = l->data;
    b->seconds = 0;
    b->ends = 0;
}

static void link_down(struct wcp_link *l)
{
    struct bench *b = l->data;
    free(b->us10);
    b->us10 = NULL;
    if (!b->rpc) {
        free(b);
        return;
    }
    rpc_free(b->rpc);
    offline_close(b->offline);
    sockets_close(b->sockets);
    uv_close((uv_handle_t *)&b->tick, on_closed);
}

int main(int argc, char **argv)
{
    /* A call that hangs counts as failed after two seconds. */
    return wcp_main(argc, argv,
                    &(struct wcp_provider){.name = "bench",
                                           .link_up = link_up,
                                           .link_drain = link_drain,
                                           .link_down = link_down,
                                           .limits = {.call_ms = 2000}});
}

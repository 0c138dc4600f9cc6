/* watch.c: fuzzes what a server answers and sends to who watches the lattice's buckets. The input
 * is lines: A and an answer to the oldest request; S and a status's Nats-Last-Consumer; M and a
 * reply subject, of a message; V and a value, of the next message in order; K and a key of the
 * configs; anything else is 5 s. */
#include "lattice/config.h"
#include "base/log.h"
#include "fake_transport.h"
#include "must.h"
#include <stdlib.h>
#include <string.h>

static struct fake net;
static struct rpc *rpc;
static size_t answered;
static unsigned long long sequence[2]; /* of links, of configs */

static void quiet(void *ctx, enum wcp_level level, const char *line)
{
}

static void on_link(void *ctx, struct linkdef *l, const char *why)
{
    MUST(strcmp(l->source_id, "kv") == 0 || strcmp(l->target, "kv") == 0);
}

static void on_done(void *ctx, const struct lattice_state *s)
{
    MUST(!s->complete || !s->err.code);
}

static void deliver(int sub, const char *subject, const char *reply, struct wcp_bytes data,
                    int status, const char *const *headers)
{
    struct wcp_msg m = fake_message(&net, subject, reply, data, headers);
    m.status = status;
    (void)rpc_message(rpc, sub, &m); /* or it has left */
    fake_done(&net, &m);
}

/* The subscription of the last consumer of links or configs that was asked for. */
static int consumer(bool configs)
{
    for (size_t i = net.count; i-- > 0;) {
        const char *at = strstr((const char *)net.sent[i].data.ptr, "\"deliver_subject\":\"");
        char subject[200];
        if (at && sscanf(at, "\"deliver_subject\":\"%199[^\"]", subject) == 1 &&
            configs == !!strstr(at, "headers_only"))
            return fake_sub(&net, subject);
    }
    return 0;
}

static void line(char *text, size_t n)
{
    const char *const last[] = {"Nats-Last-Consumer", text + 1, NULL};
    char reply[200];
    bool configs = text[0] == 'K';
    const char *bucket = configs ? "CONFIGDATA_lat" : "LATTICEDATA_lat";
    snprintf(reply, sizeof reply, "$JS.ACK.KV_%s.c.1.%llu.%llu.1.0", bucket, sequence[configs] + 1,
             sequence[configs] + 1);
    struct wcp_bytes rest = {(const uint8_t *)text + 1, n - 1};
    if (text[0] == 'A') {
        while (answered < net.count && !net.sent[answered].reply)
            answered++;
        if (answered < net.count)
            deliver(0, net.sent[answered++].reply, NULL, rest, 0, NULL);
    } else if (text[0] == 'S') {
        deliver(consumer(false), "_INBOX.me-1", NULL, (struct wcp_bytes){0}, 100, last);
    } else if (text[0] == 'M') {
        deliver(consumer(false), "$KV.LATTICEDATA_lat.COMPONENT_a", text + 1, (struct wcp_bytes){0},
                0, NULL);
    } else if (text[0] == 'V') {
        sequence[configs]++;
        deliver(consumer(false), "$KV.LATTICEDATA_lat.COMPONENT_a", reply, rest, 0, NULL);
    } else if (configs) {
        char subject[200];
        snprintf(subject, sizeof subject, "$KV.CONFIGDATA_lat.%.100s", text + 1);
        sequence[configs]++;
        deliver(consumer(true), subject, reply, (struct wcp_bytes){0}, 0, NULL);
    } else {
        net.now_ms += 5000;
    }
    rpc_tick(rpc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    log_set_sink(quiet, NULL);
    fake_init(&net);
    answered = 0;
    sequence[0] = sequence[1] = 0;
    rpc = rpc_new(&(struct rpc_config){.transport = &net.t, .lattice = "lat", .id = "kv"});
    struct lattice_watch *w = lattice_watch(&(struct lattice_watch_config){
        .kv = {.rpc = rpc}, .lattice = "lat", .id = "kv", .link = on_link, .done = on_done});
    for (char *at = text, *end; at < text + size && net.count < 1000; at = end + 1) {
        end = at + strcspn(at, "\n"); /* a zero byte ends a line, too */
        size_t n = (size_t)(end - at);
        *end = '\0';
        if (n)
            line(at, n);
    }
    lattice_close(w);
    rpc_free(rpc);
    fake_close(&net);
    free(text);
    return 0;
}

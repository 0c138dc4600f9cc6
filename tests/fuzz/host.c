/* host.c: fuzzes the commands to a standalone provider's host: the input is a list of them, a byte
 * that says which, two for the length of the payload, and the payload. Whatever they say, each is
 * answered once with an envelope that reads, auctions at most once. */
#include "base/log.h"
#include "fake_transport.h"
#include "lattice/host.h"
#include "lattice/json.h"
#include "must.h"
#include <string.h>

#define ID "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB"

static char image[] = "outrigger/kv:1", box[] = "kv-box", provider[] = "kv", version[] = "0.1.0";
static const struct {
    const char *subject, *sub;
} commands[] = {
    {"host.ping", "host.ping"},
    {"host.get." ID, "host.*." ID},
    {"host.stop." ID, "host.*." ID},
    {"label.put." ID, "label.*." ID},
    {"label.del." ID, "label.*." ID},
    {"provider.auction", "provider.auction"},
    {"provider.start." ID, "provider.*." ID},
    {"provider.stop." ID, "provider.*." ID},
    {"component.scale." ID, "component.*." ID},
    {"component." ID, "component.*." ID},
};

static void ignore_line(void *ctx, enum wcp_level level, const char *line)
{
}

static int64_t wall_us(void)
{
    return 0;
}

static bool healthy(void *ctx)
{
    return true;
}

static void stop(void *ctx, uint32_t limit_ms)
{
    struct host **h = ctx;
    host_leaving(*h);
}

static bool reads(struct wcp_bytes text)
{
    struct json_object *o = NULL;
    bool success = false;
    int rc = json_parse(text, &o, NULL);
    rc = rc ? rc : member_bool(o, "success", &success, NULL);
    json_object_put(o);
    return !rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake net;
    struct host *h = NULL;
    struct events events = {.t = &net.t, .lattice = "lat", .source = ID, .wall_us = wall_us};
    struct registration registration = {.on = true,
                                        .wadm_host = true,
                                        .image = image,
                                        .friendly_name = box,
                                        .provider_name = provider,
                                        .version = version};
    size_t owed = 0, answered = 0, bids = 0;
    log_set_sink(ignore_line, NULL);
    fake_init(&net);
    h = host_new(&(struct host_config){.events = &events,
                                       .registration = &registration,
                                       .provider_id = "kv",
                                       .healthy = healthy,
                                       .stop = stop,
                                       .ctx = &h});
    host_start(h);
    while (size >= 3) {
        size_t which = data[0] % (sizeof commands / sizeof *commands);
        size_t n = (size_t)data[1] << 8 | data[2];
        char subject[100], sub[100];
        snprintf(subject, sizeof subject, "wasmbus.ctl.v1.lat.%s", commands[which].subject);
        snprintf(sub, sizeof sub, "wasmbus.ctl.v1.lat.%s", commands[which].sub);
        n = n < size - 3 ? n : size - 3;
        struct wcp_msg m = fake_message(&net, subject, "_R", (struct wcp_bytes){data + 3, n}, NULL);
        MUST(host_message(h, fake_sub(&net, sub), &m));
        fake_done(&net, &m);
        data += 3 + n;
        size -= 3 + n;
        owed += which != 5;
        bids += which == 5;
        net.now_ms += 400;
        host_tick(h);
    }
    host_leaving(h);
    host_end(h);
    for (const struct fake_msg *m; (m = fake_take(&net));)
        if (strcmp(m->subject, "_R") == 0) {
            MUST(reads(m->data));
            answered++;
        }
    MUST(answered >= owed && answered <= owed + bids);
    host_free(h);
    fake_close(&net);
    return 0;
}

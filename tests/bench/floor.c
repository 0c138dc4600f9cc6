/* floor.c: what one key-value get costs on libnats and libuv with nothing behind it: the floor that
 * `make bench` measures keyvalue-redis against.
 *
 *   floor URL
 *
 * It answers get and set of the provider KV in lattice "default" from a constant: no codec, no
 * links, no backend. What it does per call is what any provider of a wasmCloud 1.9 host must do
 * (rpc/server.c tells why): accept and result at once, both again after 10 ms without a word from
 * the caller, the end of the result after the caller's end of parameters. */
#include <nats/adapters/libuv.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE     "default.KV.wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft."
#define OPEN_MAX  65536u
#define REPEAT_MS 10

static natsConnection *connection;
static natsSubscription *gets, *sets, *inbox;
static const char *inbox_prefix;
static struct call {
    char caller[96]; /* its reply subject; "" when the call is over */
    const char *result;
    int len;
    uint64_t sent; /* ms */
} calls[OPEN_MAX];
static uint64_t number; /* of the last call */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

static void send_result(const struct call *c, const char *data, int len)
{
    char subject[128];
    (void)snprintf(subject, sizeof subject, "%s.results", c->caller);
    natsConnection_Publish(connection, subject, data, len);
}

static void send_accept(struct call *c)
{
    char ours[128];
    (void)snprintf(ours, sizeof ours, "%s.%zu", inbox_prefix, (size_t)(c - calls));
    natsConnection_PublishRequest(connection, c->caller, ours, NULL, 0);
    send_result(c, c->result, c->len);
    c->sent = now_ms();
}

static void serve(natsSubscription *s, const char *result, int len)
{
    natsMsg *m = NULL;
    while (natsSubscription_NextMsg(&m, s, 0) == NATS_OK) {
        struct call *c = &calls[++number % OPEN_MAX];
        (void)snprintf(c->caller, sizeof c->caller, "%s", natsMsg_GetReply(m));
        c->result = result;
        c->len = len;
        send_accept(c);
        natsMsg_Destroy(m);
    }
}

static void on_params(void)
{
    natsMsg *m = NULL;
    while (natsSubscription_NextMsg(&m, inbox, 0) == NATS_OK) {
        const char *subject = natsMsg_GetSubject(m) + strlen(inbox_prefix) + 1;
        struct call *c = &calls[strtoul(subject, NULL, 10) % OPEN_MAX];
        if (natsMsg_GetDataLength(m) == 0 && c->caller[0]) {
            send_result(c, NULL, 0);
            c->caller[0] = '\0';
        }
        natsMsg_Destroy(m);
    }
}

static void on_turn(uv_check_t *h)
{
    static char value[67] = {0, 1, 64}; /* ok, some, 64 bytes */
    serve(gets, value, sizeof value);
    serve(sets, "", 1); /* ok */
    on_params();
}

static void on_repeat(uv_timer_t *t)
{
    for (struct call *c = calls; c < calls + OPEN_MAX; c++)
        if (c->caller[0] && now_ms() - c->sent >= REPEAT_MS)
            send_accept(c);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_check_t turn;
    uv_timer_t repeat;
    natsOptions *o = NULL;
    natsInbox *i = NULL;
    char all[128];
    if (argc != 2) {
        (void)fprintf(stderr, "usage: floor URL\n");
        return 2;
    }
    natsOptions_Create(&o);
    natsOptions_SetURL(o, argv[1]);
    natsOptions_SetSendAsap(o, true);
    natsLibuv_Init();
    natsLibuv_SetThreadLocalLoop(loop);
    natsOptions_SetEventLoop(o, loop, natsLibuv_Attach, natsLibuv_Read, natsLibuv_Write,
                             natsLibuv_Detach);
    natsStatus s = natsConnection_Connect(&connection, o);
    if (s == NATS_OK)
        s = natsInbox_Create(&i);
    if (s != NATS_OK) {
        (void)fprintf(stderr, "floor: %s: %s\n", argv[1], natsStatus_GetText(s));
        return 1;
    }
    inbox_prefix = i;
    (void)snprintf(all, sizeof all, "%s.>", inbox_prefix);
    natsConnection_SubscribeSync(&inbox, connection, all);
    natsConnection_QueueSubscribeSync(&sets, connection, STORE "set", "default.KV");
    natsConnection_QueueSubscribeSync(&gets, connection, STORE "get", "default.KV");
    uv_check_init(loop, &turn);
    uv_check_start(&turn, on_turn);
    uv_timer_init(loop, &repeat);
    uv_timer_start(&repeat, on_repeat, REPEAT_MS / 2, REPEAT_MS / 2);
    return uv_run(loop, UV_RUN_DEFAULT);
}

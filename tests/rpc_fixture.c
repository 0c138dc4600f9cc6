/* rpc_fixture.c: see rpc_fixture.h. */
#include "rpc_fixture.h"
#include "base/timer.h"
#include "test.h"

static struct wcp_link *find(void *ctx, struct wcp_str source, struct wcp_str name,
                             const struct wcp_interface *iface, const char **why)
{
    struct fixture *f = ctx;
    *why = f->why;
    if (f->no_link || !wcp_str_eq(source, f->link.source_id) || !wcp_str_eq(name, f->link.name))
        return NULL;
    f->held++;
    return &f->link;
}

static void missing(void *ctx)
{
    ((struct fixture *)ctx)->missed++;
}

static void hold(void *ctx, struct wcp_link *l)
{
    ((struct fixture *)ctx)->held++;
}

static void release(void *ctx, struct wcp_link *l)
{
    ((struct fixture *)ctx)->held--;
}

void fixture_init(struct fixture *f, const struct wcp_limits *limits)
{
    *f = (struct fixture){.link = {.role = WCP_TARGET,
                                   .source_id = WCP_STR("peer"),
                                   .target_id = WCP_STR("me"),
                                   .name = WCP_STR("default")}};
    fake_init(&f->net);
    f->rpc = rpc_new(&(struct rpc_config){
        .transport = &f->net.t,
        .lattice = "default",
        .id = "me",
        .limits = limits ? *limits : (struct wcp_limits){0},
        .links = {.ctx = f, .find = find, .missing = missing, .hold = hold, .release = release}});
}

void fixture_close(struct fixture *f)
{
    CHECK_INT(rpc_running(f->rpc), 0);
    CHECK_INT(f->held, 0);
    rpc_free(f->rpc);
    fake_close(&f->net);
}

void fixture_pass_ms(struct fixture *f, uint64_t ms)
{
    uint64_t until = f->net.now_ms + ms;
    for (uint64_t next; (next = rpc_next(f->rpc)) <= until;) {
        f->net.now_ms = next > f->net.now_ms ? next : f->net.now_ms;
        rpc_tick(f->rpc);
    }
    f->net.now_ms = until;
}

static const char *const headers[] = {"source-id", "peer", "link-name", "default", NULL};

void fixture_invoke(struct fixture *f, const char *function, const char *reply,
                    struct wcp_bytes data)
{
    char subject[256];
    snprintf(subject, sizeof subject, "default.me.wrpc.0.0.1.%s", function);
    int sub = fake_sub(&f->net, subject);
    struct wcp_msg m = fake_message(&f->net, subject, reply, data, headers);
    CHECK(rpc_message(f->rpc, sub, &m));
    fake_done(&f->net, &m);
}

void fixture_inbox(struct fixture *f, const char *subject, const char *reply, struct wcp_bytes data)
{
    struct wcp_msg m = fake_message(&f->net, subject, reply, data, NULL);
    CHECK(rpc_message(f->rpc, fake_sub(&f->net, "_INBOX.me.>"), &m));
    fake_done(&f->net, &m);
}

uint64_t fixture_ended(const struct fixture *f, bool incoming, enum outcome o)
{
    uint64_t n = 0;
    for (const struct call_stats *s = rpc_call_stats(f->rpc); s; s = s->next)
        n += s->incoming == incoming ? s->ended[o] : 0;
    return n;
}

uint64_t fixture_failed(const struct fixture *f, bool incoming)
{
    uint64_t n = 0;
    for (int o = OUTCOME_ERROR + 1; o < OUTCOME_COUNT; o++)
        n += fixture_ended(f, incoming, (enum outcome)o);
    return n;
}

const char *fixture_expect(struct fixture *f, const char *subject, const char *hex)
{
    const struct fake_msg *m = fake_take(&f->net);
    if (!m)
        FAIL("nothing was published, expected %s", subject);
    CHECK_STR(m->subject, subject);
    if (hex)
        CHECK_HEX(m->data, hex);
    return m->reply;
}

void fixture_expect_nothing(struct fixture *f)
{
    const struct fake_msg *m = fake_take(&f->net);
    if (m)
        FAIL("published to %s (%zu bytes), expected nothing", m->subject, m->data.len);
}

struct wcp_bytes fixture_collect(struct fixture *f, const char *subject)
{
    static struct wcp_buf b;
    b.len = 0;
    for (;;) {
        const struct fake_msg *m = fake_take(&f->net);
        if (!m)
            FAIL("%s has no end after %zu bytes", subject, b.len);
        CHECK_STR(m->subject, subject);
        if (m->data.len == 0)
            return (struct wcp_bytes){b.ptr, b.len};
        wcp_buf_put(&b, m->data.ptr, m->data.len);
    }
}

/* test_old_peers.c: links with the config key wrpc-codec: large negative numbers and flags as old
 * peers write and read them (wrpc.md §1.2, §1.3), in calls of both directions. */
#include "rpc_fixture.h"
#include "test.h"
#include <stddef.h>
#include <wcp/stream.h>

#define RC      "_INBOX.caller.1"
#define RS      "_INBOX.peer.7"
#define NO_DATA ((struct wcp_bytes){0})

static struct fixture f;

struct numbers {
    int16_t a;
    int32_t b;
    int64_t c;
};
static const struct wcp_field number_fields[] = {{"a", &wcp_s16, offsetof(struct numbers, a)},
                                                 {"b", &wcp_s32, offsetof(struct numbers, b)},
                                                 {"c", &wcp_s64, offsetof(struct numbers, c)}};
static const struct wcp_type numbers = {WCP_RECORD,    false, 3, sizeof(struct numbers),
                                        number_fields, NULL};
static const struct wcp_type flags17 = {WCP_FLAGS, .count = 17, .size = 4};
static const struct wcp_type flags33 = {WCP_FLAGS, .count = 33, .size = 8};
static const struct wcp_type flags70 = {WCP_FLAGS, .count = 70, .size = 9};
static const struct wcp_type stream_numbers = {WCP_STREAM, true, 0, 8, NULL, &numbers};
static const struct wcp_type stream_flags = {WCP_STREAM, true, 0, 8, NULL, &flags17};
static const struct wcp_type future_s32 = {WCP_FUTURE, true, 0, 8, NULL, &wcp_s32};

static const struct numbers least = {INT16_MIN, INT32_MIN, INT64_MIN};
#define STANDARD                                                                                   \
    "80807e"                                                                                       \
    "8080808078"                                                                                   \
    "8080808080808080807f"
#define SMALL "017fffffffffffffffffff00"
#define CUT                                                                                        \
    "808002"                                                                                       \
    "8080808008"                                                                                   \
    "80808080808080808001"

/* What both functions take and give: other flags than 8, 16, 32 or 64, numbers, streams of both. */
struct mixed {
    uint32_t x;
    uint64_t y;
    uint8_t z[9];
    struct numbers n;
    union wcp_async s, t, u;
};
static const struct wcp_field mixed_fields[] = {{"x", &flags17, offsetof(struct mixed, x)},
                                                {"y", &flags33, offsetof(struct mixed, y)},
                                                {"z", &flags70, offsetof(struct mixed, z)},
                                                {"n", &numbers, offsetof(struct mixed, n)},
                                                {"s", &stream_numbers, offsetof(struct mixed, s)},
                                                {"t", &stream_flags, offsetof(struct mixed, t)},
                                                {"u", &future_s32, offsetof(struct mixed, u)}};
static const struct wcp_type mixed = {WCP_RECORD,           true,         7,
                                      sizeof(struct mixed), mixed_fields, NULL};

struct call {
    struct wcp_call call;
    struct mixed v;
};
static const struct wcp_field param = {"v", &mixed, offsetof(struct call, v)};
static const struct wcp_type params = {WCP_RECORD, true, 1, sizeof(struct call), &param, NULL};

#define FLAGS                                                                                      \
    "010001"                                                                                       \
    "0100000001"                                                                                   \
    "010000000000000020"
#define PADDED                                                                                     \
    "01000100"                                                                                     \
    "0100000001000000"                                                                             \
    "01000000000000002000000000000000"

/* --- what is received --- */

static int sums, ends;

static void on_numbers(void *ctx, const void *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK(((const struct numbers *)items)[i].c == INT64_MIN);
    sums += (int)n;
}

static void on_flags(void *ctx, const void *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_INT(((const uint32_t *)items)[i], 0x10001);
    sums += 100 * (int)n;
}

static void on_end(void *ctx, int status)
{
    ends++;
    CHECK_INT(status, 0);
}

static void receive(const struct mixed *v)
{
    static const struct wcp_in_handler handlers[] = {{on_numbers, on_end}, {on_flags, on_end}};
    CHECK(v->x == 0x10001 && v->y == 0x100000001 && v->z[0] == 1 && v->z[8] == 0x20);
    CHECK(v->n.a == INT16_MIN && v->n.b == INT32_MIN && v->n.c == INT64_MIN);
    wcp_in_start(v->s.in, &handlers[0], NULL);
    wcp_in_start(v->t.in, &handlers[1], NULL);
    wcp_in_cancel(v->u.in);
}

/* --- what is sent --- */

static struct wcp_out *later; /* goes on after the value is sent */

static struct mixed make(void)
{
    struct wcp_out *s = wcp_out_new(&numbers);
    int32_t least32 = INT32_MIN;
    struct mixed v = {0x10001, 0x100000001, {1, 0, 0, 0, 0, 0, 0, 0, 0x20}, least, {0}, {0}, {0}};
    wcp_out_write(s, &least, 1);
    later = v.s.out = s;
    v.u.out = wcp_out_new(&wcp_s32);
    wcp_out_write(v.u.out, &least32, 1);
    wcp_out_end(v.u.out); /* whole: inline */
    return v;
}

static void go_on(void)
{
    struct numbers two[2] = {least, {1, -1, INT64_MAX}};
    wcp_out_write(later, two, 2);
    wcp_out_end(later);
}

static bool given;

static void invoke(const void *impl, struct wcp_call *c)
{
    receive(&((struct call *)c)->v);
    struct mixed v = make();
    given = true;
    wcp_reply(c, &v);
}

static void deliver(void (*done)(void), void *ctx, const void *result, int status)
{
    CHECK_INT(status, 0);
    given = true;
    receive(result);
}

static const struct wcp_func func = {"f", sizeof(struct call), &params, &mixed, invoke, deliver};
static const struct wcp_interface interface = {
    .name = "test:old/peers", .funcs = &func, .count = 1, .handlers = (uint32_t[]){0}};

static void nobody(void)
{
}
static void (*const handler)(void) = nobody;

static void start(bool old)
{
    fixture_init(&f, NULL);
    f.link.codec = (struct wcp_codec){old, old};
    rpc_serve(f.rpc, &(struct wcp_export){&interface, &handler});
    sums = ends = 0;
    given = false;
}

static char base[200];

static void peer_sends(const char *tail, const char *hex)
{
    char subject[240];
    snprintf(subject, sizeof subject, "%s%s", base, tail);
    fixture_inbox(&f, subject, NULL, test_unhex(hex));
}

/* What was written before, nothing on the stream that was not given, and what is written now. */
static void expect_streams(const char *root, bool old)
{
    char s[100], t[100];
    snprintf(s, sizeof s, "%s.0.4", root);
    snprintf(t, sizeof t, "%s.0.5", root);
    fixture_expect(&f, s, old ? "01" CUT : "01" STANDARD);
    fixture_expect(&f, t, "00");
    fixture_expect(&f, t, "");
    go_on();
    fixture_expect(&f, s, old ? "02" CUT SMALL : "02" STANDARD SMALL);
    fixture_expect(&f, s, "00");
    fixture_expect(&f, s, "");
}

static void serve(bool old)
{
    const char *in = old ? PADDED STANDARD "000000" : FLAGS CUT "000000"; /* both forms are read */
    start(old);
    fixture_invoke(&f, "test:old/peers.f", RC, NO_DATA);
    snprintf(base, sizeof base, "%s", fixture_expect(&f, RC, ""));
    size_t half = strlen(in) / 4 * 2;
    char part[200];
    snprintf(part, sizeof part, "%.*s", (int)half, in);
    peer_sends(".params", part);
    CHECK(!given);
    peer_sends(".params", in + half);
    CHECK(given);
    peer_sends(".params", "");
    fixture_expect(&f, RC ".results",
                   old ? FLAGS CUT "00"
                                   "00"
                                   "01"
                                   "8080808008"
                       : FLAGS STANDARD "00"
                                        "00"
                                        "01"
                                        "8080808078");
    fixture_expect(&f, RC ".results", "");
    expect_streams(RC ".results", old);
    peer_sends(".params.0.4", "01" CUT "01" STANDARD "00");
    peer_sends(".params.0.5", old ? "020100010001000100"
                                    "00"
                                  : "02010001010001"
                                    "00");
    CHECK_INT(sums, 202);
    CHECK_INT(ends, 2);
    fixture_close(&f);
}

TEST(a_call_from_an_old_peer_is_read_and_answered_in_its_forms)
{
    serve(true);
}

TEST(a_call_from_a_peer_of_today_is_read_and_answered_in_the_standard_form)
{
    serve(false);
}

static void invoke_peer(bool old)
{
    start(old);
    struct call c = {.v = make()};
    f.link.role = WCP_SOURCE;
    rpc_invoke(f.rpc, &f.link, &interface, 0, &c, nobody, NULL);
    snprintf(base, sizeof base, "%s",
             fixture_expect(&f, "default.me.wrpc.0.0.1.test:old/peers.f",
                            old ? FLAGS CUT "00"
                                            "00"
                                            "01"
                                            "8080808008"
                                : FLAGS STANDARD "00"
                                                 "00"
                                                 "01"
                                                 "8080808078"));
    fixture_inbox(&f, base, RS, NO_DATA);
    fixture_pass_ms(&f, 2);
    fixture_expect(&f, RS ".params", "");
    expect_streams(RS ".params", old);
    peer_sends(".results", old ? PADDED CUT "000000" : FLAGS CUT "000000");
    CHECK(given);
    peer_sends(".results.0.4", "01" STANDARD "00");
    peer_sends(".results.0.5", old ? "0101000100"
                                     "00"
                                   : "01010001"
                                     "00");
    CHECK_INT(sums, 101);
    CHECK_INT(ends, 2);
    fixture_close(&f);
}

TEST(a_call_to_an_old_peer_is_written_and_read_in_its_forms)
{
    invoke_peer(true);
}

TEST(a_call_to_a_peer_of_today_is_written_in_the_standard_form)
{
    invoke_peer(false);
}

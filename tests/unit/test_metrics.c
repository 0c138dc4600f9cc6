/* test_metrics.c: how calls are counted, by each way in which they can end; the text that tells it;
 * and traces that go from call to call. On the fake transport. */
#include "capture.h"
#include "lattice/metrics.h"
#include "rpc_fixture.h"
#include "vec_api.h"
#include <wcp/trace.h>

#define RC      "_INBOX.caller.1"
#define RS      "_INBOX.peer.7"
#define API     "test:vec/api@0.1.0."
#define NO_DATA ((struct wcp_bytes){0})
#define TRACE   "0123456789abcdef0123456789abcdef"
#define PARENT  "00-" TRACE "-0123456789abcdef-01"

static struct fixture f;
static struct vec_api_add *kept; /* a call that is answered later */
static struct wcp_outgoing *outgoing;
static int done_count;
static struct wcp_link comp = {.role = WCP_SOURCE,
                               .source_id = WCP_STR("me"),
                               .target_id = WCP_STR("comp"),
                               .name = WCP_STR("default")};

/* The lattice layer's, for links without an instance. */
struct wcp_outgoing *wcp_invoke(struct wcp_link *l, const struct wcp_interface *iface, size_t func,
                                const void *params, void (*done)(void), void *ctx)
{
    return rpc_invoke(f.rpc, l, iface, func, params, done, ctx);
}

/* --- handlers --- */

static void api_add(struct vec_api_add *c)
{
    kept = c;
    wcp_log(WCP_INFO, "in the handler", NULL);
}

static void api_describe(struct vec_api_describe *c)
{
    if (c->loud)
        wcp_reply_err(&c->call, &c->name);
    else
        vec_api_describe_ok(c, c->name);
}

static void api_fail(struct vec_api_fail *c)
{
    wcp_call_fail(&c->call, "no");
}

static struct wcp_out *download;

static void api_download(struct vec_api_download *c)
{
    download = wcp_out_new(&wcp_u8);
    vec_api_download_ok(c, (union wcp_async){.out = download});
}

static struct vec_api_upload *upload;

static void on_data(void *ctx, const void *items, size_t n)
{
    wcp_log(WCP_INFO, "in the stream", NULL);
}

static void on_data_end(void *ctx, int status)
{
    vec_api_upload_ok(upload, 0);
}

static void api_upload(struct vec_api_upload *c)
{
    static const struct wcp_in_handler handler = {on_data, on_data_end};
    upload = c;
    wcp_in_start(c->data.in, &handler, NULL);
}

static const struct vec_api api = {.add = api_add,
                                   .describe = api_describe,
                                   .fail = api_fail,
                                   .download = api_download,
                                   .upload = api_upload};

static void start(const struct wcp_limits *limits)
{
    fixture_init(&f, limits);
    rpc_serve(f.rpc, &(struct wcp_export){&vec_api_interface, &api});
    capture_start();
}

/* The subject of ours to which the caller sends the rest, from the latest accept. */
static char rs[200];
static void listen_to(const char *call)
{
    const char *reply = NULL;
    for (const struct fake_msg *m; (m = fake_take(&f.net));)
        reply = m->reply && strcmp(m->subject, call) == 0 ? m->reply : reply;
    CHECK(reply);
    snprintf(rs, sizeof rs, "%s.params", reply);
}

static void invoke(const char *function, const char *hex)
{
    char name[100];
    snprintf(name, sizeof name, API "%s", function);
    fixture_invoke(&f, name, RC, test_unhex(hex));
    listen_to(RC);
}

/* The caller lets the call end. */
static void hear(void)
{
    fixture_inbox(&f, rs, NULL, NO_DATA);
}

/* All outcomes but those named are 0; how many calls, of which outcome. */
static void ended(bool incoming, enum outcome o, uint64_t n)
{
    for (int i = 0; i < OUTCOME_COUNT; i++)
        if (fixture_ended(&f, incoming, (enum outcome)i) != (i == (int)o ? n : 0))
            FAIL("outcome %d: %llu calls, expected %llu", i,
                 (unsigned long long)fixture_ended(&f, incoming, (enum outcome)i),
                 (unsigned long long)(i == (int)o ? n : 0));
}

static const struct call_stats *stats_for(const char *function, bool incoming)
{
    for (const struct call_stats *s = rpc_call_stats(f.rpc); s; s = s->next)
        if (s->incoming == incoming && strcmp(s->func->name, function) == 0)
            return s;
    FAIL("nothing is counted for %s", function);
}

/* --- incoming calls, by how they end --- */

TEST(a_call_is_in_flight_until_it_ends_and_is_counted_then)
{
    start(NULL);
    invoke("add", "0203");
    CHECK_INT(stats_for("add", true)->running, 1);
    f.net.now_ms += 7;
    CHECK_INT(rpc_oldest_us(f.rpc, true), 7000);
    CHECK_INT(rpc_oldest_us(f.rpc, false), 0);
    vec_api_add_ok(kept, 5);
    CHECK_INT(rpc_oldest_us(f.rpc, true), 0);
    ended(true, OUTCOME_OK, 0);
    hear();
    CHECK_INT(stats_for("add", true)->running, 0);
    ended(true, OUTCOME_OK, 1);
    fixture_close(&f);
}

TEST(an_error_of_the_interface_is_no_failure_but_counted_as_one_of_its_own)
{
    start(NULL);
    invoke("describe", "0161000001"); /* "a", a point, loud */
    hear();
    ended(true, OUTCOME_ERROR, 1);
    fixture_close(&f);
}

TEST(a_failure_of_the_handler_is_counted)
{
    start(NULL);
    invoke("fail", "01");
    hear();
    ended(true, OUTCOME_FAILED, 1);
    CHECK_INT(stats_for("fail", true)->took[0], 0); /* it was not answered */
    fixture_close(&f);
}

TEST(a_call_without_a_link_is_counted)
{
    start(NULL);
    f.no_link = true;
    invoke("add", "0203");
    CHECK_INT(rpc_stats(f.rpc).waiting_for_link, 1);
    fixture_pass_ms(&f, 500);
    CHECK_INT(rpc_stats(f.rpc).waiting_for_link, 0);
    hear();
    ended(true, OUTCOME_ABSENT, 1);
    fixture_close(&f);
}

TEST(a_call_over_a_failed_link_is_counted)
{
    start(NULL);
    f.no_link = true;
    f.why = "no route to the backend";
    invoke("add", "0203");
    hear();
    ended(true, OUTCOME_LINK_FAILED, 1);
    fixture_close(&f);
}

TEST(malformed_parameters_are_counted)
{
    start(NULL);
    invoke("add", "ffffffffffff");
    hear();
    ended(true, OUTCOME_MALFORMED, 1);
    fixture_invoke(&f, API "add", NULL, test_unhex("0203")); /* nobody to answer */
    ended(true, OUTCOME_MALFORMED, 2);
    fixture_close(&f);
}

TEST(too_large_parameters_are_counted)
{
    start(&(struct wcp_limits){.message_bytes = 3});
    invoke("add", "80808080");
    hear();
    ended(true, OUTCOME_TOO_BIG, 1);
    fixture_close(&f);
}

TEST(refused_calls_are_counted)
{
    start(&(struct wcp_limits){.open_calls = 1});
    invoke("add", "0203");
    char first[200];
    snprintf(first, sizeof first, "%s", rs);
    for (int i = 1; i <= 2; i++) { /* one that is kept until it is heard, and one that is not */
        fixture_invoke(&f, API "add", RC, test_unhex("0203"));
        fixture_pass_ms(&f, 30000);
    }
    vec_api_add_ok(kept, 5);
    fixture_inbox(&f, first, NULL, NO_DATA);
    CHECK_INT(fixture_ended(&f, true, OUTCOME_REFUSED), 2);
    fixture_close(&f);
}

TEST(a_call_that_is_not_answered_in_time_is_counted_when_the_handler_is_done)
{
    start(&(struct wcp_limits){.call_ms = 100});
    invoke("add", "0203");
    fixture_pass_ms(&f, 100);
    hear();
    CHECK_INT(stats_for("add", true)->running, 1); /* its handler still owes the reply */
    CHECK_INT(rpc_oldest_us(f.rpc, true), 0);      /* but the caller does not wait any more */
    vec_api_add_ok(kept, 5);
    ended(true, OUTCOME_TIMEOUT, 1);
    CHECK_INT(stats_for("add", true)->took_us, 0);
    fixture_close(&f);
}

TEST(a_lost_connection_and_lost_messages_are_counted)
{
    start(NULL);
    invoke("add", "0203");
    rpc_disconnected(f.rpc);
    vec_api_add_ok(kept, 5);
    ended(true, OUTCOME_CLOSED, 1);
    invoke("add", "0203");
    CHECK(rpc_lost(f.rpc, fake_sub(&f.net, "_INBOX.me.>")));
    vec_api_add_ok(kept, 5);
    hear();
    ended(true, OUTCOME_CLOSED, 2);
    CHECK_INT(rpc_stats(f.rpc).losses, 1);
    fixture_close(&f);
}

TEST(a_stream_that_breaks_off_after_the_answer_makes_the_call_a_failed_one)
{
    start(&(struct wcp_limits){.call_ms = 100});
    invoke("download", "016101");
    hear();
    CHECK_INT(stats_for("download", true)->took[0], 1);
    fixture_pass_ms(&f, 100); /* nothing moves on it */
    wcp_out_abort(download);
    ended(true, OUTCOME_TIMEOUT, 1);
    fixture_close(&f);
}

TEST(a_message_that_comes_late_is_counted)
{
    start(NULL);
    invoke("fail", "01");
    hear();
    CHECK_INT(rpc_stats(f.rpc).late_messages, 0);
    hear();
    CHECK_INT(rpc_stats(f.rpc).late_messages, 1);
    fixture_close(&f);
}

/* --- outgoing calls --- */

static void on_add(void *ctx, const uint32_t *r, int status)
{
    done_count++;
    wcp_log(WCP_INFO, "in done", NULL);
}

static char rc[200], results[220];
static void call(void)
{
    outgoing = vec_api_add(&comp, 2, 3, on_add, NULL);
    const char *reply = NULL;
    for (const struct fake_msg *m; (m = fake_take(&f.net));)
        reply = m->reply;
    CHECK(reply);
    snprintf(rc, sizeof rc, "%s", reply);
    snprintf(results, sizeof results, "%s.results", rc);
}

TEST(outgoing_calls_are_counted_by_how_they_end)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 100});
    capture_start();
    uint64_t want[OUTCOME_COUNT] = {0};
    for (int o = 0; o < OUTCOME_COUNT; o++) {
        if (o == OUTCOME_ERROR || o == OUTCOME_LINK_FAILED || o == OUTCOME_REFUSED ||
            o == OUTCOME_TOO_BIG)
            continue; /* see below, or not of outgoing calls */
        call();
        CHECK_INT(stats_for("add", false)->running, 1);
        struct wcp_msg m;
        switch (o) {
        case OUTCOME_ABSENT:
            m = fake_message(&f.net, rc, NULL, NO_DATA, NULL);
            m.status = 503;
            CHECK(rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &m));
            fake_done(&f.net, &m);
            break;
        case OUTCOME_TIMEOUT: fixture_pass_ms(&f, 300); break;
        case OUTCOME_CLOSED: rpc_disconnected(f.rpc); break;
        default:
            fixture_inbox(&f, rc, RS, NO_DATA);
            if (o == OUTCOME_CANCELLED)
                wcp_cancel(outgoing);
            else if (o == OUTCOME_FAILED)
                fixture_inbox(&f, results, NULL, NO_DATA);
            else
                fixture_inbox(&f, results, NULL,
                              test_unhex(o == OUTCOME_OK ? "05" : "ffffffffffff"));
        }
        want[o]++;
        CHECK_INT(stats_for("add", false)->running, 0);
        for (int i = 0; i < OUTCOME_COUNT; i++)
            CHECK_INT(stats_for("add", false)->ended[i], want[i]);
    }
    CHECK_INT(done_count, 6); /* all but the one that was cancelled */
    CHECK_INT(stats_for("add", false)->took[0], 1);
    fixture_close(&f);
}

/* --- the text --- */

static struct wcp_buf text;

static const char *as_text(void)
{
    wcp_buf_put(&text, "", 1);
    return (const char *)text.ptr;
}

TEST(texts_of_labels_are_escaped)
{
    metric_value(&text, "x", UINT64_MAX, "a", "q\" b\\ n\n t\t \xc3\x9f \xff", "b", "", NULL);
    metric_value(&text, "y", 0, NULL);
    metric_seconds(&text, "z", 12000345, "a", "b", NULL);
    CHECK_STR(as_text(),
              "x{a=\"q\\\" b\\\\ n\\n t\t \xc3\x9f \xef\xbf\xbd\",b=\"\"} 18446744073709551615\n"
              "y 0\nz{a=\"b\"} 12.000345\n");
    wcp_buf_free(&text);
}

static void has(const char *line)
{
    const char *at = strstr((const char *)text.ptr, line);
    if (!at || (at != (const char *)text.ptr && at[-1] != '\n'))
        FAIL("no line %s", line);
}

TEST(a_histogram_is_cumulative_and_has_sum_and_count)
{
    static const uint32_t ms[] = {0, 1, 2, 5, 6, 10000, 10001, 20000};
    start(NULL);
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        invoke("add", "0203");
        fixture_pass_ms(&f, ms[i]);
        vec_api_add_ok(kept, 5);
    }
    fixture_pass_ms(&f, 30000); /* nobody hears the answers */
    metrics_rpc(&text, f.rpc);
    as_text();
#define OF_ADD "interface=\"test:vec/api@0.1.0\",function=\"add\""
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.0001\"} 1\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.0005\"} 1\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.001\"} 2\n"); /* at the bound */
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.0025\"} 3\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.005\"} 4\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"0.01\"} 5\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"5\"} 5\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"10\"} 6\n");
    has("wcp_call_duration_seconds_bucket{" OF_ADD ",le=\"+Inf\"} 8\n");
    has("wcp_call_duration_seconds_sum{" OF_ADD "} 40.015000\n");
    has("wcp_call_duration_seconds_count{" OF_ADD "} 8\n");
    has("wcp_calls_total{" OF_ADD ",outcome=\"ok\"} 8\n");
    has("wcp_calls_total{" OF_ADD ",outcome=\"link_failed\"} 0\n");
    has("wcp_calls_in_flight{" OF_ADD "} 0\n");
    has("wcp_oldest_call_age_seconds 0.000000\n");
    CHECK(!strstr((const char *)text.ptr, "cancelled"));
    wcp_buf_free(&text);
    fixture_close(&f);
}

/* --- traces --- */

/* An invocation of add with two headers more. */
static void invoke_traced(const char *parent, const char *state)
{
    const char *const headers[] = {"source-id",  "peer", "traceparent", parent,
                                   "tracestate", state,  NULL};
    const char *subject = "default.me.wrpc.0.0.1." API "add";
    struct wcp_msg m = fake_message(&f.net, subject, RC, test_unhex("0203"), headers);
    CHECK(rpc_message(f.rpc, fake_sub(&f.net, subject), &m));
    fake_done(&f.net, &m);
    listen_to(RC);
}

/* The headers of a call that is made now. */
static void expect_headers(const char *parent, const char *state)
{
    size_t before = f.net.count;
    call();
    const struct fake_msg *m = &f.net.sent[before];
    CHECK_INT(m->header_count, 3 + (parent != NULL) + (state != NULL));
    if (parent) {
        CHECK_STR(m->headers[3].name, "traceparent");
        CHECK_STR(m->headers[3].value, parent);
    }
    if (state) {
        CHECK_STR(m->headers[4].name, "tracestate");
        CHECK_STR(m->headers[4].value, state);
    }
}

static void answer_the_call(void)
{
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, results, NULL, test_unhex("05"));
    fixture_inbox(&f, results, NULL, NO_DATA);
}

#define CHECK_TRACED(text, traced)                                                                 \
    do {                                                                                           \
        CHECK_INT(capture_count("\"trace_id\":\"" TRACE "\",\"msg\":\"" text "\""), traced);       \
        CHECK_INT(capture_count("\"msg\":\"" text "\""), 1);                                       \
    } while (0)

TEST(a_trace_goes_from_a_call_to_what_is_done_for_it)
{
    start(NULL);
    invoke_traced(PARENT, "a=b");
    CHECK_TRACED("in the handler", 1);
    expect_headers(NULL, NULL); /* the handler is not running */
    answer_the_call();
    CHECK_TRACED("in done", 0);
    capture_start();
    wcp_trace_call(&kept->call); /* a client library has called back */
    expect_headers(PARENT, "a=b");
    wcp_trace_call(NULL);
    answer_the_call();
    CHECK_TRACED("in done", 1); /* by itself: the call was made in this trace */
    wcp_log(WCP_INFO, "outside", NULL);
    CHECK_TRACED("outside", 0);
    vec_api_add_ok(kept, 5);
    hear();
    fixture_close(&f);
}

TEST(lines_about_calls_that_failed_have_their_trace)
{
    start(&(struct wcp_limits){.call_ms = 100});
    invoke_traced(PARENT, "");
    wcp_trace_call(&kept->call);
    call();
    wcp_trace_call(NULL);
    fixture_pass_ms(&f, 100);
    CHECK_TRACED("a call was not served", 1);
    CHECK_TRACED("an outgoing call failed", 1);
    vec_api_add_ok(kept, 5);
    hear();
    fixture_pass_ms(&f, 100); /* the peer's accept is no longer waited for */
    fixture_close(&f);
}

TEST(what_a_stream_delivers_belongs_to_its_call)
{
    start(NULL);
    const char *const headers[] = {"source-id", "peer", "traceparent", PARENT, NULL};
    const char *subject = "default.me.wrpc.0.0.1." API "upload";
    struct wcp_msg m = fake_message(&f.net, subject, RC, test_unhex("016100"), headers);
    CHECK(rpc_message(f.rpc, fake_sub(&f.net, subject), &m));
    fake_done(&f.net, &m);
    listen_to(RC);
    char channel[220];
    snprintf(channel, sizeof channel, "%s.1", rs);
    fixture_inbox(&f, channel, NULL, test_unhex("0161"));
    CHECK_TRACED("in the stream", 1);
    fixture_inbox(&f, channel, NULL, test_unhex("00"));
    fixture_inbox(&f, rs, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_malformed_trace_is_none)
{
    static const char *const bad[] = {"00-" TRACE "-0123456789abcdef-0", "00-" TRACE, "",
                                      "00-" TRACE "-0123456789abcdef-01-more"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start(NULL);
        invoke_traced(bad[i], "a=b");
        CHECK_TRACED("in the handler", 0);
        wcp_trace_call(&kept->call);
        expect_headers(NULL, NULL);
        answer_the_call();
        vec_api_add_ok(kept, 5);
        hear();
        fixture_close(&f);
    }
}

TEST(a_state_that_is_too_long_or_no_text_is_left_out)
{
    char state[514];
    memset(state, 'x', sizeof state);
    fixture_init(&f, NULL);
    for (size_t len = 512; len <= 513; len++) {
        wcp_trace_set(WCP_STR(PARENT), (struct wcp_str){state, len});
        state[len] = '\0';
        expect_headers(PARENT, len == 512 ? state : NULL);
        answer_the_call();
        state[len] = 'x';
    }
    wcp_trace_set(WCP_STR(PARENT), WCP_STR("a=\r\nb"));
    expect_headers(PARENT, NULL);
    answer_the_call();
    wcp_trace_set(WCP_STR("nonsense"), WCP_STR("a=b"));
    expect_headers(NULL, NULL);
    answer_the_call();
    fixture_close(&f);
}

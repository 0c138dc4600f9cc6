/* test_client.c: calls to a peer, on the fake transport (wrpc.md §2). */
#include "rpc_fixture.h"
#include "test.h"
#include "vec_api.h"
#include "vec_tests_imports.h"

#define API     "default.comp.wrpc.0.0.1.test:vec/api@0.1.0."
#define RS      "_INBOX.peer.7"
#define NO_DATA ((struct wcp_bytes){0})

static struct fixture f;
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

static int calls, last_status;
static uint32_t last_number;

static void on_add(void *ctx, const uint32_t *r, int status)
{
    calls++;
    last_status = status;
    last_number = r ? *r : 0;
}

/* The reply subject of the invocation that was just published. */
static char rc[200], rc_results[220], rc_results_0[220];
static void invoked(const char *function, const char *hex)
{
    char subject[200];
    snprintf(subject, sizeof subject, API "%s", function);
    const char *reply = fixture_expect(&f, subject, hex);
    CHECK(reply != NULL);
    snprintf(rc, sizeof rc, "%s", reply);
    snprintf(rc_results, sizeof rc_results, "%s.results", rc);
    snprintf(rc_results_0, sizeof rc_results_0, "%s.results.0", rc);
}

TEST(a_function_directly_in_a_world_is_called_without_an_instance)
{
    fixture_init(&f, NULL);
    vec_tests_imports_ping(&comp, (struct vec_tests_pong){2}, on_add, NULL);
    const char *reply = fixture_expect(&f, "default.comp.wrpc.0.0.1.ping", "02");
    snprintf(rc, sizeof rc, "%s", reply);
    snprintf(rc_results, sizeof rc_results, "%s.results", rc);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_inbox(&f, rc_results, NULL, test_unhex("03"));
    CHECK_INT(last_number, 3);
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_call_is_published_accepted_and_answered)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 2, 300, on_add, NULL);
    invoked("add", "02ac02");
    const struct fake_msg *m = &f.net.sent[0];
    CHECK_INT(m->header_count, 3);
    CHECK_STR(m->headers[0].name, "source-id");
    CHECK_STR(m->headers[0].value, "me");
    CHECK_STR(m->headers[1].name, "target-id");
    CHECK_STR(m->headers[1].value, "comp");
    CHECK_STR(m->headers[2].name, "link-name");
    CHECK_STR(m->headers[2].value, "default");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_expect_nothing(&f);
    CHECK_INT(calls, 0);
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae02"));
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, 0);
    CHECK_INT(last_number, 302);
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_result_may_come_in_pieces_and_with_bytes_behind_it)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 2, 300, on_add, NULL);
    invoked("add", "02ac02");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae"));
    CHECK_INT(calls, 0);
    fixture_inbox(&f, rc_results, NULL, test_unhex("0200ff"));
    CHECK_INT(calls, 1);
    CHECK_INT(last_number, 302);
    fixture_close(&f);
}

TEST(a_result_before_the_accept_still_gets_its_end_of_parameters)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc_results, NULL, test_unhex("02"));
    CHECK_INT(last_number, 2);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_close(&f);
}

/* What a raw call was told: "path:hex " for bytes, "path. " for an end, "!status" */
static char told[400];
static struct wcp_outgoing *raw_call;

static void on_raw_received(void *ctx, struct wcp_str path, struct wcp_bytes data)
{
    size_t n = strlen(told);
    n += (size_t)snprintf(told + n, sizeof told - n, "%.*s%s", WCP_ARG(path), data.len ? ":" : ".");
    for (size_t i = 0; i < data.len; i++)
        n += (size_t)snprintf(told + n, sizeof told - n, "%02x", data.ptr[i]);
    snprintf(told + n, sizeof told - n, " ");
    if (ctx && data.len == 0) { /* which end it was told to wait for */
        wcp_cancel(raw_call);
        raw_call = NULL;
    }
}

static void on_raw_failed(void *ctx, int status)
{
    snprintf(told + strlen(told), sizeof told - strlen(told), "!%d", status);
}

static void call_raw(void *ctx, size_t channel_count)
{
    static const struct wcp_header headers[] = {{"source-id", "comp2"}, {"x", "y"}};
    static const struct rpc_channel channels[] = {{{{1}, 1}, {(const uint8_t *)"\2ab", 4}},
                                                  {{{0, 3}, 2}, {NULL, 0}}};
    raw_call = rpc_invoke_raw(f.rpc, "comp",
                              &(struct rpc_raw){.function = "test:vec/api@0.1.0.add",
                                                .headers = headers,
                                                .header_count = 2,
                                                .params = {(const uint8_t *)"\2\xac\2", 3},
                                                .channels = channels,
                                                .channel_count = channel_count,
                                                .received = on_raw_received,
                                                .failed = on_raw_failed,
                                                .ctx = ctx});
}

TEST(a_raw_call_sends_bytes_and_is_told_bytes)
{
    fixture_init(&f, NULL);
    call_raw(NULL, 2);
    invoked("add", "02ac02");
    CHECK_INT(f.net.sent[0].header_count, 2);
    CHECK_STR(f.net.sent[0].headers[0].value, "comp2");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_pass_ms(&f, 2);
    fixture_expect(&f, RS ".params", "");
    fixture_expect(&f, RS ".params.1", "02616200");
    fixture_expect(&f, RS ".params.1", "");
    fixture_expect(&f, RS ".params.0.3", "");
    fixture_inbox(&f, rc_results_0, NULL, test_unhex("01"));
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae"));
    fixture_inbox(&f, rc_results, NULL, test_unhex("02"));
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    fixture_inbox(&f, rc_results_0, NULL, NO_DATA);
    CHECK_STR(told, "0:01 :ae :02 . 0. ");
    wcp_cancel(raw_call);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(a_raw_call_is_not_told_what_is_repeated)
{
    fixture_init(&f, NULL);
    call_raw(NULL, 0);
    invoked("add", "02ac02");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae02"));
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae02"));
    fixture_inbox(&f, rc_results, NULL, test_unhex("ae02")); /* without an accept: more of it */
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    CHECK_STR(told, ":ae02 :ae02 . ");
    wcp_cancel(raw_call);
    fixture_close(&f);
}

TEST(a_raw_call_may_end_where_it_is_told)
{
    fixture_init(&f, NULL);
    call_raw(&f, 0);
    invoked("add", "02ac02");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("01"));
    CHECK_STR(told, ". ");
    fixture_close(&f);
}

TEST(a_raw_call_fails_as_others_do)
{
    fixture_init(&f, NULL);
    call_raw(NULL, 2);
    invoked("add", "02ac02");
    fixture_pass_ms(&f, 30000);
    CHECK_STR(told, "!-8");
    fixture_inbox(&f, rc, RS, NO_DATA); /* too late, but it must be told that nothing comes */
    fixture_expect(&f, RS ".params", "");
    fixture_expect(&f, RS ".params.1", "");
    fixture_expect(&f, RS ".params.0.3", "");
    fixture_close(&f);

    told[0] = '\0';
    fixture_init(&f, NULL);
    call_raw(NULL, 1);
    invoked("add", "02ac02");
    struct wcp_msg m = fake_message(&f.net, rc, NULL, NO_DATA, NULL);
    m.status = 503;
    rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &m);
    fake_done(&f.net, &m);
    CHECK_STR(told, "!-5");
    fixture_close(&f);
}

TEST(nobody_there_is_known_at_once)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    struct wcp_msg m = fake_message(&f.net, rc, NULL, NO_DATA, NULL);
    m.status = 503;
    rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &m);
    fake_done(&f.net, &m);
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ENOENT);
    fixture_close(&f);
}

TEST(an_accept_without_a_reply_subject_fails_the_call)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc, NULL, NO_DATA);
    CHECK_INT(last_status, WCP_EPROTO);
    fixture_close(&f);
}

TEST(an_end_without_an_answer_fails_the_call)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ECLOSED);
    fixture_close(&f);
}

TEST(a_result_that_breaks_off_fails_the_call)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("80"));
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ECLOSED);
    fixture_close(&f);
}

TEST(a_malformed_result_fails_the_call)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("ffffffffff7f"));
    CHECK_INT(last_status, WCP_EPROTO);
    fixture_close(&f);
}

TEST(no_answer_within_the_deadline_fails_the_call)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 500});
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_pass_ms(&f, 499);
    CHECK_INT(calls, 0);
    fixture_pass_ms(&f, 1);
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ETIMEOUT);
    fixture_inbox(&f, rc, RS, NO_DATA); /* late: nothing is owed, the parameters were whole */
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(a_lost_connection_fails_the_call)
{
    fixture_init(&f, NULL);
    vec_api_add(&comp, 1, 1, on_add, NULL);
    rpc_disconnected(f.rpc);
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ECLOSED);
    fixture_close(&f);
}

TEST(a_cancelled_call_is_silent)
{
    fixture_init(&f, NULL);
    wcp_cancel(vec_api_add(&comp, 1, 1, on_add, NULL));
    invoked("add", "0101");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("02"));
    CHECK_INT(calls, 0);
    fixture_close(&f);
}

static uint64_t blob_len;

static void on_blob_len(void *ctx, const uint64_t *r, int status)
{
    calls++;
    last_status = status;
    blob_len = r ? *r : 0;
}

TEST(parameters_above_max_payload_go_in_slices_after_the_accept)
{
    fixture_init(&f, NULL);
    const size_t n = 3u << 20;
    uint8_t *p = wcp_calloc(1, n);
    vec_api_blob_len(&comp, (struct wcp_bytes){p, n}, on_blob_len, NULL);
    free(p);
    invoked("blob-len", NULL);
    size_t first = f.net.sent[0].data.len;
    CHECK(first <= 1048576 - strlen(rc) && first > 1000000);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_pass_ms(&f, 2);
    CHECK_INT(fixture_collect(&f, RS ".params").len + first, n + 4);
    fixture_inbox(&f, rc_results, NULL, test_unhex("8080c001"));
    CHECK_INT(blob_len, n);
    fixture_close(&f);
}

TEST(incomplete_parameters_of_a_cancelled_call_are_ended_when_the_accept_comes)
{
    fixture_init(&f, NULL);
    const size_t n = 2u << 20;
    uint8_t *p = wcp_calloc(1, n);
    wcp_cancel(vec_api_blob_len(&comp, (struct wcp_bytes){p, n}, on_blob_len, NULL));
    free(p);
    invoked("blob-len", NULL);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_expect_nothing(&f);
    CHECK_INT(calls, 0);
    fixture_close(&f);
}

TEST(a_stream_that_is_whole_goes_inline)
{
    fixture_init(&f, NULL);
    struct wcp_out *data = wcp_out_new(&wcp_u8);
    wcp_out_write(data, "abc", 3);
    wcp_out_end(data);
    vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = data}, on_blob_len, NULL);
    invoked("upload", "016603616263");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_inbox(&f, rc_results, NULL, test_unhex("03"));
    CHECK_INT(blob_len, 3);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(an_open_stream_goes_out_after_the_accept_has_settled)
{
    fixture_init(&f, NULL);
    struct wcp_out *data = wcp_out_new(&wcp_u8);
    wcp_out_write(data, "abc", 3);
    vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = data}, on_blob_len, NULL);
    invoked("upload", "016600");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect_nothing(&f);
    fixture_pass_ms(&f, 2);
    fixture_expect(&f, RS ".params", "");
    fixture_expect(&f, RS ".params.1", "03616263");
    wcp_out_write(data, "d", 1);
    fixture_expect(&f, RS ".params.1", "0164");
    wcp_out_end(data);
    fixture_expect(&f, RS ".params.1", "00");
    fixture_expect(&f, RS ".params.1", "");
    fixture_inbox(&f, rc_results, NULL, test_unhex("04"));
    CHECK_INT(blob_len, 4);
    fixture_close(&f);
}

TEST(the_end_of_an_empty_stream_is_repeated_until_the_peer_answers)
{
    fixture_init(&f, NULL);
    vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = NULL}, on_blob_len, NULL);
    invoked("upload", "016600");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    for (int i = 0; i < 3; i++) {
        fixture_expect(&f, RS ".params.1", "00");
        fixture_expect(&f, RS ".params.1", "");
        fixture_expect_nothing(&f);
        fixture_pass_ms(&f, 10u << i);
    }
    fixture_inbox(&f, rc_results, NULL, test_unhex("00"));
    CHECK_INT(calls, 1);
    CHECK_INT(blob_len, 0);
    f.net.seen = f.net.count;
    fixture_pass_ms(&f, 1000);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

static char text[100];
static int end_status = 1;
static struct wcp_in *result_in;

static void on_data(void *ctx, const void *items, size_t n)
{
    strncat(text, items, n);
}

static void on_end(void *ctx, int status)
{
    end_status = status;
}

static void on_download(void *ctx, const union wcp_async *r, int status)
{
    static const struct wcp_in_handler handler = {on_data, on_end};
    calls++;
    last_status = status;
    if (!r)
        return;
    result_in = r->in;
    wcp_in_start(r->in, &handler, NULL);
}

TEST(a_stream_in_the_result_is_read_after_done)
{
    fixture_init(&f, NULL);
    vec_api_download(&comp, WCP_STR("f"), 3, on_download, NULL);
    invoked("download", "016603");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("00"));
    CHECK_INT(calls, 1);
    fixture_inbox(&f, rc_results, NULL, NO_DATA);
    fixture_inbox(&f, rc_results_0, NULL, test_unhex("0361"));
    fixture_inbox(&f, rc_results_0, NULL, test_unhex("6263"));
    CHECK_STR(text, "abc");
    fixture_inbox(&f, rc_results_0, NULL, test_unhex("00"));
    CHECK_INT(end_status, 0);
    fixture_inbox(&f, rc_results_0, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_stream_result_inline_is_delivered_and_ends)
{
    fixture_init(&f, NULL);
    vec_api_download(&comp, WCP_STR("f"), 3, on_download, NULL);
    invoked("download", "016603");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("03616263"));
    CHECK_STR(text, "abc");
    CHECK_INT(end_status, 0);
    fixture_close(&f);
}

TEST(a_stream_result_that_stops_is_ended_at_the_deadline)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 500});
    vec_api_download(&comp, WCP_STR("f"), 3, on_download, NULL);
    invoked("download", "016603");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("00"));
    fixture_pass_ms(&f, 500);
    CHECK_INT(calls, 1);
    CHECK_INT(end_status, WCP_ETIMEOUT);
    fixture_close(&f);
}

static void on_pipe(void *ctx, const union wcp_async *r, int status)
{
    calls++;
    /* nobody starts reading */
}

TEST(a_stream_result_that_nobody_reads_is_dropped)
{
    fixture_init(&f, NULL);
    struct wcp_out *data = wcp_out_new(&wcp_u8);
    vec_api_pipe(&comp, (union wcp_async){.out = data}, on_pipe, NULL);
    invoked("pipe", "00");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_inbox(&f, rc_results, NULL, test_unhex("00"));
    CHECK_INT(calls, 1);
    CHECK_INT(rpc_running(f.rpc), 1); /* we are still writing */
    fixture_inbox(&f, rc_results_0, NULL, test_unhex("0178"));
    fixture_pass_ms(&f, 2);
    wcp_out_end(data);
    fixture_close(&f);
}

static int answers;

static void on_answer(void *ctx, const struct wcp_msg *m, int status)
{
    answers++;
    last_status = m ? m->status : status;
}

TEST(a_plain_request_gets_one_answer_or_a_timeout)
{
    fixture_init(&f, NULL);
    rpc_request(f.rpc, &(struct wcp_msg){.subject = "a.b", .data = {(const uint8_t *)"x", 1}}, 100,
                on_answer, NULL);
    char reply[100];
    snprintf(reply, sizeof reply, "%s", fixture_expect(&f, "a.b", "78"));
    fixture_inbox(&f, reply, NULL, test_unhex("00"));
    fixture_inbox(&f, reply, NULL, test_unhex("00"));
    CHECK_INT(answers, 1);
    CHECK_INT(last_status, 0);
    rpc_request(f.rpc, &(struct wcp_msg){.subject = "a.b"}, 100, on_answer, NULL);
    fixture_pass_ms(&f, 100);
    CHECK_INT(answers, 2);
    CHECK_INT(last_status, WCP_ETIMEOUT);
    rpc_request(f.rpc, &(struct wcp_msg){.subject = "a.b"}, 100, on_answer, NULL);
    rpc_disconnected(f.rpc);
    CHECK_INT(answers, 3);
    CHECK_INT(last_status, WCP_ECLOSED);
    fixture_close(&f);
}

static void on_nothing(void *ctx, int status)
{
    calls++;
    last_status = status;
}

TEST(a_cancelled_call_without_parameters_is_ended_when_the_accept_comes)
{
    fixture_init(&f, NULL);
    wcp_cancel(vec_api_nothing(&comp, on_nothing, NULL));
    invoked("nothing", "");
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_expect_nothing(&f);
    CHECK_INT(calls, 0);
    fixture_close(&f);
}

TEST(the_streams_of_a_call_given_up_before_its_accept_are_ended_when_it_comes)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 500});
    struct wcp_out *data = wcp_out_new(&wcp_u8);
    vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = data}, on_blob_len, NULL);
    invoked("upload", "016600");
    fixture_pass_ms(&f, 500);
    CHECK_INT(last_status, WCP_ETIMEOUT);
    wcp_out_write(data, "abc", 3); /* discarded */
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_expect(&f, RS ".params.1", "");
    fixture_expect_nothing(&f);
    wcp_out_end(data);
    fixture_close(&f);
}

TEST(a_call_given_up_before_its_accept_is_forgotten_when_none_comes)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 500});
    wcp_cancel(
        vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = NULL}, on_blob_len, NULL));
    CHECK_INT(rpc_running(f.rpc), 1);
    fixture_pass_ms(&f, 500);
    fixture_close(&f);
}

TEST(a_call_given_up_before_its_accept_is_forgotten_when_nobody_serves_it)
{
    fixture_init(&f, NULL);
    wcp_cancel(vec_api_nothing(&comp, on_nothing, NULL));
    invoked("nothing", "");
    struct wcp_msg m = fake_message(&f.net, rc, NULL, NO_DATA, NULL);
    m.status = 503;
    rpc_message(f.rpc, fake_sub(&f.net, "_INBOX.me.>"), &m);
    fake_done(&f.net, &m);
    fixture_close(&f);
}

TEST(an_accept_after_the_result_still_ends_empty_streams_once)
{
    fixture_init(&f, NULL);
    vec_api_upload(&comp, WCP_STR("f"), (union wcp_async){.out = NULL}, on_blob_len, NULL);
    invoked("upload", "016600");
    fixture_inbox(&f, rc_results, NULL, test_unhex("00"));
    CHECK_INT(calls, 1);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_expect(&f, RS ".params", "");
    fixture_expect(&f, RS ".params.1", "00");
    fixture_expect(&f, RS ".params.1", "");
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(a_repeated_accept_is_no_progress)
{
    fixture_init(&f, &(struct wcp_limits){.call_ms = 500});
    vec_api_add(&comp, 1, 1, on_add, NULL);
    invoked("add", "0101");
    fixture_inbox(&f, rc, RS, NO_DATA);
    for (int i = 0; i < 5; i++) {
        fixture_pass_ms(&f, 100);
        fixture_inbox(&f, rc, RS, NO_DATA);
    }
    CHECK_INT(calls, 1);
    CHECK_INT(last_status, WCP_ETIMEOUT);
    fixture_close(&f);
}

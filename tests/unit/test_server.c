/* test_server.c: invocations in, replies out, on the fake transport (wrpc.md §2). */
#include "capture.h"
#include "rpc_fixture.h"
#include "test.h"
#include "vec_api.h"
#include "vec_tests.h"

#define RC      "_INBOX.caller.1"
#define API     "test:vec/api@0.1.0."
#define NO_DATA ((struct wcp_bytes){0})

static struct fixture f;
static int handled;
static struct vec_api_add *slow_add; /* a handler that answers later */

static void api_add(struct vec_api_add *c)
{
    handled++;
    vec_api_add_ok(c, c->a + c->b);
}

static void api_add_later(struct vec_api_add *c)
{
    handled++;
    slow_add = c;
}

static void api_one_way(struct vec_api_one_way *c)
{
    handled++;
    vec_api_one_way_ok(c);
}

static void api_fail(struct vec_api_fail *c)
{
    wcp_call_fail(&c->call, "there is no %u", c->x);
}

static void api_blob_len(struct vec_api_blob_len *c)
{
    vec_api_blob_len_ok(c, c->data.len);
}

static void api_big_result(struct vec_api_big_result *c)
{
    uint8_t *p = wcp_alloc(&c->call.arena, c->n, 1);
    for (uint32_t i = 0; i < c->n; i++)
        p[i] = (uint8_t)i;
    vec_api_big_result_ok(c, (struct wcp_bytes){p, c->n});
}

/* upload counts bytes. */
struct upload {
    struct vec_api_upload *c;
    uint64_t bytes;
    int status;
};
static struct upload upload;
static bool hold_upload; /* pause at once */
static struct wcp_in *upload_in;
static bool slow_reader; /* pause after each piece */

static void on_upload_data(void *ctx, const void *items, size_t n)
{
    ((struct upload *)ctx)->bytes += n;
    if (slow_reader)
        wcp_in_pause(upload_in);
}

static void on_upload_end(void *ctx, int status)
{
    struct upload *u = ctx;
    u->status = status;
    if (status == 0)
        vec_api_upload_ok(u->c, u->bytes);
    else
        wcp_call_fail(&u->c->call, "the upload broke off: %s", wcp_strerror(status));
}

static void api_upload(struct vec_api_upload *c)
{
    static const struct wcp_in_handler handler = {on_upload_data, on_upload_end};
    upload = (struct upload){.c = c, .status = 1};
    upload_in = c->data.in;
    if (hold_upload)
        wcp_in_pause(c->data.in);
    wcp_in_start(c->data.in, &handler, &upload);
}

static struct wcp_out *download;

static void api_download(struct vec_api_download *c)
{
    download = wcp_out_new(&wcp_u8);
    vec_api_download_ok(c, (union wcp_async){.out = download});
}

/* pipe gives every chunk back at once. */
static void on_pipe_data(void *ctx, const void *items, size_t n)
{
    wcp_out_write(ctx, items, n);
}

static void on_pipe_end(void *ctx, int status)
{
    if (status == 0)
        wcp_out_end(ctx);
    else
        wcp_out_abort(ctx);
}

static void api_pipe(struct vec_api_pipe *c)
{
    static const struct wcp_in_handler handler = {on_pipe_data, on_pipe_end};
    struct wcp_out *out = wcp_out_new(&wcp_u8);
    wcp_in_start(c->data.in, &handler, out);
    vec_api_pipe_ok(c, (union wcp_async){.out = out});
}

static struct vec_api api = {.add = api_add,
                             .one_way = api_one_way,
                             .fail = api_fail,
                             .blob_len = api_blob_len,
                             .big_result = api_big_result,
                             .upload = api_upload,
                             .download = api_download,
                             .pipe = api_pipe};

static void start(const struct wcp_limits *limits)
{
    fixture_init(&f, limits);
    rpc_serve(f.rpc, &(struct wcp_export){&vec_api_interface, &api});
}

/* Takes the accept and returns our inbox subject for the call. */
static char rs[200], rs_params[240], rs_params_0[260];
static void accepted(void)
{
    const char *reply = fixture_expect(&f, RC, "");
    CHECK(reply && strncmp(reply, "_INBOX.me.", 10) == 0);
    snprintf(rs, sizeof rs, "%s", reply);
    snprintf(rs_params, sizeof rs_params, "%s.params", rs);
    snprintf(rs_params_0, sizeof rs_params_0, "%s.params.1", rs);
}

TEST(a_unary_call_is_accepted_and_answered_at_once_and_ended_when_the_caller_listens)
{
    start(NULL);
    fixture_invoke(&f, API "add", RC, test_unhex("02ac02"));
    accepted();
    fixture_expect(&f, RC ".results", "ae02");
    fixture_expect_nothing(&f);
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "");
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(accept_and_result_are_repeated_until_the_caller_is_heard)
{
    start(NULL);
    fixture_invoke(&f, API "add", RC, test_unhex("0203"));
    accepted();
    fixture_expect(&f, RC ".results", "05");
    for (int ms = 10; ms <= 40; ms *= 2) {
        fixture_pass_ms(&f, (uint64_t)ms - 1);
        fixture_expect_nothing(&f);
        fixture_pass_ms(&f, 1);
        CHECK_STR(fixture_expect(&f, RC, ""), rs);
        fixture_expect(&f, RC ".results", "05");
    }
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "");
    fixture_pass_ms(&f, 60000);
    fixture_expect_nothing(&f);
    CHECK_INT(rpc_stats(f.rpc).repeated_accepts, 3);
    fixture_close(&f);
}

TEST(a_caller_that_never_ends_its_parameters_is_let_go_at_the_deadline)
{
    start(&(struct wcp_limits){.call_ms = 100});
    fixture_invoke(&f, API "add", RC, test_unhex("0203"));
    fixture_pass_ms(&f, 100);
    CHECK_INT(rpc_running(f.rpc), 0);
    CHECK_HEX(f.net.sent[f.net.count - 1].data, "");
    CHECK_STR(f.net.sent[f.net.count - 1].subject, RC ".results");
    CHECK_INT(fixture_failed(&f, true), 0);
    fixture_close(&f);
}

TEST(a_result_of_no_bytes_is_its_end_and_is_repeated_too)
{
    start(NULL);
    fixture_invoke(&f, API "one-way", RC, test_unhex("07"));
    accepted();
    fixture_expect(&f, RC ".results", "");
    fixture_pass_ms(&f, 10);
    fixture_expect(&f, RC, "");
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_pass_ms(&f, 1000);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(a_failed_call_ends_without_a_value)
{
    start(NULL);
    fixture_invoke(&f, API "fail", RC, test_unhex("07"));
    accepted();
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect_nothing(&f);
    CHECK_INT(fixture_failed(&f, true), 1);
    fixture_close(&f);
}

TEST(parameters_may_come_one_byte_at_a_time)
{
    start(NULL);
    fixture_invoke(&f, API "add", RC, NO_DATA);
    accepted();
    fixture_inbox(&f, rs_params, NULL, test_unhex("02"));
    fixture_inbox(&f, rs_params, NULL, test_unhex("ac"));
    fixture_expect_nothing(&f);
    fixture_inbox(&f, rs_params, NULL, test_unhex("02"));
    fixture_expect(&f, RC ".results", "ae02");
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(parameters_that_end_early_fail_the_call)
{
    start(NULL);
    handled = 0;
    fixture_invoke(&f, API "add", RC, test_unhex("02"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "");
    CHECK_INT(handled, 0);
    fixture_close(&f);
}

TEST(malformed_parameters_fail_their_call_and_no_other)
{
    start(NULL);
    fixture_invoke(&f, API "add", RC, test_unhex("ffffffffff7f"));
    accepted();
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    fixture_expect(&f, RC ".results", "02");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_parameter_of_3_MiB_comes_in_slices)
{
    start(NULL);
    const size_t n = 3u << 20;
    uint8_t *p = wcp_calloc(1, n + 4);
    memcpy(p, "\x80\x80\xc0\x01", 4);
    fixture_invoke(&f, API "blob-len", RC, (struct wcp_bytes){p, 1000000});
    accepted();
    for (size_t at = 1000000; at < n + 4; at += 1000000)
        fixture_inbox(&f, rs_params, NULL,
                      (struct wcp_bytes){p + at, n + 4 - at < 1000000 ? n + 4 - at : 1000000});
    fixture_expect(&f, RC ".results", "8080c001");
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_close(&f);
    free(p);
}

TEST(a_result_of_several_messages_waits_for_the_proof)
{
    start(NULL);
    fixture_invoke(&f, API "big-result", RC, test_unhex("80897a")); /* 2,000,000 */
    accepted();
    fixture_expect_nothing(&f);
    fixture_pass_ms(&f, 10);
    fixture_expect(&f, RC, "");
    fixture_expect_nothing(&f);
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    struct wcp_bytes all = fixture_collect(&f, RC ".results");
    CHECK_INT(all.len, 2000003);
    CHECK_INT(all.ptr[3 + 1999999], (uint8_t)1999999);
    fixture_close(&f);
}

TEST(too_large_parameters_are_refused_before_they_are_held)
{
    start(&(struct wcp_limits){.message_bytes = 1000});
    fixture_invoke(&f, API "blob-len", RC, test_unhex("e807")); /* 1000 and 2 for the length */
    accepted();
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK_INT(fixture_failed(&f, true), 1);
    fixture_invoke(&f, API "blob-len", RC, test_unhex("e607")); /* 998: at the limit */
    accepted();
    fixture_expect_nothing(&f);
    uint8_t zeros[998] = {0};
    fixture_inbox(&f, rs_params, NULL, (struct wcp_bytes){zeros, 998});
    fixture_expect(&f, RC ".results", "e607");
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(more_open_calls_than_the_limit_are_refused)
{
    api.add = api_add_later;
    handled = 0;
    start(&(struct wcp_limits){.open_calls = 1});
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_invoke(&f, API "add", "_INBOX.caller.2", test_unhex("0101"));
    char second[200];
    snprintf(second, sizeof second, "%s.params", fixture_expect(&f, "_INBOX.caller.2", ""));
    fixture_expect(&f, "_INBOX.caller.2.results", "");
    fixture_pass_ms(&f, 10); /* repeated, as a result is */
    fixture_expect(&f, "_INBOX.caller.2", "");
    fixture_expect(&f, "_INBOX.caller.2.results", "");
    /* At twice the limit the refusal is said once and forgotten. */
    fixture_invoke(&f, API "add", "_INBOX.caller.3", test_unhex("0101"));
    CHECK(fixture_expect(&f, "_INBOX.caller.3", "") != NULL);
    fixture_expect(&f, "_INBOX.caller.3.results", "");
    CHECK_INT(rpc_running(f.rpc), 2);
    fixture_inbox(&f, second, NULL, NO_DATA);
    CHECK_INT(rpc_running(f.rpc), 1);
    CHECK_INT(handled, 1);
    vec_api_add_ok(slow_add, 2);
    fixture_expect(&f, RC ".results", "02");
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_handler_that_does_not_answer_is_cut_at_the_deadline_and_may_answer_later)
{
    api.add = api_add_later;
    start(&(struct wcp_limits){.call_ms = 1000});
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_pass_ms(&f, 999);
    fixture_expect_nothing(&f);
    fixture_pass_ms(&f, 1);
    fixture_expect(&f, RC ".results", "");
    CHECK_INT(slow_add->a, 1); /* still there */
    vec_api_add_ok(slow_add, 2);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(an_invocation_without_a_reply_subject_is_dropped)
{
    start(NULL);
    handled = 0;
    fixture_invoke(&f, API "add", NULL, test_unhex("0101"));
    fixture_expect_nothing(&f);
    CHECK_INT(handled, 0);
    CHECK_INT(fixture_failed(&f, true), 1);
    fixture_close(&f);
}

TEST(a_call_that_comes_before_its_link_waits_for_it)
{
    start(NULL);
    f.no_link = true;
    fixture_invoke(&f, API "add", RC, test_unhex("0102"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_pass_ms(&f, 499);
    fixture_expect_nothing(&f);
    f.no_link = false;
    rpc_link_added(f.rpc);
    fixture_expect(&f, RC ".results", "03");
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_call_whose_link_does_not_come_fails)
{
    start(NULL);
    f.no_link = true;
    handled = 0;
    fixture_invoke(&f, API "add", RC, test_unhex("0102"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_pass_ms(&f, 500);
    fixture_expect(&f, RC ".results", "");
    CHECK_INT(handled, 0);
    fixture_close(&f);
}

TEST(a_call_that_waits_for_its_link_is_told_of_once_and_names_what_is_missing)
{
    capture_start();
    start(&(struct wcp_limits){.link_wait_ms = 70});
    f.no_link = true;
    fixture_invoke(&f, API "add", RC, test_unhex("01"));
    accepted();
    CHECK_INT(f.missed, 1);
    fixture_inbox(&f, rs_params, NULL, test_unhex("02"));
    rpc_link_added(f.rpc); /* another one */
    CHECK_INT(f.missed, 1);
    fixture_pass_ms(&f, 69);
    fixture_expect_nothing(&f);
    fixture_pass_ms(&f, 1);
    fixture_expect(&f, RC ".results", "");
    CHECK_LOGGED("no link 'default' from 'peer' to 'me' for test:vec/api@0.1.0 came within 70 ms");
    CHECK_INT(fixture_ended(&f, true, OUTCOME_ABSENT), 1);
    fixture_close(&f);
}

TEST(a_call_need_not_wait_for_its_link)
{
    start(&(struct wcp_limits){.link_wait_ms = WCP_NO_LINK_WAIT});
    f.no_link = true;
    fixture_invoke(&f, API "add", RC, test_unhex("0102"));
    accepted();
    CHECK_INT(f.missed, 1); /* the next one may find it */
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_pass_ms(&f, 0);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_call_over_a_link_that_failed_fails_at_once)
{
    capture_start();
    start(NULL);
    f.no_link = true;
    f.why = "port 80 is in use";
    fixture_invoke(&f, API "add", RC, test_unhex("0102"));
    accepted();
    fixture_expect(&f, RC ".results", "");
    CHECK_INT(f.missed, 0);
    CHECK_LOGGED("its link 'default' does not work: port 80 is in use");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK_INT(fixture_ended(&f, true, OUTCOME_LINK_FAILED), 1);
    fixture_close(&f);
}

TEST(a_stream_parameter_arrives_in_any_slices)
{
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    static const char *const bytes[] = {"83", "00", "61", "62", "63", "05", "64", "656667", "6800"};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        fixture_inbox(&f, rs_params_0, NULL, test_unhex(bytes[i]));
    fixture_expect(&f, RC ".results", "08");
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params_0, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_stream_given_inline_is_read_like_any_other)
{
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e03616263"));
    accepted();
    fixture_expect(&f, RC ".results", "03");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(stream_bytes_may_come_before_the_parameters_that_announce_them)
{
    start(NULL);
    fixture_invoke(&f, API "upload", RC, NO_DATA);
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("0361626300"));
    fixture_inbox(&f, rs_params_0, NULL, NO_DATA);
    fixture_inbox(&f, rs_params, NULL, test_unhex("05662e62696e00"));
    fixture_expect(&f, RC ".results", "03");
    fixture_expect(&f, RC ".results", "");
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_stream_that_ends_without_its_end_mark_has_broken_off)
{
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("03616263"));
    fixture_inbox(&f, rs_params_0, NULL, NO_DATA);
    CHECK_INT(upload.status, WCP_ECLOSED);
    CHECK_INT(upload.bytes, 3);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_paused_stream_is_kept_up_to_its_limit_and_then_fails_alone)
{
    hold_upload = true;
    start(&(struct wcp_limits){.stream_bytes = 100, .stream_total_bytes = 1000});
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    uint8_t chunk[101] = {100};
    fixture_inbox(&f, rs_params_0, NULL, (struct wcp_bytes){chunk, 100}); /* at the limit */
    CHECK_INT(upload.status, 1);
    fixture_inbox(&f, rs_params_0, NULL, (struct wcp_bytes){chunk, 1}); /* above */
    CHECK_INT(upload.status, WCP_ETOOBIG);
    CHECK_INT(upload.bytes, 0);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_paused_stream_goes_on_where_it_was)
{
    hold_upload = true;
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("0361626300"));
    fixture_inbox(&f, rs_params_0, NULL, NO_DATA);
    fixture_expect_nothing(&f);
    wcp_in_resume(upload_in);
    CHECK_INT(upload.bytes, 3);
    fixture_expect(&f, RC ".results", "03");
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(a_stream_without_progress_ends_at_the_deadline)
{
    start(&(struct wcp_limits){.call_ms = 1000});
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("0361"));
    fixture_pass_ms(&f, 900);
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("62"));
    fixture_pass_ms(&f, 900);
    CHECK_INT(upload.status, 1);
    fixture_pass_ms(&f, 100);
    CHECK_INT(upload.status, WCP_ETIMEOUT);
    fixture_close(&f);
}

TEST(a_stream_result_goes_out_after_the_proof)
{
    start(NULL);
    fixture_invoke(&f, API "download", RC, test_unhex("05662e62696e03"));
    accepted();
    CHECK(wcp_out_write(download, "abc", 3));
    fixture_expect_nothing(&f);
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "00");
    fixture_expect(&f, RC ".results", "");
    fixture_expect(&f, RC ".results.0", "03616263");
    CHECK(wcp_out_write(download, "d", 1));
    fixture_expect(&f, RC ".results.0", "0164");
    wcp_out_end(download);
    fixture_expect(&f, RC ".results.0", "00");
    fixture_expect(&f, RC ".results.0", "");
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

static int drained;

static void on_drained(void *ctx)
{
    drained++;
}

TEST(a_writer_waits_while_the_transport_is_full)
{
    start(NULL);
    fixture_invoke(&f, API "download", RC, test_unhex("05662e62696e03"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    f.net.buffered_bytes = 2u << 20;
    CHECK(!wcp_out_write(download, "abc", 3));
    wcp_out_on_drained(download, on_drained, NULL);
    rpc_writable(f.rpc);
    CHECK_INT(drained, 0);
    f.net.buffered_bytes = 0;
    rpc_writable(f.rpc);
    rpc_writable(f.rpc);
    CHECK_INT(drained, 1);
    wcp_out_end(download);
    fixture_close(&f);
}

TEST(a_writer_that_waits_is_woken_when_the_call_is_over)
{
    start(NULL);
    fixture_invoke(&f, API "download", RC, test_unhex("05662e62696e03"));
    fixture_inbox(&f, "_INBOX.me.100000.params", NULL, NO_DATA);
    f.net.buffered_bytes = 2u << 20;
    wcp_out_write(download, "abc", 3);
    wcp_out_on_drained(download, on_drained, NULL);
    rpc_disconnected(f.rpc);
    CHECK_INT(drained, 1);
    CHECK(wcp_out_write(download, "abc", 3)); /* discarded */
    wcp_out_end(download);
    fixture_close(&f);
}

TEST(a_writer_that_begins_to_wait_after_the_end_is_woken_at_once)
{
    start(NULL);
    fixture_invoke(&f, API "download", RC, test_unhex("05662e62696e03"));
    rpc_disconnected(f.rpc);
    wcp_out_on_drained(download, on_drained, NULL);
    CHECK_INT(drained, 1);
    wcp_out_end(download);
    fixture_close(&f);
}

TEST(both_directions_run_at_the_same_time)
{
    start(NULL);
    fixture_invoke(&f, API "pipe", RC, test_unhex("00"));
    accepted();
    snprintf(rs_params_0, sizeof rs_params_0, "%s.params.0", rs);
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "00");
    fixture_expect(&f, RC ".results", "");
    for (int i = 0; i < 3; i++) {
        fixture_inbox(&f, rs_params_0, NULL, test_unhex("0178"));
        fixture_expect(&f, RC ".results.0", "0178");
    }
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("00"));
    fixture_expect(&f, RC ".results.0", "00");
    fixture_expect(&f, RC ".results.0", "");
    fixture_close(&f);
}

TEST(a_broken_stream_in_breaks_the_stream_out)
{
    start(NULL);
    fixture_invoke(&f, API "pipe", RC, test_unhex("00"));
    accepted();
    snprintf(rs_params_0, sizeof rs_params_0, "%s.params.0", rs);
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("0178"));
    fixture_inbox(&f, rs_params_0, NULL, NO_DATA);
    fixture_expect(&f, RC ".results", "00");
    fixture_expect(&f, RC ".results", "");
    fixture_expect(&f, RC ".results.0", "0178");
    fixture_expect(&f, RC ".results.0", "");
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(a_lost_connection_ends_every_call_silently)
{
    api.add = api_add_later;
    start(NULL);
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    rpc_disconnected(f.rpc);
    CHECK_INT(upload.status, WCP_ECLOSED);
    vec_api_add_ok(slow_add, 2);
    fixture_pass_ms(&f, 100000);
    fixture_expect_nothing(&f);
    fixture_close(&f);
}

TEST(dropped_messages_fail_every_call_that_they_may_belong_to)
{
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK(rpc_lost(f.rpc, fake_sub(&f.net, "_INBOX.me.>")));
    CHECK_INT(upload.status, WCP_ECLOSED);
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

TEST(late_and_foreign_messages_do_nothing)
{
    start(NULL);
    static const char *const subjects[] = {
        "_INBOX.me.",         "_INBOX.me.zz.params",
        "_INBOX.me.1.params", "_INBOX.me.fffffffffffffffffff.params",
        "_INBOX.me.0",        "_INBOX.me.params"};
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        fixture_inbox(&f, subjects[i], NULL, test_unhex("00"));
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    fixture_expect(&f, RC ".results", "02");
    char odd[256];
    static const char *const tails[] = {"",
                                        ".",
                                        ".params.",
                                        ".params.x",
                                        ".results",
                                        ".params2",
                                        ".params.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        snprintf(odd, sizeof odd, "%s%s", rs, tails[i]);
        fixture_inbox(&f, odd, NULL, test_unhex("00"));
    }
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(leaving_waits_for_what_runs)
{
    api.add = api_add_later;
    start(NULL);
    fixture_invoke(&f, API "add", RC, test_unhex("0101"));
    accepted();
    rpc_leave(f.rpc);
    for (size_t i = 0; i < f.net.sub_count; i++)
        if (f.net.subs[i].left)
            rpc_left(f.rpc, (int)i);
    CHECK(!rpc_idle(f.rpc));
    vec_api_add_ok(slow_add, 2);
    CHECK(!rpc_idle(f.rpc)); /* its end is still owed */
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK(rpc_idle(f.rpc));
    fixture_close(&f);
}

TEST(functions_are_queue_subscribed_one_by_one)
{
    start(NULL);
    int sub = fake_sub(&f.net, "default.me.wrpc.0.0.1.test:vec/api@0.1.0.one-way");
    CHECK_STR(f.net.subs[sub].queue, "default.me");
    for (size_t i = 0; i < f.net.sub_count; i++)
        CHECK(!strstr(f.net.subs[i].subject, "describe")); /* no handler: not served */
    fixture_close(&f);
}

static void ping(struct vec_tests_ping *c)
{
    vec_tests_ping_ok(c, c->p.v + 1);
}

/* Hosts call it without an instance, Rust providers as one of the world (docs/protocol.md). */
TEST(a_function_directly_in_a_world_is_served_without_an_instance_and_with_the_world)
{
    static const struct vec_tests impl = {.ping = ping};
    static const char *const names[] = {"ping", "test:vec/tests@0.1.0.ping"};
    fixture_init(&f, NULL);
    rpc_serve(f.rpc, &(struct wcp_export){&vec_tests_interface, &impl});
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture_invoke(&f, names[i], RC, test_unhex("02"));
        accepted();
        fixture_expect(&f, RC ".results", "03");
        fixture_inbox(&f, rs_params, NULL, NO_DATA);
        fixture_expect(&f, RC ".results", "");
    }
    fixture_close(&f);
}

static struct vec_api_describe *slow_describe;

static void api_describe_later(struct vec_api_describe *c)
{
    slow_describe = c;
}

TEST(parameters_that_come_after_an_empty_invocation_live_until_the_reply)
{
    api.describe = api_describe_later;
    start(NULL);
    fixture_invoke(&f, API "describe", RC, NO_DATA);
    accepted();
    fixture_inbox(&f, rs_params, NULL, test_unhex("03416e6e03ba7f01"));
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK(wcp_str_eq(slow_describe->name, WCP_STR("Ann")));
    vec_api_describe_ok(slow_describe, slow_describe->name);
    fixture_expect(&f, RC ".results", "0003416e6e");
    fixture_expect(&f, RC ".results", "");
    fixture_close(&f);
}

static struct vec_api_upload *slow_upload;

static void api_upload_later(struct vec_api_upload *c)
{
    slow_upload = c;
}

TEST(a_handler_may_start_reading_when_its_call_is_over_already)
{
    static const struct wcp_in_handler handler = {on_upload_data, on_upload_end};
    api.upload = api_upload_later;
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("03616263"));
    rpc_disconnected(f.rpc);
    upload = (struct upload){.c = slow_upload, .status = 1};
    wcp_in_start(slow_upload->data.in, &handler, &upload);
    CHECK_INT(upload.status, WCP_ECLOSED);
    fixture_close(&f);
}

TEST(a_handler_need_not_start_reading_when_its_call_is_over)
{
    api.upload = api_upload_later;
    start(NULL);
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("03616263"));
    rpc_disconnected(f.rpc);
    vec_api_upload_ok(slow_upload, 3);
    fixture_close(&f);
}

static void on_early_end(void *ctx, int status)
{
    ((struct upload *)ctx)->status = status;
}

static void api_upload_answer_first(struct vec_api_upload *c)
{
    static const struct wcp_in_handler handler = {on_upload_data, on_early_end};
    upload = (struct upload){.c = c, .status = 1};
    wcp_in_start(c->data.in, &handler, &upload);
    vec_api_upload_ok(c, 7);
}

TEST(a_reader_that_goes_on_after_the_reply_is_ended_when_the_caller_is_silent)
{
    api.upload = api_upload_answer_first;
    start(&(struct wcp_limits){.call_ms = 100});
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    fixture_pass_ms(&f, 100);
    CHECK_INT(upload.status, WCP_ETIMEOUT);
    fixture_close(&f);
}

/* A writer that always has more. */
struct writer {
    struct wcp_out *out;
    int turns;
};

static void take_turn(void *ctx)
{
    struct writer *w = ctx;
    w->turns++;
    f.net.buffered_bytes = 2u << 20;
    if (!wcp_out_write(w->out, "abc", 3))
        wcp_out_on_drained(w->out, take_turn, w);
}

TEST(writers_take_turns_when_the_transport_is_full)
{
    struct writer w[3] = {{0}};
    start(NULL);
    for (int i = 0; i < 3; i++) {
        fixture_invoke(&f, API "download", RC, test_unhex("05662e62696e03"));
        f.net.seen = f.net.count - 1;
        accepted();
        fixture_inbox(&f, rs_params, NULL, NO_DATA);
        w[i].out = download;
        take_turn(&w[i]);
    }
    for (int i = 0; i < 6; i++) {
        f.net.buffered_bytes = 0;
        rpc_writable(f.rpc);
    }
    for (int i = 0; i < 3; i++)
        CHECK_INT(w[i].turns, 3);
    rpc_disconnected(f.rpc);
    for (int i = 0; i < 3; i++)
        wcp_out_end(w[i].out);
    fixture_close(&f);
}

static uint64_t numbers, number_sum;

static void on_numbers(void *ctx, const void *items, size_t n)
{
    numbers += n;
    for (size_t i = 0; i < n; i++)
        number_sum += ((const uint32_t *)items)[i];
}

static void on_numbers_end(void *ctx, int status)
{
    CHECK_INT(status, 0);
    vec_api_nums_ok(ctx, (union wcp_async){.out = NULL});
}

static void api_nums(struct vec_api_nums *c)
{
    static const struct wcp_in_handler handler = {on_numbers, on_numbers_end};
    wcp_in_start(c->s.in, &handler, c);
}

TEST(a_message_full_of_small_values_is_not_copied_for_each_of_them)
{
    api.nums = api_nums;
    start(NULL);
    fixture_invoke(&f, API "nums", RC, test_unhex("00"));
    accepted();
    snprintf(rs_params_0, sizeof rs_params_0, "%s.params.0", rs);
    static uint8_t chunk[1000003] = {0xc0, 0x84, 0x3d}; /* 1,000,000 */
    memset(chunk + 3, 5, 1000000);
    fixture_inbox(&f, rs_params_0, NULL, (struct wcp_bytes){chunk, sizeof chunk});
    CHECK_INT(numbers, 1000000);
    CHECK_INT(number_sum, 5000000);
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("00"));
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    fixture_close(&f);
}

TEST(a_reader_that_keeps_up_does_not_fail_for_those_that_do_not)
{
    api.nums = api_nums;
    hold_upload = true;
    start(&(struct wcp_limits){.stream_bytes = 100, .stream_total_bytes = 100});
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    uint8_t chunk[100] = {100};
    fixture_inbox(&f, rs_params_0, NULL, (struct wcp_bytes){chunk, 100}); /* nothing is left */
    f.net.seen = f.net.count;
    fixture_invoke(&f, API "nums", RC, test_unhex("00"));
    accepted();
    snprintf(rs_params_0, sizeof rs_params_0, "%s.params.0", rs);
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("0401020304"));
    CHECK_INT(numbers, 4);
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("00"));
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    CHECK_INT(upload.status, 1);
    rpc_disconnected(f.rpc);
    fixture_close(&f);
}

TEST(a_slow_reader_of_bytes_that_are_here_already_makes_progress)
{
    hold_upload = true;
    start(&(struct wcp_limits){.call_ms = 100});
    fixture_invoke(&f, API "upload", RC, test_unhex("05662e62696e00"));
    accepted();
    fixture_inbox(&f, rs_params, NULL, NO_DATA);
    for (int i = 0; i < 10; i++) /* ten chunks */
        fixture_inbox(&f, rs_params_0, NULL, test_unhex("0161"));
    fixture_inbox(&f, rs_params_0, NULL, test_unhex("00"));
    slow_reader = true;
    for (uint64_t i = 0; i < 10; i++) {
        CHECK_INT(upload.bytes, i);
        fixture_pass_ms(&f, 60);
        wcp_in_resume(upload_in);
    }
    fixture_pass_ms(&f, 60);
    wcp_in_resume(upload_in);
    CHECK_INT(upload.status, 0);
    fixture_close(&f);
}

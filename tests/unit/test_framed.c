/* test_framed.c: calls over connections (rpc/framed.c): what a peer can do wrong, limits, and being
 * cut at every step. The cases of shared/vectors/framed-edge-cases.txt are the server's first. */
#include "base/timer.h"
#include "capture.h"
#include "fake_conn.h"
#include "rpc/exchange.h"
#include "rpc_fixture.h"
#include "test.h"
#include "vec_api.h"

static struct fixture f;
static struct fake_conn conn;

/* "test:vec/api@0.1.0" and a function, as a header. */
#define API     "0012746573743a7665632f61706940302e312e30"
#define ADD     API "03616464"
#define UPLOAD  API "0675706c6f6164"
#define NOTHING API "076e6f7468696e67"
#define PIPE    API "0470697065"
#define DOWN    API "08646f776e6c6f6164"
#define FAIL_   API "046661696c"

static unsigned handled;
static struct wcp_call *kept; /* what api_blob_len and api_download do not answer at once */
static struct wcp_in *in;
static struct wcp_out *out;
static size_t bytes;
static int status;
static bool hold;

static void api_add(struct vec_api_add *c)
{
    handled++;
    vec_api_add_ok(c, c->a + c->b);
}

static void api_nothing(struct vec_api_nothing *c)
{
    handled++;
    vec_api_nothing_ok(c);
}

static void api_fail(struct vec_api_fail *c)
{
    handled++;
    wcp_call_fail(&c->call, "as told");
}

static void api_blob_len(struct vec_api_blob_len *c)
{
    handled++;
    if (hold)
        kept = &c->call;
    else
        vec_api_blob_len_ok(c, c->data.len);
}

static void on_data(void *ctx, const void *items, size_t n)
{
    bytes += n;
}

static void on_end(void *ctx, int why)
{
    struct vec_api_upload *c = ctx;
    status = why;
    if (!c)
        return;
    vec_api_upload_ok(c, bytes); /* also of one that broke off, as the recorded server */
}

static const struct wcp_in_handler reader = {on_data, on_end};

static void api_upload(struct vec_api_upload *c)
{
    handled++;
    in = c->data.in;
    if (hold)
        wcp_in_pause(in);
    wcp_in_start(in, &reader, c);
}

static void api_download(struct vec_api_download *c)
{
    handled++;
    out = wcp_out_new(&wcp_u8);
    vec_api_download_ok(c, (union wcp_async){.out = out});
}

/* Answers before it has read. */
static void api_pipe(struct vec_api_pipe *c)
{
    handled++;
    in = c->data.in;
    out = wcp_out_new(&wcp_u8);
    wcp_in_start(in, &reader, NULL);
    vec_api_pipe_ok(c, (union wcp_async){.out = out});
}

static const struct vec_api api = {.add = api_add,
                                   .nothing = api_nothing,
                                   .fail = api_fail,
                                   .blob_len = api_blob_len,
                                   .upload = api_upload,
                                   .download = api_download,
                                   .pipe = api_pipe};

static void start(const struct wcp_limits *limits)
{
    capture_start();
    fixture_init(&f, limits);
    rpc_serve(f.rpc, &(struct wcp_export){&vec_api_interface, &api});
    status = 1;
}

static void connect(struct fake_conn *c)
{
    fake_conn_init(c);
    rpc_accept(f.rpc, &c->conn, "peer", "default");
}

static void feed_to(struct fake_conn *c, const char *hex)
{
    struct wcp_bytes data = test_unhex(hex);
    fake_conn_feed(c, data, 0);
}

static void feed(const char *hex)
{
    feed_to(&conn, hex);
}

static void eof(void)
{
    fake_conn_eof(&conn);
}

/* All that was sent, after which our direction ended. */
static void sends(const char *hex)
{
    CHECK_HEX(((struct wcp_bytes){conn.sent.ptr, conn.sent.len}), hex);
    CHECK(conn.shut);
}

static void finish(void)
{
    fake_conn_free(&conn);
    fixture_close(&f);
}

/* A caller's bytes in one piece, what we answer, and how often a handler ran. */
static void exchange(const char *hex, bool half_close, const char *answer, unsigned times)
{
    start(NULL);
    connect(&conn);
    feed(hex);
    if (half_close)
        eof();
    sends(answer);
    CHECK_INT(handled, times);
    CHECK(conn.closed);
    finish();
}

/* Is cut off without a byte and without an orderly end. */
static void dropped(const char *hex, const char *why)
{
    start(NULL);
    connect(&conn);
    feed(hex);
    CHECK(conn.closed && !conn.shut && !conn.sent.len);
    CHECK_LOGGED(why);
    CHECK_INT(handled, 0);
    finish();
}

/* --- the recorded edge cases --- */

TEST(a_call_is_answered_with_or_without_the_callers_half_close)
{
    exchange(ADD "000302ac02", true, "0002ae02", 1);
}
TEST(a_call_is_answered_without_the_callers_half_close)
{
    exchange(ADD "000302ac02", false, "0002ae02", 1);
}
TEST(parameters_may_come_in_several_frames_with_empty_ones_between)
{
    exchange(ADD "0000"
                 "000102"
                 "0000"
                 "0001ac"
                 "000102",
             false, "0002ae02", 1);
}
TEST(a_function_without_parameters_starts_with_its_header)
{
    exchange(NOTHING, false, "", 1); /* where the recorded server waits */
}
TEST(a_function_without_parameters_may_have_an_empty_frame)
{
    start(NULL);
    connect(&conn);
    feed(NOTHING "0000");
    eof();
    sends("");
    finish();
}
TEST(incomplete_parameters_are_not_answered)
{
    exchange(ADD "000102", true, "", 0);
    CHECK_LOGGED("its parameters are malformed: b: 1 more byte is needed");
}
TEST(malformed_parameters_are_not_answered)
{
    exchange(ADD "0006ffffffffff00", false, "", 0);
    CHECK_LOGGED("a: integer does not fit in 32 bits");
}
TEST(another_version_is_dropped)
{
    dropped("01", "version 1 of wRPC's framing, 0 expected");
}
TEST(an_unknown_function_is_dropped)
{
    dropped(API "046e6f7065", "nope is not served, of test:vec/api@0.1.0");
}
TEST(an_unknown_instance_is_dropped)
{
    dropped("00017803616464", "add is not served, of x");
}
TEST(a_frame_on_a_path_that_is_no_stream_fails_the_call)
{
    exchange(ADD "010501"
                 "ff"
                 "000302ac02",
             false, "", 0);
    CHECK_LOGGED("a frame's path is not one of its streams or futures");
}
TEST(a_frame_on_a_path_that_is_no_stream_fails_the_call_behind_its_parameters_too)
{
    hold = true;
    start(NULL);
    connect(&conn);
    feed(UPLOAD "000401ff"
                "6100"); /* the name is one byte that is no UTF-8 */
    CHECK(conn.closed && conn.shut && !conn.sent.len);
    finish();
}
TEST(stream_bytes_may_come_before_what_announces_them)
{
    exchange(UPLOAD "01010402616200"
                    "0003016100",
             true, "000102", 1);
    CHECK_INT(status, 0);
}
TEST(a_chunk_may_be_split_over_frames)
{
    exchange(UPLOAD "0003016100"
                    "0101020761"
                    "010103626364"
                    "01010465666700",
             true, "000107", 1);
}
TEST(a_half_close_without_the_end_mark_breaks_the_stream_off)
{
    exchange(UPLOAD "0003016100"
                    "010103026162",
             true, "000102", 1);
    CHECK_INT(status, WCP_ECLOSED);
}
TEST(a_half_close_inside_a_chunk_breaks_the_stream_off)
{
    exchange(UPLOAD "0003016100"
                    "0101020561",
             true, "000101", 1);
    CHECK_INT(status, WCP_ECLOSED);
}
TEST(a_half_close_inside_a_frame_breaks_the_stream_off)
{
    exchange(UPLOAD "0003016100"
                    "01010a09",
             true, "000100", 1);
    CHECK_INT(status, WCP_ECLOSED);
}
TEST(numbers_of_frames_may_be_longer_than_necessary)
{
    exchange(ADD "8000830002ac02", true, "0002ae02", 1);
}
TEST(data_behind_the_end_of_a_stream_is_ignored)
{
    exchange(UPLOAD "0003016100"
                    "01010402616200"
                    "01010401616200",
             true, "000102", 1);
    CHECK_INT(status, 0);
}
TEST(data_behind_the_parameters_is_ignored)
{
    exchange(ADD "000502ac02ffff", true, "0002ae02", 1);
}
TEST(a_failed_call_is_an_end_without_a_byte)
{
    exchange(FAIL_ "000107", true, "", 1);
}

/* --- limits --- */

/* add's header with names of that length, in a frame of its own. */
static void name_of(size_t instance, size_t function)
{
    struct wcp_buf b = {0};
    char *text = wcp_calloc(1, instance + function + 1);
    memset(text, 'n', instance + function);
    wcp_buf_put(&b, "", 1);
    codec_put_leb(&b, instance);
    wcp_buf_put(&b, text, instance);
    codec_put_leb(&b, function);
    wcp_buf_put(&b, text, function);
    start(NULL);
    connect(&conn);
    fake_conn_feed(&conn, (struct wcp_bytes){b.ptr, b.len}, 0);
    CHECK(conn.closed && !conn.shut);
    wcp_buf_free(&b);
    free(text);
    finish();
}

TEST(names_are_read_up_to_their_limit)
{
    name_of(FRAME_NAME_MAX - 1, 1);
    CHECK_LOGGED("is not served");
    name_of(FRAME_NAME_MAX, FRAME_NAME_MAX);
    CHECK_LOGGED("is not served");
    name_of(FRAME_NAME_MAX + 1, 1);
    CHECK_LOGGED("an instance name of 513 bytes, at most 512 expected");
    name_of(1, FRAME_NAME_MAX + 1);
    CHECK_LOGGED("a function name of 513 bytes, at most 512 expected");
}

static void path_of(unsigned depth)
{
    struct wcp_buf b = {0};
    struct wcp_bytes header = test_unhex(ADD);
    wcp_buf_put(&b, header.ptr, header.len);
    codec_put_leb(&b, depth);
    for (unsigned i = 0; i < depth; i++)
        codec_put_leb(&b, UINT32_MAX);
    wcp_buf_put(&b, "\1x", 2);
    start(NULL);
    connect(&conn);
    fake_conn_feed(&conn, (struct wcp_bytes){b.ptr, b.len}, 1);
    CHECK(conn.closed && !conn.sent.len);
    wcp_buf_free(&b);
    finish();
}

TEST(paths_are_read_up_to_their_limit)
{
    path_of(PATH_MAX_DEPTH - 1);
    CHECK_LOGGED("not one of its streams");
    path_of(PATH_MAX_DEPTH);
    CHECK_LOGGED("not one of its streams");
    path_of(PATH_MAX_DEPTH + 1);
    char want[80];
    snprintf(want, sizeof want, "a frame's path of %d elements, at most %d expected",
             PATH_MAX_DEPTH + 1, PATH_MAX_DEPTH);
    CHECK_LOGGED(want);
}

/* blob-len with n bytes in one frame, or in frames of `each` bytes. */
static void blob_of(size_t n, size_t each)
{
    struct wcp_buf b = {0}, data = {0};
    struct wcp_bytes header = test_unhex(API "08626c6f622d6c656e");
    uint8_t head[FRAME_HEAD_MAX];
    codec_put_leb(&data, n);
    while (n--)
        wcp_buf_put(&data, "x", 1);
    wcp_buf_put(&b, header.ptr, header.len);
    for (size_t at = 0; at < data.len; at += each) {
        size_t k = data.len - at < each ? data.len - at : each;
        wcp_buf_put(&b, head, frames_put_head(head, NULL, k));
        wcp_buf_put(&b, data.ptr + at, k);
    }
    start(&(struct wcp_limits){.message_bytes = 1000});
    connect(&conn);
    fake_conn_feed(&conn, (struct wcp_bytes){b.ptr, b.len}, 10);
    wcp_buf_free(&b);
    wcp_buf_free(&data);
    finish();
}

TEST(parameters_are_taken_up_to_their_limit)
{
    blob_of(997, 2000); /* and two bytes of length */
    CHECK_INT(handled, 1);
    blob_of(998, 2000);
    CHECK_INT(handled, 2);
    blob_of(999, 2000);
    CHECK_INT(handled, 2);
    CHECK_LOGGED("at least 1001 bytes, the limit is 1000");
    blob_of(998, 7);
    CHECK_INT(handled, 3);
    blob_of(999, 7);
    CHECK_INT(handled, 3);
}

TEST(an_announced_length_costs_nothing)
{
    start(NULL);
    connect(&conn);
    feed(API "08626c6f622d6c656e"
             "00ffffffff0f"
             "01");
    CHECK(conn.closed);
    CHECK_LOGGED("the limit is 268435456");
    finish();
}

TEST(connections_are_taken_up_to_the_limit_of_open_calls)
{
    struct fake_conn c[4];
    start(&(struct wcp_limits){.open_calls = 3});
    hold = true;
    for (size_t i = 0; i < 3; i++) {
        connect(&c[i]);
        CHECK(!c[i].closed);
    }
    feed_to(&c[0], UPLOAD "0003016100"); /* one of them is a call */
    connect(&c[3]);
    CHECK(c[3].closed && !c[3].shut);
    fake_conn_free(&c[3]);
    connect(&c[3]);
    CHECK(c[3].closed);
    fake_conn_free(&c[3]);
    CHECK_INT(capture_count("connections are refused: 3 calls are open, the limit is 3"), 2);
    fake_conn_eof(&c[1]);
    CHECK(c[1].closed);
    connect(&c[3]);
    CHECK(!c[3].closed);
    feed_to(&c[3], ADD "000302ac02");
    CHECK(c[3].closed && c[3].shut);
    rpc_abort(f.rpc);
    for (size_t i = 0; i < 4; i++)
        fake_conn_free(&c[i]);
    fixture_close(&f);
}

TEST(a_header_has_a_deadline_however_slowly_it_comes)
{
    start(&(struct wcp_limits){.call_ms = 1000});
    connect(&conn);
    for (unsigned i = 0; i < 9; i++) {
        CHECK(!conn.closed);
        feed(i == 0 ? "00" : i == 1 ? "12" : "74");
        fixture_pass_ms(&f, 110);
    }
    fixture_pass_ms(&f, 20);
    CHECK(conn.closed);
    CHECK_LOGGED("its header did not come in time");
    finish();
}

TEST(parameters_have_a_deadline_unless_they_make_progress)
{
    static uint8_t much[16384];
    start(&(struct wcp_limits){.call_ms = 1000});
    connect(&conn);
    feed(API "08626c6f622d6c656e"
             "0083c002"
             "808001"); /* 32768 bytes */
    for (int i = 0; i < 9; i++) {
        fixture_pass_ms(&f, 100);
        feed("78"); /* too little to count */
    }
    fake_conn_feed(&conn, (struct wcp_bytes){much, sizeof much}, 0);
    CHECK(!conn.closed);
    for (int i = 0; i < 9; i++) {
        fixture_pass_ms(&f, 100);
        feed("78");
    }
    CHECK(!conn.closed);
    fixture_pass_ms(&f, 101);
    CHECK(conn.closed && !conn.sent.len && !handled);
    CHECK_LOGGED("its parameters are incomplete, nothing came for 1000 ms");
    finish();
}

/* --- back-pressure --- */

static void feed_chunk(size_t n)
{
    struct wcp_buf b = {0};
    uint8_t *data = wcp_calloc(1, n), head[FRAME_HEAD_MAX];
    codec_put_leb(&b, n);
    wcp_buf_put(&b, data, n);
    size_t k = frames_put_head(head, &(struct path){.at = {1}, .n = 1}, b.len);
    fake_conn_feed(&conn, (struct wcp_bytes){head, k}, 0);
    fake_conn_feed(&conn, (struct wcp_bytes){b.ptr, b.len}, 0);
    wcp_buf_free(&b);
    free(data);
}

TEST(a_paused_reader_stops_the_connection_and_not_the_call)
{
    start(&(struct wcp_limits){.stream_bytes = 1000, .stream_total_bytes = 2000});
    hold = true;
    connect(&conn);
    feed(UPLOAD "0003016100");
    for (int i = 0; i < 40 && !conn.stopped; i++)
        feed_chunk(900); /* above the limits of streams on subjects */
    CHECK(conn.stopped);
    CHECK_INT(bytes, 0);
    wcp_in_resume(in);
    CHECK(!conn.stopped);
    CHECK(bytes > 0 && bytes % 900 == 0);
    size_t before = bytes;
    feed_chunk(100);
    CHECK_INT(bytes, before + 100);
    CHECK(!conn.stopped);
    feed("01010100");
    CHECK_INT(status, 0);
    CHECK(conn.shut);
    eof();
    finish();
}

TEST(a_reader_that_keeps_up_never_stops_the_connection)
{
    start(NULL);
    connect(&conn);
    feed(UPLOAD "0003016100");
    for (int i = 0; i < 100; i++) {
        feed_chunk(50000);
        CHECK(!conn.stopped);
    }
    CHECK_INT(bytes, 5000000);
    CHECK_INT(f.rpc->stream_bytes, 0);
    feed("01010100");
    finish();
}

TEST(a_value_that_is_not_complete_does_not_stop_the_connection)
{
    /* A reader that has not paused waits for bytes: not reading would be for ever. */
    start(NULL);
    connect(&conn);
    feed(UPLOAD "0003016100"
                "010102ffff"); /* the beginning of a chunk's length */
    CHECK(!conn.stopped);
    eof();
    finish();
}

static bool drained;
static void on_drained(void *ctx)
{
    drained = true;
}

TEST(a_writer_waits_for_its_own_connection_only)
{
    struct fake_conn other;
    start(NULL);
    connect(&other);
    feed_to(&other, DOWN "00050362696e03");
    struct wcp_out *others = out;
    connect(&conn);
    feed(DOWN "00050362696e03");
    conn.kept = (256u << 10) - 1;
    CHECK(wcp_out_write(out, "x", 1));
    conn.kept = 256u << 10;
    CHECK(!wcp_out_write(out, "x", 1));
    CHECK(wcp_out_write(others, "x", 1));
    wcp_out_on_drained(out, on_drained, NULL);
    rpc_conn_sent(&other.conn);
    rpc_writable(f.rpc);
    CHECK(!drained);
    conn.kept = 0;
    rpc_conn_sent(&conn.conn);
    CHECK(drained);
    wcp_out_end(out);
    wcp_out_abort(others);
    CHECK(other.closed || other.shut);
    sends("00010001000201780100020178010001"
          "00");
    /* One that breaks off is left inside a chunk. */
    CHECK_HEX(((struct wcp_bytes){other.sent.ptr, other.sent.len}), "0001000100020178"
                                                                    "01000101");
    fake_conn_eof(&other);
    fake_conn_free(&other);
    eof();
    finish();
}

/* --- ends --- */

TEST(a_caller_that_vanishes_before_the_answer_cancels_its_call)
{
    start(NULL);
    hold = true;
    connect(&conn);
    feed(API "08626c6f622d6c656e00020178");
    CHECK(handled == 1 && kept);
    rpc_conn_lost(&conn.conn, WCP_ECLOSED, "connection reset by peer");
    CHECK(conn.closed);
    CHECK_LOGGED("connection reset by peer");
    CHECK_INT(rpc_running(f.rpc), 1); /* the handler owes its reply */
    vec_api_blob_len_ok((struct vec_api_blob_len *)kept, 1);
    CHECK_INT(conn.sent.len, 0);
    finish();
}

TEST(a_caller_that_vanishes_after_the_answer_is_no_failure)
{
    start(NULL);
    connect(&conn);
    feed(PIPE "000100");
    CHECK_INT(handled, 1);
    rpc_conn_lost(&conn.conn, WCP_ECLOSED, "connection reset by peer");
    CHECK_INT(status, WCP_ECLOSED);
    CHECK(wcp_out_write(out, "x", 1)); /* is discarded */
    wcp_out_end(out);
    CHECK_INT(fixture_failed(&f, true), 0);
    CHECK_INT(capture_count("not served"), 0);
    finish();
}

TEST(both_directions_end_by_themselves)
{
    start(NULL);
    connect(&conn);
    feed(PIPE "000100");
    eof(); /* without an end mark */
    CHECK_INT(status, WCP_ECLOSED);
    CHECK(!conn.shut);
    wcp_out_write(out, "ab", 2);
    wcp_out_end(out);
    sends("000100"
          "010003026162"
          "01000100");
    finish();
}

TEST(the_loss_of_nats_does_not_touch_connections)
{
    start(NULL);
    connect(&conn);
    feed(PIPE "000100");
    rpc_disconnected(f.rpc);
    rpc_lost(f.rpc, fake_sub(&f.net, "_INBOX.me.>"));
    CHECK(!conn.closed);
    feed("01000100");
    wcp_out_end(out);
    CHECK_INT(status, 0);
    eof();
    finish();
}

TEST(leaving_waits_a_little_for_headers_that_are_on_their_way)
{
    struct fake_conn silent;
    start(NULL);
    connect(&conn);
    connect(&silent);
    rpc_leave(f.rpc);
    for (size_t i = 0; i < f.rpc->served_count; i++)
        rpc_left(f.rpc, f.rpc->served[i].sub);
    CHECK(!rpc_idle(f.rpc));
    feed(ADD "000302ac02");
    sends("0002ae02");
    CHECK(!rpc_idle(f.rpc));
    fixture_pass_ms(&f, 100);
    CHECK(silent.closed);
    CHECK(rpc_idle(f.rpc));
    fake_conn_free(&silent);
    finish();
}

TEST(a_call_without_its_link_waits_and_then_ends_without_a_byte)
{
    start(NULL);
    f.no_link = true;
    connect(&conn);
    feed(ADD "000302ac02");
    CHECK(!conn.closed && !handled);
    fixture_pass_ms(&f, 500);
    sends("");
    CHECK_LOGGED("no link 'default' from 'peer' to 'me'");
    finish();
}

/* --- the client --- */

static unsigned dones;
static int done_status;
static uint32_t sum;
static struct wcp_in *got;

static void on_add(void *ctx, const uint32_t *r, int why)
{
    dones++;
    done_status = why;
    sum = r ? *r : 0;
}

static void on_nothing(void *ctx, int why)
{
    dones++;
    done_status = why;
}

static void on_pipe(void *ctx, const union wcp_async *r, int why)
{
    dones++;
    done_status = why;
    got = r ? r->in : NULL;
    if (got)
        wcp_in_start(got, &reader, NULL);
}

static size_t function(const char *name)
{
    for (size_t i = 0; i < vec_api_interface.count; i++)
        if (strcmp(vec_api_interface.funcs[i].name, name) == 0)
            return i;
    FAIL("no function %s", name);
}

static struct wcp_outgoing *call(const char *name, const void *params, void (*done)(void))
{
    fake_conn_init(&conn);
    return rpc_invoke_conn(f.rpc, &conn.conn, &vec_api_interface, function(name), params, done,
                           NULL);
}

static struct wcp_outgoing *call_add(void)
{
    return call("add", &(struct vec_api_add){.a = 2, .b = 300}, (void (*)(void))on_add);
}

static struct wcp_outgoing *call_pipe(void)
{
    out = wcp_out_new(&wcp_u8);
    return call("pipe", &(struct vec_api_pipe){.data.out = out}, (void (*)(void))on_pipe);
}

TEST(a_call_is_header_and_parameters_and_the_end)
{
    start(NULL);
    call_add();
    sends(ADD "000302ac02");
    CHECK_INT(dones, 0);
    feed("0002ae02");
    CHECK(dones == 1 && done_status == 0 && sum == 302);
    CHECK(conn.closed);
    finish();
}

TEST(a_call_without_a_result_has_succeeded_at_the_peers_end)
{
    start(NULL);
    call("nothing", &(struct vec_api_nothing){.call = {0}}, (void (*)(void))on_nothing);
    sends(NOTHING "0000");
    feed("000101"); /* means nothing */
    CHECK_INT(dones, 0);
    eof();
    CHECK(dones == 1 && done_status == 0);
    finish();
}

static void fails_with(int want, const char *why)
{
    CHECK_INT(dones, 1);
    CHECK_INT(done_status, want);
    CHECK_LOGGED(why);
    finish();
}

TEST(a_peer_that_ends_without_an_answer_fails_the_call)
{
    start(NULL);
    call_add();
    eof();
    fails_with(WCP_ECLOSED, "the peer ended it without an answer");
}

TEST(a_peer_that_ends_within_its_answer_fails_the_call)
{
    start(NULL);
    call_add();
    feed("0001ae");
    eof();
    fails_with(WCP_ECLOSED, "1 more byte is needed");
}

TEST(a_peer_that_ends_within_a_frame_fails_the_call)
{
    start(NULL);
    call_add();
    feed("0002ae");
    eof();
    fails_with(WCP_ECLOSED, "1 more byte is needed");
}

TEST(an_answer_on_a_path_that_is_no_stream_fails_the_call)
{
    start(NULL);
    call_add();
    feed("010001ae");
    fails_with(WCP_EPROTO, "not one of its streams");
}

TEST(a_connection_that_is_refused_is_told)
{
    start(NULL);
    call_add();
    rpc_conn_lost(&conn.conn, WCP_ENOENT, "connection refused");
    fails_with(WCP_ENOENT, "connection refused");
}

TEST(a_peer_that_does_not_answer_is_given_up_at_the_deadline)
{
    start(&(struct wcp_limits){.call_ms = 1000});
    call_add();
    fixture_pass_ms(&f, 999);
    CHECK_INT(dones, 0);
    fixture_pass_ms(&f, 1);
    fails_with(WCP_ETIMEOUT, "no answer came for 1000 ms");
}

TEST(a_cancelled_call_closes_its_connection)
{
    start(NULL);
    wcp_cancel(call_add());
    CHECK(conn.closed && !dones);
    finish();
}

TEST(streams_go_on_after_the_answer)
{
    start(NULL);
    call_pipe();
    CHECK(!conn.shut);
    feed("000100");
    CHECK(dones == 1 && got && !conn.closed);
    wcp_out_write(out, "ab", 2);
    feed("010003026364");
    CHECK_INT(bytes, 2);
    wcp_out_end(out);
    sends(PIPE "000100"
               "010003026162"
               "01000100");
    CHECK(!conn.closed);
    feed("01000100");
    CHECK_INT(status, 0);
    finish();
}

TEST(a_peer_that_does_not_want_the_stream_may_reset_after_its_answer)
{
    start(NULL);
    call_pipe();
    feed("000100"
         "01000100");
    CHECK_INT(status, 0);
    CHECK(!conn.closed); /* our stream goes on */
    rpc_conn_lost(&conn.conn, WCP_ECLOSED, "broken pipe");
    CHECK(conn.closed);
    CHECK_INT(capture_count("failed"), 0);
    wcp_out_write(out, "x", 1);
    wcp_out_end(out);
    finish();
}

TEST(a_long_parameter_is_cut_into_frames)
{
    start(NULL);
    size_t n = 2 * FRAME_DATA_MAX + 5;
    uint8_t *data = wcp_calloc(1, n);
    call("blob-len", &(struct vec_api_blob_len){.data = {data, n}}, (void (*)(void))on_add);
    struct frames frames = {0};
    struct frame_piece p;
    struct wcp_bytes sent = {conn.sent.ptr, conn.sent.len};
    struct wcp_str instance, name;
    size_t total = 0, count = 0;
    CHECK_INT(frames_header(&frames, &sent, &instance, &name, NULL), 0);
    for (; frames_next(&frames, &sent, &p, NULL) == 0; count++) {
        CHECK(p.data.len <= FRAME_DATA_MAX && !p.path.n);
        total += p.data.len;
    }
    CHECK_INT(count, 3);
    CHECK_INT(total, n + 4);
    free(data);
    rpc_abort(f.rpc);
    frames_close(&frames);
    finish();
}

/* --- being cut at each step --- */

enum cut { LOST, ENDED, ABORTED, TIMED_OUT, CUTS };

static void cut_now(enum cut how)
{
    switch (how) {
    case LOST:
        if (!conn.closed)
            rpc_conn_lost(&conn.conn, WCP_ECLOSED, "cut");
        return;
    case ENDED: eof(); return;
    case ABORTED: rpc_abort(f.rpc); return;
    default: fixture_pass_ms(&f, 2001); return;
    }
}

/* After that everything must be over, whatever was open. */
static void wind_up(void)
{
    fixture_pass_ms(&f, 1001);
    if (out)
        wcp_out_end(out);
    fixture_pass_ms(&f, 5000);
    if (!conn.closed) /* a stream that its reader holds */
        rpc_abort(f.rpc);
    fake_conn_free(&conn);
    fixture_close(&f);
    out = NULL;
    in = got = NULL;
    bytes = dones = 0;
}

TEST(a_served_call_may_be_cut_behind_each_byte)
{
    struct wcp_bytes all = test_unhex(PIPE "000100"
                                           "010003026162"
                                           "01000100");
    for (enum cut how = 0; how < CUTS; how++)
        for (size_t n = 0; n <= all.len; n++) {
            start(&(struct wcp_limits){.call_ms = 1000});
            connect(&conn);
            fake_conn_feed(&conn, (struct wcp_bytes){all.ptr, n}, 0);
            cut_now(how);
            CHECK_INT(handled > 0, n >= all.len - 10); /* what is behind 000100 */
            if (handled)
                CHECK(status <= 0);
            handled = 0;
            wind_up();
        }
}

TEST(an_outgoing_call_may_be_cut_behind_each_byte)
{
    struct wcp_bytes all = test_unhex("000100"
                                      "010003026162"
                                      "01000100");
    for (enum cut how = 0; how < CUTS; how++)
        for (size_t n = 0; n <= all.len; n++) {
            start(&(struct wcp_limits){.call_ms = 1000});
            call_pipe();
            fake_conn_feed(&conn, (struct wcp_bytes){all.ptr, n}, 0);
            cut_now(how);
            CHECK_INT(dones, 1); /* once */
            CHECK_INT(done_status == 0, n >= 3);
            CHECK(n < 3 || status <= 0);
            wind_up();
        }
}

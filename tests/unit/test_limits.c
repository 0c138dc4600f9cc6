/* test_limits.c: every limit of the core just below it, at it and just above it, on the fake
 * transport (design.md, provider.h). A row says what is tried with which amount; what exceeds a
 * limit must fail alone, and leave nothing behind. */
#include "capture.h"
#include "lattice/links.h"
#include "rpc/exchange.h"
#include "rpc_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define RC       "_INBOX.caller.1"
#define RS       "_INBOX.peer.7"
#define NO_DATA  ((struct wcp_bytes){0})

static struct fixture f;

/* --- an interface whose functions do nothing of their own --- */

#define DEPTH 17
static const struct wcp_type list_string = {WCP_LIST, .size = 16, .elem = &wcp_string};
static const struct wcp_type stream_u8 = {WCP_STREAM, true, 0, 8, NULL, &wcp_u8};
static const struct wcp_type future_u8 = {WCP_FUTURE, true, 0, 8, NULL, &wcp_u8};
static const struct wcp_type stream_future = {WCP_STREAM, true, 0, 8, NULL, &future_u8};
static const struct wcp_type list_stream = {WCP_LIST, true, 0, 16, NULL, &stream_u8};
static const struct wcp_type stream_list = {WCP_STREAM, true, 0, 8, NULL, &list_string};
static struct wcp_type nested[DEPTH]; /* nested[n]: n + 1 streams, one in the other, of bytes */

struct call { /* every function's: one parameter */
    struct wcp_call call;
    _Alignas(8) char value[16];
};
enum { TEXTS, BYTES, FUTURES, STREAMS, LISTS, NESTED, FUNCTIONS };
static const char *const names[FUNCTIONS] = {"texts",   "bytes", "futures",
                                             "streams", "lists", "nested"};
static const struct wcp_type *const param_types[FUNCTIONS] = {
    &list_string, &stream_u8, &stream_future, &list_stream, &stream_list, NULL};
static struct wcp_field fields[FUNCTIONS];
static struct wcp_type params[FUNCTIONS];
static struct wcp_func funcs[FUNCTIONS];
static const struct wcp_interface interface = {.name = "test:limits/all",
                                               .funcs = funcs,
                                               .count = FUNCTIONS,
                                               .handlers = (uint32_t[FUNCTIONS]){0}};

static struct call *calls[10]; /* that wait for their reply */
static size_t call_count;
static bool answer_at_once;
static size_t result_bytes; /* of the answers */

static void answer(struct call *c)
{
    uint8_t *p = wcp_alloc(&c->call.arena, result_bytes, 1);
    wcp_reply(&c->call, &(struct wcp_bytes){p, result_bytes});
}

static void invoke(const void *impl, struct wcp_call *c)
{
    calls[call_count++] = (struct call *)c;
    if (answer_at_once)
        answer(calls[call_count - 1]);
}

static int done_status;
static void deliver(void (*done)(void), void *ctx, const void *result, int status)
{
    done_status = status;
}

static void nobody(void)
{
}
static void (*const handler)(void) = nobody;

static void begin(struct wcp_limits limits)
{
    for (size_t i = 0; i < DEPTH; i++)
        nested[i] = (struct wcp_type){WCP_STREAM, true, 0, 8, NULL, i ? &nested[i - 1] : &wcp_u8};
    for (size_t i = 0; i < FUNCTIONS; i++) {
        const struct wcp_type *t = param_types[i] ? param_types[i] : &nested[DEPTH - 1];
        fields[i] = (struct wcp_field){"v", t, offsetof(struct call, value)};
        params[i] = (struct wcp_type){.kind = WCP_RECORD,
                                      .async = t->async,
                                      .count = 1,
                                      .size = sizeof(struct call),
                                      .fields = &fields[i]};
        funcs[i] = (struct wcp_func){
            names[i], sizeof(struct call), &params[i], &wcp_list_u8, invoke, deliver};
    }
    capture_start();
    fixture_init(&f, &limits);
    rpc_serve(f.rpc, &(struct wcp_export){&interface, &handler});
    call_count = 0;
    answer_at_once = false;
    result_bytes = 0;
    done_status = 1;
}

static void finish(void)
{
    rpc_disconnected(f.rpc);
    for (size_t i = 0; i < call_count && !answer_at_once; i++)
        answer(calls[i]);
    CHECK_INT(((struct rpc *)f.rpc)->stream_bytes, 0);
    fixture_close(&f);
}

static struct wcp_buf text; /* what is sent */

static struct wcp_bytes zeros(size_t n, const char *head)
{
    text.len = 0;
    wcp_buf_put(&text, head, strlen(head));
    while (text.len < n)
        wcp_buf_put(&text, "", 1);
    return (struct wcp_bytes){text.ptr, text.len};
}

static char rs[200];

/* Invokes a function, takes the accept, says that we listen. */
static void call(int function, struct wcp_bytes data)
{
    char name[100], subject[240];
    snprintf(name, sizeof name, "test:limits/all.%s", names[function]);
    fixture_invoke(&f, name, RC, data);
    const char *reply = NULL;
    while (!reply) {
        const struct fake_msg *m = fake_take(&f.net);
        CHECK(m != NULL);
        reply = m->reply;
    }
    snprintf(rs, sizeof rs, "%s", reply);
    snprintf(subject, sizeof subject, "%s.params", rs);
    if (data.len)
        fixture_inbox(&f, subject, NULL, NO_DATA);
}

static void channel(const char *path, struct wcp_bytes data)
{
    char subject[400];
    snprintf(subject, sizeof subject, "%s.params%s", rs, path);
    fixture_inbox(&f, subject, NULL, data);
}

/* --- readers --- */

static int ends, end_status;

static size_t elements;

static void on_data(void *ctx, const void *items, size_t n)
{
    elements += n;
}

static void on_end(void *ctx, int status)
{
    ends++;
    end_status = status;
}

static const struct wcp_in_handler reading = {on_data, on_end};

static void reader(size_t i, bool paused)
{
    union wcp_async a;
    memcpy(&a, calls[i]->value, sizeof a);
    if (paused)
        wcp_in_pause(a.in);
    wcp_in_start(a.in, &reading, NULL);
    ends = 0;
    elements = 0;
}

/* --- the rows: does it work with that amount? --- */

static bool message_bytes(size_t n) /* parameters of n bytes */
{
    begin((struct wcp_limits){.message_bytes = 1000});
    struct wcp_bytes all = zeros(n, n == 1000 ? "\1\xe5\7" : n < 1000 ? "\1\xe4\7" : "\1\xe6\7");
    call(TEXTS, all);
    bool served = call_count == 1;
    finish();
    return served;
}

static bool message_bytes_in_pieces(size_t n)
{
    begin((struct wcp_limits){.message_bytes = 1000});
    struct wcp_bytes all = zeros(n, n == 1000 ? "\1\xe5\7" : n < 1000 ? "\1\xe4\7" : "\1\xe6\7");
    call(TEXTS, NO_DATA);
    for (size_t at = 0; at < n; at += 300)
        channel("", (struct wcp_bytes){all.ptr + at, n - at < 300 ? n - at : 300});
    bool served = call_count == 1;
    finish();
    return served;
}

static bool message_bytes_claimed(size_t n) /* are n bytes waited for? */
{
    begin((struct wcp_limits){.message_bytes = 1000});
    uint8_t head[] = {1, (uint8_t)((n - 3) | 0x80), (uint8_t)((n - 3) >> 7)};
    call(TEXTS, NO_DATA);
    channel("", (struct wcp_bytes){head, 3});
    bool waits = !capture_count("at least");
    finish();
    return waits;
}

static bool message_bytes_before_the_link(size_t n)
{
    begin((struct wcp_limits){.message_bytes = 1000});
    f.no_link = true;
    struct wcp_bytes all = zeros(n, n == 1000 ? "\1\xe5\7" : n < 1000 ? "\1\xe4\7" : "\1\xe6\7");
    call(TEXTS, NO_DATA);
    channel("", (struct wcp_bytes){all.ptr, 500});
    channel("", (struct wcp_bytes){all.ptr + 500, n - 500});
    f.no_link = false;
    rpc_link_added(f.rpc);
    bool served = call_count == 1;
    finish();
    return served;
}

static bool result_message_bytes(size_t n) /* the same for what we are answered */
{
    begin((struct wcp_limits){.message_bytes = 1000});
    struct call c = {.value = {0}};
    rpc_invoke(f.rpc, &f.link, &interface, TEXTS, &c, nobody, NULL);
    char subject[240];
    snprintf(subject, sizeof subject, "%s.results", fake_take(&f.net)->reply);
    struct wcp_bytes all = zeros(n, n == 1000 ? "\xe6\7" : n < 1000 ? "\xe5\7" : "\xe7\7");
    fixture_inbox(&f, subject, NULL, all);
    int status = done_status;
    finish();
    CHECK(status == 0 || status == WCP_ETOOBIG);
    return status == 0;
}

static bool arena_bytes(size_t n) /* strings of 16 bytes each */
{
    begin((struct wcp_limits){.arena_bytes = 160});
    const char head[] = {(char)n, 0};
    call(TEXTS, zeros(1 + n, head));
    bool served = call_count == 1;
    if (!served)
        CHECK_LOGGED("do not fit");
    finish();
    return served;
}

static bool open_calls(size_t n)
{
    begin((struct wcp_limits){.open_calls = 3});
    for (size_t i = 0; i < n; i++)
        call(TEXTS, zeros(1, ""));
    bool served = call_count == n;
    finish();
    return served;
}

static bool stream_bytes(size_t n)
{
    begin((struct wcp_limits){.stream_bytes = 100});
    call(BYTES, zeros(1, ""));
    reader(0, true);
    channel(".0", zeros(n, "\x60"));
    bool kept = ends == 0;
    CHECK(kept || end_status == WCP_ETOOBIG);
    finish();
    return kept;
}

static bool stream_total_bytes(size_t n)
{
    begin((struct wcp_limits){.stream_bytes = 100, .stream_total_bytes = 150});
    for (size_t i = 0; i < 2; i++) {
        call(BYTES, zeros(1, ""));
        reader(i, true);
        channel(".0", zeros(i ? n - 90 : 90, "\x60"));
    }
    bool kept = ends == 0;
    finish();
    CHECK_INT(ends, kept ? 2 : 1 + 1); /* the other one went on until the end */
    return kept;
}

static bool stream_bytes_before_the_root(size_t n)
{
    begin((struct wcp_limits){.stream_bytes = 100});
    call(BYTES, NO_DATA);
    channel(".0", zeros(n, "\x60"));
    channel("", zeros(1, ""));
    bool served = call_count == 1;
    finish();
    return served;
}

static bool stream_bytes_before_the_element(size_t n)
{
    begin((struct wcp_limits){.stream_bytes = 100});
    call(FUTURES, zeros(1, ""));
    reader(0, false);
    channel(".0.7", zeros(n, ""));
    bool kept = ends == 0;
    CHECK(kept || end_status == WCP_ETOOBIG);
    finish();
    return kept;
}

static bool channels_before_the_root(size_t n)
{
    char path[40];
    begin((struct wcp_limits){0});
    call(STREAMS, NO_DATA);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, ".0.%zu", i);
        channel(path, zeros(1, ""));
        channel(path, NO_DATA); /* the same one again */
    }
    channel("", zeros(1, ""));
    bool served = call_count == 1;
    finish();
    return served;
}

static bool channels_before_the_element(size_t n)
{
    char path[40];
    begin((struct wcp_limits){0});
    call(FUTURES, zeros(1, ""));
    reader(0, false);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, ".0.%zu", i);
        channel(path, zeros(1, ""));
    }
    bool kept = ends == 0;
    finish();
    return kept;
}

static bool streams_at_once(size_t n) /* list<stream<u8>> of n pending */
{
    begin((struct wcp_limits){0});
    const char head[] = {(char)(n | 0x80), (char)(n >> 7), 0};
    call(STREAMS, zeros(2 + n, head));
    bool served = call_count == 1;
    if (!served)
        CHECK_LOGGED("no more streams or futures are possible");
    finish();
    return served;
}

static void on_started_data(void *ctx, const void *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        wcp_in_start(((const union wcp_async *)items)[i].in, &reading, NULL);
}

static bool started_futures_at_once(size_t n)
{
    static const struct wcp_in_handler starting = {on_started_data, on_end};
    union wcp_async a;
    begin((struct wcp_limits){0});
    call(FUTURES, zeros(1, ""));
    memcpy(&a, calls[0]->value, sizeof a);
    ends = 0;
    wcp_in_start(a.in, &starting, NULL);
    for (size_t i = 1; i < n; i++)
        channel(".0", (struct wcp_bytes){(const uint8_t *)"\1", 2});
    bool kept = ends == 0;
    CHECK(kept || (ends == 1 && end_status == WCP_ETOOBIG));
    finish();
    return kept;
}

static void on_deep(void *ctx, const void *items, size_t n);
static int deepest;
static const struct wcp_in_handler deep = {on_deep, on_end};

static void on_deep(void *ctx, const void *items, size_t n)
{
    wcp_in_start(((const union wcp_async *)items)[0].in, &deep, NULL);
    deepest++;
}

static bool path_depth(size_t n) /* a stream with a path of n numbers */
{
    char path[100] = ".0";
    union wcp_async a;
    begin((struct wcp_limits){0});
    call(NESTED, zeros(1, ""));
    memcpy(&a, calls[0]->value, sizeof a);
    ends = 0;
    deepest = 1;
    wcp_in_start(a.in, &deep, NULL);
    for (size_t i = 1; i < n; i++) {
        channel(path, (struct wcp_bytes){(const uint8_t *)"\1", 2});
        strcat(path, ".0");
    }
    bool reached = deepest == (int)n;
    finish();
    return reached;
}

static bool reply_subject(size_t n)
{
    begin((struct wcp_limits){0});
    char subject[300];
    memset(subject, 'x', sizeof subject);
    subject[n] = '\0';
    fixture_invoke(&f, "test:limits/all.texts", subject, zeros(1, ""));
    bool served = call_count == 1;
    if (!served)
        CHECK_LOGGED("reply subject is too long");
    finish();
    return served;
}

static bool accept_subject(size_t n)
{
    begin((struct wcp_limits){0});
    struct call c = {.value = {0}};
    char subject[300];
    memset(subject, 'x', sizeof subject);
    subject[n] = '\0';
    rpc_invoke(f.rpc, &f.link, &interface, TEXTS, &c, nobody, NULL);
    char rc[200];
    snprintf(rc, sizeof rc, "%s", fake_take(&f.net)->reply);
    fixture_inbox(&f, rc, subject, NO_DATA);
    int status = done_status;
    finish();
    return status == 1;
}

static bool call_ms(size_t n) /* does the handler still have its call? */
{
    begin((struct wcp_limits){.call_ms = 1000});
    call(TEXTS, zeros(1, ""));
    fixture_pass_ms(&f, n);
    bool runs = !capture_count("did not answer");
    finish();
    return runs;
}

static bool link_wait_ms(size_t n)
{
    begin((struct wcp_limits){.link_wait_ms = 50});
    f.no_link = true;
    call(TEXTS, zeros(1, ""));
    fixture_pass_ms(&f, n);
    f.no_link = false;
    rpc_link_added(f.rpc);
    bool served = call_count == 1;
    finish();
    return served;
}

static bool single_message(size_t n) /* is it sent before the caller is heard? */
{
    begin((struct wcp_limits){0});
    f.net.t.max_payload = 500;
    answer_at_once = true;
    result_bytes = n - 2; /* and its length */
    fixture_invoke(&f, "test:limits/all.texts", RC, zeros(1, ""));
    bool at_once = f.net.count == 2;
    finish();
    return at_once;
}

static bool written_before_the_call(size_t n) /* may more be written? */
{
    struct wcp_out *o = wcp_out_new(&wcp_u8);
    bool more = wcp_out_write(o, zeros(n, "").ptr, n);
    wcp_out_free(o);
    return more;
}

static bool unwritten(size_t n)
{
    begin((struct wcp_limits){0});
    struct wcp_out *o = wcp_out_new(&wcp_u8);
    struct call c = {.value = {0}};
    memcpy(c.value, &(union wcp_async){.out = o}, 8);
    rpc_invoke(f.rpc, &f.link, &interface, BYTES, &c, nobody, NULL);
    char rc[200];
    snprintf(rc, sizeof rc, "%s", fake_take(&f.net)->reply);
    fixture_inbox(&f, rc, RS, NO_DATA);
    fixture_pass_ms(&f, 2);
    f.net.buffered_bytes = n;
    bool more = wcp_out_write(o, "a", 1);
    rpc_disconnected(f.rpc);
    wcp_out_end(o);
    finish();
    return more;
}

/* --- links --- */

static struct fake net;
static struct links *links;
static size_t downs;

static void link_down(struct wcp_link *l)
{
    downs++;
}

static void links_begin(struct wcp_limits limits, uint32_t drain_ms)
{
    static struct wcp_provider def = {.name = "test", .link_down = link_down};
    def.limits = limits;
    downs = 0;
    capture_start();
    fake_init(&net);
    links = links_new(
        &(struct links_config){.def = &def, .id = "kv", .transport = &net.t, .drain_ms = drain_ms});
}

static void links_finish(void)
{
    links_drain_all(links, true);
    links_tick(links);
    links_free(links);
    fake_close(&net);
}

static void put_link(const char *name, const char *codec)
{
    struct linkdef l = {.source_id = wcp_str_dup(WCP_STR("comp")),
                        .target = wcp_str_dup(WCP_STR("kv")),
                        .name = wcp_str_dup(wcp_str(name)),
                        .wit_namespace = wcp_str_dup(WCP_STR("test")),
                        .wit_package = wcp_str_dup(WCP_STR("limits"))};
    if (codec)
        config_put(&l.target_config, "wrpc-codec", codec);
    links_put(links, &l);
}

static struct wcp_link *find_link(const char *name)
{
    struct rpc_links l = links_for_rpc(links);
    return l.find(l.ctx, WCP_STR("comp"), wcp_str(name), &interface, &(const char *){NULL});
}

static bool link_count(size_t n)
{
    links_begin((struct wcp_limits){.links = 3}, 0);
    for (size_t i = 0; i < n; i++)
        put_link((char[]){(char)('a' + i), 0}, NULL);
    bool all = links_count(links) == n;
    if (!all)
        CHECK_LOGGED("refused: there are 3 links already, the limit is 3");
    links_finish();
    return all;
}

static bool drain_ms(size_t n) /* is a link with a running call still up? */
{
    links_begin((struct wcp_limits){0}, 100);
    put_link("a", NULL);
    struct wcp_link *l = find_link("a");
    CHECK(l != NULL);
    links_drain_all(links, false);
    net.now_ms += n;
    links_tick(links);
    bool up = downs == 0;
    links_for_rpc(links).release(links, l);
    links_finish();
    CHECK_INT(downs, 1);
    return up;
}

/* --- the table --- */

static const struct {
    const char *name;
    bool (*works)(size_t n);
    size_t limit;
    bool at; /* the limit itself works */
} rows[] = {
    {"message_bytes", message_bytes, 1000, true},
    {"message_bytes in pieces", message_bytes_in_pieces, 1000, true},
    {"message_bytes claimed", message_bytes_claimed, 1000, true},
    {"message_bytes before the link", message_bytes_before_the_link, 1000, true},
    {"message_bytes of a result", result_message_bytes, 1000, true},
    {"arena_bytes", arena_bytes, 10, true},
    {"open_calls", open_calls, 3, true},
    {"stream_bytes", stream_bytes, 100, true},
    {"stream_total_bytes", stream_total_bytes, 150, true},
    {"stream_bytes before the root", stream_bytes_before_the_root, 100, true},
    {"stream_bytes before the element", stream_bytes_before_the_element, 100, true},
    {"channels before the root", channels_before_the_root, 1024, true},
    {"channels before the element", channels_before_the_element, 1024, true},
    {"streams at once", streams_at_once, 4096, true},
    {"started futures at once", started_futures_at_once, 4096, true},
    {"depth of a path", path_depth, PATH_MAX_DEPTH, true},
    {"reply subject", reply_subject, 256, true},
    {"subject of an accept", accept_subject, 256, true},
    {"call_ms", call_ms, 1000, false},
    {"link_wait_ms", link_wait_ms, 50, false},
    {"one message", single_message, 500, true},
    {"written before the call", written_before_the_call, 256 << 10, false},
    {"unwritten", unwritten, 1 << 20, false},
    {"links", link_count, 3, true},
    {"drain_ms", drain_ms, 100, false},
};

TEST(every_limit_below_at_and_above)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t n = rows[i].limit - 1; n <= rows[i].limit + 1; n++) {
            bool want = n < rows[i].limit || (n == rows[i].limit && rows[i].at);
            if (rows[i].works(n) != want)
                FAIL("%s: %zu %s, the limit is %zu", rows[i].name, n,
                     want ? "does not work" : "works", rows[i].limit);
        }
    wcp_buf_free(&text);
}

TEST(futures_that_nobody_starts_do_not_add_up)
{
    begin((struct wcp_limits){0});
    call(FUTURES, zeros(1, ""));
    reader(0, false);
    for (size_t i = 0; i < 10000; i++)
        channel(".0", (struct wcp_bytes){(const uint8_t *)"\1", 2});
    CHECK_INT(ends, 0);
    CHECK_INT(f.rpc->exchanges->in_count, 1);
    finish();
}

TEST(each_kind_of_line_is_written_ten_times_a_second_and_then_counted)
{
    begin((struct wcp_limits){.link_wait_ms = 1});
    for (int second = 0; second < 3; second++) {
        capture_start();
        for (int i = 0; i < 37; i++) {
            call(TEXTS, zeros(2, "\1\5")); /* incomplete */
            if (i < 11 + second % 2) {
                f.no_link = true;
                call(TEXTS, zeros(1, ""));
                fixture_pass_ms(&f, 1);
                f.no_link = false;
            }
        }
        CHECK_INT(capture_count("its parameters are malformed"), 10);
        CHECK_INT(capture_count("no link '"), 10);
        CHECK_INT(capture_count("more of the same"), 0);
        fixture_pass_ms(&f, 988 - (uint64_t)(second % 2));
        CHECK_INT(capture_count("more of the same"), 0);
        fixture_pass_ms(&f, 1);
        CHECK_INT(capture_count("more of the same"), 2);
        CHECK_LOGGED("\"what\":\"a call was not served\",\"why\":\"more input is needed\","
                     "\"times\":\"27\"");
        CHECK_INT(capture_count("\"why\":\"no such thing\",\"times\":\"1\""), second % 2 == 0);
        CHECK_INT(capture_count("\"why\":\"no such thing\",\"times\":\"2\""), second % 2);
        fixture_pass_ms(&f, 5000); /* nothing more is said */
        CHECK_INT(captured_count, 22);
        CHECK_INT(rpc_next(f.rpc), TIMER_NEVER);
    }
    CHECK_INT(fixture_failed(&f, true), 37 * 3 + 34);
    finish();
}

TEST(lines_that_were_only_counted_are_told_of_at_the_end)
{
    begin((struct wcp_limits){0});
    for (int i = 0; i < 12; i++)
        call(TEXTS, zeros(2, "\1\5"));
    finish();
    CHECK_LOGGED("\"times\":\"2\"");
}

TEST(a_long_name_of_a_caller_makes_no_long_line)
{
    begin((struct wcp_limits){0});
    char name[1000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const char *const headers[] = {"source-id", name, "link-name", name, NULL};
    struct wcp_msg m = fake_message(&f.net, "x", RC, zeros(1, ""), headers);
    CHECK(rpc_message(f.rpc, 1, &m));
    fake_done(&f.net, &m);
    fixture_pass_ms(&f, 500);
    CHECK_INT(capture_count("a call was not served"), 1);
    CHECK(strlen(captured[0]) < 800);
    fixture_pass_ms(&f, 30000); /* nobody took the answer */
    finish();
}

TEST(a_link_says_how_its_peer_writes_values)
{
    links_begin((struct wcp_limits){0}, 0);
    put_link("a", "cut-signed");
    put_link("b", "padded-flags , cut-signed");
    put_link("c", "");
    put_link("d", "cut-signed,unpadded");
    struct rpc_links l = links_for_rpc(links);
    struct wcp_link *a = find_link("a"), *b = find_link("b"), *c = find_link("c");
    CHECK(a && a->codec.cut_signed && !a->codec.padded_flags);
    CHECK(b && b->codec.cut_signed && b->codec.padded_flags);
    CHECK(c && !c->codec.cut_signed && !c->codec.padded_flags);
    CHECK(!find_link("d"));
    CHECK_LOGGED(
        "link 'd' from 'comp': config key wrpc-codec has 'unpadded', expected cut-signed or "
        "padded-flags");
    l.release(l.ctx, a);
    l.release(l.ctx, b);
    l.release(l.ctx, c);
    links_finish();
}

/* Were each piece a reason to read all of them again, this would take hours. */
TEST(large_values_in_small_pieces_are_not_read_again_for_each_piece)
{
    struct wcp_buf b = {0};
    const uint32_t n = 1000000;
    codec_put_leb(&b, n);
    for (uint32_t i = 0; i < n; i++)
        wcp_buf_put(&b, "\10eight ch", 9);
    begin((struct wcp_limits){0});
    call(TEXTS, NO_DATA);
    for (size_t at = 0; at < b.len; at += 100) {
        CHECK_INT(call_count, 0);
        channel("", (struct wcp_bytes){b.ptr + at, b.len - at < 100 ? b.len - at : 100});
    }
    CHECK_INT(call_count, 1); /* at once, without the end of the parameters */
    finish();

    begin((struct wcp_limits){0});
    call(LISTS, zeros(1, ""));
    reader(0, false);
    channel(".0", (struct wcp_bytes){(const uint8_t *)"\2", 1}); /* two such elements */
    for (int i = 0; i < 2; i++) {
        CHECK_INT(elements, i);
        for (size_t at = 0; at < b.len; at += 100)
            channel(".0", (struct wcp_bytes){b.ptr + at, b.len - at < 100 ? b.len - at : 100});
    }
    CHECK_INT(elements, 2);
    finish();
    wcp_buf_free(&b);
}

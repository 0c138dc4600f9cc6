/* test_log.c: what log lines look like and where they go. */
#include "base/log.h"
#include "test.h"
#include <ctype.h>
#include <json-c/json.h>
#include <pthread.h>
#include <unistd.h>
#include <wcp/trace.h>

static char last[20000];
static int lines;

static void sink(void *ctx, enum wcp_level level, const char *line)
{
    snprintf(last, sizeof last, "%s", line);
    CHECK(strlen(line) < sizeof last);
    lines++;
}

/* The last line behind its time. */
static const char *rest(void)
{
    const char *start = "{\"time\":\"";
    CHECK(strncmp(last, start, strlen(start)) == 0);
    const char *when = last + strlen(start), *form = "dddd-dd-ddTdd:dd:dd.dddZ\",";
    for (size_t i = 0; form[i]; i++)
        CHECK(form[i] == 'd' ? isdigit((unsigned char)when[i]) : form[i] == when[i]);
    json_object *parsed = json_tokener_parse(last);
    CHECK(parsed);
    json_object_put(parsed);
    return when + strlen(form);
}

TEST(a_line_has_level_text_and_fields)
{
    log_set_sink(sink, NULL);
    wcp_log(WCP_WARN, "redis: reconnecting", "link", "default", "attempt", "3", NULL);
    CHECK_STR(rest(), "\"level\":\"warn\",\"msg\":\"redis: reconnecting\",\"link\":\"default\","
                      "\"attempt\":\"3\"}");
    wcp_logf(WCP_INFO, "serving %d functions", 5);
    CHECK_STR(rest(), "\"level\":\"info\",\"msg\":\"serving 5 functions\"}");
    wcp_log(WCP_ERROR, "x", "a", NULL, "b", "c", NULL); /* a NULL text ends the list */
    CHECK_STR(rest(), "\"level\":\"error\",\"msg\":\"x\"}");
}

TEST(a_line_has_provider_and_trace)
{
    log_set_sink(sink, NULL);
    log_set_provider("Vx\"y");
    wcp_trace_set(WCP_STR("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
                  (struct wcp_str){0});
    wcp_log(WCP_INFO, "x", NULL);
    CHECK_STR(rest(), "\"level\":\"info\",\"provider\":\"Vx\\\"y\","
                      "\"trace_id\":\"0123456789abcdef0123456789abcdef\",\"msg\":\"x\"}");
    static const char *const no_trace[] = {
        NULL,
        "",
        "00",
        "00-0123456789abcdef0123456789abcde\"-0123456789abcdef-01",
        "00-0123456789abcdef0123456789abcdef_0123456789abcdef-01",
        "00-0123456789ABCDEF0123456789abcdef-0123456789abcdef-01",
        "00-00000000000000000000000000000000-0123456789abcdef-01",
        "00-0123456789abcdef0123456789abcdef-0000000000000000-01",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-1",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-011",
        "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01-",
        "01-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    };
    log_set_provider(NULL);
    for (size_t i = 0; i < sizeof no_trace / sizeof *no_trace; i++) {
        wcp_trace_set(wcp_str(no_trace[i]), (struct wcp_str){0});
        wcp_log(WCP_INFO, "x", NULL);
        CHECK_STR(rest(), "\"level\":\"info\",\"msg\":\"x\"}");
    }
}

TEST(texts_are_escaped)
{
    log_set_sink(sink, NULL);
    wcp_log(WCP_INFO, "q\" b\\ n\n t\t e\x1b d\x7f \xc3\x9f", "k\"", "bad \xff\xc3 end\xe2\x82",
            NULL);
    CHECK_STR(rest(), "\"level\":\"info\",\"msg\":\"q\\\" b\\\\ n\\n t\\u0009 e\\u001b d\\u007f "
                      "\xc3\x9f\",\"k\\\"\":\"bad \\ufffd\\ufffd end\\ufffd\\ufffd\"}");
    char all[256];
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = '\0';
    wcp_log(WCP_INFO, all, NULL);
    (void)rest(); /* is JSON */
}

TEST(levels_are_parsed_and_obeyed)
{
    enum wcp_level l = WCP_INFO;
    log_set_sink(sink, NULL);
    wcp_log(WCP_DEBUG, "x", NULL);
    wcp_logf(WCP_DEBUG, "x");
    CHECK_INT(lines, 0);
    CHECK(log_parse_level("trace", &l));
    CHECK_INT(l, WCP_DEBUG);
    CHECK(log_parse_level("critical", &l));
    CHECK_INT(l, WCP_ERROR);
    CHECK(!log_parse_level("loud", &l) && !log_parse_level("", &l));
    CHECK_INT(l, WCP_ERROR);
    log_set_level(l);
    wcp_log(WCP_WARN, "x", NULL);
    CHECK_INT(lines, 0);
    log_set_level(WCP_DEBUG);
    wcp_log(WCP_DEBUG, "x", NULL);
    CHECK_INT(lines, 1);
}

static void *chatter(void *ctx)
{
    char text[6000]; /* more than a pipe takes in one piece */
    memset(text, *(char *)ctx, sizeof text);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 100; i++)
        wcp_log(WCP_INFO, text, NULL);
    return NULL;
}

TEST(lines_of_many_threads_stay_whole)
{
    int fds[2], saved = dup(STDERR_FILENO);
    pthread_t thread[4];
    char names[4] = "abcd";
    unsigned seen[4] = {0};
    CHECK(saved >= 0 && pipe(fds) == 0);
    CHECK(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&thread[i], NULL, chatter, &names[i]), 0);
    FILE *in = fdopen(fds[0], "r");
    for (int i = 0; i < 400; i++) {
        CHECK(in && fgets(last, sizeof last, in));
        const char *msg = strstr(last, "\"msg\":\"");
        CHECK(msg && strspn(msg + 7, (char[]){msg[7], 0}) == 5999);
        CHECK_STR(msg + 7 + 5999, "\"}\n");
        CHECK(msg[7] >= 'a' && msg[7] <= 'd');
        seen[msg[7] - 'a']++;
    }
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_join(thread[i], NULL), 0);
        CHECK_INT(seen[i], 100);
    }
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    fclose(in);
}

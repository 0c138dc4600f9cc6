/* capture.h: log lines as something to assert on. */
#ifndef CAPTURE_H
#define CAPTURE_H

#include "base/log.h"
#include "test.h"

static char captured[200][1024];
static size_t captured_count;

static inline void capture_line(void *ctx, enum wcp_level level, const char *line)
{
    size_t at = captured_count++ % 200;
    snprintf(captured[at], sizeof captured[at], "%s", line);
}

static inline void capture_start(void)
{
    captured_count = 0;
    log_set_level(WCP_DEBUG);
    log_set_sink(capture_line, NULL);
}

/* How many lines contain text. */
static inline size_t capture_count(const char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < captured_count && i < 200; i++)
        n += strstr(captured[i], text) != NULL;
    return n;
}

#define CHECK_LOGGED(text)                                                                         \
    do {                                                                                           \
        if (capture_count(text) != 1)                                                              \
            FAIL("%zu lines contain \"%s\", expected 1; the last line is %s", capture_count(text), \
                 (text), captured_count ? captured[(captured_count - 1) % 200] : "(none)");        \
    } while (0)

#endif

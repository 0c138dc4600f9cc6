/* log.c: one JSON line per event on stderr, each written at once, from any thread. */
#include "base/log.h"
#include "base/str.h"
#include "base/trace.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static _Atomic int most = WCP_INFO;
/* lock guards the sink and the provider's name, and keeps lines whole when a pipe takes only a part
 * of one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_fn)(void *ctx, enum wcp_level level, const char *line);
static void *sink_ctx;
static char provider[128];
static unsigned long long dropped; /* lines, since stderr took one last */

void log_set_sink(void (*sink)(void *ctx, enum wcp_level level, const char *line), void *ctx)
{
    pthread_mutex_lock(&lock);
    sink_fn = sink;
    sink_ctx = ctx;
    pthread_mutex_unlock(&lock);
}

void log_set_level(enum wcp_level level)
{
    atomic_store(&most, (int)level);
}

bool log_parse_level(const char *name, enum wcp_level *out)
{
    static const struct {
        const char *name;
        enum wcp_level level;
    } levels[] = {{"error", WCP_ERROR}, {"critical", WCP_ERROR}, {"warn", WCP_WARN},
                  {"info", WCP_INFO},   {"debug", WCP_DEBUG},    {"trace", WCP_DEBUG}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *out = levels[i].level;
            return true;
        }
    }
    return false;
}

void log_set_provider(const char *id)
{
    pthread_mutex_lock(&lock);
    /* Ids are shorter; a longer one is cut. */
    (void)snprintf(provider, sizeof provider, "%s", id ? id : "");
    pthread_mutex_unlock(&lock);
}

static void put_text(struct wcp_buf *b, const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t left = strlen(text);
    wcp_buf_put(b, "\"", 1);
    while (left) {
        size_t n = utf8_next(p, left);
        if (n == 0) {
            wcp_buf_put(b, "\\ufffd", 6);
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            wcp_buf_fmt(b, "\\%c", *p);
        } else if (*p == '\n') {
            wcp_buf_put(b, "\\n", 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            wcp_buf_fmt(b, "\\u%04x", *p);
        } else {
            wcp_buf_put(b, p, n);
        }
        p += n;
        left -= n;
    }
    wcp_buf_put(b, "\"", 1);
}

static void put_field(struct wcp_buf *b, const char *name, const char *text)
{
    wcp_buf_put(b, ",", 1);
    put_text(b, name);
    wcp_buf_put(b, ":", 1);
    put_text(b, text);
}

static void put_trace(struct wcp_buf *b)
{
    const struct trace *t = trace_now();
    char id[33] = "";
    if (!t)
        return;
    memcpy(id, t->parent + 3, 32);
    put_field(b, "trace_id", id);
}

/* A pipe that nobody reads must not stop us: its reader has a tenth of a second, once. */
static bool takes_more(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&p, 1, dropped ? 0 : 100) != 0;
}

static void write_all(const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t done = write(STDERR_FILENO, p, n);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            /* Someone made our stderr non-blocking and nobody reads: wait, but not for ever. */
            if (poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, 1000) <= 0)
                return;
        } else if (errno != EINTR) {
            return; /* there is no place left to tell it */
        }
    }
}

static void write_line(const uint8_t *p, size_t n)
{
    char note[100];
    if (!takes_more()) {
        dropped++;
        return;
    }
    int len = snprintf(
        note, sizeof note,
        "{\"level\":\"warn\",\"msg\":\"%llu log lines are lost: stderr was full\"}\n", dropped);
    if (dropped)
        write_all((const uint8_t *)note, (size_t)len);
    dropped = 0;
    write_all(p, n);
}

static void start_line(struct wcp_buf *b, enum wcp_level level, const char *what)
{
    struct timespec now = {0};
    struct tm tm = {0};
    char when[32] = "";
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    wcp_buf_fmt(b, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\"", when, now.tv_nsec / 1000000,
                level_names[level]);
    pthread_mutex_lock(&lock);
    if (*provider)
        put_field(b, "provider", provider);
    pthread_mutex_unlock(&lock);
    put_trace(b);
    put_field(b, "msg", what);
}

static void end_line(struct wcp_buf *b, enum wcp_level level)
{
    wcp_buf_put(b, "}\n", 3); /* with the NUL, for the sink */
    pthread_mutex_lock(&lock);
    if (sink_fn) {
        b->ptr[b->len - 2] = '\0';
        sink_fn(sink_ctx, level, (const char *)b->ptr);
    } else {
        write_line(b->ptr, b->len - 1);
    }
    pthread_mutex_unlock(&lock);
    wcp_buf_free(b);
}

void wcp_log(enum wcp_level level, const char *what, ...)
{
    if ((int)level > atomic_load(&most))
        return;
    struct wcp_buf line = {0};
    va_list ap;
    start_line(&line, level, what);
    va_start(ap, what);
    for (const char *name, *text;
         (name = va_arg(ap, const char *)) && (text = va_arg(ap, const char *));)
        put_field(&line, name, text);
    va_end(ap);
    end_line(&line, level);
}

void wcp_logf(enum wcp_level level, const char *fmt, ...)
{
    if ((int)level > atomic_load(&most))
        return;
    struct wcp_buf line = {0};
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    start_line(&line, level, n < 0 ? fmt : text);
    end_line(&line, level);
    if (n >= 0)
        free(text);
}

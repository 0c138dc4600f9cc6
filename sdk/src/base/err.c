/* err.c: error codes and texts, and heap memory whose exhaustion ends the process. */
#include <wcp/base.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *wcp_strerror(int code)
{
    switch (code) {
    case WCP_OK: return "success";
#define X(name, number, text)                                                                      \
    case WCP_##name: return text;
        WCP_ERRORS(X)
#undef X
    default: return "unknown error";
    }
}

int wcp_fail(struct wcp_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    /* By way of a copy: the arguments may point into err->msg. */
    char text[sizeof err->msg] = "";
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap); /* cut is good enough */
    va_end(ap);
    err->code = code;
    memcpy(err->msg, text, strlen(text) + 1);
    return code;
}

int wcp_wrap(struct wcp_err *err, const char *fmt, ...)
{
    char text[sizeof err->msg] = "";
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap); /* cut is good enough */
    va_end(ap);
    size_t n = strlen(text), old = strlen(err->msg);
    if (n + 2 < sizeof text) {
        memcpy(text + n, ": ", 2);
        n += 2;
        if (old > sizeof text - 1 - n)
            old = sizeof text - 1 - n; /* the end is cut off */
        memcpy(text + n, err->msg, old);
        n += old;
    }
    memcpy(err->msg, text, n);
    err->msg[n] = '\0';
    return err->code;
}

/* No allocation on the way out. */
static _Noreturn void out_of_memory(size_t size)
{
    (void)fprintf(stderr, "out of memory: %zu bytes\n", size);
    abort();
}

void *wcp_calloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1); /* checks the product itself */
    if (!p)
        out_of_memory(size && n > SIZE_MAX / size ? SIZE_MAX : n * size);
    return p;
}

void *wcp_realloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    if (!p)
        out_of_memory(size);
    return p;
}

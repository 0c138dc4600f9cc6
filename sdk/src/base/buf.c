/* buf.c: a growing output buffer. */
#include "base/buf.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_grow(struct wcp_buf *b, size_t n)
{
    assert(n <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len < n)
        cap *= 2;
    b->ptr = wcp_realloc(b->ptr, cap);
    b->cap = cap;
}

void wcp_buf_put(struct wcp_buf *b, const void *p, size_t n)
{
    if (n == 0)
        return; /* p may be NULL then */
    memcpy(buf_room(b, n), p, n);
    b->len += n;
}

void wcp_buf_fmt(struct wcp_buf *b, const char *fmt, ...)
{
    va_list ap;
    assert(fmt);
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    uint8_t *p = buf_room(b, (size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf((char *)p, (size_t)n + 1, fmt, ap); /* fits: measured above */
    va_end(ap);
    b->len += (size_t)n;
}

void wcp_buf_free(struct wcp_buf *b)
{
    free(b->ptr);
    *b = (struct wcp_buf){0};
}

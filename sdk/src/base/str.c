/* str.c: texts and bytes: comparing, copying, UTF-8. */
#include "base/str.h"
#include <string.h>

struct wcp_str wcp_str(const char *text)
{
    return (struct wcp_str){text, text ? strlen(text) : 0};
}

bool wcp_str_eq(struct wcp_str a, struct wcp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

char *wcp_str_dup(struct wcp_str s)
{
    char *copy = wcp_realloc(NULL, s.len + 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

struct wcp_bytes *wcp_bytes_dup(struct wcp_bytes b)
{
    struct wcp_bytes *copy = wcp_realloc(NULL, sizeof *copy + b.len);
    if (b.len)
        memcpy(copy + 1, b.ptr, b.len);
    *copy = (struct wcp_bytes){(const uint8_t *)(copy + 1), b.len};
    return copy;
}

size_t utf8_next(const uint8_t *p, size_t n)
{
    uint8_t first = p[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0; /* a continuation, an overlong form of two bytes, or above U+10FFFF */
    size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

size_t utf8_span(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (;;) {
        uint64_t eight; /* mostly ASCII: eight at a time, then one */
        for (; n - i >= sizeof eight; i += sizeof eight) {
            memcpy(&eight, p + i, sizeof eight);
            if (eight & UINT64_C(0x8080808080808080))
                break;
        }
        while (i < n && p[i] < 0x80)
            i++;
        size_t len = i < n ? utf8_next(p + i, n - i) : 0;
        if (len == 0)
            return i;
        i += len;
    }
}

bool wcp_is_utf8(struct wcp_bytes b)
{
    return b.len == 0 || utf8_span(b.ptr, b.len) == b.len;
}

/* measure.c: see measure.h. */
#include "cli/measure.h"

#define DEPTH_MAX 8

static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

/* What follows a first byte: so many bytes that tell a length or count, so many bytes besides, and
 * whether the length counts bytes, things, or pairs of things. False: nothing begins with it. */
static bool layout(uint8_t first, size_t *length_bytes, size_t *fixed, uint64_t *bytes,
                   uint64_t *items)
{
    static const uint8_t tail[] = {/* c0 */ 0, 0, 0, 0, 1,  2, 4, 1, 2, 4, 4, 8,
                                   /* cc */ 1, 2, 4, 8, 1,  2, 4, 8,
                                   /* d4 */ 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4};
    *length_bytes = *fixed = 0;
    *bytes = *items = 0;
    if (first < 0x80 || first >= 0xe0)
        return true;
    if (first < 0xc0) {
        *(first < 0xa0 ? items : bytes) = first & (first < 0xa0 ? 0x0f : 0x1f);
        *items *= first < 0x90 ? 2 : 1;
        return true;
    }
    size_t n = tail[first - 0xc0];
    bool counted = (first >= 0xc4 && first <= 0xc9) || first >= 0xd9;
    *(counted ? length_bytes : fixed) = n;
    if (first >= 0xc7 && first <= 0xc9)
        *fixed = 1; /* an extension's type */
    if (first >= 0xdc)
        *items = first >= 0xde ? 2 : 1; /* times the count */
    return first != 0xc1;
}

int measure(struct wcp_bytes in, size_t most, size_t most_items, size_t *length,
            struct wcp_err *err)
{
    uint64_t left[DEPTH_MAX] = {1}; /* things still to come, per level */
    size_t depth = 0, at = 0, count = 0;
    for (;;) {
        while (left[depth] == 0)
            if (depth-- == 0) {
                *length = at;
                return 0;
            }
        left[depth]--;
        if (at == in.len)
            return WCP_EMORE;
        size_t length_bytes, fixed, begin = at;
        uint64_t bytes, items;
        if (!layout(in.ptr[at++], &length_bytes, &fixed, &bytes, &items))
            return wcp_fail(err, WCP_EPROTO, "byte %zu: 0x%02x found, which begins no value", begin,
                            in.ptr[begin]);
        if (in.len - at < length_bytes)
            return WCP_EMORE;
        if (length_bytes) {
            uint64_t n = big_endian(in.ptr + at, length_bytes);
            if (items)
                items *= n;
            else
                bytes = n;
            at += length_bytes;
        }
        bytes += fixed;
        if (bytes > most || at + bytes > most)
            return wcp_fail(err, WCP_ETOOBIG,
                            "byte %zu: a value of %llu bytes found, at most %zu in all expected",
                            begin, (unsigned long long)bytes, most);
        if (items > most_items || (count += (size_t)items) > most_items)
            return wcp_fail(err, WCP_ETOOBIG,
                            "byte %zu: %llu things found, at most %zu in all expected", begin,
                            (unsigned long long)items, most_items);
        if (in.len - at < bytes)
            return WCP_EMORE;
        at += (size_t)bytes;
        if (!items)
            continue;
        if (++depth == DEPTH_MAX)
            return wcp_fail(err, WCP_EPROTO, "byte %zu: more than %d levels found", begin,
                            DEPTH_MAX);
        left[depth] = items;
    }
}

/* version.c: semantic versions. */
#include "wit/version.h"
#include <ctype.h>
#include <string.h>

/* major.minor.patch, pre-release and build; the latter two may be empty. */
struct parts {
    struct wcp_str core, pre, build;
};

static struct wcp_str slice(struct wcp_str s, size_t from, size_t to)
{
    return (struct wcp_str){s.ptr + from, to - from};
}

static size_t find(struct wcp_str s, char c)
{
    const char *p = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return p ? (size_t)(p - s.ptr) : s.len;
}

static struct parts split(struct wcp_str v)
{
    size_t plus = find(v, '+'), minus = find(slice(v, 0, plus), '-');
    struct parts p = {.core = slice(v, 0, minus)};
    if (minus < plus)
        p.pre = slice(v, minus + 1, plus);
    if (plus < v.len)
        p.build = slice(v, plus + 1, v.len);
    return p;
}

/* Takes what is before the next dot off *rest. */
static struct wcp_str next_id(struct wcp_str *rest)
{
    size_t n = find(*rest, '.');
    struct wcp_str id = slice(*rest, 0, n);
    *rest = n < rest->len ? slice(*rest, n + 1, rest->len) : (struct wcp_str){0};
    return id;
}

static bool is_number(struct wcp_str s)
{
    for (size_t k = 0; k < s.len; k++)
        if (!isdigit((unsigned char)s.ptr[k]))
            return false;
    return s.len > 0;
}

static bool number_is_valid(struct wcp_str s)
{
    static const char max[] = "18446744073709551615"; /* of 64 bits */
    if (!is_number(s) || (s.len > 1 && *s.ptr == '0'))
        return false;
    return s.len < sizeof max - 1 ||
           (s.len == sizeof max - 1 && memcmp(s.ptr, max, sizeof max - 1) <= 0);
}

/* Identifiers of letters, digits and '-' with dots between them. */
static bool ids_are_valid(struct wcp_str ids, bool zeros)
{
    for (size_t n = 1, k = 0; k <= ids.len; k++, n++) {
        if (k < ids.len && ids.ptr[k] != '.') {
            if (!isalnum((unsigned char)ids.ptr[k]) && ids.ptr[k] != '-')
                return false;
            continue;
        }
        struct wcp_str id = slice(ids, k + 1 - n, k);
        if (!id.len || (!zeros && is_number(id) && id.len > 1 && *id.ptr == '0'))
            return false;
        n = 0;
    }
    return true;
}

bool version_is_valid(struct wcp_str v)
{
    struct parts p = split(v);
    int numbers = 0;
    for (struct wcp_str rest = p.core; numbers < 3 && rest.len; numbers++)
        if (!number_is_valid(next_id(&rest)))
            return false;
    size_t dots = 0;
    for (size_t k = 0; k < p.core.len; k++)
        dots += p.core.ptr[k] == '.';
    return numbers == 3 && dots == 2 && (!p.pre.ptr || ids_are_valid(p.pre, false)) &&
           (!p.build.ptr || ids_are_valid(p.build, true));
}

static int compare_text(struct wcp_str a, struct wcp_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int compare_numbers(struct wcp_str a, struct wcp_str b)
{
    while (a.len > 1 && *a.ptr == '0')
        a = slice(a, 1, a.len);
    while (b.len > 1 && *b.ptr == '0')
        b = slice(b, 1, b.len);
    return a.len != b.len ? (a.len > b.len) - (a.len < b.len) : compare_text(a, b);
}

/* Numbers come before words, and fewer identifiers before more. */
static int compare_ids(struct wcp_str a, struct wcp_str b)
{
    while (a.len && b.len) {
        struct wcp_str x = next_id(&a), y = next_id(&b);
        int c = is_number(x) != is_number(y) ? (is_number(x) ? -1 : 1)
                : is_number(x)               ? compare_numbers(x, y)
                                             : compare_text(x, y);
        if (c)
            return c;
    }
    return (a.len > 0) - (b.len > 0);
}

int version_compare(struct wcp_str a, struct wcp_str b)
{
    struct parts x = split(a), y = split(b);
    int c = compare_ids(x.core, y.core);
    if (!c)
        c = x.pre.len && y.pre.len ? compare_ids(x.pre, y.pre)
                                   : (x.pre.len == 0) - (y.pre.len == 0);
    return c ? c : compare_ids(x.build, y.build);
}

/* trace.c: the trace that this thread works for just now. It is a copy: calls may end meanwhile. */
#include "base/trace.h"
#include <stdlib.h>
#include <string.h>
#include <wcp/trace.h>

static _Thread_local struct trace current;

/* n hexadecimal digits, not all of them 0. */
static bool is_id(const char *p, size_t n)
{
    return strspn(p, "0123456789abcdef") >= n && strspn(p, "0") < n;
}

/* "00-<32 digits>-<16>-<2>" */
static bool is_parent(const char *p)
{
    return strncmp(p, "00-", 3) == 0 && is_id(p + 3, 32) && p[35] == '-' && is_id(p + 36, 16) &&
           p[52] == '-' && strspn(p + 53, "0123456789abcdef") == 2;
}

/* Does it fit, and may it stand in a header? */
static bool is_state(struct wcp_str s)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] >= ' ' && s.ptr[n] <= '~')
        n++;
    return s.len && n == s.len && n <= TRACE_STATE_MAX;
}

struct trace *trace_new(struct wcp_str parent, struct wcp_str state)
{
    char text[TRACE_PARENT_LEN + 1] = "";
    if (parent.len != TRACE_PARENT_LEN)
        return NULL;
    memcpy(text, parent.ptr, TRACE_PARENT_LEN);
    if (!is_parent(text))
        return NULL;
    struct trace *t = wcp_calloc(1, sizeof *t);
    memcpy(t->parent, text, sizeof text);
    if (is_state(state))
        memcpy(t->state, state.ptr, state.len);
    return t;
}

const struct trace *trace_now(void)
{
    return *current.parent ? &current : NULL;
}

/* Mostly there is none: then a byte is all that is moved. */
static void copy(struct trace *to, const struct trace *from)
{
    if (from && *from->parent)
        *to = *from;
    else
        *to->parent = '\0';
}

void trace_enter(const struct trace *t, struct trace *before)
{
    copy(before, &current);
    copy(&current, t);
}

void trace_back(const struct trace *before)
{
    copy(&current, before);
}

void wcp_trace_set(struct wcp_str parent, struct wcp_str state)
{
    struct trace *t = trace_new(parent, state);
    copy(&current, t);
    free(t);
}

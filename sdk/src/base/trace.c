/* trace.c: the trace that this thread works for just now. It is a copy: calls may end meanwhile. */
#include "base/trace.h"
#include <stdlib.h>
#include <string.h>
#include <wcp/trace.h>

static _Thread_local struct trace current;

/* n digits, not all of them 0 unless zero is allowed, and what follows them. */
static bool is_part(const char *p, size_t n, bool zero, char next)
{
    return strspn(p, "0123456789abcdef") == n && p[n] == next && (zero || strspn(p, "0") < n);
}

static bool is_parent(const char *p)
{
    return strncmp(p, "00-", 3) == 0 && is_part(p + 3, 32, false, '-') &&
           is_part(p + 36, 16, false, '-') && is_part(p + 53, 2, true, '\0');
}

/* What may stand in a header. */
static bool is_state(const char *s)
{
    size_t n = 0;
    while (s[n] >= ' ' && s[n] <= '~' && n <= TRACE_STATE_MAX)
        n++;
    return s[n] == '\0' && n <= TRACE_STATE_MAX;
}

struct trace *trace_new(const char *parent, const char *state)
{
    if (!parent || !is_parent(parent))
        return NULL;
    struct trace *t = wcp_calloc(1, sizeof *t);
    memcpy(t->parent, parent, TRACE_PARENT_LEN);
    if (state && is_state(state))
        memcpy(t->state, state, strlen(state));
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

void wcp_trace_set(const char *parent, const char *state)
{
    struct trace *t = trace_new(parent, state);
    copy(&current, t);
    free(t);
}

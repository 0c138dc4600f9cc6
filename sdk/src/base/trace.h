/* trace.h: the trace that this thread works for just now (wcp/trace.h is the public part). */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <wcp/base.h>

#define TRACE_PARENT_LEN 55  /* "00-<32 hex digits>-<16>-<2>" */
#define TRACE_STATE_MAX  512 /* as much as W3C asks for; a longer one is left out */

struct trace {
    char parent[TRACE_PARENT_LEN + 1]; /* "": none */
    char state[TRACE_STATE_MAX + 1];   /* "": none */
};

/* For free(). NULL: parent is not of W3C form. A state that is not is left out. */
struct trace *trace_new(struct wcp_str parent, struct wcp_str state);
const struct trace *trace_now(void); /* NULL: none */
/* t (NULL: none) from here on, until trace_back puts back what was. */
void trace_enter(const struct trace *t, struct trace *before);
void trace_back(const struct trace *before); /* NULL: none */

#endif

/* streams.h: the streams and futures of one call: from files, the standard input and operands into
 * it, out of it to files and the standard output. Nothing is read before there is room for it, nor
 * taken before it can be written. */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

#include "cli/session.h"
#include "cli/values.h"

struct streams;
/* For a call with a result of type t (NULL: none). WCP_EINVAL: an --out fits no stream of it, or
 * cannot be opened. *out is stopped and freed in any case. */
int streams_new(const struct options *o, struct values *v, struct session *s,
                const struct wcp_type *t, struct streams **out, struct wcp_err *err);
/* struct wave_reader's async, with the struct streams as ctx. */
int streams_read(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                 union wcp_async *out, struct wcp_err *err);
/* The values that it made are on their way. */
void streams_begin(struct streams *s);
/* Prints the result, and starts reading the streams in it. From the call's done function. */
void streams_result(struct streams *s, const void *value);
/* Waits, outside of the loop, for what has to be written, at most for ms. NATS has no way to slow
 * down a sender but not to read from the socket. */
void streams_flush(struct streams *s, int ms);
/* Is the call's work done? For a result that is an error, what still goes into the call is
 * not waited for. */
bool streams_done(const struct streams *s);
/* A result or future was an err(...). */
bool streams_is_err(const struct streams *s);
/* The first thing that failed: 0, or an error code with err, or with an empty one if it is printed.
 */
int streams_failure(const struct streams *s, struct wcp_err *err);
/* Breaks off what has not ended, and lets go of the loop; before the session is closed. */
void streams_stop(struct streams *s);
void streams_free(struct streams *s); /* after it, when the loop has run */

#endif

/* output.h: writing to files, pipes and terminals without waiting for them. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <wcp/base.h>

struct uv_loop_s;
struct output;

/* Takes ownership of fd if it is above 2. name is for errors and is borrowed, like ctx's owner.
 * drained is called when all that had to wait has been written, or writing has failed. */
struct output *output_new(struct uv_loop_s *loop, int fd, const char *name,
                          void (*drained)(void *ctx), void *ctx);
/* Copies. False: something waits now, give no more before drained. After a failure everything is
 * dropped. */
bool output_write(struct output *o, const void *p, size_t n);
/* Waits outside of the loop until nothing waits any more, for ms or until a signal comes. */
void output_flush(struct output *o, int ms);
bool output_waits(const struct output *o);
int output_error(const struct output *o, struct wcp_err *err); /* 0, or WCP_EIO: it has failed */
void output_stop(struct output *o); /* lets go of the loop; what waits is dropped */
void output_free(struct output *o); /* after the loop has run; NULL is allowed */

#endif

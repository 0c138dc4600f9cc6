/* source.h: a stream or future of a call's parameters, read from a file or the standard input: the
 * bytes of a stream<u8>, else a value in WAVE on each line; a future has the whole file. */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <wcp/stream.h>

struct uv_loop_s;
struct source;

/* Takes ownership of fd if it is above 2. name is for errors and is borrowed. failed is called when
 * the file cannot be read (err says why), or when a line is no value (it is printed, err is empty);
 * the stream is then broken off. A file is read as far as there is room now, so that a small one
 * goes along with the call. */
struct source *source_new(struct uv_loop_s *loop, int fd, const char *name,
                          const struct wcp_type *t, struct wcp_out *out,
                          void (*failed)(void *ctx, const struct wcp_err *err), void *ctx);
bool source_is_over(const struct source *s);
/* Lets go of the loop, and breaks the stream off if it was sent; else it is the caller's. */
void source_stop(struct source *s, bool sent);
void source_free(struct source *s); /* after the loop has run; NULL is allowed */

#endif

/* poller.h: watches a socket that a library opens, closes and reopens from any of its threads. */
#ifndef POLLER_H
#define POLLER_H

#include <stdbool.h>

struct uv_loop_s;

struct poller;
/* ready is called on the loop's thread, which must be the one that calls this. */
struct poller *poller_new(struct uv_loop_s *loop,
                          void (*ready)(void *ctx, bool readable, bool writable), void *ctx);
/* From any thread, but one at a time: */
int poller_watch(struct poller *p,
                 int fd); /* this one from now on, for reading; < 0: errno tells */
void poller_want(struct poller *p, bool write, bool wanted);
void poller_close(
    struct poller *p); /* ready is not called any more; p is freed while the loop runs */

#endif

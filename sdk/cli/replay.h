/* replay.h: the calls of a recording sent again, and their answers compared. */
#ifndef REPLAY_H
#define REPLAY_H

#include "cli/session.h"

struct replay_config {
    const struct options *o; /* where types come from, see values_open */
    const char *file, *to;
    const char *only; /* a function, or the end of its name; NULL: all */
    const char *from; /* the source whose calls they are, over the link from_link; NULL: all */
    const char *from_link;
    const char *source;   /* in whose name they are sent; NULL: as recorded */
    uint32_t concurrency; /* 0: one after the other */
};

struct replay;
/* Reads all of the file, so that what is wrong with it is known before anything is sent. c and what
 * it points to outlive *r. */
int replay_open(const struct replay_config *c, struct replay **r, struct wcp_err *err);
size_t replay_count(const struct replay *r); /* the calls that will be sent */

enum { EXIT_NOT_SENT = 3 };
/* Sends them, and prints each difference and a summary. 0: all answers are the same; EXIT_FAILED:
 * some differ; EXIT_NOT_SENT: not all could be sent, err may say why. */
int replay_run(struct replay *r, struct session *s, struct wcp_err *err);
void replay_close(struct replay *r); /* NULL is allowed */

#endif

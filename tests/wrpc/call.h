/* call.h: a call by the tables of its function. */
#ifndef CALL_H
#define CALL_H

#include "cli/session.h"

enum { WORDS = 16, CHANNELS = 256, TIMEOUT_MS = 15000 };

/* One stream or future of a call, ours or the peer's. */
struct channel {
    struct call *call;
    char path[40];
    const struct wcp_type *elem;
    struct wcp_out *out;
    struct wcp_bytes data; /* to be written: encoded elements */
    size_t written;        /* elements of it */
    bool later;            /* writing begins when the call is sent */
    bool incoming;
    struct wcp_buf got;
    int status;
};

struct call {
    struct wcp_arena arena;
    struct wcp_func func; /* one of the tables', delivered to us */
    struct wcp_interface interface;
    char *words[WORDS]; /* PATH=DATA */
    size_t word_count;
    struct channel *channels[CHANNELS];
    size_t channel_count, running; /* of them that have not ended; the answer is one, too */
    struct wcp_buf result;
    int status;
};

struct peer {
    struct session *session;
    struct wcp_link link;
    struct wcp_map *results; /* by case: struct wcp_bytes, the text */
};

__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *fmt, ...);

/* Begins the call that n words say: INTERFACE.FUNCTION, PARAMS, PATH=DATA... They live until its
 * end. It is over when running is 0. */
struct call *begin(struct peer *p, char *const *words, size_t n);
void end(struct call *c);

void put_hex(struct wcp_buf *to, struct wcp_bytes data);
/* DATA of what has come, as it is in the script. */
void put_data(struct wcp_buf *to, const struct channel *ch);

#endif

/* fake_transport.h: the network as a list of messages, and time as a variable. */
#ifndef FAKE_TRANSPORT_H
#define FAKE_TRANSPORT_H

#include "rpc/transport.h"

struct fake_msg {
    char *subject, *reply;
    struct wcp_bytes data;
    struct wcp_header headers[8];
    size_t header_count;
};
struct fake_sub {
    char *subject, *queue;
    bool left;
};

struct fake {
    struct wcp_transport t;
    struct fake_msg *sent; /* everything published, in order */
    size_t count;
    size_t seen; /* fake_take has returned that many */
    struct fake_sub *subs;
    size_t sub_count;
    size_t buffered_bytes; /* what buffered() answers */
    size_t owners;         /* received messages that the core still holds */
    uint64_t now_ms;
};

void fake_init(struct fake *f);
void fake_close(struct fake *f); /* fails the test if a received message was not released */
/* The next published message that was not taken yet; NULL: none. Lives until fake_close. */
const struct fake_msg *fake_take(struct fake *f);
/* Number of the subscription for exactly this subject; fails the test when there is none. */
int fake_sub(const struct fake *f, const char *subject);
/* A message as the network delivers it, with an owner to hold. Headers are name, value, …, NULL. */
struct wcp_msg fake_message(struct fake *f, const char *subject, const char *reply,
                            struct wcp_bytes data, const char *const *headers);
/* After delivering m: the network's part of its memory goes, unless the core took it. */
void fake_done(struct fake *f, struct wcp_msg *m);

#endif

/* rpc_fixture.h: an rpc on the fake transport, with one link that always fits. */
#ifndef RPC_FIXTURE_H
#define RPC_FIXTURE_H

#include "fake_transport.h"
#include "rpc/rpc.h"

struct fixture {
    struct fake net;
    struct rpc *rpc;
    struct wcp_link link;
    bool no_link;    /* find answers NULL, */
    const char *why; /* because of that; NULL: there is none (yet) */
    int held;        /* references on the link */
    int missed;      /* calls of missing */
};

/* Identity "me" in lattice "default"; the link's peer is "peer". */
void fixture_init(struct fixture *f, const struct wcp_limits *limits);
void fixture_close(struct fixture *f);                /* fails the test if anything is still held */
void fixture_pass_ms(struct fixture *f, uint64_t ms); /* time passes, timers run */

/* Delivers a message on a function's subscription or on the inbox. */
void fixture_invoke(struct fixture *f, const char *function, const char *reply,
                    struct wcp_bytes data);
void fixture_inbox(struct fixture *f, const char *subject, const char *reply,
                   struct wcp_bytes data);

/* Calls that ended so, of all functions; and those that failed in any way. */
uint64_t fixture_ended(const struct fixture *f, bool incoming, enum outcome o);
uint64_t fixture_failed(const struct fixture *f, bool incoming);

/* Checks the next published message; hex may be NULL: any payload. Returns its reply subject. */
const char *fixture_expect(struct fixture *f, const char *subject, const char *hex);
void fixture_expect_nothing(struct fixture *f);
/* The bytes of all messages to subject from here to its empty message; other subjects fail. */
struct wcp_bytes fixture_collect(struct fixture *f, const char *subject);

#endif

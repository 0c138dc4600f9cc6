/* session.h: a connection to the lattice for a command that does one thing after the other. */
#ifndef SESSION_H
#define SESSION_H

#include "cli/cli.h"
#include "rpc/rpc.h"

struct session;

int session_open(const struct options *o, struct session **s, struct wcp_err *err);
/* The two halves of it: a loop, and then the connection. */
struct session *session_new(const struct options *o);
int session_connect(struct session *s, struct wcp_err *err);
/* Everything published reaches the server first. NULL is allowed. */
void session_close(struct session *s);
const char *session_lattice(const struct session *s);
const char *session_js_domain(const struct session *s); /* NULL: the server's own */
/* Adds what subjects of JetStream's API begin with: "$JS.API.", or in a domain "$JS.hub.API.". */
void session_js_prefix(const struct session *s, struct wcp_buf *b);

/* Sends data to subject and waits for one answer, which is added to *answer. WCP_ENOENT: nobody
 * answers there; WCP_ETIMEOUT, WCP_ECLOSED: no answer. err names the subject. */
int session_ask(struct session *s, const char *subject, struct wcp_bytes data,
                struct wcp_buf *answer, struct wcp_err *err);
/* The same with one header. */
int session_ask_with(struct session *s, const char *subject, struct wcp_header header,
                     struct wcp_bytes data, struct wcp_buf *answer, struct wcp_err *err);
/* The same, for all who answer: within timeout, and within a moment after the first. Each answer
 * is given to fn. Returns 0 also if there was none; WCP_ENOENT: nobody is there. */
int session_ask_all(struct session *s, const char *subject,
                    void (*fn)(void *ctx, struct wcp_bytes answer), void *ctx);
void session_tell(struct session *s, const char *subject, struct wcp_bytes data);
void session_sleep(struct session *s, uint32_t ms);
uint64_t session_now(const struct session *s);

/* wcp_invoke over the session's transport. l is who is called over NATS; it outlives the session.
 * WCP_EINVAL: --unix or --tcp is no address. */
int session_invoke(struct session *s, struct wcp_link *l, const struct wcp_interface *iface,
                   size_t func, const void *params, void (*done)(void), void *ctx,
                   struct wcp_outgoing **out, struct wcp_err *err);
/* Runs the loop until something happens, at most for ms. Callbacks that can run before the loop
 * waits, in the same turn, say by session_wake that something has happened. */
void session_turn(struct session *s, uint32_t ms);
void session_wake(struct session *s);
struct uv_loop_s *session_loop(struct session *s);
bool session_is_connected(const struct session *s); /* to NATS */
size_t session_running(const struct session *s);    /* calls that have not ended */
const char *session_why(const struct session *s); /* what was complained of last: ": why", or "" */
struct rpc *session_rpc(const struct session *s);
/* Messages on subject come to fn from now on. */
void session_listen(struct session *s, const char *subject,
                    void (*fn)(void *ctx, struct wcp_msg *m), void *ctx);
/* The server has taken in all that was sent. WCP_EIO: it complained of something, as of a
 * subscription that is not permitted. */
int session_flush(struct session *s, struct wcp_err *err);
size_t
session_losses(const struct session *s); /* how often messages were: the connection was lost */
/* From now on SIGINT and SIGTERM do not end the process, but are told by session_signal. */
void session_watch_signals(struct session *s);
int session_signal(const struct session *s);

#endif

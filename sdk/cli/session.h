/* session.h: a connection to the lattice for a command that does one thing after the other. */
#ifndef SESSION_H
#define SESSION_H

#include "cli/cli.h"
#include "rpc/transport.h"

struct session;

int session_open(const struct options *o, struct session **s, struct wcp_err *err);
/* Everything published reaches the server first. NULL is allowed. */
void session_close(struct session *s);
const char *session_lattice(const struct session *s);

/* Sends data to subject and waits for one answer, which is added to *answer. WCP_ENOENT: nobody
 * answers there; WCP_ETIMEOUT, WCP_ECLOSED: no answer. err names the subject. */
int session_ask(struct session *s, const char *subject, struct wcp_bytes data,
                struct wcp_buf *answer, struct wcp_err *err);
/* The same with one header. */
int session_ask_with(struct session *s, const char *subject, struct wcp_header header,
                     struct wcp_bytes data, struct wcp_buf *answer, struct wcp_err *err);
void session_tell(struct session *s, const char *subject, struct wcp_bytes data);
void session_sleep(struct session *s, uint32_t ms);
uint64_t session_now(const struct session *s);

#endif

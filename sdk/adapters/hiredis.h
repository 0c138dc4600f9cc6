/* hiredis.h: one Redis connection on the loop: pipelined, with deadlines, kept up for ever. */
#ifndef ADAPTERS_HIREDIS_H
#define ADAPTERS_HIREDIS_H

#include <wcp/base.h>
#include "redis_url.h"
#include <hiredis/hiredis.h>

struct uv_loop_s;
struct redis_conn;

struct redis_tuning {
    uint32_t connect_ms;   /* one attempt: name lookup, connect, AUTH, SELECT */
    uint32_t response_ms;  /* a command, with the time that it waits for the connection */
    uint32_t retries;      /* attempts that may fail before commands fail at once */
    uint32_t max_delay_ms; /* between attempts */
};

struct redis_events {
    /* why NULL: connected and answering; else not, with the server's address and the reason, for
     * the operator. Called on changes only, also of why; the first is the outcome of the first
     * attempt. */
    void (*state)(void *ctx, const char *why);
    void *ctx;
};

/* Starts connecting and goes on with it until redis_conn_free. Takes ownership of *a. Never NULL.
 */
struct redis_conn *redis_conn_new(struct uv_loop_s *loop, struct redis_address *a,
                                  const struct redis_tuning *t, const struct redis_events *e);
/* Every command that is pending gets its callback before this returns. NULL is allowed. */
void redis_conn_free(struct redis_conn *c);

/* The outcome of a command, exactly once: the server's reply, which lives for this call and may be
 * an error, or NULL and why. A command that failed may have been executed; none is sent twice. */
typedef void redis_done(void *ctx, const redisReply *reply, const char *why);

/* Sends a command; copies argv. Commands of one turn of the loop leave in one write. done may be
 * called before this returns. */
void redis_command(struct redis_conn *c, redis_done *done, void *ctx, size_t argc,
                   const struct wcp_bytes *argv);

#endif

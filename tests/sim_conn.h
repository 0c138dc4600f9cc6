/* sim_conn.h: pairs of connections through a network that misbehaves by chance: bytes come late and
 * in pieces of any size, directions stall, connections are refused or cut anywhere. */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "rpc/rpc.h"

struct sim_end;

struct sim_net {
    uint32_t (*any)(uint32_t below);
    const uint64_t *clock_ms;
    uint32_t slowness; /* in ms */
    /* One in so many connections is ...; 0: none. */
    uint32_t refuses, cuts, stalls;
    /* The caller of a connection sees or sends something. */
    void (*moved)(void *call);
    struct sim_end *ends; /* all that are not gone */
};

/* The caller's end; the other one is accepted by server in time. call is for moved(). */
struct wcp_conn *sim_connect(struct sim_net *n, struct rpc *server, void *call);
bool sim_is_refused(const struct wcp_conn *c);
uint64_t sim_next(const struct sim_net *n); /* when something is due; TIMER_NEVER: nothing */
void sim_step(struct sim_net *n);           /* one of what is due */

#endif

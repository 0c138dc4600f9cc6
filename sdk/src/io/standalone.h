/* standalone.h: what a provider is told by flags, environment and files instead of by a host. */
#ifndef STANDALONE_H
#define STANDALONE_H

#include <stdio.h>
#include "io/mounts.h"
#include "io/nats.h"
#include "lattice/hostdata.h"

struct standalone {
    bool from_stdin; /* nothing was told: HostData comes on stdin; hd is not filled */
    struct hostdata hd;
    struct strings listen; /* addresses */
    bool offline;          /* there is no NATS */
    struct mounts mounts;  /* what hd's configuration and secrets were made of */
    int key_lock;          /* keeps the host key ours while it is open; -1: none */
    uint32_t drain_ms;     /* 0: not told */
    uint32_t link_wait_ms; /* as in struct wcp_limits; 0: not told */
    /* These live in argv or the environment: */
    struct nats_login login;
    const char *log_level; /* NULL: not told */
    const char *admin;     /* where the admin port is to be; NULL: not told */
};

#define STANDALONE_GO (-1)

/* Returns STANDALONE_GO, or the status to exit with: everything is said then. */
int standalone_read(int argc, char **argv, const char *provider_name, struct standalone *out);
void standalone_free(struct standalone *s); /* but not hd */
void standalone_usage(const char *provider_name, FILE *to);

#endif

/* nats_login.h: who we are to NATS servers, and TLS: what nats_config tells, set on each new
 * connection so that files which were changed meanwhile count. */
#ifndef NATS_LOGIN_H
#define NATS_LOGIN_H

#include "io/nats.h"
#include "io/probe.h"
#include "lattice/xkey.h"
#include <nats/nats.h>

struct login {
    char *file[8]; /* of NATS_LOGIN, in its order; NULL: not told */
    char *jwt;
    char *seed;                     /* of a user; told, or from the file */
    char nkey[NKEY_PUBLIC_LEN + 1]; /* of that seed */
};

/* Copies what c tells; checks it. On failure login_free is still due. */
int login_init(struct login *l, const struct nats_config *c, struct wcp_err *err);
/* Reads the files, and sets login and TLS. l outlives the connection. */
int login_set(struct login *l, natsOptions *o, bool tls, struct wcp_err *err);
bool login_replaces_url(const struct login *l); /* the URL's user, password or token */
/* "user 'me' of the URL": for log lines; never a secret. */
struct wcp_str login_name(const struct login *l, const struct server *s, struct wcp_arena *a);
void login_free(struct login *l); /* wipes */

#endif

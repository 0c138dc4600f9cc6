/* nats.h: a NATS connection on a libuv loop, as the transport of the core. wcp_main uses it, and so
 * may any program that has a loop: it calls nats_conn_new, and works with the transport from its
 * connected event on.
 *
 * The connection is made, and made again whenever it is lost, for as long as the program lives. All
 * events come on the loop's thread, never from within a function called here or of the transport.
 */
#ifndef NATS_CONN_H
#define NATS_CONN_H

#include "rpc/transport.h"

struct uv_loop_s;

/* The options about logins and TLS, the same for providers and wcp: what an option is called, its
 * argument, whether it may be repeated, what it means, its name in the environment, and where it
 * goes. Secrets come in files only: arguments can be seen by everybody on the machine. */
#define NATS_LOGIN(X)                                                                              \
    X(CREDS, "creds", "FILE", 0, "NATS credentials file", "WCP_NATS_CREDS", creds_file)            \
    X(NKEY, "nkey", "FILE", 0, "file with the seed of a NATS user", "WCP_NATS_NKEY", nkey_file)    \
    X(NATS_USER, "nats-user", "NAME", 0, "NATS user, with a password", "WCP_NATS_USER", user)      \
    X(NATS_PASSWORD_FILE, "nats-password-file", "FILE", 0, "file with that user's password",       \
      "WCP_NATS_PASSWORD_FILE", password_file)                                                     \
    X(NATS_TOKEN_FILE, "nats-token-file", "FILE", 0, "file with a NATS token",                     \
      "WCP_NATS_TOKEN_FILE", token_file)                                                           \
    X(NATS_CA, "nats-ca", "FILE", 0, "use TLS; who may have signed the server's certificate",      \
      "WCP_NATS_CA", ca_file)                                                                      \
    X(NATS_CERT, "nats-cert", "FILE", 0, "use TLS; our certificate for the server",                \
      "WCP_NATS_CERT", cert_file)                                                                  \
    X(NATS_KEY, "nats-key", "FILE", 0, "its key", "WCP_NATS_KEY", key_file)

struct nats_login { /* NULL: not told */
#define X(id, flag, arg, repeat, help, env, member) const char *member;
    NATS_LOGIN(X)
#undef X
};

struct nats_config {  /* copied; texts may be NULL or "" */
    const char *urls; /* see servers_parse; "" is the local server */
    const char *user_jwt, *user_seed;
    struct nats_login login; /* wins over the two, and over what urls say */
    const char *name;        /* shown by the server's monitoring */
};

struct nats_events { /* each may be NULL */
    void *ctx;
    void (*connected)(void *ctx); /* the first time: subscribe now */
    void (*disconnected)(void *ctx);
    void (*reconnected)(void *ctx); /* with all subscriptions */
    void (*message)(void *ctx, int sub, struct wcp_msg *m);
    void (*left)(void *ctx, int sub); /* no more messages; the number may be used again */
    void (*lost)(void *ctx, int sub);
    void (*writable)(void *ctx); /* after buffered() told 1 MiB or more: it is below that again */
};

struct nats_conn;
/* Starts to connect. NULL with err when the configuration cannot be right: the URLs, the keys, a
 * file that cannot be read, or two logins. All files are read again for each connection. */
struct nats_conn *nats_conn_new(struct uv_loop_s *loop, const struct nats_config *c,
                                const struct nats_events *ev, struct wcp_err *err);
struct wcp_transport *nats_conn_transport(struct nats_conn *n); /* lives as long as n */
/* The headers of a message that came from such a connection, in any order. */
void nats_headers(const struct wcp_msg *m,
                  void (*each)(void *ctx, const char *name, const char *value), void *ctx);
bool nats_conn_is_up(const struct nats_conn *n);

struct nats_stats { /* since the start; bytes are those of payloads */
    uint64_t in_messages, in_bytes, out_messages, out_bytes;
    uint64_t unsent;     /* messages that could not be published */
    uint64_t reconnects; /* times that a lost connection was there again */
};
struct nats_stats nats_conn_stats(const struct nats_conn *n);
/* Calls done when the server has got all that was published so far, or after limit_ms. One at a
 * time: a second call replaces the first, whose done is then never called. */
void nats_conn_flush(struct nats_conn *n, uint32_t limit_ms, void (*done)(void *ctx, bool flushed),
                     void *ctx);
/* No more events; n is freed while the loop runs on. Messages kept by the receiver must have been
 * released. NULL is allowed. */
void nats_conn_close(struct nats_conn *n);
/* At the end of the process, when the loop has ended: ends libnats' own threads. */
void nats_conn_cleanup(void);

#endif

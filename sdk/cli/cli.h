/* cli.h: what the commands of wcp share: their options, the session they speak in. */
#ifndef CLI_H
#define CLI_H

#include "lattice/linkdef.h"

/* name, argument (NULL: none), may be repeated, what it means */
#define CLI_OPTIONS(X)                                                                             \
    X(NATS, "nats", "URL", 0, "NATS server (WCP_NATS_URL, else nats://127.0.0.1:4222)")            \
    X(LATTICE, "lattice", "NAME", 0, "lattice (WCP_LATTICE, else default)")                        \
    X(CREDS, "creds", "FILE", 0, "NATS credentials file (WCP_NATS_CREDS)")                         \
    X(TIMEOUT, "timeout", "MS", 0, "wait at most this long for an answer (2000)")                  \
    X(HELP, "help", NULL, 0, "this text")                                                          \
    X(SOURCE, "source", "ID", 0, "the end that calls")                                             \
    X(TARGET, "target", "ID", 0, "the end that is called")                                         \
    X(INTERFACE, "interface", "NS:PKG/IFACE[,IFACE]", 0, "what is called, without a version")      \
    X(NAME, "name", "NAME", 0, "the link's name (default)")                                        \
    X(SOURCE_CONFIG, "source-config", "K=V", 1, "for the source; just NAME: a named config")       \
    X(TARGET_CONFIG, "target-config", "K=V", 1, "for the target; just NAME: a named config")       \
    X(DIRECT, "direct", NULL, 0, "tell both ends, without a host")                                 \
    X(FROM, "from", "ID", 0, "the target now")                                                     \
    X(TO, "to", "ID", 0, "the target from now on")                                                 \
    X(WAIT, "wait", "MS", 0, "ask again until it is healthy, at most this long")                   \
    X(ID, "id", "ID", 0, "the provider's id")                                                      \
    X(HOST_ID, "host-id", "ID", 0, "whose shutdown message it obeys (wcp)")                        \
    X(CONFIG, "config", "K=V", 1, "the provider's own configuration")                              \
    X(LINK, "link", "JSON", 1, "a link known from the start: JSON, or @FILE")                      \
    X(LOG, "log", "LEVEL", 0, "error, warn, info, debug or trace (info)")

enum opt {
#define X(id, name, arg, repeat, help) OPT_##id,
    CLI_OPTIONS(X)
#undef X
        OPT_COUNT
};

struct options {
    const char *value[OPT_COUNT]; /* NULL: not given; without an argument: "" */
    const char *operand;          /* health's ID */
    struct config source_config, target_config, config;
    struct strings source_names, target_names; /* named configs: resolved by hosts */
    struct strings links;
    uint32_t timeout_ms, wait_ms;
};

/* The link that the options describe, with target as its target. need_interfaces: NS:PKG alone is
 * not enough. The caller frees it, also after an error. */
int options_link(const struct options *o, const char *target, bool need_interfaces,
                 struct linkdef *l, struct wcp_err *err);

/* The commands. 0, or an error that main prints. */
int cmd_link_put(const struct options *o, struct wcp_err *err);
int cmd_link_del(const struct options *o, struct wcp_err *err);
int cmd_link_move(const struct options *o, struct wcp_err *err);
int cmd_health(const struct options *o, struct wcp_err *err);
int cmd_host_data(const struct options *o, struct wcp_err *err);

#endif

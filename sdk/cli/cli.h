/* cli.h: what the commands of wcp share: their options, the session they speak in. */
#ifndef CLI_H
#define CLI_H

#include "io/nats.h"
#include "lattice/linkdef.h"
#include <wcp/link.h>

/* name, argument (NULL: none), may be repeated, what it means */
#define CLI_OPTIONS(X)                                                                             \
    X(NATS, "nats", "URL", 0, "NATS server (WCP_NATS_URL, else nats://127.0.0.1:4222)")            \
    X(LATTICE, "lattice", "NAME", 0, "lattice (WCP_LATTICE, else default)")                        \
    NATS_LOGIN(X)                                                                                  \
    X(JS_DOMAIN, "js-domain", "NAME", 0, "JetStream domain of the lattice (WCP_JS_DOMAIN)")        \
    X(TIMEOUT, "timeout", "MS", 0, "wait at most this long for an answer (2000)")                  \
    X(HELP, "help", NULL, 0, "print what the command does, and its options")                       \
    X(MAN, "man", "DIR", 0, "write the manual pages of all commands into DIR")                     \
    X(SOURCE, "source", "ID", 0, "the end that calls")                                             \
    X(TARGET, "target", "ID", 0, "the end that is called")                                         \
    X(INTERFACE, "interface", "NS:PKG/IFACE[,IFACE]", 0, "what is called, without a version")      \
    X(NAME, "name", "NAME", 0, "the link's name (default)")                                        \
    X(SOURCE_CONFIG, "source-config", "K=V", 1, "for the source; just NAME: a named config")       \
    X(TARGET_CONFIG, "target-config", "K=V", 1, "for the target; just NAME: a named config")       \
    X(DIRECT, "direct", NULL, 0, "tell both ends, without a host")                                 \
    X(FROM, "from", "ID", 0, "the target now")                                                     \
    X(TO, "to", "ID", 0, "the target from now on")                                                 \
    X(WAIT, "wait", "MS", 0, "wait at most this long until it is as it should be")                 \
    X(CHECK, "check", "FILE", 0, "a recording that the new target must answer as recorded")        \
    X(ROLLBACK, "rollback", NULL, 0, "undo the last swap of this link")                            \
    X(HOST, "host", "ID", 0, "the host whose provider is meant")                                   \
    X(ALL, "all", NULL, 0, "all that run, one after the other")                                    \
    X(ID, "id", "ID", 0, "the provider's id")                                                      \
    X(HOST_ID, "host-id", "ID", 0, "whose shutdown message it obeys (wcp)")                        \
    X(CONFIG, "config", "K=V", 1, "the provider's own configuration")                              \
    X(LINK, "link", "JSON", 1, "a link known from the start: JSON, or @FILE")                      \
    X(LOG, "log", "LEVEL", 0, "error, warn, info, debug or trace (info)")                          \
    X(OUTPUT, "output", "FILE", 0, "where the recording goes, also -o; a new file (ID.wcprec)")    \
    X(CALLS, "count", "N", 0, "end after so many calls")                                           \
    X(SECONDS, "seconds", "N", 0, "end after so many seconds")                                     \
    X(INBOX, "inbox", "PREFIX", 1, "where callers and providers have their inboxes (_INBOX)")      \
    X(MAX_BYTES, "max-bytes", "N", 0, "keep no call that is larger (16777216)")                    \
    X(ONLY, "only", "FUNCTION", 0, "no others; all of its name, or its end behind a dot or slash") \
    X(CONCURRENCY, "concurrency", "N", 0, "so many calls at a time (1)")                           \
    X(UNIX, "unix", "PATH", 0, "call over this Unix socket, without NATS")                         \
    X(TCP, "tcp", "HOST:PORT", 0, "call over this TCP port, without NATS")                         \
    X(WIT, "wit", "PATH", 0, "a .wit file, a package's folder, or a folder of those (WCP_WIT)")    \
    X(OUT, "out", "[STREAM=]FILE", 1, "where a stream of the result goes; STREAM as in 0.1")       \
    X(TEXT, "text", NULL, 0, "print a list<u8> as a string, with \\xNN for what is no text")       \
    X(CODEC, "codec", "FORMS", 0, "for old peers: cut-signed, padded-flags")                       \
    X(RAW, "raw", NULL, 0, "bytes themselves instead of hexadecimal digits")                       \
    X(JSON, "json", NULL, 0, "print JSON, an object on each line")

enum opt {
#define X(id, ...) OPT_##id,
    CLI_OPTIONS(X)
#undef X
        OPT_COUNT
};

struct options {
    const char *value[OPT_COUNT]; /* NULL: not given; without an argument: "" */
    char *const *operands;        /* what follows the command's words */
    size_t operand_count;
    struct config source_config, target_config, config;
    struct strings source_names, target_names; /* named configs: resolved by hosts */
    struct strings links, outs, inboxes;
    struct wcp_codec codec;
    uint32_t timeout_ms, wait_ms, count, seconds, max_bytes, concurrency; /* 0: not given */
};

/* A command: what wcp.c's table holds, options.c checks, and help.c prints as help and as manual
 * page. In texts, a line is a paragraph, or stands as it is if it begins with two spaces. */
struct command {
    const char *words[2];
    const char *operands;       /* as the usage shows them; NULL for none */
    size_t least, most;         /* of operands */
    const char *help;           /* one line without a full stop */
    const char *more;           /* paragraphs */
    const char *examples;       /* lines that begin with two spaces; NULL for none */
    const char *status;         /* the exit statuses, if they are not the usual three */
    uint64_t required, allowed; /* sets of options */
    /* 0, an error that main prints (WCP_EINVAL: wrong usage), or an exit status above 0; then err
     * is printed if it was set. */
    int (*run)(const struct options *o, struct wcp_err *err);
};
extern const struct command commands[]; /* ends with one without words */

struct option_text {
    const char *name, *arg;
    bool repeat;
    const char *help;
};
extern const struct option_text option_texts[OPT_COUNT];

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Reads all of argv, whose words it reorders, into o. -1: go on with *command; else the exit
 * status. */
int options_parse(int argc, char **argv, struct options *o, const struct command **command);
void options_free(struct options *o);
/* Ids are parts of subjects and keys: hosts and wash take the same letters. WCP_EINVAL: text is
 * none; what says whose value it is. */
int options_id(const char *what, const char *text, struct wcp_err *err);

/* NULL: of wcp itself. */
void help_print(const struct command *c);
/* Writes the manual pages of wcp and of every command into the folder dir. */
int help_write_pages(const char *dir, struct wcp_err *err);

/* The link that the options describe, with target as its target. need_interfaces: NS:PKG alone is
 * not enough. The caller frees it, also after an error. */
int options_link(const struct options *o, const char *target, bool need_interfaces,
                 struct linkdef *l, struct wcp_err *err);

/* The commands. */
int cmd_link_put(const struct options *o, struct wcp_err *err);
int cmd_link_del(const struct options *o, struct wcp_err *err);
int cmd_swap(const struct options *o, struct wcp_err *err);
int cmd_drain(const struct options *o, struct wcp_err *err);
int cmd_links(const struct options *o, struct wcp_err *err);
int cmd_health(const struct options *o, struct wcp_err *err);
int cmd_host_data(const struct options *o, struct wcp_err *err);
int cmd_call(const struct options *o, struct wcp_err *err);
int cmd_encode(const struct options *o, struct wcp_err *err);
int cmd_decode(const struct options *o, struct wcp_err *err);
int cmd_record(const struct options *o, struct wcp_err *err);
int cmd_replay(const struct options *o, struct wcp_err *err);
int cmd_doctor(const struct options *o, struct wcp_err *err);

#endif

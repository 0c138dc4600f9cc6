/* wcp.c: the operator's tool: its commands, their options and their help. */
#include "cli/cli.h"
#include "base/log.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define O(id)      (UINT64_C(1) << OPT_##id)
#define EVERYWHERE (O(NATS) | O(LATTICE) | O(CREDS) | O(TIMEOUT) | O(HELP))

static const struct command {
    const char *words[2], *operand, *help, *more;
    uint64_t required, allowed; /* sets of options */
    int (*run)(const struct options *o, struct wcp_err *err);
} commands[] = {
    {{"link", "put"},
     NULL,
     "make or change a link",
     "A host of the lattice stores the link and tells both ends; configuration given as K=V "
     "becomes a\n"
     "named config first. With --direct no host is needed: both ends are told, nothing is stored.",
     O(SOURCE) | O(TARGET) | O(INTERFACE),
     O(NAME) | O(SOURCE_CONFIG) | O(TARGET_CONFIG) | O(DIRECT),
     cmd_link_put},
    {{"link", "del"},
     NULL,
     "delete a link",
     "Deleting what is not there succeeds. --direct needs --target too, as both ends are told.",
     O(SOURCE) | O(INTERFACE),
     O(TARGET) | O(NAME) | O(DIRECT),
     cmd_link_del},
    {{"link", "move"},
     NULL,
     "give a link another target while calls keep coming",
     "The new target gets the link and must be healthy, then the source is switched over, then the "
     "old\n"
     "target finishes its calls and loses the link. Without --direct the switch is one write to "
     "the\n"
     "links that the lattice stores; the source is then told by its host.",
     O(SOURCE) | O(INTERFACE) | O(FROM) | O(TO),
     O(NAME) | O(SOURCE_CONFIG) | O(TARGET_CONFIG) | O(DIRECT) | O(WAIT),
     cmd_link_move},
    {{"health", NULL},
     "ID",
     "ask a provider how it is",
     "Exit status 0: it is healthy.",
     0,
     O(WAIT),
     cmd_health},
    {{"host-data", NULL},
     NULL,
     "print the line that a host gives to a provider on its standard input",
     "For example: wcp host-data --id kv | keyvalue-redis",
     O(ID),
     O(HOST_ID) | O(CONFIG) | O(LINK) | O(LOG),
     cmd_host_data},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const struct option_text {
    const char *name, *arg;
    bool repeat;
    const char *help;
} texts[] = {
#define X(id, name, arg, repeat, help) {name, arg, repeat, help},
    CLI_OPTIONS(X)
#undef X
};

static void print_options(uint64_t set)
{
    for (unsigned i = 0; i < OPT_COUNT; i++) {
        char left[64];
        if (!(set & UINT64_C(1) << i))
            continue;
        (void)snprintf(left, sizeof left, "--%s %s%s", texts[i].name,
                       texts[i].arg ? texts[i].arg : "", texts[i].repeat ? " ..." : "");
        printf("  %-36s %s\n", left, texts[i].help);
    }
}

static void print_command_name(FILE *to, const struct command *c)
{
    (void)fprintf(to, "%s%s%s%s%s", c->words[0], c->words[1] ? " " : "",
                  c->words[1] ? c->words[1] : "", c->operand ? " " : "",
                  c->operand ? c->operand : "");
}

static void help(void)
{
    printf("usage: wcp COMMAND [OPTION]...\n\nLooks after the providers and links of a wasmCloud "
           "lattice.\n\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *c = &commands[i];
        printf("  %s %-*s %s\n", c->words[0], 14 - (int)strlen(c->words[0]),
               c->words[1]  ? c->words[1]
               : c->operand ? c->operand
                            : "",
               c->help);
    }
    printf("\nEvery command takes:\n");
    print_options(EVERYWHERE);
    printf(
        "\n`wcp COMMAND --help` tells the rest. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static void command_help(const struct command *c)
{
    printf("usage: wcp ");
    print_command_name(stdout, c);
    for (unsigned i = 0; i < OPT_COUNT; i++)
        if (c->required & UINT64_C(1) << i)
            printf(" --%s %s", texts[i].name, texts[i].arg);
    printf(" [OPTION]...\n\n%s.\n%s\n\n", c->help, c->more);
    print_options(c->required | c->allowed);
    printf("\n");
    print_options(EVERYWHERE);
}

static int usage(const struct command *c, const char *what)
{
    (void)fprintf(stderr, "wcp: %s; see wcp ", what);
    if (c)
        (void)fprintf(stderr, "%s%s%s ", c->words[0], c->words[1] ? " " : "",
                      c->words[1] ? c->words[1] : "");
    (void)fprintf(stderr, "--help\n");
    return EXIT_USAGE;
}

/* K=V goes to config; a name alone to names, unless names is NULL. */
static int put_config(const char *text, struct config *config, struct strings *names)
{
    const char *eq = strchr(text, '=');
    if (!eq && names && *text) {
        strings_put(names, text);
        return 0;
    }
    if (!eq || eq == text)
        return -1;
    char *key = wcp_str_dup((struct wcp_str){text, (size_t)(eq - text)});
    config_put(config, key, eq + 1);
    free(key);
    return 0;
}

static int put_ms(const char *text, uint32_t *ms)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v == 0 || v > 86400000)
        return -1;
    *ms = (uint32_t)v;
    return 0;
}

/* Ids are parts of subjects and keys: hosts and wash take the same letters. */
static bool is_id(const char *text)
{
    return *text && strlen(text) <= ID_MAX &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_-")] == '\0';
}
#define AN_ID "at most 127 letters, digits, _ and -"

/* An option's value into o. Returns what was expected instead, or NULL. */
static const char *take(struct options *o, int opt, const char *value)
{
    o->value[opt] = value ? value : "";
    if (!value)
        return NULL;
    switch (opt) {
    case OPT_SOURCE_CONFIG:
        return put_config(value, &o->source_config, &o->source_names) ? "KEY=VALUE or NAME" : NULL;
    case OPT_TARGET_CONFIG:
        return put_config(value, &o->target_config, &o->target_names) ? "KEY=VALUE or NAME" : NULL;
    case OPT_CONFIG: return put_config(value, &o->config, NULL) ? "KEY=VALUE" : NULL;
    case OPT_LINK: strings_put(&o->links, value); return NULL;
    case OPT_TIMEOUT:
        return put_ms(value, &o->timeout_ms) ? "a number of milliseconds, at most a day" : NULL;
    case OPT_WAIT:
        return put_ms(value, &o->wait_ms) ? "a number of milliseconds, at most a day" : NULL;
    case OPT_LATTICE:
    case OPT_SOURCE:
    case OPT_TARGET:
    case OPT_FROM:
    case OPT_TO:
    case OPT_NAME:
    case OPT_ID:
    case OPT_HOST_ID: return is_id(value) ? NULL : AN_ID;
    case OPT_LOG: return log_parse_level(value, &(enum wcp_level){0}) ? NULL : "a level";
    default: return *value ? NULL : "a value";
    }
}

static const struct command *find_command(char **argv, int *words)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *c = &commands[i];
        if (!argv[0] || strcmp(argv[0], c->words[0]) != 0)
            continue;
        if (c->words[1] && (!argv[1] || strcmp(argv[1], c->words[1]) != 0))
            continue;
        *words = c->words[1] ? 2 : 1;
        return c;
    }
    return NULL;
}

static void from_environment(struct options *o, enum opt opt, const char *name,
                             const char *fallback)
{
    const char *v = getenv(name);
    if (!o->value[opt])
        o->value[opt] = v && *v ? v : fallback;
}

/* Reads all of argv into o. -1: go on with *command; else the exit status. */
static int parse(int argc, char **argv, struct options *o, const struct command **command)
{
    struct option longs[OPT_COUNT + 1] = {0};
    uint64_t given = 0;
    char what[300];
    int opt;
    for (int i = 0; i < OPT_COUNT; i++)
        longs[i] = (struct option){texts[i].name, texts[i].arg ? required_argument : no_argument,
                                   NULL, i + 256};
    longs[OPT_COUNT] = (struct option){0};
    opterr = 0;
    /* Options may stand before, between and behind the words: getopt moves the words to the end. */
    while ((opt = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
        if (opt == 'h')
            opt = OPT_HELP + 256;
        if (opt == ':' || opt == '?') {
            (void)snprintf(what, sizeof what, "%.200s: %s", argv[optind - 1],
                           opt == ':' ? "a value is missing" : "no such option");
            return usage(NULL, what);
        }
        opt -= 256;
        const char *expected = take(o, opt, optarg);
        if (expected) {
            (void)snprintf(what, sizeof what, "--%s: '%.100s' found, %s expected", texts[opt].name,
                           optarg, expected);
            return usage(NULL, what);
        }
        given |= UINT64_C(1) << opt;
    }
    argv += optind;
    argc -= optind;
    int words = 0;
    const struct command *c = find_command(argv, &words);
    if (given & O(HELP)) {
        if (argc && !c)
            return usage(NULL, "there is no such command");
        c ? command_help(c) : help();
        return 0;
    }
    if (!c) {
        (void)snprintf(what, sizeof what,
                       argc ? "there is no command '%.60s%s%.60s'" : "a command is missing",
                       argc ? argv[0] : "", argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
        return usage(NULL, what);
    }
    for (int i = 0; i < OPT_COUNT; i++) {
        if (c->required & UINT64_C(1) << i && !(given & UINT64_C(1) << i)) {
            (void)snprintf(what, sizeof what, "--%s %s is missing", texts[i].name, texts[i].arg);
            return usage(c, what);
        }
        if (given & UINT64_C(1) << i &&
            !((c->required | c->allowed | EVERYWHERE) & UINT64_C(1) << i)) {
            (void)snprintf(what, sizeof what, "--%s: not an option of this command", texts[i].name);
            return usage(c, what);
        }
    }
    argv += words;
    argc -= words;
    if (c->operand && argc)
        o->operand = *argv++, argc--;
    if (c->operand && !o->operand) {
        (void)snprintf(what, sizeof what, "%s is missing", c->operand);
        return usage(c, what);
    }
    if (o->operand && !is_id(o->operand)) {
        (void)snprintf(what, sizeof what, "%s: '%.200s' found, " AN_ID " expected", c->operand,
                       o->operand);
        return usage(c, what);
    }
    if (argc) {
        (void)snprintf(what, sizeof what, "'%.200s' found, nothing more expected", argv[0]);
        return usage(c, what);
    }
    from_environment(o, OPT_NATS, "WCP_NATS_URL", "nats://127.0.0.1:4222");
    from_environment(o, OPT_LATTICE, "WCP_LATTICE", "default");
    from_environment(o, OPT_CREDS, "WCP_NATS_CREDS", NULL);
    if (!is_id(o->value[OPT_LATTICE])) {
        (void)snprintf(what, sizeof what, "WCP_LATTICE: '%.200s' found, " AN_ID " expected",
                       o->value[OPT_LATTICE]);
        return usage(c, what);
    }
    *command = c;
    return -1;
}

int main(int argc, char **argv)
{
    struct options o = {.timeout_ms = 2000};
    const struct command *command = NULL;
    struct wcp_err err = {0};

    (void)signal(SIGPIPE, SIG_IGN);
    int status = parse(argc, argv, &o, &command);
    if (status < 0) {
        int rc = command->run(&o, &err);
        status = rc == 0 ? 0 : rc == WCP_EINVAL ? EXIT_USAGE : EXIT_FAILED;
        for (char *p = err.msg; *p; p++) /* parts of it may come from others: it stays one line */
            if ((unsigned char)*p < ' ' || *p == 0x7f)
                *p = '?';
        if (rc)
            (void)fprintf(stderr, "wcp: %s\n", err.msg);
    }
    if (fflush(stdout) != 0 && !status) {
        (void)fprintf(stderr, "wcp: standard output: %s\n", strerror(errno));
        status = EXIT_FAILED;
    }
    config_free(&o.source_config);
    config_free(&o.target_config);
    config_free(&o.config);
    strings_free(&o.source_names);
    strings_free(&o.target_names);
    strings_free(&o.links);
    return status;
}

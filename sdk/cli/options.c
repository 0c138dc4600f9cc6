/* options.c: the command line into struct options, for what the command's row of the table allows.
 */
#include "base/log.h"
#include "cli/cli.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(i) (UINT64_C(1) << (i))

const struct option_text option_texts[OPT_COUNT] = {
#define X(id, name, arg, repeat, help, ...) {name, arg, repeat, help},
    CLI_OPTIONS(X)
#undef X
};

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

static int put_number(const char *text, uint32_t most, uint32_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v == 0 || v > most)
        return -1;
    *out = (uint32_t)v;
    return 0;
}

static int put_ms(const char *text, uint32_t *ms)
{
    return put_number(text, 86400000, ms);
}

static bool is_id(const char *text)
{
    return *text && strlen(text) <= ID_MAX &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_-")] == '\0';
}
#define AN_ID "at most 127 letters, digits, _ and -"

int options_id(const char *what, const char *text, struct wcp_err *err)
{
    if (is_id(text))
        return 0;
    return wcp_fail(err, WCP_EINVAL, "%s: '%.100s' found, " AN_ID " expected", what, text);
}

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
    case OPT_CODEC:
        return codec_parse(value, &o->codec, &(struct wcp_err){0}) ? "cut-signed or padded-flags"
                                                                   : NULL;
    case OPT_OUT: strings_put(&o->outs, value); return NULL;
    case OPT_TIMEOUT:
        return put_ms(value, &o->timeout_ms) ? "a number of milliseconds, at most a day" : NULL;
    case OPT_WAIT:
        return put_ms(value, &o->wait_ms) ? "a number of milliseconds, at most a day" : NULL;
    case OPT_INBOX:
        if (!*value || value[strcspn(value, " \t*>")])
            return "the beginning of subjects, without wildcards";
        strings_put(&o->inboxes, value);
        return NULL;
    case OPT_CALLS: return put_number(value, UINT32_MAX, &o->count) ? "a number above 0" : NULL;
    case OPT_SECONDS: return put_number(value, 10000000, &o->seconds) ? "a number above 0" : NULL;
    case OPT_MAX_BYTES:
        return put_number(value, 1 << 29, &o->max_bytes) ? "a number up to 536870912" : NULL;
    case OPT_CONCURRENCY:
        return put_number(value, 10000, &o->concurrency) ? "a number up to 10000" : NULL;
    case OPT_LATTICE:
    case OPT_SOURCE:
    case OPT_TARGET:
    case OPT_FROM:
    case OPT_TO:
    case OPT_NAME:
    case OPT_ID:
    case OPT_HOST:
    case OPT_JS_DOMAIN:
    case OPT_HOST_ID: return is_id(value) ? NULL : AN_ID;
    case OPT_LOG: return log_parse_level(value, &(enum wcp_level){0}) ? NULL : "a level";
    default: return *value ? NULL : "a value";
    }
}

static const struct command *find_command(char **words, int count)
{
    for (const struct command *c = commands; c->words[0]; c++)
        if (count && strcmp(words[0], c->words[0]) == 0 &&
            (!c->words[1] || (count > 1 && strcmp(words[1], c->words[1]) == 0)))
            return c;
    return NULL;
}

static void from_environment(struct options *o, enum opt opt, const char *name,
                             const char *fallback)
{
    const char *v = getenv(name);
    if (!o->value[opt])
        o->value[opt] = v && *v ? v : fallback;
}

/* Is it a word rather than an option? Numbers may be negative, and - is the standard input. */
static bool is_word(const char *a)
{
    return a[0] != '-' || !a[1] || isdigit((unsigned char)a[1]) || strcmp(a, "-inf") == 0;
}

/* The option in the first n characters of a; OPT_COUNT: there is none. */
static int find_option(const char *a, size_t n)
{
    if (strcmp(a, "-h") == 0)
        return OPT_HELP;
    if (strcmp(a, "-o") == 0)
        return OPT_OUTPUT;
    for (int i = 0; i < OPT_COUNT; i++)
        if (n == strlen(option_texts[i].name) + 2 && strncmp(a, "--", 2) == 0 &&
            strncmp(a + 2, option_texts[i].name, n - 2) == 0)
            return i;
    return OPT_COUNT;
}

/* The options in argv into o; the words, which may stand before, between and behind them, become
 * argv's first, *count of them. 0, or the exit status. */
static int take_options(int argc, char **argv, struct options *o, int *count)
{
    char what[300];
    bool words_only = false;
    *count = 0;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (words_only || is_word(a)) {
            argv[(*count)++] = a;
            continue;
        }
        if (strcmp(a, "--") == 0) {
            words_only = true;
            continue;
        }
        size_t n = strcspn(a, "=");
        int opt = find_option(a, n);
        bool has_arg = opt < OPT_COUNT && option_texts[opt].arg;
        if (opt == OPT_COUNT || (a[n] && !has_arg)) {
            (void)snprintf(what, sizeof what, "%.200s: %s", a,
                           opt == OPT_COUNT ? "no such option" : "it takes no value");
            return usage(NULL, what);
        }
        const char *value = !has_arg ? NULL : a[n] ? a + n + 1 : argv[++i];
        if (has_arg && !value) {
            (void)snprintf(what, sizeof what, "%.200s: a value is missing", a);
            return usage(NULL, what);
        }
        const char *expected = take(o, opt, value);
        if (expected) {
            (void)snprintf(what, sizeof what, "--%s: '%.100s' found, %s expected",
                           option_texts[opt].name, value, expected);
            return usage(NULL, what);
        }
    }
    return 0;
}

/* The options that c needs are there, and no others. 0, or the exit status. */
static int check_options(const struct command *c, const struct options *o)
{
    char what[300];
    for (int i = 0; i < OPT_COUNT; i++) {
        const struct option_text *t = &option_texts[i];
        if (c->required & BIT(i) && !o->value[i]) {
            (void)snprintf(what, sizeof what, "--%s %s is missing", t->name, t->arg);
            return usage(c, what);
        }
        if (o->value[i] && !((c->required | c->allowed) & BIT(i))) {
            (void)snprintf(what, sizeof what, "--%s: not an option of this command", t->name);
            return usage(c, what);
        }
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *o, const struct command **command)
{
    char what[300];
    int count, status = take_options(argc, argv, o, &count);
    if (status)
        return status;
    const struct command *c = find_command(argv, count);
    if (o->value[OPT_HELP]) {
        if (count && !c)
            return usage(NULL, "there is no such command");
        help_print(c);
        return 0;
    }
    if (o->value[OPT_MAN] && !count)
        return -1;
    if (!c) {
        (void)snprintf(what, sizeof what,
                       count ? "there is no command '%.60s%s%.60s'" : "a command is missing",
                       count ? argv[0] : "", count > 1 ? " " : "", count > 1 ? argv[1] : "");
        return usage(NULL, what);
    }
    if ((status = check_options(c, o)))
        return status;
    size_t words = c->words[1] ? 2 : 1;
    o->operands = argv + words;
    o->operand_count = (size_t)count - words;
    if (o->operand_count < c->least) {
        (void)snprintf(what, sizeof what, "%s is missing", c->operands);
        return usage(c, what);
    }
    if (o->operand_count > c->most) {
        (void)snprintf(what, sizeof what, "'%.200s' found, nothing more expected",
                       o->operands[c->most]);
        return usage(c, what);
    }
    from_environment(o, OPT_NATS, "WCP_NATS_URL", "nats://127.0.0.1:4222");
    from_environment(o, OPT_LATTICE, "WCP_LATTICE", "default");
    from_environment(o, OPT_JS_DOMAIN, "WCP_JS_DOMAIN", NULL);
#define X(id, name, arg, repeat, help, env, member) from_environment(o, OPT_##id, env, NULL);
    NATS_LOGIN(X)
#undef X
    const char *lattice = o->value[OPT_LATTICE], *domain = o->value[OPT_JS_DOMAIN];
    if (!is_id(lattice) || (domain && !is_id(domain))) {
        (void)snprintf(what, sizeof what, "%s: '%.200s' found, " AN_ID " expected",
                       is_id(lattice) ? "WCP_JS_DOMAIN" : "WCP_LATTICE",
                       is_id(lattice) ? domain : lattice);
        return usage(c, what);
    }
    *command = c;
    return -1;
}

void options_free(struct options *o)
{
    config_free(&o->source_config);
    config_free(&o->target_config);
    config_free(&o->config);
    strings_free(&o->source_names);
    strings_free(&o->target_names);
    strings_free(&o->links);
    strings_free(&o->outs);
    strings_free(&o->inboxes);
}

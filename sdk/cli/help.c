/* help.c: the table of commands as help on the terminal and as manual pages. */
#include "cli/cli.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BIT(i)   (UINT64_C(1) << (i))
#define ANYWHERE BIT(OPT_HELP)

static const char summary[] = "look after the providers and links of a wasmCloud lattice";
static const char usual_status[] = "  0  done\n"
                                   "  1  failed\n"
                                   "  2  wrong usage";
static const char environment[] = "These stand for options that are not given:\n"
                                  "  WCP_NATS_URL  --nats\n"
#define X(id, name, arg, repeat, help, env, member) "  " env "  --" name "\n"
    NATS_LOGIN(X)
#undef X
        "  WCP_LATTICE  --lattice\n"
        "  WCP_JS_DOMAIN  --js-domain\n"
        "  WCP_WIT  --wit";

/* The next line of a text; false: there is none. */
static bool next_line(const char **text, struct wcp_str *line)
{
    if (!*text || !**text)
        return false;
    *line = (struct wcp_str){*text, strcspn(*text, "\n")};
    *text += line->len + ((*text)[line->len] == '\n');
    return true;
}

static bool stands(struct wcp_str line)
{
    return line.len > 1 && line.ptr[0] == ' ' && line.ptr[1] == ' ';
}

/* "link put", for the separator ' ', or "link-put". */
static const char *command_name(const struct command *c, char separator, char out[64])
{
    (void)snprintf(out, 64, "%s%.*s%s", c->words[0], c->words[1] ? 1 : 0, &separator,
                   c->words[1] ? c->words[1] : "");
    return out;
}

static const char *option_name(int i, char out[64])
{
    const struct option_text *t = &option_texts[i];
    (void)snprintf(out, 64, "--%s%s%s%s", t->name, t->arg ? " " : "", t->arg ? t->arg : "",
                   t->repeat ? " ..." : "");
    return out;
}

/* --- on the terminal --- */

enum { COLUMNS = 90 };

/* Paragraphs, broken into lines. */
static void print_text(const char *text)
{
    for (struct wcp_str line; next_line(&text, &line);) {
        size_t column = 0;
        for (size_t at = 0; !stands(line) && at < line.len;) {
            size_t n = 0;
            while (at + n < line.len && line.ptr[at + n] != ' ')
                n++;
            if (column && column + 1 + n > COLUMNS) {
                printf("\n");
                column = 0;
            }
            printf("%s%.*s", column ? " " : "", (int)n, line.ptr + at);
            column += n + (column != 0);
            at += n + 1;
        }
        printf("%.*s\n", stands(line) ? (int)line.len : 0, line.ptr);
    }
}

static void print_options(uint64_t set)
{
    char name[64];
    for (int i = 0; i < OPT_COUNT; i++)
        if (set & BIT(i))
            printf("  %-36s %s\n", option_name(i, name), option_texts[i].help);
}

static void print_overview(void)
{
    char name[64];
    printf("usage: wcp COMMAND [OPTION]...\n\n%s.\n\n", summary);
    for (const struct command *c = commands; c->words[0]; c++)
        printf("  %-15s %s\n", command_name(c, ' ', name), c->help);
    printf("\n`wcp COMMAND --help` tells the rest; `wcp --man DIR` writes the manual pages.\n\n"
           "Exit status, unless a command's help says more:\n");
    print_text(usual_status);
    printf("\nEnvironment:\n");
    print_text(environment);
}

void help_print(const struct command *c)
{
    char name[64];
    if (!c) {
        print_overview();
        return;
    }
    printf("usage: wcp %s%s%s", command_name(c, ' ', name), c->operands ? " " : "",
           c->operands ? c->operands : "");
    for (int i = 0; i < OPT_COUNT; i++)
        if (c->required & BIT(i))
            printf(" %s", option_name(i, name));
    printf(" [OPTION]...\n\n%s.\n\n", c->help);
    print_text(c->more);
    printf("\n");
    print_options(c->required | c->allowed | ANYWHERE);
    if (c->examples)
        printf("\nExamples:\n%s\n", c->examples);
    printf("\nExit status:\n");
    print_text(c->status ? c->status : usual_status);
}

/* --- manual pages: man(7) --- */

/* Text in which nothing means anything to roff. */
static void roff(FILE *f, struct wcp_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (i == 0 && (c == '.' || c == '\''))
            (void)fprintf(f, "\\&");
        if (c == '\\')
            (void)fprintf(f, "\\e");
        else if (strchr("-'`^~", c))
            (void)fprintf(f, "%s",
                          c == '-'    ? "\\-"
                          : c == '\'' ? "\\(aq"
                          : c == '`'  ? "\\(ga"
                          : c == '^'  ? "\\(ha"
                                      : "\\(ti");
        else
            (void)fputc(c, f);
    }
}

static void roff_text(FILE *f, const char *text)
{
    bool standing = false;
    for (struct wcp_str line; next_line(&text, &line);) {
        if (stands(line) != standing)
            (void)fprintf(f, "%s", standing ? ".fi\n.RE\n" : ".PP\n.RS 2\n.nf\n");
        else if (!standing)
            (void)fprintf(f, ".PP\n");
        standing = stands(line);
        if (standing)
            line = (struct wcp_str){line.ptr + 2, line.len - 2};
        roff(f, line);
        (void)fprintf(f, "\n");
    }
    if (standing)
        (void)fprintf(f, ".fi\n.RE\n");
}

static void roff_options(FILE *f, uint64_t set)
{
    char name[64];
    for (int i = 0; i < OPT_COUNT; i++) {
        if (!(set & BIT(i)))
            continue;
        (void)fprintf(f, ".TP\n.B ");
        roff(f, wcp_str(option_name(i, name)));
        (void)fprintf(f, "\n");
        roff(f, wcp_str(option_texts[i].help));
        (void)fprintf(f, "\n");
    }
}

static void page_start(FILE *f, const char *name, const char *what)
{
    (void)fprintf(f, ".TH ");
    for (const char *p = name; *p; p++)
        (void)fputc(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p, f);
    (void)fprintf(f, " 1 \"\" Outrigger\n.SH NAME\n");
    roff(f, wcp_str(name));
    (void)fprintf(f, " \\- ");
    roff(f, wcp_str(what));
    (void)fprintf(f, "\n.SH SYNOPSIS\n");
}

static void page_status(FILE *f, const char *status)
{
    (void)fprintf(f, ".SH EXIT STATUS\n");
    roff_text(f, status);
}

static void command_page(FILE *f, const char *page, const struct command *c)
{
    char name[64];
    page_start(f, page, c->help);
    (void)fprintf(f, ".B wcp %s\n", command_name(c, ' ', name));
    if (c->operands) {
        roff(f, wcp_str(c->operands));
        (void)fprintf(f, "\n");
    }
    for (int i = 0; i < OPT_COUNT; i++)
        if (c->required & BIT(i)) {
            roff(f, wcp_str(option_name(i, name)));
            (void)fprintf(f, "\n");
        }
    (void)fprintf(f, "[OPTION]...\n.SH DESCRIPTION\n");
    roff_text(f, c->more);
    (void)fprintf(f, ".SH OPTIONS\n");
    roff_options(f, c->required | c->allowed | ANYWHERE);
    page_status(f, c->status ? c->status : usual_status);
    if (c->examples) {
        (void)fprintf(f, ".SH EXAMPLES\n");
        roff_text(f, c->examples);
    }
    (void)fprintf(f, ".SH SEE ALSO\n.BR wcp (1)\n");
}

static void overview_page(FILE *f)
{
    char name[64];
    page_start(f, "wcp", summary);
    (void)fprintf(f, ".B wcp\nCOMMAND [OPTION]...\n.SH COMMANDS\n");
    for (const struct command *c = commands; c->words[0]; c++) {
        (void)fprintf(f, ".TP\n.BR wcp\\-");
        roff(f, wcp_str(command_name(c, '-', name)));
        (void)fprintf(f, " (1)\n");
        roff(f, wcp_str(c->help));
        (void)fprintf(f, "\n");
    }
    (void)fprintf(f, ".SH ENVIRONMENT\n");
    roff_text(f, environment);
    page_status(f, usual_status);
}

static int write_page(const char *dir, const struct command *c, struct wcp_err *err)
{
    char page[80] = "wcp", path[4096], name[64];
    if (c)
        (void)snprintf(page, sizeof page, "wcp-%s", command_name(c, '-', name));
    int n = snprintf(path, sizeof path, "%s/%s.1", dir, page);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "we") : NULL;
    if (f && c)
        command_page(f, page, c);
    else if (f)
        overview_page(f);
    bool ok = f && !ferror(f);
    if ((f && fclose(f) != 0) || !ok)
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(errno));
    return 0;
}

int help_write_pages(const char *dir, struct wcp_err *err)
{
    int rc = write_page(dir, NULL, err);
    for (const struct command *c = commands; c->words[0] && rc == 0; c++)
        rc = write_page(dir, c, err);
    return rc;
}

/* wcp.c: the operator's tool: its commands. */
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define O(id)   (UINT64_C(1) << OPT_##id)
#define LATTICE (O(NATS) | O(LATTICE) | O(CREDS) | O(TIMEOUT))

const struct command commands[] = {
    {.words = {"link", "put"},
     .help = "make or change a link",
     .more =
         "A host of the lattice stores the link and tells both ends; configuration given as K=V "
         "becomes a named config first. With --direct no host is needed: both ends are told, "
         "nothing is stored.",
     .examples = "  wcp link put --source http --target kv --interface wasi:keyvalue/store \\\n"
                 "      --target-config URL=redis://127.0.0.1",
     .required = O(SOURCE) | O(TARGET) | O(INTERFACE),
     .allowed = LATTICE | O(NAME) | O(SOURCE_CONFIG) | O(TARGET_CONFIG) | O(DIRECT),
     .run = cmd_link_put},
    {.words = {"link", "del"},
     .help = "delete a link",
     .more = "Deleting what is not there succeeds. --direct needs --target too, as both ends are "
             "told.",
     .examples = "  wcp link del --source http --interface wasi:keyvalue",
     .required = O(SOURCE) | O(INTERFACE),
     .allowed = LATTICE | O(TARGET) | O(NAME) | O(DIRECT),
     .run = cmd_link_del},
    {.words = {"link", "move"},
     .help = "give a link another target while calls keep coming",
     .more = "The new target gets the link and must be healthy, then the source is switched over, "
             "then the old target finishes its calls and loses the link. Without --direct the "
             "switch is one write to the links that the lattice stores; the source is then told by "
             "its host.",
     .examples = "  wcp link move --source http --interface wasi:keyvalue --from kv --to kv-new",
     .required = O(SOURCE) | O(INTERFACE) | O(FROM) | O(TO),
     .allowed = LATTICE | O(NAME) | O(SOURCE_CONFIG) | O(TARGET_CONFIG) | O(DIRECT) | O(WAIT),
     .run = cmd_link_move},
    {.words = {"health"},
     .operands = "ID",
     .least = 1,
     .most = 1,
     .help = "ask a provider how it is",
     .more = "Prints that it is healthy, or why it is not.",
     .examples = "  wcp health kv --wait 10000",
     .status = "  0  it is healthy\n"
               "  1  it is not, or does not answer\n"
               "  2  wrong usage",
     .allowed = LATTICE | O(WAIT),
     .run = cmd_health},
    {.words = {"host-data"},
     .help = "print the line that a host gives to a provider on its standard input",
     .more = "A provider started with it takes its place in the lattice as if a host had started "
             "it.",
     .examples = "  wcp host-data --id kv | keyvalue-redis",
     .required = O(ID),
     .allowed = LATTICE | O(HOST_ID) | O(CONFIG) | O(LINK) | O(LOG),
     .run = cmd_host_data},
    {.help = NULL},
};

int main(int argc, char **argv)
{
    struct options o = {.timeout_ms = 2000};
    const struct command *command = NULL;
    struct wcp_err err = {0};

    (void)signal(SIGPIPE, SIG_IGN);
    int status = options_parse(argc, argv, &o, &command);
    if (status < 0) {
        int rc =
            o.value[OPT_MAN] ? help_write_pages(o.value[OPT_MAN], &err) : command->run(&o, &err);
        status = rc >= 0 ? rc : rc == WCP_EINVAL ? EXIT_USAGE : EXIT_FAILED;
        for (char *p = err.msg; *p; p++) /* parts of it may come from others: it stays one line */
            if ((unsigned char)*p < ' ' || *p == 0x7f)
                *p = '?';
        if (rc && *err.msg)
            (void)fprintf(stderr, "wcp: %s\n", err.msg);
    }
    if (fflush(stdout) != 0 && !status) {
        (void)fprintf(stderr, "wcp: standard output: %s\n", strerror(errno));
        status = EXIT_FAILED;
    }
    options_free(&o);
    return status;
}

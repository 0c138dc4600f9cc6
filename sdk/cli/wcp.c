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
    {.words = {"record"},
     .operands = "ID",
     .least = 1,
     .most = 1,
     .help = "write the calls of a provider into a file",
     .more =
         "It listens to what passes by: to the invocations of ID, and to the inboxes on which the "
         "rest of a call travels. Each call is written when it is over: when all its channels that "
         "were seen have ended and nothing came for 3 s, or nothing came for 30 s. Ctrl-C ends the "
         "recording; so does what --count or --seconds says. Whoever is killed leaves a file that "
         "can be read.\n"
         "Recordings hold the parameters and results of calls, and so the data and secrets in "
         "them: "
         "the file is for its owner alone (mode 0600), and an existing one is not overwritten.\n"
         "On NATS, whoever listens to a subject counts as somebody who answers: while this runs, "
         "callers of a provider that is gone are not told so at once, but wait for their own "
         "time-out. Nothing else is changed for anybody.\n"
         "The file is MessagePack: a map as head, then a map for each call. See docs/recording.md.",
     .examples = "  wcp record kv-redis -o kv.wcprec --seconds 60\n"
                 "  wcp replay kv.wcprec --to kv-new",
     .allowed = LATTICE | O(OUTPUT) | O(CALLS) | O(SECONDS) | O(INBOX) | O(MAX_BYTES),
     .run = cmd_record},
    {.words = {"replay"},
     .operands = "FILE",
     .least = 1,
     .most = 1,
     .help = "send recorded calls again, and print which answers differ",
     .more =
         "The calls of a recording (wcp record) are sent to --to in the order in which they began, "
         "one after the other, so that stores come to the same state. Their headers are those "
         "recorded, so they come over the same links; --source replaces their source. Calls that "
         "were not recorded whole are left out.\n"
         "Each difference is a line: the number of the call in the recording, its function, and "
         "what was recorded and what came, from the first byte that differs. How a stream of bytes "
         "was cut into chunks does not matter. At the end the answers are counted, and how long "
         "they took is compared.\n"
         "--timeout is for the answer to a call, and for any progress of it after that (2000).",
     .examples = "  wcp replay kv.wcprec --to kv-new\n"
                 "  wcp replay kv.wcprec --to kv-new --only store@0.2.0-draft.get --concurrency 16",
     .status = "  0  all answers are the same\n"
               "  1  some differ, or the file is no recording\n"
               "  2  wrong usage\n"
               "  3  some calls could not be sent: no connection, or nobody serves them",
     .required = O(TO),
     .allowed = LATTICE | O(SOURCE) | O(ONLY) | O(CONCURRENCY),
     .run = cmd_replay},
    {.words = {"doctor"},
     .operands = "[ID]",
     .least = 0,
     .most = 1,
     .help = "find the first thing that is wrong, and its cure",
     .more =
         "It looks at NATS (the server, the login), JetStream, the lattice's buckets, its hosts, "
         "the "
         "provider ID, its links, the named configurations they refer to, whether calls over them "
         "are served, and what the provider says of its backends. Each is a line: ok, WRONG or "
         "skipped. After the first that is wrong comes its cure, and nothing more. Without ID the "
         "lattice alone is looked at. --source, --interface and --name choose among the links.\n"
         "NATS does not tell who listens to what. So calls are sent over the links, in the name of "
         "their source: store.exists of a key, or container-exists of a container, 'wcp-doctor', "
         "which change nothing; to other interfaces that are known here a call without its "
         "parameters, which is refused before anything is done. Each of these may leave a line in "
         "the provider's log.\n"
         "--direct is for a lattice without hosts, where no link is stored: with --source and "
         "--interface one link is tried.",
     .examples = "  wcp doctor kv-redis\n"
                 "  wcp doctor kv-redis --source my-component --interface wasi:keyvalue/store",
     .status = "  0  all is well\n"
               "  1  something is wrong\n"
               "  2  wrong usage",
     .allowed = LATTICE | O(SOURCE) | O(INTERFACE) | O(NAME) | O(DIRECT),
     .run = cmd_doctor},
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

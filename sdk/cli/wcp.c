/* wcp.c: the operator's tool: its commands. */
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define O(id)      (UINT64_C(1) << OPT_##id)
#define X(id, ...) | O(id)
#define LATTICE    (O(NATS) | O(LATTICE) | O(TIMEOUT) NATS_LOGIN(X))

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
     .allowed = LATTICE | O(JS_DOMAIN) | O(TARGET) | O(NAME) | O(DIRECT),
     .run = cmd_link_del},
    {.words = {"swap"},
     .operands = "SOURCE INTERFACE",
     .least = 2,
     .most = 2,
     .help = "give a link another target while calls keep coming",
     .more =
         "The link is the one of SOURCE for INTERFACE (NS:PKG, or NS:PKG/IFACE,...) named "
         "--name. The new target gets it and must say that it is ready, then the source is "
         "switched over, "
         "then the old target finishes its calls and loses the link. The switch is one write to "
         "the links that the lattice stores; hosts follow it. --from says which is meant if the "
         "link has several targets. The new target has no configuration but --target-config.\n"
         "With --check, calls that were recorded (wcp record) of SOURCE over this link are sent "
         "to the new target beforehand, as wcp replay does it. They change what it stores. If "
         "an answer differs, nothing is changed.\n"
         "--rollback gives the link back to the target that it had before the last swap, with "
         "the configuration that it had.\n"
         "With --direct, no host is needed: SOURCE is told itself, nothing is stored, and there "
         "is no --rollback.\n"
         "A link that wadm made is changed in its manifest; wadm would put the old one back.",
     .examples = "  wcp swap http wasi:keyvalue --to kv-new --check kv.wcprec\n"
                 "  wcp swap http wasi:keyvalue --rollback",
     .status = "  0  the new target serves the link\n"
               "  1  not so; nothing is changed unless it says so\n"
               "  2  wrong usage",
     .allowed = LATTICE | O(JS_DOMAIN) | O(TO) | O(FROM) | O(NAME) | O(SOURCE_CONFIG) |
                O(TARGET_CONFIG) | O(DIRECT) | O(WAIT) | O(CHECK) | O(WIT) | O(ROLLBACK),
     .run = cmd_swap},
    {.words = {"drain"},
     .operands = "ID",
     .least = 1,
     .most = 1,
     .help = "let a provider leave: it finishes its calls and ends",
     .more =
         "The host that lists the provider is told to stop it. A standalone provider is such a "
         "host itself: it takes no new calls, finishes what runs within its --drain-ms, and ends "
         "with status 0, as on SIGTERM. If several replicas run, --host says which one is meant, "
         "--all that all of them are, one after the other. It waits until they are gone, at "
         "most --wait (30000) each.",
     .examples = "  wcp drain kv-redis --all",
     .status = "  0  it has left\n"
               "  1  it has not, or does not run\n"
               "  2  wrong usage, or several run",
     .allowed = LATTICE | O(HOST) | O(ALL) | O(WAIT),
     .run = cmd_drain},
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
    {.words = {"links"},
     .operands = "[ID]",
     .least = 0,
     .most = 1,
     .help = "tell the state of links",
     .more =
         "Asks the provider ID, else all providers of the lattice; each replica answers. A line is "
         "a link at one of them: its state and since when, and why it is not ready.\n"
         "  connecting  the provider has it, its backend is not connected yet\n"
         "  ready       calls over it are served\n"
         "  failed      they are refused, or the backend is not usable; it is tried again, unless\n"
         "              its configuration or secrets are wrong: then it waits for others\n"
         "  draining    it is gone when its last calls have ended\n"
         "What the lattice stores but a provider does not have is not shown: see wcp-doctor(1).",
     .examples = "  wcp links kv-redis\n"
                 "  wcp links --json | jq '.links[] | select(.state != \"ready\")'",
     .status = "  0  none has failed\n"
               "  1  some have, or nobody answers\n"
               "  2  wrong usage",
     .allowed = LATTICE | O(JSON),
     .run = cmd_links},
    {.words = {"host-data"},
     .help = "print the line that a host gives to a provider on its standard input",
     .more = "A provider started with it takes its place in the lattice as if a host had started "
             "it.",
     .examples = "  wcp host-data --id kv | keyvalue-redis",
     .required = O(ID),
     .allowed = O(NATS) | O(LATTICE) | O(CREDS) | O(HOST_ID) | O(CONFIG) | O(LINK) | O(LOG),
     .run = cmd_host_data},
    {.words = {"call"},
     .operands = "[ID] FUNCTION [VALUE]...",
     .least = 1,
     .most = SIZE_MAX,
     .help = "call a function of a provider or component",
     .more =
         "ID is who is called over NATS; with --unix or --tcp there is none. FUNCTION is "
         "INTERFACE.NAME, as in wrpc:keyvalue/store.get or, for what belongs to a resource, "
         "test:vec/api.counter.incr; its version, and the package, may be left out where the rest "
         "is unique. The interfaces are those of --wit, else of WCP_WIT, else those installed with "
         "wcp. A provider serves who is linked to it: the call comes from the id --source (wcp) "
         "over the link --name.\n"
         "Each VALUE is a parameter in WAVE, the WebAssembly Value Encoding:\n"
         "  true  -5  6.02e23  nan  'x'  \"text\\n\"  [1, 2]  (1, \"b\")  {field: 1}  case(1)\n"
         "  some(1) or just 1  none  ok(1)  err(\"why\")  {flag, other}  // comment\n"
         "Beyond WAVE there is\n"
         "  list<u8>  also a string, with \\xNN for any byte; or a file: @FILE, @\"FILE\",\n"
         "            or - for the standard input\n"
         "  handle    handle(\"0a0b\"), its bytes in hexadecimal digits\n"
         "  stream    [1, 2], or a file: the bytes of a stream<u8>, else a value on each line\n"
         "  future    the value, () for one without a type, or a file with the value\n"
         "A whole VALUE of any other type may also be - or @FILE, which holds its text. Options at "
         "the end may be left out.\n"
         "The result is printed in WAVE, an error as err(...). In it, a stream or future is called "
         "by its place: @0.1 is member 1 of the result. What comes on it follows, a line for each "
         "value: @0.1: \"value\". With --out it goes to a file instead, bytes as they are. If the "
         "result has one stream<u8> and --out does not name it, its bytes are the standard output, "
         "and all else is on the standard error. A result that is nothing but a stream or future "
         "is not printed itself, and its values have no name before them.\n"
         "--timeout is for the answer, and for any progress of a stream after it (30000).",
     .examples =
         "  wcp call kv-redis wrpc:keyvalue/store.get '\"\"' '\"key\"' --text\n"
         "  wcp call --unix /run/kv.sock store.set '\"\"' '\"key\"' @photo.jpg\n"
         "  wcp call store blobstore.get-container-data '{container: \"c\", object: \"o\"}' \\\n"
         "      0 1000 >object",
     .status = "  0    it answered\n"
               "  1    it answered with its own error: a result, or a future in it, is err\n"
               "  2    wrong usage: no such function, a wrong value, no such file\n"
               "  3    no answer, or not all of it: nobody serves it, a time-out, a lost\n"
               "       connection, a file that cannot be read or written\n"
               "  130  interrupted (143: terminated)",
     .allowed =
         LATTICE | O(SOURCE) | O(NAME) | O(UNIX) | O(TCP) | O(WIT) | O(OUT) | O(TEXT) | O(CODEC),
     .run = cmd_call},
    {.words = {"encode"},
     .operands = "TYPE VALUE",
     .least = 2,
     .most = 2,
     .help = "print the bytes of a value on the wire",
     .more = "TYPE is in WIT: list<option<u32>>. It may name types of --wit (else of WCP_WIT, else "
             "the installed ones), store.error where error is not unique, and may bring "
             "definitions of its own: record p { x: u8 } list<p>. VALUE is in WAVE, as in "
             "wcp-call(1), or in a file: @FILE, or - for the standard input.\n"
             "Streams and futures that have a value are written inline; pending is one whose "
             "value comes later.",
     .examples = "  wcp encode 'tuple<u32, string>' '(300, \"a\")'\n"
                 "  wcp encode --wit wit/ key-response @value.wave --raw >value.bin",
     .status = "  0  done\n"
               "  1  the standard output cannot be written\n"
               "  2  wrong usage: TYPE is none, or VALUE is none of it",
     .allowed = O(WIT) | O(RAW) | O(CODEC),
     .run = cmd_encode},
    {.words = {"decode"},
     .operands = "TYPE HEX",
     .least = 2,
     .most = 2,
     .help = "print the value that bytes on the wire are",
     .more =
         "TYPE is as in wcp-encode(1). HEX is hexadecimal digits, with spaces or without, or in "
         "a file: @FILE, or - for the standard input; with --raw the file holds the bytes "
         "themselves. The value is printed in WAVE, as in wcp-call(1). An error begins with "
         "the number of the byte, from 0, where what is wrong begins.",
     .examples = "  wcp decode 'option<list<u8>>' '01 03 61 62 63' --text\n"
                 "  wcp decode --wit wit/ key-response @value.bin --raw",
     .status = "  0  done\n"
               "  1  the bytes are no such value\n"
               "  2  wrong usage: TYPE is none, or HEX is no digits",
     .allowed = O(WIT) | O(RAW) | O(TEXT) | O(CODEC),
     .run = cmd_decode},
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
         "what was recorded and what came: in WAVE where the types are known (--wit, else WCP_WIT, "
         "else the installed interfaces), else in hexadecimal digits from the first byte that "
         "differs. How a stream was cut into chunks does not matter. At the end the answers are "
         "counted, and how long they took is compared.\n"
         "--timeout is for the answer to a call, and for any progress of it after that (30000).",
     .examples = "  wcp replay kv.wcprec --to kv-new\n"
                 "  wcp replay kv.wcprec --to kv-new --only store@0.2.0-draft.get --concurrency 16",
     .status = "  0  all answers are the same\n"
               "  1  some differ, or the file is no recording\n"
               "  2  wrong usage\n"
               "  3  some calls could not be sent: no connection, or nobody serves them",
     .required = O(TO),
     .allowed = LATTICE | O(SOURCE) | O(WIT) | O(ONLY) | O(CONCURRENCY),
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
     .allowed = LATTICE | O(JS_DOMAIN) | O(SOURCE) | O(INTERFACE) | O(NAME) | O(DIRECT),
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

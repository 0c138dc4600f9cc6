/* test_io_standalone.c: flags, environment and folders become HostData. */
#include "test.h"
#include "io/standalone.h"
#include "lattice/secrets.h"
#include <sodium.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/outrigger-standalone-XXXXXX";

static void write_file(const char *name, const char *text, size_t n)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f))
        FAIL("cannot write %s", path);
}

static void remove_folder(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command))
        FAIL("%s", command);
}

static int read_args(struct standalone *s, ...)
{
    char *argv[20] = {(char[]){"provider"}};
    int n = 1;
    va_list ap;
    va_start(ap, s);
    for (char *a; (a = va_arg(ap, char *)); n++)
        argv[n] = a;
    va_end(ap);
    if (sodium_init() < 0)
        FAIL("sodium_init");
    return standalone_read(n, argv, "provider", s);
}

static void close_standalone(struct standalone *s)
{
    hostdata_free(&s->hd);
    standalone_free(s);
}

TEST(standalone_without_anything_leaves_it_to_stdin)
{
    struct standalone s;
    CHECK_INT(read_args(&s, NULL), STANDALONE_GO);
    CHECK(s.from_stdin);
    CHECK_INT(read_args(&s, "--log", "debug", NULL), STANDALONE_GO);
    CHECK(s.from_stdin);
    CHECK_STR(s.log_level, "debug");
}

TEST(standalone_environment_alone_counts_only_with_a_provider_id)
{
    struct standalone s;
    setenv("WCP_NATS_URL", "nats://h:1", 1); /* may be meant for wcp, in the same shell */
    CHECK_INT(read_args(&s, NULL), STANDALONE_GO);
    CHECK(s.from_stdin);
    setenv("WCP_PROVIDER_ID", "kv", 1);
    CHECK_INT(read_args(&s, NULL), STANDALONE_GO);
    CHECK(!s.from_stdin);
    CHECK_STR(s.hd.nats_url, "nats://h:1");
    close_standalone(&s);
}

TEST(standalone_fills_host_data_and_flags_win_over_the_environment)
{
    struct standalone s;
    setenv("WCP_LATTICE", "from-env", 1);
    setenv("WCP_PROVIDER_ID", "id-from-env", 1);
    CHECK_INT(read_args(&s, "--lattice=mine", "--nats", "nats://h:1", "--creds", "/c", "--config",
                        "URL=a=b", "--config", "empty=", NULL),
              STANDALONE_GO);
    CHECK(!s.from_stdin && s.hd.standalone);
    CHECK_STR(s.hd.lattice, "mine");
    CHECK_STR(s.hd.provider_id, "id-from-env");
    CHECK_STR(s.hd.nats_url, "nats://h:1");
    CHECK_STR(s.login.creds_file, "/c");
    CHECK_STR(config_get(&s.hd.config, "URL"), "a=b");
    CHECK_STR(config_get(&s.hd.config, "empty"), "");
    CHECK_STR(s.hd.host_id, "");
    CHECK_INT(s.hd.default_rpc_timeout_ms, -1);
    close_standalone(&s);
}

TEST(standalone_reads_a_folder_of_config_and_one_of_secrets)
{
    struct standalone s;
    char hidden[100];
    CHECK(mkdtemp(folder) != NULL);
    write_file("URL", "from the file\n", 14);
    write_file("two", "a\n\n", 3);
    write_file(".ignored", "x", 1);
    write_file("windows", "w\r\n", 3);
    snprintf(hidden, sizeof hidden, "%s/..data", folder); /* as Kubernetes mounts have it */
    CHECK_INT(mkdir(hidden, 0700), 0);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--config-dir", folder, "--secrets-dir", folder,
                        "--config", "two=by flag", NULL),
              STANDALONE_GO);
    CHECK_STR(config_get(&s.hd.config, "URL"), "from the file");
    CHECK_STR(config_get(&s.hd.config, "two"), "by flag");
    CHECK_STR(config_get(&s.hd.config, "windows"), "w");
    CHECK(!config_get(&s.hd.config, ".ignored"));
    const struct secret *two = secrets_get(&s.hd.secrets, "two");
    CHECK(two != NULL);
    CHECK_INT(two->len, 2); /* one newline is cut */
    CHECK(memcmp(two->value, "a\n", 3) == 0);
    CHECK_INT(s.hd.secrets.n, 3);
    close_standalone(&s);
    remove_folder();
}

TEST(standalone_takes_a_mebibyte_in_a_file_and_not_more)
{
    struct standalone s;
    size_t n = (size_t)1 << 20;
    char *text = calloc(1, n + 1);
    memset(text, 'x', n + 1);
    CHECK(mkdtemp(folder) != NULL);
    write_file("big", text, n);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--config-dir", folder, NULL), STANDALONE_GO);
    CHECK_INT(strlen(config_get(&s.hd.config, "big")), n);
    close_standalone(&s);
    write_file("big", text, n + 1);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--config-dir", folder, NULL), 2);
    write_file("big", "a\0b", 3);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--config-dir", folder, NULL), 2);
    free(text);
    remove_folder();
}

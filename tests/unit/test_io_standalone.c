/* test_io_standalone.c: flags, environment and folders become HostData. */
#include "test.h"
#include "io/files.h"
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

TEST(standalone_takes_logins_from_flags_and_the_environment)
{
    struct standalone s;
    setenv("WCP_NATS_TOKEN_FILE", "/token", 1);
    setenv("WCP_JS_DOMAIN", "hub", 1);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--nkey", "/seed", "--nats-user=me",
                        "--nats-password-file", "/pw", "--nats-ca", "/ca", "--nats-cert", "/cert",
                        "--nats-key", "/key", NULL),
              STANDALONE_GO);
    CHECK_STR(s.login.nkey_file, "/seed");
    CHECK_STR(s.login.user, "me");
    CHECK_STR(s.login.password_file, "/pw");
    CHECK_STR(s.login.token_file, "/token");
    CHECK_STR(s.login.ca_file, "/ca");
    CHECK_STR(s.login.cert_file, "/cert");
    CHECK_STR(s.login.key_file, "/key");
    CHECK(!s.login.creds_file);
    CHECK_STR(s.hd.js_domain, "hub");
    close_standalone(&s);
    CHECK_INT(read_args(&s, "--provider-id", "p", "--js-domain", "a.b", NULL), 2);
}

TEST(standalone_folders_win_over_host_data_and_can_be_read_again)
{
    struct standalone s;
    struct config config = {0};
    struct secrets secrets = {0};
    struct wcp_err err;
    char path[100];
    static const char json[] = "{\"lattice_rpc_prefix\":\"l\",\"provider_key\":\"p\",\"config\":{"
                               "\"a\":\"host\",\"b\":\"host\"},"
                               "\"secrets\":{\"a\":{\"kind\":\"String\",\"value\":\"host\"},"
                               "\"b\":{\"kind\":\"String\",\"value\":\"host\"}}}";
    CHECK(mkdtemp(folder) != NULL);
    write_file(".host-data", json, sizeof json - 1);
    write_file("a", "file", 4);
    snprintf(path, sizeof path, "%s/.host-data", folder);
    CHECK_INT(read_args(&s, "--host-data", path, "--config-dir", folder, "--secrets-dir", folder,
                        "--config", "c=flag", NULL),
              STANDALONE_GO);
    CHECK_STR(config_get(&s.hd.config, "a"), "file");
    CHECK_STR(config_get(&s.hd.config, "b"), "host");
    CHECK_STR((const char *)secrets_get(&s.hd.secrets, "a")->value, "file");
    CHECK_STR((const char *)secrets_get(&s.hd.secrets, "b")->value, "host");
    write_file("b", "file", 4);
    CHECK_INT(mounts_read(&s.mounts, &config, &secrets, &err), 0);
    CHECK_STR(config_get(&config, "b"), "file");
    CHECK_STR(config_get(&config, "c"), "flag");
    CHECK_INT(config.n, 3);
    CHECK_STR((const char *)secrets_get(&secrets, "b")->value, "file");
    CHECK_INT(secrets.n, 2);
    config_free(&config);
    secrets_free(&secrets);
    remove_folder();
    CHECK_INT(mounts_read(&s.mounts, &config, &secrets, &err), WCP_EIO);
    CHECK(!config.at && !secrets.at && strstr(err.msg, "--config-dir: "));
    close_standalone(&s);
}

TEST(files_have_another_stamp_when_they_change)
{
    char *text;
    struct wcp_err err;
    char path[100];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a", folder);
    CHECK_INT(file_stamp(path), 0);
    uint64_t empty = file_stamp(folder);
    write_file("a", "x\n", 2);
    uint64_t one = file_stamp(folder), file = file_stamp(path);
    CHECK(empty && one != empty && file && file_stamp(folder) == one);
    CHECK_INT(file_read_text(path, &text, &err), 0);
    CHECK_STR(text, "x");
    file_free(text, 1);
    write_file("a", "xyz", 3);
    CHECK(file_stamp(folder) != one && file_stamp(path) != file);
    write_file("a", "\n", 1);
    CHECK_INT(file_read_text(path, &text, &err), WCP_EINVAL);
    CHECK(strstr(err.msg, "nothing found in it"));
    write_file("a", "x\0y", 3);
    CHECK_INT(file_read_text(path, &text, &err), WCP_EINVAL);
    CHECK(strstr(err.msg, "a NUL byte found"));
    remove_folder();
}

/* test_io_standalone.c: flags, environment and folders become HostData. */
#include "capture.h"
#include "io/files.h"
#include "io/host_key.h"
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
    CHECK_INT(strlen(s.hd.host_id), 56); /* its own */
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

/* --- registration --- */

TEST(standalone_is_a_host_of_its_own)
{
    struct standalone s;
    setenv("WCP_LABELS", "zone=a,rack=1=2,", 1);
    CHECK_INT(read_args(&s, "--provider-id", "kv", NULL), STANDALONE_GO);
    CHECK(s.hd.registration.on && !s.hd.registration.wadm_host);
    CHECK_INT(s.hd.registration.labels.n, 2);
    CHECK_STR(config_get(&s.hd.registration.labels, "zone"), "a");
    CHECK_STR(config_get(&s.hd.registration.labels, "rack"), "1=2");
    CHECK_STR(s.hd.registration.image, "outrigger/provider:0.1.0");
    CHECK_STR(s.hd.registration.provider_name, "provider");
    CHECK_STR(s.hd.registration.version, "0.1.0");
    CHECK(strncmp(s.hd.registration.friendly_name, "kv-", 3) == 0);
    close_standalone(&s);
    CHECK_INT(read_args(&s, "--provider-id", "kv", "--label", "a=b", "--label=c=", "--image", "x:1",
                        "--wadm-host", NULL),
              STANDALONE_GO);
    CHECK(s.hd.registration.wadm_host);
    CHECK_INT(s.hd.registration.labels.n, 2); /* flags win */
    CHECK_STR(config_get(&s.hd.registration.labels, "c"), "");
    CHECK_STR(s.hd.registration.image, "x:1");
    close_standalone(&s);
    setenv("WCP_WADM_HOST", "1", 1);
    CHECK_INT(read_args(&s, "--provider-id", "kv", NULL), STANDALONE_GO);
    CHECK(s.hd.registration.wadm_host);
    close_standalone(&s);
    setenv("WCP_WADM_HOST", "0", 1);
    CHECK_INT(read_args(&s, "--provider-id", "kv", NULL), STANDALONE_GO);
    CHECK(!s.hd.registration.wadm_host);
    close_standalone(&s);
    setenv("WCP_WADM_HOST", "yes", 1);
    CHECK_INT(read_args(&s, "--provider-id", "kv", NULL), 2);
}

TEST(standalone_refuses_labels_that_are_none)
{
    static const char *const bad[] = {"zone",   "=a",   "hostcore.os=x", "outrigger.dev/provider=x",
                                      "a=\xff", "a=b,c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct standalone s;
        CHECK_INT(read_args(&s, "--provider-id", "kv", "--label", (char *)(uintptr_t)bad[i], NULL),
                  2);
    }
    struct standalone s;
    CHECK_INT(read_args(&s, "--provider-id", "kv", "--image", "\xff", NULL), 2);
}

TEST(standalone_without_nats_or_with_another_host_is_none)
{
    struct standalone s;
    CHECK_INT(read_args(&s, "--listen", "unix:/x", NULL), STANDALONE_GO);
    CHECK(!s.hd.registration.on);
    close_standalone(&s);
    CHECK_INT(read_args(&s, "--listen", "unix:/x", "--wadm-host", NULL), 2);
    if (!mkdtemp(folder))
        FAIL("mkdtemp");
    const char *data =
        "{\"host_id\":\"NHOST\",\"lattice_rpc_prefix\":\"l\",\"provider_key\":\"k\"}";
    write_file("data", data, strlen(data));
    char path[100];
    snprintf(path, sizeof path, "%s/data", folder);
    CHECK_INT(read_args(&s, "--host-data", path, NULL), STANDALONE_GO);
    CHECK(!s.hd.registration.on);
    CHECK_STR(s.hd.host_id, "NHOST");
    close_standalone(&s);
    CHECK_INT(read_args(&s, "--host-data", path, "--image", "x", NULL), 2);
    remove_folder();
}

#define SEED "SNAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2D5U"
#define ID   "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB"

TEST(host_key_is_made_kept_and_locked)
{
    char path[100], id[3][NKEY_PUBLIC_LEN + 1];
    int lock[3];
    struct wcp_err err;
    struct stat st;
    capture_start();
    if (!mkdtemp(folder) || sodium_init() < 0)
        FAIL("mkdtemp");
    snprintf(path, sizeof path, "%s/key", folder);
    CHECK_INT(host_key_open(path, id[0], &lock[0], &err), 0);
    CHECK(id[0][0] == 'N' && lock[0] >= 0 && stat(path, &st) == 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    CHECK_INT(st.st_size, NKEY_SEED_LEN + 1);
    CHECK_INT(host_key_open(path, id[1], &lock[1], &err), 0);
    CHECK(strcmp(id[0], id[1]) != 0 && lock[1] == -1);
    CHECK_LOGGED("another process uses this host key");
    close(lock[0]);
    CHECK_INT(host_key_open(path, id[2], &lock[2], &err), 0);
    CHECK_STR(id[2], id[0]);
    close(lock[2]);
    CHECK_INT(host_key_open(NULL, id[2], &lock[2], &err), 0);
    CHECK(strcmp(id[2], id[0]) != 0 && lock[2] == -1);
    remove_folder();
}

TEST(host_key_of_a_file_that_others_wrote)
{
    static const struct {
        const char *text, *why;
    } cases[] = {{SEED, NULL},
                 {SEED "\n", NULL},
                 {SEED "\r\n", NULL},
                 {"", NULL},
                 {"\n", "0 characters found, a seed SN... of 58 expected"},
                 {"x", "1 characters found, a seed SN... of 58 expected"},
                 {SEED SEED, "65 characters found, a seed SN... of 58 expected"},
                 {"SUAGAYLCMNSGKZTHNBUWU23MNVXG64DROJZXI5LWO54HS6T3PR6X4767BY",
                  "a key that starts with SU found, a seed, SN, expected"}};
    char path[100], id[NKEY_PUBLIC_LEN + 1], expected[200];
    int lock;
    struct wcp_err err;
    if (!mkdtemp(folder) || sodium_init() < 0)
        FAIL("mkdtemp");
    snprintf(path, sizeof path, "%s/key", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("key", cases[i].text, strlen(cases[i].text));
        int rc = host_key_open(path, id, &lock, &err);
        snprintf(expected, sizeof expected, "%s: %s", path, cases[i].why ? cases[i].why : "");
        if (cases[i].why)
            CHECK_STR(err.msg, expected);
        CHECK_INT(rc, cases[i].why ? WCP_EINVAL : 0);
        CHECK((lock >= 0) == !cases[i].why);
        if (!rc && *cases[i].text)
            CHECK_STR(id, ID);
        if (!rc)
            close(lock);
    }
    CHECK_INT(host_key_open(folder, id, &lock, &err), WCP_EIO);
    CHECK(strstr(err.msg, "Is a directory"));
    CHECK_INT(host_key_open("/nonexistent/key", id, &lock, &err), WCP_EIO);
    CHECK_STR(err.msg, "/nonexistent/key: No such file or directory");
    remove_folder();
}

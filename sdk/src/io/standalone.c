/* standalone.c: what a provider is told by flags, environment and files instead of by a host. */
#include "io/standalone.h"
#include "base/log.h"
#include "io/address.h"
#include "io/files.h"
#include "io/host_key.h"
#include "lattice/host.h"
#include "lattice/local.h"
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <wcp/provider.h>

#ifndef WCP_VERSION
#define WCP_VERSION "0.1.0"
#endif
#define HOSTDATA_MAX ((size_t)64 << 20)
#define DAY_MS       86400000
#define EXIT_USAGE   2

enum {
    LATTICE,
    PROVIDER_ID,
    NATS,
#define X(id, flag, arg, repeat, help, env, member) id,
    NATS_LOGIN(X)
#undef X
        JS_DOMAIN,
    LISTEN,
    CONFIG,
    CONFIG_DIR,
    SECRETS_DIR,
    HOST_KEY,
    LABEL,
    IMAGE,
    WADM_HOST,
    LINKS,
    HOST_DATA,
    DRAIN,
    LINK_WAIT,
    ADMIN,
    LOG,
    HELP,
    VERSION,
    OPTIONS
};

static const struct option {
    const char *flag, *value, *env, *help; /* value NULL: the flag has none */
    bool alone;                            /* says that no host started us */
} options[OPTIONS] = {
    [LATTICE] = {"--lattice", "NAME", "WCP_LATTICE", "lattice to join (default)", true},
    [PROVIDER_ID] = {"--provider-id", "ID", "WCP_PROVIDER_ID",
                     "this provider's id, as links name it", true},
    [NATS] = {"--nats", "URL", "WCP_NATS_URL",
              "server, or several with commas "
              "(nats://127.0.0.1:4222)",
              true},
#define X(id, flag, arg, repeat, help, env, member) [id] = {"--" flag, arg, env, help, true},
    NATS_LOGIN(X)
#undef X
        [JS_DOMAIN] = {"--js-domain", "NAME", "WCP_JS_DOMAIN", "JetStream domain of the lattice",
                       true},
    [LISTEN] = {"--listen", "ADDRESS", "WCP_LISTEN",
                "unix:PATH or tcp:HOST:PORT, or several; without --nats there is no NATS then",
                true},
    [CONFIG] = {"--config", "KEY=VALUE", NULL, "configuration; may be repeated", true},
    [CONFIG_DIR] = {"--config-dir", "DIR", "WCP_CONFIG_DIR", "configuration, a file per key", true},
    [SECRETS_DIR] = {"--secrets-dir", "DIR", "WCP_SECRETS_DIR", "secrets, a file per name", true},
    [HOST_KEY] = {"--host-key", "FILE", "WCP_HOST_KEY",
                  "seed of its own host id, made if missing; without: a new id for each start",
                  true},
    [LABEL] = {"--label", "KEY=VALUE", "WCP_LABELS",
               "label of that host; may be repeated, or several with commas", true},
    [IMAGE] = {"--image", "REF", "WCP_IMAGE",
               "shown as its image (outrigger/NAME:VERSION), as in wadm's manifest", true},
    [WADM_HOST] = {"--wadm-host", NULL, "WCP_WADM_HOST",
                   "let wadm know this host (1 or 0); off: wadm puts components on every host it "
                   "hears of",
                   true},
    [LINKS] = {"--links", "FILE", "WCP_LINKS",
               "links besides the lattice's: a JSON list of link documents", true},
    [HOST_DATA] = {"--host-data", "FILE", NULL,
                   "HostData from a file, base64 or JSON; the flags "
                   "above win",
                   true},
    [DRAIN] = {"--drain-ms", "MS", "WCP_DRAIN_MS",
               "what running calls may take when it is told to end (10000)", false},
    [LINK_WAIT] = {"--link-wait-ms", "MS", "WCP_LINK_WAIT_MS",
                   "how long a call may wait for its link (500); 0: not at all", false},
    [ADMIN] = {"--admin", "IP:PORT", "WCP_ADMIN",
               "answer /livez, /readyz, /metrics and /links there", false},
    [LOG] = {"--log", "LEVEL", "WCP_LOG", "error, warn, info or debug", false},
    [HELP] = {"--help", NULL, NULL, "this text", false},
    [VERSION] = {"--version", NULL, NULL, "the version", false},
};

struct told {
    const char *value[OPTIONS]; /* NULL: not told */
    const char *by[OPTIONS];    /* "--nats" or "WCP_NATS_URL", for error messages */
    struct config config;       /* of --config */
    struct strings listen;      /* of --listen */
    struct config labels;       /* of --label */
};

void standalone_usage(const char *name, FILE *to)
{
    fprintf(to,
            "usage: %s [option]...\n"
            "A wasmCloud capability provider. A host starts it with HostData on stdin. With\n"
            "WCP_PROVIDER_ID or WCP_LISTEN set, or any of the options up to --host-data, it runs "
            "on its own:\n",
            name);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        char left[40];
        snprintf(left, sizeof left, "%s %s", o->flag, o->value ? o->value : "");
        fprintf(to, "  %-24s %-16s %s\n", left, o->env ? o->env : "", o->help);
    }
}

/* --- flags and environment --- */

/* "unix:/a,tcp:b:1" */
static int tell_addresses(struct told *t, const char *value, const char *by, struct wcp_err *err)
{
    for (size_t n; (n = strcspn(value, ",")) || *value; value += n + (value[n] == ',')) {
        struct address a;
        char *text = wcp_str_dup((struct wcp_str){value, n});
        int rc = address_parse(text, &a, err);
        if (!rc)
            strings_put(&t->listen, text);
        free(text);
        if (rc)
            return wcp_wrap(err, "%s", by);
    }
    return 0;
}

/* "a=b,c=d" */
static int tell_labels(struct told *t, const char *value, const char *by, struct wcp_err *err)
{
    for (size_t n; (n = strcspn(value, ",")) || *value; value += n + (value[n] == ',')) {
        char *key = wcp_str_dup((struct wcp_str){value, n}), *eq = strchr(key, '=');
        int rc = 0;
        if (eq)
            *eq = '\0';
        if (!eq || !wcp_is_utf8((struct wcp_bytes){(const uint8_t *)value, n}))
            rc = wcp_fail(err, WCP_EINVAL, "\"%.*s\" found, KEY=VALUE in UTF-8 expected",
                          n < 100 ? (int)n : 100, value);
        else
            rc = host_label_put(&t->labels, key, eq + 1, err);
        free(key);
        if (rc)
            return wcp_wrap(err, "%s", by);
    }
    return 0;
}

static int tell(struct told *t, size_t i, const char *value, const char *by, struct wcp_err *err)
{
    const char *eq;
    if (i == CONFIG) {
        eq = strchr(value, '=');
        if (!eq || eq == value)
            return wcp_fail(err, WCP_EINVAL, "--config: \"%.100s\" found, KEY=VALUE expected",
                            value);
        char *key = wcp_str_dup((struct wcp_str){value, (size_t)(eq - value)});
        config_put(&t->config, key, eq + 1);
        free(key);
    }
    t->value[i] = value;
    t->by[i] = by;
    if (i == LABEL)
        return tell_labels(t, value, by, err);
    return i == LISTEN ? tell_addresses(t, value, by, err) : 0;
}

static int read_flags(int argc, char **argv, struct told *t, struct wcp_err *err)
{
    for (int k = 1; k < argc; k++) {
        const char *eq = strchr(argv[k], '='), *value = "";
        size_t n = eq ? (size_t)(eq - argv[k]) : strlen(argv[k]), i = 0;
        while (i < OPTIONS &&
               (strlen(options[i].flag) != n || memcmp(options[i].flag, argv[k], n) != 0))
            i++;
        if (i == OPTIONS)
            return wcp_fail(err, WCP_EINVAL, "\"%.100s\" is no option of this provider; see --help",
                            argv[k]);
        if (!options[i].value && eq)
            return wcp_fail(err, WCP_EINVAL, "%s takes no value", options[i].flag);
        if (options[i].value && !eq && k + 1 == argc)
            return wcp_fail(err, WCP_EINVAL, "%s: nothing found behind it, %s expected",
                            options[i].flag, options[i].value);
        if (options[i].value)
            value = eq ? eq + 1 : argv[++k];
        int rc = tell(t, i, value, options[i].flag, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_environment(struct told *t, struct wcp_err *err)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *value = options[i].env ? getenv(options[i].env) : NULL;
        int rc = value && *value && !t->value[i] ? tell(t, i, value, options[i].env, err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int parse_ms(const struct told *t, size_t i, uint32_t least, uint32_t *ms,
                    struct wcp_err *err)
{
    const char *text = t->value[i];
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v < least || v > DAY_MS)
        return wcp_fail(err, WCP_EINVAL,
                        "%s: \"%.40s\" found, a number of milliseconds expected, %u to %d",
                        t->by[i], text, least, DAY_MS);
    *ms = (uint32_t)v;
    return 0;
}

/* --- making HostData of it --- */

static void set(char **text, const char *value)
{
    free(*text);
    *text = wcp_str_dup(wcp_str(value));
}

/* A name that we choose ourselves is stricter than what hosts may send. */
static int set_id(char **text, const struct told *t, size_t i, const char *otherwise,
                  struct wcp_err *err)
{
    const char *id = t->value[i];
    if (!id && *text && **text)
        return 0; /* from --host-data */
    if (!id && !otherwise)
        return wcp_fail(err, WCP_EINVAL, "%s (or %s) is missing", options[i].flag, options[i].env);
    id = id ? id : otherwise;
    size_t good = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    if (!*id || id[good])
        return wcp_fail(err, WCP_EINVAL,
                        "%s: \"%.100s\" found, one or more of A-Z a-z 0-9 _ - expected", t->by[i],
                        id);
    if (strlen(id) > ID_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "%s: %zu characters found, at most %d expected", t->by[i],
                        strlen(id), ID_MAX);
    set(text, id);
    return 0;
}

static int read_host_data(const char *path, struct hostdata *hd, struct wcp_err *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc = file_read(AT_FDCWD, path, HOSTDATA_MAX, &text, &n, err);
    if (rc || !text)
        return wcp_wrap(err, "--host-data");
    size_t start = strspn(text, " \t\r\n");
    if (text[start] == '{') { /* people write it so into a ConfigMap */
        size_t room = sodium_base64_encoded_len(n - start, sodium_base64_VARIANT_ORIGINAL);
        char *line = wcp_calloc(room, 1);
        sodium_bin2base64(line, room, (const uint8_t *)text + start, n - start,
                          sodium_base64_VARIANT_ORIGINAL);
        rc = hostdata_parse((struct wcp_bytes){(const uint8_t *)line, strlen(line)}, hd, err);
        file_free(line, room);
    } else {
        rc = hostdata_parse((struct wcp_bytes){(const uint8_t *)text, n}, hd, err);
    }
    file_free(text, n);
    return rc ? wcp_wrap(err, "--host-data %s", path) : 0;
}

/* Nobody stands for this provider: it answers as a host itself. */
static int make_host(const struct told *t, const char *name, struct standalone *out,
                     struct wcp_err *err)
{
    struct hostdata *hd = &out->hd;
    struct registration *r = &hd->registration;
    struct wcp_buf text = {0};
    struct utsname machine = {0};
    char id[NKEY_PUBLIC_LEN + 1];
    const char *wadm = t->value[WADM_HOST], *image = t->value[IMAGE];
    if (wadm && *wadm && strcmp(wadm, "0") != 0 && strcmp(wadm, "1") != 0)
        return wcp_fail(err, WCP_EINVAL, "%s: \"%.40s\" found, 0 or 1 expected", t->by[WADM_HOST],
                        wadm);
    if (image && !wcp_is_utf8((struct wcp_bytes){(const uint8_t *)image, strlen(image)}))
        return wcp_fail(err, WCP_EINVAL, "%s: UTF-8 expected", t->by[IMAGE]);
    int rc = host_key_open(t->value[HOST_KEY], id, &out->key_lock, err);
    if (rc)
        return wcp_wrap(err, "%s", t->value[HOST_KEY] ? t->by[HOST_KEY] : "host key");
    set(&hd->host_id, id);
    r->on = true;
    r->wadm_host = wadm && strcmp(wadm, "0") != 0;
    for (size_t i = 0; i < t->labels.n; i++)
        config_put(&r->labels, t->labels.at[i].key, t->labels.at[i].value);
    (void)uname(&machine); /* cannot fail */
    wcp_buf_fmt(&text, "%s-%s", hd->provider_id, machine.nodename);
    r->friendly_name = wcp_str_dup((struct wcp_str){(const char *)text.ptr, text.len});
    text.len = 0;
    wcp_buf_fmt(&text, "outrigger/%s:%s", name, WCP_VERSION);
    r->image = image ? wcp_str_dup(wcp_str(image))
                     : wcp_str_dup((struct wcp_str){(const char *)text.ptr, text.len});
    r->provider_name = wcp_str_dup(wcp_str(name));
    r->version = wcp_str_dup(WCP_STR(WCP_VERSION));
    wcp_buf_free(&text);
    return 0;
}

/* What is only for who is its own host is not ignored silently. */
static int check_no_host(const struct told *t, const struct standalone *out, struct wcp_err *err)
{
    static const size_t own[] = {HOST_KEY, LABEL, IMAGE, WADM_HOST};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (t->value[own[i]])
            return wcp_fail(err, WCP_EINVAL, "%s: %s", t->by[own[i]],
                            out->offline ? "there is no lattice without --nats"
                                         : "the HostData names a host already");
    return 0;
}

static int read_links(const char *path, const char *by, struct hostdata *hd, struct wcp_err *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc = file_read(AT_FDCWD, path, HOSTDATA_MAX, &text, &n, err);
    if (rc || !text)
        return wcp_wrap(err, "%s", by);
    rc = local_links_parse((struct wcp_bytes){(const uint8_t *)text, n}, hd, err);
    file_free(text, n);
    return rc ? wcp_wrap(err, "%s: %s", by, path) : 0;
}

static char *copy(const char *text)
{
    return text ? wcp_str_dup(wcp_str(text)) : NULL;
}

static int make(struct told *t, const char *name, struct standalone *out, struct wcp_err *err)
{
    struct hostdata *hd = &out->hd;
    int rc = 0;
    *hd = (struct hostdata){.default_rpc_timeout_ms = -1,
                            .otel = {.enable_traces = -1, .enable_metrics = -1, .enable_logs = -1}};
    if (t->value[HOST_DATA] && (rc = read_host_data(t->value[HOST_DATA], hd, err)))
        return rc;
    char **texts[] = {&hd->host_id,   &hd->lattice,           &hd->link_name,   &hd->user_jwt,
                      &hd->user_seed, &hd->nats_url,          &hd->provider_id, &hd->instance_id,
                      &hd->host_xkey, &hd->provider_xkey_seed};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!*texts[i])
            set(texts[i], "");
    if (t->value[NATS])
        set(&hd->nats_url, t->value[NATS]);
    hd->listens = t->listen.n > 0;
    out->offline = hd->listens && !*hd->nats_url;
    hd->standalone = !out->offline;
    /* Without a lattice nobody needs to know our id. */
    if ((rc = set_id(&hd->lattice, t, LATTICE, "default", err)) ||
        (rc = set_id(&hd->provider_id, t, PROVIDER_ID, out->offline ? name : NULL, err)))
        return rc;
    rc = out->offline || *hd->host_id ? check_no_host(t, out, err) : make_host(t, name, out, err);
    if (rc)
        return rc;
    if (t->value[JS_DOMAIN] && (rc = set_id(&hd->js_domain, t, JS_DOMAIN, NULL, err)))
        return rc;
    if (t->value[LINKS] && (rc = read_links(t->value[LINKS], t->by[LINKS], hd, err)))
        return rc;
    out->login = (struct nats_login){
#define X(id, flag, arg, repeat, help, env, member) .member = t->value[id],
        NATS_LOGIN(X)
#undef X
    };
    out->mounts = (struct mounts){.config_dir = copy(t->value[CONFIG_DIR]),
                                  .secrets_dir = copy(t->value[SECRETS_DIR]),
                                  .below = hd->config,
                                  .above = t->config,
                                  .secrets_below = hd->secrets};
    hd->config = t->config = (struct config){0};
    hd->secrets = (struct secrets){0};
    return mounts_read(&out->mounts, &hd->config, &hd->secrets, err);
}

void standalone_free(struct standalone *s)
{
    strings_free(&s->listen);
    mounts_free(&s->mounts);
    if (s->key_lock >= 0)
        close(s->key_lock);
    s->key_lock = -1;
}

int standalone_read(int argc, char **argv, const char *name, struct standalone *out)
{
    struct told t = {0};
    struct wcp_err err;
    enum wcp_level level;
    bool alone = false;
    int status = STANDALONE_GO;
    *out = (struct standalone){.key_lock = -1};
    int rc = read_flags(argc, argv, &t, &err);
    if (!rc && t.value[HELP]) {
        standalone_usage(name, stdout);
        status = 0;
        goto out;
    }
    if (!rc && t.value[VERSION]) {
        printf("%s %s\n", name, WCP_VERSION);
        status = 0;
        goto out;
    }
    rc = rc ? rc : read_environment(&t, &err);
    if (!rc && t.value[DRAIN])
        rc = parse_ms(&t, DRAIN, 1, &out->drain_ms, &err);
    if (!rc && t.value[LINK_WAIT])
        rc = parse_ms(&t, LINK_WAIT, 0, &out->link_wait_ms, &err);
    if (!rc && t.value[LINK_WAIT] && !out->link_wait_ms)
        out->link_wait_ms = WCP_NO_LINK_WAIT;
    if (!rc && t.value[LOG] && !log_parse_level(t.value[LOG], &level))
        rc = wcp_fail(&err, WCP_EINVAL, "%s: \"%.40s\" found, error, warn, info or debug expected",
                      t.by[LOG], t.value[LOG]);
    for (size_t i = 0; i < OPTIONS; i++)
        /* WCP_NATS_URL alone may be meant for wcp, in a shell that pipes HostData to us. */
        alone |=
            t.value[i] && options[i].alone && (i == PROVIDER_ID || i == LISTEN || *t.by[i] == '-');
    out->log_level = t.value[LOG];
    out->admin = t.value[ADMIN];
    out->from_stdin = !alone;
    if (!rc && alone && (rc = make(&t, name, out, &err)))
        hostdata_free(&out->hd);
    if (!rc && alone) {
        out->listen = t.listen;
        t.listen = (struct strings){0};
    }
    if (rc) {
        fprintf(stderr, "%s: %s\n", name, err.msg);
        standalone_free(out);
        /* A usage error, or data that cannot be used. */
        status = rc == WCP_EINVAL || rc == WCP_ETOOBIG || rc == WCP_EIO ? EXIT_USAGE : 1;
    }
out:
    config_free(&t.config);
    strings_free(&t.listen);
    config_free(&t.labels);
    return status;
}

/* backend.c: the pool of connections behind a link, and what is known of its server. */
#include "backend.h"
#include "run.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static void on_state(void *ctx, const char *why)
{
    struct backend *b = ctx;
    char text[256];
    if (!why) {
        wcp_link_healthy(b->link);
        return;
    }
    (void)snprintf(text, sizeof text, "postgres: %s", why); /* may be cut */
    wcp_link_unhealthy(b->link, text);
}

/* --- configuration: a secret goes before plain configuration --- */

static const char *setting(const struct wcp_link *l, const char *key)
{
    const char *secret = wcp_link_secret(l, key);
    return secret ? secret : wcp_link_config(l, key);
}

static bool is_true(const char *text)
{
    return text && (strcasecmp(text, "true") == 0 || strcasecmp(text, "yes") == 0);
}

static uint32_t number(const struct wcp_link *l, const char *key, uint32_t min, uint32_t max,
                       uint32_t otherwise)
{
    const char *text = setting(l, key);
    if (!text)
        return otherwise;
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v < min || v > max) {
        char why[112];
        (void)snprintf(why, sizeof why,
                       "expected a whole number from %" PRIu32 " to %" PRIu32 "; using %" PRIu32,
                       min, max, otherwise);
        wcp_log(WCP_WARN, why, "key", key, "link", l->name.ptr, "source", l->source_id.ptr, NULL);
        return otherwise;
    }
    return (uint32_t)v;
}

/* sslmode is libpq's; POSTGRES_TLS_REQUIRED asks for encryption, whatever else is said. */
static int read_sslmode(const struct wcp_link *l, const char **out, struct wcp_err *err)
{
    static const char *const modes[] = {"disable", "allow",     "prefer",
                                        "require", "verify-ca", "verify-full"};
    enum { REQUIRE = 3, COUNT = sizeof modes / sizeof *modes };
    bool required = is_true(setting(l, "POSTGRES_TLS_REQUIRED"));
    const char *mode = setting(l, "sslmode");
    *out = mode ? mode : required ? "require" : "prefer";
    size_t i = 0;
    while (i < COUNT && strcmp(modes[i], *out) != 0)
        i++;
    if (i == COUNT)
        return wcp_fail(err, WCP_EINVAL,
                        "sslmode '%s': expected disable, allow, prefer, require, verify-ca or "
                        "verify-full",
                        mode);
    if (required && i < REQUIRE)
        return wcp_fail(err, WCP_EINVAL,
                        "sslmode %s, but POSTGRES_TLS_REQUIRED is set: expected require, verify-ca "
                        "or verify-full",
                        mode);
    return 0;
}

static int read_target(const struct wcp_link *l, struct pq_target *t, struct wcp_err *err)
{
    static const char *const required[] = {"POSTGRES_HOST", "POSTGRES_USERNAME",
                                           "POSTGRES_DATABASE"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        const char *text = setting(l, required[i]);
        if (!text || !*text)
            return wcp_fail(err, WCP_EINVAL, "no %s in the link's secrets or config", required[i]);
    }
    const char *sslmode;
    int rc = read_sslmode(l, &sslmode, err);
    if (rc)
        return rc;
    t->host = setting(l, "POSTGRES_HOST");
    t->connect_ms = number(l, "POSTGRES_CONNECT_TIMEOUT_MS", 1, 3600000, 5000);
    const struct pq_param params[] = {
        {"user", setting(l, "POSTGRES_USERNAME")},
        {"password", setting(l, "POSTGRES_PASSWORD")},
        {"dbname", setting(l, "POSTGRES_DATABASE")},
        {"application_name", "sqldb-postgres"},
        {"sslmode", sslmode},
        {"sslrootcert", setting(l, "sslrootcert")},
        {"sslcert", setting(l, "sslcert")},
        {"sslkey", setting(l, "sslkey")},
        {"passfile", "/dev/null"}, /* what is configured counts, and nothing else */
    };
    _Static_assert(sizeof params / sizeof *params <= PQ_PARAMS, "they fit");
    memcpy(t->params, params, sizeof params);
    return 0;
}

/* --- links --- */

int backend_link_up(struct wcp_link *l, struct wcp_err *err)
{
    if (l->role == WCP_SOURCE)
        return wcp_fail(err, WCP_EINVAL, "a link from this provider: it serves links to it only");
    struct pq_target t = {0};
    int rc = read_target(l, &t, err);
    if (rc)
        return rc;
    char port[8];
    (void)snprintf(port, sizeof port, "%" PRIu32, number(l, "POSTGRES_PORT", 1, 65535, 5432));
    t.port = port;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct pq_tuning tuning = {
        .size = number(l, "POSTGRES_POOL_SIZE", 1, 1000,
                       cpus > 0 && cpus <= 500 ? 2 * (uint32_t)cpus : 4),
        .queue = number(l, "POSTGRES_QUEUE_SIZE", 1, 65536, 1000),
        .timeout_ms = number(l, "POSTGRES_QUERY_TIMEOUT_MS", 1, QUERY_TIMEOUT_MAX_MS, 20000),
    };
    struct backend *b = wcp_calloc(1, sizeof *b);
    b->link = l;
    b->money_digits = -1;
    b->max_result_bytes = number(l, "POSTGRES_MAX_RESULT_BYTES", 1024, 128 << 20, 64 << 20);
    l->data = b;
    wcp_link_connecting(l);
    b->pool = pq_pool_new(
        wcp_loop(l->instance), &t, &tuning,
        &(struct pq_pool_events){.state = on_state, .forget = statements_free, .ctx = b});
    return 0;
}

void backend_link_down(struct wcp_link *l)
{
    struct backend *b = l->data;
    if (!b)
        return;
    pq_pool_free(b->pool);
    free(b->types);
    free(b);
    l->data = NULL;
}

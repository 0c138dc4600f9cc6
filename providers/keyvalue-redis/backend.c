/* backend.c: the Redis connection behind a link, and what its answers mean for a call. */
#include "backend.h"
#include "keyvalue_store.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_URL "redis://127.0.0.1:6379"
/* A server that refused a command counts as usable again when one succeeds that long after the last
 * refusal: one that refuses writes only answers reads all the time. */
#define REFUSAL_MS 5000

struct backend {
    struct backend *next; /* in the instance's list of shared ones */
    char *url;            /* only of a shared one */
    struct redis_tuning tuning;
    struct redis_conn *conn;
    struct wcp_link **links;
    size_t link_count;
    bool known;       /* whether it is usable: it has once been, or failed to be */
    char why[256];    /* it is not usable; "": it is, as far as we know */
    char refusal[24]; /* the code of the error that makes it so; "": none */
    uint64_t refused_at;
    bool skipped_key;
};
struct backends {
    struct backend *shared;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- calls --- */

void backend_fail(struct wcp_call *c, const char *fmt, ...)
{
    char text[160];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    /* The three interfaces share this error type, so this ends a call of any of them. */
    keyvalue_store_fail(c, keyvalue_store_error_other((struct wcp_str){text, len}));
}

void backend_command(struct wcp_call *c, redis_done *done, size_t argc,
                     const struct wcp_bytes *argv)
{
    struct backend *b = c->link->data;
    redis_command(b->conn, done, c, argc, argv);
}

/* The links log it, and health answers tell it. */
static void report(struct backend *b, const char *why)
{
    b->known = true;
    (void)snprintf(b->why, sizeof b->why, "%s", why ? why : ""); /* may be cut */
    for (size_t i = 0; i < b->link_count; i++) {
        if (why)
            wcp_link_unhealthy(b->links[i], b->why);
        else
            wcp_link_healthy(b->links[i]);
    }
}

/* The server cannot or may not do what it should: LOADING, NOAUTH, READONLY, OOM, MOVED ... */
static void refused(struct wcp_call *c, const char *text)
{
    struct backend *b = c->link->data;
    char code[sizeof b->refusal];
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    (void)snprintf(code, sizeof code, "%.*s", (int)(n < sizeof code ? n : sizeof code - 1), text);
    if (n == 0)
        (void)snprintf(code, sizeof code, "an error");
    if (strcmp(code, b->refusal) != 0) {
        char why[sizeof b->why];
        (void)snprintf(why, sizeof why, "redis refuses '%s': %s", c->func->name,
                       text); /* may be cut */
        (void)snprintf(b->refusal, sizeof b->refusal, "%s", code);
        report(b, why);
    }
    b->refused_at = now_ms();
    backend_fail(c, "redis: refused the command: %s", code);
}

static void accepted(struct backend *b)
{
    if (!b->refusal[0] || now_ms() - b->refused_at < REFUSAL_MS)
        return;
    b->refusal[0] = '\0';
    report(b, NULL);
}

void backend_misunderstood(struct wcp_call *c, const redisReply *r)
{
    static const char *const kinds[] = {
        [REDIS_REPLY_STRING] = "string",  [REDIS_REPLY_ARRAY] = "array",
        [REDIS_REPLY_INTEGER] = "number", [REDIS_REPLY_NIL] = "nil",
        [REDIS_REPLY_STATUS] = "status",  [REDIS_REPLY_ERROR] = "error"};
    bool known = r->type > 0 && (size_t)r->type < sizeof kinds / sizeof *kinds;
    wcp_log(WCP_ERROR, "redis: an answer that is none to this command", "function", c->func->name,
            "kind", known ? kinds[r->type] : "unknown", "link", c->link->name.ptr, "source",
            c->link->source_id.ptr, NULL);
    backend_fail(c, "redis: an answer of the wrong kind");
}

bool backend_answered(struct wcp_call *c, const redisReply *r, const char *why, unsigned wanted)
{
    wcp_trace_call(c);
    if (r && (wanted & 1U << r->type)) {
        accepted(c->link->data);
        return true;
    }
    if (!r) {
        backend_fail(c, "redis: %s", why);
    } else if (r->type != REDIS_REPLY_ERROR) {
        backend_misunderstood(c, r);
    } else if (strncmp(r->str, "WRONGTYPE", 9) == 0) {
        backend_fail(c, "redis: the key holds another kind of value");
    } else if (strstr(r->str, "not an integer")) {
        backend_fail(c, "redis: the value is not a number from -2^63 to 2^63-1");
    } else if (strstr(r->str, "overflow")) {
        backend_fail(c, "redis: the sum is out of range");
    } else {
        refused(c, r->str);
    }
    return false;
}

void backend_skipped_key(struct wcp_call *c)
{
    struct backend *b = c->link->data;
    if (!b->skipped_key)
        wcp_log(WCP_WARN, "redis: list-keys leaves out keys that are not UTF-8 (logged once)",
                "link", c->link->name.ptr, "source", c->link->source_id.ptr, NULL);
    b->skipped_key = true;
}

/* --- links --- */

static void on_state(void *ctx, const char *why)
{
    struct backend *b = ctx;
    char text[sizeof b->why];
    b->refusal[0] = '\0'; /* another connection, another server perhaps */
    if (why)
        (void)snprintf(text, sizeof text, "redis %s", why); /* may be cut */
    report(b, why ? text : NULL);
}

static bool is_set(const struct wcp_link *l, const char *key)
{
    return wcp_link_secret(l, key) || wcp_link_config(l, key);
}

static uint32_t tuned(const struct wcp_link *l, const char *key, uint32_t min, uint32_t otherwise)
{
    enum { MAX = 3600000 };
    const char *text = wcp_link_config(l, key);
    if (!text)
        return otherwise;
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v < min || v > MAX) {
        char why[96];
        (void)snprintf(why, sizeof why,
                       "expected a whole number from %" PRIu32 " to %d; using %" PRIu32, min,
                       (int)MAX, otherwise);
        wcp_log(WCP_WARN, why, "key", key, "value", text, "link", l->name.ptr, "source",
                l->source_id.ptr, NULL);
        return otherwise;
    }
    return (uint32_t)v;
}

/* The nearest one wins: the link's before the provider's, a secret before plain configuration. */
static const char *find_url(const struct wcp_link *l, const char **where, struct wcp_err *err)
{
    const char *url;
    if ((*where = "link secret URL", url = wcp_link_secret(l, "URL")) ||
        (*where = "link config URL", url = wcp_link_config(l, "URL")))
        return url;
    static const char disable[] = "DISABLE_DEFAULT_CONNECTION";
    if (is_set(l, disable) || wcp_provider_config(l->instance, disable)) {
        (void)wcp_fail(err, WCP_EINVAL, "no URL in the link's secrets or config, and %s is set",
                       disable);
        return NULL;
    }
    if ((*where = "provider secret URL", url = wcp_provider_secret(l->instance, "URL")) ||
        (*where = "provider config URL", url = wcp_provider_config(l->instance, "URL")))
        return url;
    *where = "default URL";
    return DEFAULT_URL;
}

static void join(struct backend *b, struct wcp_link *l)
{
    b->links = wcp_realloc(b->links, (b->link_count + 1) * sizeof *b->links);
    b->links[b->link_count++] = l;
    l->data = b;
    if (!b->known)
        wcp_link_connecting(l);
    else if (b->why[0]) /* a shared one */
        wcp_link_unhealthy(l, b->why);
}

int backend_link_up(struct wcp_link *l, struct wcp_err *err)
{
    if (l->role == WCP_SOURCE)
        return wcp_fail(err, WCP_EINVAL,
                        "a link from this provider (keyvalue watcher): it serves links to it only");
    const char *where, *url = find_url(l, &where, err);
    if (!url)
        return WCP_EINVAL;
    struct redis_address address;
    int rc = redis_url_parse(url, &address, err);
    if (rc)
        return err ? wcp_wrap(err, "%s", where) : rc;
    struct redis_tuning tuning = {
        .connect_ms = tuned(l, "BACKEND_CONNECTION_TIMEOUT_MS", 1, 3000),
        .response_ms = tuned(l, "BACKEND_RESPONSE_TIMEOUT_MS", 1, 1000),
        .retries = tuned(l, "BACKEND_RECONNECT_NUM_RETRIES", 0, 3),
        .max_delay_ms = tuned(l, "BACKEND_RECONNECT_MAX_DELAY_MS", 1, 300),
    };
    struct backends *all = wcp_instance_data(l->instance);
    bool share = is_set(l, "SHARE_CONNECTIONS_BY_URL");
    for (struct backend *b = share ? all->shared : NULL; b; b = b->next) {
        if (strcmp(b->url, url) == 0 && memcmp(&b->tuning, &tuning, sizeof tuning) == 0) {
            redis_address_close(&address);
            join(b, l);
            return 0;
        }
    }
    struct backend *b = wcp_calloc(1, sizeof *b);
    b->tuning = tuning;
    if (share) {
        b->url = wcp_str_dup(wcp_str(url));
        b->next = all->shared;
        all->shared = b;
    }
    b->conn = redis_conn_new(wcp_loop(l->instance), &address, &tuning,
                             &(struct redis_events){.state = on_state, .ctx = b});
    join(b, l);
    return 0;
}

void backend_link_down(struct wcp_link *l)
{
    struct backend *b = l->data;
    if (!b)
        return;
    l->data = NULL;
    for (size_t i = 0; i < b->link_count; i++)
        if (b->links[i] == l)
            b->links[i--] = b->links[--b->link_count];
    if (b->link_count > 0)
        return;
    struct backends *all = wcp_instance_data(l->instance);
    for (struct backend **at = &all->shared; *at; at = &(*at)->next) {
        if (*at == b) {
            *at = b->next;
            break;
        }
    }
    redis_conn_free(b->conn);
    if (b->url)
        explicit_bzero(b->url, strlen(b->url));
    free(b->url);
    free(b->links);
    free(b);
}

int backend_start(struct wcp_instance *i, struct wcp_err *err)
{
    wcp_instance_set_data(i, wcp_calloc(1, sizeof(struct backends)));
    return 0;
}

void backend_stop(struct wcp_instance *i)
{
    free(wcp_instance_data(i));
    wcp_instance_set_data(i, NULL);
}

/* hostdata.c: what a provider is told when it starts (lattice.md §4): base64, then JSON. */
#include "lattice/hostdata.h"
#include "lattice/json.h"
#include "lattice/secrets.h"
#include "lattice/xkey.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/log.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Errors count bytes of the line from 0. out has room for all of it. */
static int base64_decode(struct wcp_bytes line, uint8_t *out, size_t *out_len, struct wcp_err *err)
{
    const char *start = (const char *)line.ptr, *end = start + line.len, *stop = NULL;
    while (start < end && is_space(*start))
        start++;
    while (end > start && is_space(end[-1]))
        end--;
    if (start == end)
        return wcp_fail(err, WCP_EPROTO, "an empty line found, base64 of a JSON object expected");
    int rc = sodium_base642bin(out, line.len, start, (size_t)(end - start), NULL, out_len, &stop,
                               sodium_base64_VARIANT_ORIGINAL);
    if (stop != end)
        return wcp_fail(err, WCP_EPROTO, "byte %td is not base64", stop - (const char *)line.ptr);
    return rc ? wcp_fail(err, WCP_EPROTO, "the base64 text ends too early") : 0;
}

/* Hosts before 1.0 spoke another protocol (MessagePack); their documents are recognised so that
 * the operator learns what is wrong (legacy-msgpack.md §7). */
static bool is_legacy(struct json_object *o, const char **sign)
{
    struct json_object *v = NULL;
    if (json_object_object_get_ex(o, "invocation_seed", &v) &&
        json_object_is_type(v, json_type_string) && json_object_get_string_len(v) > 0) {
        *sign = "invocation_seed";
        return true;
    }
    if (!json_object_object_get_ex(o, "link_definitions", &v) ||
        !json_object_is_type(v, json_type_array))
        return false;
    *sign = "actor_id in link_definitions";
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        struct json_object *l = json_object_array_get_idx(v, i);
        if (json_object_is_type(l, json_type_object) &&
            json_object_object_get_ex(l, "actor_id", NULL))
            return true;
    }
    return false;
}

static int legacy(const char *sign, struct wcp_err *err)
{
    return wcp_fail(err, WCP_EPROTO,
                    "%s found: this is of a host before wasmCloud 1.0, whose protocol is not "
                    "served; a host of version 1.x expected",
                    sign);
}

static int optional_bool(struct json_object *o, const char *member, int *out, struct wcp_err *err)
{
    bool b = false;
    *out = -1;
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(o, member, &v) || !v)
        return 0;
    int rc = member_bool(o, member, &b, err);
    *out = b;
    return rc;
}

static int parse_otel(struct json_object *o, struct otel_config *out, struct wcp_err *err)
{
    struct json_object *otel = NULL;
    int rc = member_object(o, "otel_config", &otel, err);
    if (rc || !otel)
        return rc;
    if (member_bool(otel, "enable_observability", &out->enable_observability, err) ||
        optional_bool(otel, "enable_traces", &out->enable_traces, err) ||
        optional_bool(otel, "enable_metrics", &out->enable_metrics, err) ||
        optional_bool(otel, "enable_logs", &out->enable_logs, err) ||
        member_text(otel, "observability_endpoint", &out->observability_endpoint, err) ||
        member_text(otel, "traces_endpoint", &out->traces_endpoint, err) ||
        member_text(otel, "metrics_endpoint", &out->metrics_endpoint, err) ||
        member_text(otel, "logs_endpoint", &out->logs_endpoint, err) ||
        member_text(otel, "protocol", &out->protocol, err) ||
        member_text(otel, "trace_level", &out->trace_level, err) ||
        strings_from_json(otel, "additional_ca_paths", &out->additional_ca_paths, err))
        return wcp_wrap(err, "otel_config");
    return 0;
}

/* One bad link is left out, not the provider. */
static int parse_links(struct json_object *o, struct hostdata *h, struct wcp_err *err)
{
    struct json_object *list = NULL;
    int rc = member_list(o, "link_definitions", &list, err);
    if (rc || !list)
        return rc;
    size_t n = json_object_array_length(list);
    h->links = wcp_calloc(n + 1, sizeof *h->links);
    for (size_t i = 0; i < n; i++) {
        struct wcp_err why = {0};
        if (linkdef_from_json(json_object_array_get_idx(list, i), &h->links[h->link_count], &why)) {
            h->bad_links++;
            wcp_logf(WCP_WARN, "host data: link_definitions: item %zu is left out: %s", i, why.msg);
        } else {
            h->link_count++;
        }
    }
    return 0;
}

static int parse_secrets(struct json_object *o, struct secrets *out, struct wcp_err *err)
{
    struct json_object *map = NULL;
    int rc = member_object(o, "secrets", &map, err);
    if (!rc && map && (rc = secrets_from_json(map, out, err)))
        return wcp_wrap(err, "secrets");
    return rc;
}

static void no_null(char **text, const char *otherwise)
{
    if (!*text)
        *text = wcp_str_dup(wcp_str(otherwise));
}

static int check_keys(const struct hostdata *h, struct wcp_err *err)
{
    uint8_t key[32];
    int rc = *h->host_xkey ? nkey_decode_public(h->host_xkey, NKEY_CURVE, key, err) : 0;
    if (rc)
        return wcp_wrap(err, "host_xkey_public_key");
    rc = *h->provider_xkey_seed ? nkey_decode_seed(h->provider_xkey_seed, NKEY_CURVE, key, err) : 0;
    sodium_memzero(key, sizeof key);
    return rc ? wcp_wrap(err, "provider_xkey_private_key") : 0;
}

static int parse(struct json_object *o, struct hostdata *h, struct wcp_err *err)
{
    const char *sign = NULL;
    if (is_legacy(o, &sign))
        return legacy(sign, err);
    const struct {
        const char *member;
        char **out;
        const char *otherwise; /* NULL: stays NULL */
    } texts[] = {
        {"host_id", &h->host_id, ""},
        {"lattice_rpc_prefix", &h->lattice, ""},
        {"link_name", &h->link_name, ""},
        {"lattice_rpc_user_jwt", &h->user_jwt, ""},
        {"lattice_rpc_user_seed", &h->user_seed, ""},
        {"lattice_rpc_url", &h->nats_url, ""},
        {"provider_key", &h->provider_id, ""},
        {"instance_id", &h->instance_id, ""},
        {"host_xkey_public_key", &h->host_xkey, ""},
        {"provider_xkey_private_key", &h->provider_xkey_seed, ""},
        {"log_level", &h->log_level, NULL},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if ((rc = member_text(o, texts[i].member, texts[i].out, err)))
            return rc;
        if (texts[i].otherwise)
            no_null(texts[i].out, texts[i].otherwise);
    }
    if ((rc = id_check("lattice_rpc_prefix", h->lattice, err)) ||
        (rc = id_check("provider_key", h->provider_id, err)) || (rc = check_keys(h, err)) ||
        (rc = config_member(o, "env_values", &h->env_values, err)) ||
        (rc = config_member(o, "config", &h->config, err)) ||
        (rc = parse_secrets(o, &h->secrets, err)) ||
        (rc = strings_from_json(o, "cluster_issuers", &h->cluster_issuers, err)) ||
        (rc = member_integer(o, "default_rpc_timeout_ms", &h->default_rpc_timeout_ms, err)) ||
        (rc = member_bool(o, "structured_logging", &h->structured_logging, err)) ||
        (rc = parse_otel(o, &h->otel, err)))
        return rc;
    if (h->default_rpc_timeout_ms < -1) /* -1: absent */
        return wcp_fail(err, WCP_EPROTO, "default_rpc_timeout_ms: %lld found, 0 or more expected",
                        (long long)h->default_rpc_timeout_ms);
    return parse_links(o, h, err);
}

int hostdata_parse(struct wcp_bytes line, struct hostdata *out, struct wcp_err *err)
{
    struct wcp_err local = {0};
    struct hostdata h = {.default_rpc_timeout_ms = -1,
                         .otel = {.enable_traces = -1, .enable_metrics = -1, .enable_logs = -1}};
    struct json_object *o = NULL;
    uint8_t *json = NULL;
    size_t n = 0;
    int rc = 0;
    err = err ? err : &local;
    if (line.len > 2 * JSON_MAX_BYTES) {
        wcp_fail(err, WCP_ETOOBIG, "%zu bytes found, at most %zu are allowed", line.len,
                 2 * JSON_MAX_BYTES);
        return wcp_wrap(err, "host data");
    }
    json = wcp_calloc(line.len + 1, 1);
    rc = base64_decode(line, json, &n, err);
    /* The first byte of a MessagePack map. */
    if (!rc && n && (json[0] >> 4 == 8 || json[0] == 0xde || json[0] == 0xdf))
        rc = legacy("MessagePack", err);
    if (!rc)
        rc = json_parse((struct wcp_bytes){json, n}, &o, err);
    if (!rc)
        rc = parse(o, &h, err);
    json_put_wiped(o); /* it had seeds and secrets */
    sodium_memzero(json, n);
    free(json);
    if (rc) {
        hostdata_free(&h);
        return wcp_wrap(err, "host data");
    }
    *out = h;
    return 0;
}

static void free_wiped(char *secret)
{
    if (secret)
        sodium_memzero(secret, strlen(secret));
    free(secret);
}

void hostdata_free(struct hostdata *h)
{
    free(h->host_id);
    free(h->lattice);
    free(h->link_name);
    free(h->user_jwt);
    free_wiped(h->user_seed);
    free_wiped(h->nats_url); /* it may have a password */
    free(h->provider_id);
    free(h->instance_id);
    free(h->host_xkey);
    free(h->js_domain);
    free_wiped(h->provider_xkey_seed);
    config_free(&h->env_values);
    config_free(&h->config);
    secrets_free(&h->secrets);
    for (size_t i = 0; i < h->link_count; i++)
        linkdef_free(&h->links[i]);
    free(h->links);
    for (size_t i = 0; i < h->local_link_count; i++)
        linkdef_free(&h->local_links[i]);
    free(h->local_links);
    strings_free(&h->cluster_issuers);
    free(h->log_level);
    free(h->otel.observability_endpoint);
    free(h->otel.traces_endpoint);
    free(h->otel.metrics_endpoint);
    free(h->otel.logs_endpoint);
    free(h->otel.protocol);
    free(h->otel.trace_level);
    strings_free(&h->otel.additional_ca_paths);
    config_free(&h->registration.labels);
    free(h->registration.image);
    free(h->registration.friendly_name);
    free(h->registration.provider_name);
    free(h->registration.version);
    *h = (struct hostdata){0};
}

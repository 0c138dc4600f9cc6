/* settings.c: the address settings of a link, from single keys or as one JSON document. */
#include "settings.h"
#include "http1.h"
#include <json-c/json.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where values come from. JSON has lists and numbers as such, keys have them as text. */
struct source {
    const struct wcp_link *link;
    struct json_object *json; /* NULL: single keys */
};

static struct json_object *member(struct json_object *o, const char *key)
{
    if (!json_object_is_type(o, json_type_object))
        return NULL;
    json_object_object_foreach(o, k, v) if (strcasecmp(k, key) == 0) return v;
    return NULL;
}

static struct json_object *json_value(const struct source *s, const char *key)
{
    struct json_object *v = member(s->json, key);
    /* The older form has cors_max_age_secs as max_age_secs in an object cors; tls the same. */
    if (!v && strncmp(key, "cors_", 5) == 0)
        v = member(member(s->json, "cors"), key + 5);
    if (!v && strncmp(key, "tls_", 4) == 0)
        v = member(member(s->json, "tls"), key + 4);
    return v;
}

/* NULL: absent. */
static const char *text(const struct source *s, const char *key)
{
    if (!s->json)
        return wcp_link_config(s->link, key);
    struct json_object *v = json_value(s, key);
    return v ? json_object_get_string(v) : NULL;
}

static int flag(const struct source *s, const char *key, bool *out, struct wcp_err *err)
{
    const char *t = text(s, key);
    if (t && strcmp(t, "true") != 0 && strcmp(t, "false") != 0)
        return wcp_fail(err, WCP_EINVAL, "%s: found '%.64s', expected true or false", key, t);
    *out = t && *t == 't';
    return 0;
}

int settings_number(const char *key, const char *t, uint64_t most, uint64_t *out,
                    struct wcp_err *err)
{
    uint64_t v = 0;
    size_t i = 0;
    if (!t)
        return 0;
    for (; t[i] >= '0' && t[i] <= '9' && i < 19; i++)
        v = v * 10 + (uint64_t)(t[i] - '0');
    if (!i || t[i] || v > most)
        return wcp_fail(err, WCP_EINVAL, "%s: found '%.64s', expected a number from 0 to %llu", key,
                        t, (unsigned long long)most);
    *out = v;
    return 0;
}

/* A list of texts, each of them good, joined with commas; what stands for an empty list. */
static int list(const struct source *s, const char *key, const char *absent, char **out,
                struct wcp_err *err)
{
    struct json_object *v = NULL, *parsed = NULL;
    struct wcp_buf b = {0};
    int rc = 0;
    if (s->json) {
        v = json_value(s, key);
    } else if (wcp_link_config(s->link, key)) {
        v = parsed = json_tokener_parse(wcp_link_config(s->link, key));
        if (!v)
            return wcp_fail(err, WCP_EINVAL, "%s: found '%.64s', expected a JSON array of texts",
                            key, wcp_link_config(s->link, key));
    }
    if (!v) {
        *out = wcp_str_dup(wcp_str(absent));
        return 0;
    }
    if (!json_object_is_type(v, json_type_array)) {
        rc = wcp_fail(err, WCP_EINVAL, "%s: found '%.64s', expected a JSON array of texts", key,
                      json_object_get_string(v));
        goto out;
    }
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        struct json_object *item = json_object_array_get_idx(v, i);
        const char *t = json_object_get_string(item);
        if (!json_object_is_type(item, json_type_string) ||
            http1_check_header((struct http1_header){wcp_str(t), WCP_STR("")}, NULL)) {
            rc = wcp_fail(err, WCP_EINVAL, "%s: entry %zu is '%.64s', expected a name", key, i, t);
            goto out;
        }
        wcp_buf_fmt(&b, "%s%s", b.len ? "," : "", t);
    }
    *out = wcp_str_dup(b.len ? (struct wcp_str){(char *)b.ptr, b.len} : WCP_STR("*"));
out:
    wcp_buf_free(&b);
    json_object_put(parsed);
    return rc;
}

/* "http://host[:port]", as browsers send it; a slash behind it is forgiven. */
static bool is_origin(const char *t, size_t *len)
{
    const char *host = strncmp(t, "http://", 7) == 0    ? t + 7
                       : strncmp(t, "https://", 8) == 0 ? t + 8
                                                        : "";
    size_t n = strcspn(host, "/?# \t@");
    *len = (size_t)(host - t) + n;
    return n > 0 && (!host[n] || (host[n] == '/' && !host[n + 1]));
}

static int origins(const struct source *s, struct settings *out, struct wcp_err *err)
{
    static const char key[] = "cors_allowed_origins";
    struct json_object *v = NULL, *parsed = NULL;
    const char *t = text(s, key);
    int rc = 0;
    if (!t)
        return 0;
    v = s->json ? json_value(s, key) : (parsed = json_tokener_parse(t));
    if (!json_object_is_type(v, json_type_array)) {
        rc = wcp_fail(err, WCP_EINVAL, "%s: found '%.64s', expected a JSON array of origins", key,
                      t);
        goto out;
    }
    out->origins = wcp_calloc(json_object_array_length(v) + 1, sizeof *out->origins);
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        size_t len;
        const char *origin = json_object_get_string(json_object_array_get_idx(v, i));
        if (!origin || !is_origin(origin, &len)) {
            rc = wcp_fail(err, WCP_EINVAL,
                          "%s: entry %zu is '%.64s', expected http(s)://host[:port] without a path",
                          key, i, origin ? origin : "null");
            goto out;
        }
        out->origins[out->origin_count++] = wcp_str_dup((struct wcp_str){origin, len});
    }
out:
    json_object_put(parsed);
    return rc;
}

/* The one document that stands for all keys. */
static int document(struct source *s, struct wcp_err *err)
{
    const char *b64 = wcp_link_config(s->link, "config_b64");
    const char *key = b64 ? "config_b64" : "config_json";
    const char *plain = b64 ? NULL : wcp_link_config(s->link, key);
    char *decoded = NULL;
    if (b64) {
        size_t n = strlen(b64), len = 0;
        while (n && b64[n - 1] == '=') /* with and without padding */
            n--;
        decoded = wcp_calloc(1, n + 1);
        if (sodium_base642bin((unsigned char *)decoded, n, b64, n, NULL, &len, NULL,
                              sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0) {
            free(decoded);
            return wcp_fail(err, WCP_EINVAL, "config_b64: is not base64");
        }
        plain = decoded;
    }
    if (!plain)
        return 0;
    s->json = json_tokener_parse(plain);
    free(decoded);
    if (!json_object_is_type(s->json, json_type_object))
        return wcp_fail(err, WCP_EINVAL, "%s: expected a JSON object", key);
    return 0;
}

static int read_all(const struct source *s, struct settings *out, struct wcp_err *err)
{
    struct sockaddr_storage addr;
    uint64_t port = 0, max_age = 300;
    int rc;
    const char *address = text(s, "address"), *cache = text(s, "cache_control");
    if (!address)
        address = wcp_provider_config(s->link->instance, "default_address");
    out->address = wcp_str_dup(wcp_str(address ? address : "0.0.0.0:8000"));
    if ((rc = http1_parse_address(out->address, &addr, err)))
        return rc;
    if ((rc = settings_number("port", text(s, "port"), 65535, &port, err)))
        return rc;
    if (text(s, "port"))
        wcp_log(WCP_WARN, "the key 'port' has no effect, as ever: the port is part of 'address'",
                "link", s->link->name.ptr, "address", out->address, NULL);
    if (text(s, "tls_cert_file") || text(s, "tls_priv_key_file"))
        return wcp_fail(
            err, WCP_EINVAL,
            "tls_cert_file, tls_priv_key_file: TLS is not there yet; put a proxy in front");
    if (cache && http1_check_header((struct http1_header){WCP_STR("c"), wcp_str(cache)}, NULL))
        return wcp_fail(err, WCP_EINVAL, "cache_control: is not a header value");
    out->cache_control = cache ? wcp_str_dup(wcp_str(cache)) : NULL;
    if ((rc = flag(s, "readonly_mode", &out->readonly, err)) ||
        (rc = flag(s, "disable_keepalive", &out->one_request, err)) ||
        (rc = settings_number("timeout_ms", text(s, "timeout_ms"), UINT32_MAX, &out->timeout_ms,
                              err)) ||
        (rc = settings_number("cors_max_age_secs", text(s, "cors_max_age_secs"), UINT32_MAX,
                              &max_age, err)))
        return rc;
    snprintf(out->max_age, sizeof out->max_age, "%llu", (unsigned long long)max_age);
    if ((rc = origins(s, out, err)) ||
        (rc =
             list(s, "cors_allowed_headers", "accept,accept-language,content-type,content-language",
                  &out->allow_headers, err)) ||
        (rc = list(s, "cors_allowed_methods", "GET,POST,PUT,DELETE,HEAD,OPTIONS",
                   &out->allow_methods, err)) ||
        (rc = list(s, "cors_exposed_headers", "*", &out->expose_headers, err)))
        return rc;
    return 0;
}

int settings_read(const struct wcp_link *l, struct settings *out, struct wcp_err *err)
{
    struct source s = {.link = l};
    *out = (struct settings){0};
    int rc = document(&s, err);
    if (!rc)
        rc = read_all(&s, out, err);
    if (rc)
        settings_free(out);
    json_object_put(s.json);
    return rc;
}

void settings_free(struct settings *s)
{
    for (size_t i = 0; i < s->origin_count; i++)
        free(s->origins[i]);
    free(s->origins);
    free(s->address);
    free(s->cache_control);
    free(s->allow_methods);
    free(s->allow_headers);
    free(s->expose_headers);
    *s = (struct settings){0};
}

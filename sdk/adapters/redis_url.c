/* redis_url.c: where a Redis server is and who we are there, from a URL. */
#include "redis_url.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DEFAULT_PORT = 6379 };

/* s up to the first byte that is in any of stop; *rest is what follows, from that byte on. */
static struct wcp_str until(struct wcp_str s, const char *stop, struct wcp_str *rest)
{
    size_t n = 0;
    while (n < s.len && !strchr(stop, s.ptr[n]))
        n++;
    *rest = (struct wcp_str){s.ptr + n, s.len - n};
    return (struct wcp_str){s.ptr, n};
}

static struct wcp_str skip(struct wcp_str s, size_t n)
{
    return (struct wcp_str){s.ptr + n, s.len - n};
}

static bool has(struct wcp_str s, char c)
{
    return s.len && memchr(s.ptr, c, s.len);
}

static bool is(struct wcp_str s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* what names the part in an error: the part itself may be the password. */
static int decode(struct wcp_str s, const char *what, char **out, struct wcp_err *err)
{
    char *text = wcp_calloc(s.len + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        int c = (unsigned char)s.ptr[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(s.ptr[i + 2]) : -1;
            c = low < 0 ? -1 : high * 16 + low;
            i += 2;
        }
        if (c <= 0) {
            explicit_bzero(text, s.len);
            free(text);
            return wcp_fail(err, WCP_EINVAL,
                            "the %s has a '%%' without two hexadecimal digits, or a NUL", what);
        }
        text[n++] = (char)c;
    }
    *out = text;
    return 0;
}

/* Does not quote s either: in "redis://me:secret", say, the port is not one. */
static int number(struct wcp_str s, const char *what, uint32_t min, uint32_t max, uint32_t *out,
                  struct wcp_err *err)
{
    uint64_t v = 0;
    bool ok = s.len > 0 && s.len <= 10;
    for (size_t i = 0; ok && i < s.len; i++) {
        ok = s.ptr[i] >= '0' && s.ptr[i] <= '9';
        v = v * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    if (!ok || v < min || v > max)
        return wcp_fail(err, WCP_EINVAL, "the %s is no number from %u to %u", what, min, max);
    *out = (uint32_t)v;
    return 0;
}

/* user:password@ */
static int parse_login(struct wcp_str s, struct redis_address *a, struct wcp_err *err)
{
    struct wcp_str password, user = until(s, ":", &password);
    if (password.len == 0)
        return wcp_fail(err, WCP_EINVAL,
                        "a user without a password, expected user:password@ or :password@");
    int rc = user.len ? decode(user, "user", &a->user, err) : 0;
    password = skip(password, 1);
    if (!rc && password.len)
        rc = decode(password, "password", &a->password, err);
    if (!rc && a->user && !a->password)
        rc = wcp_fail(err, WCP_EINVAL, "the password is empty");
    return rc;
}

static int parse_tcp(struct wcp_str s, struct redis_address *a, struct wcp_err *err)
{
    struct wcp_str rest, where = until(s, "/?#", &rest);
    if (has(rest, '@')) /* the login does not end where the host begins */
        return wcp_fail(err, WCP_EINVAL,
                        "'/', '?' and '#' in a user or password are written %%2F, %%3F and %%23");
    size_t at = where.len;
    while (at > 0 && where.ptr[at - 1] != '@')
        at--;
    int rc = at ? parse_login((struct wcp_str){where.ptr, at - 1}, a, err) : 0;
    if (rc)
        return rc;
    where = skip(where, at);

    struct wcp_str port, host;
    if (where.len && where.ptr[0] == '[') {
        host = until(skip(where, 1), "]", &port);
        if (port.len == 0)
            return wcp_fail(err, WCP_EINVAL, "the ']' after the IPv6 address is missing");
        port = skip(port, 1);
    } else {
        host = until(where, ":", &port);
    }
    if (host.len == 0 && port.len == 0)
        host = WCP_STR("127.0.0.1"); /* as redis:///2 means */
    if (host.len == 0 || host.len > 255)
        return wcp_fail(err, WCP_EINVAL, "a host of %zu bytes, expected 1 to 255", host.len);
    if (port.len && port.ptr[0] != ':')
        return wcp_fail(err, WCP_EINVAL,
                        "after the IPv6 address something else than ':' and a port");
    uint32_t value = DEFAULT_PORT;
    if (port.len > 1)
        rc = number(skip(port, 1), "port", 1, 65535, &value, err);
    if (rc)
        return rc;
    a->port = (uint16_t)value;

    struct wcp_str query, path = until(rest, "?#", &query);
    if (path.len && path.ptr[0] == '/')
        path = skip(path, 1);
    if (path.len && (rc = number(path, "database", 0, INT32_MAX, &a->db, err)))
        return rc;
    /* Which protocol version is spoken makes no difference to our commands. */
    if (query.len && !is(query, "?protocol=resp2") && !is(query, "?protocol=resp3"))
        return wcp_fail(err, WCP_EINVAL, "something after the database that is not understood");
    return decode(host, "host", &a->host, err);
}

static int parse_unix(struct wcp_str s, struct redis_address *a, struct wcp_err *err)
{
    struct wcp_str query, path = until(s, "?", &query);
    if (path.len < 2 || path.ptr[0] != '/')
        return wcp_fail(err, WCP_EINVAL,
                        "the path of a Unix socket starts with '/': unix:///run/redis.sock");
    int rc = decode(path, "path", &a->path, err);
    while (!rc && query.len) {
        struct wcp_str value, pair = until(skip(query, 1), "&", &query);
        struct wcp_str key = until(pair, "=", &value);
        if (value.len)
            value = skip(value, 1);
        if (is(key, "db"))
            rc = number(value, "database", 0, INT32_MAX, &a->db, err);
        else if (is(key, "user") && !a->user)
            rc = decode(value, "user", &a->user, err);
        else if (is(key, "pass") && !a->password)
            rc = decode(value, "password", &a->password, err);
        else if (!is(key, "protocol"))
            rc = wcp_fail(err, WCP_EINVAL,
                          "something after '?' that is not db=, user= or pass=, once");
    }
    if (!rc && a->user && !a->password)
        rc = wcp_fail(err, WCP_EINVAL, "a user without a password");
    return rc;
}

int redis_url_parse(const char *url, struct redis_address *out, struct wcp_err *err)
{
    *out = (struct redis_address){0};
    struct wcp_str rest, scheme = until(wcp_str(url), ":", &rest);
    if (rest.len < 3 || memcmp(rest.ptr, "://", 3) != 0)
        return wcp_fail(err, WCP_EINVAL, "does not start with redis:// or unix://");
    rest = skip(rest, 3);
    int rc;
    if (is(scheme, "redis"))
        rc = parse_tcp(rest, out, err);
    else if (is(scheme, "unix") || is(scheme, "redis+unix"))
        rc = parse_unix(rest, out, err);
    else if (is(scheme, "rediss"))
        rc = wcp_fail(err, WCP_EINVAL,
                      "rediss:// needs TLS, which this build does not have; redis:// is "
                      "not encrypted");
    else
        rc = wcp_fail(err, WCP_EINVAL, "scheme '%.*s', expected redis or unix",
                      scheme.len > 40 ? 40 : (int)scheme.len, scheme.ptr);
    if (rc) {
        redis_address_close(out);
        return rc;
    }
    if (out->path)
        (void)snprintf(out->text, sizeof out->text, "%s?db=%u", out->path,
                       out->db); /* may be cut */
    else
        (void)snprintf(out->text, sizeof out->text, "%s:%u/%u", out->host, out->port, out->db);
    return 0;
}

void redis_address_close(struct redis_address *a)
{
    if (a->password)
        explicit_bzero(a->password, strlen(a->password));
    free(a->password);
    free(a->user);
    free(a->host);
    free(a->path);
    *a = (struct redis_address){0};
}

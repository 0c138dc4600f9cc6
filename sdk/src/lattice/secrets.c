/* secrets.c: secrets in locked memory: from HostData, from files, or sealed in a link. */
#include "lattice/secrets.h"
#include "lattice/json.h"
#include "lattice/xkey.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* sodium_malloc needs sodium_init, which may be called any number of times. */
static void *locked(size_t n, struct wcp_err *err)
{
    void *p = sodium_init() < 0 ? NULL : sodium_malloc(n);
    if (!p)
        wcp_fail(err, WCP_EIO, "no locked memory left for %zu bytes", n);
    return p;
}

int secrets_put(struct secrets *s, const char *name, struct wcp_bytes value, struct wcp_err *err)
{
    size_t i = 0;
    while (i < s->n && strcmp(s->at[i].name, name) != 0)
        i++;
    if (i == SECRETS_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "more than %d secrets", SECRETS_MAX);
    uint8_t *p = locked(value.len + 1, err);
    if (!p)
        return WCP_EIO;
    if (value.len)
        memcpy(p, value.ptr, value.len);
    p[value.len] = '\0';
    if (i == s->n) {
        s->at = wcp_realloc(s->at, (s->n + 1) * sizeof *s->at);
        s->at[s->n++] = (struct secret){.name = wcp_str_dup(wcp_str(name))};
    }
    sodium_free(s->at[i].value);
    s->at[i].value = p;
    s->at[i].len = value.len;
    return 0;
}

static int put_json(struct secrets *s, const char *name, struct json_object *o, struct wcp_err *err)
{
    char *kind = NULL;
    struct json_object *value = NULL;
    int rc = json_check_object(o, err);
    if (!rc)
        rc = member_text(o, "kind", &kind, err);
    if (!rc && !kind)
        rc = wcp_fail(err, WCP_EPROTO, "kind is missing");
    if (!rc && !json_object_object_get_ex(o, "value", &value))
        rc = wcp_fail(err, WCP_EPROTO, "value is missing");
    if (rc || !kind) /* that is in rc, too */
        goto out;
    if (strcmp(kind, "String") == 0) {
        const char *text = NULL;
        if (!(rc = json_text_of(value, "value", &text, err)))
            rc = secrets_put(s, name, (struct wcp_bytes){(const uint8_t *)text, strlen(text)}, err);
    } else if (strcmp(kind, "Bytes") == 0) {
        struct wcp_bytes bytes = {0};
        if (!(rc = member_bytes(o, "value", &bytes, err)))
            rc = secrets_put(s, name, bytes, err);
        if (bytes.ptr)
            sodium_memzero((void *)(uintptr_t)bytes.ptr, bytes.len);
        free((void *)(uintptr_t)bytes.ptr);
    } else {
        rc = wcp_fail(err, WCP_EPROTO, "kind '%.32s' found, String or Bytes expected", kind);
    }
out:
    free(kind);
    return rc;
}

int secrets_from_json(struct json_object *o, struct secrets *out, struct wcp_err *err)
{
    struct wcp_err local = {0};
    err = err ? err : &local;
    int rc = json_check_object(o, err);
    if (rc)
        return rc;
    json_object_object_foreach(o, name, value)
    {
        if (put_json(out, name, value, err)) {
            secrets_free(out);
            return wcp_wrap(err, "secret '%.64s'", name);
        }
    }
    return 0;
}

int secrets_open(struct wcp_bytes sealed, const char *sender, const char *seed, struct secrets *out,
                 struct wcp_err *err)
{
    size_t n = 0;
    int rc = xkey_plain_len(sealed, &n, err);
    if (rc)
        return rc;
    if (!*seed || !*sender)
        return wcp_fail(err, WCP_EAUTH, "this provider was started without %s",
                        *seed ? "its host's public key" : "a key to open sealed secrets");
    uint8_t *plain = locked(n + 1, err);
    if (!plain)
        return WCP_EIO;
    struct json_object *o = NULL;
    rc = xkey_open(sealed, sender, seed, plain, err);
    if (!rc)
        rc = json_parse((struct wcp_bytes){plain, n}, &o, err);
    if (!rc)
        rc = secrets_from_json(o, out, err);
    json_put_wiped(o);
    sodium_free(plain);
    return rc;
}

const struct secret *secrets_get(const struct secrets *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i].name, name) == 0)
            return &s->at[i];
    for (size_t i = 0; i < s->n; i++)
        if (strcasecmp(s->at[i].name, name) == 0)
            return &s->at[i];
    return NULL;
}

int secrets_copy(struct secrets *to, const struct secrets *from, struct wcp_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < from->n && !rc; i++)
        rc = secrets_put(to, from->at[i].name,
                         (struct wcp_bytes){from->at[i].value, from->at[i].len}, err);
    return rc;
}

bool secrets_equal(const struct secrets *a, const struct secrets *b)
{
    if (a->n != b->n)
        return false;
    /* Names occur once each, and at most SECRETS_MAX of them. */
    for (size_t i = 0; i < a->n; i++) {
        size_t k = 0;
        while (k < b->n && strcmp(a->at[i].name, b->at[k].name) != 0)
            k++;
        if (k == b->n || a->at[i].len != b->at[k].len ||
            sodium_memcmp(a->at[i].value, b->at[k].value, a->at[i].len) != 0)
            return false;
    }
    return true;
}

void secrets_free(struct secrets *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->at[i].name);
        sodium_free(s->at[i].value); /* wipes */
    }
    free(s->at);
    *s = (struct secrets){0};
}

struct shared_secrets *secrets_share(struct secrets *s)
{
    struct shared_secrets *shared = wcp_calloc(1, sizeof *shared);
    *shared = (struct shared_secrets){.refs = 1, .secrets = *s};
    *s = (struct secrets){0};
    return shared;
}

struct shared_secrets *secrets_hold(struct shared_secrets *s)
{
    if (s)
        s->refs++;
    return s;
}

void secrets_drop(struct shared_secrets *s)
{
    if (!s || --s->refs)
        return;
    secrets_free(&s->secrets);
    free(s);
}

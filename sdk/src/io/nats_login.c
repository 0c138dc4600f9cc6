/* nats_login.c: who we are to NATS servers, and TLS.
 *
 * All is set for each connection anew, so that files which have changed meanwhile count. */
#include "io/nats_login.h"
#include "io/files.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
#define X(id, flag, arg, repeat, help, env, member) id,
    NATS_LOGIN(X)
#undef X
        OPTIONS
};
static_assert(OPTIONS == sizeof((struct login *)0)->file / sizeof(char *), "all of NATS_LOGIN");

static const char *const flags[OPTIONS] = {
#define X(id, flag, arg, repeat, help, env, member) "--" flag,
    NATS_LOGIN(X)
#undef X
};

static char *copy(const char *text)
{
    return text && *text ? wcp_str_dup(wcp_str(text)) : NULL;
}

static void free_wiped(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

/* The text of one of the files. */
static int read_secret(const struct login *l, int which, char **text, struct wcp_err *err)
{
    int rc = file_read_text(l->file[which], text, err);
    return rc ? wcp_wrap(err, "NATS login: %s", flags[which]) : 0;
}

/* Into l->nkey. */
static int take_seed(struct login *l, struct wcp_err *err)
{
    int rc = nkey_public(l->seed, NKEY_USER, l->nkey, err);
    return rc ? wcp_wrap(err, "NATS login: user seed") : 0;
}

static int read_seed(struct login *l, struct wcp_err *err)
{
    char *text = NULL;
    int rc = read_secret(l, NKEY, &text, err);
    if (rc)
        return rc;
    free_wiped(l->seed);
    l->seed = text;
    return take_seed(l, err);
}

/* One way to log in, and nothing of it is missing. */
static int check(struct login *l, struct wcp_err *err)
{
    static const int ways[] = {CREDS, NKEY, NATS_USER, NATS_TOKEN_FILE};
    static const int pairs[][2] = {{NATS_USER, NATS_PASSWORD_FILE}, {NATS_CERT, NATS_KEY}};
    int found = -1;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (!l->file[ways[i]])
            continue;
        if (found >= 0)
            return wcp_fail(err, WCP_EINVAL, "NATS login: %s and %s found, one of them expected",
                            flags[found], flags[ways[i]]);
        found = ways[i];
    }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int without = !l->file[pairs[i][0]];
        if (without != !l->file[pairs[i][1]])
            return wcp_fail(err, WCP_EINVAL, "NATS login: %s found without %s",
                            flags[pairs[i][without]], flags[pairs[i][!without]]);
    }
    for (int i = 0; i < OPTIONS; i++)
        if (i != NATS_USER && l->file[i] && access(l->file[i], R_OK) != 0)
            return wcp_fail(err, WCP_EINVAL, "NATS login: %s %s: %s", flags[i], l->file[i],
                            strerror(errno));
    return 0;
}

int login_init(struct login *l, const struct nats_config *c, struct wcp_err *err)
{
    const char *const told[OPTIONS] = {
#define X(id, flag, arg, repeat, help, env, member) c->login.member,
        NATS_LOGIN(X)
#undef X
    };
    *l = (struct login){0};
    for (int i = 0; i < OPTIONS; i++)
        l->file[i] = copy(told[i]);
    int rc = check(l, err);
    if (rc)
        return rc;
    if (l->file[NKEY])
        return read_seed(l, err);
    if (login_replaces_url(l))
        return 0;
    l->jwt = copy(c->user_jwt);
    l->seed = copy(c->user_seed);
    if (l->jwt && !l->seed)
        return wcp_fail(err, WCP_EINVAL, "NATS login: a user JWT found without its seed");
    return l->seed ? take_seed(l, err) : 0;
}

void login_free(struct login *l)
{
    for (int i = 0; i < OPTIONS; i++)
        free(l->file[i]);
    free(l->jwt);
    free_wiped(l->seed);
    *l = (struct login){0};
}

bool login_replaces_url(const struct login *l)
{
    return l->file[CREDS] || l->file[NKEY] || l->file[NATS_USER] || l->file[NATS_TOKEN_FILE];
}

/* --- setting it --- */

static natsStatus give_jwt(char **jwt, char **err, void *ctx)
{
    const struct login *l = ctx;
    *jwt = strdup(l->jwt);
    return *jwt ? NATS_OK : NATS_NO_MEMORY;
}

static natsStatus sign_nonce(char **err, unsigned char **sig, int *len, const char *nonce,
                             void *ctx)
{
    const struct login *l = ctx;
    return nats_Sign(l->seed, nonce, sig, len);
}

static int failed(natsStatus s, const char *what, struct wcp_err *err)
{
    const char *why = nats_GetLastError(NULL);
    return wcp_fail(err, WCP_EIO, "%s: %s", what, why && *why ? why : natsStatus_GetText(s));
}

static int set_tls(const struct login *l, natsOptions *o, struct wcp_err *err)
{
    natsStatus s = natsOptions_SetSecure(o, true);
    if (s)
        return failed(s, "TLS", err);
    if (l->file[NATS_CA] && (s = natsOptions_LoadCATrustedCertificates(o, l->file[NATS_CA])))
        return failed(s, l->file[NATS_CA], err);
    if (l->file[NATS_CERT] &&
        (s = natsOptions_LoadCertificatesChain(o, l->file[NATS_CERT], l->file[NATS_KEY])))
        return failed(s, l->file[NATS_CERT], err);
    return 0;
}

/* A text of a file goes to libnats; it keeps a copy. */
static int set_text(const struct login *l, int which, natsOptions *o, struct wcp_err *err)
{
    char *text = NULL;
    int rc = read_secret(l, which, &text, err);
    if (rc)
        return rc;
    natsStatus s = which == NATS_TOKEN_FILE ? natsOptions_SetToken(o, text)
                                            : natsOptions_SetUserInfo(o, l->file[NATS_USER], text);
    free_wiped(text);
    return s ? failed(s, "NATS login", err) : 0;
}

int login_set(struct login *l, natsOptions *o, bool tls, struct wcp_err *err)
{
    natsStatus s = NATS_OK;
    int rc = 0;
    if (tls || l->file[NATS_CA] || l->file[NATS_CERT])
        rc = set_tls(l, o, err);
    if (!rc && l->file[NKEY])
        rc = read_seed(l, err);
    if (rc)
        return rc;
    if (l->file[NATS_TOKEN_FILE])
        return set_text(l, NATS_TOKEN_FILE, o, err);
    if (l->file[NATS_USER])
        return set_text(l, NATS_PASSWORD_FILE, o, err);
    if (l->file[CREDS])
        s = natsOptions_SetUserCredentialsFromFiles(o, l->file[CREDS], NULL);
    else if (l->jwt)
        s = natsOptions_SetUserCredentialsCallbacks(o, give_jwt, l, sign_nonce, l);
    else if (l->seed)
        s = natsOptions_SetNKey(o, l->nkey, sign_nonce, l);
    return s ? failed(s, "NATS login", err) : 0;
}

struct wcp_str login_name(const struct login *l, const struct server *s, struct wcp_arena *a)
{
    const char *start = strstr(s->url, "://"), *end = strrchr(s->url, '@');
    if (l->file[CREDS])
        return wcp_fmt(a, "the credentials in %s", l->file[CREDS]);
    if (l->file[NKEY])
        return wcp_fmt(a, "nkey %s of %s", l->nkey, l->file[NKEY]);
    if (l->file[NATS_USER])
        return wcp_fmt(a, "user '%.100s' with the password in %s", l->file[NATS_USER],
                       l->file[NATS_PASSWORD_FILE]);
    if (l->file[NATS_TOKEN_FILE])
        return wcp_fmt(a, "the token in %s", l->file[NATS_TOKEN_FILE]);
    if (l->jwt || l->seed)
        return wcp_fmt(a, "%s %s", l->jwt ? "the user JWT with nkey" : "nkey", l->nkey);
    if (start && end) {
        int n = (int)strcspn(start + 3, ":@");
        return start[3 + n] == ':' ? wcp_fmt(a, "user '%.*s' of the URL", n, start + 3)
                                   : wcp_fmt(a, "the token of the URL");
    }
    if (l->file[NATS_CERT])
        return wcp_fmt(a, "the certificate in %s", l->file[NATS_CERT]);
    return wcp_fmt(a, "none");
}

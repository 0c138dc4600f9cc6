/* doctor.c: wcp doctor: NATS, lattice, provider, links, backend, each looked at in turn; the first
 * that is wrong is named, with its cure. Here are the report and NATS; doctor_lattice.c has the
 * steps from JetStream to the provider, doctor_links.c those from its links on. */
#include "cli/doctor.h"
#include "io/probe.h"
#include "lattice/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    LEAST_PAYLOAD = 65536, /* documents with links and configs must fit */
};

/* --- the report --- */

static void print_line(const char *verdict, const char *step, const char *text)
{
    printf("%-8s %-9s ", verdict, step);
    for (; *text; text++) /* parts of it come from others */
        (void)putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
    (void)putchar('\n');
    (void)fflush(stdout); /* main flushes again, and looks */
}

__attribute__((format(printf, 3, 0))) static void vprint_line(const char *verdict, const char *step,
                                                              const char *fmt, va_list ap)
{
    char text[1024];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    print_line(verdict, step, text);
}

void doctor_ok(const char *step, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprint_line("ok", step, fmt, ap);
    va_end(ap);
}

void doctor_skip(const char *step, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprint_line("skipped", step, fmt, ap);
    va_end(ap);
}

bool doctor_wrong(const char *step, const struct wcp_err *err, const char *cure, ...)
{
    va_list ap;
    print_line("WRONG", step, err->msg);
    va_start(ap, cure);
    vprint_line("", "cure:", cure, ap);
    va_end(ap);
    return false;
}

/* --- NATS --- */

struct probing {
    bool done;
    char why[200];
    struct json_object *info; /* NULL: it did not say */
};

static void on_probed(void *ctx, const char *why, const char *greeting)
{
    struct probing *p = ctx;
    p->done = true;
    (void)snprintf(p->why, sizeof p->why, "%s", why ? why : "");
    if (strncmp(greeting, "INFO ", 5) == 0)
        p->info = json_tokener_parse(greeting + 5);
}

const char *doctor_text(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, name, &v) && json_object_is_type(v, json_type_string)
               ? json_object_get_string(v)
               : "?";
}

int64_t doctor_number(struct json_object *o, const char *name)
{
    struct json_object *v = NULL;
    return json_object_object_get_ex(o, name, &v) ? json_object_get_int64(v) : 0;
}

static const char *cure_of_server(const char *why)
{
    if (strstr(why, "refused"))
        return "start nats-server there, or name another one: --nats URL";
    if (strstr(why, "not a NATS server"))
        return "that port is another program's: name the port of NATS in --nats URL (4222 unless "
               "it was changed)";
    if (strstr(why, "no answer"))
        return "something keeps packets from coming through (a firewall, a NetworkPolicy), or the "
               "server hangs: look there";
    if (strstr(why, "closed at once"))
        return "the server lets nobody in: it may be at its limit of connections, or expect TLS "
               "first (--nats tls://...)";
    return "is that the right name in --nats URL? nothing of that name can be reached from here";
}

static bool server_is_fit(const char *name, struct json_object *info)
{
    struct wcp_err err = {0};
    if (!info) {
        doctor_ok("server", "%s: it is there; it speaks TLS before anything else", name);
        return true;
    }
    int64_t most = doctor_number(info, "max_payload");
    if (!doctor_number(info, "headers")) {
        wcp_fail(&err, WCP_EPROTO, "%s: nats-server %s has no message headers", name,
                 doctor_text(info, "version"));
        return doctor_wrong("server", &err, "run a nats-server of 2.2 or later, with headers on");
    }
    if (most < LEAST_PAYLOAD) {
        wcp_fail(&err, WCP_EPROTO, "%s: max_payload %lld found, at least %d expected", name,
                 (long long)most, LEAST_PAYLOAD);
        return doctor_wrong("server", &err,
                            "set max_payload in the server's configuration; 1MB is usual");
    }
    doctor_ok("server", "%s: nats-server %s, max_payload %lld", name, doctor_text(info, "version"),
              (long long)most);
    return true;
}

/* One of the servers is there. */
static bool see_server(struct doctor *d)
{
    struct servers servers;
    struct probing p = {0};
    struct wcp_err err = {0};
    uv_loop_t loop;
    bool ok = false;
    if (servers_parse(d->o->value[OPT_NATS], &servers, &err))
        return doctor_wrong("server", &err, "give --nats nats://HOST:PORT");
    uv_loop_init(&loop);
    for (size_t i = 0; i < servers.n && !ok; i++) {
        p = (struct probing){0};
        probe_start(&loop, &servers.at[i], on_probed, &p);
        uv_run(&loop, UV_RUN_DEFAULT);
        if (*p.why && i + 1 == servers.n) {
            wcp_fail(&err, WCP_EIO, "%s: %s", servers.at[i].name, p.why);
            doctor_wrong("server", &err, "%s", cure_of_server(p.why));
        } else if (!*p.why) {
            ok = server_is_fit(servers.at[i].name, p.info);
            json_object_put(p.info);
            break;
        }
    }
    (void)uv_loop_close(&loop); /* nothing is left in it */
    servers_free(&servers);
    return ok;
}

static bool see_login(struct doctor *d)
{
    struct wcp_err err = {0};
#define X(id, ...) || d->o->value[OPT_##id]
    bool given = false NATS_LOGIN(X);
#undef X
    int rc = session_open(d->o, &d->session, &err);
    if (rc && strcasestr(err.msg, "authori"))
        return doctor_wrong("login", &err,
                            given ? "the server does not know, or no longer lets in, this user: "
                                    "have its owner make a new login"
                                  : "give the login that the server wants: --creds FILE, --nkey "
                                    "FILE, --nats-user with --nats-password-file, "
                                    "--nats-token-file, or --nats-cert with --nats-key");
    if (rc && (strcasestr(err.msg, "ssl") || strcasestr(err.msg, "tls") ||
               strcasestr(err.msg, "secure") || strcasestr(err.msg, "certificate")))
        return doctor_wrong("login", &err,
                            "say tls:// in --nats if the server wants TLS, and nats:// if it does "
                            "not; its certificate must be signed by one of this system's "
                            "authorities, or that of --nats-ca, for that name");
    if (rc == WCP_EINVAL)
        return doctor_wrong("login", &err, "give files that can be read and hold what they should");
    if (rc)
        return doctor_wrong("login", &err, "look into the server's log: it says why it hung up");
    if (session_flush(d->session, &err))
        return doctor_wrong("login", &err,
                            "permit this user what is named there; wcp needs to publish and "
                            "subscribe _INBOX.>, wasmbus.>, %s.> and $JS.API.>",
                            d->o->value[OPT_LATTICE]);
    doctor_ok("login", "%s", given ? "the server takes it" : "none was needed");
    return true;
}

int cmd_doctor(const struct options *o, struct wcp_err *err)
{
    static bool (*const steps[])(struct doctor * d) = {
        see_server,      see_login,    doctor_jetstream, doctor_buckets, doctor_hosts,
        doctor_provider, doctor_links, doctor_configs,   doctor_calls,   doctor_backend};
    struct doctor d = {.o = o,
                       .id = o->operand_count ? o->operands[0] : NULL,
                       .direct = o->value[OPT_DIRECT] != NULL};
    int rc = d.id ? options_id("ID", d.id, err) : 0;
    bool ok = rc == 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && ok; i++)
        ok = steps[i](&d);
    doctor_free_links(&d);
    strings_free(&d.hosts);
    wcp_buf_free(&d.complaint);
    wcp_buf_free(&d.refusal);
    session_close(d.session);
    return rc ? rc : ok ? 0 : EXIT_FAILED;
}

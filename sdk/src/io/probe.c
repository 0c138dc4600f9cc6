/* probe.c: asks whether a NATS server is there, without holding up the loop.
 *
 * libnats connects and waits on the loop thread the first time. So we look first, with libuv:
 * resolve the name, connect to each address in turn, wait for the INFO line that a NATS server
 * opens with, and for its PONG to our PING, unless it wants a login or TLS before. Only then is
 * libnats let loose on it, and finds its answers within a round trip or two: of a server that
 * greets and then hangs it would never come back. */
#include "io/probe.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RESOLVE_MS   5000
#define ANSWER_MS    2000 /* per address: to connect, to say INFO and PONG */
#define GREETING_MAX 8192 /* INFO of a large cluster has some kilobytes */

/* --- addresses --- */

static char *text(const char *p, size_t n)
{
    return wcp_str_dup((struct wcp_str){p, n});
}

/* One URL of n characters. The text of err never quotes user, password or token. */
static int server_parse(const char *p, size_t n, struct server *out, struct wcp_err *err)
{
    static const struct {
        const char *prefix;
        bool tls;
    } schemes[] = {{"nats://", false}, {"tls://", true}};
    const char *end = p + n, *scheme = memmem(p, n, "://", 3), *host = p, *host_end, *port;
    bool tls = false;
    if (scheme) {
        size_t i = 0, m = (size_t)(scheme - p) + 3;
        while (i < 2 && (strlen(schemes[i].prefix) != m || memcmp(schemes[i].prefix, p, m) != 0))
            i++;
        if (i == 2)
            return wcp_fail(err, WCP_EINVAL, "\"%.*s\" found, nats:// or tls:// expected",
                            (int)(m < 40 ? m : 40), p);
        tls = schemes[i].tls;
        host = p + m;
    }
    const char *at = memrchr(host, '@', (size_t)(end - host));
    if (at)
        host = at + 1;
    while (end > host && end[-1] == '/')
        end--;
    if (host < end && *host == '[') { /* an IPv6 address */
        host++;
        host_end = memchr(host, ']', (size_t)(end - host));
        if (!host_end)
            return wcp_fail(err, WCP_EINVAL, "\"[\" found without its \"]\"");
        port = host_end + 1;
    } else {
        host_end = memchr(host, ':', (size_t)(end - host));
        port = host_end = host_end ? host_end : end;
    }
    if (host == host_end)
        return wcp_fail(err, WCP_EINVAL, "no host found, nats://host:port expected");
    unsigned long number = 4222;
    if (port < end) {
        char *rest;
        number =
            *port == ':' && port[1] >= '0' && port[1] <= '9' ? strtoul(port + 1, &rest, 10) : 0;
        if (number == 0 || number > 65535 || rest != end)
            return wcp_fail(err, WCP_EINVAL, "\"%.*s\" found behind the host, a port expected",
                            (int)(end - port < 40 ? end - port : 40), port);
    }
    bool v6 = port > host_end;
    struct wcp_arena a = {0};
    out->tls = tls;
    out->host = text(host, (size_t)(host_end - host));
    out->port = wcp_str_dup(wcp_fmt(&a, "%lu", number));
    out->name = wcp_str_dup(wcp_fmt(&a, v6 ? "[%s]:%s" : "%s:%s", out->host, out->port));
    out->url = wcp_str_dup(wcp_fmt(&a, "%s%.*s", scheme ? "" : "nats://", (int)(end - p), p));
    wcp_arena_free(&a);
    return 0;
}

int servers_parse(const char *urls, struct servers *out, struct wcp_err *err)
{
    struct wcp_err local = {0};
    err = err ? err : &local;
    *out = (struct servers){0};
    if (urls[strspn(urls, ", \t\r\n")] == 0)
        urls = "nats://127.0.0.1:4222";
    while (*(urls += strspn(urls, ", \t\r\n"))) {
        size_t n = strcspn(urls, ", \t\r\n");
        out->at = wcp_realloc(out->at, (out->n + 1) * sizeof *out->at);
        out->at[out->n] = (struct server){0};
        int rc = n > 1000
                     ? wcp_fail(err, WCP_ETOOBIG, "%zu characters found, at most 1000 expected", n)
                     : server_parse(urls, n, &out->at[out->n], err);
        if (rc) {
            size_t i = out->n;
            servers_free(out);
            return wcp_wrap(err, "NATS URL %zu", i + 1);
        }
        out->n++;
        urls += n;
    }
    return 0;
}

static void server_free(struct server *s)
{
    explicit_bzero(s->url, strlen(s->url));
    free(s->url);
    free(s->name);
    free(s->host);
    free(s->port);
}

void servers_replace(struct servers *s, size_t keep, struct servers *with)
{
    while (s->n > keep)
        server_free(&s->at[--s->n]);
    s->at = wcp_realloc(s->at, (keep + with->n) * sizeof *s->at);
    for (size_t i = 0; i < with->n; i++) {
        size_t k = 0;
        while (k < keep && strcmp(s->at[k].name, with->at[i].name) != 0)
            k++;
        if (k < keep)
            server_free(&with->at[i]);
        else
            s->at[s->n++] = with->at[i];
    }
    free(with->at);
    *with = (struct servers){0};
}

void servers_free(struct servers *s)
{
    for (size_t i = 0; i < s->n; i++)
        server_free(&s->at[i]);
    free(s->at);
    *s = (struct servers){0};
}

/* --- the probe --- */

struct probe {
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    uv_tcp_t tcp;
    uv_timer_t timer;
    const struct server *server;
    struct addrinfo *list, *address; /* of a name; the one to try next */
    struct sockaddr_storage numeric;
    bool resolving, tcp_open, timer_open, ended;
    uv_write_t ping;
    char greeting[GREETING_MAX + 1]; /* "INFO {...}\r\n", and "PONG\r\n" */
    size_t greeting_len;
    bool pinged;
    char why[160];
    void (*done)(void *ctx, const char *why, const char *greeting);
    void *ctx;
};

static void try_address(struct probe *p);

/* Frees p when nothing of it is under way any more; until then someone calls this again. */
static void settle(struct probe *p)
{
    if (!p->ended || p->resolving || p->tcp_open || p->timer_open)
        return;
    if (p->list)
        uv_freeaddrinfo(p->list);
    if (p->done)
        p->done(p->ctx, p->why[0] ? p->why : NULL, p->greeting);
    free(p);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct probe *p = h->data;
    p->timer_open = false;
    settle(p);
}

static void on_tcp_closed(uv_handle_t *h)
{
    struct probe *p = h->data;
    p->tcp_open = false;
    if (p->ended)
        settle(p);
    else
        try_address(p);
}

static void end(struct probe *p)
{
    if (p->ended)
        return;
    p->ended = true;
    if (p->resolving)
        uv_cancel((uv_req_t *)&p->resolve); /* its callback comes in any case */
    if (p->tcp_open && !uv_is_closing((uv_handle_t *)&p->tcp))
        uv_close((uv_handle_t *)&p->tcp, on_tcp_closed);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

/* This address will not do; the next one is tried when its socket is closed. */
static void address_failed(struct probe *p, const char *why)
{
    snprintf(p->why, sizeof p->why, "%s", why);
    if (!uv_is_closing((uv_handle_t *)&p->tcp))
        uv_close((uv_handle_t *)&p->tcp, on_tcp_closed);
}

static void on_timeout(uv_timer_t *t)
{
    struct probe *p = t->data;
    if (p->tcp_open) {
        address_failed(p, "no answer");
        return;
    }
    snprintf(p->why, sizeof p->why, "the name %.100s is not resolved in %d ms", p->server->host,
             RESOLVE_MS);
    end(p);
}

static void give_buffer(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    struct probe *p = h->data;
    *buf = uv_buf_init(p->greeting + p->greeting_len, (unsigned)(GREETING_MAX - p->greeting_len));
}

static void server_is_there(struct probe *p)
{
    p->why[0] = 0;
    end(p);
}

static void on_pinged(uv_write_t *w, int status)
{
    /* What went wrong shows when we read. */
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct probe *p = s->data;
    if (n < 0) {
        address_failed(p, n == UV_EOF ? "the connection was closed at once" : uv_strerror((int)n));
        return;
    }
    p->greeting_len += (size_t)n;
    p->greeting[p->greeting_len] = '\0';
    if (strncmp(p->greeting, "INFO ", p->greeting_len < 5 ? p->greeting_len : 5) != 0) {
        address_failed(p, "what answers is not a NATS server");
        return;
    }
    const char *end_of_info = strstr(p->greeting, "\r\n");
    if (!end_of_info) {
        if (p->greeting_len == GREETING_MAX) /* long, but INFO */
            server_is_there(p);
    } else if (p->pinged) { /* anything more is an answer */
        if (end_of_info[2])
            server_is_there(p);
    } else if (strstr(p->greeting, "\"auth_required\":true") ||
               strstr(p->greeting, "\"tls_required\":true")) {
        server_is_there(p);
    } else {
        static char text[] = "PING\r\n"; /* outlives the write */
        uv_buf_t ping = uv_buf_init(text, sizeof text - 1);
        p->pinged = true;
        if (uv_write(&p->ping, s, &ping, 1, on_pinged))
            address_failed(p, "the connection cannot be written to");
    }
}

static void on_connected(uv_connect_t *c, int status)
{
    struct probe *p = c->data;
    if (p->ended || status == UV_ECANCELED) /* the socket is being closed */
        return;
    if (status) {
        address_failed(p, uv_strerror(status));
    } else if (p->server->tls) { /* such a server may wait for our TLS hello, silently */
        server_is_there(p);
    } else {
        uv_read_start((uv_stream_t *)&p->tcp, give_buffer, on_read);
    }
}

static void try_address(struct probe *p)
{
    const struct sockaddr *to = (const struct sockaddr *)&p->numeric;
    if (!to->sa_family) {
        if (!p->address) {
            end(p); /* with the last address's why */
            return;
        }
        to = p->address->ai_addr;
        p->address = p->address->ai_next;
    } else if (p->why[0]) {
        end(p); /* there is but one */
        return;
    }
    p->greeting_len = 0;
    p->pinged = false;
    uv_timer_start(&p->timer, on_timeout, ANSWER_MS, 0);
    int rc = uv_tcp_init(p->timer.loop, &p->tcp);
    assert(rc == 0); /* it makes no socket yet */
    p->tcp.data = p;
    p->tcp_open = true;
    rc = uv_tcp_connect(&p->connect, &p->tcp, to, on_connected);
    if (rc)
        address_failed(p, uv_strerror(rc));
}

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *list)
{
    struct probe *p = r->data;
    p->resolving = false;
    p->list = p->address = list;
    if (p->ended) {
        settle(p);
        return;
    }
    if (status) {
        snprintf(p->why, sizeof p->why, "%.100s: %s", p->server->host, uv_strerror(status));
        end(p);
        return;
    }
    try_address(p);
}

struct probe *probe_start(uv_loop_t *loop, const struct server *s,
                          void (*done)(void *ctx, const char *why, const char *greeting), void *ctx)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct probe *p = wcp_calloc(1, sizeof *p);
    int port = atoi(s->port); /* checked by server_parse */
    *p = (struct probe){.server = s, .done = done, .ctx = ctx, .timer_open = true};
    uv_timer_init(loop, &p->timer);
    p->timer.data = p->resolve.data = p->connect.data = p;
    /* Addresses in numbers are spared the resolver, and with it libuv's threads. */
    if (uv_ip4_addr(s->host, port, (struct sockaddr_in *)&p->numeric) == 0 ||
        uv_ip6_addr(s->host, port, (struct sockaddr_in6 *)&p->numeric) == 0) {
        try_address(p);
        return p;
    }
    memset(&p->numeric, 0, sizeof p->numeric);
    uv_timer_start(&p->timer, on_timeout, RESOLVE_MS, 0);
    int rc = uv_getaddrinfo(loop, &p->resolve, on_resolved, s->host, s->port, &hints);
    p->resolving = rc == 0;
    if (rc) {
        snprintf(p->why, sizeof p->why, "%.100s: %s", s->host, uv_strerror(rc));
        end(p);
    }
    return p;
}

void probe_cancel(struct probe *p)
{
    p->done = NULL;
    end(p);
}

/* admin.c: the admin port, for those who watch this process. Each answer is made when it is asked
 * for and is sent whole; a client that does not take it loses its connection. */
#include "io/admin.h"
#include "adapters/http1.h"
#include "io/nats.h"
#include "lattice/metrics.h"
#include "lattice/provider.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <wcp/log.h>

#define LINKS_MAX ((size_t)16 << 20) /* bytes of /links; more are told of by their number */

struct admin {
    struct http1_server *http;
    struct admin_view view;
};

/* --- what this process is --- */

/* The second number there, in pages. */
static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    if (f)
        (void)fclose(f); /* it was only read */
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_files(void)
{
    uint64_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and d itself */
}

static uint64_t cpu_us(void)
{
    struct rusage u = {0};
    (void)getrusage(RUSAGE_SELF, &u); /* cannot fail for oneself */
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* The names are those that Prometheus' own client libraries use. */
static void put_process(struct wcp_buf *b, const struct admin *a)
{
    metric_family(b, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.");
    metric_seconds(b, "process_start_time_seconds", a->view.started_us, NULL);
    metric_family(b, "process_cpu_seconds_total", "counter", "User and system CPU time.");
    metric_seconds(b, "process_cpu_seconds_total", cpu_us(), NULL);
    metric_alone(b, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    metric_alone(b, "process_open_fds", "gauge", "Open file descriptors.", open_files());
}

static void put_nats(struct wcp_buf *b, const struct nats_conn *n)
{
    const struct nats_stats s = nats_conn_stats(n);
    metric_alone(b, "wcp_nats_connected", "gauge", "1 while there is a connection to NATS.",
                 nats_conn_is_up(n));
    metric_alone(b, "wcp_nats_reconnects_total", "counter",
                 "Times that a lost connection to NATS was made again.", s.reconnects);
    metric_alone(b, "wcp_nats_received_messages_total", "counter", "Messages from NATS.",
                 s.in_messages);
    metric_alone(b, "wcp_nats_received_bytes_total", "counter", "Bytes in messages from NATS.",
                 s.in_bytes);
    metric_alone(b, "wcp_nats_sent_messages_total", "counter", "Messages to NATS.", s.out_messages);
    metric_alone(b, "wcp_nats_sent_bytes_total", "counter", "Bytes in messages to NATS.",
                 s.out_bytes);
    metric_alone(b, "wcp_nats_unsent_messages_total", "counter",
                 "Messages that could not be given to NATS.", s.unsent);
}

/* --- answers --- */

static void answer(struct http1_request *r, int status, const char *type, const struct wcp_buf *b)
{
    const struct http1_header h[] = {{WCP_STR("content-type"), wcp_str(type)},
                                     {WCP_STR("cache-control"), WCP_STR("no-store")},
                                     {WCP_STR("allow"), WCP_STR("GET, HEAD")}};
    http1_answer(r, status, h, status == 405 ? 3 : 2, (struct wcp_bytes){b->ptr, b->len});
}

static void answer_text(struct http1_request *r, int status, const struct wcp_buf *b)
{
    answer(r, status, "text/plain; charset=utf-8", b);
}

static void livez(const struct admin *a, struct http1_request *r, struct wcp_buf *b)
{
    wcp_buf_put(b, "ok\n", 3);
    answer_text(r, 200, b);
}

static void readyz(const struct admin *a, struct http1_request *r, struct wcp_buf *b)
{
    const struct admin_view *v = &a->view;
    if (*v->nats && !nats_conn_is_up(*v->nats))
        wcp_buf_fmt(b, "NATS is not connected\n");
    if (*v->instance)
        instance_unready(*v->instance, b);
    if (!*v->subscribed)
        wcp_buf_fmt(b, "callers cannot reach it yet\n");
    int status = b->len ? 503 : 200;
    if (!b->len)
        wcp_buf_put(b, "ok\n", 3);
    answer_text(r, status, b);
}

static void metrics(const struct admin *a, struct http1_request *r, struct wcp_buf *b)
{
    put_process(b, a);
    if (*a->view.nats)
        put_nats(b, *a->view.nats);
    if (*a->view.instance)
        instance_metrics(*a->view.instance, a->view.provider, b);
    answer(r, 200, METRICS_TYPE, b);
}

static void links(const struct admin *a, struct http1_request *r, struct wcp_buf *b)
{
    if (*a->view.instance)
        instance_links_json(*a->view.instance, LINKS_MAX, b);
    else
        wcp_buf_fmt(b, "{\"links\":[],\"omitted\":0}");
    wcp_buf_put(b, "\n", 1);
    answer(r, 200, "application/json", b);
}

static const struct page {
    struct wcp_str path;
    void (*answer)(const struct admin *a, struct http1_request *r, struct wcp_buf *b);
} pages[] = {{{"/livez", 6}, livez},
             {{"/readyz", 7}, readyz},
             {{"/metrics", 8}, metrics},
             {{"/links", 6}, links}};

static void on_request(struct http1_request *r)
{
    const struct admin *a = r->ctx;
    struct wcp_buf b = {0};
    const char *query = memchr(r->path.ptr, '?', r->path.len);
    struct wcp_str path = {r->path.ptr, query ? (size_t)(query - r->path.ptr) : r->path.len};
    const struct page *p = NULL;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (wcp_str_eq(path, pages[i].path))
            p = &pages[i];
    if (!p) {
        wcp_buf_fmt(&b, "there are /livez, /readyz, /metrics and /links\n");
        answer_text(r, 404, &b);
    } else if (!wcp_str_eq(r->method, WCP_STR("GET")) && !wcp_str_eq(r->method, WCP_STR("HEAD"))) {
        wcp_buf_fmt(&b, "only GET and HEAD are allowed here\n");
        answer_text(r, 405, &b);
    } else {
        p->answer(a, r, &b);
    }
    wcp_buf_free(&b);
}

static void on_trouble(void *ctx, const char *why)
{
    wcp_log(WCP_WARN, "admin port: a connection could not be accepted", "why", why, NULL);
}

static const struct http1_handler handler = {.request = on_request, .trouble = on_trouble};

struct admin *admin_open(struct uv_loop_s *loop, const char *address, const struct admin_view *v,
                         struct wcp_err *err)
{
    const struct http1_options limits = {.head_bytes = 8192,
                                         .head_fields = 64,
                                         .url_bytes = 1024,
                                         .body_bytes = 1024,
                                         .connections = 100,
                                         .head_ms = 5000,
                                         .idle_ms = 20000};
    struct admin *a = wcp_calloc(1, sizeof *a);
    struct wcp_arena text = {0};
    a->view = *v;
    const char *full = *address == ':' ? wcp_fmt(&text, "0.0.0.0%s", address).ptr : address;
    int rc = http1_listen(loop, full, &limits, &handler, a, &a->http, err);
    if (!rc)
        wcp_log(
            WCP_INFO, "admin port", "address",
            wcp_fmt(&text, "%.*s:%d", (int)(strrchr(full, ':') - full), full, http1_port(a->http))
                .ptr,
            NULL);
    wcp_arena_free(&text);
    if (rc) {
        free(a);
        return NULL;
    }
    return a;
}

void admin_close(struct admin *a)
{
    if (!a)
        return;
    http1_stop(a->http);
    free(a);
}

/* metrics.c: Prometheus' text format (0.0.4), and what the core has to say in it. Counting is done
 * where things happen; here it is only read. */
#include "lattice/metrics.h"
#include "base/str.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- the format --- */

void metric_family(struct wcp_buf *b, const char *name, const char *type, const char *help)
{
    wcp_buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's text: ids come from peers, who may not even write UTF-8. */
static void put_text(struct wcp_buf *b, const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t left = strlen(text), n; left; p += n, left -= n) {
        n = utf8_next(p, left);
        if (n == 0) {
            n = 1;
            wcp_buf_put(b, "\xef\xbf\xbd", 3);
        } else if (*p == '\n') {
            wcp_buf_put(b, "\\n", 2);
        } else if (*p == '"' || *p == '\\') {
            wcp_buf_fmt(b, "\\%c", *p);
        } else {
            wcp_buf_put(b, p, n);
        }
    }
}

/* name{label="text",more} */
static void put_name(struct wcp_buf *b, const char *name, va_list labels)
{
    const char *label, *text;
    bool first = true;
    wcp_buf_fmt(b, "%s", name);
    while ((label = va_arg(labels, const char *)) && (text = va_arg(labels, const char *))) {
        wcp_buf_fmt(b, "%c%s=\"", first ? '{' : ',', label);
        put_text(b, text);
        wcp_buf_put(b, "\"", 1);
        first = false;
    }
    wcp_buf_fmt(b, "%s ", first ? "" : "}");
}

void metric_value(struct wcp_buf *b, const char *name, uint64_t value, ...)
{
    va_list labels;
    va_start(labels, value);
    put_name(b, name, labels);
    va_end(labels);
    wcp_buf_fmt(b, "%" PRIu64 "\n", value);
}

void metric_seconds(struct wcp_buf *b, const char *name, uint64_t us, ...)
{
    va_list labels;
    va_start(labels, us);
    put_name(b, name, labels);
    va_end(labels);
    wcp_buf_fmt(b, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

void metric_alone(struct wcp_buf *b, const char *name, const char *type, const char *help,
                  uint64_t value)
{
    metric_family(b, name, type, help);
    metric_value(b, name, value, NULL);
}

/* --- calls --- */

static const char *const outcomes[OUTCOME_COUNT] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_ERROR] = "error",
    [OUTCOME_FAILED] = "failed",
    [OUTCOME_ABSENT] = "no_link",
    [OUTCOME_LINK_FAILED] = "link_failed",
    [OUTCOME_MALFORMED] = "malformed",
    [OUTCOME_TOO_BIG] = "too_big",
    [OUTCOME_REFUSED] = "refused",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_CLOSED] = "closed",
    [OUTCOME_CANCELLED] = "cancelled",
};

/* The families of calls in one direction. */
struct families {
    bool incoming;
    const char *ended, *ended_help, *running, *running_help, *took, *took_help, *oldest,
        *oldest_help;
};
static const struct families directions[] = {
    {true, "wcp_calls_total", "Calls that were served and have ended, by how they ended.",
     "wcp_calls_in_flight", "Calls that are being served.", "wcp_call_duration_seconds",
     "Time from the arrival of a call to its answer, of answered calls.",
     "wcp_oldest_call_age_seconds", "Age of the oldest call that is not answered yet."},
    {false, "wcp_outgoing_calls_total", "Calls that were made and have ended, by how they ended.",
     "wcp_outgoing_calls_in_flight", "Calls that are being made.",
     "wcp_outgoing_call_duration_seconds", "Time until the answer of calls that were answered.",
     "wcp_oldest_outgoing_call_age_seconds",
     "Age of the oldest outgoing call that is not answered yet."},
};

static void put_ended(struct wcp_buf *b, const char *name, const struct call_stats *s)
{
    for (int o = 0; o < OUTCOME_COUNT; o++) {
        if (s->incoming ? o == OUTCOME_CANCELLED : o == OUTCOME_REFUSED || o == OUTCOME_LINK_FAILED)
            continue; /* these are the other side's */
        const char *text = o == OUTCOME_ABSENT && !s->incoming ? "no_responder" : outcomes[o];
        metric_value(b, name, s->ended[o], "interface", s->iface->name, "function", s->func->name,
                     "outcome", text, NULL);
    }
}

static void put_took(struct wcp_buf *b, const char *family, const struct call_stats *s)
{
    char name[80], le[24];
    uint64_t n = 0;
    (void)snprintf(name, sizeof name, "%s_bucket", family); /* the names are ours: they fit */
    for (size_t i = 0; i <= CALL_BUCKETS; i++) {
        n += s->took[i];
        (void)snprintf(le, sizeof le, "%g", i < CALL_BUCKETS ? call_buckets_us[i] / 1e6 : 0);
        metric_value(b, name, n, "interface", s->iface->name, "function", s->func->name, "le",
                     i < CALL_BUCKETS ? le : "+Inf", NULL);
    }
    (void)snprintf(name, sizeof name, "%s_sum", family);
    metric_seconds(b, name, s->took_us, "interface", s->iface->name, "function", s->func->name,
                   NULL);
    (void)snprintf(name, sizeof name, "%s_count", family);
    metric_value(b, name, n, "interface", s->iface->name, "function", s->func->name, NULL);
}

static void put_calls(struct wcp_buf *b, const struct rpc *r, const struct families *f)
{
    const struct call_stats *all = rpc_call_stats(r);
    metric_family(b, f->ended, "counter", f->ended_help);
    for (const struct call_stats *s = all; s; s = s->next)
        if (s->incoming == f->incoming)
            put_ended(b, f->ended, s);
    metric_family(b, f->running, "gauge", f->running_help);
    for (const struct call_stats *s = all; s; s = s->next)
        if (s->incoming == f->incoming)
            metric_value(b, f->running, s->running, "interface", s->iface->name, "function",
                         s->func->name, NULL);
    metric_family(b, f->took, "histogram", f->took_help);
    for (const struct call_stats *s = all; s; s = s->next)
        if (s->incoming == f->incoming)
            put_took(b, f->took, s);
    metric_family(b, f->oldest, "gauge", f->oldest_help);
    metric_seconds(b, f->oldest, rpc_oldest_us(r, f->incoming), NULL);
}

void metrics_rpc(struct wcp_buf *b, const struct rpc *r)
{
    const struct rpc_stats s = rpc_stats(r);
    put_calls(b, r, &directions[0]);
    put_calls(b, r, &directions[1]);
    metric_alone(b, "wcp_calls_waiting_for_link", "gauge",
                 "Calls that came before their link and wait for it.", s.waiting_for_link);
    metric_alone(b, "wcp_stream_waiting_bytes", "gauge",
                 "Bytes of incoming streams that their readers have not taken yet.",
                 s.stream_bytes);
    metric_alone(b, "wcp_repeated_accepts_total", "counter",
                 "Accepts that were sent again because the caller had not been heard.",
                 s.repeated_accepts);
    metric_alone(b, "wcp_late_messages_total", "counter",
                 "Messages for calls that were over already: dropped.", s.late_messages);
    metric_alone(b, "wcp_message_losses_total", "counter",
                 "Times that messages were lost because this provider was too slow.", s.losses);
    metric_alone(b, "wcp_connections_refused_total", "counter",
                 "Callers' connections that were refused because too many calls were open.",
                 s.connections_refused);
    metric_alone(b, "wcp_connections_dropped_total", "counter",
                 "Callers' connections that did not say what they call in time, or nothing known.",
                 s.connections_dropped);
    metric_alone(b, "wcp_connection_received_bytes_total", "counter",
                 "Bytes of calls over connections.", s.conn_in_bytes);
    metric_alone(b, "wcp_connection_sent_bytes_total", "counter",
                 "Bytes of calls over connections.", s.conn_out_bytes);
}

/* --- links --- */

struct links_out {
    struct wcp_buf *b;
    size_t count[LINK_DRAINING + 1]; /* by state */
};

/* One that drains may have a successor of the same names: only counted. */
static void put_link(void *ctx, const struct link_view *v)
{
    struct links_out *out = ctx;
    const struct wcp_link *l = v->link;
    struct wcp_arena a = {0};
    out->count[v->state]++;
    if (v->state == LINK_DRAINING)
        return;
    const char *package =
        wcp_fmt(&a, "%.*s:%.*s", WCP_ARG(l->wit_namespace), WCP_ARG(l->wit_package)).ptr;
    for (int s = 0; s < LINK_DRAINING; s++)
        metric_value(out->b, "wcp_link_state", s == (int)v->state, "source", l->source_id.ptr,
                     "target", l->target_id.ptr, "name", l->name.ptr, "package", package, "state",
                     link_state_text((enum link_state)s), NULL);
    wcp_arena_free(&a);
}

void metrics_links(struct wcp_buf *b, const struct links *t)
{
    struct links_out out = {.b = b};
    metric_family(
        b, "wcp_link_state", "gauge",
        "1 for the state that a link is in; what its provider says of the backend counts.");
    links_each(t, put_link, &out);
    metric_family(b, "wcp_links", "gauge", "Links, by their state.");
    for (int s = 0; s <= LINK_DRAINING; s++)
        metric_value(b, "wcp_links", out.count[s], "state", link_state_text((enum link_state)s),
                     NULL);
}

/* exchange.c: one HTTP request as one call of a component.
 *
 * The request's head becomes the call. A body that is soon complete goes along with it: a wasmCloud
 * 1.9 host can drop what follows right behind its accept (wrpc.md §2.8a), and one message is
 * cheaper than three. What is slower follows as a stream, so that a component can answer while the
 * request is still coming. The response's head waits until the inline part of its body has been
 * looked at: a body that is already whole gets a content-length.
 *
 * http1's done callback is the one place where an exchange ends, whatever happened before. */
#include "server.h"
#include "http_incoming_handler.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

enum {
    INLINE_MAX = 1 << 20,  /* a body up to this is waited for, */
    INLINE_MS = 20,        /* this long, */
    INLINE_CHUNKED_MS = 5, /* or this long, if its end is not known */
    CORS_MAX = 5,
};

struct exchange {
    struct http1_request *r; /* NULL: over */
    struct site *site;
    struct wcp_outgoing *call;      /* while the answer is awaited */
    struct wcp_out *body;           /* to the component; NULL: there is none, or it has ended */
    struct wcp_out *trailers;       /* the same */
    struct wcp_in *from, *trailing; /* from the component: body and trailers; the same */
    size_t waiting;                 /* bytes of the request's body before the call */
    struct wcp_buf early;           /* of the body, before the response's head */
    struct http1_header *trailer;   /* one block with its texts */
    size_t trailer_count;
    bool invoked, body_ended, trailers_ended, broken;
    bool busy;  /* do not free: on_result is at work */
    bool timed; /* timer is initialised */
    uv_timer_t timer;
};

static void on_result(void *ctx, const struct http_incoming_handler_handle_result *result,
                      int status);

/* --- answers of our own, and CORS --- */

/* The values of the request's header of that name, the first of them; NULL: absent. */
static const struct wcp_str *header(const struct http1_request *r, struct wcp_str name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (wcp_str_eq(r->headers[i].name, name))
            return &r->headers[i].value;
    return NULL;
}

/* Who may read the answer: any origin, the request's if it is listed, else nobody (empty). */
static struct wcp_str allowed_origin(const struct settings *s, const struct http1_request *r)
{
    const struct wcp_str *origin = header(r, WCP_STR("origin"));
    if (!s->origin_count)
        return WCP_STR("*");
    for (size_t i = 0; origin && i < s->origin_count; i++)
        if (wcp_str_eq(*origin, wcp_str(s->origins[i])))
            return *origin;
    return (struct wcp_str){0};
}

#define VARY "origin, access-control-request-method, access-control-request-headers"

/* What every response has. */
static size_t cors(const struct exchange *e, struct http1_header h[CORS_MAX])
{
    const struct settings *s = &e->site->settings;
    struct wcp_str origin = allowed_origin(s, e->r);
    size_t n = 0;
    if (origin.len)
        h[n++] = (struct http1_header){WCP_STR("access-control-allow-origin"), origin};
    h[n++] =
        (struct http1_header){WCP_STR("access-control-expose-headers"), wcp_str(s->expose_headers)};
    h[n++] = (struct http1_header){WCP_STR("vary"), WCP_STR(VARY)};
    if (s->one_request)
        h[n++] = (struct http1_header){WCP_STR("connection"), WCP_STR("close")};
    return n;
}

/* Ends e. */
static void answer(struct exchange *e, int status, const char *text)
{
    struct http1_header h[CORS_MAX + 1];
    size_t n = cors(e, h);
    if (*text)
        h[n++] =
            (struct http1_header){WCP_STR("content-type"), WCP_STR("text/plain; charset=utf-8")};
    http1_answer(e->r, status, h, n, (struct wcp_bytes){(const uint8_t *)text, strlen(text)});
}

/* As tower-http's CORS layer does it: every OPTIONS is taken for a preflight. */
static void answer_options(struct exchange *e)
{
    const struct settings *s = &e->site->settings;
    struct wcp_str origin = allowed_origin(s, e->r);
    struct http1_header h[CORS_MAX + 1];
    size_t n = 0;
    if (origin.len)
        h[n++] = (struct http1_header){WCP_STR("access-control-allow-origin"), origin};
    h[n++] = (struct http1_header){WCP_STR("vary"), WCP_STR(VARY)};
    h[n++] =
        (struct http1_header){WCP_STR("access-control-allow-methods"), wcp_str(s->allow_methods)};
    h[n++] =
        (struct http1_header){WCP_STR("access-control-allow-headers"), wcp_str(s->allow_headers)};
    h[n++] = (struct http1_header){WCP_STR("access-control-max-age"), wcp_str(s->max_age)};
    if (s->one_request)
        h[n++] = (struct http1_header){WCP_STR("connection"), WCP_STR("close")};
    http1_answer(e->r, 200, h, n, (struct wcp_bytes){0});
}

/* A failure that is not the client's: the operator learns why, the client only that. */
static void trouble(struct exchange *e, int status, const char *text, const char *why)
{
    char request[160];
    snprintf(request, sizeof request, "%.*s %.*s", WCP_ARG(e->r->method),
             e->r->path.len < 120 ? (int)e->r->path.len : 120, e->r->path.ptr);
    wcp_log(WCP_WARN, "a request was not served", "request", request, "component",
            e->site->link->target_id.ptr, "link", e->site->link->name.ptr, "why", why, NULL);
    answer(e, status, text);
}

/* --- the response --- */

/* Views of n fields into h, up to room. Returns how many there are. */
static size_t flatten(const struct http_types_fields *f, struct http1_header *h, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < f->len; i++)
        for (size_t k = 0; k < f->ptr[i].f1.len; k++, n++)
            if (n < room)
                h[n] = (struct http1_header){
                    f->ptr[i].f0, {(const char *)f->ptr[i].f1.ptr[k].ptr, f->ptr[i].f1.ptr[k].len}};
    return n;
}

static void finish_response(struct exchange *e)
{
    if (!e->r || !e->body_ended || (!e->trailers_ended && http1_wants_trailers(e->r)))
        return;
    if (e->trailing)
        wcp_in_cancel(e->trailing);
    e->trailing = NULL;
    http1_end(e->r, e->trailer, e->trailer_count);
}

/* The response cannot be completed. */
static void break_off(struct exchange *e, int status, const char *what)
{
    wcp_log(WCP_WARN, "a response broke off", "component", e->site->link->target_id.ptr, "link",
            e->site->link->name.ptr, "part", what, "why", wcp_strerror(status), NULL);
    if (http1_answered(e->r))
        http1_abort(e->r);
    else
        e->broken = true;
}

static void on_body(void *ctx, const void *items, size_t n)
{
    struct exchange *e = ctx;
    if (!http1_answered(e->r))
        wcp_buf_put(&e->early, items, n);
    else if (!http1_write(e->r, (struct wcp_bytes){items, n}))
        wcp_in_pause(e->from);
    /* e may be gone here */
}

static void on_body_end(void *ctx, int status)
{
    struct exchange *e = ctx;
    e->from = NULL;
    e->body_ended = true;
    if (status)
        break_off(e, status, "body");
    else if (http1_answered(e->r))
        finish_response(e);
}

static void on_trailers(void *ctx, const void *items, size_t n)
{
    struct exchange *e = ctx;
    const struct http_types_fields *f = *(const struct http_types_fields *const *)items;
    if (!f)
        return;
    size_t count = flatten(f, NULL, 0), bytes = 0;
    struct http1_header *h = wcp_calloc(count + 1, sizeof *h);
    flatten(f, h, count);
    for (size_t i = 0; i < count; i++)
        bytes += h[i].name.len + h[i].value.len;
    e->trailer = wcp_calloc(1, count * sizeof *h + bytes + 1);
    e->trailer_count = count;
    char *at = (char *)(e->trailer + count);
    for (size_t i = 0; i < count; i++) {
        struct wcp_str *const parts[] = {&h[i].name, &h[i].value};
        for (size_t k = 0; k < 2; k++) {
            memcpy(at, parts[k]->ptr ? parts[k]->ptr : "", parts[k]->len);
            parts[k]->ptr = at;
            at += parts[k]->len;
        }
        e->trailer[i] = h[i];
    }
    free(h);
}

static void on_trailers_end(void *ctx, int status)
{
    struct exchange *e = ctx;
    e->trailing = NULL;
    e->trailers_ended = true;
    if (status && (!http1_answered(e->r) || http1_wants_trailers(e->r)))
        break_off(e, status, "trailers");
    else if (http1_answered(e->r))
        finish_response(e);
}

static const struct wcp_in_handler body_in = {on_body, on_body_end};
static const struct wcp_in_handler trailers_in = {on_trailers, on_trailers_end};

/* The component's headers with ours. False: e was answered otherwise. */
static bool send_head(struct exchange *e, const struct http_types_response *resp, bool whole)
{
    struct wcp_err err = {0};
    struct http1_header ours[CORS_MAX];
    const char *cache = e->site->settings.cache_control;
    size_t own = cors(e, ours), count = flatten(&resp->headers, NULL, 0), n = 0;
    struct http1_header *h = wcp_calloc(count + own + 2, sizeof *h);
    char length[24];
    bool has_length = false;
    flatten(&resp->headers, h, count);
    for (size_t i = 0; i < count;
         i++) { /* the access-control- ones of ours replace the component's */
        bool replaced = false;
        for (size_t k = 0; k < own; k++)
            replaced |= ours[k].name.len == h[i].name.len && ours[k].name.ptr[0] == 'a' &&
                        strncasecmp(ours[k].name.ptr, h[i].name.ptr, h[i].name.len) == 0;
        has_length |= h[i].name.len == 14 && strncasecmp(h[i].name.ptr, "content-length", 14) == 0;
        if (!replaced)
            h[n++] = h[i];
    }
    memcpy(h + n, ours, own * sizeof *h);
    n += own;
    if (cache)
        h[n++] = (struct http1_header){WCP_STR("cache-control"), wcp_str(cache)};
    if (whole && !has_length && !wcp_str_eq(e->r->method, WCP_STR("HEAD"))) {
        snprintf(length, sizeof length, "%zu", e->early.len);
        h[n++] = (struct http1_header){WCP_STR("content-length"), wcp_str(length)};
    }
    int rc = http1_head(e->r, resp->status, h, n, &err);
    free(h);
    if (rc)
        trouble(e, 500, "the component's response is not valid HTTP\n", err.msg);
    return rc == 0;
}

static void respond(struct exchange *e, const struct http_types_response *resp)
{
    e->from = resp->body.in;
    e->trailing = resp->trailers.in;
    if (wcp_str_eq(e->r->method, WCP_STR("HEAD"))) { /* nothing of it will be sent */
        e->body_ended = e->trailers_ended = true;
        wcp_in_cancel(e->from);
        wcp_in_cancel(e->trailing);
        e->from = e->trailing = NULL;
    } else {
        wcp_in_start(e->from, &body_in, e);
        wcp_in_start(e->trailing, &trailers_in, e);
    }
    if (e->broken) {
        trouble(e, 500, "the component's response broke off\n", "its body or trailers broke off");
        return;
    }
    bool whole = e->body_ended && e->trailers_ended && !e->trailer_count;
    if (!send_head(e, resp, whole))
        return;
    if (!http1_wants_body(e->r) && e->from) {
        wcp_in_cancel(e->from);
        e->from = NULL;
        e->body_ended = true;
    }
    if (e->early.len && !http1_write(e->r, (struct wcp_bytes){e->early.ptr, e->early.len}) &&
        e->r && e->from)
        wcp_in_pause(e->from);
    wcp_buf_free(&e->early);
    finish_response(e);
}

static void destroy(struct exchange *e);

static const char *error_name(const struct http_types_error_code *code)
{
    const struct wcp_type *result = http_incoming_handler_interface.funcs[0].result;
    const struct wcp_type *error = result->fields[1].type;
    return code->tag < error->count ? error->fields[code->tag].name : "?";
}

static void on_result(void *ctx, const struct http_incoming_handler_handle_result *result,
                      int status)
{
    struct exchange *e = ctx;
    char why[256];
    e->call = NULL;
    e->busy = true;
    if (e->timed)
        uv_timer_stop(&e->timer);
    if (status == WCP_ENOENT) {
        trouble(e, 500, "the component is not running\n", "nobody serves the component");
    } else if (status == WCP_ETIMEOUT) {
        trouble(e, 504, "the component did not answer in time\n", "no answer in time");
    } else if (status) {
        trouble(e, 500, "the component failed\n", wcp_strerror(status));
    } else if (result->is_err) {
        const struct http_types_error_code *code = &result->err;
        const struct wcp_str *detail =
            code->tag == HTTP_TYPES_ERROR_CODE_INTERNAL_ERROR ? code->internal_error : NULL;
        snprintf(why, sizeof why, "error-code %s%s%.*s", error_name(code), detail ? ": " : "",
                 detail ? (int)(detail->len < 200 ? detail->len : 200) : 0,
                 detail ? detail->ptr : "");
        trouble(e, 500, "the component answered with an error\n", why);
    } else {
        respond(e, &result->ok);
    }
    e->busy = false;
    if (!e->r)
        destroy(e);
}

/* --- the request --- */

static const struct {
    struct wcp_str name;
    uint32_t tag;
} methods[] = {
    {{"GET", 3}, HTTP_TYPES_METHOD_GET},       {{"HEAD", 4}, HTTP_TYPES_METHOD_HEAD},
    {{"POST", 4}, HTTP_TYPES_METHOD_POST},     {{"PUT", 3}, HTTP_TYPES_METHOD_PUT},
    {{"DELETE", 6}, HTTP_TYPES_METHOD_DELETE}, {{"OPTIONS", 7}, HTTP_TYPES_METHOD_OPTIONS},
    {{"TRACE", 5}, HTTP_TYPES_METHOD_TRACE},   {{"PATCH", 5}, HTTP_TYPES_METHOD_PATCH},
};

static struct http_types_method method_of(struct wcp_str name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (wcp_str_eq(name, methods[i].name))
            return (struct http_types_method){.tag = methods[i].tag};
    return (struct http_types_method){.tag = HTTP_TYPES_METHOD_OTHER, .other = name};
}

struct grouped {
    struct http_types_tuple_string_bytes_list entries[HEADERS_MAX];
    struct wcp_bytes values[HEADERS_MAX];
};

/* One entry per name with all of its values, as the wire wants it (wit.md §3). */
static struct http_types_fields group(const struct http1_header *h, size_t n, struct grouped *g)
{
    size_t names = 0, values = 0;
    bool taken[HEADERS_MAX] = {false};
    for (size_t i = 0; i < n; i++) {
        size_t first = values;
        if (taken[i])
            continue;
        for (size_t k = i; k < n; k++)
            if (k == i || (!taken[k] && wcp_str_eq(h[k].name, h[i].name))) {
                g->values[values++] =
                    (struct wcp_bytes){(const uint8_t *)h[k].value.ptr, h[k].value.len};
                taken[k] = true;
            }
        g->entries[names].f0 = h[i].name;
        g->entries[names].f1.ptr = g->values + first;
        g->entries[names++].f1.len = values - first;
    }
    return (struct http_types_fields){g->entries, names};
}

static struct wcp_str trimmed(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct wcp_str){from, (size_t)(to - from)};
}

/* host= of the first element of "by=a;host=b, host=c" (RFC 7239); empty: it has none. */
static struct wcp_str forwarded_host(struct wcp_str v)
{
    const char *p = v.ptr, *end = memchr(v.ptr, ',', v.len);
    if (!end)
        end = v.ptr + v.len;
    while (p < end) {
        const char *semicolon = memchr(p, ';', (size_t)(end - p));
        struct wcp_str pair = trimmed(p, semicolon ? semicolon : end);
        if (pair.len > 5 && strncasecmp(pair.ptr, "host=", 5) == 0) {
            pair = (struct wcp_str){pair.ptr + 5, pair.len - 5};
            if (pair.len >= 2 && pair.ptr[0] == '"' && pair.ptr[pair.len - 1] == '"')
                pair = (struct wcp_str){pair.ptr + 1, pair.len - 2};
            return pair;
        }
        p = semicolon ? semicolon + 1 : end;
    }
    return (struct wcp_str){0};
}

/* Whom the client wanted: the first of the places where a proxy or the client says it. NULL ptr:
 * none does. */
static struct wcp_str authority_of(const struct http1_request *r)
{
    const struct wcp_str *v = header(r, WCP_STR("forwarded"));
    struct wcp_str host = v ? forwarded_host(*v) : (struct wcp_str){0};
    if (host.len)
        return host;
    if ((v = header(r, WCP_STR("x-forwarded-host")))) {
        const char *comma = memchr(v->ptr, ',', v->len);
        return trimmed(v->ptr, comma ? comma : v->ptr + v->len);
    }
    if ((v = header(r, WCP_STR("host"))))
        return *v;
    return r->authority;
}

/* host[:port] or [IPv6][:port], in the characters of RFC 3986 without user information. */
static bool is_authority(struct wcp_str a)
{
    size_t i = 0, host;
    bool bracket = a.len && a.ptr[0] == '[';
    for (i = bracket; i < a.len; i++)
        if (!strchr(bracket ? "0123456789abcdefABCDEF:."
                            : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "-._~%!$&'()*+,;=",
                    a.ptr[i]) ||
            !a.ptr[i])
            break;
    host = i - bracket;
    if (bracket && (i == a.len || a.ptr[i++] != ']'))
        return false;
    if (i < a.len && a.ptr[i++] != ':')
        return false;
    size_t digits = a.len - i;
    uint64_t port = 0;
    for (; i < a.len; i++) {
        if (a.ptr[i] < '0' || a.ptr[i] > '9')
            return false;
        port = port * 10 + (uint64_t)(a.ptr[i] - '0');
    }
    return host && digits <= 5 && port <= 65535;
}

static void on_timeout(uv_timer_t *t)
{
    struct exchange *e = t->data;
    answer(e, 408, ""); /* 504 would be right; 408 is what users of this setting know */
}

static void start_timer(struct exchange *e, void (*fn)(uv_timer_t *), uint64_t ms)
{
    if (!e->timed) {
        uv_timer_init(wcp_loop(e->site->link->instance), &e->timer);
        e->timer.data = e;
        e->timed = true;
    }
    uv_timer_start(&e->timer, fn, ms, 0);
}

static void invoke(struct exchange *e)
{
    const struct http1_request *r = e->r;
    static const struct http_types_scheme http = {.tag = HTTP_TYPES_SCHEME_HTTP};
    struct wcp_str authority = authority_of(r), path = r->path;
    struct grouped g;
    char *slash = NULL;
    if (path.ptr[0] == '?') { /* "http://host?query": the path is empty, which means "/" */
        slash = wcp_calloc(1, path.len + 2);
        snprintf(slash, path.len + 2, "/%.*s", WCP_ARG(path));
        path = wcp_str(slash);
    }
    e->invoked = true;
    if (e->timed)
        uv_timer_stop(&e->timer);
    struct http_types_request request = {.body.out = e->body,
                                         .trailers.out = e->trailers,
                                         .method = method_of(r->method),
                                         .path_with_query = &path,
                                         .scheme = &http,
                                         .authority = &authority,
                                         .headers = group(r->headers, r->header_count, &g)};
    /* Ended already: they are the call's now. */
    if (e->body_ended)
        e->body = e->trailers = NULL;
    e->body_ended = false; /* from here on the response's */
    const struct wcp_str *parent = header(r, WCP_STR("traceparent"));
    const struct wcp_str *state = header(r, WCP_STR("tracestate"));
    wcp_trace_set(parent ? *parent : (struct wcp_str){0}, state ? *state : (struct wcp_str){0});
    e->call = http_incoming_handler_handle(e->site->link, request, on_result, e);
    wcp_trace_call(NULL);
    free(slash);
    if (e->site->settings.timeout_ms)
        start_timer(e, on_timeout, e->site->settings.timeout_ms);
}

static void on_waited(uv_timer_t *t)
{
    invoke(t->data);
}

static void on_drained(void *ctx)
{
    struct exchange *e = ctx;
    http1_resume(e->r);
}

static void on_request(struct http1_request *r)
{
    struct listener *l = r->ctx;
    struct exchange *e = wcp_calloc(1, sizeof *e);
    bool get = wcp_str_eq(r->method, WCP_STR("GET")) || wcp_str_eq(r->method, WCP_STR("HEAD"));
    struct wcp_str authority = authority_of(r);
    e->r = r;
    e->site = l->sites;
    e->site->refs++;
    r->data = e;
    if (wcp_str_eq(r->method, WCP_STR("OPTIONS"))) {
        answer_options(e);
    } else if (e->site->settings.readonly && !get) {
        answer(e, 405, "only GET and HEAD are allowed here\n");
    } else if (!authority.ptr) {
        answer(e, 400, "the request has no Host\n");
    } else if (!is_authority(authority)) {
        answer(e, 400, "the request's Host is not host[:port]\n");
    } else if (wcp_str_eq(r->method, WCP_STR("CONNECT"))) {
        answer(e, 501, "tunnels are not supported\n");
    } else if (!r->has_body) {
        invoke(e);
    } else {
        e->body = wcp_out_new(&wcp_u8);
        if (r->length == HTTP1_CHUNKED) /* nothing else can have trailers */
            e->trailers = wcp_out_new(&http_types_option_fields_type);
        if (r->length != HTTP1_CHUNKED && r->length > INLINE_MAX)
            invoke(e);
        else
            start_timer(e, on_waited, r->length == HTTP1_CHUNKED ? INLINE_CHUNKED_MS : INLINE_MS);
    }
}

static void on_chunk(struct http1_request *r, struct wcp_bytes chunk)
{
    struct exchange *e = r->data;
    bool room = wcp_out_write(e->body, chunk.ptr, chunk.len);
    e->waiting += chunk.len;
    if (e->invoked && !room) {
        http1_pause(r);
        wcp_out_on_drained(e->body, on_drained, e);
    } else if (!e->invoked && e->waiting > INLINE_MAX) {
        invoke(e);
    }
}

static void on_request_end(struct http1_request *r)
{
    struct exchange *e = r->data;
    struct wcp_out *body = e->body, *trailers = e->trailers;
    struct grouped g;
    struct http_types_fields fields = group(r->trailers, r->trailer_count, &g);
    const struct http_types_fields *some = r->trailer_count ? &fields : NULL;
    if (e->invoked)
        e->body = e->trailers = NULL;
    wcp_out_end(body);
    if (trailers) {
        wcp_out_write(trailers, &some, 1);
        wcp_out_end(trailers);
    }
    if (!e->invoked) {
        e->body_ended = true;
        invoke(e);
    }
}

static void on_writable(struct http1_request *r)
{
    struct exchange *e = r->data;
    if (e->from)
        wcp_in_resume(e->from);
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

static void destroy(struct exchange *e)
{
    site_unref(e->site);
    wcp_buf_free(&e->early);
    free(e->trailer);
    if (e->timed)
        uv_close((uv_handle_t *)&e->timer, on_timer_closed);
    else
        free(e);
}

static void drop_out(struct exchange *e, struct wcp_out **o)
{
    if (*o && e->invoked)
        wcp_out_abort(*o);
    else
        wcp_out_free(*o);
    *o = NULL;
}

static void on_done(struct http1_request *r, bool complete)
{
    struct exchange *e = r->data;
    e->r = NULL;
    if (e->timed)
        uv_timer_stop(&e->timer);
    drop_out(e, &e->body);
    drop_out(e, &e->trailers);
    if (e->from)
        wcp_in_cancel(e->from);
    if (e->trailing)
        wcp_in_cancel(e->trailing);
    if (e->call)
        wcp_cancel(e->call);
    e->from = e->trailing = NULL;
    e->call = NULL;
    if (!e->busy)
        destroy(e);
}

static void on_trouble(void *ctx, const char *why)
{
    wcp_log(WCP_ERROR, "a connection could not be accepted", "why", why, NULL);
}

const struct http1_handler exchange_handler = {.request = on_request,
                                               .body = on_chunk,
                                               .end = on_request_end,
                                               .writable = on_writable,
                                               .done = on_done,
                                               .trouble = on_trouble};

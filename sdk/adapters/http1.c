/* http1.c: an HTTP/1.1 server on a libuv loop.
 *
 * A connection reads: head, body (by length or in chunks, then trailers), and waits when its
 * request is complete but its response is not. What came in too early is kept in `rest`. Output is
 * gathered during a turn of the loop and written once before the loop sleeps. A connection that is
 * to close says so to the client, then reads on for a moment (LINGER): closing with unread bytes
 * would make the kernel send a reset, and the client could lose the response. */
#include "http1_parse.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

enum {
    READ_BYTES = 65536,
    QUEUE_HIGH = 256 * 1024, /* http1_write says stop above this, and */
    QUEUE_LOW = 64 * 1024,   /* handler.writable is called at or below this */
    REST_MAX = 16 * 1024,    /* read ahead while a request runs: enough to see a client leave */
    KEEP_BYTES = 16 * 1024,  /* of buffers, while a connection is idle */
    LINGER_MS = 1000,
    CLOSING_STALL_MS = 5000,
    REFUSED_MAX = 128, /* connections above the limit that are told 503; more are just closed */
};

enum state { READ, WAIT, LINGER, CLOSED };

struct conn {
    struct http1_parser p; /* first, and a request is first in it: a request is its connection */
    uv_tcp_t tcp;
    struct http1_server *server;
    struct conn *next, **link; /* in server->conns */
    struct conn *dirty_next;
    enum state state;
    struct wcp_buf rest;        /* input that came too early */
    struct wcp_buf out, flying; /* gathered; being written */
    size_t flying_left;         /* at the last look, to see progress */
    uint64_t active_at;         /* the last progress, or the start of what is waited for */
    uint64_t head_at;           /* the first byte of a head */
    uint64_t out_left;          /* of the response's content-length */
    enum { BY_CLOSE, BY_LENGTH, BY_CHUNKS, NO_BODY } framing;
    uv_write_t write;
    uv_shutdown_t shutdown;
    bool reading, processing, paused, dirty, writing, shut;
    bool active;             /* between handler.request and handler.done */
    bool keep;               /* the connection lives on after this response */
    bool expects;            /* the client waits for 100 Continue */
    bool started, sent, got; /* response head written; response ended; request read to its end */
    bool blocked;            /* http1_write returned false */
    bool eof;                /* the client sends no more */
    bool refused;            /* above the limit of connections */
};

struct http1_server {
    uv_tcp_t tcp;
    uv_prepare_t prepare;
    uv_timer_t sweep;
    uv_loop_t *loop;
    const struct http1_handler *handler;
    void *ctx;
    struct http1_options o;
    struct conn *conns, *dirty;
    size_t count, refused; /* connections; of them above the limit */
    size_t handles;        /* of the server's own that are not yet closed */
    void (*closed)(void *ctx);
    void *closed_ctx;
    time_t date_of;
    char date[32];
    bool closing;
    char scratch[READ_BYTES];
};

/* "Not Found" for 404; empty: it has no name here. */
static struct wcp_str reason(int status)
{
    static const char known[] =
        "200 OK\n201 Created\n202 Accepted\n203 Non-Authoritative Information\n204 No Content\n"
        "205 Reset Content\n206 Partial Content\n207 Multi-Status\n300 Multiple Choices\n"
        "301 Moved Permanently\n302 Found\n303 See Other\n304 Not Modified\n"
        "307 Temporary Redirect\n308 Permanent Redirect\n400 Bad Request\n401 Unauthorized\n"
        "402 Payment Required\n403 Forbidden\n404 Not Found\n405 Method Not Allowed\n"
        "406 Not Acceptable\n408 Request Timeout\n409 Conflict\n410 Gone\n411 Length Required\n"
        "412 Precondition Failed\n413 Content Too Large\n414 URI Too Long\n"
        "415 Unsupported Media Type\n416 Range Not Satisfiable\n417 Expectation Failed\n"
        "418 I'm a teapot\n421 Misdirected Request\n422 Unprocessable Content\n423 Locked\n"
        "425 Too Early\n426 Upgrade Required\n428 Precondition Required\n429 Too Many Requests\n"
        "431 Request Header Fields Too Large\n451 Unavailable For Legal Reasons\n"
        "500 Internal Server Error\n501 Not Implemented\n502 Bad Gateway\n"
        "503 Service Unavailable\n504 Gateway Timeout\n505 HTTP Version Not Supported\n"
        "507 Insufficient Storage\n";
    for (const char *p = known; *p; p = strchr(p, '\n') + 1)
        if (atoi(p) == status)
            return (struct wcp_str){p + 4, strcspn(p + 4, "\n")};
    return WCP_STR("");
}

/* --- closing and writing --- */

static bool takes_input(const struct conn *c);
static void process_rest(struct conn *c);
static void read_or_not(struct conn *c);
static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b);

static struct conn *conn_of(const struct http1_request *r)
{
    return (struct conn *)(uintptr_t)r; /* the first member of its first member */
}

static size_t queued(const struct conn *c)
{
    return c->out.len +
           (c->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) : 0);
}

static void server_gone(struct http1_server *s)
{
    if (!s->closing || s->handles || s->count)
        return;
    void (*closed)(void *) = s->closed;
    void *ctx = s->closed_ctx;
    free(s);
    if (closed)
        closed(ctx);
}

static void on_server_handle_closed(uv_handle_t *h)
{
    struct http1_server *s = h->data;
    s->handles--;
    server_gone(s);
}

static void server_last_conn(struct http1_server *s)
{
    if (s->closing && !s->count && !uv_is_closing((uv_handle_t *)&s->sweep)) {
        uv_close((uv_handle_t *)&s->sweep, on_server_handle_closed);
        uv_close((uv_handle_t *)&s->prepare, on_server_handle_closed);
    }
}

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct http1_server *s = c->server;
    http1_parser_close(&c->p);
    wcp_buf_free(&c->rest);
    wcp_buf_free(&c->out);
    wcp_buf_free(&c->flying);
    s->refused -= c->refused;
    s->count--;
    free(c);
    server_last_conn(s);
    server_gone(s);
}

/* The end of a connection. reset: the client must not take what it has for complete. */
static void cut(struct conn *c, bool reset)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    for (struct conn **p = &c->server->dirty; c->dirty; p = &(*p)->dirty_next)
        if (*p == c) {
            *p = c->dirty_next;
            break;
        }
    c->dirty = false;
    if (!reset || uv_tcp_close_reset(&c->tcp, on_conn_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
    if (c->active) {
        c->active = false;
        if (c->server->handler->done)
            c->server->handler->done(&c->p.req, false);
    }
}

static void mark_dirty(struct conn *c)
{
    if (c->dirty || c->state == CLOSED)
        return;
    c->dirty = true;
    c->dirty_next = c->server->dirty;
    c->server->dirty = c;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;
    if (status != 0 || c->eof) /* else the client closes, or the sweep ends it */
        cut(c, false);
}

static void flush(struct conn *c);

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    c->writing = false;
    c->flying.len = 0;
    if (c->flying.cap > KEEP_BYTES)
        wcp_buf_free(&c->flying);
    c->active_at = uv_now(c->server->loop);
    if (c->state == CLOSED)
        return;
    if (status != 0)
        cut(c, true);
    else
        flush(c);
}

static void flush(struct conn *c)
{
    if (c->out.len && !c->writing) {
        uv_buf_t b = uv_buf_init((char *)c->out.ptr, (unsigned)c->out.len);
        int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            cut(c, true);
            return;
        }
        size_t done = n < 0 ? 0 : (size_t)n;
        if (done < c->out.len) {
            struct wcp_buf swap = c->flying;
            c->flying = c->out;
            c->out = swap;
            b = uv_buf_init((char *)c->flying.ptr + done, (unsigned)(c->flying.len - done));
            c->write.data = c;
            c->active_at = uv_now(c->server->loop);
            c->flying_left = b.len;
            if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, on_written) != 0) {
                cut(c, true);
                return;
            }
            c->writing = true;
        }
        c->out.len = 0;
        if (c->out.cap > KEEP_BYTES)
            wcp_buf_free(&c->out);
    }
    if (c->state == LINGER && !c->writing && !c->shut) {
        c->shut = true;
        c->shutdown.data = c;
        c->active_at = uv_now(c->server->loop);
        if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
            cut(c, false);
            return;
        }
    }
    if (c->blocked && queued(c) <= QUEUE_LOW) {
        c->blocked = false;
        if (c->active && !c->sent && c->server->handler->writable)
            c->server->handler->writable(&c->p.req);
    }
    if (c->rest.len && takes_input(c))
        process_rest(c); /* a pipelined request that waited for room */
    else if (c->state != CLOSED)
        read_or_not(c);
}

static void on_prepare(uv_prepare_t *p)
{
    struct http1_server *s = p->data;
    /* A flush may mark others: those wait for no one, the loop goes on until there are none. One
     * that is marked again during its own flush has either made progress or is being written. */
    while (s->dirty) {
        struct conn *c = s->dirty;
        s->dirty = c->dirty_next;
        c->dirty = false;
        flush(c);
    }
}

/* --- responses --- */

/* Both directions of the request are over, or the rest of the request is not wanted. */
static void finish(struct conn *c)
{
    bool keep = c->keep && c->got && !c->server->closing;
    c->active = c->paused = c->blocked = false;
    c->state = keep ? READ : LINGER;
    c->active_at = uv_now(c->server->loop);
    mark_dirty(c);
    if (c->server->handler->done)
        c->server->handler->done(&c->p.req, true);
    http1_parser_next(&c->p);
    if (c->state != CLOSED && !c->processing)
        process_rest(c);
}

static void put_text(struct conn *c, const char *text)
{
    wcp_buf_put(&c->out, text, strlen(text));
}

static void put_header(struct conn *c, struct wcp_str name, struct wcp_str value)
{
    wcp_buf_put(&c->out, name.ptr, name.len);
    wcp_buf_put(&c->out, ": ", 2);
    wcp_buf_put(&c->out, value.ptr, value.len);
    wcp_buf_put(&c->out, "\r\n", 2);
}

static bool hop_by_hop(struct wcp_str name)
{
    return http1_is(name, "connection") || http1_is(name, "transfer-encoding") ||
           http1_is(name, "keep-alive") || http1_is(name, "proxy-connection") ||
           http1_is(name, "upgrade") || http1_is(name, "te");
}

static const char *date(struct http1_server *s)
{
    time_t now = time(NULL);
    if (now != s->date_of) {
        struct tm tm;
        gmtime_r(&now, &tm);
        (void)strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_of = now;
    }
    return s->date;
}

int http1_head(struct http1_request *r, int status, const struct http1_header *h, size_t n,
               struct wcp_err *err)
{
    struct conn *c = conn_of(r);
    uint64_t length = 0;
    bool has_length = false, has_date = false, close = false;
    assert(c->active && !c->started);
    if (status < 200 || status > 999)
        return wcp_fail(err, WCP_EINVAL, "status %d: expected 200 to 999", status);
    for (size_t i = 0; i < n; i++) {
        if (http1_check_header(h[i], err))
            return WCP_EINVAL;
        if (http1_is(h[i].name, "content-length")) {
            if (has_length)
                return wcp_fail(err, WCP_EINVAL, "content-length is there twice");
            if (!http1_parse_length(h[i].value, &length))
                return wcp_fail(err, WCP_EINVAL, "content-length '%.*s': expected a number",
                                WCP_ARG(h[i].value));
            has_length = true;
        } else if (http1_is(h[i].name, "connection")) {
            close = close || http1_lists(h[i].value, "close");
        } else if (http1_is(h[i].name, "date")) {
            has_date = true;
        }
    }
    bool bodiless = status == 204 || status == 304 || wcp_str_eq(r->method, WCP_STR("HEAD"));
    c->started = true;
    c->framing = bodiless ? NO_BODY : has_length ? BY_LENGTH : r->minor ? BY_CHUNKS : BY_CLOSE;
    c->out_left = length;
    if (close || c->framing == BY_CLOSE || c->server->closing || c->server->o.one_request ||
        c->expects) /* whether its body comes after all, only the client knows */
        c->keep = false;

    char line[64];
    struct wcp_str text = reason(status);
    int len = snprintf(line, sizeof line, "HTTP/1.1 %d %.*s\r\n", status, WCP_ARG(text));
    wcp_buf_put(&c->out, line, (size_t)len);
    for (size_t i = 0; i < n; i++)
        if (!hop_by_hop(h[i].name) && !(status == 204 && http1_is(h[i].name, "content-length")))
            put_header(c, h[i].name, h[i].value);
    if (!has_date)
        put_header(c, WCP_STR("date"), wcp_str(date(c->server)));
    if (c->framing == BY_CHUNKS)
        put_text(c, "transfer-encoding: chunked\r\n");
    if (!c->keep)
        put_text(c, "connection: close\r\n");
    else if (!r->minor)
        put_text(c, "connection: keep-alive\r\n");
    put_text(c, "\r\n");
    mark_dirty(c);
    return 0;
}

bool http1_answered(const struct http1_request *r)
{
    return conn_of(r)->started;
}

bool http1_wants_body(const struct http1_request *r)
{
    const struct conn *c = conn_of(r);
    return c->framing != NO_BODY && !(c->framing == BY_LENGTH && !c->out_left);
}

bool http1_wants_trailers(const struct http1_request *r)
{
    return conn_of(r)->framing == BY_CHUNKS;
}

bool http1_write(struct http1_request *r, struct wcp_bytes chunk)
{
    struct conn *c = conn_of(r);
    assert(c->active && c->started && !c->sent);
    if (!chunk.len || c->framing == NO_BODY)
        return true;
    if (c->framing == BY_LENGTH) {
        if (chunk.len > c->out_left) {
            http1_abort(r);
            return true;
        }
        c->out_left -= chunk.len;
    }
    if (c->framing == BY_CHUNKS) {
        char line[24];
        int len = snprintf(line, sizeof line, "%zx\r\n", chunk.len);
        wcp_buf_put(&c->out, line, (size_t)len);
    }
    wcp_buf_put(&c->out, chunk.ptr, chunk.len);
    if (c->framing == BY_CHUNKS)
        wcp_buf_put(&c->out, "\r\n", 2);
    mark_dirty(c);
    c->blocked = queued(c) > QUEUE_HIGH;
    return !c->blocked;
}

/* Framing and routing are decided by the head; a trailer must not change them afterwards. */
static bool may_trail(struct wcp_str name)
{
    return !hop_by_hop(name) && !http1_is(name, "content-length") && !http1_is(name, "host") &&
           !http1_is(name, "trailer") && !http1_is(name, "content-encoding") &&
           !http1_is(name, "content-type") && !http1_is(name, "content-range");
}

void http1_end(struct http1_request *r, const struct http1_header *trailers, size_t n)
{
    struct conn *c = conn_of(r);
    assert(c->active && c->started && !c->sent);
    if (c->framing == BY_LENGTH && c->out_left) {
        http1_abort(r);
        return;
    }
    if (c->framing == BY_CHUNKS) {
        put_text(c, "0\r\n");
        for (size_t i = 0; i < n; i++)
            if (may_trail(trailers[i].name) && http1_check_header(trailers[i], NULL) == 0)
                put_header(c, trailers[i].name, trailers[i].value);
        put_text(c, "\r\n");
    }
    c->sent = true;
    mark_dirty(c);
    if (c->got)
        finish(c);
}

void http1_answer(struct http1_request *r, int status, const struct http1_header *h, size_t n,
                  struct wcp_bytes body)
{
    struct conn *c = conn_of(r);
    struct http1_header all_h[32];
    struct wcp_err err;
    char length[24];
    assert(n < sizeof all_h / sizeof *all_h);
    for (size_t i = 0; i < n; i++)
        all_h[i] = h[i];
    snprintf(length, sizeof length, "%zu", body.len);
    all_h[n] = (struct http1_header){WCP_STR("content-length"), wcp_str(length)};
    if (!c->got)
        c->keep = false;
    int rc = http1_head(r, status, all_h, n + 1, &err);
    assert(rc == 0);            /* the headers are the program's own */
    (void)http1_write(r, body); /* there is nothing more that could wait */
    c->sent = true;
    finish(c);
}

static void write_some(struct conn *c)
{
    if (c->out.len && !c->writing) {
        uv_buf_t b = uv_buf_init((char *)c->out.ptr, (unsigned)c->out.len);
        (void)uv_try_write((uv_stream_t *)&c->tcp, &b, 1); /* the connection ends in any case */
    }
}

void http1_abort(struct http1_request *r)
{
    struct conn *c = conn_of(r);
    assert(c->active);
    bool by_close = c->started && c->framing == BY_CLOSE;
    if (!by_close)
        write_some(c); /* what was written so far is still good */
    cut(c, by_close);
}

/* The request is not HTTP as we read it: the client is told once, and the connection ends. */
static void refuse(struct conn *c, int status, const char *text)
{
    if (c->active && c->started) {
        cut(c, true); /* what has been answered so far is not a whole response */
        return;
    }
    if (c->active) {
        c->active = false;
        if (c->server->handler->done)
            c->server->handler->done(&c->p.req, false);
    }
    char body[256];
    struct wcp_str phrase = reason(status);
    int len = snprintf(body, sizeof body, "%s\n", text);
    wcp_buf_fmt(&c->out,
                "HTTP/1.1 %d %.*s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: "
                "%d\r\ndate: %s\r\nconnection: close\r\n\r\n%s",
                status, WCP_ARG(phrase), len, date(c->server), body);
    c->state = LINGER;
    c->active_at = uv_now(c->server->loop);
    mark_dirty(c);
}

/* --- requests --- */

static void on_head(struct conn *c)
{
    c->active = true;
    c->keep = c->p.keep_alive;
    c->expects = c->p.expects;
    c->started = c->sent = c->blocked = false;
    c->got = !c->p.req.has_body;
    if (c->got)
        c->state = WAIT;
    c->p.req.ctx = c->server->ctx;
    c->p.req.data = NULL;
    c->server->handler->request(&c->p.req);
    if (!c->active)
        return;
    if (c->expects && !c->started) {
        put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
        mark_dirty(c);
    }
    c->expects = false;
}

static void on_body(struct conn *c)
{
    if (c->server->handler->body)
        c->server->handler->body(&c->p.req, c->p.body);
}

static void on_end(struct conn *c)
{
    c->got = true;
    c->state = WAIT;
    if (c->server->handler->end)
        c->server->handler->end(&c->p.req);
    if (c->active && c->sent)
        finish(c);
}

/* Takes some of the input; returns where it stopped. */
static const char *step(struct conn *c, const char *in, const char *end)
{
    if (c->state == LINGER)
        return end;
    if (!c->active && !http1_parser_begun(&c->p))
        c->head_at = uv_now(c->server->loop);
    switch (http1_parse(&c->p, &in, end)) {
    case HTTP1_MORE: break;
    case HTTP1_HEAD: on_head(c); break;
    case HTTP1_BODY: on_body(c); break;
    case HTTP1_LAST:
        on_body(c);
        if (c->active)
            on_end(c);
        break;
    case HTTP1_END: on_end(c); break;
    case HTTP1_BAD: refuse(c, c->p.status, c->p.why); return end;
    }
    return in;
}

static bool takes_input(const struct conn *c)
{
    if (c->state == READ) /* a pipeline whose answers nobody reads is not read on */
        return c->active ? !c->paused : queued(c) <= QUEUE_HIGH;
    return c->state == LINGER;
}

static void read_or_not(struct conn *c)
{
    bool want = !c->eof && (takes_input(c) || (c->state == WAIT && c->rest.len < REST_MAX));
    if (c->state == CLOSED || want == c->reading)
        return;
    c->reading = want;
    if (!want)
        uv_read_stop((uv_stream_t *)&c->tcp);
    else if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0)
        cut(c, true);
}

static void process(struct conn *c, const char *p, size_t n)
{
    const char *end = p + n;
    c->processing = true;
    while (p < end && takes_input(c))
        p = step(c, p, end);
    c->processing = false;
    if (c->state == CLOSED)
        return;
    if (p < end)
        wcp_buf_put(&c->rest, p, (size_t)(end - p));
    read_or_not(c);
}

static void process_rest(struct conn *c)
{
    struct wcp_buf rest = c->rest;
    c->rest = (struct wcp_buf){0};
    process(c, (const char *)rest.ptr, rest.len);
    wcp_buf_free(&rest);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    struct conn *c = h->data;
    *b = uv_buf_init(c->server->scratch, sizeof c->server->scratch);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = stream->data;
    if (n == 0)
        return;
    if (n > 0) {
        if (c->state != LINGER)
            c->active_at = uv_now(c->server->loop);
        if (c->rest.len) { /* paused, or waiting: in order behind what is there */
            wcp_buf_put(&c->rest, b->base, (size_t)n);
            if (takes_input(c))
                process_rest(c);
            else
                read_or_not(c);
        } else {
            process(c, b->base, (size_t)n);
        }
        return;
    }
    uv_read_stop(stream);
    c->reading = false;
    c->eof = true;
    /* Only a client that has its answers coming may be waiting for them; one that leaves while its
     * request runs has given up. */
    if (n == UV_EOF && c->state == READ && !c->active && queued(c)) {
        c->state = LINGER;
        mark_dirty(c);
    } else if (n != UV_EOF || c->state != LINGER || c->shut) {
        cut(c, false);
    }
}

void http1_pause(struct http1_request *r)
{
    struct conn *c = conn_of(r);
    c->paused = true;
    if (!c->processing)
        read_or_not(c);
}

void http1_resume(struct http1_request *r)
{
    struct conn *c = conn_of(r);
    c->paused = false;
    c->active_at = uv_now(c->server->loop); /* it was not the client who stalled */
    if (c->processing)
        return;
    if (c->rest.len)
        process_rest(c);
    else
        read_or_not(c);
}

/* --- the server --- */

static void check_time(struct conn *c, uint64_t now)
{
    const struct http1_options *o = &c->server->o;
    uint64_t idle =
        c->server->closing && o->idle_ms > CLOSING_STALL_MS ? CLOSING_STALL_MS : o->idle_ms;
    if (c->state == CLOSED)
        return;
    if (c->writing && uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) != c->flying_left) {
        c->flying_left = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
        c->active_at = now;
    }
    uint64_t still = now > c->active_at ? now - c->active_at : 0;
    if (c->state == LINGER && c->shut && !c->writing) {
        if (still > LINGER_MS)
            cut(c, false);
    } else if (c->writing) {
        if (still > idle)
            cut(c, true);
    } else if (c->state == READ && c->active) {
        if (!c->paused && still > o->idle_ms)
            refuse(c, 408, "the request's body stalled");
    } else if (c->state == READ && http1_parser_begun(&c->p)) {
        if (now - c->head_at > o->head_ms)
            refuse(c, 408, "the request's head did not come in time");
    } else if (c->state == READ && still > idle) {
        cut(c, false);
    }
}

static void on_sweep(uv_timer_t *t)
{
    struct http1_server *s = t->data;
    uint64_t now = uv_now(s->loop);
    struct conn *next;
    for (struct conn *c = s->conns; c; c = next) {
        next = c->next; /* of a connection that was cut it stays valid until the loop's next turn */
        check_time(c, now);
    }
    if (!s->conns)
        uv_timer_stop(t); /* an idle process sleeps */
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http1_server *s = listener->data;
    if (status != 0) {
        if (s->handler->trouble)
            s->handler->trouble(s->ctx, uv_strerror(status));
        return;
    }
    struct conn *c = wcp_calloc(1, sizeof *c);
    c->server = s;
    c->p.o = &s->o;
    c->tcp.data = c;
    c->active_at = uv_now(s->loop);
    c->next = s->conns;
    c->link = &s->conns;
    if (c->next)
        c->next->link = &c->next;
    s->conns = c;
    s->count++;
    int rc = uv_tcp_init(s->loop, &c->tcp);
    assert(rc == 0); /* makes no socket: cannot fail */
    if (!uv_is_active((uv_handle_t *)&s->sweep)) {
        uint64_t least = s->o.head_ms < s->o.idle_ms ? s->o.head_ms : s->o.idle_ms;
        uint64_t every = least / 4 < 10 ? 10 : least / 4 > 500 ? 500 : least / 4;
        uv_timer_start(&s->sweep, on_sweep, every, every);
    }
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0) {
        cut(c, false);
        return;
    }
    if (s->count - s->refused > s->o.connections) {
        c->refused = true;
        if (++s->refused > REFUSED_MAX) {
            cut(c, true);
            return;
        }
        refuse(c, 503, "too many connections");
    }
    read_or_not(c);
}

int http1_parse_address(const char *address, struct sockaddr_storage *out, struct wcp_err *err)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    size_t len = colon ? (size_t)(colon - address) : 0;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!len || len >= sizeof host || !colon[1] || *end || colon[1] < '0' || colon[1] > '9' ||
        port > 65535)
        return wcp_fail(err, WCP_EINVAL, "address '%s': expected IP:port or [IPv6]:port", address);
    bool v6 = address[0] == '[' && address[len - 1] == ']';
    memcpy(host, address + v6, len - 2 * (size_t)v6);
    host[len - 2 * (size_t)v6] = '\0';
    memset(out, 0, sizeof *out);
    if (v6 ? uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)out)
           : uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out))
        return wcp_fail(err, WCP_EINVAL, "address '%s': expected IP:port or [IPv6]:port", address);
    return 0;
}

int http1_listen(struct uv_loop_s *loop, const char *address, const struct http1_options *o,
                 const struct http1_handler *h, void *ctx, struct http1_server **out,
                 struct wcp_err *err)
{
    struct sockaddr_storage addr;
    int rc = http1_parse_address(address, &addr, err);
    if (rc)
        return rc;
    struct http1_server *s = wcp_calloc(1, sizeof *s);
    s->loop = loop;
    s->handler = h;
    s->ctx = ctx;
    s->o = *o;
    s->o.head_bytes = o->head_bytes ? o->head_bytes : 65536;
    s->o.head_fields = o->head_fields ? o->head_fields : 100;
    s->o.url_bytes = o->url_bytes ? o->url_bytes : 32768;
    s->o.connections = o->connections ? o->connections : 10000;
    s->o.head_ms = o->head_ms ? o->head_ms : 10000;
    s->o.idle_ms = o->idle_ms ? o->idle_ms : 75000;
    s->tcp.data = s->prepare.data = s->sweep.data = s;
    s->handles = 3;
    uv_prepare_init(loop, &s->prepare);
    uv_timer_init(loop, &s->sweep);
    rc = uv_tcp_init(loop, &s->tcp);
    assert(rc == 0);
    rc = uv_tcp_bind(&s->tcp, (struct sockaddr *)&addr, 0);
    /* Set on the listener, because accepted sockets inherit both. */
    if (!rc)
        rc = uv_tcp_nodelay(&s->tcp, 1);
    if (!rc)
        rc = uv_tcp_keepalive(&s->tcp, 1, 60);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&s->tcp, 1024, on_connection);
    if (rc) {
        http1_close(s, NULL, NULL);
        return wcp_fail(err, WCP_EIO, "address '%s': cannot listen: %s", address, uv_strerror(rc));
    }
    uv_prepare_start(&s->prepare, on_prepare);
    *out = s;
    return 0;
}

int http1_port(const struct http1_server *s)
{
    struct sockaddr_storage addr = {0};
    int len = sizeof addr;
    if (uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&addr, &len) != 0)
        return -1;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}

void http1_close(struct http1_server *s, void (*closed)(void *ctx), void *ctx)
{
    struct conn *next;
    assert(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_ctx = ctx;
    uv_close((uv_handle_t *)&s->tcp, on_server_handle_closed);
    for (struct conn *c = s->conns; c; c = next) {
        next = c->next;
        if (c->state != READ || c->active)
            continue;
        c->state = LINGER; /* what is still to be written goes out, then the connection ends */
        c->active_at = uv_now(s->loop);
        mark_dirty(c);
    }
    server_last_conn(s);
}

void http1_stop(struct http1_server *s)
{
    http1_close(s, NULL, NULL);
    for (struct conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        write_some(c);
        cut(c, c->active); /* of a response that runs the client must not think that it is whole */
    }
}

/* http1_parse.c: the bytes of HTTP/1.1 requests (RFC 9112), read strictly: where the RFC lets a
 * reader be lenient (bare LF, folded lines, repeated lengths, white space before the colon) this
 * one refuses, because a proxy in front that reads the same bytes otherwise is how requests are
 * smuggled. */
#include "http1_parse.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_LINE_MAX  1024
#define EXTENSIONS_MAX  ((size_t)16 * 1024) /* of one body: they are work without content */
#define BODY_BYTES_MAX  (UINT64_MAX >> 2)
#define EMPTY_LINES_MAX 4  /* before a request: careless clients send one behind a body */
#define LINE_EXTRA      64 /* of a request line: method, version and spaces */
#define KEEP_BYTES      ((size_t)16 * 1024) /* of a buffer, while a connection is idle */

/* --- characters --- */

static bool is_token(char ch)
{
    /* Letters, digits and !#$%&'*+-.^_`|~ as bits. */
    static const uint64_t bits[2] = {UINT64_C(0x3ff6cfa00000000), UINT64_C(0x57ffffffc7fffffe)};
    uint8_t c = (uint8_t)ch;
    return c < 128 && (bits[c >> 6] >> (c & 63) & 1);
}

static bool is_value(char ch)
{
    uint8_t c = (uint8_t)ch;
    return (c >= ' ' && c != 0x7f) || c == '\t';
}

static bool is_target(char ch)
{
    return ch > ' ' && ch < 0x7f && ch != '#' && ch != '<' && ch != '>';
}

bool http1_is(struct wcp_str s, const char *lower)
{
    return s.len == strlen(lower) && strncasecmp(s.ptr, lower, s.len) == 0;
}

static bool starts(struct wcp_str s, const char *lower)
{
    return s.len >= strlen(lower) && strncasecmp(s.ptr, lower, strlen(lower)) == 0;
}

static struct wcp_str trim(struct wcp_str s)
{
    while (s.len && (*s.ptr == ' ' || *s.ptr == '\t'))
        s = (struct wcp_str){s.ptr + 1, s.len - 1};
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool http1_lists(struct wcp_str list, const char *member)
{
    while (list.len) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t n = comma ? (size_t)(comma - list.ptr) : list.len;
        if (http1_is(trim((struct wcp_str){list.ptr, n}), member))
            return true;
        n += comma != NULL;
        list = (struct wcp_str){list.ptr + n, list.len - n};
    }
    return false;
}

bool http1_parse_length(struct wcp_str s, uint64_t *out)
{
    uint64_t v = 0;
    if (!s.len || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *out = v;
    return true;
}

int http1_check_header(struct http1_header h, struct wcp_err *err)
{
    bool name = h.name.len > 0, value = true;
    for (size_t i = 0; i < h.name.len; i++)
        name = name && is_token(h.name.ptr[i]);
    for (size_t i = 0; i < h.value.len; i++)
        value = value && is_value(h.value.ptr[i]);
    if (!name)
        return wcp_fail(err, WCP_EINVAL, "header name '%.*s': expected a token", WCP_ARG(h.name));
    if (!value)
        return wcp_fail(err, WCP_EINVAL, "header %.*s: its value has control characters",
                        WCP_ARG(h.name));
    return 0;
}

/* --- blocks: the head, the trailers --- */

static enum http1_event bad(struct http1_parser *p, int status, const char *why)
{
    p->status = status;
    p->why = why;
    p->state = IN_NOTHING;
    return HTTP1_BAD;
}

static enum http1_event too_long(struct http1_parser *p, const struct http1_block *b)
{
    if (b == &p->trailers)
        return bad(p, 431, "the trailers are longer than the limit allows");
    if (!b->lines)
        return bad(p, 414, "the request line is longer than the limit allows");
    return bad(p, 431, "the request's head is longer than the limit allows");
}

/* Takes input up to and with the empty line that ends the block: then HTTP1_END. */
static enum http1_event block_feed(struct http1_parser *p, struct http1_block *b, const char **in,
                                   const char *end)
{
    bool head = b == &p->head;
    while (*in < end) {
        const char *lf = memchr(*in, '\n', (size_t)(end - *in));
        size_t n = (size_t)((lf ? lf + 1 : end) - *in);
        /* At once: what is not HTTP, such as TLS, may never send the end of a line. */
        if (head && !b->text.len && !is_token(**in) && **in != '\r' && **in != '\n')
            return bad(p, 400, "this is not HTTP: a request begins with a method");
        if (b->text.len + n > p->o->head_bytes)
            return too_long(p, b);
        wcp_buf_put(&b->text, *in, n);
        *in += n;
        if (head && !b->lines && b->text.len > p->o->url_bytes + LINE_EXTRA)
            return too_long(p, b);
        if (!lf)
            return HTTP1_MORE;
        size_t len = b->text.len - b->line;
        if (len < 2 || b->text.ptr[b->text.len - 2] != '\r')
            return bad(p, 400, "a line ends with LF, expected CR LF");
        if (len == 2 && (b->lines || !head))
            return HTTP1_END;
        if (len == 2) {
            b->text.len = 0;
            if (++b->empty_lines > EMPTY_LINES_MAX)
                return bad(p, 400, "empty lines, expected a request");
            continue;
        }
        b->lines++;
        b->line = b->text.len;
    }
    return HTTP1_MORE;
}

/* The field lines of b from byte `from` on. Each line is known to end with CR LF, and there is an
 * empty one at the end: the scans stop there at the latest. NULL, or what is wrong. */
static const char *block_parse(struct http1_parser *p, struct http1_block *b, size_t from)
{
    char *at = (char *)b->text.ptr + from, *end = (char *)b->text.ptr + b->text.len - 2;
    p->status = 400;
    b->n = 0;
    while (at < end) {
        struct wcp_str name = {at, 0}, value;
        if (*at == ' ' || *at == '\t')
            return "a header line begins with white space (obsolete line folding)";
        for (; is_token(*at); at++)
            if (*at >= 'A' && *at <= 'Z')
                *at = (char)(*at | 0x20);
        name.len = (size_t)(at - name.ptr);
        if (!name.len || *at != ':')
            return "a header line is not 'name: value'";
        for (value.ptr = ++at; is_value(*at); at++)
            ;
        value.len = (size_t)(at - value.ptr);
        if (at[0] != '\r' || at[1] != '\n')
            return "a header value has control characters";
        at += 2;
        if (b->n == p->o->head_fields) {
            p->status = 431;
            return "more header fields than the limit allows";
        }
        if (b->n == b->cap) {
            b->cap = b->cap ? b->cap * 2 : 16;
            b->at = wcp_realloc(b->at, b->cap * sizeof *b->at);
        }
        b->at[b->n++] = (struct http1_header){name, trim(value)};
    }
    return NULL;
}

static void block_reset(struct http1_block *b)
{
    if (b->text.cap > KEEP_BYTES)
        wcp_buf_free(&b->text);
    b->text.len = b->line = b->lines = b->empty_lines = b->n = 0;
}

/* --- the head --- */

/* The forms of a target: /path, http://authority/path, authority for CONNECT, * for OPTIONS. */
static const char *parse_target(struct http1_request *r, struct wcp_str t)
{
    r->path = t;
    r->authority = (struct wcp_str){0};
    if (wcp_str_eq(r->method, WCP_STR("CONNECT"))) {
        r->authority = t;
    } else if (starts(t, "http://") || starts(t, "https://")) {
        const char *end = t.ptr + t.len, *host = (const char *)memchr(t.ptr, ':', t.len) + 3;
        const char *slash = host;
        while (slash < end && *slash != '/' && *slash != '?')
            slash++;
        r->authority = (struct wcp_str){host, (size_t)(slash - host)};
        r->path = slash < end ? (struct wcp_str){slash, (size_t)(end - slash)} : WCP_STR("/");
        if (!r->authority.len)
            return "the request target names no host";
    } else if (*t.ptr != '/' &&
               !(wcp_str_eq(t, WCP_STR("*")) && wcp_str_eq(r->method, WCP_STR("OPTIONS")))) {
        return "the request target is not a path";
    }
    return NULL;
}

/* "METHOD target HTTP/1.x CR LF"; *after: the byte behind it. */
static const char *parse_line(struct http1_parser *p, size_t *after)
{
    static const char no_version[] = "the request line does not end with HTTP/1.1";
    struct http1_request *r = &p->req;
    const char *text = (const char *)p->head.text.ptr, *at = text;
    p->status = 400;
    while (is_token(*at))
        at++;
    r->method = (struct wcp_str){text, (size_t)(at - text)};
    if (at == text || *at != ' ')
        return "the request line does not begin with a method";
    const char *target = ++at;
    while (is_target(*at))
        at++;
    struct wcp_str t = {target, (size_t)(at - target)};
    if (!t.len || *at != ' ')
        return "the request target is empty or has characters that a URL cannot have";
    if (strncmp(at, " HTTP/", 6) != 0)
        return no_version;
    at += 6;
    if (at[0] < '0' || at[0] > '9' || at[1] != '.' || at[2] < '0' || at[2] > '9' || at[3] != '\r' ||
        at[4] != '\n')
        return no_version;
    if (at[0] != '1' || at[2] > '1') {
        p->status = 505;
        return "only HTTP/1.1 and HTTP/1.0 are spoken here";
    }
    r->minor = at[2] - '0';
    *after = (size_t)(at + 5 - text);
    if (t.len > p->o->url_bytes) {
        p->status = 414;
        return "the request target is longer than the limit allows";
    }
    return parse_target(r, t);
}

/* What the fields say about the body and the connection. */
static const char *parse_framing(struct http1_parser *p)
{
    struct http1_request *r = &p->req;
    bool length = false, chunked = false, host = false, keep = false, close = false;
    p->status = 400;
    p->expects = false;
    r->length = 0;
    for (size_t i = 0; i < p->head.n; i++) {
        const struct http1_header *h = &p->head.at[i];
        if (wcp_str_eq(h->name, WCP_STR("host"))) {
            if (host)
                return "Host is there twice";
            host = true;
        } else if (wcp_str_eq(h->name, WCP_STR("content-length"))) {
            if (length)
                return "Content-Length is there twice";
            if (!http1_parse_length(h->value, &r->length))
                return "Content-Length is not a number";
            length = true;
        } else if (wcp_str_eq(h->name, WCP_STR("transfer-encoding"))) {
            if (chunked)
                return "Transfer-Encoding is there twice";
            if (!http1_is(h->value, "chunked"))
                return "Transfer-Encoding is not chunked";
            if (!r->minor)
                return "Transfer-Encoding in an HTTP/1.0 request";
            chunked = true;
        } else if (wcp_str_eq(h->name, WCP_STR("connection"))) {
            close = close || http1_lists(h->value, "close");
            keep = keep || http1_lists(h->value, "keep-alive");
        } else if (wcp_str_eq(h->name, WCP_STR("expect")) && r->minor) {
            if (!http1_is(h->value, "100-continue")) {
                p->status = 417;
                return "Expect is not 100-continue";
            }
            p->expects = true;
        }
    }
    if (length && chunked)
        return "both Content-Length and Transfer-Encoding";
    if (p->o->body_bytes && r->length > p->o->body_bytes) {
        p->status = 413;
        return "the body is longer than the limit allows";
    }
    if (chunked)
        r->length = HTTP1_CHUNKED;
    r->has_body = r->length != 0;
    p->expects = p->expects && r->has_body;
    p->keep_alive = !close && (r->minor || keep);
    return NULL;
}

static enum http1_event head(struct http1_parser *p, const char **in, const char *end)
{
    struct http1_request *r = &p->req;
    size_t after = 0;
    enum http1_event event = block_feed(p, &p->head, in, end);
    if (event != HTTP1_END)
        return event;
    const char *wrong = parse_line(p, &after);
    if (!wrong)
        wrong = block_parse(p, &p->head, after);
    if (!wrong)
        wrong = parse_framing(p);
    if (wrong)
        return bad(p, p->status, wrong);
    r->headers = p->head.at;
    r->header_count = p->head.n;
    r->trailers = NULL;
    r->trailer_count = 0;
    p->left = r->length;
    p->body_bytes = p->extensions = 0;
    p->state = !r->has_body ? IN_NOTHING : r->length == HTTP1_CHUNKED ? IN_CHUNK_SIZE : IN_BODY;
    return HTTP1_HEAD;
}

/* --- chunks --- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* "HEX[;extension] CR LF": gathered in the trailers' buffer, which is not yet in use. */
static enum http1_event chunk_size(struct http1_parser *p, const char **in, const char *end)
{
    struct wcp_buf *line = &p->trailers.text;
    const char *lf = memchr(*in, '\n', (size_t)(end - *in));
    size_t n = (size_t)((lf ? lf + 1 : end) - *in), i;
    if (line->len + n > CHUNK_LINE_MAX)
        return bad(p, 400, "the line with a chunk's size is too long");
    wcp_buf_put(line, *in, n);
    *in += n;
    if (!lf)
        return HTTP1_MORE;
    const char *text = (const char *)line->ptr;
    p->left = 0;
    for (i = 0; i < 16 && hex(text[i]) >= 0; i++) /* stops at the LF at the latest */
        p->left = p->left * 16 + (uint64_t)hex(text[i]);
    bool good = i > 0 && i < 16 && (text[i] == ';' || text[i] == '\r');
    size_t digits = i;
    while (good && is_value(text[i]))
        i++;
    if (!good || text[i] != '\r' || i + 2 != line->len)
        return bad(p, 400, "a chunk's size is not a hexadecimal number and CR LF");
    line->len = 0;
    p->extensions += i - digits;
    p->body_bytes +=
        p->left; /* cannot wrap: a size has 60 bits, and the sum is checked each time */
    if (p->extensions > EXTENSIONS_MAX)
        return bad(p, 400, "the chunks have too many extensions");
    if (p->body_bytes > (p->o->body_bytes ? p->o->body_bytes : BODY_BYTES_MAX))
        return bad(p, 413, "the body is longer than the limit allows");
    p->state = p->left ? IN_CHUNK : IN_TRAILERS;
    return HTTP1_MORE;
}

static enum http1_event body(struct http1_parser *p, const char **in, const char *end)
{
    size_t n = (size_t)(end - *in);
    if (n > p->left)
        n = (size_t)p->left;
    p->body = (struct wcp_bytes){(const uint8_t *)*in, n};
    *in += n;
    p->left -= n;
    if (p->left)
        return HTTP1_BODY;
    if (p->state == IN_BODY) {
        p->state = IN_NOTHING;
        return HTTP1_LAST;
    }
    p->state = IN_CHUNK_END;
    p->left = 2;
    return HTTP1_BODY;
}

static enum http1_event chunk_end(struct http1_parser *p, const char **in)
{
    if (**in != (p->left == 2 ? '\r' : '\n'))
        return bad(p, 400, "a chunk does not end with CR LF");
    ++*in;
    if (--p->left == 0)
        p->state = IN_CHUNK_SIZE;
    return HTTP1_MORE;
}

static enum http1_event trailers(struct http1_parser *p, const char **in, const char *end)
{
    enum http1_event event = block_feed(p, &p->trailers, in, end);
    if (event != HTTP1_END)
        return event;
    const char *wrong = block_parse(p, &p->trailers, 0);
    for (size_t i = 0; !wrong && i < p->trailers.n; i++) {
        struct wcp_str name = p->trailers.at[i].name;
        if (wcp_str_eq(name, WCP_STR("content-length")) || wcp_str_eq(name, WCP_STR("host")) ||
            wcp_str_eq(name, WCP_STR("transfer-encoding")))
            wrong = "a trailer that only makes sense in the head";
    }
    if (wrong)
        return bad(p, p->status, wrong);
    p->req.trailers = p->trailers.at;
    p->req.trailer_count = p->trailers.n;
    p->state = IN_NOTHING;
    return HTTP1_END;
}

enum http1_event http1_parse(struct http1_parser *p, const char **in, const char *end)
{
    enum http1_event event = HTTP1_MORE;
    while (event == HTTP1_MORE && *in < end) {
        switch (p->state) {
        case IN_HEAD: event = head(p, in, end); break;
        case IN_BODY:
        case IN_CHUNK: event = body(p, in, end); break;
        case IN_CHUNK_SIZE: event = chunk_size(p, in, end); break;
        case IN_CHUNK_END: event = chunk_end(p, in); break;
        case IN_TRAILERS: event = trailers(p, in, end); break;
        case IN_NOTHING: return HTTP1_MORE; /* a complete request: what follows is the next one's */
        }
    }
    return event;
}

bool http1_parser_begun(const struct http1_parser *p)
{
    return p->state == IN_HEAD && p->head.text.len;
}

void http1_parser_next(struct http1_parser *p)
{
    block_reset(&p->head);
    block_reset(&p->trailers);
    p->state = IN_HEAD;
}

void http1_parser_close(struct http1_parser *p)
{
    wcp_buf_free(&p->head.text);
    wcp_buf_free(&p->trailers.text);
    free(p->head.at);
    free(p->trailers.at);
}

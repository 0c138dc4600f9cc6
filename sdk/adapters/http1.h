/* http1.h: an HTTP/1.1 server on a libuv loop: requests and their bodies in, responses out.
 *
 * One request at a time per connection: a pipelined one waits until the one before it is done, so
 * answers are in order. Both directions of a request run at once. What a request must look like is
 * read strictly (RFC 9112 without its "may accept"s), because two readers who disagree about where
 * a request ends let the next one be smuggled in. */
#ifndef HTTP1_H
#define HTTP1_H

#include <wcp/base.h>

struct uv_loop_s;
struct http1_server;

struct http1_header {
    struct wcp_str name,
        value; /* a received name is in lower case, a value has no white space around it */
};

/* Lives from handler.request to handler.done; so do the texts. */
struct http1_request {
    struct wcp_str method; /* as sent: any token */
    struct wcp_str path;   /* with the query, as sent: "/a?b", "*"; of CONNECT "host:port" */
    struct wcp_str
        authority; /* of a target in absolute form, "http://authority/path"; else empty */
    int minor;     /* of HTTP/1.x: 0 or 1 */
    const struct http1_header *headers, *trailers; /* trailers: from handler.end on */
    size_t header_count, trailer_count;
    bool has_body;    /* a Content-Length above 0, or chunked */
    uint64_t length;  /* HTTP1_CHUNKED: not known */
    void *ctx, *data; /* of http1_listen; and the handler's own */
};
#define HTTP1_CHUNKED UINT64_MAX

/* All are called on the loop; all but request may be NULL. */
struct http1_handler {
    /* The head is complete. Answer now or later. */
    void (*request)(struct http1_request *r);
    /* Bytes of the body, as they come in; they live for this call. */
    void (*body)(struct http1_request *r, struct wcp_bytes chunk);
    void (*end)(struct http1_request *r);      /* the body is complete; not called without a body */
    void (*writable)(struct http1_request *r); /* once, after http1_write returned false */
    /* The last callback, exactly once per request: both directions are over. complete: the response
     * was ended and the request was read to its end; else the client is gone, broke the protocol or
     * stalled, or http1_abort was called. */
    void (*done)(struct http1_request *r, bool complete);
    /* A connection could not be accepted: why, for the log. */
    void (*trouble)(void *ctx, const char *why);
};

struct http1_options {   /* 0: the default */
    size_t head_bytes;   /* request line and headers, and trailers: 65536, above: 431 */
    size_t head_fields;  /* 100, above: 431 */
    size_t url_bytes;    /* 32768, above: 414 */
    uint64_t body_bytes; /* no limit; above: 413 */
    size_t connections;  /* 10000, above: 503 */
    uint32_t head_ms;    /* for a head, from its first byte: 10,000, then 408 */
    uint32_t idle_ms;    /* between requests, and without progress where the client is to send or
                            to receive: 75,000 */
    bool one_request;    /* close after each response */
};

/* address is "IP:port" or "[IPv6]:port"; port 0 takes a free one. h must outlive the server. */
int http1_listen(struct uv_loop_s *loop, const char *address, const struct http1_options *o,
                 const struct http1_handler *h, void *ctx, struct http1_server **out,
                 struct wcp_err *err);
struct sockaddr_storage;
int http1_parse_address(const char *address, struct sockaddr_storage *out, struct wcp_err *err);
int http1_port(const struct http1_server *s);
/* Stops listening, closes idle connections, lets running requests finish ("connection: close"), and
 * then calls closed (may be NULL) and frees s. Once. */
void http1_close(struct http1_server *s, void (*closed)(void *ctx), void *ctx);
/* Instead of http1_close, at once: what has been answered is sent as far as it can be without
 * waiting, and every connection is cut. */
void http1_stop(struct http1_server *s);

/* Back-pressure on the request's body. */
void http1_pause(struct http1_request *r);
void http1_resume(struct http1_request *r);

/* Start the response. The framing is http1's: by a content-length among the headers, else chunked,
 * or by closing for an HTTP/1.0 client. Hop-by-hop headers are left out, but "connection: close" is
 * obeyed; a date is added. WCP_EINVAL: status or a header is not valid HTTP, nothing was sent and
 * another answer is welcome. */
int http1_head(struct http1_request *r, int status, const struct http1_header *h, size_t n,
               struct wcp_err *err);
/* Copies. False: much is waiting for the client; go on at handler.writable. More bytes than the
 * content-length promised, or fewer at the end, break the connection off. May call done. What is
 * written for HEAD, 204 and 304 is left out. */
bool http1_write(struct http1_request *r, struct wcp_bytes chunk);
/* 0: a name and a value that HTTP can carry. */
int http1_check_header(struct http1_header h, struct wcp_err *err);
/* Whether bytes may follow the head, and whether trailers can be sent. */
bool http1_wants_body(const struct http1_request *r);
bool http1_wants_trailers(const struct http1_request *r);
/* Ends the response; trailers that cannot be sent are left out. If the request's body is still
 * coming, it still goes to the handler. May call done. */
void http1_end(struct http1_request *r, const struct http1_header *trailers, size_t n);
/* A whole response at once. The rest of the request is not wanted. Calls done. */
void http1_answer(struct http1_request *r, int status, const struct http1_header *h, size_t n,
                  struct wcp_bytes body);
/* Break the connection off, so that the client sees that the response is incomplete. Calls done. */
void http1_abort(struct http1_request *r);
bool http1_answered(const struct http1_request *r); /* http1_head was successful */

#endif

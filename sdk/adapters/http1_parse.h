/* http1_parse.h: the bytes of HTTP/1.1 requests, without sockets: bytes in, events out. */
#ifndef HTTP1_PARSE_H
#define HTTP1_PARSE_H

#include "http1.h"

/* Lines up to and with an empty one, and the fields in them. */
struct http1_block {
    struct wcp_buf text;
    size_t line; /* where the line begins that is not yet complete */
    size_t lines, empty_lines;
    struct http1_header *at; /* names and values point into text */
    size_t n, cap;
};

struct http1_parser {
    struct http1_request req;      /* what is known of the request: head from HTTP1_HEAD on */
    const struct http1_options *o; /* every limit set but body_bytes: 0 is none */
    enum { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_CHUNK_END, IN_TRAILERS, IN_NOTHING } state;
    struct http1_block head, trailers;
    uint64_t left;       /* bytes of the body or of the chunk that are still to come */
    uint64_t body_bytes; /* of a chunked body so far */
    size_t extensions;   /* bytes of them in a chunked body */
    bool keep_alive;     /* the client wants it */
    bool expects;        /* the client waits for 100 Continue */
    int status;          /* after HTTP1_BAD: the answer, and its text */
    const char *why;
    struct wcp_bytes body; /* after HTTP1_BODY and HTTP1_LAST */
};

enum http1_event {
    HTTP1_MORE, /* all input was used */
    HTTP1_HEAD, /* the head is complete; without a body, so is the request */
    HTTP1_BODY, /* bytes of the body */
    HTTP1_LAST, /* the same, and with them the body is complete */
    HTTP1_END,  /* the body is complete */
    HTTP1_BAD,  /* this is not HTTP as we read it; the parser is of no more use */
};

/* Takes input from *in up to the next event. Texts live until http1_parser_next. */
enum http1_event http1_parse(struct http1_parser *p, const char **in, const char *end);
bool http1_parser_begun(const struct http1_parser *p); /* a part of a head has come */
void http1_parser_next(struct http1_parser *p);        /* be ready for the next request */
void http1_parser_close(struct http1_parser *p);

/* Whether list, "a, b", has member (in lower case), in any case. */
bool http1_lists(struct wcp_str list, const char *member);
bool http1_is(struct wcp_str s, const char *lower); /* equal in any case */
/* Digits only, at most 18. */
bool http1_parse_length(struct wcp_str s, uint64_t *out);

#endif

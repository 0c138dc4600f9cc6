/* server.h: the parts of the provider: addresses, the links that serve them, and requests. */
#ifndef SERVER_H
#define SERVER_H

#include "http1.h"
#include "settings.h"

/* A link at its address. Lives until the link is down and its last request is over. */
struct site {
    struct wcp_link *link; /* not to be called any more once listener is NULL */
    struct settings settings;
    struct listener *listener; /* NULL: retired */
    struct site *next;         /* at the same address, in the order of their links */
    size_t refs;
};

/* An address that is open. The first site serves it, the others wait behind. */
struct listener {
    struct http1_server *http;
    struct sockaddr_storage *address;
    struct site *sites;
    struct listener *next;
};

void site_unref(struct site *s);

/* Requests of a listener (http1's ctx) become calls of its first site's component. */
extern const struct http1_handler exchange_handler;
enum { HEADERS_MAX = 100 };

#endif

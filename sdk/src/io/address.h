/* address.h: where sockets are: "unix:PATH", "tcp:HOST:PORT" (IPv6 in brackets). */
#ifndef IO_ADDRESS_H
#define IO_ADDRESS_H

#include <netdb.h>
#include <sys/un.h>
#include <wcp/base.h>

struct address {
    bool is_unix;
    struct sockaddr_un path;
    char host[256], port[8]; /* for getaddrinfo */
};

/* Looks at the text only. err says what was found and expected. */
int address_parse(const char *text, struct address *out, struct wcp_err *err);
/* "tcp:127.0.0.1:80", "tcp:[::1]:80" */
void address_print(const struct sockaddr *a, char out[80]);

#endif

/* redis_url.h: where a Redis server is and who we are there, from a URL. */
#ifndef REDIS_URL_H
#define REDIS_URL_H

#include <wcp/base.h>

struct redis_address {
    char *host;            /* NULL: a Unix socket */
    char *path;            /* of the Unix socket */
    char *user, *password; /* NULL: none */
    uint16_t port;
    uint32_t db;
    char text[128]; /* without user and password, for the log: "10.0.0.1:6379/2" */
};

/* redis://[[user]:password@]host[:port][/db], with [..] around an IPv6 address, or
 * unix:///path[?db=..&user=..&pass=..], also as redis+unix://. User, password and path are
 * percent-decoded. The text of err never quotes what may hold a password. */
int redis_url_parse(const char *url, struct redis_address *out, struct wcp_err *err);
void redis_address_close(struct redis_address *a); /* wipes the password */

#endif

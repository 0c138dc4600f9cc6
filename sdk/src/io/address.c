/* address.c: where sockets are: "unix:PATH", "tcp:HOST:PORT". */
#include "io/address.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int expected(const char *text, struct wcp_err *err)
{
    return wcp_fail(err, WCP_EINVAL, "\"%.150s\" found, unix:PATH or tcp:HOST:PORT expected", text);
}

int address_parse(const char *text, struct address *out, struct wcp_err *err)
{
    *out = (struct address){.path = {.sun_family = AF_UNIX}};
    if (strncmp(text, "unix:", 5) == 0) {
        size_t n = strlen(text + 5);
        out->is_unix = true;
        if (n == 0)
            return expected(text, err);
        if (n >= sizeof out->path.sun_path)
            return wcp_fail(err, WCP_EINVAL,
                            "\"%.120s\": a path of %zu bytes, at most %zu expected", text, n,
                            sizeof out->path.sun_path - 1);
        memcpy(out->path.sun_path, text + 5, n + 1);
        return 0;
    }
    if (strncmp(text, "tcp:", 4) != 0)
        return expected(text, err);
    const char *host = text + 4, *colon = strrchr(host, ':'), *end = colon;
    if (!colon)
        return expected(text, err);
    bool brackets = *host == '[' && colon > host + 1 && colon[-1] == ']';
    if (brackets) {
        host++;
        end--;
    }
    size_t n = (size_t)(end - host), digits = strspn(colon + 1, "0123456789");
    if (n == 0 || n >= sizeof out->host || (!brackets && memchr(host, ':', n)) || digits == 0 ||
        digits > 5 || colon[1 + digits] || strtoul(colon + 1, NULL, 10) > 65535)
        return expected(text, err);
    memcpy(out->host, host, n);
    memcpy(out->port, colon + 1, digits);
    return 0;
}

void address_print(const struct sockaddr *a, char out[80])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)a;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        (void)snprintf(out, 80, "tcp:[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)a;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        (void)snprintf(out, 80, "tcp:%s:%u", host, ntohs(four->sin_port));
    }
}

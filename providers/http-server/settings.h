/* settings.h: what a link's configuration says about its address. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <wcp/wcp.h>

struct settings {
    char *address;       /* "IP:port" */
    char *cache_control; /* NULL: none */
    char **origins;      /* that may read answers; none: all may */
    size_t origin_count;
    char *allow_methods, *allow_headers, *expose_headers; /* as header values: "*" or "a,b" */
    char max_age[24];
    uint64_t timeout_ms; /* until the head of the component's response; 0: no limit of its own */
    bool readonly;
    bool one_request; /* no HTTP keep-alive */
};

/* Reads the link's keys in any case, or config_b64 or config_json in place of all of them. err
 * names the key, what was found and what was expected. On failure there is nothing to free. */
int settings_read(const struct wcp_link *l, struct settings *out, struct wcp_err *err);
void settings_free(struct settings *s);

/* A whole number of the provider's own configuration, *out unchanged when it is absent. */
int settings_number(const char *key, const char *text, uint64_t most, uint64_t *out,
                    struct wcp_err *err);

#endif

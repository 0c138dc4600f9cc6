/* link.h: links, configuration and secrets. */
#ifndef WCP_LINK_H
#define WCP_LINK_H

#include <wcp/base.h>

struct wcp_instance; /* one identity in one lattice; see provider.h */

enum wcp_role {
    WCP_TARGET, /* the peer calls us */
    WCP_SOURCE, /* we call the peer */
};

/* Peers with old libraries read and write some values otherwise (docs/protocol.md). Set by the
 * config key wrpc-codec on our side of a link: words of these names, with "-", between commas. */
struct wcp_codec {
    bool cut_signed;   /* large negative numbers are sent with their sign's copies cut off */
    bool padded_flags; /* flags come in 1, 2, 4, 8 or 16 bytes, up to 128 of them */
};

/* A link ties this provider to one peer, with its own configuration (lattice.md §6). It lives from
 * link_up until link_down returns. */
struct wcp_link {
    struct wcp_instance *instance;
    enum wcp_role role;
    /* All NUL-terminated behind their length. */
    struct wcp_str source_id, target_id, name;
    struct wcp_str wit_namespace, wit_package;
    const struct wcp_str *interfaces; /* without version: "store" */
    size_t interface_count;
    struct wcp_codec codec;
    void *data; /* the provider's own state for this link */
};

bool wcp_link_has_interface(const struct wcp_link *l, const char *name);

/* Our side's configuration and secrets; NULL when absent. Keys match in any case, an exact match
 * wins. Values are NUL-terminated and live as long as the link. Secrets lie in locked memory and
 * are wiped after link_down: never log or copy them without need.
 *
 * Which secrets a link sees: those sealed for it. Without a host also the provider's own (the
 * mounted folder), unless the link has a secret or configuration of that name: the nearest wins. */
const char *wcp_link_config(const struct wcp_link *l, const char *key);
const char *wcp_link_secret(const struct wcp_link *l, const char *name);
struct wcp_bytes wcp_link_secret_bytes(const struct wcp_link *l,
                                       const char *name); /* ptr NULL: absent */

/* The same for the whole provider. Configuration lives as long as the instance. A secret lives
 * until the next config_changed has returned: do not keep it. */
const char *wcp_provider_config(const struct wcp_instance *i, const char *key);
const char *wcp_provider_secret(const struct wcp_instance *i, const char *name);

/* Tell the truth about the backend behind a link: health answers, /readyz and `wcp links` say it. A
 * link is healthy when link_up returns 0, unless link_up has said otherwise: connecting, until one
 * of the other two; or unhealthy because of why (copied; no secrets). Calls come all the same: the
 * provider knows what to answer. */
void wcp_link_connecting(struct wcp_link *l);
void wcp_link_unhealthy(struct wcp_link *l, const char *why);
void wcp_link_healthy(struct wcp_link *l);

#endif

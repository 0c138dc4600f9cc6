/* hostdata.h: what a provider is told when it starts (lattice.md §4), by a host or standalone. */
#ifndef HOSTDATA_H
#define HOSTDATA_H

#include <wcp/base.h>
#include "lattice/linkdef.h"

struct otel_config { /* lattice.md §4.4; NULL texts when absent */
    bool enable_observability;
    int enable_traces, enable_metrics, enable_logs; /* -1 absent */
    char *observability_endpoint, *traces_endpoint, *metrics_endpoint, *logs_endpoint;
    char *protocol, *trace_level;
    struct strings additional_ca_paths;
};

/* Standalone: how the provider itself answers as a host, see host.h. Zero without it. */
struct registration {
    bool on;        /* no other host stands for it: host_id is its own key */
    bool wadm_host; /* with the events by which wadm knows hosts */
    struct config labels;
    char *image, *friendly_name, *provider_name, *version;
};

struct hostdata {
    /* Texts are never NULL: "" when absent. */
    char *host_id, *lattice, *link_name, *user_jwt, *user_seed, *nats_url, *provider_id;
    char *instance_id, *host_xkey, *provider_xkey_seed; /* seed: secret */
    struct config env_values, config;
    struct secrets secrets;
    struct linkdef *links;
    size_t link_count;
    struct linkdef *local_links; /* of --links: only this process knows them */
    size_t local_link_count;
    size_t bad_links; /* malformed ones, left out with a warning each */
    struct strings cluster_issuers;
    int64_t default_rpc_timeout_ms; /* -1 absent */
    bool structured_logging;
    char *log_level; /* NULL: absent */
    struct otel_config otel;
    char *js_domain; /* of the lattice's buckets in JetStream; NULL: the server's own */
    bool standalone; /* made from flags and environment, not by a host: the lattice has the links */
    struct registration registration;
    bool listens;          /* callers come over sockets, too: see local.h */
    uint32_t drain_ms;     /* what running calls may take when leaving; 0: as the provider says */
    uint32_t link_wait_ms; /* as in struct wcp_limits; 0: as the provider says */
};

/* One line: base64 of the JSON object, white space around it ignored. Unknown members are ignored.
 * The text of err never quotes a secret. Wipe the line afterwards: it may contain some. */
int hostdata_parse(struct wcp_bytes line, struct hostdata *out, struct wcp_err *err);
void hostdata_free(struct hostdata *h); /* wipes seeds and secrets */

#endif

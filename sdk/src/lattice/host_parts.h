/* host_parts.h: the host, shared by its two halves: host.c (what it tells, its life) and
 * host_commands.c (what it is asked). */
#ifndef HOST_PARTS_H
#define HOST_PARTS_H

#include "lattice/host.h"
#include "lattice/json.h"

#define HOST_SUBS 6
#define HOST_CTL  "wasmbus.ctl.v1."

struct host {
    struct host_config c;
    struct wcp_transport *t;
    const char *id;
    struct config labels;
    struct config annotations; /* of the provider.start that adopted us */
    char *image;
    bool started, adopted, leaving, stopped /* provider_stopped has been published */;
    enum { UNKNOWN, HEALTHY, UNHEALTHY } told;
    uint64_t started_ms;
    char *stop_reply; /* owed to a provider.stop */
    struct timers timers;
    struct timer beat, check, stop;
    int subs[HOST_SUBS];
};

struct json_object *host_describe(const struct host *h); /* what ping and inventory share */
struct json_object *host_inventory(const struct host *h);
void host_tell_started(const struct host *h);
void host_tell_labels(const struct host *h);
/* reply NULL: nobody wants it. Takes ownership of response, which may be NULL. */
void host_answer(const struct host *h, const char *reply, bool success, const char *message,
                 struct json_object *response);

#endif

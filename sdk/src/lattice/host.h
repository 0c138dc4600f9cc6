/* host.h: a standalone provider as the lattice sees it: a host that runs this one provider and can
 * start nothing else (lattice.md §8-§12, §16, §17). It answers ping, inventory, labels and commands
 * about itself, and publishes what happens to it. It joins no queue group: those want a whole host.
 *
 * Functions take NULL for "a real host stands for us" and then do nothing. */
#ifndef HOST_H
#define HOST_H

#include "base/timer.h"
#include "lattice/events.h"
#include "lattice/hostdata.h"

#define HOST_MARK "outrigger.dev/provider" /* label of such hosts; its value is the provider id */

struct host_config {
    const struct events *events; /* with our host id as source; lives as long as the host */
    const struct registration *registration; /* the same */
    const char *provider_id;                 /* the same */
    bool (*healthy)(void *ctx);
    /* A command says that the provider shall leave; limit_ms 0: as it likes. host_leaving and
     * host_end are expected to follow. */
    void (*stop)(void *ctx, uint32_t limit_ms);
    void *ctx;
};

struct host;

struct host *host_new(const struct host_config *c);
void host_free(struct host *h);
/* The provider serves: subscribes, and tells the lattice. */
void host_start(struct host *h);
/* The provider's health may have changed. It is asked every 30 s in any case. */
void host_check(struct host *h);
void host_leaving(struct host *h); /* it takes no new calls */
void host_end(struct host *h);     /* the last words */
/* False: sub is not one of ours. */
bool host_message(struct host *h, int sub, const struct wcp_msg *m);
uint64_t host_next(const struct host *h);
void host_tick(struct host *h);

/* Labels that say what a host is cannot be set: hostcore.* and HOST_MARK. Nor can what is too much
 * for an answer to a ping. err says which. */
int host_label_put(struct config *labels, const char *key, const char *value, struct wcp_err *err);

#endif

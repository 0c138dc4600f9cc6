/* events.h: CloudEvents on wasmbus.evt.<lattice>.<name> (lattice.md §10). */
#ifndef EVENTS_H
#define EVENTS_H

#include "rpc/transport.h"

struct json_object;

struct events {
    struct wcp_transport *t;
    const char *lattice, *source; /* source: a host id, exactly: wadm takes it from here */
    int64_t (*wall_us)(void);     /* microseconds since 1970, UTC */
};

/* Publishes the event; nobody confirms it. Takes ownership of data, an object. */
void events_publish(const struct events *e, const char *name, struct json_object *data);

#endif

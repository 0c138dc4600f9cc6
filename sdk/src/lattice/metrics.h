/* metrics.h: Prometheus' text format (0.0.4), and what the core has to say in it. */
#ifndef LATTICE_METRICS_H
#define LATTICE_METRICS_H

#include "lattice/links.h"
#include "rpc/rpc.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A family begins: once for each name, before its values. type is "counter", "gauge" ... */
void metric_family(struct wcp_buf *b, const char *name, const char *type, const char *help);
/* A value, with pairs of label name and text, closed by NULL. Texts may be anything. */
void metric_value(struct wcp_buf *b, const char *name, uint64_t value, ...)
    __attribute__((sentinel));
void metric_seconds(struct wcp_buf *b, const char *name, uint64_t us, ...)
    __attribute__((sentinel));
/* A family with one value, without labels. */
void metric_alone(struct wcp_buf *b, const char *name, const char *type, const char *help,
                  uint64_t value);

void metrics_rpc(struct wcp_buf *b, const struct rpc *r);
void metrics_links(struct wcp_buf *b, const struct links *t);

#endif

/* doctor.h: wcp doctor: what its steps share. */
#ifndef DOCTOR_H
#define DOCTOR_H

#include "cli/session.h"

struct json_object;

struct doctor {
    const struct options *o;
    const char *id; /* NULL: the lattice alone */
    bool direct;
    struct session *session;
    struct strings hosts;        /* their ids */
    struct wcp_buf complaint;    /* of the provider's last health answer; empty: healthy */
    struct examined_link *links; /* see doctor_links.c */
    size_t link_count;
    struct wcp_buf refusal; /* what a backend answered when it was asked; empty: nothing wrong */
};

/* One line of the report. step is one word. */
void doctor_ok(const char *step, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void doctor_skip(const char *step, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Two lines, and no step comes after it: what is wrong in err, and its cure. Returns false. */
bool doctor_wrong(const char *step, const struct wcp_err *err, const char *cure, ...)
    __attribute__((format(printf, 3, 4)));

/* Asks the provider for its health again: d->complaint. Returns how many answered. */
size_t doctor_health(struct doctor *d, struct wcp_err *err);

/* Members of JSON that others wrote; "?" and 0 where there is none. */
const char *doctor_text(struct json_object *o, const char *name);
int64_t doctor_number(struct json_object *o, const char *name);

/* The steps; false: something is wrong, and was said. */
bool doctor_jetstream(struct doctor *d);
bool doctor_buckets(struct doctor *d);
bool doctor_hosts(struct doctor *d);
bool doctor_provider(struct doctor *d);
bool doctor_links(struct doctor *d);
bool doctor_configs(struct doctor *d);
bool doctor_calls(struct doctor *d);
bool doctor_backend(struct doctor *d);
void doctor_free_links(struct doctor *d);

#endif

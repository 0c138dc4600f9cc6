/* link.h: one link of the link table: its life and its state. For links.c alone. */
#ifndef LATTICE_LINK_H
#define LATTICE_LINK_H

#include "lattice/links.h"

struct link {
    struct wcp_link pub; /* first: the two pointers convert into each other */
    const struct links_config *c;
    struct timers *timers;
    struct linkdef def;
    struct config *config;           /* our side of def */
    struct secrets secrets;          /* its own */
    struct shared_secrets *provided; /* the provider's, which it sees, too; NULL: it does not */
    enum link_state state;
    uint64_t since;
    char *why;               /* failed; else NULL */
    bool up;                 /* link_up has succeeded: calls may come, link_down is owed */
    bool useless;            /* failed for its content: only other content helps */
    bool quiet;              /* what it becomes is told later, by link_tell */
    bool told;               /* link_drain was called */
    bool gone;               /* it has drained; running calls still hold it */
    bool local, of_provider; /* by links_put_local */
    uint32_t attempts, pause_ms;
    uint64_t tried_at;
    struct timer due;          /* the next attempt, or the end of draining */
    size_t refs;               /* running calls */
    uint64_t told_at;          /* by a message; 0: only the buckets have told */
    unsigned sync;             /* the last one that had it */
    uint64_t gone_at;          /* since when the buckets no longer have it; 0: they do */
    struct link *same;         /* the next with the same peer, name and package */
    struct link *next, **prev; /* all; links.c's */
};

struct wcp_str link_peer(const struct wcp_link *l);
/* Puts "link 'default' from 'comp-a'" in front of err's message, which it returns. */
const char *link_described(const struct wcp_link *l, struct wcp_err *err);
/* Who and what it ties, as in l, which it points into. */
struct wcp_link link_public(const struct linkdef *l, enum wcp_role role);
struct link_view link_view(const struct link *l);

/* A new one: quiet. Takes the content of *def. */
struct link *link_new(const struct links_config *c, struct timers *timers, struct linkdef *def,
                      enum wcp_role role);
/* Frees it; it is in no list. */
void link_free(struct link *l);

/* Calls link_up. */
void link_try(struct link *l);
/* It cannot come up, because of err, which only other content changes. */
void link_refuse(struct link *l, struct wcp_err *err);
/* Its content was put again: tries now, or soon, if it has not come up. */
void link_hurry(struct link *l);
/* The first that is told of a new link. */
void link_tell(struct link *l);
/* The provider shall begin nothing new on it. */
void link_tell_drain(struct link *l);
/* No more calls; at most limit_ms later l->due fires. */
void link_drain(struct link *l, uint32_t limit_ms);
/* It has drained, or its time is over. */
void link_down(struct link *l);

#endif

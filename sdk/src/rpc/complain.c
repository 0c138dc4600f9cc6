/* complain.c: the log lines that peers can cause as often as they like. Of each kind LINES a second
 * are written; the others are counted, and told of when the second is over. */
#include "rpc/exchange.h"
#include <stdio.h>
#include <string.h>
#include <wcp/log.h>

#define LINES     10
#define PERIOD_MS 1000

void complaints_tell(struct rpc *r)
{
    for (size_t i = 0; i < r->complaint_count; i++) {
        const struct complaint *c = &r->complaints[i];
        char more[24];
        if (c->count <= LINES)
            continue;
        snprintf(more, sizeof more, "%llu", (unsigned long long)(c->count - LINES));
        wcp_log(WCP_WARN, "more of the same in this second, not shown", "what", c->what, "why",
                c->status ? wcp_strerror(c->status) : "the handler", "times", more, NULL);
    }
    r->complaint_count = 0;
}

static void on_period(struct timer *t)
{
    complaints_tell((struct rpc *)(void *)((char *)t - offsetof(struct rpc, complaints_over)));
}

bool complain(struct rpc *r, const char *what, int status)
{
    size_t i = 0;
    while (i < r->complaint_count &&
           (r->complaints[i].status != status || strcmp(r->complaints[i].what, what) != 0))
        i++;
    if (i == COMPLAINTS)
        i--; /* there are not that many kinds */
    if (i == r->complaint_count)
        r->complaints[r->complaint_count++] = (struct complaint){.what = what, .status = status};
    if (!r->complaints_over.pos) {
        r->complaints_over.fn = on_period;
        timers_set(&r->timers, &r->complaints_over, r->t->now(r->t) + PERIOD_MS);
    }
    return ++r->complaints[i].count <= LINES;
}

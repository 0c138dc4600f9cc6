/* stats.c: how calls went, counted by function: adding a number here and there is all that a call
 * pays for it. lattice/metrics.c writes them out. */
#include "rpc/exchange.h"

const uint32_t call_buckets_us[CALL_BUCKETS] = {100,     250,     500,     1000,    2500,   5000,
                                                10000,   25000,   50000,   100000,  250000, 500000,
                                                1000000, 2500000, 5000000, 10000000};

struct call_stats *stats_of(struct rpc *r, bool incoming, const struct wcp_interface *iface,
                            const struct wcp_func *func)
{
    struct call_stats **at = &r->call_stats;
    for (; *at; at = &(*at)->next)
        if ((*at)->func == func && (*at)->incoming == incoming)
            return *at;
    *at = wcp_calloc(1, sizeof **at);
    **at = (struct call_stats){.iface = iface, .func = func, .incoming = incoming};
    return *at;
}

static enum outcome outcome_of(int status)
{
    switch (status) {
    case 0: return OUTCOME_FAILED;
    case WCP_ENOENT: return OUTCOME_ABSENT;
    case WCP_EINVAL:
    case WCP_EPROTO:
    case WCP_EMORE: return OUTCOME_MALFORMED;
    case WCP_ETOOBIG: return OUTCOME_TOO_BIG;
    case WCP_ETIMEOUT: return OUTCOME_TIMEOUT;
    default: return OUTCOME_CLOSED;
    }
}

void exchange_answered(struct exchange *x, const void *result)
{
    const struct wcp_func *f = x->func;
    x->answered = true;
    if (f->result && f->result->kind == WCP_RESULT && *(const bool *)result)
        x->outcome = OUTCOME_ERROR;
    if (!x->stats)
        return;
    uint64_t us = x->rpc->t->now_us(x->rpc->t) - x->began_us;
    size_t i = 0;
    while (i < CALL_BUCKETS && us > call_buckets_us[i])
        i++;
    x->stats->took[i]++;
    x->stats->took_us += us;
}

void exchange_failed(struct exchange *x, int status)
{
    if (x->outcome <= OUTCOME_ERROR) /* the first reason is the one that tells */
        x->outcome = outcome_of(status);
}

uint64_t rpc_oldest_us(const struct rpc *r, bool incoming)
{
    uint64_t now = r->t->now_us(r->t), oldest = 0;
    for (const struct exchange *x = r->exchanges; x; x = x->next)
        if (x->incoming == incoming && !x->answered && !x->dead && now - x->began_us > oldest)
            oldest = now - x->began_us;
    return oldest;
}

const struct call_stats *rpc_call_stats(const struct rpc *r)
{
    return r->call_stats;
}

/* exchange.c: one running call: its place in the lists, its life. */
#include "rpc/exchange.h"
#include <stdlib.h>

void exchange_init(struct exchange *x, struct rpc *r, bool incoming, struct call_stats *stats,
                   struct framed *framed)
{
    x->rpc = r;
    x->framed = framed;
    x->wire = framed ? &frames_wire : &subjects_wire;
    x->incoming = incoming;
    x->active = r->t->now(r->t);
    x->began_us = r->t->now_us(r->t);
    x->stats = stats;
    if (stats)
        stats->running++;
    x->next = r->exchanges;
    x->prev = &r->exchanges;
    if (x->next)
        x->next->prev = &x->next;
    r->exchanges = x;
    if (incoming)
        r->running_in++;
    else
        r->running_out++;
    x->blocked = framed ? &x->framed_blocked : &r->blocked;
    if (framed)
        framed->x = x;
    else
        inbox_add(r, &x->entry);
}

void exchange_close(struct exchange *x)
{
    struct rpc *r = x->rpc;
    ins_close(x);
    outs_cut(x, false);
    x->wire->close(x);
    wcp_buf_free(&x->root);
    walk_free(&x->root_walk);
    timers_clear(&r->timers, &x->deadline);
    inbox_remove(r, &x->entry);
    *x->prev = x->next;
    if (x->next)
        x->next->prev = x->prev;
    if (x->incoming)
        r->running_in--;
    else
        r->running_out--;
    if (x->stats) {
        x->stats->running--;
        x->stats->ended[x->outcome]++;
    }
    free(x->trace);
    x->trace = NULL;
    if (x->link)
        r->links.release(r->links.ctx, x->link);
    x->link = NULL;
}

bool exchange_is_quiet(const struct exchange *x)
{
    return !x->ins && !x->outs.first && !x->busy && !(x->framed && framed_is_sending(x));
}

void exchange_touch(struct exchange *x)
{
    x->active = x->rpc->t->now(x->rpc->t);
}

bool exchange_is_late(struct exchange *x)
{
    struct rpc *r = x->rpc;
    uint64_t due = x->active + r->limits.call_ms;
    if (r->t->now(r->t) < due)
        timers_set(&r->timers, &x->deadline, due);
    return !x->deadline.pos;
}

void exchange_cut(struct exchange *x, int status, bool tell_peer)
{
    if (x->dead)
        return;
    x->dead = true;
    x->busy++;
    outs_cut(x, tell_peer);
    x->wire->cut(x);
    ins_cut(x, status);
    x->busy--;
}

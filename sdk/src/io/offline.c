/* offline.c: the message transport of a provider without NATS: nobody else is there. */
#include "io/offline.h"
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define INBOX "_INBOX.offline"

struct event { /* what a server would tell us */
    struct event *next;
    char *reply; /* nobody is there; NULL: sub has been left */
    int sub;
};

struct offline {
    struct wcp_transport transport; /* first */
    uv_loop_t *loop;
    struct nats_events ev;
    uv_idle_t soon; /* not a timer: run before the poll, that would leave the poll to wait */
    struct event *events, **last;
    int subs, inbox;
    bool connected, closed;
};

static struct offline *of(struct wcp_transport *t)
{
    return (struct offline *)t;
}

static void on_soon(uv_idle_t *h)
{
    struct offline *o = h->data;
    uv_idle_stop(h);
    if (!o->connected) {
        o->connected = true;
        o->ev.connected(o->ev.ctx);
    }
    while (o->events) {
        struct event e = *o->events;
        free(o->events);
        o->events = e.next;
        if (!e.next)
            o->last = &o->events;
        if (o->closed)
            ; /* by a former one */
        else if (e.reply)
            o->ev.message(o->ev.ctx, o->inbox,
                          &(struct wcp_msg){.subject = e.reply, .status = 503});
        else
            o->ev.left(o->ev.ctx, e.sub);
        free(e.reply);
    }
}

static void put(struct offline *o, struct event e)
{
    struct event *n = wcp_calloc(1, sizeof *n);
    *n = e;
    *o->last = n;
    o->last = &n->next;
    uv_idle_start(&o->soon, on_soon);
}

static void publish(struct wcp_transport *t, const struct wcp_msg *m)
{
    if (m->reply)
        put(of(t), (struct event){.reply = wcp_str_dup(wcp_str(m->reply))});
}

static int subscribe(struct wcp_transport *t, const char *subject, const char *queue)
{
    struct offline *o = of(t);
    if (strcmp(subject, INBOX ".>") == 0)
        o->inbox = o->subs;
    return o->subs++;
}

static void leave(struct wcp_transport *t, int sub)
{
    put(of(t), (struct event){.sub = sub});
}

static void release(struct wcp_transport *t, void *owner)
{
}

static size_t buffered(struct wcp_transport *t)
{
    return 0;
}

static uint64_t now(struct wcp_transport *t)
{
    return uv_now(of(t)->loop);
}

static uint64_t now_us(struct wcp_transport *t)
{
    return uv_hrtime() / 1000;
}

struct offline *offline_new(struct uv_loop_s *loop, const struct nats_events *ev)
{
    struct offline *o = wcp_calloc(1, sizeof *o);
    o->transport = (struct wcp_transport){.publish = publish,
                                          .subscribe = subscribe,
                                          .leave = leave,
                                          .release = release,
                                          .buffered = buffered,
                                          .now = now,
                                          .now_us = now_us,
                                          .max_payload = (size_t)1 << 20,
                                          .inbox = INBOX};
    o->loop = loop;
    o->ev = *ev;
    o->last = &o->events;
    uv_idle_init(loop, &o->soon);
    o->soon.data = o;
    uv_idle_start(&o->soon, on_soon);
    return o;
}

struct wcp_transport *offline_transport(struct offline *o)
{
    return &o->transport;
}

static void on_closed(uv_handle_t *h)
{
    struct offline *o = h->data;
    while (o->events) {
        struct event *e = o->events;
        o->events = e->next;
        free(e->reply);
        free(e);
    }
    free(o);
}

void offline_close(struct offline *o)
{
    if (!o)
        return;
    o->closed = true;
    uv_close((uv_handle_t *)&o->soon, on_closed);
}

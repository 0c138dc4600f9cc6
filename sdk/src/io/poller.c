/* poller.c: watches a socket that a library opens, closes and reopens from any of its threads.
 *
 * The callers write down what they want, and the loop's thread makes it so: at once if it is the
 * caller, else when it has been woken. We watch a copy of the descriptor: the library closes its
 * own when it likes, and libuv aborts the process when it comes upon a closed one.
 *
 * Who wants to write is first told to try, at the end of the loop's turn: a socket nearly always
 * takes what a turn has made. Only what it did not take makes us watch for room, which costs three
 * system calls. */
#include "io/poller.h"
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>
#include <wcp/base.h>

struct watch { /* one descriptor, until it is closed */
    uv_poll_t poll;
    int fd;
};

struct poller {
    uv_loop_t *loop;
    uv_thread_t thread;
    uv_async_t changed;
    uv_prepare_t turn_end;
    uv_idle_t awake; /* while a try to write is due: the loop must not wait */
    void (*ready)(void *ctx, bool readable, bool writable);
    void *ctx;
    /* What is wanted; any thread, under lock. */
    uv_mutex_t lock;
    int next_fd; /* a copy to be watched from now on; -1: none */
    int wanted;  /* UV_READABLE | UV_WRITABLE */
    bool closing;
    /* What is; only on the loop's thread. */
    struct watch *watch; /* NULL: nothing */
    int watched;
    bool tried; /* to write, since that was last wanted */
    unsigned open_handles;
};

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = (struct watch *)h;
    close(w->fd);
    free(w);
}

static void end_watch(struct poller *p)
{
    if (p->watch)
        uv_close((uv_handle_t *)&p->watch->poll, on_watch_closed);
    p->watch = NULL;
    p->watched = 0;
}

static void apply(struct poller *p);

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct poller *p = h->data;
    /* An error shows when the library reads, but only behind the bytes that came before it; libuv
     * has stopped watching. */
    if (status < 0)
        p->watched = 0;
    p->ready(p->ctx, status < 0 || events & UV_READABLE, status == 0 && events & UV_WRITABLE);
    if (status < 0)
        apply(p);
}

static void on_closed(uv_handle_t *h)
{
    struct poller *p = h->data;
    if (--p->open_handles)
        return;
    uv_mutex_destroy(&p->lock);
    free(p);
}

static void on_awake(uv_idle_t *h)
{
}

static void apply(struct poller *p)
{
    uv_mutex_lock(&p->lock);
    int fd = p->next_fd, wanted = p->wanted;
    bool closing = p->closing;
    p->next_fd = -1;
    uv_mutex_unlock(&p->lock);
    if (fd >= 0 || closing)
        end_watch(p);
    if (closing) {
        if (fd >= 0)
            close(fd);
        if (!uv_is_closing((uv_handle_t *)&p->changed)) {
            uv_close((uv_handle_t *)&p->changed, on_closed);
            uv_close((uv_handle_t *)&p->turn_end, on_closed);
            uv_close((uv_handle_t *)&p->awake, on_closed);
        }
        return;
    }
    if (fd >= 0) {
        p->watch = wcp_calloc(1, sizeof *p->watch);
        p->watch->fd = fd;
        int rc = uv_poll_init(p->loop, &p->watch->poll, fd);
        assert(rc == 0); /* it is a socket, and ours */
        p->watch->poll.data = p;
    }
    p->tried = p->tried && wanted & UV_WRITABLE;
    if (!p->tried && wanted & UV_WRITABLE) {
        wanted &= ~UV_WRITABLE;
        uv_idle_start(&p->awake, on_awake); /* until on_turn_end */
    }
    if (!p->watch || wanted == p->watched)
        return;
    p->watched = wanted;
    if (wanted)
        uv_poll_start(&p->watch->poll, wanted, on_poll);
    else
        uv_poll_stop(&p->watch->poll);
}

static void on_changed(uv_async_t *a)
{
    apply(a->data);
}

static void on_turn_end(uv_prepare_t *h)
{
    struct poller *p = h->data;
    uv_mutex_lock(&p->lock);
    bool write = p->wanted & UV_WRITABLE && !p->closing;
    uv_mutex_unlock(&p->lock);
    uv_idle_stop(&p->awake);
    if (!write || p->tried || !p->watch)
        return;
    p->tried = true;
    p->ready(p->ctx, false, true); /* it may ask for more, or for nothing any more */
    apply(p);
}

/* Under lock: who is not the loop's thread must have woken it before it can free p. */
static void unlock_and_apply(struct poller *p)
{
    uv_thread_t self = uv_thread_self();
    bool here = uv_thread_equal(&self, &p->thread);
    if (!here)
        uv_async_send(&p->changed);
    uv_mutex_unlock(&p->lock);
    if (here)
        apply(p);
}

struct poller *poller_new(uv_loop_t *loop, void (*ready)(void *ctx, bool readable, bool writable),
                          void *ctx)
{
    struct poller *p = wcp_calloc(1, sizeof *p);
    *p = (struct poller){
        .loop = loop, .thread = uv_thread_self(), .ready = ready, .ctx = ctx, .next_fd = -1};
    int rc = uv_mutex_init(&p->lock);
    assert(rc == 0);
    rc = uv_async_init(loop, &p->changed, on_changed);
    assert(rc == 0);
    uv_prepare_init(loop, &p->turn_end);
    uv_prepare_start(&p->turn_end, on_turn_end);
    uv_idle_init(loop, &p->awake);
    p->changed.data = p->turn_end.data = p->awake.data = p;
    p->open_handles = 3;
    return p;
}

int poller_watch(struct poller *p, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -1;
    uv_mutex_lock(&p->lock);
    if (p->next_fd >= 0)
        close(p->next_fd);
    p->next_fd = copy;
    p->wanted = UV_READABLE;
    unlock_and_apply(p);
    return 0;
}

void poller_want(struct poller *p, bool write, bool wanted)
{
    int event = write ? UV_WRITABLE : UV_READABLE;
    uv_mutex_lock(&p->lock);
    p->wanted = wanted ? p->wanted | event : p->wanted & ~event;
    unlock_and_apply(p);
}

void poller_close(struct poller *p)
{
    uv_mutex_lock(&p->lock);
    p->closing = true;
    unlock_and_apply(p);
}

/* main.c: wcp_main: a provider as a process.
 *
 * Find out who we are (HostData on stdin, or standalone.c), connect (nats.c), start the instance
 * (lattice/provider.h), and from then on only pass events to it: messages, the time, signals. When
 * it has drained it says done; then work on threads ends, what is published is flushed, everything
 * is closed and the loop runs dry. */
#include "base/log.h"
#include "base/timer.h"
#include "base/trace.h"
#include "io/admin.h"
#include "io/listen.h"
#include "io/nats.h"
#include "io/offline.h"
#include "io/standalone.h"
#include "io/work.h"
#include "lattice/provider.h"
#include "lattice/secrets.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define STDIN_TIMEOUT_MS 10000
#define HOSTDATA_MAX     ((size_t)128 << 20)
#define FLUSH_MS         2000
#define LEFTOVER_MS      2000
#define SLOW_MS          50
#define FILES_MIN        16      /* the loop, libnats, a link or two */
#define TRIM_MS          5000    /* memory is given back this often at most */
#define TRIM_BYTES       2000000 /* and only if it is this much */
#define EXIT_USAGE       2

struct process {
    const struct wcp_provider *provider;
    struct hostdata hd; /* until instance has it */
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t tick, leftover;
    uv_signal_t term, interrupt;
    struct nats_conn *nats;  /* or */
    struct offline *offline; /* without NATS */
    struct sockets *sockets; /* if we listen */
    struct listeners *listeners;
    struct mounts_watch *mounts;
    struct strings listen;         /* where */
    struct wcp_instance *instance; /* NULL before the first connect and at the end */
    struct admin *admin;
    bool subscribed; /* callers can reach us */
    struct work_count work;
    uint64_t started_ns;
    uint64_t trimmed_ms;
    uint64_t armed; /* what tick is set to; TIMER_NEVER: nothing */
    bool draining, done, waiting_for_work, ended;
    int status;
    /* For the warning about turns of the loop that take too long. */
    uint64_t polled_ms; /* when the loop last stopped waiting; 0: not yet */
    uint64_t longest_ns;
    char longest[160]; /* subject of the message that took longest_ns */
};

/* --- the end --- */

static void on_leftover(uv_timer_t *t)
{
    wcp_log(WCP_ERROR,
            "something of the provider still keeps the loop 2 s after its end: a handle is "
            "not closed",
            NULL);
    uv_stop(t->loop);
}

/* Nothing is left to say. */
static void end(struct process *p)
{
    if (p->ended)
        return;
    p->ended = true;
    instance_free(p->instance);
    p->instance = NULL;
    nats_conn_close(p->nats);
    offline_close(p->offline);
    listeners_close(p->listeners);
    p->listeners = NULL;
    sockets_close(p->sockets);
    mounts_unwatch(p->mounts);
    admin_close(p->admin); /* last: it has told that we are leaving */
    uv_close((uv_handle_t *)&p->prepare, NULL);
    uv_close((uv_handle_t *)&p->check, NULL);
    uv_close((uv_handle_t *)&p->tick, NULL);
    uv_unref((uv_handle_t *)&p->term); /* they stay until the very end, or a signal would kill us */
    uv_unref((uv_handle_t *)&p->interrupt);
    uv_timer_start(&p->leftover, on_leftover, LEFTOVER_MS, 0);
    uv_unref((uv_handle_t *)&p->leftover); /* does not keep the loop itself */
}

static void on_last_flush(void *ctx, bool flushed)
{
    if (!flushed)
        wcp_log(WCP_WARN, "the server has not confirmed our last messages", NULL);
    end(ctx);
}

static void flush_and_end(struct process *p)
{
    if (p->offline)
        end(p);
    else
        nats_conn_flush(p->nats, nats_conn_is_up(p->nats) ? FLUSH_MS : 0, on_last_flush, p);
}

static void on_no_work(void *ctx)
{
    struct process *p = ctx;
    if (p->waiting_for_work)
        flush_and_end(p);
    p->waiting_for_work = false;
}

static void on_done(void *ctx, int status)
{
    struct process *p = ctx;
    if (p->done)
        return;
    p->done = true;
    p->status = p->status ? p->status : status;
    p->waiting_for_work = p->work.running > 0;
    if (!p->waiting_for_work)
        flush_and_end(p);
}

/* --- events --- */

static void on_signal(uv_signal_t *s, int number)
{
    struct process *p = s->data;
    if (p->ended)
        return;
    wcp_log(WCP_INFO, p->draining ? "told to end, again: ending now" : "told to end", "signal",
            number == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    if (!p->instance)
        end(p); /* not even connected */
    else if (!p->done)
        instance_drain(p->instance, p->draining ? 1 : 0);
    p->draining = true;
}

static void on_message(void *ctx, int sub, struct wcp_msg *m)
{
    struct process *p = ctx;
    if (!p->instance)
        return;
    uint64_t start = uv_hrtime();
    char subject[sizeof p->longest];
    size_t n = strnlen(m->subject, sizeof subject - 1); /* m may be gone afterwards */
    memcpy(subject, m->subject, n);
    subject[n] = 0;
    instance_message(p->instance, sub, m);
    uint64_t took = uv_hrtime() - start;
    if (took > p->longest_ns) {
        p->longest_ns = took;
        memcpy(p->longest, subject, n + 1);
    }
}

static void on_left(void *ctx, int sub)
{
    struct process *p = ctx;
    if (p->instance)
        instance_left(p->instance, sub);
}

static void on_lost(void *ctx, int sub)
{
    struct process *p = ctx;
    if (p->instance)
        instance_lost(p->instance, sub);
}

static void on_writable(void *ctx)
{
    struct process *p = ctx;
    if (p->instance)
        instance_writable(p->instance);
}

static void on_disconnected(void *ctx)
{
    struct process *p = ctx;
    if (p->instance)
        instance_disconnected(p->instance);
}

static void on_reconnected(void *ctx)
{
    struct process *p = ctx;
    if (p->instance)
        instance_reconnected(p->instance);
}

static void on_ready(void *ctx, bool flushed)
{
    struct process *p = ctx;
    char ms[24];
    p->subscribed = true;
    snprintf(ms, sizeof ms, "%.1f", (double)(uv_hrtime() - p->started_ns) / 1e6);
    if (flushed)
        wcp_log(WCP_INFO, "ready", "ms", ms, NULL);
    else
        wcp_log(WCP_WARN, "the server has not confirmed our subscriptions in 2 s", NULL);
}

static void on_accept(void *ctx, struct wcp_conn *c)
{
    struct process *p = ctx;
    if (p->instance)
        instance_accept(p->instance, c);
    else
        c->close(c);
}

static void on_leaving(void *ctx)
{
    struct process *p = ctx;
    listeners_close(p->listeners);
    p->listeners = NULL;
}

static void on_serving(void *ctx)
{
    struct process *p = ctx;
    struct wcp_err err;
    if (p->listen.n) {
        p->sockets = sockets_new(&p->loop);
        p->listeners = listeners_open(&p->loop, p->sockets, &p->listen, on_accept, p, &err);
        if (!p->listeners) {
            wcp_log(WCP_ERROR, "cannot listen", "why", err.msg, NULL);
            p->status = 1;
            instance_drain(p->instance, 1);
            return;
        }
    }
    if (p->offline)
        on_ready(p, true);
    else
        nats_conn_flush(p->nats, FLUSH_MS, on_ready, p);
}

static int64_t wall_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail for a clock that exists */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void on_connected(void *ctx)
{
    struct process *p = ctx;
    struct wcp_err err;
    p->instance =
        instance_new(p->provider, &p->hd,
                     &(struct instance_env){.transport = p->nats ? nats_conn_transport(p->nats)
                                                                 : offline_transport(p->offline),
                                            .loop = &p->loop,
                                            .wall_us = wall_us,
                                            .serving = on_serving,
                                            .leaving = on_leaving,
                                            .done = on_done,
                                            .ctx = p});
    if (instance_start(p->instance, &err)) {
        wcp_log(WCP_ERROR, "cannot start", "why", err.msg, NULL);
        on_done(p, 1);
    }
}

static void on_tick(uv_timer_t *t)
{
    struct process *p = t->data;
    p->armed = TIMER_NEVER;
    if (p->instance)
        instance_tick(p->instance);
}

/* Right after the callbacks of a poll; libuv's clock stands where the waiting ended. */
static void on_polled(uv_check_t *h)
{
    struct process *p = h->data;
    p->polled_ms = uv_now(&p->loop);
}

/* What ran since the loop last stopped waiting. */
static void warn_if_slow(struct process *p)
{
    uint64_t busy_ms = uv_hrtime() / 1000000 - p->polled_ms;
    if (p->polled_ms && busy_ms > SLOW_MS) {
        char turn[24], longest[24];
        (void)snprintf(turn, sizeof turn, "%llu", (unsigned long long)busy_ms);
        (void)snprintf(longest, sizeof longest, "%llu",
                       (unsigned long long)p->longest_ns / 1000000);
        wcp_log(WCP_WARN, "nothing else could run for too long: something blocks", "ms", turn,
                "longest_message_ms", longest, "longest_message", p->longest, NULL);
    }
    p->polled_ms = 0;
    p->longest_ns = 0;
    p->longest[0] = 0;
}

/* What a burst of calls or links needed goes back to the system once it is free. */
static void trim(struct process *p)
{
    uint64_t now = uv_now(&p->loop);
    if (now - p->trimmed_ms < TRIM_MS)
        return;
    p->trimmed_ms = now;
    struct mallinfo2 m = mallinfo2();
    if (m.fordblks > TRIM_BYTES && m.fordblks > m.uordblks)
        malloc_trim(0);
}

/* Once per turn, before the loop waits. */
static void on_prepare(uv_prepare_t *h)
{
    struct process *p = h->data;
    trace_back(NULL);
    trim(p);
    warn_if_slow(p);
    uint64_t next = p->instance ? instance_next(p->instance) : TIMER_NEVER, now = uv_now(&p->loop);
    if (next == p->armed)
        return;
    p->armed = next;
    if (next == TIMER_NEVER)
        uv_timer_stop(&p->tick);
    else
        uv_timer_start(&p->tick, on_tick, next > now ? next - now : 0, 0);
}

static void on_mounts_changed(void *ctx, struct config *config, struct secrets *secrets)
{
    struct process *p = ctx;
    if (p->instance) {
        instance_config(p->instance, config);
        instance_secrets(p->instance, secrets);
    } else { /* for the one to come */
        config_free(&p->hd.config);
        secrets_free(&p->hd.secrets);
        p->hd.config = *config;
        p->hd.secrets = *secrets;
    }
    *config = (struct config){0};
    *secrets = (struct secrets){0};
}

/* --- the start --- */

/* If 0, 1 or 2 is closed, the next socket would have that number, and our log would go there. */
static void open_standard_files(void)
{
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR);
    if (fd >= 0)
        close(fd);
}

/* libuv and libnats abort rather than tell that no descriptor is left. */
static int check_files(struct wcp_err *err)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES_MIN)
        return 0;
    return wcp_fail(err, WCP_EIO, "ulimit -n is %llu, at least %d expected",
                    (unsigned long long)files.rlim_cur, FILES_MIN);
}

/* The first line of stdin, or all of it. The rest is not read: hosts close stdin behind the line,
 * and that has no meaning. */
static int read_stdin(struct wcp_bytes *out, struct wcp_err *err)
{
    size_t n = 0, cap = (size_t)1 << 18; /* large enough to be given back to the system */
    char *p = wcp_calloc(cap, 1), *end_of_line = NULL;
    uint64_t limit = uv_hrtime() / 1000000 + STDIN_TIMEOUT_MS;
    int rc = 0;
    while (!end_of_line) {
        if (n == cap) {
            if (cap >= HOSTDATA_MAX) {
                rc = wcp_fail(err, WCP_ETOOBIG, "more than %zu bytes without the end of a line", n);
                break;
            }
            char *larger = wcp_calloc(cap *= 2, 1);
            memcpy(larger, p, n);
            explicit_bzero(p, n);
            free(p);
            p = larger;
        }
        uint64_t now = uv_hrtime() / 1000000;
        int ready = now >= limit
                        ? 0
                        : poll(&(struct pollfd){.fd = 0, .events = POLLIN}, 1, (int)(limit - now));
        if (ready == 0) {
            rc = wcp_fail(err, WCP_ETIMEOUT,
                          "%zu bytes found on stdin within %d s, a line of base64 "
                          "expected; see --help for running without a host",
                          n, STDIN_TIMEOUT_MS / 1000);
            break;
        }
        ssize_t got = ready < 0 ? -1 : read(0, p + n, cap - n);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            rc = wcp_fail(err, WCP_EIO, "stdin: %s", strerror(errno));
        if (got <= 0)
            break;
        end_of_line = memchr(p + n, '\n', (size_t)got);
        n = end_of_line ? (size_t)(end_of_line - p) : n + (size_t)got;
    }
    if (!rc && n == 0)
        rc = wcp_fail(err, WCP_EPROTO,
                      "nothing found on stdin, a line of base64 expected; see --help "
                      "for running without a host");
    *out = (struct wcp_bytes){(uint8_t *)p, n};
    return rc;
}

static int read_hostdata(struct hostdata *hd, struct wcp_err *err)
{
    struct wcp_bytes line;
    int rc = read_stdin(&line, err);
    rc = rc ? wcp_wrap(err, "host data") : hostdata_parse(line, hd, err);
    explicit_bzero((void *)(uintptr_t)line.ptr, line.len); /* it has seeds and secrets */
    free((void *)(uintptr_t)line.ptr);
    return rc;
}

static void open_handles(struct process *p)
{
    uv_loop_init(&p->loop);
    uv_prepare_init(&p->loop, &p->prepare);
    uv_check_init(&p->loop, &p->check);
    uv_timer_init(&p->loop, &p->tick);
    uv_timer_init(&p->loop, &p->leftover);
    uv_signal_init(&p->loop, &p->term);
    uv_signal_init(&p->loop, &p->interrupt);
    p->loop.data = &p->work;
    p->prepare.data = p->check.data = p->tick.data = p->leftover.data = p->term.data =
        p->interrupt.data = p;
    uv_prepare_start(&p->prepare, on_prepare);
    uv_check_start(&p->check, on_polled);
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
}

/* What is told to this process must be had. The provider's configuration, which a host gives to
 * each of its replicas, also to several on one machine, is obeyed as far as possible. */
static int open_admin(struct process *p, const char *told, struct wcp_err *err)
{
    const char *configured = config_get(&p->hd.config, "wcp-admin");
    const char *address = told ? told : configured;
    const struct admin_view view = {.instance = &p->instance,
                                    .nats = &p->nats,
                                    .subscribed = &p->subscribed,
                                    .provider = p->provider->name,
                                    .started_us = (uint64_t)wall_us()};
    if (!address)
        return 0;
    p->admin = admin_open(&p->loop, address, &view, err);
    if (p->admin)
        return 0;
    (void)wcp_wrap(err, "admin port"); /* the code stays */
    if (told)
        return err->code;
    wcp_log(WCP_ERROR, err->msg, "config", "wcp-admin", NULL);
    return 0;
}

/* Everything after we know who we are. */
static int run(struct process *p, const struct standalone *told)
{
    struct wcp_err err;
    struct nats_config c = {.urls = p->hd.nats_url,
                            .user_jwt = p->hd.user_jwt,
                            .user_seed = p->hd.user_seed,
                            .login = told->login,
                            .name = p->hd.provider_id};
    struct nats_events ev = {.ctx = p,
                             .connected = on_connected,
                             .disconnected = on_disconnected,
                             .reconnected = on_reconnected,
                             .message = on_message,
                             .left = on_left,
                             .lost = on_lost,
                             .writable = on_writable};
    open_handles(p);
    int rc = open_admin(p, told->admin, &err);
    if (!rc && told->offline)
        p->offline = offline_new(&p->loop, &ev);
    else if (!rc)
        p->nats = nats_conn_new(&p->loop, &c, &ev, &err);
    if (!p->nats && !p->offline) {
        wcp_log(WCP_ERROR, "cannot start", "why", err.msg, NULL);
        p->status = told->from_stdin ? 1 : EXIT_USAGE;
        end(p);
    } else {
        p->mounts = mounts_watch(&p->loop, &told->mounts, on_mounts_changed, p);
    }
    uv_run(&p->loop, UV_RUN_DEFAULT);
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    pthread_sigmask(SIG_BLOCK, &both, NULL);
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    uv_close((uv_handle_t *)&p->leftover, NULL);
    uv_run(&p->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&p->loop); /* on_leftover has told what speaks against it */
    nats_conn_cleanup();
    return p->status;
}

int wcp_main(int argc, char **argv, const struct wcp_provider *provider)
{
    struct process *p = wcp_calloc(1, sizeof *p);
    struct standalone told;
    struct wcp_err err;
    enum wcp_level level;
    p->provider = provider;
    p->started_ns = uv_hrtime();
    p->armed = TIMER_NEVER;
    p->work = (struct work_count){.idle = on_no_work, .ctx = p};
    mallopt(M_ARENA_MAX, 1);         /* the other threads sleep: not worth a heap for each */
    (void)signal(SIGPIPE, SIG_IGN);  /* cannot fail for a signal that exists */
    (void)prctl(PR_SET_DUMPABLE, 0); /* secrets are in our memory: no core dump, no debugger */
    open_standard_files();
    if (check_files(&err)) {
        wcp_log(WCP_ERROR, "cannot start", "why", err.msg, NULL);
        free(p);
        return 1;
    }
    if (sodium_init() < 0) {
        wcp_log(WCP_ERROR, "cannot start", "why", "libsodium does not initialise", NULL);
        free(p);
        return 1;
    }
    int status = standalone_read(argc, argv, provider->name, &told);
    p->hd = told.hd;
    if (status == STANDALONE_GO && told.from_stdin) {
        if (isatty(0)) {
            standalone_usage(provider->name, stderr);
            status = EXIT_USAGE;
        } else if (read_hostdata(&p->hd, &err)) {
            wcp_log(WCP_ERROR, "cannot start", "why", err.msg, NULL);
            status = 1;
        }
    }
    if (status == STANDALONE_GO) {
        const char *name = told.log_level ? told.log_level : p->hd.log_level;
        if (name && log_parse_level(name, &level))
            log_set_level(level);
        else if (name)
            wcp_log(WCP_WARN, "log level is none of error, warn, info, debug", "found", name, NULL);
        log_set_provider(p->hd.provider_id);
        p->listen = told.listen;
        p->hd.drain_ms = told.drain_ms;
        p->hd.link_wait_ms = told.link_wait_ms;
        status = run(p, &told);
        log_set_provider(NULL);
    }
    hostdata_free(&p->hd); /* empty when the instance took it */
    standalone_free(&told);
    free(p);
    return status;
}

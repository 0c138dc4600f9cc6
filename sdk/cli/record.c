/* record.c: wcp record: the calls of one provider into a file, as they pass by. */
#include "cli/session.h"
#include "cli/tap.h"
#include "io/nats.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum {
    TICK_MS = 100,
    MAX_BYTES = 16 << 20,
    LAST_MS = 500, /* for the ends of calls that run when the recording ends */
};

struct recorder {
    const struct options *o;
    const char *id, *path;
    char default_path[ID_MAX + 16];
    struct session *session;
    struct tap *tap;
    int fd;
    struct wcp_err err; /* of writing */
    uint64_t ended[RECORDED_ENDINGS];
    uint64_t strangers; /* calls with an inbox that is not listened to */
    char stranger[100]; /* one of those */
    bool ending;
};

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static uint64_t wall_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail */
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Each call leaves in one go, so that whoever is killed leaves a file that can be read. */
static void write_out(struct recorder *r, struct wcp_buf *b)
{
    size_t at = 0;
    while (at < b->len && !r->err.code) {
        ssize_t n = write(r->fd, b->ptr + at, b->len - at);
        if (n < 0 && errno != EINTR)
            wcp_fail(&r->err, WCP_EIO, "%s: %s", r->path, strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    wcp_buf_free(b);
}

static void on_ended(void *ctx, const struct recorded *c)
{
    struct recorder *r = ctx;
    struct wcp_buf b = {0};
    r->ended[c->ended]++;
    recording_put(&b, c);
    write_out(r, &b);
}

struct headers {
    struct wcp_header *at;
    size_t n;
};

static void on_header(void *ctx, const char *name, const char *value)
{
    struct headers *h = ctx;
    h->at = wcp_realloc(h->at, (h->n + 1) * sizeof *h->at);
    h->at[h->n++] = (struct wcp_header){name, value};
}

static bool is_listened_to(const struct recorder *r, const char *subject)
{
    const struct strings *prefixes = &r->o->inboxes;
    for (size_t i = 0; i < prefixes->n; i++) {
        size_t n = strlen(prefixes->at[i]);
        if (strncmp(subject, prefixes->at[i], n) == 0 && subject[n] == '.')
            return true;
    }
    return prefixes->n == 0 && strncmp(subject, "_INBOX.", 7) == 0;
}

static void see_stranger(struct recorder *r, const char *inbox)
{
    if (inbox && !is_listened_to(r, inbox)) {
        r->strangers++;
        (void)snprintf(r->stranger, sizeof r->stranger, "%s", inbox);
    }
}

static void on_invocation(void *ctx, struct wcp_msg *m)
{
    struct recorder *r = ctx;
    struct headers h = {0};
    if (r->ending || (r->o->count && tap_stats(r->tap)->seen == r->o->count))
        return;
    see_stranger(r, m->reply);
    nats_headers(m, on_header, &h);
    tap_invocation(r->tap, m, h.at, h.n, now_us(), wall_us());
    free(h.at);
}

static void on_inbox(void *ctx, struct wcp_msg *m)
{
    struct recorder *r = ctx;
    if (tap_inbox(r->tap, m, now_us()) && m->reply)
        see_stranger(r, m->reply); /* an accept names the provider's */
}

static int open_file(struct recorder *r, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    r->path = r->o->value[OPT_OUTPUT];
    if (!r->path) {
        (void)snprintf(r->default_path, sizeof r->default_path, "%s.wcprec", r->id);
        r->path = r->default_path;
    }
    r->fd = open(r->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (r->fd < 0)
        return wcp_fail(err, WCP_EIO, "%s: %s%s", r->path, strerror(errno),
                        errno == EEXIST ? ": name another one with --output" : "");
    recording_put_head(&b, &(struct recording_head){.lattice = r->o->value[OPT_LATTICE],
                                                    .id = r->id,
                                                    .time_us = wall_us()});
    write_out(r, &b);
    *err = r->err;
    return err->code;
}

static int listen_to_all(struct recorder *r, struct wcp_err *err)
{
    char subject[2 * ID_MAX + 64];
    const struct strings *prefixes = &r->o->inboxes;
    for (size_t i = 0; i < prefixes->n; i++) {
        struct wcp_buf b = {0};
        wcp_buf_fmt(&b, "%s.>", prefixes->at[i]);
        wcp_buf_put(&b, "", 1);
        session_listen(r->session, (const char *)b.ptr, on_inbox, r);
        wcp_buf_free(&b);
    }
    if (!prefixes->n)
        session_listen(r->session, "_INBOX.>", on_inbox, r);
    /* The inboxes first: of a call that is seen to begin, all is seen. */
    (void)snprintf(subject, sizeof subject, "%s.%s.wrpc.0.0.1.>", r->o->value[OPT_LATTICE], r->id);
    session_listen(r->session, subject, on_invocation, r);
    return session_flush(r->session, err);
}

static void run(struct recorder *r)
{
    const struct options *o = r->o;
    uint64_t end = o->seconds ? session_now(r->session) + (uint64_t)o->seconds * 1000 : UINT64_MAX,
             tick = 0;
    size_t losses = 0;
    while (!session_signal(r->session) && session_now(r->session) < end && !r->err.code &&
           !(o->count && tap_stats(r->tap)->seen == o->count && !tap_open(r->tap))) {
        session_turn(r->session, TICK_MS);
        if (session_losses(r->session) > losses) {
            losses = session_losses(r->session);
            tap_cut(r->tap);
        }
        if (session_now(r->session) >= tick) {
            tap_tick(r->tap, now_us());
            tick = session_now(r->session) + TICK_MS;
        }
    }
    /* What happened before the end was asked for may still be on its way. */
    (void)session_flush(r->session, &(struct wcp_err){0});
    r->ending = true;
    end = session_now(r->session) + LAST_MS;
    while (tap_moving(r->tap) && session_now(r->session) < end && !r->err.code)
        session_turn(r->session, TICK_MS);
    tap_cut(r->tap);
}

static void print_summary(const struct recorder *r)
{
    uint64_t sum = 0, refused = tap_stats(r->tap)->refused;
    for (int i = 0; i < RECORDED_ENDINGS; i++)
        sum += r->ended[i];
    printf("%llu calls in %s", (unsigned long long)sum, r->path);
    for (int i = 0; i < RECORDED_ENDINGS; i++)
        if (r->ended[i])
            printf(", %llu %s", (unsigned long long)r->ended[i], recorded_end_texts[i]);
    printf("\n");
    if (refused)
        printf("%llu invocations could not be recorded: they have no reply subject, or a function "
               "that is none, or too many calls were open\n",
               (unsigned long long)refused);
    if (session_losses(r->session))
        printf("the connection to NATS was lost %zu times: calls of that time are missing or cut\n",
               session_losses(r->session));
    if (r->strangers)
        printf("%llu inboxes were not listened to, as %s: name their beginning with --inbox, and "
               "_INBOX too if that is used besides\n",
               (unsigned long long)r->strangers, r->stranger);
}

int cmd_record(const struct options *o, struct wcp_err *err)
{
    struct recorder r = {.o = o, .id = o->operands[0], .fd = -1};
    int rc = options_id("ID", r.id, err);
    if (rc)
        return rc;
    r.tap = tap_new(&(struct tap_config){.lattice = o->value[OPT_LATTICE],
                                         .id = r.id,
                                         .max_bytes = o->max_bytes ? o->max_bytes : MAX_BYTES,
                                         .ended = on_ended,
                                         .ctx = &r});
    if ((rc = session_open(o, &r.session, err)) == 0)
        rc = listen_to_all(&r, err);
    if (rc == 0)
        rc = open_file(&r, err);
    if (rc == 0) {
        session_watch_signals(r.session);
        printf("recording the calls of '%s' in lattice '%s' into %s; Ctrl-C ends it\n", r.id,
               o->value[OPT_LATTICE], r.path);
        (void)fflush(stdout); /* it is flushed again at the end, and checked then */
        run(&r);
        print_summary(&r);
        *err = r.err;
        rc = r.err.code;
    }
    if (r.fd >= 0 && close(r.fd) != 0 && rc == 0)
        rc = wcp_fail(err, WCP_EIO, "%s: %s", r.path, strerror(errno));
    session_close(r.session); /* messages come until then */
    tap_free(r.tap);
    return rc;
}

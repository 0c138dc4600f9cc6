/* streams.c: see streams.h.
 *
 * A stream or future in the result is called by its index path, as on the wire: @0.1 is member 1 of
 * result 0. One that --out names goes to its file, bytes as bytes and other values a line each. The
 * only stream<u8>, if --out does not name it, is the standard output; the result's value and
 * everything else are then lines of the standard error, else of the standard output. */
#include "cli/streams.h"
#include "cli/output.h"
#include "cli/source.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_TEXT = 200, TARGETS_MAX = 64 };

/* A stream or future that the result's type has. */
struct target {
    char path[PATH_TEXT]; /* "0.1"; "0.*" for those in a list */
    const struct wcp_type *t;
    bool many;
};

struct destination { /* a file of --out */
    struct destination *next;
    const char *path, *file;
    int fd; /* 0: it is the standard output */
    struct output *to;
};

struct sink { /* a stream or future that comes */
    struct sink *next;
    struct streams *s;
    const struct wcp_type *t;
    struct wcp_in *in; /* NULL once it has ended */
    struct output *to;
    struct path path;
    uint32_t count;           /* of its values */
    bool raw, prefix, paused; /* raw: bytes as they are */
    bool started;
};

struct unsent {
    struct unsent *next;
    struct wcp_out *out;
};

struct feed {
    struct feed *next;
    struct source *source;
};

struct streams {
    const struct options *o;
    struct values *v;
    struct session *session;
    const struct wcp_type *t;
    struct wcp_arena arena;
    struct output *info, *out, *err; /* info is one of the other two */
    struct target targets[TARGETS_MAX];
    size_t target_count;
    struct destination *destinations;
    struct target *raw; /* what is the standard output */
    struct unsent *unsent;
    struct feed *feeds;
    struct sink *sinks;
    bool sent, answered, error_answer, is_err;
    struct wcp_err failure;
};

/* --- the streams of a type, and where they go --- */

static void find_targets(struct streams *s, const struct wcp_type *t, const char *path, bool many)
{
    char inner[PATH_TEXT];
    if (!t || !t->async || s->target_count == TARGETS_MAX)
        return;
    switch ((enum wcp_kind)t->kind) {
    case WCP_STREAM:
    case WCP_FUTURE: {
        struct target *g = &s->targets[s->target_count++];
        *g = (struct target){.t = t, .many = many};
        (void)snprintf(g->path, sizeof g->path, "%s", path);
        return;
    }
    case WCP_LIST:
        (void)snprintf(inner, sizeof inner, "%.190s.*", path);
        find_targets(s, t->elem, inner, true);
        return;
    case WCP_OPTION: find_targets(s, t->elem, path, many); return;
    default:
        for (unsigned i = 0; i < t->count; i++) {
            (void)snprintf(inner, sizeof inner, "%.180s.%u", path, i);
            find_targets(s, t->fields[i].type, t->kind == WCP_RECORD ? inner : path, many);
        }
    }
}

static bool is_bytes(const struct wcp_type *t)
{
    return t->kind == WCP_STREAM && t->elem->kind == WCP_U8;
}

/* The only one; bytes: of the streams of bytes. */
static struct target *only(struct streams *s, bool bytes)
{
    struct target *found = NULL;
    for (size_t i = 0; i < s->target_count; i++) {
        struct target *g = &s->targets[i];
        if (bytes && !is_bytes(g->t))
            continue;
        if (found || g->many)
            return NULL;
        found = g;
    }
    return found;
}

static void on_drained(void *ctx)
{
    struct streams *s = ctx;
    for (struct sink *k = s->sinks; k; k = k->next)
        if (k->in && k->paused && !output_waits(k->to)) {
            k->paused = false;
            wcp_in_resume(k->in);
        }
}

static struct output *open_output(struct streams *s, int fd, const char *name)
{
    return output_new(session_loop(s->session), fd, name, on_drained, s);
}

/* "0.1=FILE" names a stream, anything else is a file alone. */
static int add_destination(struct streams *s, const char *text, struct wcp_err *err)
{
    struct destination *d = wcp_alloc(&s->arena, 1, sizeof *d);
    size_t n = strspn(text, "0123456789.");
    if (n && text[n] == '=') {
        d->path = wcp_fmt(&s->arena, "%.*s", (int)n, text).ptr;
        d->file = text + n + 1;
    } else {
        struct target *g = only(s, true) ? only(s, true) : only(s, false);
        if (!g && s->target_count)
            return wcp_fail(err, WCP_EINVAL,
                            "--out %.80s: the result has more than one stream: say which, as in "
                            "--out %s=FILE",
                            text, s->targets->path);
        d->path = g ? g->path : "";
        d->file = text;
    }
    bool known = false;
    for (size_t i = 0; i < s->target_count; i++)
        known |= s->targets[i].many || strcmp(s->targets[i].path, d->path) == 0;
    if (!known)
        return wcp_fail(err, WCP_EINVAL, "--out %.80s: the result has no such stream%s%s", text,
                        s->target_count ? "; the first is " : "",
                        s->target_count ? s->targets->path : "");
    if (strcmp(d->file, "-") == 0) {
        d->to = s->out;
    } else {
        /* Before the call, which perhaps changes something. It is emptied when something comes. */
        d->fd = open(d->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (d->fd < 0)
            return wcp_fail(err, WCP_EINVAL, "--out: %.150s: %s", d->file, strerror(errno));
        d->to = open_output(s, d->fd, d->file);
    }
    d->next = s->destinations;
    s->destinations = d;
    return 0;
}

static struct destination *destination_of(struct streams *s, const char *path)
{
    struct destination *d = s->destinations;
    while (d && strcmp(d->path, path) != 0)
        d = d->next;
    return d;
}

int streams_new(const struct options *o, struct values *v, struct session *session,
                const struct wcp_type *t, struct streams **out, struct wcp_err *err)
{
    struct streams *s = *out = wcp_calloc(1, sizeof *s);
    bool to_stdout = false;
    s->o = o;
    s->v = v;
    s->session = session;
    s->t = t;
    s->out = open_output(s, 1, "the standard output");
    s->err = open_output(s, 2, "the standard error");
    find_targets(s, t, "0", false);
    for (size_t i = 0; i < o->outs.n; i++) {
        int rc = add_destination(s, o->outs.at[i], err);
        if (rc)
            return rc;
    }
    for (struct destination *d = s->destinations; d; d = d->next)
        to_stdout |= d->to == s->out;
    struct target *bytes = only(s, true);
    if (bytes && !to_stdout && !destination_of(s, bytes->path))
        s->raw = bytes;
    s->info = s->raw || to_stdout ? s->err : s->out;
    return 0;
}

/* --- what goes into the call --- */

static void fail(struct streams *s, const struct wcp_err *err)
{
    session_wake(s->session);
    if (!s->failure.code)
        s->failure = *err;
}

static void on_source_failed(void *ctx, const struct wcp_err *err)
{
    fail(ctx, err);
}

static void forget(struct streams *s, const struct wcp_out *out)
{
    struct unsent **p = &s->unsent;
    while (*p && (*p)->out != out)
        p = &(*p)->next;
    if (*p)
        *p = (*p)->next;
}

/* A wave_writer's async, used to find what a value holds: it now belongs to that value's stream. */
static void forget_inner(struct wave_writer *w, const struct wcp_type *t, union wcp_async a,
                         struct wcp_buf *out)
{
    forget(w->ctx, a.out);
}

static void write_values(struct streams *s, const struct wcp_type *t, const struct wave_async *a,
                         struct wcp_out *out)
{
    for (size_t i = 0; t->elem && t->elem->async && i < a->n; i++) {
        struct wave_writer w = {.ctx = s, .async = forget_inner};
        struct wcp_buf unused = {0};
        wave_print(&w, t->elem, (const char *)a->items + i * t->elem->size, &unused);
        wcp_buf_free(&unused);
    }
    if (t->elem && a->n)
        (void)wcp_out_write(out, a->items, a->n); /* it is here already: what waits is bounded */
    wcp_out_end(out);
}

int streams_read(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                 union wcp_async *out, struct wcp_err *err)
{
    struct streams *s = ctx;
    int fd = 0;
    if (a->kind == WAVE_PENDING)
        return wcp_fail(err, WCP_EINVAL, "a call needs what is in it: a list, @FILE or -");
    if (a->kind == WAVE_FILE && t->elem && t->elem->async)
        return wcp_fail(err, WCP_EINVAL, "streams of streams or futures cannot be in a file");
    if (a->kind == WAVE_FILE && strcmp(a->file, "-") == 0) {
        int rc = values_take_stdin(s->v, err);
        if (rc)
            return rc;
    } else if (a->kind == WAVE_FILE) {
        fd = open(a->file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return wcp_fail(err, WCP_EIO, "%.150s: %s", a->file, strerror(errno));
    }
    struct unsent *u = wcp_alloc(&s->arena, 1, sizeof *u);
    u->out = out->out = wcp_out_new(t->elem);
    u->next = s->unsent;
    s->unsent = u;
    if (a->kind == WAVE_FILE) {
        struct feed *f = wcp_alloc(&s->arena, 1, sizeof *f);
        const char *name = fd ? wcp_fmt(&s->arena, "%s", a->file).ptr : "the standard input";
        f->next = s->feeds;
        s->feeds = f;
        f->source = source_new(session_loop(s->session), fd, name, t, u->out, on_source_failed, s);
    } else {
        write_values(s, t, a, u->out);
    }
    return 0;
}

void streams_begin(struct streams *s)
{
    s->sent = true;
    s->unsent = NULL;
}

/* --- what comes out of it --- */

static const struct wcp_in_handler sink_handler;

static void path_text(const struct path *p, char out[PATH_TEXT])
{
    int n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += snprintf(out + n, (size_t)(PATH_TEXT - n), "%s%u", i ? "." : "", p->at[i]);
}

/* Where what comes at path goes. */
static void direct(struct streams *s, struct sink *k)
{
    char path[PATH_TEXT];
    path_text(&k->path, path);
    struct destination *d = destination_of(s, path);
    k->raw = is_bytes(k->t);
    if (d) {
        k->to = d->to;
        if (d->fd && ftruncate(d->fd, 0) && errno != EINVAL) { /* a pipe has nothing to empty */
            struct wcp_err err = {0};
            (void)wcp_fail(&err, WCP_EIO, "%.150s: %s", d->file, strerror(errno));
            fail(s, &err);
        }
    } else if (s->raw && strcmp(s->raw->path, path) == 0) {
        k->to = s->out;
    } else {
        k->to = s->info;
        k->raw = false;
        k->prefix = k->path.n > 1 || k->t != s->t;
    }
}

/* A wave_writer's async: its path stands for it, and it is taken on. */
static void on_stream(struct wave_writer *w, const struct wcp_type *t, union wcp_async a,
                      struct wcp_buf *out)
{
    struct streams *s = w->ctx;
    struct sink *k = wcp_alloc(&s->arena, 1, sizeof *k);
    char path[PATH_TEXT];
    *k = (struct sink){.next = s->sinks, .s = s, .t = t, .in = a.in, .path = w->path};
    s->sinks = k;
    path_text(&w->path, path);
    wcp_buf_fmt(out, "@%s", path);
    direct(s, k);
}

/* What the last value brought is started once its line is out. */
static void start_new(struct streams *s)
{
    for (bool again = true; again;) {
        again = false;
        for (struct sink *k = s->sinks; k && !again; k = k->next)
            if (!k->started) {
                k->started = again = true;
                wcp_in_start(k->in, &sink_handler, k);
            }
    }
}

static void print_line(struct streams *s, const struct wcp_type *t, const void *value,
                       const struct path *path, const char *prefix, struct output *to)
{
    struct wave_writer w = {
        .text = s->o->value[OPT_TEXT] != NULL, .path = *path, .ctx = s, .async = on_stream};
    struct wcp_buf line = {0};
    wcp_buf_fmt(&line, "%s", prefix);
    wave_print(&w, t, value, &line);
    wcp_buf_put(&line, "\n", 1);
    if (to)
        (void)output_write(to, line.ptr, line.len); /* the caller asks output_waits */
    wcp_buf_free(&line);
    start_new(s);
}

/* What a line with one of k's values begins with. */
static const char *prefix_of(const struct sink *k, char out[PATH_TEXT + 4])
{
    char path[PATH_TEXT];
    path_text(&k->path, path);
    (void)snprintf(out, PATH_TEXT + 4, "@%s: ", path);
    return k->prefix ? out : "";
}

static void on_data(void *ctx, const void *items, size_t n)
{
    struct sink *k = ctx;
    struct streams *s = k->s;
    const struct wcp_type *elem = k->t->elem;
    char room[PATH_TEXT + 4];
    const char *prefix = prefix_of(k, room);
    if (k->raw) {
        (void)output_write(k->to, items, n);
    } else if (is_bytes(k->t)) { /* a piece is a line */
        const struct list_layout l = {items, n};
        print_line(s, &wcp_list_u8, &l, &k->path, prefix, k->to);
    } else {
        for (size_t i = 0; i < n; i++) {
            const char *item = (const char *)items + i * elem->size;
            struct path at = k->path;
            if (k->t->kind == WCP_STREAM && elem->async)
                at.at[at.n++] = k->count++;
            print_line(s, elem, item, &at, prefix, k->to);
            s->is_err |=
                k->t->kind == WCP_FUTURE && elem->kind == WCP_RESULT && *(const bool *)item;
        }
    }
    if (output_waits(k->to) && k->in) {
        k->paused = true;
        wcp_in_pause(k->in);
    }
}

static void on_end(void *ctx, int status)
{
    struct sink *k = ctx;
    char path[PATH_TEXT], room[PATH_TEXT + 4];
    struct wcp_err err = {0};
    session_wake(k->s->session);
    k->in = NULL;
    path_text(&k->path, path);
    if (status == 0 && k->t->kind == WCP_FUTURE && !k->t->elem) { /* that is all it says */
        const char *prefix = prefix_of(k, room);
        (void)output_write(k->to, prefix, strlen(prefix));
        (void)output_write(k->to, "()\n", 3); /* streams_done asks output_waits */
    }
    if (status) {
        (void)wcp_fail(&err, status, "the %s @%s of the result broke off: %s%s",
                       k->t->kind == WCP_STREAM ? "stream" : "future", path, wcp_strerror(status),
                       session_why(k->s->session));
        fail(k->s, &err);
    }
}

static const struct wcp_in_handler sink_handler = {on_data, on_end};

/* Is it nothing but a stream, of which the value says nothing? */
static bool is_bare(const struct wcp_type *t, const void *value)
{
    if (t->kind == WCP_RESULT && !*(const bool *)value)
        t = t->fields[0].type;
    return t && (t->kind == WCP_STREAM || t->kind == WCP_FUTURE);
}

void streams_result(struct streams *s, const void *value)
{
    const struct path root = {.at = {0}, .n = 1};
    s->answered = true;
    if (!s->t)
        return;
    s->error_answer = s->t->kind == WCP_RESULT && *(const bool *)value;
    s->is_err |= s->error_answer;
    print_line(s, s->t, value, &root, "", is_bare(s->t, value) ? NULL : s->info);
}

/* --- the end --- */

void streams_flush(struct streams *s, int ms)
{
    output_flush(s->out, ms);
    output_flush(s->err, ms);
    for (struct destination *d = s->destinations; d; d = d->next)
        output_flush(d->to, ms);
}

bool streams_done(const struct streams *s)
{
    struct wcp_err err;
    if (streams_failure(s, &err))
        return true;
    if (!s->answered || output_waits(s->out) || output_waits(s->err))
        return false;
    for (const struct sink *k = s->sinks; k; k = k->next)
        if (k->in)
            return false;
    for (const struct destination *d = s->destinations; d; d = d->next)
        if (output_waits(d->to))
            return false;
    if (s->error_answer || !session_running(s->session))
        return true;
    for (const struct feed *f = s->feeds; f; f = f->next)
        if (!source_is_over(f->source))
            return false;
    return true;
}

bool streams_is_err(const struct streams *s)
{
    return s->is_err;
}

int streams_failure(const struct streams *s, struct wcp_err *err)
{
    int rc = s->failure.code;
    *err = s->failure;
    if (!rc)
        rc = output_error(s->out, err);
    if (!rc)
        rc = output_error(s->err, err);
    for (const struct destination *d = s->destinations; d && !rc; d = d->next)
        rc = output_error(d->to, err);
    return rc;
}

void streams_stop(struct streams *s)
{
    for (struct sink *k = s->sinks; k; k = k->next)
        if (k->in) {
            wcp_in_cancel(k->in);
            k->in = NULL;
        }
    for (struct feed *f = s->feeds; f; f = f->next)
        source_stop(f->source, s->sent);
    for (struct unsent *u = s->unsent; u; u = u->next)
        wcp_out_free(u->out);
    for (struct destination *d = s->destinations; d; d = d->next)
        if (d->fd)
            output_stop(d->to);
    output_stop(s->out);
    output_stop(s->err);
}

void streams_free(struct streams *s)
{
    for (struct feed *f = s->feeds; f; f = f->next)
        source_free(f->source);
    for (struct destination *d = s->destinations; d; d = d->next)
        if (d->fd)
            output_free(d->to);
    output_free(s->out);
    output_free(s->err);
    wcp_arena_free(&s->arena);
    free(s);
}

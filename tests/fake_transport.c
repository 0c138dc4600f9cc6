/* fake_transport.c: see fake_transport.h. */
#include "fake_transport.h"
#include "test.h"

static struct fake *of(struct wcp_transport *t)
{
    return (struct fake *)t;
}

static struct wcp_bytes copy(struct wcp_bytes b)
{
    uint8_t *p = wcp_calloc(1, b.len + 1);
    if (b.len)
        memcpy(p, b.ptr, b.len);
    return (struct wcp_bytes){p, b.len};
}

static char *text(const char *s)
{
    return s ? wcp_str_dup(wcp_str(s)) : NULL;
}

static void publish(struct wcp_transport *t, const struct wcp_msg *m)
{
    struct fake *f = of(t);
    CHECK(m->data.len <= t->max_payload);
    if ((f->count & (f->count - 1)) == 0) /* full */
        f->sent = wcp_realloc(f->sent, (f->count ? 2 * f->count : 1) * sizeof *f->sent);
    struct fake_msg *s = &f->sent[f->count++];
    *s = (struct fake_msg){.subject = text(m->subject),
                           .reply = text(m->reply),
                           .data = copy(m->data),
                           .header_count = m->header_count};
    CHECK(m->header_count <= 8);
    for (size_t i = 0; i < m->header_count; i++)
        s->headers[i] = (struct wcp_header){text(m->headers[i].name), text(m->headers[i].value)};
}

static int subscribe(struct wcp_transport *t, const char *subject, const char *queue)
{
    struct fake *f = of(t);
    f->subs = wcp_realloc(f->subs, (f->sub_count + 1) * sizeof *f->subs);
    f->subs[f->sub_count] = (struct fake_sub){text(subject), text(queue), false};
    return (int)f->sub_count++;
}

static void leave(struct wcp_transport *t, int sub)
{
    of(t)->subs[sub].left = true;
}

static void release(struct wcp_transport *t, void *owner)
{
    of(t)->owners--;
    free(owner);
}

static size_t buffered(struct wcp_transport *t)
{
    return of(t)->buffered_bytes;
}

static uint64_t now(struct wcp_transport *t)
{
    return of(t)->now_ms;
}

static uint64_t now_us(struct wcp_transport *t)
{
    return of(t)->now_ms * 1000;
}

void fake_init(struct fake *f)
{
    *f = (struct fake){
        .t = {publish, subscribe, leave, release, buffered, now, now_us, 1048576, "_INBOX.me"},
        .now_ms = 1000};
}

void fake_close(struct fake *f)
{
    CHECK_INT(f->owners, 0);
    for (size_t i = 0; i < f->count; i++) {
        struct fake_msg *s = &f->sent[i];
        for (size_t k = 0; k < s->header_count; k++) {
            free((void *)(uintptr_t)s->headers[k].name);
            free((void *)(uintptr_t)s->headers[k].value);
        }
        free(s->subject);
        free(s->reply);
        free((void *)(uintptr_t)s->data.ptr);
    }
    for (size_t i = 0; i < f->sub_count; i++) {
        free(f->subs[i].subject);
        free(f->subs[i].queue);
    }
    free(f->sent);
    free(f->subs);
}

const struct fake_msg *fake_take(struct fake *f)
{
    return f->seen < f->count ? &f->sent[f->seen++] : NULL;
}

int fake_sub(const struct fake *f, const char *subject)
{
    for (size_t i = 0; i < f->sub_count; i++)
        if (strcmp(f->subs[i].subject, subject) == 0)
            return (int)i;
    FAIL("nobody subscribed %s", subject);
}

/* One block, so that what is used after its release is seen by the address sanitizer. */
struct owned {
    struct wcp_header headers[8];
    char bytes[];
};

static char *append(char **at, const void *p, size_t n)
{
    char *start = *at;
    if (n)
        memcpy(start, p, n);
    start[n] = '\0';
    *at += n + 1;
    return start;
}

struct wcp_msg fake_message(struct fake *f, const char *subject, const char *reply,
                            struct wcp_bytes data, const char *const *headers)
{
    size_t size = strlen(subject) + (reply ? strlen(reply) : 0) + data.len + 3;
    for (size_t i = 0; headers && headers[i]; i++)
        size += strlen(headers[i]) + 1;
    struct owned *o = wcp_calloc(1, sizeof *o + size);
    char *at = o->bytes;
    struct wcp_msg m = {.owner = o, .headers = o->headers};
    m.subject = append(&at, subject, strlen(subject));
    m.reply = reply ? append(&at, reply, strlen(reply)) : NULL;
    m.data = (struct wcp_bytes){(uint8_t *)append(&at, data.ptr, data.len), data.len};
    for (; headers && headers[2 * m.header_count]; m.header_count++) {
        const char *name = headers[2 * m.header_count], *value = headers[2 * m.header_count + 1];
        o->headers[m.header_count].name = append(&at, name, strlen(name));
        o->headers[m.header_count].value = append(&at, value, strlen(value));
    }
    f->owners++;
    return m;
}

void fake_done(struct fake *f, struct wcp_msg *m)
{
    if (m->owner)
        release(&f->t, m->owner);
}

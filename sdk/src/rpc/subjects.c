/* subjects.c: a call's channels as messages on NATS subjects (wrpc.md §2): "<send_base>[.path]",
 * cut to what one message may hold, an empty message at the end. */
#include "rpc/exchange.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CHANNEL_SUBJECT_MAX 512
#define UNWRITTEN_MAX       ((size_t)1 << 20) /* in the transport, of all calls */

bool path_parse(struct wcp_str s, struct path *out)
{
    out->n = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t v = 0;
        size_t first = i;
        for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && v <= UINT32_MAX; i++)
            v = v * 10 + (uint64_t)(s.ptr[i] - '0');
        if (i == first || v > UINT32_MAX || (i < s.len && s.ptr[i] != '.') ||
            out->n == PATH_MAX_DEPTH)
            return false;
        out->at[out->n++] = (uint32_t)v;
    }
    return out->n > 0;
}

size_t path_print(const struct path *p, char out[PATH_TEXT_MAX])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < p->n; i++)
        n += (size_t)snprintf(out + n, PATH_TEXT_MAX - n, ".%u", p->at[i]);
    return n;
}

/* buf is for the subjects of paths; the root's is there already. */
static const char *subject_of(const struct exchange *x, const struct path *p,
                              char buf[CHANNEL_SUBJECT_MAX])
{
    if (!p)
        return x->send_base;
    size_t n = strlen(x->send_base);
    assert(n + PATH_TEXT_MAX <= CHANNEL_SUBJECT_MAX); /* it is bounded where it is made */
    memcpy(buf, x->send_base, n);
    path_print(p, buf + n);
    return buf;
}

static void send(struct exchange *x, const struct path *p, struct wcp_bytes data)
{
    char buf[CHANNEL_SUBJECT_MAX];
    struct wcp_transport *t = x->rpc->t;
    const char *subject = subject_of(x, p, buf);
    while (data.len) {
        size_t n = data.len < t->max_payload ? data.len : t->max_payload;
        t->publish(t, &(struct wcp_msg){.subject = subject, .data = {data.ptr, n}});
        data.ptr += n;
        data.len -= n;
    }
}

void subjects_end(struct rpc *r, const char *subject)
{
    r->t->publish(r->t, &(struct wcp_msg){.subject = subject});
}

static void end(struct exchange *x, const struct path *p, bool broken)
{
    char buf[CHANNEL_SUBJECT_MAX];
    if (x->send_base)
        subjects_end(x->rpc, subject_of(x, p, buf));
}

static bool is_full(const struct exchange *x)
{
    return x->rpc->t->buffered(x->rpc->t) >= UNWRITTEN_MAX;
}

static void nothing(struct exchange *x)
{
}

const struct wire subjects_wire = {.send = send,
                                   .end = end,
                                   .is_full = is_full,
                                   .settled = nothing,
                                   .cut = nothing,
                                   .close = nothing};

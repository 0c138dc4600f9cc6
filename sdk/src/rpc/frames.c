/* frames.c: the bytes of wRPC's framed transport (wrpc.md §3). No I/O. */
#include "rpc/frames.h"
#include <assert.h>
#include <string.h>

#define HEADER_MAX (1 + 2 * (5 + FRAME_NAME_MAX))

static int get_name(struct wcp_bytes *in, const char *what, struct wcp_str *out,
                    struct wcp_err *err)
{
    uint64_t n = 0;
    int rc = codec_get_leb(in, 32, &n, err);
    if (rc)
        return rc;
    if (n > FRAME_NAME_MAX)
        return wcp_fail(err, WCP_ETOOBIG, "%s name of %llu bytes, at most %d expected", what,
                        (unsigned long long)n, FRAME_NAME_MAX);
    if (in->len < n)
        return wcp_fail(err, WCP_EMORE, "%s name is incomplete", what);
    *out = (struct wcp_str){(const char *)in->ptr, (size_t)n};
    in->ptr += n;
    in->len -= n;
    return 0;
}

struct header {
    struct wcp_str instance, function;
};

static int read_header(struct frames *f, struct wcp_bytes *in, void *out, struct wcp_err *err)
{
    struct header *h = out;
    if (in->len == 0)
        return wcp_fail(err, WCP_EMORE, "no header");
    if (*in->ptr != 0)
        return wcp_fail(err, WCP_EPROTO, "version %u of wRPC's framing, 0 expected", *in->ptr);
    in->ptr++;
    in->len--;
    int rc = get_name(in, "an instance", &h->instance, err);
    return rc ? rc : get_name(in, "a function", &h->function, err);
}

static int read_head(struct frames *f, struct wcp_bytes *in, void *out, struct wcp_err *err)
{
    uint64_t n = 0, v = 0;
    int rc = codec_get_leb(in, 32, &n, err);
    if (rc)
        return rc;
    if (n > PATH_MAX_DEPTH)
        return wcp_fail(err, WCP_ETOOBIG, "a frame's path of %llu elements, at most %d expected",
                        (unsigned long long)n, PATH_MAX_DEPTH);
    for (f->path.n = 0; f->path.n < n; f->path.n++) {
        if ((rc = codec_get_leb(in, 32, &v, err)))
            return rc;
        f->path.at[f->path.n] = (uint32_t)v;
    }
    if ((rc = codec_get_leb(in, 32, &v, err)))
        return rc;
    f->len = f->left = (size_t)v;
    return 0;
}

/* Runs read on what was kept and what is new; on WCP_EMORE all of that is kept. most: bytes that it
 * can need. */
static int read_over(struct frames *f, struct wcp_bytes *in, size_t most,
                     int (*read)(struct frames *f, struct wcp_bytes *in, void *out,
                                 struct wcp_err *err),
                     void *out, struct wcp_err *err)
{
    size_t had = f->part.len, n = in->len < most - had ? in->len : most - had;
    struct wcp_bytes at = {in->ptr, n};
    if (had) {
        wcp_buf_put(&f->part, in->ptr, n);
        at = (struct wcp_bytes){f->part.ptr, f->part.len};
    }
    int rc = read(f, &at, out, err);
    if (rc == WCP_EMORE) {
        assert(n == in->len);
        if (!had)
            wcp_buf_put(&f->part, in->ptr, n);
    } else {
        n -= at.len;
        f->part.len = 0; /* its memory stays: names may point into it */
    }
    in->ptr += n;
    in->len -= n;
    return rc;
}

int frames_header(struct frames *f, struct wcp_bytes *in, struct wcp_str *instance,
                  struct wcp_str *function, struct wcp_err *err)
{
    struct header h = {{0}, {0}};
    int rc = read_over(f, in, HEADER_MAX, read_header, &h, err);
    *instance = h.instance;
    *function = h.function;
    return rc;
}

int frames_next(struct frames *f, struct wcp_bytes *in, struct frame_piece *out,
                struct wcp_err *err)
{
    while (!f->left) { /* frames without data mean nothing */
        int rc = in->len ? read_over(f, in, FRAME_HEAD_MAX, read_head, NULL, err)
                         : wcp_fail(err, WCP_EMORE, "no frame");
        if (rc)
            return rc;
    }
    if (!in->len)
        return wcp_fail(err, WCP_EMORE, "%zu more bytes of a frame are needed", f->left);
    size_t n = in->len < f->left ? in->len : f->left;
    *out = (struct frame_piece){
        .path = f->path, .data = {in->ptr, n}, .before = f->len - f->left, .after = f->left - n};
    f->left -= n;
    in->ptr += n;
    in->len -= n;
    return 0;
}

void frames_close(struct frames *f)
{
    wcp_buf_free(&f->part);
}

void frames_put_header(struct wcp_buf *b, const char *instance, const char *function)
{
    wcp_buf_put(b, "", 1); /* the version */
    const char *names[] = {instance, function};
    for (size_t i = 0; i < 2; i++) {
        codec_put_leb(b, strlen(names[i]));
        wcp_buf_put(b, names[i], strlen(names[i]));
    }
}

static size_t put_leb(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

size_t frames_put_head(uint8_t out[FRAME_HEAD_MAX], const struct path *path, size_t len)
{
    size_t count = path ? path->n : 0, n = put_leb(out, count);
    for (size_t i = 0; i < count; i++)
        n += put_leb(out + n, path->at[i]);
    return n + put_leb(out + n, len);
}

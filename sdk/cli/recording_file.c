/* recording_file.c: recordings in files, read call by call. */
#include "cli/recording.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recording {
    FILE *file;
    char *path;
    struct wcp_buf buf; /* read ahead: what is used of it is taken out when more is read */
    size_t used;
    uint64_t offset; /* of buf in the file */
};

uint64_t recording_at(const struct recording *r)
{
    return r->offset + r->used;
}

/* The next map of the file; see recording_next. */
static int next(struct recording *r, struct recording_head *h, struct recorded *c,
                struct wcp_arena *a, bool *cut, struct wcp_err *err)
{
    char part[65536];
    assert(h || c);
    for (;;) {
        struct wcp_bytes in = {r->buf.ptr + r->used, r->buf.len - r->used}, rest = in;
        int rc = in.len == 0 ? WCP_EMORE
                 : c         ? recording_get(&rest, c, a, err)
                             : recording_get_head(&rest, h, a, err);
        uint64_t at = recording_at(r);
        if (rc == 0) {
            r->used += in.len - rest.len;
            return 1;
        }
        if (rc != WCP_EMORE)
            return wcp_wrap(err, "%s, what begins at byte %llu", r->path, (unsigned long long)at);
        if (r->used) {
            memmove(r->buf.ptr, r->buf.ptr + r->used, in.len);
            r->buf.len = in.len;
            r->offset += r->used;
            r->used = 0;
        }
        /* Twice as much each time: a large call is not measured again for every part of it. */
        size_t want = in.len < sizeof part ? sizeof part : in.len, n = 0;
        while (want && (n = fread(part, 1, want < sizeof part ? want : sizeof part, r->file)) > 0) {
            wcp_buf_put(&r->buf, part, n);
            want -= n;
        }
        if (n == 0 && r->buf.len == in.len) {
            if (ferror(r->file))
                return wcp_fail(err, WCP_EIO, "%s: %s", r->path, strerror(errno));
            *cut = in.len != 0;
            return 0;
        }
    }
}

int recording_open(const char *path, struct recording **out, struct recording_head *h,
                   struct wcp_arena *a, struct wcp_err *err)
{
    struct recording *r = *out = wcp_calloc(1, sizeof *r);
    bool cut = false;
    r->path = wcp_str_dup(wcp_str(path));
    r->file = fopen(path, "re");
    if (!r->file)
        return wcp_fail(err, WCP_EIO, "%s: %s", path, strerror(errno));
    int rc = next(r, h, NULL, a, &cut, err);
    if (rc == 0)
        rc = wcp_fail(err, WCP_EPROTO, "%s: it ends at byte %zu, the head of a recording expected",
                      path, r->buf.len);
    return rc < 0 ? rc : 0;
}

int recording_next(struct recording *r, struct recorded *c, struct wcp_arena *a, bool *cut,
                   struct wcp_err *err)
{
    *cut = false;
    return next(r, NULL, c, a, cut, err);
}

int recording_seek(struct recording *r, uint64_t at, struct wcp_err *err)
{
    if (fseeko(r->file, (off_t)at, SEEK_SET) != 0)
        return wcp_fail(err, WCP_EIO, "%s: %s", r->path, strerror(errno));
    r->offset = at;
    r->used = r->buf.len = 0;
    return 0;
}

void recording_close(struct recording *r)
{
    if (!r)
        return;
    if (r->file)
        (void)fclose(r->file); /* only read */
    wcp_buf_free(&r->buf);
    free(r->path);
    free(r);
}

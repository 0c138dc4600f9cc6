/* frames.h: the bytes of wRPC's framed transport (wrpc.md §3): a header, then frames, each a slice
 * of a channel. No I/O: bytes come in pieces of any size and go on in pieces, none is collected. */
#ifndef FRAMES_H
#define FRAMES_H

#include "rpc/codec.h"

#define FRAME_NAME_MAX 512 /* bytes of an instance's or a function's name */
#define FRAME_HEAD_MAX ((size_t)5 * (PATH_MAX_DEPTH + 2))
#define FRAME_DATA_MAX ((size_t)1 << 20) /* that we put into one; what we read may have more */

/* How far one direction of a connection has been read. Zero-initialise it. */
struct frames {
    struct wcp_buf part; /* of a header or of what stands before a frame's data */
    struct path path;    /* of the frame that is being read */
    size_t len, left;    /* its data, and how much of that is still to come */
};

struct frame_piece {
    struct path path;      /* n 0: the root */
    struct wcp_bytes data; /* at least one byte, of the input */
    size_t before, after;  /* bytes of the same frame */
};

/* Both move *in past what was read. WCP_EMORE: all of it, and more is needed. WCP_EPROTO, and
 * WCP_ETOOBIG for a name or path that is longer than any of ours: nothing more can be read.
 * The names live until the next call, and as long as the input. */
int frames_header(struct frames *f, struct wcp_bytes *in, struct wcp_str *instance,
                  struct wcp_str *function, struct wcp_err *err);
int frames_next(struct frames *f, struct wcp_bytes *in, struct frame_piece *out,
                struct wcp_err *err);
void frames_close(struct frames *f);

void frames_put_header(struct wcp_buf *b, const char *instance, const char *function);
/* What stands before len bytes of data; path NULL: the root. Returns its length. */
size_t frames_put_head(uint8_t out[FRAME_HEAD_MAX], const struct path *path, size_t len);

#endif

/* codec.h: decoding (decode.c) and encoding (encode.c) with streams and futures in the values. */
#ifndef CODEC_H
#define CODEC_H

#include <wcp/stream.h>
#include <wcp/type.h>

/* The layout that strings, handles and every generated list struct share. */
struct list_layout {
    const void *ptr;
    size_t len;
};

/* The index path of an async value (wrpc.md §1.5): which parameter or result, then which field or
 * element, for each level. Options, results, variants and futures add nothing. */
#define PATH_MAX_DEPTH 16
struct path {
    uint32_t at[PATH_MAX_DEPTH];
    size_t n;
};

struct decoder {
    struct wcp_bytes in; /* what is left */
    struct wcp_arena *arena;
    struct wcp_err *err; /* may be NULL */
    struct path path;
    size_t need; /* after WCP_EMORE: at least this many bytes are missing */
    /* A stream or future t at d->path: make the reader. pending false: the value is here, n items
     * of t->elem in the arena (bytes of the input for u8; n is 0 or 1 for a future without / with a
     * type). NULL where async values are not allowed. */
    struct wcp_in *(*on_async)(struct decoder *d, const struct wcp_type *t, bool pending,
                               const void *items, size_t n);
    void *ctx;
};
/* Reads one value of type t into out. The fields of a record at depth 0 are the parameters: field i
 * has the path [i]. On failure out is unspecified. */
int codec_decode(struct decoder *d, const struct wcp_type *t, void *out);

struct encoder {
    struct wcp_buf *buf;
    struct path path;
    /* Writes the stream or future t, which is out, into e->buf (pending or inline). */
    void (*on_async)(struct encoder *e, const struct wcp_type *t, struct wcp_out *out);
    void *ctx;
};
void codec_encode(struct encoder *e, const struct wcp_type *t, const void *value);

/* The pieces, for streams. */
void codec_put_leb(struct wcp_buf *b, uint64_t v);
/* Unsigned LEB128 of at most bits bits. WCP_EMORE or WCP_EPROTO as wcp_decode. */
int codec_get_leb(struct wcp_bytes *in, unsigned bits, uint64_t *out, struct wcp_err *err);

#endif

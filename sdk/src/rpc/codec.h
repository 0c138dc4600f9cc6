/* codec.h: decoding (decode.c) and encoding (encode.c) with streams and futures in the values, and
 * walking over what is encoded (walk.c). */
#ifndef CODEC_H
#define CODEC_H

#include <wcp/link.h>
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
/* In subjects (subjects.c): "0.1" → {0, 1}, and back; false: not a path. */
#define PATH_TEXT_MAX (PATH_MAX_DEPTH * 11 + 1)
bool path_parse(struct wcp_str s, struct path *out);
size_t path_print(const struct path *p, char out[PATH_TEXT_MAX]); /* ".0.1" */

struct decoder {
    struct wcp_bytes in; /* what is left */
    struct wcp_arena *arena;
    struct wcp_err *err; /* may be NULL */
    struct path path;
    bool padded_flags;   /* see struct wcp_codec */
    size_t need;         /* after WCP_EMORE: at least this many bytes are missing */
    const uint8_t *item; /* where what was read last begins: what an error is about */
    /* A stream or future t at d->path: make the reader. pending false: the value is here, n items
     * of t->elem in the arena (bytes of the input for u8; n is 0 or 1 for a future without / with a
     * type). NULL where async values are not allowed. */
    struct wcp_in *(*on_async)(struct decoder *d, const struct wcp_type *t, bool pending,
                               const void *items, size_t n);
    void *ctx;
};
/* Reads one value of type t into out. The fields of a record at depth 0 are the parameters: field i
 * has the path [i]. On failure out is unspecified, and d->in begins where reading stopped. */
int codec_decode(struct decoder *d, const struct wcp_type *t, void *out);
/* The same for a stream's or list's element: with its index on the path, if it holds streams or
 * futures. */
int codec_decode_element(struct decoder *d, const struct wcp_type *t, size_t index, void *out);
/* So many bytes are t's flags. */
size_t codec_flags_size(const struct wcp_type *t, struct wcp_codec codec);

struct encoder {
    struct wcp_buf *buf;
    struct path path;
    /* Writes the stream or future t, which is out, into e->buf (pending or inline). */
    void (*on_async)(struct encoder *e, const struct wcp_type *t, struct wcp_out *out);
    void *ctx;
};
void codec_encode(struct encoder *e, const struct wcp_type *t, const void *value);
/* As codec_decode_element. */
void codec_encode_element(struct encoder *e, const struct wcp_type *t, size_t index,
                          const void *value);
/* Turns count values of type t, which lie encoded one behind the other, into what decoders want
 * that do not know the standard form of large negative numbers (wcp_codec.cut_signed); in place. */
void codec_cut_signed(const struct wcp_type *t, size_t count, uint8_t *bytes, size_t len);

/* Where does a value of type t end, of which more and more bytes come? */
struct walk *walk_new(const struct wcp_type *t, struct wcp_codec codec);
void walk_free(struct walk **w); /* NULL is fine; sets it to NULL */
/* bytes: all of it so far, len never less than before. 0: the value is whole; WCP_EMORE: at least
 * need bytes are missing; WCP_EPROTO: the decoder will tell. Each byte is looked at once. */
int walk(struct walk *w, uint8_t *bytes, size_t len, size_t *need);

/* The pieces, for streams. */
void codec_put_leb(struct wcp_buf *b, uint64_t v);
/* Unsigned LEB128 of at most bits bits. WCP_EMORE or WCP_EPROTO as wcp_decode. */
int codec_get_leb(struct wcp_bytes *in, unsigned bits, uint64_t *out, struct wcp_err *err);

#endif

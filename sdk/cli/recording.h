/* recording.h: calls in a file: a stream of MessagePack maps, first a head, then one per call
 * (docs/recording.md). Files may come from anywhere: everything in them is checked. */
#ifndef RECORDING_H
#define RECORDING_H

#include "rpc/rpc.h"

#define RECORDED_ENDS(X)                                                                           \
    X(COMPLETE, "complete")                                                                        \
    X(NO_ANSWER, "no answer") /* neither a result nor its end */                                   \
    X(CUT, "cut")             /* the recorder did not see all of it, or two servers answered */    \
    X(TRUNCATED, "truncated") /* larger than the recorder was to keep: without its bytes */

enum recorded_end {
#define X(name, text) RECORDED_##name,
    RECORDED_ENDS(X)
#undef X
        RECORDED_ENDINGS
};
extern const char *const recorded_end_texts[RECORDED_ENDINGS];

struct recorded {
    uint64_t number;      /* from 1 in the order of invocation; files are in that of ending */
    uint64_t time_us;     /* since 1970: when it was invoked */
    uint64_t answer_us;   /* from there to the last byte of the results' root; 0: there was none */
    const char *function; /* "wrpc:keyvalue/store@0.2.0-draft.get" */
    const struct wcp_header *headers;
    size_t header_count;
    struct wcp_bytes params, results; /* the roots */
    const struct rpc_channel *params_channels, *results_channels;
    size_t params_channel_count, results_channel_count;
    enum recorded_end ended;
};

struct recording_head {
    const char *lattice, *id;
    uint64_t time_us;
};

#define RECORD_MAX   ((size_t)1 << 30) /* bytes of one call in the file */
#define RECORD_ITEMS 10000             /* headers and channels of one call, about */

/* What a recording can hold: names, values and functions that a message can be sent with. */
bool recording_takes_header(const char *name, const char *value);
bool recording_takes_function(const char *function);

void recording_put_head(struct wcp_buf *b, const struct recording_head *h);
void recording_put(struct wcp_buf *b, const struct recorded *c);

/* Read one from the front of *in, and move *in past it; bytes point into it, all else is in a.
 * WCP_EMORE: it goes on behind *in. WCP_EPROTO, WCP_ETOOBIG: err says what is wrong at which byte
 * of it. */
int recording_get_head(struct wcp_bytes *in, struct recording_head *h, struct wcp_arena *a,
                       struct wcp_err *err);
int recording_get(struct wcp_bytes *in, struct recorded *c, struct wcp_arena *a,
                  struct wcp_err *err);

/* A file, read call by call. */
struct recording;
int recording_open(const char *path, struct recording **r, struct recording_head *h,
                   struct wcp_arena *a, struct wcp_err *err);
/* 1: *c is the next one, which lives in a and until the next call of this function for c's bytes;
 * 0: there is none. A file that ends within a call is as good as one without that call: *cut. */
int recording_next(struct recording *r, struct recorded *c, struct wcp_arena *a, bool *cut,
                   struct wcp_err *err);
uint64_t recording_at(const struct recording *r); /* where the next one begins */
int recording_seek(struct recording *r, uint64_t at, struct wcp_err *err);
void recording_close(struct recording *r); /* NULL is allowed */

#endif

/* compare.h: is the answer that came the one that was recorded? */
#ifndef COMPARE_H
#define COMPARE_H

#include "rpc/rpc.h"

/* An answer as bytes: the root, and the channels below it, each as they travelled. */
struct answer {
    struct wcp_bytes root;
    const struct rpc_channel *channels;
    size_t channel_count;
};

/* True: they are the same. Else text gets a line that says where they differ.
 * t NULL: the type is not known: roots are compared byte by byte, channels too, but that those
 * which are chunks of bytes may be cut elsewhere. Else t is the type of the result, from tables.h:
 * values are compared, however they were encoded, cut, or inlined. */
bool answers_are_same(const struct wcp_type *t, const struct answer *was, const struct answer *came,
                      struct wcp_buf *text);

#endif

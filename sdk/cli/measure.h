/* measure.h: where does a MessagePack value end? msgpack-c trusts what it reads: an array of 2^32
 * things makes it allocate room for them. So only what is known to be whole, and of a reasonable
 * size, is given to it. */
#ifndef MEASURE_H
#define MEASURE_H

#include <wcp/base.h>

/* The length of the value at the front of in: at most `most` bytes and most_items things in it, 8
 * levels deep. WCP_EMORE: it goes on behind in. WCP_EPROTO, WCP_ETOOBIG: err names the byte. */
int measure(struct wcp_bytes in, size_t most, size_t most_items, size_t *length,
            struct wcp_err *err);

#endif

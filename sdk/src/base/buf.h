/* buf.h: the buffer's private part: room that the caller fills itself. */
#ifndef BUF_H
#define BUF_H

#include <wcp/base.h>

void buf_grow(struct wcp_buf *b, size_t n);

/* Room for n bytes behind b->len; who fills it adds to len. */
static inline uint8_t *buf_room(struct wcp_buf *b, size_t n)
{
    if (b->cap - b->len < n)
        buf_grow(b, n);
    return b->ptr + b->len;
}

#endif

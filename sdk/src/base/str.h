/* str.h: UTF-8, for the codec and the log. */
#ifndef STR_H
#define STR_H

#include <wcp/base.h>

/* Length of the well-formed UTF-8 sequence that p starts with: 1 to 4, or 0 when there is none
 * within n bytes (n > 0). */
size_t utf8_next(const uint8_t *p, size_t n);

/* How many bytes at the start of p are well-formed UTF-8; n: all of them. */
size_t utf8_span(const uint8_t *p, size_t n);

#endif

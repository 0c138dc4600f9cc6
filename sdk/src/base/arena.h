/* arena.h: the arena's private part: allocation that respects the limit. */
#ifndef ARENA_H
#define ARENA_H

#include <wcp/base.h>

/* As wcp_alloc, but NULL when the arena's limit would be passed. For sizes that a peer chose. */
void *arena_try(struct wcp_arena *a, size_t n, size_t size);

#endif

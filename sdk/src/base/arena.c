/* arena.c: memory that is freed all at once: blocks that are filled from the front.
 *
 * Under AddressSanitizer the unused rest of a block is poisoned, and so is a gap behind each
 * object: an overrun of one object is seen although the block is one allocation. */
#include "base/arena.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define POISON 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define POISON 1
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

/* Most calls need none or a few small objects: their block fits the allocator's fast bins. Each
 * further block is four times as large, up to the largest. An object above half of that gets a
 * block of its own. */
enum { FIRST = 240, LARGEST = 64 * 1024, ALIGN = _Alignof(max_align_t) };

struct wcp_block {
    struct wcp_block *next;
    size_t size, used; /* bytes of data */
    max_align_t data[];
};

static struct wcp_block *block_new(size_t size)
{
    struct wcp_block *b = wcp_realloc(NULL, sizeof *b + size);
    *b = (struct wcp_block){.size = size};
    ASAN_POISON_MEMORY_REGION(b->data, size);
    return b;
}

/* size bytes, a multiple of ALIGN, already known not to be absurd. */
static void *bump(struct wcp_arena *a, size_t size)
{
    struct wcp_block *b = a->head;
    if (!b || b->size - b->used < size + GAP) {
        if (size > LARGEST / 2) {
            b = block_new(size + GAP); /* behind head, which keeps its room for small objects */
            b->next = a->head ? a->head->next : NULL;
            *(a->head ? &a->head->next : &a->head) = b;
        } else {
            size_t room = b ? 4 * b->size : FIRST;
            while (room < size + GAP)
                room *= 4;
            b = block_new(room < LARGEST ? room : LARGEST);
            b->next = a->head;
            a->head = b;
        }
    }
    char *p = (char *)b->data + b->used;
    b->used += size + GAP;
    a->used += size;
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    return memset(p, 0, size);
}

static bool rounded(size_t n, size_t size, size_t *out)
{
    if (size && n > (SIZE_MAX / 2) / size) /* half: room for headers */
        return false;
    *out = (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return true;
}

void *wcp_alloc(struct wcp_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!rounded(n, size, &bytes))
        return wcp_calloc(n, size); /* more than there can be: ends the process with the message */
    return bump(a, bytes);
}

void *arena_try(struct wcp_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!rounded(n, size, &bytes) ||
        (a->limit && (a->used > a->limit || bytes > a->limit - a->used)))
        return NULL;
    return bump(a, bytes);
}

void wcp_arena_free(struct wcp_arena *a)
{
    for (struct wcp_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
    a->used = 0;
}

struct wcp_str wcp_fmt(struct wcp_arena *a, const char *fmt, ...)
{
    va_list ap;
    assert(fmt);
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    char *text = wcp_alloc(a, (size_t)n + 1, 1);
    va_start(ap, fmt);
    (void)vsnprintf(text, (size_t)n + 1, fmt, ap); /* fits: measured above */
    va_end(ap);
    return (struct wcp_str){text, (size_t)n};
}

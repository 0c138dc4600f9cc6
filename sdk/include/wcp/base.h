/* base.h: the few types that everything else is made of. */
#ifndef WCP_BASE_H
#define WCP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed views. Whoever hands one out says how long it lives. */
struct wcp_str {
    const char *ptr; /* UTF-8, not NUL-terminated */
    size_t len;
};
struct wcp_bytes {
    const uint8_t *ptr;
    size_t len;
};

#define WCP_STR(lit) ((struct wcp_str){"" lit, sizeof(lit) - 1})
/* For "%.*s": printf("%.*s", WCP_ARG(s)). */
#define WCP_ARG(s) (int)(s).len, (s).ptr

struct wcp_str wcp_str(const char *text); /* a view of a NUL-terminated text; NULL is empty */
bool wcp_str_eq(struct wcp_str a, struct wcp_str b); /* the same bytes */
char *wcp_str_dup(struct wcp_str s);                 /* NUL-terminated copy, for free() */
struct wcp_bytes *wcp_bytes_dup(struct wcp_bytes b); /* one block, for free() */
bool wcp_is_utf8(
    struct wcp_bytes b); /* strings that are sent must be: ask for what comes from elsewhere */

#define WCP_ERRORS(X)                                                                              \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(EPROTO, -2, "the peer broke the protocol")                                                   \
    X(EMORE, -3, "more input is needed")                                                           \
    X(ETOOBIG, -4, "larger than the limit allows")                                                 \
    X(ENOENT, -5, "no such thing")                                                                 \
    X(EAUTH, -6, "not authorised or cannot be decrypted")                                          \
    X(EIO, -7, "input/output error")                                                               \
    X(ETIMEOUT, -8, "timed out")                                                                   \
    X(ECLOSED, -9, "closed")

enum {
    WCP_OK = 0,
#define X(name, code, text) WCP_##name = (code),
    WCP_ERRORS(X)
#undef X
};

/* Why something failed: a code to branch on and a sentence for a person. */
struct wcp_err {
    int code;
    char msg[256];
};

const char *wcp_strerror(int code);

/* Fill err (which may be NULL) and return code, so that a failure is one line:
 * return wcp_fail(err, WCP_EPROTO, "frame: %zu bytes left over", n); */
int wcp_fail(struct wcp_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put a prefix before err's message and return its code: "link 'default': " + what happened.
 * err must not be NULL. */
int wcp_wrap(struct wcp_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Heap memory. None of these returns NULL: out of memory ends the process. Free with free(). */
void *wcp_calloc(size_t n, size_t size); /* zeroed */
void *wcp_realloc(void *p, size_t size);

/* Memory that is freed all at once. Zero-initialise it; limit 0 means none. */
struct wcp_arena {
    struct wcp_block *head;
    size_t used, limit; /* bytes */
};
/* n objects of size bytes, zeroed, aligned for any type. Never NULL, also above the limit: the
 * limit is for what comes from the wire (see arena_try in arena.h). */
void *wcp_alloc(struct wcp_arena *a, size_t n, size_t size);
void wcp_arena_free(struct wcp_arena *a);
/* Formats into a. The text is NUL-terminated behind its length. */
struct wcp_str wcp_fmt(struct wcp_arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A growing output buffer. Zero-initialise it. */
struct wcp_buf {
    uint8_t *ptr;
    size_t len, cap;
};
void wcp_buf_put(struct wcp_buf *b, const void *p, size_t n); /* appends a copy */
void wcp_buf_fmt(struct wcp_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void wcp_buf_free(struct wcp_buf *b);

#endif

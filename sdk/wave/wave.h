/* wave.h: values of WIT types as text, in WAVE, the WebAssembly Value Encoding:
 *
 *   true  -5  6.02e23  nan  -inf  'x'  "a\n\u{e9}"  [1, 2]  (1, "b")  {field: 1}  {:}  case(1)
 *   some(1)  none  ok(1)  err  {flag, other}  %none (a case of that name)  // comment
 *
 * and forms of our own for what it has no form for:
 *
 *   list<u8>  also a string, in which \xNN is any byte; or @FILE, the bytes of a file
 *   handle    handle("0a0b"), its bytes in hexadecimal
 *   stream    [1, 2]; of u8 also a string; @FILE or @"FILE", @- or - for the standard input;
 * pending future    the value it will have, () for one without a type; a file as above; pending */
#ifndef WAVE_H
#define WAVE_H

#include "rpc/codec.h"

/* What a text says of a stream or future. */
struct wave_async {
    enum { WAVE_PENDING, WAVE_VALUES, WAVE_FILE } kind;
    const void *items; /* n values of the element type; a future without a type has 0 or 1 */
    size_t n;
    const char *file; /* "-": the standard input */
};

struct wave_reader {
    struct wcp_arena *arena; /* where what is read lives; errors may leave something there */
    void *ctx;
    /* The bytes of the file that stands for a list<u8>. NULL: files are an error. */
    int (*file)(void *ctx, const char *name, struct wcp_bytes *out, struct wcp_err *err);
    /* Makes what a value holds for a stream or future t. NULL: a pointer to a struct wave_async in
     * the arena, as .in and .out. */
    int (*async)(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                 union wcp_async *out, struct wcp_err *err);
};

/* Where a text is wrong, and what was expected there. */
struct wave_error {
    size_t at; /* byte offset */
    char msg[256];
};

/* Reads text, which is one value of type t, into out (t->size bytes). t is from tables.h, for the
 * names of enums and flags. WCP_EINVAL with err, or what a function of r returned. */
int wave_parse(const struct wave_reader *r, const struct wcp_type *t, struct wcp_str text,
               void *out, struct wave_error *err);

struct wave_writer {
    bool text;        /* a list<u8> is printed as a string, not as [1, 2] */
    struct path path; /* of the value; where the printing is, for async */
    void *ctx;
    /* Prints what a value holds for a stream or future t. NULL: it is the struct wave_async of
     * above. */
    void (*async)(struct wave_writer *w, const struct wcp_type *t, union wcp_async a,
                  struct wcp_buf *out);
};

/* Appends the value as text without line ends. As above, t is from tables.h. */
void wave_print(struct wave_writer *w, const struct wcp_type *t, const void *value,
                struct wcp_buf *out);

/* The words that mean something in WAVE: a case of such a name is written with a %. */
bool wave_is_keyword(struct wcp_str word);
/* Records are the tables of tuples too. */
bool wave_is_tuple(const struct wcp_type *t);

#endif

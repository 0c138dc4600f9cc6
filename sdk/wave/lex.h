/* lex.h: the tokens of WAVE. */
#ifndef WAVE_LEX_H
#define WAVE_LEX_H

#include <wcp/base.h>

struct wave_lexer {
    struct wcp_str text; /* UTF-8 */
    size_t at;           /* what is read next */
};

/* Past white space and comments. The other functions begin where this ends. */
void wave_skip(struct wave_lexer *x);
/* The character at x->at, 0 at the end; true and past it if it is c. */
char wave_peek(const struct wave_lexer *x);
bool wave_accept(struct wave_lexer *x, char c);
/* The label or number that begins here, with its %, not moved past; empty: none does. */
struct wcp_str wave_label(const struct wave_lexer *x);
struct wcp_str wave_number(const struct wave_lexer *x);
/* The character between ' and ', or the text between " and " or """ and """, without escapes.
 * bytes: \xNN is allowed. NULL, or what is wrong at x->at. */
const char *wave_char(struct wave_lexer *x, uint32_t *out);
const char *wave_string(struct wave_lexer *x, bool bytes, struct wcp_buf *out);
/* For messages: what stands here, in quotes. */
const char *wave_found(const struct wave_lexer *x, char out[64]);

#endif

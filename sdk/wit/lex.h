/* lex.h: WIT text to tokens. */
#ifndef WIT_LEX_H
#define WIT_LEX_H

#include "wit/types.h"

enum wit_token_kind {
    WIT_END,
    WIT_WORD,  /* letters, digits, '-' and '_'; also "_" alone */
    WIT_ARROW, /* -> */
    WIT_TEXT,  /* "quoted": text is what it means */
    WIT_PUNCT, /* one character: text.ptr[0] */
};

struct wit_lexer {
    struct wit *w;
    const struct wit_file *file;
    size_t at; /* where the next token is looked for */
    /* The current token. */
    enum wit_token_kind kind;
    struct wit_pos pos;
    struct wcp_str text; /* without the % of an escaped name */
    bool escaped;
    struct wcp_str doc; /* the doc comments before it: lines without their marks */
};

/* Checks that the text is UTF-8 without characters that could mislead a reader, and reads the first
 * token. */
void wit_lex_start(struct wit_lexer *x, struct wit *w, const struct wit_file *file);
void wit_lex_next(struct wit_lexer *x);
/* The semantic version that follows the current token, which is '@' or '=': 0.2.0-draft. The
 * current token is then what follows the version. */
struct wcp_str wit_lex_version(struct wit_lexer *x);

/* For messages: 'text', or the end of the file. */
const char *wit_lex_found(struct wit_lexer *x);
bool wit_is_keyword(struct wcp_str word);

#endif

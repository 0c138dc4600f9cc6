/* parser.h: what the parser's two halves share: parse.c is about files, packages, worlds and
 * interfaces, parse_items.c about the types and functions in them. */
#ifndef WIT_PARSER_H
#define WIT_PARSER_H

#include "wit/lex.h"

struct parser {
    struct wit_lexer x;
    struct wit *w;
    struct wit_file *file;
    struct wit_package *package;
    struct wit_interface *scope; /* where names of types are looked up */
    unsigned depth;              /* of the type being parsed */
    bool alone;                  /* see wit_parse_type */
};

/* Each parse_… of a construct is called with its first token as the current one, or the one behind
 * what the name or comment says, and leaves the one behind its last. */

#define PARSE_NEW(p, T) ((T *)wcp_alloc(&(p)->w->arena, 1, sizeof(T)))

/* --- tokens --- */

bool parse_is(const struct parser *p, char c);
bool parse_is_keyword(const struct parser *p, const char *word);
_Noreturn void parse_unexpected(struct parser *p, const char *wanted);
bool parse_accept(struct parser *p, char c); /* true: it was there and is consumed */
void parse_expect(struct parser *p, char c);
bool parse_accept_keyword(struct parser *p, const char *word);
struct wcp_str parse_name(struct parser *p, const char *what);

/* --- names, gates, types, functions --- */

/* Ends with an error if n, the name or id of a function, is taken in scope but for case and
 * dashes. */
void parse_claim(struct parser *p, const void *scope, struct wcp_str n, struct wit_pos pos);
/* @since(…) and so on; NULL for none. What is wrong with them together is an error. */
const struct wit_gate *parse_gates(struct parser *p);
/* An item that cannot have an @external-id, or any gate at all. */
void parse_no_external_id(struct parser *p, const struct wit_gate *gate, const char *what);
void parse_no_gate(struct parser *p, const struct wit_gate *gate, const char *what);

struct wit_type *parse_type(struct parser *p);
/* A definition of a type, if the current token begins one. */
bool parse_definition(struct parser *p, struct wcp_str doc, const struct wit_gate *gate);
/* A new type with the scope's name t->name: its definition, or a use. */
void parse_define(struct parser *p, struct wit_type *t);
struct wit_type *parse_new_type(struct parser *p, enum wit_kind kind);
/* Does "func", "async func", "get(" or "set(" come next? */
bool parse_is_signature(const struct parser *p);
/* name: func(…); behind the colon. The caller puts it where it belongs. */
struct wit_func *parse_func(struct parser *p, struct wcp_str doc, const struct wit_gate *gate,
                            struct wcp_str name, struct wit_pos pos);
void parse_add_func(struct parser *p, struct wit_func *f); /* to the scope */

#endif

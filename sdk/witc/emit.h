/* emit.h: resolved WIT to C: names first (names.c), then a header and a source per interface. */
#ifndef WITC_EMIT_H
#define WITC_EMIT_H

#include "wit/types.h"
#include <wcp/map.h>

/* A type that gets a table, and maybe a struct, in one interface's files: a definition, an alias of
 * a composite type (whose name it then bears), or a composite type written in place. */
struct decl {
    struct decl *next;
    const struct wit_type *body; /* the definition, or what is behind the alias */
    const struct wit_type *def;  /* NULL if written in place */
    const char *key;             /* the same for the same type; NULL for a def */
    const char *c_name;
    bool is_public; /* its table is in the header */
};

/* One interface's output. */
struct unit {
    struct unit *next;
    struct wit_interface *i;
    struct decl *decls, **decls_end; /* each after what it needs */
};

struct emit {
    struct wit *w;
    struct wcp_map *taken;           /* every C name at file scope */
    struct unit *units, **units_end; /* each after what it uses */
    bool world_id; /* functions directly in a world are called by the world's id */
};

/* Marks the interfaces that the worlds of the first package import and export, or all of it if it
 * has no world, and what those need; makes interfaces of functions directly in worlds. Ends by
 * wit_fail for what wRPC cannot carry. */
void select_all(struct wit *w);

/* Names everything that the needed interfaces will define. */
void emit_names(struct emit *e);

/* --- C spellings; results live in e->w->arena --- */

/* A definition, alias of a composite, primitive, or type written in place: t without other aliases.
 */
const struct wit_type *emit_strip(const struct wit_type *t);
bool emit_is_bytes(const struct wit_type *t);     /* list<u8> */
bool emit_is_handle(const struct wit_type *t);    /* own, borrow, or the name of a resource */
bool emit_is_composite(const struct wit_type *t); /* needs a table when written in place */
const char *emit_snake(struct emit *e, struct wcp_str name);  /* list_keys */
const char *emit_upper(struct emit *e, struct wcp_str name);  /* LIST_KEYS */
const char *emit_member(struct emit *e, struct wcp_str name); /* snake, but no keyword: delete_ */
const char *emit_case(struct emit *e, const struct wit_item *i);  /* in a variant's union */
const char *emit_param(struct emit *e, const struct wit_item *i); /* in a call struct */
/* The C type of t written in u, ready to be followed by a name: "const uint64_t *", "bool ". NULL
 * if t is NULL. */
const char *emit_type(struct emit *e, struct unit *u, const struct wit_type *t);
const char *emit_pointer(struct emit *e, const char *type); /* to a const one: "const bool *" */
/* "&wcp_u8"; "NULL" if t is NULL. */
const char *emit_table(struct emit *e, struct unit *u, const struct wit_type *t);
/* The C type of f's result, NULL if it has none, and its parts if it is a result<>. */
const char *emit_result_type(struct emit *e, struct unit *u, const struct wit_func *f);
const struct wit_type *emit_result(const struct wit_func *f); /* NULL if it is not a result<> */
const char *emit_arg(struct emit *e, const struct wit_item *param); /* its name in a caller */
/* Prototypes, without what ends them. */
const char *emit_prototype_ok(struct emit *e, struct unit *u, const struct wit_func *f);
const char *emit_prototype_err(struct emit *e, struct unit *u, const struct wit_func *f);
const char *emit_prototype_fail(struct emit *e, struct unit *u);
const char *emit_prototype_case(struct emit *e, struct unit *u, const struct decl *d,
                                const struct wit_item *i);
const char *emit_prototype_call(struct emit *e, struct unit *u, const struct wit_func *f);
/* The id of the interface, or of the world whose functions it holds. */
const char *emit_id(struct emit *e, const struct wit_interface *i);
#define emit_fmt(e, ...) (wcp_fmt(&(e)->w->arena, __VA_ARGS__).ptr)

/* --- output --- */

/* A line of code; one of more than 100 columns is broken at commas. */
void emit_line(struct wcp_buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void emit_gap(struct wcp_buf *out); /* an empty line */
void emit_comment(struct wcp_buf *out, unsigned indent, struct wcp_str text);

void emit_header(struct emit *e, struct unit *u, struct wcp_buf *out);
void emit_source(struct emit *e, struct unit *u, struct wcp_buf *out);

#endif

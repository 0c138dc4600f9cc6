/* types.h: what WIT texts say: packages, interfaces, functions and types, first as parsed and,
 * after resolve.h, with every name bound to what it means. */
#ifndef WIT_TYPES_H
#define WIT_TYPES_H

#include <setjmp.h>
#include <wcp/base.h>
#include <wcp/map.h>

/* Bounds on what an input may ask for, each with an error of its own. */
enum {
    WIT_MAX_DEPTH = 100,             /* of types in types, of uses and of includes */
    WIT_MAX_COUNT = 65535,           /* members of one type or function: wcp_type.count */
    WIT_MAX_FILE = 16 * 1024 * 1024, /* bytes of one file */
    WIT_MAX_LEVELS = 16,             /* of an index path to a stream or future: PATH_MAX_DEPTH */
};

struct wit_file {
    const char *name;
    struct wcp_str text;
    struct wit_rename *renames; /* "use path as name;" outside of interfaces */
};
struct wit_pos {
    const struct wit_file *file;
    size_t offset;
};

/* WIT name, C type, wcp_type. The constants are WIT_U8 and so on. */
#define WIT_PRIMITIVES(X)                                                                          \
    X(BOOL, "bool", "bool")                                                                        \
    X(U8, "u8", "uint8_t")                                                                         \
    X(U16, "u16", "uint16_t")                                                                      \
    X(U32, "u32", "uint32_t")                                                                      \
    X(U64, "u64", "uint64_t")                                                                      \
    X(S8, "s8", "int8_t")                                                                          \
    X(S16, "s16", "int16_t")                                                                       \
    X(S32, "s32", "int32_t")                                                                       \
    X(S64, "s64", "int64_t")                                                                       \
    X(F32, "f32", "float")                                                                         \
    X(F64, "f64", "double")                                                                        \
    X(CHAR, "char", "uint32_t")                                                                    \
    X(STRING, "string", "struct wcp_str")

enum wit_kind {
#define X(name, wit, c) WIT_##name,
    WIT_PRIMITIVES(X)
#undef X
        WIT_LIST, /* elem                                                       */
    WIT_OPTION,   /* elem                                                       */
    WIT_RESULT,   /* elem and err, each NULL for none                           */
    WIT_TUPLE,    /* items without names                                        */
    WIT_STREAM,   /* elem, NULL for none                                        */
    WIT_FUTURE,   /* elem, NULL for none                                        */
    WIT_OWN,      /* elem is the resource                                       */
    WIT_BORROW,   /* elem is the resource                                       */
    WIT_MAP,      /* elem is the key, err the value                             */
    WIT_ARRAY,    /* list<elem, count>                                          */
    WIT_ERROR_CONTEXT,
    WIT_NAME,   /* name as written; elem is the definition, once resolved     */
    WIT_RECORD, /* from here on definitions: they have a name and an owner    */
    WIT_VARIANT,
    WIT_ENUM,
    WIT_FLAGS,
    WIT_RESOURCE, /* its functions are among the owner's                        */
    WIT_ALIAS,    /* type name = elem                                           */
    WIT_USE,      /* use from.{name as ...}: elem is the definition elsewhere   */
};

/* @since(version = …) and so on; what was not written is empty. */
struct wit_gate {
    struct wit_pos pos;
    struct wcp_str since, feature, deprecated, external_id;
};

/* A field, case, flag, parameter or tuple member. */
struct wit_item {
    struct wit_item *next;
    struct wcp_str name, doc;
    struct wit_pos pos;
    struct wit_type *type; /* NULL for a case without payload, and for flags and enums */
};

struct wit_type {
    struct wit_type *next; /* definition of the same owner */
    enum wit_kind kind;
    struct wit_pos pos;
    struct wcp_str name, doc;
    const struct wit_gate *gate; /* of a definition or use, NULL for none */
    struct wit_interface *owner; /* of a definition; of a WIT_NAME: where to look it up */
    struct wit_type *elem, *err;
    struct wit_item *items;
    size_t count;               /* of items; of a WIT_ARRAY */
    struct wit_path *from;      /* of a WIT_USE; in a type alone, of a name that says it */
    struct wcp_str original;    /* of a WIT_USE: the name there */
    struct wit_type *next_name; /* list of every WIT_NAME */
    unsigned depth;             /* of types in it, at least 1 once checked */
    bool checking;
    bool async;             /* holds a stream or a future, at any depth */
    bool borrows;           /* holds a borrow<>, at any depth */
    unsigned levels;        /* of the longest index path to a stream or future in it (codec.h) */
    bool excluded;          /* by a gate: only others that are excluded refer to it */
    struct wit_type *clone; /* of a definition, while its world is included: the new one */
    size_t number;          /* filled in by json.c: 1 + its place in the list of types */
    /* Filled in by witc: what its struct, constants and table are named after. */
    const char *c_name;
    /* Filled in by tables.c: its table and the alignment of its C form. */
    const struct wcp_type *table;
    uint32_t align;
};

enum wit_func_kind { WIT_FREE, WIT_CONSTRUCTOR, WIT_METHOD, WIT_STATIC };
enum wit_accessor { WIT_NO_ACCESSOR, WIT_GET, WIT_SET };
struct wit_func {
    struct wit_func *next;
    enum wit_func_kind kind;
    enum wit_accessor accessor; /* of a property: name: get() -> T; */
    bool async;                 /* as written: every call may take its time anyway */
    struct wcp_str name, doc;   /* of a constructor: the resource's */
    struct wit_pos pos;
    const struct wit_gate *gate;
    struct wit_interface *owner;
    struct wit_type *resource; /* NULL for a free function */
    struct wcp_str wire;       /* "get", "counter", "counter.incr" */
    struct wcp_str id;         /* the same with its kind: "[method]counter.incr" */
    struct wit_item *params;   /* a method's first is self */
    size_t count;
    struct wit_type *result; /* NULL for none */
    /* Filled in by witc. */
    const char *c_name, *c_member;
    const char *c_result; /* the struct of a result<> that is not a named type */
};

/* A reference to an interface or a world. */
struct wit_path {
    struct wit_path *next;      /* list of those that name a package */
    struct wit_path *next_here; /* the same, of those in scope */
    struct wit_pos pos;
    struct wcp_str ns, package, version; /* ns is empty for the same package */
    struct wcp_str name;
    struct wit_package *scope; /* where it was written */
};
struct wit_rename { /* "use path as name;", and "a as b" of an include */
    struct wit_rename *next, *next_use;
    struct wcp_str name, as;
    struct wit_pos pos;
    struct wit_path *path;           /* of a use */
    struct wit_interface *interface; /* of a use of no types */
    bool found;                      /* in the included world */
};

struct wit_interface {
    struct wit_interface *next;
    struct wcp_str name, doc;
    struct wit_pos pos;
    const struct wit_gate *gate;
    struct wit_package *package;
    bool is_inline;                 /* written inside a world: no id of its own on the wire */
    bool is_world;                  /* holds a world's own types and functions, is no interface */
    bool excluded;                  /* by a gate */
    struct wit_interface *clone_of; /* the inline interface of an included world */
    struct wit_type *types, **types_end;
    struct wit_func *funcs, **funcs_end;
    struct wit_rename *empty_uses; /* use path.{}; */
    unsigned depth;                /* of uses */
    bool checking;
    size_t number; /* filled in by json.c: its place in the list of interfaces */
    /* Filled in by witc. */
    bool imported, exported, needed;
    const char *c_name;             /* prefix of everything: keyvalue_store */
    const char *c_fail;             /* the one function to reply with an error, if there is one */
    struct wit_interface *types_in; /* of a world's imported functions: where their types are */
};

/* As written. */
struct wit_world_item {
    struct wit_world_item *next;
    enum { WIT_IMPORT, WIT_EXPORT, WIT_INCLUDE } kind;
    struct wit_pos pos;
    struct wcp_str doc, label; /* label: import label: path; */
    const struct wit_gate *gate;
    struct wit_path *path;           /* NULL for what is written in the world itself */
    struct wit_interface *interface; /* bound by resolve; NULL for a function and an include */
    struct wit_world *world;         /* of an include */
    struct wit_func *func;           /* a function directly in the world */
    struct wit_rename *renames;      /* of an include */
};
/* What a world imports or exports once its includes are copied into it. */
struct wit_extern {
    struct wit_extern *next;
    struct wcp_str name; /* of a function its id; empty for an interface that goes by its own id */
    struct wit_pos pos;
    struct wcp_str doc;
    const struct wit_gate *gate;
    /* One of these. */
    struct wit_interface *interface;
    struct wit_func *func;
    struct wit_type *type; /* a world's own: always among the imports */
    bool implied;          /* an interface that is there because others use its types */
};
struct wit_externs {
    struct wit_extern *first, **end;
};
struct wit_world {
    struct wit_world *next;
    struct wcp_str name, doc;
    struct wit_pos pos;
    const struct wit_gate *gate;
    struct wit_package *package;
    struct wit_interface *scope; /* its own types, and the functions of its resources */
    struct wit_world_item *items, **items_end;
    struct wit_externs *imports, *exports; /* filled in by wit_resolve */
    unsigned depth;                        /* of includes */
    bool checking;
    bool excluded; /* by a gate */
    size_t number; /* filled in by json.c: its place in the list of worlds */
};

struct wit_package {
    struct wit_package *next;
    struct wcp_str ns, name, version; /* version is empty for none */
    struct wcp_str doc;
    struct wit_pos pos;
    struct wit_interface *interfaces, **interfaces_end;
    struct wit_world *worlds, **worlds_end;
    struct wit_path *paths, **paths_end; /* to other packages */
    unsigned depth;                      /* of packages that need each other */
    bool checking;
    size_t number; /* filled in by json.c */
};

/* One compilation; everything in it lives until wit_free. */
struct wit {
    struct wcp_arena arena;
    struct wit_package *packages, **packages_end; /* the first is the one to compile */
    struct wit_path *paths, **paths_end;          /* that name a package */
    struct wit_type *names, **names_end;          /* every WIT_NAME */
    struct wit_rename *uses;                      /* outside of interfaces; or of no type */
    struct wcp_map *scopes;                       /* see wit_name_add */
    struct wcp_buf scratch;
    /* Set by the caller before it loads: the features whose @unstable items are included. */
    const struct wcp_str *features;
    size_t feature_count;
    bool all_features;
    /* The first thing wrong; file is NULL if it has no place in a text. */
    struct {
        struct wit_pos pos;
        char msg[512];
    } error;
    jmp_buf bail;
};

void wit_init(struct wit *w);
/* Runs fn, which may end early by wit_fail: 0, or WCP_EINVAL and w->error. One level only. */
int wit_try(struct wit *w, void (*fn)(struct wit *w, void *arg), void *arg);
void wit_fail(struct wit *w, struct wit_pos pos, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* Names stand in a scope, which is any object. Add says false if the scope has the name already. */
bool wit_name_add(struct wit *w, const void *scope, struct wcp_str name, void *what);
void *wit_name_get(struct wit *w, const void *scope, struct wcp_str name); /* what, or NULL */
/* Component names must differ by more than case and dashes: max-size is MAXSIZE. Claim takes a
 * name, or the id of a function, in this sense; NULL, or what was claimed under that name before.
 */
const char *wit_name_claim(struct wit *w, const void *scope, struct wcp_str name);
/* The error as people read it: "file:line:col: error: …", the source line, a caret. */
void wit_error_print(const struct wit *w, struct wcp_buf *out);
void wit_free(struct wit *w);

/* Is the character of n bytes at p a control, or a mark that makes text run the other way? */
bool wit_is_invisible(const uint8_t *p, size_t n);

/* The type behind names, aliases and uses. */
const struct wit_type *wit_real(const struct wit_type *t);
/* Appends the type as WIT text; NULL is "_". */
void wit_print_type(const struct wit_type *t, struct wcp_buf *out);
/* Appends "get: func(key: string) -> u32", without a method's self. */
void wit_print_func(const struct wit_func *f, struct wcp_buf *out);
/* "wrpc:keyvalue/store@0.2.0-draft"; an inline interface is its name alone. NUL-terminated. */
struct wcp_str wit_interface_id(struct wit *w, const struct wit_interface *i);
/* "wrpc:keyvalue@0.2.0-draft" */
struct wcp_str wit_package_id(struct wit *w, const struct wit_package *p);
/* Fills in wire and id from the function's kind, name and resource. */
void wit_func_ids(struct wit *w, struct wit_func *f);
struct wcp_str wit_getter_of(struct wit *w, struct wcp_str setter); /* by id: [get]x for [set]x */
/* Why wRPC cannot carry values of this type, were all it is made of fit for it; else NULL. */
const char *wit_no_encoding(const struct wit_type *t);
bool wit_package_is(const struct wit_package *p, struct wcp_str ns, struct wcp_str name,
                    struct wcp_str version);

#endif

/* type.h: descriptions of WIT types. Generated code is tables of these; decode.c and encode.c read
 * them. */
#ifndef WCP_TYPE_H
#define WCP_TYPE_H

#include <wcp/base.h>

enum wcp_kind {           /* in C                                                    */
                WCP_BOOL, /* bool                                                    */
                WCP_U8,   /* uint8_t ...                                             */
                WCP_U16,
                WCP_U32,
                WCP_U64,
                WCP_S8, /* int8_t ...                                              */
                WCP_S16,
                WCP_S32,
                WCP_S64,
                WCP_F32,     /* float                                                   */
                WCP_F64,     /* double                                                  */
                WCP_CHAR,    /* uint32_t, a Unicode scalar value                        */
                WCP_STRING,  /* struct wcp_str                                          */
                WCP_LIST,    /* struct { const T *ptr; size_t len; }; wcp_bytes for u8  */
                WCP_OPTION,  /* const T *, NULL for none                                */
                WCP_RESULT,  /* struct { bool is_err; union { T ok; E err; }; }         */
                WCP_RECORD,  /* struct; tuples too                                      */
                WCP_VARIANT, /* struct { uint32_t tag; union { ... }; }                 */
                WCP_ENUM,    /* uint32_t                                                */
                WCP_FLAGS,   /* uint32_t up to 32 flags, uint64_t up to 64, above that
                                struct { uint8_t bits[(n + 7) / 8]; }: flag i is bit
                                i % 8 of byte i / 8                                     */
                WCP_HANDLE,  /* own and borrow: struct wcp_bytes, opaque                */
                WCP_STREAM,  /* union wcp_async (stream.h), elem the element type       */
                WCP_FUTURE,  /* union wcp_async, elem the type of the value or NULL     */
};

struct wcp_field {
    const char *name;
    const struct wcp_type *type; /* NULL for a case without payload */
    uint32_t offset;
};

struct wcp_type {
    uint8_t kind;
    bool async;     /* holds a stream or a future, at any depth */
    uint16_t count; /* fields, cases or flags */
    uint32_t size;  /* sizeof the C form */
    /* Members of a record, cases of a variant, { ok, err } of a result; NULL for enum and flags. */
    const struct wcp_field *fields;
    const struct wcp_type *elem; /* of a list, option, stream or future */
};

extern const struct wcp_type wcp_bool, wcp_u8, wcp_u16, wcp_u32, wcp_u64, wcp_s8, wcp_s16, wcp_s32,
    wcp_s64, wcp_f32, wcp_f64, wcp_char, wcp_string, wcp_list_u8, wcp_handle;

/* Read one value of type t from *in into out (t->size bytes), and move *in past it. Strings and
 * byte lists point into the input; everything else that needs room comes from a. WCP_EMORE: the
 * value is longer than the input; WCP_EPROTO: it is no such value; WCP_ETOOBIG: it does not fit in
 * the arena's limit. On failure *in and out are unspecified. t must not be async. */
int wcp_decode(const struct wcp_type *t, struct wcp_bytes *in, void *out, struct wcp_arena *a,
               struct wcp_err *err);

/* Append value to b. Cannot fail: the C type says what is valid. t must not be async. */
void wcp_encode(const struct wcp_type *t, const void *value, struct wcp_buf *b);

#endif

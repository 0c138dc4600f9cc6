/* print.c: values to WAVE text. */
#include "wave/wave.h"
#include "base/str.h"
#include "wit/types.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As LOAD in encode.c. */
#define LOAD(T) (*(T *)memcpy(&(T){0}, value, sizeof(T)))

static void print(struct wave_writer *w, const struct wcp_type *t, const char *value,
                  struct wcp_buf *out);

static void put(struct wcp_buf *out, const char *text)
{
    wcp_buf_put(out, text, strlen(text));
}

/* The fewest digits that are read back as v, and no exponent: as others print WAVE. */
static void put_float(struct wcp_buf *out, double v, bool single)
{
    char text[40], digits[20];
    if (isnan(v) || isinf(v)) {
        put(out, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    for (int n = 0; n < 17; n++) { /* d.ddde-xx with n digits behind the point */
        (void)snprintf(text, sizeof text, "%.*e", n, v);
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
            break;
    }
    const char *e = strchr(text, 'e'), *p = text;
    long before = strtol(e + 1, NULL, 10) + 1; /* digits before the point; may be negative */
    size_t n = 0;
    for (; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (signbit(v))
        put(out, "-");
    if (v == 0)
        before = 1;
    if (before <= 0) {
        put(out, "0.");
        for (; before < 0; before++)
            put(out, "0");
        wcp_buf_put(out, digits, n);
        return;
    }
    for (size_t i = 0; i < n || i < (size_t)before; i++) {
        if (i == (size_t)before)
            put(out, ".");
        wcp_buf_put(out, i < n ? &digits[i] : "0", 1);
    }
}

/* n bytes that are one character; n 0: a byte that is none. */
static void put_char(struct wcp_buf *out, const uint8_t *p, size_t n)
{
    static const char plain[] = "\\\"'\t\r\n", escaped[] = "\\\"'trn";
    const char *k = n == 1 && *p ? strchr(plain, *p) : NULL;
    if (!n) {
        wcp_buf_fmt(out, "\\x%02x", *p);
    } else if (k) {
        wcp_buf_fmt(out, "\\%c", escaped[k - plain]);
    } else if (wit_is_invisible(p, n)) {
        uint32_t c = 0;
        struct wcp_bytes in = {p, n};
        (void)wcp_decode(&wcp_char, &in, &c, NULL, NULL); /* it is one */
        wcp_buf_fmt(out, "\\u{%x}", c);
    } else {
        wcp_buf_put(out, p, n);
    }
}

static void put_string(struct wcp_buf *out, struct list_layout l)
{
    const uint8_t *p = l.ptr;
    put(out, "\"");
    for (size_t i = 0, n; i < l.len; i += n ? n : 1) {
        n = utf8_next(p + i, l.len - i);
        put_char(out, p + i, n);
    }
    put(out, "\"");
}

static void put_scalar(struct wcp_buf *out, uint32_t c)
{
    struct wcp_buf b = {0};
    wcp_encode(&wcp_char, &c, &b); /* a char is UTF-8 on the wire */
    put(out, "'");
    put_char(out, b.ptr, b.len);
    put(out, "'");
    wcp_buf_free(&b);
}

/* "pending" would be read as what a future can be. */
static void put_case(struct wcp_buf *out, const char *name)
{
    bool escape = wave_is_keyword(wcp_str(name)) || strcmp(name, "pending") == 0;
    wcp_buf_fmt(out, "%s%s", escape ? "%" : "", name);
}

/* As encode_at in encode.c. */
static void print_at(struct wave_writer *w, const struct wcp_type *t, size_t index,
                     const char *value, struct wcp_buf *out)
{
    if (t->async) {
        assert(w->path.n < PATH_MAX_DEPTH);
        w->path.at[w->path.n++] = (uint32_t)index;
    }
    print(w, t, value, out);
    w->path.n -= t->async;
}

static void print_list(struct wave_writer *w, const struct wcp_type *elem, struct list_layout l,
                       struct wcp_buf *out)
{
    put(out, "[");
    for (size_t i = 0; i < l.len; i++) {
        put(out, i ? ", " : "");
        print_at(w, elem, i, (const char *)l.ptr + i * elem->size, out);
    }
    put(out, "]");
}

static void print_record(struct wave_writer *w, const struct wcp_type *t, const char *value,
                         struct wcp_buf *out)
{
    bool tuple = wave_is_tuple(t), any = false;
    put(out, tuple ? "(" : "{");
    for (unsigned i = 0; i < t->count; i++) {
        const struct wcp_field *f = &t->fields[i];
        const void *some = NULL;
        if (f->type->kind == WCP_OPTION)
            memcpy(&some, value + f->offset, sizeof some);
        if (!tuple && f->type->kind == WCP_OPTION && !some)
            continue;
        put(out, any ? ", " : "");
        if (!tuple)
            wcp_buf_fmt(out, "%s: ", f->name);
        print_at(w, f->type, i, value + f->offset, out);
        any = true;
    }
    put(out, tuple ? ")" : any ? "}" : ":}");
}

static void print_payload(struct wave_writer *w, const struct wcp_type *t, const char *value,
                          struct wcp_buf *out)
{
    if (!t)
        return;
    put(out, "(");
    print(w, t, value, out);
    put(out, ")");
}

static void print_flags(const struct wcp_type *t, const char *value, struct wcp_buf *out)
{
    bool any = false;
    put(out, "{");
    for (unsigned i = 0; i < t->count; i++) {
        uint64_t bits = t->count <= 32   ? LOAD(uint32_t) >> i
                        : t->count <= 64 ? LOAD(uint64_t) >> i
                                         : (uint64_t)(uint8_t)value[i / 8] >> i % 8;
        if (!(bits & 1))
            continue;
        wcp_buf_fmt(out, "%s%s", any ? ", " : "", t->fields[i].name);
        any = true;
    }
    put(out, "}");
}

static void print_async(struct wave_writer *w, const struct wcp_type *t, union wcp_async made,
                        struct wcp_buf *out)
{
    if (w->async) {
        w->async(w, t, made, out);
        return;
    }
    const struct wave_async *a = (const struct wave_async *)made.in;
    struct list_layout l = {a->items, a->n};
    if (a->kind == WAVE_PENDING) {
        put(out, "pending");
    } else if (a->kind == WAVE_FILE) {
        put(out, "@");
        put_string(out, (struct list_layout){a->file, strlen(a->file)});
    } else if (t->kind == WCP_FUTURE && t->elem) {
        print(w, t->elem, a->items, out);
    } else if (t->kind == WCP_FUTURE) {
        put(out, "()");
    } else if (t->elem->kind == WCP_U8 && w->text) {
        put_string(out, l);
    } else {
        print_list(w, t->elem, l, out);
    }
}

static void print(struct wave_writer *w, const struct wcp_type *t, const char *value,
                  struct wcp_buf *out)
{
    const struct wcp_field *f;
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL: put(out, LOAD(bool) ? "true" : "false"); return;
    case WCP_U8: wcp_buf_fmt(out, "%u", LOAD(uint8_t)); return;
    case WCP_U16: wcp_buf_fmt(out, "%u", LOAD(uint16_t)); return;
    case WCP_U32: wcp_buf_fmt(out, "%u", LOAD(uint32_t)); return;
    case WCP_U64: wcp_buf_fmt(out, "%llu", (unsigned long long)LOAD(uint64_t)); return;
    case WCP_S8: wcp_buf_fmt(out, "%d", LOAD(int8_t)); return;
    case WCP_S16: wcp_buf_fmt(out, "%d", LOAD(int16_t)); return;
    case WCP_S32: wcp_buf_fmt(out, "%d", LOAD(int32_t)); return;
    case WCP_S64: wcp_buf_fmt(out, "%lld", (long long)LOAD(int64_t)); return;
    case WCP_F32: put_float(out, (double)LOAD(float), true); return;
    case WCP_F64: put_float(out, LOAD(double), false); return;
    case WCP_CHAR: put_scalar(out, LOAD(uint32_t)); return;
    case WCP_STRING: put_string(out, LOAD(struct list_layout)); return;
    case WCP_HANDLE: {
        struct wcp_bytes b = LOAD(struct wcp_bytes);
        put(out, "handle(\"");
        for (size_t i = 0; i < b.len; i++)
            wcp_buf_fmt(out, "%02x", b.ptr[i]);
        put(out, "\")");
        return;
    }
    case WCP_LIST:
        if (t->elem->kind == WCP_U8 && w->text)
            put_string(out, LOAD(struct list_layout));
        else
            print_list(w, t->elem, LOAD(struct list_layout), out);
        return;
    case WCP_OPTION: {
        /* cppcheck-suppress pointerSize ; the value is a pointer */
        const char *some = LOAD(const char *);
        put(out, some ? "some" : "none");
        print_payload(w, some ? t->elem : NULL, some, out);
        return;
    }
    case WCP_RESULT:
        f = &t->fields[LOAD(bool)];
        put(out, f->name);
        print_payload(w, f->type, value + f->offset, out);
        return;
    case WCP_RECORD: print_record(w, t, value, out); return;
    case WCP_VARIANT:
        f = &t->fields[LOAD(uint32_t)];
        put_case(out, f->name);
        print_payload(w, f->type, value + f->offset, out);
        return;
    case WCP_ENUM: put_case(out, t->fields[LOAD(uint32_t)].name); return;
    case WCP_FLAGS: print_flags(t, value, out); return;
    case WCP_STREAM:
    case WCP_FUTURE: print_async(w, t, LOAD(union wcp_async), out); return;
    }
    abort(); /* a type table with an unknown kind */
}

void wave_print(struct wave_writer *w, const struct wcp_type *t, const void *value,
                struct wcp_buf *out)
{
    print(w, t, value, out);
}

/* parse.c: WAVE text to values: one function per kind of type, recursive over the type, which is a
 * finite tree. */
#include "wave/wave.h"
#include "base/str.h"
#include "wave/lex.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where in the value we are, for messages. */
struct place {
    const struct place *up;
    const char *name; /* NULL: a number */
    size_t index;
};

struct parser {
    struct wave_lexer x;
    const struct wave_reader *r;
    const struct place *place;
    struct wave_error *err;
};

/* As STORE in decode.c. */
#define STORE(T, v) memcpy(out, &(T){(T)(v)}, sizeof(T))

static int value(struct parser *p, const struct wcp_type *t, char *out);

/* --- errors --- */

static void put_place(const struct place *place, struct wcp_buf *b)
{
    if (!place)
        return;
    put_place(place->up, b);
    if (place->name)
        wcp_buf_fmt(b, "%s%s", b->len ? "." : "", place->name);
    else
        wcp_buf_fmt(b, "[%zu]", place->index);
}

__attribute__((format(printf, 3, 4))) static int fail(struct parser *p, size_t at, const char *fmt,
                                                      ...)
{
    struct wcp_buf place = {0};
    char what[200];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    put_place(p->place, &place);
    p->err->at = at;
    int n = place.len > 50 ? 50 : (int)place.len;
    (void)snprintf(p->err->msg, sizeof p->err->msg, "%.*s%s%s", n, (const char *)place.ptr,
                   n ? ": " : "", what);
    wcp_buf_free(&place);
    return WCP_EINVAL;
}

static int expected(struct parser *p, const char *what)
{
    char found[64];
    return fail(p, p->x.at, "expected %s, found %s", what, wave_found(&p->x, found));
}

static int expect(struct parser *p, char c)
{
    char what[] = {'\'', c, '\'', '\0'};
    wave_skip(&p->x);
    return wave_accept(&p->x, c) ? 0 : expected(p, what);
}

/* "expected one of a, b, c", as many as fit. */
static int expected_name(struct parser *p, const char *what, const struct wcp_type *t)
{
    char text[120];
    size_t n = 0;
    for (unsigned i = 0; i < t->count; i++) {
        const char *name = t->fields[i].name;
        if (n + strlen(name) + 8 > sizeof text) {
            (void)snprintf(text + n, sizeof text - n, i ? ", ..." : "...");
            break;
        }
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s", i ? ", " : "",
                              wave_is_keyword(wcp_str(name)) && t->kind != WCP_RECORD ? "%" : "",
                              name);
    }
    char whole[160];
    (void)snprintf(whole, sizeof whole, "%s%s", what, text);
    return expected(p, whole);
}

/* --- what is shared --- */

static const char *const keywords[] = {"true", "false", "some", "none", "ok", "err", "inf", "nan"};

bool wave_is_keyword(struct wcp_str word)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (wcp_str_eq(word, wcp_str(keywords[i])))
            return true;
    return false;
}

bool wave_is_tuple(const struct wcp_type *t)
{
    return t->kind == WCP_RECORD && t->count && *t->fields->name >= '0' && *t->fields->name <= '9';
}

/* The next token is this keyword or word: it is taken. */
static bool accept_word(struct parser *p, const char *word)
{
    wave_skip(&p->x);
    struct wcp_str s = wave_label(&p->x);
    bool yes = wcp_str_eq(s, wcp_str(word));
    if (yes)
        p->x.at += s.len;
    return yes;
}

/* The next label if it is the name of a member of t, which is taken; -1: it is not. */
static int accept_name(struct parser *p, const struct wcp_type *t, bool keywords_too)
{
    wave_skip(&p->x);
    struct wcp_str s = wave_label(&p->x);
    size_t n = s.len;
    if (n && *s.ptr == '%')
        s = (struct wcp_str){s.ptr + 1, s.len - 1};
    else if (!keywords_too && wave_is_keyword(s))
        return -1;
    for (unsigned i = 0; n && i < t->count; i++)
        if (wcp_str_eq(s, wcp_str(t->fields[i].name))) {
            p->x.at += n;
            return (int)i;
        }
    return -1;
}

/* Behind an element: true if another follows, else end has been taken. */
static int next_element(struct parser *p, char end, bool *more)
{
    char what[] = {'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', end, '\'', '\0'};
    wave_skip(&p->x);
    bool comma = wave_accept(&p->x, ',');
    wave_skip(&p->x);
    *more = !wave_accept(&p->x, end);
    return *more && !comma ? expected(p, what) : 0;
}

static int member(struct parser *p, const struct wcp_field *f, char *out)
{
    struct place here = {.up = p->place, .name = f->name};
    p->place = &here; /* cppcheck-suppress autoVariables ; until the value has been read */
    int rc = value(p, f->type, out + f->offset);
    p->place = here.up;
    return rc;
}

/* ( value ) behind the name of a case, if it has one. */
static int payload(struct parser *p, const struct wcp_field *f, char *out)
{
    if (!f->type) {
        char found[64];
        wave_skip(&p->x);
        return wave_peek(&p->x) != '(' ? 0
                                       : fail(p, p->x.at, "'%s' has no value, found %s", f->name,
                                              wave_found(&p->x, found));
    }
    int rc = expect(p, '(');
    if (rc == 0)
        rc = member(p, f, out);
    return rc ? rc : expect(p, ')');
}

/* --- numbers, characters, strings --- */

static int integer(struct parser *p, const struct wcp_type *t, char *out)
{
    bool is_signed = t->kind >= WCP_S8 && t->kind <= WCP_S64;
    unsigned bits = 8 * t->size - is_signed;
    uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1, v = 0;
    struct wcp_str s = wave_number(&p->x);
    bool negative = s.len && *s.ptr == '-', good = s.len && (is_signed || !negative);
    for (size_t i = negative; good && i < s.len; i++) {
        unsigned digit = (unsigned)s.ptr[i] - '0';
        good = digit < 10 && v <= (UINT64_MAX - digit) / 10;
        v = v * 10 + digit;
    }
    if (!good || v > most + negative) {
        char what[80];
        (void)snprintf(what, sizeof what,
                       is_signed ? "an integer from -%llu to %llu" : "an integer from %llu to %llu",
                       is_signed ? (unsigned long long)most + 1 : 0, (unsigned long long)most);
        return expected(p, what);
    }
    if (negative)
        v = 0 - v;
    switch (t->size) {
    case 1: STORE(uint8_t, v); break;
    case 2: STORE(uint16_t, v); break;
    case 4: STORE(uint32_t, v); break;
    default: STORE(uint64_t, v); break;
    }
    p->x.at += s.len;
    return 0;
}

/* A number, nan, inf or -inf; empty: none begins here. */
static struct wcp_str float_token(const struct wave_lexer *x)
{
    struct wcp_str s = wave_number(x);
    if (s.len)
        return s;
    struct wave_lexer behind = *x;
    bool minus = wave_accept(&behind, '-');
    s = wave_label(&behind);
    if (wcp_str_eq(s, WCP_STR("inf")) || (!minus && wcp_str_eq(s, WCP_STR("nan"))))
        return (struct wcp_str){s.ptr - minus, s.len + minus};
    return (struct wcp_str){0};
}

static int floating(struct parser *p, const struct wcp_type *t, char *out)
{
    struct wcp_str s = float_token(&p->x);
    if (!s.len)
        return expected(p, "a number, nan, inf or -inf");
    char *copy = wcp_str_dup(s), *end = copy;
    if (t->kind == WCP_F32)
        STORE(float, strtof(copy, &end));
    else
        STORE(double, strtod(copy, &end));
    assert(*end == '\0'); /* the token is a number for C too */
    free(copy);
    p->x.at += s.len;
    return 0;
}

static int character(struct parser *p, char *out)
{
    uint32_t c = 0;
    if (wave_peek(&p->x) != '\'')
        return expected(p, "a character like 'x'");
    const char *wrong = wave_char(&p->x, &c);
    STORE(uint32_t, c);
    return wrong ? fail(p, p->x.at, "%s", wrong) : 0;
}

/* A string, into the arena. */
static int string(struct parser *p, bool bytes, char *out)
{
    struct wcp_buf b = {0};
    if (wave_peek(&p->x) != '"')
        return expected(p, "a string like \"x\"");
    const char *wrong = wave_string(&p->x, bytes, &b);
    if (!wrong) {
        uint8_t *copy = wcp_alloc(p->r->arena, b.len + 1, 1);
        if (b.len)
            memcpy(copy, b.ptr, b.len);
        memcpy(out, &(struct wcp_bytes){copy, b.len}, sizeof(struct wcp_bytes));
    }
    wcp_buf_free(&b);
    return wrong ? fail(p, p->x.at, "%s", wrong) : 0;
}

/* handle("0a0b") */
static int handle(struct parser *p, char *out)
{
    struct wcp_bytes text = {0};
    if (!accept_word(p, "handle"))
        return expected(p, "a handle like handle(\"0a0b\")");
    int rc = expect(p, '(');
    wave_skip(&p->x);
    size_t start = p->x.at;
    if (rc || (rc = string(p, false, (char *)&text)) || (rc = expect(p, ')')))
        return rc;
    uint8_t *bytes = wcp_alloc(p->r->arena, text.len / 2 + 1, 1);
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.ptr[i];
        const char *digits = "0123456789abcdefABCDEF", *d = c ? strchr(digits, c) : NULL;
        if (!d || text.len % 2)
            return fail(p, start, "expected pairs of hexadecimal digits");
        long v = d - digits > 15 ? d - digits - 6 : d - digits;
        bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | v);
    }
    memcpy(out, &(struct wcp_bytes){bytes, text.len / 2}, sizeof(struct wcp_bytes));
    return 0;
}

/* --- lists, and what may be in files --- */

/* @FILE, @"FILE", or - for the standard input, if one begins here; else *name is NULL. */
static int file_name(struct parser *p, const char **name)
{
    struct wcp_bytes quoted = {0};
    struct wave_lexer behind = p->x;
    *name = NULL;
    if (!wave_number(&p->x).len && wave_accept(&behind, '-') && !wave_label(&behind).len) {
        p->x = behind;
        *name = "-";
        return 0;
    }
    if (!wave_accept(&p->x, '@'))
        return 0;
    if (wave_peek(&p->x) == '"') {
        int rc = string(p, false, (char *)&quoted);
        *name = (const char *)quoted.ptr;
        return rc;
    }
    const char *start = p->x.text.ptr + p->x.at;
    size_t n = 0, left = p->x.text.len - p->x.at;
    while (n < left && start[n] && !strchr(" \t\r\n,()[]{}", start[n]))
        n++;
    if (!n)
        return expected(p, "the name of a file");
    p->x.at += n;
    *name = wcp_fmt(p->r->arena, "%.*s", (int)n, start).ptr;
    return 0;
}

/* [value, value], up to and with the bracket, into the arena. */
static int elements(struct parser *p, const struct wcp_type *elem, struct list_layout *l)
{
    struct wcp_buf b = {0};
    struct place here = {.up = p->place};
    char *item = wcp_calloc(1, elem->size);
    bool more = true;
    int rc = expect(p, '[');
    p->place = &here; /* cppcheck-suppress autoVariables ; until the list has been read */
    wave_skip(&p->x);
    if (rc == 0)
        more = !wave_accept(&p->x, ']');
    for (; rc == 0 && more; here.index++) {
        memset(item, 0, elem->size);
        rc = value(p, elem, item);
        if (rc == 0)
            rc = next_element(p, ']', &more);
        wcp_buf_put(&b, item, elem->size);
    }
    if (rc == 0) {
        char *copy = wcp_alloc(p->r->arena, here.index ? here.index : 1, elem->size);
        if (b.len)
            memcpy(copy, b.ptr, b.len);
        *l = (struct list_layout){copy, here.index};
    }
    p->place = here.up;
    free(item);
    wcp_buf_free(&b);
    return rc;
}

/* The bytes of a file, a string, or a list. */
static int byte_list(struct parser *p, struct list_layout *l)
{
    struct wcp_bytes content = {0};
    struct wcp_err err = {0};
    const char *name;
    size_t at = p->x.at;
    int rc = file_name(p, &name);
    if (rc)
        return rc;
    if (name && !p->r->file)
        return fail(p, at, "a file cannot stand here");
    if (name && (rc = p->r->file(p->r->ctx, name, &content, &err)))
        return fail(p, at, "%s", err.msg);
    if (!name && wave_peek(&p->x) == '"')
        rc = string(p, true, (char *)&content);
    else if (!name && wave_peek(&p->x) == '[')
        return elements(p, &wcp_u8, l);
    else if (!name)
        return expected(p, "a list like [1, 2], a string or @FILE");
    *l = (struct list_layout){content.ptr, content.len};
    return rc;
}

static int list(struct parser *p, const struct wcp_type *t, char *out)
{
    struct list_layout l = {0};
    if (t->elem->kind != WCP_U8 && wave_peek(&p->x) != '[')
        return expected(p, "a list like [1, 2]");
    int rc = t->elem->kind == WCP_U8 ? byte_list(p, &l) : elements(p, t->elem, &l);
    memcpy(out, &l, sizeof l);
    return rc;
}

/* --- records, variants and the like --- */

static int tuple(struct parser *p, const struct wcp_type *t, char *out)
{
    bool more = true;
    int rc = expect(p, '(');
    for (unsigned i = 0; rc == 0 && i < t->count; i++) {
        if (!more)
            return fail(p, p->x.at - 1, "expected %u values, found %u", t->count, i);
        if ((rc = member(p, &t->fields[i], out)) == 0)
            rc = next_element(p, ')', &more);
    }
    return rc || !more ? rc : fail(p, p->x.at, "expected ')' after %u values", t->count);
}

static int record(struct parser *p, const struct wcp_type *t, char *out)
{
    bool *seen = wcp_alloc(p->r->arena, t->count, sizeof *seen), more = true;
    size_t start = p->x.at;
    int rc = expect(p, '{');
    wave_skip(&p->x);
    if (rc == 0 && wave_accept(&p->x, ':')) {
        more = false;
        rc = expect(p, '}');
    }
    while (rc == 0 && more) {
        wave_skip(&p->x);
        size_t at = p->x.at;
        int i = accept_name(p, t, true);
        if (i < 0)
            return expected_name(p, "a field: ", t);
        if (seen[i])
            return fail(p, at, "field '%s' comes twice", t->fields[i].name);
        seen[i] = true;
        if ((rc = expect(p, ':')) == 0 && (rc = member(p, &t->fields[i], out)) == 0)
            rc = next_element(p, '}', &more);
    }
    for (unsigned i = 0; rc == 0 && i < t->count; i++)
        if (!seen[i] && t->fields[i].type->kind != WCP_OPTION) /* which is NULL: none */
            return fail(p, start, "field '%s' is missing", t->fields[i].name);
    return rc;
}

static int variant(struct parser *p, const struct wcp_type *t, char *out)
{
    int i = accept_name(p, t, false);
    if (i < 0)
        return expected_name(p, "a case: ", t);
    STORE(uint32_t, i);
    return t->kind == WCP_ENUM ? 0 : payload(p, &t->fields[i], out);
}

static int flags(struct parser *p, const struct wcp_type *t, char *out)
{
    uint8_t *bits = wcp_alloc(p->r->arena, t->count / 8u + 8, 1);
    bool more = true;
    int rc = expect(p, '{');
    wave_skip(&p->x);
    if (rc == 0)
        more = !wave_accept(&p->x, '}');
    while (rc == 0 && more) {
        size_t at = p->x.at;
        int i = accept_name(p, t, true);
        if (i < 0)
            return expected_name(p, "a flag: ", t);
        if (bits[i / 8] >> i % 8 & 1)
            return fail(p, at, "flag '%s' comes twice", t->fields[i].name);
        bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << i % 8);
        rc = next_element(p, '}', &more);
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v |= (uint64_t)bits[i] << 8 * i;
    if (t->count <= 32)
        STORE(uint32_t, v);
    else if (t->count <= 64)
        STORE(uint64_t, v);
    else
        memcpy(out, bits, t->size);
    return rc;
}

/* May an option or result of t be written as the value alone? */
static bool is_flat(const struct wcp_type *t)
{
    return t && t->kind != WCP_OPTION && t->kind != WCP_RESULT;
}

static int option(struct parser *p, const struct wcp_type *t, char *out)
{
    char *some = NULL;
    int rc = 0;
    if (!accept_word(p, "none")) {
        bool named = accept_word(p, "some");
        if (!named && !is_flat(t->elem))
            return expected(p, "some(...) or none");
        some = wcp_alloc(p->r->arena, 1, t->elem->size);
        if (!named)
            rc = value(p, t->elem, some);
        else if ((rc = expect(p, '(')) == 0 && (rc = value(p, t->elem, some)) == 0)
            rc = expect(p, ')');
    }
    /* cppcheck-suppress pointerSize ; the value is a pointer */
    STORE(void *, some);
    return rc;
}

static int result(struct parser *p, const struct wcp_type *t, char *out)
{
    bool is_err = accept_word(p, "err");
    STORE(bool, is_err);
    if (is_err || accept_word(p, "ok"))
        return payload(p, &t->fields[is_err], out);
    if (!is_flat(t->fields[0].type))
        return expected(p, t->fields[0].type ? "ok(...) or err" : "ok or err");
    return member(p, &t->fields[0], out);
}

/* --- streams and futures --- */

static int async_values(struct parser *p, const struct wcp_type *t, struct wave_async *a)
{
    struct list_layout l = {0};
    int rc = 0;
    a->kind = WAVE_VALUES;
    if (t->kind == WCP_STREAM && t->elem->kind == WCP_U8 && wave_peek(&p->x) == '"') {
        rc = string(p, true, (char *)&l);
    } else if (t->kind == WCP_STREAM) {
        rc = wave_peek(&p->x) == '[' ? elements(p, t->elem, &l)
                                     : expected(p, "a stream: a list like [1, 2], @FILE or -");
    } else if (t->elem) {
        void *item = wcp_alloc(p->r->arena, 1, t->elem->size);
        rc = value(p, t->elem, item);
        l = (struct list_layout){item, 1};
    } else if ((rc = expect(p, '(')) == 0) {
        rc = expect(p, ')');
    }
    a->items = l.ptr;
    a->n = l.len;
    return rc;
}

static int async(struct parser *p, const struct wcp_type *t, char *out)
{
    struct wave_async a = {0}, *copy;
    struct wcp_err err = {0};
    union wcp_async made = {0};
    size_t at = p->x.at;
    int rc = file_name(p, &a.file);
    if (rc == 0 && a.file)
        a.kind = WAVE_FILE;
    else if (rc == 0 && !accept_word(p, "pending"))
        rc = async_values(p, t, &a);
    if (rc)
        return rc;
    if (p->r->async) {
        if (p->r->async(p->r->ctx, t, &a, &made, &err))
            return fail(p, at, "%s", err.msg);
    } else {
        copy = wcp_alloc(p->r->arena, 1, sizeof *copy);
        *copy = a;
        made.out = (struct wcp_out *)copy;
    }
    memcpy(out, &made, sizeof made);
    return 0;
}

static int value(struct parser *p, const struct wcp_type *t, char *out)
{
    wave_skip(&p->x);
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL: {
        bool yes = accept_word(p, "true");
        STORE(bool, yes);
        return yes || accept_word(p, "false") ? 0 : expected(p, "true or false");
    }
    case WCP_U8:
    case WCP_U16:
    case WCP_U32:
    case WCP_U64:
    case WCP_S8:
    case WCP_S16:
    case WCP_S32:
    case WCP_S64: return integer(p, t, out);
    case WCP_F32:
    case WCP_F64: return floating(p, t, out);
    case WCP_CHAR: return character(p, out);
    case WCP_STRING: return string(p, false, out);
    case WCP_LIST: return list(p, t, out);
    case WCP_OPTION: return option(p, t, out);
    case WCP_RESULT: return result(p, t, out);
    case WCP_RECORD: return wave_is_tuple(t) ? tuple(p, t, out) : record(p, t, out);
    case WCP_VARIANT:
    case WCP_ENUM: return variant(p, t, out);
    case WCP_FLAGS: return flags(p, t, out);
    case WCP_HANDLE: return handle(p, out);
    case WCP_STREAM:
    case WCP_FUTURE: return async(p, t, out);
    }
    abort(); /* a type table with an unknown kind */
}

int wave_parse(const struct wave_reader *r, const struct wcp_type *t, struct wcp_str text,
               void *out, struct wave_error *err)
{
    struct parser p = {.x = {.text = text}, .r = r, .err = err};
    size_t good = text.len ? utf8_span((const uint8_t *)text.ptr, text.len) : 0;
    if (good < text.len)
        return fail(&p, good, "byte 0x%02x is not UTF-8", (unsigned char)text.ptr[good]);
    memset(out, 0, t->size);
    int rc = value(&p, t, out);
    wave_skip(&p.x);
    return rc || p.x.at == text.len ? rc : expected(&p, "the end of the value");
}

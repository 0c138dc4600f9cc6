/* lex.c: WIT text to tokens. */
#include "wit/lex.h"
#include "wit/version.h"
#include "base/str.h"
#include <ctype.h>
#include <string.h>

static const char keywords[] =
    " _ as async bool borrow char constructor enum error-context export f32 f64 flags from "
    "func future import include interface list map option own package record resource result "
    "s16 s32 s64 s8 static stream string tuple type u16 u32 u64 u8 use variant with world ";

bool wit_is_keyword(struct wcp_str word)
{
    for (const char *k = keywords; (k = strchr(k, ' ')) && k[1];)
        if (strncmp(++k, word.ptr, word.len) == 0 && k[word.len] == ' ')
            return true;
    return false;
}

/* What is invisible, but for the two marks that only hint at a direction; and what Unicode advises
 * against. */
static bool is_forbidden(const uint8_t *p, size_t n)
{
    static const char *const advised_against[] = {"\u0149", "\u0673", "\u0f77", "\u0f79",
                                                  "\u17a3", "\u17a4", "\u17b4", "\u17b5"};
    for (size_t k = 0; k < sizeof advised_against / sizeof *advised_against; k++)
        if (n == strlen(advised_against[k]) && memcmp(p, advised_against[k], n) == 0)
            return true;
    return wit_is_invisible(p, n) && memcmp(p, "\u200e", n) != 0 && memcmp(p, "\u200f", n) != 0;
}

void wit_lex_start(struct wit_lexer *x, struct wit *w, const struct wit_file *file)
{
    *x = (struct wit_lexer){.w = w, .file = file};
    const unsigned char *p = (const unsigned char *)file->text.ptr;
    for (size_t i = 0, n; i < file->text.len; i += n) {
        struct wit_pos pos = {file, i};
        n = utf8_next(p + i, file->text.len - i);
        if (!n)
            wit_fail(w, pos, "byte 0x%02x is not UTF-8", p[i]);
        if (is_forbidden(p + i, n))
            wit_fail(w, pos,
                     "a character that is invisible, turns text around or is deprecated does not "
                     "belong in WIT text");
    }
    if (file->text.len >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        x->at = 3; /* a byte order mark */
    wit_lex_next(x);
}

static char peek(const struct wit_lexer *x, size_t ahead)
{
    if (x->at + ahead >= x->file->text.len)
        return '\0';
    return x->file->text.ptr[x->at + ahead];
}

static void doc_line(struct wit_lexer *x, const char *p, size_t n)
{
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    if (n && *p == ' ')
        p++, n--;
    if (x->w->scratch.len)
        wcp_buf_put(&x->w->scratch, "\n", 1);
    wcp_buf_put(&x->w->scratch, p, n);
}

static void line_comment(struct wit_lexer *x)
{
    size_t start = x->at;
    while (x->at < x->file->text.len && peek(x, 0) != '\n')
        x->at++;
    const char *p = x->file->text.ptr + start;
    size_t n = x->at - start;
    if (n >= 3 && p[2] == '/' && !(n >= 4 && p[3] == '/')) /* not a ruler of slashes */
        doc_line(x, p + 3, n - 3);
}

/* Block comments nest. */
static void block_comment(struct wit_lexer *x)
{
    struct wit_pos pos = {x->file, x->at};
    size_t start = x->at, depth = 0;
    do {
        if (x->at >= x->file->text.len)
            wit_fail(x->w, pos, "this comment is not closed by */");
        if (peek(x, 0) == '/' && peek(x, 1) == '*') {
            depth++;
            x->at += 2;
        } else if (peek(x, 0) == '*' && peek(x, 1) == '/') {
            depth--;
            x->at += 2;
        } else {
            x->at++;
        }
    } while (depth);
    const char *p = x->file->text.ptr + start, *end = x->file->text.ptr + x->at - 2;
    if (end - p < 4 || p[2] != '*')
        return;
    for (p += 3; p < end;) { /* by lines, each without its leading star */
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *stop = eol ? eol : end;
        while (p < stop && isspace((unsigned char)*p))
            p++;
        if (p < stop && *p == '*')
            p++;
        if (p < stop || x->w->scratch.len)
            doc_line(x, p, (size_t)(stop - p));
        p = stop + 1;
    }
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

static bool is_space(const struct wit_lexer *x)
{
    char c = peek(x, 0);
    return c == ' ' || c == '\t' || c == '\n' || (c == '\r' && peek(x, 1) == '\n');
}

static uint32_t hex(char c)
{
    return (uint32_t)(isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10);
}

static void put_utf8(struct wcp_buf *out, uint32_t c)
{
    uint8_t b[4] = {(uint8_t)(0xf0 | c >> 18), (uint8_t)(0x80 | (c >> 12 & 0x3f)),
                    (uint8_t)(0x80 | (c >> 6 & 0x3f)), (uint8_t)(0x80 | (c & 0x3f))};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1)
        b[3] = (uint8_t)c;
    else if (n < 4)
        b[4 - n] = (uint8_t)((n == 2 ? 0xc0 : 0xe0) | c >> 6 * (n - 1));
    wcp_buf_put(out, b + 4 - n, n);
}

/* What is behind a backslash: n t r " ' \ two hex digits of a byte, or u{hex digits}. */
static void escape(struct wit_lexer *x, struct wcp_buf *out)
{
    static const char plain[] = "nn\"\"tt''rr\\\\", meant[] = "\n\n\"\"\t\t''\r\r\\\\";
    struct wit_pos pos = {x->file, x->at - 1};
    char c = peek(x, 0);
    const char *p = c ? strchr(plain, c) : NULL;
    if (p) {
        x->at++;
        wcp_buf_put(out, &meant[p - plain], 1);
        return;
    }
    if (isxdigit((unsigned char)c) && isxdigit((unsigned char)peek(x, 1))) {
        uint8_t byte = (uint8_t)(hex(c) << 4 | hex(peek(x, 1)));
        x->at += 2;
        wcp_buf_put(out, &byte, 1);
        return;
    }
    uint32_t value = 0;
    size_t n = 2;
    if (c == 'u' && peek(x, 1) == '{')
        for (; value < 0x110000 && isxdigit((unsigned char)peek(x, n)); n++)
            value = value << 4 | hex(peek(x, n));
    if (n == 2 || peek(x, n) != '}' || value >= 0x110000 || value >> 11 == 0x1b)
        wit_fail(x->w, pos, "this is none of the escapes \\n \\t \\r \\\" \\' \\\\ \\41 \\u{41}");
    x->at += n + 1;
    put_utf8(out, value);
}

/* "text" */
static void quoted(struct wit_lexer *x)
{
    struct wcp_buf *out = &x->w->scratch;
    out->len = 0;
    for (x->at++; peek(x, 0) != '"';) {
        if (!peek(x, 0) || peek(x, 0) == '\n')
            wit_fail(x->w, x->pos, "this text is not closed by \"");
        if (peek(x, 0) == '\\') {
            x->at++;
            escape(x, out);
        } else {
            wcp_buf_put(out, x->file->text.ptr + x->at++, 1);
        }
    }
    x->at++;
    if (utf8_span(out->ptr, out->len) != out->len)
        wit_fail(x->w, x->pos, "the bytes of this text are not UTF-8");
    x->kind = WIT_TEXT;
    x->text = wcp_fmt(&x->w->arena, "%.*s", (int)out->len, out->len ? (const char *)out->ptr : "");
}

void wit_lex_next(struct wit_lexer *x)
{
    x->w->scratch.len = 0; /* collects the doc comments */
    for (;;) {
        while (is_space(x))
            x->at++;
        if (peek(x, 0) == '/' && peek(x, 1) == '/')
            line_comment(x);
        else if (peek(x, 0) == '/' && peek(x, 1) == '*')
            block_comment(x);
        else
            break;
    }
    x->doc = (struct wcp_str){0};
    if (x->w->scratch.len)
        x->doc =
            wcp_fmt(&x->w->arena, "%.*s", (int)x->w->scratch.len, (const char *)x->w->scratch.ptr);

    const char *text = x->file->text.ptr;
    x->pos = (struct wit_pos){x->file, x->at};
    x->escaped = peek(x, 0) == '%' && isalpha((unsigned char)peek(x, 1));
    if (x->escaped)
        x->at++;
    size_t start = x->at;
    if (x->at >= x->file->text.len) {
        x->kind = WIT_END;
    } else if (peek(x, 0) == '-' && peek(x, 1) == '>') {
        x->kind = WIT_ARROW;
        x->at += 2;
    } else if (peek(x, 0) == '"') {
        quoted(x);
        return;
    } else if (is_word(peek(x, 0))) {
        x->kind = WIT_WORD;
        while (is_word(peek(x, 0)) && !(peek(x, 0) == '-' && peek(x, 1) == '>'))
            x->at++;
    } else {
        x->kind = WIT_PUNCT;
        x->at += utf8_next((const unsigned char *)text + x->at, x->file->text.len - x->at);
    }
    x->text = (struct wcp_str){text + start, x->at - start};
}

struct wcp_str wit_lex_version(struct wit_lexer *x)
{
    while (is_space(x))
        x->at++;
    struct wit_pos pos = {x->file, x->at};
    size_t start = x->at;
    for (bool core = true; isalnum((unsigned char)peek(x, 0)) || strchr(".-+", peek(x, 0));
         x->at++) {
        char c = peek(x, 0), after = peek(x, 1);
        if (!c || (core && isalpha((unsigned char)c)) ||
            (c == '.' && !isalnum((unsigned char)after) && after != '-')) /* the dot of .{ */
            break;
        core &= c != '-' && c != '+';
    }
    struct wcp_str v = {x->file->text.ptr + start, x->at - start};
    if (!version_is_valid(v))
        wit_fail(x->w, pos, "expected a version like 0.2.0 or 0.2.0-draft");
    wit_lex_next(x);
    return v;
}

const char *wit_lex_found(struct wit_lexer *x)
{
    if (x->kind == WIT_END)
        return "the end of the file";
    int n = x->text.len > 64 ? 64 : (int)x->text.len;
    return wcp_fmt(&x->w->arena, "'%s%.*s%s'", x->escaped ? "%" : "", n, x->text.ptr,
                   x->text.len > 64 ? "..." : "")
        .ptr;
}

/* lex.c: the tokens of WAVE. */
#include "wave/lex.h"
#include "base/str.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <wcp/type.h>

static char ahead(const struct wave_lexer *x, size_t n)
{
    if (x->at + n < x->text.len)
        return x->text.ptr[x->at + n];
    return '\0';
}

void wave_skip(struct wave_lexer *x)
{
    for (;;) {
        while (x->at < x->text.len && strchr(" \t\r\n", ahead(x, 0)) && ahead(x, 0))
            x->at++;
        if (ahead(x, 0) != '/' || ahead(x, 1) != '/')
            return;
        while (x->at < x->text.len && ahead(x, 0) != '\n')
            x->at++;
    }
}

char wave_peek(const struct wave_lexer *x)
{
    return ahead(x, 0);
}

bool wave_accept(struct wave_lexer *x, char c)
{
    if (x->at == x->text.len || ahead(x, 0) != c)
        return false;
    x->at++;
    return true;
}

/* The end of a run of lower or of upper case letters, and digits, from n on. */
static size_t word_end(const struct wave_lexer *x, size_t n)
{
    while (isdigit((unsigned char)ahead(x, n)))
        n++;
    bool upper = isupper((unsigned char)ahead(x, n));
    for (unsigned char c; (c = (unsigned char)ahead(x, n)) != 0; n++)
        if (!isdigit(c) && !(upper ? isupper(c) : islower(c)))
            break;
    return n;
}

struct wcp_str wave_label(const struct wave_lexer *x)
{
    size_t n = ahead(x, 0) == '%';
    if (!isalpha((unsigned char)ahead(x, n)))
        return (struct wcp_str){0};
    n = word_end(x, n);
    while (ahead(x, n) == '-' && isalnum((unsigned char)ahead(x, n + 1)))
        n = word_end(x, n + 1);
    return (struct wcp_str){x->text.ptr + x->at, n};
}

static size_t digits_end(const struct wave_lexer *x, size_t n)
{
    while (isdigit((unsigned char)ahead(x, n)))
        n++;
    return n;
}

struct wcp_str wave_number(const struct wave_lexer *x)
{
    size_t n = ahead(x, 0) == '-', end;
    if (!isdigit((unsigned char)ahead(x, n)))
        return (struct wcp_str){0};
    n = ahead(x, n) == '0' ? n + 1 : digits_end(x, n);
    if (ahead(x, n) == '.' && (end = digits_end(x, n + 1)) > n + 1)
        n = end;
    if (ahead(x, n) == 'e' || ahead(x, n) == 'E') {
        size_t sign = ahead(x, n + 1) == '-' || ahead(x, n + 1) == '+';
        if ((end = digits_end(x, n + 1 + sign)) > n + 1 + sign)
            n = end;
    }
    return (struct wcp_str){x->text.ptr + x->at, n};
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c)                ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

static void put_char(struct wcp_buf *b, uint32_t c)
{
    wcp_encode(&wcp_char, &c, b); /* a char is UTF-8 on the wire */
}

/* \u{...} behind its \u */
static const char *escaped_char(struct wave_lexer *x, uint32_t *out)
{
    size_t n = 1, digits = 0;
    *out = 0;
    for (int v; ahead(x, 0) == '{' && (v = hex_digit(ahead(x, n))) >= 0; n++, digits++)
        *out = digits < 6 ? *out << 4 | (uint32_t)v : UINT32_MAX;
    if (!digits || digits > 6 || ahead(x, n) != '}' || *out > 0x10ffff ||
        (*out >= 0xd800 && *out < 0xe000))
        return "expected {, at most six hexadecimal digits of a character, and }";
    x->at += n + 1;
    return NULL;
}

/* An escape, behind its backslash. *byte: it is that byte, not a character. */
static const char *escape(struct wave_lexer *x, bool bytes, uint32_t *out, bool *byte)
{
    static const char names[] = "\\'\"tnr", values[] = "\\'\"\t\n\r";
    char c = ahead(x, 0);
    const char *k = c ? strchr(names, c) : NULL;
    *byte = false;
    if (k) {
        x->at++;
        *out = (uint32_t)values[k - names];
        return NULL;
    }
    if (c == 'u') {
        x->at++;
        return escaped_char(x, out);
    }
    if (c == 'x' && bytes) {
        int high = hex_digit(ahead(x, 1)), low = high < 0 ? -1 : hex_digit(ahead(x, 2));
        if (low < 0)
            return "expected two hexadecimal digits after \\x";
        x->at += 3;
        *out = (uint32_t)(high << 4 | low);
        *byte = true;
        return NULL;
    }
    return bytes ? "expected \\\\, \\', \\\", \\t, \\n, \\r, \\u{...} or \\xNN"
                 : "expected \\\\, \\', \\\", \\t, \\n, \\r or \\u{...}";
}

const char *wave_char(struct wave_lexer *x, uint32_t *out)
{
    bool byte;
    const uint8_t *p = (const uint8_t *)x->text.ptr;
    x->at++;
    if (wave_accept(x, '\\')) {
        const char *wrong = escape(x, false, out, &byte);
        if (wrong)
            return wrong;
    } else {
        char c = ahead(x, 0);
        if (c == '\'' || c == '\n' || x->at == x->text.len)
            return "expected a character";
        size_t n = utf8_next(p + x->at, x->text.len - x->at);
        struct wcp_bytes in = {p + x->at, n};
        if (wcp_decode(&wcp_char, &in, out, NULL, NULL)) /* cannot be: the text is UTF-8 */
            return "expected a character";
        x->at += n;
    }
    return wave_accept(x, '\'') ? NULL : "expected ' after one character";
}

/* The text up to end, which is x->text.len or where a line ends. */
static const char *string_part(struct wave_lexer *x, size_t end, bool bytes, struct wcp_buf *out)
{
    struct wave_lexer part = {{x->text.ptr, end}, x->at}; /* an escape ends within it */
    const char *wrong = NULL;
    while (!wrong && part.at < end) {
        if (!wave_accept(&part, '\\')) {
            wcp_buf_put(out, part.text.ptr + part.at++, 1);
            continue;
        }
        uint32_t c;
        bool byte;
        wrong = escape(&part, bytes, &c, &byte);
        if (!wrong && byte)
            wcp_buf_put(out, &(uint8_t){(uint8_t)c}, 1);
        else if (!wrong)
            put_char(out, c);
    }
    x->at = part.at;
    return wrong;
}

static size_t spaces(const struct wave_lexer *x, size_t at, size_t end)
{
    size_t n = 0;
    while (at + n < end && x->text.ptr[at + n] == ' ')
        n++;
    return n;
}

/* """, a line end, lines that begin with as many spaces as the last has, which holds only these and
 * """. */
static const char *multiline(struct wave_lexer *x, bool bytes, struct wcp_buf *out)
{
    size_t start = x->at + 3;
    const char *text = x->text.ptr, *close = NULL;
    for (size_t i = start; i + 3 <= x->text.len && !close; i++)
        if (memcmp(text + i, "\"\"\"", 3) == 0)
            close = text + i;
    if (!close)
        return "this text is not closed by \"\"\"";
    size_t end = (size_t)(close - text), last = end;
    while (last > start && text[last - 1] != '\n')
        last--;
    x->at = start;
    (void)wave_accept(x, '\r'); /* belongs to the line end */
    if (last == start || !wave_accept(x, '\n'))
        return "expected a line end after \"\"\"";
    size_t indent = end - last;
    if (spaces(x, last, end) < indent) {
        x->at = end;
        return "expected the closing \"\"\" to stand behind nothing but spaces";
    }
    for (bool first = true; x->at < last; first = false) {
        size_t eol = x->at;
        while (text[eol] != '\n')
            eol++;
        if (!first)
            wcp_buf_put(out, "\n", 1);
        if (spaces(x, x->at, eol) < indent)
            return "expected at least as many spaces as before the closing \"\"\"";
        x->at += indent;
        size_t stop = eol > x->at && text[eol - 1] == '\r' ? eol - 1 : eol;
        const char *wrong = string_part(x, stop, bytes, out);
        if (wrong)
            return wrong;
        x->at = eol + 1;
    }
    x->at = end + 3;
    return NULL;
}

const char *wave_string(struct wave_lexer *x, bool bytes, struct wcp_buf *out)
{
    if (ahead(x, 1) == '"' && ahead(x, 2) == '"')
        return multiline(x, bytes, out);
    size_t end = ++x->at;
    while (end < x->text.len && x->text.ptr[end] != '"' && x->text.ptr[end] != '\n')
        end += x->text.ptr[end] == '\\' && end + 1 < x->text.len ? 2 : 1;
    const char *wrong = string_part(x, end, bytes, out);
    if (wrong)
        return wrong;
    return wave_accept(x, '"') ? NULL : "expected \" at the end of the string";
}

const char *wave_found(const struct wave_lexer *x, char out[64])
{
    struct wcp_str s = wave_label(x);
    unsigned char c = (unsigned char)ahead(x, 0);
    if (!s.len)
        s = wave_number(x);
    if (x->at >= x->text.len)
        return "nothing";
    if (c < ' ' || c == 0x7f) {
        (void)snprintf(out, 64, "byte 0x%02x", c);
        return out;
    }
    if (!s.len)
        s = (struct wcp_str){x->text.ptr + x->at,
                             utf8_next((const uint8_t *)x->text.ptr + x->at, x->text.len - x->at)};
    (void)snprintf(out, 64, "'%.*s%s'", s.len > 40 ? 40 : (int)s.len, s.ptr,
                   s.len > 40 ? "..." : "");
    return out;
}

/* encode.c: wcp encode and wcp decode: values and their bytes on the wire (wrpc.md §1). A stream or
 * future is a struct wave_async: what is there goes inline. */
#include "cli/values.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void put_bytes(struct wcp_bytes b, bool raw)
{
    for (size_t i = 0; i < b.len && !raw; i++)
        printf("%02x", b.ptr[i]);
    if (raw && b.len)
        (void)fwrite(b.ptr, b.len, 1, stdout); /* main looks for errors */
    else
        printf("\n");
}

/* --- encode --- */

static int read_async(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                      union wcp_async *out, struct wcp_err *err)
{
    struct values *v = ctx;
    struct wave_async *copy = wcp_alloc(&v->arena, 1, sizeof *copy);
    *copy = *a;
    if (a->kind == WAVE_FILE) {
        struct wcp_bytes content;
        if (t->kind != WCP_STREAM || t->elem->kind != WCP_U8)
            return wcp_fail(err, WCP_EINVAL, "of streams, only one of u8 can be in a file here");
        int rc = values_file(v, a->file, &content, err);
        if (rc)
            return rc;
        *copy = (struct wave_async){.kind = WAVE_VALUES, .items = content.ptr, .n = content.len};
    }
    out->out = (struct wcp_out *)copy;
    return 0;
}

static void write_async(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    const struct wave_async *a = (const struct wave_async *)out;
    const struct list_layout l = {a->items, a->n};
    const struct wcp_type list = {
        .kind = WCP_LIST, .async = t->async, .size = sizeof l, .elem = t->elem};
    if (a->kind == WAVE_PENDING)
        wcp_buf_put(e->buf, "", 1);
    else if (t->kind == WCP_STREAM)
        codec_encode(e, &list, &l);
    else
        wcp_buf_put(e->buf, "\1", 1);
    if (a->kind == WAVE_VALUES && t->kind == WCP_FUTURE && t->elem)
        codec_encode(e, t->elem, a->items);
}

int cmd_encode(const struct options *o, struct wcp_err *err)
{
    struct values v;
    const struct wcp_type *t = NULL;
    void *value = NULL;
    struct wcp_buf b = {0};
    int rc = values_open(o, false, &v, err);
    if (rc == 0)
        rc = values_type(&v, o->operands[0], &t, err);
    if (rc == 0) {
        value = wcp_alloc(&v.arena, 1, t->size);
        rc = values_read(&v, "VALUE", t, o->operands[1], read_async, &v, value, err);
    }
    if (rc == 0) {
        struct encoder e = {.buf = &b, .on_async = write_async};
        codec_encode(&e, t, value);
        if (o->codec.cut_signed)
            codec_cut_signed(t, 1, b.ptr, b.len);
        put_bytes((struct wcp_bytes){b.ptr, b.len}, o->value[OPT_RAW] != NULL);
    }
    wcp_buf_free(&b);
    values_close(&v);
    return rc;
}

/* --- decode --- */

/* The bytes that the digits in text say; white space does not count. */
static int unhex(struct wcp_bytes text, struct wcp_buf *out, struct wcp_err *err)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    int high = -1;
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.ptr[i];
        const char *d = c ? strchr(digits, c) : NULL;
        if (isspace((unsigned char)c))
            continue;
        if (!d)
            return wcp_fail(err, WCP_EINVAL, "HEX: character %zu is '%c', expected 0-9 or a-f",
                            i + 1, c);
        int v = d - digits > 15 ? (int)(d - digits) - 6 : (int)(d - digits);
        if (high >= 0)
            wcp_buf_put(out, &(uint8_t){(uint8_t)(high << 4 | v)}, 1);
        high = high >= 0 ? -1 : v;
    }
    return high >= 0 ? wcp_fail(err, WCP_EINVAL, "HEX: an odd number of digits") : 0;
}

/* The operand's bytes: digits, or a file with them or, with --raw, with the bytes themselves. */
static int read_bytes(const struct options *o, struct values *v, struct wcp_buf *out,
                      struct wcp_err *err)
{
    const char *text = o->operands[1];
    struct wcp_bytes content = {(const uint8_t *)text, strlen(text)};
    bool is_stdin = strcmp(text, "-") == 0, is_file = is_stdin || *text == '@';
    if (is_file) {
        int rc = values_file(v, is_stdin ? "-" : text + 1, &content, err);
        if (rc)
            return rc;
    } else if (o->value[OPT_RAW]) {
        return wcp_fail(err, WCP_EINVAL, "HEX: with --raw, - or @FILE expected");
    }
    if (!o->value[OPT_RAW])
        return unhex(content, out, err);
    wcp_buf_put(out, content.ptr, content.len);
    return 0;
}

static struct wcp_in *keep_async(struct decoder *d, const struct wcp_type *t, bool pending,
                                 const void *items, size_t n)
{
    struct wave_async *a = wcp_alloc(d->arena, 1, sizeof *a);
    *a = (struct wave_async){.kind = pending ? WAVE_PENDING : WAVE_VALUES, .items = items, .n = n};
    return (struct wcp_in *)a;
}

int cmd_decode(const struct options *o, struct wcp_err *err)
{
    struct values v;
    const struct wcp_type *t = NULL;
    struct wcp_buf in = {0}, out = {0};
    int rc = values_open(o, false, &v, err);
    if (rc == 0)
        rc = values_type(&v, o->operands[0], &t, err);
    if (rc == 0)
        rc = read_bytes(o, &v, &in, err);
    if (rc == 0) {
        struct decoder d = {.in = {in.ptr, in.len},
                            .arena = &v.arena,
                            .err = err,
                            .padded_flags = o->codec.padded_flags,
                            .on_async = keep_async};
        struct wave_writer w = {.text = o->value[OPT_TEXT] != NULL};
        void *value = wcp_alloc(&v.arena, 1, t->size);
        rc = codec_decode(&d, t, value);
        if (rc)
            rc = wcp_wrap(err, "byte %zu", (size_t)(d.item - in.ptr));
        else if (d.in.len)
            rc = wcp_fail(err, WCP_EPROTO, "byte %zu: the value ends here, %zu byte%s left",
                          in.len - d.in.len, d.in.len, d.in.len == 1 ? " is" : "s are");
        else
            wave_print(&w, t, value, &out);
    }
    if (rc == 0)
        printf("%.*s\n", (int)out.len, (const char *)out.ptr);
    wcp_buf_free(&in);
    wcp_buf_free(&out);
    values_close(&v);
    return rc;
}

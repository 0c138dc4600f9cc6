/* test_vectors.c: the codec against bytes from the real Rust encoders and decoders (tests/vectors).
 *
 * Types are built at run time from each vector's WIT text, values from its JSON or compared with
 * the Rust text of it. Every vector must be used: each test checks how many it saw. */
#include "base/arena.h"
#include "rpc/codec.h"
#include "test.h"
#include <ctype.h>
#include <json-c/json.h>

static struct wcp_arena mem; /* of the running test; reachable for the leak checker */

/* --- WIT text to type table --- */

struct parser {
    const char *p;
};

static const struct wcp_type *parse(struct parser *w);

static const struct wcp_type *parse_text(const char *text)
{
    struct parser w = {text};
    return parse(&w);
}

/* The names that the vectors use without saying what they are. */
static const struct {
    const char *name, *wit;
} named[] = {
    {"point", "record point { x: s32, y: s32 }"},
    {"shape", "variant shape { none, circle(f64), rect(tuple<u32, u32>), named(string), pt(point), "
              "opt(option<u8>), lst(list<u16>) }"},
    {"withstream", "record withstream { a: stream<u8>, b: u32 }"},
    {"fl9", "flags/9"},
    {"l-u8", "list<u8>"},
    {"own", "own<res>"},
    {"r", "result"},
    {"big", "variant/300"},
};

static const struct {
    const char *name;
    const struct wcp_type *type;
} primitives[] = {
    {"bool", &wcp_bool},     {"u8", &wcp_u8},   {"u16", &wcp_u16}, {"u32", &wcp_u32},
    {"u64", &wcp_u64},       {"s8", &wcp_s8},   {"s16", &wcp_s16}, {"s32", &wcp_s32},
    {"s64", &wcp_s64},       {"f32", &wcp_f32}, {"f64", &wcp_f64}, {"char", &wcp_char},
    {"string", &wcp_string},
};

static void space(struct parser *w)
{
    while (*w->p == ' ')
        w->p++;
}

static bool accept(struct parser *w, char c)
{
    space(w);
    if (*w->p != c)
        return false;
    w->p++;
    return true;
}

static void expect(struct parser *w, char c)
{
    if (!accept(w, c))
        FAIL("WIT text: expected '%c' at '%s'", c, w->p);
}

static const char *word(struct parser *w)
{
    space(w);
    size_t n = 0;
    while (isalnum((unsigned char)w->p[n]) || w->p[n] == '-' || w->p[n] == '_')
        n++;
    struct wcp_str s = wcp_fmt(&mem, "%.*s", (int)n, w->p);
    w->p += n;
    return s.ptr;
}

static uint32_t slot(const struct wcp_type *t)
{
    return t ? (t->size + 7) / 8 * 8 : 0;
}

/* Record: one slot after the other. Variant, result: the tag's slot, then the payload. */
static const struct wcp_type *composite(enum wcp_kind kind, const struct wcp_field *from, size_t n)
{
    struct wcp_type *t = wcp_alloc(&mem, 1, sizeof *t);
    struct wcp_field *fields = wcp_alloc(&mem, n, sizeof *fields);
    *t =
        (struct wcp_type){.kind = (uint8_t)kind, .count = (uint16_t)n, .fields = fields, .size = 8};
    if (kind == WCP_RECORD)
        t->size = 0;
    for (size_t i = 0; i < n; i++) {
        fields[i] = from[i];
        fields[i].offset = kind == WCP_RECORD ? t->size : 8;
        if (kind == WCP_RECORD)
            t->size += slot(from[i].type);
        else if (8 + slot(from[i].type) > t->size)
            t->size = 8 + slot(from[i].type);
        t->async |= from[i].type && from[i].type->async;
    }
    return t;
}

static const struct wcp_type *simple(enum wcp_kind kind, size_t count, uint32_t size,
                                     const struct wcp_type *elem)
{
    struct wcp_type *t = wcp_alloc(&mem, 1, sizeof *t);
    *t = (struct wcp_type){
        .kind = (uint8_t)kind, .count = (uint16_t)count, .size = size, .elem = elem};
    t->async = kind == WCP_STREAM || kind == WCP_FUTURE || (elem && elem->async);
    return t;
}

static const struct wcp_type *flags_type(size_t n)
{
    return simple(WCP_FLAGS, n, n <= 32 ? 4 : n <= 64 ? 8 : (uint32_t)(n + 7) / 8, NULL);
}

/* enum/N, flags/N and variant/N: members c0.., b0.., v0..; the odd ones of a variant with u32. */
static const struct wcp_type *numbered(const char *kind, size_t n)
{
    struct wcp_field fields[300] = {0};
    CHECK(n > 0 && n <= 300);
    if (strcmp(kind, "enum") == 0)
        return simple(WCP_ENUM, n, 4, NULL);
    if (strcmp(kind, "flags") == 0)
        return flags_type(n);
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct wcp_field){wcp_fmt(&mem, "v%zu", i).ptr, i % 2 ? &wcp_u32 : NULL, 0};
    return composite(WCP_VARIANT, fields, n);
}

static const struct wcp_type *parse_members(struct parser *w, bool record)
{
    struct wcp_field fields[32];
    size_t n = 0;
    (void)word(w); /* its name */
    expect(w, '{');
    do {
        fields[n] = (struct wcp_field){.name = word(w)};
        if (record)
            expect(w, ':');
        if (record) {
            fields[n].type = parse(w);
        } else if (accept(w, '(')) {
            fields[n].type = parse(w);
            expect(w, ')');
        }
        n++;
    } while (accept(w, ','));
    expect(w, '}');
    return composite(record ? WCP_RECORD : WCP_VARIANT, fields, n);
}

/* Up to 8 types in angle brackets, or none; "_" is NULL. */
static size_t parse_args(struct parser *w, struct wcp_field *args)
{
    size_t n = 0;
    if (!accept(w, '<'))
        return 0;
    do {
        args[n].name = wcp_fmt(&mem, "%zu", n).ptr;
        args[n++].type = accept(w, '_') ? NULL : parse(w);
    } while (accept(w, ','));
    expect(w, '>');
    return n;
}

static const struct wcp_type *parse(struct parser *w)
{
    struct wcp_field args[8] = {0};
    const char *start = w->p, *name = word(w);
    if (accept(w, '/'))
        return numbered(name, (size_t)atoi(word(w)));
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
        if (strcmp(name, primitives[i].name) == 0)
            return primitives[i].type;
    if (strcmp(name, "record") == 0)
        return parse_members(w, true);
    if (strcmp(name, "variant") == 0)
        return strstr(w->p, "...") ? numbered("variant", 300) : parse_members(w, false);
    if ((strcmp(name, "own") == 0 && *w->p == '<') || strcmp(name, "borrow") == 0) {
        expect(w, '<');
        (void)word(w);
        expect(w, '>');
        return &wcp_handle;
    }
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(name, named[i].name) == 0)
            return parse_text(named[i].wit);
    size_t n = parse_args(w, args);
    if (strcmp(name, "list") == 0)
        return simple(WCP_LIST, 0, sizeof(struct wcp_bytes), args[0].type);
    if (strcmp(name, "option") == 0)
        return simple(WCP_OPTION, 0, sizeof(void *), args[0].type);
    if (strcmp(name, "stream") == 0)
        return simple(WCP_STREAM, 0, sizeof(union wcp_async), args[0].type);
    if (strcmp(name, "future") == 0)
        return simple(WCP_FUTURE, 0, sizeof(union wcp_async), args[0].type);
    if (strcmp(name, "tuple") == 0)
        return composite(WCP_RECORD, args, n);
    if (strcmp(name, "result") == 0) {
        args[0].name = "ok";
        args[1].name = "err";
        return composite(WCP_RESULT, args, 2);
    }
    FAIL("WIT text: unknown type at '%s'", start);
}

/* --- streams and futures: a stand-in for both directions --- */

struct fake {
    const struct wcp_type *type;
    struct path path;
    bool pending;
    const void *items;
    size_t n;
};
static struct fake *fakes[256]; /* in the order in which the codec met them */
static size_t fake_count;

static struct fake *fake_new(const struct wcp_type *t, bool pending, const void *items, size_t n)
{
    struct fake *f = wcp_alloc(&mem, 1, sizeof *f);
    *f = (struct fake){.type = t, .pending = pending, .items = items, .n = n};
    return f;
}

static void seen(struct fake *f, const struct path *path)
{
    f->path = *path;
    if (fake_count < sizeof fakes / sizeof *fakes)
        fakes[fake_count++] = f;
}

static struct wcp_in *fake_in(struct decoder *d, const struct wcp_type *t, bool pending,
                              const void *items, size_t n)
{
    CHECK(pending ? !items && n == 0 : t->kind == WCP_FUTURE ? n == (t->elem != NULL) : n > 0);
    struct fake *f = fake_new(t, pending, items, n);
    seen(f, &d->path);
    return (struct wcp_in *)(void *)f;
}

static void fake_out(struct encoder *e, const struct wcp_type *t, struct wcp_out *out)
{
    struct fake *f = (struct fake *)(void *)out;
    CHECK(f->type == t);
    seen(f, &e->path);
    if (f->pending) {
        wcp_buf_put(e->buf, "\0", 1);
    } else if (t->kind == WCP_STREAM) {
        const struct wcp_type *list = simple(WCP_LIST, 0, sizeof(struct wcp_bytes), t->elem);
        codec_encode(e, list, &(struct wcp_bytes){f->items, f->n});
    } else {
        wcp_buf_put(e->buf, "\1", 1);
        if (t->elem)
            codec_encode(e, t->elem, f->items);
    }
}

static bool padded; /* flags are read as Rust writes them */

/* As the only parameter or result: path [0]. */
static int decode_at(const struct wcp_type *t, struct wcp_bytes *in, void *out,
                     const struct path *path, size_t *need, struct wcp_err *err)
{
    struct decoder d = {.in = *in,
                        .arena = &mem,
                        .err = err,
                        .path = *path,
                        .padded_flags = padded,
                        .on_async = fake_in};
    int rc = codec_decode(&d, t, out);
    CHECK(d.path.n == path->n || rc);
    CHECK(d.in.len <= in->len && d.in.ptr + d.in.len == in->ptr + in->len);
    *in = d.in;
    *need = d.need;
    return rc;
}

static int decode(const struct wcp_type *t, struct wcp_bytes *in, void *out, struct wcp_err *err)
{
    size_t need;
    fake_count = 0;
    return decode_at(t, in, out, &(struct path){.n = 1}, &need, err);
}

static struct wcp_bytes encode(const struct wcp_type *t, const void *value)
{
    struct wcp_buf b = {0};
    struct encoder e = {.buf = &b, .path = {.n = 1}, .on_async = fake_out};
    fake_count = 0;
    codec_encode(&e, t, value);
    uint8_t *copy = wcp_alloc(&mem, b.len, 1);
    if (b.len)
        memcpy(copy, b.ptr, b.len);
    size_t n = b.len;
    wcp_buf_free(&b);
    return (struct wcp_bytes){copy, n};
}

static bool same(struct wcp_bytes a, struct wcp_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* --- JSON to C value --- */

static json_object *member(json_object *o, const char *name)
{
    json_object *v = NULL;
    return json_object_object_get_ex(o, name, &v) ? v : NULL;
}

static const char *text_of(json_object *o, const char *name)
{
    json_object *v = member(o, name);
    return v ? json_object_get_string(v) : NULL;
}

static struct wcp_bytes unhex(const char *hex)
{
    size_t n = strlen(hex) / 2;
    uint8_t *p = wcp_alloc(&mem, n + 1, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)strtoul((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
    return (struct wcp_bytes){p, n};
}

static struct wcp_str string_of(json_object *j)
{
    return (struct wcp_str){json_object_get_string(j), (size_t)json_object_get_string_len(j)};
}

static uint32_t first_char(struct wcp_str s)
{
    const uint8_t *p = (const uint8_t *)s.ptr;
    if (p[0] < 0x80)
        return p[0];
    uint32_t c = p[0] & (s.len == 2 ? 0x1fu : s.len == 3 ? 0xfu : 7u);
    for (size_t i = 1; i < s.len; i++)
        c = c << 6 | (p[i] & 0x3fu);
    return c;
}

/* The single member of an object: a variant's or result's case. */
static size_t case_of(const struct wcp_type *t, json_object *j, json_object **payload)
{
    json_object_object_foreach(j, name, value)
    {
        *payload = value;
        for (size_t i = 0; i < t->count; i++)
            if (strcmp(t->fields[i].name, name) == 0)
                return i;
        FAIL("no case %s", name);
    }
    FAIL("a case without a name");
}

static void *fill_list(const struct wcp_type *elem, json_object *j, size_t *n);

/* bits: the float's, from the vector; NULL except at the root. */
static void fill(const struct wcp_type *t, json_object *j, const char *bits, char *out)
{
    json_object *payload = NULL;
    const char *text = j ? json_object_get_string(j) : "";
    uint32_t tag;
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL: *(bool *)out = json_object_get_boolean(j); return;
    case WCP_U8: *(uint8_t *)out = (uint8_t)strtoull(text, NULL, 10); return;
    case WCP_U16: *(uint16_t *)(void *)out = (uint16_t)strtoull(text, NULL, 10); return;
    case WCP_U32: *(uint32_t *)(void *)out = (uint32_t)strtoull(text, NULL, 10); return;
    case WCP_U64: *(uint64_t *)(void *)out = strtoull(text, NULL, 10); return;
    case WCP_S8: *(int8_t *)out = (int8_t)strtoll(text, NULL, 10); return;
    case WCP_S16: *(int16_t *)(void *)out = (int16_t)strtoll(text, NULL, 10); return;
    case WCP_S32: *(int32_t *)(void *)out = (int32_t)strtoll(text, NULL, 10); return;
    case WCP_S64: *(int64_t *)(void *)out = strtoll(text, NULL, 10); return;
    case WCP_F32:
        if (bits)
            *(uint32_t *)(void *)out = (uint32_t)strtoul(bits, NULL, 16);
        else
            *(float *)(void *)out = (float)json_object_get_double(j);
        return;
    case WCP_F64:
        if (bits)
            *(uint64_t *)(void *)out = strtoull(bits, NULL, 16);
        else
            *(double *)(void *)out = json_object_get_double(j);
        return;
    case WCP_CHAR: *(uint32_t *)(void *)out = first_char(string_of(j)); return;
    case WCP_STRING: *(struct wcp_str *)(void *)out = string_of(j); return;
    case WCP_HANDLE: *(struct wcp_bytes *)(void *)out = unhex(text_of(j, "handle_hex")); return;
    case WCP_LIST: {
        struct wcp_bytes *l = (struct wcp_bytes *)(void *)out;
        l->ptr = fill_list(t->elem, j, &l->len);
        return;
    }
    case WCP_OPTION:
        if (json_object_object_get_ex(j, "some", &payload)) {
            char *some = wcp_alloc(&mem, 1, t->elem->size);
            fill(t->elem, payload, NULL, some);
            *(void **)(void *)out = some;
        }
        return;
    case WCP_RECORD:
        for (size_t i = 0; i < t->count; i++)
            fill(t->fields[i].type,
                 json_object_is_type(j, json_type_array) ? json_object_array_get_idx(j, i)
                                                         : member(j, t->fields[i].name),
                 NULL, out + t->fields[i].offset);
        return;
    case WCP_RESULT:
    case WCP_VARIANT:
        tag = (uint32_t)case_of(t, j, &payload);
        if (t->kind == WCP_RESULT)
            *(bool *)out = tag;
        else
            *(uint32_t *)(void *)out = tag;
        if (t->fields[tag].type)
            fill(t->fields[tag].type, payload, NULL, out + t->fields[tag].offset);
        return;
    case WCP_ENUM: *(uint32_t *)(void *)out = (uint32_t)atoi(text + 1); return;
    case WCP_FLAGS:
        for (size_t i = 0; i < json_object_array_length(j); i++) {
            unsigned bit =
                (unsigned)atoi(json_object_get_string(json_object_array_get_idx(j, i)) + 1);
            if (t->count <= 32)
                *(uint32_t *)(void *)out |= UINT32_C(1) << bit;
            else
                *(uint64_t *)(void *)out |= UINT64_C(1) << bit;
        }
        return;
    case WCP_STREAM:
    case WCP_FUTURE: {
        struct fake *f = fake_new(t, true, NULL, 0);
        if (json_object_object_get_ex(j, "ready", &payload)) {
            f->pending = false;
            if (t->kind == WCP_STREAM) {
                f->items = fill_list(t->elem, payload, &f->n);
            } else if (t->elem) {
                char *item = wcp_alloc(&mem, f->n = 1, t->elem->size);
                fill(t->elem, payload, NULL, item);
                f->items = item;
            }
        }
        *(struct wcp_out **)(void *)out = (struct wcp_out *)(void *)f;
        return;
    }
    }
}

static void *fill_list(const struct wcp_type *elem, json_object *j, size_t *n)
{
    if (json_object_is_type(j, json_type_object)) {
        struct wcp_bytes b = unhex(text_of(j, "bytes_hex"));
        uint8_t *copy = wcp_alloc(&mem, *n = b.len, 1);
        if (b.len)
            memcpy(copy, b.ptr, b.len);
        return copy;
    }
    *n = json_object_array_length(j);
    char *items = wcp_alloc(&mem, *n, elem->size);
    for (size_t i = 0; i < *n; i++)
        fill(elem, json_object_array_get_idx(j, i), NULL, items + i * elem->size);
    return items;
}

/* --- C value to the text of Rust's Debug, as far as runtime_wasmtime.json needs it --- */

static void show(const struct wcp_type *t, const char *v, struct wcp_buf *b)
{
    const char *const int_names[] = {"", "U8", "U16", "U32", "U64", "S8", "S16", "S32", "S64"};
    struct wcp_bytes l;
    uint32_t n = 0;
    switch ((enum wcp_kind)t->kind) {
    case WCP_BOOL: wcp_buf_fmt(b, "Bool(%s)", *v ? "true" : "false"); return;
    case WCP_U8:
    case WCP_U16:
    case WCP_U32:
    case WCP_U64: {
        uint64_t u = 0;
        memcpy(&u, v, t->size); /* the tests run on little-endian machines */
        wcp_buf_fmt(b, "%s(%llu)", int_names[t->kind], (unsigned long long)u);
        return;
    }
    case WCP_S8: wcp_buf_fmt(b, "S8(%d)", *(const int8_t *)v); return;
    case WCP_S16: wcp_buf_fmt(b, "S16(%d)", *(const int16_t *)(const void *)v); return;
    case WCP_S32: wcp_buf_fmt(b, "S32(%d)", *(const int32_t *)(const void *)v); return;
    case WCP_S64: wcp_buf_fmt(b, "S64(%lld)", (long long)*(const int64_t *)(const void *)v); return;
    case WCP_F32: {
        float f = *(const float *)(const void *)v;
        wcp_buf_fmt(b, f != f ? "Float32(NaN)" : "Float32(%g)", (double)f);
        return;
    }
    case WCP_F64: wcp_buf_fmt(b, "Float64(%g)", *(const double *)(const void *)v); return;
    case WCP_CHAR:
        memcpy(&n, v, 4);
        wcp_buf_fmt(b, n == 0x20ac ? "Char('\xe2\x82\xac')" : n ? "Char('%c')" : "Char('\\0')", n);
        return;
    case WCP_STRING: {
        struct wcp_str s = *(const struct wcp_str *)(const void *)v;
        wcp_buf_fmt(b, "String(\"%.*s\")", WCP_ARG(s));
        return;
    }
    case WCP_LIST:
        memcpy(&l, v, sizeof l);
        wcp_buf_fmt(b, "List([");
        for (size_t i = 0; i < l.len; i++) {
            wcp_buf_fmt(b, "%s", i ? ", " : "");
            show(t->elem, (const char *)l.ptr + i * t->elem->size, b);
        }
        wcp_buf_fmt(b, "])");
        return;
    case WCP_OPTION: {
        const char *some;
        memcpy(&some, v, sizeof some);
        wcp_buf_fmt(b, some ? "Option(Some(" : "Option(None)");
        if (some)
            show(t->elem, some, b);
        wcp_buf_fmt(b, some ? "))" : "");
        return;
    }
    case WCP_RECORD: /* only tuples occur */
        wcp_buf_fmt(b, "Tuple([");
        for (size_t i = 0; i < t->count; i++) {
            wcp_buf_fmt(b, "%s", i ? ", " : "");
            show(t->fields[i].type, v + t->fields[i].offset, b);
        }
        wcp_buf_fmt(b, "])");
        return;
    case WCP_RESULT:
    case WCP_VARIANT: {
        if (t->kind == WCP_RESULT)
            n = *(const bool *)v;
        else
            memcpy(&n, v, 4);
        const struct wcp_field *f = &t->fields[n];
        if (t->kind == WCP_RESULT)
            wcp_buf_fmt(b, n ? "Result(Err(" : "Result(Ok(");
        else
            wcp_buf_fmt(b, "Variant(\"%s\", ", f->name);
        wcp_buf_fmt(b, f->type ? "Some(" : "None");
        if (f->type)
            show(f->type, v + f->offset, b);
        wcp_buf_fmt(b, "%s%s", f->type ? ")" : "", t->kind == WCP_RESULT ? "))" : ")");
        return;
    }
    case WCP_ENUM:
        memcpy(&n, v, 4);
        wcp_buf_fmt(b, "Enum(\"c%u\")", n);
        return;
    case WCP_FLAGS: {
        uint64_t bits = 0;
        const char *comma = "";
        memcpy(&bits, v, t->size);
        wcp_buf_fmt(b, "Flags([");
        for (unsigned i = 0; i < t->count; i++) {
            if (bits >> i & 1) {
                wcp_buf_fmt(b, "%s\"b%u\"", comma, i);
                comma = ", ";
            }
        }
        wcp_buf_fmt(b, "])");
        return;
    }
    case WCP_HANDLE:
    case WCP_STREAM:
    case WCP_FUTURE: FAIL("no Rust text for this");
    }
}

static const char *shown(const struct wcp_type *t, const void *v)
{
    struct wcp_buf b = {0};
    show(t, v, &b);
    struct wcp_str s = wcp_fmt(&mem, "%.*s", (int)b.len, (const char *)b.ptr);
    wcp_buf_free(&b);
    return s.ptr;
}

/* --- what is done with each valid vector --- */

/* The bytes in a block of their own, so that reading beyond them is seen. */
static uint8_t *exact(struct wcp_bytes b, size_t n)
{
    uint8_t *p = wcp_realloc(NULL, n);
    if (n)
        memcpy(p, b.ptr, n);
    return p;
}

/* Every cut asks for more, and for not more than there is; walking over it, too. */
static void cut_everywhere(const struct wcp_type *t, struct wcp_bytes good, const char *wit)
{
    struct wcp_err err;
    struct walk *w = walk_new(t, (struct wcp_codec){.padded_flags = padded});
    size_t need = 0;
    for (size_t n = 0; n < good.len; n++) {
        uint8_t *p = exact(good, n);
        struct wcp_bytes in = {p, n};
        void *out = wcp_alloc(&mem, 1, t->size);
        fake_count = 0;
        int rc = decode_at(t, &in, out, &(struct path){.n = 1}, &need, &err);
        if (rc != WCP_EMORE || need == 0 || need > good.len - n)
            FAIL("%s: %zu of %zu bytes: %d, needs %zu", wit, n, good.len, rc, need);
        rc = walk(w, p, n, &need);
        if (rc != WCP_EMORE || need == 0 || need > good.len - n)
            FAIL("%s: walking over %zu of %zu bytes: %d, needs %zu", wit, n, good.len, rc, need);
        free(p);
    }
    uint8_t *p = exact(good, good.len);
    CHECK_INT(walk(w, p, good.len, &need), 0);
    walk_free(&w);
    free(p);
}

/* Whatever bytes these are, they are refused, or a value that survives the way there and back. */
static void survives(const struct wcp_type *t, struct wcp_bytes b, const char *wit)
{
    struct wcp_err err = {0};
    struct wcp_bytes in = b;
    void *out = wcp_alloc(&mem, 1, t->size), *again = wcp_alloc(&mem, 1, t->size);
    bool was_padded = padded;
    int rc = decode(t, &in, out, &err);
    if (rc) {
        CHECK(rc == WCP_EMORE || rc == WCP_EPROTO);
        CHECK(err.code == rc && err.msg[0]);
        return;
    }
    padded = false; /* we never write it like that */
    struct wcp_bytes once = encode(t, out), rest = once;
    if (decode(t, &rest, again, &err) || rest.len || !same(once, encode(t, again)))
        FAIL("%s: %02x... of %zu bytes does not survive: %s", wit, b.ptr[0], b.len, err.msg);
    padded = was_padded;
}

/* Every bit changed, every byte the least and the most, and every length. */
static void flip_everywhere(const struct wcp_type *t, struct wcp_bytes from, const char *wit)
{
    size_t step = from.len > 1000 ? 251 : 1;
    for (size_t i = 0; i < from.len; i += step) {
        for (unsigned m = 0; m < 10; m++) {
            uint8_t *p = exact(from, from.len);
            p[i] = (uint8_t)(m < 8 ? p[i] ^ 1u << m : m == 8 ? 0 : 0xff);
            survives(t, (struct wcp_bytes){p, from.len}, wit);
            free(p);
        }
        uint8_t *p = exact(from, i);
        survives(t, (struct wcp_bytes){p, i}, wit);
        free(p);
    }
}

static struct wcp_bytes prefix(struct wcp_bytes b, size_t n)
{
    return (struct wcp_bytes){b.ptr, n};
}

/* good must be read whole as a value that is written as the same bytes. Returns that value. */
static const void *both_ways(const struct wcp_type *t, struct wcp_bytes good, const char *wit)
{
    struct wcp_err err = {0};
    struct wcp_bytes in = good;
    void *out = wcp_alloc(&mem, 1, t->size);
    if (decode(t, &in, out, &err) || in.len)
        FAIL("%s: %s, %zu of %zu bytes are left", wit, err.msg, in.len, good.len);
    struct path paths[256];
    size_t count = fake_count;
    for (size_t i = 0; i < count; i++)
        paths[i] = fakes[i]->path;
    if (!same(encode(t, out), good))
        FAIL("%s: is written otherwise than it was read", wit);
    CHECK_INT(fake_count, count);
    for (size_t i = 0; i < count; i++) /* and streams are met at the same places */
        CHECK(paths[i].n == fakes[i]->path.n &&
              memcmp(paths[i].at, fakes[i]->path.at, paths[i].n * sizeof(uint32_t)) == 0);
    cut_everywhere(t, good, wit);
    flip_everywhere(t, good, wit);
    return out;
}

static json_object *load(const char *name)
{
    json_object *j = json_object_from_file(wcp_fmt(&mem, "tests/vectors/%s", name).ptr);
    if (!j)
        FAIL("tests/vectors/%s: %s", name, json_util_get_last_err());
    return j;
}

/* --- the channels of pending streams and futures --- */

struct channels {
    size_t n;
    struct path path[8];
    struct wcp_bytes left[8];
};

static struct wcp_bytes *channel_at(struct channels *c, const struct path *p)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->path[i].n == p->n && memcmp(c->path[i].at, p->at, p->n * sizeof(uint32_t)) == 0)
            return &c->left[i];
    return NULL;
}

/* Reads one value from a channel. Streams and futures in it are appended to fakes, to be read next.
 */
static void channel_value(const struct wcp_type *t, struct wcp_bytes *in, const struct path *path)
{
    struct wcp_err err = {0};
    size_t need;
    if (decode_at(t, in, wcp_alloc(&mem, 1, t->size), path, &need, &err))
        FAIL("channel: %s", err.msg);
}

/* Everything that the codec announced is found at its path, and nothing is left over. */
static void read_channels(json_object *vector)
{
    struct channels c = {0};
    json_object *list = member(vector, "channels");
    for (; c.n < json_object_array_length(list); c.n++) {
        json_object *one = json_object_array_get_idx(list, c.n), *path = member(one, "path");
        c.left[c.n] = unhex(text_of(one, "hex"));
        c.path[c.n].n = json_object_array_length(path);
        for (size_t i = 0; i < c.path[c.n].n; i++)
            c.path[c.n].at[i] = (uint32_t)json_object_get_int(json_object_array_get_idx(path, i));
    }
    for (size_t i = 0; i < fake_count; i++) {
        const struct fake *f = fakes[i];
        struct wcp_bytes *in = channel_at(&c, &f->path);
        if (!f->pending || !f->type->elem)
            continue; /* a future without a type has no bytes */
        CHECK(in);
        if (f->type->kind == WCP_FUTURE) {
            channel_value(f->type->elem, in, &f->path);
            continue;
        }
        struct path path = f->path;
        uint64_t n = 0;
        path.n++;
        path.at[path.n - 1] = 0;
        for (;;) {
            CHECK_INT(codec_get_leb(in, 32, &n, NULL), 0);
            if (n == 0)
                break;
            for (; n; n--, path.at[path.n - 1]++)
                channel_value(f->type->elem, in, &path);
        }
    }
    for (size_t i = 0; i < c.n; i++)
        CHECK_INT(c.left[i].len, 0);
}

/* Flags in Rust's padded form, with the switch for it. */
static void read_padded(const struct wcp_type *t, struct wcp_bytes rust, struct wcp_bytes good,
                        const char *wit)
{
    struct wcp_bytes in = rust;
    struct wcp_err err = {0};
    void *out = wcp_alloc(&mem, 1, t->size);
    padded = true;
    CHECK_INT(decode(t, &in, out, &err), 0);
    CHECK_INT(in.len, 0);
    CHECK(same(encode(t, out), good));
    cut_everywhere(t, rust, wit);
    flip_everywhere(t, rust, wit);
    uint8_t *p = exact(rust, rust.len);
    p[rust.len - 1] |= 0x80; /* padding is zero */
    in = (struct wcp_bytes){p, rust.len};
    CHECK_INT(decode(t, &in, out, &err), WCP_EPROTO);
    free(p);
    padded = false;
}

/* With the sign's copies cut off it has the same length and is the same value. Returns it. */
static struct wcp_bytes cut_signed(const struct wcp_type *t, struct wcp_bytes good, const char *wit)
{
    uint8_t *p = wcp_alloc(&mem, good.len, 1);
    struct wcp_bytes cut = {p, good.len}, in = cut;
    struct wcp_err err = {0};
    void *out = wcp_alloc(&mem, 1, t->size);
    if (good.len)
        memcpy(p, good.ptr, good.len);
    codec_cut_signed(t, 1, p, good.len);
    if (decode(t, &in, out, &err) || in.len || !same(encode(t, out), good))
        FAIL("%s: cut, it is another value: %s", wit, err.msg);
    return cut;
}

/* What leb128-tokio 0.1.6 wants in place of what it refuses (wrpc.md §1.2). */
TEST(large_negative_numbers_are_written_cut_if_asked_for)
{
    static const struct {
        const struct wcp_type *t;
        const char *standard, *cut;
    } forms[] = {{&wcp_s16, "80807e", "808002"},
                 {&wcp_s16, "ffbf7f", "ffbf03"},
                 {&wcp_s16, "8040", "8040"},
                 {&wcp_s16, "ffff01", "ffff01"},
                 {&wcp_s32, "8080808078", "8080808008"},
                 {&wcp_s32, "ffffffbf7f", "ffffffbf0f"},
                 {&wcp_s32, "80808040", "80808040"},
                 {&wcp_s32, "ffffffff07", "ffffffff07"},
                 {&wcp_s64, "8080808080808080807f", "80808080808080808001"},
                 {&wcp_s64, "ffffffffffffffffbf7f", "ffffffffffffffffbf01"},
                 {&wcp_s64, "7f", "7f"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        CHECK_HEX(cut_signed(forms[i].t, unhex(forms[i].standard), forms[i].standard),
                  forms[i].cut);
    /* Wherever they are; and nothing else that has the same bytes. */
    const struct wcp_type *t = parse_text(
        "list<tuple<option<s16>, result<s32, s64>, list<u8>, stream<s16>, future<s16>>>");
    CHECK_HEX(cut_signed(t,
                         unhex("02"
                               "0180807e00808080807803"
                               "80807e"
                               "0180807e"
                               "00"
                               "00018080808080808080807f00"
                               "00"
                               "0180807e"),
                         "list"),
              "02"
              "018080020080808080080380807e01808002"
              "00"
              "00018080808080808080800100"
              "00"
              "01808002");
}

TEST(what_rust_encodes_is_read_and_written_alike)
{
    /* Rust's encoder pads flags of 17 to 24 and 33 to 56 members to 4 and 8 bytes, which Rust's own
     * decoder does not read (wrpc.md §1.3): we write the form without padding, and read both. */
    static const struct {
        const char *wit;
        size_t bytes;
    } sizes[] = {
        {"flags/17", 3}, {"flags/24", 3}, {"flags/33", 5}, {"flags/40", 5}, {"flags/48", 6}};
    json_object *all = load("values.json");
    size_t count = 0, traps = 0, async = 0, channels = 0;
    for (; count < json_object_array_length(all); count++) {
        json_object *v = json_object_array_get_idx(all, count), *repeat = member(v, "value_repeat");
        const char *wit = text_of(v, "wit"), *hex = text_of(v, "hex");
        const struct wcp_type *t = parse_text(wit);
        char *value = wcp_alloc(&mem, 1, t->size);
        struct wcp_bytes good, rust = {0};
        if (repeat) { /* a long text of one letter, of which only the start is stored */
            size_t n = (size_t)json_object_get_int(member(repeat, "count"));
            char *text = wcp_alloc(&mem, n, 1);
            memset(text, text_of(repeat, "text")[0], n);
            memcpy(value, &(struct wcp_str){text, n}, sizeof(struct wcp_str));
            struct wcp_bytes start = unhex(text_of(v, "hex_prefix"));
            good = encode(t, value);
            CHECK_INT(good.len, json_object_get_int(member(v, "len")));
            CHECK(same(prefix(good, start.len), start));
        } else {
            good = unhex(hex);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                if (strcmp(wit, sizes[i].wit) == 0) {
                    CHECK(member(v, "trap"));
                    rust = good;
                    good.len = sizes[i].bytes;
                    traps++;
                }
            }
            fill(t, member(v, "value"), text_of(v, "bits"), value);
        }
        struct wcp_bytes written = encode(t, value);
        if (!same(written, good))
            test_check_hex(__FILE__, __LINE__, wit, written, hex ? hex : "(long)");
        (void)both_ways(t, good, wit);
        if (rust.len)
            read_padded(t, rust, good, wit);
        (void)cut_signed(t, good, wit);
        if (t->async)
            async++;
        if (member(v, "channels")) {
            struct wcp_bytes in = good;
            CHECK_INT(decode(t, &in, value, NULL), 0);
            read_channels(v);
            channels++;
        }
    }
    CHECK_INT(count, 230);
    CHECK_INT(traps, 9);
    CHECK_INT(async, 24);
    CHECK_INT(channels, 18);
    json_object_put(all);
}

TEST(what_rust_rejects_is_rejected)
{
    json_object *all = load("invalid.json");
    size_t count = 0, truncated = 0, taken = 0;
    for (; count < json_object_array_length(all); count++) {
        json_object *v = json_object_array_get_idx(all, count);
        const char *wit = text_of(v, "wit"), *reason = text_of(v, "reason");
        const struct wcp_type *t = parse_text(strcmp(wit, "variant shape") ? wit : "shape");
        struct wcp_bytes bad = unhex(text_of(v, "hex"));
        uint8_t *p = exact(bad, bad.len);
        struct wcp_bytes in = {p, bad.len};
        struct wcp_err err = {0};
        int rc = decode(t, &in, wcp_alloc(&mem, 1, t->size), &err);
        if (strncmp(reason, "TRAP", 4) == 0) {
            /* Standard signed LEB128, which Rust's leb128-tokio 0.1.6 wrongly refuses. */
            CHECK_INT(rc, 0);
            (void)both_ways(t, bad, wit);
            (void)cut_signed(t, bad, wit);
            taken++;
        } else {
            int want = strcmp(text_of(v, "kind"), "truncated") == 0 ? WCP_EMORE : WCP_EPROTO;
            if (rc != want || err.code != want || !err.msg[0])
                FAIL("%s %s (%s): %d '%s', expected %d", wit, text_of(v, "hex"), reason, rc,
                     err.msg, want);
            truncated += want == WCP_EMORE;
            flip_everywhere(t, bad, wit);
        }
        free(p);
    }
    CHECK_INT(count, 67);
    CHECK_INT(truncated, 23);
    CHECK_INT(taken, 4);
    json_object_put(all);
}

TEST(unusual_forms_that_rust_accepts_are_accepted)
{
    json_object *all = load("lenient.json");
    size_t count = 0, flags = 0;
    for (; count < json_object_array_length(all); count++) {
        json_object *v = json_object_array_get_idx(all, count);
        const char *wit = text_of(v, "wit"), *hex = text_of(v, "hex");
        const struct wcp_type *t = parse_text(wit);
        struct wcp_bytes in = unhex(hex), all_of_it = in,
                         canonical = unhex(text_of(v, "canonical_hex"));
        struct wcp_err err = {0};
        void *out = wcp_alloc(&mem, 1, t->size);
        if (decode(t, &in, out, &err))
            FAIL("%s %s: %s", wit, hex, err.msg);
        CHECK_INT(in.len, json_object_get_int(member(v, "unread_bytes")));
        if (t->kind == WCP_FLAGS) { /* "canonical" is Rust's padded form here */
            canonical = all_of_it;
            flags++;
        }
        if (!same(encode(t, out), canonical))
            FAIL("%s %s: is not written as %s", wit, hex, text_of(v, "canonical_hex"));
        flip_everywhere(t, all_of_it, wit);
    }
    CHECK_INT(count, 17);
    CHECK_INT(flags, 2);
    json_object_put(all);
}

/* "fl17" is flags/17, "p-u8" option<u8>; the rest are names. */
static const struct wcp_type *runtime_type(json_object *v)
{
    const char *name = text_of(v, "type"), *wit = text_of(v, "wit");
    if (strncmp(name, "fl", 2) == 0)
        return numbered("flags", (size_t)atoi(name + 2));
    if (strncmp(name, "en", 2) == 0)
        return numbered("enum", (size_t)atoi(name + 2));
    if (strncmp(name, "p-", 2) == 0)
        return parse_text(wcp_fmt(&mem, "option<%s>", name + 2).ptr);
    return parse_text(wit ? wit : name);
}

TEST(the_host_s_own_codec_is_understood)
{
    json_object *all = load("runtime_wasmtime.json");
    size_t count = 0, values = 0, probes = 0, differ = 0;
    for (; count < json_object_array_length(all); count++) {
        json_object *v = json_object_array_get_idx(all, count);
        const struct wcp_type *t = runtime_type(v);
        const char *probe = text_of(v, "probe"), *host = text_of(v, "runtime_decode");
        struct wcp_bytes good = unhex(text_of(v, "hex")), in = good;
        struct wcp_err err = {0};
        void *out = wcp_alloc(&mem, 1, t->size);
        if (!probe) { /* what the host writes; that it cannot read some of it is its trap (§1.2) */
            const char *got = shown(t, both_ways(t, good, text_of(v, "type")));
            const char *want = text_of(v, "value"); /* the recording is cut at 160 characters */
            CHECK_STR(wcp_fmt(&mem, "%.160s", got).ptr, want);
            values++;
            continue;
        }
        probes++;
        int rc = decode(t, &in, out, &err);
        size_t left = in.len;
        flip_everywhere(t, good, probe);
        /* Known differences, where the host takes what the generated Rust decoders refuse:
         * undefined flags are ignored, a handle's length too, up to all that comes. */
        if (strncmp(probe, "undefined bit", 13) == 0) {
            CHECK_INT(rc, WCP_EPROTO);
            differ++;
        } else if (strcmp(probe, "truncated handle") == 0) {
            CHECK_INT(rc, WCP_EMORE);
            differ++;
        } else if (strcmp(probe, "remote resource handle followed by another byte") == 0) {
            CHECK(rc == 0 && left == 1);
            differ++;
        } else if (strncmp(host, "REJECTED", 8) == 0) {
            CHECK(rc == WCP_EPROTO || rc == WCP_EMORE);
        } else {
            CHECK_INT(rc, 0);
            CHECK_INT(left, atoi(strstr(host, "unread bytes ") + 13));
            if (t->kind != WCP_HANDLE) {
                const char *want = strstr(host, "accepted as ") + 12, *got = shown(t, out);
                if (strncmp(want, got, strlen(got)) != 0)
                    FAIL("%s: %s, expected %s", probe, got, want);
            }
        }
    }
    CHECK_INT(count, 92);
    CHECK_INT(values, 77);
    CHECK_INT(probes, 15);
    CHECK_INT(differ, 4);
    json_object_put(all);
}

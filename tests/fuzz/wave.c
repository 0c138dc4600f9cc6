/* wave.c: any text as a value of each kind of type. What is read and printed is read again, and
 * printed the same. The first byte chooses the type. */
#include "wave/tables.h"
#include "wave/wave.h"
#include "wit/load.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char wit_text[] =
    "package a:b; interface i {"
    "record p { x: u8, name: string, o: option<s16> }"
    "record opts { a: option<u32>, b: option<list<u8>> }"
    "variant v { none, circle(f64), some(u8), rect(tuple<u32, s64>), HTTP-get, other(string) }"
    "enum e { red, ok, pending, dark-blue }"
    "flags f { hot, cold, err }"
    "resource r; type h = own<r>;"
    "record q { s: stream<u8>, t: stream<string>, u: future<e>, w: future, n: list<stream<e>> }"
    "}";
static const char *const types[] = {
    "p",
    "opts",
    "v",
    "e",
    "f",
    "h",
    "q",
    "bool",
    "list<u8>",
    "list<s8>",
    "f32",
    "f64",
    "char",
    "string",
    "u64",
    "s64",
    "result",
    "result<v, p>",
    "option<option<u8>>",
    "option<result<e>>",
    "list<list<p>>",
    "tuple<char, f32, string>",
    "stream<option<v>>",
    "future<result<_, e>>",
    "list<f>",
};
#define TYPES (sizeof types / sizeof *types)

static struct wit w; /* made once, and kept */
static const struct wcp_type *tables[TYPES];

static void make_tables(void)
{
    wit_init(&w);
    if (wit_try_text(&w, "a.wit", wcp_str(wit_text)))
        abort();
    for (size_t i = 0; i < TYPES; i++) {
        struct wit_type *t;
        if (wit_try_type(&w, "TYPE", wcp_str(types[i]), &t))
            abort();
        tables[i] = tables_type(&w, t);
    }
}

/* The value printed; false: text is none. */
static bool again(const struct wcp_type *t, struct wcp_str text, bool as_text, struct wcp_buf *out)
{
    struct wcp_arena arena = {0};
    struct wave_error err = {0};
    struct wave_writer writer = {.text = as_text};
    void *value = wcp_alloc(&arena, 1, t->size);
    bool good = wave_parse(&(struct wave_reader){.arena = &arena}, t, text, value, &err) == 0;
    if (good)
        wave_print(&writer, t, value, out);
    else if (!*err.msg || err.at > text.len)
        abort();
    wcp_arena_free(&arena);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wcp_buf first = {0}, second = {0};
    if (n == 0)
        return 0;
    if (!tables[0])
        make_tables();
    const struct wcp_type *t = tables[*data % TYPES];
    bool as_text = *data >= 128;
    if (again(t, (struct wcp_str){(const char *)data + 1, n - 1}, as_text, &first)) {
        if (!again(t, (struct wcp_str){(const char *)first.ptr, first.len}, as_text, &second) ||
            first.len != second.len || memcmp(first.ptr, second.ptr, first.len) != 0)
            abort();
    }
    wcp_buf_free(&first);
    wcp_buf_free(&second);
    return 0;
}

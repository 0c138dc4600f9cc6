/* json.c: reading JSON that others wrote: strict, bounded, with errors that say where. */
#include "lattice/json.h"
#include "base/str.h"
#include <json-c/printbuf.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/map.h>

const char *json_kind(const struct json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_null: return "null";
    case json_type_boolean: return "true or false";
    case json_type_double:
    case json_type_int: return "number";
    case json_type_object: return "object";
    case json_type_array: return "list";
    case json_type_string: return "text";
    }
    return "something else";
}

/* --- repeated members: json-c keeps the last one silently, which would hide an error --- */

/* The depth is bounded by the parser. */
static size_t count_members(struct json_object *o)
{
    size_t n = 0;
    if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, key, value)
        {
            (void)key;
            n += 1 + count_members(value);
        }
    } else if (json_object_is_type(o, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(o); i++)
            n += count_members(json_object_array_get_idx(o, i));
    }
    return n;
}

/* The index behind the string whose opening quote is at i; text is valid JSON. */
static size_t skip_string(struct wcp_bytes text, size_t i)
{
    for (i++; i < text.len && text.ptr[i] != '"'; i++)
        if (text.ptr[i] == '\\')
            i++;
    return i < text.len ? i + 1 : text.len;
}

/* As many as there are members in the text. json-c takes names in single quotes, too; JSON does
 * not, and neither do we. */
static int count_colons(struct wcp_bytes text, size_t *n, struct wcp_err *err)
{
    for (size_t i = 0; i < text.len;) {
        if (text.ptr[i] == '\'')
            return wcp_fail(err, WCP_EPROTO, "byte %zu: not JSON: a single quote", i);
        *n += text.ptr[i] == ':';
        i = text.ptr[i] == '"' ? skip_string(text, i) : i + 1;
    }
    return 0;
}

/* Text is valid JSON in which some member occurs twice: names it. */
static int fail_repeated(struct wcp_bytes text, struct wcp_err *err)
{
    struct wcp_map *seen = wcp_map_new(NULL);
    struct wcp_arena arena = {0};
    size_t container[JSON_MAX_DEPTH + 2] = {0}, containers = 0, depth = 0, start = 0, end = 0;
    int rc = 0;
    for (size_t i = 0; i < text.len && !rc;) {
        uint8_t c = text.ptr[i];
        if (c == '"') {
            start = i;
            end = i = skip_string(text, i);
            continue;
        }
        if ((c == '{' || c == '[') && depth < JSON_MAX_DEPTH + 1)
            container[++depth] = ++containers;
        else if ((c == '}' || c == ']') && depth)
            depth--;
        else if (c == ':' && end > start + 1) {
            struct wcp_str name = {(const char *)text.ptr + start + 1, end - start - 2};
            struct wcp_str key = wcp_fmt(&arena, "%zu:%.*s", container[depth], WCP_ARG(name));
            if (wcp_map_get(seen, key))
                rc = wcp_fail(err, WCP_EPROTO, "byte %zu: member '%.*s' occurs twice", start,
                              name.len > 64 ? 64 : (int)name.len, name.ptr);
            wcp_map_put(seen, key, seen);
        }
        i++;
    }
    wcp_map_free(seen);
    wcp_arena_free(&arena);
    /* The same name spelled differently, with an escape. */
    return rc ? rc : wcp_fail(err, WCP_EPROTO, "a member occurs twice");
}

int json_parse(struct wcp_bytes text, struct json_object **out, struct wcp_err *err)
{
    *out = NULL;
    if (text.len > JSON_MAX_BYTES)
        return wcp_fail(err, WCP_ETOOBIG, "%zu bytes of JSON, at most %zu are allowed", text.len,
                        JSON_MAX_BYTES);
    if (text.len == 0)
        return wcp_fail(err, WCP_EPROTO, "nothing found, a JSON object expected");
    struct json_tokener *tok = json_tokener_new_ex(JSON_MAX_DEPTH);
    if (!tok)
        abort();
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS |
                                    JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(tok, (const char *)text.ptr, (int)text.len);
    enum json_tokener_error why = json_tokener_get_error(tok);
    size_t end = json_tokener_get_parse_end(tok), colons = 0;
    /* What was read may be secret. */
    if (tok->pb && tok->pb->buf)
        sodium_memzero(tok->pb->buf, (size_t)tok->pb->size);
    json_tokener_free(tok);

    int rc = 0;
    size_t first = 0;
    while (first < text.len && memchr(" \t\r\n", text.ptr[first], 4))
        first++;
    if (why == json_tokener_continue && first < text.len && text.ptr[first] != '{')
        rc = wcp_fail(err, WCP_EPROTO, "byte %zu: a JSON object expected", first);
    else if (why == json_tokener_continue)
        rc = wcp_fail(err, WCP_EPROTO, "byte %zu: the JSON text ends too early", text.len);
    else if (why != json_tokener_success)
        rc = wcp_fail(err, WCP_EPROTO, "byte %zu: not JSON: %s", end, json_tokener_error_desc(why));
    else if (!json_object_is_type(o, json_type_object))
        rc = wcp_fail(err, WCP_EPROTO, "%s found, a JSON object expected", json_kind(o));
    while (!rc && end < text.len && memchr(" \t\r\n", text.ptr[end], 4))
        end++;
    if (!rc && end < text.len)
        rc = wcp_fail(err, WCP_EPROTO, "byte %zu: more text after the JSON object", end);
    if (!rc)
        rc = count_colons(text, &colons, err);
    if (!rc && colons != count_members(o))
        rc = fail_repeated(text, err);
    if (rc) {
        json_put_wiped(o);
        return rc;
    }
    *out = o;
    return 0;
}

static void wipe(struct json_object *o)
{
    switch (json_object_get_type(o)) {
    case json_type_object: {
        json_object_object_foreach(o, key, value)
        {
            (void)key;
            wipe(value);
        }
        break;
    }
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(o); i++)
            wipe(json_object_array_get_idx(o, i));
        break;
    case json_type_string:
        /* json-c has no way to overwrite a text in place; this is its own memory. */
        sodium_memzero((void *)(uintptr_t)json_object_get_string(o),
                       (size_t)json_object_get_string_len(o));
        break;
    case json_type_int: json_object_set_int64(o, 0); break;
    default: break;
    }
}

void json_put_wiped(struct json_object *o)
{
    wipe(o);
    json_object_put(o);
}

/* --- members --- */

static struct json_object *get(struct json_object *o, const char *name)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(o, name, &value) ? value : NULL;
}

static int wrong_kind(struct json_object *found, const char *what, const char *expected,
                      struct wcp_err *err)
{
    return wcp_fail(err, WCP_EPROTO, "%.64s: %s found, %s expected", what, json_kind(found),
                    expected);
}

int json_check_object(struct json_object *o, struct wcp_err *err)
{
    if (json_object_is_type(o, json_type_object))
        return 0;
    return wcp_fail(err, WCP_EPROTO, "%s found, object expected", json_kind(o));
}

int json_text_of(struct json_object *o, const char *what, const char **out, struct wcp_err *err)
{
    if (!json_object_is_type(o, json_type_string))
        return wrong_kind(o, what, "text", err);
    const char *text = json_object_get_string(o);
    size_t zero = strlen(text);
    if (zero != (size_t)json_object_get_string_len(o))
        return wcp_fail(err, WCP_EPROTO, "%.64s: zero byte found at %zu, text expected", what,
                        zero);
    *out = text;
    return 0;
}

int member_text(struct json_object *o, const char *name, char **out, struct wcp_err *err)
{
    struct json_object *v = get(o, name);
    const char *text = NULL;
    if (!v)
        return 0;
    int rc = json_text_of(v, name, &text, err);
    if (rc)
        return rc;
    *out = wcp_str_dup(wcp_str(text));
    return 0;
}

int member_bool(struct json_object *o, const char *name, bool *out, struct wcp_err *err)
{
    struct json_object *v = get(o, name);
    if (!v)
        return 0;
    if (!json_object_is_type(v, json_type_boolean))
        return wrong_kind(v, name, "true or false", err);
    *out = json_object_get_boolean(v);
    return 0;
}

int member_integer(struct json_object *o, const char *name, int64_t *out, struct wcp_err *err)
{
    struct json_object *v = get(o, name);
    if (!v)
        return 0;
    if (!json_object_is_type(v, json_type_int))
        return wrong_kind(v, name, "integer", err);
    *out = json_object_get_int64(v);
    return 0;
}

int member_bytes(struct json_object *o, const char *name, struct wcp_bytes *out,
                 struct wcp_err *err)
{
    struct json_object *v = NULL;
    int rc = member_list(o, name, &v, err);
    if (rc || !v)
        return rc;
    size_t n = json_object_array_length(v);
    uint8_t *bytes = wcp_calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(v, i);
        int64_t byte = json_object_get_int64(item);
        if (!json_object_is_type(item, json_type_int) || byte < 0 || byte > 255) {
            sodium_memzero(bytes, n);
            free(bytes);
            return wcp_fail(
                err, WCP_EPROTO, "%.64s: item %zu is %s, a number from 0 to 255 expected", name, i,
                json_object_is_type(item, json_type_int) ? "out of range" : json_kind(item));
        }
        bytes[i] = (uint8_t)byte;
    }
    *out = (struct wcp_bytes){bytes, n};
    return 0;
}

int member_list(struct json_object *o, const char *name, struct json_object **out,
                struct wcp_err *err)
{
    struct json_object *v = get(o, name);
    if (v && !json_object_is_type(v, json_type_array))
        return wrong_kind(v, name, "list", err);
    if (v)
        *out = v;
    return 0;
}

int member_object(struct json_object *o, const char *name, struct json_object **out,
                  struct wcp_err *err)
{
    struct json_object *v = get(o, name);
    if (v && !json_object_is_type(v, json_type_object))
        return wrong_kind(v, name, "object", err);
    if (v)
        *out = v;
    return 0;
}

void json_add_text(struct json_object *o, const char *member, const char *text)
{
    size_t n = strlen(text);
    char *copy = wcp_str_dup((struct wcp_str){text, n});
    for (size_t i = 0; i < n;) {
        size_t step = utf8_next((const uint8_t *)copy + i, n - i);
        if (!step)
            copy[i] = '?';
        i += step ? step : 1;
    }
    json_object_object_add(o, member, json_object_new_string(copy));
    free(copy);
}

void json_publish(struct wcp_transport *t, const char *subject, struct json_object *o)
{
    size_t n = 0;
    const char *text = json_object_to_json_string_length(
        o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    t->publish(t, &(struct wcp_msg){.subject = subject, .data = {(const uint8_t *)text, n}});
    json_object_put(o);
}

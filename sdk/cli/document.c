/* document.c: see document.h. */
#include "cli/document.h"
#include <string.h>

struct json_object *document_member(struct json_object *o, const char *name, json_type type)
{
    struct json_object *v = NULL;
    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, name, &v) &&
                   json_object_is_type(v, type)
               ? v
               : NULL;
}

const char *document_text(struct json_object *o, const char *name)
{
    struct json_object *v = document_member(o, name, json_type_string);
    return v ? json_object_get_string(v) : "";
}

void document_add(struct json_object *o, const char *name, const char *value)
{
    json_object_object_add(o, name, json_object_new_string(value));
}

struct json_object *document_array(const struct strings *s)
{
    struct json_object *a = json_object_new_array();
    for (size_t i = 0; i < s->n; i++)
        json_object_array_add(a, json_object_new_string(s->at[i]));
    return a;
}

void document_strings(struct json_object *array, struct strings *s)
{
    for (size_t i = 0; array && i < json_object_array_length(array); i++)
        strings_put(s, json_object_get_string(json_object_array_get_idx(array, i)));
}

struct json_object *document_parse(struct wcp_buf *b)
{
    wcp_buf_put(b, "", 1);
    return json_tokener_parse((const char *)b->ptr);
}

struct wcp_bytes document_bytes(struct json_object *o)
{
    const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    return (struct wcp_bytes){(const uint8_t *)text, strlen(text)};
}

bool document_is_link(struct json_object *o, const struct linkdef *l)
{
    struct json_object *name = document_member(o, "name", json_type_string);
    return strcmp(document_text(o, "source_id"), l->source_id) == 0 &&
           strcmp(document_text(o, "wit_namespace"), l->wit_namespace) == 0 &&
           strcmp(document_text(o, "wit_package"), l->wit_package) == 0 &&
           strcmp(name ? json_object_get_string(name) : "default", l->name) == 0;
}

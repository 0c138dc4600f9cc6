/* linkdef.h: link documents (lattice.md §6.1) and the maps in them. */
#ifndef LINKDEF_H
#define LINKDEF_H

#include <wcp/link.h>

struct json_object;

struct strings {
    char **at;
    size_t n;
};
/* Text to text, in the order of the document. */
struct config {
    struct config_entry {
        char *key, *value;
    } * at;
    size_t n;
};
/* Name to bytes in locked memory (sodium_malloc), NUL-terminated behind their length. */
struct secrets {
    struct secret {
        char *name;
        uint8_t *value;
        size_t len;
    } * at;
    size_t n;
};

struct linkdef {
    char *source_id, *target, *name, *wit_namespace, *wit_package;
    struct strings interfaces;
    struct config source_config, target_config;
    struct wcp_bytes source_secrets, target_secrets; /* sealed; ptr NULL: none; owned */
};

/* err says which member is wrong, what was found and what was expected. */
int linkdef_parse(struct wcp_bytes json, struct linkdef *out, struct wcp_err *err);
int linkdef_from_json(struct json_object *o, struct linkdef *out, struct wcp_err *err);
/* For link messages that we send (wcp, tests); b gets the JSON text. Secrets are not written. */
void linkdef_print(const struct linkdef *l, struct wcp_buf *b);
void linkdef_copy(struct linkdef *to, const struct linkdef *from); /* to: uninitialised */
void linkdef_free(struct linkdef *l);

const char *config_get(const struct config *c,
                       const char *key); /* exact match first, then any case */
void config_put(struct config *c, const char *key, const char *value); /* copies; replaces */
bool config_equal(const struct config *a, const struct config *b);     /* order does not matter */
#define CONFIG_MAX 10000 /* entries of one map in a document */
int config_from_json(struct json_object *o, struct config *out, struct wcp_err *err);
void config_add(struct json_object *o, const char *member, const struct config *c); /* writes it */
/* A member of o that may be absent. err must not be NULL. */
int config_member(struct json_object *o, const char *member, struct config *out,
                  struct wcp_err *err);
void config_free(struct config *c);
void strings_put(struct strings *s, const char *text); /* copies */
bool strings_have(const struct strings *s, const char *text);
#define STRINGS_MAX 1000 /* items of one list in a document */
int strings_from_json(struct json_object *o, const char *member, struct strings *out,
                      struct wcp_err *err);
void strings_free(struct strings *s);

/* "wrpc:keyvalue/store@0.2.0" → "wrpc", "keyvalue", "store"; views of name. */
void interface_split(const char *name, struct wcp_str *wit_namespace, struct wcp_str *package,
                     struct wcp_str *interface);

/* The value of the config key wrpc-codec (link.h); words may be NULL. */
int codec_parse(const char *words, struct wcp_codec *out, struct wcp_err *err);

/* Lattices, providers and components are named in NATS subjects: refuses what would break those,
 * and more than ID_MAX bytes, so that subjects stay within fixed bounds. */
#define ID_MAX 127
int id_check(const char *what, const char *id, struct wcp_err *err);

#endif

/* hostdata.c: wcp host-data: the line that starts a provider (lattice.md §4). */
#include "cli/values.h"
#include "lattice/hostdata.h"
#include <errno.h>
#include <json-c/json.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void add_text(struct json_object *o, const char *name, const char *value)
{
    json_object_object_add(o, name, json_object_new_string(value));
}

/* The JSON of a link, itself or in @FILE, checked as a provider would and added to list. */
static int add_link(struct json_object *list, const char *text, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    struct linkdef l = {0};
    int rc = 0;
    if (*text == '@')
        rc = read_file(text + 1, &b, err);
    else
        wcp_buf_put(&b, text, strlen(text));
    if (rc == 0)
        rc = linkdef_parse((struct wcp_bytes){b.ptr, b.len}, &l, err);
    if (rc == 0) {
        wcp_buf_put(&b, "", 1);
        json_object_array_add(list, json_tokener_parse((const char *)b.ptr));
    }
    linkdef_free(&l);
    wcp_buf_free(&b);
    return rc ? wcp_wrap(err, "--link %.60s", text) : 0;
}

/* The text between the lines "-----BEGIN <what>-----" and "------END <what>------". */
static char *armoured(const char *text, const char *what)
{
    char begin[64];
    (void)snprintf(begin, sizeof begin, "-----BEGIN %s-----", what);
    const char *p = strstr(text, begin);
    if (!p)
        return NULL;
    p += strlen(begin);
    p += strspn(p, "\r\n \t");
    return wcp_str_dup((struct wcp_str){p, strcspn(p, "\r\n \t")});
}

static int add_login(struct json_object *data, const char *path, struct wcp_err *err)
{
    struct wcp_buf b = {0};
    int rc = read_file(path, &b, err);
    wcp_buf_put(&b, "", 1);
    char *jwt = rc ? NULL : armoured((const char *)b.ptr, "NATS USER JWT");
    char *seed = rc ? NULL : armoured((const char *)b.ptr, "USER NKEY SEED");
    if (rc == 0 && (!jwt || !seed))
        rc = wcp_fail(err, WCP_EPROTO, "%s: no %s in it, as a NATS credentials file has", path,
                      jwt ? "USER NKEY SEED" : "NATS USER JWT");
    if (rc == 0) {
        add_text(data, "lattice_rpc_user_jwt", jwt);
        add_text(data, "lattice_rpc_user_seed", seed);
    }
    free(jwt);
    free(seed);
    wcp_buf_free(&b);
    return rc;
}

/* A UUID of version 4: a fresh one for every launch. */
static int instance_id(char out[37], struct wcp_err *err)
{
    unsigned char r[16];
    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
        return wcp_fail(err, WCP_EIO, "random numbers: %s", strerror(errno));
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    char *p = out;
    for (size_t i = 0; i < sizeof r; i++)
        p += snprintf(p, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", r[i]);
    return 0;
}

/* Prints json as base64 and a line end, after reading it back as a provider will. */
static int print_line(struct json_object *data, struct wcp_err *err)
{
    struct hostdata check = {0};
    const char *json = json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN);
    size_t n = sodium_base64_encoded_len(strlen(json), sodium_base64_VARIANT_ORIGINAL);
    char *line = wcp_calloc(1, n);
    sodium_bin2base64(line, n, (const unsigned char *)json, strlen(json),
                      sodium_base64_VARIANT_ORIGINAL);
    int rc = hostdata_parse((struct wcp_bytes){(const uint8_t *)line, n - 1}, &check, err);
    if (rc == 0) {
        printf("%s\r\n", line);
        hostdata_free(&check);
    }
    sodium_memzero(line, n);
    free(line);
    return rc;
}

int cmd_host_data(const struct options *o, struct wcp_err *err)
{
    char id[37];
    int rc = instance_id(id, err);
    struct json_object *data = json_object_new_object();
    struct json_object *config = json_object_new_object();
    struct json_object *links = json_object_new_array();
    const char *host = o->value[OPT_HOST_ID], *level = o->value[OPT_LOG];

    add_text(data, "host_id", host ? host : "wcp");
    add_text(data, "lattice_rpc_prefix", o->value[OPT_LATTICE]);
    add_text(data, "link_name", "default");
    add_text(data, "lattice_rpc_user_jwt", "");
    add_text(data, "lattice_rpc_user_seed", "");
    add_text(data, "lattice_rpc_url", o->value[OPT_NATS]);
    add_text(data, "provider_key", o->value[OPT_ID]);
    json_object_object_add(data, "env_values", json_object_new_object());
    add_text(data, "instance_id", rc ? "" : id);
    json_object_object_add(data, "link_definitions", links);
    json_object_object_add(data, "cluster_issuers", json_object_new_array());
    json_object_object_add(data, "config", config);
    json_object_object_add(data, "secrets", json_object_new_object());
    add_text(data, "host_xkey_public_key", "");
    add_text(data, "provider_xkey_private_key", "");
    json_object_object_add(data, "structured_logging", json_object_new_boolean(true));
    add_text(data, "log_level", level ? level : "info");
    struct json_object *otel = json_object_new_object();
    json_object_object_add(otel, "enable_observability", json_object_new_boolean(false));
    add_text(otel, "protocol", "Http");
    json_object_object_add(otel, "additional_ca_paths", json_object_new_array());
    add_text(otel, "trace_level", "info");
    json_object_object_add(data, "otel_config", otel);

    for (size_t i = 0; i < o->config.n; i++)
        add_text(config, o->config.at[i].key, o->config.at[i].value);
    for (size_t i = 0; i < o->links.n && rc == 0; i++)
        rc = add_link(links, o->links.at[i], err);
    if (rc == 0 && o->value[OPT_CREDS])
        rc = add_login(data, o->value[OPT_CREDS], err);
    if (rc == 0)
        rc = print_line(data, err);
    json_object_put(data);
    return rc;
}

/* events.c: CloudEvents on wasmbus.evt.<lattice>.<name> (lattice.md §10). */
#include "lattice/events.h"
#include "lattice/json.h"
#include "lattice/linkdef.h"
#include <sodium.h>
#include <stdio.h>
#include <time.h>

/* A random (version 4) UUID, as libraries for CloudEvents make them. */
static void make_id(char out[37])
{
    uint8_t b[16];
    char hex[33];
    randombytes_buf(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    sodium_bin2hex(hex, sizeof hex, b, sizeof b);
    (void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}

/* RFC 3339, e.g. 2026-02-05T12:34:56.789012Z. */
static void print_time(int64_t us, char out[40])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm = {0};
    char text[24] = "";
    (void)gmtime_r(&seconds, &tm); /* fails for years that no clock shows */
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, 40, "%s.%06dZ", text, (int)(us % 1000000));
}

void events_publish(const struct events *e, const char *name, struct json_object *data)
{
    char subject[ID_MAX + 96], type[96], id[37], when[40];
    (void)snprintf(subject, sizeof subject, "wasmbus.evt.%s.%s", e->lattice, name);
    (void)snprintf(type, sizeof type, "com.wasmcloud.lattice.%s", name);
    make_id(id);
    print_time(e->wall_us(), when);
    struct json_object *o = json_object_new_object();
    json_add_text(o, "specversion", "1.0");
    json_add_text(o, "id", id);
    json_add_text(o, "type", type);
    json_add_text(o, "source", e->source);
    json_add_text(o, "datacontenttype", "application/json");
    json_add_text(o, "time", when);
    json_object_object_add(o, "data", data);
    json_publish(e->t, subject, o);
}

/* test_events.c: CloudEvents as lattice.md §10 has them. */
#include "lattice/events.h"
#include "fake_transport.h"
#include "lattice/json.h"
#include "test.h"

static int64_t wall_now;
static int64_t wall(void)
{
    return wall_now;
}

static struct fake net;

static struct json_object *publish(const char *name, struct json_object *data)
{
    struct events e = {.t = &net.t, .lattice = "lat", .source = "NHOST", .wall_us = wall};
    struct json_object *o = NULL;
    struct wcp_err err;
    events_publish(&e, name, data);
    const struct fake_msg *m = fake_take(&net);
    CHECK(m && !m->reply && !m->header_count);
    if (json_parse(m->data, &o, &err))
        FAIL("%s", err.msg);
    return o;
}

static const char *member(struct json_object *o, const char *name)
{
    return json_object_get_string(json_object_object_get(o, name));
}

TEST(event_is_a_cloud_event_of_the_host)
{
    fake_init(&net);
    wall_now = 1770294896789012; /* date -u -d @1770294896 */
    struct json_object *data = json_object_new_object();
    json_object_object_add(data, "k", json_object_new_string("v/w"));
    struct json_object *o = publish("provider_started", data);
    CHECK_STR(net.sent[0].subject, "wasmbus.evt.lat.provider_started");
    CHECK_STR(member(o, "specversion"), "1.0");
    CHECK_STR(member(o, "type"), "com.wasmcloud.lattice.provider_started");
    CHECK_STR(member(o, "source"), "NHOST");
    CHECK_STR(member(o, "datacontenttype"), "application/json");
    CHECK_STR(member(o, "time"), "2026-02-05T12:34:56.789012Z");
    CHECK_STR(member(json_object_object_get(o, "data"), "k"), "v/w");
    CHECK_INT(json_object_object_length(o), 7);
    json_object_put(o);
    fake_close(&net);
}

TEST(event_ids_are_uuids_and_differ)
{
    fake_init(&net);
    wall_now = 0;
    struct json_object *a = publish("x", json_object_new_object()),
                       *b = publish("x", json_object_new_object());
    const char *id = member(a, "id");
    CHECK_INT(strlen(id), 36);
    CHECK_INT(strspn(id, "0123456789abcdef-"), 36);
    CHECK(id[8] == '-' && id[13] == '-' && id[14] == '4' && id[18] == '-' && id[23] == '-');
    CHECK(strcmp(id, member(b, "id")) != 0);
    CHECK_STR(member(a, "time"), "1970-01-01T00:00:00.000000Z");
    json_object_put(a);
    json_object_put(b);
    fake_close(&net);
}

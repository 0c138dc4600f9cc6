/* fake_conn.c: see fake_conn.h. */
#include "fake_conn.h"
#include "rpc/rpc.h"
#include "test.h"

static struct fake_conn *of(struct wcp_conn *c)
{
    CHECK(!((struct fake_conn *)c)->closed);
    return (struct fake_conn *)c;
}

static void on_write(struct wcp_conn *c, struct wcp_bytes data)
{
    CHECK(!of(c)->shut);
    wcp_buf_put(&of(c)->sent, data.ptr, data.len);
}

static void on_shutdown(struct wcp_conn *c)
{
    CHECK(!of(c)->shut);
    of(c)->shut = true;
}

static void on_want(struct wcp_conn *c, bool reading)
{
    CHECK(of(c)->stopped == reading); /* it changes */
    of(c)->stopped = !reading;
}

static size_t on_buffered(struct wcp_conn *c)
{
    return of(c)->kept;
}

static void on_close(struct wcp_conn *c)
{
    of(c)->closed = true;
}

void fake_conn_init(struct fake_conn *c)
{
    *c = (struct fake_conn){.conn = {.write = on_write,
                                     .shutdown = on_shutdown,
                                     .want = on_want,
                                     .buffered = on_buffered,
                                     .close = on_close}};
}

void fake_conn_free(struct fake_conn *c)
{
    CHECK(c->closed);
    wcp_buf_free(&c->sent);
}

void fake_conn_feed(struct fake_conn *c, struct wcp_bytes data, size_t most)
{
    while (data.len && !c->closed) {
        size_t n = most && most < data.len ? most : data.len;
        uint8_t *copy = wcp_calloc(1, n); /* so that its use afterwards is seen */
        memcpy(copy, data.ptr, n);
        rpc_conn_data(&c->conn, (struct wcp_bytes){copy, n});
        free(copy);
        data.ptr += n;
        data.len -= n;
    }
}

void fake_conn_eof(struct fake_conn *c)
{
    if (!c->closed)
        rpc_conn_eof(&c->conn);
}

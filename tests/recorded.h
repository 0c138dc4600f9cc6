/* recorded.h: recorded exchanges of real Rust peers (tests/vectors), one side of each played by us:
 * what test_replay.c (NATS) and test_replay_framed.c share.
 *
 * What the recorded peer sent is fed to us; what we send is compared with what the other recorded
 * peer sent in our place. Compared are, per channel:
 * - the root (parameters or results): the same bytes. Messages and frames may be cut elsewhere.
 * - streams: the same elements, byte for byte, and the same end mark; chunks may be others.
 *   Futures: the same bytes.
 * - the root comes before what it announces.
 * Then all of it again with streams and futures that are whole before they are sent, and so go
 * inline: then the root is decoded, its synchronous part compared as bytes, and the inline values
 * as above. Values are made from the recorded bytes and the type tables, so that each function of
 * each recording is served and called by the same few lines. */
#ifndef RECORDED_H
#define RECORDED_H

#include "rpc/codec.h"
#include <json-c/json.h>
#include <wcp/call.h>

#define CHANNELS 8
#define ASYNCS   8

/* One recorded or sent direction: bytes per channel. */
struct channel {
    char path[40]; /* "" for the root, ".0.1" */
    struct wcp_buf bytes;
    unsigned ends;
    size_t first; /* number of its first message */
};
struct side {
    struct channel channels[CHANNELS];
    size_t count, messages;
    bool all_ended; /* at once: a connection's direction */
};

struct channel *channel(struct side *s, const char *path);              /* made if there is none */
void side_add(struct side *s, const char *path, struct wcp_bytes data); /* empty: its end */
void side_free(struct side *s);

/* A value by its type, with its streams and futures, and those in their elements. */
struct value;
struct async {
    struct value *value; /* that it is in */
    struct path at;
    char path[40]; /* the same as text */
    const struct wcp_type *type;
    struct wcp_in *in;
    struct wcp_out *out;
    struct wcp_buf got; /* the elements, encoded */
    uint32_t count;
    bool inline_, ended;
    int status;
};
struct value {
    void *p;
    struct async asyncs[ASYNCS];
    size_t count;
    bool make_outs;
};
/* Decodes a root; its streams become writers if make_outs is set. Lives in play.arena. */
void value_decode(struct value *v, const struct wcp_type *t, bool result, struct wcp_bytes in,
                  size_t size);
void value_free(struct value *v);
/* Writes into a value's writers what was recorded on their channels, and ends them. */
void write_all(struct value *v, struct side *recorded);

struct recorded {
    const struct wcp_interface *iface;
    size_t func;
    struct side client, server;
};

/* The exchange that is played. */
extern struct play {
    struct recorded *now;
    bool whole; /* streams and futures are ended before they are sent */
    struct wcp_arena arena;
    /* As server: the parameters that the handler got, their synchronous bytes; its answer. */
    struct value params, answer;
    struct wcp_buf params_sync;
    unsigned served;
    /* As client: */
    int status; /* 1: not delivered yet */
    struct value result;
    struct wcp_buf result_sync;
} play;

/* The generated tables, but handlers answer as recorded. Nobody serves the last. */
#define INTERFACES 6
extern struct wcp_interface interfaces[INTERFACES];
extern void (*const any_handler)(void); /* an implementation of any of them */
void load_interfaces(void);

void check_same(const char *what, struct wcp_bytes got, struct wcp_bytes want);
/* What we sent against what was recorded in our place. */
void check_sent(const struct wcp_type *t, bool result, struct side *got, struct side *recorded);
/* What we read from a received value's streams against what was recorded on them. */
void check_received(struct value *v, struct side *recorded);
void play_free(void); /* what play holds of the exchange */

struct wcp_bytes bytes(const struct wcp_buf *b);
const char *json_text(struct json_object *o, const char *key); /* NULL: absent */
/* Appends a payload: members <prefix>_hex, or <prefix>_len and <prefix>_head_hex: a large one is a
 * piece, from *at on, of the 3 MiB parameter that the vectors' README.md describes. */
void load_data(struct wcp_buf *b, struct json_object *o, const char *prefix, size_t *at);

#endif

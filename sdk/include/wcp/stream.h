/* stream.h: streams and futures, in and out. A future is a stream of exactly one value. */
#ifndef WCP_STREAM_H
#define WCP_STREAM_H

#include <wcp/type.h>

struct wcp_in;  /* what a peer is sending to us */
struct wcp_out; /* what we are sending to a peer */

/* A stream or future inside a value: .in where we received the value, .out where we send it. */
union wcp_async {
    struct wcp_in *in;
    struct wcp_out *out;
};

struct wcp_in_handler {
    /* n values of the element type (bytes of a stream<u8>); they live for this call only. Streams
     * and futures in them are dropped when it returns, but for those that it has started: they go
     * on by themselves, also when this one has ended. */
    void (*data)(void *ctx, const void *items, size_t n);
    /* The last callback. status 0: the peer ended the stream, or the future's value was delivered.
     * WCP_ECLOSED: it broke off; WCP_ETIMEOUT; WCP_EPROTO: bytes that are no such value;
     * WCP_ETOOBIG: more was waiting, or open at once, than the limits allow. s is gone after this.
     */
    void (*end)(void *ctx, int status);
};

/* Start reading. May deliver what is already there, even the end, before it returns. An incoming
 * value that is not started by the time its call is answered (or, for a result, when the done
 * callback returns) is dropped. */
void wcp_in_start(struct wcp_in *s, const struct wcp_in_handler *h, void *ctx);
/* While paused nothing is delivered; what comes in is kept, up to the limits. */
void wcp_in_pause(struct wcp_in *s);
void wcp_in_resume(struct wcp_in *s); /* may deliver before it returns */
/* Stop reading for good: no more callbacks, not even end. s is gone after this. */
void wcp_in_cancel(struct wcp_in *s);

/* A new outgoing stream or future of elem (NULL for a future without a type). Put it into the value
 * that you send; from then on the call owns it. What is written before that is sent along with
 * the value, inline if it is already ended: a small answer is then one message. */
struct wcp_out *wcp_out_new(const struct wcp_type *elem);
/* Send n values (bytes for u8); copies. For a future: one, once, which it is whole with. Outgoing
 * streams and futures in the values belong to the call, or to s as long as that is in no sent
 * value; their writers end them as any others. False: more than a reasonable amount is waiting to
 * be sent; go on at on_drained. When the receiver is gone, writes are discarded and return true. */
bool wcp_out_write(struct wcp_out *s, const void *items, size_t n);
/* Called once after a write returned false, when it makes sense to write again or the receiver is
 * gone; if it is gone already, before this returns. Replaces a former one. Call it right behind
 * that write: when s is then part of a value that is sent first, room may be made before. */
void wcp_out_on_drained(struct wcp_out *s, void (*fn)(void *ctx), void *ctx);
void wcp_out_end(struct wcp_out *s);   /* s is gone after this, once it is part of a sent value */
void wcp_out_abort(struct wcp_out *s); /* as wcp_out_end, but the receiver sees it break off */
/* Only for one that was never put into a value. */
void wcp_out_free(struct wcp_out *s);

#endif

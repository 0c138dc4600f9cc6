/* transfer.h: objects' bytes and names as streams. */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "blobstore_blobstore.h"
#include "store.h"

void upload(struct blobstore_blobstore_write_container_data *c);
void download(struct blobstore_blobstore_get_container_data *c);
void listing(struct blobstore_blobstore_list_container_objects *c);

/* The future that tells how a transfer has ended; why NULL: well. o is ended. */
void transfer_over(struct wcp_out *o, const char *why);
/* Nobody reads o any more. */
bool transfer_is_unheard(struct wcp_out *o);
/* Answers with an error, or keeps a store for the call: NULL then means that it is answered. */
struct store *transfer_begin(struct wcp_call *c);

#endif

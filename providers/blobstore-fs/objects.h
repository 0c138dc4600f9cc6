/* objects.h: what takes more than a step or two on the disk. For worker threads, as folder.h. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "blobstore_types.h"
#include "store.h"

const char *objects_clear(struct store *s, struct wcp_str container);
const char *objects_delete_container(struct store *s, struct wcp_str container);
const char *objects_copy(struct store *s, struct blobstore_types_object_id src,
                         struct blobstore_types_object_id dest);
const char *objects_move(struct store *s, struct blobstore_types_object_id src,
                         struct blobstore_types_object_id dest);

#endif

/* link.h: link messages to the two ends of a link, and their health. */
#ifndef LINK_H
#define LINK_H

#include "cli/session.h"

/* 0: healthy. WCP_ENOENT: nobody is there. WCP_EIO: it says that it is not, with its reason. */
int link_health(struct session *s, const char *id, struct wcp_err *err);
/* Asks until the answer is `healthy`, for wait_ms. */
int link_wait_healthy(struct session *s, const char *id, uint32_t wait_ms, struct wcp_err *err);
/* what: "put" or "del". */
void link_tell(struct session *s, const char *id, const char *what, const struct linkdef *l);
/* Sends a put, and sees that it was taken. */
int link_put_and_see(struct session *s, const char *id, const struct linkdef *l, uint32_t wait_ms,
                     struct wcp_err *err);
void link_print(const struct linkdef *l, const char *what);
void link_copy_config(struct config *to, const struct config *from);
/* With --direct there are no named configs. */
int link_direct_configs(const struct options *o, struct wcp_err *err);

#endif

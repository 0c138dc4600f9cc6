/* version.h: semantic versions, https://semver.org. */
#ifndef WIT_VERSION_H
#define WIT_VERSION_H

#include <wcp/base.h>

/* major.minor.patch[-pre][+build] with numbers of at most 64 bits and without leading zeros. */
bool version_is_valid(struct wcp_str v);
/* Less than, equal to or greater than 0; both are valid. What is before a '-' counts first; a
 * version without one comes after those with. */
int version_compare(struct wcp_str a, struct wcp_str b);

#endif

/* map.h: a string-keyed hash table. Keys are copied; values belong to the map. */
#ifndef WCP_MAP_H
#define WCP_MAP_H

#include <wcp/base.h>

struct wcp_map;
struct wcp_map *wcp_map_new(void (*drop)(void *value)); /* drop may be NULL: values are not freed */
void wcp_map_free(struct wcp_map *m);                   /* drops every value; NULL is allowed */
void *wcp_map_get(const struct wcp_map *m, struct wcp_str key); /* NULL when absent */
/* Takes ownership of value; a former value under key is dropped. */
void wcp_map_put(struct wcp_map *m, struct wcp_str key, void *value);
bool wcp_map_del(struct wcp_map *m, struct wcp_str key); /* false when absent */
size_t wcp_map_len(const struct wcp_map *m);
/* Lists the keys, each with a NUL behind it, which live as long as their entries do; the list
 * itself lives in a. Returns the count. The order is any, but the same until the map changes. */
size_t wcp_map_keys(const struct wcp_map *m, struct wcp_arena *a, const struct wcp_str **keys);

#endif

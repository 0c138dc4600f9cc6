/* log.h: one JSON line per event on stderr. */
#ifndef WCP_LOG_H
#define WCP_LOG_H

#include <wcp/base.h>

enum wcp_level { WCP_ERROR, WCP_WARN, WCP_INFO, WCP_DEBUG };

/* What happened, then pairs of field name and text, closed by NULL:
 * wcp_log(WCP_WARN, "redis: reconnecting", "link", name, "attempt", n, NULL);
 * All are NUL-terminated; a NULL text ends the list too. Never pass a secret. Works on any thread.
 */
void wcp_log(enum wcp_level level, const char *what, ...) __attribute__((sentinel));
/* The same with one formatted text: wcp_logf(WCP_INFO, "serving %zu functions", n). */
void wcp_logf(enum wcp_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

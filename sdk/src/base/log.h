/* log.h: where log lines go and what they carry. One sink per process, as stderr is. */
#ifndef LOG_H
#define LOG_H

#include <wcp/log.h>

/* A complete line without its newline. NULL puts stderr back. Tests assert on lines with this. */
void log_set_sink(void (*sink)(void *ctx, enum wcp_level level, const char *line), void *ctx);
void log_set_level(enum wcp_level most);
/* HostData's and WCP_LOG's names: error, critical, warn, info, debug, trace. False: no such level.
 */
bool log_parse_level(const char *name, enum wcp_level *out);
/* Added to every line from here on; copied. NULL removes it. */
void log_set_provider(const char *id);

#endif

/* values.h: WIT and WAVE on the command line: where interfaces come from, and what the operands
 * say. What is wrong in a text is printed here, with its place; err is then empty and the code
 * WCP_EINVAL.
 */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "cli/cli.h"
#include "wave/tables.h"
#include "wave/wave.h"

struct values {
    struct wit wit;         /* all packages there are */
    struct wcp_arena arena; /* of what is read */
    bool stdin_taken;       /* only one operand can be - */
};

/* Loads --wit, else WCP_WIT, else the interfaces installed with wcp. need: it is an error if there
 * are none. values_close comes in any case. */
int values_open(const struct options *o, bool need, struct values *v, struct wcp_err *err);
void values_close(struct values *v);

/* The type that text says, in WIT. */
int values_type(struct values *v, const char *text, const struct wcp_type **out,
                struct wcp_err *err);
/* The function that text says, as in wrpc:keyvalue/store.get. f is one of *iface's. */
int values_function(struct values *v, const char *text, const struct wcp_interface **iface,
                    size_t *index, const struct wit_func **f, struct wcp_err *err);
/* Reads text into out, which is of type t; what is its name for messages. async is that of struct
 * wave_reader, NULL for its default. A text of - or @FILE is in a file, unless the bytes of the
 * file are the value. */
int values_read(struct values *v, const char *what, const struct wcp_type *t, const char *text,
                int (*async)(void *ctx, const struct wcp_type *t, const struct wave_async *a,
                             union wcp_async *out, struct wcp_err *err),
                void *ctx, void *out, struct wcp_err *err);
/* The same of a text that is no operand: nothing of it is in a file. Into arena. */
int values_read_text(const char *what, const struct wcp_type *t, struct wcp_str text,
                     struct wcp_arena *arena, void *out);

/* - is the standard input, which can be read once. */
int values_take_stdin(struct values *v, struct wcp_err *err);
/* The bytes of a file, or of the standard input if name is -; they live as long as v. */
int values_file(struct values *v, const char *name, struct wcp_bytes *out, struct wcp_err *err);
/* All of a file, or of the standard input if path is -. */
int read_file(const char *path, struct wcp_buf *b, struct wcp_err *err);

#endif

/* wit.c: fuzzing the WIT parser and the generator: any text is either a package, for which code can
 * be made, or one error with its place. */
#include "wit/load.h"
#include "witc/emit.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What users of a resolved package rely on: every name is bound, and no walk is endless. */
static void look_at(const struct wit *w, struct wcp_buf *out)
{
    for (const struct wit_type *t = w->names; t; t = t->next_name)
        assert(t->elem && wit_real(t));
    for (const struct wit_package *p = w->packages; p; p = p->next)
        for (const struct wit_interface *i = p->interfaces; i; i = i->next) {
            assert(i->depth);
            for (const struct wit_type *t = i->types; t; t = t->next)
                assert(t->depth && t->depth <= WIT_MAX_DEPTH);
            for (const struct wit_func *f = i->funcs; f; f = f->next) {
                out->len = 0;
                wit_print_func(f, out);
            }
        }
}

/* Code for all its interfaces, both ways. It is not compiled here (test_witc.py does that). */
static void generate(struct wit *w, struct wcp_buf *out)
{
    struct emit e = {.w = w, .taken = wcp_map_new(NULL)};
    for (struct wit_interface *i = w->packages->interfaces; i; i = i->next)
        i->needed = i->imported = i->exported = true;
    emit_names(&e);
    for (struct unit *u = e.units; u; u = u->next) {
        out->len = 0;
        emit_header(&e, u, out);
        emit_source(&e, u, out);
    }
    wcp_map_free(e.taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wit w;
    struct wcp_buf out = {0};
    wit_init(&w);
    if (wit_try_text(&w, "fuzz.wit", (struct wcp_str){(const char *)data, size}) == 0) {
        look_at(&w, &out);
        generate(&w, &out);
    } else {
        wit_error_print(&w, &out);
        assert(out.len && out.ptr[out.len - 1] == '\n');
    }
    wcp_buf_free(&out);
    wit_free(&w);
    return 0;
}

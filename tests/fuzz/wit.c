/* wit.c: fuzzing the WIT parser and the generator: any text is either a package, for which code can
 * be made, or one error with its place. */
#include "wit/json.h"
#include "wit/load.h"
#include "witc/emit.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What users of a resolved package rely on: every name is bound, and no walk is endless. */
static void look_at_interface(const struct wit_interface *i, struct wcp_buf *out)
{
    assert(i->depth);
    for (const struct wit_type *t = i->types; t; t = t->next)
        assert(t->depth && t->depth <= WIT_MAX_DEPTH && wit_real(t));
    for (const struct wit_func *f = i->funcs; f; f = f->next) {
        out->len = 0;
        wit_print_func(f, out);
    }
}

static void look_at(struct wit *w, struct wcp_buf *out)
{
    for (const struct wit_package *p = w->packages; p; p = p->next) {
        for (const struct wit_interface *i = p->interfaces; i; i = i->next)
            look_at_interface(i, out);
        for (const struct wit_world *o = p->worlds; o; o = o->next) {
            look_at_interface(o->scope, out);
            for (const struct wit_extern *x = o->imports->first; x; x = x->next)
                assert(!!x->interface + !!x->func + !!x->type == 1);
            for (const struct wit_extern *x = o->exports->first; x; x = x->next)
                assert(!!x->interface + !!x->func == 1 && !x->type);
        }
    }
    out->len = 0;
    wit_json(w, out);
}

/* Code for all that its worlds say. It is not compiled here (test_witc.py does that). */
static void generate(struct wit *w, void *arg)
{
    struct emit *e = arg;
    select_all(w);
    emit_names(e);
}

static void write_code(struct emit *e, struct wcp_buf *out)
{
    for (struct unit *u = e->units; u; u = u->next) {
        out->len = 0;
        emit_header(e, u, out);
        emit_source(e, u, out);
    }
}

static void check_error(const struct wit *w, struct wcp_buf *out)
{
    out->len = 0;
    wit_error_print(w, out);
    assert(out->len && out->ptr[out->len - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wit w;
    struct wcp_buf out = {0};
    wit_init(&w);
    struct emit e = {.w = &w, .taken = wcp_map_new(NULL)};
    const struct wcp_str features = WCP_STR("active");
    w.features = &features;
    w.feature_count = 1;
    if (wit_try_text(&w, "fuzz.wit", (struct wcp_str){(const char *)data, size}) == 0) {
        look_at(&w, &out);
        if (wit_try(&w, generate, &e) == 0)
            write_code(&e, &out);
        else
            check_error(&w, &out);
    } else {
        check_error(&w, &out);
    }
    wcp_map_free(e.taken);
    wcp_buf_free(&out);
    wit_free(&w);
    return 0;
}

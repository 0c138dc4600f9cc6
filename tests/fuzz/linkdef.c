/* linkdef.c: fuzzes link documents: what is read and printed reads as the same again. */
#include "lattice/linkdef.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct linkdef l = {0}, back = {0};
    struct wcp_err err = {0};
    struct wcp_buf b = {0};
    if (linkdef_parse((struct wcp_bytes){data, size}, &l, &err)) {
        if (err.msg[0] == '\0' || l.source_id)
            abort();
        return 0;
    }
    linkdef_print(&l, &b);
    if (linkdef_parse((struct wcp_bytes){b.ptr, b.len}, &back, &err) ||
        strcmp(l.source_id, back.source_id) != 0 || strcmp(l.target, back.target) != 0 ||
        strcmp(l.name, back.name) != 0 || strcmp(l.wit_namespace, back.wit_namespace) != 0 ||
        strcmp(l.wit_package, back.wit_package) != 0 || l.interfaces.n != back.interfaces.n ||
        !config_equal(&l.source_config, &back.source_config) ||
        !config_equal(&l.target_config, &back.target_config))
        abort();
    wcp_buf_free(&b);
    linkdef_free(&l);
    linkdef_free(&back);
    return 0;
}

/* hostdata.c: fuzzes the host data line. The input is the JSON document, which is wrapped in base64
 * so that the fuzzer gets past it; the raw input is tried as a line, too. */
#include "lattice/hostdata.h"
#include "base/log.h"
#include <sodium.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quiet(void *ctx, enum wcp_level level, const char *line)
{
}

static void try(struct wcp_bytes line)
{
    struct hostdata h = {0};
    struct wcp_err err = {0};
    int rc = hostdata_parse(line, &h, &err);
    /* A failure says why; success fills in every text. */
    if (rc ? err.msg[0] == '\0' || h.host_id : !h.host_id || !h.provider_id[0] || !h.lattice[0])
        abort();
    if (rc == 0)
        hostdata_free(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n = sodium_base64_ENCODED_LEN(size, sodium_base64_VARIANT_ORIGINAL);
    char *line = malloc(n);
    if (!line)
        abort();
    log_set_sink(quiet, NULL);
    sodium_bin2base64(line, n, data, size, sodium_base64_VARIANT_ORIGINAL);
    try((struct wcp_bytes){(uint8_t *)line, n - 1});
    try((struct wcp_bytes){data, size});
    free(line);
    return 0;
}

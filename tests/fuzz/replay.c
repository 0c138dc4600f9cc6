/* replay.c: runs a fuzz target once over each file given, where there is no libFuzzer. */
#include <wcp/base.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct wcp_buf b = {0};
        uint8_t chunk[4096];
        FILE *f = fopen(argv[i], "rb");
        fprintf(stderr, "%s\n", argv[i]); /* a crash is in the file that was named last */
        if (!f) {
            perror(argv[i]);
            return 1;
        }
        for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
            wcp_buf_put(&b, chunk, n);
        (void)fclose(f); /* it was only read */
        LLVMFuzzerTestOneInput(b.ptr, b.len);
        wcp_buf_free(&b);
    }
    printf("%d passed, 0 failed\n", argc - 1);
    return 0;
}

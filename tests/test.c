/* test.c: runs the registered tests of one executable. usage: test [NAME-PART] */
#include "test.h"
#include <stdarg.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test {
    const char *name;
    void (*fn)(void);
} tests[1000];
static size_t count;
static void *keep[1000]; /* what test_unhex made, until the test ends */
static size_t kept;

void test_register(const char *name, void (*fn)(void))
{
    if (count == sizeof tests / sizeof *tests)
        abort();
    tests[count++] = (struct test){name, fn};
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1); /* no leak report for a test that has failed anyway */
}

struct wcp_bytes test_unhex(const char *hex)
{
    size_t n = strlen(hex) / 2;
    uint8_t *p = calloc(1, n + 1);
    if (!p || kept == sizeof keep / sizeof *keep)
        abort();
    keep[kept++] = p;
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            FAIL("not hexadecimal: %s", hex + 2 * i);
        p[i] = (uint8_t)byte;
    }
    return (struct wcp_bytes){p, n};
}

void test_check_hex(const char *file, int line, const char *what, struct wcp_bytes got,
                    const char *want)
{
    char *text = calloc(1, 2 * got.len + 1);
    if (!text)
        abort();
    for (size_t i = 0; i < got.len; i++)
        snprintf(text + 2 * i, 3, "%02x", got.ptr[i]);
    if (strcmp(text, want) != 0)
        test_fail(file, line, "%s is %s, expected %s", what, text, want);
    free(text);
}

/* The child's exit status, or a negative signal number. */
static int run(const struct test *t)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        /* Who computes has so much of a processor, who waits so much time: also on a busy machine.
         */
        (void)setrlimit(RLIMIT_CPU, &(struct rlimit){60, 60}); /* without it there is the alarm */
        alarm(300);
        t->fn();
        while (kept)
            free(keep[--kept]);
        exit(0); /* runs the leak checker */
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && !strstr(tests[i].name, argv[1]))
            continue;
        int rc = run(&tests[i]);
        if (rc == 0) {
            passed++;
            continue;
        }
        failed++;
        printf("FAILED %s (%s %d)\n", tests[i].name, rc < 0 ? "signal" : "exit", rc < 0 ? -rc : rc);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed || passed == 0;
}

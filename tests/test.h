/* test.h: unit tests. TEST registers itself; each test runs in a forked child with a time limit, so
 * one that crashes, hangs or leaks fails alone. Names are sentences. */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcp/base.h>

void test_register(const char *name, void (*fn)(void));
/* Ends the running test as failed. */
_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void register_##name(void)                                 \
    {                                                                                              \
        test_register(#name, name);                                                                \
    }                                                                                              \
    static void name(void)

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            FAIL("not true: %s", #cond);                                                           \
    } while (0)
#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_)                                                                         \
            FAIL("%s is %lld, expected %lld", #got, got_, want_);                                  \
    } while (0)
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (!got_ || strcmp(got_, want_) != 0)                                                     \
            FAIL("%s is \"%s\", expected \"%s\"", #got, got_ ? got_ : "(NULL)", want_);            \
    } while (0)
/* Bytes against a string of hexadecimal digits. */
#define CHECK_HEX(got, want) test_check_hex(__FILE__, __LINE__, #got, (got), (want))
void test_check_hex(const char *file, int line, const char *what, struct wcp_bytes got,
                    const char *want);
struct wcp_bytes test_unhex(const char *hex); /* lives until the test ends */

#endif

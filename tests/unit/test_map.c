/* test_map.c: the hash table. */
#include "test.h"
#include <wcp/map.h>

static int dropped;

static void drop(void *value)
{
    dropped++;
    free(value);
}

static void *number(unsigned n)
{
    unsigned *p = wcp_calloc(1, sizeof *p);
    *p = n;
    return p;
}

static struct wcp_str key(unsigned n)
{
    static char text[32];
    snprintf(text, sizeof text, "key-%u", n);
    return wcp_str(text);
}

TEST(an_empty_map_answers)
{
    struct wcp_map *m = wcp_map_new(NULL);
    struct wcp_arena a = {0};
    const struct wcp_str *keys;
    CHECK(!wcp_map_get(m, WCP_STR("x")));
    CHECK(!wcp_map_del(m, WCP_STR("x")));
    CHECK_INT(wcp_map_len(m), 0);
    CHECK_INT(wcp_map_keys(m, &a, &keys), 0);
    wcp_map_free(m);
    wcp_map_free(NULL);
}

TEST(many_keys_are_put_replaced_found_listed_and_deleted)
{
    enum { N = 20000 };
    struct wcp_map *m = wcp_map_new(drop);
    struct wcp_arena a = {0};
    const struct wcp_str *keys, *again;
    for (unsigned i = 0; i < N; i++)
        wcp_map_put(m, key(i), number(i));
    for (unsigned i = 0; i < N; i += 2)
        wcp_map_put(m, key(i), number(i + 1000000));
    CHECK_INT(wcp_map_len(m), N);
    CHECK_INT(dropped, N / 2);
    for (unsigned i = 0; i < N; i++) {
        const unsigned *p = wcp_map_get(m, key(i));
        CHECK(p);
        CHECK_INT(*p, i % 2 ? i : i + 1000000);
    }
    CHECK(!wcp_map_get(m, key(N)));
    CHECK_INT(wcp_map_keys(m, &a, &keys), N);
    CHECK_INT(wcp_map_keys(m, &a, &again), N);
    for (unsigned i = 0; i < N;
         i++) { /* in the same order, and the keys of the entries themselves */
        CHECK(keys[i].ptr == again[i].ptr);
        CHECK(wcp_map_get(m, keys[i]));
        CHECK_INT(keys[i].ptr[keys[i].len], 0);
    }
    for (unsigned i = 0; i < N; i++) {
        CHECK(wcp_map_del(m, key(i)));
        CHECK(!wcp_map_del(m, key(i)));
        if (i % 997 == 0 && i + 1 < N)
            CHECK(wcp_map_get(m, key(i + 1)) && wcp_map_get(m, key(N - 1)));
    }
    CHECK_INT(wcp_map_len(m), 0);
    CHECK_INT(dropped, N + N / 2);
    wcp_map_put(m, key(1), number(1));
    wcp_map_free(m);
    CHECK_INT(dropped, N + N / 2 + 1);
    wcp_arena_free(&a);
}

TEST(keys_are_any_bytes)
{
    struct wcp_map *m = wcp_map_new(drop);
    char bytes[256];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (unsigned n = 0; n < sizeof bytes; n++) /* each length, zeros included */
        wcp_map_put(m, (struct wcp_str){bytes, n}, number(n));
    CHECK_INT(wcp_map_len(m), sizeof bytes);
    for (unsigned n = 0; n < sizeof bytes; n++)
        CHECK_INT(*(unsigned *)wcp_map_get(m, (struct wcp_str){bytes, n}), n);
    CHECK(!wcp_map_get(m, WCP_STR("\1")));
    wcp_map_free(m);
}

TEST(putting_the_same_value_again_keeps_it)
{
    struct wcp_map *m = wcp_map_new(drop);
    unsigned *p = number(7);
    wcp_map_put(m, WCP_STR("k"), p);
    wcp_map_put(m, WCP_STR("k"), p);
    CHECK_INT(dropped, 0);
    CHECK_INT(*(unsigned *)wcp_map_get(m, WCP_STR("k")), 7);
    wcp_map_free(m);
    CHECK_INT(dropped, 1);
}

TEST(a_map_without_drop_leaves_values_alone)
{
    static char value[] = "static";
    struct wcp_map *m = wcp_map_new(NULL);
    wcp_map_put(m, WCP_STR("a"), value);
    wcp_map_put(m, WCP_STR("a"), value + 1);
    CHECK_STR(wcp_map_get(m, WCP_STR("a")), "tatic");
    CHECK(wcp_map_del(m, WCP_STR("a")));
    wcp_map_free(m);
}

TEST(two_maps_order_the_same_keys_differently)
{
    /* The sign of the random key; 64 keys agree by chance once in more than 10^80 times. */
    struct wcp_map *m[2] = {wcp_map_new(drop), wcp_map_new(drop)};
    struct wcp_arena a = {0};
    const struct wcp_str *keys[2];
    bool differ = false;
    for (unsigned i = 0; i < 64; i++)
        for (unsigned k = 0; k < 2; k++)
            wcp_map_put(m[k], key(i), number(i));
    for (unsigned k = 0; k < 2; k++)
        CHECK_INT(wcp_map_keys(m[k], &a, &keys[k]), 64);
    for (unsigned i = 0; i < 64; i++)
        differ |= !wcp_str_eq(keys[0][i], keys[1][i]);
    CHECK(differ);
    wcp_map_free(m[0]);
    wcp_map_free(m[1]);
    wcp_arena_free(&a);
}

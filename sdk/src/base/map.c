/* map.c: a string-keyed hash table: chains, and a keyed hash (SipHash-1-3) with a random key for
 * each map, because keys come from outside and must not be made to collide on purpose. */
#include <wcp/map.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct entry {
    struct entry *next;
    uint64_t hash;
    void *value;
    struct wcp_str key; /* points to text */
    char text[];
};
struct wcp_map {
    struct entry **slots; /* NULL while empty */
    size_t count, mask;   /* mask + 1 slots, a power of two */
    uint64_t seed[2];
    void (*drop)(void *value);
};
enum { FEWEST = 8 }; /* slots */

struct wcp_map *wcp_map_new(void (*drop)(void *value))
{
    struct wcp_map *m = wcp_calloc(1, sizeof *m);
    m->drop = drop;
    if (getrandom(m->seed, sizeof m->seed, GRND_NONBLOCK) != sizeof m->seed) {
        /* Only in the first moments of a machine; better than a constant. */
        struct timespec now = {0};
        (void)clock_gettime(CLOCK_REALTIME, &now);
        m->seed[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
        m->seed[1] = (uint64_t)(uintptr_t)m;
    }
    return m;
}

static uint64_t rotl(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t hash(const struct wcp_map *m, struct wcp_str key)
{
    uint64_t v[4] = {
        m->seed[0] ^ UINT64_C(0x736f6d6570736575), m->seed[1] ^ UINT64_C(0x646f72616e646f6d),
        m->seed[0] ^ UINT64_C(0x6c7967656e657261), m->seed[1] ^ UINT64_C(0x7465646279746573)};
    size_t i = 0;
    for (;; i += 8) {
        size_t left = key.len - i;
        /* The last, short word has the length. */
        uint64_t word = left < 8 ? (uint64_t)key.len << 56 : 0;
        if (left)
            memcpy(&word, key.ptr + i, left < 8 ? left : 8);
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
        if (left < 8)
            break;
    }
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void resize(struct wcp_map *m, size_t slots)
{
    struct entry **new = wcp_calloc(slots, sizeof(struct entry *));
    for (size_t i = 0; m->slots && i <= m->mask; i++) {
        for (struct entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = new[e->hash & (slots - 1)];
            new[e->hash & (slots - 1)] = e;
        }
    }
    free(m->slots);
    m->slots = new;
    m->mask = slots - 1;
}

/* Where the pointer to key's entry is, or would be. The map has slots. */
static struct entry **find(const struct wcp_map *m, struct wcp_str key, uint64_t h)
{
    struct entry **p = &m->slots[h & m->mask];
    while (*p && ((*p)->hash != h || !wcp_str_eq((*p)->key, key)))
        p = &(*p)->next;
    return p;
}

void *wcp_map_get(const struct wcp_map *m, struct wcp_str key)
{
    if (!m->slots)
        return NULL;
    const struct entry *e = *find(m, key, hash(m, key));
    return e ? e->value : NULL;
}

static void drop(const struct wcp_map *m, void *value)
{
    if (m->drop)
        m->drop(value);
}

void wcp_map_put(struct wcp_map *m, struct wcp_str key, void *value)
{
    uint64_t h = hash(m, key);
    if (!m->slots)
        resize(m, FEWEST);
    struct entry *e = *find(m, key, h);
    if (e) {
        void *old = e->value;
        e->value = value;
        if (old != value)
            drop(m, old);
        return;
    }
    if (m->count > m->mask)
        resize(m, 2 * (m->mask + 1));
    e = wcp_realloc(NULL, sizeof *e + key.len + 1);
    if (key.len)
        memcpy(e->text, key.ptr, key.len);
    e->text[key.len] = '\0';
    *e = (struct entry){m->slots[h & m->mask], h, value, {e->text, key.len}};
    m->slots[h & m->mask] = e;
    m->count++;
}

bool wcp_map_del(struct wcp_map *m, struct wcp_str key)
{
    if (!m->slots)
        return false;
    struct entry **p = find(m, key, hash(m, key)), *e = *p;
    if (!e)
        return false;
    *p = e->next;
    m->count--;
    if (m->mask >= FEWEST && m->count < (m->mask + 1) / 8)
        resize(m, (m->mask + 1) / 4);
    void *value = e->value;
    free(e);
    drop(m, value);
    return true;
}

size_t wcp_map_len(const struct wcp_map *m)
{
    return m->count;
}

size_t wcp_map_keys(const struct wcp_map *m, struct wcp_arena *a, const struct wcp_str **keys)
{
    struct wcp_str *list;
    size_t n = 0;
    *keys = NULL;
    if (m->count == 0)
        return 0;
    list = wcp_alloc(a, m->count, sizeof *list);
    for (size_t i = 0; i <= m->mask; i++)
        for (const struct entry *e = m->slots[i]; e; e = e->next)
            list[n++] = e->key;
    *keys = list;
    return n;
}

void wcp_map_free(struct wcp_map *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->slots && i <= m->mask; i++) {
        for (struct entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            drop(m, e->value);
            free(e);
        }
    }
    free(m->slots);
    free(m);
}

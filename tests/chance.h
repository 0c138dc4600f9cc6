/* chance.h: random numbers that are the same for the same seed, on every machine. */
#ifndef CHANCE_H
#define CHANCE_H

#include <stdbool.h>
#include <stdint.h>

static uint64_t chance; /* set it to the seed */

static inline uint32_t any(uint32_t below) /* 0 .. below - 1 */
{
    chance += 0x9e3779b97f4a7c15u;
    uint64_t z = (chance ^ (chance >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

static inline bool one_in(uint32_t n)
{
    return any(n) == 0;
}

#endif

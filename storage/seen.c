/* storage/seen.c -- see seen.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/seen.h"

#include <stdlib.h>

#include "base/mem.h"

enum { BITS = 10, BLOCK_BITS = 512, BLOCK_WORDS = BLOCK_BITS / 64, PROBES = 6 };

static size_t capacity(unsigned level)
{
    return (size_t)SEEN_FIRST << (2 * level);
}

static uint64_t blocks(unsigned level)
{
    return capacity(level) * BITS / BLOCK_BITS;
}

void seen_init(struct seen_rows *x)
{
    *x = (struct seen_rows){0};
}

void seen_begin(struct seen_rows *x)
{
    seen_release(x);
    x->whole = true;
}

void seen_release(struct seen_rows *x)
{
    for (unsigned i = 0; i < x->levels; i++)
        free(x->level[i]);
    seen_init(x);
}

static uint64_t *block_of(const struct seen_rows *x, unsigned level, uint64_t hash)
{
    return x->level[level] + ((hash >> 32) * blocks(level) >> 32) * BLOCK_WORDS;
}

/* Six places of nine bits, from the half of the hash that did not choose the block. */
static uint64_t places_of(uint64_t hash)
{
    return (hash & UINT32_MAX) * 0x9e3779b97f4a7c15u >> 8;
}

static bool all_set(const uint64_t *block, uint64_t places)
{
    for (int i = 0; i < PROBES; i++, places >>= 9)
        if (!(block[places >> 6 & 7] >> (places & 63) & 1))
            return false;
    return true;
}

bool seen_maybe(const struct seen_rows *x, uint64_t hash)
{
    uint64_t places = places_of(hash);
    for (unsigned i = x->levels; i-- > 0;)
        if (all_set(block_of(x, i, hash), places))
            return true;
    return !x->whole;
}

void seen_add(struct seen_rows *x, uint64_t hash)
{
    if (!x->whole || seen_maybe(x, hash))
        return;
    if (!x->levels || x->n == capacity(x->levels - 1)) {
        if (x->levels == SEEN_LEVELS) {
            seen_release(x);
            return;
        }
        x->level[x->levels] = xcalloc(blocks(x->levels), BLOCK_WORDS * sizeof(uint64_t));
        x->levels++;
        x->n = 0;
    }
    uint64_t *block = block_of(x, x->levels - 1, hash), places = places_of(hash);
    for (int i = 0; i < PROBES; i++, places >>= 9)
        block[places >> 6 & 7] |= 1ull << (places & 63);
    x->n++;
}

/* unit/storage/dice.h -- the same random numbers in every run
 *
 * Marsaglia's xorshift, triple (13, 7, 17), with the seed of his paper (2003).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef UNIT_DICE_H
#define UNIT_DICE_H

#include <stdint.h>

/* 0 to n - 1. */
static inline uint64_t dice(uint64_t n)
{
    static uint64_t rng = 88172645463325252ull;
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

#endif

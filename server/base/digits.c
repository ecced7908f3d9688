/* server/base/digits.c -- a number in decimal
 *
 * Two digits at a time from a table; a long number falls into runs of exactly eight digits, each
 * two short chains of divisions side by side instead of one long one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/digits.h"

#include <string.h>

static const char digit_pairs[201] = "00010203040506070809101112131415161718192021222324"
                                     "25262728293031323334353637383940414243444546474849"
                                     "50515253545556575859606162636465666768697071727374"
                                     "75767778798081828384858687888990919293949596979899";

static inline void put_pair(char *to, uint32_t v)
{
    memcpy(to, digit_pairs + (size_t)2 * v, 2);
}

/* Exactly eight digits: two short chains side by side instead of one long one. */
static inline void put_8(char *to, uint32_t v)
{
    uint32_t hi = v / 10000, lo = v % 10000;
    put_pair(to, hi / 100);
    put_pair(to + 2, hi % 100);
    put_pair(to + 4, lo / 100);
    put_pair(to + 6, lo % 100);
}

static inline size_t put_small(char *to, uint32_t v) /* < 100,000,000 */
{
    unsigned n = v < 10 ? 1 : v < 100 ? 2 : v < 1000 ? 3 : v < 10000 ? 4 : 0;
    if (!n)
        n = v < 100000 ? 5 : v < 1000000 ? 6 : v < 10000000 ? 7 : 8;
    char *p = to + n;
    for (; v >= 100; v /= 100)
        put_pair(p -= 2, v % 100);
    if (v >= 10)
        put_pair(p - 2, v);
    else
        p[-1] = (char)('0' + v);
    return n;
}

#define E8 100000000u

size_t digits_put(char *to, uint64_t v)
{
    if (v < E8)
        return put_small(to, (uint32_t)v);
    size_t n = digits_put(to, v / E8);
    put_8(to + n, (uint32_t)(v % E8));
    return n + 8;
}

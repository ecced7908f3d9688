/* base/crc32c.c -- CRC-32C by libisal; see crc32c.h
 *
 * libisal's crc32_iscsi() neither inverts at the start nor at the end; the usual CRC-32C does both.
 * Inverting here also makes the running value chain: the two inversions at a seam cancel out.
 * It takes an int length, so what is larger goes in pieces.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <isa-l/crc.h>

#define PIECE ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    uint32_t state = ~crc;
    while (n) {
        size_t now = n < PIECE ? n : PIECE;
        state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)now, state);
        at += now;
        n -= now;
    }
    return ~state;
}

/* base/crc32c.c -- CRC-32C by libisal, and by the processor's own instruction for short runs; see
 * crc32c.h
 *
 * libisal's crc32_iscsi() neither inverts at the start nor at the end; the usual CRC-32C does both.
 * Inverting here also makes the running value chain: the two inversions at a seam cancel out.
 * It takes an int length, so what is larger goes in pieces.
 *
 * Two measured things about x86-64 (records of 160 bytes, a profile of the publish path): libisal's
 * AVX-512 code returns with dirty upper halves, and every SSE instruction after it then waits (17 %
 * of the server's time in one innocent store), so the halves are cleared here; and below a few
 * hundred bytes the crc32 instruction alone is faster.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>

#define PIECE ((size_t)1 << 30)
#define SHORT 384 /* bytes; about where libisal catches up */

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t state,
                                                                 const unsigned char *at, size_t n)
{
    uint64_t wide = state;
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    state = (uint32_t)wide;
    for (; n; at++, n--)
        state = _mm_crc32_u8(state, *at);
    return state;
}

__attribute__((target("avx"))) static void clear_uppers(void)
{
    _mm256_zeroupper();
}

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

static bool has_uppers(void)
{
    return __builtin_cpu_supports("avx");
}
#else
static uint32_t by_instruction(uint32_t state, const unsigned char *at, size_t n)
{
    return crc32_iscsi((unsigned char *)(uintptr_t)at, (int)n, state);
}

static void clear_uppers(void)
{
}

static bool has_instruction(void)
{
    return false;
}

static bool has_uppers(void)
{
    return false;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    uint32_t state = ~crc;
    if (n <= SHORT && has_instruction())
        return ~by_instruction(state, at, n);
    while (n) {
        size_t now = n < PIECE ? n : PIECE;
        state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)now, state);
        at += now;
        n -= now;
    }
    if (has_uppers())
        clear_uppers();
    return ~state;
}

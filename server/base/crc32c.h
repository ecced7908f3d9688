/* base/crc32c.h -- CRC-32C (Castagnoli), by libisal
 *
 *     uint32_t c = crc32c(0, a, n); c = crc32c(c, b, m);      == crc32c(0, ab, n + m)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif

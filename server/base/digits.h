/* server/base/digits.h -- a number in decimal
 *
 * For the hot places (MSG lines, ack subjects, sizes in headers), where printf would be felt.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_MAX 20 /* of the largest number */

/* Writes v at `to` (room for DIGITS_MAX) with nothing around it; returns how many bytes it took. */
size_t digits_put(char *to, uint64_t v);

#endif

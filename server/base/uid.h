/* base/uid.h -- unique names (NUIDs: 22 characters of 0-9A-Za-z) and short random names
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UID_H
#define BASE_UID_H

#include <stddef.h>

#define UID_LEN 22
/* 12 random characters and a counter that never repeats in this process, as nuid makes them. */
void uid_make(char out[UID_LEN + 1]);
/* n random characters of 0-9A-Za-z and a NUL. */
void uid_short(char *out, size_t n);

#endif

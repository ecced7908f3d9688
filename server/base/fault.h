/* base/fault.h -- points where a test may make the world fail
 *
 * fault_hit("commit") says whether this call should fail. Always false unless the program was built
 * with -DFAULTS=ON and FROND_FAULT names the point: FROND_FAULT="commit:3" fails the third hit,
 * "commit:3+" the third and all later ones, "commit:3-5" a range; several joined by ','. Any
 * thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef FROND_FAULTS
bool fault_hit(const char *point);
/* Tests: forget all counts and take this specification (NULL: none). */
void fault_set(const char *spec);
#else
static inline bool fault_hit(const char *point)
{
    (void)point;
    return false;
}
#endif

#endif

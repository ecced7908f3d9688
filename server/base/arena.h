/* base/arena.h -- many small allocations with one end
 *
 * An API request has one arena and drops it whole. Memory is aligned for any type and comes
 * zeroed. The arena's limit is what a request may cost. NULL comes only where there is a limit, and
 * only for more than 1 KiB at once: when the limit is reached, or when the system refuses it
 * (mem.h: what a peer can make large). So a name or a small struct is there without a look; what
 * many of them add up to is bounded by the text they were read from (json.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used, limit;         /* bytes given out; the most that may be (0: no limit) */
};

void arena_init(struct arena *a, size_t limit);
void arena_release(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);
/* A copy that ends in NUL (not counted); p is NULL when the limit is reached. */
struct slice arena_dup(struct arena *a, struct slice s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

/* base/arena.h -- many small allocations with one end
 *
 * An API request has one arena and drops it whole. Memory is aligned for any type and comes
 * zeroed. The arena's limit is what a request may cost; beyond it arena_alloc() returns NULL, and
 * also when more than 1 KiB at once is refused by the system (mem.h: what a peer can make large).
 * Without a limit NULL never comes; who has read what a peer said may take the limit off.
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

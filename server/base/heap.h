/* base/heap.h -- timers in a 4-ary heap, the due one on top
 *
 * Holds struct turn_timer by pointer; a timer knows its place, so moving and removing cost O(log
 * n).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stddef.h>

#include "base/turn.h"

struct heap {
    struct turn_timer **at; /* at[0] is due first */
    size_t n, cap;
};

void heap_release(struct heap *h);
void heap_set(struct heap *h, struct turn_timer *t, int64_t due); /* inserts or moves */
void heap_remove(struct heap *h, struct turn_timer *t);           /* fine when it is not in */
static inline struct turn_timer *heap_top(const struct heap *h)
{
    return h->n ? h->at[0] : NULL;
}

#endif

/* base/heap.c -- timers in a 4-ary heap; see heap.h
 *
 * Four children share one cache line of pointers, and a tree half as deep as a binary one suits
 * timers, which are mostly set, moved later and removed without ever reaching the top.
 *
 * What always holds
 *   (1) at[i]->at == i + 1 for every i < n; a timer that is in no heap has at == 0.
 *   (2) no child is due before its parent.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <stdlib.h>

#include "base/mem.h"

#define WAYS 4

void heap_release(struct heap *h)
{
    for (size_t i = 0; i < h->n; i++)
        h->at[i]->at = 0;
    free(h->at);
    *h = (struct heap){0};
}

static void place(struct heap *h, size_t i, struct turn_timer *t)
{
    h->at[i] = t;
    t->at = (uint32_t)(i + 1);
}

static void sift_up(struct heap *h, size_t i, struct turn_timer *t)
{
    while (i) {
        size_t parent = (i - 1) / WAYS;
        if (h->at[parent]->due <= t->due)
            break;
        place(h, i, h->at[parent]);
        i = parent;
    }
    place(h, i, t);
}

static void sift_down(struct heap *h, size_t i, struct turn_timer *t)
{
    for (;;) {
        size_t child = i * WAYS + 1, best = child;
        if (child >= h->n)
            break;
        for (size_t c = child + 1; c < child + WAYS && c < h->n; c++)
            if (h->at[c]->due < h->at[best]->due)
                best = c;
        if (t->due <= h->at[best]->due)
            break;
        place(h, i, h->at[best]);
        i = best;
    }
    place(h, i, t);
}

/* t goes to place i, or wherever its time wants it from there. */
static void settle(struct heap *h, size_t i, struct turn_timer *t)
{
    if (i && h->at[(i - 1) / WAYS]->due > t->due)
        sift_up(h, i, t);
    else
        sift_down(h, i, t);
}

void heap_set(struct heap *h, struct turn_timer *t, int64_t due)
{
    t->due = due;
    if (t->at) {
        settle(h, t->at - 1, t);
        return;
    }
    if (h->n == h->cap) {
        ASSERT(h->cap < UINT32_MAX / 2);
        h->cap = h->cap ? h->cap * 2 : 64;
        h->at = xrealloc(h->at, h->cap * sizeof *h->at);
    }
    sift_up(h, h->n++, t);
}

void heap_remove(struct heap *h, struct turn_timer *t)
{
    if (!t->at)
        return;
    size_t i = t->at - 1;
    ASSERT(i < h->n && h->at[i] == t);
    struct turn_timer *last = h->at[--h->n];
    t->at = 0;
    if (last != t)
        settle(h, i, last);
}

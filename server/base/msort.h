/* base/msort.h -- sorting in portions
 *
 *     struct msort m;
 *     msort_init(&m, items, n, sizeof *items, cmp, arg);
 *     while (!msort_step(&m, 1000))
 *         ;                               a turn may pass between two steps
 *     items = m.items;
 *
 * A merge sort from the bottom up: short runs first, then runs are merged pairwise, some items a
 * step, into a second array. Equal items keep their order. The array is taken over and may be
 * another one at the end; nothing may touch it meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MSORT_H
#define BASE_MSORT_H

#include <stdbool.h>
#include <stddef.h>

typedef int msort_cmp_fn(const void *a, const void *b, void *arg);

struct msort {
    char *items;  /* owned; sorted when a step has returned true */
    char *other;  /* owned; the second array, until then */
    size_t n;     /* items, */
    size_t size;  /* of so many bytes */
    size_t width; /* runs of so many are in order; 0: none yet */
    size_t at;    /* items before it are through this round */
    size_t left;  /* of the pair being merged: how far each half has come */
    size_t right;
    msort_cmp_fn *cmp;
    void *arg;
};

/* items: from xmalloc(), taken over. */
void msort_init(struct msort *m, void *items, size_t n, size_t size, msort_cmp_fn *cmp, void *arg);
/* Moves about `steps` items; true when all are in order. */
bool msort_step(struct msort *m, size_t steps);
void msort_release(struct msort *m);

#endif

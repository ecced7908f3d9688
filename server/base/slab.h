/* base/slab.h -- many small things of a few sizes that come and go by the million
 *
 *     struct slabs x;
 *     slabs_init(&x);
 *     p = slab_alloc(&x, n);
 *     slab_free(&x, p, n);                the same n
 *     slabs_release(&x);                  nothing is handed out any more
 *
 * malloc() puts a small thing that is freed aside, unsorted, and somebody's next large request
 * sorts all of them at once: after a million, that one request takes a tenth of a second. Here both
 * calls cost the same every time, and memory goes back to the kernel slab by slab, as they become
 * empty. Things above SLAB_MOST bytes are malloc's after all.
 *
 * One thread at a time. Refused memory ends the process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

#include "base/list.h"

enum { SLAB_STEP = 16, SLAB_MOST = 512, SLAB_CLASSES = SLAB_MOST / SLAB_STEP };

struct slabs {
    struct list open[SLAB_CLASSES]; /* slabs with room, one list for each size */
    struct list idle;               /* empty ones, kept for the next need */
    size_t nidle;
    size_t mapped; /* slabs there are, idle ones too */
};

void slabs_init(struct slabs *x);
/* Unmaps everything, also what is still handed out from slabs. */
void slabs_release(struct slabs *x);
/* Idle slabs go back to the kernel. */
void slabs_cool(struct slabs *x);

/* Aligned to 16 bytes. */
void *slab_alloc(struct slabs *x, size_t n)
    __attribute__((malloc, returns_nonnull, warn_unused_result));
void slab_free(struct slabs *x, void *p, size_t n);

#endif

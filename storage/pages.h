/* storage/pages.h -- are LMDB's own pages what they must be?
 *
 * LMDB puts no checksum on what it writes for itself: the roots of its trees, the heads of its
 * pages, the places of their nodes, the keys and children of its branches. Where one bit of those
 * is wrong a search ends somewhere else, and says that a key isn't there, or a walk leaves some
 * out, and nobody is told. But most of it is said twice: a page says its own number; its nodes
 * fill it from the first to the last byte; the keys of a branch ascend, and what is below a child
 * lies between two of them; a tree knows how many keys it has. That is compared here.
 *
 * What isn't noticed: a child or a root that has become the number of an older copy of the same
 * page; keys of a leaf, and values, which their owners know (index.c, recover.c, blocks.h); free
 * pages.
 *
 * Pure: it reads the mapping, in the view's transaction. A page that was found sound is remembered
 * if its caller wants: what LMDB writes under its number later is not what lay on the disk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_PAGES_H
#define STORAGE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
    PAGES_SIZE = 4096,
    TREE_BYTES = 48,   /* what LMDB keeps of a tree */
    PAGES_KNOWN = 4096 /* numbers that are remembered */
};

struct tree {
    const char *map; /* the file */
    uint64_t pages;  /* how many it has */
    uint64_t root, entries;
    unsigned depth;
    uint32_t *known; /* PAGES_KNOWN pages that were found sound, or NULL: paths need not look at all
                        of them again */
};

/* From LMDB's own TREE_BYTES; false: they can't be right. map and pages are set already. */
bool tree_read(struct tree *x, const char *bytes);
/* The pages that a search for this key passes, and the leaf it ends in: that one is where the key
 * must be, when it is anywhere. Some microseconds, or 0.2 where all of them are known: a descent
 * (docs/faults.md). */
bool tree_path_sound(const struct tree *x, struct slice key);
/* All pages, and how many keys there are. */
bool tree_sound(const struct tree *x);

#endif

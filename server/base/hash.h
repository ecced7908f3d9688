/* base/hash.h -- hashing for tables, and one open-addressing table
 *
 * hash64() is keyed with a secret of this process, so a peer can't aim at collisions; it is never
 * stored.
 *
 * struct htab maps a 64-bit hash to a pointer: linear probing, grown in steps (a bounded number of
 * moves per insert: no pause when it is large). The owner compares keys: eq(item, key).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

uint64_t hash64(const void *p, size_t n);
static inline uint64_t hash_slice(struct slice s)
{
    return hash64(s.p, s.n);
}

#define HTAB_GONE ((void *)1) /* a slot that was used; no item may have this address */

struct htab_slot {
    uint64_t hash;
    void *item; /* NULL: free; HTAB_GONE: was used */
};
struct htab {
    struct htab_slot *slots, *old; /* old: the smaller table while its content moves over */
    size_t cap, old_cap;           /* powers of two; 0 while empty */
    size_t old_pos;                /* the next old slot to move */
    size_t count, used;            /* items; items and tombstones in slots */
    size_t grown;                  /* how often the table was built anew */
};
typedef bool htab_eq_fn(const void *item, const void *key);

void htab_init(struct htab *t);
void htab_release(struct htab *t); /* items are the owner's */
void *htab_get(const struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key);
/* The key must not be there yet. */
void htab_put(struct htab *t, uint64_t hash, void *item);
/* Returns the removed item, or NULL. */
void *htab_del(struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key);
/* An item at this place or a few slots behind it, NULL: none there. Places that are spread evenly
 * over [0, cap) give a fair sample. */
void *htab_near(const struct htab *t, size_t place);
/* Walks: *pos starts at 0, returns NULL at the end; nothing may be put meanwhile, deleting the
 * current item is fine. */
void *htab_next(const struct htab *t, size_t *pos);

/* Takes the next item out: *pos starts at 0, NULL when the table is empty. Until then nothing else
 * may be done with the table but htab_release(). Memory goes back on the way. */
void *htab_drain(struct htab *t, size_t *pos);
/* Memory goes back when little is left: with a call per deletion (64 slots) the table follows its
 * content down, a bounded number of moves each. Not during a walk. */
void htab_tidy(struct htab *t, size_t slots);

/* A walk in portions, with puts and deletions between them: {0} to begin. When the table was built
 * anew meanwhile it starts over, and says so. Items put after the start may be met or not. */
struct htab_walk {
    size_t at, grown;
    bool begun;
};
enum { HTAB_MORE, HTAB_ANEW, HTAB_END };
typedef void htab_each_fn(void *arg, void *item);
/* Looks at about `slots` slots, calls each() for the items in them. ANEW: forget what was met. */
int htab_walk(struct htab *t, struct htab_walk *w, size_t slots, htab_each_fn *each, void *arg);

#endif

/* base/hash.c -- a keyed hash and an open-addressing table; see hash.h
 *
 * Growing: when three quarters of `slots` are used, it becomes `old` and an empty table takes its
 * place. From then on every put moves a few old slots over, so no put ever pays for the whole
 * table. A lookup probes the new table, then what is left of the old one.
 *
 *     old:   | moved, not looked at any more | still here |        a probe skips what was
 *            0                               old_pos      old_cap  moved, also when it wraps
 *
 * A big table is a mapping of its own: it comes zeroed page by page as it is used, and what was
 * moved goes back to the kernel in pieces, for clearing or unmapping 64 MB at once is a pause, too.
 *
 * What always holds
 *   (1) every item is in exactly one of the two tables; in old only at old_pos or later.
 *   (2) a run of non-free slots leads from an item's home to the item; deleting leaves HTAB_GONE
 *       unless a free slot follows anyway.
 *   (3) only put, tidy and a walk in portions move, allocate or free: a walk with deletions sees
 *       every item once.
 *   (4) the move ends long before the new table fills: STEP slots a put against at least an
 *       eighth of old_cap puts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <stdlib.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/digest.h"
#include "base/mem.h"

#define FIRST_CAP 16
#define STEP      16             /* old slots looked at per put: 256 bytes */
#define NEAR      16             /* slots that count as one place */
#define PIECE     ((size_t)4096) /* slots given back to the kernel at a time: 64 KiB */
#define BIG       (4 * PIECE)    /* from here on a table is mapped */
#define TIDY_FROM 4096           /* smaller tables keep their size */

static unsigned char secret[XXH3_SECRET_DEFAULT_SIZE];

__attribute__((constructor)) static void draw_secret(void)
{
    random_bytes(secret, sizeof secret);
}

uint64_t hash64(const void *p, size_t n)
{
    return XXH3_64bits_withSecret(p, n, secret, sizeof secret);
}

static struct htab_slot *slots_new(size_t cap)
{
    if (cap < BIG)
        return xcalloc(cap, sizeof(struct htab_slot));
    void *p = mmap(NULL, cap * sizeof(struct htab_slot), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        mem_refused(cap * sizeof(struct htab_slot));
    return p;
}

static void slots_free(struct htab_slot *slots, size_t cap)
{
    if (cap < BIG)
        free(slots);
    else
        munmap(slots, cap * sizeof *slots);
}

void htab_init(struct htab *t)
{
    *t = (struct htab){0};
}

void htab_release(struct htab *t)
{
    slots_free(t->slots, t->cap);
    slots_free(t->old, t->old_cap);
    htab_init(t);
}

static struct htab_slot *find_new(const struct htab *t, uint64_t hash, htab_eq_fn *eq,
                                  const void *key)
{
    if (!t->cap)
        return NULL;
    for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        struct htab_slot *s = &t->slots[i];
        if (!s->item)
            return NULL;
        if (s->hash == hash && s->item != HTAB_GONE && eq(s->item, key))
            return s;
    }
}

/* A run that leaves at the end of the array comes back at old_pos: what lies before it was moved.
 */
static struct htab_slot *find_old(const struct htab *t, uint64_t hash, htab_eq_fn *eq,
                                  const void *key)
{
    size_t home = hash & (t->old_cap - 1);
    size_t i = home > t->old_pos ? home : t->old_pos;
    for (size_t left = t->old_cap - t->old_pos; left; left--) {
        struct htab_slot *s = &t->old[i];
        if (!s->item)
            return NULL;
        if (s->hash == hash && s->item != HTAB_GONE && eq(s->item, key))
            return s;
        if (++i == t->old_cap)
            i = t->old_pos;
    }
    return NULL;
}

void *htab_get(const struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key)
{
    struct htab_slot *s = find_new(t, hash, eq, key);
    if (!s && __builtin_expect(t->old != NULL, 0))
        s = find_old(t, hash, eq, key);
    return s ? s->item : NULL;
}

static void insert(struct htab *t, uint64_t hash, void *item)
{
    size_t i = hash & (t->cap - 1);
    while (t->slots[i].item && t->slots[i].item != HTAB_GONE)
        i = (i + 1) & (t->cap - 1);
    if (!t->slots[i].item)
        t->used++;
    t->slots[i] = (struct htab_slot){hash, item};
}

static void move_some(struct htab *t, size_t steps)
{
    size_t to = t->old_cap - t->old_pos > steps ? t->old_pos + steps : t->old_cap;
    for (; t->old_pos < to; t->old_pos++) {
        struct htab_slot *s = &t->old[t->old_pos];
        if (s->item && s->item != HTAB_GONE)
            insert(t, s->hash, s->item);
    }
    if (t->old_cap >= BIG && t->old_pos % PIECE == 0)
        madvise(t->old + t->old_pos - PIECE, PIECE * sizeof *t->old, MADV_DONTNEED);
    if (t->old_pos == t->old_cap) {
        slots_free(t->old, t->old_cap);
        t->old = NULL;
        t->old_cap = t->old_pos = 0;
    }
}

/* Nothing is in old. */
static void rebuild(struct htab *t, size_t cap)
{
    t->old = t->slots;
    t->old_cap = t->cap;
    t->old_pos = 0;
    t->slots = slots_new(cap);
    t->cap = cap;
    t->used = 0;
    t->grown++;
}

static void grow(struct htab *t)
{
    if (t->old)
        move_some(t, t->old_cap);
    size_t cap = t->cap / 2 > FIRST_CAP ? t->cap / 2 : FIRST_CAP;
    while (cap < t->count * 2)
        cap *= 2;
    rebuild(t, cap);
}

/* A quarter of the size, when a sixteenth is used: room for an eighth of old_cap puts, see (4). */
void htab_tidy(struct htab *t, size_t slots)
{
    if (!t->old && (t->cap < TIDY_FROM || t->count >= t->cap / 16))
        return;
    if (!t->old)
        rebuild(t, t->cap / 4);
    move_some(t, slots);
}

void htab_put(struct htab *t, uint64_t hash, void *item)
{
    ASSERT(item && item != HTAB_GONE);
    if (t->used + 1 > t->cap / 4 * 3)
        grow(t);
    if (t->old)
        move_some(t, STEP);
    insert(t, hash, item);
    t->count++;
}

void *htab_del(struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key)
{
    struct htab_slot *s = find_new(t, hash, eq, key);
    if (s) {
        void *item = s->item;
        size_t i = (size_t)(s - t->slots), mask = t->cap - 1;
        s->item = HTAB_GONE;
        if (!t->slots[(i + 1) & mask].item)
            for (; t->slots[i].item == HTAB_GONE; i = (i - 1) & mask) {
                t->slots[i].item = NULL;
                t->used--;
            }
        t->count--;
        return item;
    }
    s = t->old ? find_old(t, hash, eq, key) : NULL;
    if (!s)
        return NULL;
    void *item = s->item;
    s->item = HTAB_GONE;
    t->count--;
    return item;
}

void *htab_near(const struct htab *t, size_t place)
{
    for (size_t i = place; i < t->cap && i < place + NEAR; i++)
        if (t->slots[i].item && t->slots[i].item != HTAB_GONE)
            return t->slots[i].item;
    return NULL;
}

void *htab_next(const struct htab *t, size_t *pos)
{
    for (; *pos < t->old_cap + t->cap; ++*pos) {
        bool in_old = *pos < t->old_cap;
        if (in_old && *pos < t->old_pos)
            continue;
        void *item = in_old ? t->old[*pos].item : t->slots[*pos - t->old_cap].item;
        if (item && item != HTAB_GONE) {
            ++*pos;
            return item;
        }
    }
    return NULL;
}

void *htab_drain(struct htab *t, size_t *pos)
{
    while (*pos < t->old_cap + t->cap) {
        bool in_old = *pos < t->old_cap;
        struct htab_slot *slots = in_old ? t->old : t->slots;
        size_t cap = in_old ? t->old_cap : t->cap, i = in_old ? *pos : *pos - t->old_cap;
        if (cap >= BIG && i && i % PIECE == 0)
            madvise(slots + i - PIECE, PIECE * sizeof *slots, MADV_DONTNEED);
        ++*pos;
        void *item = slots[i].item;
        if (item && item != HTAB_GONE && !(in_old && i < t->old_pos)) {
            t->count--;
            return item;
        }
    }
    return NULL;
}

/* Items move only from old to new: once that is over, a slot keeps its item. */
int htab_walk(struct htab *t, struct htab_walk *w, size_t slots, htab_each_fn *each, void *arg)
{
    for (size_t n = 0; t->old && n < slots; n += STEP)
        move_some(t, STEP);
    if (t->old)
        return w->begun ? HTAB_MORE : HTAB_ANEW;
    if (!w->begun || w->grown != t->grown) {
        *w = (struct htab_walk){.grown = t->grown, .begun = true};
        return HTAB_ANEW;
    }
    for (; slots && w->at < t->cap; slots--, w->at++)
        if (t->slots[w->at].item && t->slots[w->at].item != HTAB_GONE)
            each(arg, t->slots[w->at].item);
    return w->at == t->cap ? HTAB_END : HTAB_MORE;
}

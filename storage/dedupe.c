/* storage/dedupe.c -- see dedupe.h
 *
 * A segment is a plain array of bytes: entries of u64 seq | i64 ts | u64 hash | u16 length | id,
 * eight-byte aligned. The table's items point at entries. An entry leaves the table when its
 * segment's front passes it; an id seen again within the window (after its message was refused,
 * say) gets a new entry and the old one is no longer the table's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/dedupe.h"

#include "base/mem.h"

enum { FIRST_SEGMENT = 1024, SEGMENT = 32 * 1024 };

struct id {
    uint64_t seq;
    int64_t ts;
    uint64_t hash;
    uint32_t n;
    char text[];
};

struct segment {
    struct list link;
    size_t start, end, cap; /* entries lie in [start, end) of bytes */
    char bytes[];
};

static bool same(const void *item, const void *key)
{
    const struct id *e = item;
    const struct slice *s = key;
    return e->n == s->n && memcmp(e->text, s->p, s->n) == 0;
}

static bool same_entry(const void *item, const void *key)
{
    return item == key;
}

void dedupe_init(struct dedupe *d)
{
    *d = (struct dedupe){0};
    htab_init(&d->table);
    list_init(&d->segments);
}

void dedupe_release(struct dedupe *d)
{
    LIST_EACH_SAFE(e, &d->segments)
    free(LIST_ENTRY(e, struct segment, link));
    htab_release(&d->table);
    dedupe_init(d);
}

uint64_t dedupe_find(struct dedupe *d, struct slice id, int64_t oldest_ts)
{
    if (!d->count)
        return 0;
    const struct id *e = htab_get(&d->table, hash_slice(id), same, &id);
    return e && e->ts >= oldest_ts ? e->seq : 0;
}

static size_t entry_size(size_t n)
{
    return (sizeof(struct id) + n + 7) & ~(size_t)7;
}

static struct segment *segment_for(struct dedupe *d, size_t need)
{
    bool none = list_empty(&d->segments);
    if (!none) {
        struct segment *last = LIST_ENTRY(d->segments.prev, struct segment, link);
        if (last->cap - last->end >= need)
            return last;
    }
    size_t cap = none ? FIRST_SEGMENT : SEGMENT;
    while (cap < need)
        cap *= 2;
    struct segment *s = xmalloc(sizeof *s + cap);
    s->start = s->end = 0;
    s->cap = cap;
    list_push_back(&d->segments, &s->link);
    return s;
}

void dedupe_add(struct dedupe *d, struct slice id, uint64_t seq, int64_t ts)
{
    uint64_t hash = hash_slice(id);
    (void)htab_del(&d->table, hash, same, &id);
    size_t need = entry_size(id.n);
    struct segment *s = segment_for(d, need);
    struct id *e = (struct id *)(void *)(s->bytes + s->end);
    s->end += need;
    *e = (struct id){.seq = seq, .ts = ts, .hash = hash, .n = (uint32_t)id.n};
    memcpy(e->text, id.p, id.n);
    htab_put(&d->table, hash, e);
    d->count++;
}

bool dedupe_expire(struct dedupe *d, int64_t oldest_ts, unsigned most)
{
    while (!list_empty(&d->segments)) {
        struct segment *s = LIST_ENTRY(d->segments.next, struct segment, link);
        while (s->start < s->end) { /* NOLINT(clang-analyzer-unix.Malloc): the freed one is out */
            struct id *e = (struct id *)(void *)(s->bytes + s->start);
            if (e->ts >= oldest_ts)
                return false;
            if (!most--)
                return true;
            (void)htab_del(&d->table, e->hash, same_entry, e);
            s->start += entry_size(e->n);
            d->count--;
        }
        list_unlink(&s->link);
        free(s);
    }
    htab_release(&d->table);
    return false;
}

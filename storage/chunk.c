/* storage/chunk.c -- see chunk.h
 *
 * The pool maps sixteen chunks at a time. A chunk that comes back goes on a stack; the next one
 * taken is the warmest. pool_cool() walks the stack and drops the pages (the address space stays:
 * it costs nothing).
 *
 * Large chunks have mappings of their own size. A few that came back are kept for the next record
 * of about that size: the kernel would clear each page anew. pool_cool() unmaps them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/chunk.h"

#include <sys/mman.h>

#include "base/list.h"
#include "base/mem.h"

enum { CHUNK_MAP = 65536, SLAB_CHUNKS = 16, WARM_MAX = 64, SPARE_MAX = 8, SPARE_BYTES = 8 << 20 };

struct spare {
    char *mem;
    size_t map;
};

struct slab {
    struct list link; /* in pool->slabs */
    char *mem;        /* SLAB_CHUNKS mappings in a row */
};

struct pool {
    struct list slabs;
    char **idle;                   /* a stack of chunk memory nobody uses */
    size_t n, cap;                 /* how many, room for how many */
    size_t cold;                   /* the lowest so many of the stack have no pages */
    struct spare spare[SPARE_MAX]; /* of large chunks, the newest last */
    size_t nspare, spare_bytes;
};

struct pool *pool_new(void)
{
    struct pool *p = xcalloc(1, sizeof *p);
    list_init(&p->slabs);
    return p;
}

/* The oldest one goes. */
static void drop_spare(struct pool *p)
{
    munmap(p->spare[0].mem, p->spare[0].map);
    p->spare_bytes -= p->spare[0].map;
    memmove(p->spare, p->spare + 1, --p->nspare * sizeof *p->spare);
}

static void give_large(struct pool *p, char *mem, size_t map)
{
    if (map > SPARE_BYTES) {
        munmap(mem, map);
        return;
    }
    while (p->nspare == SPARE_MAX || p->spare_bytes + map > SPARE_BYTES)
        drop_spare(p);
    p->spare[p->nspare++] = (struct spare){mem, map};
    p->spare_bytes += map;
}

/* One that fits and wastes no more than a quarter; *map becomes its size. */
static char *take_large(struct pool *p, size_t *map)
{
    for (size_t i = p->nspare; i-- > 0;) {
        struct spare s = p->spare[i];
        if (s.map < *map || s.map - *map > *map / 4)
            continue;
        memmove(p->spare + i, p->spare + i + 1, (--p->nspare - i) * sizeof *p->spare);
        p->spare_bytes -= s.map;
        *map = s.map;
        return s.mem;
    }
    return NULL;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    while (p->nspare)
        drop_spare(p);
    LIST_EACH_SAFE(e, &p->slabs)
    {
        struct slab *s = LIST_ENTRY(e, struct slab, link);
        munmap(s->mem, (size_t)CHUNK_MAP * SLAB_CHUNKS);
        free(s);
    }
    free(p->idle);
    free(p);
}

void pool_cool(struct pool *p)
{
    while (p->nspare)
        drop_spare(p);
    for (; p->cold < p->n; p->cold++)
        (void)madvise(p->idle[p->cold], CHUNK_MAP, MADV_DONTNEED);
}

static char *map(size_t n)
{
    void *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m == MAP_FAILED ? NULL : m;
}

static void push(struct pool *p, char *mem)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : SLAB_CHUNKS;
        p->idle = xrealloc(p->idle, p->cap * sizeof *p->idle);
    }
    p->idle[p->n++] = mem;
}

static bool refill(struct pool *p)
{
    char *mem = map((size_t)CHUNK_MAP * SLAB_CHUNKS);
    if (!mem)
        return false;
    struct slab *s = xmalloc(sizeof *s);
    s->mem = mem;
    list_push_back(&p->slabs, &s->link);
    for (size_t i = 0; i < SLAB_CHUNKS; i++)
        push(p, mem + i * CHUNK_MAP);
    p->cold = p->n;
    return true;
}

static char *take(struct pool *p)
{
    if (!p->n && !refill(p))
        return NULL;
    char *mem = p->idle[--p->n];
    if (p->cold > p->n)
        p->cold = p->n;
    return mem;
}

static void give(struct pool *p, char *mem)
{
    push(p, mem);
    if (p->n - p->cold > WARM_MAX) {
        (void)madvise(p->idle[p->cold], CHUNK_MAP, MADV_DONTNEED);
        p->cold++;
    }
}

struct chunk *chunk_new(struct pool *p, uint64_t first_seq, size_t record)
{
    struct chunk *c = xcalloc(1, sizeof *c);
    bool large = record > RECORD_LARGE;
    c->size = large ? (uint32_t)(BLOCK_HEAD + record + 4) : BLOCK_SIZE;
    c->map = large ? ((size_t)c->size + 4095) & ~(size_t)4095 : CHUNK_MAP;
    c->mem = large ? take_large(p, &c->map) : take(p);
    if (!c->mem && large)
        c->mem = map(c->map);
    if (!c->mem) {
        free(c);
        return NULL;
    }
    c->used = BLOCK_HEAD;
    c->first_seq = first_seq;
    c->last_seq = first_seq - 1;
    c->flags = large ? BLOCK_PARTS : 0;
    list_init(&c->pin.link);
    return c;
}

void chunk_free(struct pool *p, struct chunk *c)
{
    ASSERT(c->borrowed == 0);
    pin_clear(&c->pin);
    if (c->flags & BLOCK_PARTS)
        give_large(p, c->mem, c->map);
    else
        give(p, c->mem);
    free(c);
}

bool chunk_fits(const struct chunk *c, uint64_t seq, size_t record)
{
    if (c->sealed || ((c->flags & BLOCK_PARTS) && c->n))
        return false;
    uint64_t entries = seq - c->first_seq + 1;
    return entries < BLOCK_SIZE / 4 && c->used + record + 4 * entries <= c->size;
}

static void set_entry(struct chunk *c, uint32_t off)
{
    c->n++;
    le32(c->mem + c->size - 4 * (size_t)c->n, off);
}

void chunk_added(struct chunk *c, uint64_t seq, uint32_t len, int64_t ts, bool has_id)
{
    while (c->last_seq + 1 < seq) { /* skipped numbers */
        set_entry(c, 0);
        c->last_seq++;
    }
    if (c->used == BLOCK_HEAD)
        c->min_ts = c->max_ts = ts;
    set_entry(c, c->used);
    c->used += len;
    c->last_seq = seq;
    c->min_ts = ts < c->min_ts ? ts : c->min_ts; /* clocks are set */
    c->max_ts = ts > c->max_ts ? ts : c->max_ts;
    c->live++;
    if (has_id)
        c->flags |= BLOCK_HAS_MSGID;
}

struct block chunk_block(const struct chunk *c)
{
    return (struct block){.p = c->mem,
                          .size = c->size,
                          .first_seq = c->first_seq,
                          .last_seq = c->last_seq,
                          .min_ts = c->min_ts,
                          .max_ts = c->max_ts,
                          .n = c->n,
                          .used = c->used,
                          .flags = c->flags};
}

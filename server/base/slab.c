/* base/slab.c -- many small things of a few sizes; see slab.h
 *
 *     slab, 64 KiB:  | head | cell | cell | … | not yet used |        aligned to its size, so the
 *                                                                     head is found from any cell
 *
 * A slab holds cells of one size. Freed cells are a list through the cells; behind them the slab is
 * touched from its beginning on, so a nearly empty one costs few pages. A slab is
 *
 *     open    it has room; in the list of its size, the one taken from last is first
 *     full    in no list
 *     idle    no cell is handed out; IDLE_MOST of them are kept, the others are unmapped
 *
 * Under AddressSanitizer cells that are not handed out are poisoned.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/mem.h"

/* gcc says so by a macro, clang by a feature. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(POISONS)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { SLAB = 64 * 1024, HEAD = 64, IDLE_MOST = 16 };

struct cell { /* a free one */
    struct cell *next;
};

struct slab {
    struct list link;  /* in slabs.open or .idle */
    struct cell *free; /* given back */
    uint32_t size;     /* of a cell */
    uint32_t used;     /* handed out */
    uint32_t fresh;    /* offset of the first cell that never was */
};
_Static_assert(sizeof(struct slab) <= HEAD, "the head has its place");

static struct list *list_of(struct slabs *x, size_t size)
{
    return &x->open[size / SLAB_STEP - 1];
}

static size_t rounded(size_t n)
{
    return n ? (n + SLAB_STEP - 1) / SLAB_STEP * SLAB_STEP : SLAB_STEP;
}

void slabs_init(struct slabs *x)
{
    *x = (struct slabs){0};
    for (size_t i = 0; i < SLAB_CLASSES; i++)
        list_init(&x->open[i]);
    list_init(&x->idle);
}

/* --- slabs ----------------------------------------------------------------------------------- */

static char *map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        mem_refused(n);
    return p;
}

/* The kernel puts one mapping beside the other, so mostly the place is right at once. */
static char *map_aligned(void)
{
    char *p = map(SLAB);
    if ((uintptr_t)p % SLAB == 0)
        return p;
    munmap(p, SLAB);
    p = map((size_t)2 * SLAB);
    size_t before = SLAB - (uintptr_t)p % SLAB;
    munmap(p, before);
    if (before < SLAB)
        munmap(p + before + SLAB, SLAB - before);
    return p + before;
}

static void unmap(struct slabs *x, struct slab *s)
{
    list_unlink(&s->link);
    x->mapped--;
    ASAN_UNPOISON_MEMORY_REGION(s, SLAB);
    munmap(s, SLAB);
}

static struct slab *open_slab(struct slabs *x, size_t size)
{
    struct slab *s;
    struct list *idle = list_pop(&x->idle);
    if (idle) {
        s = LIST_ENTRY(idle, struct slab, link);
        x->nidle--;
    } else {
        s = (struct slab *)(void *)map_aligned();
        x->mapped++;
        ASAN_POISON_MEMORY_REGION((char *)s + HEAD, SLAB - HEAD);
    }
    *s = (struct slab){.size = (uint32_t)size, .fresh = HEAD};
    list_init(&s->link);
    list_push_front(list_of(x, size), &s->link);
    return s;
}

static void rest(struct slabs *x, struct slab *s)
{
    list_unlink(&s->link);
    list_push_front(&x->idle, &s->link);
    if (++x->nidle > IDLE_MOST) {
        x->nidle--;
        unmap(x, LIST_ENTRY(x->idle.prev, struct slab, link));
    }
}

void slabs_cool(struct slabs *x)
{
    LIST_EACH_SAFE(e, &x->idle)
    unmap(x, LIST_ENTRY(e, struct slab, link));
    x->nidle = 0;
}

void slabs_release(struct slabs *x)
{
    slabs_cool(x);
    for (size_t i = 0; i < SLAB_CLASSES; i++) {
        LIST_EACH_SAFE(e, &x->open[i])
        unmap(x, LIST_ENTRY(e, struct slab, link));
    }
}

/* --- cells ----------------------------------------------------------------------------------- */

static bool full(const struct slab *s)
{
    return !s->free && s->fresh + s->size > SLAB;
}

static struct cell *take(struct slab *s)
{
    struct cell *c = s->free;
    if (c) {
        ASAN_UNPOISON_MEMORY_REGION(c, s->size);
        s->free = c->next;
    } else {
        c = (struct cell *)(void *)((char *)s + s->fresh);
        ASAN_UNPOISON_MEMORY_REGION(c, s->size);
        s->fresh += s->size;
    }
    s->used++;
    return c;
}

void *slab_alloc(struct slabs *x, size_t n)
{
    if (n > SLAB_MOST)
        return xmalloc(n);
    size_t size = rounded(n);
    struct list *open = list_of(x, size);
    struct slab *s =
        list_empty(open) ? open_slab(x, size) : LIST_ENTRY(open->next, struct slab, link);
    struct cell *c = take(s);
    if (full(s))
        list_unlink(&s->link);
    return c;
}

void slab_free(struct slabs *x, void *p, size_t n)
{
    if (n > SLAB_MOST) {
        free(p);
        return;
    }
    struct slab *s = (struct slab *)(void *)((uintptr_t)p & ~(uintptr_t)(SLAB - 1));
    struct cell *c = p;
    bool was_full = full(s);
    ASSERT(s->size == rounded(n) && s->used);
    c->next = s->free;
    s->free = c;
    ASAN_POISON_MEMORY_REGION(c, s->size);
    s->used--;
    if (!s->used)
        rest(x, s);
    else if (was_full)
        list_push_front(list_of(x, s->size), &s->link);
}

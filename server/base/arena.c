/* base/arena.c -- many small allocations with one end; see arena.h
 *
 * Blocks hang in a list, the one being filled in front. The first is small: what a thousand
 * consumers keep of their configurations fits into it. What is larger than a quarter of a block
 * gets a block of its own behind it, so a big string does not waste the rest of the front one. Such
 * a block is the one thing that may be refused for want of memory, and only where there is a limit:
 * an arena with a limit is filled by a peer, one without by our own configuration.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define FIRST_SIZE 512
#define BLOCK_SIZE 4096
#define SMALL      (BLOCK_SIZE / 4)
#define ALIGN      _Alignof(max_align_t)

struct arena_block {
    struct arena_block *next; /* older */
    size_t size, used;        /* of data */
    _Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

void arena_release(struct arena *a)
{
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
    a->used = 0;
}

static struct arena_block *block_new(struct arena *a, size_t n)
{
    bool alone = n > SMALL;
    size_t size = alone ? n : !a->blocks && n <= FIRST_SIZE ? FIRST_SIZE : BLOCK_SIZE;
    struct arena_block *b =
        alone && a->limit ? try_malloc(sizeof *b + size) : xmalloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    b->used = 0;
    if (alone && a->blocks) {
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2 || (a->limit && (a->used > a->limit || n > a->limit - a->used)))
        return NULL;
    size_t rounded = n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < rounded)
        b = block_new(a, rounded);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += rounded;
    a->used += n;
    return memset(p, 0, rounded);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (!p)
        return (struct slice){NULL, 0};
    if (s.n)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    n = vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    return p;
}

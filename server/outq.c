/* server/outq.c -- see outq.h
 *
 * What always holds
 *   (1) bytes = the sum of n over all segments; only the tail may be an empty segment.
 *   (2) A reference is never appended to: its memory is the message's.
 *   (3) Only segments of exactly CHUNK bytes go to the pool, at most POOL_MAX of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/outq.h"

#include "base/mem.h"

#define SMALL    1000 /* with malloc's word still in its fastest class */
#define CHUNK    (64 * 1024 - 64)
#define POOL_MAX 16

struct outq_seg {
    struct outq_seg *next;
    struct msg *msg; /* counted; NULL: a chunk of our own */
    char *p;         /* first byte not sent */
    size_t n;        /* how many from there */
    size_t cap;      /* size of data; 0 for a reference */
    char data[];
};

static size_t room_of(const struct outq_seg *s)
{
    return (size_t)(s->data + s->cap - (s->p + s->n));
}

static struct outq_seg *seg_new(struct outq_pool *pool, size_t cap)
{
    struct outq_seg *s = NULL;
    if (cap == CHUNK) {
        pool->used++;
        s = pool->free;
    }
    if (s) {
        pool->free = s->next;
        pool->n--;
    } else {
        s = xmalloc(sizeof *s + cap);
    }
    s->next = NULL;
    s->msg = NULL;
    s->p = s->data;
    s->n = 0;
    s->cap = cap;
    return s;
}

static void seg_free(struct outq_seg *s, struct outq_pool *pool)
{
    if (s->msg)
        msg_unref(s->msg);
    if (s->cap == CHUNK && pool->n < POOL_MAX) {
        s->next = pool->free;
        pool->free = s;
        pool->n++;
        return;
    }
    free(s);
}

static void append(struct outq *q, struct outq_seg *s)
{
    if (q->tail)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
}

char *outq_reserve(struct outq *q, struct outq_pool *pool, size_t n)
{
    struct outq_seg *t = q->tail;
    if (!t || t->msg || room_of(t) < n) {
        size_t cap = !t || t->msg ? SMALL : CHUNK;
        if (cap < n)
            cap = n <= CHUNK ? CHUNK : n;
        append(q, t = seg_new(pool, cap));
    }
    return t->p + t->n;
}

void outq_commit(struct outq *q, size_t n)
{
    q->tail->n += n;
    q->bytes += n;
}

void outq_ref(struct outq *q, struct msg *m, size_t from, size_t n)
{
    struct outq_seg *s = xmalloc(sizeof *s);
    *s = (struct outq_seg){.msg = msg_ref(m), .p = m->data + from, .n = n};
    append(q, s);
    q->bytes += n;
}

int outq_iov(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (const struct outq_seg *s = q->head; s && n < max; s = s->next)
        if (s->n)
            iov[n++] = (struct iovec){s->p, s->n};
    return n;
}

void outq_take(struct outq *q, struct outq_pool *pool, size_t n)
{
    ASSERT(n <= q->bytes);
    q->bytes -= n;
    while (q->head) {
        struct outq_seg *s = q->head;
        size_t part = n < s->n ? n : s->n;
        s->p += part;
        s->n -= part;
        n -= part;
        if (s->n)
            return;
        q->head = s->next;
        if (!q->head)
            q->tail = NULL;
        seg_free(s, pool);
    }
}

void outq_release(struct outq *q, struct outq_pool *pool)
{
    outq_take(q, pool, q->bytes);
}

bool outq_pool_trim(struct outq_pool *pool)
{
    while (pool->n > pool->used) {
        struct outq_seg *s = pool->free;
        pool->free = s->next;
        pool->n--;
        free(s);
    }
    pool->used = 0;
    return pool->n > 0;
}

void outq_pool_release(struct outq_pool *pool)
{
    pool->used = 0;
    outq_pool_trim(pool);
}

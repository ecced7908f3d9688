/* server/lanes.c -- two byte-counted queues of whole messages; see lanes.h
 *
 *     chunk:  | taken | message | message | spare | ... u32 length, u32 length, u32 length |
 *             0       at                  used         of 2         of 1        of 0       cap
 *
 * The messages lie side by side, so that many leave with one copy; their lengths stand at the end.
 *
 * What always holds
 *   (1) a chunk in the chain holds at least one message that was not taken, whole;
 *   (2) bytes = the sum of used - at over the chain, and four for each message not taken.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/lanes.h"

#include <string.h>

#include "base/mem.h"

struct lane_chunk {
    struct lane_chunk *next;
    size_t at, used, cap;
    uint32_t first, n; /* messages: the first not taken, and how many were put */
    char data[];
};

typedef uint32_t length;

#define CHUNK ((size_t)64 * 1024 - sizeof(struct lane_chunk))

void lanes_init(struct lanes *l, size_t live_max)
{
    *l = (struct lanes){.live_max = live_max};
}

void lanes_release(struct lanes *l)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        for (struct lane_chunk *c = l->waiting[i].head, *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
    lanes_init(l, l->live_max);
}

void lanes_clear(struct lanes *l)
{
    lanes_release(l);
}

static char *length_at(struct lane_chunk *c, uint32_t i)
{
    return c->data + c->cap - sizeof(length) * ((size_t)i + 1);
}

static length length_of(const struct lane_chunk *c, uint32_t i)
{
    length n;
    memcpy(&n, c->data + c->cap - sizeof n * ((size_t)i + 1), sizeof n);
    return n;
}

/* Room for a message, and its length, of n bytes in all, behind everything else. */
static struct lane_chunk *chunk_with_room(struct lane_queue *q, size_t n)
{
    struct lane_chunk *c = q->tail;
    if (c && c->cap - c->used - c->n * sizeof(length) >= n)
        return c;
    size_t cap = n > CHUNK ? n : CHUNK;
    c = xmalloc(sizeof *c + cap);
    *c = (struct lane_chunk){.cap = cap};
    if (q->tail)
        q->tail->next = c;
    else
        q->head = c;
    q->tail = c;
    return c;
}

bool lanes_put(struct lanes *l, enum lane lane, const struct slice *pieces, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    struct lane_queue *q = &l->waiting[lane];
    if (lane == LANE_LIVE && q->bytes > 0 && q->bytes + total > l->live_max)
        return false;
    ASSERT(total <= UINT32_MAX);
    length len = (length)total;
    struct lane_chunk *c = chunk_with_room(q, sizeof len + total);
    memcpy(length_at(c, c->n++), &len, sizeof len);
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n) {
            memcpy(c->data + c->used, pieces[i].p, pieces[i].n);
            c->used += pieces[i].n;
        }
    }
    q->bytes += sizeof len + total;
    q->msgs++;
    return true;
}

bool lanes_peek(const struct lanes *l, size_t most, struct lane_run *run)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        const struct lane_chunk *c = l->waiting[i].head;
        if (!c)
            continue;
        size_t n = length_of(c, c->first);
        uint32_t at = c->first + 1;
        for (; at < c->n && n < most; at++)
            n += length_of(c, at);
        *run = (struct lane_run){(enum lane)i, slice_of(c->data + c->at, n), at - c->first};
        return true;
    }
    return false;
}

void lanes_take(struct lanes *l, const struct lane_run *run)
{
    struct lane_queue *q = &l->waiting[run->lane];
    struct lane_chunk *c = q->head;
    c->at += run->bytes.n;
    c->first += run->msgs;
    q->bytes -= run->bytes.n + run->msgs * sizeof(length);
    q->msgs -= run->msgs;
    if (c->first < c->n)
        return;
    q->head = c->next;
    if (!q->head)
        q->tail = NULL;
    free(c);
}

/* server/lanes.c -- two byte-counted queues of whole messages; see lanes.h
 *
 *     chunk:  | taken | u32 length, message | u32 length, message | spare |
 *             0       at                                          used    cap
 *
 * What always holds
 *   (1) a chunk in the chain holds at least one message that was not taken, whole;
 *   (2) bytes = the sum of used - at over the chain.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/lanes.h"

#include <string.h>

#include "base/mem.h"

struct lane_chunk {
    struct lane_chunk *next;
    size_t at, used, cap;
    char data[];
};

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

/* Room for n bytes behind everything else. */
static struct lane_chunk *chunk_with_room(struct lane_queue *q, size_t n)
{
    struct lane_chunk *c = q->tail;
    if (c && c->cap - c->used >= n)
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
    uint32_t len = (uint32_t)total;
    struct lane_chunk *c = chunk_with_room(q, sizeof len + total);
    memcpy(c->data + c->used, &len, sizeof len);
    c->used += sizeof len;
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

static struct slice first_message(const struct lane_queue *q)
{
    const char *at = q->head->data + q->head->at;
    uint32_t len;
    memcpy(&len, at, sizeof len);
    return slice_of(at + sizeof len, len);
}

bool lanes_peek(const struct lanes *l, enum lane *lane, struct slice *message)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        if (!l->waiting[i].head)
            continue;
        *lane = (enum lane)i;
        *message = first_message(&l->waiting[i]);
        return true;
    }
    return false;
}

void lanes_take(struct lanes *l, enum lane lane)
{
    struct lane_queue *q = &l->waiting[lane];
    struct lane_chunk *c = q->head;
    size_t n = sizeof(uint32_t) + first_message(q).n;
    c->at += n;
    q->bytes -= n;
    q->msgs--;
    if (c->at < c->used)
        return;
    q->head = c->next;
    if (!q->head)
        q->tail = NULL;
    free(c);
}

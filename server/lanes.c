/* server/lanes.c -- two byte-counted queues of whole messages; see lanes.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/lanes.h"

#include <string.h>

#include "base/mem.h"

void lanes_init(struct lanes *l)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        buf_init(&l->waiting[i]);
        l->msgs[i] = 0;
    }
}

void lanes_release(struct lanes *l)
{
    for (int i = 0; i < LANE_COUNT; i++)
        buf_release(&l->waiting[i]);
    lanes_init(l);
}

void lanes_clear(struct lanes *l)
{
    lanes_release(l); /* a backlog may have been large: give the memory back */
}

bool lanes_put(struct lanes *l, enum lane lane, const struct slice *pieces, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    struct buf *q = &l->waiting[lane];
    if (lane == LANE_LIVE && q->len > 0 && q->len + total > LANES_LIVE_MAX)
        return false;
    ASSERT(total <= UINT32_MAX);
    uint32_t len = (uint32_t)total;
    char *at = buf_reserve(q, sizeof len + total);
    memcpy(at, &len, sizeof len);
    at += sizeof len;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].n) {
            memcpy(at, pieces[i].p, pieces[i].n);
            at += pieces[i].n;
        }
    }
    buf_commit(q, sizeof len + total);
    l->msgs[lane]++;
    return true;
}

bool lanes_peek(const struct lanes *l, enum lane *lane, struct slice *message)
{
    for (int i = 0; i < LANE_COUNT; i++) {
        struct slice q = buf_slice(&l->waiting[i]);
        if (q.n == 0)
            continue;
        uint32_t len;
        memcpy(&len, q.p, sizeof len);
        *lane = (enum lane)i;
        *message = slice_of(q.p + sizeof len, len);
        return true;
    }
    return false;
}

void lanes_take(struct lanes *l, enum lane lane)
{
    struct buf *q = &l->waiting[lane];
    uint32_t len;
    memcpy(&len, buf_slice(q).p, sizeof len);
    buf_consume(q, sizeof len + len);
    l->msgs[lane]--;
    if (q->len == 0 && q->cap > LANES_BACKLOG_REST)
        buf_release(q);
}

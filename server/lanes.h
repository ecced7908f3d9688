/* server/lanes.h -- what waits for a link, in two lanes
 *
 * A link is the thin part of the road. What can't leave yet waits here, as whole protocol messages,
 * in
 *
 *     live     answers, requests, live traffic: before
 *     backlog  JetStream deliveries, pulled from the store only while little waits
 *
 * Both are first in, first out, so the order within one deliver or reply subject is kept. The
 * connection is fed message by message, and only while it holds little itself: a PING or a changed
 * interest never waits behind more than that. Bytes are counted; the live lane has a limit (the
 * link is a slow consumer beyond it), the backlog has a mark at which the store is asked to rest.
 *
 * Pure: no socket, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LANES_H
#define SERVER_LANES_H

#include "base/buf.h"
#include "base/slice.h"

/* design/store-and-loop.md, section 8 */
#define LANES_LIVE_MAX     (8u << 20)
#define LANES_BACKLOG_REST (256u << 10)

enum lane { LANE_LIVE, LANE_BACKLOG, LANE_COUNT };

struct lanes {
    struct buf waiting[LANE_COUNT]; /* u32 length, message; again and again */
    uint64_t msgs[LANE_COUNT];
};

void lanes_init(struct lanes *l);
void lanes_release(struct lanes *l);
/* A message in pieces (head, headers, payload, "\r\n"), copied. False: the live lane is full. */
bool lanes_put(struct lanes *l, enum lane lane, const struct slice *pieces, size_t n);
/* The next message to send: live before backlog; false when nothing waits. Borrowed until
 * lanes_take(). */
bool lanes_peek(const struct lanes *l, enum lane *lane, struct slice *message);
/* The message that lanes_peek() showed is on its way. */
void lanes_take(struct lanes *l, enum lane lane);
static inline size_t lanes_bytes(const struct lanes *l, enum lane lane)
{
    return l->waiting[lane].len;
}
/* Should the store rest? */
static inline bool lanes_backlog_full(const struct lanes *l)
{
    return lanes_bytes(l, LANE_BACKLOG) >= LANES_BACKLOG_REST;
}
/* The link is gone, and with it everything that waited. */
void lanes_clear(struct lanes *l);

#endif

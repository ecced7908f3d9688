/* server/lanes.h -- what waits for a link, in two lanes
 *
 * A link is the thin part of the road. What can't leave yet waits here, as whole protocol messages,
 * in
 *
 *     live     answers, requests, live traffic: before
 *     backlog  JetStream deliveries, pulled from the store only while little waits
 *
 * Both are first in, first out, so the order within one deliver or reply subject is kept. The
 * connection is fed with whole messages, and only while it holds little itself: a PING or a changed
 * interest never waits behind more than that. Bytes are counted; the live lane has a limit (the
 * link is a slow consumer beyond it), the backlog has a mark at which the store is asked to rest.
 *
 * A lane is a chain of chunks of 64 KiB (a larger message has one of its own): nothing is moved
 * when it grows, and a lane in which nothing waits holds no memory.
 *
 * Pure: no socket, no clock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LANES_H
#define SERVER_LANES_H

#include "base/slice.h"

/* design/store-and-loop.md, section 8 */
#define LANES_BACKLOG_REST (256u << 10)

enum lane { LANE_LIVE, LANE_BACKLOG, LANE_COUNT };

struct lane_chunk;

struct lanes {
    struct lane_queue {
        struct lane_chunk *head, *tail; /* owned */
        size_t bytes;                   /* all that waits, with four bytes of length each */
        uint64_t msgs;
    } waiting[LANE_COUNT];
    size_t live_max; /* bytes; one message of any size is always taken */
};

void lanes_init(struct lanes *l, size_t live_max);
void lanes_release(struct lanes *l);
/* A message in pieces (head, headers, payload, "\r\n"), copied. False: the live lane is full. */
bool lanes_put(struct lanes *l, enum lane lane, const struct slice *pieces, size_t n);
/* Whole messages, one behind the other. */
struct lane_run {
    enum lane lane;
    struct slice bytes; /* borrowed until lanes_take() */
    uint32_t msgs;
};

/* What to send next: live before backlog; one message, and those behind it that begin before `most`
 * bytes. False when nothing waits. */
bool lanes_peek(const struct lanes *l, size_t most, struct lane_run *run);
/* What lanes_peek() showed is on its way. */
void lanes_take(struct lanes *l, const struct lane_run *run);
static inline size_t lanes_bytes(const struct lanes *l, enum lane lane)
{
    return l->waiting[lane].bytes;
}
/* Should the store rest? */
static inline bool lanes_backlog_full(const struct lanes *l)
{
    return lanes_bytes(l, LANE_BACKLOG) >= LANES_BACKLOG_REST;
}
/* The link is gone, and with it everything that waited. */
void lanes_clear(struct lanes *l);

#endif

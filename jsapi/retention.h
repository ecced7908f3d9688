/* jsapi/retention.h -- what acknowledgements do to the stream
 *
 * Work queue: acked by its consumer, a message leaves. Interest: it leaves when every consumer that
 * wants it has settled it. What leaves is gathered and handed to the store at the end of the turn,
 * together with the progress of the cursors, in one commit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_RETENTION_H
#define JSAPI_RETENTION_H

#include "jsapi/consumer.h"

/* c has settled seq (acked, termed, or delivered without acks). */
void retention_settled(struct consumers *cs, struct js_consumer *c, uint64_t seq);
/* The same for n at once; seqs is taken over. Many of an interest stream are looked at in portions.
 */
void retention_settled_many(struct consumers *cs, struct js_consumer *c, uint64_t *seqs, size_t n);
/* Is something of that still to be looked at? Then w is lent, and fn called when all that was
 * settled so far has been looked at, or (gone) never will be. */
struct retention_wait {
    struct list link;
    void (*fn)(struct retention_wait *w, bool gone);
};
bool retention_wait(struct consumers *cs, struct retention_wait *w);
/* Hands over now what gathered. True: done will be called when it is on disk; false: nothing
 * gathered (or it was refused). */
bool retention_flush(struct consumers *cs, store_done_fn *done, void *arg);
/* c was told of a message that it does not wait for: it leaves when nobody needs it. */
void retention_asked(struct consumers *cs, uint64_t seq);
/* Interest streams: a consumer went or changed; looks at all from `from` on as a job. all: what
 * nobody wants leaves, too; else only what somebody wanted and everybody has settled. */
void retention_sweep(struct consumers *cs, uint64_t from, bool all);
/* A commit of the stream is on disk: what had to wait for it goes on. */
void retention_durable(struct consumers *cs);
/* The last consumer of an interest stream went, or one that stood behind its end. */
void retention_empty(struct consumers *cs);
/* Is seq needed by nobody (any more)? c: leave this one aside, NULL: none. */
bool retention_unneeded(struct consumers *cs, uint64_t seq, struct slice subject);
/* Commits failed. When the consumers are back, what those in memory have settled and nobody needs
 * goes to the store again, in a while. */
void retention_forget(struct consumers *cs);
void retention_recover(struct consumers *cs);
void retention_init(struct consumers *cs);
void retention_release(struct consumers *cs);

#endif

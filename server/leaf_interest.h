/* server/leaf_interest.h -- what we told the peer of a link that we want
 *
 * key -> count, the key being "subject" or "subject queue". A plain key is announced when its count
 * goes from 0 to 1 and withdrawn at 0; a queue key at every change of its total, as an absolute
 * weight (reference/leafnode-protocol.md 3.2). Changes gather and are written as net differences by
 * leaf_interest_flush(), always before the next message of the link, so the peer never sees "LS-"
 * while interest remains and an inbox is known before the request that names it.
 *
 * Pure: writes lines into a buffer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEAF_INTEREST_H
#define SERVER_LEAF_INTEREST_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"

struct leaf_interest {
    struct htab keys;    /* struct wanted */
    struct list changed; /* those whose announcement is out of date */
};

void leaf_interest_init(struct leaf_interest *li);
/* Forgets everything: the link is gone, or not up yet. */
void leaf_interest_reset(struct leaf_interest *li);
/* by: +members or -members; a plain subscription is one member. Removals of unknown keys are
 * ignored. */
void leaf_interest_change(struct leaf_interest *li, struct slice subject, struct slice queue,
                          int32_t by);
/* Appends the LS+ and LS- lines that are due. */
void leaf_interest_flush(struct leaf_interest *li, struct buf *out);
static inline bool leaf_interest_due(const struct leaf_interest *li)
{
    return !list_empty(&li->changed);
}

#endif

/* jsapi/pending_log.h -- between pending.c and pending_code.c: what happened, as bytes
 *
 * An operation is its letter, the stream sequence as a zigzag varint relative to that of the
 * operation before, and, where a time belongs to it, the milliseconds of the monotonic clock
 * relative to the time before. The log is dropped when it grows beyond about what a snapshot would
 * take.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PENDING_LOG_H
#define JSAPI_PENDING_LOG_H

#include "jsapi/pending.h"

enum pending_op {
    PLOG_DELIVER = 1, /* time */
    PLOG_SKIP,
    PLOG_REDELIVER, /* time */
    PLOG_ACK,       /* also: gone from the stream */
    PLOG_ACK_ALL,   /* a number follows: the floor's consumer sequence */
    PLOG_DEFER,     /* time */
    PLOG_QUEUE,
    PLOG_GIVE
};

void pending_log(struct pending *p, enum pending_op op, uint64_t sseq);
void pending_log_at(struct pending *p, enum pending_op op, uint64_t sseq, int64_t at);
void pending_log_number(struct pending *p, uint64_t n);
/* From now on a delta says everything. */
void pending_log_whole(struct pending *p);

/* The doors of pending.c that only replaying needs. */
void pending_defer(struct pending *p, uint64_t sseq, int64_t at);
/* Appends an entry as it was; sequences ascend. */
void pending_restore(struct pending *p, const struct pending_entry *from);

#endif

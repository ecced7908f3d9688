/* storage/journal.h -- one record per commit: append, replay, trim
 *
 * The journal holds what is not in its own table yet. A batch becomes one value, or several of at
 * most 65,520 bytes under consecutive keys of the same transaction; an op is split only between
 * records. (An op that is larger than that by itself gets a value of its own.) Another journal, say
 * a file written in place, could stand behind these functions without anybody noticing.
 *
 * Threads: journal_write() and journal_trim() on the writer, journal_replay() on the loop before
 * the writer starts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_JOURNAL_H
#define STORAGE_JOURNAL_H

#include "storage/batch.h"
#include "storage/lmdb.h"

struct journal_out {
    struct txn *t;
    uint64_t batch;
    unsigned part;    /* the next value's number */
    struct buf value; /* being filled; kept between batches */
    uint64_t written; /* bytes of values so far */
};

/* Writes the parts that are not stored as blocks, and the ops. */
void journal_write(struct journal_out *j, struct txn *t, const struct batch *b);
/* Deletes the values of batches below, at most `most` of them. */
void journal_trim(struct txn *t, uint64_t below, unsigned most);

/* One op: its type, its body after sid. damaged: some byte of the value is wrong; this op is as it
 * was written, but the records behind an append's numbers have to be looked at one by one. Returns
 * 0 or an error that ends the replay. */
typedef int journal_op_fn(void *arg, uint64_t batch, char type, uint32_t sid, struct take *body,
                          bool damaged);
/* Calls op() for each op, oldest first. *next becomes the number after the newest batch (unchanged
 * when there is none), *bytes the size of all values. E_CORRUPT, E_VERSION. */
int journal_replay(struct txn *t, journal_op_fn *op, void *arg, uint64_t *next,
                   uint64_t *bytes) MUST_CHECK;

#endif

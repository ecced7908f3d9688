/* storage/salvage.h -- what is still sound among damaged bytes
 *
 * A record carries a checksum over its stream, its number and its bytes, so it can be recognised
 * without the frame around it. When a block's header or directory, or an op of the journal, fails
 * its own checksum, the records in it are looked for one by one: in their usual order first, then
 * byte by byte. What is found is as sound as ever; what is not found stays missing, and whoever
 * reads that number says so. Nothing is written. One wrong bit of a journal value, a record or a
 * row can be put right, in memory; what that makes of a journal value is believed only as far as
 * the ops and records in it prove themselves.
 *
 * Pure but for the memory of the block that is put together. Work is bounded by the bytes given
 * (64 KiB, or one large record).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SALVAGE_H
#define STORAGE_SALVAGE_H

#include "storage/codec.h"

struct salvage {
    const char *p; /* the bytes that are looked through */
    size_t n;
    size_t at;      /* from here on */
    uint32_t sid;   /* whose records they are */
    uint64_t seq;   /* the next number expected */
    uint64_t limit; /* numbers are below it */
};

/* The next sound record, in ascending numbers: its number, its bytes at *p, its fields; 0 at the
 * end. */
uint64_t salvage_next(struct salvage *x, const char **p, struct record *rec);

/* A block from what is sound of a damaged one: the same key, a directory made anew behind a copy of
 * the bytes, in `out` (cleared first), which must outlive b. Numbers are below limit.
 * E_CORRUPT: nothing of it is sound. */
int salvage_block(struct slice value, uint32_t sid, uint64_t first_seq, uint64_t limit,
                  struct buf *out, struct block *b) MUST_CHECK;

/* The damaged record at the front of p, of at most BLOCK_SIZE bytes, with its one wrong bit put
 * right in a copy in `out`, where *rec's slices point. False: more is wrong. More damage is taken
 * for one bit about once in ten thousand times, so such a message is not for delivery. */
bool salvage_record(struct slice p, uint32_t sid, uint64_t seq, struct buf *out,
                    struct record *rec) MUST_CHECK;

/* The same for a row with its own checksum; sid as for row_open(). */
bool salvage_row(struct slice v, uint32_t sid, struct buf *out) MUST_CHECK;

/* Puts right the one bit of n bytes that makes their checksum differ by `syndrome` (stored xor
 * computed). False: it takes more than one. */
bool salvage_bit(char *p, size_t n, uint32_t syndrome) MUST_CHECK;

#endif

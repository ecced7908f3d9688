/* storage/keys.h -- the key layout, drawn once and used everywhere
 *
 * All integers in keys are big-endian, so LMDB's byte order is our order. `sid` is a stream's
 * number, never used twice.
 *
 *     tree            key                          value
 *     main (unnamed)  FF×8 | u48 batch | u16 part  journal values, always last in the tree
 *     b  blocks       sid | u64 first_seq          a whole block, or its first part
 *                     sid | u64 first_seq | u16    later parts of a block with one large record
 *     t  holes        sid | u64 page               a page of 4,096 numbers
 *     s  subjects     sid | subject                longer than 480 bytes: sid | first 464 bytes
 *                                                  | 16 byte hash
 *     c  cursors      sid | u32 cursor id
 *     m  meta         u32 0                        format, uuid
 *                     sid                          the stream's specification
 *                     sid | 'S'                    its state (may lag: the journal knows better)
 *                     sid | 'X'                    deleted: what is left of it is being reclaimed
 *                     sid | 'P'                    purged: rows of s that it left are being removed
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_KEYS_H
#define STORAGE_KEYS_H

#include "base/slice.h"

enum { KEY_MAX = 511, SUBJECT_INLINE_MAX = 480, SUBJECT_HEAD = 464 };

enum db_table { DB_MAIN, DB_BLOCKS, DB_HOLES, DB_SUBJECTS, DB_CURSORS, DB_META, DB_TABLES };

struct key {
    unsigned char b[KEY_MAX + 1]; /* the bytes */
    size_t n;                     /* how many count */
};

static inline struct slice key_slice(const struct key *k)
{
    return slice_of(k->b, k->n);
}

void key_journal(struct key *k, uint64_t batch, unsigned part);
void key_block(struct key *k, uint32_t sid, uint64_t first_seq);
void key_block_part(struct key *k, uint32_t sid, uint64_t first_seq, unsigned part);
void key_hole(struct key *k, uint32_t sid, uint64_t page);
void key_subject(struct key *k, uint32_t sid, struct slice subject);
void key_cursor(struct key *k, uint32_t sid, uint32_t cid);
void key_meta(struct key *k, uint32_t sid);
void key_state(struct key *k, uint32_t sid);
void key_reclaim(struct key *k, uint32_t sid);
void key_sweep(struct key *k, uint32_t sid);
/* The first key of a stream in any of its tables. */
void key_stream(struct key *k, uint32_t sid);

/* Reading keys back. Each is false when the key is of another kind or stream. */
bool key_is_journal(struct slice k, uint64_t *batch, unsigned *part);
bool key_is_block(struct slice k, uint32_t sid, uint64_t *first_seq,
                  unsigned *part); /* part 0: the 12-byte key */
/* Keys of table b have one of two lengths; any other is damage. */
bool key_may_be_block(struct slice k);
bool key_is_hole(struct slice k, uint32_t sid, uint64_t *page);
bool key_is_cursor(struct slice k, uint32_t sid, uint32_t *cid);
bool key_of_stream(struct slice k, uint32_t sid);
/* A row of m: its stream and which of the four it is (0: the specification, 'S', 'X', 'P'). */
bool key_is_meta(struct slice k, uint32_t *sid, char *kind);
/* A row of s: what follows sid. For a long subject only the head; the whole one is in the value. */
struct slice key_subject_part(struct slice k);
bool key_subject_is_long(struct slice k);

#endif

/* storage/blocks.h -- what a block of the file says of itself, and how far to believe it
 *
 * The header of a block may be damaged. Who only reads can be generous; who deletes, overwrites or
 * leaves something out because of a header asks here. Any thread, with a transaction of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BLOCKS_H
#define STORAGE_BLOCKS_H

#include "storage/codec.h"
#include "storage/lmdb.h"

/* Is it one large record in parts? One wrong bit can't make another block look like it. b:
 * block_peek() took it. */
bool block_is_large(const struct block *b);
/* The number the next block begins with; 0: there is none. */
uint64_t block_after(struct txn *t, uint32_t sid, uint64_t first_seq);
/* No record of the block has a higher number: what its header says when that is sound, else what
 * the next block leaves it; UINT64_MAX when there is none. value: of its 12-byte key. */
uint64_t block_end(struct txn *t, uint32_t sid, uint64_t first_seq, struct slice value);

#endif

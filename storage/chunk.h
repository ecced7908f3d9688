/* storage/chunk.h -- 64 KiB of records: write in place, directory, seal
 *
 * A chunk is a block while it is being made: the same layout as the value in the file, in memory of
 * its own that never moves. The loop writes each record once, behind the last one, and its offset
 * into the directory that grows down from the end. What is below `used` (and the directory's first
 * n entries) never changes afterwards, so the writer may read it without a lock while the loop
 * appends.
 *
 *     open ──► sealed ──► stored (its block is on disk, nobody borrows it) ──► released
 *
 * A record larger than 32 KiB gets a chunk of its own size. Memory comes from a pool of mappings; a
 * chunk given back keeps its pages only while the pool is warm (pool_cool() returns them).
 *
 * Threads: the loop owns chunks. The writer borrows those in a batch.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CHUNK_H
#define STORAGE_CHUNK_H

#include "storage/codec.h"
#include "storage/pin.h"

enum { RECORD_LARGE = 32 * 1024 }; /* above it a record gets a chunk of its own */

struct chunk {
    char *mem;      /* header space, records, gap, directory */
    size_t map;     /* bytes mapped */
    uint32_t size;  /* BLOCK_SIZE, or what one large record needs */
    uint32_t used;  /* end of the records */
    uint32_t n;     /* directory entries */
    unsigned flags; /* BLOCK_… */
    uint64_t first_seq, last_seq;
    int64_t min_ts, max_ts;
    uint32_t live;     /* records not removed; memory streams release at 0 */
    uint32_t borrowed; /* batches under way that point here */
    uint64_t batch;    /* the gathering batch that has a part of us, */
    uint32_t part;     /* and which part it is */
    bool sealed;       /* takes no more records */
    bool stored;       /* its block is on disk */
    bool orphan;       /* its stream forgot it: ends with the last borrower */
    struct pin pin;    /* the oldest journal batch that holds records of ours */
};

struct pool;
struct pool *pool_new(void);
void pool_free(struct pool *p);
/* Gives unused memory back to the kernel. */
void pool_cool(struct pool *p);

/* A chunk whose first record will be first_seq. record: the size of a large record, or 0. NULL: no
 * memory. */
struct chunk *chunk_new(struct pool *p, uint64_t first_seq, size_t record);
void chunk_free(struct pool *p, struct chunk *c);
/* Is there room for a record of that size as number seq? Gaps cost directory entries. */
bool chunk_fits(const struct chunk *c, uint64_t seq, size_t record);
/* Where the record goes; chunk_added() after it was written. */
static inline char *chunk_place(struct chunk *c)
{
    return c->mem + c->used;
}
void chunk_added(struct chunk *c, uint64_t seq, uint32_t len, int64_t ts, bool has_id);
/* The chunk as a block to read. */
struct block chunk_block(const struct chunk *c);

#endif

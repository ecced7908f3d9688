/* storage/reader.h -- short views for the loop: records by number, forwards and backwards
 *
 *     struct reader r;
 *     reader_init(&r, s);
 *     for (uint64_t seq = reader_next(&r, from); seq; seq = reader_next(&r, seq + 1))
 *         if (reader_get(&r, seq, true, &rec) == 0) look(&rec);
 *     reader_end(&r);
 *
 * A reader finds a record in the chunks in memory or in the file's blocks; it says nothing about
 * whether the record is live (stream_live_now(), stream_live_shown()). What it hands out is good
 * until its next move. Nobody keeps one beyond one call from outside: it holds the store's view
 * open.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_READER_H
#define STORAGE_READER_H

#include "storage/lmdb.h"
#include "storage/stream.h"

struct reader {
    struct stream *s;
    struct txn *view; /* NULL until the file is needed */
    bool have;        /* cur is set */
    bool in_file;     /* cur comes from the file, */
    bool mapped;      /* and lies in its mapping */
    struct block cur;
    struct buf whole;  /* a block in parts, put together, or what is sound of a damaged one */
    struct buf mended; /* what reader_know() has put right */
    bool give_back;    /* pages of blocks that were passed are let go (long forward reads) */
};

void reader_init(struct reader *r, struct stream *s);
void reader_end(struct reader *r);
/* 0, E_NOTFOUND (no such record here), E_CORRUPT (reported to the host, once). check: look at the
 * checksum of what comes from the file, as for everything that leaves the process or decides what
 * does. */
int reader_get(struct reader *r, uint64_t seq, bool check, struct record *rec) MUST_CHECK;
/* For who counts or removes: the same with check, but a record with one wrong bit is put right in
 * memory, so that its subject and its size are known. Its message is still nobody's to have. */
int reader_know(struct reader *r, uint64_t seq, struct record *rec) MUST_CHECK;
/* Portions are counted in looks at records. A long record costs more than a look: its checksum runs
 * over all of it, and its pages may have to come from the disk. So it counts as one look more for
 * each LOOK_BYTES of it. rec->len is 0 where there was none. */
enum { LOOK_BYTES = 512 };
static inline void reader_spend(uint32_t *looks, const struct record *rec)
{
    uint32_t n = 1 + rec->len / LOOK_BYTES;
    *looks -= n < *looks ? n : *looks;
}
/* The smallest number >= seq, or largest <= seq, that has a record, dead or alive; 0: none. */
uint64_t reader_next(struct reader *r, uint64_t seq);
uint64_t reader_prev(struct reader *r, uint64_t seq);
/* Moves to the block that holds seq or the first one after it; false at the end. r->cur is it, and
 * ends at seq or later, whatever damaged keys say about their order: who goes on behind its end
 * gets on. */
bool reader_seek(struct reader *r, uint64_t seq);
/* Reports a damaged record or block, once per number. */
void stream_report_damage(struct stream *s, uint64_t seq);

#endif

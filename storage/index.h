/* storage/index.h -- per-subject facts: recent ones in memory, the rest in the file
 *
 * For each subject with live messages: first, last, count. Entries in memory are the newest word;
 * rows of table "s" follow lazily, in slices that ride along with commits. A subject that isn't in
 * memory is looked up in the file when it is asked for (a view, one tree descent); clean entries
 * are given up when there are too many. A memory stream keeps all of its entries.
 *
 *     clean ──change──► dirty (this generation or the next) ──row in a batch──► clean
 *
 * Generations. The rows as a whole are true up to a watermark {batch, first, last}. A flush writes
 * every entry that was dirty when it began; when the last of them is in a batch, the watermark of
 * its beginning goes with it. After a crash index_catch_up() applies what came after the watermark;
 * each row carries how far it is itself (upto, floor, batch), so nothing counts twice.
 *
 * A row that is alone on its page costs the whole page. So a large generation is first dealt into
 * ranges of subjects, some thousand entries a commit, and then written range by range: neighbours
 * share their pages.
 *
 * `first` and `last` may be stale after removals (flags); whoever needs them repairs them.
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_INDEX_H
#define STORAGE_INDEX_H

#include "base/hash.h"
#include "storage/batch.h"
#include "storage/seen.h"

struct subject {
    struct list link; /* in one of the index's lists: dirty, next, a bucket, or clean */
    struct stream *stream;
    uint64_t first, last; /* of the live ones, while count > 0 */
    uint64_t prev;        /* while last isn't durable: the newest durable one before it, or 0 */
    uint64_t count;
    uint64_t upto, floor, batch; /* as read from its row; only the catch-up looks */
    uint64_t written;            /* the batch its newest row went with */
    uint32_t n;                  /* length of text */
    uint8_t flags;               /* SUBJ_… */
    bool dirty;
    bool in_file; /* there is a row */
    char text[];
};

static inline struct slice subject_text(const struct subject *e)
{
    return slice_of(e->text, e->n);
}

enum { INDEX_BUCKETS = 32 };

struct index {
    struct htab table;
    struct seen_rows seen;             /* subjects that may have a row */
    struct subject *hot;               /* the one asked for last */
    struct list dirty, next;           /* of the generation being written; changed since it began */
    struct list clean;                 /* the others, oldest first: could be given up */
    struct list cleans;                /* in st->cleans while any are clean (not a memory stream) */
    uint64_t adding;                   /* the record index_add() is about: not counted yet */
    size_t ndirty;                     /* dirty and next */
    bool flushing;                     /* a generation is being written */
    struct list bucket[INDEX_BUCKETS]; /* a large generation, by ranges of subjects */
    char *splitters; /* where the ranges begin, while a large generation is written: one block of
                        memory */
    unsigned next_bucket;                    /* the next to be written */
    uint64_t gen_batch, gen_first, gen_last; /* the watermark it will leave */
    uint64_t w_batch, w_first, w_last;       /* the watermark that is on its way or durable */
    int64_t dirty_since;                     /* monotonic ns of the first change after a flush */
    struct pin pin;
    struct buf
        deletes; /* deletes of the journal that rows may lack: {batch, seq, u32 length, subject}… */
    bool behind;        /* rows lag behind after a crash: index_catch_up() has to run */
    uint64_t catch_pos; /* where it goes on; */
    int catch_phase;    /* and with what */
};

struct stream;
void index_init(struct index *x);
void index_release(struct stream *s);
/* The newest word on a subject; NULL when it has no live message (unless create). Borrowed until
 * the next call that may look something up. */
struct subject *index_get(struct stream *s, struct slice subject, bool create);
/* Is there an entry in memory, so that a row may be on its way? */
bool index_in_memory(struct stream *s, struct slice subject);
/* Is its row on its way to the file, or about to be? */
bool index_writes(struct stream *s, struct slice subject);
/* Returns the newest live number the subject had before, 0: none. */
uint64_t index_add(struct stream *s, struct slice subject, uint64_t seq);
void index_remove(struct stream *s, struct slice subject, uint64_t seq);
/* Everything is gone. Entries in memory are freed by a job. */
void index_clear(struct stream *s);
/* At close: that job's work, at once. */
void index_graves_end(struct store *st);
/* The first live number of it, repaired, with at most *looks at records, which are taken off; 0:
 * not found within them (go on later). */
uint64_t index_first(struct stream *s, struct subject *e, uint32_t *looks);
/* The last live number as decided into *seq (0: none), repaired in the same way; false: not found
 * within `most` records (go on later). */
bool index_last(struct stream *s, struct subject *e, uint32_t most, uint64_t *seq);
/* The last live number <= up_to that readers may see, 0: none, when the index knows it without a
 * look at the records. */
bool index_knows_last(struct stream *s, struct slice subject, uint64_t up_to, uint64_t *seq);

/* Does it want to write rows? */
bool index_wants_flush(const struct stream *s, int64_t now, bool force);
/* Writes rows into the gathering batch, about `most` bytes; true when the generation is complete.
 */
bool index_flush(struct stream *s, size_t most);
/* The entry's row is in the gathering batch. */
void index_cleaned(struct subject *e);
/* Keeps the number of clean entries bounded: some now, the rest in a job. */
void index_evict(struct store *st);
void index_evict_init(struct store *st);

/* Applies what came after the watermark, some thousand steps; true when it is done: appends that
 * waited for it have gone. */
bool index_catch_up(struct stream *s, uint32_t steps);
/* All of it, now. */
void index_ready(struct stream *s);

#endif

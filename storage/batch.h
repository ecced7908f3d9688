/* storage/batch.h -- what gathers while the writer is busy
 *
 * A batch is one commit to be: parts of chunks, ops for the journal, changes of rows, and the
 * people who wait for it. The loop fills it and gives it to the writer; until it comes back the
 * loop only looks at the fields the writer doesn't touch (waiters, marks, removed, text). Numbers
 * are given in order and become the journal's keys, so the loop knows a batch's place in the
 * journal before it is written.
 *
 * Waiters are called in the order they asked, refusals among them: an answer that speaks of a
 * record which is not on disk yet waits for it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BATCH_H
#define STORAGE_BATCH_H

#include "base/list.h"
#include "storage/chunk.h"
#include "storage/keys.h"
#include "storage/storage.h"

/* A run of records that came into one chunk during this batch. */
struct part {
    struct stream *stream; /* for the receipt */
    struct chunk *chunk;   /* borrowed until the batch is back */
    uint32_t sid;
    uint32_t from, to;  /* bytes of the chunk that are new */
    uint64_t first_seq; /* of the record at `from`; contiguous from there */
    uint32_t count;     /* how many records are new */
    bool store;         /* the chunk's block goes into the file; then nothing of it is journaled */
    struct block block; /* the chunk as it is to be stored */
};

enum waiter_kind { WAIT_APPEND, WAIT_DONE, WAIT_PURGE, WAIT_CREATE, WAIT_DELETE };

struct waiter {
    enum waiter_kind kind;
    union {
        store_append_fn *append;
        store_done_fn *done;
        store_purge_fn *purge;
    } fn; /* may be NULL */
    void *arg;
    int err; /* decided already; a failed commit overrides 0 and more */
    bool duplicate;
    uint64_t seq; /* or how many were purged */
    uint64_t last;
    int64_t ts; /* WAIT_APPEND */
    union {
        char *last_id;         /* owned, E_LAST_MSG_ID */
        struct stream *stream; /* WAIT_CREATE, WAIT_DELETE */
    } x;
};

/* What a stream is after this batch; shown when it is on disk. */
struct mark {
    struct stream *stream;
    struct state st;
};

/* One message that is gone with this batch. */
struct removed {
    struct stream *stream;
    uint64_t seq, last;    /* last: the end of a range, or 0 */
    uint32_t text, text_n; /* its subject in batch->text */
    bool hole;             /* its number was marked in the holes (not trimmed off the head) */
    bool purged;           /* by a purge or a roll-up: told apart from the others */
};

struct batch {
    struct list link;
    uint64_t n; /* its number, the journal key */
    struct part *parts;
    size_t nparts, parts_cap;
    struct waiter *waiters;
    size_t nwaiters, waiters_cap;
    struct mark *marks;
    size_t nmarks, marks_cap;
    struct removed *removed;
    size_t nremoved, removed_cap;
    struct buf text;     /* subjects of `removed` */
    struct buf ops;      /* journal ops, encoded */
    size_t last_op;      /* where the newest op starts in ops */
    struct buf changes;  /* changes of rows, encoded (change_…) */
    uint64_t trim_below; /* journal batches below this may go; 0: no trimming */
    size_t bytes;        /* what it weighs: records and ops */
    size_t queued;       /* of which records: what publishers wait for */
    size_t nops;         /* deletes and changes of configuration */
    uint64_t appended;   /* records */
    unsigned reclaims;   /* portions of reclaiming (chores.h) */
    bool writes;         /* there is something to commit */
    /* the writer's answer */
    int err;
    uint64_t journal_bytes;
    int64_t took_ns;
};

struct batch *batch_new(uint64_t n);
/* Waiters must have been called. */
void batch_free(struct batch *b);
/* Empties it for the next use and gives up what has grown large. */
void batch_reset(struct batch *b, uint64_t n);

struct waiter *batch_wait(struct batch *b, enum waiter_kind kind, void *arg);
struct part *batch_part(struct batch *b);
void batch_mark(struct batch *b, struct stream *s, const struct state *st);
struct removed *batch_removed(struct batch *b, struct stream *s, uint64_t seq,
                              struct slice subject);

/* Journal ops. */
void op_delete(struct batch *b, uint32_t sid, uint64_t seq, struct slice subject);
void op_hole(struct batch *b, uint32_t sid, uint64_t first, uint64_t last);
void op_state(struct batch *b, uint32_t sid, const struct state *st);
void op_cursor(struct batch *b, uint32_t sid, uint32_t cid, struct slice delta);

/* Changes of rows, applied in order by the writer: u8 what | u8 table | u16 key length | u32 value
 * length | key | value */
enum change {
    CHANGE_PUT = 1,
    CHANGE_DEL,
    CHANGE_TRIM,  /* blocks: key sid, value u64 below, u32 most: delete blocks (and hole rows) that
                     end below */
    CHANGE_WIPE,  /* table: key sid, value u32 most: delete rows of the stream */
    CHANGE_ERASE, /* blocks: key sid, value u64 seq: overwrite the record */
};
void change_put(struct batch *b, enum db_table table, const struct key *k, struct slice value);
/* The value is written to the returned buffer between the two calls. */
struct buf *change_put_begin(struct batch *b, enum db_table table, const struct key *k, size_t *at);
void change_put_end(struct batch *b, size_t at);
void change_del(struct batch *b, enum db_table table, const struct key *k);
void change_trim(struct batch *b, uint32_t sid, uint64_t below, uint32_t most);
void change_wipe(struct batch *b, enum db_table table, uint32_t sid, uint32_t most);
void change_erase(struct batch *b, uint32_t sid, uint64_t seq);

#endif

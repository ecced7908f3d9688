/* storage/store.h -- the store from inside: batches down, receipts up
 *
 * For the rooms of storage only; the door is storage.h. One batch gathers, some may wait, one is
 * with the writer:
 *
 *     gather ──(turn's end, or 8 MiB)──► ready ──(writer idle)──► flying ──► receipt
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "base/hash.h"
#include "base/slab.h"
#include "storage/batch.h"
#include "storage/lmdb.h"
#include "storage/pin.h"
#include "storage/storage.h"
#include "storage/writer.h"

enum {
    STORE_FORMAT = 1,
    BATCH_BYTES = 8 << 20,  /* a commit's weight */
    BATCH_OPS = 4096,       /* and its most deletes and changes */
    BATCH_REMOVED = 16384,  /* removed messages in it, when a chore gathers them */
    PRESSURE_ON = 16 << 20, /* waiting for the disk: publishers rest */
    PRESSURE_OFF = 8 << 20,
    WAITING_MAX = 96 << 20, /* and beyond this they are refused */
    RECORD_MAX = 64 << 20,
    JOURNAL_MAX = 4 << 20,   /* beyond it, old pins are asked to write themselves down */
    LAZY_BYTES = 256 * 1024, /* rows written with one commit */
    BLOCKS_A_COMMIT = 256    /* blocks deleted with one commit */
};

/* When lazy things are written. Fields, so that a test can make everything happen early. */
struct laziness {
    uint64_t journal_max;   /* beyond it, old pins are asked to write themselves down */
    size_t flush_dirty;     /* dirty subjects of a stream that ask for a flush */
    uint64_t flush_lag;     /* messages beyond the index's watermark that do */
    size_t clean_max;       /* clean subjects kept, of all streams */
    size_t rows_bytes;      /* rows written with one commit */
    uint64_t compact_bytes; /* removed from the middle of a stream before blocks are rewritten */
};

/* Bytes as accounted, of one account. */
struct usage {
    struct slice account; /* owned */
    int64_t file, mem;
};

struct store {
    struct store_config cfg;
    char *dir;                   /* <store_dir>/jetstream/frond */
    char *data_path, *mark_path; /* for mishap.h */
    struct store_host host;
    const struct turn *turn;
    struct db *db;
    struct writer *writer;
    struct pool *pool;
    int lock_fd;
    char uuid[37];
    uint32_t next_sid;
    struct list streams; /* by sid */
    struct htab names;   /* (account, name) -> stream, living ones */
    struct usage *usages;
    size_t nusages;
    /* batches */
    struct batch *gather, *flying, *spare;
    struct batch *mem; /* what memory streams gather: never goes to the writer */
    struct batch *mem_spare;
    struct list ready;
    uint64_t durable_batch;     /* the newest that is on disk */
    int64_t small_commit_ns;    /* about how long a small commit takes; 0: none was made yet */
    struct turn_post hand_over; /* at the end of the turn */
    struct turn_post mem_back;  /* receipts of memory streams */
    struct turn_post read_on;   /* the first turn: recovery is over */
    int64_t waiting;            /* bytes not durable yet */
    bool pressed;               /* the host was told */
    /* the journal */
    struct pins pins;
    uint64_t journal_at; /* bytes of values written so far, this process and what it found */
    uint64_t trimmed;    /* batches below were told to go */
    struct laziness lazy_at;
    bool trim; /* something was stored: this batch may trim */
    /* lazy state */
    struct list cleans;    /* indexes with subjects in memory that could be given up */
    size_t clean_subjects; /* in all of them */
    struct slabs entries;  /* memory of all struct subject */
    struct job evict;      /* gives clean ones up */
    struct list graves;    /* cleared indexes being freed */
    struct list dirty_cursors;
    struct turn_timer lazy;   /* the earliest of: cursors' 50 ms, rows' 2 s */
    struct turn_timer second; /* space, expiry of ids, memory, a look at the clock */
    int64_t wall_offset;      /* wall - monotonic, a second ago */
    /* troubles */
    int failed; /* why no more commits are made, or 0 */
    bool told;  /* the host was */
    bool taking_back;
    bool closing_batch; /* what the host says in closing() still goes into the batch */
    bool unreadable;    /* it failed because what the file says can't be trusted: no more reads */
    struct store_stats stats;
    bool closing;
    uint64_t idle_seconds; /* since the last commit */
    int ballast;           /* 1: the file is there */
    uint64_t ballast_bytes;
    size_t nchores;  /* in all streams */
    bool flush_more; /* some stream's rows did not fit into the last commit */
    struct list compactions;
    struct list reclaims; /* rows nobody can see are being removed: chores.h */
    struct job leftovers; /* looks for those that were left by a stop or a failed commit, */
    bool left;            /* unless it has not begun, */
    uint32_t left_at;     /* and goes on behind this stream */
};

/* Says that the gathering batch has something: it goes at the end of this turn or when the writer
 * is free. */
void store_wake(struct store *st);
/* Closes the gathering batch when it is heavy. */
void store_weigh(struct store *st);
/* Everything decided goes to the writer as soon as possible; batches are numbered here. */
void store_hand_over(struct store *st);
/* A receipt: shows what is durable, tells watchers, calls waiters. */
void store_receipt(struct store *st, struct batch *b);
/* The stream's state goes into its row with the gathering batch. */
void store_write_state(struct stream *s);
struct usage *store_usage(struct store *st, struct slice account);
void store_account(struct stream *s, int64_t by);
/* The lazy timer rings at `due` at the latest. */
void store_lazy_by(struct store *st, int64_t due);
/* Posts and timers, before anything else. */
void store_posts_init(struct store *st);
/* A writer has finished: writer_back_fn. */
void store_on_back(void *store);
void store_on_lazy(void *store);
void store_on_second(void *store);
/* Waits for the disk until nothing is gathered, ready or flying. */
void store_drain(struct store *st);
/* Those who wait for what will never be written hear why. */
void store_refuse_rest(struct store *st);
/* The file says what can't be: no more commits, no more answers; the host is told, once. what: it
 * can't be read. */
void store_trouble(struct store *st, int err, const char *what);
/* LMDB reads nothing any more since the commit that is flying found no space for its first pages,
 * and the receipt may be a turn away. True: what there was before it can be read again. */
bool store_mend(struct store *st);
struct stream *store_by_sid(struct store *st, uint32_t sid);
void store_publish_name(struct stream *s);
void store_unpublish_name(struct stream *s);

/* recover.c: the picture of all file streams, from the file; into handles that are there already or
 * new ones. */
int store_recover(struct store *st, char **why) MUST_CHECK;
#endif

/* storage/storage.h -- the door: streams of records and how far their consumers are, as facts
 *
 * The loop decides, the writer commits, the loop tells. A stream gives its sequence numbers on the
 * loop (`last`), one writer thread makes whole batches durable (`durable`), and only then `done`
 * functions are called and readers see the records. Nothing here knows a socket, JSON or
 * JetStream's subjects.
 *
 *     store_open()
 *     store_append(s, &rec, done, arg)  ──► (a commit later) done(arg, &receipt)
 *     store_read(s, from, filter, &budget, each, arg)         looks at durable records
 *     store_close()
 *
 * Threads: every call and every callback on the loop thread. The writer is inside.
 * Errors: E_… of base/err.h. After a failed commit everybody who waits hears the error, in order,
 * the in-memory picture is taken back to what the file says (streams keep their handles), and
 * host->reopened is called once; afterwards the store goes on. Sizes: lengths in bytes, times in ns
 * since 1970 UTC (wall clock) unless a name says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/turn.h"

struct store;
struct stream;
struct cursor;

/* --- the store ------------------------------------------------------------------------------- */

struct store_config {
    const char *dir;        /* jetstream's store_dir; the store lives in <dir>/jetstream/frond */
    int64_t max_file_bytes; /* quota of all file streams together, as accounted; <= 0: 75 % of what
                               is free */
    int64_t max_mem_bytes;  /* the same for memory streams */
};

struct store_host {
    void *arg;
    const struct turn *turn;
    /* More than 16 MiB wait for the disk (on), or less than 8 MiB again (off). */
    void (*pressure)(void *arg, bool on);
    /* A batch is closed in a moment: the last chance to ask for what belongs into one commit with
     * the progress that cursors have to tell (store_remove(), store_append()). May be NULL. */
    void (*closing)(void *arg);
    /* A commit failed and the picture was taken back: read all streams and consumers anew. */
    void (*reopened)(void *arg);
    /* The wall clock moved by more than a second at once, `by` nanoseconds: somebody set it, or the
     * machine slept. May be NULL. */
    void (*clock_moved)(void *arg, int64_t by);
    /* A record failed its checksum; it is skipped, the others live. Called once per record. */
    void (*damaged)(void *arg, struct stream *s, uint64_t seq);
    /* The device failed or the file's structure is damaged: no more acks. The owner ends the
     * process (distinct exit code) or goes on read-only. */
    void (*failed)(void *arg, int err);
};

/* A failing disk or a damaged file may end the process at any time (storage/mishap.h): one line,
 * STORE_EXIT, and a mark beside the store. These are the marks of the last minute; and one more,
 * for a failure that host->failed told or store_open() returned. E_SYS: it can't be written. */
enum { STORE_EXIT = 74 };
unsigned store_mishaps(const char *store_dir);
int store_note_mishap(const char *store_dir) MUST_CHECK;
/* Bytes that have to be freed on its file system before a store there takes anything; 0: none. */
uint64_t store_room_lacking(const char *store_dir);

/* Opens or creates, recovers, starts the writer. E_BUSY: another server has it (it is not
 * disturbed). E_CORRUPT, E_IO, E_SPACE, E_READONLY: the disk or what is on it; E_VERSION, E_SYS:
 * what was asked for can't be. *why, if not NULL, gets an owned sentence to log. */
int store_open(const struct store_config *cfg, const struct store_host *host, struct store **out,
               char **why) MUST_CHECK;
/* Waits for what was handed to the writer, calls the remaining done functions, frees. */
void store_close(struct store *st);
/* 36 characters, made at creation; borrowed. */
struct slice store_uuid(const struct store *st);

struct store_stats {
    int64_t file_bytes, mem_bytes; /* accounted, all accounts */
    uint64_t streams;
    uint64_t commits, ops;  /* ops: appends and changes committed */
    int64_t waiting_bytes;  /* not durable yet */
    int64_t last_commit_ns; /* how long the last one took */
    int64_t commit_max_ns;  /* and the longest */
    bool full;              /* full mode: publishes are refused, everything else lives */
    bool read_only;
    uint64_t damaged; /* records that failed their checksum */
};
void store_stats(const struct store *st, struct store_stats *out);
/* Accounted bytes of one account, file and memory. */
void store_account_usage(const struct store *st, struct slice account, int64_t *file, int64_t *mem);

/* --- streams --------------------------------------------------------------------------------- */

/* No stream gives a higher number: a number and a 32-bit distance never wrap. */
static const uint64_t SEQ_MAX = UINT64_MAX - UINT32_MAX;

struct stream_spec {
    struct slice account, name; /* together unique */
    struct slice config;        /* the caller's own bytes (its JSON), kept and handed back */
    int64_t created;            /* to the nanosecond; never changes: the stream's identity */
    bool memory;                /* nothing on disk, gone after a restart */
    bool discard_new;           /* at a limit refuse the new instead of dropping the oldest */
    bool discard_new_per_subject;
    int64_t max_msgs, max_bytes;  /* < 0: none */
    int64_t max_msgs_per_subject; /* < 0: none */
    int64_t max_age_ns;           /* 0: none */
    int64_t duplicate_window_ns;  /* 0: no de-duplication */
    uint64_t first_seq;           /* of the first message; 0 means 1 */
};

/* Called exactly once when the change is on disk (err 0) or will never be. */
typedef void store_done_fn(void *arg, int err);

/* The handle may be used at once (appends queue behind the creation); a failed creation ends it
 * after done(err). Slices are copied. E_EXISTS, E_SPACE. done is not called when an error is
 * returned. */
int store_stream_create(struct store *st, const struct stream_spec *spec, store_done_fn *done,
                        void *arg, struct stream **out) MUST_CHECK;
/* New limits and config; lower limits are enforced as a job, started at once. account, name,
 * created, memory and first_seq of the spec are ignored. */
int store_stream_update(struct stream *s, const struct stream_spec *spec, store_done_fn *done,
                        void *arg) MUST_CHECK;
/* One commit makes it invisible; its blocks are reclaimed in the background. No callback of its
 * cursors or readers comes after this call; waiting appends get E_CLOSED; the handle ends after
 * done(). */
int store_stream_delete(struct stream *s, store_done_fn *done, void *arg) MUST_CHECK;

struct stream *store_stream_find(struct store *st, struct slice account, struct slice name);
/* Walks all streams: *pos starts at 0; NULL at the end. */
struct stream *store_stream_next(struct store *st, size_t *pos);
/* What it was made with, borrowed until the next update. */
const struct stream_spec *store_stream_spec(const struct stream *s);
/* The caller's own pointer, kept for it. */
void store_stream_set_owner(struct stream *s, void *owner);
void *store_stream_owner(const struct stream *s);

struct stream_state {
    uint64_t msgs;
    uint64_t bytes;               /* accounted as the reference does: jetstream-api.md 4.2 */
    uint64_t first_seq, last_seq; /* empty: first = last + 1 (both 0 in a new one, first_seq and
                                     first_seq - 1 when set) */
    int64_t first_ts, last_ts;    /* 0: none */
    uint64_t num_deleted;         /* holes between first and last */
    uint64_t num_subjects;
};
/* What the last commit left, from memory: no disk, no waiting. */
void store_state(struct stream *s, struct stream_state *out);
/* The newest number given, durable or not: what Nats-Expected-Last-Sequence is compared with. */
uint64_t store_last_assigned(const struct stream *s);

/* --- records --------------------------------------------------------------------------------- */

enum {
    REC_EXPECT_LAST_SEQ = 1, /* compare expect_last_seq with the last given number */
    REC_EXPECT_SUBJECT_SEQ =
        2,                 /* compare expect_subject_seq with the last live one of expect_subject */
    REC_EXPECT_MSG_ID = 4, /* compare expect_msg_id with the id of the newest message */
    REC_ROLLUP_SUBJECT = 8, /* after storing, drop the earlier ones of the subject */
    REC_ROLLUP_ALL = 16,    /* after storing, drop all earlier ones; both are told as
                               purged(), unless much goes or a REC_SKIP leaves nothing */
    /* Consume a number, remember the id, store nothing (interest without consumer; a mirror, with
     * REC_EXACT: there is nothing up to this number). */
    REC_SKIP = 32,
    REC_EXACT = 64, /* a mirror: store under `seq` with `ts`; numbers between are skipped */
    REC_NO_DEDUP = 128,
    REC_SOURCED = 256, /* copied from a source; the store treats it like any other so far */
    REC_REFUSED = 512  /* the caller will not have it: E_DENIED when neither an expectation nor a
                          duplicate comes first */
};

struct record_in {
    struct slice subject, hdr, payload; /* borrowed until the call returns, copied once */
    struct slice msg_id;                /* for de-duplication; empty: none */
    unsigned flags;                     /* REC_… */
    uint64_t expect_last_seq;
    uint64_t expect_subject_seq;
    struct slice expect_subject; /* empty: the record's own subject; wildcards allowed */
    struct slice expect_msg_id;
    uint64_t seq;         /* with REC_EXACT */
    int64_t ts;           /* 0: now */
    int64_t max_msg_size; /* header + payload; <= 0: none. Checked after de-duplication, as the
                             reference does */
    void *origin;         /* given back in the receipt */
    int *decided;         /* may be NULL; gets the receipt's err before the call returns, where the
                             store decides at once (store_takes_at_once()) */
};

struct store_receipt {
    int err;                  /* 0, or why it is not stored */
    bool duplicate;           /* err 0: this id was stored before, as seq */
    uint64_t seq;             /* the number given; for a duplicate that of the original */
    uint64_t last;            /* with E_LAST_SEQ, E_LAST_SUBJECT_SEQ: the actual one; when it was
                                 stored: the newest one before it on its subject */
    int64_t ts;               /* of the message that was stored */
    struct slice last_msg_id; /* with E_LAST_MSG_ID: the actual one, borrowed */
};
typedef void store_append_fn(void *arg, const struct store_receipt *r);

/* Asks for a record to be stored. The answer comes later, after the commit that holds the record is
 * on disk, for a roll-up after the one that took the last of what it replaces. rec is borrowed
 * until the call returns; its bytes are copied once, into the stream's open block. done is called
 * exactly once (never from inside this call), also when the store refuses (duplicate, wrong last
 * sequence, limit), fails or closes; it may call store_append() again. done may be NULL. Returns
 * E_FULL, without calling done, when too much already waits; E_SPACE in full mode, E_READONLY;
 * E_TOOBIG above 64 MiB. */
int store_append(struct stream *s, const struct record_in *rec, store_append_fn *done,
                 void *arg) MUST_CHECK;
/* Does the next record get its number at once? Not in the first moments after a start, nor while
 * what somebody expects is searched for: records wait in order then, and what is told beside them
 * (a cursor's news) would be on disk before them. */
bool store_takes_at_once(const struct stream *s);

struct record_out {
    uint64_t seq;
    int64_t ts;
    struct slice subject, hdr, payload; /* borrowed until each() returns */
};
/* Patterns of which one must match; n == 0: everything. Borrowed as long as the call that takes it
 * says. */
struct store_filter {
    const struct slice *patterns;
    size_t n;
};

enum {
    READ_STOP = 0,
    READ_ON = 1,
    READ_RETRY = 2
}; /* RETRY: this record was not taken; stop before it */
typedef int store_each_fn(void *arg, const struct record_out *r);

struct read_budget {
    uint32_t max_msgs;  /* records handed to each() */
    uint32_t max_scan;  /* looks at records: bounds a long run without a match, where a long record
                           counts for several (512 bytes each), and so do many patterns (32 each) */
    uint64_t max_bytes; /* subject + header + payload of the records handed out; at least one is */
};
enum { READ_END = 1, READ_BUDGET = 2, READ_STOPPED = 3 };

/* Hands the durable, live records with seq >= *from that match the filter to each(), ascending.
 * *from becomes the place to go on from (the next number not looked at). The view of the file is
 * open inside this call only. Returns READ_… (READ_END: nothing durable is left beyond *from) or an
 * error. Damaged records are reported to the host and skipped. */
int store_read(struct stream *s, uint64_t *from, const struct store_filter *f,
               const struct read_budget *budget, store_each_fn *each, void *arg) MUST_CHECK;
/* One record. E_NOTFOUND: never existed or beyond last; E_DELETED: it is gone; E_CORRUPT. */
int store_get(struct stream *s, uint64_t seq, store_each_fn *each, void *arg) MUST_CHECK;
/* Is there a message of this number? As readers see it; the record itself is not looked at. */
bool store_has(struct stream *s, uint64_t seq);
/* The newest live record with a number <= *up_to (0: no bound) that matches: its number in *seq, 0:
 * there is none. Looks at about `scan` records at most; READ_BUDGET: not found yet, *up_to is where
 * to go on. READ_END: that is the answer. A literal subject is nearly always known without a look
 * at records. */
int store_look_back(struct stream *s, const struct store_filter *f, uint64_t *up_to, uint32_t scan,
                    uint64_t *seq);
/* The first live number with a time stamp >= ts; last + 1 when there is none. */
uint64_t store_seq_at_time(struct stream *s, int64_t ts);

/* --- looking at much: jobs ------------------------------------------------------------------- */

/* How many live durable messages from seq on, unfiltered: by position, no scan. */
uint64_t store_count_from(struct stream *s, uint64_t seq);

/* The job's answer; count is exact as of the durable number `as_of`. */
typedef void store_count_fn(void *arg, int err, uint64_t count, uint64_t as_of);
/* Counts what matches the filter from seq on (last_per_subject: only the newest of each subject).
 * The filter is copied. *cancel, if not NULL, gets a handle for store_job_cancel(), good until done
 * was called. */
struct store_job;
int store_count(struct stream *s, const struct store_filter *f, uint64_t from,
                bool last_per_subject, store_count_fn *done, void *arg,
                struct store_job **cancel) MUST_CHECK;
/* The newest sequence of each matching subject, ascending; up_to 0: no bound. limit 0: none, else
 * E_TOOBIG beyond. */
typedef void store_seqs_fn(void *arg, int err, const uint64_t *seqs, size_t n, uint64_t as_of);
int store_last_seqs(struct stream *s, const struct store_filter *f, uint64_t up_to, size_t limit,
                    store_seqs_fn *done, void *arg, struct store_job **cancel) MUST_CHECK;
/* Subjects with their counts, in byte order, skipping `offset`, at most `limit`; total is how many
 * match. done gets them in pieces, borrowed during the call, a turn or more apart; the last call
 * (or the only one, with an error) says that there are no more. */
struct subject_count {
    struct slice subject;
    uint64_t msgs;
};
typedef void store_subjects_fn(void *arg, int err, const struct subject_count *subjects, size_t n,
                               uint64_t total, bool more);
int store_subjects(struct stream *s, struct slice filter, size_t offset, size_t limit,
                   store_subjects_fn *done, void *arg, struct store_job **cancel) MUST_CHECK;
/* The holes between first and last, ascending, at most limit; in pieces as well. */
typedef void store_deleted_fn(void *arg, int err, const uint64_t *seqs, size_t n, bool more);
int store_deleted(struct stream *s, size_t limit, store_deleted_fn *done, void *arg,
                  struct store_job **cancel) MUST_CHECK;
/* done is not called any more. */
void store_job_cancel(struct store_job *job);

/* --- removing -------------------------------------------------------------------------------- */

/* Removes single messages; numbers that are not there are passed over. erase: the bytes are
 * overwritten in the stream's blocks before the answer. done may be NULL (work-queue acks without a
 * reply). */
int store_remove(struct stream *s, const uint64_t *seqs, size_t n, bool erase, store_done_fn *done,
                 void *arg) MUST_CHECK;

struct purge_spec {
    struct slice filter; /* empty: all subjects */
    uint64_t below;      /* only numbers < below; 0: no bound */
    uint64_t keep;       /* leave the newest so many (of those that match); 0: none */
};
typedef void store_purge_fn(void *arg, int err, uint64_t purged);
/* Slices are copied; done after the last portion is on disk. */
int store_purge(struct stream *s, const struct purge_spec *p, store_purge_fn *done,
                void *arg) MUST_CHECK;
/* Forget everything and go on with `next` as the next number (a mirror; a purge beyond the end).
 * E_INVAL: a number that was given out already. */
int store_skip_to(struct stream *s, uint64_t next, store_done_fn *done, void *arg) MUST_CHECK;

/* --- news about a stream ---------------------------------------------------------------------- */

struct stream_watch {
    void *arg;
    /* Once per commit that reached this stream: everything up to last is durable now. May be NULL.
     */
    void (*durable)(void *arg, uint64_t last);
    /* Each record that became durable, before durable(); only while want_stored. */
    void (*stored)(void *arg, uint64_t seq, struct slice subject);
    /* Each message that is gone for good, by whatever cause, with its subject while
     * want_removed_subjects (else the slice is empty). Ranges without interest in subjects come as
     * one removed_range(). */
    void (*removed)(void *arg, uint64_t seq, struct slice subject);
    void (*removed_range)(void *arg, uint64_t first, uint64_t last);
    /* What a purge or a roll-up took: first … last, with the subject when it is one message and
     * want_removed_subjects. NULL: told as the others are. */
    void (*purged)(void *arg, uint64_t first, uint64_t last, struct slice subject);
    bool want_stored, want_removed_subjects; /* may be changed at any time */
};
/* One watcher a stream; NULL takes it off. Borrowed: it must outlive the stream or be taken off. */
void store_watch(struct stream *s, struct stream_watch *w);

/* --- progress of consumers -------------------------------------------------------------------- */

/* A cursor keeps, for one consumer: its config (the caller's bytes) and its progress, which is the
 * caller's own encoding: one snapshot and the deltas after it. The store asks for a delta when it
 * hands a batch to the writer (at most 50 ms after store_cursor_dirty(), and with every commit that
 * happens anyway, so that a work queue's removals and the progress that goes with them never part),
 * and for a snapshot when the journal wants to forget old deltas. */
struct cursor_source {
    void *arg;
    void (*delta)(void *arg,
                  struct buf *out); /* what changed since the last delta() or snapshot() */
    void (*snapshot)(void *arg, struct buf *out); /* everything */
};

struct cursor_spec {
    struct slice name;   /* unique in the stream */
    struct slice config; /* the caller's bytes */
    int64_t created;
    bool memory; /* nothing on disk */
};

int store_cursor_create(struct stream *s, const struct cursor_spec *spec,
                        const struct cursor_source *src, store_done_fn *done, void *arg,
                        struct cursor **out) MUST_CHECK;
int store_cursor_update(struct cursor *c, struct slice config, store_done_fn *done,
                        void *arg) MUST_CHECK;
/* The handle ends with this call; done (may be NULL) when it is on disk. */
int store_cursor_delete(struct cursor *c, store_done_fn *done, void *arg) MUST_CHECK;
/* Something changed: write it when convenient. Cheap, call it as often as you like. */
void store_cursor_dirty(struct cursor *c);
/* The same, but it may wait for ns where nothing else is written. */
void store_cursor_dirty_within(struct cursor *c, int64_t ns);
/* Something changed and someone waits: done when it is on disk. */
int store_cursor_sync(struct cursor *c, store_done_fn *done, void *arg) MUST_CHECK;

/* After store_open() and after host->reopened: the cursors a stream has. *pos starts at 0. */
struct cursor *store_cursor_next(struct stream *s, size_t *pos);
const struct cursor_spec *store_cursor_spec(const struct cursor *c);
void store_cursor_set_owner(struct cursor *c, void *owner);
void *store_cursor_owner(const struct cursor *c);
/* Attaches the caller and hands it what is stored: first the snapshot (is_snapshot, may be empty),
 * then each delta, oldest first. */
typedef int cursor_load_fn(void *arg, bool is_snapshot, struct slice bytes);
int store_cursor_attach(struct cursor *c, const struct cursor_source *src, cursor_load_fn *load,
                        void *arg) MUST_CHECK;
/* The source goes away before the store does (shutdown): what it has to say is taken now and
 * written as if it were still there. */
void store_cursor_detach(struct cursor *c);

#endif

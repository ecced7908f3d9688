/* storage/stream.h -- a stream on the loop: numbers, limits, what is durable
 *
 * Two pictures of every stream. `now` is what has been decided: numbers are given, duplicates and
 * limits judged against it. `shown` is what the last commit left: readers, info and watchers see
 * only that. The difference travels in a batch and becomes visible with its receipt.
 *
 *     now.first ≤ … ≤ now.last                 decided
 *     shown.first ≤ … ≤ shown.last = durable   seen
 *
 * What always holds
 *   (1) each number from now.first to now.last is a live record or marked in `holes`.
 *   (2) a record not yet in a durable block is in one of `chunks`, which are in order of their
 *       numbers.
 *   (3) a hole that is decided but not durable is marked in `undone` too: readers still show the
 *       record.
 *
 * A memory stream is the same without the writer: its batch comes back within the turn.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_STREAM_H
#define STORAGE_STREAM_H

#include "storage/batch.h"
#include "storage/dedupe.h"
#include "storage/holes.h"
#include "storage/index.h"
#include "storage/storage.h"

enum stream_life {
    STREAM_LIVE,
    STREAM_ENDING, /* deleted, or its creation failed: waiting for the receipt that ends the handle
                    */
    STREAM_LOST    /* a failed commit took its creation back */
};

/* The newest message that matches a pattern: what is known since somebody asked. */
struct last_search {
    struct buf pattern; /* the one that was asked for last */
    uint64_t low, high; /* no live match in (low, high], */
    uint64_t at, top;   /* nor in (at, top]: what came since is being looked at */
};

struct stream {
    struct store *st;
    struct list link; /* in st->streams, by sid */
    uint32_t sid;
    enum stream_life life;
    bool memory;
    struct stream_spec spec; /* slices point into spec_mem */
    char *spec_mem;
    void *owner;
    struct stream_watch *watch;
    struct state now, shown;
    struct chunk **chunks; /* [chunk_head, chunk_end), oldest first; the last may be open */
    size_t chunk_head, chunk_end, chunk_cap;
    size_t dead_chunks; /* memory: about so many of them have no live record */
    struct holes holes;
    struct holes undone;
    struct holes damaged;  /* reported already */
    struct holes rescued;  /* first numbers of blocks that were, too */
    struct holes hopeless; /* and of those with nothing sound in them: not searched again */
    bool holes_loaded;     /* the rows of "t" are in holes */
    struct pin holes_pin, state_pin;
    uint64_t holes_pos;   /* a flush of dirty pages goes on with this one */
    uint64_t holes_flush; /* the batch in which that flush began; 0: none */
    struct index index;
    struct dedupe dedupe;
    struct buf last_id;   /* message id of the newest record, */
    bool last_id_known;   /* once it was read (after a restart) */
    bool write_state;     /* its state row goes with the gathering batch */
    uint64_t stored_last; /* recovery: the newest number in a block */
    struct job catch_up;  /* the index, then the duplicate window, after a restart */
    uint64_t window_pos;  /* the window is read from here on */
    int64_t window_from;  /* ... which is the first message not older than this; 0: known */
    uint64_t touched;     /* the gathering batch that has changes of ours */
    bool first_ts_stale;  /* now.first_ts belongs to a record that is gone */
    uint64_t freed;       /* accounted bytes removed since blocks were trimmed last */
    uint64_t holed; /* and those not at the head, since the last compaction: over a stop, too */
    struct compaction *compaction; /* under way, or NULL */
    uint64_t asked_below;          /* blocks below this number were asked to go, */
    uint64_t asked_batch;          /* last in this batch, */
    bool reclaiming;               /* and some of them may be left: more go with each commit */
    struct reclaim *reclaim;       /* sees to that (chores.h), or NULL */
    struct list cursors;
    uint32_t next_cid;
    struct list parked; /* appends that wait for the index or the duplicate window, */
    bool held;          /* or all of them: for the search of the first one's expectation, */
    struct job holding; /* which goes on here */
    struct last_search search;
    struct block recent;      /* the sound block of the file that was taken last, */
    uint64_t recent_view;     /* and in which view: view_number() */
    struct list jobs;         /* jobs that read this stream: ended with it */
    struct list chores;       /* exclusive jobs (purge, limits), one at a time, in order */
    bool purging;             /* what is dropped now is told as purged */
    bool trimming;            /* a chore takes out what is over the limits */
    uint32_t trim_due;        /* looks that appends brought for the same and nobody has spent, */
    uint32_t trim_came;       /* and those of them since stream_trim() */
    struct turn_timer expiry; /* max_age */
};

struct stream *stream_new(struct store *st, uint32_t sid, const struct stream_spec *spec);
void stream_free(struct stream *s);
/* Forgets what a commit decided: chunks, holes, index, window. The handle, its specification and
 * its watcher stay. */
void stream_forget(struct stream *s);
/* It needs nothing of the journal any more: it is being deleted. */
void stream_unpin(struct stream *s);
void stream_set_spec(struct stream *s, const struct stream_spec *spec);

/* The batch this stream's changes go into now. Marks the stream as touched. */
struct batch *stream_batch(struct stream *s);

/* --- chunks ---------------------------------------------------------------------------------- */

static inline size_t stream_chunks(const struct stream *s)
{
    return s->chunk_end - s->chunk_head;
}
static inline struct chunk *stream_chunk(const struct stream *s, size_t i)
{
    return s->chunks[s->chunk_head + i];
}
void stream_push_chunk(struct stream *s, struct chunk *c);
/* Room for one record as number seq, in the open chunk or a new one. NULL: no memory. */
struct chunk *stream_room(struct stream *s, uint64_t seq, size_t record);
/* Its block goes into the file with the gathering batch; no more records. */
void stream_seal(struct stream *s, struct chunk *c);
/* The same, but the chunk stays open: what it holds now goes into the file. */
void stream_store_partly(struct stream *s, struct chunk *c);
/* The record's bytes are overwritten, on disk with the gathering batch. i: the chunk that holds it.
 */
void stream_erase_in_chunk(struct stream *s, size_t i, uint64_t seq);
/* Chunks that are stored and not borrowed go back to the pool. */
void stream_release_chunks(struct stream *s);
/* The chunk that holds seq, or the first one after it; the number of chunks when there is none. */
size_t stream_find_chunk(const struct stream *s, uint64_t seq);

/* --- removal --------------------------------------------------------------------------------- */

/* Is it live as decided / as seen? The number must have been given. Loads the holes. */
bool stream_live_now(struct stream *s, uint64_t seq);
bool stream_live_shown(struct stream *s, uint64_t seq);
void stream_load_holes(struct stream *s);
/* Numbers that carry no message. */
void stream_skip_numbers(struct stream *s, uint64_t first, uint64_t last);

struct reader;
/* Removes one live record (already read); seq may be anywhere. */
void stream_drop(struct stream *s, uint64_t seq, const struct record *r);
/* The same for a record whose bytes will be erased: its number becomes a hole even at the head,
 * because nobody can ask the record for its subject later. */
void stream_drop_marked(struct stream *s, uint64_t seq, const struct record *r);
/* The live record seq can't be read any more: removes its number. subject: when it is known from
 * elsewhere, else empty. */
void stream_drop_lost(struct stream *s, uint64_t seq, struct slice subject);
/* Removes the live record seq, whatever is left of it. That takes what it cost from *looks
 * (reader.h). */
void stream_drop_any(struct stream *s, struct reader *r, uint64_t seq, uint32_t *looks);
/* Enforces max_msgs and max_bytes: what appends push out goes at once, a chore does the rest. */
void stream_trim(struct stream *s);
/* now.first_ts is the time of the first live record again, which is read for it. */
void stream_settle_first_ts(struct stream *s);
/* Everything up to now.last is gone; the next number will be `next`. */
void stream_clear(struct stream *s, uint64_t next);
/* A roll-up of everything: all before seq, which was just stored under subject, are gone. */
void stream_clear_below(struct stream *s, uint64_t seq, struct slice subject);
/* After removals: now.first is the first live one again. */
void stream_settle_first(struct stream *s);
/* Blocks that end below this number may go: the index has all effects of what was trimmed. */
uint64_t stream_blocks_floor(const struct stream *s);
/* Asks for blocks below the head to be deleted when that is worth it: some with each commit, until
 * none is left. */
void stream_give_blocks_back(struct stream *s);
/* Reads the newest record's id when it isn't known. */
void stream_know_last_id(struct stream *s);
uint64_t stream_account(const struct stream *s, const struct record *r);

#endif

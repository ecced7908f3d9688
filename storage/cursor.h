/* storage/cursor.h -- a consumer's progress, as stored
 *
 * One row per cursor: name, config, and a snapshot in the caller's own encoding; deltas after it
 * stand in the journal and pin it. When the journal wants to forget them the row is written anew
 * with a fresh snapshot.
 *
 *     row   str name | str config | i64 created | u64 batch | str snapshot
 *           | str deltas {u32 length, bytes}…
 *
 * The row has everything up to its batch; deltas of later batches come from the journal. A cursor
 * nobody has attached to keeps its deltas in memory and in its row until somebody does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CURSOR_H
#define STORAGE_CURSOR_H

#include "storage/pin.h"
#include "storage/stream.h"

struct cursor {
    struct list link;  /* in s->cursors */
    struct list dirty; /* in st->dirty_cursors */
    int64_t lag;       /* ns it may stand there */
    struct stream *s;
    uint32_t cid;
    struct cursor_spec spec;
    char *spec_mem; /* what spec's slices point into */
    void *owner;
    struct cursor_source src; /* functions NULL while nobody is attached */
    struct pin pin;           /* the oldest delta in the journal that the row lacks */
    struct buf snapshot;      /* as read; freed when somebody attaches */
    struct buf deltas;        /* the same: {u32 length, bytes}… */
    bool write;               /* its row goes with the gathering batch */
    uint64_t written;         /* the last batch its row went with: no delta goes with the same */
    bool lost;                /* a failed commit: not found in the file (again) yet */
};

/* Asks the dirty cursors of all streams what changed, into the gathering batch. */
void cursors_gather(struct store *st);
/* The row, with a fresh snapshot, into the gathering batch. Recovery takes a delta of that batch
 * for part of the row, so what comes until it is closed is written as a row again. */
void cursor_write(struct cursor *c);
/* Recovery. *next grows beyond the batch that brought the row: no later one may have its number. */
int cursor_load_row(struct stream *s, uint32_t cid, struct slice row, uint64_t *next) MUST_CHECK;
void cursor_load_delta(struct stream *s, uint32_t cid, uint64_t batch, struct slice delta);
/* A failed commit: all cursors of the file are lost until recovery finds them; the rest is freed at
 * the end. */
void cursors_forget(struct stream *s);
/* No callback of theirs comes any more. */
void cursors_detach(struct stream *s);
void cursors_free_lost(struct stream *s);
void cursors_free(struct stream *s);

#endif

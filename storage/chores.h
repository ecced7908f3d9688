/* storage/chores.h -- work on one stream that is too big for one turn and changes it
 *
 * Chores of a stream run one at a time, in order (a purge waits for the purge before it);
 * publishes, reads and info do not wait for them. Each works in portions that go through the
 * ordinary batches, rests while a commit's worth of deletes is gathered, and is answered when its
 * last portion is on disk. A crash in the middle leaves the rest undone, and nobody was told
 * otherwise.
 *
 * Reclaiming is not a chore: rows nobody can see any more (blocks below the head, whole deleted
 * streams, dead subject rows after a purge) are removed in the background, beside everything else.
 * A stop, a kill or a failed commit ends it; a look at all streams, a moment after the picture was
 * taken from the file, finds what it left.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CHORES_H
#define STORAGE_CHORES_H

#include "storage/stream.h"

/* Copies the filter. done may be NULL. */
void chore_purge(struct stream *s, const struct purge_spec *p, store_purge_fn *done, void *arg);
/* The oldest of the subject leave until no more remain than the limit says, when it comes to that.
 */
void chore_subject(struct stream *s, struct slice subject);
/* All of the subject below seq leave: the rest of a roll-up. */
struct chore *chore_roll_up(struct stream *s, struct slice subject, uint64_t seq);
/* The chore, just made, takes over the answer of a record that was stored: it is told when the
 * chore's last portion is on disk. w itself stays where it is and tells nobody. */
void chore_answers(struct chore *c, struct waiter *w);
void chore_expire(struct stream *s);
/* More is over the stream's limits than goes in one turn. */
void chore_trim(struct stream *s);
/* After an update: all limits anew. */
void chore_limits(struct stream *s);
/* Ends them; their answers are this error, through the gathering batch. */
void chores_end(struct stream *s, int err);
/* A receipt is in: those that rest go on. */
void chores_wake(struct store *st);

/* Blocks below the stream's head, until none is left. */
void reclaim_blocks(struct stream *s);
/* And the rows of subjects that a purge left behind. */
void reclaim_below(struct stream *s);
/* All rows of a stream that is gone. */
void reclaim_stream(struct store *st, uint32_t sid);
/* At close, and when a stream ends: its reclaiming stops (and goes on after the next start). NULL:
 * of all streams. */
void reclaim_end(struct store *st, struct stream *s);
/* The picture comes from the file, and the file has the mark: its sweep begins anew. */
void reclaim_found(struct stream *s);
/* Each second: what a stop or a failed commit left is looked for, once. */
void reclaim_leftovers(struct store *st);
void reclaim_init(struct store *st);

#endif

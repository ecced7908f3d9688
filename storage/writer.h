/* storage/writer.h -- the one writing thread: take, apply, commit, hand back
 *
 * The loop gives it one batch at a time; while that is on its way to the disk the next one gathers.
 * So an idle store commits at once and a busy one commits what has piled up, and no timer is
 * needed.
 *
 * Threads: all functions on the loop thread. back() runs there too, through turn->mail. The writer
 * borrows the batch, and the chunks in it, from writer_give() until back().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_WRITER_H
#define STORAGE_WRITER_H

#include "base/turn.h"
#include "storage/batch.h"
#include "storage/lmdb.h"

struct writer;
typedef void writer_back_fn(void *arg);

int writer_start(struct db *db, const struct turn *turn, writer_back_fn *back, void *arg,
                 struct writer **out) MUST_CHECK;
/* Nothing may be under way. */
void writer_give(struct writer *w, struct batch *b);
/* The batch that is finished, with its answer; NULL when it is still under way or there is none. */
struct batch *writer_take(struct writer *w);
bool writer_busy(const struct writer *w);
/* Waits for the batch under way to finish; writer_take() then returns it. */
void writer_wait(struct writer *w);
/* Ends the thread. Nothing may be under way; back() is not called any more. */
void writer_stop(struct writer *w);

#endif

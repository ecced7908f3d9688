/* storage/compact.h -- blocks in which most records are dead become fewer blocks
 *
 * Random removals (work queues, KV) leave holes in blocks. When more has been removed than lives, a
 * job walks the stream's blocks: one without a live record is deleted, neighbours of which less
 * than half lives are written again as one SPARSE block. A portion at a time, each in an ordinary
 * batch.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_COMPACT_H
#define STORAGE_COMPACT_H

#include "storage/stream.h"

/* Starts a walk when it is worth it and none is under way. */
void compact_when_due(struct stream *s);
/* The stream ends or its picture is taken back. */
void compact_end(struct stream *s);
/* A receipt is in. */
void compact_wake(struct store *st);

#endif

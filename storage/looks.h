/* storage/looks.h -- long looks at a stream: count, last sequences, subjects, holes
 *
 * Each is a job over what was durable when it began; the door's functions are in looks.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LOOKS_H
#define STORAGE_LOOKS_H

#include "storage/stream.h"

/* The stream ends or its picture was taken back: all looks at it are answered with err. */
void looks_end(struct stream *s, int err);
/* A message became invisible: looks that have counted it already take it off again. last: the end
 * of a range, or 0. */
void looks_removed(struct stream *s, uint64_t seq, uint64_t last, struct slice subject);

#endif

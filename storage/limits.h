/* storage/limits.h -- what goes because something came
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LIMITS_H
#define STORAGE_LIMITS_H

#include "storage/stream.h"

struct chore;

/* After a record was stored: roll-ups, the subject's limit, the stream's limits. Returns the chore
 * that does the rest of a roll-up: it owes the record's answer; NULL: nothing is left to do. */
struct chore *limits_after_append(struct stream *s, const struct record_in *rec, uint64_t seq);
/* A portion of what max_msgs and max_bytes want to go; true: nothing is over them any more. */
bool limits_trim(struct stream *s, uint32_t looks);
/* The oldest of a subject leave, those below `below`, until at most `most` remain; false: not
 * finished after so many looks at records, its first one is far away or there are very many. */
bool limits_subject(struct stream *s, struct subject *e, uint64_t most, uint64_t below,
                    uint32_t looks);
/* The same from a walk over all messages, the oldest first, that has come to e's message seq: what
 * lives of e before it was looked at, or could not be read. Nothing is searched for. */
void limits_subject_at(struct stream *s, struct subject *e, uint64_t most, uint64_t seq);
/* What the oldest message of the subject is accounted as. */
uint64_t limits_first_size(struct stream *s, struct subject *e);
/* The newest live number (as decided) on a subject, or on any that matches the pattern, into *seq;
 * 0: none. False: not found yet, ask again: it goes on where it was. */
bool limits_newest(struct stream *s, struct slice subject, uint64_t *seq);
/* Drops live messages older than max_age, `most` looks (reader.h) at them; true when more are due.
 * Sets the expiry timer. */
bool limits_expire(struct stream *s, uint32_t most);
/* The wall clock was set: what that makes old goes, and is told. */
void limits_clock_moved(struct stream *s, int64_t by);
void limits_on_expiry(void *stream);

#endif

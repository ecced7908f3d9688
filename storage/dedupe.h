/* storage/dedupe.h -- message ids of the last minutes
 *
 * Times are of the monotonic clock, so the window is as long as it says whoever sets the other one.
 * Ids live in a queue of segments in order of time, and a table from their hash to their place. A
 * hit compares the whole id: a collision would drop a message with a success ack. Old ids leave at
 * the front when they are older than the window. Nothing of it is written; after a restart a job
 * reads it from the blocks again, and until that is done `building` is true and publishes with an
 * id wait.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_DEDUPE_H
#define STORAGE_DEDUPE_H

#include "base/hash.h"
#include "base/list.h"

struct dedupe {
    struct htab table;
    struct list segments; /* oldest first */
    size_t count;         /* ids remembered */
    bool building;        /* after a restart: not complete yet */
};

void dedupe_init(struct dedupe *d);
void dedupe_release(struct dedupe *d);
/* The sequence it was stored as, 0: not seen since oldest_ts. */
uint64_t dedupe_find(struct dedupe *d, struct slice id, int64_t oldest_ts);
/* Times must not go backwards, except by a little. An id that is there already keeps its newest
 * sequence. */
void dedupe_add(struct dedupe *d, struct slice id, uint64_t seq, int64_t ts);
/* Forgets ids older than oldest_ts, at most `most` of them; true when more are due. */
bool dedupe_expire(struct dedupe *d, int64_t oldest_ts, unsigned most);

#endif

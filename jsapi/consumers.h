/* jsapi/consumers.h -- the consumers of one stream, as the stream half sees them
 *
 * A stream (jsapi/stream.h) owns one `struct consumers`: the table of its consumers by name, the
 * index of their filters that wakes exactly those a message is for, and the retention accounting
 * of interest streams and work queues. The stream half calls this header and nothing else of the
 * consumer half:
 *
 *     consumers_new()        at stream create; consumers_recover() after it when it was on disk
 *     consumers_stored()     … consumers_durable(): from the stream's store watch
 *     consumers_retention()  after the stream's retention changed
 *     consumers_free()       when the stream goes, or at shutdown
 *
 * struct js_stream carries the pointer as `struct consumers *consumers`.
 *
 * Loop thread only. Nothing here publishes from inside a call: deliveries, advisories and replies
 * are posted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_CONSUMERS_H
#define JSAPI_CONSUMERS_H

#include "base/err.h"
#include "base/json.h"
#include "base/slice.h"

struct consumers;
struct js_stream;
struct jsapi;
struct jsapi_account;

/* For a new stream. The stream's storage handle and config are there already. */
struct consumers *consumers_new(struct js_stream *s);
/* Brings back those the store has (after start-up, and after host->reopened, when the old ones are
 * dropped first with consumers_forget()). */
void consumers_recover(struct consumers *cs);
/* Before the stream's handles change under us (store reopened): nothing is delivered until
 * consumers_recover(). */
void consumers_forget(struct consumers *cs);

enum consumers_end {
    CONSUMERS_DELETED, /* the stream was deleted: waiting requests get 409 Consumer Deleted,
                          advisories */
    CONSUMERS_SHUTDOWN /* waiting requests get 409 Server Shutdown; what is on disk stays */
};
/* Ends all consumers. Call before store_stream_delete() / store_close(). */
void consumers_free(struct consumers *cs, enum consumers_end why);

/* --- news of the stream, straight from its store watch ---------------------------------------- */
void consumers_stored(struct consumers *cs, uint64_t seq, struct slice subject);
void consumers_durable(struct consumers *cs, uint64_t last);
void consumers_removed(struct consumers *cs, uint64_t seq, struct slice subject);
void consumers_removed_range(struct consumers *cs, uint64_t first, uint64_t last);
/* Whether the watch needs the subjects of what is stored or removed; may change with every
 * consumer, and consumers.c sets s->watch.want_… itself when it does. */
bool consumers_want_stored(const struct consumers *cs);
bool consumers_want_removed_subjects(const struct consumers *cs);
/* A purge or a roll-up took first … last; subject may be empty. What is pending of it stays so
 * until consumers_purged(). */
void consumers_leaving(struct consumers *cs, uint64_t first, uint64_t last, struct slice subject);
/* The one message that purges and roll-ups took since this was asked last, 0: none or several. */
uint64_t consumers_taken(struct consumers *cs);
/* Does a consumer stand where the first message left is that matches a purge's filter? */
bool consumers_follow(const struct consumers *cs, struct slice filter);
/* A purge or a roll-up of what matches the filter (empty: of all) is on disk: positions move up.
 * first, where somebody follows: none of these is left before it; 0: none is left. one: what
 * consumers_taken() said when it was on disk. */
void consumers_purged(struct consumers *cs, struct slice filter, uint64_t first, uint64_t one);
/* The stream's retention changed: what nobody wants now goes. */
void consumers_retention(struct consumers *cs);

/* --- questions -------------------------------------------------------------------------------- */

/* Interest retention: does any consumer want this subject? False: the message takes a number and is
 * not stored. */
bool js_stream_has_interest(struct js_stream *s, struct slice subject);
/* Those that count against limits and show in lists (direct and sourcing ones do not). */
size_t consumers_count(const struct consumers *cs);
/* With those: what an account's info counts. */
size_t consumers_all(const struct consumers *cs);
/* None at all, direct and sourcing ones included. */
bool consumers_none(const struct consumers *cs);
/* Would these consumer_limits be broken by consumers that exist? Their names ("a, b") are appended
 * to names. */
struct stream_limits;
bool consumers_violate(const struct consumers *cs, const struct stream_limits *limits,
                       struct buf *names);
/* For /jsz: writes the elements of "consumer_detail" into an open array. */
void consumers_describe(struct consumers *cs, struct json_out *out, bool config);

/* --- news of the whole server ----------------------------------------------------------------- */
/* Sockets have room again. Called for each stream that has consumers; cheap when none rests. */
void consumers_drained(struct consumers *cs);
/* A link of the account came up: consumers of the other side that wait to be asked anew are nudged
 * at once. */
void consumers_link_up(struct consumers *cs);
void consumers_clock_moved(struct consumers *cs);

#endif

/* jsapi/pending.h -- what a consumer has delivered and not yet heard of
 *
 * Pure: no clock, no store, no messages; numbers in, numbers out. One of these is the whole
 * progress of a consumer: how far it has delivered, what is acknowledged, what waits for an ack,
 * what must be delivered again, and what was given up.
 *
 *     c = pending_deliver(p, sseq, now)                 the first delivery of a message
 *     … pending_ack() pending_nak() pending_touch() …   what clients say
 *     pending_expire(p, now, …)                         deadlines that passed: into the queue
 *     pending_front(p, &sseq) → pending_redeliver()     served before anything new
 *
 * An entry costs 32 bytes, whatever happens to it; 8 or 16 more while it waits in queue or heap:
 *
 *     ring    sorted by stream sequence, holes where something was acked. First deliveries are born
 *             in order, with ascending deadlines, so the ring itself is their queue of deadlines
 *             (`scan` points at the oldest).
 *     heap    deadlines of everything else: redelivered, delayed, "still working". Stale elements
 *             are skipped.
 *     queue   stream sequences to be delivered again, in the order they fell due. Stale ones are
 *             skipped; with the last entry that waits in it all of them go.
 *     given   those that reached max_deliver and still are in the stream, sorted.
 *
 * What always holds
 *   (1) floor < every entry <= delivered in the stream, but after a purge in the middle of what was
 *       pending; in consumer sequences as well but for that and for an entry whose elders were
 *       acknowledged all at once by a later delivery.
 *   (2) an entry is in exactly one place: ring order (FRESH), heap (TIMED) or queue (QUEUED).
 *   (3) the front of the ring is never a hole.
 *
 * Times are nanoseconds of one monotonic clock; only the encoding turns them into wall time
 * (milliseconds).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_PENDING_H
#define JSAPI_PENDING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct pending_entry {
    uint64_t sseq; /* stream sequence */
    uint64_t cseq; /* consumer sequence of the first delivery */
    int64_t at;    /* newest delivery; the deadline is at + the wait that goes with `deliveries` */
    uint32_t deliveries; /* how often so far; 0 marks a hole */
    uint32_t place;      /* enum pending_place */
};
_Static_assert(sizeof(struct pending_entry) == 32, "a million entries are 32 MB");

enum pending_place { PENDING_FRESH, PENDING_TIMED, PENDING_QUEUED };

struct pending_rules {
    bool tracks;            /* acks are expected; false: ack policy none, nothing is ever pending */
    bool all;               /* an ack is one of all before it, too */
    int64_t ack_wait;       /* ns; <= 0: no deadline (ack policy flow_control) */
    const int64_t *backoff; /* borrowed; replaces ack_wait from the first delivery on */
    uint32_t backoff_n;
    int64_t max_deliver; /* <= 0: no bound */
};

struct pending_pair {
    uint64_t consumer, stream;
};

struct pending_timed { /* an element of the heap */
    int64_t due;
    uint64_t sseq;
};

struct pending {
    struct pending_rules rules;
    struct pending_pair delivered; /* newest; stream: everything up to it was considered */
    uint64_t told; /* delivered.stream without what was only passed over since the last delivery: as
                      consumer info says it, and where the floor stands when nothing is pending */
    struct pending_pair floor;  /* all up to it is settled; one given up holds it until the ring
                                      is empty, as nats-server tells it */
    struct pending_pair base;   /* the same without those exceptions and with what was only passed
                                      over, as nats-server has it in memory: acks of all are
                                      measured by it, and a purge makes it the floor. It is at the
                                      floor again after a restart */
    struct pending_entry *ring; /* owned; cap entries, a power of two, 0 at first */
    uint32_t cap, head, len;    /* len counts holes */
    uint32_t live;              /* entries that are no holes */
    uint32_t scan;              /* offset from head: no FRESH entry before it */
    uint32_t again;             /* live entries that were delivered more than once */
    struct pending_timed *heap; /* owned; binary, the earliest on top */
    uint32_t heap_n, heap_cap;
    uint32_t timed;  /* live TIMED entries; heap_n may be larger */
    uint64_t *queue; /* owned; ring buffer */
    uint32_t queue_cap, queue_head, queue_n;
    uint32_t queued; /* live QUEUED entries */
    uint64_t *given; /* owned; sorted */
    uint32_t given_n, given_cap;
    struct buf log; /* what changed since the last encoding, as long as that is the shorter way */
    uint64_t log_sseq; /* the log counts from here */
    int64_t log_ms;
    bool whole;     /* the log grew too long (or never was): the next delta says everything */
    bool replaying; /* decoding: changes are not news */
};

void pending_init(struct pending *p, const struct pending_rules *rules);
void pending_release(struct pending *p);
/* New rules for what is there; deadlines follow. */
void pending_set_rules(struct pending *p, const struct pending_rules *rules);
/* Nothing delivered yet: the first message will be start. */
void pending_start_at(struct pending *p, uint64_t start);
/* Forgets everything and starts anew behind `stream` with consumer sequence 1 (RESET). */
void pending_reset(struct pending *p, uint64_t stream);

/* Nothing matched up to sseq: remembers that it was considered. */
void pending_skip(struct pending *p, uint64_t sseq);
/* A purge: nothing before start is to be delivered any more. Where nothing below start is pending
 * and all was settled up to it, nothing else is looked at, as with nats-server; else what is
 * pending below it is dropped, and of the rest what gone() says is not there (NULL: all is). The
 * base becomes the floor but where the floor went further by what was dropped. What was queued to
 * be delivered again waits for its deadline once more, as with nats-server. */
typedef bool pending_gone_fn(void *arg, uint64_t sseq);
void pending_purge(struct pending *p, uint64_t start, pending_gone_fn *gone, void *arg);
/* The first delivery of sseq, which is above everything considered so far. Returns its consumer
 * sequence. */
uint64_t pending_deliver(struct pending *p, uint64_t sseq, int64_t now);
/* The oldest of the redelivery queue, left in place; false when it is empty. */
bool pending_front(struct pending *p, uint64_t *sseq);
/* sseq, which pending_front() named, is delivered again. Returns the consumer sequence;
 * *deliveries: the how-manieth. */
uint64_t pending_redeliver(struct pending *p, uint64_t sseq, int64_t now, uint32_t *deliveries);

enum pending_result {
    PENDING_NOTHING, /* not pending: nothing changed */
    PENDING_SETTLED, /* it is off the list */
    PENDING_LATER    /* nak, touch: it stays, with another deadline */
};
/* Explicit ack or term of one message. Also takes back a message that was given up. */
enum pending_result pending_ack(struct pending *p, uint64_t sseq);
/* Ack of everything up to sseq, told by its consumer sequence. The floor follows when sseq itself
 * was pending. */
enum pending_result pending_ack_all(struct pending *p, uint64_t sseq, uint64_t cseq);
/* Deliver again, now (delay < 0) or after delay. Whether it may be delivered again is asked when it
 * is its turn. */
enum pending_result pending_nak(struct pending *p, uint64_t sseq, int64_t delay, int64_t now);
/* It had its last try: off the list, on that of those given up. */
void pending_give(struct pending *p, uint64_t sseq);
/* The client still works on it. */
enum pending_result pending_touch(struct pending *p, uint64_t sseq, int64_t now);
/* It left the stream. True when it was pending. Also forgets that it was given up. */
bool pending_gone(struct pending *p, uint64_t sseq);
/* All of first … last left the stream. Returns how many were pending. */
uint32_t pending_gone_range(struct pending *p, uint64_t first, uint64_t last);
/* Every pending entry into the queue (the deliver subject changed). */
void pending_requeue_all(struct pending *p);

/* The earliest deadline, INT64_MAX when there is none. */
int64_t pending_due(struct pending *p);
/* Moves at most max entries whose deadline passed into the queue, ascending; those that had their
 * last try are given up and told to gave_up. True when more are due. */
typedef void pending_gave_up_fn(void *arg, uint64_t sseq, uint32_t deliveries);
bool pending_expire(struct pending *p, int64_t now, uint32_t max, pending_gave_up_fn *gave_up,
                    void *arg);

static inline uint32_t pending_count(const struct pending *p)
{
    return p->live;
}
static inline uint32_t pending_queued(const struct pending *p)
{
    return p->queued;
}
/* As consumer info wants it. */
uint32_t pending_redelivered(const struct pending *p);
/* NULL when it is not pending. */
const struct pending_entry *pending_find(const struct pending *p, uint64_t sseq);
bool pending_is_given(const struct pending *p, uint64_t sseq);
/* Is sseq done with, as far as this consumer goes (interest retention)? False as well for what was
 * given up. */
bool pending_is_settled(const struct pending *p, uint64_t sseq);
/* The first entry at sseq or above it. NULL when there is none. */
const struct pending_entry *pending_from(const struct pending *p, uint64_t sseq);
/* Walks the pending entries ascending; *pos starts at 0. */
const struct pending_entry *pending_next(const struct pending *p, uint32_t *pos);

/* --- as bytes: versioned, with a checksum ----------------------------------------------------- */

/* wall - mono at the time of the call: added to every time written, subtracted from every time
 * read. */
void pending_snapshot(struct pending *p, int64_t wall_minus_mono, struct buf *out);
/* What changed since the last delta or snapshot; may turn out to be a whole snapshot. */
void pending_delta(struct pending *p, int64_t wall_minus_mono, struct buf *out);
/* Either kind. On E_CORRUPT or E_VERSION nothing of a snapshot was taken over; of a delta what came
 * before the damage may be. */
int pending_decode(struct pending *p, int64_t wall_minus_mono, struct slice bytes) MUST_CHECK;

#endif

/* jsapi/pending.c -- the pending set: ring, heap, queue, and the list of those given up
 *
 * Every entry is found by its stream sequence: its offset in the ring is at most the distance to
 * the front, and exactly that as long as nothing is missing between, so one probe usually does and
 * a binary search is the rest. Nothing is ever taken out of the middle of the ring, the heap or the
 * queue: entries become holes, elements become stale, and both are thrown away when they reach the
 * front or outnumber the living.
 *
 * Progress is written as a log of what happened, replayed through the same functions when it is
 * read back, as long as that is shorter than the state itself; beyond that the log is dropped and
 * the next delta is a snapshot. pending_code.c does both.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/pending.h"

#include <stdlib.h>

#include "base/mem.h"
#include "jsapi/pending_log.h"

#define RING_MIN  16u
#define RING_KEEP 256u /* an empty ring gives back more than this */

/* --- the ring --------------------------------------------------------------------------------- */

static inline struct pending_entry *entry_at(const struct pending *p, uint32_t off)
{
    return &p->ring[(p->head + off) & (p->cap - 1)];
}

static inline bool is_hole(const struct pending_entry *e)
{
    return e->deliveries == 0;
}

/* Moves the living into a ring of the given size (a power of two that holds them). */
static void ring_rebuild(struct pending *p, uint32_t cap)
{
    struct pending_entry *to = xmalloc(cap * sizeof *to);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        struct pending_entry *e = entry_at(p, i);
        if (!is_hole(e))
            to[n++] = *e;
    }
    free(p->ring);
    p->ring = to;
    p->cap = cap;
    p->head = 0;
    p->len = n;
    p->scan = 0;
}

static void ring_clear(struct pending *p)
{
    p->head = p->len = p->scan = 0;
    if (p->cap > RING_KEEP) {
        free(p->ring);
        p->ring = NULL;
        p->cap = 0;
    }
}

static struct pending_entry *ring_append(struct pending *p, uint64_t sseq)
{
    if (p->len == p->cap) {
        bool crowded = p->live > p->len / 2;
        ring_rebuild(p, !p->cap ? RING_MIN : crowded ? p->cap * 2 : p->cap);
    }
    struct pending_entry *e = entry_at(p, p->len++);
    e->sseq = sseq;
    p->live++;
    return e;
}

/* The offset of the first element with a sequence >= sseq, len when there is none. Where acks come
 * in no order each half is a toss-up and far away in memory: so the sum instead of a branch, and
 * both elements that may be next are asked for before it is known which one is. */
static uint32_t ring_lower(const struct pending *p, uint64_t sseq)
{
    if (!p->len || sseq <= entry_at(p, 0)->sseq)
        return 0;
    uint64_t far = sseq - entry_at(p, 0)->sseq;
    uint32_t lo = 0, n = far < p->len ? (uint32_t)far : p->len; /* it is in lo … lo + n */
    if (n < p->len && entry_at(p, n)->sseq == sseq)
        return n;
    for (uint32_t half; n > 1; n -= half) {
        half = n / 2;
        __builtin_prefetch(entry_at(p, lo + half / 2));
        __builtin_prefetch(entry_at(p, lo + half + half / 2));
        lo += half & -(uint32_t)(entry_at(p, lo + half - 1)->sseq < sseq);
    }
    return lo + (n && entry_at(p, lo)->sseq < sseq);
}

static struct pending_entry *ring_find(const struct pending *p, uint64_t sseq, uint32_t *off)
{
    uint32_t at = ring_lower(p, sseq);
    if (at >= p->len)
        return NULL;
    struct pending_entry *e = entry_at(p, at);
    if (e->sseq != sseq || is_hole(e))
        return NULL;
    if (off)
        *off = at;
    return e;
}

const struct pending_entry *pending_find(const struct pending *p, uint64_t sseq)
{
    return ring_find(p, sseq, NULL);
}

const struct pending_entry *pending_from(const struct pending *p, uint64_t sseq)
{
    uint32_t pos = ring_lower(p, sseq);
    return pending_next(p, &pos);
}

const struct pending_entry *pending_next(const struct pending *p, uint32_t *pos)
{
    while (*pos < p->len) {
        struct pending_entry *e = entry_at(p, (*pos)++);
        if (!is_hole(e))
            return e;
    }
    return NULL;
}

/* --- places ----------------------------------------------------------------------------------- */

static inline int64_t wait_of(const struct pending *p, uint32_t deliveries)
{
    const struct pending_rules *r = &p->rules;
    if (!r->backoff_n)
        return r->ack_wait;
    uint32_t k = deliveries - 1;
    return r->backoff[k < r->backoff_n ? k : r->backoff_n - 1];
}

static int64_t due_of(const struct pending *p, const struct pending_entry *e)
{
    int64_t wait = wait_of(p, e->deliveries), due;
    if (wait <= 0 || __builtin_add_overflow(e->at, wait, &due))
        return INT64_MAX;
    return due;
}

static void heap_up(struct pending *p, uint32_t i)
{
    struct pending_timed x = p->heap[i];
    for (uint32_t up; i && p->heap[up = (i - 1) / 2].due > x.due; i = up)
        p->heap[i] = p->heap[up];
    p->heap[i] = x;
}

static void heap_down(struct pending *p, uint32_t i)
{
    struct pending_timed x = p->heap[i];
    for (;;) {
        uint32_t c = 2 * i + 1;
        if (c >= p->heap_n)
            break;
        if (c + 1 < p->heap_n && p->heap[c + 1].due < p->heap[c].due)
            c++;
        if (p->heap[c].due >= x.due)
            break;
        p->heap[i] = p->heap[c];
        i = c;
    }
    p->heap[i] = x;
}

static bool heap_is_stale(const struct pending *p, const struct pending_timed *t)
{
    const struct pending_entry *e = ring_find(p, t->sseq, NULL);
    return !e || e->place != PENDING_TIMED || due_of(p, e) != t->due;
}

/* Throws the stale elements away, for instance because they outnumber the living. */
static void heap_rebuild(struct pending *p)
{
    p->heap_n = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        struct pending_entry *e = entry_at(p, i);
        if (is_hole(e) || e->place != PENDING_TIMED || due_of(p, e) == INT64_MAX)
            continue;
        if (p->heap_n == p->heap_cap) {
            p->heap_cap = p->heap_cap ? p->heap_cap * 2 : 16;
            p->heap = xrealloc(p->heap, p->heap_cap * sizeof *p->heap);
        }
        p->heap[p->heap_n] = (struct pending_timed){due_of(p, e), e->sseq};
        heap_up(p, p->heap_n++);
    }
}

static void heap_push(struct pending *p, const struct pending_entry *e)
{
    int64_t due = due_of(p, e);
    if (due == INT64_MAX)
        return;
    if (p->heap_n > 64 && p->heap_n / 2 > p->timed) { /* e itself is in the rebuilt heap already */
        heap_rebuild(p);
        return;
    }
    if (p->heap_n == p->heap_cap) {
        p->heap_cap = p->heap_cap ? p->heap_cap * 2 : 16;
        p->heap = xrealloc(p->heap, p->heap_cap * sizeof *p->heap);
    }
    p->heap[p->heap_n] = (struct pending_timed){due, e->sseq};
    heap_up(p, p->heap_n++);
}

static void heap_pop(struct pending *p)
{
    p->heap[0] = p->heap[--p->heap_n];
    if (p->heap_n)
        heap_down(p, 0);
}

static void queue_push(struct pending *p, uint64_t sseq)
{
    if (p->queue_n == p->queue_cap) {
        uint32_t cap = p->queue_cap ? p->queue_cap * 2 : 16;
        uint64_t *to = xmalloc(cap * sizeof *to);
        for (uint32_t i = 0; i < p->queue_n; i++)
            to[i] = p->queue[(p->queue_head + i) & (p->queue_cap - 1)];
        free(p->queue);
        p->queue = to;
        p->queue_cap = cap;
        p->queue_head = 0;
    }
    p->queue[(p->queue_head + p->queue_n++) & (p->queue_cap - 1)] = sseq;
}

static void queue_pop(struct pending *p)
{
    p->queue_head = (p->queue_head + 1) & (p->queue_cap - 1);
    if (--p->queue_n == 0) {
        p->queue_head = 0;
        if (p->queue_cap > 4096) {
            free(p->queue);
            p->queue = NULL;
            p->queue_cap = 0;
        }
    }
}

static void place_leave(struct pending *p, struct pending_entry *e)
{
    p->timed -= e->place == PENDING_TIMED;
    if (e->place == PENDING_QUEUED && --p->queued == 0)
        p->queue_n = p->queue_head = 0; /* what is left in it is stale */
}

static void place_enter(struct pending *p, struct pending_entry *e, enum pending_place place)
{
    place_leave(p, e);
    e->place = place;
    if (place == PENDING_TIMED) {
        p->timed++;
        heap_push(p, e);
    } else if (place == PENDING_QUEUED) {
        p->queued++;
        queue_push(p, e->sseq);
    }
}

/* --- leaving the ring ------------------------------------------------------------------------- */

static void hole_at(struct pending *p, uint32_t off)
{
    struct pending_entry *e = entry_at(p, off);
    place_leave(p, e);
    p->again -= e->deliveries > 1;
    e->deliveries = 0;
    e->place = PENDING_FRESH;
    p->live--;
}

/* No hole at the front, no room that nobody needs. */
static void ring_tidy(struct pending *p)
{
    if (!p->live) {
        ring_clear(p);
        p->heap_n = p->queue_n = p->queue_head = 0;
        return;
    }
    while (is_hole(entry_at(p, 0))) {
        p->head = (p->head + 1) & (p->cap - 1);
        p->len--;
        p->scan -= p->scan > 0;
    }
    if (p->cap > RING_KEEP && p->live < p->cap / 8)
        ring_rebuild(p, p->cap / 4);
}

/* Makes a hole; the floor follows when the next one above it is settled, or the last there is. */
static void settle(struct pending *p, uint32_t off, bool lift)
{
    struct pending_pair up_to = {entry_at(p, off)->cseq, entry_at(p, off)->sseq};
    bool floor = lift && up_to.consumer == p->floor.consumer + 1;
    bool base = up_to.consumer == p->base.consumer + 1;
    hole_at(p, off);
    if (!p->live) {
        if (lift)
            p->floor = (struct pending_pair){p->delivered.consumer, p->told};
        p->base = p->delivered;
    } else if (floor || base) {
        while (++off < p->len && is_hole(entry_at(p, off)))
            ;
        if (off < p->len)
            up_to = (struct pending_pair){entry_at(p, off)->cseq - 1, entry_at(p, off)->sseq - 1};
        p->floor = floor ? up_to : p->floor;
        p->base = base ? up_to : p->base;
    }
    ring_tidy(p);
}

static uint32_t given_lower(const struct pending *p, uint64_t sseq)
{
    uint32_t lo = 0, hi = p->given_n;
    if (!hi || p->given[hi - 1] < sseq)
        return hi;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->given[mid] < sseq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool pending_is_given(const struct pending *p, uint64_t sseq)
{
    uint32_t at = given_lower(p, sseq);
    return at < p->given_n && p->given[at] == sseq;
}

void pending_give(struct pending *p, uint64_t sseq)
{
    uint32_t off, at = given_lower(p, sseq);
    if (at == p->given_n || p->given[at] != sseq) {
        if (p->given_n == p->given_cap) {
            p->given_cap = p->given_cap ? p->given_cap * 2 : 16;
            p->given = xrealloc(p->given, p->given_cap * sizeof *p->given);
        }
        memmove(p->given + at + 1, p->given + at, (p->given_n - at) * sizeof *p->given);
        p->given[at] = sseq;
        p->given_n++;
    }
    if (ring_find(p, sseq, &off))
        settle(p, off, false);
    pending_log(p, PLOG_GIVE, sseq);
}

static bool given_drop(struct pending *p, uint64_t first, uint64_t last)
{
    uint32_t from = given_lower(p, first), to = from;
    while (to < p->given_n && p->given[to] <= last)
        to++;
    if (to == from)
        return false;
    memmove(p->given + from, p->given + to, (p->given_n - to) * sizeof *p->given);
    p->given_n -= to - from;
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

void pending_init(struct pending *p, const struct pending_rules *rules)
{
    *p = (struct pending){.rules = *rules, .whole = true};
}

void pending_release(struct pending *p)
{
    free(p->ring);
    free(p->heap);
    free(p->queue);
    free(p->given);
    buf_release(&p->log);
    *p = (struct pending){.rules = p->rules, .whole = true};
}

void pending_set_rules(struct pending *p, const struct pending_rules *rules)
{
    p->rules = *rules;
    p->scan = 0;
    heap_rebuild(p);
}

void pending_start_at(struct pending *p, uint64_t start)
{
    p->delivered = p->floor = p->base = (struct pending_pair){0, start ? start - 1 : 0};
    p->told = p->delivered.stream;
    pending_log_whole(p);
}

void pending_reset(struct pending *p, uint64_t stream)
{
    bool replaying = p->replaying;
    pending_release(p);
    p->replaying = replaying;
    p->delivered = p->floor = p->base = (struct pending_pair){0, stream};
    p->told = stream;
}

/* --- delivering ------------------------------------------------------------------------------- */

void pending_skip(struct pending *p, uint64_t sseq)
{
    if (sseq <= p->delivered.stream)
        return;
    p->delivered.stream = sseq;
    pending_log(p, PLOG_SKIP, sseq);
}

/* A hole for a purge, and the floor as after an ack. */
static void drop(struct pending *p, uint32_t off)
{
    const struct pending_entry *e = entry_at(p, off);
    hole_at(p, off);
    if (p->rules.all) {
        if (e->cseq > p->floor.consumer)
            p->floor = (struct pending_pair){e->cseq, e->sseq};
    } else if (!p->live) {
        p->floor = (struct pending_pair){p->delivered.consumer, p->told};
    } else if (e->cseq == p->floor.consumer + 1) {
        p->floor = (struct pending_pair){e->cseq, e->sseq};
        while (++off < p->len && is_hole(entry_at(p, off)))
            ;
        if (off < p->len)
            p->floor =
                (struct pending_pair){entry_at(p, off)->cseq - 1, entry_at(p, off)->sseq - 1};
    }
}

void pending_purge(struct pending *p, uint64_t start, pending_gone_fn *gone, void *arg)
{
    struct pending_pair base = p->base;
    if (start && start - 1 > p->delivered.stream)
        p->delivered.stream = start - 1;
    if (base.stream < start) {
        base.stream = start - 1;
        for (uint32_t off = 0; off < p->len; off++) {
            const struct pending_entry *e = entry_at(p, off);
            if (is_hole(e) || (e->sseq > base.stream && !(gone && gone(arg, e->sseq))))
                continue;
            base.consumer = e->cseq > base.consumer ? e->cseq : base.consumer;
            drop(p, off);
        }
        ring_tidy(p);
    }
    if (!p->live) {
        base = p->delivered;
        p->given_n = 0;
    }
    for (uint32_t off = 0; p->queued && off < p->len; off++) { /* they wait anew */
        struct pending_entry *e = entry_at(p, off);
        if (!is_hole(e) && e->place == PENDING_QUEUED)
            place_enter(p, e, PENDING_TIMED);
    }
    p->base = base;
    if (base.stream >= p->floor.stream) {
        p->floor = base;
        p->told = p->delivered.stream;
    }
    pending_log_whole(p);
}

uint64_t pending_deliver(struct pending *p, uint64_t sseq, int64_t now)
{
    ASSERT(sseq > p->delivered.stream);
    p->delivered.stream = p->told = sseq;
    uint64_t cseq = ++p->delivered.consumer;
    if (!p->rules.tracks) {
        p->floor = p->base = p->delivered;
        p->whole = true;
        return cseq;
    }
    struct pending_entry *e = ring_append(p, sseq);
    e->cseq = cseq;
    e->at = now;
    e->deliveries = 1;
    e->place = PENDING_FRESH;
    pending_log_at(p, PLOG_DELIVER, sseq, now);
    return cseq;
}

bool pending_front(struct pending *p, uint64_t *sseq)
{
    while (p->queue_n) {
        *sseq = p->queue[p->queue_head];
        const struct pending_entry *e = ring_find(p, *sseq, NULL);
        if (e && e->place == PENDING_QUEUED)
            return true;
        queue_pop(p);
    }
    return false;
}

uint64_t pending_redeliver(struct pending *p, uint64_t sseq, int64_t now, uint32_t *deliveries)
{
    struct pending_entry *e = ring_find(p, sseq, NULL);
    ASSERT(e);
    if (p->queue_n && p->queue[p->queue_head] == sseq)
        queue_pop(p);
    p->again += e->deliveries == 1;
    *deliveries = ++e->deliveries;
    e->at = now;
    place_enter(p, e, PENDING_TIMED);
    pending_log_at(p, PLOG_REDELIVER, sseq, now);
    return ++p->delivered.consumer;
}

/* --- what clients say ------------------------------------------------------------------------- */

enum pending_result pending_ack(struct pending *p, uint64_t sseq)
{
    uint32_t off;
    if (ring_find(p, sseq, &off)) {
        settle(p, off, true);
        pending_log(p, PLOG_ACK, sseq);
        return PENDING_SETTLED;
    }
    if (p->given_n && given_drop(p, sseq, sseq)) {
        pending_log(p, PLOG_ACK, sseq);
        return PENDING_SETTLED;
    }
    return PENDING_NOTHING;
}

enum pending_result pending_ack_all(struct pending *p, uint64_t sseq, uint64_t cseq)
{
    bool settled = sseq <= p->base.stream || cseq <= p->base.consumer;
    if (sseq > p->delivered.stream || (settled && !p->replaying)) /* the base is not read back */
        return PENDING_NOTHING;
    bool known = ring_find(p, sseq, NULL) && cseq > p->floor.consumer;
    while (p->live && entry_at(p, 0)->sseq <= sseq)
        settle(p, 0, false);
    p->base.stream = sseq;
    p->base.consumer = cseq < p->delivered.consumer ? cseq : p->delivered.consumer;
    if (known)
        p->floor = p->base;
    given_drop(p, 0, sseq);
    pending_log(p, PLOG_ACK_ALL, sseq);
    pending_log_number(p, p->base.consumer);
    return PENDING_SETTLED;
}

/* Another deadline: what is queued leaves the queue. */
static void defer(struct pending *p, struct pending_entry *e, int64_t at)
{
    e->at = at;
    place_enter(p, e, PENDING_TIMED);
    pending_log_at(p, PLOG_DEFER, e->sseq, at);
}

enum pending_result pending_nak(struct pending *p, uint64_t sseq, int64_t delay, int64_t now)
{
    struct pending_entry *e = ring_find(p, sseq, NULL);
    if (!e)
        return PENDING_NOTHING;
    if (delay >= 0 && wait_of(p, e->deliveries) > 0) {
        int64_t due;
        if (__builtin_add_overflow(now, delay, &due))
            due = INT64_MAX;
        defer(p, e, due - wait_of(p, e->deliveries));
        return PENDING_LATER;
    }
    if (e->place != PENDING_QUEUED) {
        place_enter(p, e, PENDING_QUEUED);
        pending_log(p, PLOG_QUEUE, sseq);
    }
    return PENDING_LATER;
}

enum pending_result pending_touch(struct pending *p, uint64_t sseq, int64_t now)
{
    struct pending_entry *e = ring_find(p, sseq, NULL);
    if (!e)
        return PENDING_NOTHING;
    if (e->place != PENDING_QUEUED)
        defer(p, e, now);
    return PENDING_LATER;
}

void pending_defer(struct pending *p, uint64_t sseq, int64_t at)
{
    struct pending_entry *e = ring_find(p, sseq, NULL);
    if (e)
        defer(p, e, at);
}

bool pending_gone(struct pending *p, uint64_t sseq)
{
    uint32_t off;
    bool was = ring_find(p, sseq, &off) != NULL;
    if (was)
        settle(p, off, true);
    if ((p->given_n && given_drop(p, sseq, sseq)) || was)
        pending_log(p, PLOG_ACK, sseq);
    return was;
}

uint32_t pending_gone_range(struct pending *p, uint64_t first, uint64_t last)
{
    uint32_t n = 0;
    bool given = p->given_n && given_drop(p, first, last);
    while (p->live) {
        uint32_t off = ring_lower(p, first);
        while (off < p->len && is_hole(entry_at(p, off)))
            off++;
        if (off >= p->len || entry_at(p, off)->sseq > last)
            break;
        first = entry_at(p, off)->sseq + 1;
        settle(p, off, true);
        n++;
    }
    if (n || given)
        pending_log_whole(p);
    return n;
}

void pending_requeue_all(struct pending *p)
{
    for (uint32_t i = 0; i < p->len; i++) {
        struct pending_entry *e = entry_at(p, i);
        if (!is_hole(e) && e->place != PENDING_QUEUED)
            place_enter(p, e, PENDING_QUEUED);
    }
    pending_log_whole(p);
}

/* --- deadlines -------------------------------------------------------------------------------- */

/* The oldest FRESH entry, NULL when there is none. */
static struct pending_entry *oldest_fresh(struct pending *p)
{
    while (p->scan < p->len) {
        struct pending_entry *e = entry_at(p, p->scan);
        if (!is_hole(e) && e->place == PENDING_FRESH)
            return e;
        p->scan++;
    }
    return NULL;
}

static struct pending_entry *earliest(struct pending *p, int64_t *due)
{
    struct pending_entry *e = oldest_fresh(p);
    *due = e ? due_of(p, e) : INT64_MAX;
    while (p->heap_n && heap_is_stale(p, &p->heap[0]))
        heap_pop(p);
    if (p->heap_n && p->heap[0].due < *due) {
        *due = p->heap[0].due;
        e = ring_find(p, p->heap[0].sseq, NULL);
    }
    return *due == INT64_MAX ? NULL : e;
}

int64_t pending_due(struct pending *p)
{
    int64_t due;
    earliest(p, &due);
    return due;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool pending_expire(struct pending *p, int64_t now, uint32_t max, pending_gave_up_fn *gave_up,
                    void *arg)
{
    uint64_t *batch = NULL;
    uint32_t n = 0, cap = 0;
    struct pending_entry *e;
    int64_t due;
    while ((e = earliest(p, &due)) && due <= now && n < max) {
        if (p->rules.max_deliver > 0 && e->deliveries >= p->rules.max_deliver) {
            uint64_t sseq = e->sseq;
            uint32_t deliveries = e->deliveries;
            pending_give(p, sseq);
            if (gave_up)
                gave_up(arg, sseq, deliveries);
            max--;
            continue;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            batch = xrealloc(batch, cap * sizeof *batch);
        }
        batch[n++] = e->sseq;
        place_leave(p, e);
        e->place = PENDING_QUEUED;
        p->queued++;
    }
    if (n > 1)
        qsort(batch, n, sizeof *batch, by_number);
    for (uint32_t i = 0; i < n; i++)
        queue_push(p, batch[i]);
    free(batch);
    return pending_due(p) <= now;
}

/* --- questions -------------------------------------------------------------------------------- */

uint32_t pending_redelivered(const struct pending *p)
{
    return p->rules.max_deliver == 1 ? 0 : p->again + p->given_n;
}

bool pending_is_settled(const struct pending *p, uint64_t sseq)
{
    return sseq <= p->delivered.stream && !ring_find(p, sseq, NULL) && !pending_is_given(p, sseq);
}

/* --- reading back: the raw doors for pending_code.c ------------------------------------------- */

void pending_restore(struct pending *p, const struct pending_entry *from)
{
    struct pending_entry *e = ring_append(p, from->sseq);
    *e = *from;
    e->place = PENDING_FRESH;
    p->again += e->deliveries > 1;
    if (from->place != PENDING_FRESH)
        place_enter(p, e, (enum pending_place)from->place);
}

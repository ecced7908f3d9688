/* jsapi/consumer_count.c -- num_pending, exactly
 *
 * A consumer without filters asks the store by position; nothing is kept. One with filters is
 * counted once, by a job of the store, and from then on follows the news: +1 for each matching
 * message stored, -1 for each delivered, -1 for each that goes away undelivered. The job counts up
 * to the durable number at its start (count_as_of); what is stored meanwhile is counted apart. A
 * message that goes away meanwhile may or may not have been counted: then the job runs again, at
 * most twice more. Whoever is caught up knows that nothing is left: that mends what was left over.
 *
 * After a restart nothing is counted until somebody wants to know: the first delivery or the first
 * info.
 *
 * last_per_subject: the newest number of each subject at creation is a list of its own (`latest`),
 * delivered first; what is stored after latest_up_to counts as above. What goes away while the list
 * is made is taken off when it is there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumer.h"

#include <stdlib.h>

#include "base/log.h"
#include "jsapi/api.h"

#define GONE_BIT    (1ULL << 63) /* in latest[]: left the stream */
#define COUNT_TRIES 3

/* --- waiting for it --------------------------------------------------------------------------- */

void consumer_wait(struct js_consumer *c, struct request *r)
{
    if (c->n_waiters == c->waiters_cap) {
        c->waiters_cap = c->waiters_cap ? c->waiters_cap * 2 : 4;
        c->waiters = xrealloc(c->waiters, c->waiters_cap * sizeof(struct request *));
    }
    c->waiters[c->n_waiters++] = r;
}

static void each_waiter(struct js_consumer *c, void (*fn)(struct request *r))
{
    struct request **all = c->waiters;
    size_t n = c->n_waiters;
    c->waiters = NULL; /* fn may wait again */
    c->n_waiters = c->waiters_cap = 0;
    for (size_t i = 0; i < n; i++)
        fn(all[i]);
    free(all);
}

static void run_again(struct request *r)
{
    r->verb->fn(r);
}

void consumer_wake_waiters(struct js_consumer *c)
{
    each_waiter(c, run_again);
}

static void give_up(struct request *r)
{
    struct js_consumer *held = r->held;
    api_drop(r);
    if (held)
        consumer_drop(held);
}

void consumer_drop_waiters(struct js_consumer *c)
{
    each_waiter(c, give_up);
}

void consumer_wake_later(struct js_consumer *c)
{
    const struct turn *t = consumer_turn(c);
    struct consumers *cs = c->set;
    if (!c->n_waiters)
        return;
    cs->later = xrealloc(cs->later, (cs->later_n + c->n_waiters) * sizeof *cs->later);
    memcpy(cs->later + cs->later_n, c->waiters, c->n_waiters * sizeof *cs->later);
    cs->later_n += c->n_waiters;
    free(c->waiters);
    c->waiters = NULL;
    c->n_waiters = c->waiters_cap = 0;
    turn_post_now(t, &cs->wake_later);
}

/* cs may go with the first of them. */
static void wake_all(struct consumers *cs, void (*fn)(struct request *r))
{
    struct request **all = cs->later;
    size_t n = cs->later_n;
    cs->later = NULL;
    cs->later_n = 0;
    for (size_t i = 0; i < n; i++)
        fn(all[i]);
    free(all);
}

static void on_wake_later(void *arg)
{
    wake_all(arg, run_again);
}

void consumers_wake_init(struct consumers *cs)
{
    turn_post_init(&cs->wake_later, on_wake_later, cs);
}

void consumers_wake_end(struct consumers *cs, bool drop)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    t->unpost(t->loop, &cs->wake_later);
    wake_all(cs, drop ? give_up : run_again);
}

void consumer_count_cancel(struct js_consumer *c)
{
    if (c->counting)
        store_job_cancel(c->counting);
    if (c->listing)
        store_job_cancel(c->listing);
    c->counting = c->listing = NULL;
}

static void known(struct js_consumer *c)
{
    consumer_hold(c);
    if (c->state == CONSUMER_MAKING)
        consumer_made(c);
    else
        consumer_wake_waiters(c);
    consumer_ready(c);
    consumer_drop(c);
}

/* --- counting --------------------------------------------------------------------------------- */

static void start_count(struct js_consumer *c);

/* A commit failed, and the store ended what it looked at. One that is being made is refused; who
 * waits for another is answered with what is known, and who asks next counts again. */
static void ended(struct js_consumer *c, int err)
{
    log_warn("Consumer '%.*s > %.*s': counting failed: %s", SLICE_FMT(c->stream->name),
             SLICE_FMT(c->name), err_text(err));
    c->count_tries = 0;
    if (c->state == CONSUMER_MAKING) {
        consumer_wake_later(c);
        consumer_close(c, CLOSE_DELETED);
        return;
    }
    consumer_hold(c);
    c->counted = true;
    known(c);
    c->counted = false;
    consumer_drop(c);
}

static void on_count(void *arg, int err, uint64_t count, uint64_t as_of)
{
    struct js_consumer *c = arg;
    c->counting = NULL;
    if (err) {
        ended(c, err);
        return;
    }
    if ((c->count_spoiled || as_of != c->count_as_of) && ++c->count_tries < COUNT_TRIES) {
        start_count(c);
        return;
    }
    c->num_pending = count + (as_of == c->count_as_of ? c->count_since : 0);
    c->counted = true;
    c->count_tries = 0;
    known(c);
}

static void start_count(struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    struct stream_state st;
    uint64_t from = c->pend.delivered.stream + 1;
    if (from <= c->latest_up_to)
        from = c->latest_up_to + 1;
    store_state(c->stream->store, &st);
    c->count_as_of = st.last_seq;
    c->count_since = 0;
    c->count_spoiled = false;
    if (store_count(c->stream->store, &f, from, false, on_count, c, &c->counting) < 0)
        on_count(c, 0, 0, c->count_as_of); /* the stream is going, and c with it */
}

/* --- the list of the last of each subject ----------------------------------------------------- */

static size_t latest_find(const struct js_consumer *c, uint64_t seq)
{
    size_t lo = c->latest_at, hi = c->latest_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((c->latest[mid] & ~GONE_BIT) < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void latest_gone(struct js_consumer *c, uint64_t seq)
{
    size_t at = latest_find(c, seq);
    if (at < c->latest_n && c->latest[at] == seq) {
        c->latest[at] |= GONE_BIT;
        c->latest_left -= c->latest_left > 0;
    }
}

/* The list is being made and may have it already. */
static void note_missed(struct js_consumer *c, uint64_t seq)
{
    if (c->missed_n == c->missed_cap) {
        c->missed_cap = c->missed_cap ? c->missed_cap * 2 : 16;
        c->missed = xrealloc(c->missed, c->missed_cap * sizeof *c->missed);
    }
    c->missed[c->missed_n++] = seq;
}

static void take_missed(struct js_consumer *c)
{
    for (size_t i = 0; i < c->missed_n; i++)
        latest_gone(c, c->missed[i]);
    free(c->missed);
    c->missed = NULL;
    c->missed_n = c->missed_cap = 0;
}

static void on_latest(void *arg, int err, const uint64_t *seqs, size_t n, uint64_t as_of)
{
    struct js_consumer *c = arg;
    bool fresh = c->state == CONSUMER_MAKING;
    (void)as_of;
    c->listing = NULL;
    if (err) {
        ended(c, err);
        return;
    }
    if (c->cfg->deliver_policy == DELIVER_LAST && n) { /* of all subjects together */
        seqs += n - 1;
        n = 1;
    }
    free(c->latest);
    c->latest = n ? xmalloc(n * sizeof *c->latest) : NULL;
    c->latest_n = c->latest_at = 0;
    for (size_t i = 0; i < n; i++)
        if (fresh || seqs[i] > c->pend.delivered.stream)
            c->latest[c->latest_n++] = seqs[i];
    c->latest_left = c->latest_n;
    c->latest_known = true;
    if (fresh) {
        pending_start_at(&c->pend, c->latest_n ? c->latest[0] : c->latest_up_to);
        consumer_dirty(c); /* until here it stood at the stream's first message */
    }
    take_missed(c); /* a mark in the first number would not start it there */
    start_count(c);
}

static void start_latest(struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    c->missed_n = 0;
    if (store_last_seqs(c->stream->store, &f, c->latest_up_to, 0, on_latest, c, &c->listing) < 0)
        on_latest(c, 0, NULL, 0, c->latest_up_to); /* as start_count() */
}

bool consumer_counted(struct js_consumer *c, struct request *r)
{
    if (!c->filtered || c->counted)
        return true;
    if (r)
        consumer_wait(c, r);
    if (c->counting || c->listing)
        return false;
    if (c->latest_up_to && !c->latest_known)
        start_latest(c);
    else
        start_count(c);
    return false;
}

uint64_t consumer_num_pending(const struct js_consumer *c)
{
    if (!c->filtered)
        return c->set ? store_count_from(c->stream->store, c->pend.delivered.stream + 1) : 0;
    return c->num_pending + c->latest_left;
}

void consumer_recount(struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    consumer_count_cancel(c);
    c->filtered = f.n && !(f.n == 1 && slice_is(f.patterns[0], ">") && !c->latest_up_to);
    c->counted = c->latest_known = false;
    c->count_tries = 0;
    c->num_pending = c->latest_left = 0;
}

/* --- following the news ----------------------------------------------------------------------- */

void consumer_saw_stored(struct js_consumer *c, uint64_t seq)
{
    if (seq <= c->seen)
        return; /* two of its filters match */
    c->seen = seq;
    if (seq > c->count_as_of && seq > c->pend.delivered.stream) {
        if (c->counted)
            c->num_pending++;
        else if (c->counting)
            c->count_since++;
    }
    if (c->place == PLACE_HUNGRY)
        consumer_ready(c);
}

void consumer_saw_removed(struct js_consumer *c, uint64_t seq)
{
    if (seq <= c->pend.delivered.stream || seq == c->gone_seen)
        return;
    c->gone_seen = seq;
    if (seq <= c->latest_up_to && c->listing) {
        note_missed(c, seq);
    } else if (seq <= c->latest_up_to) {
        latest_gone(c, seq);
    } else if (c->counted) {
        c->num_pending -= c->num_pending > 0;
    } else if (c->counting && seq > c->count_as_of) {
        c->count_since -= c->count_since > 0;
    } else if (c->counting) {
        c->count_spoiled = true;
    }
}

uint64_t consumer_latest_next(struct js_consumer *c)
{
    if (!c->latest_up_to)
        return 0;
    for (; c->latest_at < c->latest_n; c->latest_at++)
        if (!(c->latest[c->latest_at] & GONE_BIT))
            return c->latest[c->latest_at];
    pending_skip(&c->pend, c->latest_up_to);
    free(c->latest);
    c->latest = NULL;
    c->latest_n = c->latest_at = 0;
    c->latest_left = c->latest_up_to = 0;
    consumer_dirty(c);
    return 0;
}

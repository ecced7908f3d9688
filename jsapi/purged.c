/* jsapi/purged.c -- where consumers stand after a purge
 *
 * While a purge or a roll-up goes on, what is pending of the messages that leave stays pending
 * (consumers_leaving() in consumers.c only counts). When it is over each consumer is looked at, and
 * what happens depends on how its filters lie to the purged subjects, as with nats-server:
 *
 *     no filter of the purge            nothing below the first message is wanted any more
 *     all it wants lies in the filter   nothing below the first message left that matches; none
 *                                       left: it stands at the end
 *     it wants more than that           as without a filter, and each pending message is looked up
 *     neither in the other              nothing
 *
 * (pending_purge() does it.) The first message left that matches may be far away: who asked for the
 * purge looks for it first, in portions (stream_delete.c), if anybody cares. A purge that took one
 * single message of a subject is told to consumers like a deletion, too, after that. Messages that
 * left and still are pending after all this go when it is their turn to be delivered again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumers.h"

#include "base/clock.h"
#include "base/subject.h"
#include "jsapi/ack.h"
#include "jsapi/consumer.h"

enum reach { REACH_NOTHING, REACH_ALL_OF_IT, REACH_PART_OF_IT };

/* How much of what the consumer wants the purged subjects are. */
static enum reach reach_of(const struct js_consumer *c, struct slice filter)
{
    struct store_filter f = consumer_filters(c->cfg);
    size_t inside = 0;
    bool wider = f.n == 0;

    for (size_t i = 0; i < f.n; i++) {
        inside += subject_subset(f.patterns[i], filter);
        wider |= subject_subset(filter, f.patterns[i]);
    }
    if (inside)
        return inside == f.n ? REACH_ALL_OF_IT : REACH_PART_OF_IT;
    return wider ? REACH_PART_OF_IT : REACH_NOTHING;
}

bool consumers_follow(const struct consumers *cs, struct slice filter)
{
    for (size_t i = 0; filter.n && i < cs->n; i++)
        if (reach_of(cs->at[i], filter) == REACH_ALL_OF_IT)
            return true;
    return false;
}

uint64_t consumers_taken(struct consumers *cs)
{
    uint64_t one = cs->left == 1 ? cs->left_seq : 0;
    cs->left = 0;
    return one;
}

static bool not_there(void *stream, uint64_t seq)
{
    return !store_has(stream, seq);
}

/* The one message that left, as a deletion: whom it is told depends on the kind of stream. */
static void told_as_deleted(struct js_consumer *c, struct slice filter, uint64_t seq)
{
    bool file = c->stream->cfg.storage == STORE_FILE;
    struct slice subject = filter.n ? filter : SLICE(">");
    if (!file || consumer_wants(c, subject))
        ack_gone(c, seq, "Unacknowledged message was deleted");
}

static void move_up(struct js_consumer *c, uint64_t start, bool wider)
{
    struct stream *s = c->stream->store;
    uint32_t before = pending_count(&c->pend);
    pending_purge(&c->pend, start, wider ? not_there : NULL, s);
    if (pending_count(&c->pend) < before)
        c->acked_wall = clock_wall();
    consumer_dirty(c);
    consumer_rearm(c); /* what was queued waits for its deadline again */
    consumer_ready(c);
}

void consumers_purged(struct consumers *cs, struct slice filter, uint64_t first, uint64_t one)
{
    struct stream_state st;
    store_state(cs->stream->store, &st);
    for (size_t i = 0; i < cs->n; i++) {
        struct js_consumer *c = cs->at[i];
        bool was = one && pending_find(&c->pend, one);
        enum reach reach = filter.n ? reach_of(c, filter) : REACH_ALL_OF_IT;
        if (!filter.n)
            move_up(c, st.first_seq, false);
        else if (reach == REACH_ALL_OF_IT)
            move_up(c, first ? first : st.last_seq + 1, false);
        else if (reach == REACH_PART_OF_IT)
            move_up(c, st.first_seq, true);
        if (was)
            told_as_deleted(c, filter, one);
    }
}

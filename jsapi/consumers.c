/* jsapi/consumers.c -- the set: names, filters, and what the stream's news mean to each consumer
 *
 * News cost what they mean. A stored message is looked up in the index of filters and told to those
 * that match; the unfiltered ones that wait for anything at all stand in `hungry` and are woken
 * once a commit. A removed message matters to those that hold something pending (`holders`) and to
 * filtered ones that have it still ahead of them. A consumer with nobody to deliver to is in no
 * list and costs nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/consumers.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/subject.h"
#include "jsapi/ack.h"
#include "jsapi/delivery.h"
#include "jsapi/push.h"
#include "jsapi/pull.h"
#include "jsapi/retention.h"

/* --- the table -------------------------------------------------------------------------------- */

static size_t place_of(const struct consumers *cs, struct slice name, bool *found)
{
    size_t lo = 0, hi = cs->n;
    *found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = slice_cmp(cs->at[mid]->name, name);
        if (cmp == 0) {
            *found = true;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct js_consumer *consumers_find(const struct consumers *cs, struct slice name)
{
    bool found;
    size_t at = place_of(cs, name, &found);
    return found ? cs->at[at] : NULL;
}

void consumers_insert(struct consumers *cs, struct js_consumer *c)
{
    bool found;
    size_t at = place_of(cs, c->name, &found);
    ASSERT(!found);
    if (cs->n == cs->cap) {
        cs->cap = cs->cap ? cs->cap * 2 : 4;
        cs->at = xrealloc(cs->at, cs->cap * sizeof *cs->at);
    }
    memmove(cs->at + at + 1, cs->at + at, (cs->n - at) * sizeof *cs->at);
    cs->at[at] = c;
    cs->n++;
}

void consumers_remove(struct consumers *cs, struct js_consumer *c)
{
    bool found;
    size_t at = place_of(cs, c->name, &found);
    ASSERT(found && cs->at[at] == c);
    memmove(cs->at + at, cs->at + at + 1, (cs->n - at - 1) * sizeof *cs->at);
    cs->n--;
}

size_t consumers_count(const struct consumers *cs)
{
    size_t n = 0;
    for (size_t i = 0; i < cs->n; i++)
        n += !cs->at[i]->cfg->direct;
    return n;
}

size_t consumers_all(const struct consumers *cs)
{
    return cs->n;
}

bool consumers_none(const struct consumers *cs)
{
    return cs->n == 0;
}

bool consumers_violate(const struct consumers *cs, const struct stream_limits *limits,
                       struct buf *names)
{
    bool any = false;

    for (size_t i = 0; i < cs->n; i++) {
        const struct consumer_config *c = cs->at[i]->cfg;
        if ((limits->inactive_threshold <= 0 ||
             c->inactive_threshold <= limits->inactive_threshold) &&
            (limits->max_ack_pending <= 0 || c->max_ack_pending <= limits->max_ack_pending))
            continue;
        buf_add_str(names, any ? ", " : "");
        buf_add_slice(names, c->name);
        any = true;
    }
    return any;
}

/* --- filters ---------------------------------------------------------------------------------- */

static void set_wants(struct consumers *cs)
{
    cs->stream->watch.want_stored = consumers_want_stored(cs);
    cs->stream->watch.want_removed_subjects = consumers_want_removed_subjects(cs);
}

void consumers_index(struct consumers *cs, struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    c->indexed = c->filtered ? INDEXED_FILTERS : INDEXED_ALL;
    if (!c->filtered)
        cs->n_unfiltered++;
    else
        for (size_t i = 0; i < f.n; i++)
            filter_index_add(&cs->index, f.patterns[i], c);
    set_wants(cs);
}

void consumers_unindex(struct consumers *cs, struct js_consumer *c)
{
    struct store_filter f = consumer_filters(c->cfg);
    if (c->indexed == INDEXED_ALL)
        cs->n_unfiltered--;
    else if (c->indexed == INDEXED_FILTERS)
        for (size_t i = 0; i < f.n; i++)
            filter_index_remove(&cs->index, f.patterns[i], c);
    c->indexed = INDEXED_NOT;
    set_wants(cs);
}

bool consumers_want_stored(const struct consumers *cs)
{
    return cs->index.count > 0;
}

bool consumers_want_removed_subjects(const struct consumers *cs)
{
    return cs->index.count > 0;
}

static bool found_one(void *arg, void *item)
{
    (void)item;
    *(bool *)arg = true;
    return false;
}

bool js_stream_has_interest(struct js_stream *s, struct slice subject)
{
    bool any = false;
    if (!s->consumers)
        return false;
    if (s->consumers->n_unfiltered)
        return true;
    filter_index_match(&s->consumers->index, subject, found_one, &any);
    return any;
}

/* --- life ------------------------------------------------------------------------------------- */

struct consumers *consumers_new(struct js_stream *s)
{
    struct consumers *cs = xcalloc(1, sizeof *cs);
    cs->stream = s;
    list_init(&cs->ready);
    list_init(&cs->hungry);
    list_init(&cs->holders);
    job_init(&cs->pump, "delivery", delivery_pump);
    retention_init(cs);
    consumers_wake_init(cs);
    return cs;
}

/* One in memory that was made when the deletion of this one was on its way to the disk, which never
 * came there: it gives way. */
static void make_way(struct consumers *cs, struct slice name)
{
    for (struct js_consumer *c; (c = consumers_find(cs, name)) && !c->cursor;)
        consumer_close(c, CLOSE_DELETED); /* requests that waited for it may make another */
}

void consumers_recover(struct consumers *cs)
{
    size_t pos = 0;
    cs->forgotten = false;
    for (struct cursor *cursor; (cursor = store_cursor_next(cs->stream->store, &pos));) {
        struct slice name = store_cursor_spec(cursor)->name;
        if (slice_starts(name, SLICE(".")) || store_cursor_owner(cursor))
            continue; /* no consumer can have such a name: the positions of sources (replicate.h) */
        make_way(cs, name);
        int err = consumer_load(cs, cursor);
        if (err)
            log_error("Consumer '%.*s > %.*s' can not be recovered: %s",
                      SLICE_FMT(cs->stream->name), SLICE_FMT(name), err_text(err));
    }
    retention_recover(cs);
    for (size_t i = 0; i < cs->n; i++)
        consumer_ready(cs->at[i]); /* those in memory only were there all the time */
    /* What nobody wanted stays: a consumer that was only in memory may be made again, and want it.
     */
    if (cs->stream->cfg.retention == RETAIN_INTEREST)
        retention_sweep(cs, 1, false);
}

void consumers_forget(struct consumers *cs)
{
    cs->forgotten = true;
    retention_forget(cs);
    for (size_t i = cs->n; i-- > 0;)
        if (cs->at[i]->cursor) {
            consumer_wake_later(cs->at[i]);
            consumer_close(cs->at[i], CLOSE_REOPENED);
        }
}

void consumers_free(struct consumers *cs, enum consumers_end why)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    cs->forgotten = true;
    if (why == CONSUMERS_SHUTDOWN)
        retention_flush(cs, NULL, NULL);
    while (cs->n)
        consumer_close(cs->at[cs->n - 1],
                       why == CONSUMERS_DELETED ? CLOSE_DELETED : CLOSE_SHUTDOWN);
    t->job_stop(t->loop, &cs->pump);
    consumers_wake_end(cs, why == CONSUMERS_SHUTDOWN);
    retention_release(cs);
    filter_index_release(&cs->index);
    cs->stream->watch.want_stored = cs->stream->watch.want_removed_subjects = false;
    free(cs->at);
    free(cs);
}

void consumers_retention(struct consumers *cs)
{
    if (cs->stream->cfg.retention == RETAIN_INTEREST)
        retention_sweep(cs, 1, false);
}

/* --- news ------------------------------------------------------------------------------------- */

static bool tell_stored(void *arg, void *item)
{
    consumer_saw_stored(item, *(const uint64_t *)arg);
    return true;
}

void consumers_stored(struct consumers *cs, uint64_t seq, struct slice subject)
{
    filter_index_match(&cs->index, subject, tell_stored, &seq);
}

void consumers_durable(struct consumers *cs, uint64_t last)
{
    (void)last;
    retention_durable(cs);
    while (!list_empty(&cs->hungry)) {
        struct js_consumer *c = LIST_ENTRY(cs->hungry.next, struct js_consumer, link);
        consumer_place(c, PLACE_IDLE);
        consumer_ready(c);
    }
}

static bool tell_removed(void *arg, void *item)
{
    consumer_saw_removed(item, *(const uint64_t *)arg);
    return true;
}

static const char *gone_reason(const struct consumers *cs, uint64_t seq)
{
    struct stream_state st;
    store_state(cs->stream->store, &st);
    return seq < st.first_seq ? "Message deleted by stream limits"
                              : "Unacknowledged message was deleted";
}

static bool holds_something(const struct js_consumer *c)
{
    return pending_count(&c->pend) || c->pend.given_n;
}

/* What left is of unknown subjects: the filtered count again when somebody wants to know. */
static void count_again(struct consumers *cs, uint64_t last)
{
    for (size_t i = 0; i < cs->n; i++) {
        struct js_consumer *c = cs->at[i];
        if (c->filtered && last > c->pend.delivered.stream &&
            (c->counted || c->counting || c->listing)) {
            consumer_recount(c);
            if (c->state == CONSUMER_MAKING || c->n_waiters)
                consumer_counted(c, NULL);
            else
                consumer_ready(c); /* its delivery may have waited for the count that this ended */
        }
    }
}

void consumers_removed(struct consumers *cs, uint64_t seq, struct slice subject)
{
    LIST_EACH_SAFE(it, &cs->holders)
    {
        struct js_consumer *c = LIST_ENTRY(it, struct js_consumer, holder);
        if (pending_find(&c->pend, seq))
            ack_gone(c, seq, gone_reason(cs, seq));
        else if (pending_is_given(&c->pend, seq)) {
            (void)pending_gone(&c->pend, seq);
            consumer_dirty(c);
        }
        if (!holds_something(c))
            list_unlink(&c->holder);
    }
    if (subject.n)
        filter_index_match(&cs->index, subject, tell_removed, &seq);
    else if (cs->index.count) /* when it left nobody wanted its subject: they came after that */
        count_again(cs, seq);
}

void consumers_leaving(struct consumers *cs, uint64_t first, uint64_t last, struct slice subject)
{
    if (!cs->n)
        return;
    cs->left += first == last ? 1 : 2;
    cs->left_seq = last;
    if (subject.n)
        filter_index_match(&cs->index, subject, tell_removed, &last);
    else
        count_again(cs, last);
}

void consumers_removed_range(struct consumers *cs, uint64_t first, uint64_t last)
{
    LIST_EACH_SAFE(it, &cs->holders)
    {
        struct js_consumer *c = LIST_ENTRY(it, struct js_consumer, holder);
        ack_gone_range(c, first, last, gone_reason(cs, last));
        if (!holds_something(c))
            list_unlink(&c->holder);
    }
    count_again(cs, last);
}

void consumers_drained(struct consumers *cs)
{
    if (!cs->resting)
        return;
    cs->resting = false;
    for (size_t i = 0; i < cs->n; i++) {
        cs->at[i]->rests = false;
        pull_wake(cs->at[i]);
        consumer_ready(cs->at[i]);
    }
}

void consumers_link_up(struct consumers *cs)
{
    for (size_t i = 0; i < cs->n; i++) {
        struct js_consumer *c = cs->at[i];
        if (c->state != CONSUMER_AWAITING)
            continue;
        c->nudges = 0; /* at once, whenever the last one was */
        consumer_due(c, 0);
    }
}

void consumers_clock_moved(struct consumers *cs)
{
    for (size_t i = 0; i < cs->n; i++)
        if (cs->at[i]->cfg->pause_until.set) {
            consumer_rearm(cs->at[i]);
            consumer_ready(cs->at[i]);
        }
}

void consumers_describe(struct consumers *cs, struct json_out *out, bool config)
{
    for (size_t i = 0; i < cs->n; i++) {
        if (cs->at[i]->cfg->direct || cs->at[i]->state == CONSUMER_MAKING)
            continue;
        if (!cs->forgotten)
            (void)consumer_counted(cs->at[i], NULL); /* after a restart: known at the next look */
        json_obj(out, NULL);
        consumer_write(cs->at[i], out, config ? SHOW_STORED : SHOW_NO_CONFIG);
        json_end(out);
    }
}

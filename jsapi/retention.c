/* jsapi/retention.c -- messages that nobody needs any more
 *
 * `dead` gathers what acks of this turn free; one store_remove() at its end, or before a batch is
 * closed within the turn, so that removals and the cursors' progress reach the disk in the same
 * commit. When something that several messages depend on changes (a consumer goes, filters change,
 * limits become interest) a job sweeps the stream: portions of records, each asked of all
 * consumers. A sweep notes the newest number at its start, and waits for the commit of what is not
 * on disk yet; newer messages are not its business.
 *
 * One ack may settle a hundred thousand messages of an interest stream, and each of them is asked
 * of all consumers: that is a job as well. A crash in its middle loses nothing, for the consumers
 * that come back look at the whole stream (consumers_recover).
 *
 * After a failed commit the consumers are read back, and have the messages pending again. One in
 * memory is not: it knows that they are settled and never asks again. So where there are such
 * consumers, numbers are kept until their commit is on disk, and after a failure go once more, but
 * for those that a consumer read back needs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/retention.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define ASK_AT_ONCE 1000u /* numbers of one ack; more are asked about by the job */
#define ASK_PORTION 100u
#define SWEEP_MSGS  1000
#define SWEEP_BYTES (1u << 20)

/* --- gathering -------------------------------------------------------------------------------- */

static void bury(struct consumers *cs, uint64_t seq)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    if (cs->dead_n == cs->dead_cap) {
        cs->dead_cap = cs->dead_cap ? cs->dead_cap * 2 : 64;
        cs->dead = xrealloc(cs->dead, cs->dead_cap * sizeof *cs->dead);
    }
    cs->dead[cs->dead_n++] = seq;
    if (list_empty(&cs->buried))
        list_push_back(&cs->stream->acc->js->buried, &cs->buried);
    turn_post_now(t, &cs->flush);
}

/* Numbers with a commit. */
struct leave {
    struct list link;     /* in cs->leaving */
    struct consumers *cs; /* NULL: gone meanwhile */
    store_done_fn *done;
    void *arg;
    size_t n;
    uint64_t seqs[];
};

/* Consumers of a file stream that no commit takes back. */
static bool any_in_memory(const struct consumers *cs)
{
    for (size_t i = 0; i < cs->n && cs->stream->cfg.storage == STORE_FILE; i++)
        if (!cs->at[i]->cursor)
            return true;
    return false;
}

static bool settled_in_memory(const struct consumers *cs, uint64_t seq)
{
    for (size_t i = 0; i < cs->n; i++)
        if (!cs->at[i]->cursor && pending_is_settled(&cs->at[i]->pend, seq))
            return true;
    return false;
}

static void on_left(void *arg, int err)
{
    struct leave *l = arg;
    for (size_t i = 0; err && l->cs && i < l->n; i++)
        bury(l->cs, l->seqs[i]);
    if (l->done)
        l->done(l->arg, err);
    list_unlink(&l->link);
    free(l);
}

static int leave(struct consumers *cs, store_done_fn *done, void *arg)
{
    struct leave *l = xmalloc(sizeof *l + cs->dead_n * sizeof *l->seqs);
    *l = (struct leave){.cs = cs, .done = done, .arg = arg, .n = cs->dead_n};
    memcpy(l->seqs, cs->dead, cs->dead_n * sizeof *l->seqs);
    list_push_back(&cs->leaving, &l->link);
    int err = store_remove(cs->stream->store, l->seqs, l->n, false, on_left, l);
    if (err) {
        list_unlink(&l->link);
        free(l);
    }
    return err;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Acks come in any order; the store reads what it removes, and finds each block but once then. */
static void put_in_order(uint64_t *seqs, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (seqs[i - 1] > seqs[i]) {
            qsort(seqs, n, sizeof *seqs, by_number);
            return;
        }
}

bool retention_flush(struct consumers *cs, store_done_fn *done, void *arg)
{
    list_unlink(&cs->buried);
    if (!cs->dead_n || !cs->stream->store)
        return false;
    put_in_order(cs->dead, cs->dead_n);
    int err = any_in_memory(cs)
                  ? leave(cs, done, arg)
                  : store_remove(cs->stream->store, cs->dead, cs->dead_n, false, done, arg);
    if (err) {
        log_debug("Stream '%.*s': removing %zu acknowledged messages has to wait: %s",
                  SLICE_FMT(cs->stream->name), cs->dead_n, err_text(err));
        return false; /* they stay in `dead`: next time */
    }
    cs->dead_n = 0;
    if (cs->dead_cap > 8192) {
        free(cs->dead);
        cs->dead = NULL;
        cs->dead_cap = 0;
    }
    return true;
}

static void on_flush(void *arg)
{
    retention_flush(arg, NULL, NULL);
}

/* --- who needs it? ---------------------------------------------------------------------------- */

bool retention_unneeded(struct consumers *cs, uint64_t seq, struct slice subject)
{
    for (size_t i = 0; i < cs->n; i++)
        if (!pending_is_settled(&cs->at[i]->pend, seq) && consumer_wants(cs->at[i], subject))
            return false;
    return true;
}

struct question {
    struct consumers *cs;
    bool unneeded;
};

static int ask_record(void *arg, const struct record_out *r)
{
    struct question *q = arg;
    q->unneeded = retention_unneeded(q->cs, r->seq, r->subject);
    return READ_STOP;
}

void retention_settled(struct consumers *cs, struct js_consumer *c, uint64_t seq)
{
    bool ask = false;
    if (cs->stream->cfg.retention == RETAIN_WORKQUEUE) {
        bury(cs, seq);
        return;
    }
    for (size_t i = 0; i < cs->n; i++) {
        struct js_consumer *o = cs->at[i];
        if (o == c || pending_is_settled(&o->pend, seq))
            continue;
        if (!consumer_filters(o->cfg).n)
            return;
        ask = true; /* depends on the subject */
    }
    struct question q = {cs, !ask};
    if (ask && store_get(cs->stream->store, seq, ask_record, &q) < 0)
        return; /* gone already */
    if (q.unneeded)
        bury(cs, seq);
}

void retention_asked(struct consumers *cs, uint64_t seq)
{
    struct question q = {.cs = cs};
    if (store_get(cs->stream->store, seq, ask_record, &q) == 0 && q.unneeded)
        bury(cs, seq);
}

/* --- asking about many ------------------------------------------------------------------------ */

struct asked {         /* what one ack settled */
    struct list link;  /* in cs->asked */
    struct list waits; /* of struct retention_wait */
    uint64_t *seqs;    /* owned */
    size_t n, at;      /* at: the next one to ask about */
};

/* a: out of the list. */
static void asked_end(struct asked *a, bool gone)
{
    for (struct list *e; (e = list_pop(&a->waits));) {
        struct retention_wait *w = LIST_ENTRY(e, struct retention_wait, link);
        w->fn(w, gone);
    }
    free(a->seqs);
    free(a);
}

static enum job_result ask_step(struct job *j, const struct job_budget *b)
{
    struct consumers *cs = CONTAINER_OF(j, struct consumers, asking);
    while (!list_empty(&cs->asked)) {
        struct asked *a = LIST_ENTRY(cs->asked.next, struct asked, link);
        size_t to = a->n - a->at < ASK_PORTION ? a->n : a->at + ASK_PORTION;
        for (; a->at < to; a->at++)
            if (cs->stream->cfg.retention == RETAIN_INTEREST) /* may have changed meanwhile */
                retention_asked(cs, a->seqs[a->at]);
        if (a->at == a->n) {
            list_unlink(&a->link);
            asked_end(a, false);
        }
        if (job_over(b))
            break;
    }
    retention_flush(cs, NULL, NULL);
    return list_empty(&cs->asked) ? JOB_DONE : JOB_MORE;
}

void retention_settled_many(struct consumers *cs, struct js_consumer *c, uint64_t *seqs, size_t n)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    if (n > ASK_AT_ONCE && cs->n > 1 && cs->stream->cfg.retention == RETAIN_INTEREST) {
        struct asked *a = xmalloc(sizeof *a);
        *a = (struct asked){.seqs = seqs, .n = n};
        list_init(&a->waits);
        list_push_back(&cs->asked, &a->link);
        t->job_start(t->loop, &cs->asking);
        return;
    }
    for (size_t i = 0; i < n; i++)
        retention_settled(cs, c, seqs[i]);
    free(seqs);
}

bool retention_wait(struct consumers *cs, struct retention_wait *w)
{
    if (list_empty(&cs->asked))
        return false;
    list_push_back(&LIST_ENTRY(cs->asked.prev, struct asked, link)->waits, &w->link);
    return true;
}

static void stop_asking(struct consumers *cs)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    t->job_stop(t->loop, &cs->asking);
    for (struct list *e; (e = list_pop(&cs->asked));)
        asked_end(LIST_ENTRY(e, struct asked, link), true);
}

/* --- back after a failure --------------------------------------------------------------------- */

void retention_forget(struct consumers *cs)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    t->unpost(t->loop, &cs->flush);
    stop_asking(cs); /* who comes back looks at everything */
}

/* Of what was to leave, some is needed again: who needed it is back, or has not settled it after
 * all. */
static bool still_leaves(struct consumers *cs, uint64_t seq)
{
    struct question q = {.cs = cs};
    return settled_in_memory(cs, seq) &&
           (store_get(cs->stream->store, seq, ask_record, &q) < 0 || q.unneeded);
}

void retention_recover(struct consumers *cs)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    size_t n = 0;
    for (size_t i = 0; i < cs->dead_n; i++)
        if (still_leaves(cs, cs->dead[i]))
            cs->dead[n++] = cs->dead[i];
    cs->dead_n = n;
    if (n) /* not at once: the disk that was full a moment ago may be for a while */
        turn_set(t, &cs->again, clock_mono() + NS_PER_S);
}

/* --- sweeping --------------------------------------------------------------------------------- */

/* Did somebody want it who is here already? A consumer that begins behind the end of the stream
 * never looked back, and settles nothing. */
static bool wanted(const struct consumers *cs, struct slice subject)
{
    for (size_t i = 0; i < cs->n; i++)
        if (cs->at[i]->pend.floor.stream <= cs->sweep_to && consumer_wants(cs->at[i], subject))
            return true;
    return false;
}

struct portion {
    struct consumers *cs;
    uint64_t to;
};

static int sweep_record(void *arg, const struct record_out *r)
{
    struct portion *p = arg;
    if (r->seq > p->to)
        return READ_STOP;
    if (retention_unneeded(p->cs, r->seq, r->subject) &&
        (p->cs->sweep_all || wanted(p->cs, r->subject)))
        bury(p->cs, r->seq);
    return READ_ON;
}

/* Some of what the sweep is about is not on disk yet: it goes on with the next commit. */
static bool waits_for_disk(const struct consumers *cs, int got)
{
    struct stream_state st;
    if (got != READ_END)
        return false;
    store_state(cs->stream->store, &st);
    return st.last_seq < cs->sweep_to;
}

static enum job_result sweep_step(struct job *j, const struct job_budget *b)
{
    struct consumers *cs = CONTAINER_OF(j, struct consumers, sweep);
    struct portion p = {cs, cs->sweep_to};
    for (;;) {
        struct read_budget budget = {SWEEP_MSGS, SWEEP_MSGS, SWEEP_BYTES};
        int got = store_read(cs->stream->store, &cs->sweep_at, NULL, &budget, sweep_record, &p);
        retention_flush(cs, NULL, NULL);
        if (waits_for_disk(cs, got))
            return JOB_DONE;
        if (got < 0 || got == READ_END || got == READ_STOPPED || cs->sweep_at > cs->sweep_to) {
            cs->sweeping = false;
            return JOB_DONE;
        }
        if (job_over(b))
            return JOB_MORE;
    }
}

void retention_sweep(struct consumers *cs, uint64_t from, bool all)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    if (!cs->stream->store || cs->forgotten)
        return;
    cs->sweep_at = cs->sweeping && cs->sweep_at < from ? cs->sweep_at : from;
    cs->sweep_to = store_last_assigned(cs->stream->store);
    cs->sweep_all = all || (cs->sweeping && cs->sweep_all);
    cs->sweeping = true;
    t->job_start(t->loop, &cs->sweep);
}

void retention_durable(struct consumers *cs)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    if (cs->dead_n) /* the store had no room for these removals before */
        turn_post_now(t, &cs->flush);
    if (cs->sweeping)
        t->job_start(t->loop, &cs->sweep);
}

/* The reference purges the stream then. All that is seen of it where the sweep finds nothing is
 * that a new stream tells its first number. */
void retention_empty(struct consumers *cs)
{
    if (!cs->stream->store || store_last_assigned(cs->stream->store))
        return;
    int err = store_skip_to(cs->stream->store, 1, NULL, NULL);
    if (err)
        log_debug("Stream '%.*s': still without a first number: %s", SLICE_FMT(cs->stream->name),
                  err_text(err));
}

/* --- life ------------------------------------------------------------------------------------- */

void retention_init(struct consumers *cs)
{
    turn_post_init(&cs->flush, on_flush, cs);
    turn_timer_init(&cs->again, on_flush, cs);
    list_init(&cs->leaving);
    list_init(&cs->buried);
    list_init(&cs->asked);
    job_init(&cs->asking, "interest after an ack of many", ask_step);
    job_init(&cs->sweep, "interest sweep", sweep_step);
}

void retention_release(struct consumers *cs)
{
    const struct turn *t = cs->stream->acc->js->host.turn;
    t->unpost(t->loop, &cs->flush);
    list_unlink(&cs->buried);
    turn_unset(t, &cs->again);
    t->job_stop(t->loop, &cs->sweep);
    stop_asking(cs);
    LIST_EACH_SAFE(e, &cs->leaving)
    {
        list_unlink(e);
        list_init(e);
        LIST_ENTRY(e, struct leave, link)->cs = NULL;
    }
    free(cs->dead);
}

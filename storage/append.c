/* storage/append.c -- see append.h
 *
 * The order of the questions is the reference's (jetstream-api.md 5.3): expected last sequence of
 * the subject, expected last sequence, duplicate, expected last id, what the caller would not have
 * anyway, size, limits. A refusal is an answer like any other: it takes its place in the gathering
 * batch and goes out with its receipt, because the record it speaks of may not be on disk yet.
 *
 * The record is written once, straight into the stream's open chunk.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/append.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/subject.h"
#include "storage/chores.h"
#include "storage/limits.h"
#include "storage/store.h"

struct parked {
    struct list link;
    struct record_in rec; /* slices point into bytes */
    store_append_fn *done;
    void *arg;
    char bytes[];
};

/* --- questions ------------------------------------------------------------------------------- */

static struct slice expected_subject(const struct record_in *rec)
{
    return rec->expect_subject.n ? rec->expect_subject : rec->subject;
}

/* A portion of the search, when there is one. */
static bool known_last(struct stream *s, const struct record_in *rec)
{
    uint64_t last;
    return !(rec->flags & REC_EXPECT_SUBJECT_SEQ) || limits_newest(s, expected_subject(rec), &last);
}

static int expectations(struct stream *s, const struct record_in *rec, struct waiter *w)
{
    if (rec->flags & REC_EXPECT_SUBJECT_SEQ) {
        stream_trim(s);
        while (!limits_newest(s, expected_subject(rec), &w->last)) /* known_last() has found it */
            ;
        if (w->last != rec->expect_subject_seq)
            return E_LAST_SUBJECT_SEQ;
    }
    if (rec->flags & REC_EXPECT_LAST_SEQ) {
        w->last = s->now.last_seq;
        if (w->last != rec->expect_last_seq)
            return E_LAST_SEQ;
    }
    return 0;
}

static bool dedups(const struct stream *s, const struct record_in *rec)
{
    return rec->msg_id.n && s->spec.duplicate_window_ns > 0 && !(rec->flags & REC_NO_DEDUP);
}

static bool duplicate(struct stream *s, const struct record_in *rec, struct waiter *w)
{
    if (!dedups(s, rec))
        return false;
    w->seq = dedupe_find(&s->dedupe, rec->msg_id, clock_mono() - s->spec.duplicate_window_ns);
    w->duplicate = w->seq != 0;
    return w->duplicate;
}

static int last_id(struct stream *s, const struct record_in *rec, struct waiter *w)
{
    if (!(rec->flags & REC_EXPECT_MSG_ID))
        return 0;
    stream_know_last_id(s);
    if (slice_eq(rec->expect_msg_id, buf_slice(&s->last_id)))
        return 0;
    w->x.last_id = slice_dup(buf_slice(&s->last_id));
    return E_LAST_MSG_ID;
}

static int discard_new(struct stream *s, const struct record_in *rec, uint64_t bytes)
{
    const struct stream_spec *spec = &s->spec;
    bool replaces = false;
    struct subject *e = NULL;
    if (spec->max_msgs_per_subject > 0) {
        e = index_get(s, rec->subject, false);
        replaces = e && e->count >= (uint64_t)spec->max_msgs_per_subject;
        if (replaces && spec->discard_new_per_subject && !(rec->flags & REC_ROLLUP_SUBJECT))
            return E_MAX_PER_SUBJECT;
    }
    if (spec->max_msgs > 0 && s->now.msgs >= (uint64_t)spec->max_msgs && !replaces)
        return E_MAX_MSGS;
    if (spec->max_bytes > 0 && s->now.bytes + bytes > (uint64_t)spec->max_bytes &&
        !(replaces && limits_first_size(s, e) >= bytes))
        return E_MAX_BYTES;
    return 0;
}

static int room_for(struct stream *s, const struct record_in *rec)
{
    size_t msg = rec->hdr.n + rec->payload.n;
    uint64_t bytes = record_account(rec->subject.n, rec->hdr.n, rec->payload.n, s->memory);
    const struct store *st = s->st;
    if (rec->max_msg_size > 0 && msg > (uint64_t)rec->max_msg_size)
        return E_MAX_MSG_SIZE;
    if ((rec->flags & REC_EXACT) && rec->seq <= s->now.last_seq)
        return E_EXISTS;
    if (rec->flags & REC_SKIP)
        return 0;
    int64_t used = s->memory ? st->stats.mem_bytes : st->stats.file_bytes;
    int64_t most = s->memory ? st->cfg.max_mem_bytes : st->cfg.max_file_bytes;
    if (used + (int64_t)bytes > most)
        return E_SPACE;
    return s->spec.discard_new && !(rec->flags & REC_EXACT) ? discard_new(s, rec, bytes) : 0;
}

/* --- storing --------------------------------------------------------------------------------- */

/* The part of the gathering batch for one more record of this chunk. */
static struct part *part_for(struct stream *s, struct batch *b, struct chunk *c, uint64_t seq)
{
    if (c->batch == b->n) {
        struct part *p = &b->parts[c->part];
        if (!p->store && p->first_seq + p->count == seq)
            return p;
    }
    c->batch = b->n;
    c->part = (uint32_t)b->nparts;
    c->borrowed++;
    struct part *p = batch_part(b);
    *p = (struct part){.stream = s, .chunk = c, .sid = s->sid, .from = c->used, .first_seq = seq};
    return p;
}

/* Time stands still when the clock goes back a little, or when it is one that nobody has set yet: a
 * message of now must not look as old as 1970 when that is put right. When it goes back a long way
 * to a time that can be, the wrong stamps are those that are there already. */
static int64_t stamp(const struct stream *s, const struct record_in *rec)
{
    static const int64_t a_little = 3600 * NS_PER_S;
    int64_t ts = rec->ts ? rec->ts : clock_wall(), last = s->now.last_ts;
    if (ts >= last || (rec->flags & REC_EXACT))
        return ts;
    return last - ts < a_little || ts < CLOCK_NEVER_SET ? last : ts;
}

static void remember_id(struct stream *s, const struct record_in *rec, uint64_t seq)
{
    s->last_id_known = true;
    if (rec->msg_id.n || s->last_id.len) {
        buf_clear(&s->last_id);
        buf_add_slice(&s->last_id, rec->msg_id);
    }
    if (dedups(s, rec))
        dedupe_add(&s->dedupe, rec->msg_id, seq, clock_mono());
}

/* Returns the subject's newest number before. */
static uint64_t count_in(struct stream *s, const struct record *r, uint64_t seq)
{
    uint64_t bytes = stream_account(s, r);
    if (!s->now.msgs) {
        s->now.first_seq = seq;
        s->now.first_ts = r->ts;
        s->first_ts_stale = false;
    }
    s->now.msgs++;
    s->now.bytes += bytes;
    s->now.last_seq = seq;
    s->now.last_ts = r->ts;
    store_account(s, (int64_t)bytes);
    return index_add(s, r->subject, seq);
}

/* A number without a message: first moves over it while the stream is empty. */
static void count_skip(struct stream *s, uint64_t seq, int64_t ts)
{
    s->now.last_seq = seq;
    s->now.last_ts = ts;
    if (!s->now.msgs)
        s->now.first_seq = seq + 1;
    else
        stream_skip_numbers(s, seq, seq);
}

static int write_record(struct stream *s, struct record *r, uint64_t seq)
{
    size_t size = record_size(r);
    struct chunk *c = stream_room(s, seq, size);
    if (!c)
        return E_NOMEM;
    struct batch *b = stream_batch(s);
    struct part *p = part_for(s, b, c, seq);
    record_write(chunk_place(c), s->sid, seq, r);
    chunk_added(c, seq, (uint32_t)size, r->ts, r->msg_id.n > 0);
    p->to = c->used;
    p->count++;
    if (r->flags & RECF_SKIP)
        c->live--;
    b->bytes += size;
    b->appended++;
    if (s->memory)
        return 0;
    b->queued += size;
    s->st->waiting += (int64_t)size;
    pin_hold(&s->st->pins, &c->pin, b->n, s->st->journal_at);
    if (size > RECORD_LARGE)
        stream_seal(s, c);
    return 0;
}

/* The number, its time, and the newest number before on its subject go to the receipt. */
static int put(struct stream *s, const struct record_in *rec, struct waiter *w)
{
    bool skip = (rec->flags & REC_SKIP) != 0;
    struct record r = {.subject = rec->subject,
                       .hdr = rec->hdr,
                       .payload = rec->payload,
                       .msg_id = rec->msg_id,
                       .ts = stamp(s, rec),
                       .flags = skip ? RECF_SKIP : 0};
    if (skip) /* only the id is kept */
        r.subject = r.hdr = r.payload = (struct slice){0};
    uint64_t last = s->now.last_seq, seq = (rec->flags & REC_EXACT) ? rec->seq : last + 1;
    if (seq > SEQ_MAX)
        return E_TOOBIG;
    if (seq > last + 1)
        stream_load_holes(s); /* while they still add up: until the gap is one of them they don't */
    int err = write_record(s, &r, seq);
    if (err)
        return err;
    if (skip)
        count_skip(s, seq, r.ts);
    else
        w->last = count_in(s, &r, seq);
    if (seq > last + 1 && s->now.first_seq <= last)
        stream_skip_numbers(s, last + 1, seq - 1);
    remember_id(s, rec, seq);
    w->seq = seq;
    w->ts = r.ts;
    return 0;
}

/* Fills the receipt; true: it is a new record. */
static bool decide(struct stream *s, const struct record_in *rec, struct waiter *w)
{
    w->err = s->life == STREAM_LIVE ? expectations(s, rec, w) : E_CLOSED;
    if (w->err || duplicate(s, rec, w))
        return false;
    w->err = last_id(s, rec, w);
    if (!w->err && rec->flags & REC_REFUSED)
        w->err = E_DENIED;
    if (!w->err)
        w->err = room_for(s, rec);
    if (!w->err)
        w->err = put(s, rec, w);
    return !w->err;
}

static void append_now(struct stream *s, const struct record_in *rec, store_append_fn *done,
                       void *arg)
{
    struct store *st = s->st;
    struct waiter *w = batch_wait(s->memory ? st->mem : st->gather, WAIT_APPEND, arg);
    w->fn.append = done;
    store_wake(st);
    view_keep(st->db); /* until the end of the turn: the next one may look as well */
    bool stored = decide(s, rec, w);
    if (rec->decided)
        *rec->decided = w->err;
    if (!stored)
        return;
    struct chore *rest = limits_after_append(s, rec, w->seq); /* nobody else waits meanwhile */
    if (rest)
        chore_answers(rest, w);
    store_weigh(st);
}

/* --- waiting --------------------------------------------------------------------------------- */

/* In order: whoever comes behind one that waits waits as well. */
static bool must_wait(const struct stream *s, const struct record_in *rec)
{
    return s->index.behind || s->held ||
           (s->dedupe.building && (dedups(s, rec) || !list_empty(&s->parked)));
}

/* The same for the first of those that wait already. */
static bool must_stay(const struct stream *s, const struct record_in *rec)
{
    return s->index.behind || s->held || (s->dedupe.building && dedups(s, rec));
}

bool store_takes_at_once(const struct stream *s)
{
    return !s->index.behind && !s->held && !s->dedupe.building;
}

static void hold(struct stream *s);

static size_t keep(char *at, struct slice *s)
{
    if (s->n)
        memcpy(at, s->p, s->n);
    s->p = at;
    return s->n;
}

static void park(struct stream *s, const struct record_in *rec, store_append_fn *done, void *arg)
{
    size_t n = rec->subject.n + rec->hdr.n + rec->payload.n + rec->msg_id.n +
               rec->expect_subject.n + rec->expect_msg_id.n;
    struct parked *p = xmalloc(sizeof *p + n);
    p->rec = *rec;
    p->rec.decided = NULL;
    p->done = done;
    p->arg = arg;
    char *at = p->bytes;
    at += keep(at, &p->rec.subject);
    at += keep(at, &p->rec.hdr);
    at += keep(at, &p->rec.payload);
    at += keep(at, &p->rec.msg_id);
    at += keep(at, &p->rec.expect_subject);
    (void)keep(at, &p->rec.expect_msg_id);
    list_push_back(&s->parked, &p->link);
    s->st->waiting += (int64_t)n;
}

static size_t parked_size(const struct parked *p)
{
    return p->rec.subject.n + p->rec.hdr.n + p->rec.payload.n + p->rec.msg_id.n +
           p->rec.expect_subject.n + p->rec.expect_msg_id.n;
}

static void unpark(struct stream *s, struct parked *p)
{
    list_unlink(&p->link);
    s->st->waiting -= (int64_t)parked_size(p);
}

void append_unpark(struct stream *s)
{
    LIST_EACH_SAFE(e, &s->parked)
    {
        struct parked *p = LIST_ENTRY(e, struct parked, link);
        if (must_stay(s, &p->rec))
            return;
        if (!known_last(s, &p->rec)) {
            hold(s);
            return;
        }
        unpark(s, p);
        append_now(s, &p->rec, p->done, p->arg);
        free(p);
    }
}

static enum job_result on_hold(struct job *j, const struct job_budget *b)
{
    struct stream *s = CONTAINER_OF(j, struct stream, holding);
    do {
        s->held = false;
        append_unpark(s);
    } while (s->held && !job_over(b));
    return s->held ? JOB_MORE : JOB_DONE;
}

/* In order: whatever comes later waits as well. */
static void hold(struct stream *s)
{
    s->held = true;
    s->st->turn->job_start(s->st->turn->loop, &s->holding);
}

void append_init(struct stream *s)
{
    job_init(&s->holding, "searching the expected message", on_hold);
}

void append_refuse_parked(struct stream *s, int err)
{
    s->held = false;
    s->st->turn->job_stop(s->st->turn->loop, &s->holding);
    LIST_EACH_SAFE(e, &s->parked)
    {
        struct parked *p = LIST_ENTRY(e, struct parked, link);
        unpark(s, p);
        struct waiter *w = batch_wait(s->memory ? s->st->mem : s->st->gather, WAIT_APPEND, p->arg);
        w->fn.append = p->done;
        w->err = err;
        store_wake(s->st);
        free(p);
    }
}

/* --- the door -------------------------------------------------------------------------------- */

int store_append(struct stream *s, const struct record_in *rec, store_append_fn *done, void *arg)
{
    struct store *st = s->st;
    size_t size = rec->hdr.n + rec->payload.n;
    if (s->life != STREAM_LIVE || st->closing)
        return E_CLOSED;
    if (size > RECORD_MAX || rec->subject.n > UINT16_MAX || rec->msg_id.n > UINT16_MAX)
        return E_TOOBIG;
    if (!s->memory) {
        if (st->stats.read_only || st->failed)
            return E_READONLY;
        if (st->stats.full)
            return E_SPACE;
        if (st->waiting > WAITING_MAX)
            return E_FULL;
    }
    bool waits = must_wait(s, rec);
    if (!waits && !known_last(s, rec)) {
        hold(s);
        waits = true;
    }
    if (__builtin_expect(waits, 0))
        park(s, rec, done, arg);
    else
        append_now(s, rec, done, arg);
    return 0;
}

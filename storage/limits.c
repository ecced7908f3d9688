/* storage/limits.c -- see limits.h
 *
 * max_msgs and max_bytes are enforced lazily, after some hundred appends, at the end of the batch
 * or when somebody would notice, so that a run of appends costs one walk over the head instead of
 * one each. What a batch pushes out leaves with that batch. Only where more is over the limits than
 * that (they were lowered, one long message stands for very many short ones, or short ones come for
 * very long ones) a chore takes the rest in portions, and any other chore begins with that. A chore
 * has a small share of the loop, and publishers may have all of it, so each append brings looks of
 * its own along, for more than came itself: the surplus shrinks the faster the more comes.
 *
 * A subject's limit is enforced at once. All removals go through stream_drop() or, where the
 * record may be damaged, stream_drop_any(): the head moves, or a number becomes a hole.
 *
 * Where its next oldest message is far away, or very many have to go, the work stops after some
 * thousand records; it goes on from there with the next message of the subject, or in the chore
 * that was started for it. A roll-up takes what is older than itself, and only that, whatever comes
 * behind it meanwhile; where a chore does the rest, the receipt waits for the chore.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/limits.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/subject.h"
#include "storage/chores.h"
#include "storage/reader.h"
#include "storage/store.h"

enum {
    SEARCH = 8192,                /* looks at records; */
    DROP_LOOKS = 4,               /* to drop one costs as much as so many */
    TRIM_AT_ONCE = BATCH_REMOVED, /* the same, or more when appends brought more; */
    TRIM_FEW = 64,                /* while a chore does the rest */
    TRIM_A_MSG = 8,               /* an append brings so many, */
    TRIM_WHEN_MANY = 2,           /* or these: what goes with a batch is told in one turn; */
    TRIM_BYTES = 32,              /* and one for each of these, about the shortest message; */
    TRIM_AFTER = 8192             /* when so many were brought they are spent */
};
static const int64_t FOR_EVER = INT64_MAX / 4;
static const int64_t AHEAD = 60 * NS_PER_S; /* no message is of a time so far to come */

/* --- the stream's limits --------------------------------------------------------------------- */

/* Where the new is refused, nothing old goes: lower limits wait until it went by itself. */
static bool over(const struct stream *s)
{
    const struct stream_spec *spec = &s->spec;
    return s->now.msgs && !spec->discard_new &&
           ((spec->max_msgs > 0 && s->now.msgs > (uint64_t)spec->max_msgs) ||
            (spec->max_bytes > 0 && s->now.bytes > (uint64_t)spec->max_bytes));
}

/* The record has to be read for it, so it waits until somebody sees it: once a commit. */
void stream_settle_first_ts(struct stream *s)
{
    if (!s->first_ts_stale || s->life != STREAM_LIVE)
        return;
    s->first_ts_stale = false;
    struct reader r;
    struct record rec;
    reader_init(&r, s);
    s->now.first_ts = s->now.msgs && reader_get(&r, s->now.first_seq, true, &rec) == 0 ? rec.ts : 0;
    reader_end(&r);
}

bool limits_trim(struct stream *s, uint32_t looks)
{
    struct reader r;
    if (s->life != STREAM_LIVE || s->index.behind || !over(s))
        return true;
    stream_settle_first(s);
    reader_init(&r, s);
    while (looks && over(s))
        stream_drop_any(s, &r, s->now.first_seq, &looks);
    reader_end(&r);
    return !over(s);
}

/* Half of what appends have brought is spent, not all: one very long message brings more than goes
 * well in one turn. Those after it find the other half. */
void stream_trim(struct stream *s)
{
    if (s->life != STREAM_LIVE || s->index.behind)
        return;
    uint32_t least = s->trimming ? TRIM_FEW : TRIM_AT_ONCE, half = s->trim_due / 2;
    uint32_t looks = half < least ? least : half;
    bool all = limits_trim(s, looks);
    /* Any chore begins with it; what a stop leaves over goes after the next start. */
    if (!all && list_empty(&s->chores) && !s->st->closing)
        chore_trim(s);
    s->trimming = !all;
    s->trim_due = all || looks >= s->trim_due ? 0 : s->trim_due - looks;
    s->trim_came = 0;
}

/* The stream is over its limits, and rec came. */
static void bring_looks(struct stream *s, const struct record_in *rec)
{
    const struct batch *b = s->memory ? s->st->mem : s->st->gather;
    size_t bytes = rec->subject.n + rec->hdr.n + rec->payload.n;
    bool many = b->nremoved >= BATCH_REMOVED && b->nremoved >= TRIM_WHEN_MANY * b->appended;
    uint32_t n = many ? TRIM_WHEN_MANY : TRIM_A_MSG;
    n += (uint32_t)(bytes / TRIM_BYTES); /* RECORD_MAX bounds it */
    s->trim_came += n;
    s->trim_due += n;
}

/* --- a subject's limit ----------------------------------------------------------------------- */

/* One of e's: its subject is known even where the record can't be read. */
static void drop_one(struct stream *s, const struct subject *e, uint64_t seq)
{
    struct reader r;
    struct record rec;
    if (!stream_live_now(s, seq)) { /* it went when nobody could tell its subject */
        index_remove(s, subject_text(e), seq);
        return;
    }
    reader_init(&r, s);
    if (reader_know(&r, seq, &rec) == 0 && slice_eq(rec.subject, subject_text(e)))
        stream_drop(s, seq, &rec);
    else
        stream_drop_lost(s, seq, subject_text(e));
    reader_end(&r);
}

/* e has more than it may have, and first is its oldest. */
static void drop_oldest(struct stream *s, struct subject *e, uint64_t first, uint64_t most)
{
    uint64_t last = e->last;
    bool known = !(e->flags & SUBJ_LAST_STALE);
    if (most && first == last && known) {
        e->count = 1; /* that was wrong: it is the only one */
        return;
    }
    bool two = most <= 1 && e->count == 2 && known && first != last;
    drop_one(s, e, first);
    if (two && e->count == 1) { /* KV: the one that stays is known */
        e->first = last;
        e->flags &= (uint8_t)~SUBJ_FIRST_STALE;
    }
}

bool limits_subject(struct stream *s, struct subject *e, uint64_t most, uint64_t below,
                    uint32_t looks)
{
    while (e->count > most && looks) {
        uint64_t first = index_first(s, e, &looks);
        if (first >= below)
            return true;
        if (!first)
            return e->count <= most; /* nothing there: the count was wrong */
        bool none = e->count == 1;
        drop_oldest(s, e, first, most);
        if (none) /* a memory stream's entry went with it */
            return true;
        looks -= looks < DROP_LOOKS ? looks : DROP_LOOKS;
    }
    return e->count <= most;
}

void limits_subject_at(struct stream *s, struct subject *e, uint64_t most, uint64_t seq)
{
    if (e->count > most && e->first < seq && !(e->flags & SUBJ_FIRST_STALE))
        drop_oldest(s, e, e->first, most);
    if (e->count > most)
        drop_oldest(s, e, seq, most);
}

uint64_t limits_first_size(struct stream *s, struct subject *e)
{
    struct reader r;
    struct record rec;
    uint32_t looks = SEARCH;
    uint64_t first = index_first(s, e, &looks), size = 0;
    if (!first)
        return 0;
    reader_init(&r, s);
    if (reader_know(&r, first, &rec) == 0)
        size = stream_account(s, &rec);
    reader_end(&r);
    return size;
}

/* The newest match in [low, high], looking at no more than *most records. *at: found, or the place
 * to go on from, or below low when there is none. */
static bool match_back(struct stream *s, struct slice pattern, uint64_t low, uint64_t *at,
                       uint32_t *most)
{
    struct reader r;
    struct record rec;
    bool found = false;
    reader_init(&r, s);
    uint64_t seq = reader_prev(&r, *at);
    for (; seq && seq >= low && *most; reader_spend(most, &rec)) {
        rec.len = 0;
        found = reader_get(&r, seq, true, &rec) == 0 && subject_match(rec.subject, pattern) &&
                stream_live_now(s, seq);
        if (found)
            break;
        seq = reader_prev(&r, seq - 1);
    }
    reader_end(&r);
    *at = seq >= low ? seq : low - 1;
    return found;
}

static void search_begin(struct stream *s, struct slice pattern)
{
    struct last_search *x = &s->search;
    buf_clear(&x->pattern);
    buf_add_slice(&x->pattern, pattern);
    x->low = x->high = x->at = x->top = s->now.last_seq;
}

/* What came since the last question first, then on from where that one ended. */
static bool newest_match(struct stream *s, struct slice pattern, uint64_t *seq)
{
    struct last_search *x = &s->search;
    uint32_t some = SEARCH;
    if (!slice_eq(buf_slice(&x->pattern), pattern))
        search_begin(s, pattern);
    if (x->top != s->now.last_seq)
        x->at = x->top = s->now.last_seq;
    if (x->at > x->high && match_back(s, pattern, x->high + 1, &x->at, &some))
        x->low = x->at;
    else if (x->at > x->high)
        return false;
    x->high = x->at = x->top;
    bool found = x->low && match_back(s, pattern, s->now.first_seq, &x->low, &some);
    *seq = found ? x->low : 0;
    return found || !x->low || x->low < s->now.first_seq;
}

bool limits_newest(struct stream *s, struct slice subject, uint64_t *seq)
{
    if (subject_has_wildcard(subject))
        return newest_match(s, subject, seq);
    struct subject *e = index_get(s, subject, false);
    *seq = 0;
    return !e || index_last(s, e, SEARCH, seq);
}

/* The first message may be as old as its origin says: one of a mirror. */
static void expire_in_time(struct stream *s)
{
    int64_t age = s->spec.max_age_ns, ts = s->now.last_ts;
    if (age <= 0 || turn_timer_is_set(&s->expiry))
        return;
    int64_t old = clock_wall() - (ts > 0 ? ts : 0);
    int64_t left = old <= 0 ? age : old < age ? age - old : 0;
    turn_set(s->st->turn, &s->expiry, clock_mono() + (left < FOR_EVER ? left : FOR_EVER));
}

/* --- after an append ------------------------------------------------------------------------- */

/* What does the rest of it, NULL when all is done. */
static struct chore *roll_up(struct stream *s, const struct record_in *rec, uint64_t seq)
{
    bool done = true;
    stream_trim(s);
    s->purging = true;
    if (!(rec->flags & REC_ROLLUP_ALL)) {
        struct subject *e = index_get(s, rec->subject, false);
        done = !e || limits_subject(s, e, 0, seq, SEARCH);
    } else if (rec->flags & REC_SKIP) { /* there is no message of our own to keep */
        stream_clear(s, seq + 1);
        reclaim_below(s);
    } else {
        stream_clear_below(s, seq, rec->subject);
    }
    s->purging = false;
    return done ? NULL : chore_roll_up(s, rec->subject, seq);
}

/* In the reference's order: the subject's limit, the stream's, the roll-up. */
struct chore *limits_after_append(struct stream *s, const struct record_in *rec, uint64_t seq)
{
    struct chore *rest = NULL;
    uint64_t most = s->spec.max_msgs_per_subject > 0 ? (uint64_t)s->spec.max_msgs_per_subject : 0;
    if (most && !(rec->flags & REC_SKIP)) {
        struct subject *e = index_get(s, rec->subject, false);
        if (e && e->count > most && !limits_subject(s, e, most, UINT64_MAX, SEARCH))
            chore_subject(s, rec->subject);
    }
    if (over(s)) {
        bring_looks(s, rec);
        if (s->trim_came >= TRIM_AFTER || (most && !(rec->flags & REC_SKIP)))
            stream_trim(s);
    }
    if (rec->flags & (REC_ROLLUP_ALL | REC_ROLLUP_SUBJECT))
        rest = roll_up(s, rec, seq);
    expire_in_time(s);
    return rest;
}

/* --- age ------------------------------------------------------------------------------------- */

/* The first message whose time is not still to come: whatever stands before it was stored while the
 * clock was wrong, and is older. False: there is none among the first SEARCH. */
static bool first_with_a_time(struct reader *r, int64_t now, uint64_t *seq, int64_t *ts)
{
    *seq = reader_next(r, r->s->now.first_seq);
    for (unsigned n = 0; *seq && n < SEARCH; n++, *seq = reader_next(r, *seq + 1)) {
        struct record rec;
        if (stream_live_now(r->s, *seq) && reader_get(r, *seq, true, &rec) == 0 &&
            rec.ts <= now + AHEAD) {
            *ts = rec.ts;
            return true;
        }
    }
    return false;
}

/* Is the time of the first message over? *due: when that is to be asked again. */
static bool first_is_over(struct reader *r, uint64_t *upto, int64_t *due)
{
    struct stream *s = r->s;
    struct record rec;
    int64_t now = clock_wall(), age = s->spec.max_age_ns;
    *upto = s->now.first_seq;
    if (reader_get(r, *upto, true, &rec))
        return true; /* it can't be read */
    int64_t ts = rec.ts;
    if (ts > now + AHEAD && !first_with_a_time(r, now, upto, &ts))
        ts = now; /* the next one that comes has not reached its age before */
    int64_t left = age - (now - (ts > 0 ? ts : 0)); /* before 1970: nonsense, and old */
    *due = clock_mono() + (left < FOR_EVER ? left : FOR_EVER) + 1;
    return ts <= now - age;
}

bool limits_expire(struct stream *s, uint32_t most)
{
    struct reader r;
    uint64_t upto = 0;
    int64_t due = 0;
    if (s->life != STREAM_LIVE || s->spec.max_age_ns <= 0)
        return false;
    reader_init(&r, s);
    while (most && s->now.msgs && (s->now.first_seq <= upto || first_is_over(&r, &upto, &due)))
        stream_drop_any(s, &r, s->now.first_seq, &most);
    reader_end(&r);
    if (most && s->now.msgs)
        turn_set(s->st->turn, &s->expiry, due);
    return !most;
}

void limits_clock_moved(struct stream *s, int64_t by)
{
    int64_t oldest = clock_wall() - s->spec.max_age_ns;
    if (s->life != STREAM_LIVE || s->spec.max_age_ns <= 0 || !s->now.msgs)
        return;
    stream_settle_first_ts(s);
    if (s->now.first_ts <= oldest && s->now.first_ts > oldest - by)
        log_warn("Stream '%.*s > %.*s': max_age is over for messages that were not so old before",
                 SLICE_FMT(s->spec.account), SLICE_FMT(s->spec.name));
    turn_set(s->st->turn, &s->expiry, clock_mono());
}

void limits_on_expiry(void *stream)
{
    chore_expire(stream);
}

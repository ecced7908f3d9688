/* storage/read.c -- the door's reads: what readers see, from memory and file alike
 *
 * Everything here looks at `shown`: numbers up to the last commit, records that are not removed as
 * of it. Each function opens a view, looks, and closes it before it returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/subject.h"
#include "storage/reader.h"
#include "storage/store.h"
#include "storage/streams.h"

enum {
    LOST_A_READ = 1000,  /* missing records reported by one look */
    PATTERNS_A_LOOK = 32 /* to compare with so many costs as much as a look at a record */
};

static bool matches(const struct store_filter *f, struct slice subject)
{
    if (!f || !f->n)
        return true;
    for (size_t i = 0; i < f->n; i++)
        if (subject_match(subject, f->patterns[i]))
            return true;
    return false;
}

static void spend_patterns(uint32_t *looks, const struct store_filter *f)
{
    size_t n = f ? f->n / PATTERNS_A_LOOK : 0;
    *looks -= n < *looks ? (uint32_t)n : *looks;
}

static struct record_out out_of(uint64_t seq, const struct record *rec)
{
    return (struct record_out){.seq = seq,
                               .ts = rec->ts,
                               .subject = rec->subject,
                               .hdr = rec->hdr,
                               .payload = rec->payload};
}

/* --- many ------------------------------------------------------------------------------------ */

struct reading {
    struct reader r;
    const struct store_filter *f;
    uint32_t msgs, scan; /* left */
    uint64_t bytes;      /* left */
    bool any;            /* one was handed out */
    store_each_fn *each;
    void *arg;
};

enum { STEP_ON, STEP_STOP, STEP_RETRY, STEP_FULL }; /* what became of one record */

static int hand_out(struct reading *x, uint64_t seq)
{
    struct stream *s = x->r.s;
    struct record rec;
    rec.len = 0;
    if (!stream_live_shown(s, seq) || reader_get(&x->r, seq, true, &rec) ||
        !matches(x->f, rec.subject)) {
        reader_spend(&x->scan, &rec);
        spend_patterns(&x->scan, x->f);
        return STEP_ON;
    }
    x->scan--;
    spend_patterns(&x->scan, x->f);
    uint64_t n = rec.subject.n + rec.hdr.n + rec.payload.n;
    if (s->st->unreadable)
        return STEP_RETRY;
    if (!x->msgs || (x->any && n > x->bytes))
        return STEP_FULL;
    struct record_out out = out_of(seq, &rec);
    int said = x->each(x->arg, &out);
    if (said == READ_RETRY)
        return STEP_RETRY;
    x->any = true;
    x->msgs--;
    x->bytes -= n < x->bytes ? n : x->bytes;
    return said == READ_STOP || s->life != STREAM_LIVE ? STEP_STOP : STEP_ON;
}

/* Each number lives or is a hole: those in [from, end) that live have no record any more. */
static void report_lost(struct stream *s, uint64_t from, uint64_t end)
{
    unsigned most = LOST_A_READ;
    if (s->memory)
        return;
    stream_load_holes(s);
    if (from < s->now.first_seq)
        from = s->now.first_seq;
    for (; most-- && (from = holes_next_live(&s->holes, from)) < end; from++)
        stream_report_damage(s, from);
}

static int read_on(struct reading *x, uint64_t *from)
{
    struct stream *s = x->r.s;
    if (*from < s->shown.first_seq)
        *from = s->shown.first_seq;
    while (*from <= s->shown.last_seq) {
        uint64_t seq = reader_next(&x->r, *from);
        bool over = !seq || seq > s->shown.last_seq;
        if (x->r.view && x->r.view->err)
            return READ_STOPPED;
        if (over || seq != *from)
            report_lost(s, *from, over ? s->shown.last_seq + 1 : seq);
        if (over) {
            *from = s->shown.last_seq + 1;
            break;
        }
        *from = seq;
        if (!x->scan)
            return READ_BUDGET;
        int step = hand_out(x, seq);
        if (step == STEP_FULL)
            return READ_BUDGET;
        if (step == STEP_RETRY)
            return READ_STOPPED;
        *from = seq + 1;
        if (step == STEP_STOP)
            return READ_STOPPED;
        if (!x->msgs && *from <= s->shown.last_seq)
            return READ_BUDGET;
    }
    return READ_END;
}

int store_read(struct stream *s, uint64_t *from, const struct store_filter *f,
               const struct read_budget *budget, store_each_fn *each, void *arg)
{
    struct reading x = {.f = f,
                        .msgs = budget->max_msgs,
                        .scan = budget->max_scan,
                        .bytes = budget->max_bytes,
                        .each = each,
                        .arg = arg};
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    reader_init(&x.r, s);
    x.r.give_back = true;
    int said = read_on(&x, from);
    reader_end(&x.r);
    return said;
}

/* --- one ------------------------------------------------------------------------------------- */

bool store_has(struct stream *s, uint64_t seq)
{
    return s->life == STREAM_LIVE && stream_live_shown(s, seq);
}

int store_get(struct stream *s, uint64_t seq, store_each_fn *each, void *arg)
{
    uint64_t first = s->spec.first_seq > 1 ? s->spec.first_seq : 1;
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    if (seq < first || seq > s->shown.last_seq)
        return E_NOTFOUND;
    if (!stream_live_shown(s, seq))
        return E_DELETED;
    if (s->st->unreadable)
        return s->st->failed;
    struct reader r;
    struct record rec = {0};
    reader_init(&r, s);
    int err = reader_get(&r, seq, true, &rec);
    if (err == E_NOTFOUND && !rec.len && !s->memory && stream_live_now(s, seq)) {
        stream_report_damage(s, seq); /* it lives, and not only until a receipt: but no record */
        err = E_CORRUPT;
    }
    if (!err) {
        struct record_out out = out_of(seq, &rec);
        (void)each(arg, &out);
    }
    reader_end(&r);
    return err == E_NOTFOUND ? E_DELETED : err;
}

/* The newest one seen that matches, at most *high. */
static int scan_back(struct stream *s, const struct store_filter *f, uint64_t *high, uint32_t scan,
                     uint64_t *found)
{
    struct reader r;
    reader_init(&r, s);
    uint64_t seq = reader_prev(&r, *high);
    bool over;
    *found = 0;
    while (!(over = !seq || seq < s->shown.first_seq) && !*found && scan) {
        struct record rec;
        rec.len = 0;
        if (reader_get(&r, seq, true, &rec) == 0 && matches(f, rec.subject) &&
            stream_live_shown(s, seq))
            *found = seq;
        else
            seq = reader_prev(&r, seq - 1);
        reader_spend(&scan, &rec);
        spend_patterns(&scan, f);
    }
    reader_end(&r);
    *high = seq;
    return over || *found ? READ_END : READ_BUDGET;
}

/* What the index knows of literal subjects; false: some record has to be looked at. */
static bool ask_index(struct stream *s, const struct store_filter *f, uint64_t up_to, uint64_t *seq)
{
    *seq = 0;
    for (size_t i = 0; i < f->n; i++) {
        uint64_t last;
        if (subject_has_wildcard(f->patterns[i]) ||
            !index_knows_last(s, f->patterns[i], up_to, &last))
            return false;
        *seq = last > *seq ? last : *seq;
    }
    return f->n > 0;
}

int store_look_back(struct stream *s, const struct store_filter *f, uint64_t *up_to, uint32_t scan,
                    uint64_t *seq)
{
    static const struct store_filter all = {0};
    *seq = 0;
    if (s->life != STREAM_LIVE)
        return READ_END;
    if (!*up_to || *up_to > s->shown.last_seq)
        *up_to = s->shown.last_seq;
    f = f ? f : &all;
    int said = ask_index(s, f, *up_to, seq) ? READ_END : scan_back(s, f, up_to, scan, seq);
    return s->st->unreadable ? s->st->failed : said;
}

/* --- by time --------------------------------------------------------------------------------- */

static int64_t time_of(struct reader *r, uint64_t seq)
{
    struct record rec;
    int err = reader_get(r, seq, true, &rec);
    return err == E_CORRUPT ? INT64_MAX : rec.ts; /* a stub without message has its time as well */
}

uint64_t stream_seq_at(struct stream *s, int64_t ts)
{
    struct reader r;
    uint64_t lo = s->shown.first_seq, hi = s->shown.last_seq + 1;
    reader_init(&r, s);
    while (lo < hi) { /* times don't go backwards: the first record at or after mid decides */
        uint64_t mid = lo + (hi - lo) / 2;
        uint64_t at = reader_next(&r, mid);
        if (!at || at >= hi || time_of(&r, at) >= ts)
            hi = mid;
        else
            lo = at + 1;
    }
    reader_end(&r);
    return lo;
}

uint64_t store_seq_at_time(struct stream *s, int64_t ts)
{
    uint64_t seq = stream_seq_at(s, ts), end = s->shown.last_seq + 1;
    if (seq >= end || stream_live_shown(s, seq))
        return seq < end ? seq : end;
    /* What is gone may be any number of them; what is going is seen until it is. */
    uint64_t live = holes_next_live(&s->holes, seq), still = holes_next_dead(&s->undone, seq);
    live = live < still ? live : still;
    return live < end ? live : end;
}

uint64_t store_count_from(struct stream *s, uint64_t seq)
{
    if (seq < s->shown.first_seq)
        seq = s->shown.first_seq;
    if (!s->shown.msgs || seq > s->shown.last_seq)
        return 0;
    if (seq == s->shown.first_seq)
        return s->shown.msgs;
    stream_load_holes(s);
    uint64_t end = s->shown.last_seq + 1;
    uint64_t dead = holes_count_from(&s->holes, seq) - holes_count_from(&s->holes, end);
    uint64_t back = holes_count_from(&s->undone, seq) - holes_count_from(&s->undone, end);
    return end - seq - (dead - back);
}

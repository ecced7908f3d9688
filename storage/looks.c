/* storage/looks.c -- see looks.h
 *
 * A look is a job with a place where it goes on and what it has found so far. It notes the durable
 * number when it begins; newer messages are not its business. What is removed behind its place is
 * taken off again, so a count is exact when it is answered.
 *
 * The newest number of each subject is what the index says where that is durable already. The
 * others (written to since, or their newest one was removed) are put into a table, and one walk
 * back over the records finds all of them.
 *
 * An answer may be large: subjects and holes are told in pieces, a portion each, and what was
 * gathered is freed one array a turn, for the kernel takes milliseconds to take back a hundred
 * megabytes. A portion is counted so that its random accesses stay below the budget on a machine
 * whose memory is slow, too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/looks.h"

#include "base/job.h"
#include "base/mem.h"
#include "base/msort.h"
#include "base/subject.h"
#include "storage/listing.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { PORTION = 1000, FEW = 128 }; /* records in a row; what lies anywhere */

enum look_kind { LOOK_COUNT, LOOK_LASTS, LOOK_SUBJECTS, LOOK_DELETED };

struct store_job {
    struct list link; /* in s->jobs */
    struct job job;
    struct stream *s;
    enum look_kind kind;
    bool lasts; /* LOOK_COUNT of the newest of each subject */
    uint64_t as_of, from, up_to;
    uint64_t pos; /* records below were looked at */
    uint64_t count;
    size_t limit;
    struct slice *patterns; /* text of the filter lies behind them */
    size_t npatterns;
    bool begun;
    struct listing list; /* of subjects */
    bool listed;         /* it is complete */
    size_t told;         /* LOOK_SUBJECTS: so many of its page */
    bool leaving;        /* answered; memory goes */
    struct htab open;    /* subjects whose newest number the walk back has to find: struct listed */
    uint64_t back;       /* where that walk goes on; 0: not begun */
    struct msort sort;   /* of seqs, at the end */
    bool sorting;
    uint64_t *seqs;
    size_t nseqs, seqs_cap;
    union {
        store_count_fn *count;
        store_seqs_fn *seqs;
        store_subjects_fn *subjects;
        store_deleted_fn *deleted;
    } done;
    void *arg;
};

static bool matches(const struct store_job *l, struct slice subject)
{
    for (size_t i = 0; i < l->npatterns; i++)
        if (subject_match(subject, l->patterns[i]))
            return true;
    return l->npatterns == 0;
}

/* --- answering ------------------------------------------------------------------------------- */

static void look_free(struct store_job *l)
{
    list_unlink(&l->link);
    listing_release(&l->list);
    htab_release(&l->open);
    msort_release(&l->sort);
    free(l->seqs);
    free(l->patterns);
    free(l);
}

/* The next piece of the page; true when it was the last. */
static bool tell_subjects(struct store_job *l)
{
    struct subject_count out[FEW];
    size_t n = 0;
    for (; n < FEW && l->told < l->list.npage; n++) {
        const struct listed *x = &l->list.page[l->told++];
        out[n] = (struct subject_count){listing_name(&l->list, x), x->count};
    }
    bool more = l->told < l->list.npage;
    l->done.subjects(l->arg, 0, out, n, l->list.total, more);
    return !more;
}

static void answer(struct store_job *l, int err)
{
    switch (l->kind) {
    case LOOK_COUNT:
        l->done.count(l->arg, err, l->count, l->as_of);
        return;
    case LOOK_LASTS:
        l->done.seqs(l->arg, err, l->seqs, err ? 0 : l->nseqs, l->as_of);
        return;
    case LOOK_DELETED: /* told, unless something went wrong */
        if (err)
            l->done.deleted(l->arg, err, NULL, 0, false);
        return;
    case LOOK_SUBJECTS:
        if (err)
            l->done.subjects(l->arg, err, NULL, 0, 0, false);
        return;
    }
}

void looks_end(struct stream *s, int err)
{
    const struct turn *t = s->st->turn;
    LIST_EACH_SAFE(e, &s->jobs)
    {
        struct store_job *l = LIST_ENTRY(e, struct store_job, link);
        t->job_stop(t->loop, &l->job);
        list_unlink(&l->link);
        if (!l->leaving)
            answer(l, err);
        look_free(l);
    }
}

void looks_removed(struct stream *s, uint64_t seq, uint64_t last, struct slice subject)
{
    LIST_EACH(e, &s->jobs)
    {
        struct store_job *l = LIST_ENTRY(e, struct store_job, link);
        if (l->kind != LOOK_COUNT || l->lasts || !l->begun || l->leaving)
            continue;
        if (last && last >= l->from) { /* a whole range went: begin behind it */
            l->count = 0;
            l->pos = last + 1;
            l->from = last + 1;
        } else if (!last && subject.n && seq >= l->from && seq < l->pos && l->count &&
                   matches(l, subject)) {
            l->count--;
        }
    }
}

/* --- numbers --------------------------------------------------------------------------------- */

static void add_seq(struct store_job *l, uint64_t seq)
{
    if (l->nseqs == l->seqs_cap) {
        l->seqs_cap = l->seqs_cap ? l->seqs_cap * 2 : 64;
        l->seqs = xrealloc(l->seqs, l->seqs_cap * sizeof *l->seqs);
    }
    l->seqs[l->nseqs++] = seq;
}

static int by_number(const void *a, const void *b, void *arg)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    (void)arg;
    return x < y ? -1 : x > y;
}

/* --- the newest of each subject --------------------------------------------------------------- */

struct wanted {
    const struct store_job *l;
    struct slice subject;
};

static bool same_name(const void *item, const void *key)
{
    const struct wanted *w = key;
    return slice_eq(listing_name(&w->l->list, item), w->subject);
}

static void found_last(struct store_job *l, uint64_t seq)
{
    if (seq && seq >= l->from && seq <= l->as_of)
        add_seq(l, seq);
}

/* Asks the index for the next few; pos counts them. */
static void ask_index(struct store_job *l)
{
    uint64_t top = l->up_to && l->up_to < l->as_of ? l->up_to : l->as_of;
    for (unsigned n = 0; n < FEW && l->pos < l->list.npage; n++, l->pos++) {
        struct listed *x = &l->list.page[l->pos];
        struct slice subject = listing_name(&l->list, x);
        uint64_t seq = x->last;
        if ((seq && seq <= top) || index_knows_last(l->s, subject, top, &seq))
            found_last(l, seq);
        else
            htab_put(&l->open, hash_slice(subject), x);
    }
    index_evict(l->s->st);
}

/* Looks at the next thousand records, backwards; true when nothing is left to be found. */
static bool walk_back(struct store_job *l)
{
    struct stream *s = l->s;
    struct reader r;
    if (!l->open.count)
        return true;
    if (!l->back)
        l->back = l->up_to && l->up_to < l->as_of ? l->up_to : l->as_of;
    reader_init(&r, s);
    uint64_t low = l->from > s->shown.first_seq ? l->from : s->shown.first_seq;
    uint64_t seq = reader_prev(&r, l->back);
    for (uint32_t n = PORTION; n && seq && seq >= low && l->open.count;) {
        struct record rec = {.len = 0};
        if (reader_get(&r, seq, true, &rec) == 0 && stream_live_shown(s, seq)) {
            const struct wanted w = {l, rec.subject};
            if (htab_del(&l->open, hash_slice(rec.subject), same_name, &w))
                found_last(l, seq);
        }
        reader_spend(&n, &rec);
        seq = reader_prev(&r, seq - 1);
    }
    reader_end(&r);
    l->back = seq;
    return !seq || seq < low || !l->open.count;
}

/* Subjects first, then the newest number of each, then these in order. */
static int lasts_portion(struct store_job *l)
{
    if (!l->listed) {
        l->listed = listing_portion(&l->list);
        return E_AGAIN;
    }
    if (l->pos < l->list.npage) {
        ask_index(l);
        return E_AGAIN;
    }
    if (!l->sorting) {
        if (!walk_back(l))
            return E_AGAIN;
        l->sorting = true;
        msort_init(&l->sort, l->seqs, l->nseqs, sizeof *l->seqs, by_number, NULL);
    }
    l->seqs = NULL;
    if (!msort_step(&l->sort, (size_t)PORTION * 4))
        return E_AGAIN;
    l->seqs = (uint64_t *)(void *)l->sort.items;
    l->sort.items = NULL;
    l->count = l->nseqs;
    return l->limit && l->nseqs > l->limit ? E_TOOBIG : 0;
}

/* What b will tell of the message that left as a hole; NULL: it is not b that took it. */
static const struct removed *taken_by(const struct batch *b, const struct stream *s, uint64_t seq,
                                      uint32_t *looks)
{
    uint32_t cost = (uint32_t)(b->nremoved / 64);
    *looks -= cost < *looks ? cost : *looks;
    for (size_t i = 0; i < b->nremoved; i++)
        if (b->removed[i].stream == s && b->removed[i].seq == seq && b->removed[i].hole)
            return &b->removed[i];
    return NULL;
}

/* Its removal is on its way to the disk, and its bytes may be erased already: it is shown until the
 * batch tells that it left, and counts as long. Where the batch has no subject to tell, nobody is
 * told to take it off again. */
static bool leaving_matches(const struct store_job *l, uint64_t seq, uint32_t *looks)
{
    const struct store *st = l->s->st;
    const struct batch *b = l->s->memory ? st->mem : st->flying;
    const struct removed *r = NULL;
    if (b)
        r = taken_by(b, l->s, seq, looks);
    for (const struct list *e = st->ready.next; !r && e != &st->ready; e = e->next) {
        b = LIST_ENTRY(e, struct batch, link);
        r = taken_by(b, l->s, seq, looks);
    }
    if (!r) {
        b = st->gather;
        r = taken_by(b, l->s, seq, looks);
    }
    return r && r->text_n &&
           matches(l, slice_head(slice_skip(buf_slice(&b->text), r->text), r->text_n));
}

static int count_portion(struct store_job *l)
{
    struct stream *s = l->s;
    struct reader r;
    if (!l->begun) {
        l->begun = true;
        l->pos = l->from;
    }
    reader_init(&r, s);
    r.give_back = true;
    if (l->pos < s->shown.first_seq)
        l->pos = s->shown.first_seq;
    uint64_t seq = reader_next(&r, l->pos);
    for (uint32_t n = PORTION; seq && seq <= l->as_of && n;) {
        struct record rec;
        rec.len = 0;
        if (s->undone.n && holes_test(&s->undone, seq))
            l->count += leaving_matches(l, seq, &n);
        else if (stream_live_shown(s, seq) && reader_get(&r, seq, true, &rec) == 0)
            l->count += matches(l, rec.subject);
        reader_spend(&n, &rec);
        l->pos = seq + 1;
        seq = reader_next(&r, l->pos);
    }
    reader_end(&r);
    return seq && seq <= l->as_of ? E_AGAIN : 0;
}

/* Looks for the next thousand and tells them; false: they were the last. */
static bool deleted_portion(struct store_job *l)
{
    struct stream *s = l->s;
    uint64_t found[PORTION], seq;
    size_t n = 0;
    bool more = true;
    stream_load_holes(s);
    seq = l->pos > s->shown.first_seq ? l->pos : s->shown.first_seq;
    for (unsigned looks = 0; looks < PORTION && more; looks++, seq++) {
        seq = holes_next_dead(&s->holes, seq);
        if (seq <= l->as_of && !holes_test(&s->undone, seq))
            found[n++] = seq;
        more = seq <= l->as_of && l->count + n < l->limit;
    }
    l->pos = seq;
    l->count += n;
    if (n || !more)
        l->done.deleted(l->arg, 0, found, n, more);
    return more;
}

/* --- running --------------------------------------------------------------------------------- */

static int portion(struct store_job *l)
{
    switch (l->kind) {
    case LOOK_COUNT:
        return l->lasts ? lasts_portion(l) : count_portion(l);
    case LOOK_LASTS:
        return lasts_portion(l);
    case LOOK_SUBJECTS:
        if (l->listed)
            return tell_subjects(l) ? 0 : E_AGAIN;
        l->listed = listing_portion(&l->list);
        return E_AGAIN;
    case LOOK_DELETED:
        return deleted_portion(l) ? E_AGAIN : 0;
    }
    return 0;
}

/* Frees one of the large things; true when none is left. */
static bool leave(struct store_job *l)
{
    if (!listing_release_some(&l->list))
        return false;
    bool none = !l->seqs;
    free(l->seqs);
    l->seqs = NULL;
    return none;
}

static enum job_result on_step(struct job *j, const struct job_budget *budget)
{
    struct store_job *l = CONTAINER_OF(j, struct store_job, job);
    while (!l->leaving) {
        if (!index_catch_up(l->s, FEW))
            return JOB_MORE;
        int err = portion(l);
        if (err != E_AGAIN) {
            l->leaving = true;
            answer(l, err);
        }
        if (job_over(budget))
            return JOB_MORE;
    }
    if (!leave(l))
        return JOB_MORE;
    look_free(l);
    return JOB_DONE;
}

static void copy_filter(struct store_job *l, const struct store_filter *f)
{
    size_t text = 0, n = f ? f->n : 0;
    for (size_t i = 0; i < n; i++)
        text += f->patterns[i].n;
    l->patterns = xmalloc(n * sizeof *l->patterns + text + 1);
    l->npatterns = n;
    char *at = (char *)(l->patterns + n);
    for (size_t i = 0; i < n; i++) {
        l->patterns[i] = slice_of(at, f->patterns[i].n);
        if (f->patterns[i].n)
            memcpy(at, f->patterns[i].p, f->patterns[i].n);
        at += f->patterns[i].n;
    }
}

static struct store_job *look_new(struct stream *s, enum look_kind kind,
                                  const struct store_filter *f, void *arg,
                                  struct store_job **cancel)
{
    static const char *const names[] = {"count", "last sequences", "subjects", "deleted"};
    struct store_job *l = xcalloc(1, sizeof *l);
    l->s = s;
    l->kind = kind;
    l->as_of = s->shown.last_seq;
    l->arg = arg;
    copy_filter(l, f);
    listing_begin(&l->list, s, l->patterns, l->npatterns, 0, SIZE_MAX);
    htab_init(&l->open);
    job_init(&l->job, names[kind], on_step);
    list_push_back(&s->jobs, &l->link);
    s->st->turn->job_start(s->st->turn->loop, &l->job);
    if (cancel)
        *cancel = l;
    return l;
}

int store_count(struct stream *s, const struct store_filter *f, uint64_t from,
                bool last_per_subject, store_count_fn *done, void *arg, struct store_job **cancel)
{
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    struct store_job *l = look_new(s, LOOK_COUNT, f, arg, cancel);
    l->lasts = last_per_subject;
    l->from = from;
    l->done.count = done;
    return 0;
}

int store_last_seqs(struct stream *s, const struct store_filter *f, uint64_t up_to, size_t limit,
                    store_seqs_fn *done, void *arg, struct store_job **cancel)
{
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    struct store_job *l = look_new(s, LOOK_LASTS, f, arg, cancel);
    l->up_to = up_to;
    l->limit = limit;
    l->done.seqs = done;
    return 0;
}

int store_subjects(struct stream *s, struct slice filter, size_t offset, size_t limit,
                   store_subjects_fn *done, void *arg, struct store_job **cancel)
{
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    const struct store_filter one = {&filter, filter.n ? 1 : 0};
    struct store_job *l = look_new(s, LOOK_SUBJECTS, &one, arg, cancel);
    l->list.offset = offset;
    l->list.limit = limit;
    l->done.subjects = done;
    return 0;
}

int store_deleted(struct stream *s, size_t limit, store_deleted_fn *done, void *arg,
                  struct store_job **cancel)
{
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    struct store_job *l = look_new(s, LOOK_DELETED, NULL, arg, cancel);
    l->limit = limit;
    l->done.deleted = done;
    return 0;
}

void store_job_cancel(struct store_job *job)
{
    const struct turn *t = job->s->st->turn;
    t->job_stop(t->loop, &job->job);
    look_free(job);
}

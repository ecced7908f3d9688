/* storage/looks.c -- see looks.h
 *
 * A look is a job with a place where it goes on and what it has found so far. It notes the durable
 * number when it begins; newer messages are not its business. What is removed behind its place is
 * taken off again, so a count is exact when it is answered.
 *
 * Subjects are walked in byte order: rows of the file, overruled by entries in memory; subjects
 * that have no row yet are collected when the walk begins.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/looks.h"

#include "base/job.h"
#include "base/mem.h"
#include "base/subject.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { PORTION = 1000 };

enum look_kind { LOOK_COUNT, LOOK_LASTS, LOOK_SUBJECTS, LOOK_DELETED };

struct found {
    uint32_t at, n; /* text in names */
    uint64_t count; /* messages, or the last number */
};

struct store_job {
    struct list link; /* in s->jobs */
    struct job job;
    struct stream *s;
    enum look_kind kind;
    bool canceled;
    bool lasts; /* LOOK_COUNT of the newest of each subject */
    uint64_t as_of, from, up_to;
    uint64_t pos; /* records below were looked at */
    uint64_t count;
    size_t limit, offset;
    struct slice *patterns; /* text of the filter lies behind them */
    size_t npatterns;
    bool begun;
    struct buf row_pos; /* the subject row to go on from */
    struct buf names;   /* subjects found */
    struct found *found;
    size_t nfound, found_cap;
    size_t fresh; /* the first so many of found came from memory */
    uint64_t *seqs;
    size_t nseqs, seqs_cap;
    union {
        store_count_fn *count;
        store_seqs_fn *seqs;
        store_subjects_fn *subjects;
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
    buf_release(&l->row_pos);
    buf_release(&l->names);
    free(l->found);
    free(l->seqs);
    free(l->patterns);
    free(l);
}

static struct slice name_of(const struct store_job *l, const struct found *f)
{
    return slice_of(buf_slice(&l->names).p + f->at, f->n);
}

static void answer_subjects(struct store_job *l, int err)
{
    size_t from = l->offset < l->nfound ? l->offset : l->nfound;
    size_t n = l->nfound - from < l->limit ? l->nfound - from : l->limit;
    struct subject_count *out = xcalloc(n + 1, sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct subject_count){name_of(l, &l->found[from + i]), l->found[from + i].count};
    l->done.subjects(l->arg, err, out, err ? 0 : n, l->nfound);
    free(out);
}

static void answer(struct store_job *l, int err)
{
    if (l->canceled)
        return;
    switch (l->kind) {
    case LOOK_COUNT:
        l->done.count(l->arg, err, l->count, l->as_of);
        return;
    case LOOK_LASTS:
    case LOOK_DELETED:
        l->done.seqs(l->arg, err, l->seqs, err ? 0 : l->nseqs, l->as_of);
        return;
    case LOOK_SUBJECTS:
        answer_subjects(l, err);
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
        answer(l, err);
        look_free(l);
    }
}

void looks_removed(struct stream *s, uint64_t seq, uint64_t last, struct slice subject)
{
    LIST_EACH(e, &s->jobs)
    {
        struct store_job *l = LIST_ENTRY(e, struct store_job, link);
        if (l->kind != LOOK_COUNT || l->lasts || !l->begun)
            continue;
        if (last && last >= l->from) { /* a whole range went: begin behind it */
            l->count = 0;
            l->pos = last + 1;
            l->from = last + 1;
        } else if (!last && seq >= l->from && seq < l->pos && l->count && matches(l, subject)) {
            l->count--;
        }
    }
}

/* --- subjects -------------------------------------------------------------------------------- */

static void add_found(struct store_job *l, struct slice subject, uint64_t count)
{
    if (l->nfound == l->found_cap) {
        l->found_cap = l->found_cap ? l->found_cap * 2 : 64;
        l->found = xrealloc(l->found, l->found_cap * sizeof *l->found);
    }
    l->found[l->nfound++] = (struct found){(uint32_t)l->names.len, (uint32_t)subject.n, count};
    buf_add_slice(&l->names, subject);
}

static int by_name(const void *a, const void *b, void *look)
{
    return slice_cmp(name_of(look, a), name_of(look, b));
}

/* Entries in memory; those that have a row are met again there, and dropped by add_row(). */
static void add_entries(struct store_job *l)
{
    size_t pos = 0;
    for (struct subject *e; (e = htab_next(&l->s->index.table, &pos));)
        if (e->count && matches(l, subject_text(e)))
            add_found(l, subject_text(e), e->count);
    if (l->nfound)
        qsort_r(l->found, l->nfound, sizeof *l->found, by_name, l);
    l->fresh = l->nfound;
}

static bool among_fresh(const struct store_job *l, struct slice subject)
{
    size_t lo = 0, hi = l->fresh;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = slice_cmp(name_of(l, &l->found[mid]), subject);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static void add_row(struct store_job *l, struct slice key, struct slice value)
{
    struct subject_row row;
    if (subject_row_read(value, &row) || row.upto < l->s->now.purge_floor)
        return;
    struct slice subject = row.subject.n ? row.subject : key_subject_part(key);
    if (!matches(l, subject) || among_fresh(l, subject))
        return;
    if (index_in_memory(l->s, subject)) { /* changed since the walk began */
        struct subject *e = index_get(l->s, subject, false);
        row.count = e ? e->count : 0;
    }
    if (row.count)
        add_found(l, subject, row.count);
}

/* The bytes all subjects of the filter begin with, for one pattern. */
static struct slice common_head(const struct store_job *l)
{
    if (l->npatterns != 1)
        return (struct slice){0};
    struct slice p = l->patterns[0];
    size_t n = 0;
    for (size_t i = 0; i < p.n; i++) {
        bool token = i == 0 || p.p[i - 1] == '.';
        if (token && (p.p[i] == '*' || p.p[i] == '>') && (i + 1 == p.n || p.p[i + 1] == '.'))
            return slice_head(p, n < SUBJECT_HEAD ? n : SUBJECT_HEAD);
        n = i + 1;
    }
    return slice_head(p, n < SUBJECT_HEAD ? n : SUBJECT_HEAD);
}

static bool rows_portion(struct store_job *l)
{
    struct stream *s = l->s;
    struct walk w;
    struct key k;
    if (s->memory)
        return true;
    struct txn *view = view_open(s->st->db);
    if (!view)
        return true;
    struct slice head = common_head(l);
    key_subject(&k, s->sid, head);
    bool on =
        walk_seek(&w, view, DB_SUBJECTS, l->row_pos.len ? buf_slice(&l->row_pos) : key_slice(&k));
    unsigned most = PORTION;
    for (; on && most; most--, on = walk_next(&w)) {
        if (!key_of_stream(w.key, s->sid) || !slice_starts(key_subject_part(w.key), head)) {
            on = false;
            break;
        }
        add_row(l, w.key, w.value);
    }
    buf_clear(&l->row_pos);
    if (on)
        buf_add_slice(&l->row_pos, w.key);
    walk_end(&w);
    view_close(s->st->db);
    return !on;
}

static bool subjects_portion(struct store_job *l)
{
    if (!l->begun) {
        l->begun = true;
        add_entries(l);
    }
    if (!rows_portion(l))
        return false;
    if (l->nfound)
        qsort_r(l->found, l->nfound, sizeof *l->found, by_name, l);
    return true;
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

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Subjects first, then the newest number of each; pos counts the subjects done. */
static int lasts_portion(struct store_job *l)
{
    if (!l->pos) {
        if (!subjects_portion(l))
            return E_AGAIN;
        l->pos = 1;
    }
    for (unsigned n = 0; n < PORTION && l->pos <= l->nfound; n++, l->pos++) {
        struct slice subject = name_of(l, &l->found[l->pos - 1]);
        const struct store_filter one = {&subject, 1};
        uint64_t seq = store_last_seq(l->s, &one, l->up_to);
        if (seq && seq >= l->from && seq <= l->as_of)
            add_seq(l, seq);
    }
    if (l->pos <= l->nfound)
        return E_AGAIN;
    if (l->nseqs)
        qsort(l->seqs, l->nseqs, sizeof *l->seqs, by_number);
    l->count = l->nseqs;
    return l->limit && l->nseqs > l->limit ? E_TOOBIG : 0;
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
    for (unsigned n = PORTION; seq && seq <= l->as_of && n; n--) {
        struct record rec;
        if (stream_live_shown(s, seq) && reader_get(&r, seq, false, &rec) == 0 &&
            matches(l, rec.subject))
            l->count++;
        l->pos = seq + 1;
        seq = reader_next(&r, l->pos);
    }
    reader_end(&r);
    return seq && seq <= l->as_of ? E_AGAIN : 0;
}

static int deleted_portion(struct store_job *l)
{
    struct stream *s = l->s;
    stream_load_holes(s);
    uint64_t seq = l->pos > s->shown.first_seq ? l->pos : s->shown.first_seq;
    for (unsigned n = 0; n < PORTION && l->nseqs < l->limit; n++) {
        seq = holes_next_dead(&s->holes, seq);
        if (seq > l->as_of)
            return 0;
        if (!holes_test(&s->undone, seq))
            add_seq(l, seq);
        l->pos = ++seq;
    }
    return l->nseqs < l->limit ? E_AGAIN : 0;
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
        return subjects_portion(l) ? 0 : E_AGAIN;
    case LOOK_DELETED:
        return deleted_portion(l);
    }
    return 0;
}

static enum job_result on_step(struct job *j, const struct job_budget *budget)
{
    struct store_job *l = CONTAINER_OF(j, struct store_job, job);
    while (!l->canceled) {
        if (!index_catch_up(l->s, PORTION))
            return JOB_MORE;
        int err = portion(l);
        if (err != E_AGAIN) {
            list_unlink(&l->link);
            answer(l, err);
            break;
        }
        if (job_over(budget))
            return JOB_MORE;
    }
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
    l->offset = offset;
    l->limit = limit;
    l->done.subjects = done;
    return 0;
}

int store_deleted(struct stream *s, size_t limit, store_seqs_fn *done, void *arg,
                  struct store_job **cancel)
{
    if (s->life != STREAM_LIVE)
        return E_CLOSED;
    struct store_job *l = look_new(s, LOOK_DELETED, NULL, arg, cancel);
    l->limit = limit;
    l->done.seqs = done;
    return 0;
}

void store_job_cancel(struct store_job *job)
{
    const struct turn *t = job->s->st->turn;
    t->job_stop(t->loop, &job->job);
    look_free(job);
}

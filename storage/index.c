/* storage/index.c -- see index.h
 *
 * Recovery. Rows are written lazily, so after a crash they lag. What is missing is known exactly:
 *
 *     appends   records with a number in (w_last, last]             +1 unless number <= row.upto
 *     deletes   ops in the journal of batches > w_batch             -1 unless batch  <= row.batch
 *     trims     records in [w_first, first) that were no holes      -1 unless number <  row.floor
 *
 * A removal counts only if its append did: number <= row.upto or number > w_last. (A subject
 * without a row has no live message up to w_last, whatever the journal says about it.)
 *
 * Blocks are deleted only below w_first and compacted only up to w_last, and the index pins the
 * journal from w_batch on, so all of it can still be read. num_subjects is part of the stream's
 * state and needs no repair. A purge of everything moves purge_floor: rows with upto below it count
 * for nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/index.h"

#include <limits.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/append.h"
#include "storage/reader.h"
#include "storage/salvage.h"
#include "storage/store.h"

enum {
    EVICT_LOOKS = 8192,      /* clean entries looked at after each commit, */
    EVICT_FEW = 64,          /* before the clock is read; */
    EVICT_NS = 500000,       /* so long at most, */
    EVICT_NS_MANY = 2000000, /* or so long while there are far too many; a job does the rest */
    ADD_LOOKS = 256,     /* records looked at for the newest one before, where that was removed */
    GRAVE_PORTION = 256, /* entries freed before the clock is read */
    CATCH_APPENDS = 0,
    CATCH_DELETES,
    CATCH_TRIMS,
    CATCH_DONE
};

void index_init(struct index *x)
{
    *x = (struct index){0};
    htab_init(&x->table);
    list_init(&x->dirty);
    list_init(&x->next);
    list_init(&x->clean);
    list_init(&x->cleans);
    for (size_t i = 0; i < INDEX_BUCKETS; i++)
        list_init(&x->bucket[i]);
}

static bool same(const void *item, const void *key)
{
    return slice_eq(subject_text(item), *(const struct slice *)key);
}

static bool same_entry(const void *item, const void *key)
{
    return item == key;
}

/* An entry that is clean now; a memory stream's are all and stay. */
static void lay_by(struct subject *e)
{
    struct index *x = &e->stream->index;
    struct store *st = e->stream->st;
    list_unlink(&e->link);
    list_push_back(&x->clean, &e->link);
    if (e->stream->memory)
        return;
    st->clean_subjects++;
    if (list_empty(&x->cleans))
        list_push_back(&st->cleans, &x->cleans);
}

static void entry_free(struct store *st, struct subject *e)
{
    slab_free(&st->entries, e, sizeof *e + e->n);
}

static void forget(struct subject *e)
{
    struct index *x = &e->stream->index;
    struct store *st = e->stream->st;
    if (x->hot == e)
        x->hot = NULL;
    if (e->dirty)
        x->ndirty--;
    else if (!e->stream->memory)
        st->clean_subjects--;
    (void)htab_del(&x->table, hash_slice(subject_text(e)), same_entry, e);
    list_unlink(&e->link);
    entry_free(st, e);
}

/* --- graves ---------------------------------------------------------------------------------- */

/* Entries of an index that was cleared: freed in portions, for there may be a million. */
struct grave {
    struct list link; /* in st->graves */
    struct job job;
    struct store *st;
    struct list entries;
    struct htab table; /* its slots are one piece of memory */
};

static bool dig(struct grave *g, unsigned most)
{
    struct list *e;
    for (; most && (e = list_pop(&g->entries)) != NULL; most--)
        entry_free(g->st, LIST_ENTRY(e, struct subject, link));
    return list_empty(&g->entries);
}

static void grave_free(struct grave *g)
{
    list_unlink(&g->link);
    htab_release(&g->table);
    free(g);
}

static enum job_result on_dig(struct job *j, const struct job_budget *budget)
{
    struct grave *g = CONTAINER_OF(j, struct grave, job);
    do {
        if (dig(g, GRAVE_PORTION)) {
            grave_free(g);
            return JOB_DONE;
        }
    } while (!job_over(budget));
    return JOB_MORE;
}

void index_graves_end(struct store *st)
{
    LIST_EACH_SAFE(e, &st->graves)
    {
        struct grave *g = LIST_ENTRY(e, struct grave, link);
        st->turn->job_stop(st->turn->loop, &g->job);
        (void)dig(g, UINT_MAX);
        grave_free(g);
    }
}

/* Takes all entries and the table out of the index. */
static void bury(struct stream *s)
{
    struct index *x = &s->index;
    struct store *st = s->st;
    struct grave *g = xcalloc(1, sizeof *g);
    size_t n = x->table.count;
    if (!s->memory)
        st->clean_subjects -= n - x->ndirty;
    list_init(&g->entries);
    list_splice(&g->entries, &x->dirty);
    list_splice(&g->entries, &x->next);
    list_splice(&g->entries, &x->clean);
    for (size_t i = 0; i < INDEX_BUCKETS; i++)
        list_splice(&g->entries, &x->bucket[i]);
    list_unlink(&x->cleans);
    g->st = st;
    g->table = x->table;
    htab_init(&x->table);
    x->hot = NULL;
    x->ndirty = 0;
    job_init(&g->job, "forgetting subjects", on_dig);
    list_init(&g->link);
    if (n <= GRAVE_PORTION || st->closing) {
        (void)dig(g, UINT_MAX);
        grave_free(g);
        return;
    }
    list_push_back(&st->graves, &g->link);
    st->turn->job_start(st->turn->loop, &g->job);
}

void index_release(struct stream *s)
{
    struct index *x = &s->index;
    bury(s);
    seen_release(&x->seen);
    buf_release(&x->deletes);
    free(x->splitters);
    pin_clear(&x->pin);
}

static void soil(struct subject *e)
{
    struct stream *s = e->stream;
    struct index *x = &s->index;
    if (e->dirty || s->memory)
        return;
    if (!x->ndirty)
        x->dirty_since = clock_mono();
    e->dirty = true;
    x->ndirty++;
    s->st->clean_subjects--;
    list_unlink(&e->link);
    list_push_back(x->flushing ? &x->next : &x->dirty, &e->link);
    pin_hold(&s->st->pins, &x->pin, s->st->gather->n, s->st->journal_at);
}

void index_cleaned(struct subject *e)
{
    e->dirty = false;
    e->stream->index.ndirty--;
    lay_by(e);
}

/* --- finding --------------------------------------------------------------------------------- */

/* A row that is damaged, or may be missing because its neighbour is: the records decide. */
static bool recount(struct stream *s, struct slice subject, struct subject_row *row)
{
    struct reader r;
    *row = (struct subject_row){
        .upto = s->now.last_seq, .floor = s->now.first_seq, .batch = s->st->gather->n};
    log_warn("Stream '%.*s': the index row of '%.*s' is damaged; its messages are counted",
             SLICE_FMT(s->spec.name), SLICE_FMT(subject));
    reader_init(&r, s);
    for (uint64_t seq = s->now.first_seq; (seq = reader_next(&r, seq)); seq++) {
        struct record rec;
        if (seq == s->index.adding || !stream_live_now(s, seq) || reader_know(&r, seq, &rec) ||
            !slice_eq(rec.subject, subject))
            continue;
        if (!row->count++)
            row->first = seq;
        row->last = seq;
    }
    reader_end(&r);
    return row->count > 0;
}

enum whose { OURS, MENDED, NOT_OURS, NOBODY_KNOWS };

static uint32_t place_of(struct slice key)
{
    return crc32c(0, key.p, key.n);
}

/* The row of that key, with one wrong bit put right; false: more is wrong. */
static bool mend_row(struct slice value, struct slice key, struct subject_row *row)
{
    struct buf copy = BUF_INIT;
    bool mended = salvage_row(value, place_of(key), &copy) &&
                  subject_row_read(buf_slice(&copy), key, row) == 0;
    buf_release(&copy);
    row->subject = (struct slice){0};
    return mended;
}

static enum whose read_row(const struct walk *w, const struct key *k, struct subject_row *row)
{
    if (subject_row_read(w->value, key_slice(k), row) == 0)
        return OURS;
    return mend_row(w->value, key_slice(k), row) ? MENDED : NOBODY_KNOWS;
}

/* A row beside the place where k is looked for in vain. One under a key with a wrong bit is ours
 * when it proves itself under ours; one with a wrong bit in its value belongs where it is. Where
 * the order is broken, ours may be anywhere. */
static enum whose whose_row(const struct walk *w, const struct key *k, bool before,
                            struct subject_row *row)
{
    struct subject_row other;
    if (subject_row_read(w->value, key_slice(k), row) == 0)
        return MENDED;
    bool in_order = (slice_cmp(w->key, key_slice(k)) < 0) == before;
    bool sound = subject_row_read(w->value, w->key, &other) == 0;
    return in_order && (sound || mend_row(w->value, w->key, &other)) ? NOT_OURS : NOBODY_KNOWS;
}

static enum whose find_row(struct txn *view, const struct key *k, struct subject_row *row)
{
    struct walk w;
    bool on = walk_seek(&w, view, DB_SUBJECTS, key_slice(k));
    enum whose said = NOT_OURS;
    if (on && slice_eq(w.key, key_slice(k)))
        said = read_row(&w, k, row);
    else {
        if (on)
            said = whose_row(&w, k, false, row);
        if (on)
            on = walk_prev(&w);
        else {
            walk_end(&w);
            on = walk_seek_back(&w, view, DB_SUBJECTS, key_slice(k));
        }
        if (on && said == NOT_OURS)
            said = whose_row(&w, k, true, row);
        (void)view_path_sound(view, DB_SUBJECTS, key_slice(k)); /* else the store is given up */
    }
    walk_end(&w);
    return said;
}

static enum whose look_up(struct stream *s, struct slice subject, struct subject_row *row)
{
    struct key k;
    struct txn *view = view_open(s->st->db);
    if (!view)
        return NOT_OURS;
    key_subject(&k, s->sid, subject);
    enum whose said = find_row(view, &k, row);
    view_close(s->st->db);
    if (s->st->unreadable)
        return NOT_OURS;
    if (said == NOBODY_KNOWS && s->now.msgs)
        return recount(s, subject, row) ? MENDED : NOT_OURS;
    if (said == MENDED)
        log_warn("Stream '%.*s': the index row of '%.*s' is damaged and put right",
                 SLICE_FMT(s->spec.name), SLICE_FMT(subject));
    return said == NOBODY_KNOWS ? NOT_OURS : said;
}

static struct subject *entry_new(struct stream *s, uint64_t hash, struct slice subject)
{
    struct subject *e = slab_alloc(&s->st->entries, sizeof *e + subject.n);
    *e = (struct subject){.stream = s, .n = (uint32_t)subject.n};
    memcpy(e->text, subject.p, subject.n);
    list_init(&e->link);
    lay_by(e);
    htab_put(&s->index.table, hash, e);
    return e;
}

static struct subject *load(struct stream *s, uint64_t hash, struct slice subject, bool create)
{
    struct subject_row row = {0};
    enum whose said = NOT_OURS;
    if (!s->memory && seen_maybe(&s->index.seen, hash))
        said = look_up(s, subject, &row);
    bool found = said != NOT_OURS;
    if (!found && !create)
        return NULL;
    struct subject *e = entry_new(s, hash, subject);
    e->in_file = found;
    if (!found)
        return e;
    e->upto = row.upto;
    e->floor = row.floor;
    e->batch = row.batch;
    if (row.upto < s->now.purge_floor)
        return e;
    e->first = row.first;
    e->last = row.last;
    e->count = row.count;
    e->flags = (uint8_t)row.flags;
    if (said == MENDED)
        soil(e); /* its row is written anew */
    return e;
}

struct subject *index_get(struct stream *s, struct slice subject, bool create)
{
    struct index *x = &s->index;
    struct subject *e = x->hot;
    if (!e || !slice_eq(subject_text(e), subject)) {
        uint64_t hash = hash_slice(subject);
        e = htab_get(&x->table, hash, same, &subject);
        if (!e)
            e = load(s, hash, subject, create);
        if (!e)
            return NULL;
        x->hot = e;
    }
    return e->count || create ? e : NULL;
}

bool index_in_memory(struct stream *s, struct slice subject)
{
    return htab_get(&s->index.table, hash_slice(subject), same, &subject) != NULL;
}

bool index_writes(struct stream *s, struct slice subject)
{
    const struct subject *e = htab_get(&s->index.table, hash_slice(subject), same, &subject);
    return e && (e->dirty || e->count || e->written > s->st->durable_batch);
}

/* --- changing -------------------------------------------------------------------------------- */

uint64_t index_add(struct stream *s, struct slice subject, uint64_t seq)
{
    s->index.adding = seq;
    struct subject *e = index_get(s, subject, true);
    uint64_t before;
    s->index.adding = 0;
    (void)index_last(s, e, ADD_LOOKS, &before);
    if (!e->count++) {
        s->now.num_subjects++;
        e->first = seq;
        e->prev = 0;
        e->flags = 0;
    } else if (e->last <= s->shown.last_seq) {
        e->prev = e->last;
    }
    e->last = seq;
    e->flags &= (uint8_t)~SUBJ_LAST_STALE;
    soil(e);
    return before;
}

static void take_out(struct subject *e, uint64_t seq)
{
    if (e->count && --e->count == 0) {
        e->first = e->last = e->prev = 0;
        e->flags = 0;
    } else if (seq == e->first) {
        e->first = seq + 1;
        e->flags |= SUBJ_FIRST_STALE;
    } else if (seq >= e->last) {
        e->last = seq - 1;
        e->flags |= SUBJ_LAST_STALE;
    }
}

void index_remove(struct stream *s, struct slice subject, uint64_t seq)
{
    struct subject *e = index_get(s, subject, true);
    bool was = e->count > 0;
    take_out(e, seq);
    if (was && !e->count)
        s->now.num_subjects--;
    if (e->count && e->first > e->last) { /* both ends are stale: start from the outside */
        e->first = s->now.first_seq;
        e->last = s->now.last_seq;
        e->flags |= SUBJ_FIRST_STALE | SUBJ_LAST_STALE;
    }
    soil(e);
    if (s->memory && !e->count)
        forget(e);
}

void index_clear(struct stream *s)
{
    struct index *x = &s->index;
    bury(s);
    x->flushing = false;
    free(x->splitters);
    x->splitters = NULL;
    s->now.num_subjects = 0;
}

/* --- repairing ------------------------------------------------------------------------------- */

/* Damage took what was counted, and nobody could tell whose it was. */
static void count_none(struct stream *s, struct subject *e)
{
    if (e->count)
        s->now.num_subjects -= s->now.num_subjects > 0;
    e->count = 0;
    e->first = e->last = e->prev = 0;
    e->flags = 0;
    soil(e);
}

uint64_t index_first(struct stream *s, struct subject *e, uint32_t *looks)
{
    if (!(e->flags & SUBJ_FIRST_STALE))
        return e->first;
    struct reader r;
    struct record rec;
    uint64_t found = 0, seq = e->first > s->now.first_seq ? e->first : s->now.first_seq;
    reader_init(&r, s);
    for (seq = reader_next(&r, seq); seq && !found && *looks; reader_spend(looks, &rec)) {
        rec.len = 0;
        if (reader_know(&r, seq, &rec) == 0 && slice_eq(rec.subject, subject_text(e)) &&
            stream_live_now(s, seq))
            found = seq;
        else
            seq = reader_next(&r, seq + 1);
    }
    reader_end(&r);
    if (seq)
        e->first = seq; /* progress is kept */
    else
        count_none(s, e);
    if (found)
        e->flags &= (uint8_t)~SUBJ_FIRST_STALE;
    return found;
}

bool index_last(struct stream *s, struct subject *e, uint32_t most, uint64_t *seq)
{
    struct reader r;
    struct record rec;
    *seq = e->count ? e->last : 0;
    if (!e->count || !(e->flags & SUBJ_LAST_STALE))
        return true;
    reader_init(&r, s);
    uint64_t at = reader_prev(&r, e->last);
    bool found = false;
    for (; at >= s->now.first_seq && at && !found && most; reader_spend(&most, &rec)) {
        rec.len = 0;
        found = reader_know(&r, at, &rec) == 0 && slice_eq(rec.subject, subject_text(e)) &&
                stream_live_now(s, at);
        if (!found)
            at = reader_prev(&r, at - 1);
    }
    reader_end(&r);
    bool over = found || at < s->now.first_seq || !at;
    *seq = found ? at : 0;
    if (found)
        e->flags &= (uint8_t)~SUBJ_LAST_STALE;
    if (found || !over)
        e->last = at; /* progress is kept */
    return over;
}

bool index_knows_last(struct stream *s, struct slice subject, uint64_t up_to, uint64_t *seq)
{
    if (s->index.behind)
        return false;
    struct subject *e = index_get(s, subject, false);
    bool same_past = s->undone.n == 0 && s->now.first_seq == s->shown.first_seq;
    if (e && !(e->flags & SUBJ_LAST_STALE) && e->last <= up_to && e->last <= s->shown.last_seq) {
        *seq = e->last;
        return true;
    }
    /* Newer ones are not durable yet, or its last ones are going. */
    *seq = 0;
    return same_past && (!e || (!e->prev && e->first > s->shown.last_seq));
}

/* The oldest clean entry goes, unless its row isn't durable. */
static void evict_one(struct store *st)
{
    struct index *x = LIST_ENTRY(st->cleans.next, struct index, cleans);
    list_unlink(&x->cleans);
    if (list_empty(&x->clean))
        return;
    list_push_back(&st->cleans, &x->cleans); /* a look at each in turn */
    struct subject *e = LIST_ENTRY(x->clean.next, struct subject, link);
    /* forget() unlinks what it frees. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    if (e->last > e->stream->shown.last_seq || e->written > st->durable_batch) {
        list_unlink(&e->link);
        list_push_back(&x->clean, &e->link);
    } else {
        forget(e);
    }
}

static bool too_many(const struct store *st)
{
    return st->clean_subjects > st->lazy_at.clean_max && !list_empty(&st->cleans);
}

/* An entry lies anywhere in memory: on a slow machine a thousand of them are ten milliseconds. True
 * when time was over before the looks were. */
static bool evict_some(struct store *st, int64_t until)
{
    for (unsigned looks = EVICT_LOOKS; looks && too_many(st); looks--) {
        if (looks % EVICT_FEW == 0 && clock_mono_exact() >= until)
            return true;
        evict_one(st);
    }
    return false;
}

static enum job_result on_evict(struct job *j, const struct job_budget *budget)
{
    struct store *st = CONTAINER_OF(j, struct store, evict);
    return evict_some(st, budget->until) ? JOB_MORE : JOB_DONE;
}

void index_evict(struct store *st)
{
    if (!too_many(st))
        return;
    bool many = st->clean_subjects > 16 * st->lazy_at.clean_max;
    if (evict_some(st, clock_mono_exact() + (many ? EVICT_NS_MANY : EVICT_NS)))
        st->turn->job_start(st->turn->loop, &st->evict);
}

void index_evict_init(struct store *st)
{
    job_init(&st->evict, "giving up subjects", on_evict);
}

/* --- after a crash --------------------------------------------------------------------------- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void catch_append(struct stream *s, uint64_t seq, const struct record *rec)
{
    struct subject *e = index_get(s, rec->subject, true);
    if (seq <= e->upto)
        return;
    if (!e->count++) {
        e->first = seq;
        e->flags = 0;
    }
    e->last = later(e->last, seq);
    soil(e);
}

static void catch_trim(struct stream *s, uint64_t seq, const struct record *rec)
{
    struct subject *e = index_get(s, rec->subject, true);
    if (seq < e->floor || (seq > e->upto && seq <= s->index.w_last))
        return;
    take_out(e, seq);
    soil(e);
}

/* Walks records in [catch_pos, end]; true when it came to the end. */
static bool catch_range(struct stream *s, uint64_t end, uint32_t *steps,
                        void (*apply)(struct stream *, uint64_t, const struct record *))
{
    struct index *x = &s->index;
    struct reader r;
    reader_init(&r, s);
    uint64_t seq = x->catch_pos <= end ? reader_next(&r, x->catch_pos) : 0;
    while (seq && seq <= end && *steps) {
        struct record rec = {.len = 0};
        bool trim = apply == catch_trim;
        if (reader_know(&r, seq, &rec) == 0 && !(trim && holes_test(&s->holes, seq)))
            apply(s, seq, &rec);
        reader_spend(steps, &rec);
        x->catch_pos = seq + 1;
        seq = reader_next(&r, seq + 1);
    }
    reader_end(&r);
    return !seq || seq > end;
}

static void catch_delete(struct stream *s, uint64_t batch, uint64_t seq, struct slice subject)
{
    struct index *x = &s->index;
    if (batch <= x->w_batch || seq < s->now.purge_floor)
        return;
    struct subject *e = index_get(s, subject, true);
    bool counted = seq <= e->upto;
    if (!counted && seq > x->w_last) { /* unless it was erased before it could be counted */
        struct reader r;
        struct record rec;
        reader_init(&r, s);
        counted = reader_know(&r, seq, &rec) == 0;
        reader_end(&r);
    }
    if (batch <= e->batch || !counted)
        return;
    take_out(e, seq);
    soil(e);
}

static bool catch_deletes(struct stream *s, uint32_t *steps)
{
    struct index *x = &s->index;
    while (x->deletes.len && *steps) {
        struct take t = take_of(buf_slice(&x->deletes));
        uint64_t batch = take_u64(&t), seq = take_u64(&t);
        struct slice subject = take_str(&t);
        catch_delete(s, batch, seq, subject);
        buf_consume(&x->deletes, x->deletes.len - t.rest.n);
        --*steps;
    }
    return x->deletes.len == 0;
}

static void catch_next(struct index *x, uint64_t from)
{
    x->catch_phase++;
    x->catch_pos = from;
}

bool index_catch_up(struct stream *s, uint32_t steps)
{
    struct index *x = &s->index;
    if (!x->behind)
        return true;
    stream_load_holes(s);
    if (x->catch_phase == CATCH_APPENDS) {
        x->catch_pos = later(x->catch_pos, later(x->w_last + 1, s->now.purge_floor));
        if (!catch_range(s, s->now.last_seq, &steps, catch_append))
            return false;
        catch_next(x, 0);
    }
    if (x->catch_phase == CATCH_DELETES) {
        if (!catch_deletes(s, &steps))
            return false;
        catch_next(x, 0);
    }
    if (x->catch_phase == CATCH_TRIMS) {
        x->catch_pos = later(x->catch_pos, later(x->w_first, s->now.purge_floor));
        if (!catch_range(s, s->now.first_seq - 1, &steps, catch_trim))
            return false;
        catch_next(x, 0);
    }
    x->behind = false;
    buf_release(&x->deletes);
    append_unpark(s); /* before anybody else comes */
    return true;
}

void index_ready(struct stream *s)
{
    while (!index_catch_up(s, UINT32_MAX))
        ;
}

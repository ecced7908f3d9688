/* storage/index_rows.c -- subject rows on their way to the file; see index.h
 *
 * A small generation is written as it comes. A large one is dealt: a sample of its subjects gives
 * 31 splitters, each commit deals some thousand entries into the 32 ranges between them, and when
 * all are dealt each commit writes one range, but never more rows than a commit can bear, for a
 * sample can be unlucky. Nothing is sorted as a whole, no turn pays for all of
 * it, and rows of one commit lie side by side.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/mem.h"
#include "storage/chores.h"
#include "storage/index.h"
#include "storage/store.h"
#include "storage/stream.h"

enum {
    ROW_BYTES = 120, /* what a row about costs in a batch */
    SMALL = 4096,    /* a generation that is written as it comes */
    DEALT_A_COMMIT = 8192,
    RANGE_MOST = 8192, /* rows a commit */
    SAMPLE = INDEX_BUCKETS * 16,
    SPLITTER = 64,  /* bytes of a subject that are compared */
    FEW_DIRTY = 256 /* so few are written soon, */
};
static const int64_t AGE_FEW = 2 * NS_PER_S;
static const int64_t AGE_MANY = 20 * NS_PER_S; /* more may wait for company */

bool index_wants_flush(const struct stream *s, int64_t now, bool force)
{
    const struct index *x = &s->index;
    const struct laziness *lazy = &s->st->lazy_at;
    if (x->flushing)
        return true;
    if (!x->ndirty || x->behind)
        return false;
    uint64_t lag = s->now.last_seq - x->w_last, trimmed = s->now.first_seq - x->w_first;
    uint64_t most = x->ndirty < SMALL ? lazy->flush_lag : lazy->flush_lag * 16;
    int64_t age = x->ndirty < FEW_DIRTY ? AGE_FEW : AGE_MANY;
    return force || x->ndirty >= lazy->flush_dirty || lag > most || trimmed > most ||
           now - x->dirty_since > age;
}

static void write_row(struct stream *s, struct subject *e, struct batch *b)
{
    struct key k;
    key_subject(&k, s->sid, subject_text(e));
    e->written = b->n;
    if (!e->count) {
        if (e->in_file)
            change_del(b, DB_SUBJECTS, &k);
        e->in_file = false;
        index_cleaned(e); /* stays in memory until the file says the same */
        return;
    }
    struct subject_row row = {.first = e->first,
                              .last = e->last,
                              .count = e->count,
                              .flags = e->flags,
                              .upto = s->now.last_seq,
                              .floor = s->now.first_seq,
                              .batch = b->n};
    if (key_subject_is_long(key_slice(&k)))
        row.subject = subject_text(e);
    size_t at;
    seen_add(&s->index.seen, hash_slice(subject_text(e)));
    subject_row_add(change_put_begin(b, DB_SUBJECTS, &k, &at), key_slice(&k), &row);
    change_put_end(b, at);
    e->in_file = true;
    index_cleaned(e);
}

/* --- dealing --------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, SPLITTER);
}

static void head_of(const struct subject *e, char out[SPLITTER])
{
    size_t n = e->n < SPLITTER ? e->n : SPLITTER;
    memset(out, 0, SPLITTER);
    memcpy(out, e->text, n);
}

/* From all over the table: the list has them in the order they came, which may be their own. */
static size_t sample(const struct index *x, char *room)
{
    size_t n = 0, step = x->table.cap / SAMPLE;
    for (size_t i = 0; i < SAMPLE; i++) {
        const struct subject *e = htab_near(&x->table, i * step);
        if (e && e->dirty)
            head_of(e, room + n++ * SPLITTER);
    }
    return n;
}

/* While the table moves to a larger one there may be too few in it. */
static size_t sample_first(const struct index *x, char *room)
{
    size_t n = 0;
    for (struct list *e = x->dirty.next; e != &x->dirty && n < SAMPLE; e = e->next)
        head_of(LIST_ENTRY(e, struct subject, link), room + n++ * SPLITTER);
    return n;
}

static void choose_splitters(struct index *x)
{
    char *room = xmalloc((size_t)SAMPLE * SPLITTER);
    size_t n = sample(x, room);
    if (n < SAMPLE / 4)
        n = sample_first(x, room);
    qsort(room, n, SPLITTER, by_text);
    x->splitters = room;
    for (size_t k = 1; k < INDEX_BUCKETS; k++)
        memmove(room + (k - 1) * SPLITTER, room + k * n / INDEX_BUCKETS * SPLITTER, SPLITTER);
    x->next_bucket = 0;
}

static size_t bucket_of(const struct index *x, const struct subject *e)
{
    char head[SPLITTER];
    size_t lo = 0, hi = INDEX_BUCKETS - 1;
    head_of(e, head);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (memcmp(x->splitters + mid * SPLITTER, head, SPLITTER) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void deal(struct index *x, size_t most)
{
    while (most-- && !list_empty(&x->dirty)) {
        struct list *e = list_pop(&x->dirty);
        list_push_back(&x->bucket[bucket_of(x, LIST_ENTRY(e, struct subject, link))], e);
    }
}

/* --- generations ----------------------------------------------------------------------------- */

static void generation_begin(struct stream *s)
{
    struct index *x = &s->index;
    x->flushing = true;
    x->gen_batch = s->st->gather->n;
    x->gen_first = s->now.first_seq;
    x->gen_last = s->now.last_seq;
    x->next_bucket = INDEX_BUCKETS;
    if (x->ndirty > SMALL)
        choose_splitters(x);
}

static void generation_end(struct stream *s)
{
    struct index *x = &s->index;
    x->flushing = false;
    free(x->splitters);
    x->splitters = NULL;
    x->w_batch = x->gen_batch - 1;
    if (x->gen_first > x->w_first && !s->st->closing)
        reclaim_blocks(s); /* some may have waited for this */
    x->w_first = x->gen_first;
    x->w_last = x->gen_last;
    list_splice(&x->dirty, &x->next);
    x->dirty_since = clock_mono();
    s->freed += BLOCK_SIZE; /* blocks may have waited for this */
    pin_clear(&x->pin);
    if (x->ndirty)
        pin_set(&s->st->pins, &x->pin, x->gen_batch, s->st->journal_at);
}

static void write_some(struct stream *s, struct list *from, size_t *most, struct batch *b)
{
    while (*most >= ROW_BYTES && !list_empty(from)) {
        *most -= ROW_BYTES;
        write_row(s, LIST_ENTRY(from->next, struct subject, link), b);
    }
}

/* One range a commit, or a part of one that turned out large; without a bound all of them. */
static void write_ranges(struct stream *s, size_t most, struct batch *b)
{
    struct index *x = &s->index;
    bool all = most == SIZE_MAX;
    size_t room = all ? SIZE_MAX : (size_t)RANGE_MOST * ROW_BYTES;
    deal(x, all ? SIZE_MAX : DEALT_A_COMMIT);
    if (!list_empty(&x->dirty))
        return;
    do {
        struct list *range = &x->bucket[x->next_bucket];
        write_some(s, range, &room, b);
        if (!list_empty(range))
            return;
        x->next_bucket++;
    } while (x->next_bucket < INDEX_BUCKETS && all);
}

bool index_flush(struct stream *s, size_t most)
{
    struct index *x = &s->index;
    struct batch *b = stream_batch(s);
    if (!x->flushing)
        generation_begin(s);
    if (x->splitters)
        write_ranges(s, most, b);
    else
        write_some(s, &x->dirty, &most, b);
    if (!list_empty(&x->dirty) || x->next_bucket < INDEX_BUCKETS)
        return false;
    generation_end(s);
    store_write_state(s);
    return true;
}

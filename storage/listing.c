/* storage/listing.c -- see listing.h
 *
 * Between two portions entries become rows, rows are written anew, entries are given up. Nothing is
 * missed: an entry is collected while it is dirty or its row is not durable, and the walk over the
 * rows begins after that. Nothing is met twice: a row whose subject was collected is passed over.
 * (Rows of long subjects are in order of a hash behind their first 464 bytes, so those are looked
 * up among what was collected instead of waiting for their place.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/listing.h"

#include "base/mem.h"
#include "base/subject.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { PORTION = 256, SLOTS = 1024, BULKY = 1 << 14 };

void listing_begin(struct listing *x, struct stream *s, const struct slice *patterns, size_t n,
                   size_t offset, size_t limit)
{
    *x = (struct listing){
        .s = s, .patterns = patterns, .npatterns = n, .offset = offset, .limit = limit};
}

void listing_release(struct listing *x)
{
    free(x->fresh);
    free(x->page);
    msort_release(&x->sort);
    buf_release(&x->row_pos);
    buf_release(&x->names);
    *x = (struct listing){0};
}

/* The next array that is large. */
static bool drop(struct listed **at, size_t *cap)
{
    if (*cap < BULKY)
        return false;
    free(*at);
    *at = NULL;
    *cap = 0;
    return true;
}

bool listing_release_some(struct listing *x)
{
    if (drop(&x->fresh, &x->fresh_cap) || drop(&x->page, &x->page_cap))
        return false;
    listing_release(x);
    return true;
}

struct slice listing_name(const struct listing *x, const struct listed *l)
{
    return slice_of(buf_slice(&x->names).p + l->at, l->n);
}

static bool matches(const struct listing *x, struct slice subject)
{
    for (size_t i = 0; i < x->npatterns; i++)
        if (subject_match(subject, x->patterns[i]))
            return true;
    return x->npatterns == 0;
}

static struct listed *grown(struct listed *at, size_t n, size_t *cap)
{
    if (n < *cap)
        return at;
    *cap = *cap ? *cap * 2 : 64;
    return xrealloc(at, *cap * sizeof *at);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void collect_one(void *arg, void *item)
{
    struct listing *x = arg;
    const struct subject *e = item;
    bool row = !x->s->memory && !e->dirty && e->in_file && e->written <= x->s->st->durable_batch;
    if (row || !e->count || !matches(x, subject_text(e)))
        return;
    x->fresh = grown(x->fresh, x->nfresh, &x->fresh_cap);
    x->fresh[x->nfresh++] =
        (struct listed){.at = (uint32_t)x->names.len, .n = e->n, .count = e->count};
    buf_add_slice(&x->names, subject_text(e));
}

static int by_name(const void *a, const void *b, void *listing)
{
    return slice_cmp(listing_name(listing, a), listing_name(listing, b));
}

static void collect(struct listing *x)
{
    int said = htab_walk(&x->s->index.table, &x->walk, SLOTS, collect_one, x);
    if (said == HTAB_ANEW) {
        x->nfresh = 0;
        buf_clear(&x->names);
    }
    if (said != HTAB_END)
        return;
    x->step = LISTING_SORT;
    msort_init(&x->sort, x->fresh, x->nfresh, sizeof *x->fresh, by_name, x);
    x->fresh = NULL;
}

static void sort(struct listing *x)
{
    if (!msort_step(&x->sort, PORTION))
        return;
    x->step = LISTING_MERGE;
    x->fresh = (struct listed *)(void *)x->sort.items;
    x->sort.items = NULL;
    msort_release(&x->sort);
}

/* --- the page -------------------------------------------------------------------------------- */

static struct listed *take(struct listing *x)
{
    size_t place = x->total++;
    if (place < x->offset || x->npage >= x->limit)
        return NULL;
    x->page = grown(x->page, x->npage, &x->page_cap);
    return &x->page[x->npage++];
}

/* What was collected and stands before this subject. */
static void take_fresh_below(struct listing *x, const struct slice *subject, unsigned *most)
{
    for (; *most && x->at_fresh < x->nfresh; x->at_fresh++, --*most) {
        const struct listed *l = &x->fresh[x->at_fresh];
        if (subject && slice_cmp(listing_name(x, l), *subject) >= 0)
            return;
        struct listed *to = take(x);
        if (to)
            *to = *l;
    }
}

static bool among_fresh(const struct listing *x, struct slice subject)
{
    size_t lo = 0, hi = x->nfresh;
    if (subject.n <= SUBJECT_HEAD) /* in order: it would be the next one */
        return x->at_fresh < x->nfresh &&
               slice_eq(listing_name(x, &x->fresh[x->at_fresh]), subject);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = slice_cmp(listing_name(x, &x->fresh[mid]), subject);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* False: this row must come again, the portion is over. */
static bool take_row(struct listing *x, struct slice key, struct slice value, unsigned *most)
{
    struct stream *s = x->s;
    struct subject_row row = {0};
    bool sound = subject_row_read(value, key, &row) == 0;
    if (sound && row.upto < s->now.purge_floor)
        return true;
    struct slice subject = row.subject.n ? row.subject : key_subject_part(key);
    if (!matches(x, subject))
        return true;
    take_fresh_below(x, &subject, most);
    if (!*most)
        return false;
    if (among_fresh(x, subject))
        return true;
    bool stale = (row.flags & SUBJ_LAST_STALE) != 0;
    if (!sound || index_in_memory(s, subject)) { /* which knows better */
        struct subject *e = index_get(s, subject, false);
        row.count = e ? e->count : 0;
        stale = true;
    }
    struct listed *to = row.count ? take(x) : NULL;
    if (to) {
        *to = (struct listed){.at = (uint32_t)x->names.len,
                              .n = (uint32_t)subject.n,
                              .count = row.count,
                              .last = stale ? 0 : row.last};
        buf_add_slice(&x->names, subject);
    }
    return true;
}

/* The bytes all subjects of the filter begin with, for one pattern. */
static struct slice common_head(const struct listing *x)
{
    if (x->npatterns != 1)
        return (struct slice){0};
    struct slice p = x->patterns[0];
    size_t n = 0;
    for (size_t i = 0; i < p.n; i++) {
        bool token = i == 0 || p.p[i - 1] == '.';
        if (token && (p.p[i] == '*' || p.p[i] == '>') && (i + 1 == p.n || p.p[i + 1] == '.'))
            return slice_head(p, n < SUBJECT_HEAD ? n : SUBJECT_HEAD);
        n = i + 1;
    }
    return slice_head(p, n < SUBJECT_HEAD ? n : SUBJECT_HEAD);
}

/* True when there are no more rows. */
static bool rows_portion(struct listing *x, struct txn *view, unsigned *most)
{
    struct walk w;
    struct key k;
    struct slice head = common_head(x);
    key_subject(&k, x->s->sid, head);
    bool on =
        walk_seek(&w, view, DB_SUBJECTS, x->row_pos.len ? buf_slice(&x->row_pos) : key_slice(&k));
    for (; on && *most; --*most, on = walk_next(&w)) {
        if (x->row_pos.len && slice_cmp(w.key, buf_slice(&x->row_pos)) < 0) {
            ++*most; /* a damaged key led back: these were taken */
            continue;
        }
        if (!key_of_stream(w.key, x->s->sid) || !slice_starts(key_subject_part(w.key), head)) {
            on = false;
            break;
        }
        if (!take_row(x, w.key, w.value, most))
            break;
    }
    buf_clear(&x->row_pos);
    if (on)
        buf_add_slice(&x->row_pos, w.key);
    walk_end(&w);
    return !on;
}

static void merge(struct listing *x)
{
    unsigned most = PORTION;
    if (!x->rows_over) {
        struct txn *view = x->s->memory ? NULL : view_open(x->s->st->db);
        x->rows_over = !view || rows_portion(x, view, &most);
        if (view)
            view_close(x->s->st->db);
    }
    if (x->rows_over)
        take_fresh_below(x, NULL, &most);
    if (x->rows_over && x->at_fresh == x->nfresh)
        x->step = LISTING_DONE;
}

bool listing_portion(struct listing *x)
{
    switch (x->step) {
    case LISTING_COLLECT:
        collect(x);
        break;
    case LISTING_SORT:
        sort(x);
        break;
    case LISTING_MERGE:
        merge(x);
        break;
    case LISTING_DONE:
        break;
    }
    return x->step == LISTING_DONE;
}

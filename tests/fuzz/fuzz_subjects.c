/* fuzz_subjects.c -- subjects, patterns, transforms, and the three indexes that match them
 *
 * The input is lines. Each line is a subject or a pattern; valid ones go into a sublist and into a
 * filter index, and everything that can be asked of two of them is asked: overlap is symmetrical, a
 * subset overlaps, what matches the inner matches the outer, and each index says what
 * subject_match() says. A line with a blank in it is a transform, "source destination": what it
 * makes of a subject that matches is what it makes of it the second time, and nothing else is
 * touched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/domain.h"
#include "base/mem.h"
#include "base/subject.h"
#include "jsapi/filter_index.h"
#include "server/sublist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 24 };

static enum sink_result take(struct sink *s, struct msg_view *m)
{
    (void)s, (void)m;
    return SINK_TAKEN;
}

struct lines {
    struct slice at[LINES];   /* valid subjects and patterns */
    struct slice from[LINES]; /* sources of transforms */
    struct slice to[LINES];   /* their destinations */
    size_t n, n_transforms;
};

static void read_lines(struct slice in, struct lines *l)
{
    while (in.n && l->n < LINES && l->n_transforms < LINES) {
        struct slice line = slice_head(in, slice_find(in, '\n'));
        size_t blank = slice_find(line, ' ');
        in = slice_skip(in, line.n + 1);
        if (blank < line.n) {
            l->from[l->n_transforms] = slice_head(line, blank);
            l->to[l->n_transforms++] = slice_skip(line, blank + 1);
        } else if (subject_valid(line)) {
            l->at[l->n++] = line;
        }
    }
}

static void ask_two(struct slice a, struct slice b)
{
    bool overlap = subject_overlap(a, b);
    ASSERT(overlap == subject_overlap(b, a));
    if (subject_subset(a, b))
        ASSERT(overlap);
    if (!subject_has_wildcard(a)) {
        ASSERT(overlap == subject_match(a, b));
        ASSERT(subject_subset(a, b) == subject_match(a, b));
    }
    if (subject_subset(a, b) && subject_subset(b, a) && !subject_has_wildcard(a))
        ASSERT(slice_eq(a, b));
}

static void ask_three(struct slice a, struct slice b, struct slice c)
{
    if (subject_subset(a, b) && subject_subset(b, c))
        ASSERT(subject_subset(a, c));
    if (!subject_has_wildcard(a) && subject_match(a, b) && subject_subset(b, c))
        ASSERT(subject_match(a, c));
}

static bool count(void *arg, void *item)
{
    size_t *n = arg;
    (void)item;
    ++*n;
    return true;
}

/* With what stays of `in` (bit i: line i is in). */
static void ask_indexes(const struct lines *l, struct sublist *sl, struct filter_index *ix,
                        uint32_t in)
{
    for (size_t i = 0; i < l->n; i++) {
        size_t want = 0, got = 0;
        if (subject_has_wildcard(l->at[i]))
            continue;
        for (size_t k = 0; k < l->n; k++)
            want += (in >> k & 1) && subject_match(l->at[i], l->at[k]);
        filter_index_match(ix, l->at[i], count, &got);
        ASSERT(got == want);
        for (int cache = 0; cache < 3; cache++) {
            struct match *m = sublist_match(sl, l->at[i], cache > 0);
            size_t found = m->n;
            for (uint32_t q = 0; q < m->nqueues; q++)
                found += m->queues[q].n;
            ASSERT(found == want);
            match_unref(m);
        }
        ASSERT(sublist_has_interest(sl, l->at[i], (struct slice){0}) == (want > 0));
    }
}

static void ask_all(const struct lines *l, uint8_t choice)
{
    struct endpoint ep = {.id = 1};
    struct sink sinks[LINES] = {0};
    struct sublist *sl = sublist_new();
    struct filter_index ix = {0};
    uint32_t in = 0;
    for (size_t i = 0; i < l->n; i++) {
        sinks[i] = (struct sink){.owner = &ep, .subject = l->at[i], .weight = 1, .deliver = take};
        if (choice >> (i & 7) & 1)
            sinks[i].queue = SLICE("q");
        ASSERT(sublist_insert(sl, &sinks[i]) == 0);
        filter_index_add(&ix, l->at[i], &sinks[i]);
        in |= 1u << i;
    }
    ask_indexes(l, sl, &ix, in);
    for (size_t i = 0; i < l->n; i++) { /* every other one goes, then the rest */
        size_t k = i * 2 < l->n ? i * 2 : (i * 2 - l->n) | 1;
        if (k >= l->n || !(in >> k & 1))
            continue;
        sublist_remove(sl, &sinks[k]);
        filter_index_remove(&ix, l->at[k], &sinks[k]);
        in &= ~(1u << k);
        ask_indexes(l, sl, &ix, in);
    }
    for (size_t k = 0; k < l->n; k++)
        if (in >> k & 1) {
            sublist_remove(sl, &sinks[k]);
            filter_index_remove(&ix, l->at[k], &sinks[k]);
        }
    ASSERT(sublist_count(sl) == 0 && ix.count == 0);
    sublist_free(sl);
    filter_index_release(&ix);
}

static void transform(struct slice from, struct slice to, const struct lines *l)
{
    struct transform *t;
    struct buf out = BUF_INIT, again = BUF_INIT;
    const char *why = NULL;
    bool random = slice_search(to, SLICE("andom")) < to.n;
    if (transform_new(from, to, &t, &why) != 0) {
        ASSERT(why && *why);
        return;
    }
    for (size_t i = 0; i < l->n; i++) {
        if (subject_has_wildcard(l->at[i]))
            continue;
        buf_clear(&out);
        buf_clear(&again);
        bool applies = transform_apply(t, l->at[i], &out);
        ASSERT(applies == subject_match(l->at[i], transform_src(t)));
        ASSERT(applies || out.len == 0);
        ASSERT(transform_apply(t, l->at[i], &again) == applies);
        ASSERT(random || slice_eq(buf_slice(&out), buf_slice(&again)));
    }
    buf_release(&out);
    buf_release(&again);
    transform_free(t);
}

/* To the domain and back is where it began. */
static void domains(struct slice subject)
{
    struct buf there = BUF_INIT, back = BUF_INIT;
    if (domain_to_remote(SLICE("hub"), subject, &there)) {
        ASSERT(domain_to_local(SLICE("hub"), false, buf_slice(&there), &back));
        ASSERT(slice_eq(buf_slice(&back), subject));
    }
    buf_clear(&there);
    buf_clear(&back);
    if (domain_to_local(SLICE("hub"), false, subject, &there)) {
        ASSERT(domain_to_remote(SLICE("hub"), buf_slice(&there), &back));
        ASSERT(slice_eq(buf_slice(&back), subject));
    }
    buf_release(&there);
    buf_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lines l = {.n = 0};
    if (size < 2 || size > 4096)
        return 0;
    read_lines(slice_of(data + 1, size - 1), &l);
    for (size_t i = 0; i < l.n; i++) {
        ASSERT(subject_valid_literal(l.at[i]) == !subject_has_wildcard(l.at[i]));
        ASSERT(subject_subset(l.at[i], l.at[i]) && subject_overlap(l.at[i], l.at[i]));
        domains(l.at[i]);
        for (size_t k = 0; k < l.n; k++) {
            ask_two(l.at[i], l.at[k]);
            ask_three(l.at[i], l.at[k], l.at[(i + k) % l.n]);
        }
    }
    ask_all(&l, data[0]);
    for (size_t i = 0; i < l.n_transforms; i++)
        transform(l.from[i], l.to[i], &l);
    return 0;
}

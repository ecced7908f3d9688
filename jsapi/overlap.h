/* jsapi/overlap.h -- which of many subjects meet?
 *
 * A client may send tens of thousands of subjects in one request, and asking every pair would keep
 * the loop for seconds. Here they are sorted once, and a subject is compared only with those that
 * begin as it does:
 *
 *     overlap_init(&o, list, n, subject_overlap);
 *     overlap_find(&o, subject, 0, OVERLAP_NONE, &at)      does it meet one of the list?
 *     overlap_first(&o, &i, &k)                            do two of the list meet?
 *     overlap_release(&o);
 *
 * Literals cost next to nothing; so does a wildcard behind a first part of its own ("site7.*").
 * What is left, wildcards that share their beginning, is bounded: after OVERLAP_LOOKS_MAX
 * comparisons the answer is OVERLAP_MANY, and the caller refuses. Pure; the subjects are borrowed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_OVERLAP_H
#define JSAPI_OVERLAP_H

#include "base/err.h"
#include "base/slice.h"

/* About 0.1 s; some 2,800 wildcards that all begin alike. */
#define OVERLAP_LOOKS_MAX 8000000u
#define OVERLAP_NONE      SIZE_MAX /* no place is left out */

enum overlap_answer { OVERLAP_APART, OVERLAP_MEET, OVERLAP_MANY };

/* subject_overlap() or subject_subset(); the second one is of the list. */
typedef bool overlap_fn(struct slice a, struct slice b);

struct overlap_entry;
struct overlap {
    overlap_fn *meet;
    const struct slice *at;     /* the list as it came, borrowed */
    struct overlap_entry *all;  /* by text */
    struct overlap_entry *wild; /* those with wildcards, by what stands before the first one */
    size_t n, n_wild;
    uint64_t looks; /* looks so far; comparing long subjects counts for several */
};

void overlap_init(struct overlap *o, const struct slice *at, size_t n, overlap_fn *meet);
void overlap_release(struct overlap *o);
/* MEET: *at is the lowest place from `from` on, other than `except`, that s meets. */
enum overlap_answer overlap_find(struct overlap *o, struct slice s, size_t from, size_t except,
                                 size_t *at);
/* MEET: list[*i] is the first that meets another one, list[*k] the first it meets. With
 * subject_overlap() *k is behind *i. */
enum overlap_answer overlap_first(struct overlap *o, size_t *i, size_t *k);
/* None of these meets one of the list. False as well where that takes too many looks to say. */
bool overlap_apart(struct overlap *o, const struct slice *at, size_t n);

#endif

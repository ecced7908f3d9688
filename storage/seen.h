/* storage/seen.h -- which subjects may have a row in the file
 *
 * A stream that was made in this run begins without rows, so it can be known that a subject has
 * none, without a descent in the file: the usual answer while new subjects come. A few blocked
 * Bloom filters, each four times as large as the one before, ten bits a subject, about one wrong
 * "maybe" in a hundred. Beyond some five million subjects (7 MB) it is given up, and the answer is
 * "maybe" for ever.
 *
 * Loop thread only; pure but for memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SEEN_H
#define STORAGE_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEEN_LEVELS = 6, SEEN_FIRST = 4096 }; /* subjects in the first one */

struct seen_rows {
    bool whole;                   /* every row's subject was added */
    uint64_t *level[SEEN_LEVELS]; /* blocks of eight words */
    unsigned levels;              /* how many there are, */
    size_t n;                     /* and how many subjects the last one has */
};

/* Nothing is known: all answers are "maybe". {0} is the same. */
void seen_init(struct seen_rows *x);
/* There is no row yet. */
void seen_begin(struct seen_rows *x);
void seen_release(struct seen_rows *x);
/* A row of this subject is about to be written. hash: hash64() of the subject. */
void seen_add(struct seen_rows *x, uint64_t hash);
/* False: there is no row. */
bool seen_maybe(const struct seen_rows *x, uint64_t hash);

#endif

/* jsapi/filter_index.h -- which consumers want this subject?
 *
 * A trie over tokens: a stream keeps the filters of its consumers here, so that a message costs
 * what its subject is long and who wants it, not how many consumers there are. Pure; the items
 * are the caller's.
 *
 *     filter_index_add(&ix, pattern, consumer);
 *     filter_index_match(&ix, subject, fn, arg);      fn(arg, consumer) for each
 *     filter_index_remove(&ix, pattern, consumer);
 *
 * An item that was added with several patterns is told once for each that matches.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef JSAPI_FILTER_INDEX_H
#define JSAPI_FILTER_INDEX_H

#include "base/hash.h"

struct filter_node;
struct filter_index {
    struct filter_node *root; /* NULL while empty */
    size_t count;             /* patterns */
};

void filter_index_add(struct filter_index *ix, struct slice pattern, void *item);
/* Takes one such pair out; it must be there. */
void filter_index_remove(struct filter_index *ix, struct slice pattern, void *item);
/* Calls fn for every pair that matches the literal subject; stops when fn says false. Nothing may
 * be added or removed meanwhile. False when it was stopped. */
typedef bool filter_index_fn(void *arg, void *item);
bool filter_index_match(const struct filter_index *ix, struct slice subject, filter_index_fn *fn,
                        void *arg);
void filter_index_release(struct filter_index *ix);

#endif

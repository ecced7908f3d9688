/* storage/listing.h -- the subjects of a stream in byte order, put together in portions
 *
 *     struct listing x;
 *     listing_begin(&x, s, patterns, n, offset, limit);
 *     while (!listing_portion(&x))
 *         ;                               a turn may pass between two portions
 *     x.page[0 … x.npage), x.total
 *     listing_release(&x);
 *
 * Three steps: entries in memory that have no row or know better (in a memory stream: all) are
 * collected, sorted, and merged with the rows of the file, which are in order already. Only the
 * page that was asked for is kept of the rows.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LISTING_H
#define STORAGE_LISTING_H

#include "base/msort.h"
#include "storage/stream.h"

struct listed {
    uint64_t count;
    uint64_t last;  /* its last message, as durable in its row; 0: ask the index */
    uint32_t at, n; /* text in names */
};

struct listing {
    struct stream *s;
    const struct slice *patterns; /* borrowed; n == 0: all subjects */
    size_t npatterns;
    size_t offset, limit;
    enum { LISTING_COLLECT, LISTING_SORT, LISTING_MERGE, LISTING_DONE } step;
    struct htab_walk walk;
    struct listed *fresh; /* from memory */
    size_t nfresh, fresh_cap, at_fresh;
    struct msort sort;
    struct buf row_pos; /* the row to go on from */
    bool rows_over;     /* there are no more */
    struct buf names;
    struct listed *page; /* the answer */
    size_t npage, page_cap;
    size_t total; /* how many match, in and out of the page */
};

void listing_begin(struct listing *x, struct stream *s, const struct slice *patterns, size_t n,
                   size_t offset, size_t limit);
/* Some hundred subjects; true when all is done. */
bool listing_portion(struct listing *x);
struct slice listing_name(const struct listing *x, const struct listed *l);
void listing_release(struct listing *x);
/* The same in portions; true when nothing is left. Names and page are gone with the first. */
bool listing_release_some(struct listing *x);

#endif

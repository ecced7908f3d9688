/* storage/holes.h -- which numbers between first and last are gone
 *
 * A sorted array of pages of 4,096 numbers: a bitmap while some of a page are gone, a run of whole
 * pages when all are. A Fenwick tree over the array answers "how many are gone from here on" in
 * logarithmic time. A stream without holes has no page. Pages that changed are dirty until they are
 * written as rows of table "t":
 *
 *     key sid | page    value  u8 kind: 0 bitmap (512 bytes) | 1 run (u64 pages)
 *
 * Rows are a union: reading one more row than needed never makes a live message dead by itself,
 * because a page becomes dirty in the same batch as its bit. Loop thread only; pure but for memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_HOLES_H
#define STORAGE_HOLES_H

#include "base/buf.h"
#include "base/err.h"

enum { HOLE_PAGE = 4096, HOLE_WORDS = HOLE_PAGE / 64 };

struct hole_page {
    uint64_t page;  /* number / 4096 */
    uint64_t pages; /* how many in a run; 1 with a bitmap */
    uint64_t *bits; /* HOLE_WORDS words, 1 = gone; NULL: all are */
    uint32_t dead;  /* bits set; unused in a run */
    bool dirty;     /* to be written */
};

struct holes {
    struct hole_page *at;
    size_t n, cap;
    uint64_t *sums;  /* Fenwick tree over at[], 1-based; */
    size_t sums_n;   /* valid for this many pages, 0: to be rebuilt */
    uint64_t ndirty; /* dirty pages */
    bool quiet;      /* rows are being read: what changes now is on disk already */
};

void holes_init(struct holes *h);
void holes_release(struct holes *h);
bool holes_test(const struct holes *h, uint64_t seq);
/* False when it was set already. */
bool holes_set(struct holes *h, uint64_t seq);
void holes_set_range(struct holes *h, uint64_t first, uint64_t last);
void holes_clear(struct holes *h, uint64_t seq);
/* Forgets whole pages below seq. */
void holes_drop_below(struct holes *h, uint64_t seq);
/* Forgets everything. */
void holes_reset(struct holes *h);
/* How many numbers >= seq are gone. */
uint64_t holes_count_from(struct holes *h, uint64_t seq);
/* The first number >= seq, or the last <= seq, that is not gone (0 below 1). */
uint64_t holes_next_live(const struct holes *h, uint64_t seq);
uint64_t holes_prev_live(const struct holes *h, uint64_t seq);
/* The first number >= seq that is gone; UINT64_MAX when there is none. */
uint64_t holes_next_dead(const struct holes *h, uint64_t seq);

/* Where in at[] what ends at this page or later begins. */
size_t holes_from(const struct holes *h, uint64_t page);

/* Rows. */
void holes_row_add(struct buf *out, uint32_t sid, const struct hole_page *p);
/* What the checksum of a row begins with: where it belongs. */
uint32_t holes_row_place(uint32_t sid, uint64_t page);
/* Merges a row's bits. E_CORRUPT, also for a row under another key. */
int holes_row_load(struct holes *h, uint32_t sid, uint64_t page, struct slice value) MUST_CHECK;

#endif

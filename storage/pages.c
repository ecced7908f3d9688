/* storage/pages.c -- see pages.h
 *
 *     page     u64 its number | u16 | u16 kind | u16 lower | u16 upper | u16 place of node…
 *     node     u16 lo | u16 hi | u16 flags | u16 length of key | key | value
 *
 * In a branch lo, hi and flags are the child's number; in a leaf lo and hi are the value's length,
 * and a large value is the number of its first page. Nodes lie close together from `upper` to the
 * end of the page, in any order. The first key of a branch means nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/pages.h"

#include "storage/codec.h"
#include "storage/keys.h"

enum {
    HEAD = 16,
    NODE = 8,
    KIND_BRANCH = 1,
    KIND_LEAF = 2,
    KIND_LARGE = 4,
    NODE_LARGE = 1, /* its value has pages of its own, */
    NODE_TREE = 2,  /* or is a tree's TREE_BYTES */
    FIRST_PAGE = 2, /* behind the two roots */
    DEPTH_MOST = 20
};
#define NO_PAGE UINT64_MAX

struct page {
    const char *p;
    unsigned n; /* nodes */
    bool leaf;
    bool known; /* its nodes were looked at before */
};

struct bounds {
    struct slice low, high; /* low <= key < high; p NULL: none */
};

bool tree_read(struct tree *x, const char *bytes)
{
    x->depth = rd16(bytes + 6);
    x->entries = rd64(bytes + 32);
    x->root = rd64(bytes + 40);
    bool empty = x->root == NO_PAGE;
    return rd16(bytes + 4) == 0 && x->depth <= DEPTH_MOST && empty == (x->depth == 0) &&
           empty == (x->entries == 0);
}

/* --- a page ---------------------------------------------------------------------------------- */

static const char *node_at(const struct page *g, unsigned i)
{
    return g->p + rd16(g->p + HEAD + 2 * (size_t)i);
}

static struct slice key_at(const struct page *g, unsigned i)
{
    const char *node = node_at(g, i);
    return slice_of(node + NODE, rd16(node + 6));
}

static uint64_t child_at(const struct page *g, unsigned i)
{
    const char *node = node_at(g, i);
    return rd32(node) | (uint64_t)rd16(node + 4) << 32;
}

/* In the page. */
static size_t size_of(const struct page *g, const char *node)
{
    size_t value = g->leaf ? rd32(node) : 0;
    if (g->leaf && (rd16(node + 4) & NODE_LARGE))
        value = sizeof(uint64_t);
    return (NODE + rd16(node + 6) + value + 1) & ~(size_t)1;
}

static bool node_plausible(const struct page *g, const char *node)
{
    return rd16(node + 6) <= KEY_MAX && (!g->leaf || rd16(node + 4) <= NODE_TREE);
}

/* Do the nodes fill the page from upper on, each of them once? */
static bool tiled(const struct page *g, size_t upper)
{
    uint64_t starts[PAGES_SIZE / 2 / 64] = {0};
    for (unsigned i = 0; i < g->n; i++) {
        size_t at = rd16(g->p + HEAD + 2 * (size_t)i);
        if (at < upper || at > PAGES_SIZE - NODE || at % 2)
            return false;
        starts[at / 128] |= 1ull << at / 2 % 64;
    }
    unsigned n = 0;
    size_t at = upper;
    for (; at <= PAGES_SIZE - NODE && (starts[at / 128] >> at / 2 % 64 & 1); n++) {
        if (!node_plausible(g, g->p + at))
            return false;
        at += size_of(g, g->p + at);
    }
    return at == PAGES_SIZE && n == g->n;
}

/* depth: 1 for a leaf. */
static bool page_read(const struct tree *x, uint64_t number, unsigned depth, struct page *g)
{
    if (number < FIRST_PAGE || number >= x->pages)
        return false;
    g->p = x->map + number * PAGES_SIZE;
    g->leaf = depth == 1;
    size_t lower = rd16(g->p + 12), upper = rd16(g->p + 14);
    if (rd64(g->p) != number || rd16(g->p + 10) != (g->leaf ? KIND_LEAF : KIND_BRANCH) ||
        lower <= HEAD || lower % 2 || lower > upper || upper > PAGES_SIZE)
        return false;
    g->n = (unsigned)(lower - HEAD) / 2;
    g->known = x->known && x->known[number % PAGES_KNOWN] == number;
    return g->known || tiled(g, upper);
}

static void remember(const struct tree *x, uint64_t number)
{
    if (x->known && number <= UINT32_MAX)
        x->known[number % PAGES_KNOWN] = (uint32_t)number;
}

static bool within(const struct bounds *b, struct slice key)
{
    return (!b->low.p || slice_cmp(key, b->low) >= 0) &&
           (!b->high.p || slice_cmp(key, b->high) < 0);
}

static bool branch_ordered(const struct page *g, const struct bounds *b)
{
    struct slice before = b->low;
    for (unsigned i = 1; i < g->n; i++) {
        struct slice key = key_at(g, i);
        if ((before.p && slice_cmp(key, before) <= 0) || !within(b, key))
            return false;
        before = key;
    }
    return true;
}

/* What is below a child. */
static struct bounds bounds_of(const struct page *g, unsigned i, const struct bounds *b)
{
    return (struct bounds){.low = i ? key_at(g, i) : b->low,
                           .high = i + 1 < g->n ? key_at(g, i + 1) : b->high};
}

/* Is it the leaf that belongs there? One of its keys may be damaged; that is for its owner. */
static bool leaf_fits(const struct page *g, const struct bounds *b)
{
    unsigned strangers = 0;
    for (unsigned i = 0; i < g->n; i++)
        strangers += !within(b, key_at(g, i));
    return strangers <= 1 && strangers < g->n;
}

/* --- a tree ---------------------------------------------------------------------------------- */

/* The child that has the key. */
static unsigned find_child(const struct page *g, struct slice key)
{
    unsigned lo = 0, hi = g->n;
    while (hi - lo > 1) {
        unsigned mid = lo + (hi - lo) / 2;
        if (slice_cmp(key, key_at(g, mid)) < 0)
            hi = mid;
        else
            lo = mid;
    }
    return lo;
}

/* Of a known page it is enough that it is where it belongs. */
static bool in_place(const struct page *g, const struct bounds *b)
{
    if (g->known && within(b, key_at(g, g->n - 1)) && (!g->leaf || within(b, key_at(g, 0))))
        return true;
    return g->leaf ? leaf_fits(g, b) : branch_ordered(g, b);
}

bool tree_path_sound(const struct tree *x, struct slice key)
{
    struct bounds b = {0};
    struct page g;
    uint64_t number = x->root;
    for (unsigned depth = x->depth; depth; depth--) {
        if (!page_read(x, number, depth, &g) || !in_place(&g, &b))
            return false;
        remember(x, number);
        if (depth > 1) {
            unsigned i = find_child(&g, key);
            number = child_at(&g, i);
            b = bounds_of(&g, i, &b);
        }
    }
    return true;
}

/* A value that is too large for a page. */
static bool large_sound(const struct tree *x, const char *node)
{
    uint64_t number, size = rd32(node);
    number = rd64(node + NODE + rd16(node + 6));
    if (number < FIRST_PAGE || number >= x->pages)
        return false;
    const char *p = x->map + number * PAGES_SIZE;
    uint64_t has = rd32(p + 12), wants = (HEAD - 1 + size) / PAGES_SIZE + 1;
    return rd64(p) == number && rd16(p + 10) == KIND_LARGE && has >= wants &&
           has <= x->pages - number;
}

static bool larges_sound(const struct tree *x, const struct page *g)
{
    for (unsigned i = 0; i < g->n; i++)
        if ((rd16(node_at(g, i) + 4) & NODE_LARGE) && !large_sound(x, node_at(g, i)))
            return false;
    return true;
}

/* Everything from this page down; counts the keys. Each level is one nearer to the leaves. */
static bool below_sound(const struct tree *x, uint64_t number, unsigned depth,
                        const struct bounds *b, uint64_t *n)
{
    struct page g;
    if (!page_read(x, number, depth, &g))
        return false;
    if (g.leaf) {
        *n += g.n;
        return leaf_fits(&g, b) && larges_sound(x, &g);
    }
    bool sound = branch_ordered(&g, b);
    for (unsigned i = 0; i < g.n && sound; i++) {
        struct bounds of = bounds_of(&g, i, b);
        sound = below_sound(x, child_at(&g, i), depth - 1, &of, n);
    }
    return sound;
}

bool tree_sound(const struct tree *x)
{
    uint64_t n = 0;
    struct bounds b = {0};
    return (!x->depth || below_sound(x, x->root, x->depth, &b, &n)) && n == x->entries;
}

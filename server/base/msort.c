/* base/msort.c -- see msort.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/msort.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { RUN = 256 };

void msort_init(struct msort *m, void *items, size_t n, size_t size, msort_cmp_fn *cmp, void *arg)
{
    *m = (struct msort){.items = items, .n = n, .size = size, .cmp = cmp, .arg = arg};
}

void msort_release(struct msort *m)
{
    free(m->items);
    free(m->other);
    *m = (struct msort){0};
}

static char *item(char *array, const struct msort *m, size_t i)
{
    return array + i * m->size;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Runs of RUN, by insertion into a binary-searched place: stable, and nothing is allocated. */
static void sort_run(struct msort *m, size_t from, size_t to, char *room)
{
    for (size_t i = from + 1; i < to; i++) {
        size_t lo = from, hi = i;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (m->cmp(item(m->items, m, mid), item(m->items, m, i), m->arg) <= 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        memcpy(room, item(m->items, m, i), m->size);
        memmove(item(m->items, m, lo + 1), item(m->items, m, lo), (i - lo) * m->size);
        memcpy(item(m->items, m, lo), room, m->size);
    }
}

static void make_runs(struct msort *m, size_t steps)
{
    char *room = xmalloc(m->size);
    size_t to = least(m->n, m->at + (steps > RUN ? steps / RUN * RUN : RUN));
    for (; m->at < to; m->at = least(m->n, m->at + RUN))
        sort_run(m, m->at, least(m->n, m->at + RUN), room);
    free(room);
    if (m->at == m->n) {
        m->width = RUN;
        m->at = m->left = m->right = 0;
        if (m->n > RUN)
            m->other = xmalloc(m->n * m->size);
    }
}

static void merge(struct msort *m, size_t steps)
{
    while (steps-- && m->at < m->n) {
        size_t pair = m->at / (2 * m->width) * 2 * m->width;
        size_t mid = least(m->n, pair + m->width), end = least(m->n, pair + 2 * m->width);
        if (m->at == pair) {
            m->left = pair;
            m->right = mid;
        }
        char *l = item(m->items, m, m->left), *r = item(m->items, m, m->right);
        bool from_left = m->right == end || (m->left < mid && m->cmp(l, r, m->arg) <= 0);
        memcpy(item(m->other, m, m->at++), from_left ? l : r, m->size);
        m->left += from_left;
        m->right += !from_left;
    }
    if (m->at == m->n) {
        char *sorted = m->other;
        m->other = m->items;
        m->items = sorted;
        m->width *= 2;
        m->at = 0;
    }
}

bool msort_step(struct msort *m, size_t steps)
{
    if (!m->width)
        make_runs(m, steps);
    else if (m->width < m->n)
        merge(m, steps);
    return m->width && m->width >= m->n;
}

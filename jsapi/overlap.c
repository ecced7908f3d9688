/* jsapi/overlap.c -- see overlap.h
 *
 * The *lead* of a subject is what stands before its first wildcard, up to and with the dot:
 * "a.b." of "a.b.*.c", nothing of ">". Two subjects can meet only in these ways:
 *
 *     two literals             the same text
 *     a literal, a wildcard    the literal begins with the wildcard's lead
 *     two wildcards            one lead begins with the other
 *
 * A lead ends where a token does, so the leads that a subject may begin with are few: one for each
 * of its dots. Those are looked up among the wildcards, which stand in order of their leads; what
 * begins with a wildcard's own lead stands together in the order of texts.
 *
 * A client may send a subject of half a million tokens, and comparing each beginning of it would
 * keep the loop for seconds. So a lead is cut behind its last token within LEAD_MOST bytes: what
 * was said above is true of such a lead as well, it only tells fewer subjects apart.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/overlap.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/subject.h"

#define BYTES_A_LOOK 16 /* so many bytes to compare are one look more */
#define LEAD_MOST    256

struct overlap_entry {
    struct slice key;  /* text or (cut) lead: what it is sorted by */
    struct slice text; /* the subject */
    size_t place;      /* in the list */
};

/* One question: who meets s? */
struct seek {
    struct overlap *o;
    struct slice s;
    size_t from, except;
    size_t best; /* the lowest place found, OVERLAP_NONE: none yet */
};

static bool lead_of(struct slice s, struct slice *lead)
{
    size_t cut = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (i && s.p[i - 1] != '.')
            continue;
        if (i <= LEAD_MOST)
            cut = i;
        if ((s.p[i] == '*' || s.p[i] == '>') && (i + 1 == s.n || s.p[i + 1] == '.')) {
            *lead = slice_head(s, cut);
            return true;
        }
    }
    return false;
}

static int by_key(const void *a, const void *b)
{
    const struct overlap_entry *x = a, *y = b;
    return slice_cmp(x->key, y->key);
}

void overlap_init(struct overlap *o, const struct slice *at, size_t n, overlap_fn *meet)
{
    *o = (struct overlap){.meet = meet, .at = at, .n = n};
    if (!n)
        return;
    o->all = xmalloc(n * sizeof *o->all);
    o->wild = xmalloc(n * sizeof *o->wild);
    for (size_t i = 0; i < n; i++) {
        struct slice lead;
        o->all[i] = (struct overlap_entry){at[i], at[i], i};
        if (lead_of(at[i], &lead))
            o->wild[o->n_wild++] = (struct overlap_entry){lead, at[i], i};
    }
    qsort(o->all, n, sizeof *o->all, by_key);
    qsort(o->wild, o->n_wild, sizeof *o->wild, by_key);
}

void overlap_release(struct overlap *o)
{
    free(o->all);
    free(o->wild);
    *o = (struct overlap){0};
}

static size_t first_not_below(const struct overlap_entry *e, size_t n, struct slice key)
{
    size_t lo = 0;

    while (lo < n) {
        size_t mid = lo + (n - lo) / 2;
        if (slice_cmp(e[mid].key, key) < 0)
            lo = mid + 1;
        else
            n = mid;
    }
    return lo;
}

static void look(struct seek *k, const struct overlap_entry *e)
{
    size_t shorter = k->s.n < e->text.n ? k->s.n : e->text.n;

    k->o->looks++;
    if (e->place < k->from || e->place == k->except || e->place >= k->best)
        return;
    k->o->looks += shorter / BYTES_A_LOOK;
    if (k->o->meet(k->s, e->text))
        k->best = e->place;
}

/* The wildcards with this very lead. */
static void look_at_lead(struct seek *k, struct slice lead)
{
    const struct overlap *o = k->o;

    for (size_t i = first_not_below(o->wild, o->n_wild, lead);
         i < o->n_wild && slice_eq(o->wild[i].key, lead); i++)
        look(k, &o->wild[i]);
}

/* The wildcards whose lead is shorter than n bytes and begins s. */
static void look_before(struct seek *k, size_t n)
{
    if (!k->o->n_wild)
        return;
    for (size_t i = 0; i < n && i <= LEAD_MOST; i++)
        if (i == 0 || k->s.p[i - 1] == '.')
            look_at_lead(k, slice_head(k->s, i));
}

enum overlap_answer overlap_find(struct overlap *o, struct slice s, size_t from, size_t except,
                                 size_t *at)
{
    struct seek k = {o, s, from, except, OVERLAP_NONE};
    struct slice lead;
    bool wild = lead_of(s, &lead);
    struct slice key = wild ? lead : s;

    if (o->looks > OVERLAP_LOOKS_MAX)
        return OVERLAP_MANY;
    look_before(&k, wild ? lead.n : s.n + 1); /* "a." may have the lead "a." before it */
    for (size_t i = first_not_below(o->all, o->n, key);
         i < o->n && (wild ? slice_starts(o->all[i].key, key) : slice_eq(o->all[i].key, key)); i++)
        look(&k, &o->all[i]);
    *at = k.best;
    return k.best == OVERLAP_NONE ? OVERLAP_APART : OVERLAP_MEET;
}

enum overlap_answer overlap_first(struct overlap *o, size_t *i, size_t *k)
{
    bool mutual = o->meet == subject_overlap;
    enum overlap_answer answer = OVERLAP_APART;

    for (size_t at = 0; at < o->n && answer == OVERLAP_APART; at++) {
        answer = overlap_find(o, o->at[at], mutual ? at + 1 : 0, at, k);
        *i = at;
    }
    return answer;
}

bool overlap_apart(struct overlap *o, const struct slice *at, size_t n)
{
    bool apart = true;
    size_t place;

    for (size_t i = 0; i < n && apart; i++)
        apart = overlap_find(o, at[i], 0, OVERLAP_NONE, &place) == OVERLAP_APART;
    return apart;
}

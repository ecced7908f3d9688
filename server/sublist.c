/* server/sublist.c -- who wants this subject?
 *
 * A trie whose edges live in one hash table: (node, token) -> node. '*' and '>' are edges of their
 * own, two pointers in the node, so a published "foo.*" is plain text and finds only what it
 * should. One table instead of one per node keeps a million inboxes at about 250 bytes each (two
 * nodes of their own) and grows in steps without a pause.
 *
 *     ""──"orders"──"new"   sinks: A, B (queue Q: C, D)
 *              └──*         sinks: E
 *              └──>         sinks: F            match("orders.new") = A B E F, of Q one of C D
 *
 * In front stands a cache: subject -> struct match, counted, so whoever walks one may lose the
 * entry meanwhile.
 *
 * What always holds
 *   (1) a node exists while it has sinks or children; the root always;
 *   (2) a sink's `at` is its place in the array of its node, or of its group there: removal swaps
 *       the last one in;
 *   (3) a cache entry is right when its `epoch` is the list's: a change of a literal subject drops
 *       just that entry, a change of a wildcard moves the epoch on and all are stale at once;
 *   (4) every change moves the generation, which callers compare with match->generation;
 *   (5) a match stands on the first `reads` bytes of its subject, and where `tokens` is set on how
 *       many tokens follow: any other subject of that form has the same one (match_fits).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/sublist.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/subject.h"

#define CACHE_SLOTS     1024 /* direct-mapped: a subject has one place */
#define CACHE_SINKS_MAX 4096 /* larger results are not kept: they cost more memory than time */

struct sinks { /* one inline, more in an array */
    union {
        struct sink *one;
        struct sink **many;
    };
    uint32_t n, cap; /* cap 0: inline */
};

struct group {
    struct slice name; /* owned */
    struct sinks members;
};

struct node {
    struct node *parent;
    struct node *star, *tail; /* children '*' and '>' */
    uint64_t salt;            /* mixed into the hashes of the children's tokens */
    struct sinks plain;
    struct group *groups;
    uint32_t ngroups;
    uint32_t kids; /* children in the table, '*' and '>' */
    uint32_t token_n;
    char token[];
};

struct cached {
    struct match *match; /* NULL: free */
    uint64_t hash, epoch;
    struct slice subject; /* owned */
};

struct sublist {
    struct node *root;
    struct htab edges;
    struct cached *cache; /* CACHE_SLOTS, made with the first sink */
    uint64_t generation, epoch, salts;
    size_t count;
    struct sublist_stats stats;
};

/* --- a few sinks --------------------------------------------------------------------------------
 */

static inline struct sink **sinks_at(struct sinks *s)
{
    return s->cap ? s->many : &s->one;
}

static void sinks_add(struct sinks *s, struct sink *k)
{
    if (s->n == 1 && s->cap == 0) {
        struct sink *first = s->one;
        s->cap = 4;
        s->many = xmalloc(s->cap * sizeof *s->many);
        s->many[0] = first;
    } else if (s->cap && s->n == s->cap) {
        s->cap *= 2;
        s->many = xrealloc(s->many, s->cap * sizeof *s->many);
    }
    k->at = s->n;
    sinks_at(s)[s->n++] = k;
}

static void sinks_del(struct sinks *s, struct sink *k)
{
    struct sink **at = sinks_at(s), *last = at[s->n - 1];

    ASSERT(k->at < s->n && at[k->at] == k);
    at[k->at] = last;
    last->at = k->at;
    s->n--;
    if (s->cap && s->n <= 1) {
        last = s->n ? s->many[0] : NULL;
        free(s->many);
        s->cap = 0;
        s->one = last;
    } else if (s->cap > 16 && s->n < s->cap / 4) {
        s->cap /= 2;
        s->many = xrealloc(s->many, s->cap * sizeof *s->many);
    }
}

/* --- the trie -----------------------------------------------------------------------------------
 */

struct edge_key {
    const struct node *parent;
    struct slice token;
};

static bool edge_eq(const void *item, const void *key)
{
    const struct node *n = item;
    const struct edge_key *k = key;

    return n->parent == k->parent && n->token_n == k->token.n &&
           memcmp(n->token, k->token.p, k->token.n) == 0;
}

static inline uint64_t edge_hash(const struct node *parent, struct slice token)
{
    uint64_t h = (hash_slice(token) ^ parent->salt) * 0x9e3779b97f4a7c15u;

    return h ^ (h >> 29);
}

/* Children other than '*' and '>'. */
static inline bool has_names(const struct node *n)
{
    return n->kids > (n->star ? 1u : 0u) + (n->tail ? 1u : 0u);
}

static inline struct node *child(const struct sublist *sl, const struct node *parent,
                                 struct slice token)
{
    struct edge_key key = {parent, token};

    if (!has_names(parent))
        return NULL;
    return htab_get(&sl->edges, edge_hash(parent, token), edge_eq, &key);
}

static struct node *node_new(struct sublist *sl, struct node *parent, struct slice token)
{
    struct node *n = xcalloc(1, sizeof *n + token.n);

    n->parent = parent;
    n->salt = ++sl->salts * 0xbf58476d1ce4e5b9u;
    n->token_n = (uint32_t)token.n;
    memcpy(n->token, token.p, token.n);
    return n;
}

static struct node *grow(struct sublist *sl, struct node *parent, struct slice token)
{
    struct node *n;

    if (token.n == 1 && (*token.p == '*' || *token.p == '>')) {
        struct node **edge = *token.p == '*' ? &parent->star : &parent->tail;
        if (!*edge) {
            *edge = node_new(sl, parent, token);
            parent->kids++;
        }
        return *edge;
    }
    n = child(sl, parent, token);
    if (!n) {
        n = node_new(sl, parent, token);
        htab_put(&sl->edges, edge_hash(parent, token), n);
        parent->kids++;
    }
    return n;
}

/* Takes the node and its ancestors away as far as they are of no use any more. */
static void prune(struct sublist *sl, struct node *n)
{
    while (n->parent && n->kids == 0 && n->plain.n == 0 && n->ngroups == 0) {
        struct node *parent = n->parent;
        struct edge_key key = {parent, {n->token, n->token_n}};
        if (parent->star == n)
            parent->star = NULL;
        else if (parent->tail == n)
            parent->tail = NULL;
        else
            htab_del(&sl->edges, edge_hash(parent, key.token), edge_eq, &key);
        parent->kids--;
        free(n);
        n = parent;
    }
}

static struct group *find_group(struct node *n, struct slice name)
{
    for (uint32_t i = 0; i < n->ngroups; i++)
        if (slice_eq(n->groups[i].name, name))
            return &n->groups[i];
    return NULL;
}

static struct group *make_group(struct node *n, struct slice name)
{
    struct group *g = find_group(n, name);

    if (g)
        return g;
    n->groups = xrealloc(n->groups, (n->ngroups + 1) * sizeof *n->groups);
    g = &n->groups[n->ngroups++];
    *g = (struct group){.name = {slice_dup(name), name.n}};
    return g;
}

static void drop_group(struct node *n, struct group *g)
{
    free((char *)g->name.p);
    *g = n->groups[--n->ngroups];
    if (n->ngroups == 0) {
        free(n->groups);
        n->groups = NULL;
    }
}

/* --- the cache ----------------------------------------------------------------------------------
 */

static void forget(struct cached *c)
{
    if (!c->match)
        return;
    match_unref(c->match);
    free((char *)c->subject.p);
    c->match = NULL;
}

static inline struct cached *slot(const struct sublist *sl, uint64_t hash)
{
    return &sl->cache[hash & (CACHE_SLOTS - 1)];
}

/* Something about this pattern changed. */
static void changed(struct sublist *sl, struct slice pattern)
{
    sl->generation++;
    if (!sl->cache)
        return;
    if (subject_has_wildcard(pattern)) {
        sl->epoch++;
    } else {
        uint64_t hash = hash_slice(pattern);
        struct cached *c = slot(sl, hash);
        if (c->match && c->hash == hash)
            forget(c);
    }
}

/* --- in and out ---------------------------------------------------------------------------------
 */

struct sublist *sublist_new(void)
{
    struct sublist *sl = xcalloc(1, sizeof *sl);

    sl->root = node_new(sl, NULL, (struct slice){"", 0});
    htab_init(&sl->edges);
    sl->generation = 1;
    return sl;
}

void sublist_free(struct sublist *sl)
{
    if (!sl)
        return;
    ASSERT(sl->count == 0);
    for (size_t i = 0; sl->cache && i < CACHE_SLOTS; i++)
        forget(&sl->cache[i]);
    free(sl->cache);
    htab_release(&sl->edges);
    free(sl->root);
    free(sl);
}

int sublist_insert(struct sublist *sl, struct sink *s)
{
    struct node *n = sl->root;
    struct slice rest = s->subject;

    if (!subject_valid(s->subject))
        return E_SYNTAX;
    for (bool more = true; more;) {
        size_t dot = slice_find(rest, '.');
        more = dot < rest.n;
        n = grow(sl, n, slice_head(rest, dot));
        rest = slice_skip(rest, dot + 1);
    }
    s->node = n;
    sinks_add(s->queue.n ? &make_group(n, s->queue)->members : &n->plain, s);
    if (!sl->cache)
        sl->cache = xcalloc(CACHE_SLOTS, sizeof *sl->cache);
    changed(sl, s->subject);
    sl->count++;
    sl->stats.inserts++;
    return 0;
}

void sublist_remove(struct sublist *sl, struct sink *s)
{
    struct node *n = s->node;

    ASSERT(n);
    changed(sl, s->subject);
    if (s->queue.n) {
        struct group *g = find_group(n, s->queue);
        ASSERT(g);
        sinks_del(&g->members, s);
        if (g->members.n == 0)
            drop_group(n, g);
    } else {
        sinks_del(&n->plain, s);
    }
    s->node = NULL;
    prune(sl, n);
    htab_tidy(&sl->edges, 64);
    sl->count--;
    sl->stats.removes++;
}

/* --- matching -----------------------------------------------------------------------------------
 */

/* The nodes that match, found first; then one block of memory is cut for their sinks. */
struct hits {
    struct node **at;
    size_t n, cap;
    const char *read; /* behind the last byte that chose between children by their names */
    const char *star; /* the last token that a '*' took */
    struct node *few[32];
};

static void hit(struct hits *h, struct node *n)
{
    if (n->plain.n == 0 && n->ngroups == 0)
        return;
    if (h->n == h->cap) {
        struct node **more = xmalloc(h->cap * 2 * sizeof *more);
        memcpy(more, h->at, h->n * sizeof *more);
        if (h->at != h->few)
            free(h->at);
        h->at = more;
        h->cap *= 2;
    }
    h->at[h->n++] = n;
}

static void descend(const struct sublist *sl, struct node *n, struct slice rest, struct hits *h)
{
    for (;;) {
        size_t dot = slice_find(rest, '.');
        bool last = dot == rest.n;
        struct slice token = slice_head(rest, dot);
        if (n->tail)
            hit(h, n->tail);
        if (has_names(n) && token.p + dot > h->read)
            h->read = token.p + dot;
        rest = slice_skip(rest, dot + 1);
        if (n->star) {
            if (token.p > h->star)
                h->star = token.p;
            if (last)
                hit(h, n->star);
            else
                descend(sl, n->star, rest, h);
        }
        n = child(sl, n, token);
        if (!n)
            return;
        if (last) {
            hit(h, n);
            return;
        }
    }
}

/* An empty token matches nothing, not even '>'. */
static bool matchable(struct slice s)
{
    if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
        return false;
    for (const char *p = s.p; (p = memchr(p, '.', (size_t)(s.p + s.n - p))); p++)
        if (p[1] == '.')
            return false;
    return true;
}

static uint32_t count_tokens(struct slice s)
{
    uint32_t n = 1;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '.';
    return n;
}

/* What of the subject the match stands on: the tokens that chose between names, with their dot. A
 * '*' further behind has seen how many more there were. */
static void note_reads(struct match *m, const struct hits *h, struct slice subject)
{
    const char *end = subject.p + subject.n;

    m->reads = (uint32_t)subject.n;
    if (h->read == end)
        return;
    m->reads = h->read == subject.p ? 0 : (uint32_t)(h->read - subject.p) + 1;
    if (h->star >= subject.p + m->reads)
        m->tokens = count_tokens(slice_skip(subject, m->reads));
}

bool match_fits(const struct match *m, struct slice made_for, struct slice subject)
{
    uint32_t tokens = 1;
    char before = '.';

    if (subject.n < m->reads || memcmp(subject.p, made_for.p, m->reads) != 0)
        return false;
    if (m->reads == made_for.n)
        return subject.n == made_for.n;
    for (size_t i = m->reads; i < subject.n; i++) {
        char c = subject.p[i];
        if (c == '.') {
            if (before == '.')
                return false;
            tokens++;
        }
        before = c;
    }
    return before != '.' && (m->tokens == 0 || m->tokens == tokens);
}

/* Puts what is local to the front, links to the end; returns how many are local. */
static uint32_t local_first(struct sink **at, uint32_t n)
{
    uint32_t local = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct sink *k = at[i];
        if (k->owner && k->owner->link)
            continue;
        at[i] = at[local];
        at[local++] = k;
    }
    return local;
}

static struct queue_match *queue_slot(struct match *m, struct slice name)
{
    for (uint32_t i = 0; i < m->nqueues; i++)
        if (slice_eq(m->queues[i].name, name))
            return &m->queues[i];
    m->queues[m->nqueues] = (struct queue_match){.name = name};
    return &m->queues[m->nqueues++];
}

/* | struct match | queues | plain sinks | members, group by group | names of the groups | */
static struct match *assemble(struct hits *h)
{
    size_t plain = 0, groups = 0, members = 0, names = 0;
    struct sink **place;
    struct match *m;
    char *name;

    for (size_t i = 0; i < h->n; i++) {
        struct node *n = h->at[i];
        plain += n->plain.n;
        groups += n->ngroups;
        for (uint32_t g = 0; g < n->ngroups; g++) {
            members += n->groups[g].members.n;
            names += n->groups[g].name.n;
        }
    }
    m = xcalloc(1, sizeof *m + groups * sizeof *m->queues + (plain + members) * sizeof(void *) +
                       names);
    m->refs = 1;
    m->queues = (struct queue_match *)(void *)(m + 1);
    m->plain = place = (struct sink **)(void *)(m->queues + groups);
    name = (char *)(place + plain + members);
    for (size_t i = 0; i < h->n; i++) {
        struct node *n = h->at[i];
        memcpy(place, sinks_at(&n->plain), n->plain.n * sizeof(void *));
        place += n->plain.n;
        for (uint32_t g = 0; g < n->ngroups; g++)
            queue_slot(m, n->groups[g].name)->n += n->groups[g].members.n;
    }
    m->n = (uint32_t)plain;
    m->local = local_first(m->plain, m->n);
    for (uint32_t q = 0; q < m->nqueues; q++) { /* same name in several nodes: one group */
        struct queue_match *qm = &m->queues[q];
        qm->members = place;
        for (size_t i = 0; i < h->n; i++) {
            struct group *g = find_group(h->at[i], qm->name);
            if (!g)
                continue;
            memcpy(place, sinks_at(&g->members), g->members.n * sizeof(void *));
            place += g->members.n;
        }
        memcpy(name, qm->name.p, qm->name.n);
        qm->name.p = name;
        name += qm->name.n;
        qm->local = local_first(qm->members, qm->n);
    }
    return m;
}

static struct match *find(struct sublist *sl, struct slice subject)
{
    struct hits h = {.cap = ARRAY_LEN(h.few)};
    struct match *m;

    h.at = h.few;
    h.read = h.star = subject.p;
    if (matchable(subject))
        descend(sl, sl->root, subject, &h);
    else
        h.read = subject.p + subject.n;
    m = assemble(&h);
    m->generation = sl->generation;
    note_reads(m, &h, subject);
    if (h.at != h.few)
        free(h.at);
    return m;
}

struct match *sublist_match(struct sublist *sl, struct slice subject, bool cache)
{
    uint64_t hash;
    struct cached *c;

    sl->stats.matches++;
    if (!cache || !sl->cache)
        return find(sl, subject);
    hash = hash_slice(subject);
    c = slot(sl, hash);
    if (c->match && c->hash == hash && c->epoch == sl->epoch && slice_eq(c->subject, subject)) {
        sl->stats.cache_hits++;
        if (c->match->generation !=
            sl->generation) { /* right for this subject: others may differ */
            c->match->generation = sl->generation;
            c->match->reads = (uint32_t)subject.n;
            c->match->tokens = 0;
        }
    } else {
        struct match *m = find(sl, subject);
        size_t size = m->n;
        for (uint32_t i = 0; i < m->nqueues; i++)
            size += m->queues[i].n;
        if (size > CACHE_SINKS_MAX)
            return m;
        forget(c);
        *c = (struct cached){m, hash, sl->epoch, {slice_dup(subject), subject.n}};
    }
    c->match->refs++;
    return c->match;
}

void match_unref(struct match *m)
{
    if (m && --m->refs == 0)
        free(m);
}

/* --- questions ----------------------------------------------------------------------------------
 */

static bool wanted(struct node *n, struct slice queue)
{
    if (queue.n)
        return find_group(n, queue) != NULL;
    return n->plain.n || n->ngroups;
}

static bool anyone(const struct sublist *sl, struct node *n, struct slice rest, struct slice queue)
{
    for (;;) {
        size_t dot = slice_find(rest, '.');
        bool last = dot == rest.n;
        struct slice token = slice_head(rest, dot);
        if (n->tail && wanted(n->tail, queue))
            return true;
        rest = slice_skip(rest, dot + 1);
        if (n->star && (last ? wanted(n->star, queue) : anyone(sl, n->star, rest, queue)))
            return true;
        n = child(sl, n, token);
        if (!n)
            return false;
        if (last)
            return wanted(n, queue);
    }
}

bool sublist_has_interest(struct sublist *sl, struct slice subject, struct slice queue)
{
    return matchable(subject) && anyone(sl, sl->root, subject, queue);
}

bool sublist_has_listener(struct sublist *sl, struct slice subject, struct slice queue)
{
    struct node *n = sl->root;
    for (struct slice rest = subject; n && rest.n;) {
        size_t dot = slice_find(rest, '.');
        n = child(sl, n, slice_head(rest, dot));
        rest = slice_skip(rest, dot + 1);
    }
    return n && (queue.n ? find_group(n, queue) != NULL : n->plain.n > 0);
}

uint64_t sublist_generation(const struct sublist *sl)
{
    return sl->generation;
}

size_t sublist_count(const struct sublist *sl)
{
    return sl->count;
}

static void tell(struct node *n, void (*fn)(void *arg, struct sink *s), void *arg)
{
    for (uint32_t i = 0; i < n->plain.n; i++)
        fn(arg, sinks_at(&n->plain)[i]);
    for (uint32_t g = 0; g < n->ngroups; g++)
        for (uint32_t i = 0; i < n->groups[g].members.n; i++)
            fn(arg, sinks_at(&n->groups[g].members)[i]);
    if (n->star)
        tell(n->star, fn, arg);
    if (n->tail)
        tell(n->tail, fn, arg);
}

void sublist_each(struct sublist *sl, void (*fn)(void *arg, struct sink *s), void *arg)
{
    size_t pos = 0;
    struct node *n;

    tell(sl->root, fn, arg);
    while ((n = htab_next(&sl->edges, &pos)))
        tell(n, fn, arg);
}

void sublist_stats(const struct sublist *sl, struct sublist_stats *out)
{
    *out = sl->stats;
    out->count = sl->count;
    out->cache_size = out->fanout_max = out->fanout_sum = 0;
    for (size_t i = 0; sl->cache && i < CACHE_SLOTS; i++) {
        const struct cached *c = &sl->cache[i];
        if (!c->match || c->epoch != sl->epoch)
            continue;
        uint64_t fanout = c->match->n;
        for (uint32_t q = 0; q < c->match->nqueues; q++)
            fanout += c->match->queues[q].n;
        out->cache_size++;
        out->fanout_sum += fanout;
        if (fanout > out->fanout_max)
            out->fanout_max = fanout;
    }
}

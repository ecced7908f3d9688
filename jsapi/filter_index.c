/* jsapi/filter_index.c -- a trie of patterns
 *
 * A node is a prefix of tokens. It holds the items whose pattern ends here, those whose pattern
 * goes on with '>', a child for '*', and a table of children by literal token. Nodes without
 * anything in them are taken away.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "jsapi/filter_index.h"

#include <stdlib.h>

#include "base/mem.h"

struct item_list {
    void **at; /* owned */
    uint32_t n, cap;
};

struct filter_node {
    struct filter_node *parent;
    struct slice token;       /* owned; the last token of this prefix */
    uint64_t hash;            /* of token */
    struct htab children;     /* by literal token */
    struct filter_node *star; /* the child '*' */
    struct item_list here;    /* patterns that end here */
    struct item_list rest;    /* patterns that end in '>' after this prefix */
};

static struct slice next_token(struct slice *rest)
{
    size_t n = slice_find(*rest, '.');
    struct slice token = slice_head(*rest, n);
    *rest = slice_skip(*rest, n + 1);
    return token;
}

static bool token_eq(const void *item, const void *key)
{
    return slice_eq(((const struct filter_node *)item)->token, *(const struct slice *)key);
}

static void list_add(struct item_list *l, void *item)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 2;
        l->at = xrealloc(l->at, l->cap * sizeof *l->at);
    }
    l->at[l->n++] = item;
}

static void list_drop(struct item_list *l, const void *item)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->at[i] == item) {
            l->at[i] = l->at[--l->n];
            return;
        }
    ASSERT(false && "the pair is in the index");
}

static struct filter_node *node_new(struct filter_node *parent, struct slice token)
{
    struct filter_node *n = xcalloc(1, sizeof *n);
    n->parent = parent;
    n->token = (struct slice){slice_dup(token), token.n};
    n->hash = hash_slice(token);
    htab_init(&n->children);
    return n;
}

static void node_free(struct filter_node *n)
{
    htab_release(&n->children);
    free(n->here.at);
    free(n->rest.at);
    free((char *)n->token.p);
    free(n);
}

static struct filter_node *child(struct filter_node *n, struct slice token, bool make)
{
    if (slice_is(token, "*")) {
        if (!n->star && make)
            n->star = node_new(n, token);
        return n->star;
    }
    uint64_t hash = hash_slice(token);
    struct filter_node *c = htab_get(&n->children, hash, token_eq, &token);
    if (!c && make) {
        c = node_new(n, token);
        htab_put(&n->children, hash, c);
    }
    return c;
}

/* The list a pattern belongs to; *at: its node. */
static struct item_list *list_of(struct filter_index *ix, struct slice pattern, bool make,
                                 struct filter_node **at)
{
    struct filter_node *n = ix->root;
    while (n && pattern.n) {
        struct slice token = next_token(&pattern);
        if (slice_is(token, ">")) {
            *at = n;
            return &n->rest;
        }
        n = child(n, token, make);
    }
    *at = n;
    return n ? &n->here : NULL;
}

void filter_index_add(struct filter_index *ix, struct slice pattern, void *item)
{
    struct filter_node *n;
    if (!ix->root)
        ix->root = node_new(NULL, (struct slice){0});
    list_add(list_of(ix, pattern, true, &n), item);
    ix->count++;
}

static void prune(struct filter_index *ix, struct filter_node *n)
{
    while (n && !n->here.n && !n->rest.n && !n->star && !n->children.count) {
        struct filter_node *up = n->parent;
        if (!up)
            ix->root = NULL;
        else if (up->star == n)
            up->star = NULL;
        else
            htab_del(&up->children, n->hash, token_eq, &n->token);
        node_free(n);
        n = up;
    }
}

void filter_index_remove(struct filter_index *ix, struct slice pattern, void *item)
{
    struct filter_node *n;
    struct item_list *l = list_of(ix, pattern, false, &n);
    ASSERT(l);
    list_drop(l, item);
    ix->count--;
    prune(ix, n);
}

static bool tell(const struct item_list *l, filter_index_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!fn(arg, l->at[i]))
            return false;
    return true;
}

static bool walk(struct filter_node *n, struct slice subject, filter_index_fn *fn, void *arg)
{
    if (!subject.n)
        return tell(&n->here, fn, arg);
    if (!tell(&n->rest, fn, arg))
        return false;
    struct slice token = next_token(&subject);
    if (n->star && !walk(n->star, subject, fn, arg))
        return false;
    if (!n->children.count)
        return true;
    struct filter_node *c = htab_get(&n->children, hash_slice(token), token_eq, &token);
    return !c || walk(c, subject, fn, arg);
}

bool filter_index_match(const struct filter_index *ix, struct slice subject, filter_index_fn *fn,
                        void *arg)
{
    return !ix->root || walk(ix->root, subject, fn, arg);
}

static void free_tree(struct filter_node *n)
{
    if (n->star)
        free_tree(n->star);
    size_t pos = 0;
    for (struct filter_node *c; (c = htab_next(&n->children, &pos));)
        free_tree(c);
    node_free(n);
}

void filter_index_release(struct filter_index *ix)
{
    if (ix->root)
        free_tree(ix->root);
    *ix = (struct filter_index){0};
}

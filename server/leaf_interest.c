/* server/leaf_interest.c -- counts in, LS+ and LS- out; see leaf_interest.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/leaf_interest.h"

#include <stdlib.h>

#include "base/mem.h"

struct wanted {
    struct list changed; /* in leaf_interest.changed, or alone */
    uint64_t hash;
    uint32_t subject_n; /* the key is "subject" or "subject queue" */
    uint32_t key_n;
    int64_t count;     /* members that want it now */
    int64_t announced; /* what the peer was told; 0: nothing */
    char key[];
};

static bool has_queue(const struct wanted *w)
{
    return w->key_n > w->subject_n;
}

struct key {
    struct slice subject, queue;
};

static bool wanted_eq(const void *item, const void *key)
{
    const struct wanted *w = item;
    const struct key *k = key;
    size_t queue_n = has_queue(w) ? w->key_n - w->subject_n - 1 : 0;
    return slice_eq(slice_of(w->key, w->subject_n), k->subject) &&
           slice_eq(slice_of(w->key + w->key_n - queue_n, queue_n), k->queue);
}

static uint64_t key_hash(const struct key *k)
{
    return hash_slice(k->subject) ^ (k->queue.n ? hash_slice(k->queue) * 3 : 0);
}

void leaf_interest_init(struct leaf_interest *li)
{
    htab_init(&li->keys);
    list_init(&li->changed);
}

void leaf_interest_reset(struct leaf_interest *li)
{
    size_t pos = 0;
    for (struct wanted *w; (w = htab_next(&li->keys, &pos)) != NULL;)
        free(w);
    htab_release(&li->keys);
    leaf_interest_init(li);
}

static struct wanted *wanted_new(struct leaf_interest *li, const struct key *k, uint64_t hash)
{
    size_t n = k->subject.n + (k->queue.n ? 1 + k->queue.n : 0);
    struct wanted *w = xcalloc(1, sizeof *w + n);
    list_init(&w->changed);
    w->hash = hash;
    w->subject_n = (uint32_t)k->subject.n;
    w->key_n = (uint32_t)n;
    memcpy(w->key, k->subject.p, k->subject.n);
    if (k->queue.n) {
        w->key[k->subject.n] = ' ';
        memcpy(w->key + k->subject.n + 1, k->queue.p, k->queue.n);
    }
    htab_put(&li->keys, hash, w);
    return w;
}

/* What the peer should have been told for this count. */
static int64_t target(const struct wanted *w)
{
    if (w->count <= 0)
        return 0;
    return has_queue(w) ? w->count : 1;
}

void leaf_interest_change(struct leaf_interest *li, struct slice subject, struct slice queue,
                          int32_t by)
{
    struct key k = {subject, queue};
    uint64_t hash = key_hash(&k);
    struct wanted *w = htab_get(&li->keys, hash, wanted_eq, &k);
    if (!w) {
        if (by <= 0)
            return;
        w = wanted_new(li, &k, hash);
    }
    w->count += by;
    if (w->count < 0)
        w->count = 0;
    if (target(w) == w->announced)
        list_unlink(&w->changed);
    else if (list_empty(&w->changed))
        list_push_back(&li->changed, &w->changed);
    if (w->count == 0 && w->announced == 0) {
        htab_del(&li->keys, hash, wanted_eq, &k);
        list_unlink(&w->changed);
        free(w);
    }
}

static void write_line(const struct wanted *w, int64_t weight, struct buf *out)
{
    buf_add(out, weight ? "LS+ " : "LS- ", 4);
    buf_add(out, w->key, w->key_n);
    if (weight && has_queue(w)) {
        buf_add_char(out, ' ');
        buf_add_u64(out, (uint64_t)(weight > INT32_MAX ? INT32_MAX : weight));
    }
    buf_add(out, "\r\n", 2);
}

void leaf_interest_flush(struct leaf_interest *li, struct buf *out)
{
    for (struct list *e; (e = list_pop(&li->changed)) != NULL;) {
        struct wanted *w = LIST_ENTRY(e, struct wanted, changed);
        w->announced = target(w);
        write_line(w, w->announced, out);
        if (w->announced == 0) {
            struct slice key = slice_of(w->key, w->key_n);
            struct key k = {slice_head(key, w->subject_n),
                            slice_skip(key, w->subject_n + (size_t)has_queue(w))};
            htab_del(&li->keys, w->hash, wanted_eq, &k);
            free(w);
        }
    }
}

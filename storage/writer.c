/* storage/writer.c -- see writer.h
 *
 *     loop      give ──────────────► │ wait for a batch
 *                                    │ begin; blocks; journal; rows; trim; commit
 *     back ◄──── mail ◄───────────── │ hand it back
 *
 * One lock guards `given` and `finished`, nothing else is shared. The transaction is one sticky row
 * of steps: whatever fails, the batch comes back with the first error and nothing of it is in the
 * file.
 *
 * The mail that announces a finished batch may still be in the loop's queue when the store closes,
 * so it carries a small bell of its own, which outlives the writer and is freed by the last mail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/writer.h"

#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/mem.h"
#include "storage/blocks.h"
#include "storage/holes.h"
#include "storage/journal.h"
#include "storage/salvage.h"

enum { TRIM_MOST = 2048 };

struct bell {
    struct list link;     /* in `silent` after the writer's end */
    writer_back_fn *back; /* NULL: the writer is gone */
    void *arg;
    unsigned mails; /* not arrived yet; loop thread, see writer_stop() */
};

/* Bells whose last mail has not arrived. */
static struct list silent = LIST_INIT(silent);

struct writer {
    struct db *db;
    const struct turn *turn;
    struct bell *bell;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;    /* given, finished or stop changed */
    struct batch *given;    /* the writer's */
    struct batch *finished; /* the loop's */
    bool stop;
    bool busy;              /* the loop's own note: between give and take */
    struct journal_out out; /* the writer's: its buffer is kept */
    char *erase_room;       /* for one block being rewritten */
};

/* --- blocks ---------------------------------------------------------------------------------- */

/* The whole value of a small block, or of one that fills its chunk: header, records, directory. The
 * gap between records and directory is never read: while the chunk is open the loop writes there.
 */
static void put_small(struct txn *t, const struct part *p)
{
    const struct block *b = &p->block;
    size_t dir = 4 * (size_t)b->n, n = b->used + dir;
    const char *dir_end = b->p + b->size;
    bool whole =
        b->size - n < 4096; /* always sixteen pages: no search for a run of another length */
    size_t size = whole ? b->size : n;
    struct key k;
    key_block(&k, p->sid, b->first_seq);
    char *to = txn_reserve(t, DB_BLOCKS, key_slice(&k), size, false);
    if (!to)
        return;
    memcpy(to + BLOCK_HEAD, b->p + BLOCK_HEAD, b->used - BLOCK_HEAD);
    memset(to + b->used, 0, size - n);
    memcpy(to + size - dir, dir_end - dir, dir);
    block_head_write(to, b, p->sid, dir_end);
}

/* One large record: the value is cut so that every piece is sixteen pages. */
static void put_parts(struct txn *t, const struct part *p)
{
    const struct block *b = &p->block;
    char head[BLOCK_HEAD];
    block_head_write(head, b, p->sid, b->p + b->size);
    unsigned i = 0;
    for (size_t at = 0; at < b->size; at += BLOCK_SIZE, i++) {
        size_t n = b->size - at < BLOCK_SIZE ? b->size - at : BLOCK_SIZE;
        struct key k;
        key_block_part(&k, p->sid, b->first_seq, i);
        char *to = txn_reserve(t, DB_BLOCKS, key_slice(&k), n, false);
        if (!to)
            return;
        memcpy(to, b->p + at, n);
        if (i == 0)
            memcpy(to, head, BLOCK_HEAD);
    }
}

static void put_block(struct txn *t, const struct part *p)
{
    if (p->block.flags & BLOCK_PARTS)
        put_parts(t, p);
    else
        put_small(t, p);
}

/* --- changes --------------------------------------------------------------------------------- */

static void trim_blocks(struct txn *t, uint32_t sid, uint64_t below, uint32_t most)
{
    struct key from;
    struct walk w;
    bool dying = false; /* the parts that follow belong to a block being deleted */
    key_block(&from, sid, 0);
    bool on = walk_seek(&w, t, DB_BLOCKS, key_slice(&from));
    for (; on && most; on = walk_next(&w)) {
        uint64_t first;
        unsigned part;
        if (!key_is_block(w.key, sid, &first, &part))
            break;
        if (!part) {
            if (first >= below || block_end(t, sid, first, w.value) >= below)
                break;
            most--;
            dying = true;
        } else if (first >= below) { /* parts without a head: nobody can read them */
            break;
        }
        walk_del(&w);
    }
    /* A block in parts must not lose only its head. */
    for (uint64_t first; on && dying; on = walk_next(&w)) {
        unsigned part;
        if (!key_is_block(w.key, sid, &first, &part) || !part)
            break;
        walk_del(&w);
    }
    walk_end(&w);
}

/* Rows of holes whose numbers all lie below. */
static void trim_holes(struct txn *t, uint32_t sid, uint64_t below)
{
    struct key from;
    struct walk w;
    struct holes h;
    uint64_t page;
    key_hole(&from, sid, 0);
    bool on = walk_seek(&w, t, DB_HOLES, key_slice(&from));
    for (; on && key_is_hole(w.key, sid, &page) && page < below / HOLE_PAGE; on = walk_next(&w)) {
        holes_init(&h);
        bool ends_below = holes_row_load(&h, sid, page, w.value) == 0 &&
                          (!h.n || h.at[h.n - 1].page + h.at[h.n - 1].pages <= below / HOLE_PAGE);
        holes_release(&h);
        if (ends_below)
            walk_del(&w);
    }
    walk_end(&w);
}

static void wipe(struct txn *t, enum db_table table, uint32_t sid, uint32_t most)
{
    struct key from;
    struct walk w;
    key_stream(&from, sid);
    bool on = walk_seek(&w, t, table, key_slice(&from));
    for (; on && most && key_of_stream(w.key, sid); most--, on = walk_next(&w))
        walk_del(&w);
    walk_end(&w);
}

/* How many bytes of the block are the record's: what it says when it is sound, else all up to the
 * next one. */
static size_t extent(const struct block *b, uint32_t sid, uint64_t seq, const char *p, size_t room)
{
    struct record r;
    if (record_read(p, room, &r) == 0 && record_sound(p, sid, seq))
        return r.len;
    uint64_t next = block_next(b, seq + 1);
    const char *end = next ? block_record(b, next, &room) : p + room;
    return end > p ? (size_t)(end - p) : 0;
}

/* Overwrites everything of the record but its frame; directory, neighbours and numbers stay. In a
 * block whose frame is damaged the record is looked for. */
static void blank(char *block, size_t size, uint32_t sid, uint64_t first, uint64_t seq)
{
    struct slice value = slice_of(block, size);
    struct buf copy = BUF_INIT;
    struct block b;
    size_t room = 0, n;
    bool sound = block_read(value, sid, first, &b) == 0 ||
                 salvage_block(value, sid, first, seq + 1, &copy, &b) == 0;
    const char *at = sound ? block_record(&b, seq, &room) : NULL;
    if (at && (n = extent(&b, sid, seq, at, room)) >= RECORD_HEAD) {
        le32(block + (at - b.p), (uint32_t)n);
        record_blank(block + (at - b.p), sid, seq);
    }
    buf_release(&copy);
}

static void erase_parts(struct txn *t, uint32_t sid, uint64_t first)
{
    static const char zero[BLOCK_SIZE];
    for (unsigned i = 1;; i++) {
        struct key k;
        struct slice v;
        key_block_part(&k, sid, first, i);
        if (!txn_get(t, DB_BLOCKS, key_slice(&k), &v))
            break;
        size_t n = v.n < sizeof zero ? v.n : sizeof zero;
        char *to = txn_reserve(t, DB_BLOCKS, key_slice(&k), n, false);
        if (to)
            memcpy(to, zero, n);
    }
}

static void erase(struct writer *w, struct txn *t, uint32_t sid, uint64_t seq)
{
    struct key k;
    struct walk at;
    struct block b;
    uint64_t first = 0;
    unsigned part = 0;
    key_block(&k, sid, seq);
    bool on = walk_seek_back(&at, t, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(at.key, sid, &first, &part) && part)
        on = walk_prev(&at);
    bool found =
        on && key_is_block(at.key, sid, &first, &part) && block_end(t, sid, first, at.value) >= seq;
    bool large = found && block_peek(at.value, first, &b) == 0 && block_is_large(&b);
    size_t n = found ? at.value.n : 0;
    if (found && n <= BLOCK_SIZE)
        memcpy(w->erase_room, at.value.p, n);
    walk_end(&at);
    if (!found || n > BLOCK_SIZE)
        return;
    if (large) { /* its only record: the whole value but the header goes */
        memset(w->erase_room + BLOCK_HEAD, 0, n - BLOCK_HEAD);
        erase_parts(t, sid, first);
    } else {
        blank(w->erase_room, n, sid, first, seq);
    }
    key_block(&k, sid, first);
    txn_put(t, DB_BLOCKS, key_slice(&k), slice_of(w->erase_room, n));
}

static void apply_change(struct writer *w, struct txn *t, enum change what, enum db_table table,
                         struct slice key, struct slice value)
{
    switch (what) {
    case CHANGE_PUT:
        txn_put(t, table, key, value);
        return;
    case CHANGE_DEL:
        txn_del(t, table, key);
        return;
    case CHANGE_TRIM:
        trim_blocks(t, rd32(key.p), rd64(value.p), rd32(value.p + 8));
        trim_holes(t, rd32(key.p), rd64(value.p));
        return;
    case CHANGE_WIPE:
        wipe(t, table, rd32(key.p), rd32(value.p));
        return;
    case CHANGE_ERASE:
        erase(w, t, rd32(key.p), rd64(value.p));
        return;
    }
}

/* Subjects' rows come by the thousand, neighbours side by side. */
static void apply_changes(struct writer *w, struct txn *t, struct slice changes)
{
    struct txn_run rows = {0};
    while (changes.n && !t->err) {
        unsigned klen = rd16(changes.p + 2);
        uint32_t vlen = rd32(changes.p + 4);
        enum change what = (enum change)changes.p[0];
        enum db_table table = (enum db_table)changes.p[1];
        struct slice key = slice_of(changes.p + 8, klen),
                     value = slice_of(changes.p + 8 + klen, vlen);
        if (what == CHANGE_PUT && table == DB_SUBJECTS) {
            run_put(&rows, t, table, key, value);
        } else {
            run_end(&rows);
            apply_change(w, t, what, table, key, value);
        }
        changes = slice_skip(changes, 8 + klen + vlen);
    }
    run_end(&rows);
}

/* --- the commit ------------------------------------------------------------------------------ */

static void commit(struct writer *w, struct batch *b)
{
    int64_t began = clock_mono_exact();
    struct txn t;
    txn_begin(w->db, &t);
    for (size_t i = 0; i < b->nparts; i++)
        if (b->parts[i].store && b->parts[i].block.n)
            put_block(&t, &b->parts[i]);
    journal_write(&w->out, &t, b);
    apply_changes(w, &t, buf_slice(&b->changes));
    if (b->trim_below)
        journal_trim(&t, b->trim_below, TRIM_MOST);
    b->err = txn_commit(&t);
    b->journal_bytes = w->out.written;
    b->took_ns = clock_mono_exact() - began;
}

static void ring(void *arg)
{
    struct bell *bell = arg;
    bell->mails--;
    if (bell->back)
        bell->back(bell->arg);
    else if (!bell->mails) {
        list_unlink(&bell->link);
        free(bell);
    }
}

static void *run(void *arg)
{
    struct writer *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct batch *b = w->given;
        if (!b) {
            pthread_cond_wait(&w->news, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        commit(w, b);
        pthread_mutex_lock(&w->lock);
        w->given = NULL;
        w->finished = b;
        pthread_cond_broadcast(&w->news);
        pthread_mutex_unlock(&w->lock); /* whom the mail wakes wants the lock at once */
        w->turn->mail(w->turn->loop, ring, w->bell);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int writer_start(struct db *db, const struct turn *turn, writer_back_fn *back, void *arg,
                 struct writer **out)
{
    struct writer *w = xcalloc(1, sizeof *w);
    w->db = db;
    w->turn = turn;
    w->bell = xcalloc(1, sizeof *w->bell);
    list_init(&w->bell->link);
    w->bell->back = back;
    w->bell->arg = arg;
    w->erase_room = xmalloc(BLOCK_SIZE);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->news, NULL);
    sigset_t all, old;
    sigfillset(&all); /* signals are the loop's business */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        free(w->bell);
        free(w->erase_room);
        free(w);
        return E_SYS;
    }
    *out = w;
    return 0;
}

void writer_give(struct writer *w, struct batch *b)
{
    ASSERT(!w->busy);
    w->busy = true;
    w->bell->mails++;
    pthread_mutex_lock(&w->lock);
    w->given = b;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->news); /* only the thread can be waiting: we are the other one */
}

struct batch *writer_take(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    struct batch *b = w->finished;
    w->finished = NULL;
    pthread_mutex_unlock(&w->lock);
    if (b)
        w->busy = false;
    return b;
}

bool writer_busy(const struct writer *w)
{
    return w->busy;
}

void writer_wait(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->given)
        pthread_cond_wait(&w->news, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void writer_stop(struct writer *w)
{
    ASSERT(!w->busy);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    if (w->bell->mails) {
        w->bell->back = NULL;
        list_push_back(&silent, &w->bell->link);
    } else {
        free(w->bell);
    }
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->news);
    buf_release(&w->out.value);
    free(w->erase_room);
    free(w);
}

/* storage/reader.c -- see reader.h
 *
 * Chunks hold the newest numbers, the file all others; where both have a block, memory is asked
 * first. The current block is kept, so neighbours cost one directory entry each. Of a block of the
 * file whose header or directory fails its checksum the sound records are read all the same
 * (salvage.h); a record that fails, or is missing while its number lives, is reported and passed
 * over. Nothing in the file is ever deleted or rebuilt because of it.
 *
 * A search by key believes what is sound. Where it meets damage its keys may have led it anywhere:
 * then all blocks are looked at, in the order they lie in, until the right one is found. That costs
 * a look at the whole stream, so a block that was rescued once is asked first, the next time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/reader.h"

#include <sys/mman.h>

#include "base/log.h"
#include "storage/blocks.h"
#include "storage/salvage.h"
#include "storage/store.h"

enum { MMAP_PAGE = 4096 };

void reader_init(struct reader *r, struct stream *s)
{
    *r = (struct reader){.s = s};
}

void reader_end(struct reader *r)
{
    if (r->view)
        view_close(r->s->st->db);
    buf_release(&r->whole);
    buf_release(&r->mended);
    *r = (struct reader){0};
}

/* Lets the pages of a block go that a long read has passed; they stay in the page cache. */
static void pass(struct reader *r)
{
    if (!r->have || !r->mapped || !r->give_back)
        return;
    uintptr_t from = ((uintptr_t)r->cur.p + MMAP_PAGE - 1) & ~(uintptr_t)(MMAP_PAGE - 1);
    uintptr_t to = ((uintptr_t)r->cur.p + r->cur.size) & ~(uintptr_t)(MMAP_PAGE - 1);
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

static bool use_chunk(struct reader *r, size_t i)
{
    pass(r);
    r->cur = chunk_block(stream_chunk(r->s, i));
    r->have = true;
    r->in_file = r->mapped = false;
    return true;
}

void stream_report_damage(struct stream *s, uint64_t seq)
{
    if (!holes_set(&s->damaged, seq))
        return;
    s->st->stats.damaged++;
    log_warn("Stream '%.*s': message %llu is damaged and skipped", SLICE_FMT(s->spec.name),
             (unsigned long long)seq);
    if (s->st->host.damaged)
        s->st->host.damaged(s->st->host.arg, s, seq);
}

/* A block whose later parts have keys of their own is put together in r->whole. */
static void join_parts(struct reader *r, uint64_t first, struct slice head)
{
    struct walk w;
    struct key k;
    unsigned want = 1, part;
    uint64_t of;
    buf_clear(&r->whole);
    buf_add_slice(&r->whole, head);
    key_block_part(&k, r->s->sid, first, 1);
    bool on = walk_seek(&w, r->view, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(w.key, r->s->sid, &of, &part) && of == first && part == want++) {
        buf_add_slice(&r->whole, w.value);
        on = walk_next(&w);
    }
    walk_end(&w);
}

/* The block's header or directory is damaged, or its key is: what is sound of it. The one before it
 * ends before `low`. */
static bool rescue(struct reader *r, uint64_t first, uint64_t low, struct slice value)
{
    struct stream *s = r->s;
    struct buf whole = BUF_INIT;
    uint64_t next = block_after(r->view, s->sid, first);
    uint64_t limit = next > low ? next : s->now.last_seq + 1;
    bool any = !holes_test(&s->hopeless, first) &&
               (salvage_block(value, s->sid, low, limit, &whole, &r->cur) == 0 ||
                salvage_block(value, s->sid, first, limit, &whole, &r->cur) == 0);
    if (!any)
        (void)holes_set(&s->hopeless, first);
    buf_release(&r->whole); /* value may lie in it */
    r->whole = whole;
    r->have = any;
    if (any && holes_set(&s->rescued, first))
        log_warn("Stream '%.*s': the block of message %llu is damaged; %u messages of it are sound",
                 SLICE_FMT(s->spec.name), (unsigned long long)first, r->cur.n);
    if (!any && first >= s->now.first_seq && first <= s->now.last_seq)
        stream_report_damage(s, first);
    return any;
}

/* The same for a block that was rescued before, when seq lies between two of its sound messages:
 * then it is the one, whatever keys say, and nobody has to look at all the others again. */
static bool rescue_known(struct reader *r, uint64_t first, uint64_t seq, struct slice value)
{
    struct buf whole = BUF_INIT;
    struct block b;
    if (!holes_test(&r->s->rescued, first))
        return false;
    uint64_t next = block_after(r->view, r->s->sid, first);
    uint64_t limit = next > first ? next : r->s->now.last_seq + 1;
    bool found = salvage_block(value, r->s->sid, first, limit, &whole, &b) == 0 &&
                 block_next(&b, 0) <= seq && seq <= b.last_seq;
    if (!found) {
        buf_release(&whole);
        return false;
    }
    buf_release(&r->whole); /* value may lie in it */
    r->whole = whole;
    r->cur = b;
    r->have = true;
    return true;
}

/* Removals and questions of one turn are often about neighbours, each with a reader of its own. */
static void remember(struct reader *r)
{
    r->s->recent = r->cur;
    r->s->recent_view = view_number(r->s->st->db);
}

/* Takes the block that was taken last, when it holds seq and the view is still that one. */
static bool recall(struct reader *r, uint64_t seq)
{
    const struct stream *s = r->s;
    if (s->recent_view != view_number(s->st->db) || seq < s->recent.first_seq ||
        seq > s->recent.last_seq)
        return false;
    pass(r);
    r->cur = s->recent;
    r->have = r->in_file = r->mapped = true;
    return true;
}

enum block_is { BLOCK_SOUND, BLOCK_ERASED, BLOCK_DAMAGED };

/* Takes the block w stands on, when it is sound; *value: all of it. */
static enum block_is use_block(struct reader *r, struct walk *w, uint64_t first,
                               struct slice *value)
{
    struct block peek;
    bool parts = block_peek(w->value, first, &peek) == 0 && (peek.flags & BLOCK_PARTS);
    *value = w->value;
    pass(r);
    if (parts) {
        join_parts(r, first, w->value);
        *value = buf_slice(&r->whole);
    }
    r->have = block_read(*value, r->s->sid, first, &r->cur) == 0;
    r->in_file = true;
    r->mapped = r->have && !parts;
    if (r->mapped)
        remember(r);
    if (r->have)
        return BLOCK_SOUND;
    if (parts)
        stream_load_holes(r->s); /* recovery comes by before others */
    return parts && holes_test(&r->s->holes, first) ? BLOCK_ERASED : BLOCK_DAMAGED;
}

static bool need_view(struct reader *r)
{
    if (!r->view && !r->s->memory)
        r->view = view_open(r->s->st->db);
    return r->view != NULL;
}

/* --- where keys can't be trusted -------------------------------------------------------------- */

/* A walk over all blocks of a stream in the order they lie in, which is that of their messages,
 * whatever their keys say. */
struct roll {
    struct walk w;
    bool on;
    uint32_t sid;
    unsigned strangers; /* rows that are not ours: one may have been */
    uint64_t first;     /* its key says */
    uint64_t low;       /* numbers up to here were before it */
    unsigned place;     /* how many blocks, with this one */
};

static void roll_begin(struct roll *x, struct txn *view, uint32_t sid)
{
    struct key k;
    *x = (struct roll){.sid = sid};
    key_block(&k, sid, 0);
    x->on = walk_seek(&x->w, view, DB_BLOCKS, key_slice(&k));
    while (x->on && key_of_stream(x->w.key, sid) && walk_prev(&x->w))
        ;
}

/* The next block; false: there is none. */
static bool roll_on(struct roll *x)
{
    unsigned part = 0;
    for (; x->on && x->strangers < 3; x->on = walk_next(&x->w)) {
        if (!key_is_block(x->w.key, x->sid, &x->first, &part))
            x->strangers++;
        else if (!part)
            break;
    }
    return x->on && x->strangers < 3;
}

/* Takes what is sound of it. */
static bool roll_take(struct reader *r, struct roll *x)
{
    struct slice value;
    if (use_block(r, &x->w, x->first, &value) == BLOCK_DAMAGED)
        (void)rescue(r, x->first, x->low + 1, value);
    if (r->have && r->cur.last_seq > x->low)
        x->low = r->cur.last_seq;
    return r->have;
}

/* Takes the first block that ends at seq or later; back: says in *best which is the last one that
 * begins at seq or before. stop: takes that one. */
static bool roll_to(struct reader *r, uint64_t seq, bool back, unsigned stop, unsigned *best)
{
    struct roll x;
    struct block peek;
    bool found = false, give_back = r->give_back;
    r->give_back = false; /* they are looked at, not read */
    for (roll_begin(&x, r->view, r->s->sid); !found && roll_on(&x); x.on = walk_next(&x.w)) {
        bool large = block_peek(x.w.value, x.first, &peek) == 0 && block_is_large(&peek);
        bool passed = ++x.place != stop && large && (back || x.first < seq);
        uint64_t begins = x.first;
        if (passed) { /* not put together for nothing */
            x.low = x.first > x.low ? x.first : x.low;
        } else if (roll_take(r, &x)) {
            begins = block_next(&r->cur, 0);
            found = x.place == stop || (!back && r->cur.last_seq >= seq);
        } else {
            continue;
        }
        if (begins <= seq)
            *best = x.place;
    }
    walk_end(&x.w);
    r->give_back = give_back;
    return found;
}

/* Damage has put a block under a key that is out of order, or its head lies: a search may have led
 * anywhere. */
static bool seek_astray(struct reader *r, uint64_t seq, bool back)
{
    unsigned best = 0;
    bool found = roll_to(r, seq, back, 0, &best);
    if (back && best)
        found = roll_to(r, seq, true, best, &best);
    r->have &= found;
    return found;
}

/* --- seeking --------------------------------------------------------------------------------- */

enum seek { SEEK_NOTHING, SEEK_FOUND, SEEK_ASTRAY };

/* The walk has met a key that is no block's of the stream: its end, or a row that was one. */
static enum seek met(const struct walk *w, bool on)
{
    return on && !key_may_be_block(w->key) ? SEEK_ASTRAY : SEEK_NOTHING;
}

/* Stands on the 12-byte key of the block that may hold seq, going back. */
static bool block_before(struct walk *w, uint32_t sid, bool *on, uint64_t *first)
{
    unsigned part = 0;
    while (*on && key_is_block(w->key, sid, first, &part) && part)
        *on = walk_prev(w);
    return *on && key_is_block(w->key, sid, first, &part) && !part;
}

/* The last block that begins at seq or before. */
static enum seek seek_before(struct reader *r, uint64_t seq)
{
    struct key k;
    struct walk w;
    struct slice value = {0};
    uint64_t first = 0;
    enum seek said = SEEK_NOTHING;
    key_block(&k, r->s->sid, seq);
    bool on = walk_seek_back(&w, r->view, DB_BLOCKS, key_slice(&k));
    while (said == SEEK_NOTHING && block_before(&w, r->s->sid, &on, &first)) {
        enum block_is is = first > seq ? BLOCK_DAMAGED : use_block(r, &w, first, &value);
        if (is == BLOCK_ERASED)
            on = walk_prev(&w);
        else
            said = is == BLOCK_SOUND || (first <= seq && rescue_known(r, first, seq, value))
                       ? SEEK_FOUND
                       : SEEK_ASTRAY;
    }
    if (said == SEEK_NOTHING)
        said = met(&w, on);
    walk_end(&w);
    return said;
}

/* The first block that begins at seq or after. */
static enum seek seek_after(struct reader *r, uint64_t seq)
{
    struct key k;
    struct walk w;
    struct slice value;
    uint64_t first = 0;
    unsigned part;
    enum seek said = SEEK_NOTHING;
    key_block(&k, r->s->sid, seq);
    bool on = walk_seek(&w, r->view, DB_BLOCKS, key_slice(&k));
    for (; said == SEEK_NOTHING && on && key_is_block(w.key, r->s->sid, &first, &part);
         on = walk_next(&w)) {
        enum block_is is = part          ? BLOCK_ERASED
                           : first < seq ? BLOCK_DAMAGED
                                         : use_block(r, &w, first, &value);
        if (is != BLOCK_ERASED)
            said = is == BLOCK_SOUND ? SEEK_FOUND : SEEK_ASTRAY;
    }
    if (said == SEEK_NOTHING)
        said = met(&w, on);
    walk_end(&w);
    return said;
}

/* No block holds seq: is that so, or has LMDB lost its way? */
static bool is_gap(struct reader *r, uint64_t seq)
{
    struct key k;
    key_block(&k, r->s->sid, seq);
    return view_path_sound(r->view, DB_BLOCKS, key_slice(&k));
}

/* A block that is sound and holds seq is the one; where there is none, the way there and both of
 * its neighbours must be sound to be believed. */
static bool seek_file(struct reader *r, uint64_t seq)
{
    if (!need_view(r))
        return false;
    if (recall(r, seq))
        return true;
    enum seek said = seek_before(r, seq);
    if (said == SEEK_FOUND && r->cur.last_seq >= seq)
        return true;
    if (!is_gap(r, seq))
        return false;
    if (said != SEEK_ASTRAY)
        said = seek_after(r, seq);
    return said == SEEK_FOUND || (said == SEEK_ASTRAY && seek_astray(r, seq, false));
}

static uint64_t first_in_memory(const struct stream *s)
{
    return stream_chunks(s) ? stream_chunk(s, 0)->first_seq : UINT64_MAX;
}

bool reader_seek(struct reader *r, uint64_t seq)
{
    if (r->have && r->in_file && seq >= r->cur.first_seq && seq <= r->cur.last_seq)
        return true;
    if (seq < first_in_memory(r->s) && !r->s->memory && seek_file(r, seq) &&
        r->cur.first_seq < first_in_memory(r->s))
        return true;
    size_t i = stream_find_chunk(r->s, seq);
    if (i < stream_chunks(r->s))
        return use_chunk(r, i);
    r->have = false;
    return false;
}

/* The block that holds seq or the last one before it. */
static bool seek_back(struct reader *r, uint64_t seq)
{
    if (r->have && r->in_file && seq >= r->cur.first_seq && seq <= r->cur.last_seq)
        return true;
    if (seq >= first_in_memory(r->s)) {
        size_t i = stream_find_chunk(r->s, seq);
        if (i == stream_chunks(r->s) || stream_chunk(r->s, i)->first_seq > seq)
            i--;
        return use_chunk(r, i);
    }
    if (r->s->memory || !need_view(r))
        return false;
    if (recall(r, seq))
        return true;
    enum seek said = seek_before(r, seq);
    if (said == SEEK_FOUND && r->cur.last_seq >= seq)
        return true;
    if (!is_gap(r, seq))
        return false;
    if (said != SEEK_ASTRAY && seek_after(r, seq) == SEEK_ASTRAY)
        said = SEEK_ASTRAY;
    else if (said == SEEK_FOUND)
        said = seek_before(r, seq); /* the look behind it took another */
    return said == SEEK_FOUND || (said == SEEK_ASTRAY && seek_astray(r, seq, true));
}

uint64_t reader_next(struct reader *r, uint64_t seq)
{
    while (reader_seek(r, seq)) {
        uint64_t next = block_next(&r->cur, seq);
        if (next)
            return next;
        if (r->cur.last_seq == UINT64_MAX)
            break;
        seq = r->cur.last_seq + 1;
    }
    return 0;
}

uint64_t reader_prev(struct reader *r, uint64_t seq)
{
    while (seq && seek_back(r, seq)) {
        uint64_t prev = block_prev(&r->cur, seq);
        if (prev)
            return prev;
        seq = r->cur.first_seq - 1;
    }
    return 0;
}

int reader_get(struct reader *r, uint64_t seq, bool check, struct record *rec)
{
    size_t room;
    if (!reader_seek(r, seq) || seq < r->cur.first_seq)
        return r->view && r->view->err ? E_CORRUPT : E_NOTFOUND;
    const char *p = block_record(&r->cur, seq, &room);
    if (!p)
        return E_NOTFOUND;
    if (record_read(p, room, rec) || (check && r->in_file && !record_sound(p, r->s->sid, seq))) {
        stream_report_damage(r->s, seq);
        return E_CORRUPT;
    }
    return rec->flags & RECF_SKIP ? E_NOTFOUND : 0;
}

int reader_know(struct reader *r, uint64_t seq, struct record *rec)
{
    size_t room;
    int err = reader_get(r, seq, true, rec);
    if (err != E_CORRUPT)
        return err;
    const char *p = block_record(&r->cur, seq, &room);
    if (!p || !salvage_record(slice_of(p, room), r->s->sid, seq, &r->mended, rec))
        return E_CORRUPT;
    return rec->flags & RECF_SKIP ? E_NOTFOUND : 0;
}

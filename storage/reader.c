/* storage/reader.c -- see reader.h
 *
 * Chunks hold the newest numbers, the file all others; where both have a block, memory is asked
 * first. The current block is kept, so neighbours cost one directory entry each. Of a block of the
 * file whose header or directory fails its checksum the sound records are read all the same
 * (salvage.h); a record that fails, or is missing while its number lives, is reported and passed
 * over. Nothing in the file is ever deleted or rebuilt because of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/reader.h"

#include <sys/mman.h>

#include "base/log.h"
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

/* Numbers of the block that begins with `first` are below this. */
static uint64_t block_limit(struct reader *r, uint64_t first)
{
    struct walk w;
    struct key k;
    uint64_t next = 0;
    unsigned part = 1;
    key_block(&k, r->s->sid, first + 1);
    bool on = walk_seek(&w, r->view, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(w.key, r->s->sid, &next, &part) && part)
        on = walk_next(&w);
    bool found = on && key_is_block(w.key, r->s->sid, &next, &part) && !part;
    walk_end(&w);
    return found ? next : r->s->now.last_seq + 1;
}

/* The block's header or directory is damaged: what is sound of it. */
static bool rescue(struct reader *r, uint64_t first, struct slice value)
{
    struct buf whole = BUF_INIT;
    bool any = salvage_block(value, r->s->sid, first, block_limit(r, first), &whole, &r->cur) == 0;
    buf_release(&r->whole); /* value may lie in it */
    r->whole = whole;
    if (any && holes_set(&r->s->rescued, first))
        log_warn("Stream '%.*s': the block of message %llu is damaged; %u messages of it are sound",
                 SLICE_FMT(r->s->spec.name), (unsigned long long)first, r->cur.n);
    return any;
}

/* Takes the block w stands on. False: it is damaged. */
static bool use_block(struct reader *r, struct walk *w, uint64_t first)
{
    struct block peek;
    struct slice v = w->value;
    bool parts = block_peek(v, first, &peek) == 0 && (peek.flags & BLOCK_PARTS);
    pass(r);
    if (parts) {
        join_parts(r, first, v);
        v = buf_slice(&r->whole);
    }
    r->have = block_read(v, r->s->sid, first, &r->cur) == 0;
    r->in_file = true;
    r->mapped = r->have && !parts;
    if (!r->have && parts)
        stream_load_holes(r->s); /* erased ones are not damaged; recovery comes by before others */
    if (!r->have && parts && holes_test(&r->s->holes, first))
        return false;
    if (!r->have)
        r->have = rescue(r, first, v);
    if (!r->have)
        stream_report_damage(r->s, first);
    return r->have;
}

static bool need_view(struct reader *r)
{
    if (!r->view && !r->s->memory)
        r->view = view_open(r->s->st->db);
    return r->view != NULL;
}

/* Stands on the 12-byte key of the block that may hold seq, going back. */
static bool block_before(struct walk *w, uint32_t sid, bool on, uint64_t *first)
{
    unsigned part = 0;
    while (on && key_is_block(w->key, sid, first, &part) && part)
        on = walk_prev(w);
    return on && key_is_block(w->key, sid, first, &part) && !part;
}

static bool seek_file(struct reader *r, uint64_t seq)
{
    struct key k;
    struct walk w;
    uint64_t first = 0;
    unsigned part;
    uint32_t sid = r->s->sid;
    bool found = false;
    if (!need_view(r))
        return false;
    key_block(&k, sid, seq);
    bool on = walk_seek_back(&w, r->view, DB_BLOCKS, key_slice(&k));
    if (block_before(&w, sid, on, &first))
        found = use_block(r, &w, first) && r->cur.last_seq >= seq;
    walk_end(&w);
    if (found)
        return true;
    key_block(&k, sid, seq);
    on = walk_seek(&w, r->view, DB_BLOCKS, key_slice(&k));
    while (on && key_is_block(w.key, sid, &first, &part)) {
        if (!part && use_block(r, &w, first)) {
            found = true;
            break;
        }
        on = walk_next(&w);
    }
    walk_end(&w);
    return found;
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
    struct key k;
    struct walk w;
    uint64_t first;
    key_block(&k, r->s->sid, seq);
    bool on = walk_seek_back(&w, r->view, DB_BLOCKS, key_slice(&k)), found = false;
    while (!found && block_before(&w, r->s->sid, on, &first)) {
        found = use_block(r, &w, first);
        on = walk_prev(&w);
    }
    walk_end(&w);
    return found;
}

uint64_t reader_next(struct reader *r, uint64_t seq)
{
    while (reader_seek(r, seq)) {
        uint64_t next = block_next(&r->cur, seq);
        if (next)
            return next;
        /* A damaged block may say that it ends before it begins: on, all the same. */
        uint64_t end = r->cur.last_seq > r->cur.first_seq ? r->cur.last_seq : r->cur.first_seq;
        seq = (end > seq ? end : seq) + 1;
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
        return E_NOTFOUND;
    const char *p = block_record(&r->cur, seq, &room);
    if (!p)
        return E_NOTFOUND;
    if (record_read(p, room, rec) || (check && r->in_file && !record_sound(p, r->s->sid, seq))) {
        stream_report_damage(r->s, seq);
        return E_CORRUPT;
    }
    return rec->flags & RECF_SKIP ? E_NOTFOUND : 0;
}

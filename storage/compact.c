/* storage/compact.c -- see compact.h
 *
 * Blocks are read through the loop's view and the new rows are built here; the writer just puts
 * them. That is safe because the loop decides everything that happens to a block: a record that is
 * erased or removed meanwhile is a hole by then and not copied, and a block that is trimmed in the
 * same commit would only come back as rows below the head, which the next trim takes.
 *
 * What must not be touched: blocks the subject index still needs after a crash (beyond its
 * watermark), blocks that are in memory as well, the newest block, damaged blocks, and blocks whose
 * message ids the duplicate window would be rebuilt from.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/compact.h"

#include "base/clock.h"
#include "base/mem.h"
#include "storage/blocks.h"
#include "storage/reader.h"
#include "storage/store.h"

enum { BLOCKS_A_PORTION = 64, ENTRY = 8 };

struct compaction {
    struct list link; /* in st->compactions */
    struct job job;
    struct stream *s;
    uint64_t pos;   /* blocks below were looked at */
    uint64_t after; /* rests until this batch is durable */
    uint64_t holed; /* so much was to go when it began */
    /* the block being built */
    char *value;          /* BLOCK_SIZE */
    uint32_t used, n;     /* as in a chunk; the directory grows down from the end */
    uint64_t first, last; /* of its records' numbers; first is its key */
    int64_t min_ts, max_ts;
    unsigned flags;
    struct buf old; /* keys of the blocks that are in it: u16 length, bytes */
    size_t nold;
};

/* --- building -------------------------------------------------------------------------------- */

static void clear(struct compaction *c)
{
    c->used = BLOCK_HEAD;
    c->n = 0;
    c->flags = BLOCK_SPARSE;
    c->nold = 0;
    buf_clear(&c->old);
}

/* An entry of the directory tells how far a number is from the first one. */
static bool fits(const struct compaction *c, size_t record, uint64_t last)
{
    return c->used + record + ENTRY * ((size_t)c->n + 1) <= BLOCK_SIZE &&
           last - c->first <= UINT32_MAX;
}

static void add_record(struct compaction *c, uint64_t seq, const char *p, const struct record *rec)
{
    if (!c->n)
        c->min_ts = c->max_ts = rec->ts;
    c->min_ts = rec->ts < c->min_ts ? rec->ts : c->min_ts;
    c->max_ts = rec->ts > c->max_ts ? rec->ts : c->max_ts;
    c->last = seq;
    c->flags |= rec->msg_id.n ? BLOCK_HAS_MSGID : 0;
    char *entry = c->value + BLOCK_SIZE - ENTRY * ((size_t)c->n + 1);
    le32(entry, (uint32_t)(seq - c->first));
    le32(entry + 4, c->used);
    memcpy(c->value + c->used, p, rec->len);
    c->used += rec->len;
    c->n++;
}

static void note_old(struct compaction *c, struct slice key)
{
    add_u16(&c->old, (unsigned)key.n);
    buf_add_slice(&c->old, key);
}

static void delete_old(struct compaction *c, struct batch *b)
{
    struct take t = take_of(buf_slice(&c->old));
    while (t.rest.n) {
        struct slice s = take_bytes(&t, take_u16(&t));
        struct key k = {.n = s.n};
        memcpy(k.b, s.p, s.n);
        change_del(b, DB_BLOCKS, &k);
    }
}

/* What was collected replaces what it came from. One block alone is worth it only when it shrinks:
 * the caller saw to that. */
static void emit(struct compaction *c)
{
    struct stream *s = c->s;
    if (c->nold) {
        struct batch *b = stream_batch(s);
        delete_old(c, b);
        if (c->n) {
            size_t dir = ENTRY * (size_t)c->n, at;
            struct block block = {.first_seq = c->first,
                                  .last_seq = c->last,
                                  .min_ts = c->min_ts,
                                  .max_ts = c->max_ts,
                                  .n = c->n,
                                  .used = c->used,
                                  .flags = c->flags};
            const char *end = c->value + BLOCK_SIZE;
            struct key k;
            block_head_write(c->value, &block, s->sid, end);
            key_block(&k, s->sid, c->first);
            struct buf *out = change_put_begin(b, DB_BLOCKS, &k, &at);
            buf_add(out, c->value, c->used);
            buf_add(out, end - dir, dir);
            change_put_end(b, at);
        }
        b->bytes += c->used;
        b->nops += c->nold;
    }
    clear(c);
}

/* --- looking --------------------------------------------------------------------------------- */

static bool off_limits(const struct stream *s, const struct block *b)
{
    uint64_t memory = stream_chunks(s) ? stream_chunk(s, 0)->first_seq : s->shown.last_seq;
    bool ids = (b->flags & BLOCK_HAS_MSGID) && s->spec.duplicate_window_ns > 0 &&
               b->max_ts >= clock_wall() - s->spec.duplicate_window_ns;
    return b->last_seq >= memory || b->last_seq > s->index.w_last || ids ||
           b->first_seq < s->now.first_seq;
}

/* How many of its numbers live, and how many records it has. */
static void weigh(struct stream *s, const struct block *b, uint64_t *live, uint64_t *present)
{
    uint64_t range = b->last_seq - b->first_seq + 1;
    uint64_t dead =
        holes_count_from(&s->holes, b->first_seq) - holes_count_from(&s->holes, b->last_seq + 1);
    *live = range - dead;
    *present = b->n;
}

static size_t live_bytes(struct stream *s, const struct block *b)
{
    size_t sum = 0;
    for (uint64_t seq = block_next(b, b->first_seq); seq; seq = block_next(b, seq + 1)) {
        size_t room;
        const char *p = block_record(b, seq, &room);
        if (stream_live_now(s, seq))
            sum += rd32(p) + ENTRY;
    }
    return sum;
}

/* A block with a damaged record stays as it is. */
static bool all_sound(struct stream *s, const struct block *b)
{
    for (uint64_t seq = block_next(b, b->first_seq); seq; seq = block_next(b, seq + 1)) {
        size_t room;
        struct record rec;
        const char *p = block_record(b, seq, &room);
        if (!p || record_read(p, room, &rec) ||
            (stream_live_now(s, seq) && !record_sound(p, s->sid, seq)))
            return false;
    }
    return true;
}

static void take_live(struct compaction *c, const struct block *b)
{
    for (uint64_t seq = block_next(b, b->first_seq); seq; seq = block_next(b, seq + 1)) {
        size_t room;
        struct record rec;
        const char *p = block_record(b, seq, &room);
        if (stream_live_now(c->s, seq) && record_read(p, room, &rec) == 0)
            add_record(c, seq, p, &rec);
    }
}

/* A block in parts has one record: it goes as a whole or stays. */
static void look_at_parts(struct compaction *c, struct txn *view, uint64_t first)
{
    struct walk w;
    struct key k;
    uint64_t of;
    unsigned part;
    emit(c);
    if (stream_live_now(c->s, first))
        return;
    key_block(&k, c->s->sid, first);
    bool on = walk_seek(&w, view, DB_BLOCKS, key_slice(&k));
    for (; on && key_is_block(w.key, c->s->sid, &of, &part) && of == first; on = walk_next(&w))
        note_old(c, w.key);
    walk_end(&w);
    c->nold = 1;
    emit(c);
}

static void look_at(struct compaction *c, struct walk *w, const struct block *b)
{
    struct stream *s = c->s;
    uint64_t live, present;
    weigh(s, b, &live, &present);
    if (live * 2 >= present || !all_sound(s, b)) {
        emit(c);
        return;
    }
    if (c->nold && !fits(c, live_bytes(s, b), b->last_seq))
        emit(c);
    if (!c->nold)
        c->first = b->first_seq;
    c->nold++;
    note_old(c, w->key);
    take_live(c, b);
}

/* False: nothing from here on may be touched. */
static bool look(struct compaction *c, struct txn *view, struct walk *w, uint64_t first)
{
    struct block b;
    bool large = block_peek(w->value, first, &b) == 0 && block_is_large(&b);
    if (!large && block_read(w->value, c->s->sid, first, &b)) {
        emit(c); /* what is sound of it stays where it is */
        return first < c->s->index.w_last;
    }
    if (off_limits(c->s, &b))
        return false;
    if (large)
        look_at_parts(c, view, first);
    else
        look_at(c, w, &b);
    return true;
}

/* One portion; true when the walk is over. */
static bool portion(struct compaction *c)
{
    struct stream *s = c->s;
    struct walk w;
    struct key k;
    uint64_t first;
    unsigned part, most = BLOCKS_A_PORTION;
    bool over = true;
    struct txn *view = view_open(s->st->db);
    if (!view)
        return true;
    stream_load_holes(s);
    key_block(&k, s->sid, c->pos > s->now.first_seq ? c->pos : s->now.first_seq);
    bool on = walk_seek(&w, view, DB_BLOCKS, key_slice(&k));
    for (; on && key_is_block(w.key, s->sid, &first, &part); on = walk_next(&w)) {
        if (part || first < c->pos) /* before: a damaged key led back */
            continue;
        if (!most--) {
            c->pos = first;
            over = false;
            break;
        }
        if (!look(c, view, &w, first))
            break;
    }
    emit(c);
    walk_end(&w);
    view_close(s->st->db);
    return over;
}

/* --- running --------------------------------------------------------------------------------- */

static void compaction_free(struct compaction *c)
{
    list_unlink(&c->link);
    c->s->compaction = NULL;
    buf_release(&c->old);
    free(c->value);
    free(c);
}

static enum job_result on_step(struct job *j, const struct job_budget *budget)
{
    struct compaction *c = CONTAINER_OF(j, struct compaction, job);
    struct stream *s = c->s;
    struct store *st = s->st;
    (void)budget;
    if (st->durable_batch < c->after || s->index.behind)
        return JOB_WAIT;
    if (portion(c)) { /* only now: a stop on the way leaves it all to the next start */
        s->holed -= c->holed < s->holed ? c->holed : s->holed;
        compaction_free(c);
        return JOB_DONE;
    }
    c->after = st->gather->n;
    st->gather->writes = true;
    store_wake(st);
    return JOB_WAIT;
}

void compact_when_due(struct stream *s)
{
    struct store *st = s->st;
    if (s->memory || s->compaction || s->holed < st->lazy_at.compact_bytes ||
        s->holed < s->now.bytes)
        return;
    struct compaction *c = xcalloc(1, sizeof *c);
    c->s = s;
    c->holed = s->holed;
    c->value = xmalloc(BLOCK_SIZE);
    clear(c);
    s->compaction = c;
    list_push_back(&st->compactions, &c->link);
    job_init(&c->job, "compaction", on_step);
    st->turn->job_start(st->turn->loop, &c->job);
}

void compact_end(struct stream *s)
{
    if (!s->compaction)
        return;
    s->st->turn->job_stop(s->st->turn->loop, &s->compaction->job);
    compaction_free(s->compaction);
}

void compact_wake(struct store *st)
{
    LIST_EACH(e, &st->compactions)
    st->turn->job_start(st->turn->loop, &LIST_ENTRY(e, struct compaction, link)->job);
}

/* storage/batch.c -- see batch.h
 *
 * Arrays double and are kept from one batch to the next, so the steady state allocates nothing; one
 * that has grown beyond 256 KiB is given up when the batch is reset, so that a burst doesn't stay.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/batch.h"

#include "base/mem.h"

enum { KEEP = 256 * 1024, OP_JOIN_MAX = 16 * 1024 };

struct batch *batch_new(uint64_t n)
{
    struct batch *b = xcalloc(1, sizeof *b);
    list_init(&b->link);
    b->n = n;
    return b;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    free(b->parts);
    free(b->waiters);
    free(b->marks);
    free(b->removed);
    buf_release(&b->text);
    buf_release(&b->ops);
    buf_release(&b->changes);
    free(b);
}

static void *keep_small(void *p, size_t *cap, size_t item)
{
    if (*cap * item <= KEEP)
        return p;
    free(p);
    *cap = 0;
    return NULL;
}

static void empty(struct buf *b)
{
    if (b->cap > KEEP)
        buf_release(b);
    else
        buf_clear(b);
}

void batch_reset(struct batch *b, uint64_t n)
{
    b->parts = keep_small(b->parts, &b->parts_cap, sizeof *b->parts);
    b->waiters = keep_small(b->waiters, &b->waiters_cap, sizeof *b->waiters);
    b->marks = keep_small(b->marks, &b->marks_cap, sizeof *b->marks);
    b->removed = keep_small(b->removed, &b->removed_cap, sizeof *b->removed);
    b->nparts = b->nwaiters = b->nmarks = b->nremoved = 0;
    empty(&b->text);
    empty(&b->ops);
    empty(&b->changes);
    b->n = n;
    b->last_op = 0;
    b->trim_below = b->journal_bytes = b->appended = 0;
    b->bytes = b->nops = b->queued = 0;
    b->reclaims = 0;
    b->writes = false;
    b->err = 0;
    b->took_ns = 0;
}

static void *grown(void *p, size_t n, size_t *cap, size_t item)
{
    if (n < *cap)
        return p;
    *cap = *cap ? *cap * 2 : 16;
    return xrealloc(p, *cap * item);
}

struct waiter *batch_wait(struct batch *b, enum waiter_kind kind, void *arg)
{
    b->waiters = grown(b->waiters, b->nwaiters, &b->waiters_cap, sizeof *b->waiters);
    struct waiter *w = &b->waiters[b->nwaiters++];
    *w = (struct waiter){.kind = kind, .arg = arg};
    return w;
}

struct part *batch_part(struct batch *b)
{
    b->parts = grown(b->parts, b->nparts, &b->parts_cap, sizeof *b->parts);
    b->writes = true;
    return &b->parts[b->nparts++];
}

void batch_mark(struct batch *b, struct stream *s, const struct state *st)
{
    b->marks = grown(b->marks, b->nmarks, &b->marks_cap, sizeof *b->marks);
    b->marks[b->nmarks++] = (struct mark){s, *st};
}

struct removed *batch_removed(struct batch *b, struct stream *s, uint64_t seq, struct slice subject)
{
    b->removed = grown(b->removed, b->nremoved, &b->removed_cap, sizeof *b->removed);
    struct removed *r = &b->removed[b->nremoved++];
    *r = (struct removed){.stream = s, .seq = seq};
    r->text = (uint32_t)b->text.len;
    r->text_n = (uint32_t)subject.n;
    buf_add_slice(&b->text, subject);
    return r;
}

/* --- ops ------------------------------------------------------------------------------------- */

static void op_begin(struct batch *b, char type, uint32_t sid)
{
    b->last_op = b->ops.len;
    b->writes = true;
    add_u8(&b->ops, (unsigned char)type);
    add_u8(&b->ops, 0);
    add_u16(&b->ops, 0);
    add_u32(&b->ops, 0);
    add_u32(&b->ops, sid);
}

static char *op_at(struct batch *b)
{
    return b->ops.data + b->ops.start + b->last_op;
}

static void op_end(struct batch *b)
{
    le32(op_at(b) + 4, (uint32_t)(b->ops.len - b->last_op - 8));
}

void op_delete(struct batch *b, uint32_t sid, uint64_t seq, struct slice subject)
{
    bool join = b->ops.len && op_at(b)[0] == 'D' && rd32(op_at(b) + 8) == sid &&
                b->ops.len - b->last_op < OP_JOIN_MAX;
    if (!join)
        op_begin(b, 'D', sid);
    add_u64(&b->ops, seq);
    add_u16(&b->ops, (unsigned)subject.n);
    buf_add_slice(&b->ops, subject);
    op_end(b);
    b->bytes += 10 + subject.n;
    b->nops++;
}

void op_hole(struct batch *b, uint32_t sid, uint64_t first, uint64_t last)
{
    op_begin(b, 'H', sid);
    add_u64(&b->ops, first);
    add_u64(&b->ops, last);
    op_end(b);
}

void op_state(struct batch *b, uint32_t sid, const struct state *st)
{
    op_begin(b, 'S', sid);
    state_write(buf_reserve(&b->ops, STATE_SIZE), st);
    buf_commit(&b->ops, STATE_SIZE);
    op_end(b);
}

void op_cursor(struct batch *b, uint32_t sid, uint32_t cid, struct slice delta)
{
    op_begin(b, 'C', sid);
    add_u32(&b->ops, cid);
    buf_add_slice(&b->ops, delta);
    op_end(b);
    b->bytes += delta.n;
}

/* --- changes --------------------------------------------------------------------------------- */

static size_t change_begin(struct batch *b, enum change what, enum db_table table, struct slice key)
{
    size_t at = b->changes.len;
    b->writes = true;
    add_u8(&b->changes, (unsigned)what);
    add_u8(&b->changes, (unsigned)table);
    add_u16(&b->changes, (unsigned)key.n);
    add_u32(&b->changes, 0);
    buf_add_slice(&b->changes, key);
    return at;
}

void change_put_end(struct batch *b, size_t at)
{
    char *p = b->changes.data + b->changes.start + at;
    le32(p + 4, (uint32_t)(b->changes.len - at - 8 - rd16(p + 2)));
}

struct buf *change_put_begin(struct batch *b, enum db_table table, const struct key *k, size_t *at)
{
    *at = change_begin(b, CHANGE_PUT, table, key_slice(k));
    return &b->changes;
}

void change_put(struct batch *b, enum db_table table, const struct key *k, struct slice value)
{
    size_t at;
    buf_add_slice(change_put_begin(b, table, k, &at), value);
    change_put_end(b, at);
}

void change_del(struct batch *b, enum db_table table, const struct key *k)
{
    (void)change_begin(b, CHANGE_DEL, table, key_slice(k));
}

static void change_sid(struct batch *b, enum change what, enum db_table table, uint32_t sid,
                       struct slice value)
{
    char key[4];
    le32(key, sid);
    size_t at = change_begin(b, what, table, slice_of(key, sizeof key));
    buf_add_slice(&b->changes, value);
    change_put_end(b, at);
}

void change_trim(struct batch *b, uint32_t sid, uint64_t below, uint32_t most)
{
    char v[12];
    le64(v, below);
    le32(v + 8, most);
    change_sid(b, CHANGE_TRIM, DB_BLOCKS, sid, slice_of(v, sizeof v));
}

void change_wipe(struct batch *b, enum db_table table, uint32_t sid, uint32_t most)
{
    char v[4];
    le32(v, most);
    change_sid(b, CHANGE_WIPE, table, sid, slice_of(v, sizeof v));
}

void change_erase(struct batch *b, uint32_t sid, uint64_t seq)
{
    char v[8];
    le64(v, seq);
    change_sid(b, CHANGE_ERASE, DB_BLOCKS, sid, slice_of(v, sizeof v));
}

/* storage/journal.c -- see journal.h; the layout is drawn in codec.h
 *
 * A value's checksum covers its key's number too, so a value under the wrong key is damaged. Damage
 * in the journal is never passed over: what it held was acknowledged. Each op has a short checksum
 * of its own (of an append: of its numbers, for records have theirs), so that in a damaged value
 * everything but the damaged record can still be told apart from damage.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/journal.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/salvage.h"

enum { HEAD = 8, VERSION = 1, OP_HEAD = 8, APPEND_HEAD = OP_HEAD + 16 };

static uint32_t value_crc(uint64_t batch, unsigned part, struct slice value)
{
    char place[8];
    le64(place, batch << 16 | part);
    return crc32c(crc32c(0, place, sizeof place), value.p + 4, value.n - 4);
}

static void flush(struct journal_out *j)
{
    if (j->value.len <= HEAD)
        return;
    struct slice v = buf_slice(&j->value);
    le32(j->value.data + j->value.start, value_crc(j->batch, j->part, v));
    struct key k;
    key_journal(&k, j->batch, j->part);
    char *to = txn_reserve(j->t, DB_MAIN, key_slice(&k), v.n, true);
    if (to)
        memcpy(to, v.p, v.n);
    j->written += v.n;
    j->part++;
    buf_clear(&j->value);
}

/* Room for n more bytes of one op. */
static void room(struct journal_out *j, size_t n)
{
    if (j->value.len + n > BLOCK_SIZE)
        flush(j);
    if (j->value.len == 0) {
        add_u32(&j->value, 0);
        add_u8(&j->value, VERSION);
        add_u8(&j->value, 0);
        add_u16(&j->value, 0);
    }
}

/* Of the op at `op`: its head, and its body but for an append's records. */
static unsigned op_check(uint64_t batch, const char *op)
{
    uint32_t n = rd32(op + 4);
    char place[8];
    if (op[0] == 'A' && n > APPEND_HEAD - OP_HEAD)
        n = APPEND_HEAD - OP_HEAD;
    le64(place, batch);
    uint32_t c = crc32c(crc32c(0, place, sizeof place), op, 2);
    return crc32c(c, op + 4, 4 + n) & 0xffff;
}

/* The op that begins `at` bytes into the value is complete. */
static void op_seal(struct journal_out *j, size_t at)
{
    char *op = j->value.data + j->value.start + at;
    le16(op + 2, op_check(j->batch, op));
}

static void op_head(struct buf *b, char type, uint32_t length)
{
    add_u8(b, (unsigned char)type);
    add_u8(b, 0);
    add_u16(b, 0);
    add_u32(b, length);
}

/* As many whole records from `from` as fit into n bytes, at least one. */
static uint32_t run_of(const char *mem, uint32_t from, uint32_t to, size_t n, uint32_t *count)
{
    uint32_t at = from;
    *count = 0;
    while (at < to) {
        uint32_t len = rd32(mem + at);
        if (*count && at + len - from > n)
            break;
        at += len;
        ++*count;
    }
    return at - from;
}

static void write_part(struct journal_out *j, const struct part *p)
{
    const char *mem = p->chunk->mem;
    uint64_t seq = p->first_seq;
    for (uint32_t from = p->from; from < p->to;) {
        uint32_t count, len = rd32(mem + from);
        room(j, APPEND_HEAD + len);
        len = run_of(mem, from, p->to, BLOCK_SIZE - j->value.len - APPEND_HEAD, &count);
        size_t at = j->value.len;
        op_head(&j->value, 'A', 16 + len);
        add_u32(&j->value, p->sid);
        add_u64(&j->value, seq);
        add_u32(&j->value, count);
        op_seal(j, at);
        buf_add(&j->value, mem + from, len);
        from += len;
        seq += count;
    }
}

void journal_write(struct journal_out *j, struct txn *t, const struct batch *b)
{
    j->t = t;
    j->batch = b->n;
    j->part = 0;
    j->written = 0;
    buf_clear(&j->value);
    for (size_t i = 0; i < b->nparts; i++)
        if (!b->parts[i].store)
            write_part(j, &b->parts[i]);
    struct slice ops = buf_slice(&b->ops);
    while (ops.n) {
        size_t n = 8 + rd32(ops.p + 4);
        room(j, n);
        size_t at = j->value.len;
        buf_add(&j->value, ops.p, n);
        op_seal(j, at);
        ops = slice_skip(ops, n);
    }
    flush(j);
}

void journal_trim(struct txn *t, uint64_t below, unsigned most)
{
    struct key from;
    struct walk w;
    key_journal(&from, 0, 0);
    bool on = walk_seek(&w, t, DB_MAIN, key_slice(&from));
    for (; on && most; most--, on = walk_next(&w)) {
        uint64_t batch;
        unsigned part;
        if (!key_is_journal(w.key, &batch, &part) || batch >= below)
            break;
        walk_del(&w);
    }
    walk_end(&w);
}

/* In a damaged value each op has to prove itself. */
static bool op_sound(struct slice ops, uint64_t batch)
{
    return ops.n > OP_HEAD && rd32(ops.p + 4) <= ops.n - OP_HEAD &&
           rd16(ops.p + 2) == op_check(batch, ops.p);
}

static int replay_ops(struct slice v, uint64_t batch, bool damaged, journal_op_fn *op, void *arg)
{
    struct take t = take_of(slice_skip(v, HEAD));
    while (t.rest.n) {
        if (damaged && !op_sound(t.rest, batch))
            return E_CORRUPT;
        char type = (char)take_u8(&t);
        (void)take_bytes(&t, 3);
        struct take body = take_of(take_str(&t));
        uint32_t sid = take_u32(&body);
        if (!t.ok || !body.ok)
            return E_CORRUPT;
        int err = op(arg, batch, type, sid, &body, damaged);
        if (err)
            return err;
    }
    return 0;
}

static int replay_damaged(struct slice v, uint64_t batch, uint32_t syndrome, journal_op_fn *op,
                          void *arg)
{
    log_warn("the journal is damaged at number %llu: its records are looked at one by one",
             (unsigned long long)batch);
    char *copy = slice_dup(v);
    (void)!salvage_bit(copy + 4, v.n - 4, syndrome); /* either way all of it is looked at */
    int err = replay_ops(slice_of(copy, v.n), batch, true, op, arg);
    free(copy);
    return err;
}

static int replay_value(struct slice v, uint64_t batch, unsigned part, journal_op_fn *op, void *arg)
{
    if (v.n < HEAD)
        return E_CORRUPT;
    uint32_t syndrome = rd32(v.p) ^ value_crc(batch, part, v);
    if (syndrome)
        return replay_damaged(v, batch, syndrome, op, arg);
    return v.p[4] == VERSION ? replay_ops(v, batch, false, op, arg) : E_VERSION;
}

/* Values lie anywhere in the file: from a cold disk they come at the same time, not one after the
 * other. The walk itself touches none of them. */
static void fetch_all(struct txn *t)
{
    struct key from;
    struct walk w;
    key_journal(&from, 0, 0);
    for (bool on = walk_seek(&w, t, DB_MAIN, key_slice(&from)); on; on = walk_next(&w))
        db_fetch(slice_head(w.value, BLOCK_SIZE)); /* a damaged length may be any */
    walk_end(&w);
}

int journal_replay(struct txn *t, journal_op_fn *op, void *arg, uint64_t *next, uint64_t *bytes)
{
    struct key from;
    struct walk w;
    int err = 0;
    *bytes = 0;
    fetch_all(t);
    if (!view_table_sound(t, DB_MAIN))
        return E_CORRUPT;
    key_journal(&from, 0, 0);
    for (bool on = walk_seek(&w, t, DB_MAIN, key_slice(&from)); on && !err; on = walk_next(&w)) {
        uint64_t batch;
        unsigned part;
        if (!key_is_journal(w.key, &batch, &part))
            continue;
        err = replay_value(w.value, batch, part, op, arg);
        *next = batch + 1;
        *bytes += w.value.n;
    }
    walk_end(&w);
    return err ? err : t->err;
}

/* fuzz_rows.c -- the store's values as they come from the disk: states, subjects, holes, records,
 * blocks
 *
 * The first byte chooses what the rest is taken for. Checksums are made right first, so that what
 * is behind them is reached. A row that reads writes the same bytes; a record or block lies
 * inside its value, walks forward as it walks backward, and holes say the same after they were
 * written and read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
// room: storage
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/codec.h"
#include "storage/holes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SID = 7, FIRST = 100, MANY = 70000 };

static void inside(struct slice all, struct slice s)
{
    ASSERT(s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n));
}

/* version | rest: the row with a right checksum. */
static void row_of(struct slice body, uint32_t sid, struct buf *out)
{
    size_t at = row_begin(out);
    buf_add_slice(out, body);
    row_end(out, at, sid);
}

static void as_state(struct slice in)
{
    struct buf row = BUF_INIT, again = BUF_INIT;
    struct state_row r;
    ASSERT(in.n == 0 || state_row_read(in, SID, &r) != 0);
    row_of(in, SID, &row);
    if (state_row_read(buf_slice(&row), SID, &r) == 0) {
        state_row_add(&again, SID, &r);
        ASSERT(slice_starts(buf_slice(&row), slice_skip(buf_slice(&again), again.len)));
        ASSERT(row.len >= again.len);
        ASSERT(row.len > again.len || slice_eq(buf_slice(&row), buf_slice(&again)));
        ASSERT(state_row_read(buf_slice(&row), SID + 1, &r) == E_CORRUPT);
    }
    buf_release(&row);
    buf_release(&again);
}

static void as_subject(struct slice in)
{
    struct buf row = BUF_INIT, again = BUF_INIT;
    struct subject_row r;
    row_of(in, 0, &row);
    if (subject_row_read(buf_slice(&row), (struct slice){0}, &r) == 0) {
        inside(buf_slice(&row), r.subject);
        struct subject_row same; /* in other bytes: it was not packed, or not so tightly */
        subject_row_add(&again, (struct slice){0}, &r);
        ASSERT(subject_row_read(buf_slice(&again), (struct slice){0}, &same) == 0);
        ASSERT(same.first == r.first && same.last == r.last && same.count == r.count);
        ASSERT(same.upto == r.upto && same.floor == r.floor && same.batch == r.batch);
        ASSERT(same.flags == r.flags && slice_eq(same.subject, r.subject));
    }
    buf_release(&row);
    buf_release(&again);
}

/* One row after the other: u16 page, u8 length / 4 | bytes. */
static void as_holes(struct slice in)
{
    struct holes h, copy;
    struct buf row = BUF_INIT;
    holes_init(&h);
    holes_init(&copy);
    while (in.n > 4) {
        struct slice v = slice_head(slice_skip(in, 4), 4u * (unsigned char)in.p[3]);
        uint64_t page = rd16(in.p) & 0xfff;
        buf_clear(&row);
        buf_add_slice(&row, v);
        if (v.n > 4) /* with the checksum of this place */
            row_end(&row, 0, holes_row_place(SID, page));
        (void)!holes_row_load(&h, SID, page, buf_slice(&row));
        holes_set(&h, rd16(in.p) * 3ull);
        holes_clear(&h, (unsigned char)in.p[2] * 64ull);
        in = slice_skip(in, 4 + v.n);
    }
    for (size_t i = 0; i < h.n; i++) {
        buf_clear(&row);
        holes_row_add(&row, SID, &h.at[i]);
        ASSERT(holes_row_load(&copy, SID, h.at[i].page, buf_slice(&row)) == 0);
    }
    uint64_t from = 0;
    for (int i = 0; i < 64; i++) {
        uint64_t dead = holes_next_dead(&h, from);
        ASSERT(dead == holes_next_dead(&copy, from));
        ASSERT(holes_count_from(&h, from) == holes_count_from(&copy, from));
        if (dead == UINT64_MAX)
            break;
        ASSERT(dead >= from && holes_test(&h, dead) && holes_test(&copy, dead));
        uint64_t live = holes_next_live(&h, dead);
        ASSERT(live > dead && !holes_test(&h, live) && holes_prev_live(&h, live) == live);
        ASSERT(holes_count_from(&h, dead) - holes_count_from(&h, live) == live - dead);
        ASSERT(holes_prev_live(&h, dead) < dead || dead == 0);
        from = live;
    }
    buf_release(&row);
    holes_release(&h);
    holes_release(&copy);
}

static void as_record(struct slice in)
{
    struct record r;
    char *p = xmalloc(in.n + 1), *again;
    memcpy(p, in.p, in.n);
    if (record_read(p, in.n, &r) == 0) {
        struct slice all = slice_of(p, in.n);
        ASSERT(r.len <= in.n);
        inside(all, r.subject);
        inside(all, r.hdr);
        inside(all, r.payload);
        inside(all, r.msg_id);
        (void)record_sound(p, SID, 1);
    }
    /* written and read it is the same */
    struct record w = {.subject = slice_head(in, in.n / 5), .ts = -5};
    w.hdr = slice_head(slice_skip(in, in.n / 5), in.n / 3);
    w.payload = slice_skip(in, in.n / 2);
    w.msg_id = in.n & 1 ? slice_head(slice_skip(w.hdr, 2), 5) : slice_head(w.payload, in.n % 7);
    size_t n = record_size(&w);
    again = xmalloc(n);
    record_write(again, SID, 9, &w);
    ASSERT(record_read(again, n, &r) == 0 && r.len == n && record_sound(again, SID, 9));
    ASSERT(slice_eq(r.subject, w.subject) && slice_eq(r.hdr, w.hdr));
    ASSERT(slice_eq(r.payload, w.payload) && slice_eq(r.msg_id, w.msg_id) && r.ts == w.ts);
    ASSERT(!record_sound(again, SID, 8) && !record_sound(again, SID + 1, 9));
    record_blank(again, SID, 9);
    ASSERT(record_read(again, n, &r) == 0 && r.flags == RECF_SKIP && record_sound(again, SID, 9));
    free(again);
    free(p);
}

/* As block_head_write() would: the checksum over place, head and directory. */
static void mend_block(struct buf *v)
{
    struct block b;
    if (v->len < BLOCK_HEAD)
        return;
    v->data[v->start] = BLOCK_VERSION;
    if (block_peek(buf_slice(v), FIRST, &b) != 0)
        return;
    size_t dir = (size_t)b.n * ((b.flags & BLOCK_SPARSE) ? 8 : 4);
    if (b.used > v->len || dir > v->len - b.used)
        return;
    v->data[v->start + 2] = v->data[v->start + 3] = 0;
    block_head_write(v->data + v->start, &b, SID, v->data + v->start + v->len);
}

static void as_block(struct slice in)
{
    struct buf v = BUF_INIT;
    struct block b;
    struct record r;
    size_t room = 0;
    buf_add_slice(&v, in);
    mend_block(&v);
    if (block_read(buf_slice(&v), SID, FIRST, &b) == 0) {
        uint64_t last = 0, n = 0;
        for (uint64_t seq = block_next(&b, 0); seq && n < MANY;
             seq = block_next(&b, seq + 1), n++) {
            if (seq <= last || seq > b.last_seq)
                break; /* a sparse directory out of order: nobody wrote that */
            const char *p = block_record(&b, seq, &room);
            if (p) {
                ASSERT(p >= b.p + BLOCK_HEAD && p + room <= b.p + b.used);
                if (record_read(p, room, &r) == 0)
                    inside(buf_slice(&v), r.payload);
            }
            if (!(b.flags & BLOCK_SPARSE))
                ASSERT(block_prev(&b, seq) == seq && block_prev(&b, seq - 1) == last);
            last = seq;
        }
        (void)block_prev(&b, UINT64_MAX);
        (void)block_next(&b, UINT64_MAX);
        (void)block_prev(&b, 0);
    }
    buf_release(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const as[])(struct slice) = {as_state, as_subject, as_holes, as_record, as_block};
    if (size < 2 || size > 8192)
        return 0;
    as[data[0] % ARRAY_LEN(as)](slice_of(data + 1, size - 1));
    return 0;
}

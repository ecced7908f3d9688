/* records, blocks and rows: there and back, and every damaged byte noticed
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/codec.h"
#include "storage/keys.h"
#include "unit/storage/dice.h"

static struct record sample(unsigned kind)
{
    static const char hdr[] = "NATS/1.0\r\nNats-Msg-Id: abc\r\n\r\n";
    struct record r = {
        .subject = SLICE("orders.new"), .payload = SLICE("hello"), .ts = 1234567890123};
    if (kind & 1)
        r.hdr = slice_of(hdr, sizeof hdr - 1);
    if (kind & 2)
        r.msg_id = kind & 1 ? slice_of(hdr + 23, 3) : SLICE("elsewhere");
    if (kind & 4)
        r.payload = (struct slice){0};
    return r;
}

static void a_record_comes_back(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 8; kind++) {
        struct record r = sample(kind), back;
        size_t n = record_size(&r);
        char *p = xmalloc(n);
        record_write(p, 7, 42, &r);
        assert_int_equal(record_read(p, n, &back), 0);
        assert_int_equal(back.len, n);
        assert_true(slice_eq(back.subject, r.subject));
        assert_true(slice_eq(back.hdr, r.hdr));
        assert_true(slice_eq(back.payload, r.payload));
        assert_true(slice_eq(back.msg_id, r.msg_id));
        assert_int_equal(back.ts, r.ts);
        assert_true(record_sound(p, 7, 42));
        assert_false(record_sound(p, 7, 43)); /* the right bytes in the wrong place */
        assert_false(record_sound(p, 8, 42));
        free(p);
    }
}

static void every_flipped_bit_of_a_record_is_noticed(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 8; kind++) {
        struct record r = sample(kind), back;
        size_t n = record_size(&r);
        char *p = xmalloc(n);
        record_write(p, 7, 42, &r);
        for (size_t bit = 0; bit < n * 8; bit++) {
            p[bit / 8] ^= (char)(1 << bit % 8);
            bool good = record_read(p, n, &back) == 0 && back.len <= n && record_sound(p, 7, 42);
            assert_false(good);
            p[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < n; cut++)
            assert_int_not_equal(record_read(p, cut, &back), 0);
        free(p);
    }
}

static void garbage_is_no_record(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t n = dice(80);
        char *p = xmalloc(n + 1);
        struct record r;
        for (size_t k = 0; k < n; k++)
            p[k] = (char)dice(dice(2) ? 256 : 4);
        if (record_read(p, n, &r) == 0) {
            assert_true(r.len <= n);
            assert_true(r.subject.p >= p && r.payload.p + r.payload.n <= p + n);
            assert_true(r.msg_id.p >= p && r.msg_id.p + r.msg_id.n <= p + n);
        }
        free(p);
    }
}

static void a_blanked_record_tells_nothing(void **state)
{
    (void)state;
    struct record r = sample(3), back;
    size_t n = record_size(&r);
    char *p = xmalloc(n);
    record_write(p, 7, 42, &r);
    record_blank(p, 7, 42);
    assert_int_equal(record_read(p, n, &back), 0);
    assert_true(record_sound(p, 7, 42));
    assert_int_equal(back.len, n);
    assert_int_equal(back.flags, RECF_SKIP);
    assert_int_equal(back.subject.n, 0);
    assert_int_equal(back.ts, r.ts);
    for (size_t i = 0; i < back.payload.n; i++)
        assert_int_equal(back.payload.p[i], 0);
    free(p);
}

static void a_flipped_bit_in_a_block_s_frame_is_noticed(void **state)
{
    (void)state;
    char value[BLOCK_HEAD + 64 + 12] = {0};
    struct block b = {.first_seq = 5, .last_seq = 7, .n = 3, .used = BLOCK_HEAD + 64}, back;
    char *end = value + sizeof value;
    le32(end - 4, BLOCK_HEAD);
    le32(end - 8, 0);
    le32(end - 12, BLOCK_HEAD + 32);
    block_head_write(value, &b, 9, end);
    struct slice v = slice_of(value, sizeof value);
    assert_int_equal(block_read(v, 9, 5, &back), 0);
    size_t room;
    assert_ptr_equal(block_record(&back, 5, &room), value + BLOCK_HEAD);
    assert_null(block_record(&back, 6, &room));
    assert_null(block_record(&back, 8, &room));
    assert_int_equal(block_next(&back, 6), 7);
    assert_int_equal(block_prev(&back, 6), 5);
    assert_int_equal(block_next(&back, 8), 0);
    assert_int_not_equal(block_read(v, 9, 6, &back), 0);
    for (size_t i = 0; i < sizeof value * 8; i++) {
        bool frame = i / 8 < BLOCK_HEAD || i / 8 >= BLOCK_HEAD + 64;
        value[i / 8] ^= (char)(1 << i % 8);
        if (frame)
            assert_int_not_equal(block_read(v, 9, 5, &back), 0);
        value[i / 8] ^= (char)(1 << i % 8);
    }
}

static void a_sparse_directory_finds_its_numbers(void **state)
{
    (void)state;
    char value[BLOCK_HEAD + 96 + 24] = {0};
    struct block b = {.first_seq = 100,
                      .last_seq = 250,
                      .n = 3,
                      .used = BLOCK_HEAD + 96,
                      .flags = BLOCK_SPARSE},
                 back;
    char *end = value + sizeof value;
    for (uint32_t i = 0; i < 3; i++) {
        le32(end - 8 * (i + 1), i * 75);
        le32(end - 8 * (i + 1) + 4, BLOCK_HEAD + i * 32);
    }
    block_head_write(value, &b, 9, end);
    assert_int_equal(block_read(slice_of(value, sizeof value), 9, 100, &back), 0);
    size_t room;
    assert_non_null(block_record(&back, 175, &room));
    assert_null(block_record(&back, 176, &room));
    assert_int_equal(block_next(&back, 101), 175);
    assert_int_equal(block_next(&back, 176), 250);
    assert_int_equal(block_prev(&back, 249), 175);
    assert_int_equal(block_prev(&back, 99), 0);
}

static void rows_carry_their_own_checksum(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct state_row row = {.st = {.msgs = 1, .bytes = 2, .first_seq = 3, .last_seq = 4},
                            .batch = 5,
                            .w_batch = 6,
                            .w_first = 7,
                            .w_last = 8},
                     back;
    state_row_add(&b, 3, &row);
    assert_int_equal(state_row_read(buf_slice(&b), 3, &back), 0);
    assert_memory_equal(&row, &back, sizeof row);
    assert_int_equal(state_row_read(buf_slice(&b), 4, &back), E_CORRUPT);
    for (size_t i = 0; i < b.len * 8; i++) {
        b.data[i / 8] ^= (char)(1 << i % 8);
        assert_int_not_equal(state_row_read(buf_slice(&b), 3, &back), 0);
        b.data[i / 8] ^= (char)(1 << i % 8);
    }
    buf_release(&b);
}

static void same_row(struct slice v, struct slice key, const struct subject_row *want)
{
    struct subject_row back;
    assert_int_equal(subject_row_read(v, key, &back), 0);
    assert_int_equal(back.first, want->first);
    assert_int_equal(back.last, want->last);
    assert_int_equal(back.count, want->count);
    assert_int_equal(back.upto, want->upto);
    assert_int_equal(back.floor, want->floor);
    assert_int_equal(back.batch, want->batch);
    assert_int_equal(back.flags, want->flags);
    assert_true(slice_eq(back.subject, want->subject));
}

static void subject_rows_come_back(void **state)
{
    (void)state;
    struct slice key = SLICE("a key");
    for (int i = 0; i < 2000; i++) {
        uint64_t any = UINT64_MAX >> dice(64);
        struct subject_row row = {.first = any - dice(i % 2 ? 3 : any | 1),
                                  .last = any,
                                  .count = dice(any | 1),
                                  .upto = i % 3 ? any + dice(1000) : dice(any | 1),
                                  .floor = dice(any | 1),
                                  .batch = any,
                                  .flags = (unsigned)dice(4),
                                  .subject = i % 5 ? (struct slice){0} : SLICE("a.long.one")};
        struct buf b = BUF_INIT;
        subject_row_add(&b, key, &row);
        same_row(buf_slice(&b), key, &row);
        for (size_t bit = 0; bit < b.len * 8; bit += 7) {
            struct subject_row back;
            b.data[bit / 8] ^= (char)(1 << bit % 8);
            assert_int_not_equal(subject_row_read(buf_slice(&b), key, &back), 0);
            b.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        buf_release(&b);
    }
}

/* As Frond wrote it before rows were packed. */
static void full_subject_rows_are_read(void **state)
{
    (void)state;
    struct slice key = SLICE("a key");
    struct subject_row row = {1, 200, 3, 400, 5, 600, SUBJ_LAST_STALE, SLICE("a.long.one")};
    struct buf b = BUF_INIT;
    size_t at = row_begin(&b);
    add_u8(&b, row.flags);
    add_u64(&b, row.first);
    add_u64(&b, row.last);
    add_u64(&b, row.count);
    add_u64(&b, row.upto);
    add_u64(&b, row.floor);
    add_u64(&b, row.batch);
    buf_add_slice(&b, row.subject);
    row_end(&b, at, crc32c(0, key.p, key.n));
    same_row(buf_slice(&b), key, &row);
    buf_release(&b);
}

static void keys_sort_as_their_numbers(void **state)
{
    (void)state;
    struct key a, b;
    for (int i = 0; i < 1000; i++) {
        uint32_t sid = (uint32_t)dice(3) + 1, other = (uint32_t)dice(3) + 1;
        uint64_t x = dice(1ull << (1 + dice(60))), y = dice(1ull << (1 + dice(60)));
        key_block(&a, sid, x);
        key_block(&b, other, y);
        int want = sid != other ? (sid < other ? -1 : 1) : x != y ? (x < y ? -1 : 1) : 0;
        int got = slice_cmp(key_slice(&a), key_slice(&b));
        assert_int_equal((got > 0) - (got < 0), want);
        uint64_t first;
        unsigned part;
        assert_true(key_is_block(key_slice(&a), sid, &first, &part));
        assert_int_equal(first, x);
        assert_int_equal(part, 0);
    }
    key_block_part(&a, 1, 9, 2);
    key_block(&b, 1, 10);
    assert_true(slice_cmp(key_slice(&a), key_slice(&b)) < 0);
    key_journal(&a, 1, 0);
    key_journal(&b, 1, 1);
    assert_true(slice_cmp(key_slice(&a), key_slice(&b)) < 0);
}

static void a_subject_of_any_length_has_a_key(void **state)
{
    (void)state;
    char text[5000];
    struct key a, b;
    memset(text, 'x', sizeof text);
    for (size_t n = 1; n <= sizeof text; n += 1 + n / 3) {
        key_subject(&a, 1, slice_of(text, n));
        assert_true(a.n <= KEY_MAX);
        assert_int_equal(key_subject_is_long(key_slice(&a)), n > SUBJECT_INLINE_MAX);
        text[n - 1] = 'y';
        key_subject(&b, 1, slice_of(text, n));
        assert_false(slice_eq(key_slice(&a), key_slice(&b)));
        text[n - 1] = 'x';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back),
        cmocka_unit_test(every_flipped_bit_of_a_record_is_noticed),
        cmocka_unit_test(garbage_is_no_record),
        cmocka_unit_test(a_blanked_record_tells_nothing),
        cmocka_unit_test(a_flipped_bit_in_a_block_s_frame_is_noticed),
        cmocka_unit_test(a_sparse_directory_finds_its_numbers),
        cmocka_unit_test(rows_carry_their_own_checksum),
        cmocka_unit_test(subject_rows_come_back),
        cmocka_unit_test(full_subject_rows_are_read),
        cmocka_unit_test(keys_sort_as_their_numbers),
        cmocka_unit_test(a_subject_of_any_length_has_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* blocks and journal values with wrong bits: what is sound of them is found, nothing else is
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/salvage.h"
#include "unit/storage/dice.h"

enum { SID = 7, FIRST = 100, COUNT = 60, GAP = 20 }; /* GAP: this record is missing */

struct sample {
    char value[BLOCK_SIZE];
    size_t at[COUNT + 1]; /* where each record begins */
    size_t used;
};

/* Payloads of ever other lengths; some hold what looks like a record. */
static void fill(struct sample *x)
{
    char payload[600];
    memset(x, 0, sizeof *x);
    x->used = BLOCK_HEAD;
    for (unsigned i = 0; i < COUNT; i++) {
        x->at[i] = x->used;
        if (i == GAP)
            continue;
        struct record r = {.subject = SLICE("orders.new"), .ts = 1000 + i};
        size_t n = 1 + dice(sizeof payload);
        memset(payload, (int)i, n);
        if (i % 3 == 0 && n > 200)
            record_write(payload + 20, SID, FIRST + i, &(struct record){.subject = SLICE("x")});
        r.payload = slice_of(payload, n);
        size_t size = record_size(&r);
        record_write(x->value + x->used, SID, FIRST + i, &r);
        x->used += size;
    }
    x->at[COUNT] = x->used;
}

static unsigned which(const struct sample *x, size_t byte)
{
    unsigned i = 0;
    while (x->at[i + 1] <= byte)
        i++;
    return i;
}

/* Every record but `lost` is in the block, with its own bytes. */
static void check(const struct sample *x, unsigned lost, uint64_t limit)
{
    struct buf out = BUF_INIT;
    struct block b;
    size_t room;
    assert_int_equal(salvage_block(slice_of(x->value, BLOCK_SIZE), SID, FIRST, limit, &out, &b), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        const char *p = block_record(&b, FIRST + i, &room);
        if (i == GAP || i == lost) {
            assert_null(p);
            continue;
        }
        assert_non_null(p);
        assert_memory_equal(p, x->value + x->at[i], x->at[i + 1] - x->at[i]);
        assert_true(record_sound(p, SID, FIRST + i));
    }
    buf_release(&out);
}

static void a_block_without_a_directory_gives_all_its_records(void **state)
{
    (void)state;
    struct sample x;
    fill(&x);
    check(&x, COUNT, FIRST + COUNT);
    check(&x, COUNT, UINT64_MAX);
}

static void a_wrong_bit_costs_the_record_it_is_in(void **state)
{
    (void)state;
    struct sample x;
    fill(&x);
    for (unsigned i = 0; i < 3000; i++) {
        size_t bit = BLOCK_HEAD * 8 + dice((x.used - BLOCK_HEAD) * 8);
        x.value[bit / 8] = (char)(x.value[bit / 8] ^ (1 << bit % 8));
        check(&x, which(&x, bit / 8), FIRST + COUNT);
        x.value[bit / 8] = (char)(x.value[bit / 8] ^ (1 << bit % 8));
    }
}

static void nothing_sound_is_said_so(void **state)
{
    (void)state;
    struct sample x;
    struct buf out = BUF_INIT;
    struct block b;
    fill(&x);
    struct slice v = slice_of(x.value, BLOCK_SIZE);
    assert_int_equal(salvage_block(v, SID + 1, FIRST, FIRST + COUNT, &out, &b), E_CORRUPT);
    assert_int_equal(salvage_block(slice_head(v, BLOCK_HEAD), SID, FIRST, 9999, &out, &b),
                     E_CORRUPT);
    for (size_t i = 0; i < sizeof x.value; i++)
        x.value[i] = (char)dice(256);
    assert_int_equal(salvage_block(v, SID, FIRST, FIRST + COUNT, &out, &b), E_CORRUPT);
    buf_release(&out);
}

static void one_bit_is_put_right_and_two_are_not(void **state)
{
    (void)state;
    char sound[300], wrong[300];
    for (size_t i = 0; i < sizeof sound; i++)
        sound[i] = (char)dice(256);
    uint32_t crc = crc32c(0, sound, sizeof sound);
    for (size_t bit = 0; bit < sizeof sound * 8; bit++) {
        memcpy(wrong, sound, sizeof sound);
        wrong[bit / 8] = (char)(wrong[bit / 8] ^ (1 << bit % 8));
        assert_true(salvage_bit(wrong, sizeof wrong, crc ^ crc32c(0, wrong, sizeof wrong)));
        assert_memory_equal(wrong, sound, sizeof sound);
        wrong[bit / 8] = (char)(wrong[bit / 8] ^ (1 << bit % 8));
        size_t other = (bit + 1 + dice(sizeof sound * 8 - 1)) % (sizeof sound * 8);
        wrong[other / 8] = (char)(wrong[other / 8] ^ (1 << other % 8));
        assert_false(salvage_bit(wrong, sizeof wrong, crc ^ crc32c(0, wrong, sizeof wrong)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_without_a_directory_gives_all_its_records),
        cmocka_unit_test(a_wrong_bit_costs_the_record_it_is_in),
        cmocka_unit_test(nothing_sound_is_said_so),
        cmocka_unit_test(one_bit_is_put_right_and_two_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

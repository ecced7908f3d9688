/* holes against a plain array of booleans, and the window of message ids
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "storage/dedupe.h"
#include "storage/holes.h"
#include "unit/storage/dice.h"

enum { N = 60000 };

static uint64_t from_there(const bool *gone, uint64_t seq)
{
    uint64_t n = 0;
    for (uint64_t i = seq; i < N; i++)
        n += gone[i];
    return n;
}

static void compare(struct holes *h, const bool *gone, uint64_t low)
{
    for (int i = 0; i < 20; i++) {
        uint64_t seq = low + dice(N - low), live = seq, back = seq, dead = seq;
        assert_int_equal(holes_test(h, seq), gone[seq]);
        assert_int_equal(holes_count_from(h, seq), from_there(gone, seq));
        while (live < N && gone[live])
            live++;
        if (live < N)
            assert_int_equal(holes_next_live(h, seq), live);
        while (back > low && gone[back])
            back--;
        if (!gone[back])
            assert_int_equal(holes_prev_live(h, seq), back);
        while (dead < N && !gone[dead])
            dead++;
        assert_int_equal(holes_next_dead(h, seq), dead < N ? dead : UINT64_MAX);
    }
}

/* Rows as they would lie in the file, read into a new one. */
static void write_and_read(struct holes *h)
{
    struct holes again;
    struct buf b = BUF_INIT;
    holes_init(&again);
    for (size_t i = 0; i < h->n; i++) {
        buf_clear(&b);
        holes_row_add(&b, 7, &h->at[i]);
        assert_int_equal(holes_row_load(&again, 7, h->at[i].page, buf_slice(&b)), 0);
        b.data[b.start + dice(b.len)] ^= 4;
        assert_int_not_equal(holes_row_load(&again, 7, h->at[i].page, buf_slice(&b)), 0);
    }
    assert_int_equal(again.ndirty, 0);
    buf_release(&b);
    holes_release(h);
    *h = again;
}

static void one_life(void)
{
    bool *gone = xcalloc(N, sizeof *gone);
    struct holes h;
    uint64_t low = 1;
    holes_init(&h);
    for (int i = 0; i < 600; i++) {
        uint64_t a = low + dice(N - low), b = a + dice(dice(4) ? 50 : 20000);
        if (b >= N)
            b = N - 1;
        switch (dice(8)) {
        case 0:
            holes_set_range(&h, a, b);
            for (uint64_t k = a; k <= b; k++)
                gone[k] = true;
            break;
        case 1:
            for (uint64_t k = a; k <= b; k += 1 + dice(3)) {
                holes_clear(&h, k);
                gone[k] = false;
            }
            break;
        case 2:
            if (dice(20) == 0) {
                low += dice((N - low) / 4);
                holes_drop_below(&h, low);
            }
            break;
        case 3:
            if (dice(10) == 0)
                write_and_read(&h);
            break;
        default:
            for (uint64_t k = a; k <= b && k < a + 5000; k += 1 + dice(3)) {
                assert_int_equal(holes_set(&h, k), !gone[k]);
                gone[k] = true;
            }
        }
        compare(&h, gone, low);
    }
    holes_release(&h);
    free(gone);
}

static void holes_count_as_an_array_would(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        one_life();
}

static void a_billion_skipped_numbers_cost_one_run(void **state)
{
    (void)state;
    struct holes h;
    holes_init(&h);
    holes_set_range(&h, 10, 1000000000000ull);
    assert_true(h.n <= 3);
    assert_int_equal(holes_next_live(&h, 20), 1000000000001ull);
    assert_int_equal(holes_count_from(&h, 0), 1000000000000ull - 9);
    holes_release(&h);
}

static void ids_leave_when_they_are_old(void **state)
{
    (void)state;
    struct dedupe d;
    char id[32];
    dedupe_init(&d);
    for (uint64_t i = 1; i <= 20000; i++) {
        size_t n = (size_t)snprintf(id, sizeof id, "id-%llu", (unsigned long long)i);
        dedupe_add(&d, slice_of(id, n), i, (int64_t)i);
        while (dedupe_expire(&d, (int64_t)i - 1000, 7))
            ;
    }
    assert_int_equal(d.count, 1001);
    for (uint64_t i = 18000; i <= 20001; i++) {
        size_t n = (size_t)snprintf(id, sizeof id, "id-%llu", (unsigned long long)i);
        uint64_t want = i >= 19000 && i <= 20000 ? i : 0;
        assert_int_equal(dedupe_find(&d, slice_of(id, n), 0), want);
        assert_int_equal(dedupe_find(&d, slice_of(id, n), 19500), i >= 19500 ? want : 0);
    }
    assert_false(dedupe_expire(&d, INT64_MAX, 100000));
    assert_int_equal(d.count, 0);
    dedupe_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes_count_as_an_array_would),
        cmocka_unit_test(a_billion_skipped_numbers_cost_one_run),
        cmocka_unit_test(ids_leave_when_they_are_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

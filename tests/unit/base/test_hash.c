/* The table and the timer heap against naive models with seeded random input.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/heap.h"

#define KEYS 20000

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed >> 33) % below;
}

static bool same_key(const void *item, const void *key)
{
    return *(const uint32_t *)item == *(const uint32_t *)key;
}

/* Few different homes when `poor`: long runs that wrap around. */
static uint64_t hash_of(uint32_t key, bool poor)
{
    return poor ? (uint64_t)0 - 1 - key % 64 : hash64(&key, sizeof key);
}

static void check_walk(const struct htab *t, const bool *in, size_t count)
{
    static bool seen[KEYS];
    memset(seen, 0, sizeof seen);
    size_t pos = 0, n = 0;
    for (uint32_t *item; (item = htab_next(t, &pos)) != NULL; n++) {
        assert_true(in[*item] && !seen[*item]);
        seen[*item] = true;
    }
    assert_int_equal(n, count);
    assert_int_equal(t->count, count);
}

struct met {
    unsigned times[KEYS];
};

static void meet(void *arg, void *item)
{
    ((struct met *)arg)->times[*(uint32_t *)item]++;
}

/* Deleting with tidying: the table gets smaller, what is left is found, puts go on meanwhile. */
static void a_tidied_table_follows_its_content_down(void **state)
{
    static uint32_t values[4 * KEYS];
    (void)state;
    for (int poor = 0; poor <= 1; poor++) {
        struct htab t;
        htab_init(&t);
        uint32_t n = poor ? KEYS / 4 : 4 * KEYS;
        for (uint32_t i = 0; i < n; i++) {
            values[i] = i;
            htab_put(&t, hash_of(i, poor), &values[i]);
        }
        size_t most = t.cap;
        for (uint32_t i = 0; i < n - 100; i++) {
            assert_ptr_equal(htab_del(&t, hash_of(i, poor), same_key, &i), &values[i]);
            htab_tidy(&t, 64);
            if (i % 7 == 0) { /* one comes back, for a moment */
                htab_put(&t, hash_of(i, poor), &values[i]);
                assert_ptr_equal(htab_get(&t, hash_of(i, poor), same_key, &i), &values[i]);
                assert_ptr_equal(htab_del(&t, hash_of(i, poor), same_key, &i), &values[i]);
            }
        }
        assert_int_equal(t.count, 100);
        for (uint32_t i = n - 100; i < n; i++)
            assert_ptr_equal(htab_get(&t, hash_of(i, poor), same_key, &i), &values[i]);
        assert_true(t.cap + t.old_cap <= (most > 8192 ? most / 4 : most));
        htab_release(&t);
    }
}

static void a_drained_table_gives_each_item_once(void **state)
{
    static uint32_t values[4 * KEYS];
    static bool in[4 * KEYS];
    (void)state;
    for (uint32_t many = 0; many <= 4 * KEYS;
         many += KEYS / 3) { /* in the middle of growing, too */
        struct htab t;
        htab_init(&t);
        memset(in, 0, sizeof in);
        for (uint32_t i = 0; i < many; i++) {
            values[i] = i;
            htab_put(&t, hash_of(i, false), &values[i]);
            in[i] = true;
        }
        for (uint32_t i = 0; i < many; i += 3) {
            htab_del(&t, hash_of(i, false), same_key, &i);
            in[i] = false;
        }
        size_t pos = 0;
        for (uint32_t *item; (item = htab_drain(&t, &pos)) != NULL;) {
            assert_true(in[*item]);
            in[*item] = false;
        }
        assert_int_equal(t.count, 0);
        for (uint32_t i = 0; i < many; i++)
            assert_false(in[i]);
        htab_release(&t);
    }
}

/* What is there from the first portion to the last is met once, whatever comes and goes. */
static void a_walk_in_portions_meets_what_stays(void **state)
{
    static uint32_t values[KEYS];
    static struct met met;
    struct htab t;
    struct htab_walk w = {0};
    unsigned anew = 0;
    (void)state;
    htab_init(&t);
    for (uint32_t k = 0; k < KEYS; k++)
        values[k] = k;
    for (uint32_t k = 0; k < KEYS / 2; k++)
        htab_put(&t, hash_of(k, false), &values[k]);
    uint32_t come = KEYS / 2, gone = 0;
    for (int said; (said = htab_walk(&t, &w, 300, meet, &met)) != HTAB_END;) {
        if (said == HTAB_ANEW) {
            memset(&met, 0, sizeof met);
            anew++;
        }
        for (int i = 0; i < 200 && come < KEYS; i++, come++)
            htab_put(&t, hash_of(come, false), &values[come]);
        for (int i = 0; i < 20 && gone < KEYS / 4; i++, gone++)
            assert_non_null(htab_del(&t, hash_of(gone, false), same_key, &gone));
    }
    assert_true(anew > 1); /* the table did grow under the walk */
    for (uint32_t k = 0; k < KEYS; k++)
        assert_true(k < gone || k >= KEYS / 2 ? met.times[k] <= 1 : met.times[k] == 1);
    htab_release(&t);
}

static void run_model(uint32_t keys, int rounds, bool poor)
{
    static uint32_t values[KEYS];
    static bool in[KEYS];
    struct htab t;
    size_t count = 0;
    htab_init(&t);
    memset(in, 0, sizeof in);
    for (int i = 0; i < rounds; i++) {
        uint32_t k = (uint32_t)draw(keys);
        uint64_t h = hash_of(k, poor);
        bool wants = draw(100) < (i / (rounds / 5) % 2 ? 20u : 80u);
        values[k] = k;
        assert_ptr_equal(htab_get(&t, h, same_key, &k), in[k] ? &values[k] : NULL);
        if (wants && !in[k]) {
            htab_put(&t, h, &values[k]);
            in[k] = true;
            count++;
        } else if (!wants) {
            assert_ptr_equal(htab_del(&t, h, same_key, &k), in[k] ? &values[k] : NULL);
            count -= in[k];
            in[k] = false;
        }
        if (i % (rounds / 20) == 0)
            check_walk(&t, in, count);
    }
    size_t pos = 0;
    for (uint32_t *item; (item = htab_next(&t, &pos)) != NULL; count--)
        assert_ptr_equal(htab_del(&t, hash_of(*item, poor), same_key, item), item);
    assert_int_equal(count, 0);
    assert_int_equal(t.count, 0);
    htab_release(&t);
}

static void a_table_does_what_a_naive_one_does(void **state)
{
    (void)state;
    for (uint64_t s = 1; s < 10; s++) {
        seed = s;
        run_model(KEYS, 100000, false);
    }
}

static void a_table_survives_bad_hashes(void **state)
{
    (void)state;
    for (uint64_t s = 1; s < 40; s++) {
        seed = s;
        run_model(300, 10000, true);
    }
}

static void growing_moves_a_bounded_number_per_put(void **state)
{
    (void)state;
    static uint32_t values[KEYS];
    struct htab t;
    size_t moved_most = 0;
    htab_init(&t);
    for (uint32_t i = 0; i < KEYS; i++) {
        values[i] = i;
        size_t before = t.old_pos, old_cap = t.old_cap;
        htab_put(&t, hash_of(i, false), &values[i]);
        size_t moved = old_cap && t.old_cap ? t.old_pos - before : old_cap - before;
        if (old_cap && moved > moved_most)
            moved_most = moved;
    }
    assert_true(moved_most > 0 && moved_most <= 16);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_ptr_equal(htab_get(&t, hash_of(i, false), same_key, &i), &values[i]);
    htab_release(&t);
}

#define TIMERS 500

static void timers_come_out_in_order(void **state)
{
    (void)state;
    static struct turn_timer t[TIMERS];
    for (uint64_t s = 1; s < 20; s++) {
        seed = s;
        struct heap h = {0};
        size_t set = 0;
        memset(t, 0, sizeof t);
        for (int i = 0; i < 5000; i++) {
            struct turn_timer *one = &t[draw(TIMERS)];
            if (draw(3)) {
                set += !turn_timer_is_set(one);
                heap_set(&h, one, (int64_t)draw(1000));
            } else {
                set -= turn_timer_is_set(one);
                heap_remove(&h, one);
            }
            assert_int_equal(h.n, set);
        }
        int64_t last = -1;
        for (struct turn_timer *top; (top = heap_top(&h)) != NULL; set--) {
            assert_true(top->due >= last);
            last = top->due;
            heap_remove(&h, top);
            assert_false(turn_timer_is_set(top));
        }
        assert_int_equal(set, 0);
        heap_set(&h, &t[0], 5);
        heap_release(&h);
        assert_false(turn_timer_is_set(&t[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tidied_table_follows_its_content_down),
        cmocka_unit_test(a_drained_table_gives_each_item_once),
        cmocka_unit_test(a_walk_in_portions_meets_what_stays),
        cmocka_unit_test(a_table_does_what_a_naive_one_does),
        cmocka_unit_test(a_table_survives_bad_hashes),
        cmocka_unit_test(growing_moves_a_bounded_number_per_put),
        cmocka_unit_test(timers_come_out_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/base/test_msort.c -- sorting in portions gives what sorting at once gives
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/msort.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"

struct pair {
    uint32_t key, born; /* born: its place before sorting, to see that equals keep their order */
};

static int by_key(const void *a, const void *b, void *arg)
{
    const struct pair *x = a, *y = b;
    ++*(unsigned *)arg;
    return x->key < y->key ? -1 : x->key > y->key;
}

static void sort_and_look(size_t n, uint32_t keys, size_t steps)
{
    struct pair *p = xmalloc((n + 1) * sizeof *p);
    unsigned compared = 0, turns = 0;
    uint32_t x = 12345;
    struct msort m;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (struct pair){(x >> 8) % keys, (uint32_t)i};
    }
    msort_init(&m, p, n, sizeof *p, by_key, &compared);
    while (!msort_step(&m, steps))
        assert_true(++turns < 1000000);
    if (n > 20 * steps && n > 20 * 256)
        assert_true(turns > 20); /* it did pause */
    p = (struct pair *)(void *)m.items;
    for (size_t i = 1; i < n; i++) {
        assert_true(p[i - 1].key <= p[i].key);
        if (p[i - 1].key == p[i].key)
            assert_true(p[i - 1].born < p[i].born);
    }
    msort_release(&m);
}

static void any_number_comes_out_in_order(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 2, 255, 256, 257, 511, 512, 513, 1000, 4097, 20000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sort_and_look(sizes[i], 1u << 20, 100);
        sort_and_look(sizes[i], 7, 1);
        sort_and_look(sizes[i], 1, 1u << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_comes_out_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

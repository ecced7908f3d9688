/* tests/unit/storage/test_seen.c -- no subject that was added is ever denied, most others are
 * SPDX-License-Identifier: Apache-2.0 */
#include "storage/seen.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/hash.h"

static uint64_t hash_of(uint64_t i)
{
    return hash64(&i, sizeof i);
}

static void what_was_added_is_never_denied(void **state)
{
    (void)state;
    const uint64_t n = 200000;
    struct seen_rows x;
    uint64_t wrong = 0;
    seen_init(&x);
    assert_true(seen_maybe(&x, hash_of(1))); /* nothing is known */
    seen_begin(&x);
    assert_false(seen_maybe(&x, hash_of(1)));
    for (uint64_t i = 0; i < n; i++)
        seen_add(&x, hash_of(i));
    for (uint64_t i = 0; i < n; i++)
        assert_true(seen_maybe(&x, hash_of(i)));
    for (uint64_t i = n; i < 2 * n; i++)
        wrong += seen_maybe(&x, hash_of(i));
    assert_true(wrong < n / 10);
    seen_release(&x);
}

static void too_many_are_not_counted_any_more(void **state)
{
    (void)state;
    struct seen_rows x;
    uint64_t i = 0;
    seen_init(&x);
    seen_begin(&x);
    for (; x.whole && i < 20000000; i++)
        seen_add(&x, hash_of(i));
    assert_true(i > 4000000 && !x.whole && !x.levels);
    assert_true(seen_maybe(&x, hash_of(i + 1)));
    seen_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_never_denied),
        cmocka_unit_test(too_many_are_not_counted_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

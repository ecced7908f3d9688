/* Numbers in decimal: as printf writes them, and not a byte more
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/digits.h"

static void expect_as_printf(uint64_t v)
{
    char want[DIGITS_MAX + 1], got[DIGITS_MAX + 1];
    int n = snprintf(want, sizeof want, "%llu", (unsigned long long)v);
    memset(got, '#', sizeof got);
    assert_int_equal(digits_put(got, v), n);
    assert_memory_equal(got, want, (size_t)n);
    assert_int_equal(got[n], '#');
}

static void each_length_is_written_as_printf_does(void **state)
{
    (void)state;
    for (uint64_t v = 0; v < 100000; v++)
        expect_as_printf(v);
    uint64_t ten = 1;
    for (int i = 0; i < 20; i++, ten *= 10) {
        expect_as_printf(ten - 1);
        expect_as_printf(ten);
        expect_as_printf(ten + 1);
        expect_as_printf(ten / 9 * 7);
    }
    expect_as_printf(UINT64_MAX);
    expect_as_printf(UINT64_MAX - 1);
}

static void any_number_is_written_as_printf_does(void **state)
{
    (void)state;
    uint64_t v = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 100000; i++) {
        v ^= v << 13, v ^= v >> 7, v ^= v << 17;
        expect_as_printf(v >> (i % 64));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_length_is_written_as_printf_does),
        cmocka_unit_test(any_number_is_written_as_printf_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

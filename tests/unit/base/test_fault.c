/* Fault points: constant false in an ordinary build, counted in one with FAULTS.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

#ifdef FROND_FAULTS

static unsigned hits(const char *point)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < 8; i++)
        bits |= (unsigned)fault_hit(point) << i;
    return bits;
}

static void faults_hit_when_they_are_told_to(void **state)
{
    (void)state;
    fault_set("a:3,b:3+,c:3-5,,d:1");
    assert_int_equal(hits("a"), 0x04);
    assert_int_equal(hits("b"), 0xfc);
    assert_int_equal(hits("c"), 0x1c);
    assert_int_equal(hits("d"), 0x01);
    assert_int_equal(hits("e"), 0);
    fault_set(NULL);
    assert_int_equal(hits("a"), 0);
}

static void the_second_allocation_fails(void **state)
{
    (void)state;
    fault_set("malloc:2");
    void *a = try_malloc(1), *b = try_malloc(1), *c = try_malloc(1);
    fault_set(NULL);
    assert_true(a && !b && c);
    free(a);
    free(c);
}

#else

static void faults_hit_when_they_are_told_to(void **state)
{
    (void)state;
    assert_false(fault_hit("a"));
}

static void the_second_allocation_fails(void **state)
{
    (void)state;
    skip(); /* needs -DFAULTS=ON */
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_hit_when_they_are_told_to),
        cmocka_unit_test(the_second_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

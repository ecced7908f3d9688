/* tests/unit/server/test_cells.c -- small things of libevent's, kept apart from the heap
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/cells.h"

enum { MANY = 3000 };

static void small_ones_lie_together_and_are_used_again(void **state)
{
    (void)state;
    static char *at[MANY];
    for (int i = 0; i < MANY; i++) {
        at[i] = cells_malloc((size_t)(i % 64) + 1);
        memset(at[i], i & 0xff, (size_t)(i % 64) + 1);
    }
    for (int i = 1; i < MANY; i++)
        assert_ptr_equal(at[i], at[i - 1] + 64);
    for (int i = 0; i < MANY; i++)
        for (int k = 0; k <= i % 64; k++)
            assert_int_equal((unsigned char)at[i][k], i & 0xff);
    char *gone = at[7];
    cells_free(gone);
    assert_ptr_equal(cells_malloc(64), gone);
    for (int i = 0; i < MANY; i++)
        cells_free(at[i]);
}

static void what_grows_moves_with_its_content(void **state)
{
    (void)state;
    char *p = cells_realloc(NULL, 10);
    memcpy(p, "0123456789", 10);
    assert_ptr_equal(cells_realloc(p, 64), p);
    char *q = cells_realloc(p, 5000);
    assert_ptr_not_equal(q, p);
    assert_memory_equal(q, "0123456789", 10);
    assert_ptr_equal(cells_malloc(1), p); /* its cell is free again */
    q = cells_realloc(q, 100000);
    assert_memory_equal(q, "0123456789", 10);
    cells_free(q);
    cells_free(p);
    cells_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_ones_lie_together_and_are_used_again),
        cmocka_unit_test(what_grows_moves_with_its_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/base/test_slab.c -- small things keep their bytes, and empty slabs go back
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

struct thing {
    unsigned char *at; /* NULL: not handed out */
    size_t n;
    unsigned char mark; /* all of its bytes */
};

static uint32_t chance(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

static void put(struct slabs *x, struct thing *t, size_t n, unsigned char mark)
{
    *t = (struct thing){slab_alloc(x, n), n, mark};
    assert_int_equal((uintptr_t)t->at % 16, 0);
    memset(t->at, mark, n);
}

static void drop(struct slabs *x, struct thing *t)
{
    for (size_t i = 0; i < t->n; i++)
        assert_int_equal(t->at[i], t->mark);
    slab_free(x, t->at, t->n);
    t->at = NULL;
}

static void nobody_writes_into_another_ones_bytes(void **state)
{
    (void)state;
    enum { N = 5000 };
    static struct thing things[N];
    struct slabs x;
    uint32_t seed = 7;
    slabs_init(&x);
    for (unsigned round = 0; round < 40 * N; round++) {
        struct thing *t = &things[chance(&seed) % N];
        if (t->at)
            drop(&x, t);
        else
            put(&x, t, chance(&seed) % (SLAB_MOST + 100), (unsigned char)chance(&seed));
    }
    for (size_t i = 0; i < N; i++)
        if (things[i].at)
            drop(&x, &things[i]);
    assert_int_equal(x.mapped, x.nidle);
    slabs_cool(&x);
    assert_int_equal(x.mapped, 0);
    slabs_release(&x);
}

/* In any order: what is left is what idle slabs are. */
static void a_million_leave_nothing_behind(void **state)
{
    (void)state;
    enum { N = 100000, SIZE = 120, STRIDE = 7919 };
    void **all = xmalloc(N * sizeof *all);
    struct slabs x;
    slabs_init(&x);
    for (size_t i = 0; i < N; i++)
        all[i] = slab_alloc(&x, SIZE);
    size_t most = x.mapped;
    assert_true(most * 64 * 1024 < (size_t)N * SIZE * 5 / 4); /* they lie close */
    for (size_t i = 0; i < N; i++)
        slab_free(&x, all[i * STRIDE % N], SIZE);
    assert_true(x.mapped == x.nidle && x.mapped < most / 8);
    slabs_release(&x);
    assert_int_equal(x.mapped, 0);
    free(all);
}

static void a_freed_cell_is_the_next_one(void **state)
{
    (void)state;
    struct slabs x;
    slabs_init(&x);
    void *a = slab_alloc(&x, 40), *b = slab_alloc(&x, 40);
    slab_free(&x, a, 40);
    void *c = slab_alloc(&x, 48); /* the same class */
    assert_ptr_equal(a, c);
    slab_free(&x, b, 40);
    slab_free(&x, c, 48);
    slabs_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_writes_into_another_ones_bytes),
        cmocka_unit_test(a_million_leave_nothing_behind),
        cmocka_unit_test(a_freed_cell_is_the_next_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/server/test_outq.c -- the chain against a flat string, with random steps
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/outq.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static unsigned seed = 7;

static unsigned rnd(unsigned below)
{
    return (unsigned)rand_r(&seed) % below;
}

static void fill(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + rnd(26));
}

/* The queue holds exactly what the model holds. */
static void compare(const struct outq *q, const struct buf *model)
{
    struct iovec iov[8192];
    int n = outq_iov(q, iov, 8192);
    struct slice rest = buf_slice(model);
    assert_int_equal(q->bytes, rest.n);
    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len > 0 && iov[i].iov_len <= rest.n);
        assert_memory_equal(iov[i].iov_base, rest.p, iov[i].iov_len);
        rest = slice_skip(rest, iov[i].iov_len);
    }
    assert_int_equal(rest.n, 0);
}

static void random_steps_agree_with_a_flat_string(void **state)
{
    (void)state;
    struct outq q = {0};
    struct outq_pool pool = {0};
    struct buf model = BUF_INIT;
    char big[20000];
    fill(big, sizeof big);
    struct msg_view v = {.payload = slice_of(big, sizeof big), .subject = SLICE("s")};
    struct msg *m = msg_new(&v);
    for (int step = 0; step < 3000; step++) {
        unsigned what = rnd(10);
        if (what < 5) {
            size_t n = rnd(20) == 0 ? rnd(200000) : rnd(600), count = n ? rnd((unsigned)n + 1) : 0;
            char *p = outq_reserve(&q, &pool, n);
            fill(p, count);
            buf_add(&model, p, count);
            outq_commit(&q, count);
        } else if (what == 5) {
            size_t from = rnd(1000), n = rnd(19000);
            outq_ref(&q, m, from, n);
            buf_add(&model, m->data + from, n);
        } else {
            size_t n =
                q.bytes ? rnd((unsigned)(q.bytes > 40000 && rnd(4) ? 40000 : q.bytes) + 1) : 0;
            outq_take(&q, &pool, n);
            buf_consume(&model, n);
        }
        if (step % 16 == 0)
            compare(&q, &model);
    }
    compare(&q, &model);
    outq_release(&q, &pool);
    assert_null(q.head);
    assert_int_equal(m->refs, 1);
    msg_unref(m);
    buf_release(&model);
    outq_pool_release(&pool);
    assert_int_equal(pool.n, 0);
}

static void the_pool_gives_back_what_nobody_used(void **state)
{
    (void)state;
    struct outq q = {0};
    struct outq_pool pool = {0};
    for (int i = 0; i < 40; i++) {
        outq_reserve(&q, &pool, 60000);
        outq_commit(&q, 60000);
    }
    outq_take(&q, &pool, q.bytes);
    assert_in_range(pool.n, 1, 16);
    assert_true(outq_pool_trim(&pool)); /* they were in use */
    assert_false(outq_pool_trim(&pool));
    assert_int_equal(pool.n, 0);
    outq_release(&q, &pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_agree_with_a_flat_string),
        cmocka_unit_test(the_pool_gives_back_what_nobody_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

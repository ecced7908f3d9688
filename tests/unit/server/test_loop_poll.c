/* tests/unit/server/test_loop_poll.c -- looking pays only while events come close upon each other
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/loop_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void far_apart_costs_nothing(void **state)
{
    struct loop_poll p = {0};
    int64_t now = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(loop_poll_for(&p, now, 0), 0);
        now += LOOP_POLL_MOST + 1;
        loop_poll_note(&p, LOOP_POLL_MOST + 1);
    }
}

static void close_together_is_looked_for_up_to_the_most(void **state)
{
    struct loop_poll p = {0};

    (void)state;
    loop_poll_note(&p, LOOP_POLL_MOST);
    assert_int_equal(loop_poll_for(&p, 0, 0), LOOP_POLL_FIRST);
    for (int i = 0; i < 10; i++) {
        int64_t before = loop_poll_for(&p, 0, 0);
        loop_poll_note(&p, 1);
        assert_true(loop_poll_for(&p, 0, 0) >= before);
        assert_true(loop_poll_for(&p, 0, 0) <= LOOP_POLL_MOST);
    }
    assert_int_equal(loop_poll_for(&p, 0, 0), LOOP_POLL_MOST);
    loop_poll_note(&p, LOOP_POLL_MOST + 1); /* looked in vain: off at once */
    assert_int_equal(loop_poll_for(&p, 0, 0), 0);
}

static void after_real_work_it_sleeps(void **state)
{
    struct loop_poll p = {0};

    (void)state;
    loop_poll_note(&p, 1);
    assert_true(loop_poll_for(&p, 0, LOOP_POLL_WORK) > 0);
    assert_int_equal(loop_poll_for(&p, 0, LOOP_POLL_WORK + 1), 0);
}

static void a_wanted_core_is_left_for_a_while(void **state)
{
    struct loop_poll p = {0};
    int64_t now = NS_PER_S;

    (void)state;
    loop_poll_note(&p, 1);
    loop_poll_crowded(&p, now);
    loop_poll_note(&p, 1);
    assert_int_equal(loop_poll_for(&p, now, 0), 0);
    assert_int_equal(loop_poll_for(&p, now + LOOP_POLL_CROWDED - 1, 0), 0);
    assert_true(loop_poll_for(&p, now + LOOP_POLL_CROWDED, 0) > 0);
}

static void an_expected_mail_is_waited_for_awake(void **state)
{
    struct loop_poll p = {0};
    int64_t now = NS_PER_S, due = now + 300 * NS_PER_US, from, until;

    (void)state;
    assert_true(loop_poll_expected(&p, now, 0, due, &from, &until));
    assert_true(now < from && from < due && due < until);
    assert_true(until - from <= LOOP_POLL_MOST);
    assert_true(loop_poll_expected(&p, due, LOOP_POLL_WORK, due, &from, &until));
    assert_false(loop_poll_expected(&p, now, 0, 0, &from, &until)); /* none is expected */
    assert_false(loop_poll_expected(&p, until, 0, due, &from, &until));
    assert_false(loop_poll_expected(&p, now, LOOP_POLL_WORK + 1, due, &from, &until));
    assert_false(loop_poll_expected(&p, due - NS_PER_S, 0, due, &from, &until));
    loop_poll_crowded(&p, now);
    assert_false(loop_poll_expected(&p, now, 0, due, &from, &until));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_apart_costs_nothing),
        cmocka_unit_test(close_together_is_looked_for_up_to_the_most),
        cmocka_unit_test(after_real_work_it_sleeps),
        cmocka_unit_test(a_wanted_core_is_left_for_a_while),
        cmocka_unit_test(an_expected_mail_is_waited_for_awake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

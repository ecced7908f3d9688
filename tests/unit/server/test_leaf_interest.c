/* What the peer of a link was told: single steps, then a peer that keeps a book against a naive
 * count.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/leaf_interest.h"

static struct leaf_interest li;
static struct buf said;

static int start(void **state)
{
    (void)state;
    leaf_interest_init(&li);
    buf_init(&said);
    return 0;
}

static int end(void **state)
{
    (void)state;
    leaf_interest_reset(&li);
    buf_release(&said);
    return 0;
}

static void change(const char *subject, const char *queue, int32_t by)
{
    leaf_interest_change(&li, slice_cstr(subject), slice_cstr(queue), by);
}

static void says(const char *lines)
{
    buf_clear(&said);
    assert_int_equal(leaf_interest_due(&li), *lines != '\0');
    leaf_interest_flush(&li, &said);
    assert_string_equal(buf_cstr(&said), lines);
    assert_false(leaf_interest_due(&li));
}

static void plain_interest_is_told_at_the_first_and_the_last(void **state)
{
    (void)state;
    change("a.b", NULL, 1);
    says("LS+ a.b\r\n");
    change("a.b", NULL, 1);
    says("");
    change("a.b", NULL, -1);
    says("");
    change("a.b", NULL, -1);
    says("LS- a.b\r\n");
    assert_int_equal(li.keys.count, 0);
}

static void queue_interest_is_told_with_its_total(void **state)
{
    (void)state;
    change("q", "workers", 1);
    says("LS+ q workers 1\r\n");
    change("q", "workers", 3);
    says("LS+ q workers 4\r\n");
    change("q", "workers", -3);
    says("LS+ q workers 1\r\n");
    change("q", "workers", -1);
    says("LS- q workers\r\n");
    assert_int_equal(li.keys.count, 0);
}

static void what_comes_and_goes_between_two_flushes_is_never_told(void **state)
{
    (void)state;
    change("a", NULL, 1);
    change("a", NULL, -1);
    says("");
    change("a", NULL, 1);
    says("LS+ a\r\n");
    change("a", NULL, -1);
    change("a", NULL, 1);
    says(""); /* never "LS-" while interest remains */
    change("q", "g", 2);
    says("LS+ q g 2\r\n");
    change("q", "g", 1);
    change("q", "g", -1);
    says("");
}

static void plain_and_queue_interest_are_keys_of_their_own(void **state)
{
    (void)state;
    change("a", NULL, 1);
    change("a", "g", 1);
    change("a", "h", 1);
    says("LS+ a\r\nLS+ a g 1\r\nLS+ a h 1\r\n");
    change("a", NULL, -1);
    says("LS- a\r\n");
}

static void removals_of_unknown_keys_are_ignored(void **state)
{
    (void)state;
    change("a", NULL, -1);
    change("a", "g", -5);
    says("");
    assert_int_equal(li.keys.count, 0);
}

static void a_weight_beyond_int32_is_cut(void **state)
{
    (void)state;
    change("a", "g", INT32_MAX);
    change("a", "g", INT32_MAX);
    says("LS+ a g 2147483647\r\n");
}

static void reset_forgets_what_is_due(void **state)
{
    (void)state;
    change("a", NULL, 1);
    change("b", "g", 1);
    leaf_interest_reset(&li);
    says("");
    change("a", NULL, 1);
    says("LS+ a\r\n");
}

/* --- the model ---------------------------------------------------------------------------------
 */

enum { SUBJECTS = 5, QUEUES = 3 }; /* queue 0: plain */
static int64_t count[SUBJECTS][QUEUES], book[SUBJECTS][QUEUES];

/* The peer reads the lines, as strictly as nats-server. */
static void peer_reads(struct slice text)
{
    while (text.n) {
        size_t eol = slice_search(text, SLICE("\r\n"));
        struct slice line = slice_head(text, eol), t[4];
        size_t n = 0;
        text = slice_skip(text, eol + 2);
        while (n < 4 && slice_token(&line, &t[n]))
            n++;
        bool add = slice_is(t[0], "LS+");
        assert_true(add ? n == 2 || n == 4 : slice_is(t[0], "LS-") && (n == 2 || n == 3));
        int s = t[1].p[1] - '0', q = n > 2 ? t[2].p[1] - '0' : 0;
        uint64_t weight = 1;
        if (n == 4)
            assert_int_equal(slice_u64(t[3], &weight), 0);
        if (add)
            assert_int_not_equal(book[s][q], (int64_t)weight); /* says nothing twice */
        else
            assert_int_not_equal(book[s][q], 0);
        book[s][q] = add ? (int64_t)weight : 0;
    }
}

static void random_changes_leave_the_peer_with_the_truth(void **state)
{
    (void)state;
    srand(20261121);
    for (int i = 0; i < 200000; i++) {
        int s = rand() % SUBJECTS, q = rand() % QUEUES;
        int32_t by = q ? 1 + rand() % 3 : 1;
        char subject[8], queue[8];
        if (rand() % 2) {
            by = -(by < count[s][q] ? by : (int32_t)count[s][q]);
            if (by == 0)
                continue;
        }
        snprintf(subject, sizeof subject, "s%d", s);
        snprintf(queue, sizeof queue, "q%d", q);
        change(subject, q ? queue : NULL, by);
        count[s][q] += by;
        if (rand() % 4)
            continue;
        buf_clear(&said);
        leaf_interest_flush(&li, &said);
        peer_reads(buf_slice(&said));
        for (s = 0; s < SUBJECTS; s++)
            for (q = 0; q < QUEUES; q++)
                assert_int_equal(book[s][q], q ? count[s][q] : count[s][q] > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_interest_is_told_at_the_first_and_the_last, start,
                                        end),
        cmocka_unit_test_setup_teardown(queue_interest_is_told_with_its_total, start, end),
        cmocka_unit_test_setup_teardown(what_comes_and_goes_between_two_flushes_is_never_told,
                                        start, end),
        cmocka_unit_test_setup_teardown(plain_and_queue_interest_are_keys_of_their_own, start, end),
        cmocka_unit_test_setup_teardown(removals_of_unknown_keys_are_ignored, start, end),
        cmocka_unit_test_setup_teardown(a_weight_beyond_int32_is_cut, start, end),
        cmocka_unit_test_setup_teardown(reset_forgets_what_is_due, start, end),
        cmocka_unit_test_setup_teardown(random_changes_leave_the_peer_with_the_truth, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

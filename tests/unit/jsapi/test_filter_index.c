/* tests/unit/jsapi/test_filter_index.c -- the trie of filters against subject_match()
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "jsapi/filter_index.h"

#include "base/subject.h"

#define PATTERNS 60

static uint32_t rng_state;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % n;
}

static void some_subject(char *to, bool pattern)
{
    static const char *const words[] = {"a", "b", "c", "dd"};
    uint32_t n = 1 + rnd(4);
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *w = words[rnd(4)];
        if (pattern && rnd(4) == 0)
            w = i + 1 == n && rnd(2) ? ">" : "*";
        len += (size_t)snprintf(to + len, 32 - len, "%s%s", i ? "." : "", w);
    }
}

static bool count_one(void *arg, void *item)
{
    ((int *)arg)[(size_t)item - 1]++;
    return true;
}

static void same_as_matching_one_by_one(void **state)
{
    (void)state;
    char patterns[PATTERNS][32];
    bool in[PATTERNS] = {false};
    struct filter_index ix = {0};
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t i = rnd(PATTERNS);
        if (in[i]) {
            filter_index_remove(&ix, slice_cstr(patterns[i]), (void *)(uintptr_t)(i + 1));
        } else {
            some_subject(patterns[i], true);
            filter_index_add(&ix, slice_cstr(patterns[i]), (void *)(uintptr_t)(i + 1));
        }
        in[i] = !in[i];
        char subject[32];
        int told[PATTERNS] = {0};
        some_subject(subject, false);
        assert_true(filter_index_match(&ix, slice_cstr(subject), count_one, told));
        for (uint32_t k = 0; k < PATTERNS; k++)
            assert_int_equal(told[k],
                             in[k] && subject_match(slice_cstr(subject), slice_cstr(patterns[k])));
    }
    for (uint32_t i = 0; i < PATTERNS; i++)
        if (in[i])
            filter_index_remove(&ix, slice_cstr(patterns[i]), (void *)(uintptr_t)(i + 1));
    assert_null(ix.root);
    assert_int_equal(ix.count, 0);
}

static bool stop_at_once(void *arg, void *item)
{
    (void)item;
    ++*(int *)arg;
    return false;
}

static void the_first_answer_may_be_enough(void **state)
{
    (void)state;
    struct filter_index ix = {0};
    int n = 0, item = 0;
    filter_index_add(&ix, SLICE("a.>"), &item);
    filter_index_add(&ix, SLICE("a.*"), &item);
    filter_index_add(&ix, SLICE("a.b"), &item);
    assert_false(filter_index_match(&ix, SLICE("a.b"), stop_at_once, &n));
    assert_int_equal(n, 1);
    filter_index_release(&ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_matching_one_by_one),
        cmocka_unit_test(the_first_answer_may_be_enough),
    };
    rng_state = 7;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

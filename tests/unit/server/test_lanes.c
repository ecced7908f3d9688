/* What waits for a link: order, limits, memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/lanes.h"

#define LIVE_MAX ((size_t)8 << 20)

static bool put(struct lanes *l, enum lane lane, const char *text)
{
    size_t half = strlen(text) / 2;
    struct slice pieces[] = {slice_of(text, half), {0}, slice_cstr(text + half)};
    return lanes_put(l, lane, pieces, ARRAY_LEN(pieces));
}

static void expect_next(struct lanes *l, enum lane lane, const char *text)
{
    struct lane_run run;
    assert_true(lanes_peek(l, 0, &run));
    assert_int_equal(run.lane, lane);
    assert_int_equal(run.msgs, 1);
    assert_true(slice_is(run.bytes, text));
    lanes_take(l, &run);
}

static void take_one(struct lanes *l, enum lane lane)
{
    struct lane_run run;
    assert_true(lanes_peek(l, 0, &run));
    assert_int_equal(run.lane, lane);
    lanes_take(l, &run);
}

static void live_goes_before_backlog_and_each_is_first_in_first_out(void **state)
{
    (void)state;
    struct lanes l;
    struct lane_run run;
    lanes_init(&l, LIVE_MAX);
    assert_false(lanes_peek(&l, 0, &run));
    assert_true(put(&l, LANE_BACKLOG, "b1"));
    assert_true(put(&l, LANE_BACKLOG, "b2"));
    assert_true(put(&l, LANE_LIVE, "l1"));
    assert_true(put(&l, LANE_LIVE, "l2"));
    expect_next(&l, LANE_LIVE, "l1");
    expect_next(&l, LANE_LIVE, "l2");
    expect_next(&l, LANE_BACKLOG, "b1");
    assert_true(put(&l, LANE_LIVE, "l3"));
    expect_next(&l, LANE_LIVE, "l3");
    expect_next(&l, LANE_BACKLOG, "b2");
    assert_false(lanes_peek(&l, 0, &run));
    lanes_release(&l);
}

static void the_live_lane_has_a_limit_but_takes_one_message_of_any_size(void **state)
{
    (void)state;
    struct lanes l;
    char *big = xcalloc(1, LIVE_MAX + 10);
    struct slice huge = slice_of(big, LIVE_MAX + 10), small = SLICE("x");
    lanes_init(&l, LIVE_MAX);
    assert_true(lanes_put(&l, LANE_LIVE, &huge, 1));
    assert_false(lanes_put(&l, LANE_LIVE, &small, 1));
    assert_true(lanes_put(&l, LANE_BACKLOG, &small, 1));
    take_one(&l, LANE_LIVE);
    assert_true(lanes_put(&l, LANE_LIVE, &small, 1));
    lanes_clear(&l);
    assert_int_equal(lanes_bytes(&l, LANE_LIVE), 0);
    assert_int_equal(lanes_bytes(&l, LANE_BACKLOG), 0);

    struct slice kb = slice_of(big, 1024);
    size_t taken = 0;
    while (lanes_put(&l, LANE_LIVE, &kb, 1))
        taken++;
    assert_true(taken > (LIVE_MAX / 1024) * 98 / 100 && taken <= LIVE_MAX / 1024);
    assert_true(lanes_bytes(&l, LANE_LIVE) <= LIVE_MAX);
    lanes_release(&l);
    free(big);
}

static void a_backlog_of_256_kib_asks_the_store_to_rest(void **state)
{
    (void)state;
    struct lanes l;
    char kb[1024] = {0};
    struct slice piece = slice_of(kb, sizeof kb);
    lanes_init(&l, LIVE_MAX);
    while (!lanes_backlog_full(&l))
        assert_true(lanes_put(&l, LANE_BACKLOG, &piece, 1));
    assert_true(lanes_bytes(&l, LANE_BACKLOG) >= LANES_BACKLOG_REST);
    assert_true(lanes_bytes(&l, LANE_BACKLOG) < LANES_BACKLOG_REST + 2048);
    take_one(&l, LANE_BACKLOG);
    assert_false(lanes_backlog_full(&l));
    lanes_release(&l);
}

static void a_large_message_has_its_place_among_small_ones(void **state)
{
    (void)state;
    struct lanes l;
    size_t n = (size_t)300 * 1024;
    char *big = xcalloc(1, n + 1);
    memset(big, 'b', n);
    lanes_init(&l, LIVE_MAX);
    for (int i = 0; i < 3; i++) {
        assert_true(put(&l, LANE_LIVE, "before"));
        assert_true(put(&l, LANE_LIVE, big));
        assert_true(put(&l, LANE_LIVE, "after"));
    }
    for (int i = 0; i < 3; i++) {
        expect_next(&l, LANE_LIVE, "before");
        expect_next(&l, LANE_LIVE, big);
        expect_next(&l, LANE_LIVE, "after");
    }
    assert_int_equal(lanes_bytes(&l, LANE_LIVE), 0);
    assert_null(l.waiting[LANE_LIVE].head); /* nothing waits: no memory */
    assert_null(l.waiting[LANE_LIVE].tail);
    lanes_release(&l);
    free(big);
}

/* Against two plain arrays. */
static void random_puts_and_takes_agree_with_a_model(void **state)
{
    (void)state;
    enum { MAX = 4096 };
    static char *model[LANE_COUNT][MAX];
    size_t head[LANE_COUNT] = {0}, tail[LANE_COUNT] = {0};
    struct lanes l;
    uint32_t longest = 0;
    srand(7);
    lanes_init(&l, LIVE_MAX);
    for (int i = 0; i < 20000; i++) {
        enum lane lane = rand() % 3 ? LANE_BACKLOG : LANE_LIVE;
        if (rand() % 2 && tail[lane] < MAX) {
            char text[64];
            snprintf(text, sizeof text, "%d:%.*s", i, rand() % 40,
                     "........................................");
            assert_true(put(&l, lane, text));
            model[lane][tail[lane]++] = xstrdup(text);
            continue;
        }
        enum lane expected = head[LANE_LIVE] < tail[LANE_LIVE] ? LANE_LIVE : LANE_BACKLOG;
        if (head[expected] == tail[expected])
            continue;
        struct lane_run run;
        size_t most = (size_t)rand() % 200, at = 0;
        assert_true(lanes_peek(&l, most, &run));
        assert_int_equal(run.lane, expected);
        assert_true(run.msgs > 0 && run.msgs <= tail[expected] - head[expected]);
        for (uint32_t k = 0; k < run.msgs; k++) {
            char *text = model[expected][head[expected]++];
            assert_true(k == 0 || at < most);
            assert_memory_equal(run.bytes.p + at, text, strlen(text));
            at += strlen(text);
            free(text);
        }
        assert_int_equal(at, run.bytes.n);
        longest = run.msgs > longest ? run.msgs : longest;
        lanes_take(&l, &run);
        assert_int_equal(l.waiting[expected].msgs, tail[expected] - head[expected]);
    }
    assert_true(longest > 3);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        while (head[lane] < tail[lane])
            free(model[lane][head[lane]++]);
    lanes_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_goes_before_backlog_and_each_is_first_in_first_out),
        cmocka_unit_test(the_live_lane_has_a_limit_but_takes_one_message_of_any_size),
        cmocka_unit_test(a_backlog_of_256_kib_asks_the_store_to_rest),
        cmocka_unit_test(a_large_message_has_its_place_among_small_ones),
        cmocka_unit_test(random_puts_and_takes_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

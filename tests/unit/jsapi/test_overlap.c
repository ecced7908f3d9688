/* tests/unit/jsapi/test_overlap.c -- which of many subjects meet: against asking every pair
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "jsapi/overlap.h"

#include "base/subject.h"

#define LIST  12
#define MANY  20000
#define BYTES 32
#define FAR   300    /* bytes before what is told apart; overlap.c looks at 256 */
#define LONG  800000 /* bytes of one subject */

static uint32_t rng_state = 7;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % n;
}

/* Also what is no subject: empty tokens, '>' in the middle, nothing at all. */
static void some_subject(char *to, size_t far)
{
    static const char *const words[] = {"a", "b", "a-", "*", "*", ">", "", "a*"};
    uint32_t n = 1 + rnd(3);
    size_t len = far;
    for (size_t i = 0; i < far; i++)
        to[i] = i % 5 == 4 ? '.' : 'f';
    for (uint32_t i = 0; i < n; i++)
        len += (size_t)snprintf(to + len, FAR + BYTES - len, "%s%s", i ? "." : "", words[rnd(8)]);
}

static size_t how_far(int round)
{
    static const size_t far[] = {0, 0, 250, 255, 260, FAR};
    return far[round / 2 % 6];
}

static enum overlap_answer pair_by_pair(const struct slice *at, overlap_fn *meet, size_t *i,
                                        size_t *k)
{
    for (*i = 0; *i < LIST; ++*i)
        for (*k = meet == subject_overlap ? *i + 1 : 0; *k < LIST; ++*k)
            if (*k != *i && meet(at[*i], at[*k]))
                return OVERLAP_MEET;
    return OVERLAP_APART;
}

static void says_what_every_pair_says(void **state)
{
    overlap_fn *const relations[] = {subject_overlap, subject_subset};
    static char text[LIST][FAR + BYTES];
    struct slice at[LIST];
    size_t apart = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        overlap_fn *meet = relations[round % 2];
        size_t n = 2 + rnd(LIST - 1), i = 0, k = 0, want_i, want_k;
        struct overlap o;
        for (size_t x = 0; x < LIST; x++) {
            some_subject(text[x], rnd(8) ? how_far(round) : 0);
            if (x >= n) /* a list that is shorter: what fills it up meets nothing */
                (void)snprintf(text[x], BYTES, "x%zu.y.z.u.v", x);
            at[x] = slice_cstr(text[x]);
        }
        overlap_init(&o, at, LIST, meet);
        enum overlap_answer want = pair_by_pair(at, meet, &want_i, &want_k);
        assert_int_equal(overlap_first(&o, &i, &k), want);
        if (want == OVERLAP_MEET) {
            assert_int_equal(i, want_i);
            assert_int_equal(k, want_k);
        }
        apart += want == OVERLAP_APART;
        some_subject(text[0], how_far(round)); /* and one that isn't of the list */
        struct slice other = slice_cstr(text[0]);
        at[0] = SLICE("gone");
        overlap_release(&o);
        overlap_init(&o, at, LIST, meet);
        bool one = false;
        for (size_t x = 0; x < LIST; x++)
            one = one || meet(other, at[x]);
        assert_int_equal(overlap_apart(&o, &other, 1), !one);
        overlap_release(&o);
    }
    assert_true(apart > 100); /* both answers were tried */
}

/* The list of MANY that `form` makes (with a "%05d"); `extra` takes the place of the first. */
static enum overlap_answer ask_many(const char *form, const char *extra, uint64_t *looks)
{
    static char text[MANY][BYTES];
    static struct slice at[MANY];
    struct overlap o;
    size_t i, k;

    for (int x = 0; x < MANY; x++) {
        (void)snprintf(text[x], BYTES, "%.*s%05d%s", (int)strcspn(form, "#"), form, x,
                       strchr(form, '#') + 1);
        at[x] = slice_cstr(text[x]);
    }
    if (extra)
        at[0] = slice_cstr(extra);
    overlap_init(&o, at, MANY, subject_overlap);
    enum overlap_answer answer = overlap_first(&o, &i, &k);
    *looks = o.looks;
    overlap_release(&o);
    return answer;
}

static void many_cost_a_few_looks_each(void **state)
{
    uint64_t looks;

    (void)state;
    assert_int_equal(ask_many("s.#", NULL, &looks), OVERLAP_APART);
    assert_true(looks <= 4 * MANY);
    assert_int_equal(ask_many("s.#", "w.*", &looks), OVERLAP_APART);
    assert_true(looks <= 4 * MANY);
    assert_int_equal(ask_many("s.#", "*.w", &looks), OVERLAP_APART);
    assert_true(looks <= 4 * MANY);
    assert_int_equal(ask_many("site#.>", NULL, &looks), OVERLAP_APART);
    assert_true(looks <= 4 * MANY);
    assert_int_equal(ask_many("s.#", "s.19999", &looks), OVERLAP_MEET);
    assert_true(looks <= 4 * MANY);
}

static void too_many_looks_are_no_answer(void **state)
{
    uint64_t looks;

    (void)state;
    assert_int_equal(ask_many("*.#", NULL, &looks), OVERLAP_MANY);
    assert_true(looks <= OVERLAP_LOOKS_MAX + 2 * MANY);
}

/* "f.f.f …" of half a million tokens, and a wildcard that begins the same way but for its end. */
static void a_long_subject_costs_what_its_length_costs(void **state)
{
    static char literal[LONG], wild[LONG];
    struct slice at[] = {slice_of(literal, LONG - 1), slice_of(wild, LONG - 1)};
    struct overlap o;
    size_t i, k;
    clock_t began = clock();

    (void)state;
    for (size_t x = 0; x < LONG; x++)
        literal[x] = wild[x] = x % 2 ? '.' : 'f';
    wild[LONG - 2] = '*';
    wild[LONG - 4] = 'z';
    overlap_init(&o, at, 2, subject_overlap);
    assert_int_equal(overlap_first(&o, &i, &k), OVERLAP_APART);
    overlap_release(&o);
    assert_true(clock() - began < CLOCKS_PER_SEC / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_every_pair_says),
        cmocka_unit_test(many_cost_a_few_looks_each),
        cmocka_unit_test(too_many_looks_are_no_answer),
        cmocka_unit_test(a_long_subject_costs_what_its_length_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

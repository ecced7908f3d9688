/* test_sublist.c -- the trie against a naive list, and the rules of subjects
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/sublist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/subject.h"

static struct sink sink_on(const char *subject, const char *queue)
{
    return (struct sink){.subject = slice_cstr(subject), .queue = slice_cstr(queue), .weight = 1};
}

static uint32_t hits(struct sublist *sl, const char *subject)
{
    struct match *m = sublist_match(sl, slice_cstr(subject), true);
    uint32_t n = m->n;

    for (uint32_t i = 0; i < m->nqueues; i++)
        n += m->queues[i].n;
    match_unref(m);
    return n;
}

static void wildcards_match_what_they_should(void **state)
{
    struct sublist *sl = sublist_new();
    struct sink s[] = {
        sink_on("foo.bar", NULL), sink_on("foo.*", NULL),  sink_on("foo.>", NULL),
        sink_on(">", NULL),       sink_on("*.bar", NULL),  sink_on("foo.*.baz", NULL),
        sink_on("foo*", NULL),    sink_on("foo.bar", "q"), sink_on("*", NULL)};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(s); i++)
        assert_int_equal(sublist_insert(sl, &s[i]), 0);
    assert_int_equal(hits(sl, "foo.bar"), 6);
    assert_int_equal(hits(sl, "foo"), 2);
    assert_int_equal(hits(sl, "foo*"), 3);
    assert_int_equal(hits(sl, "foo.x.baz"), 3);
    assert_int_equal(hits(sl, "foo.*"), 3); /* published: '*' is text */
    assert_int_equal(hits(sl, "foo..bar"), 0);
    assert_int_equal(hits(sl, ".foo"), 0);
    assert_int_equal(hits(sl, "foo."), 0);
    assert_int_equal(hits(sl, ""), 0);
    for (size_t i = 0; i < ARRAY_LEN(s); i++)
        sublist_remove(sl, &s[i]);
    assert_int_equal(hits(sl, "foo.bar"), 0);
    sublist_free(sl);
}

static void invalid_subjects_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a.>.b", ">.a"};
    struct sublist *sl = sublist_new();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sink s = sink_on(bad[i], NULL);
        assert_int_equal(sublist_insert(sl, &s), E_SYNTAX);
    }
    sublist_free(sl);
}

static void one_group_in_several_patterns_is_one_group(void **state)
{
    struct sublist *sl = sublist_new();
    struct endpoint link = {.link = true};
    struct sink a = sink_on("q.a", "g"), b = sink_on("q.*", "g"), c = sink_on("q.>", "h"),
                l = sink_on("q.a", "g");
    struct match *m;

    (void)state;
    l.owner = &link;
    assert_int_equal(sublist_insert(sl, &l), 0);
    assert_int_equal(sublist_insert(sl, &a), 0);
    assert_int_equal(sublist_insert(sl, &b), 0);
    assert_int_equal(sublist_insert(sl, &c), 0);
    m = sublist_match(sl, slice_cstr("q.a"), false);
    assert_int_equal(m->nqueues, 2);
    for (uint32_t i = 0; i < 2; i++) {
        bool g = slice_is(m->queues[i].name, "g");
        assert_int_equal(m->queues[i].n, g ? 3 : 1);
        assert_int_equal(m->queues[i].local, g ? 2 : 1);
        if (g)
            assert_ptr_equal(m->queues[i].members[2], &l);
    }
    match_unref(m);
    assert_true(sublist_has_interest(sl, slice_cstr("q.x"), slice_cstr("g")));
    assert_false(sublist_has_interest(sl, slice_cstr("q.x.y"), slice_cstr("g")));
    assert_true(sublist_has_interest(sl, slice_cstr("q.x.y"), slice_cstr("")));
    sublist_remove(sl, &a);
    sublist_remove(sl, &b);
    sublist_remove(sl, &c);
    sublist_remove(sl, &l);
    sublist_free(sl);
}

static void a_match_survives_what_makes_it_stale(void **state)
{
    struct sublist *sl = sublist_new();
    struct sink a = sink_on("a", NULL), b = sink_on("*", NULL);
    struct match *m;

    (void)state;
    assert_int_equal(sublist_insert(sl, &a), 0);
    m = sublist_match(sl, slice_cstr("a"), true);
    assert_true(m->generation == sublist_generation(sl));
    assert_int_equal(sublist_insert(sl, &b), 0);
    assert_true(m->generation != sublist_generation(sl));
    assert_int_equal(m->n, 1);
    assert_int_equal(hits(sl, "a"), 2);
    sublist_remove(sl, &a);
    assert_int_equal(hits(sl, "a"), 1);
    sublist_remove(sl, &b);
    match_unref(m);
    sublist_free(sl);
}

/* --- against a naive list -----------------------------------------------------------------------
 */

static uint64_t seed = 0x5eed0001;

static uint32_t dice(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static void random_subject(char *out, bool pattern)
{
    static const char *const tokens[] = {"a", "b", "c", "dd"};
    uint32_t n = 1 + dice(4);
    size_t at = 0;

    for (uint32_t i = 0; i < n; i++) {
        const char *t = tokens[dice(4)];
        if (pattern && dice(4) == 0)
            t = "*";
        if (pattern && i + 1 == n && dice(4) == 0)
            t = ">";
        at += (size_t)snprintf(out + at, 32 - at, "%s%s", i ? "." : "", t);
    }
}

/* --- one match for many subjects ----------------------------------------------------------------
 */

static bool fits(const struct match *m, const char *made_for, const char *subject)
{
    return match_fits(m, slice_cstr(made_for), slice_cstr(subject));
}

static void a_match_is_good_for_what_differs_behind_its_names(void **state)
{
    struct sublist *sl = sublist_new();
    struct sink ack = sink_on("$JS.ACK.S.C.>", NULL), inbox = sink_on("_INBOX.a.*", NULL),
                one = sink_on("$JS.ACK.S.C.7.x", NULL);
    const char *first = "$JS.ACK.S.C.1.2.3", *answer = "_INBOX.a.1";
    struct match *m;

    (void)state;
    assert_int_equal(sublist_insert(sl, &ack), 0);
    assert_int_equal(sublist_insert(sl, &inbox), 0);
    m = sublist_match(sl, slice_cstr(first), false);
    assert_true(fits(m, first, "$JS.ACK.S.C.9.8.7.6"));
    assert_true(fits(m, first, "$JS.ACK.S.C.9"));
    assert_false(fits(m, first, "$JS.ACK.S.C."));
    assert_false(fits(m, first, "$JS.ACK.S.C.1..2"));
    assert_false(fits(m, first, "$JS.ACK.S.C.1."));
    assert_false(fits(m, first, "$JS.ACK.S.D.1.2.3"));
    match_unref(m);
    m = sublist_match(sl, slice_cstr(answer), false);
    assert_true(fits(m, answer, "_INBOX.a.22"));
    assert_false(fits(m, answer, "_INBOX.a.2.2"));
    match_unref(m);

    /* a name appears behind the prefix: the one in the cache is right for its own subject only */
    match_unref(sublist_match(sl, slice_cstr(first), true));
    assert_int_equal(sublist_insert(sl, &one), 0);
    m = sublist_match(sl, slice_cstr(first), true);
    assert_int_equal(m->n, 1);
    assert_true(fits(m, first, first));
    assert_false(fits(m, first, "$JS.ACK.S.C.7.x"));
    match_unref(m);
    sublist_remove(sl, &ack);
    sublist_remove(sl, &inbox);
    sublist_remove(sl, &one);
    sublist_free(sl);
}

/* The last match of the random walk below, and whether it says the same where it fits. */
struct held {
    struct match *m;
    char subject[32];
    unsigned fitted;
};

static void compare_held(struct held *h, struct sublist *sl, const char *subject)
{
    struct match *m = sublist_match(sl, slice_cstr(subject), false);

    if (h->m && h->m->generation == sublist_generation(sl) && fits(h->m, h->subject, subject)) {
        h->fitted += strcmp(h->subject, subject) != 0;
        assert_int_equal(h->m->n, m->n);
        assert_memory_equal(h->m->plain, m->plain, m->n * sizeof(void *));
        assert_int_equal(h->m->nqueues, m->nqueues);
        for (uint32_t q = 0; q < m->nqueues; q++) {
            assert_int_equal(h->m->queues[q].n, m->queues[q].n);
            assert_memory_equal(h->m->queues[q].members, m->queues[q].members,
                                m->queues[q].n * sizeof(void *));
        }
    }
    match_unref(h->m);
    h->m = m;
    (void)snprintf(h->subject, sizeof h->subject, "%s", subject);
}

#define SINKS 400
#define FEW   6

static void random_operations_agree_with_a_naive_list(void **state)
{
    static struct sink s[SINKS];
    static char texts[SINKS][32];
    static bool in[SINKS];
    struct sublist *sl = sublist_new();
    struct held held = {0};
    size_t count = 0;

    (void)state;
    for (int step = 0; step < 60000; step++) {
        uint32_t i =
            dice(step < 30000 ? SINKS : FEW); /* a thicket, then a few: matches fit others */
        for (uint32_t k = FEW; step == 30000 && k < SINKS; k++)
            if (in[k]) {
                sublist_remove(sl, &s[k]);
                in[k] = false;
                count--;
            }
        if (dice(3) != 0) {
            char subject[32];
            uint32_t expect = 0, expect_groups = 0;
            random_subject(subject, false);
            for (uint32_t k = 0; k < SINKS; k++) {
                if (!in[k] || !subject_match(slice_cstr(subject), s[k].subject))
                    continue;
                expect++;
                expect_groups += s[k].queue.n > 0;
            }
            if (hits(sl, subject) != expect)
                fail_msg("step %d, %s: %u, not %u", step, subject, hits(sl, subject), expect);
            assert_int_equal(sublist_has_interest(sl, slice_cstr(subject), slice_cstr("")),
                             expect > 0);
            (void)expect_groups;
            compare_held(&held, sl, subject);
        } else if (in[i]) {
            sublist_remove(sl, &s[i]);
            in[i] = false;
            count--;
        } else {
            static const char *const queues[] = {NULL, NULL, "q1", "q2"};
            random_subject(texts[i], true);
            s[i] = sink_on(texts[i], queues[dice(4)]);
            assert_int_equal(sublist_insert(sl, &s[i]), 0);
            in[i] = true;
            count++;
        }
        assert_int_equal(sublist_count(sl), count);
    }
    assert_true(held.fitted > 100);
    match_unref(held.m);
    for (uint32_t i = 0; i < SINKS; i++)
        if (in[i])
            sublist_remove(sl, &s[i]);
    sublist_free(sl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wildcards_match_what_they_should),
        cmocka_unit_test(invalid_subjects_are_refused),
        cmocka_unit_test(one_group_in_several_patterns_is_one_group),
        cmocka_unit_test(a_match_survives_what_makes_it_stale),
        cmocka_unit_test(a_match_is_good_for_what_differs_behind_its_names),
        cmocka_unit_test(random_operations_agree_with_a_naive_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

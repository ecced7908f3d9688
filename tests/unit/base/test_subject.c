/* Subjects against a naive model of all short ones, and transforms as nats-server runs them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/subject.h"

static struct slice text(const char *s)
{
    return slice_cstr(s);
}

static void valid_subjects_are_told_from_broken_ones(void **state)
{
    (void)state;
    static const char *const good[] = {"a",     "a.b",    "*",       ">",
                                       "a.*.>", "a*.b>c", "$JS.API", "\xc3\xa4.b"};
    static const char *const bad[] = {"",    ".",    "a.",   ".a",   "a..b", "a.>.b", "> .",
                                      "a b", "a\tb", "a\rb", "a.\n", ">.",   ">.>",   "a. .b"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(subject_valid(text(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(subject_valid(text(bad[i])));
    assert_false(subject_valid(SLICE("a\0b")));
    assert_false(subject_valid((struct slice){NULL, 0}));
    assert_true(subject_valid_literal(text("a*.b>.x>y")));
    assert_false(subject_valid_literal(text("a.*")));
    assert_false(subject_valid_literal(text(">")));
    assert_true(subject_has_wildcard(text("*.a")));
    assert_true(subject_has_wildcard(text("a.>")));
    assert_false(subject_has_wildcard(text("a*.>a")));
    struct buf deep = BUF_INIT;
    for (int i = 0; i < SUBJECT_TOKENS_MAX; i++)
        buf_add_str(&deep, i ? ".a" : "a");
    assert_true(subject_valid(buf_slice(&deep)));
    buf_add_str(&deep, ".a");
    assert_false(subject_valid(buf_slice(&deep)));
    buf_release(&deep);
}

static void tokens_are_counted_and_cut(void **state)
{
    (void)state;
    assert_int_equal(subject_tokens(text("a.bb.c")), 3);
    assert_int_equal(subject_tokens(text("")), 0);
    assert_true(slice_is(subject_token(text("a.bb.c"), 0), "a"));
    assert_true(slice_is(subject_token(text("a.bb.c"), 1), "bb"));
    assert_true(slice_is(subject_token(text("a.bb.c"), 2), "c"));
    assert_int_equal(subject_token(text("a.bb.c"), 3).n, 0);
}

/* The naive matcher: token by token, by recursion. */
static bool naive_match(const char *s, const char *p)
{
    if (!strcmp(p, ">"))
        return *s != '\0';
    size_t sn = strcspn(s, "."), pn = strcspn(p, ".");
    bool one = (pn == 1 && *p == '*' && sn > 0) || (sn == pn && !memcmp(s, p, sn));
    if (!one || (s[sn] == '.') != (p[pn] == '.'))
        return false;
    return s[sn] == '\0' || naive_match(s + sn + 1, p + pn + 1);
}

/* Every subject of up to three tokens out of a, b, "*" and, at the end, ">". */
static size_t list_subjects(char out[][8], bool wildcards)
{
    static const char *const words[] = {"a", "b", "*", ">"};
    size_t n = 0, kinds = wildcards ? 4 : 2;
    for (size_t len = 1; len <= 3; len++)
        for (size_t code = 0, codes = len == 1   ? kinds
                                      : len == 2 ? kinds * kinds
                                                 : kinds * kinds * kinds;
             code < codes; code++) {
            struct buf b = BUF_INIT;
            for (size_t i = 0, c = code; i < len; i++, c /= kinds) {
                buf_add_str(&b, i ? "." : "");
                buf_add_str(&b, words[c % kinds]);
            }
            if (subject_valid(buf_slice(&b)))
                memcpy(out[n++], buf_cstr(&b), b.len + 1);
            buf_release(&b);
        }
    return n;
}

static void matching_agrees_with_a_naive_model(void **state)
{
    (void)state;
    static char lit[100][8], pat[200][8];
    size_t lits = list_subjects(lit, false), pats = list_subjects(pat, true);
    assert_true(lits == 14 && pats > 50);
    for (size_t p = 0; p < pats; p++) {
        for (size_t l = 0; l < lits; l++)
            assert_int_equal(subject_match(text(lit[l]), text(pat[p])),
                             naive_match(lit[l], pat[p]));
        for (size_t q = 0; q < pats; q++) {
            bool subset = true, overlap = false;
            for (size_t l = 0; l < lits; l++)
                for (int deeper = 0; deeper < 3; deeper++) {
                    char s[820];
                    snprintf(s, sizeof s, "%s%s", lit[l],
                             deeper == 0   ? ""
                             : deeper == 1 ? ".x"
                                           : ".x.y");
                    bool in_p = naive_match(s, pat[p]), in_q = naive_match(s, pat[q]);
                    subset = subset && (!in_p || in_q);
                    overlap = overlap || (in_p && in_q);
                }
            if (subject_subset(text(pat[p]), text(pat[q])) != subset)
                fail_msg("subset %s of %s", pat[p], pat[q]);
            if (subject_overlap(text(pat[p]), text(pat[q])) != overlap)
                fail_msg("overlap %s with %s", pat[p], pat[q]);
        }
    }
}

static void wildcards_inside_tokens_are_letters(void **state)
{
    (void)state;
    assert_true(subject_match(text("foo*.x"), text("foo*.x")));
    assert_false(subject_match(text("foob.x"), text("foo*.x")));
    assert_false(subject_match(text("a.b.c"), text("a.>b")));
    assert_true(subject_match(text("foo.*"), text("foo.*")));
    assert_false(subject_match(text(""), text(">")));
    assert_false(subject_match(text("a"), text("")));
    assert_false(subject_match(text("a."), text("a.*")));
    assert_false(subject_match(text("a."), text("a.>")));
}

/* --- transforms: rows checked against nats-server 2.15.2's own -------------------------------- */

static const struct {
    const char *src, *dest, *in, *out; /* out NULL: no match */
} moves[] = {
    {"foo.*.*", "bar.$2.{{wildcard(1)}}", "foo.a.b", "bar.b.a"},
    {"foo.*.*", "bar.$2.{{wildcard(1)}}", "foo.a", NULL},
    {"foo.>", "bar.>", "foo.a.b", "bar.a.b"},
    {"foo.*.>", "{{ Wildcard( 1 ) }}.x.>", "foo.a.b.c", "a.x.b.c"},
    {">", "site7.>", "a.b", "site7.a.b"},
    {"", "site7.>", "a", "site7.a"},
    {"a.>", ">", "a.b.c", "b.c"},
    {"a.*", "", "a.b", "a.b"},
    {"a.*", "", "b.b", NULL},
    {"*", "x", "a", "x"},
    {"*.b", "$0.$1", "a.b", "a.a"},
    {"*.*", "$-3.$2", "a.b", "a.b"},
    {"a", "b", "a", "b"},
    {"a", "b", "b", NULL},
    {"*", "$JS.$1", "a", "$JS.a"},
    {"*", "x.{{x}", "a", "x.{{x}"},
    {"a.*.*", "p.{{partition(10,1,2)}}", "a.b.c", "p.6"},
    {"a.*.*", "p.{{ partition(10) }}", "a.b.c", "p.1"},
    {"abc", "p.{{partition(10,1)}}", "abc", "p.1"},
    {"*", "p.{{partition(0,1)}}", "abc", "p.0"},
    {"*", "{{splitfromleft(1,2)}}", "abcdef", "ab.cdef"},
    {"*", "{{SplitFromRight(1, 2)}}", "abcdef", "abcd.ef"},
    {"*", "{{splitFromLeft(1,6)}}", "abcdef", "abcdef"},
    {"*", "{{splitFromLeft(1,0)}}", "abcdef", "abcdef"},
    {"*", "{{splitFromLeft(1,-1)}}", "abcdef", "abcdef"},
    {"*", "{{sliceFromLeft(1,3)}}", "abcdefg", "abc.def.g"},
    {"*", "{{sliceFromLeft(1,3)}}", "abcdef", "abc.def"},
    {"*", "{{sliceFromRight(1,3)}}", "abcdefg", "a.bcd.efg"},
    {"*", "{{sliceFromRight(1,3)}}", "abcdef", "abc.def"},
    {"*", "{{split(1,-)}}", "-abc-def--ghi-", "abc.def.ghi"},
    {"*", "{{split(1,-)}}", "--abc", ".abc"},
    {"*", "{{split(1,--)}}", "a--b", "a.b"},
    {"*", "{{split(1,)}}",
     "ab\xc3\xa4"
     "c",
     "a.b.\xc3\xa4.c"},
    {"*", "{{left(1,3)}}.{{right(1,3)}}", "abcdef", "abc.def"},
    {"*", "{{left(1,9)}}.{{right(1,6)}}", "abcdef", "abcdef.abcdef"},
    {"*", "r.{{random(1)}}", "a", "r.0"},
    {"*", "r.{{random(0)}}", "a", "r.0"},
};

static void transforms_do_what_the_reference_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
        struct transform *t;
        struct buf out = BUF_INIT;
        const char *why = "";
        if (transform_new(text(moves[i].src), text(moves[i].dest), &t, &why))
            fail_msg("%s -> %s: %s", moves[i].src, moves[i].dest, why);
        bool did = transform_apply(t, text(moves[i].in), &out);
        if (did != (moves[i].out != NULL) || (did && strcmp(buf_cstr(&out), moves[i].out) != 0))
            fail_msg("%s -> %s: %s gives %s", moves[i].src, moves[i].dest, moves[i].in,
                     buf_cstr(&out));
        assert_true(did || out.len == 0);
        assert_true(slice_is(transform_src(t), *moves[i].src ? moves[i].src : ">"));
        buf_release(&out);
        transform_free(t);
    }
}

#define DEST "invalid mapping destination: "

static const struct {
    const char *src, *dest, *why;
} complaints[] = {
    {"a..b", "x", "invalid subject"},
    {"a.>.b", "x", "invalid subject"},
    {"a.*", "x.*", "invalid subject"},
    {"a.*", "x..y", "invalid subject"},
    {"a.>", "x", "invalid subject"},
    {"a", "x.>", "invalid subject"},
    {"*", "{{nothing(1)}}", DEST "unknown function in {{nothing(1)}}"},
    {"*", "{{wILDCARD(1)}}", DEST "unknown function in {{wILDCARD(1)}}"},
    {"*", "{{wildcard(2)}}", DEST "wildcard index out of range in {{wildcard(2)}}: [2]"},
    {"*", "$2", DEST "wildcard index out of range in $2: [2]"},
    {"a", "$1", DEST "wildcard index out of range in $1"},
    {"a.>", "x.$1.>", DEST "wildcard index out of range in $1: [1]"},
    {"a", "{{left(1,2)}}", DEST "wildcard index out of range in {{left(1,2)}}"},
    {"*", "{{wildcard()}}", DEST "not enough arguments passed to the function in {{wildcard()}}"},
    {"*", "{{wildcard(1,2)}}",
     DEST "too many arguments passed to the function in {{wildcard(1,2)}}"},
    {"*", "{{wildcard(a)}}",
     DEST "function argument is invalid or in the wrong format in {{wildcard(a)}}"},
    {"*", "{{partition()}}",
     DEST "function argument is invalid or in the wrong format in {{partition()}}"},
    {"*", "{{partition(2147483648)}}",
     DEST "function argument is invalid or in the wrong format in {{partition(2147483648)}}"},
    {"*", "{{partition(1,x)}}",
     DEST "function argument is invalid or in the wrong format in {{partition(1,x)}}"},
    {"*", "{{split(1)}}", DEST "not enough arguments passed to the function in {{split(1)}}"},
    {"*", "{{split(1,-,-)}}", DEST "too many arguments passed to the function in {{split(1,-,-)}}"},
    {"*", "{{split(1,- )}}",
     DEST "function argument is invalid or in the wrong format in {{split(1,- )}}"},
    {"*", "{{left(1)}}", DEST "not enough arguments passed to the function in {{left(1)}}"},
    {"*", "{{left(1,2,3)}}", DEST "too many arguments passed to the function in {{left(1,2,3)}}"},
    {"*", "{{left(1,x)}}",
     DEST "function argument is invalid or in the wrong format in {{left(1,x)}}"},
    {"*", "{{random(1,2)}}", DEST "not enough arguments passed to the function in {{random(1,2)}}"},
    {"*", "{{random()}}",
     DEST "function argument is invalid or in the wrong format in {{random()}}"},
};

static void refused_transforms_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(complaints); i++) {
        struct transform *t;
        const char *why = "";
        assert_int_equal(transform_new(text(complaints[i].src), text(complaints[i].dest), &t, &why),
                         E_SYNTAX);
        assert_string_equal(why, complaints[i].why);
        assert_int_equal(transform_new(text(complaints[i].src), text(complaints[i].dest), &t, NULL),
                         E_SYNTAX);
    }
}

static void random_stays_below_its_bound(void **state)
{
    (void)state;
    struct transform *t;
    bool seen[4] = {false};
    assert_int_equal(transform_new(SLICE("a"), SLICE("{{random(4)}}"), &t, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        struct buf out = BUF_INIT;
        assert_true(transform_apply(t, SLICE("a"), &out));
        assert_true(out.len == 1 && out.data[0] >= '0' && out.data[0] <= '3');
        seen[out.data[0] - '0'] = true;
        buf_release(&out);
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
    transform_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_subjects_are_told_from_broken_ones),
        cmocka_unit_test(tokens_are_counted_and_cut),
        cmocka_unit_test(matching_agrees_with_a_naive_model),
        cmocka_unit_test(wildcards_inside_tokens_are_letters),
        cmocka_unit_test(transforms_do_what_the_reference_does),
        cmocka_unit_test(refused_transforms_say_why),
        cmocka_unit_test(random_stays_below_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

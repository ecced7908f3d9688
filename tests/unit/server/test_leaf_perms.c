/* What may cross a link: a row per question (reference: leaf node protocol, section 5).
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "server/leaf_perms.h"

static const struct {
    const char *allow[3], *deny[4];
    const char *subject;
    bool passes; /* a message; literals only */
    bool tells;  /* interest */
} rows[] = {
    /* no list at all */
    {{0}, {0}, "a.b", true, true},
    {{0}, {0}, ">", true, true},
    /* denies alone: `deny_imports: [imp.no, "impw.>"]` */
    {{0}, {"imp.no", "impw.>"}, "imp.no", false, false},
    {{0}, {"imp.no", "impw.>"}, "imp.yes", true, true},
    {{0}, {"imp.no", "impw.>"}, "imp.*", true, true},
    {{0}, {"imp.no", "impw.>"}, "impw.a", false, false},
    {{0}, {"imp.no", "impw.>"}, "impw.>", true, false},
    {{0}, {"imp.no", "impw.>"}, "impw.*", true, false},
    {{0}, {"imp.no", "impw.>"}, "*.a", true, true},
    {{0}, {"imp.no", "impw.>"}, ">", true, true},
    {{0}, {"imp.no", "impw.>"}, "impw", true, true},
    /* allows: a subset or an overlap */
    {{"sub.>"}, {0}, "sub.a", true, true},
    {{"sub.>"}, {0}, "sub.a.*", true, true},
    {{"sub.>"}, {0}, "pub.a", false, false},
    {{"sub.>"}, {0}, "*.a", false, true},
    {{"sub.>"}, {0}, ">", false, true},
    {{"sub.>"}, {0}, "pub.*", false, false},
    {{"sub.*.x"}, {0}, "sub.a.*", false, true},
    /* both */
    {{"sub.>", "_INBOX.>"}, {"sub.no"}, "sub.no", false, false},
    {{"sub.>", "_INBOX.>"}, {"sub.no"}, "sub.yes", true, true},
    {{"sub.>", "_INBOX.>"}, {"sub.no"}, "_INBOX.a.b", true, true},
    {{"sub.>", "_INBOX.>"}, {"sub.no"}, "sub.*", true, true},
    {{"sub.>"}, {"sub.>"}, "sub.>", false, false},
    /* JetStream's */
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$JS.API.INFO", false, false},
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$JS.API.>", true, false},
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$JS.hub.API.INFO", true, true},
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$KV.b.k", false, false},
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$O.b.C.x", true, true},
    {{0}, {"$JS.API.>", "$KV.>", "$OBJ.>"}, "$JS.>", true, true},
};

static void fill(struct leaf_list *l, size_t row)
{
    for (size_t i = 0; i < ARRAY_LEN(rows[row].allow) && rows[row].allow[i]; i++)
        leaf_list_allow(l, slice_cstr(rows[row].allow[i]));
    for (size_t i = 0; i < ARRAY_LEN(rows[row].deny) && rows[row].deny[i]; i++)
        leaf_list_deny(l, slice_cstr(rows[row].deny[i]));
}

static void every_row_of_the_table_holds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct leaf_list l = {0};
        struct slice subject = slice_cstr(rows[i].subject);
        fill(&l, i);
        bool wild = subject.p[subject.n - 1] == '>' || slice_find(subject, '*') < subject.n;
        if (!wild && leaf_list_passes(&l, subject) != rows[i].passes)
            fail_msg("row %zu: a message on %s", i, rows[i].subject);
        if (leaf_list_tells(&l, subject) != rows[i].tells)
            fail_msg("row %zu: interest in %s", i, rows[i].subject);
        leaf_list_release(&l);
    }
}

static void a_pattern_told_twice_is_kept_once(void **state)
{
    (void)state;
    struct leaf_list l = {0};
    leaf_list_deny(&l, SLICE("a.>"));
    leaf_list_deny(&l, SLICE("a.>"));
    leaf_list_allow(&l, SLICE("b"));
    leaf_list_allow(&l, SLICE("b"));
    assert_int_equal(l.ndeny, 1);
    assert_int_equal(l.nallow, 1);
    leaf_list_release(&l);
    assert_int_equal(l.ndeny, 0);
    assert_true(leaf_list_passes(&l, SLICE("a.b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_holds),
        cmocka_unit_test(a_pattern_told_twice_is_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

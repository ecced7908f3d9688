/* tests/unit/server/test_farewell.c -- a million sinks leave, and others have their turns meanwhile
 *
 * A real loop, no sockets.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/farewell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "server/account.h"
#include "server/loop.h"

#define MANY 100000

struct listener {
    struct sink sink;
    char subject[24];
};

static struct loop *l;
static struct accounts *accounts;
static struct account *a;
static struct htab table;
static struct farewell *f;
static unsigned ends;

static bool never(const void *item, const void *key)
{
    (void)item, (void)key;
    return false;
}

static void drop(void *arg, void *item)
{
    struct listener *who = item;
    assert_ptr_equal(arg, a);
    account_remove_sink(a, &who->sink);
    loop_defer(l, free, who);
}

static void done(void *arg)
{
    assert_ptr_equal(arg, a);
    ends++;
    free(f); /* its owner may go now */
    f = NULL;
}

static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct listener *who = xcalloc(1, sizeof *who);
        int len = snprintf(who->subject, sizeof who->subject, "a.%u.b", i);
        who->sink.subject = slice_of(who->subject, (size_t)len);
        who->sink.weight = 1;
        assert_int_equal(account_add_sink(a, &who->sink), 0);
        assert_null(htab_get(&table, hash_slice(who->sink.subject), never, NULL));
        htab_put(&table, hash_slice(who->sink.subject), who);
    }
}

static int open_all(void **state)
{
    (void)state;
    l = loop_new();
    accounts = accounts_new();
    a = account_get(accounts, SLICE("A"));
    htab_init(&table);
    f = xcalloc(1, sizeof *f);
    ends = 0;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    free(f);
    htab_release(&table);
    loop_free(l);
    accounts_free(accounts); /* says so when a sink is left */
    return 0;
}

static void few_are_out_at_once(void **state)
{
    (void)state;
    fill(FAREWELL_AT_ONCE);
    assert_false(farewell_begin(f, l, &table, drop, done, a));
    assert_int_equal(sublist_count(a->subs), 0);
    assert_int_equal(table.count, 0);
    assert_int_equal(ends, 0);
    farewell_finish(f); /* nothing is under way */
    assert_int_equal(ends, 0);
}

static void many_leave_in_portions(void **state)
{
    (void)state;
    fill(MANY);
    assert_true(farewell_begin(f, l, &table, drop, done, a));
    assert_int_equal(table.count, 0);
    assert_int_equal(sublist_count(a->subs), MANY);
    unsigned turns = 0;
    for (size_t before = MANY; ends == 0; turns++) {
        loop_once(l);
        size_t now = sublist_count(a->subs);
        assert_true(now < before || ends);
        before = now;
    }
    assert_true(turns > 1); /* 100,000 removals do not fit into the millisecond of a turn's jobs */
    assert_int_equal(sublist_count(a->subs), 0);
    assert_int_equal(ends, 1);
    fill(10); /* the account goes on */
    f = xcalloc(1, sizeof *f);
    assert_false(farewell_begin(f, l, &table, drop, done, a));
}

static void who_cannot_wait_finishes(void **state)
{
    (void)state;
    fill(MANY / 10);
    assert_true(farewell_begin(f, l, &table, drop, done, a));
    loop_once(l);
    if (f)
        farewell_finish(f);
    assert_int_equal(ends, 1);
    assert_int_equal(sublist_count(a->subs), 0);
    loop_once(l); /* the loop has forgotten the job */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(few_are_out_at_once),
        TEST(many_leave_in_portions),
        TEST(who_cannot_wait_finishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

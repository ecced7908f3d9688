/* What crosses a link between two JetStreams: the truth table, and the second names of the API.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/domain.h"
#include "base/mem.h"

#define CLIENT "$JS.API.> $KV.> $OBJ.> "
#define ALL    "$JSC.> $NRG.> " CLIENT

/* We are the leaf; the hub sees the mirror image. A row per line of the truth table, then the
 * special cases. */
static const struct {
    const char *ours;
    bool jetstream;
    const char *theirs;
    bool system, default_is_empty;
    const char *in, *out; /* denied, in order, each followed by a blank */
} rows[] = {
    {"", true, "", false, false, CLIENT, CLIENT},
    {"X", true, "X", false, false, CLIENT, CLIENT},
    {"leaf", true, "hub", false, false, CLIENT, CLIENT "$JS.leaf.API.> "},
    {"hub", true, "leaf", false, false, CLIENT, CLIENT "$JS.hub.API.> "},
    {"", false, "hub", false, false, CLIENT, CLIENT},
    {"leaf", true, "", false, false, CLIENT, CLIENT "$JS.leaf.API.> "},
    {"", true, "hub", false, false, CLIENT, CLIENT},
    {"", false, "", false, false, CLIENT, CLIENT},
    {"leaf", false, "hub", false, false, CLIENT, CLIENT},
    {"", false, "", false, true, "", ""},
    {"leaf", true, "hub", false, true, "", ""},
    /* system accounts */
    {"leaf", true, "hub", true, false, ALL, ALL "$JS.leaf.API.> "},
    {"X", true, "X", true, false, "", ""},
    {"", true, "", true, false, "", ""},
    {"", false, "", true, false, ALL, ALL},
    {"X", false, "X", true, false, "", ""},
    {"X", true, "X", true, true, ALL, ALL "$JS.X.API.> "},
};

static void assert_denies(size_t row, enum domain_dir dir, const char *expect)
{
    struct slice denied[DOMAIN_DENY_MAX];
    struct buf own = BUF_INIT, text = BUF_INIT;
    struct domain_pair pair = {slice_cstr(rows[row].ours), rows[row].jetstream,
                               slice_cstr(rows[row].theirs), rows[row].system,
                               rows[row].default_is_empty};
    size_t n = domain_denies(&pair, dir, &own, denied);
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%.*s ", SLICE_FMT(denied[i]));
    if (strcmp(buf_cstr(&text), expect) != 0)
        fail_msg("row %zu, %s: %s", row, dir == DOMAIN_IN ? "in" : "out", buf_cstr(&text));
    buf_release(&own);
    buf_release(&text);
}

static void denies_follow_the_truth_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_denies(i, DOMAIN_IN, rows[i].in);
        assert_denies(i, DOMAIN_OUT, rows[i].out);
    }
}

static void a_domain_announces_nine_mappings(void **state)
{
    (void)state;
    static const char *const expect[] = {
        "$JS.D.API.INFO",      "$JS.D.API.STREAM.>", "$JS.D.API.CONSUMER.>",
        "$JS.D.API.DIRECT.>",  "$JS.D.API.META.>",   "$JS.D.API.SERVER.>",
        "$JS.D.API.ACCOUNT.>", "$JS.D.API.$KV.>",    "$JS.D.API.$OBJ.>",
    };
    struct buf b = BUF_INIT;
    size_t i = 0;
    for (; domain_mapping(SLICE("D"), false, i, &b); i++) {
        assert_string_equal(buf_cstr(&b), expect[i]);
        buf_clear(&b);
    }
    assert_int_equal(i, ARRAY_LEN(expect));
    assert_true(domain_mapping(SLICE("D"), true, 0, &b));
    assert_string_equal(buf_cstr(&b), "$JS.D.API.>");
    assert_false(domain_mapping(SLICE("D"), true, 1, &b));
    assert_false(domain_mapping(SLICE(""), false, 0, &b));
    buf_release(&b);
}

static const struct {
    const char *far, *near; /* near NULL: far is not mapped */
} names[] = {
    {"$JS.D.API.INFO", "$JS.API.INFO"},
    {"$JS.D.API.STREAM.INFO.S", "$JS.API.STREAM.INFO.S"},
    {"$JS.D.API.CONSUMER.MSG.NEXT.S.C", "$JS.API.CONSUMER.MSG.NEXT.S.C"},
    {"$JS.D.API.DIRECT.GET.S", "$JS.API.DIRECT.GET.S"},
    {"$JS.D.API.META.LEADER.STEPDOWN", "$JS.API.META.LEADER.STEPDOWN"},
    {"$JS.D.API.SERVER.REMOVE", "$JS.API.SERVER.REMOVE"},
    {"$JS.D.API.ACCOUNT.PURGE.A", "$JS.API.ACCOUNT.PURGE.A"},
    {"$JS.D.API.$KV.b.key", "$KV.b.key"},
    {"$JS.D.API.$OBJ.b.C.x", "$OBJ.b.C.x"},
    {"$JS.D.API.INFO.x", NULL},
    {"$JS.D.API.STREAM.", NULL},
    {"$JS.D.API.STREAM", NULL},
    {"$JS.D.API.OTHER.x", NULL},
    {"$JS.DD.API.INFO", NULL},
    {"$JS.API.INFO", NULL},
    {"$JS.D.API", NULL},
    {"orders.new", NULL},
    {"", NULL},
};

static void names_go_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf b = BUF_INIT;
        bool mapped = domain_to_local(SLICE("D"), false, slice_cstr(names[i].far), &b);
        assert_int_equal(mapped, names[i].near != NULL);
        assert_string_equal(buf_cstr(&b), mapped ? names[i].near : "");
        buf_clear(&b);
        assert_false(domain_to_local(SLICE(""), false, slice_cstr(names[i].far), &b));
        if (names[i].near) {
            assert_true(domain_to_remote(SLICE("D"), slice_cstr(names[i].near), &b));
            assert_string_equal(buf_cstr(&b), names[i].far);
        }
        buf_release(&b);
    }
    struct buf b = BUF_INIT;
    assert_false(domain_to_remote(SLICE("D"), SLICE("$JS.ACK.S.C.1"), &b));
    assert_false(domain_to_remote(SLICE("D"), SLICE("$JS.API.INFO.x"), &b));
    assert_false(domain_to_remote(SLICE(""), SLICE("$JS.API.INFO"), &b));
    assert_false(domain_to_remote(SLICE("D"), SLICE("orders"), &b));
    assert_int_equal(b.len, 0);
    assert_true(domain_to_local(SLICE("D"), true, SLICE("$JS.D.API.OTHER.x"), &b));
    assert_string_equal(buf_cstr(&b), "$JS.API.OTHER.x");
    assert_false(domain_to_local(SLICE("D"), true, SLICE("$JS.D.API."), &b));
    buf_release(&b);
}

static void assert_external(const char *prefix, const char *subject, const char *expect)
{
    struct buf b = BUF_INIT;
    domain_external(slice_cstr(prefix), slice_cstr(subject), &b);
    assert_string_equal(buf_cstr(&b), expect);
    buf_release(&b);
}

static void a_puller_asks_under_the_external_prefix(void **state)
{
    (void)state;
    assert_external("$JS.hub.API", "$JS.API.CONSUMER.CREATE.S", "$JS.hub.API.CONSUMER.CREATE.S");
    assert_external("$JS.hub.API.", "$JS.API.CONSUMER.CREATE.S", "$JS.hub.API.CONSUMER.CREATE.S");
    assert_external("$JS.hub.API", "$JS.API.CONSUMER.CREATE.S.c.$JS.API.x",
                    "$JS.hub.API.CONSUMER.CREATE.S.c.$JS.API.x");
    assert_external("x", "y..z", "y.z");
}

static void the_api_prefix_of_a_domain(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    domain_api_prefix(SLICE("D"), &b);
    buf_add_char(&b, ' ');
    domain_api_prefix(SLICE(""), &b);
    assert_string_equal(buf_cstr(&b), "$JS.D.API $JS.API");
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(denies_follow_the_truth_table),
        cmocka_unit_test(a_domain_announces_nine_mappings),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(a_puller_asks_under_the_external_prefix),
        cmocka_unit_test(the_api_prefix_of_a_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where the hub may be found: spellings, rotation, gossip, credentials.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "server/leaf_urls.h"

static const struct {
    const char *text;
    const char *host; /* NULL: refused */
    uint16_t port;
    const char *user, *password;
    bool tls;
} spellings[] = {
    {"nats-leaf://10.0.0.1:7422", "10.0.0.1", 7422, NULL, NULL, false},
    {"nats://hub.example.com", "hub.example.com", 7422, NULL, NULL, false},
    {"tls://hub:443", "hub", 443, NULL, NULL, true},
    {"TLS://hub:443", "hub", 443, NULL, NULL, true},
    {"hub:4000", "hub", 4000, NULL, NULL, false},
    {"  hub  ", "hub", 7422, NULL, NULL, false},
    {"hub:", "hub", 7422, NULL, NULL, false},
    {"nats://hub/", "hub", 7422, NULL, NULL, false},
    {"nats://hub:1/path@x", "hub", 1, NULL, NULL, false},
    {"nats://u:p@hub:1", "hub", 1, "u", "p", false},
    {"nats://token@hub", "hub", 7422, "token", NULL, false},
    {"nats://u:p@ss@hub:1", "hub", 1, "u", "p@ss", false},
    {"nats://u:p:q@hub:1", "hub", 1, "u", "p:q", false},
    {"nats://u%40x:%3a%2F%zz%4@hub:1", "hub", 1, "u@x", ":/%zz%4", false},
    {"nats://u:@hub", "hub", 7422, "u", "", false},
    {"nats-leaf://[::1]:7422", "::1", 7422, NULL, NULL, false},
    {"[fe80::1]", "fe80::1", 7422, NULL, NULL, false},
    {"nats://u:p@[::1]:99", "::1", 99, "u", "p", false},
    {"", NULL, 0, NULL, NULL, false},
    {"nats://", NULL, 0, NULL, NULL, false},
    {"nats://:7422", NULL, 0, NULL, NULL, false},
    {"nats://hub:0", NULL, 0, NULL, NULL, false},
    {"nats://hub:65536", NULL, 0, NULL, NULL, false},
    {"nats://hub:12x", NULL, 0, NULL, NULL, false},
    {"nats://hub:-1", NULL, 0, NULL, NULL, false},
    {"nats://::1:7422", NULL, 0, NULL, NULL, false},
    {"nats://[::1", NULL, 0, NULL, NULL, false},
    {"nats://[::1]x", NULL, 0, NULL, NULL, false},
    {"nats://u:p@", NULL, 0, NULL, NULL, false},
};

static void same(const char *a, const char *b)
{
    if (b)
        assert_string_equal(a, b);
    else
        assert_null(a);
}

static void every_spelling_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        struct leaf_url u;
        int err = leaf_url_parse(slice_cstr(spellings[i].text), &u);
        if ((err == E_OK) != (spellings[i].host != NULL))
            fail_msg("\"%s\" gives %d", spellings[i].text, err);
        same(u.host, spellings[i].host);
        same(u.user, spellings[i].user);
        same(u.password, spellings[i].password);
        assert_int_equal(u.port, spellings[i].port);
        assert_int_equal(u.tls, spellings[i].tls);
        leaf_url_release(&u);
    }
}

/* --- the list ----------------------------------------------------------------------------------
 */

static size_t cut(const char *text, struct slice *out)
{
    struct slice rest = slice_cstr(text);
    size_t n = 0;
    while (slice_token(&rest, &out[n]))
        n++;
    return n;
}

static void fill(struct leaf_urls *us, const char *text)
{
    struct slice urls[16];
    size_t n = cut(text, urls);
    assert_int_equal(leaf_urls_init(us, urls, n, false), E_OK);
}

static void gossip(struct leaf_urls *us, const char *text)
{
    struct slice urls[16];
    size_t n = cut(text, urls);
    leaf_urls_gossip(us, urls, n);
}

static void picks(struct leaf_urls *us, const char *hosts)
{
    struct slice rest = slice_cstr(hosts), host;
    while (slice_token(&rest, &host)) {
        const struct leaf_url *u = leaf_urls_pick(us);
        assert_non_null(u);
        if (!slice_is(host, u->host))
            fail_msg("%s instead of %.*s", u->host, SLICE_FMT(host));
    }
}

static void urls_are_tried_in_turn(void **state)
{
    (void)state;
    struct leaf_urls us;
    fill(&us, "nats://a nats://b nats://c");
    picks(&us, "a b c a b c");
    leaf_urls_release(&us);
    fill(&us, "nats://a");
    picks(&us, "a a");
    leaf_urls_release(&us);
}

static void a_bad_url_refuses_the_list(void **state)
{
    (void)state;
    struct leaf_urls us;
    struct slice urls[] = {SLICE("nats://a"), SLICE("nats://b:x"), SLICE("nats://c")};
    assert_int_equal(leaf_urls_init(&us, urls, 3, true), E_SYNTAX);
}

static void shuffling_keeps_them_all_and_starts_anywhere(void **state)
{
    (void)state;
    struct slice urls[] = {SLICE("a"), SLICE("b"), SLICE("c")};
    unsigned first = 0;
    for (int i = 0; i < 200; i++) {
        struct leaf_urls us;
        unsigned seen = 0;
        assert_int_equal(leaf_urls_init(&us, urls, 3, true), E_OK);
        first |= 1u << (us.at[0].host[0] - 'a');
        for (int k = 0; k < 3; k++)
            seen |= 1u << (leaf_urls_pick(&us)->host[0] - 'a');
        assert_int_equal(seen, 7);
        leaf_urls_release(&us);
    }
    assert_int_equal(first, 7);
}

static void gossip_goes_before_what_was_configured(void **state)
{
    (void)state;
    struct leaf_urls us;
    fill(&us, "nats://a nats://b");
    picks(&us, "a");
    gossip(&us, "x:1 A:7422 y:1 x:1 not:a:url");
    assert_int_equal(us.n, 4);
    picks(&us, "x y a b x");
    gossip(&us, "z:1"); /* replaces what was gossiped */
    assert_int_equal(us.n, 3);
    picks(&us, "z a b z");
    leaf_urls_release(&us);
}

static void gossip_that_tells_nothing_new_does_not_make_us_try_the_same_again(void **state)
{
    (void)state;
    struct leaf_urls us;
    fill(&us, "nats://a nats://b");
    picks(&us, "a");
    gossip(&us, "a:7422 b:7422");
    picks(&us, "b");
    gossip(&us, "a:7422 b:7422");
    picks(&us, "a");
    gossip(&us, "x:1");
    picks(&us, "x");
    gossip(&us, "x:1");
    picks(&us, "a");
    leaf_urls_release(&us);
}

static void gossiped_urls_borrow_the_first_credentials(void **state)
{
    (void)state;
    struct leaf_urls us;
    fill(&us, "nats://a nats://u:p@b nats://v:q@c");
    gossip(&us, "x:1");
    const struct leaf_url *u = leaf_urls_pick(&us);
    assert_string_equal(u->host, "x");
    assert_true(u->gossiped);
    assert_string_equal(leaf_urls_credentials(&us, u)->user, "u");
    leaf_urls_pick(&us);
    leaf_urls_pick(&us);
    u = leaf_urls_pick(&us);
    assert_string_equal(u->host, "c");
    assert_string_equal(leaf_urls_credentials(&us, u)->user, "v");
    leaf_urls_release(&us);
    fill(&us, "nats://a");
    assert_null(leaf_urls_credentials(&us, leaf_urls_pick(&us)));
    leaf_urls_release(&us);
}

static void the_first_host_that_is_a_name(void **state)
{
    (void)state;
    struct leaf_urls us;
    fill(&us, "nats://10.0.0.1 nats://[::1] nats://hub.example.com nats://other");
    assert_true(leaf_url_is_ip(&us.at[0]));
    assert_true(leaf_url_is_ip(&us.at[1]));
    assert_string_equal(leaf_urls_name(&us), "hub.example.com");
    leaf_urls_release(&us);
    fill(&us, "nats://10.0.0.1");
    assert_null(leaf_urls_name(&us));
    leaf_urls_release(&us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_is_read),
        cmocka_unit_test(urls_are_tried_in_turn),
        cmocka_unit_test(a_bad_url_refuses_the_list),
        cmocka_unit_test(shuffling_keeps_them_all_and_starts_anywhere),
        cmocka_unit_test(gossip_goes_before_what_was_configured),
        cmocka_unit_test(gossip_that_tells_nothing_new_does_not_make_us_try_the_same_again),
        cmocka_unit_test(gossiped_urls_borrow_the_first_credentials),
        cmocka_unit_test(the_first_host_that_is_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

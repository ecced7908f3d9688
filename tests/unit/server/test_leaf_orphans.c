/* Requests that died with a link: who is told, who is not; link: fake
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/server/leaf_scene.h"

static int set_up_jetstream(void **state)
{
    set_up(state);
    host.jetstream = true;
    host.domain = SLICE("site");
    account->jetstream = true;
    return 0;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void expect_silence(void)
{
    fake_loop_advance(loop, 5 * NS_PER_S);
    const char *got = hears();
    if (count(got, "$JSC.R.") || count(got, "INFO"))
        fail_msg("heard: %s", got);
}

static void an_inbox_without_its_request_is_answered_and_the_hub_is_nudged(void **state)
{
    (void)state;
    come_up();
    say("LS+ orders.new\r\nLS+ $JSC.R.abc\r\n");
    fake_loop_advance(loop, 900 * NS_PER_MS);
    assert_int_equal(count(hears(), "$JSC.R."), 0);
    fake_loop_advance(loop, 110 * NS_PER_MS);
    const char *got = hears();
    expect_in(got, "LMSG $JSC.R.abc 155\r\n{\"type\":");
    expect_in(got, "\"err_code\":10008");
    expect_in(got, "INFO {\"server_id\":\"NS\",\"server_name\":\"site\",");
    expect_in(got, "\"headers\":true");
    assert_int_equal(count(got, "compression"), 0);
    assert_int_equal(count(got, "INFO"), 1);
    fake_loop_advance(loop, 200 * NS_PER_MS);
    assert_int_equal(count(hears(), "INFO"), 1);
    fake_loop_advance(loop, 400 * NS_PER_MS);
    assert_int_equal(count(hears(), "INFO"), 1);
    fake_loop_advance(loop, 800 * NS_PER_MS);
    assert_int_equal(count(hears(), "INFO"), 1);
    expect_silence();
}

static void a_request_that_came_is_left_to_its_answer(void **state)
{
    (void)state;
    come_up();
    say("LS+ $JSC.R.abc\r\nLMSG $JS.site.API.CONSUMER.CREATE.S $JSC.R.abc 2\r\n{}\r\n");
    expect_silence();
}

static void an_inbox_that_is_gone_in_time_is_no_orphan(void **state)
{
    (void)state;
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    fake_loop_advance(loop, 500 * NS_PER_MS);
    say("LS- $JSC.R.abc\r\n");
    expect_silence();
}

static void an_inbox_younger_than_the_link_is_no_orphan(void **state)
{
    (void)state;
    come_up();
    fake_loop_advance(loop, 300 * NS_PER_MS);
    say("LS+ $JSC.R.abc\r\n");
    expect_silence();
}

static void a_site_without_a_domain_says_nothing(void **state)
{
    (void)state;
    host.domain = (struct slice){0};
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    expect_silence();
}

static void a_hub_that_forbids_the_inbox_is_not_told(void **state)
{
    (void)state;
    static const struct slice deny[] = {SLICE_INIT("$JSC.>")};
    cfg.deny_exports = deny;
    cfg.ndeny_exports = 1;
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    expect_silence();
}

static void each_link_begins_anew(void **state)
{
    (void)state;
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    wire_cut(hub);
    fake_loop_run(loop);
    dials_after(NS_PER_S, NS_PER_S);
    say(GREETING);
    say(TAKEN_IN);
    say("LS+ $JSC.R.def\r\n");
    hears();
    fake_loop_advance(loop, NS_PER_S);
    const char *got = hears();
    assert_int_equal(count(got, "$JSC.R.abc"), 0);
    assert_int_equal(count(got, "LMSG $JSC.R.def"), 1);
    wire_cut(hub); /* amid the nudges */
    fake_loop_run(loop);
    assert_string_equal(state_name(), "DOWN");
}

static void come_back_to(const char *greeting, const char *inbox)
{
    wire_cut(hub);
    fake_loop_run(loop);
    dials_after(NS_PER_S, NS_PER_S);
    say(greeting);
    say(TAKEN_IN);
    say(inbox);
    hears();
    fake_loop_advance(loop, NS_PER_S);
}

static void a_link_that_flaps_leaves_a_slow_neighbour_time(void **state)
{
    (void)state;
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    fake_loop_advance(loop, NS_PER_S);
    assert_int_equal(count(hears(), "LMSG $JSC.R.abc"), 1);
    come_back_to(GREETING, "LS+ $JSC.R.def\r\nLS+ $JSC.R.ghi\r\n"); /* perhaps a neighbour's */
    expect_silence();
    say("LS- $JSC.R.def\r\n"); /* it was, and has answered */
    fake_loop_advance(loop, 5 * NS_PER_S);
    const char *got = hears();
    assert_int_equal(count(got, "LMSG $JSC.R.def"), 0);
    assert_int_equal(count(got, "LMSG $JSC.R.ghi"), 1);
}

static void a_hub_that_was_started_anew_needs_no_rest(void **state)
{
    (void)state;
    static const char second[] =
        "INFO {\"server_id\":\"NI\",\"server_name\":\"hub\",\"headers\":true,"
        "\"max_payload\":1048576,\"client_id\":7,\"nonce\":\"abc\","
        "\"info_on_connect\":true,\"leafnode_urls\":[]} \r\n";
    come_up();
    say("LS+ $JSC.R.abc\r\n");
    fake_loop_advance(loop, NS_PER_S);
    assert_int_equal(count(hears(), "LMSG $JSC.R.abc"), 1);
    come_back_to(second, "LS+ $JSC.R.def\r\n");
    assert_int_equal(count(hears(), "LMSG $JSC.R.def"), 1);
    come_back_to(GREETING, "LS+ $JSC.R.ghi\r\n"); /* that one we know */
    expect_silence();
}

#define JS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up_jetstream, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JS_TEST(an_inbox_without_its_request_is_answered_and_the_hub_is_nudged),
        JS_TEST(a_request_that_came_is_left_to_its_answer),
        JS_TEST(an_inbox_that_is_gone_in_time_is_no_orphan),
        JS_TEST(an_inbox_younger_than_the_link_is_no_orphan),
        JS_TEST(a_site_without_a_domain_says_nothing),
        JS_TEST(a_hub_that_forbids_the_inbox_is_not_told),
        JS_TEST(each_link_begins_anew),
        JS_TEST(a_link_that_flaps_leaves_a_slow_neighbour_time),
        JS_TEST(a_hub_that_was_started_anew_needs_no_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

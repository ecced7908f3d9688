/* The life of a link; link: fake
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/server/leaf_scene.h"

/* --- the handshake -------------------------------------------------------------------------------
 */

static void a_link_comes_up_and_tells_its_interest_only_then(void **state)
{
    (void)state;
    struct heard a = {0};
    subscribe(&a, "a.*", NULL);
    open_leaf();
    assert_string_equal(state_name(), "DIALING");
    accept_dial();
    assert_string_equal(state_name(), "GREETING");
    expect_heard("");
    say(GREETING);
    const char *connect = hears();
    expect_in(connect, "\"compress_mode\":\"off\"");
    expect_in(connect, "\"remote_account\":\"A\"");
    assert_null(strstr(connect, "LS+"));
    assert_string_equal(state_name(), "JOINING");
    assert_int_equal(ups, 0);
    say(TAKEN_IN);
    assert_string_equal(state_name(), "UP");
    assert_int_equal(ups, 1);
    assert_int_equal(account->leafs, 1);
    const char *block = hears();
    expect_in(block, "LS+ a.*\r\n");
    expect_in(block, account->lds);
    expect_in(log_text, "Leafnode connection created for account: A");
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_true(v.up && v.spoke);
    assert_true(slice_is(v.remote_account, "HUB"));
    assert_true(slice_is(v.remote_name, "hub"));
    assert_true(slice_is(v.compression, "off"));
    unsubscribe(&a);
}

static void the_greeting_may_come_byte_by_byte(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    wire_split(hub, 1);
    say(GREETING);
    expect_in(hears(), "CONNECT {");
    say(TAKEN_IN "LS+ x\r\nLMSG x 2\r\nhi\r\nPING\r\n");
    assert_string_equal(state_name(), "UP");
    expect_in(hears(), "PONG\r\n");
    assert_int_equal(counters[0], 1);
}

static void a_hub_without_a_second_info_is_told_at_once(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say("INFO {\"server_id\":\"NH\",\"client_id\":7,\"leafnode_urls\":[]}\r\nLS+ "
        "early\r\nPING\r\n");
    assert_string_equal(state_name(), "UP");
    const char *all = hears();
    expect_in(all, "\"compress_mode\":\"not supported\"");
    expect_in(all, "LS+ $LDS.");
    expect_in(all, "PONG\r\n");
    assert_true(account_has_interest(account, SLICE("early"), (struct slice){0}));
}

static void a_wrong_port_is_left_without_a_word(void **state)
{
    (void)state;
    static const char *const greetings[] = {
        "INFO {\"server_id\":\"NH\",\"max_payload\":1}\r\n",
        "INFO {\"server_id\":\"NH\",\"client_id\":7}\r\n",
        "INFO {\"client_id\":0,\"leafnode_urls\":[],\"info_on_connect\":true}\r\n",
        "INFO nonsense\r\n",
    };
    open_leaf();
    for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
        accept_dial();
        say(greetings[i]);
        assert_string_equal(state_name(), "DOWN");
        assert_false(wire_alive(hub));
        expect_heard("");
        fake_loop_advance(loop, 2 * NS_PER_S);
    }
    expect_in(log_text, "attempted to connect to wrong port");
}

static void no_advertise_leaves_the_urls_out_and_is_fine(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say("INFO {\"server_id\":\"NH\",\"client_id\":7,\"info_on_connect\":true}\r\n");
    assert_string_equal(state_name(), "JOINING");
}

static void a_reserved_or_spaced_cluster_name_is_refused(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say("INFO {\"client_id\":7,\"info_on_connect\":true,\"cluster\":\"_\"}\r\n");
    expect_heard("-ERR 'cluster name is reserved'\r\n");
    fake_loop_advance(loop, 2 * NS_PER_S);
    accept_dial();
    say("INFO {\"client_id\":7,\"info_on_connect\":true,\"cluster\":\"a b\"}\r\n");
    expect_heard("-ERR 'cluster name cannot contain spaces'\r\n");
}

static void no_greeting_within_a_second_is_a_loss(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    fake_loop_advance(loop, 999 * NS_PER_MS);
    assert_string_equal(state_name(), "GREETING");
    fake_loop_advance(loop, 2 * NS_PER_MS);
    assert_string_equal(state_name(), "DOWN");
}

static void first_info_timeout_may_be_longer(void **state)
{
    (void)state;
    cfg.first_info_timeout_ns = 5 * NS_PER_S;
    open_leaf();
    accept_dial();
    fake_loop_advance(loop, 4900 * NS_PER_MS);
    say(GREETING);
    assert_string_equal(state_name(), "JOINING");
}

static void no_answer_to_connect_within_two_seconds_is_stale(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say(GREETING);
    hears();
    fake_loop_advance(loop, 1999 * NS_PER_MS);
    expect_heard("");
    fake_loop_advance(loop, 2 * NS_PER_MS);
    expect_heard("-ERR 'Stale Leaf Node Connection - Closing'\r\n");
    assert_string_equal(state_name(), "DOWN");
}

/* --- coming back ---------------------------------------------------------------------------------
 */

static void a_refused_dial_is_tried_again_with_jitter_for_ever(void **state)
{
    (void)state;
    open_leaf();
    unsigned late = 0;
    for (int i = 0; i < 60; i++) {
        assert_true(wire_refuse(7422));
        fake_loop_run(loop);
        fake_loop_advance(loop, 999 * NS_PER_MS);
        assert_null(wire_dialled(7422));
        fake_loop_advance(loop, 501 * NS_PER_MS);
        if (strcmp(state_name(), "DIALING") != 0)
            late++;
        fake_loop_advance(loop,
                          500 * NS_PER_MS); /* 2 s in all: the earliest dial is not over yet */
        assert_string_equal(state_name(), "DIALING");
    }
    assert_in_range(late, 10, 50); /* half of them, on average */
}

static void failed_dials_are_told_as_often_as_asked(void **state)
{
    (void)state;
    cfg.connect_error_reports = 5;
    open_leaf();
    for (int i = 0; i < 12; i++) {
        assert_true(wire_refuse(7422));
        fake_loop_run(loop);
        fake_loop_advance(loop, 2000 * NS_PER_MS); /* dialled again by then, and not given up */
    }
    expect_in(log_text, "(attempt 1)");
    expect_in(log_text, "(attempt 5)");
    expect_in(log_text, "(attempt 10)");
    assert_null(strstr(log_text, "(attempt 2)"));
    assert_null(strstr(log_text, "(attempt 11)"));
}

static void a_lost_link_is_dialled_again_after_the_reconnect_time(void **state)
{
    (void)state;
    cfg.reconnect_ns = 3 * NS_PER_S;
    come_up();
    wire_cut(hub);
    fake_loop_run(loop);
    assert_string_equal(state_name(), "DOWN");
    assert_int_equal(downs, 1);
    assert_int_equal(account->leafs, 0);
    dials_after(3 * NS_PER_S, 3 * NS_PER_S);
    say(GREETING);
    say(TAKEN_IN);
    assert_string_equal(state_name(), "UP");
    assert_int_equal(ups, 2);
}

static void every_url_has_its_turn(void **state)
{
    (void)state;
    static const uint16_t ports[] = {7422, 7001, 7002, 7422};
    urls[1] = SLICE("nats-leaf://10.0.0.2:7001");
    urls[2] = SLICE("nats-leaf://10.0.0.3:7002");
    cfg.nurls = 3;
    open_leaf();
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        assert_true(wire_refuse(ports[i]));
        fake_loop_run(loop);
        fake_loop_advance(loop, 2000 * NS_PER_MS); /* dialled again by then, and not given up */
    }
}

static void gossip_is_tried_before_what_was_configured(void **state)
{
    (void)state;
    cfg.ignore_discovered = false;
    come_up();
    say("INFO {\"leafnode_urls\":[\"10.0.0.8:7008\"]}\r\n");
    wire_cut(hub);
    fake_loop_run(loop);
    fake_loop_advance(loop, 1001 * NS_PER_MS);
    assert_true(wire_refuse(7008));
    fake_loop_run(loop);
    fake_loop_advance(loop, 2000 * NS_PER_MS); /* dialled again by then, and not given up */
    accept_dial();
}

static void the_hub_says_the_same_cluster_name_and_we_wait_half_a_minute(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say(GREETING);
    say("-ERR 'remote leafnode has same cluster name'\r\n");
    assert_string_equal(state_name(), "JOINING"); /* an -ERR alone ends nothing */
    wire_hang_up(hub);
    fake_loop_run(loop);
    assert_string_equal(state_name(), "DOWN");
    dials_after(31 * NS_PER_S, 32 * NS_PER_S);
}

static void a_minimum_version_costs_five_seconds(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say(GREETING);
    say("-ERR 'connection rejected since minimum version required is \"3.0.0\"'\r\n");
    wire_hang_up(hub);
    fake_loop_run(loop);
    dials_after(6 * NS_PER_S, 7 * NS_PER_S);
}

static void a_bad_password_costs_nothing_extra(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say(GREETING);
    say("-ERR 'Authorization Violation'\r\n");
    wire_hang_up(hub);
    fake_loop_run(loop);
    expect_in(log_text, "Leafnode Error 'Authorization Violation'");
    dials_after(NS_PER_S, 2 * NS_PER_S);
}

/* --- loops ---------------------------------------------------------------------------------------
 */

static void our_own_loop_subject_coming_back_is_a_loop(void **state)
{
    (void)state;
    char line[80];
    come_up();
    snprintf(line, sizeof line, "LS+ %s\r\n", account->lds);
    say(line);
    expect_heard("-ERR 'Loop detected for leafnode account=\"A\". Delaying attempt to reconnect "
                 "for 30s'\r\n");
    assert_string_equal(state_name(), "DOWN");
    dials_after(31 * NS_PER_S, 31 * NS_PER_S);
}

static void a_loop_the_hub_detects_closes_our_side_too(void **state)
{
    (void)state;
    come_up();
    say("-ERR 'Loop detected for leafnode account=\"HUB\". Delaying attempt to reconnect for "
        "30s'\r\n");
    assert_string_equal(state_name(), "DOWN");
    dials_after(31 * NS_PER_S, 31 * NS_PER_S);
}

static void the_loop_subject_stays_the_same_for_life(void **state)
{
    (void)state;
    char lds[32];
    come_up();
    snprintf(lds, sizeof lds, "%s", account->lds);
    assert_int_equal(strlen(lds), 5 + 22);
    wire_cut(hub);
    fake_loop_run(loop);
    fake_loop_advance(loop, 1001 * NS_PER_MS);
    come_up();
    assert_string_equal(account->lds, lds);
    char other[40];
    snprintf(other, sizeof other, "LS+ %.26s%c\r\n", lds, lds[26] == 'x' ? 'y' : 'x');
    say(other); /* somebody else's */
    assert_string_equal(state_name(), "UP");
}

/* --- PING and PONG -------------------------------------------------------------------------------
 */

static void the_first_ping_comes_after_a_second_and_a_bit(void **state)
{
    (void)state;
    come_up();
    fake_loop_advance(loop, 999 * NS_PER_MS);
    expect_heard("");
    fake_loop_advance(loop, 202 * NS_PER_MS);
    expect_heard("PING\r\n");
    fake_loop_advance(loop, 5 * NS_PER_MS);
    say("PONG\r\n");
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_in_range(v.rtt_ns, 5 * NS_PER_MS, 210 * NS_PER_MS);
    fake_loop_advance(loop, 119 * NS_PER_S);
    expect_heard("");
    fake_loop_advance(loop, 2 * NS_PER_S);
    expect_heard("PING\r\n");
}

static void a_silent_hub_is_stale_after_the_third_ping(void **state)
{
    (void)state;
    cfg.ping_interval_ns = 10 * NS_PER_S;
    come_up();
    fake_loop_advance(loop, 1300 * NS_PER_MS);
    expect_heard("PING\r\n");
    fake_loop_advance(loop, 10 * NS_PER_S);
    expect_heard("PING\r\n");
    fake_loop_advance(loop, 10 * NS_PER_S);
    expect_heard("PING\r\n");
    fake_loop_advance(loop, 10 * NS_PER_S);
    expect_heard("-ERR 'Stale Connection'\r\n");
    assert_string_equal(state_name(), "DOWN");
    assert_int_equal(counters[5], 1);
}

static void bytes_that_come_in_keep_a_link_alive_without_any_pong(void **state)
{
    (void)state;
    cfg.ping_interval_ns = 10 * NS_PER_S;
    come_up();
    for (int i = 0; i < 12; i++) {
        fake_loop_advance(loop, 9 * NS_PER_S);
        say("LMSG nobody 1\r\nx\r\n");
        assert_string_equal(state_name(), "UP");
    }
}

static void bytes_that_leave_a_full_link_keep_it_alive(void **state)
{
    (void)state;
    static char kb64[65536];
    cfg.ping_interval_ns = 10 * NS_PER_S;
    come_up();
    say("LS+ big\r\n");
    wire_narrow(hub, 1000);
    struct msg_view m = {.subject = SLICE("big"), .payload = slice_of(kb64, sizeof kb64)};
    for (int i = 0; i < 20; i++)
        assert_int_equal(publish_view(&m), 1);
    for (int i = 0; i < 40; i++) {
        fake_loop_advance(loop, 4 * NS_PER_S);
        wire_narrow(hub, 3000); /* a little, all the time */
        fake_loop_run(loop);
        if (strcmp(state_name(), "UP") != 0)
            fail_msg("after %d s: %s", 4 * i, log_text);
    }
    fake_loop_advance(loop, 60 * NS_PER_S); /* nothing any more */
    assert_int_equal(downs, 1);
    expect_in(log_text, "Slow Consumer");
}

static void closing_in_any_state_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const talk[] = {NULL, "", GREETING, GREETING TAKEN_IN};
    for (size_t i = 0; i < ARRAY_LEN(talk); i++) {
        assert_int_equal(leaf_open(&host, &cfg, &leaf), E_OK);
        fake_loop_run(loop);
        if (talk[i]) {
            accept_dial();
            say(talk[i]);
        }
        leaf_close(leaf);
        leaf = NULL;
        fake_loop_run(loop);
        if (!talk[i])
            assert_false(wire_refuse(7422));
        assert_int_equal(account->leafs, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_link_comes_up_and_tells_its_interest_only_then),
        TEST(the_greeting_may_come_byte_by_byte),
        TEST(a_hub_without_a_second_info_is_told_at_once),
        TEST(a_wrong_port_is_left_without_a_word),
        TEST(no_advertise_leaves_the_urls_out_and_is_fine),
        TEST(a_reserved_or_spaced_cluster_name_is_refused),
        TEST(no_greeting_within_a_second_is_a_loss),
        TEST(first_info_timeout_may_be_longer),
        TEST(no_answer_to_connect_within_two_seconds_is_stale),
        TEST(a_refused_dial_is_tried_again_with_jitter_for_ever),
        TEST(failed_dials_are_told_as_often_as_asked),
        TEST(a_lost_link_is_dialled_again_after_the_reconnect_time),
        TEST(every_url_has_its_turn),
        TEST(gossip_is_tried_before_what_was_configured),
        TEST(the_hub_says_the_same_cluster_name_and_we_wait_half_a_minute),
        TEST(a_minimum_version_costs_five_seconds),
        TEST(a_bad_password_costs_nothing_extra),
        TEST(our_own_loop_subject_coming_back_is_a_loop),
        TEST(a_loop_the_hub_detects_closes_our_side_too),
        TEST(the_loop_subject_stays_the_same_for_life),
        TEST(the_first_ping_comes_after_a_second_and_a_bit),
        TEST(a_silent_hub_is_stale_after_the_third_ping),
        TEST(bytes_that_come_in_keep_a_link_alive_without_any_pong),
        TEST(bytes_that_leave_a_full_link_keep_it_alive),
        TEST(closing_in_any_state_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

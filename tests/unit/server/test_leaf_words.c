/* What is said on a link that is up; link: fake
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/server/leaf_scene.h"

/* --- interest ------------------------------------------------------------------------------------
 */

static void interest_is_told_net_and_pruned(void **state)
{
    (void)state;
    struct heard a = {0}, b = {0}, q = {0}, r = {0};
    come_up();
    subscribe(&a, "foo.bar", NULL);
    expect_heard("LS+ foo.bar\r\n");
    subscribe(&b, "foo.bar", NULL);
    expect_heard("");
    subscribe(&q, "q.sub", "workers");
    subscribe(&r, "q.sub", "workers");
    expect_heard("LS+ q.sub workers 1\r\nLS+ q.sub workers 2\r\n");
    unsubscribe(&a);
    expect_heard("");
    unsubscribe(&b);
    expect_heard("LS- foo.bar\r\n");
    unsubscribe(&q);
    unsubscribe(&r);
    expect_heard("LS+ q.sub workers 1\r\nLS- q.sub workers\r\n");
}

static void interest_that_came_and_went_while_much_waits_is_not_told(void **state)
{
    (void)state;
    static char kb40[40 << 10];
    struct msg_view m = {.subject = SLICE("live"), .payload = slice_of(kb40, sizeof kb40)};
    struct heard inbox[100], stays = {0}, asks = {0};
    come_up();
    say("LS+ live\r\n");
    wire_narrow(hub, 0);
    assert_int_equal(publish_view(&m), 1);
    fake_loop_run(loop);
    for (size_t i = 0; i < ARRAY_LEN(inbox); i++) {
        subscribe(&inbox[i], "_INBOX.gone", NULL);
        unsubscribe(&inbox[i]);
    }
    subscribe(&asks, "_INBOX.asks", NULL);
    assert_int_equal(publish("live", "_INBOX.asks", "?"), 1);
    subscribe(&stays, "stays", NULL);
    wire_narrow(hub, SIZE_MAX);
    fake_loop_run(loop);
    struct slice all = buf_slice(wire_heard(hub));
    size_t told = slice_search(all, SLICE("LS+ _INBOX.asks\r\n"));
    assert_true(told < slice_search(all, SLICE("LMSG live _INBOX.asks 1\r\n?\r\n")));
    assert_true(slice_search(all, SLICE("LS+ stays\r\n")) < all.n);
    assert_int_equal(slice_search(all, SLICE("_INBOX.gone")), all.n);
    buf_consume(wire_heard(hub), all.n);
    unsubscribe(&asks);
    unsubscribe(&stays);
    expect_heard("LS- _INBOX.asks\r\nLS- stays\r\n");
}

static void the_hubs_interest_comes_changes_and_goes(void **state)
{
    (void)state;
    come_up();
    say("LS+ a\r\nLS+ a\r\nLS+ q g 3\r\nLS+ q g 5\r\nls+ lower\r\nLS- unknown\r\nLS- unknown "
        "g\r\n");
    assert_true(account_has_interest(account, SLICE("a"), (struct slice){0}));
    assert_true(account_has_interest(account, SLICE("q"), SLICE("g")));
    assert_true(account_has_interest(account, SLICE("lower"), (struct slice){0}));
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_int_equal(v.subscriptions, 3);
    say("LS- a\r\nLS- q g\r\n");
    assert_false(account_has_interest(account, SLICE("a"), (struct slice){0}));
    assert_false(account_has_interest(account, SLICE("q"), SLICE("g")));
    wire_cut(hub);
    fake_loop_run(loop);
    assert_false(account_has_interest(account, SLICE("lower"), (struct slice){0}));
    expect_heard("");
}

/* More than FAREWELL_AT_ONCE: it goes as a job. */
static void much_interest_goes_with_its_link_and_comes_with_the_next(void **state)
{
    (void)state;
    size_t before;
    for (int round = 0; round < 2; round++) {
        before = sublist_count(account->subs);
        if (round > 0)
            fake_loop_advance(loop, 1001 * NS_PER_MS);
        come_up();
        for (int i = 0; i < 3000; i++) {
            char line[32];
            (void)snprintf(line, sizeof line, "LS+ much.%d\r\n", i);
            wire_say(hub, line, strlen(line));
        }
        fake_loop_run(loop);
        assert_int_equal(sublist_count(account->subs), before + 3000);
        wire_cut(hub);
        fake_loop_run(loop);
        assert_false(account_has_interest(account, SLICE("much.2999"), (struct slice){0}));
        assert_int_equal(sublist_count(account->subs), before);
    }
}

static void a_malformed_subject_is_answered_and_forgiven(void **state)
{
    (void)state;
    come_up();
    say("LS+ a..b\r\nLS+ good\r\n");
    expect_heard("-ERR 'Invalid Subscription'\r\n");
    assert_true(account_has_interest(account, SLICE("good"), (struct slice){0}));
}

static void what_we_may_not_have_is_not_asked_for(void **state)
{
    (void)state;
    struct heard a = {0}, b = {0}, c = {0};
    static const struct slice deny[] = {SLICE_INIT("imp.no"), SLICE_INIT("impw.>")};
    cfg.deny_imports = deny;
    cfg.ndeny_imports = 2;
    come_up();
    subscribe(&a, "imp.no", NULL);
    subscribe(&b, "impw.*", NULL);
    expect_heard("");
    subscribe(&c, "imp.*", NULL);
    expect_heard("LS+ imp.*\r\n");
    say("LMSG imp.no 1\r\nx\r\nLMSG imp.yes 1\r\ny\r\n");
    assert_int_equal(a.n, 0);
    assert_int_equal(c.n, 1);
    assert_string_equal(c.payload, "y");
    assert_string_equal(state_name(), "UP");
    unsubscribe(&a);
    unsubscribe(&b);
    unsubscribe(&c);
}

static void the_hubs_permissions_hold_both_ways(void **state)
{
    (void)state;
    struct heard a = {0}, b = {0};
    open_leaf();
    accept_dial();
    say(GREETING);
    say("INFO "
        "{\"connect_info\":true,\"import\":{\"allow\":[\"sub.\\u003e\"],\"deny\":[\"sub.no\"]},"
        "\"export\":{\"allow\":[\"pub.\\u003e\"],\"deny\":[\"pub.no\"]}}\r\n");
    hears();
    subscribe(&a, "other", NULL);
    subscribe(&b, "sub.yes", NULL);
    expect_heard("LS+ sub.yes\r\n");
    say("LS+ >\r\n");
    assert_int_equal(publish("pub.no", NULL, "x"), 0);
    assert_int_equal(publish("elsewhere", NULL, "x"), 0);
    expect_heard("");
    assert_int_equal(publish("pub.yes", NULL, "x"), 1);
    expect_heard("LMSG pub.yes 1\r\nx\r\n");
    unsubscribe(&a);
    unsubscribe(&b);
}

/* --- messages ------------------------------------------------------------------------------------
 */

static void messages_in_every_form(void **state)
{
    (void)state;
    struct msg_view m = {
        .subject = SLICE("h"), .hdr = SLICE("NATS/1.0\r\nA: b\r\n\r\n"), .payload = SLICE("hi")};
    come_up();
    say("LS+ a\r\nLS+ h\r\nLS+ q g 1\r\nLS+ both\r\nLS+ both g 1\r\n");
    publish("a", NULL, "hello");
    publish("a", "r", "");
    publish("q", NULL, "1");
    publish("q", "r", "2");
    publish("both", NULL, "3");
    expect_heard(
        "LMSG a 5\r\nhello\r\nLMSG a r 0\r\n\r\nLMSG q | g 1\r\n1\r\nLMSG q + r g 1\r\n2\r\n"
        "LMSG both | g 1\r\n3\r\n");
    publish_view(&m);
    m.reply = SLICE("r");
    publish_view(&m);
    fake_loop_run(loop);
    expect_heard("HMSG h 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nHMSG h r 18 20\r\nNATS/1.0\r\nA: "
                 "b\r\n\r\nhi\r\n");
    assert_int_equal(counters[2], 7);
}

static void headers_are_stripped_for_a_hub_without_them(void **state)
{
    (void)state;
    struct msg_view m = {
        .subject = SLICE("h"), .hdr = SLICE("NATS/1.0\r\nA: b\r\n\r\n"), .payload = SLICE("hi")};
    open_leaf();
    accept_dial();
    say("INFO {\"client_id\":7,\"info_on_connect\":true}\r\n");
    assert_null(strstr(hears(), "headers"));
    say(TAKEN_IN);
    hears();
    say("LS+ h\r\n");
    publish_view(&m);
    fake_loop_run(loop);
    expect_heard("LMSG h 2\r\nhi\r\n");
}

static void queue_groups_are_served_only_when_named(void **state)
{
    (void)state;
    struct heard plain = {0}, g = {0};
    subscribe(&plain, "s", NULL);
    subscribe(&g, "s", "g");
    come_up();
    say("LMSG s 1\r\n1\r\n");
    assert_int_equal(plain.n, 1);
    assert_int_equal(g.n, 0);
    say("LMSG s | g 1\r\n2\r\n");
    assert_int_equal(plain.n, 2);
    assert_int_equal(g.n, 1);
    say("LMSG s + r other 1\r\n3\r\n");
    assert_int_equal(plain.n, 3);
    assert_int_equal(g.n, 1);
    assert_string_equal(plain.reply, "r");
    say("LMSG s | 1\r\n4\r\n"); /* '|' is the reply */
    assert_string_equal(plain.reply, "|");
    expect_heard("");
    unsubscribe(&plain);
    unsubscribe(&g);
}

static void more_queue_groups_than_fit_on_a_line_of_ours(void **state)
{
    (void)state;
    struct heard last = {0};
    struct buf line = BUF_INIT;
    subscribe(&last, "s", "g99");
    come_up();
    buf_add_str(&line, "LMSG s |");
    for (int i = 0; i < 100; i++)
        buf_printf(&line, " g%d", i);
    buf_add_str(&line, " 1\r\nx\r\n");
    say(buf_cstr(&line));
    assert_int_equal(last.n, 1);
    buf_release(&line);
    unsubscribe(&last);
}

static void nothing_comes_back_into_the_link_it_came_from(void **state)
{
    (void)state;
    come_up();
    say("LS+ >\r\nLS+ a g 1\r\nLMSG a 1\r\nx\r\nLMSG a | g 1\r\ny\r\n");
    expect_heard("");
}

static void a_jetstream_delivery_names_both_subjects(void **state)
{
    (void)state;
    struct msg_view m = {.subject = SLICE("orders.new"),
                         .via = SLICE("_INBOX.x"),
                         .reply = SLICE("$JS.ACK.S.C.1.2.3.4.5"),
                         .payload = SLICE("o")};
    struct heard h = {0};
    come_up();
    say("LS+ _INBOX.x\r\n");
    assert_int_equal(publish_view(&m), 1);
    fake_loop_run(loop);
    expect_heard("LMSG _INBOX.x $JS.ACK.S.C.1.2.3.4.5@orders.new 1\r\no\r\n");
    subscribe(&h, "mine", NULL);
    hears();
    say("LMSG mine $JS.ACK.S@1.C.1.2.3.4.5@a.b@c 1\r\np\r\n"); /* the first '@' after the eighth dot
                                                                */
    assert_string_equal(h.subject, "a.b@c");
    assert_string_equal(h.reply, "$JS.ACK.S@1.C.1.2.3.4.5");
    say("LMSG mine $JS.ACK.S.C.1.2.3.4.5 1\r\nq\r\n");
    assert_string_equal(h.subject, "mine");
    assert_string_equal(h.reply, "$JS.ACK.S.C.1.2.3.4.5");
    say("LMSG mine plain@reply 1\r\nr\r\n");
    assert_string_equal(h.reply, "plain@reply");
    unsubscribe(&h);
}

static void a_message_above_the_hubs_limit_stays_home_and_the_link_lives(void **state)
{
    (void)state;
    static char big[2000];
    struct msg_view m = {.subject = SLICE("a"), .payload = slice_of(big, sizeof big)};
    open_leaf();
    accept_dial();
    say("INFO {\"client_id\":7,\"info_on_connect\":true,\"max_payload\":1999}\r\n");
    say(TAKEN_IN "LS+ a\r\n");
    hears();
    publish_view(&m);
    m.payload.n--;
    publish_view(&m);
    fake_loop_run(loop);
    expect_in(hears(), "LMSG a 1999\r\n");
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_int_equal(v.dropped_too_big, 1);
    assert_true(v.up);
}

/* --- what the hub may not say --------------------------------------------------------------------
 */

static void rubbish_closes_the_link_as_the_reference_does(void **state)
{
    (void)state;
    static char long_line[70000];
    static const struct {
        const char *text, *answer;
    } rows[] = {
        {"SUB a 1\r\n", "-ERR 'Unknown Protocol Operation'\r\n"},
        {"GARBAGE\r\n", "-ERR 'Unknown Protocol Operation'\r\n"},
        {"CONNECT {}\r\n", "-ERR 'Unknown Protocol Operation'\r\n"},
        {"LMSG a 2\r\nhix\r\n", "-ERR 'Unknown Protocol Operation'\r\n"},
        {"LMSG a 2000000\r\n", "-ERR 'Maximum Payload Violation'\r\n"},
        {"LMSG a b\r\n", ""},
        {"LMSG a -1\r\n", ""},
        {"HMSG a 5 4\r\n", ""},
        {"LMSG a x b c 1\r\n", ""},
        {"LS+ a b\r\n", ""},
        {"LS+\r\n", NULL},
        {long_line, "-ERR 'maximum control line exceeded'\r\n"},
    };
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "LS+ ", 4);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        come_up();
        say(rows[i].text);
        if (strcmp(state_name(), "DOWN") != 0)
            fail_msg("row %zu: still %s", i, state_name());
        if (rows[i].answer)
            expect_heard(rows[i].answer);
        fake_loop_advance(loop, 1001 * NS_PER_MS);
    }
}

static void a_link_that_is_not_up_takes_no_messages(void **state)
{
    (void)state;
    open_leaf();
    accept_dial();
    say("LS+ a\r\n");
    assert_string_equal(state_name(), "DOWN");
    expect_heard("");
    fake_loop_advance(loop, 2 * NS_PER_S);
    accept_dial();
    say(GREETING "LS+ a\r\n");
    expect_in(hears(), "-ERR 'Authorization Violation'\r\n");
    assert_string_equal(state_name(), "DOWN");
}

/* --- lanes ---------------------------------------------------------------------------------------
 */

static void a_backlog_rests_and_goes_on_and_live_traffic_passes_it(void **state)
{
    (void)state;
    static char kb[1024];
    come_up();
    say("LS+ deliver\r\nLS+ live\r\n");
    wire_narrow(hub, 0);
    struct msg_view m = {
        .subject = SLICE("deliver"), .payload = slice_of(kb, sizeof kb), .backlog = true};
    struct route_in in = {0};
    struct route_out out = {0};
    unsigned sent = 0;
    for (; !out.rest && sent < 1000; sent++)
        router_publish(account, &in, &m, &out);
    assert_in_range(sent, 256, 320);
    publish("live", NULL, "now");
    say("PING\r\n");
    assert_int_equal(drains, 0);
    wire_narrow(hub, SIZE_MAX);
    fake_loop_run(loop);
    assert_int_equal(drains, 1);
    struct buf *b = wire_heard(hub);
    struct slice all = buf_slice(b);
    size_t live = slice_search(all, SLICE("LMSG live")), pong = slice_search(all, SLICE("PONG"));
    assert_true(live < 40 << 10 &&
                pong < 40 << 10); /* behind what was begun, before all that waited */
    size_t msgs = 0;
    for (size_t at; (at = slice_search(all, SLICE("LMSG deliver"))) < all.n; msgs++)
        all = slice_skip(all, at + 1);
    assert_int_equal(msgs, sent);
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_int_equal(v.backlog_bytes + v.live_bytes, 0);
}

static void a_full_live_lane_ends_the_link_and_frees_its_memory(void **state)
{
    (void)state;
    static char kb64[65536];
    struct heard local = {0};
    come_up();
    say("LS+ a\r\n");
    subscribe(&local, "a", NULL);
    wire_narrow(hub, 0);
    struct msg_view m = {.subject = SLICE("a"), .payload = slice_of(kb64, sizeof kb64)};
    for (int i = 0; i < 140; i++) {
        uint32_t n = publish_view(&m);
        assert_true(n == 1 || n == 2);
    }
    fake_loop_run(loop);
    assert_int_equal(local.n, 140);
    assert_string_equal(state_name(), "DOWN");
    expect_in(log_text, "Slow Consumer Detected");
    assert_int_equal(counters[4], 1);
    assert_int_equal(account->slow_consumers, 1);
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_int_equal(v.live_bytes, 0);
    hears();
    wire_narrow(hub, SIZE_MAX);
    fake_loop_advance(loop, 1001 * NS_PER_MS);
    come_up();
    unsubscribe(&local);
}

/* --- JetStream domains ---------------------------------------------------------------------------
 */

static void the_domains_second_names_are_told_and_the_plain_ones_stay_home(void **state)
{
    (void)state;
    struct heard api = {0}, kv = {0};
    host.jetstream = true;
    host.domain = SLICE("site");
    account->jetstream = true;
    account_set_domain(account, SLICE("site"));
    subscribe(&api, "$JS.API.>", NULL);
    subscribe(&kv, "$KV.b.>", NULL);
    open_leaf();
    accept_dial();
    say("INFO {\"client_id\":7,\"info_on_connect\":true,\"domain\":\"hub\",\"headers\":true}\r\n");
    expect_in(hears(), "\"domain\":\"site\"");
    say(TAKEN_IN "LS+ >\r\n");
    const char *block = hears();
    static const char *const second[] = {"INFO",      "STREAM.>", "CONSUMER.>",
                                         "DIRECT.>",  "META.>",   "SERVER.>",
                                         "ACCOUNT.>", "$KV.>",    "$OBJ.>"};
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        char line[64];
        snprintf(line, sizeof line, "LS+ $JS.site.API.%s\r\n", second[i]);
        expect_in(block, line);
    }
    assert_null(strstr(block, "LS+ $JS.API"));
    assert_null(strstr(block, "LS+ $KV"));
    say("LMSG $JS.site.API.INFO _INBOX.1 0\r\n\r\n");
    assert_string_equal(api.subject, "$JS.API.INFO");
    say("LMSG $JS.API.INFO _INBOX.1 0\r\n\r\nLMSG $KV.b.k 1\r\nx\r\n");
    assert_int_equal(api.n, 1);
    assert_int_equal(kv.n, 0);
    publish("$JS.API.INFO", "r", "");
    publish("$JS.site.API.INFO", "r", "");
    assert_int_equal(api.n, 3);
    publish("$KV.b.k", NULL, "x");
    expect_heard("");
    publish("$JS.hub.API.INFO", "r", "");
    expect_heard("LMSG $JS.hub.API.INFO r 0\r\n\r\n");
    unsubscribe(&api);
    unsubscribe(&kv);
}

static void default_js_domain_makes_plain_names_the_hubs(void **state)
{
    (void)state;
    account_set_hub_domain(account, SLICE("hub"));
    come_up();
    say("LS+ $JS.hub.API.>\r\n");
    publish("$JS.API.STREAM.INFO.S", "r", "");
    publish("$KV.b.k", NULL, "x");
    expect_heard("LMSG $JS.hub.API.STREAM.INFO.S r 0\r\n\r\nLMSG $JS.hub.API.$KV.b.k 1\r\nx\r\n");
}

/* --- several links -------------------------------------------------------------------------------
 */

static void a_hub_role_tells_and_forbids_and_closes(void **state)
{
    (void)state;
    static const struct slice deny[] = {SLICE_INIT("secret.x")};
    cfg.hub = true;
    cfg.deny_exports = deny;
    cfg.ndeny_exports = 1;
    come_up();
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_false(v.spoke);
    say("LS+ secret.*\r\nLS+ _GR_.a.b.c\r\n");
    assert_string_equal(state_name(), "UP");
    say("LS+ secret.x\r\n");
    expect_heard("-ERR 'Permissions Violation for Subscription to \"secret.x\"'\r\n");
    dials_after(31 * NS_PER_S, 31 * NS_PER_S);
}

static void a_literal_that_may_not_leave_is_not_taken(void **state)
{
    (void)state;
    static const struct slice deny[] = {SLICE_INIT("held.>")};
    cfg.deny_exports = deny;
    cfg.ndeny_exports = 1;
    come_up();
    say("LS+ held.a\r\nLS+ held.q workers 7\r\nLS+ held.*\r\nLS- held.a\r\n");
    assert_string_equal(state_name(), "UP");
    struct leaf_view v;
    leaf_look(leaf, &v);
    assert_int_equal(v.subscriptions, 1);
    assert_false(account_has_interest(account, SLICE("held.q"), SLICE("workers")));
    assert_int_equal(publish("held.q", "r", ""), 0);
    expect_heard("");
}

static void two_hubs_are_not_bridged(void **state)
{
    (void)state;
    come_up();
    struct leaf_config other_cfg = cfg;
    struct slice other_url = SLICE("nats-leaf://10.0.0.7:7007");
    struct leaf *other;
    other_cfg.urls = &other_url;
    assert_int_equal(leaf_open(&host, &other_cfg, &other), E_OK);
    fake_loop_run(loop);
    struct wire *second = wire_dialled(7007);
    assert_non_null(second);
    wire_say(second, GREETING, strlen(GREETING));
    fake_loop_run(loop);
    wire_say(second, TAKEN_IN, strlen(TAKEN_IN));
    fake_loop_run(loop);
    buf_consume(wire_heard(second), buf_slice(wire_heard(second)).n);
    say("LS+ only.here\r\nLS+ $LDS.of.another\r\n");
    fake_loop_run(loop);
    assert_true(slice_eq(buf_slice(wire_heard(second)), SLICE("LS+ $LDS.of.another\r\n")));
    leaf_close(other);
    fake_loop_run(loop);
    wire_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(interest_is_told_net_and_pruned),
        TEST(interest_that_came_and_went_while_much_waits_is_not_told),
        TEST(the_hubs_interest_comes_changes_and_goes),
        TEST(much_interest_goes_with_its_link_and_comes_with_the_next),
        TEST(a_malformed_subject_is_answered_and_forgiven),
        TEST(what_we_may_not_have_is_not_asked_for),
        TEST(the_hubs_permissions_hold_both_ways),
        TEST(messages_in_every_form),
        TEST(headers_are_stripped_for_a_hub_without_them),
        TEST(queue_groups_are_served_only_when_named),
        TEST(more_queue_groups_than_fit_on_a_line_of_ours),
        TEST(nothing_comes_back_into_the_link_it_came_from),
        TEST(a_jetstream_delivery_names_both_subjects),
        TEST(a_message_above_the_hubs_limit_stays_home_and_the_link_lives),
        TEST(rubbish_closes_the_link_as_the_reference_does),
        TEST(a_link_that_is_not_up_takes_no_messages),
        TEST(a_backlog_rests_and_goes_on_and_live_traffic_passes_it),
        TEST(a_full_live_lane_ends_the_link_and_frees_its_memory),
        TEST(the_domains_second_names_are_told_and_the_plain_ones_stay_home),
        TEST(default_js_domain_makes_plain_names_the_hubs),
        TEST(a_hub_role_tells_and_forbids_and_closes),
        TEST(a_literal_that_may_not_leave_is_not_taken),
        TEST(two_hubs_are_not_bridged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

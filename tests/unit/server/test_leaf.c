/* The life of a link and what is said on it; link: fake
 *
 * A hub of ours stands at the other end of a wire in memory, over a clock that stands still until
 * we move it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/subject.h"
#include "fake/conn.h"
#include "fake/loop.h"
#include "server/leaf.h"
#include "server/loop.h"
#include "server/router.h"

#define GREETING                                                                                   \
    "INFO "                                                                                        \
    "{\"server_id\":\"NH\",\"server_name\":\"hub\",\"headers\":true,\"max_payload\":1048576,"      \
    "\"client_id\":7,"                                                                             \
    "\"nonce\":\"abc\",\"compression\":\"s2_auto\",\"info_on_connect\":true,\"leafnode_urls\":["   \
    "\"10.0.0.9:7422\"]} \r\n"
#define TAKEN_IN                                                                                   \
    "INFO "                                                                                        \
    "{\"server_id\":\"NH\",\"client_id\":7,\"connect_info\":true,\"remote_account\":\"HUB\"} \r\n"

/* --- the scene -----------------------------------------------------------------------------------
 */

struct heard { /* a local subscriber */
    struct sink sink;
    struct endpoint ep;
    char subject[64], reply[128], payload[64];
    unsigned n;
};

static struct loop *loop;
static struct accounts *accounts;
static struct account *account;
static struct leaf_host host;
static struct leaf_config cfg;
static struct leaf *leaf;
static struct slice urls[4];
static struct wire *hub;
static uint64_t counters[6], last_id;
static unsigned ups, downs, drains;
static char log_text[8192];

static void on_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof log_text - n, "%s\n", line);
}

static uint64_t next_id(void *arg)
{
    (void)arg;
    return ++last_id;
}

static void on_up(void *arg, struct leaf *l)
{
    (void)arg, (void)l;
    ups++;
}

static void on_down(void *arg, struct leaf *l)
{
    (void)arg, (void)l;
    downs++;
}

static void on_drained(void *arg)
{
    (void)arg;
    drains++;
}

static int set_up(void **state)
{
    (void)state;
    log_text[0] = '\0';
    log_capture(on_log, NULL);
    ups = downs = drains = 0;
    loop = loop_new();
    wires_open(loop);
    accounts = accounts_new();
    account = account_get(accounts, SLICE("A"));
    urls[0] = SLICE("nats-leaf://10.0.0.1:7422");
    host = (struct leaf_host){.loop = loop,
                              .version = SLICE("2.15.2"),
                              .server_id = SLICE("NS"),
                              .server_name = SLICE("site"),
                              .cluster = SLICE("site"),
                              .system_account = true,
                              .max_payload = 1 << 20,
                              .in_msgs = &counters[0],
                              .in_bytes = &counters[1],
                              .out_msgs = &counters[2],
                              .out_bytes = &counters[3],
                              .slow_consumers = &counters[4],
                              .stale_connections = &counters[5],
                              .next_id = next_id,
                              .up = on_up,
                              .down = on_down,
                              .drained = on_drained};
    memset(counters, 0, sizeof counters);
    cfg = (struct leaf_config){.account = account,
                               .urls = urls,
                               .nurls = 1,
                               .ignore_discovered = true,
                               .no_randomize = true};
    leaf = NULL;
    hub = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (leaf)
        leaf_close(leaf);
    fake_loop_run(loop);
    if (hub)
        wire_free(hub);
    fake_loop_run(loop);
    loop_free(loop);
    accounts_free(accounts);
    log_capture(NULL, NULL);
    return 0;
}

static void say(const char *text)
{
    wire_say(hub, text, strlen(text));
    fake_loop_run(loop);
}

/* What came from the leaf so far, and empties it. */
static const char *hears(void)
{
    static char text[65536];
    struct buf *b = wire_heard(hub);
    struct slice s = buf_slice(b);
    size_t n = s.n < sizeof text - 1 ? s.n : sizeof text - 1;
    if (n)
        memcpy(text, s.p, n);
    text[n] = '\0';
    buf_consume(b, s.n);
    return text;
}

static void expect_heard(const char *text)
{
    const char *got = hears();
    if (strcmp(got, text) != 0)
        fail_msg("heard: %s\nwanted: %s\nlog: %s", got, text, log_text);
}

static void expect_in(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("not in it: %s\nit: %s", what, text);
}

static const char *state_name(void)
{
    struct leaf_view v;
    leaf_look(leaf, &v);
    return v.state;
}

static void accept_dial(void)
{
    if (hub)
        wire_free(hub);
    hub = wire_dialled(7422);
    if (!hub)
        fail_msg("nobody dials; log: %s", log_text);
    fake_loop_run(loop);
}

static void open_leaf(void)
{
    assert_int_equal(leaf_open(&host, &cfg, &leaf), E_OK);
    fake_loop_run(loop);
}

static void come_up(void)
{
    if (!leaf)
        open_leaf();
    accept_dial();
    say(GREETING);
    expect_in(hears(), "CONNECT {");
    say(TAKEN_IN);
    if (strcmp(state_name(), "UP") != 0)
        fail_msg("%s; log: %s", state_name(), log_text);
    const char *first = hears();
    assert_memory_equal(first, "LS+ $LDS.", 9);
}

/* Nobody dials until just before ns have passed, somebody does just after. */
static void dials_after(int64_t from_ns, int64_t to_ns)
{
    if (hub)
        wire_free(hub);
    hub = NULL;
    fake_loop_advance(loop, from_ns - NS_PER_MS);
    assert_null(wire_dialled(7422));
    fake_loop_advance(loop, to_ns - from_ns + 2 * NS_PER_MS);
    accept_dial();
}

static enum sink_result on_message(struct sink *s, struct msg_view *m)
{
    struct heard *h = CONTAINER_OF(s, struct heard, sink);
    snprintf(h->subject, sizeof h->subject, "%.*s", SLICE_FMT(m->subject));
    snprintf(h->reply, sizeof h->reply, "%.*s", SLICE_FMT(m->reply));
    snprintf(h->payload, sizeof h->payload, "%.*s", SLICE_FMT(m->payload));
    h->n++;
    return SINK_TAKEN;
}

static void subscribe(struct heard *h, const char *subject, const char *queue)
{
    h->ep = (struct endpoint){.account = account, .id = 99};
    h->sink = (struct sink){.owner = &h->ep,
                            .subject = slice_cstr(subject),
                            .queue = slice_cstr(queue),
                            .weight = 1,
                            .deliver = on_message};
    assert_int_equal(account_add_sink(account, &h->sink), 0);
    fake_loop_run(loop);
}

static void unsubscribe(struct heard *h)
{
    account_remove_sink(account, &h->sink);
    fake_loop_run(loop);
}

static uint32_t publish_view(struct msg_view *m)
{
    static struct endpoint me;
    me = (struct endpoint){.account = account, .id = 98};
    struct route_in in = {.from = &me};
    struct route_out out;
    router_publish(account, &in, m, &out);
    msg_view_done(m);
    return out.taken;
}

static uint32_t publish(const char *subject, const char *reply, const char *payload)
{
    struct msg_view m = {
        .subject = slice_cstr(subject), .reply = slice_cstr(reply), .payload = slice_cstr(payload)};
    uint32_t n = publish_view(&m);
    fake_loop_run(loop);
    return n;
}

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
        "INFO "
        "{\"server_id\":\"NH\",\"client_id\":0,\"leafnode_urls\":[],\"info_on_connect\":true}\r\n",
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
        fake_loop_advance(loop, 500 * NS_PER_MS); /* 2 s in all: the earliest dial is not over yet */
        assert_string_equal(state_name(), "DIALING");
    }
    assert_in_range(late, 10, 50); /* half of them, on average */
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
        fake_loop_advance(loop, 2001 * NS_PER_MS);
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
    fake_loop_advance(loop, 2001 * NS_PER_MS);
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
    snprintf(other, sizeof other, "LS+ %.26sx\r\n", lds);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

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
        TEST(interest_is_told_net_and_pruned),
        TEST(the_hubs_interest_comes_changes_and_goes),
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
        TEST(two_hubs_are_not_bridged),
        TEST(closing_in_any_state_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

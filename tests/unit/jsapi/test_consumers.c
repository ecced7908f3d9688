/* tests/unit/jsapi/test_consumers.c -- consumers, seen from a client: requests go in, messages come
 * out
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"

/* --- pull ------------------------------------------------------------------------------------- */

static void a_pull_gets_what_is_there_and_waits_for_the_rest(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "{\"batch\":5,\"expires\":1000000000}");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    assert_string_equal(g.subject, "o.a");
    assert_string_equal(g.text, "hello");
    assert_int_equal(g.pending, 1);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    assert_int_equal(g.pending, 0);
    publish_n(s, "o.b", 1);
    expect_msg(s, "_INBOX.p", 3, 3, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_waiting"), 1);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 3);
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_status(s, "_INBOX.p",
                  "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 2\r\nNats-Pending-Bytes: "
                  "0\r\n\r\n");
    assert_int_equal(info(s, "C", NULL, "num_waiting"), 0);
}

static void no_wait_ends_with_404(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "{\"no_wait\":true}");
    expect_status(s, "_INBOX.p", "NATS/1.0 404 No Messages\r\n\r\n");
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "{\"batch\":9,\"no_wait\":true}");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    expect_status(s, "_INBOX.p", "NATS/1.0 404 No Messages\r\n\r\n");
    /* With an expiry it waits for the first, then ends the same way. */
    pull(s, "C", "_INBOX.q", "{\"batch\":9,\"no_wait\":true,\"expires\":5000000000}");
    expect_nothing(s, "_INBOX.q");
    publish_n(s, "o.a", 1);
    expect_msg(s, "_INBOX.q", 3, 3, 1, &g);
    expect_status(s, "_INBOX.q", "NATS/1.0 404 No Messages\r\n\r\n");
}

static void max_bytes_is_a_budget(void **state)
{
    struct site *s = *state;
    struct got g;
    char body[160];
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 4);
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"max_bytes\":1000}");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    size_t size = strlen(g.reply) + strlen("o.a") + strlen("hello");
    snprintf(body, sizeof body,
             "NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 0\r\nNats-Pending-Bytes: "
             "%zu\r\n\r\n",
             1000 - size);
    expect_status(s, "_INBOX.p", body);
    snprintf(body, sizeof body, "{\"batch\":9,\"max_bytes\":%zu}", size);
    pull(s, "C", "_INBOX.q", body);
    expect_msg(s, "_INBOX.q", 2, 2, 1, &g);
    expect_nothing(s, "_INBOX.q"); /* an exact fit ends it silently */
    pull(s, "C", "_INBOX.r", "{\"batch\":3,\"max_bytes\":10}");
    expect_status(s, "_INBOX.r",
                  "NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: "
                  "3\r\nNats-Pending-Bytes: 10\r\n\r\n");
    assert_int_equal(info(s, "C", NULL, "num_pending"), 2);
}

static void requests_are_served_in_turn(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"max_waiting\":2" EXPLICIT);
    pull(s, "C", "_INBOX.p", "{\"batch\":2}");
    pull(s, "C", "_INBOX.q", "{\"batch\":2}");
    pull(s, "C", "_INBOX.r", "1");
    expect_status(s, "_INBOX.r", "NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n");
    publish_n(s, "o.a", 4);
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.q", 2, 2, 1, &g);
    expect_msg(s, "_INBOX.p", 3, 3, 1, &g);
    expect_msg(s, "_INBOX.q", 4, 4, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_waiting"), 0);
}

static void bad_requests_are_told_so(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"max_batch\":5,\"max_expires\":1000000000,\"max_bytes\":100" EXPLICIT);
    make_consumer(s, "P", ",\"deliver_subject\":\"d\"");
    pull(s, "C", "_INBOX.p", "6");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Exceeded MaxRequestBatch of 5\r\n\r\n");
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":2000000000}");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Exceeded MaxRequestExpires of 1s\r\n\r\n");
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"max_bytes\":101}");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Exceeded MaxRequestMaxBytes of 100\r\n\r\n");
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":1000,\"idle_heartbeat\":600}");
    expect_status(s, "_INBOX.p", "NATS/1.0 400 Bad Request - heartbeat value too large\r\n\r\n");
    pull(s, "P", "_INBOX.p", "1");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Consumer is push based\r\n\r\n");
}

static void requests_of_those_who_left_are_dropped(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    jshost_want(&s->h, "away");
    pull(s, "C", "away", "{\"batch\":5}");
    pull(s, "C", "_INBOX.q", "{\"batch\":5}");
    jshost_unwant(&s->h, "away");
    publish_n(s, "o.a", 1);
    expect_msg(s, "_INBOX.q", 1, 1, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_waiting"), 1);
}

static void a_pull_hears_heartbeats(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"expires\":10000000000,\"idle_heartbeat\":1000000000}");
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_status(
        s, "_INBOX.p",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 0\r\nNats-Last-Stream: 0\r\n\r\n");
    expect_nothing(s, "_INBOX.p");
}

static void deleting_ends_waiting_requests(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "5");
    ask_ok(s, "$JS.API.CONSUMER.DELETE.S.C", "");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Consumer Deleted\r\n\r\n");
    ask_error(s, "$JS.API.CONSUMER.INFO.S.C", "", 10014);
    ask_error(s, "$JS.API.CONSUMER.DELETE.S.C", "", 10014);
    assert_int_equal(jshost_send(&s->h, ACC, "$JS.API.CONSUMER.MSG.NEXT.S.C", "_INBOX.p", NULL, ""),
                     0);
}

/* --- acks ------------------------------------------------------------------------------------- */

static void acks_move_the_floor(void **state)
{
    struct site *s = *state;
    struct got g[4];
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 4);
    pull(s, "C", "_INBOX.p", "4");
    for (uint64_t i = 0; i < 4; i++)
        expect_msg(s, "_INBOX.p", i + 1, i + 1, 1, &g[i]);
    ack(s, &g[1], "+ACK");
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 0);
    ack(s, &g[0], "");
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 2);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 2);
    assert_int_equal(jshost_send(&s->h, ACC, g[3].reply, "_INBOX.a", NULL, "+TERM because"), 1);
    fake_turn_run(&s->ft);
    expect_status(s, "_INBOX.a", "");
    assert_int_equal(jshost_send(&s->h, ACC, g[1].reply, "_INBOX.a", NULL, "+ACK"), 1);
    fake_turn_run(&s->ft);
    expect_status(s, "_INBOX.a", ""); /* repeated: answered as well */
    ack(s, &g[2], "+OK");
    assert_int_equal(info(s, "C", "ack_floor", "consumer_seq"), 4);
}

static void acks_of_the_second_form_are_understood(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 1);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    assert_int_equal(jshost_send(&s->h, ACC,
                                 "$JS.ACK.leaf.szMpdrwD.S.C.1.1.1.1795263091000000000.0.x", NULL,
                                 NULL, ""),
                     1);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 0);
}

static void what_is_not_acked_comes_again_before_new_ones(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"ack_wait\":2000000000" EXPLICIT);
    publish_n(s, "o.a", 3);
    pull(s, "C", "_INBOX.p", "2");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    ack(s, &g, "+ACK");
    fake_turn_advance(&s->ft, 2 * NS_PER_S + NS_PER_MS);
    pull(s, "C", "_INBOX.p", "2");
    expect_msg(s, "_INBOX.p", 1, 3, 2, &g);
    expect_msg(s, "_INBOX.p", 3, 4, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_redelivered"), 1);
}

static void naks_and_progress_move_deadlines(void **state)
{
    struct site *s = *state;
    struct got g, h;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"ack_wait\":2000000000" EXPLICIT);
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &h);
    ack(s, &g, "-NAK");
    expect_msg(s, "_INBOX.p", 1, 3, 2, &g);
    ack(s, &g, "-NAK {\"delay\":500000000}");
    expect_nothing(s, "_INBOX.p");
    fake_turn_advance(&s->ft, 501 * NS_PER_MS);
    expect_msg(s, "_INBOX.p", 1, 4, 3, &g);
    ack(s, &g, "-NAK 100ms");
    fake_turn_advance(&s->ft, 101 * NS_PER_MS);
    expect_msg(s, "_INBOX.p", 1, 5, 4, &g);
    ack(s, &g, "+ACK");
    ack(s, &h, "+WPI");
    fake_turn_advance(&s->ft, 1900 * NS_PER_MS);
    expect_nothing(s, "_INBOX.p");
    fake_turn_advance(&s->ft, 200 * NS_PER_MS);
    expect_msg(s, "_INBOX.p", 2, 6, 2, &h);
}

static void after_max_deliver_it_is_given_up(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    jshost_want(&s->h, "$JS.EVENT.ADVISORY.>");
    make_consumer(s, "C", ",\"ack_wait\":1000000000,\"max_deliver\":2" EXPLICIT);
    publish_n(s, "o.a", 1);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_msg(s, "_INBOX.p", 1, 2, 2, &g);
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_nothing(s, "_INBOX.p");
    struct jshost_msg *m = jshost_take(&s->h, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"stream_seq\":1,\"deliveries\":2"));
    jshost_msg_free(m);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 0);
    assert_int_equal(info(s, "C", NULL, "num_redelivered"), 1);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 0); /* given up is not acknowledged */
}

static void the_window_closes_and_opens(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"max_ack_pending\":2" EXPLICIT);
    publish_n(s, "o.a", 4);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    expect_nothing(s, "_INBOX.p");
    ack(s, &g, "+ACK");
    expect_msg(s, "_INBOX.p", 3, 3, 1, &g);
    expect_nothing(s, "_INBOX.p");
}

static void who_cannot_wait_is_told_when_another_pull_expires(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"max_ack_pending\":1" EXPLICIT);
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    pull(s, "C", "_INBOX.q", "{\"batch\":1,\"expires\":1000000000}");
    pull(s, "C", "_INBOX.r", "{\"batch\":1,\"no_wait\":true}");
    expect_nothing(s, "_INBOX.r");
    fake_turn_advance(&s->ft, 2 * NS_PER_S);
    expect_status(s, "_INBOX.r", "NATS/1.0 404 No Messages\r\n\r\n");
    assert_int_equal(info(s, "C", NULL, "num_waiting"), 0);
}

static void ack_and_next_asks_for_more(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 4);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    assert_int_equal(jshost_send(&s->h, ACC, g.reply, "_INBOX.q", NULL, "+NXT {\"batch\":2}"), 1);
    fake_turn_run(&s->ft);
    expect_msg(s, "_INBOX.q", 2, 2, 1, &g);
    expect_msg(s, "_INBOX.q", 3, 3, 1, &g);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 1);
}

/* --- retention -------------------------------------------------------------------------------- */

static void a_work_queue_forgets_what_is_acked(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"retention\":\"workqueue\"");
    make_consumer(s, "C", ",\"filter_subject\":\"o.a\"" EXPLICIT);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.D",
              "{\"stream_name\":\"S\",\"config\":{\"name\":\"D\",\"ack_policy\":\"explicit\","
              "\"filter_subject\":\"o.*\"}}",
              10100);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.D",
              "{\"stream_name\":\"S\",\"config\":{\"name\":\"D\",\"ack_policy\":\"explicit\"}}",
              10099);
    publish_n(s, "o.a", 2);
    publish_n(s, "o.b", 1);
    pull(s, "C", "_INBOX.p", "2");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    assert_int_equal(stream_msgs(s), 3);
    ack(s, &g, "+ACK");
    assert_int_equal(stream_msgs(s), 2);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    ack(s, &g, "-NAK");
    assert_int_equal(stream_msgs(s), 2);
    ack(s, &g, "+TERM");
    assert_int_equal(stream_msgs(s), 1);
}

static bool has_none(void *arg)
{
    struct stream_state st;
    store_state(store_stream_find(((struct site *)arg)->store, SLICE("$G"), SLICE("S")), &st);
    return st.last_seq == 3 && st.msgs == 0;
}

/* What it wanted is not on disk yet when it goes. */
static void the_last_consumer_goes_before_the_commit(void **state)
{
    struct site *s = *state;
    make_stream(s, ",\"retention\":\"interest\"");
    make_consumer(s, "C", EXPLICIT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(jshost_send(&s->h, ACC, "o.a", NULL, NULL, "x"), 1);
    assert_int_equal(jshost_send(&s->h, ACC, "$JS.API.CONSUMER.DELETE.S.C", "_INBOX.d", NULL, ""),
                     1);
    jshost_msg_free(jshost_wait(&s->h, "_INBOX.d"));
    assert_true(fake_turn_wait(&s->ft, has_none, s));
}

static void interest_keeps_a_message_until_all_have_it(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"retention\":\"interest\"");
    publish_n(s, "o.a", 1); /* nobody wants it: acked, not kept */
    assert_int_equal(stream_msgs(s), 0);
    make_consumer(s, "A", EXPLICIT);
    make_consumer(s, "B", ",\"filter_subject\":\"o.b\"" EXPLICIT);
    publish_n(s, "o.a", 1);
    publish_n(s, "o.b", 2);
    assert_int_equal(stream_msgs(s), 3);
    pull(s, "A", "_INBOX.a", "9");
    expect_msg(s, "_INBOX.a", 2, 1, 1, &g);
    ack(s, &g, "+ACK");
    assert_int_equal(stream_msgs(s), 2);
    expect_msg(s, "_INBOX.a", 3, 2, 1, &g);
    ack(s, &g, "+ACK");
    assert_int_equal(stream_msgs(s), 2);
    pull(s, "B", "_INBOX.b", "1");
    expect_msg(s, "_INBOX.b", 3, 1, 1, &g);
    ack(s, &g, "+ACK");
    assert_int_equal(stream_msgs(s), 1);
    expect_msg(s, "_INBOX.a", 4, 3, 1, &g);
    ack(s, &g, "+ACK");
    assert_int_equal(stream_msgs(s), 1);
    ask_ok(s, "$JS.API.CONSUMER.DELETE.S.B", "");
    assert_int_equal(stream_msgs(s), 0);
}

/* --- push ------------------------------------------------------------------------------------- */

static void a_push_consumer_waits_for_a_listener(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"deliver_subject\":\"d\",\"idle_heartbeat\":1000000000");
    publish_n(s, "o.a", 2);
    expect_nothing(s, "d");
    jshost_want(&s->h, "d");
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 1, 1, 1, &g);
    assert_string_equal(g.subject, "o.a");
    expect_msg(s, "d", 2, 2, 1, &g);
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    expect_status(
        s, "d",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n");
    jshost_unwant(&s->h, "d");
    publish_n(s, "o.a", 1);
    fake_turn_advance(&s->ft, 3 * NS_PER_S);
    expect_nothing(s, "d");
    assert_int_equal(info(s, "C", "delivered", "consumer_seq"), 2);
    jshost_want(&s->h, "d");
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 3, 3, 1, &g);
}

static void a_group_consumer_wants_its_group(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"deliver_subject\":\"d\",\"deliver_group\":\"g\"");
    publish_n(s, "o.a", 1);
    jshost_want(&s->h, "d");
    fake_turn_run(&s->ft);
    expect_nothing(s, "d");
    jshost_want_queue(&s->h, "d", "g");
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 1, 1, 1, &g);
}

static void headers_only_tells_the_size(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    jshost_want(&s->h, "d");
    make_consumer(s, "C", ",\"deliver_subject\":\"d\",\"headers_only\":true");
    publish_n(s, "o.a", 1);
    assert_int_equal(jshost_send(&s->h, ACC, "o.b", NULL, "NATS/1.0\r\nX: y\r\n\r\n", "123"), 1);
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 1, 1, 1, &g);
    assert_string_equal(g.hdr, "NATS/1.0\r\nNats-Msg-Size: 5\r\n\r\n");
    assert_string_equal(g.text, "");
    expect_msg(s, "d", 2, 2, 1, &g);
    assert_string_equal(g.hdr, "NATS/1.0\r\nX: y\r\nNats-Msg-Size: 3\r\n\r\n");
}

static void flow_control_closes_the_window(void **state)
{
    struct site *s = *state;
    struct got g;
    int got = 0, asked = 0;
    char fc[160] = "", *big = xmalloc(100001);
    memset(big, 'x', 100000);
    big[100000] = 0;
    make_stream(s, MEMORY);
    for (int i = 0; i < 40; i++)
        publish(s, "o.a", big);
    jshost_want(&s->h, "d");
    make_consumer(s, "C",
                  ",\"deliver_subject\":\"d\",\"flow_control\":true,\"idle_heartbeat\":1000000000");
    while (take(s, "d", &g)) {
        if (g.sseq) {
            got++;
            continue;
        }
        assert_string_equal(g.hdr, "NATS/1.0 100 FlowControl Request\r\n\r\n");
        snprintf(fc, sizeof fc, "%s", g.reply);
        asked = got;
    }
    assert_int_equal(asked, 11); /* more than half of 2 MiB */
    assert_int_equal(got, 21);   /* more than 2 MiB */
    fake_turn_advance(&s->ft, NS_PER_S + NS_PER_MS);
    assert_true(take(s, "d", &g));
    assert_non_null(strstr(g.hdr, "Nats-Consumer-Stalled: $JS.FC.S.C."));
    assert_int_equal(jshost_send(&s->h, ACC, fc, NULL, NULL, ""), 1);
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 22, 22, 1, &g);
    free(big);
}

/* --- verbs ------------------------------------------------------------------------------------ */

static void create_has_its_rules(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S", "{\"stream_name\":\"T\",\"config\":{}}", 10056);
    ask_error(s, "$JS.API.CONSUMER.CREATE.T", "{\"stream_name\":\"T\",\"config\":{}}", 10059);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S",
              "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"x\"}}", 10020);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a",
              "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"x\"}}", 10017);
    ask_error(s, "$JS.API.CONSUMER.DURABLE.CREATE.S.a", "{\"stream_name\":\"S\",\"config\":{}}",
              10018);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a.o.x",
              "{\"stream_name\":\"S\",\"config\":{\"filter_subject\":\"o.y\"}}", 10131);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a.o.x",
              "{\"stream_name\":\"S\",\"config\":{\"filter_subjects\":[\"o.y\"]}}", 10137);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a",
              "{\"stream_name\":\"S\",\"config\":{\"num_replicas\":3}}", 10074);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a",
              "{\"stream_name\":\"S\",\"config\":{},\"action\":\"update\"}", 10149);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a",
              "{\"stream_name\":\"S\",\"config\":{},\"action\":\"destroy\"}", 10025);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.a.o.x",
           "{\"stream_name\":\"S\",\"config\":{\"filter_subject\":\"o.x\"},\"action\":\"create\"}");
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.a.o.x",
           "{\"stream_name\":\"S\",\"config\":{\"filter_subject\":\"o.x\",\"inactive_threshold\":"
           "5000000000},"
           "\"action\":\"create\"}");
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.a",
              "{\"stream_name\":\"S\",\"config\":{},\"action\":\"create\"}", 10148);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.a",
           "{\"stream_name\":\"S\",\"config\":{\"description\":\"now all\"}}");
    char *text = ask(s, "$JS.API.CONSUMER.NAMES.S", "");
    assert_string_equal(
        text,
        "{\"type\":\"io.nats.jetstream.api.v1.consumer_names_response\",\"total\":1,\"offset\":0,"
        "\"limit\":1024,\"consumers\":[\"a\"]}");
    free(text);
    text = ask(s, "$JS.API.CONSUMER.CREATE.S", "{\"stream_name\":\"S\",\"config\":{}}");
    assert_non_null(strstr(text, "\"name\":\""));
    assert_non_null(strstr(text, "\"_nats.level\":\"5\""));
    free(text);
    text = ask(s, "$JS.API.CONSUMER.LIST.S", "");
    assert_int_equal(number_in(text, "\"total\":"), 2);
    free(text);
}

static void an_ephemeral_dies_without_anybody(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.e", "{\"stream_name\":\"S\",\"config\":{}}");
    fake_turn_advance(&s->ft, 4 * NS_PER_S);
    pull(s, "e", "_INBOX.p", "{\"batch\":1,\"expires\":3000000000}");
    fake_turn_advance(&s->ft, 4 * NS_PER_S);
    assert_int_equal(info(s, "e", NULL, "num_waiting"), 0);
    fake_turn_advance(&s->ft, 7 * NS_PER_S);
    ask_error(s, "$JS.API.CONSUMER.INFO.S.e", "", 10014);
}

/* What an update asks for is taken while it is on its way to the disk. */
static void changes_at_once_keep_a_work_queue_apart(void **state)
{
    struct site *s = *state;
    make_stream(s, ",\"retention\":\"workqueue\"");
    make_consumer(s, "A", EXPLICIT ",\"filter_subject\":\"o.a\"");
    assert_int_equal(
        jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.A", "_INBOX.x", NULL,
                    "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"A\"" EXPLICIT
                    ",\"filter_subject\":\"o.b\"}}"),
        1);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.B",
              "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"B\"" EXPLICIT
              ",\"filter_subject\":\"o.b\"}}",
              10100);
}

#define COPIES                                                                                     \
    "{\"stream_name\":\"S\",\"config\":{\"name\":\"src\",\"ack_policy\":\"none\",\"max_deliver\":" \
    "1,"                                                                                           \
    "\"flow_control\":true,\"idle_heartbeat\":1000000000,\"deliver_subject\":\"dd\",\"direct\":"   \
    "true,"                                                                                        \
    "\"sourcing\":true}}"

/* A hub that was away asks anew, whatever consumers the site has; and they as they like. */
static void who_copies_a_work_queue_shares_it(void **state)
{
    struct site *s = *state;
    make_stream(s, ",\"retention\":\"workqueue\"");
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.src", COPIES);
    make_consumer(s, "A", EXPLICIT ",\"filter_subject\":\"o.a\"");
    make_consumer(s, "B", EXPLICIT ",\"filter_subject\":\"o.b\"");
    make_consumer(s, "B", EXPLICIT ",\"filter_subject\":\"o.b\"");
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.src", COPIES);
    ask_error(s, "$JS.API.CONSUMER.CREATE.S.C",
              "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\"" EXPLICIT
              ",\"filter_subject\":\"o.*\"}}",
              10100);
}

#define FOR_EVER "9223372036854775807"

static void waits_without_end_are_no_past(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 1);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.e",
           "{\"stream_name\":\"S\",\"config\":{\"ack_policy\":\"explicit\",\"ack_wait\":" FOR_EVER
           ",\"inactive_threshold\":" FOR_EVER "}}");
    pull(s, "e", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    fake_turn_advance(&s->ft, 60 * NS_PER_S);
    ack(s, &g, "-NAK {\"delay\":" FOR_EVER "}");
    fake_turn_advance(&s->ft, 60 * NS_PER_S);
    assert_int_equal(info(s, "e", NULL, "num_ack_pending"), 1);
    pull(s, "e", "_INBOX.p", "1");
    expect_nothing(s, "_INBOX.p");
    pull(s, "e", "_INBOX.p", "{\"batch\":1,\"expires\":" FOR_EVER "}");
    fake_turn_advance(&s->ft, 60 * NS_PER_S);
    assert_int_equal(info(s, "e", NULL, "num_waiting"), 2);
}

static void a_pause_stops_and_ends(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    char *text = ask(s, "$JS.API.CONSUMER.PAUSE.S.C", "{\"pause_until\":\"2026-11-21T12:11:41Z\"}");
    assert_non_null(strstr(text, "\"paused\":true,\"pause_until\":\"2026-11-21T12:11:41Z\",\"pause_"
                                 "remaining\":10000000000"));
    free(text);
    publish_n(s, "o.a", 1);
    pull(s, "C", "_INBOX.p", "1");
    expect_nothing(s, "_INBOX.p");
    fake_turn_advance(&s->ft, 11 * NS_PER_S);
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    text = ask(s, "$JS.API.CONSUMER.PAUSE.S.C", "");
    assert_non_null(strstr(text, "\"paused\":false,\"pause_until\":\"0001-01-01T00:00:00Z\"}"));
    free(text);
}

static void a_reset_starts_anew(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 3);
    pull(s, "C", "_INBOX.p", "3");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    ack(s, &g, "");
    jshost_forget(&s->h);
    char *text = ask(s, "$JS.API.CONSUMER.RESET.S.C", "");
    assert_int_equal(number_in(text, "\"reset_seq\":"), 2);
    free(text);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 2, 1, 1, &g);
    text = ask(s, "$JS.API.CONSUMER.RESET.S.C", "{\"seq\":1}");
    assert_int_equal(number_in(text, "\"num_pending\":"), 3);
    free(text);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
}

static void the_answer_to_a_reset_comes_before_deliveries(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, "");
    make_consumer(s, "C", EXPLICIT);
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "2");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    pull(s, "C", "_INBOX.q", "2");
    expect_nothing(s, "_INBOX.q");
    char *text = ask(s, "$JS.API.CONSUMER.RESET.S.C", "{\"seq\":1}");
    assert_int_equal(number_in(text, "\"num_pending\":"), 2);
    assert_int_equal(number_in(text, "\"num_waiting\":"), 1);
    free(text);
    expect_msg(s, "_INBOX.q", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.q", 2, 2, 1, &g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_pull_gets_what_is_there_and_waits_for_the_rest),
        T(no_wait_ends_with_404),
        T(max_bytes_is_a_budget),
        T(requests_are_served_in_turn),
        T(bad_requests_are_told_so),
        T(requests_of_those_who_left_are_dropped),
        T(a_pull_hears_heartbeats),
        T(deleting_ends_waiting_requests),
        T(acks_move_the_floor),
        T(acks_of_the_second_form_are_understood),
        T(what_is_not_acked_comes_again_before_new_ones),
        T(naks_and_progress_move_deadlines),
        T(after_max_deliver_it_is_given_up),
        T(the_window_closes_and_opens),
        T(who_cannot_wait_is_told_when_another_pull_expires),
        T(ack_and_next_asks_for_more),
        T(a_work_queue_forgets_what_is_acked),
        T(interest_keeps_a_message_until_all_have_it),
        T(the_last_consumer_goes_before_the_commit),
        T(a_push_consumer_waits_for_a_listener),
        T(a_group_consumer_wants_its_group),
        T(headers_only_tells_the_size),
        T(flow_control_closes_the_window),
        T(create_has_its_rules),
        T(an_ephemeral_dies_without_anybody),
        T(waits_without_end_are_no_past),
        T(who_copies_a_work_queue_shares_it),
        T(changes_at_once_keep_a_work_queue_apart),
        T(a_pause_stops_and_ends),
        T(a_reset_starts_anew),
        T(the_answer_to_a_reset_comes_before_deliveries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

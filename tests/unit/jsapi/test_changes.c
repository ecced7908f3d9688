/* tests/unit/jsapi/test_changes.c -- consumers that are changed, held back, paced, and ended
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"

/* --- held back ---------------------------------------------------------------------------------
 */

static void the_pump_rests_when_told(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 5);
    jshost_want(&s->h, "d");
    s->h.rest = true;
    make_consumer(s, "P", ",\"deliver_subject\":\"d\"");
    expect_msg(s, "d", 1, 1, 1, &g);
    expect_nothing(s, "d");
    jsapi_drained(s->js);
    fake_turn_run(&s->ft);
    expect_msg(s, "d", 2, 2, 1, &g);
    expect_nothing(s, "d");
    s->h.rest = false;
    jsapi_drained(s->js);
    fake_turn_run(&s->ft);
    for (uint64_t q = 3; q <= 5; q++)
        expect_msg(s, "d", q, q, 1, &g);
}

/* Its receiver was a stream: no socket will say that there is room again, the store does. */
static void push_that_rests_for_the_store_goes_on_with_it(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 3);
    jshost_want(&s->h, "d");
    jsapi_pressure(s->js, true);
    s->h.rest = true;
    make_consumer(s, "P", ",\"deliver_subject\":\"d\"");
    expect_msg(s, "d", 1, 1, 1, &g);
    expect_nothing(s, "d");
    s->h.rest = false;
    jsapi_pressure(s->js, false);
    fake_turn_run(&s->ft);
    for (uint64_t q = 2; q <= 3; q++)
        expect_msg(s, "d", q, q, 1, &g);
    expect_nothing(s, "d");
}

/* A slow puller does not hold up the others of its consumer. */
static void a_resting_request_steps_aside(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", EXPLICIT);
    s->h.rest = true;
    pull(s, "C", "_INBOX.slow", "{\"batch\":5}");
    expect_msg(s, "_INBOX.slow", 1, 1, 1, &g);
    expect_nothing(s, "_INBOX.slow");
    s->h.rest = false;
    pull(s, "C", "_INBOX.quick", "{\"batch\":1}");
    expect_msg(s, "_INBOX.quick", 2, 2, 1, &g);
    jsapi_drained(s->js);
    fake_turn_run(&s->ft);
    expect_msg(s, "_INBOX.slow", 3, 3, 1, &g);
}

/* --- paced -------------------------------------------------------------------------------------
 */

static unsigned count_of(struct site *s, const char *inbox)
{
    struct got g;
    unsigned n = 0;
    while (take(s, inbox, &g))
        n++;
    return n;
}

static void a_rate_limit_spaces_messages(void **state)
{
    struct site *s = *state;
    char body[1001];
    memset(body, 'x', 1000);
    body[1000] = 0;
    make_stream(s, MEMORY ",\"max_msg_size\":2000");
    for (int i = 0; i < 20; i++)
        publish(s, "o.a", body);
    jshost_want(&s->h, "d");
    make_consumer(s, "P",
                  ",\"deliver_subject\":\"d\",\"rate_limit_bps\":16000"); /* 2,000 bytes a second */
    assert_int_equal(count_of(s, "d"), 1); /* a burst of one largest message */
    fake_turn_advance(&s->ft, 5 * NS_PER_S);
    unsigned n = count_of(s, "d");
    assert_true(n >= 8 && n <= 10);
}

static void replay_keeps_the_recorded_gaps(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 1);
    fake_turn_advance(&s->ft, 2 * NS_PER_S);
    publish_n(s, "o.a", 1);
    fake_turn_advance(&s->ft, 500 * NS_PER_MS);
    publish_n(s, "o.a", 1);
    jshost_want(&s->h, "d");
    make_consumer(s, "P", ",\"deliver_subject\":\"d\",\"replay_policy\":\"original\"");
    expect_msg(s, "d", 1, 1, 1, &g);
    expect_nothing(s, "d");
    fake_turn_advance(&s->ft, 1900 * NS_PER_MS);
    expect_nothing(s, "d");
    fake_turn_advance(&s->ft, 200 * NS_PER_MS);
    expect_msg(s, "d", 2, 2, 1, &g);
    fake_turn_advance(&s->ft, 600 * NS_PER_MS);
    expect_msg(s, "d", 3, 3, 1, &g);
    publish_n(s, "o.a", 1); /* newer ones come at once */
    expect_msg(s, "d", 4, 4, 1, &g);
}

/* --- changed -----------------------------------------------------------------------------------
 */

static void another_filter_counts_anew(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 3);
    publish_n(s, "o.b", 2);
    make_consumer(s, "C", ",\"filter_subject\":\"o.a\"" EXPLICIT);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    make_consumer(s, "C", ",\"filter_subject\":\"o.b\"" EXPLICIT);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 2);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 1);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 4, 2, 1, &g);
    make_consumer(s, "C", EXPLICIT);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 1);
    publish_n(s, "o.c", 1);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 2);
}

static void another_deliver_subject_gets_what_is_pending(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 2);
    jshost_want(&s->h, "d");
    make_consumer(s, "P", ",\"deliver_subject\":\"d\"" EXPLICIT);
    expect_msg(s, "d", 1, 1, 1, &g);
    ack(s, &g, "");
    expect_msg(s, "d", 2, 2, 1, &g);
    ask_error(
        s, "$JS.API.CONSUMER.CREATE.S.P",
        "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"P\",\"ack_policy\":\"explicit\","
        "\"deliver_subject\":\"e\"}}",
        10013);
    jshost_unwant(&s->h, "d");
    make_consumer(s, "P", ",\"deliver_subject\":\"e\"" EXPLICIT);
    jshost_want(&s->h, "e");
    fake_turn_run(&s->ft);
    expect_msg(s, "e", 2, 3, 2, &g);
}

static void a_wider_window_lets_more_through(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 5);
    make_consumer(s, "C", ",\"max_ack_pending\":1" EXPLICIT);
    pull(s, "C", "_INBOX.p", "9");
    assert_int_equal(count_of(s, "_INBOX.p"), 1);
    make_consumer(s, "C", ",\"max_ack_pending\":3" EXPLICIT);
    fake_turn_run(&s->ft);
    assert_int_equal(count_of(s, "_INBOX.p"), 2);
}

static void a_shorter_ack_wait_counts_for_what_is_pending(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 1);
    make_consumer(s, "C", ",\"ack_wait\":60000000000" EXPLICIT);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    make_consumer(s, "C", ",\"ack_wait\":1000000000" EXPLICIT);
    fake_turn_advance(&s->ft, 1100 * NS_PER_MS);
    expect_msg(s, "_INBOX.p", 1, 2, 2, &g);
}

/* --- ended -------------------------------------------------------------------------------------
 */

static void pullers_hear_of_the_end_of_the_stream(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "5");
    ask_ok(s, "$JS.API.STREAM.DELETE.S", "");
    expect_status(s, "_INBOX.p", "NATS/1.0 409 Consumer Deleted\r\n\r\n");
}

static void pullers_hear_of_the_shutdown(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "5");
    jsapi_close(s->js);
    s->js = NULL;
    expect_status(s, "_INBOX.p",
                  "NATS/1.0 409 Server Shutdown\r\nNats-Pending-Messages: 5\r\n"
                  "Nats-Pending-Bytes: 0\r\n\r\n");
    jshost_release(&s->h);
    store_close(s->store);
    fake_turn_release(&s->ft);
    site_up(s);
}

static void a_message_deleted_while_pending_is_terminated(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    jshost_want(&s->h, "$JS.EVENT.ADVISORY.>");
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", ",\"max_ack_pending\":2" EXPLICIT);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    ask_ok(s, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":2}");
    struct jshost_msg *m = jshost_take(&s->h, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"stream_seq\":2,\"deliveries\":1,\"reason\":"
                                    "\"Unacknowledged message was deleted\""));
    jshost_msg_free(m);
    expect_msg(s, "_INBOX.p", 3, 3, 1, &g); /* and the window has room again */
}

/* Both are on their way to the disk at once. */
static void the_subjects_of_an_update_under_way_are_taken(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    jshost_send(&s->h, ACC, "$JS.API.STREAM.UPDATE.S", "_INBOX.u", NULL,
                "{\"name\":\"S\",\"subjects\":[\"o.>\",\"x.>\"]}");
    jshost_send(&s->h, ACC, "$JS.API.STREAM.CREATE.T", "_INBOX.c", NULL,
                "{\"name\":\"T\",\"subjects\":[\"x.a\"]}");
    fake_turn_run(&s->ft);
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.c");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"err_code\":10065"));
    jshost_msg_free(m);
    m = jshost_wait(&s->h, "_INBOX.u");
    assert_non_null(m);
    assert_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    ask_error(s, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"x.a\"]}", 10065);
    ask_ok(s, "$JS.API.STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"o.>\"]}");
    ask_ok(s, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"x.a\"]}");
}

static void restart(struct site *s)
{
    site_down(s);
    site_up(s);
}

#define TAKES_B(name)                                                                              \
    "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"" name                                  \
    "\",\"ack_policy\":\"explicit\",\"filter_subject\":\"o.b\"}}"

/* A queue's message is for one consumer: an update counts from the moment it was taken. */
static void the_filter_of_an_update_under_way_is_taken(void **state)
{
    struct site *s = *state;
    make_stream(s, ",\"retention\":\"workqueue\"");
    make_consumer(s, "A", ",\"filter_subject\":\"o.a\"" EXPLICIT);
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.A", "_INBOX.a", NULL, TAKES_B("A"));
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.B", "_INBOX.b", NULL, TAKES_B("B"));
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.b");
    assert_non_null(m);
    assert_int_equal(number_in(m->text, "\"err_code\":"), 10100); /* not unique */
    jshost_msg_free(m);
    m = jshost_wait(&s->h, "_INBOX.a");
    assert_non_null(m);
    assert_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
}

static void a_list_of_which_nothing_was_delivered_outlives_a_restart(void **state)
{
    struct site *s = *state;
    struct got g;
    const char *const subjects[] = {"o.a", "o.b", "o.c"};
    make_stream(s, "");
    for (int i = 0; i < 6; i++)
        publish_n(s, subjects[i % 3], 1);
    make_consumer(s, "C",
                  ",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"o.*\"" EXPLICIT);
    restart(s);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
    pull(s, "C", "_INBOX.p", "9");
    for (uint64_t i = 1; i <= 3; i++)
        expect_msg(s, "_INBOX.p", 3 + i, i, 1, &g);
    restart(s);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 0);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 3);
}

/* What is left of it, as the new filters want it: nothing older than the last of a subject. */
static void a_list_goes_on_with_other_filters(void **state)
{
    struct site *s = *state;
    struct got g;
    const char *const subjects[] = {"o.c", "o.a", "o.b", "o.a", "o.b", "o.d"};
    make_stream(s, "");
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
        publish_n(s, subjects[i], 1);
    make_consumer(s, "C",
                  ",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"o.*\"" EXPLICIT);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    make_consumer(
        s, "C",
        ",\"deliver_policy\":\"last_per_subject\",\"filter_subjects\":[\"o.a\",\"o.b\"]" EXPLICIT);
    publish_n(s, "o.b", 1);
    publish_n(s, "o.c", 1);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
    restart(s);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
    pull(s, "C", "_INBOX.p", "9");
    expect_msg(s, "_INBOX.p", 4, 2, 1, &g);
    expect_msg(s, "_INBOX.p", 5, 3, 1, &g);
    expect_msg(s, "_INBOX.p", 7, 4, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 0);
}

/* Its first delivery lies below what was acked, its last one above: nobody settles it by number. */
static void a_message_below_an_ack_of_all_that_left_is_not_delivered_again(void **state)
{
    struct site *s = *state;
    struct got g, third;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 5);
    make_consumer(s, "C", ",\"ack_policy\":\"all\",\"ack_wait\":1000000000");
    pull(s, "C", "_INBOX.p", "5");
    for (uint64_t i = 1; i <= 5; i++)
        expect_msg(s, "_INBOX.p", i, i, 1, &g);
    fake_turn_advance(&s->ft, 2 * NS_PER_S);
    pull(s, "C", "_INBOX.p", "5");
    for (uint64_t i = 1; i <= 5; i++)
        expect_msg(s, "_INBOX.p", i, 5 + i, 2, i == 3 ? &third : &g);
    ack(s, &third, "");
    ask_ok(s, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":4}");
    fake_turn_advance(&s->ft, 2 * NS_PER_S);
    pull(s, "C", "_INBOX.p", "5");
    expect_msg(s, "_INBOX.p", 5, 11, 3, &g);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 1);
}

static void expect_terminated_by_limits(struct site *s, int seq)
{
    char says[80];
    struct jshost_msg *m = jshost_take(&s->h, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C");
    assert_non_null(m);
    (void)snprintf(says, sizeof says, "\"stream_seq\":%d,\"deliveries\":1", seq);
    assert_non_null(strstr(m->text, says));
    assert_non_null(strstr(m->text, "\"reason\":\"Message deleted by stream limits\""));
    jshost_msg_free(m);
}

static void messages_that_leave_together_are_terminated_each(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, "");
    jshost_want(&s->h, "$JS.EVENT.ADVISORY.>");
    publish_n(s, "o.a", 4);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "4");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    ask_ok(s, "$JS.API.STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"o.>\"],\"max_msgs\":2}");
    expect_terminated_by_limits(s, 1);
    expect_terminated_by_limits(s, 2);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 2);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 2);
}

static void a_purge_moves_everybody_up(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 6);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "2");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    ask_ok(s, "$JS.API.STREAM.PURGE.S", "{\"seq\":5}");
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 0);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 2);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), 4);
    jshost_forget(&s->h);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 5, 3, 1, &g);
}

/* Where a consumer of what was purged stands is exact, and asking for it is no turn's work. */
static void a_purge_moves_a_consumer_however_far(void **state)
{
    struct site *s = *state;
    const int others = 25000; /* more than is looked at in one go */
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"filter_subject\":\"o.mine\"" EXPLICIT);
    publish_n(s, "o.other", others);
    publish_n(s, "o.mine", 3);
    ask_ok(s, "$JS.API.STREAM.PURGE.S", "{\"filter\":\"o.mine\",\"keep\":1}");
    assert_int_equal(info(s, "C", "delivered", "stream_seq"), others + 2);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 1);
    ask_ok(s, "$JS.API.STREAM.PURGE.S", "{\"filter\":\"o.mine\"}");
    assert_int_equal(info(s, "C", "delivered", "stream_seq"), others + 3);
    publish_n(s, "o.mine", 1);
    pull(s, "C", "_INBOX.p", "1");
    struct got g;
    expect_msg(s, "_INBOX.p", (uint64_t)others + 4, 1, 1, &g);
}

/* The purge of o.mine is asked for; then turn by turn until all of it has left the stream, and what
 * is left is being searched. */
static void purge_mine(struct site *s, uint64_t others)
{
    struct stream_state st;
    s->ft.job_budget_ns = 0; /* a job comes back after each portion */
    assert_int_equal(jshost_send(&s->h, ACC, "$JS.API.STREAM.PURGE.S", "_INBOX.purged", NULL,
                                 "{\"filter\":\"o.mine\"}"),
                     1);
    do {
        (void)fake_turn_once(&s->ft);
        store_state(store_stream_find(s->store, SLICE("$G"), SLICE("S")), &st);
    } while (st.msgs > others);
    (void)fake_turn_once(&s->ft);
    assert_null(jshost_take(&s->h, "_INBOX.purged"));
}

/* A message that matches is stored during the search, and the consumer is handed it. */
static void what_comes_during_the_search_after_a_purge_stays(void **state)
{
    struct site *s = *state;
    const int others = 25000;
    struct got g;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"filter_subject\":\"o.mine\"" EXPLICIT);
    publish_n(s, "o.other", others);
    publish_n(s, "o.mine", 1);
    purge_mine(s, (uint64_t)others);
    assert_int_equal(jshost_send(&s->h, ACC, "o.mine", NULL, NULL, "new"), 1);
    assert_int_equal(
        jshost_send(&s->h, ACC, "$JS.API.CONSUMER.MSG.NEXT.S.C", "_INBOX.p", NULL, "1"), 1);
    for (int i = 0; i < 5; i++)
        (void)fake_turn_once(&s->ft);
    assert_null(jshost_take(&s->h, "_INBOX.purged"));
    s->ft.job_budget_ns = 1;
    fake_turn_run(&s->ft);
    struct jshost_msg *m = jshost_take(&s->h, "_INBOX.purged");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"purged\":1"));
    jshost_msg_free(m);
    expect_msg(s, "_INBOX.p", (uint64_t)others + 2, 1, 1, &g);
    assert_int_equal(info(s, "C", NULL, "num_ack_pending"), 1);
    assert_int_equal(info(s, "C", "delivered", "stream_seq"), others + 2);
}

/* --- stopped ---------------------------------------------------------------------------------- */

/* The leak checker judges: what a request holds is let go when the server stops under it. */
static void a_stop_meets_a_creation_and_a_change(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    make_consumer(s, "C", EXPLICIT);
    assert_int_equal(
        jshost_send(
            &s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.changed", NULL,
            "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\","
            "\"description\":\"other\"}}"),
        1);
    assert_int_equal(jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.D", "_INBOX.made", NULL,
                                 "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"D\",\"ack_"
                                 "policy\":\"explicit\"}}"),
                     1);
    fake_turn_once(&s->ft);
    assert_null(jshost_take(&s->h, "_INBOX.changed"));
    assert_null(jshost_take(&s->h, "_INBOX.made"));
}

static void a_stop_meets_the_search_after_a_purge(void **state)
{
    struct site *s = *state;
    make_stream(s, MEMORY);
    make_consumer(s, "C", ",\"filter_subject\":\"o.mine\"" EXPLICIT);
    publish_n(s, "o.other", 5000);
    publish_n(s, "o.mine", 1);
    purge_mine(s, 5000);
}

/* --- what a restart must find ---------------------------------------------------------------- */

static void one_given_up_that_left_is_forgotten_for_good(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", ",\"ack_wait\":1000000000,\"max_deliver\":2" EXPLICIT);
    for (uint64_t times = 1; times <= 2; times++) {
        pull(s, "C", "_INBOX.p", "3");
        for (uint64_t q = 1; q <= 3; q++)
            expect_msg(s, "_INBOX.p", q, q + 3 * (times - 1), times, &g);
        fake_turn_advance(&s->ft, 1100 * NS_PER_MS);
    }
    assert_int_equal(info(s, "C", NULL, "num_redelivered"), 3);
    ask_ok(s, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":2}");
    assert_int_equal(info(s, "C", NULL, "num_redelivered"), 2);
    site_down(s);
    site_up(s);
    assert_int_equal(info(s, "C", NULL, "num_redelivered"), 2);
}

static void what_waited_for_a_pull_comes_again_after_a_purge(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY);
    publish_n(s, "o.a", 1);
    make_consumer(s, "C", ",\"ack_wait\":1000000000" EXPLICIT);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    fake_turn_advance(&s->ft, 1100 * NS_PER_MS);
    ask_ok(s, "$JS.API.STREAM.PURGE.S", "{\"keep\":1}");
    fake_turn_advance(&s->ft, 1100 * NS_PER_MS);
    pull(s, "C", "_INBOX.p", "{\"batch\":1,\"no_wait\":true}");
    expect_msg(s, "_INBOX.p", 1, 2, 2, &g);
}

static void an_ack_of_all_frees_what_was_given_up_before_it(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, MEMORY ",\"retention\":\"interest\"");
    make_consumer(s, "C", ",\"ack_wait\":1000000000,\"max_deliver\":1,\"ack_policy\":\"all\"");
    publish_n(s, "o.a", 2);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 1, 1, 1, &g);
    fake_turn_advance(&s->ft, 1100 * NS_PER_MS);
    pull(s, "C", "_INBOX.p", "1");
    expect_msg(s, "_INBOX.p", 2, 2, 1, &g);
    ack(s, &g, "");
    assert_int_equal(stream_msgs(s), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_pump_rests_when_told),
        T(push_that_rests_for_the_store_goes_on_with_it),
        T(a_resting_request_steps_aside),
        T(a_rate_limit_spaces_messages),
        T(replay_keeps_the_recorded_gaps),
        T(another_filter_counts_anew),
        T(another_deliver_subject_gets_what_is_pending),
        T(a_wider_window_lets_more_through),
        T(a_shorter_ack_wait_counts_for_what_is_pending),
        T(pullers_hear_of_the_end_of_the_stream),
        T(pullers_hear_of_the_shutdown),
        T(a_message_deleted_while_pending_is_terminated),
        T(messages_that_leave_together_are_terminated_each),
        T(the_subjects_of_an_update_under_way_are_taken),
        T(the_filter_of_an_update_under_way_is_taken),
        T(a_list_of_which_nothing_was_delivered_outlives_a_restart),
        T(a_list_goes_on_with_other_filters),
        T(a_message_below_an_ack_of_all_that_left_is_not_delivered_again),
        T(a_purge_moves_everybody_up),
        T(a_purge_moves_a_consumer_however_far),
        T(what_comes_during_the_search_after_a_purge_stays),
        T(a_stop_meets_a_creation_and_a_change),
        T(a_stop_meets_the_search_after_a_purge),
        T(one_given_up_that_left_is_forgotten_for_good),
        T(what_waited_for_a_pull_comes_again_after_a_purge),
        T(an_ack_of_all_frees_what_was_given_up_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

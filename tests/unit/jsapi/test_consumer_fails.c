/* tests/unit/jsapi/test_consumer_fails.c -- the n-th commit fails while a work queue is worked off
 *
 * Whatever commit fails: an ack that was answered counts (the message is gone and never comes
 * again), one that was not may have to be given again, no message is lost, and consumers are made,
 * changed and deleted with an answer each. What a consumer in memory has acked leaves the queue in
 * the end, whatever became of the commit. Needs -DFAULTS=ON.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "consumer_site.h"

#include "base/fault.h"
#include "jsapi/consumer.h"
#include "storage/store.h"
#include "storage/writer.h"

#ifdef FROND_FAULTS

#define MESSAGES 20

/* Asks for an answer, good or bad; true when good. */
static bool tried(struct site *s, const char *subject, const char *body)
{
    char *text = ask(s, subject, body);
    bool good = !strstr(text, "\"error\"");
    free(text);
    return good;
}

/* Takes one message and acks it with a reply. Its sequence, 0 when there was none; *sure: the ack
 * was answered. Each try has inboxes of its own: what comes late for an earlier one is nobody's. */
static uint64_t work(struct site *s, bool *sure)
{
    static unsigned tries;
    struct got g;
    char in[32], ok[32];
    snprintf(in, sizeof in, "_INBOX.w.%u", ++tries);
    snprintf(ok, sizeof ok, "_INBOX.ok.%u", tries);
    *sure = false;
    jshost_forget(&s->h);
    pull(s, "C", in, "{\"batch\":1,\"expires\":1000000000}");
    if (!take(s, in, &g) || !g.sseq)
        return 0;
    if (!jshost_send(&s->h, ACC, g.reply, ok, NULL, "+ACK"))
        return g.sseq;
    fake_turn_advance(&s->ft, 100 * NS_PER_MS);
    for (int i = 0; i < 40 && !*sure; i++) {
        fake_turn_run(&s->ft);
        struct jshost_msg *m = jshost_take(&s->h, ok);
        *sure = m != NULL;
        jshost_msg_free(m);
        if (!*sure)
            usleep(5000); /* the writer is a thread of its own, and a failed commit is never
                             answered */
    }
    return g.sseq;
}

static void all_is_worked_off_once(int n, const char *where)
{
    void *state;
    char spec[32];
    bool stored[MESSAGES * 2 + 1] = {false}, settled[MESSAGES * 2 + 1] = {false};
    uint64_t last = 0;
    setup(&state);
    struct site *s = state;
    make_stream(s, ",\"retention\":\"workqueue\"");
    char *more =
        xasprintf(",\"ack_wait\":1000000000,\"filter_subject\":\"o.a\"%s%s", where, EXPLICIT);
    make_consumer(s, "C", more);
    free(more);
    snprintf(spec, sizeof spec, "commit:%d", n);
    fault_set(spec);
    for (int i = 0; i < MESSAGES; i++) {
        char *text = ask(s, "o.a", "x");
        if (!strstr(text, "\"error\"")) {
            last = number_in(text, "\"seq\":");
            assert_true(last < ARRAY_LEN(stored) && !settled[last]);
            stored[last] = true;
        }
        free(text);
        bool sure = false;
        uint64_t seq = work(s, &sure);
        if (seq && sure) {
            if (!stored[seq] || settled[seq])
                fail_msg("commit %d: message %lu, %s", n, (unsigned long)seq,
                         stored[seq] ? "acknowledged before, came again" : "refused, but there");
            settled[seq] = true;
        }
        if (i % 5 == 0 &&
            tried(s, "$JS.API.CONSUMER.CREATE.S.D",
                  "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"D\",\"ack_policy\":"
                  "\"explicit\",\"filter_subject\":\"o.b\"}}"))
            (void)tried(s, "$JS.API.CONSUMER.DELETE.S.D", "");
    }
    fault_set(NULL);
    for (int i = 0; i < 3 * MESSAGES; i++) {
        bool sure = false;
        fake_turn_advance(&s->ft, 2 * NS_PER_S); /* what is not acked comes again */
        jshost_forget(&s->h);
        uint64_t seq = work(s, &sure);
        if (!seq)
            continue;
        assert_true(sure && stored[seq] && !settled[seq]);
        settled[seq] = true;
    }
    for (uint64_t q = 1; q <= last && !*where; q++)
        assert_int_equal(stored[q], settled[q]);
    assert_int_equal(stream_msgs(s), 0);
    teardown(&state);
}

static void each_commit_may_fail(void **state)
{
    (void)state;
    for (int n = 1; n <= 40; n++)
        all_is_worked_off_once(n, "");
}

static void a_consumer_in_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int n = 1; n <= 40; n++)
        all_is_worked_off_once(n, ",\"mem_storage\":true");
}

/* The commit that fails ends the count of a consumer in memory that is being made: it is refused
 * rather than told a number that nobody knows. */
static void a_count_that_a_failure_ends_is_no_number(void **state)
{
    static const char body[] =
        "{\"stream_name\":\"S\",\"config\":{\"name\":\"W\",\"mem_storage\":true,"
        "\"filter_subject\":\"o.>\",\"deliver_policy\":\"last_per_subject\","
        "\"ack_policy\":\"none\"}}";
    struct site *s = *state;
    make_stream(s, "");
    publish(s, "o.a", "x");
    publish(s, "o.b", "x");
    fault_set("commit:1");
    jshost_send(&s->h, ACC, "o.c", "_INBOX.refused", NULL, "x");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.W", "_INBOX.w", NULL, body);
    while (!s->store->flying)
        fake_turn_once(&s->ft);
    const struct js_stream *stream = js_stream_find(s->acc, SLICE("S"));
    const struct js_consumer *c = consumers_find(stream->consumers, SLICE("W"));
    assert_true(c &&
                c->counting); /* the list is there, what comes behind it is a turn of its own */
    writer_wait(s->store->writer);
    store_on_back(s->store); /* mail is read before jobs go on */
    fault_set(NULL);
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.w");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    ask_ok(s, "$JS.API.CONSUMER.CREATE.S.W", body);
    assert_int_equal(info(s, "W", NULL, "num_pending"), 2);
}

/* Its messages were to leave with it. It is back, and so are they, whatever another one, in memory,
 * has passed over. */
static void a_deletion_that_failed_takes_no_messages(void **state)
{
    struct site *s = *state;
    struct got g;
    make_stream(s, ",\"retention\":\"interest\"");
    make_consumer(s, "D", ",\"filter_subject\":\"o.d\"" EXPLICIT);
    make_consumer(s, "M", ",\"filter_subject\":\"o.m\",\"mem_storage\":true" EXPLICIT);
    publish_n(s, "o.d", 3);
    publish(s, "o.m", "what M is for");
    pull(s, "M", "_INBOX.m", "1");
    expect_msg(s, "_INBOX.m", 4, 1, 1, &g);
    fault_set("commit:1");
    ask_error(s, "$JS.API.CONSUMER.DELETE.S.D", "", 10104);
    fault_set(NULL);
    fake_turn_advance(&s->ft, 5 * NS_PER_S);
    publish(s, "o.m", "another commit");
    assert_int_equal(stream_msgs(s), 5);
    pull(s, "D", "_INBOX.d", "3");
    for (uint64_t q = 1; q <= 3; q++)
        expect_msg(s, "_INBOX.d", q, q, 1, &g);
}

/* Two changes and a question, one behind the other: the first one fails with its commit, the second
 * begins while consumers are read back. Whoever waits finds the consumer. */
static void who_waits_for_a_change_finds_the_consumer(void **state)
{
    static const char body[] = "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\","
                               "\"ack_policy\":\"explicit\",\"description\":\"%s\"}}";
    struct site *s = *state;
    char text[256];
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", ",\"description\":\"as it was\"" EXPLICIT);
    fault_set("commit:1");
    (void)snprintf(text, sizeof text, body, "first");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.first", NULL, text);
    (void)snprintf(text, sizeof text, body, "second");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.second", NULL, text);
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.INFO.S.C", "_INBOX.info", NULL, "");
    (void)snprintf(text, sizeof text, body, "third");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.third", NULL, text);
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.first");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    fault_set(NULL);
    m = jshost_wait(&s->h, "_INBOX.info");
    assert_non_null(m);
    assert_int_equal(number_in(m->text, "\"num_pending\":"), 3);
    jshost_msg_free(m);
    m = jshost_wait(&s->h, "_INBOX.third");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "third"));
    jshost_msg_free(m);
    fake_turn_run(&s->ft);
    char *now = ask(s, "$JS.API.CONSUMER.INFO.S.C", "");
    assert_non_null(strstr(now, "third"));
    free(now);
}

/* The server goes in the turn in which the commit failed: they are not asked for any more. */
static void who_waits_when_the_server_goes_is_let_go(void **state)
{
    static const char body[] = "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\","
                               "\"ack_policy\":\"explicit\",\"filter_subject\":\"o.>\"}}";
    struct site *s = *state;
    make_stream(s, "");
    fault_set("commit:1");
    for (int i = 0; i < 3; i++)
        jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.c", NULL, body);
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.INFO.S.C", "_INBOX.c", NULL, "");
    while (!s->store->flying)
        fake_turn_once(&s->ft);
    const struct js_stream *stream = js_stream_find(s->acc, SLICE("S"));
    writer_wait(s->store->writer);
    store_on_back(s->store);
    fault_set(NULL);
    assert_int_equal(stream->consumers->later_n, 4); /* and the teardown looks for leaks */
}

/* The second one asks while the first one's is on its way to the disk, which never comes there. */
static void who_waits_for_one_that_was_not_made_makes_it(void **state)
{
    static const char body[] = "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\","
                               "\"ack_policy\":\"explicit\",\"filter_subject\":\"o.>\"}}";
    struct site *s = *state;
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    fault_set("commit:1");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.first", NULL, body);
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.second", NULL, body);
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.first");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    fault_set(NULL);
    m = jshost_wait(&s->h, "_INBOX.second");
    assert_non_null(m);
    assert_int_equal(number_in(m->text, "\"num_pending\":"), 3);
    jshost_msg_free(m);
    assert_int_equal(info(s, "C", NULL, "num_pending"), 3);
}

/* It was deleted, and one in memory took its name; but the disk did not hear of the deletion. */
static void a_deletion_that_failed_brings_the_old_one_back(void **state)
{
    struct site *s = *state;
    make_stream(s, "");
    publish_n(s, "o.a", 3);
    make_consumer(s, "C", ",\"description\":\"the old one\"" EXPLICIT);
    fault_set("commit:1");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.DELETE.S.C", "_INBOX.deleted", NULL, "");
    jshost_send(&s->h, ACC, "$JS.API.CONSUMER.CREATE.S.C", "_INBOX.made", NULL,
                "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"mem_storage\":true,"
                "\"ack_policy\":\"explicit\"}}");
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.made");
    assert_non_null(m);
    assert_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    m = jshost_wait(&s->h, "_INBOX.deleted");
    assert_non_null(m);
    assert_non_null(strstr(m->text, "\"error\""));
    jshost_msg_free(m);
    fault_set(NULL);
    fake_turn_run(&s->ft);
    char *text = ask(s, "$JS.API.CONSUMER.INFO.S.C", "");
    assert_non_null(strstr(text, "the old one"));
    assert_int_equal(number_in(text, "\"num_pending\":"), 3);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_commit_may_fail),
        cmocka_unit_test_setup_teardown(a_count_that_a_failure_ends_is_no_number, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_a_change_finds_the_consumer, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_when_the_server_goes_is_let_go, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_one_that_was_not_made_makes_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_deletion_that_failed_takes_no_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deletion_that_failed_brings_the_old_one_back, setup,
                                        teardown),
        cmocka_unit_test(a_consumer_in_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void nothing_fails_in_this_build(void **state)
{
    (void)state;
    assert_false(fault_hit("commit"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_fails_in_this_build)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif

/* what consumers have settled and the removal of it are on disk together, wherever in a turn a
 * batch is closed
 * SPDX-License-Identifier: Apache-2.0 */
#include "unit/jsapi/consumer_site.h"

#include "base/fault.h"
#include "storage/store.h"
#include "storage/stream.h"
#include "storage/writer.h"

static void a_receipt_closes_no_batch_between_acks_and_removals(void **state)
{
    struct site *s = *state;
    struct got g[5];
    make_stream(s, ",\"retention\":\"workqueue\"");
    publish_n(s, "o.a", 5);
    make_consumer(s, "C", EXPLICIT);
    pull(s, "C", "_INBOX.p", "5");
    for (uint64_t i = 0; i < 5; i++)
        expect_msg(s, "_INBOX.p", i + 1, i + 1, 1, &g[i]);
    jshost_send(&s->h, ACC, "o.a", NULL, NULL, "on its way to the disk");
    while (!s->store->flying)
        fake_turn_once(&s->ft);
    jshost_send(&s->h, ACC, "o.a", NULL, NULL, "so that the next batch has something to write");
    for (int i = 0; i < 5; i++)
        assert_int_equal(jshost_send(&s->h, ACC, g[i].reply, NULL, NULL, ""), 1);
    writer_wait(s->store->writer);
    const struct stream *st = store_stream_find(s->store, SLICE("$G"), SLICE("S"));
    assert_int_equal(st->now.msgs, 7);
    uint64_t gathering = s->store->gather->n;
    store_on_back(s->store); /* mail is read before the turn's posts */
    assert_true(s->store->gather->n > gathering);
    assert_int_equal(st->now.msgs, 2);
}

/* --- an ack of many --------------------------------------------------------------------------- */

#define MANY 3000

static const struct stream *the_stream(const struct site *s)
{
    return store_stream_find(s->store, SLICE("$G"), SLICE("S"));
}

/* MANY messages, and what answers for them all: C has got them, and D wants others. */
static void many_pending(struct site *s, const char *how, struct got *last)
{
    char members[128];
    make_stream(s, ",\"retention\":\"interest\"");
    snprintf(members, sizeof members, ",\"ack_policy\":\"all\",\"max_ack_pending\":-1%s", how);
    make_consumer(s, "C", members);
    make_consumer(s, "D", EXPLICIT ",\"filter_subject\":\"o.b\"");
    for (int i = 0; i < MANY; i++)
        jshost_send(&s->h, ACC, "o.a", NULL, NULL, "x");
    publish(s, "o.b", "x");
    pull(s, "C", "_INBOX.p", "{\"batch\":3000}");
    for (uint64_t i = 1; i <= MANY; i++)
        expect_msg(s, "_INBOX.p", i, i, 1, last);
}

static bool is_quiet(void *arg)
{
    const struct store *st = ((struct site *)arg)->store;
    return !st->flying && list_empty(&st->ready);
}

/* Acks all and looks at a portion of what that means. fault: of the next commit, or NULL. */
static void begin_ack(struct site *s, const struct got *last, const char *fault)
{
    do
        fake_turn_advance(&s->ft, NS_PER_S); /* what C was given is on disk */
    while (!fake_turn_wait(&s->ft, is_quiet, s) || s->store->gather->writes);
#ifdef FROND_FAULTS
    fault_set(fault);
#endif
    (void)fault;
    s->ft.job_budget_ns = -1;
    assert_int_equal(jshost_send(&s->h, ACC, last->reply, "_INBOX.acked", NULL, "+ACK"), 1);
    fake_turn_once(&s->ft);
    uint64_t left = the_stream(s)->now.msgs;
    if (left <= MANY / 2)
        fail_msg("%lu are left after one turn", (unsigned long)left);
    s->ft.job_budget_ns = 1;
}

static void goes_in_portions(struct site *s, const char *how)
{
    struct got last;
    many_pending(s, how, &last);
    begin_ack(s, &last, NULL);
    while (the_stream(s)->now.msgs > 1) {
        expect_nothing(s, "_INBOX.acked");
        assert_true(fake_turn_once(&s->ft));
    }
    struct jshost_msg *m = jshost_wait(&s->h, "_INBOX.acked");
    assert_non_null(m);
    jshost_msg_free(m);
    assert_int_equal(the_stream(s)->shown.msgs, 1);
}

static void an_ack_of_many_goes_in_portions_and_is_answered_at_their_end(void **state)
{
    goes_in_portions(*state, "");
}

static void also_of_a_consumer_in_memory(void **state)
{
    goes_in_portions(*state, ",\"mem_storage\":true");
}

static void the_server_goes_in_its_middle(void **state)
{
    struct site *s = *state;
    struct got last;
    many_pending(s, "", &last);
    begin_ack(s, &last, NULL);
    site_down(s);
    site_up(s);
    assert_true(fake_turn_wait(&s->ft, is_quiet, s));
    fake_turn_run(&s->ft);
    assert_int_equal(stream_msgs(s), 1);
    assert_int_equal(info(s, "C", "ack_floor", "stream_seq"), MANY);
}

static void its_stream_goes_in_its_middle(void **state)
{
    struct site *s = *state;
    struct got last;
    many_pending(s, "", &last);
    begin_ack(s, &last, NULL);
    ask_ok(s, "$JS.API.STREAM.DELETE.S", "");
    expect_nothing(s, "_INBOX.acked");
}

static void its_consumer_goes_in_its_middle(void **state)
{
    struct site *s = *state;
    struct got last;
    many_pending(s, "", &last);
    begin_ack(s, &last, NULL);
    ask_ok(s, "$JS.API.CONSUMER.DELETE.S.C", "");
    assert_true(fake_turn_wait(&s->ft, is_quiet, s));
    fake_turn_run(&s->ft);
    assert_int_equal(stream_msgs(s), 1);
}

#ifdef FROND_FAULTS
/* Nobody is answered; what a consumer in memory has settled leaves when the stream is looked
 * through, what another one has settled it gets again. */
static void a_commit_fails_in_its_middle(void **state)
{
    struct site *s = *state;
    static const char *const how[] = {",\"mem_storage\":true", ",\"ack_wait\":1000000000"};
    struct got last;
    for (int i = 0; i < 2; i++) {
        many_pending(s, how[i], &last);
        begin_ack(s, &last, "commit:1");
        s->ft.job_budget_ns = -1;
        while (!s->store->flying)
            fake_turn_once(&s->ft);
        writer_wait(s->store->writer);
        fake_turn_once(&s->ft);
        fault_set(NULL);
        s->ft.job_budget_ns = 1;
        for (int n = 0; n < 5; n++) {
            assert_true(fake_turn_wait(&s->ft, is_quiet, s));
            fake_turn_advance(&s->ft, NS_PER_S);
        }
        expect_nothing(s, "_INBOX.acked");
        assert_int_equal(stream_msgs(s), i ? MANY + 1 : 1);
        jshost_forget(&s->h);
        if (i) {
            pull(s, "C", "_INBOX.p", "{\"batch\":3000}");
            for (struct got g; take(s, "_INBOX.p", &g); last = g)
                ;
            assert_int_equal(jshost_send(&s->h, ACC, last.reply, "_INBOX.acked", NULL, "+ACK"), 1);
            jshost_msg_free(jshost_wait(&s->h, "_INBOX.acked"));
            assert_int_equal(stream_msgs(s), 1);
        }
        ask_ok(s, "$JS.API.STREAM.DELETE.S", "");
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_receipt_closes_no_batch_between_acks_and_removals, setup,
                                        teardown),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(an_ack_of_many_goes_in_portions_and_is_answered_at_their_end),
        TEST(also_of_a_consumer_in_memory),
        TEST(the_server_goes_in_its_middle),
        TEST(its_stream_goes_in_its_middle),
        TEST(its_consumer_goes_in_its_middle),
#ifdef FROND_FAULTS
        TEST(a_commit_fails_in_its_middle),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

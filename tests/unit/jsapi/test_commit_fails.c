/* test_commit_fails.c -- the n-th commit fails: everybody who waits hears of it, and what was
 * acknowledged is there
 *
 * Needs a build with -DFAULTS=ON (scripts/build asan); without it there is nothing to fail and one
 * test that says so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fault.h"
#include "fake/jsscene.h"

#ifdef FROND_FAULTS

#define API    "$JS.API."
#define ROUNDS 12 /* of publishes, five at a time */

static struct jsscene s;

struct tally {
    unsigned good, bad;
};

static bool answered(const char *subject, const char *body)
{
    char *text = jsscene_ask(&s, subject, body);
    bool silent = strcmp(text, "(silence)") == 0, good = !strstr(text, "\"error\"");

    if (silent)
        fail_msg("%s was never answered", subject);
    free(text);
    return good;
}

/* Five publishes at once: they share a commit, and its fate. */
static void publish(const char *subject, struct tally *t)
{
    char inbox[32];

    for (int i = 0; i < 5; i++) {
        snprintf(inbox, sizeof inbox, "_INBOX.fault.%d", i);
        if (!jshost_send(&s.host, &s.account, subject, inbox, NULL, "payload"))
            return; /* its stream could not be made */
    }
    for (int i = 0; i < 5; i++) {
        snprintf(inbox, sizeof inbox, "_INBOX.fault.%d", i);
        struct jshost_msg *m = jshost_wait(&s.host, inbox);
        if (!m)
            fail_msg("a publish on %s was never answered", subject);
        if (strstr(m->text, "\"error\""))
            t->bad++;
        else
            t->good++;
        jshost_msg_free(m);
    }
}

static uint64_t messages(const char *stream)
{
    char subject[64];

    snprintf(subject, sizeof subject, API "STREAM.INFO.%s", stream);
    char *text = jsscene_ask(&s, subject, "");
    const char *at = strstr(text, "\"messages\":");
    uint64_t n = at ? strtoull(at + strlen("\"messages\":"), NULL, 10) : UINT64_MAX;
    free(text);
    return n;
}

/* Fetches one message and acknowledges it, asking for an answer. */
static void consume(void)
{
    char *text = jsscene_ask(&s, API "CONSUMER.INFO.A.C", "");

    if (strstr(text, "\"error\""))
        fail_msg("the consumer is gone: %s", text);
    free(text);
    (void)jshost_send(&s.host, &s.account, API "CONSUMER.MSG.NEXT.A.C", "_INBOX.fetch", NULL, "1");
    struct jshost_msg *m = jshost_wait(&s.host, "_INBOX.fetch");
    assert_non_null(m);
    char *ack = slice_dup(m->reply);
    jshost_msg_free(m);
    (void)jshost_send(&s.host, &s.account, ack, "_INBOX.acked", NULL, "+ACK");
    fake_turn_run(&s.ft);
    free(ack);
}

static void story(struct tally *a, struct tally *b)
{
    bool has_b = answered(API "STREAM.CREATE.B", "{\"name\":\"B\",\"subjects\":[\"b\"]}");

    for (int i = 0; i < ROUNDS; i++) {
        publish("a", a);
        if (a->good > (unsigned)i + 1)
            consume();
        if (has_b)
            publish("b", b);
        if (i == ROUNDS / 2)
            (void)answered(API "STREAM.UPDATE.A",
                           "{\"name\":\"A\",\"subjects\":[\"a\"],\"description\":\"new\"}");
    }
    if (answered(API "STREAM.CREATE.C", "{\"name\":\"C\"}"))
        (void)answered(API "STREAM.DELETE.C", "");
}

static void what_was_acknowledged_is_there(const char *point, int n)
{
    struct tally a = {0}, b = {0};
    char spec[32];

    jsscene_open(&s);
    assert_true(answered(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}"));
    assert_true(answered(API "CONSUMER.CREATE.A.C",
                         "{\"stream_name\":\"A\",\"config\":{\"durable_name\":\"C\","
                         "\"ack_policy\":\"explicit\"}}"));
    snprintf(spec, sizeof spec, "%s:%d", point, n);
    fault_set(spec);
    story(&a, &b);
    fault_set(NULL);
    fake_turn_advance(&s.ft, 60 * NS_PER_S); /* a full store looks for space now and then */
    publish("a", &a);                        /* and it goes on */
    assert_true(a.good >= 5);
    uint64_t in_a = messages("A"), in_b = messages("B");
    assert_int_equal(in_a, a.good);
    if (in_b != UINT64_MAX)
        assert_int_equal(in_b, b.good);
    consume();
    jsscene_restart(&s);
    consume();
    assert_int_equal(messages("A"), in_a);
    assert_int_equal(messages("B"), in_b);
    publish("a", &a);
    assert_int_equal(messages("A"), a.good);
    jsscene_close(&s);
}

static void each_commit_may_fail(void **state)
{
    (void)state;
    for (int n = 1; n <= 50; n++)
        what_was_acknowledged_is_there("commit", n);
}

static void the_disk_may_be_full(void **state)
{
    (void)state;
    for (int n = 1; n <= 10; n++)
        what_was_acknowledged_is_there("commit-space", n);
}

static void a_stream_that_could_not_be_deleted_is_what_it_was(void **state)
{
    struct tally a = {0};

    (void)state;
    jsscene_open(&s);
    assert_true(answered(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}"));
    assert_true(answered(API "CONSUMER.CREATE.A.C",
                         "{\"stream_name\":\"A\",\"config\":{\"durable_name\":\"C\","
                         "\"ack_policy\":\"explicit\"}}"));
    publish("a", &a);
    for (int i = 0; i < 2; i++) {
        consume();
        struct jshost_msg *acked = jshost_wait(&s.host, "_INBOX.acked");
        assert_non_null(acked);
        jshost_msg_free(acked);
    }
    fault_set("commit:1");
    assert_false(answered(API "STREAM.DELETE.A", ""));
    fault_set(NULL);
    fake_turn_advance(&s.ft, 60 * NS_PER_S);
    char *text = jsscene_ask(&s, API "CONSUMER.INFO.A.C", "");
    if (!strstr(text, "\"ack_floor\":{\"consumer_seq\":2,\"stream_seq\":2") ||
        !strstr(text, "\"num_pending\":3"))
        fail_msg("%s", text);
    free(text);
    jsscene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_commit_may_fail),
        cmocka_unit_test(the_disk_may_be_full),
        cmocka_unit_test(a_stream_that_could_not_be_deleted_is_what_it_was),
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

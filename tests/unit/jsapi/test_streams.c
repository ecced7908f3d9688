/* test_streams.c -- streams over restarts, in order, within limits; advisories, republish, the end
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake/jsscene.h"

#define API "$JS.API."

static struct jsscene s;

static int setup(void **state)
{
    (void)state;
    jsscene_open(&s);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    jsscene_close(&s);
    return 0;
}

static void create(const char *subject, const char *config)
{
    jsscene_expect(&s, subject, config, "\"did_create\":true");
}

/* What stands behind key in an answer, up to the next quote. */
static char *member(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key);
    return slice_dup(slice_of(at, strcspn(at, "\"")));
}

/* A mirror's may have 2^40 of them. */
static void of_very_many_deleted_messages_a_million_are_told(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a.>\"]}");
    jsscene_expect(&s, "a.1", "x", "{\"stream\":\"A\",\"seq\":1}");
    struct record_in rec = {.subject = SLICE("a.2"), .flags = REC_EXACT, .seq = 1ull << 40};
    struct stream *store = store_stream_find(s.store, SLICE("$G"), SLICE("A"));
    assert_int_equal(store_append(store, &rec, NULL, NULL), 0);
    jsscene_expect(&s, "a.3", "x", "{\"stream\":\"A\",\"seq\":1099511627777}");
    char *info = jsscene_ask(&s, API "STREAM.INFO.A", "{\"deleted_details\":true}");
    assert_non_null(strstr(info, "\"num_deleted\":1099511627774,\"deleted\":[2,3,4,"));
    assert_non_null(strstr(info, ",1000000,1000001],\"consumer_count\":0"));
    free(info);
}

static void a_stream_survives_a_restart(void **state)
{
    (void)state;
    create(
        API "STREAM.CREATE.A",
        "{\"name\":\"A\",\"subjects\":[\"a.>\"],\"description\":\"kept\",\"allow_direct\":true}");
    create(API "STREAM.CREATE.M", "{\"name\":\"M\",\"storage\":\"memory\"}");
    jsscene_expect(&s, "a.1", "x", "{\"stream\":\"A\",\"seq\":1}");
    fake_turn_advance(&s.ft, 5 * NS_PER_S);
    char *before = jsscene_ask(&s, API "STREAM.INFO.A", "");
    jsscene_restart(&s);
    char *after = jsscene_ask(&s, API "STREAM.INFO.A", "");
    char *a = member(before, "\"created\":\""), *b = member(after, "\"created\":\"");
    assert_string_equal(a, b);
    assert_non_null(strstr(after, "\"messages\":1,"));
    assert_non_null(strstr(after, "\"description\":\"kept\""));
    free(a);
    free(b);
    free(before);
    free(after);
    jsscene_expect(&s, "a.2", "y", "{\"stream\":\"A\",\"seq\":2}");
    jsscene_expect(&s, API "DIRECT.GET.A", "{\"seq\":1}", "x");
    jsscene_expect(&s, API "STREAM.NAMES", "", "\"streams\":[\"A\"]");
}

/* Nothing is run between the requests: each finds the one before it under way. */
static void requests_for_one_stream_take_turns(void **state)
{
    static const char *const steps[][3] = {
        {API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}", "\"did_create\":true"},
        {API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}", "\"did_create\":true"},
        {API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"b\"]}", "\"err_code\":10058"},
        {API "STREAM.CREATE.B", "{\"name\":\"B\",\"subjects\":[\"a\"]}", "\"err_code\":10065"},
        {API "STREAM.INFO.A", "", "\"subjects\":[\"a\"]"},
        {API "STREAM.UPDATE.A", "{\"name\":\"A\",\"subjects\":[\"b\"]}", "\"subjects\":[\"b\"]"},
        {API "STREAM.UPDATE.A", "{\"name\":\"A\",\"subjects\":[\"c\"]}", "\"subjects\":[\"c\"]"},
        {API "STREAM.PURGE.A", "", "\"purged\":0"},
        {API "STREAM.DELETE.A", "", "\"success\":true"},
        {API "STREAM.DELETE.A", "", "\"err_code\":10059"},
        {API "STREAM.INFO.A", "", "\"err_code\":10059"},
        {API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"d\"]}", "\"subjects\":[\"d\"]"},
    };
    char inbox[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        snprintf(inbox, sizeof inbox, "_INBOX.turn.%zu", i);
        assert_int_equal(jshost_send(&s.host, &s.account, steps[i][0], inbox, NULL, steps[i][1]),
                         1);
    }
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        snprintf(inbox, sizeof inbox, "_INBOX.turn.%zu", i);
        struct jshost_msg *m = jshost_wait(&s.host, inbox);
        assert_non_null(m);
        if (!strstr(m->text, steps[i][2]))
            fail_msg("%zu: %s\nwanted %s\nin     %s", i, steps[i][0], steps[i][2], m->text);
        jshost_msg_free(m);
    }
}

/* "inflight" is told of the server as a whole, never of an account. */
static void account_info_does_not_tell_what_is_under_way(void **state)
{
    (void)state;
    assert_int_equal(jshost_send(&s.host, &s.account, API "STREAM.CREATE.A", "_INBOX.create", NULL,
                                 "{\"name\":\"A\"}"),
                     1);
    assert_int_equal(jshost_send(&s.host, &s.account, API "INFO", "_INBOX.info", NULL, ""), 1);
    struct jshost_msg *m = jshost_wait(&s.host, "_INBOX.info");
    assert_non_null(m);
    assert_null(jshost_take(&s.host, "_INBOX.create")); /* it was under way */
    assert_non_null(strstr(m->text, "\"api\":{\"level\":"));
    assert_null(strstr(m->text, "inflight"));
    jshost_msg_free(m);
    jshost_msg_free(jshost_wait(&s.host, "_INBOX.create"));
}

static void a_new_interest_stream_tells_its_first_number_when_its_last_consumer_goes(void **state)
{
    static const char *const names[] = {"P", "Q"};
    char subject[64], config[64];

    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"retention\":\"interest\"}");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(subject, sizeof subject, API "CONSUMER.CREATE.A.%s", names[i]);
        snprintf(config, sizeof config,
                 "{\"stream_name\":\"A\",\"config\":{\"durable_name\":\"%s\"}}", names[i]);
        jsscene_expect(&s, subject, config, "\"created\":");
    }
    jsscene_expect(&s, API "CONSUMER.DELETE.A.P", "", "\"success\":true");
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"first_seq\":0,");
    jsscene_expect(&s, API "CONSUMER.DELETE.A.Q", "", "\"success\":true");
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"first_seq\":1,", "\"last_seq\":0,");
}

/* One that begins behind the end has settled nothing of what is there; one that is past it has. */
static void what_a_later_consumer_skips_stays_when_a_stream_becomes_one_of_interest(void **state)
{
    static const char *const starts[] = {"5", "2"}, *const left[] = {"\"messages\":1,",
                                                                     "\"messages\":0,"};
    char config[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}");
        snprintf(config, sizeof config,
                 "{\"stream_name\":\"A\",\"config\":{\"durable_name\":\"P\",\"deliver_policy\":"
                 "\"by_start_sequence\",\"opt_start_seq\":%s,\"ack_policy\":\"explicit\"}}",
                 starts[i]);
        jsscene_expect(&s, "a", "x", "\"seq\":1}");
        jsscene_expect(&s, API "CONSUMER.CREATE.A.P", config, "\"created\":");
        jsscene_expect(&s, API "STREAM.UPDATE.A",
                       "{\"name\":\"A\",\"subjects\":[\"a\"],\"retention\":\"interest\"}",
                       "\"retention\":\"interest\"");
        fake_turn_advance(&s.ft, NS_PER_S);
        jsscene_expect(&s, API "STREAM.INFO.A", "", left[i]);
        jsscene_expect(&s, API "STREAM.DELETE.A", "", "\"success\":true");
    }
}

static void nothing_stays_when_the_last_consumer_of_an_interest_stream_goes(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A",
           "{\"name\":\"A\",\"subjects\":[\"a\"],\"retention\":\"interest\"}");
    jsscene_expect(&s, API "CONSUMER.CREATE.A.P",
                   "{\"stream_name\":\"A\",\"config\":{\"durable_name\":\"P\",\"deliver_policy\":"
                   "\"by_start_sequence\",\"opt_start_seq\":12,\"ack_policy\":\"explicit\"}}",
                   "\"created\":");
    jsscene_expect(&s, "a", "x", "\"seq\":1}");
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"messages\":1,");
    jsscene_expect(&s, API "CONSUMER.DELETE.A.P", "", "\"success\":true");
    fake_turn_advance(&s.ft, NS_PER_S);
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"messages\":0,", "\"first_seq\":2,");
}

static void account_info_counts_the_consumers_of_copies(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}");
    jsscene_expect(&s, API "CONSUMER.CREATE.A",
                   "{\"stream_name\":\"A\",\"config\":{\"direct\":true,\"deliver_subject\":"
                   "\"_INBOX.copy\",\"ack_policy\":\"none\",\"flow_control\":true,"
                   "\"idle_heartbeat\":1000000000}}",
                   "\"created\":");
    jsscene_expect(&s, API "INFO", "", "\"consumers\":1,");
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"consumer_count\":0");
}

static void acks_wait_for_the_commit_and_come_in_order(void **state)
{
    char inbox[32], wanted[64];

    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}");
    for (int i = 0; i < 3000; i++) {
        snprintf(inbox, sizeof inbox, "_INBOX.ack.%d", i);
        assert_int_equal(jshost_send(&s.host, &s.account, "a", inbox, NULL, "payload"), 1);
    }
    assert_null(jshost_take(&s.host, "_INBOX.ack.*"));
    for (int i = 0; i < 3000; i++) {
        struct jshost_msg *m = jshost_wait(&s.host, "_INBOX.ack.*");
        assert_non_null(m);
        snprintf(wanted, sizeof wanted, "{\"stream\":\"A\",\"seq\":%d}", i + 1);
        assert_string_equal(m->text, wanted);
        jshost_msg_free(m);
    }
}

static void advisories_go_to_those_who_listen(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    assert_null(jshost_take(&s.host, "$JS.EVENT.>"));
    jshost_want(&s.host, "$JS.EVENT.ADVISORY.>");
    jsscene_expect(&s, API "STREAM.UPDATE.A", "{\"name\":\"A\",\"description\":\"d\"}",
                   "\"config\"");
    struct jshost_msg *m = jshost_wait(&s.host, "$JS.EVENT.ADVISORY.STREAM.UPDATED.A");
    assert_non_null(
        strstr(m->text, "{\"type\":\"io.nats.jetstream.advisory.v1.stream_action\",\"id\":\""));
    assert_non_null(strstr(m->text, "\"stream\":\"A\",\"action\":\"modify\"}"));
    jshost_msg_free(m);
    m = jshost_wait(&s.host, "$JS.EVENT.ADVISORY.API");
    assert_non_null(
        strstr(m->text, "{\"type\":\"io.nats.jetstream.advisory.v1.api_audit\",\"id\":\""));
    assert_non_null(strstr(
        m->text, "\"server\":\"fake\",\"client\":{\"acc\":\"$G\",\"id\":7},"
                 "\"subject\":\"$JS.API.STREAM.UPDATE.A\",\"request\":\"{\\\"name\\\":\\\"A\\\","));
    assert_non_null(strstr(m->text, "\"response\":\"{\\\"type\\\":"));
    jshost_msg_free(m);
    jsscene_expect(&s, API "STREAM.DELETE.A", "", "\"success\":true");
    m = jshost_wait(&s.host, "$JS.EVENT.ADVISORY.STREAM.DELETED.A");
    assert_non_null(strstr(m->text, "\"action\":\"delete\""));
    jshost_msg_free(m);
}

static bool two_stored(void *arg)
{
    struct jsapi_totals t;

    (void)arg;
    jsapi_totals(s.js, &t);
    return t.messages == 2;
}

static void a_stream_of_advisories_is_fed_by_its_own_creation_too(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.ADV",
           "{\"name\":\"ADV\",\"subjects\":[\"$JS.EVENT.ADVISORY.STREAM.>\"]}");
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    assert_true(fake_turn_wait(&s.ft, two_stored, NULL));
}

static void stored_messages_are_republished(void **state)
{
    (void)state;
    jshost_want(&s.host, "r.>");
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a.*\",\"b\"],\"republish\":{"
                                  "\"src\":\"a.*\",\"dest\":\"r.$1\"}}");
    free(jsscene_ask(&s, "b", "not this"));
    free(jsscene_ask(&s, "a.1", "one"));
    free(jsscene_ask_hdr(&s, "a.1", "NATS/1.0\r\nX: y\r\n\r\n", "two"));
    struct jshost_msg *m = jshost_wait(&s.host, "r.1");
    assert_string_equal(m->text, "one");
    jshost_msg_free(m);
    m = jshost_wait(&s.host, "r.1");
    assert_string_equal(m->text, "two");
    char *hdr = slice_dup(m->hdr);
    assert_ptr_equal(
        strstr(hdr,
               "NATS/1.0\r\nX: y\r\nNats-Stream: A\r\nNats-Subject: a.1\r\nNats-Sequence: 3\r\n"),
        hdr);
    assert_non_null(strstr(hdr, "\r\nNats-Last-Sequence: 2\r\n\r\n"));
    free(hdr);
    jshost_msg_free(m);
    jsscene_expect(
        &s, API "STREAM.UPDATE.A",
        "{\"name\":\"A\",\"subjects\":[\"a.*\"],\"republish\":{\"src\":\"a.*\",\"dest\":\"r.$1\","
        "\"headers_only\":true}}",
        "\"headers_only\":true");
    free(jsscene_ask(&s, "a.1", "three"));
    m = jshost_wait(&s.host, "r.1");
    assert_string_equal(m->text, "");
    assert_true(slice_search(m->hdr, SLICE("Nats-Msg-Size: 5\r\n")) < m->hdr.n);
    jshost_msg_free(m);
}

/* The bucket keeps one of them, and all of them come in one batch. */
static void what_a_limit_takes_at_once_is_republished(void **state)
{
    char body[16];

    (void)state;
    jshost_want(&s.host, "r.>");
    create(API "STREAM.CREATE.A",
           "{\"name\":\"A\",\"subjects\":[\"a.*\"],\"max_msgs_per_subject\":1,"
           "\"republish\":{\"src\":\"a.*\",\"dest\":\"r.$1\"}}");
    for (int i = 1; i <= 9; i++) {
        (void)snprintf(body, sizeof body, "%d", i);
        assert_int_equal(jshost_send(&s.host, &s.account, "a.1", NULL, NULL, body), 1);
    }
    for (int i = 1; i <= 9; i++) {
        struct jshost_msg *m = jshost_wait(&s.host, "r.1");
        char *hdr = slice_dup(m->hdr), want[64];
        (void)snprintf(body, sizeof body, "%d", i);
        assert_string_equal(m->text, body);
        (void)snprintf(want, sizeof want, "\r\nNats-Sequence: %d\r\nNats-Time-Stamp: 2026-", i);
        assert_non_null(strstr(hdr, want));
        (void)snprintf(want, sizeof want, "\r\nNats-Last-Sequence: %d\r\n\r\n", i - 1);
        assert_non_null(strstr(hdr, want));
        free(hdr);
        jshost_msg_free(m);
    }
    assert_null(jshost_take(&s.host, "r.1"));
}

static void long_reply_subjects_are_answered(void **state)
{
    char inbox[600] = "_INBOX.";

    (void)state;
    memset(inbox + 7, 'x', sizeof inbox - 8);
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    assert_int_equal(jshost_send(&s.host, &s.account, "A", inbox, NULL, "x"), 1);
    struct jshost_msg *m = jshost_wait(&s.host, inbox);
    assert_string_equal(m->text, "{\"stream\":\"A\",\"seq\":1}");
    jshost_msg_free(m);
}

static void status_lines_are_not_stored(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    free(jsscene_ask_hdr(&s, "A", "NATS/1.0 503 No Responders\r\nA: b\r\n\r\n", "x"));
    free(jsscene_ask_hdr(&s, "A", "NATS/1.0\r\nNats-Request-Info: {}\r\nA: b\r\n\r\n", "x"));
    /* base64 of "NATS/1.0\r\nA: b\r\n\r\n" */
    jsscene_expect(&s, API "STREAM.MSG.GET.A", "{\"seq\":1}",
                   "\"hdrs\":\"TkFUUy8xLjANCkE6IGINCg0K\"");
    jsscene_expect(&s, API "STREAM.MSG.GET.A", "{\"seq\":2}",
                   "\"hdrs\":\"TkFUUy8xLjANCkE6IGINCg0K\"");
}

static void the_queue_has_an_end(void **state)
{
    (void)state;
    jshost_want(&s.host, "$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    for (int i = 0; i < 10001; i++)
        (void)jshost_send(&s.host, &s.account, API "INFO", "_INBOX.many", NULL, "");
    struct jshost_msg *m = jshost_wait(&s.host, "$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    assert_non_null(strstr(m->text, "\"dropped\":10001"));
    jshost_msg_free(m);
    assert_null(jshost_take(&s.host, "_INBOX.many"));
    jsscene_expect(&s, API "INFO", "", "account_info_response");
}

static void large_requests_fill_the_queue_sooner(void **state)
{
    enum { LARGE = 1 << 20 };
    (void)state;
    char *body = xmalloc(LARGE + 1);
    memset(body, ' ', LARGE);
    body[LARGE] = '\0';
    jshost_want(&s.host, "$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    for (int i = 0; i < 66; i++)
        (void)jshost_send(&s.host, &s.account, API "INFO", "_INBOX.many", NULL, body);
    free(body);
    struct jshost_msg *m = jshost_wait(&s.host, "$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    assert_non_null(strstr(m->text, "\"dropped\":66"));
    jshost_msg_free(m);
    jsscene_expect(&s, API "INFO", "", "account_info_response");
}

/* The answers that have come, in order, the first to _INBOX.many.<n>; where the next would go. */
static int many_heard(int n)
{
    for (struct jshost_msg *m; (m = jshost_take(&s.host, "_INBOX.many.*")); n++) {
        char reply[32];
        (void)snprintf(reply, sizeof reply, "_INBOX.many.%d", n);
        assert_true(slice_is(m->route, reply));
        jshost_msg_free(m);
    }
    return n;
}

/* By the real clock: it is what a portion goes by, and the fake one stands still in a turn. */
static void a_flood_of_requests_leaves_the_turn_to_others(void **state)
{
    enum { FLOOD = 5000 };
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\"]}");
    for (int i = 0; i < FLOOD; i++) {
        char reply[32];
        (void)snprintf(reply, sizeof reply, "_INBOX.many.%d", i);
        (void)jshost_send(&s.host, &s.account, API "STREAM.LIST", reply, NULL, "");
    }
    clock_unfake();
    (void)fake_turn_once(&s.ft);
    int n = many_heard(0);
    assert_in_range(n, 1, FLOOD - 1);
    fake_turn_run(&s.ft);
    assert_int_equal(many_heard(n), FLOOD);
}

/* Whatever is under way when the server stops is freed; the sanitizer looks. */
static void stopping_in_the_middle_of_everything(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"allow_direct\":true}");
    for (int i = 0; i < 10; i++)
        (void)jshost_send(&s.host, &s.account, "A", "_INBOX.x", NULL, "x");
    (void)jshost_send(&s.host, &s.account, API "STREAM.CREATE.B", "_INBOX.x", NULL,
                      "{\"name\":\"B\"}");
    (void)jshost_send(&s.host, &s.account, API "STREAM.INFO.B", "_INBOX.x", NULL, "");
    (void)jshost_send(&s.host, &s.account, API "STREAM.UPDATE.A", "_INBOX.x", NULL,
                      "{\"name\":\"A\",\"no_ack\":true}");
    (void)jshost_send(&s.host, &s.account, API "STREAM.PURGE.A", "_INBOX.x", NULL, "");
    (void)jshost_send(&s.host, &s.account, API "STREAM.INFO.A", "_INBOX.x", NULL,
                      "{\"subjects_filter\":\">\",\"deleted_details\":true}");
    (void)jshost_send(&s.host, &s.account, API "DIRECT.GET.A", "_INBOX.x", NULL,
                      "{\"multi_last\":[\">\"]}");
    (void)fake_turn_once(&s.ft);
    (void)jshost_send(&s.host, &s.account, API "STREAM.DELETE.A", "_INBOX.x", NULL, "");
    (void)jshost_send(&s.host, &s.account, API "DIRECT.GET.A", "_INBOX.x", NULL, "{\"seq\":1}");
    jsscene_restart(&s);
    jsscene_expect(&s, API "STREAM.NAMES", "", "\"streams\":[");
}

static void expect_header(const char *to, const char *start)
{
    struct jshost_msg *m = jshost_take(&s.host, to);
    assert_non_null(m);
    if (!slice_starts(m->hdr, slice_cstr(start)))
        fail_msg("on %s: %.*s", to, SLICE_FMT(m->hdr));
    jshost_msg_free(m);
}

static void deleting_answers_direct_gets(void **state)
{
    static const char *const asked[][2] = {
        {"_INBOX.one", "{\"seq\":1}"},
        {"_INBOX.batch", "{\"seq\":1,\"batch\":10,\"next_by_subj\":\"A\"}"},
        {"_INBOX.multi", "{\"multi_last\":[\">\"]}"}};
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"allow_direct\":true}");
    free(jsscene_ask(&s, "A", "x"));
    (void)jshost_send(&s.host, &s.account, API "STREAM.DELETE.A", "_INBOX.x", NULL, "");
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        (void)jshost_send(&s.host, &s.account, API "DIRECT.GET.A", asked[i][0], NULL, asked[i][1]);
    fake_turn_run(&s.ft);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        expect_header(asked[i][0], "NATS/1.0 404 Message Not Found");
}

static void deleting_ends_what_waits(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"allow_direct\":true}");
    free(jsscene_ask(&s, "A", "x"));
    (void)jshost_send(&s.host, &s.account, API "STREAM.INFO.A", "_INBOX.info", NULL,
                      "{\"subjects_filter\":\">\"}");
    (void)jshost_send(&s.host, &s.account, API "DIRECT.GET.A", "_INBOX.get", NULL,
                      "{\"multi_last\":[\">\"]}");
    jsscene_expect(&s, API "STREAM.DELETE.A", "", "\"success\":true");
    fake_turn_run(&s.ft);
    struct jshost_msg *m = jshost_take(&s.host, "_INBOX.info");
    assert_non_null(m);
    jshost_msg_free(m);
    assert_int_equal(jshost_send(&s.host, &s.account, "A", NULL, NULL, "x"), 0);
    assert_int_equal(
        jshost_send(&s.host, &s.account, API "DIRECT.GET.A", "_INBOX.get", NULL, "{\"seq\":1}"), 0);
}

static void subjects_come_and_go_with_an_update(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"subjects\":[\"a\",\"b\",\"c\"]}");
    jsscene_expect(&s, API "STREAM.UPDATE.A", "{\"name\":\"A\",\"subjects\":[\"c\",\"d\",\"a\"]}",
                   "\"subjects\":[\"c\",\"d\",\"a\"]");
    jsscene_expect(&s, "a", "x", "\"seq\":1}");
    jsscene_expect(&s, "c", "x", "\"seq\":2}");
    jsscene_expect(&s, "d", "x", "\"seq\":3}");
    assert_int_equal(jshost_send(&s.host, &s.account, "b", NULL, NULL, "x"), 0);
    jsscene_expect(&s, API "STREAM.INFO.A", "", "\"messages\":3,");
}

static void updates_at_once_make_no_cycle(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    create(API "STREAM.CREATE.B", "{\"name\":\"B\"}");
    (void)jshost_send(&s.host, &s.account, API "STREAM.UPDATE.A", "_INBOX.a", NULL,
                      "{\"name\":\"A\",\"subjects\":[\"A\"],\"sources\":[{\"name\":\"B\"}]}");
    jsscene_expect(&s, API "STREAM.UPDATE.B",
                   "{\"name\":\"B\",\"subjects\":[\"B\"],\"sources\":[{\"name\":\"A\"}]}",
                   "detected cycle");
}

/* --- with limits and a domain ----------------------------------------------------------------- */

static int setup_limited(void **state)
{
    (void)state;
    jsscene_init(&s);
    s.limits = (struct jsapi_limits){.max_memory = 0,
                                     .max_storage = 4096,
                                     .max_streams = 2,
                                     .max_consumers = 3,
                                     .max_ack_pending = -1};
    s.domain = SLICE("site");
    jsscene_start(&s);
    return 0;
}

static void limits_of_the_account(void **state)
{
    (void)state;
    jsscene_expect(&s, API "INFO", "",
                   "\"limits\":{\"max_memory\":0,\"max_storage\":4096,\"max_streams\":2,",
                   "\"max_consumers\":3,", "\"domain\":\"site\",\"api\":{\"level\":5,");
    jsscene_expect(&s, API "STREAM.CREATE.M", "{\"name\":\"M\",\"storage\":\"memory\"}",
                   "\"err_code\":10028");
    jsscene_expect(&s, API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_bytes\":5000}",
                   "\"err_code\":10047");
    jsscene_expect(&s, API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_consumers\":4}",
                   "\"err_code\":10026");
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_bytes\":3000}");
    jsscene_expect(&s, API "STREAM.CREATE.B", "{\"name\":\"B\",\"max_bytes\":2000}",
                   "\"err_code\":10047");
    create(API "STREAM.CREATE.B", "{\"name\":\"B\"}");
    jsscene_expect(&s, API "STREAM.CREATE.C", "{\"name\":\"C\"}", "\"err_code\":10027");
    jsscene_expect(&s, API "STREAM.UPDATE.B", "{\"name\":\"B\",\"max_bytes\":2000}",
                   "\"err_code\":10047");
    jsscene_expect(&s, API "STREAM.UPDATE.A", "{\"name\":\"A\",\"max_bytes\":4000}",
                   "\"domain\":\"site\"");
    jsscene_expect(&s, API "INFO", "", "\"reserved_storage\":4000,\"streams\":2,");
}

/* Both updates are under way at once: what the first one asked for is taken. */
static void updates_at_once_stay_within_the_account(void **state)
{
    (void)state;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_bytes\":1000}");
    create(API "STREAM.CREATE.B", "{\"name\":\"B\",\"max_bytes\":1000}");
    (void)jshost_send(&s.host, &s.account, API "STREAM.UPDATE.A", "_INBOX.a", NULL,
                      "{\"name\":\"A\",\"max_bytes\":3000}");
    jsscene_expect(&s, API "STREAM.UPDATE.B", "{\"name\":\"B\",\"max_bytes\":3000}",
                   "\"err_code\":10047");
    jsscene_expect(&s, API "STREAM.UPDATE.A", "{\"name\":\"A\",\"max_bytes\":3000}", "\"config\"");
    jsscene_expect(&s, API "INFO", "", "\"reserved_storage\":4000,\"streams\":2,");
}

static void publishing_beyond_the_account_is_refused(void **state)
{
    char payload[1001];

    (void)state;
    memset(payload, 'p', sizeof payload - 1);
    payload[sizeof payload - 1] = 0;
    create(API "STREAM.CREATE.A", "{\"name\":\"A\"}");
    for (int i = 0; i < 4; i++)
        jsscene_expect(&s, "A", payload, "{\"stream\":\"A\",\"domain\":\"site\",\"seq\":");
    jsscene_expect(&s, "A", payload, "\"err_code\":10002");
    jsscene_expect(&s, API "STREAM.PURGE.A", "", "\"purged\":4");
    jsscene_expect(&s, "A", payload, "\"seq\":5}");
}

static int setup_small(void **state)
{
    (void)state;
    jsscene_init(&s);
    s.max_storage = 10000;
    jsscene_start(&s);
    return 0;
}

/* As recorded from the genuine server with max_file: 10000. */
static void reservations_of_the_server(void **state)
{
    (void)state;
    jsscene_expect(&s, API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_bytes\":10001}",
                   "\"err_code\":10047");
    create(API "STREAM.CREATE.A", "{\"name\":\"A\",\"max_bytes\":8000}");
    jsscene_expect(&s, API "STREAM.CREATE.B", "{\"name\":\"B\",\"max_bytes\":2001}",
                   "\"err_code\":10047");
    create(API "STREAM.CREATE.B", "{\"name\":\"B\"}");
    create(API "STREAM.CREATE.C", "{\"name\":\"C\",\"max_bytes\":2000}");
    create(API "STREAM.CREATE.M", "{\"name\":\"M\",\"max_bytes\":20000,\"storage\":\"memory\"}");
    jsscene_expect(&s, API "STREAM.CREATE.D", "{\"name\":\"D\"}", "\"err_code\":10047");
    jsscene_expect(&s, API "STREAM.UPDATE.A", "{\"name\":\"A\",\"max_bytes\":9000}",
                   "\"err_code\":10047");
    jsscene_expect(&s, API "STREAM.UPDATE.B", "{\"name\":\"B\",\"description\":\"x\"}",
                   "\"config\"");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define L(name) cmocka_unit_test_setup_teardown(name, setup_limited, teardown)
    const struct CMUnitTest tests[] = {
        T(a_stream_survives_a_restart),
        T(requests_for_one_stream_take_turns),
        T(account_info_does_not_tell_what_is_under_way),
        T(a_new_interest_stream_tells_its_first_number_when_its_last_consumer_goes),
        T(what_a_later_consumer_skips_stays_when_a_stream_becomes_one_of_interest),
        T(nothing_stays_when_the_last_consumer_of_an_interest_stream_goes),
        T(account_info_counts_the_consumers_of_copies),
        T(acks_wait_for_the_commit_and_come_in_order),
        T(advisories_go_to_those_who_listen),
        T(a_stream_of_advisories_is_fed_by_its_own_creation_too),
        T(stored_messages_are_republished),
        T(what_a_limit_takes_at_once_is_republished),
        T(long_reply_subjects_are_answered),
        T(status_lines_are_not_stored),
        T(the_queue_has_an_end),
        T(large_requests_fill_the_queue_sooner),
        T(of_very_many_deleted_messages_a_million_are_told),
        T(a_flood_of_requests_leaves_the_turn_to_others),
        T(stopping_in_the_middle_of_everything),
        T(deleting_answers_direct_gets),
        T(deleting_ends_what_waits),
        T(subjects_come_and_go_with_an_update),
        T(updates_at_once_make_no_cycle),
        L(limits_of_the_account),
        L(updates_at_once_stay_within_the_account),
        L(publishing_beyond_the_account_is_refused),
        cmocka_unit_test_setup_teardown(reservations_of_the_server, setup_small, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

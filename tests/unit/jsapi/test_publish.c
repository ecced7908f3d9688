/* test_publish.c -- headers of a publish: what they ask of the store, and what refuses them
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "jsapi/publish.h"

static struct stream_config plain(void)
{
    struct stream_config c = {.name = SLICE("S"), .max_msg_size = -1, .allow_rollup_hdrs = true};
    return c;
}

static void refusals(void **state)
{
    static const struct {
        const char *hdr;
        int code;
        const char *text;
    } table[] = {
        {"Nats-Expected-Stream: T", JSStreamNotMatchErr, "expected stream does not match"},
        {"Nats-TTL: 1h", JSMessageTTLDisabledErr, "per-message TTL is disabled"},
        {"Nats-TTL: never", JSMessageTTLDisabledErr, "per-message TTL is disabled"},
        {"Nats-TTL: 0", JSMessageTTLInvalidErr, "invalid per-message TTL"},
        {"Nats-TTL: 999ms", JSMessageTTLInvalidErr, "invalid per-message TTL"},
        {"Nats-Incr: +1", JSMessageIncrDisabledErr, "message counters is disabled"},
        {"Nats-Incr: one", JSMessageIncrInvalidErr, "message counter increment is invalid"},
        {"Nats-Batch-Id: b", JSAtomicPublishDisabledErr, "atomic publish is disabled"},
        {"Nats-Schedule: @hourly", JSMessageSchedulesDisabledErr, "message schedules is disabled"},
        {"Nats-Stream-Source: S 1", JSMessageSourceHdrNotAllowedErr,
         "message stream source header is not allowed"},
        {"Nats-Expected-Last-Subject-Sequence-Subject: a", JSStreamExpectedLastSeqPerSubjectInvalid,
         "missing sequence for expected last sequence per subject"},
    };
    struct stream_config c = plain();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct record_in rec = {.subject = SLICE("s")};
        struct js_error e = {0};
        char hdr[200];
        int n = snprintf(hdr, sizeof hdr, "NATS/1.0\r\nOther: x\r\n%s\r\n\r\n", table[i].hdr);
        bool refused = !publish_check(&c, slice_of(hdr, (size_t)n), (struct slice){0}, &rec, &e);
        assert_true(refused || rec.flags == REC_REFUSED);
        assert_int_equal(e.code, table[i].code);
        assert_string_equal(e.text, table[i].text);
    }
}

static void sizes_and_seals_come_first(void **state)
{
    struct stream_config c = plain();
    struct record_in rec = {.subject = SLICE("s"), .payload = SLICE("12345")};
    struct js_error e;

    (void)state;
    c.max_msg_size = 5;
    assert_true(publish_check(&c, (struct slice){0}, (struct slice){0}, &rec, &e));
    assert_false(publish_check(&c, SLICE("NATS/1.0\r\n\r\n"), (struct slice){0}, &rec, &e));
    assert_int_equal(e.code, JSStreamMessageExceedsMaximumErr);
    c.sealed = true;
    assert_false(publish_check(&c, SLICE("NATS/1.0\r\n\r\n"), (struct slice){0}, &rec, &e));
    assert_int_equal(e.code, JSStreamSealedErr);

    char *big = xcalloc(1, 65536);
    c = plain();
    assert_false(publish_check(&c, slice_of(big, 65536), (struct slice){0}, &rec, &e));
    assert_int_equal(e.code, JSStreamHeaderExceedsMaximumErr);
    free(big);
    assert_false(
        publish_check(&c, (struct slice){0}, SLICE("_INBOX.a.b.500.ok.1.0.$FI"), &rec, &e));
    assert_int_equal(e.code, JSBatchPublishDisabledErr);
}

static void wishes_reach_the_record(void **state)
{
    struct stream_config c = plain();
    struct record_in rec = {.subject = SLICE("s")};
    struct js_error e;

    (void)state;
    assert_true(publish_check(
        &c,
        SLICE("NATS/1.0\r\nNats-Msg-Id: id\r\nNats-Msg-Id: second\r\n"
              "Nats-Expected-Last-Sequence: 7\r\nNats-Expected-Last-Subject-Sequence: junk\r\n"
              "Nats-Expected-Last-Subject-Sequence-Subject: a.*\r\n"
              "Nats-Expected-Last-Msg-Id: before\r\nNats-Rollup: ALL\r\nnats-ttl: 1\r\n\r\n"),
        (struct slice){0}, &rec, &e));
    assert_int_equal(rec.flags, REC_EXPECT_LAST_SEQ | REC_EXPECT_SUBJECT_SEQ | REC_EXPECT_MSG_ID |
                                    REC_ROLLUP_ALL);
    assert_true(slice_is(rec.msg_id, "id"));
    assert_int_equal(rec.expect_last_seq, 7);
    assert_true(rec.expect_subject_seq == UINT64_MAX);
    assert_true(slice_is(rec.expect_subject, "a.*"));
    assert_true(slice_is(rec.expect_msg_id, "before"));
}

/* What else is wrong is told before: the store looks first. */
static void a_roll_up_is_refused_last(void **state)
{
    struct stream_config c = plain();
    struct record_in rec = {.subject = SLICE("s")};
    struct js_error e = {0};

    (void)state;
    assert_true(publish_check(&c, SLICE("NATS/1.0\r\nNats-Rollup: x\r\n\r\n"), (struct slice){0},
                              &rec, &e));
    assert_true(rec.flags & REC_REFUSED);
    assert_string_equal(e.text, "rollup value invalid: \"x\"");
    c.deny_purge = true;
    rec.flags = 0;
    assert_true(publish_check(&c,
                              SLICE("NATS/1.0\r\nNats-Expected-Last-Sequence: 7\r\n"
                                    "Nats-Rollup: sub\r\n\r\n"),
                              (struct slice){0}, &rec, &e));
    assert_int_equal(rec.flags, REC_EXPECT_LAST_SEQ | REC_REFUSED);
    assert_int_equal(e.code, JSStreamRollupFailedF);
    assert_string_equal(e.text, "rollup not permitted");
}

static void a_schedule_is_refused_behind_expected_sequences_and_before_message_ids(void **state)
{
    struct stream_config c = plain();
    struct record_in rec = {.subject = SLICE("s")};
    struct js_error e = {0};

    (void)state;
    assert_true(publish_check(&c,
                              SLICE("NATS/1.0\r\nNats-Expected-Last-Sequence: 7\r\n"
                                    "Nats-Msg-Id: id\r\nNats-Expected-Last-Msg-Id: before\r\n"
                                    "Nats-Schedule: @every 1m\r\nNats-Rollup: sub\r\n\r\n"),
                              (struct slice){0}, &rec, &e));
    assert_int_equal(rec.flags, REC_EXPECT_LAST_SEQ | REC_REFUSED);
    assert_int_equal(rec.msg_id.n, 0);
    assert_int_equal(e.code, JSMessageSchedulesDisabledErr);
    rec = (struct record_in){.subject = SLICE("s")};
    assert_false(publish_check(&c,
                               SLICE("NATS/1.0\r\nNats-Expected-Stream: other\r\n"
                                     "Nats-TTL: 1h\r\nNats-Schedule: @every 1m\r\n\r\n"),
                               (struct slice){0}, &rec, &e));
    assert_int_equal(e.code, JSStreamNotMatchErr);
}

static void a_wrong_ttl_is_refused_last(void **state)
{
    struct stream_config c = plain();
    struct record_in rec = {.subject = SLICE("s")};
    struct js_error e = {0};

    (void)state;
    c.allow_rollup_hdrs = true;
    assert_true(publish_check(
        &c, SLICE("NATS/1.0\r\nNats-Msg-Id: id\r\nNats-Rollup: sub\r\nNats-TTL: junk\r\n\r\n"),
        (struct slice){0}, &rec, &e));
    assert_int_equal(rec.flags, REC_REFUSED);
    assert_true(slice_is(rec.msg_id, "id"));
    assert_int_equal(e.code, JSMessageTTLInvalidErr);
}

static void store_errors_become_answers(void **state)
{
    static const struct {
        struct store_receipt r;
        int code, status;
        const char *text;
    } table[] = {
        {{.err = E_LAST_SEQ, .last = 5},
         JSStreamWrongLastSequenceErrF,
         400,
         "wrong last sequence: 5"},
        {{.err = E_LAST_SUBJECT_SEQ, .last = 0},
         JSStreamWrongLastSequenceErrF,
         400,
         "wrong last sequence: 0"},
        {{.err = E_LAST_MSG_ID, .last_msg_id = SLICE_INIT("x")},
         JSStreamWrongLastMsgIDErrF,
         400,
         "wrong last msg ID: x"},
        {{.err = E_FULL}, JSStreamTooManyRequests, 429, "too many requests"},
        {{.err = E_SPACE}, JSInsufficientResourcesErr, 503, "insufficient resources"},
        {{.err = E_LIMIT},
         JSAccountResourcesExceededErr,
         400,
         "resource limits exceeded for account"},
        {{.err = E_MAX_MSGS}, JSStreamStoreFailedF, 503, "maximum messages exceeded"},
        {{.err = E_MAX_BYTES}, JSStreamStoreFailedF, 503, "maximum bytes exceeded"},
        {{.err = E_MAX_PER_SUBJECT},
         JSStreamStoreFailedF,
         503,
         "maximum messages per subject exceeded"},
        {{.err = E_IO}, JSStreamStoreFailedF, 503, "input/output error"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct js_error e;
        publish_store_error(&table[i].r, &e);
        assert_int_equal(e.code, table[i].code);
        assert_int_equal(e.status, table[i].status);
        assert_string_equal(e.text, table[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(sizes_and_seals_come_first),
        cmocka_unit_test(wishes_reach_the_record),
        cmocka_unit_test(a_roll_up_is_refused_last),
        cmocka_unit_test(a_schedule_is_refused_behind_expected_sequences_and_before_message_ids),
        cmocka_unit_test(a_wrong_ttl_is_refused_last),
        cmocka_unit_test(store_errors_become_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

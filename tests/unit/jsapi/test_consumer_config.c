/* tests/unit/jsapi/test_consumer_config.c -- defaults, rules and updates of a consumer's
 * configuration
 *
 * One line per broken rule: the config, the stream's retention, the code (and text) that must come
 * back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "jsapi/consumer_config.h"

#include "base/clock.h"

static struct slice subjects[] = {SLICE_INIT("orders.>")};

static struct stream_config stream_of(int retention)
{
    struct stream_config s = {.retention = retention, .num_replicas = 1};
    s.subjects = (struct cfg_strs){subjects, 1};
    return s;
}

static bool read_config(const char *json, struct consumer_request *q, struct js_error *e)
{
    json_t *obj;
    char *text = NULL;
    assert_true(asprintf(&text, "{\"stream_name\":\"S\",\"config\":%s}", json) > 0);
    assert_int_equal(json_read(slice_cstr(text), &obj, NULL), 0);
    bool ok = consumer_request_read(q, obj, true, e);
    json_free(obj);
    free(text);
    return ok;
}

static bool check(const char *json, int retention, bool pedantic, struct consumer_config *out,
                  struct js_error *e)
{
    struct consumer_request q;
    struct stream_config s = stream_of(retention);
    struct consumer_bounds b = {.stream = &s};
    *e = (struct js_error){0};
    bool ok = read_config(json, &q, e) && consumer_config_check(&q.config, &b, pedantic, e);
    if (out)
        *out = q.config;
    else
        consumer_config_release(&q.config);
    return ok;
}

static char *printed(const struct consumer_config *c)
{
    struct buf b = BUF_INIT;
    struct json_out j;
    json_begin(&j, &b);
    consumer_config_write(c, &j, NULL, false, (struct slice){0});
    return buf_steal(&b);
}

static void expect_printed(const char *in, const char *out)
{
    struct consumer_config c;
    struct js_error e;
    assert_true(check(in, RETAIN_LIMITS, false, &c, &e));
    char *text = printed(&c);
    assert_string_equal(text, out);
    free(text);
    consumer_config_release(&c);
}

static void defaults_are_the_reference_ones(void **state)
{
    (void)state;
    expect_printed(
        "{}",
        "{\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"max_deliver\":-1,\"replay_policy\":"
        "\"instant\",\"max_waiting\":512,\"num_replicas\":0}");
    expect_printed("{\"ack_policy\":\"explicit\"}",
                   "{\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"ack_wait\":"
                   "30000000000,\"max_deliver\":-1,"
                   "\"replay_policy\":\"instant\",\"max_waiting\":512,\"max_ack_pending\":1000,"
                   "\"num_replicas\":0}");
    expect_printed(
        "{\"ack_policy\":\"explicit\",\"backoff\":[1000000000,2000000000],\"max_deliver\":2}",
        "{\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"ack_wait\":1000000000,\"max_"
        "deliver\":2,"
        "\"backoff\":[1000000000,2000000000],\"replay_policy\":\"instant\",\"max_waiting\":512,"
        "\"max_ack_pending\":1000,\"num_replicas\":0}");
    expect_printed(
        "{\"deliver_subject\":\"d\",\"ack_policy\":\"flow_control\"}",
        "{\"deliver_policy\":\"all\",\"ack_policy\":\"flow_control\",\"max_deliver\":-1,\"replay_"
        "policy\":"
        "\"instant\",\"max_ack_pending\":1000,\"flow_control\":true,\"deliver_subject\":\"d\","
        "\"idle_heartbeat\":1000000000,\"num_replicas\":0}");
    expect_printed(
        "{\"max_waiting\":-3,\"max_batch\":-1,\"max_ack_pending\":-9,\"inactive_threshold\":-1}",
        "{\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"max_deliver\":-1,\"replay_policy\":"
        "\"instant\",\"max_waiting\":512,\"max_ack_pending\":-1,\"num_replicas\":0}");
}

static const struct bad {
    const char *json;
    int retention, code;
    const char *text; /* NULL: only the code */
} bad[] = {
    {"{\"name\":\"a.b\"}", RETAIN_LIMITS, 10052,
     "consumer name can not contain '.', '*', '>', '\\', '/'"},
    {"{\"durable_name\":\"a*\"}", RETAIN_LIMITS, 10052,
     "consumer durable name can not contain '.', '*', '>', '\\', '/'"},
    {"{\"num_replicas\":3}", RETAIN_LIMITS, 10126, NULL},
    {"{\"num_replicas\":-1}", RETAIN_LIMITS, 10133, NULL},
    {"{\"ack_policy\":\"explicit\",\"backoff\":[-1]}", RETAIN_LIMITS, 10184, NULL},
    {"{\"ack_wait\":-1}", RETAIN_LIMITS, 10183, NULL},
    {"{\"ack_policy\":\"flow_control\"}", RETAIN_LIMITS, 10218, NULL},
    {"{\"ack_policy\":\"flow_control\",\"deliver_subject\":\"d\",\"max_ack_pending\":-1}",
     RETAIN_LIMITS, 10220, NULL},
    {"{\"ack_policy\":\"flow_control\",\"deliver_subject\":\"d\",\"ack_wait\":1000}", RETAIN_LIMITS,
     10221, NULL},
    {"{\"ack_policy\":\"flow_control\",\"deliver_subject\":\"d\",\"max_deliver\":2}", RETAIN_LIMITS,
     10222, NULL},
    {"{\"ack_policy\":\"explicit\",\"backoff\":[1,2,3],\"max_deliver\":2}", RETAIN_LIMITS, 10116,
     NULL},
    {"{\"deliver_subject\":\"d.*\"}", RETAIN_LIMITS, 10079, NULL},
    {"{\"deliver_subject\":\"d..e\"}", RETAIN_LIMITS, 10112, NULL},
    {"{\"deliver_subject\":\"orders.x\"}", RETAIN_LIMITS, 10081, NULL},
    {"{\"deliver_subject\":\"d\",\"max_waiting\":1}", RETAIN_LIMITS, 10080, NULL},
    {"{\"deliver_subject\":\"d\",\"max_ack_pending\":1}", RETAIN_LIMITS, 10082, NULL},
    {"{\"deliver_subject\":\"d\",\"idle_heartbeat\":1000}", RETAIN_LIMITS, 10083, NULL},
    {"{}", RETAIN_WORKQUEUE, 10084, NULL},
    {"{\"rate_limit_bps\":1}", RETAIN_LIMITS, 10086, NULL},
    {"{\"idle_heartbeat\":1000000000}", RETAIN_LIMITS, 10088, NULL},
    {"{\"flow_control\":true}", RETAIN_LIMITS, 10089, NULL},
    {"{\"max_expires\":1000}", RETAIN_LIMITS, 10115, NULL},
    {"{\"direct\":true}", RETAIN_LIMITS, 10090, NULL},
    {"{\"direct\":true,\"deliver_subject\":\"d\",\"durable_name\":\"x\"}", RETAIN_LIMITS, 10091,
     NULL},
    {"{\"filter_subject\":\"a\",\"filter_subjects\":[\"b\"]}", RETAIN_LIMITS, 10136, NULL},
    {"{\"filter_subject\":\"a..b\"}", RETAIN_LIMITS, 10052, "invalid subject"},
    {"{\"filter_subjects\":[\"a\",\"\"]}", RETAIN_LIMITS, 10139, NULL},
    {"{\"filter_subjects\":[\"a.b\",\"a.*\"]}", RETAIN_LIMITS, 10138, NULL},
    {"{\"opt_start_seq\":2}", RETAIN_LIMITS, 10094,
     "consumer delivery policy is deliver all, but optional start sequence is also set"},
    {"{\"deliver_policy\":\"last_per_subject\"}", RETAIN_LIMITS, 10094,
     "consumer delivery policy is deliver last per subject, but optional filter subject is not "
     "set"},
    {"{\"deliver_policy\":\"by_start_sequence\"}", RETAIN_LIMITS, 10094,
     "consumer delivery policy is deliver by start sequence, but optional start sequence is not "
     "set"},
    {"{\"deliver_policy\":\"by_start_time\"}", RETAIN_LIMITS, 10094,
     "consumer delivery policy is deliver by start time, but optional start time is not set"},
    {"{\"sample_freq\":\"x%\"}", RETAIN_LIMITS, 10095, NULL},
    {"{\"deliver_subject\":\"d\",\"flow_control\":true}", RETAIN_LIMITS, 10108, NULL},
    {"{\"durable_name\":\"a\",\"name\":\"b\"}", RETAIN_LIMITS, 10132, NULL},
    {"{\"priority_groups\":[\"g\"]}", RETAIN_LIMITS, 10196, NULL},
    {"{\"priority_timeout\":5}", RETAIN_LIMITS, 10197, NULL},
    {"{\"priority_policy\":\"overflow\"}", RETAIN_LIMITS, 10159, NULL},
    {"{\"priority_policy\":\"overflow\",\"priority_groups\":[\"\"]}", RETAIN_LIMITS, 10161, NULL},
    {"{\"priority_policy\":\"overflow\",\"priority_groups\":[\"a b\"]}", RETAIN_LIMITS, 10162,
     NULL},
    {"{\"priority_policy\":\"overflow\",\"priority_groups\":[\"g\"],\"deliver_subject\":\"d\"}",
     RETAIN_LIMITS, 10178, NULL},
    {"{\"ack_policy\":\"sometimes\"}", RETAIN_LIMITS, 10025, NULL},
    {"{\"colour\":\"red\"}", RETAIN_LIMITS, 10025, "invalid JSON: json: unknown field \"colour\""},
};

static void each_broken_rule_has_its_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct js_error e;
        if (check(bad[i].json, bad[i].retention, false, NULL, &e) || (int)e.code != bad[i].code)
            fail_msg("%s: got %d %s, not %d", bad[i].json, (int)e.code, e.text, bad[i].code);
        if (bad[i].text)
            assert_string_equal(e.text, bad[i].text);
    }
}

static void good_ones_pass(void **state)
{
    static const char *const good[] = {
        "{\"filter_subjects\":[\"a.*.c\",\"a.b.*\"]}",
        "{\"filter_subject\":\"nothing.here\"}",
        "{\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\">\"}",
        "{\"deliver_policy\":\"undefined\"}",
        "{\"sample_freq\":\"30%\",\"ack_policy\":\"all\"}",
        ("{\"deliver_subject\":\"d\",\"flow_control\":true,"
         "\"idle_heartbeat\":5000000000,\"max_deliver\":1}"),
    };
    struct js_error e;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!check(good[i], RETAIN_LIMITS, false, NULL, &e))
            fail_msg("%s: %d %s", good[i], (int)e.code, e.text);
}

static void a_pedantic_client_hears_of_every_change(void **state)
{
    struct js_error e;
    (void)state;
    assert_false(check("{\"max_deliver\":-5}", RETAIN_LIMITS, true, NULL, &e));
    assert_int_equal(e.code, 10157);
    assert_string_equal(e.text, "pedantic mode: max_deliver must be set to -1");
    assert_false(
        check("{\"ack_policy\":\"explicit\",\"backoff\":[5]}", RETAIN_LIMITS, true, NULL, &e));
    assert_string_equal(e.text, "pedantic mode: first backoff value has to equal batch AckWait");
}

static const struct {
    const char *from, *to, *text;
    bool bound;
    int code;
} updates[] = {
    {"{}", "{\"description\":\"x\",\"max_batch\":5,\"filter_subject\":\"a\"}", NULL, false, 0},
    {"{}", "{\"deliver_policy\":\"new\"}", "deliver policy can not be updated", false, 10012},
    {"{}", "{\"mem_storage\":true}", "storage type can not be updated", false, 10012},
    {"{}", "{\"ack_policy\":\"all\"}", "ack policy can not be updated", false, 10012},
    {"{}", "{\"replay_policy\":\"original\"}", "replay policy can not be updated", false, 10012},
    {"{}", "{\"max_waiting\":7}", "max waiting can not be updated", false, 10012},
    {"{}", "{\"deliver_subject\":\"d\"}", "can not update pull consumer to push based", false,
     10012},
    {"{\"deliver_subject\":\"d\"}", "{}", "can not update push consumer to pull based", false,
     10012},
    {"{\"deliver_subject\":\"d\"}", "{\"deliver_subject\":\"e\"}", NULL, false, 0},
    {"{\"deliver_subject\":\"d\"}", "{\"deliver_subject\":\"e\"}", NULL, true, 10013},
    {"{\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":2}",
     "{\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":3}",
     "start sequence can not be updated", false, 10012},
};

static void updates_change_what_they_may(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(updates); i++) {
        struct consumer_config a, b;
        struct js_error e = {0};
        assert_true(check(updates[i].from, RETAIN_LIMITS, false, &a, &e));
        assert_true(check(updates[i].to, RETAIN_LIMITS, false, &b, &e));
        assert_int_equal(consumer_config_may_update(&a, &b, updates[i].bound, &e),
                         updates[i].code == 0);
        assert_int_equal(e.code, updates[i].code);
        if (updates[i].text)
            assert_string_equal(e.text, updates[i].text);
        consumer_config_release(&a);
        consumer_config_release(&b);
    }
}

static void a_copy_is_equal_and_its_own(void **state)
{
    struct consumer_config a, b;
    struct js_error e;
    (void)state;
    assert_true(check(
        "{\"durable_name\":\"d\",\"filter_subjects\":[\"a\",\"b\"],\"metadata\":{\"k\":\"v\"},"
        "\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"2026-11-21T12:11:31."
        "947255804Z\","
        "\"ack_policy\":\"explicit\",\"backoff\":[1,2],\"max_deliver\":5}",
        RETAIN_LIMITS, false, &a, &e));
    consumer_config_copy(&a, &b);
    assert_true(consumer_config_equal(&a, &b));
    char *x = printed(&a), *y = printed(&b);
    consumer_config_release(&a);
    assert_string_equal(x, y);
    assert_int_equal(b.opt_start_time.ns % NS_PER_S, 947255804);
    free(x);
    free(y);
    consumer_config_release(&b);
}

static void a_time_beyond_time_is_its_end(void **state)
{
    static const char *const beyond[][2] = {
        {"9999-12-31T23:59:59Z", "2262-04-11T23:47:16.854775807Z"},
        {"1600-01-01T00:00:00Z", "1677-09-21T00:12:43.145224193Z"},
        {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
        struct consumer_config c, again;
        char in[80];
        (void)snprintf(in, sizeof in, "{\"pause_until\":\"%s\"}", beyond[i][0]);
        consumer_config_init(&c);
        assert_int_equal(consumer_config_load(&c, slice_cstr(in)), 0);
        char *text = printed(&c);
        assert_non_null(strstr(text, beyond[i][1]));
        assert_int_equal(consumer_config_load(&again, slice_cstr(text)), 0);
        assert_int_equal(again.pause_until.ns, c.pause_until.ns);
        free(text);
        consumer_config_release(&c);
        consumer_config_release(&again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_reference_ones),
        cmocka_unit_test(a_time_beyond_time_is_its_end),
        cmocka_unit_test(each_broken_rule_has_its_code),
        cmocka_unit_test(good_ones_pass),
        cmocka_unit_test(a_pedantic_client_hears_of_every_change),
        cmocka_unit_test(updates_change_what_they_may),
        cmocka_unit_test(a_copy_is_equal_and_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

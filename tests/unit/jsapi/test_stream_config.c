/* test_stream_config.c -- configs through the field tables: there and back, misfits, comparing,
 * rules
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "jsapi/stream_config.h"

static bool read_config(const char *text, struct stream_config *c, struct js_error *e)
{
    json_t *obj = NULL;

    stream_config_init(c);
    assert_int_equal(json_read(slice_cstr(text), &obj, NULL), 0);
    bool ok = stream_config_read(c, obj, true, e);
    json_free(obj);
    return ok;
}

static char *print_config(const struct stream_config *c, bool live)
{
    struct buf out = BUF_INIT;
    struct json_out j;

    json_begin(&j, &out);
    stream_config_write(c, &j, NULL, live, SLICE("2.15.2"));
    return buf_steal(&out);
}

/* Everything a config can say, in nats-server's order: printed as it was read. */
static const char everything[] =
    "{\"name\":\"B\",\"description\":\"d\",\"subjects\":[\"b.*\",\"c\"],\"retention\":\"interest\","
    "\"max_consumers\":5,\"max_msgs\":7,\"max_bytes\":1000,\"max_age\":1000000000,\"max_msgs_per_"
    "subject\":3,"
    "\"max_msg_size\":100,\"discard\":\"new\",\"storage\":\"memory\",\"num_replicas\":1,\"no_ack\":"
    "true,"
    "\"duplicate_window\":500000000,\"placement\":{\"cluster\":\"c\",\"tags\":[\"t\"]},\"mirror\":{"
    "\"name\":\"M\","
    "\"opt_start_seq\":9,\"opt_start_time\":\"2026-11-21T12:11:31.947255804Z\",\"filter_subject\":"
    "\"x\","
    "\"subject_transforms\":[{\"src\":\"a\",\"dest\":\"b\"}],\"external\":{\"api\":\"$JS.hub.API\","
    "\"deliver\":\"\"},"
    "\"consumer\":{\"name\":\"n\",\"deliver_subject\":\"d\"}},\"sources\":[{\"name\":\"S\"},{"
    "\"name\":\"T\"}],"
    "\"compression\":\"s2\",\"first_seq\":10,\"subject_transform\":{\"src\":\"b.*\",\"dest\":\"d.$"
    "1\"},"
    "\"republish\":{\"src\":\"b\",\"dest\":\"r\",\"headers_only\":true},\"allow_direct\":true,"
    "\"mirror_direct\":true,"
    "\"discard_new_per_subject\":true,\"sealed\":true,\"deny_delete\":true,\"deny_purge\":true,"
    "\"allow_rollup_hdrs\":true,\"consumer_limits\":{\"inactive_threshold\":5,\"max_ack_pending\":"
    "7},"
    "\"allow_msg_ttl\":true,\"subject_delete_marker_ttl\":3,\"allow_msg_counter\":true,\"allow_"
    "atomic\":true,"
    "\"allow_msg_schedules\":true,\"persist_mode\":\"async\",\"allow_batched\":true,"
    "\"metadata\":{\"a\":\"1\",\"z\":\"2\"}}";

static void all_members_go_both_ways(void **state)
{
    struct stream_config c, copy;
    struct js_error e;

    (void)state;
    assert_true(read_config(everything, &c, &e));
    char *text = print_config(&c, false);
    assert_string_equal(text, everything);
    free(text);
    stream_config_copy(&c, &copy);
    assert_true(stream_config_equal(&c, &copy));
    copy.max_msgs++;
    assert_false(stream_config_equal(&c, &copy));
    stream_config_release(&copy);
    stream_config_release(&c);
}

static void misfits_are_told_as_go_tells_them(void **state)
{
    static const struct {
        const char *text, *why;
    } table[] = {
        {"{\"nonsense\":1}", "invalid JSON: json: unknown field \"nonsense\""},
        {"[]", "invalid JSON: json: cannot unmarshal array into Go value of type "
               "server.StreamConfigRequest"},
        {"{\"max_msgs\":\"x\"}", "invalid JSON: json: cannot unmarshal string into Go struct field "
                                 "StreamConfigRequest.StreamConfig.max_msgs of type int64"},
        {"{\"max_msg_size\":3000000000}",
         "invalid JSON: json: cannot unmarshal number 3000000000 into Go struct "
         "field StreamConfigRequest.StreamConfig.max_msg_size of type int32"},
        {"{\"first_seq\":-1}",
         "invalid JSON: json: cannot unmarshal number -1 into Go struct field "
         "StreamConfigRequest.StreamConfig.first_seq of type uint64"},
        {"{\"retention\":\"x\"}", "invalid JSON: can not unmarshal \"\\\"x\\\"\""},
        {"{\"subjects\":[1]}", "invalid JSON: json: cannot unmarshal number into Go struct field "
                               "StreamConfigRequest.StreamConfig.subjects of type []string"},
        {"{\"mirror\":{\"nome\":\"x\"}}", "invalid JSON: json: unknown field \"nome\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct stream_config c;
        struct js_error e;
        assert_false(read_config(table[i].text, &c, &e));
        assert_int_equal(e.code, JSInvalidJSONErr);
        assert_string_equal(e.text, table[i].why);
        stream_config_release(&c);
    }
}

static void names_match_without_case_and_null_is_absent(void **state)
{
    struct stream_config c;
    struct js_error e;

    (void)state;
    assert_true(
        read_config("{\"Name\":\"X\",\"MAX_MSGS\":4,\"mirror\":null,\"subjects\":null}", &c, &e));
    assert_true(slice_is(c.name, "X"));
    assert_int_equal(c.max_msgs, 4);
    assert_null(c.mirror);
    stream_config_release(&c);
}

static void metadata_of_the_server_is_kept_apart(void **state)
{
    struct stream_config c, d;
    struct stream_bounds none = {0};
    struct js_error e;

    (void)state;
    assert_true(read_config(
        "{\"name\":\"X\",\"metadata\":{\"k\":\"v\",\"_nats.ver\":\"9\",\"_nats.level\":\"9\","
        "\"_nats.req.level\":\"9\"},\"persist_mode\":\"async\"}",
        &c, &e));
    assert_true(stream_config_check(&c, &none, &e));
    assert_true(slice_is(cfg_map_get(&c.metadata, SLICE("_nats.req.level")), "2"));
    assert_int_equal(c.metadata.n, 2);
    char *text = print_config(&c, true);
    assert_non_null(strstr(
        text,
        "\"metadata\":{\"_nats.level\":\"5\",\"_nats.req.level\":\"2\",\"_nats.ver\":\"2.15.2\","
        "\"k\":\"v\"}"));
    free(text);
    assert_true(read_config(
        "{\"name\":\"X\",\"metadata\":{\"k\":\"v\"},\"persist_mode\":\"async\"}", &d, &e));
    assert_true(stream_config_check(&d, &none, &e));
    assert_true(stream_config_equal(&c, &d));
    stream_config_release(&c);
    stream_config_release(&d);
}

/* --- rules that need another stream or a server's limits -------------------------------------- */

static struct stream_config others[3];
static size_t n_others;

static const struct stream_config *find(void *arg, struct slice name)
{
    (void)arg;
    for (size_t i = 0; i < n_others; i++)
        if (slice_eq(others[i].name, name))
            return &others[i];
    return NULL;
}

static void rules_about_other_streams(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *why;
    } table[] = {
        {"{\"name\":\"C\",\"sources\":[{\"name\":\"A\"}]}", JSStreamInvalidConfigF,
         "detected cycle"},
        {"{\"name\":\"C\",\"mirror\":{\"name\":\"A\"}}", JSStreamInvalidConfigF, "detected cycle"},
        {"{\"name\":\"D\",\"mirror\":{\"name\":\"B\"},\"max_msg_size\":10}",
         JSMirrorMaxMessageSizeTooBigErr, "stream mirror must have max message size >= source"},
        {"{\"name\":\"D\",\"sources\":[{\"name\":\"B\"}],\"max_msg_size\":10}",
         JSSourceMaxMessageSizeTooBigErr, "stream source must have max message size >= target"},
        {"{\"name\":\"D\",\"mirror\":{\"name\":\"B\"},\"pedantic\":true}", JSPedanticErrF,
         "pedantic mode: origin stream has direct get set, mirror has it disabled"},
        {"{\"name\":\"D\",\"duplicate_window\":20000000000}", JSStreamInvalidConfigF,
         "duplicates window can not be larger then server limit of 10s"},
        {"{\"name\":\"D\",\"pedantic\":true}", JSPedanticErrF,
         "pedantic mode: duplicate window limits are higher than current limits"},
    };
    struct stream_bounds b = {.duplicate_window_max = 10000000000, .other = find};
    struct js_error e;

    (void)state;
    assert_true(read_config("{\"name\":\"A\",\"sources\":[{\"name\":\"B\"}]}", &others[0], &e));
    assert_true(read_config(
        "{\"name\":\"B\",\"subjects\":[\"b\"],\"max_msg_size\":100,\"allow_direct\":true,"
        "\"sources\":[{\"name\":\"C\"}]}",
        &others[1], &e));
    n_others = 2;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct stream_config c;
        assert_true(read_config(table[i].text, &c, &e));
        assert_false(stream_config_check(&c, &b, &e));
        assert_string_equal(e.text, table[i].why);
        assert_int_equal(e.code, table[i].code);
        stream_config_release(&c);
    }
    struct stream_config c;
    assert_true(read_config("{\"name\":\"D\",\"mirror\":{\"name\":\"B\"}}", &c, &e));
    assert_true(stream_config_check(&c, &b, &e));
    assert_true(c.mirror_direct);
    assert_int_equal(c.duplicate_window, 0);
    stream_config_release(&c);
    stream_config_release(&others[0]);
    stream_config_release(&others[1]);
}

/* N sources elsewhere, each with its prefix (or all with one), N of what is here, which has as many
 * subjects. */
static void with_many_prefixes(bool one, const char *subject_tail, int code)
{
    enum { N = 3000 };
    struct stream_bounds b = {.other = find};
    struct buf text = BUF_INIT;
    struct stream_config c;
    struct js_error e = {0};
    buf_add_str(&text, "{\"name\":\"A\",\"subjects\":[");
    for (int i = 0; i < N; i++)
        buf_printf(&text, "%s\"a.%d%s\"", i ? "," : "", i, subject_tail);
    buf_add_str(&text, "]}");
    assert_true(read_config(buf_cstr(&text), &others[0], &e));
    n_others = 1;
    buf_clear(&text);
    buf_add_str(&text, "{\"name\":\"X\",\"sources\":[");
    for (int i = 0; i < N; i++)
        buf_printf(&text,
                   "%s{\"name\":\"E%d\",\"external\":{\"api\":\"$JS.h.API\",\"deliver\":\"p.%d\"}},"
                   "{\"name\":\"A\",\"filter_subject\":\"a.%d\"}",
                   i ? "," : "", i, one ? 0 : i, i);
    buf_add_str(&text, "]}");
    assert_true(read_config(buf_cstr(&text), &c, &e));
    assert_int_equal(stream_config_check(&c, &b, &e), !code);
    if (code)
        assert_int_equal(e.code, code);
    stream_config_release(&c);
    stream_config_release(&others[0]);
    buf_release(&text);
}

static void many_delivery_prefixes_take_bounded_looks(void **state)
{
    (void)state;
    with_many_prefixes(false, "", 0); /* no open end: none can meet */
    with_many_prefixes(true, ".>", 0);
    with_many_prefixes(false, ".>", JSStreamInvalidConfigF);
}

/* The first prefix that meets, and the first subject it meets. */
static void a_delivery_prefix_that_leads_back_is_named(void **state)
{
    static const char text[] =
        "{\"name\":\"X\",\"sources\":[{\"name\":\"A\"},"
        "{\"name\":\"E\",\"external\":{\"api\":\"$JS.h.API\",\"deliver\":\"p\"}},"
        "{\"name\":\"F\",\"external\":{\"api\":\"$JS.h.API\",\"deliver\":\"q.r\"}}]}";
    struct stream_bounds b = {.other = find};
    struct stream_config c;
    struct js_error e = {0};
    (void)state;
    assert_true(
        read_config("{\"name\":\"A\",\"subjects\":[\"p.q\",\"q.*\",\"p.p.x.>\",\"q.r.>\",\"q.>\"]}",
                    &others[0], &e));
    n_others = 1;
    assert_true(read_config(text, &c, &e));
    assert_false(stream_config_check(&c, &b, &e));
    assert_int_equal(e.code, JSStreamExternalDelPrefixOverlapsErrF);
    assert_non_null(strstr(e.text, "q.r"));
    stream_config_release(&c);
    stream_config_release(&others[0]);
}

static void sealing_forces_members(void **state)
{
    struct stream_config a, b;
    struct stream_bounds none = {0};
    struct js_error e;

    (void)state;
    assert_true(
        read_config("{\"name\":\"X\",\"max_age\":1000000000,\"allow_rollup_hdrs\":true}", &a, &e));
    assert_true(stream_config_check(&a, &none, &e));
    assert_true(read_config(
        "{\"name\":\"X\",\"max_age\":1000000000,\"allow_rollup_hdrs\":true,\"sealed\":true}", &b,
        &e));
    assert_true(stream_config_check(&b, &none, &e));
    assert_true(stream_config_may_update(&a, &b, &e));
    assert_true(b.deny_delete && b.deny_purge && !b.allow_rollup_hdrs && !b.max_age &&
                b.discard == DISCARD_NEW);
    assert_false(stream_config_may_update(&b, &a, &e));
    stream_config_release(&a);
    stream_config_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_members_go_both_ways),
        cmocka_unit_test(misfits_are_told_as_go_tells_them),
        cmocka_unit_test(names_match_without_case_and_null_is_absent),
        cmocka_unit_test(metadata_of_the_server_is_kept_apart),
        cmocka_unit_test(rules_about_other_streams),
        cmocka_unit_test(many_delivery_prefixes_take_bounded_looks),
        cmocka_unit_test(a_delivery_prefix_that_leads_back_is_named),
        cmocka_unit_test(sealing_forces_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Reading as leniently as Go does where peers rely on it, writing byte for byte as Go does.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"

static void keys_match_exactly_first_then_without_case(void **state)
{
    (void)state;
    json_t *j;
    assert_int_equal(
        json_read(SLICE("{\"NAME\":\"x\",\"name\":\"y\",\"n\":1,\"n\":-7,\"b\":true,\"f\":1.5}"),
                  &j, NULL),
        0);
    assert_true(slice_is(json_get_str(j, "name"), "y"));
    assert_true(slice_is(json_get_str(j, "NAME"), "x"));
    assert_true(slice_is(json_get_str(j, "Name"), "x"));
    assert_int_equal(json_get_int(j, "N", 3), -7);
    assert_int_equal(json_get_int(j, "name", 3), 3);
    assert_int_equal(json_get_int(j, "f", 3), 3);
    assert_true(json_get_bool(j, "B", false));
    assert_true(json_get_bool(j, "n", true));
    assert_null(json_key(j, "none"));
    assert_null(json_key(json_key(j, "n"), "x"));
    assert_int_equal(json_get_str(j, "n").n, 0);
    json_free(j);
}

static void nonsense_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "{",          "{}x", "{\"a\":}",
                                      "nul", "{\"a\":01}", "'a'", "[1,]"};
    json_t *j;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *why = NULL;
        assert_int_equal(json_read(slice_cstr(bad[i]), &j, &why), E_SYNTAX);
        assert_non_null(why);
        free(why);
    }
    struct buf b = BUF_INIT;
    for (int i = 0; i < 65; i++)
        buf_add_char(&b, '[');
    for (int i = 0; i < 65; i++)
        buf_add_char(&b, ']');
    assert_int_equal(json_read(buf_slice(&b), &j, NULL), E_TOOBIG);
    assert_int_equal(json_read(slice_of(b.data + 1, 128), &j, NULL), 0);
    json_free(j);
    buf_clear(&b);
    buf_printf(&b, "\"%0*d\"", 1 << 20, 0);
    assert_int_equal(json_read(buf_slice(&b), &j, NULL), E_TOOBIG);
    buf_release(&b);
    assert_int_equal(json_read(SLICE("\"[[[[\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                                     "[[[[[[[[[[[[[[[[[[[[[[[[[\""),
                               &j, NULL),
                     0);
    json_free(j);
}

static void broken_utf8_is_mended(void **state)
{
    (void)state;
    json_t *j;
    assert_int_equal(
        json_read(SLICE("{\"a\":\"x\xff\xc3\xa4\xed\xa0\x80\",\"z\":\"\\u0000\"}"), &j, NULL), 0);
    assert_true(slice_is(json_get_str(j, "a"),
                         "x\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    assert_int_equal(json_get_str(j, "z").n, 1);
    json_free(j);
}

static void output_is_escaped_and_punctuated(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j, NULL);
    json_str(
        &j, "s",
        SLICE("a\"\\/<>&\b\f\n\r\t\x01\x7f\xc3\xa4\xff\xe2\x80\xa8\xe2\x80\xa9\xf0\x9f\x98\x80"));
    json_u64(&j, "u", UINT64_MAX);
    json_i64(&j, "i", INT64_MIN);
    json_arr(&j, "a");
    json_bool(&j, NULL, true);
    json_nil(&j, NULL);
    json_obj(&j, NULL);
    json_end(&j);
    json_arr(&j, NULL);
    json_end(&j);
    json_end(&j);
    json_time(&j, "t", 1795263091947255804);
    json_raw(&j, "r", SLICE("{\"x\":1}"));
    json_obj(&j, "m");
    json_key_slice(&j, SLICE("k<1"));
    json_cstr(&j, NULL, "v");
    json_key_slice(&j, SLICE("k2"));
    json_obj(&j, NULL);
    json_end(&j);
    json_end(&j);
    json_end(&j);
    assert_string_equal(
        buf_cstr(&b),
        "{\"s\":\"a\\\"\\\\/"
        "\\u003c\\u003e\\u0026\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa4\\ufffd\\u2028\\u2029\xf0\x9f\x98"
        "\x80\","
        "\"u\":18446744073709551615,\"i\":-9223372036854775808,\"a\":[true,null,{},[]],"
        "\"t\":\"2026-11-21T12:11:31.947255804Z\",\"r\":{\"x\":1},\"m\":{\"k\\u003c1\":\"v\","
        "\"k2\":{}}}");
    buf_release(&b);
}

static void floats_are_short_and_read_back(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0, "0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {1e20, "100000000000000000000"},
        {1e21, "1e+21"},
        {9399814940939981494.0, "9399814940939980000"}, /* digits, then zeros, as Go has it */
        {1e-6, "0.000001"},
        {1e-7, "1e-7"},
        {1.0 / 3, "0.3333333333333333"},
        {123456789.125, "123456789.125"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {1.5e-10, "1.5e-10"},
        {100, "100"},
        {125552383689034596352.0, "125552383689034600000"},
        {-250668481993014432, "-250668481993014430"},
        {0.001234, "0.001234"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT;
        struct json_out j;
        json_begin(&j, &b);
        json_f64(&j, NULL, rows[i].v);
        assert_string_equal(buf_cstr(&b), rows[i].text);
        buf_release(&b);
    }
}

static void a_value_goes_out_as_it_came_in(void **state)
{
    (void)state;
    static const char text[] =
        "{\"b\":[1,2.5,\"x\\u003c\",null,true,false,{}],\"a\":{\"z\":[],\"y\":-3}}";
    json_t *v;
    struct buf b = BUF_INIT;
    struct json_out j;
    assert_int_equal(json_read(slice_cstr(text), &v, NULL), 0);
    json_begin(&j, &b);
    json_value(&j, NULL, v);
    assert_string_equal(buf_cstr(&b), text);
    json_free(v);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_match_exactly_first_then_without_case),
        cmocka_unit_test(nonsense_is_refused_with_a_reason),
        cmocka_unit_test(broken_utf8_is_mended),
        cmocka_unit_test(output_is_escaped_and_punctuated),
        cmocka_unit_test(floats_are_short_and_read_back),
        cmocka_unit_test(a_value_goes_out_as_it_came_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

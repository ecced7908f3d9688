/* Durations and times as Go reads and prints them; the standing clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

static void durations_are_read_as_go_reads_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int err;
        int64_t ns;
    } rows[] = {
        {"0", 0, 0},
        {"+0", 0, 0},
        {"0s", 0, 0},
        {"5s", 0, 5 * NS_PER_S},
        {"-5s", 0, -5 * NS_PER_S},
        {"1478s", 0, 1478 * NS_PER_S},
        {"1h30m", 0, 5400 * NS_PER_S},
        {"1.5s", 0, 1500 * NS_PER_MS},
        {".5s", 0, 500 * NS_PER_MS},
        {"1.s", 0, NS_PER_S},
        {"100ms", 0, 100 * NS_PER_MS},
        {"2us", 0, 2000},
        {"12\xc2\xb5s", 0, 12000},
        {"12\xce\xbcs", 0, 12000},
        {"3h30m0.5s", 0, 12600 * NS_PER_S + 500 * NS_PER_MS},
        {"39h9m14.425s", 0, 140954425 * NS_PER_MS},
        {"52763797000ns", 0, 52763797000},
        {"0.100000000000000000000h", 0, 360 * NS_PER_S},
        {"-1.h12.99999999999999999999999m", 0, -4379999999999},
        {"9223372036854775807ns", 0, INT64_MAX},
        {"-9223372036854775808ns", 0, INT64_MIN},
        {"9223372036854775808ns", E_RANGE, 0},
        {"9223372036854775.808us", E_RANGE, 0},
        {"3000000h", E_RANGE, 0},
        {"99999999999999999999s", E_RANGE, 0},
        {"", E_SYNTAX, 0},
        {"3", E_SYNTAX, 0},
        {"-", E_SYNTAX, 0},
        {"s", E_SYNTAX, 0},
        {".", E_SYNTAX, 0},
        {".s", E_SYNTAX, 0},
        {"1d", E_SYNTAX, 0},
        {"1s ", E_SYNTAX, 0},
        {"+-1s", E_SYNTAX, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = 0;
        int err = duration_parse(rows[i].text, strlen(rows[i].text), &ns);
        if (err != rows[i].err || ns != rows[i].ns)
            fail_msg("%s: %s, %lld", rows[i].text, err_name(err), (long long)ns);
    }
}

static void durations_are_printed_as_go_prints_them(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\xc2\xb5s"},
        {504000, "504\xc2\xb5s"},
        {2200000, "2.2ms"},
        {3300000000, "3.3s"},
        {120 * NS_PER_S, "2m0s"},
        {245001 * NS_PER_MS, "4m5.001s"},
        {18367001 * NS_PER_MS, "5h6m7.001s"},
        {480000000001, "8m0.000000001s"},
        {-1, "-1ns"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[40];
        assert_int_equal(duration_print(rows[i].ns, out), strlen(rows[i].text));
        assert_string_equal(out, rows[i].text);
    }
}

static int64_t parsed(const char *text, int want)
{
    int64_t ns = 77;
    int err = time_parse(text, strlen(text), &ns);
    if (err != want)
        fail_msg("%s: %s", text, err_name(err));
    return ns;
}

static void times_go_both_ways(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1795263091947255804, "2026-11-21T12:11:31.947255804Z"},
        {1795263091900000000, "2026-11-21T12:11:31.9Z"},
        {951782400000000000, "2000-02-29T00:00:00Z"},
        {4107542399000000000, "2100-02-28T23:59:59Z"},
        {-1, "1969-12-31T23:59:59.999999999Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
        {INT64_MIN + 1, "1677-09-21T00:12:43.145224193Z"},
        {INT64_MIN, "0001-01-01T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[40];
        assert_int_equal(time_print(rows[i].ns, out), strlen(rows[i].text));
        assert_string_equal(out, rows[i].text);
        assert_true(parsed(rows[i].text, 0) == rows[i].ns);
    }
    for (int64_t ns = 0; ns < 5000000000 * NS_PER_S / 2; ns += 86399 * 777 * NS_PER_S + 1234567) {
        char out[40];
        time_print(ns, out);
        assert_true(parsed(out, 0) == ns);
    }
}

static void a_time_is_printed_with_the_offset_it_was_said_with(void **state)
{
    (void)state;
    static const char *const same[] = {
        "2026-11-21T14:11:31.947255804+02:00",
        "1969-12-31T16:30:00.25-07:30",
        "1970-01-01T00:00:00+23:59",
        "2000-02-29T00:00:00Z",
        "0001-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char out[40];
        int64_t ns, offset;
        assert_int_equal(time_parse_at(same[i], strlen(same[i]), &ns, &offset), 0);
        assert_int_equal(time_print_at(ns, offset, out), strlen(same[i]));
        assert_string_equal(out, same[i]);
    }
    char out[40];
    time_print_at(INT64_MAX, 60, out); /* there is no such time there */
    assert_string_equal(out, "2262-04-11T23:47:16.854775807Z");
}

static void times_with_offsets_and_nonsense(void **state)
{
    (void)state;
    assert_true(parsed("1970-01-01T02:00:00+02:00", 0) == 0);
    assert_true(parsed("1969-12-31T16:30:00.25-07:30", 0) == 250 * NS_PER_MS);
    assert_true(parsed("1970-01-01T00:00:00.1234567899Z", 0) == 123456789);
    static const char *const bad[] = {
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00.Z",
        "1970-01-01 00:00:00Z",
        "1970-02-29T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00Zx",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+0100",
        "1970-1-01T00:00:00Z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        parsed(bad[i], E_SYNTAX);
    parsed("2262-04-11T23:47:16.854775808Z", E_RANGE);
    parsed("0001-01-02T00:00:00Z", E_RANGE);
    parsed("9999-12-31T23:59:59Z", E_RANGE);
}

static void a_fake_clock_stands_still(void **state)
{
    (void)state;
    clock_fake(5, 7);
    clock_tick();
    assert_int_equal(clock_mono(), 5);
    assert_int_equal(clock_wall(), 7);
    assert_int_equal(clock_mono_exact(), 5);
    assert_int_equal(clock_wall_exact(), 7);
    clock_unfake();
    assert_true(clock_wall() > 1700000000 * NS_PER_S);
    int64_t was = clock_mono();
    assert_true(clock_mono_exact() >= was);
    assert_true(clock_mono() == was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_as_go_reads_them),
        cmocka_unit_test(durations_are_printed_as_go_prints_them),
        cmocka_unit_test(times_go_both_ways),
        cmocka_unit_test(a_time_is_printed_with_the_offset_it_was_said_with),
        cmocka_unit_test(times_with_offsets_and_nonsense),
        cmocka_unit_test(a_fake_clock_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

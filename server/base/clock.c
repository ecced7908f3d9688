/* base/clock.c -- two clocks, Go's durations and RFC 3339; see clock.h
 *
 * The cached values are relaxed atomics: plain moves on the machines we know, and a thread that
 * looks at clock_wall_exact() in a test with a standing clock is no race.
 * Calendar arithmetic counts days in the proleptic Gregorian calendar from March on, so that the
 * leap day is the last of its year and needs no case of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/slice.h"

static _Atomic int64_t mono_now, wall_now; /* as of the last tick; 0: never ticked */
static atomic_bool faked;

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t load(_Atomic int64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void store(_Atomic int64_t *v, int64_t ns)
{
    atomic_store_explicit(v, ns, memory_order_relaxed);
}

static bool is_faked(void)
{
    return atomic_load_explicit(&faked, memory_order_relaxed);
}

void clock_tick(void)
{
    if (is_faked())
        return;
    store(&mono_now, read_clock(CLOCK_MONOTONIC));
    store(&wall_now, read_clock(CLOCK_REALTIME));
}

__attribute__((constructor)) static void first_tick(void)
{
    clock_tick();
}

int64_t clock_mono(void)
{
    return load(&mono_now);
}

int64_t clock_wall(void)
{
    return load(&wall_now);
}

int64_t clock_mono_exact(void)
{
    return is_faked() ? load(&mono_now) : read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_exact(void)
{
    return is_faked() ? load(&wall_now) : read_clock(CLOCK_REALTIME);
}

void clock_fake(int64_t mono_ns, int64_t wall_ns)
{
    store(&mono_now, mono_ns);
    store(&wall_now, wall_ns);
    atomic_store_explicit(&faked, true, memory_order_relaxed);
}

void clock_unfake(void)
{
    atomic_store_explicit(&faked, false, memory_order_relaxed);
    clock_tick();
}

/* --- durations ------------------------------------------------------------------------------- */

static const struct unit {
    struct slice name;
    int64_t ns;
} units[] = {
    {SLICE_INIT("ns"), 1},
    {SLICE_INIT("us"), NS_PER_US},
    {SLICE_INIT("\xc2\xb5s"), NS_PER_US}, /* micro sign */
    {SLICE_INIT("\xce\xbcs"), NS_PER_US}, /* Greek mu */
    {SLICE_INIT("ms"), NS_PER_MS},
    {SLICE_INIT("s"), NS_PER_S},
    {SLICE_INIT("m"), 60 * NS_PER_S},
    {SLICE_INIT("h"), 3600 * NS_PER_S},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t span_digits(struct slice s)
{
    size_t n = 0;
    while (n < s.n && is_digit(s.p[n]))
        n++;
    return n;
}

/* Cuts a unit off *rest; 0 when there is none. The name reaches to the next digit or dot. */
static int64_t take_unit(struct slice *rest)
{
    size_t n = 0;
    while (n < rest->n && !is_digit(rest->p[n]) && rest->p[n] != '.')
        n++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_eq(units[i].name, slice_head(*rest, n))) {
            *rest = slice_skip(*rest, n);
            return units[i].ns;
        }
    return 0;
}

/* "12.5m": adds its nanoseconds to *sum. Digits of the fraction beyond what a double holds don't
 * matter. */
static int take_part(struct slice *rest, uint64_t *sum)
{
    size_t whole_n = span_digits(*rest), frac_n = 0;
    struct slice whole = slice_head(*rest, whole_n), frac = {0};
    uint64_t v = 0;
    *rest = slice_skip(*rest, whole_n);
    if (rest->n && rest->p[0] == '.') {
        *rest = slice_skip(*rest, 1);
        frac_n = span_digits(*rest);
        frac = slice_head(*rest, frac_n);
        *rest = slice_skip(*rest, frac_n);
    }
    if (!whole_n && !frac_n)
        return E_SYNTAX;
    int64_t unit = take_unit(rest);
    if (!unit)
        return E_SYNTAX;
    if (whole_n && slice_u64(whole, &v))
        return E_RANGE;
    uint64_t part = 0, more; /* as many digits as Go takes, which is what decides the rounding */
    double scale = 1;
    for (size_t i = 0; i < frac.n && part <= (uint64_t)INT64_MAX / 10; i++) {
        more = part * 10 + (uint64_t)(frac.p[i] - '0');
        if (more > (uint64_t)INT64_MAX + 1)
            break;
        part = more;
        scale *= 10;
    }
    if (__builtin_mul_overflow(v, (uint64_t)unit, &v) ||
        __builtin_add_overflow(v, (uint64_t)((double)part * ((double)unit / scale)), &v) ||
        __builtin_add_overflow(*sum, v, sum) || *sum > (uint64_t)INT64_MAX + 1)
        return E_RANGE;
    return 0;
}

int duration_parse(const char *p, size_t n, int64_t *ns)
{
    struct slice rest = slice_of(p, n);
    bool minus = n && p[0] == '-';
    uint64_t sum = 0;
    if (n && (minus || p[0] == '+'))
        rest = slice_skip(rest, 1);
    if (!rest.n)
        return E_SYNTAX;
    if (!slice_is(rest, "0"))
        while (rest.n) {
            int err = take_part(&rest, &sum);
            if (err)
                return err;
        }
    if (sum > (uint64_t)INT64_MAX + (minus ? 1 : 0))
        return E_RANGE;
    *ns = minus ? (int64_t)(0 - sum) : (int64_t)sum;
    return 0;
}

/* Decimal number v, then the fraction frac of that many digits without trailing zeros. */
static char *put_decimal(char *out, uint64_t v, uint64_t frac, int digits)
{
    char text[20];
    int at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(out, text + at, sizeof text - (size_t)at);
    out += sizeof text - (size_t)at;
    if (!frac)
        return out;
    for (; frac % 10 == 0; digits--)
        frac /= 10;
    *out = '.';
    for (int i = digits; i > 0; i--, frac /= 10)
        out[i] = (char)('0' + frac % 10);
    return out + digits + 1;
}

static char *put_text(char *out, const char *text)
{
    size_t n = strlen(text);
    memcpy(out, text, n);
    return out + n;
}

size_t duration_print(int64_t ns, char *out)
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char *at = out;
    if (ns < 0)
        *at++ = '-';
    if (!v) {
        at = put_text(at, "0s");
    } else if (v < NS_PER_US) {
        at = put_text(put_decimal(at, v, 0, 0), "ns");
    } else if (v < NS_PER_MS) {
        at = put_text(put_decimal(at, v / NS_PER_US, v % NS_PER_US, 3), "\xc2\xb5s");
    } else if (v < NS_PER_S) {
        at = put_text(put_decimal(at, v / NS_PER_MS, v % NS_PER_MS, 6), "ms");
    } else {
        uint64_t seconds = v / NS_PER_S;
        if (seconds >= 3600)
            at = put_text(put_decimal(at, seconds / 3600, 0, 0), "h");
        if (seconds >= 60)
            at = put_text(put_decimal(at, seconds / 60 % 60, 0, 0), "m");
        at = put_text(put_decimal(at, seconds % 60, v % NS_PER_S, 9), "s");
    }
    *at = '\0';
    return (size_t)(at - out);
}

/* --- RFC 3339 -------------------------------------------------------------------------------- */

#define ZERO_TIME     "0001-01-01T00:00:00Z"
#define DAYS_PER_400Y 146097
#define DAYS_TO_1970  719468 /* from 0000-03-01 */

struct civil {
    int64_t year;
    int month, day; /* from 1 */
};

static int64_t days_of(struct civil c)
{
    int64_t y = c.month <= 2 ? c.year - 1 : c.year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (c.month > 2 ? c.month - 3 : c.month + 9) + 2) / 5 + c.day - 1;
    return era * DAYS_PER_400Y + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970;
}

static struct civil civil_of(int64_t days)
{
    days += DAYS_TO_1970;
    int64_t era = (days >= 0 ? days : days - (DAYS_PER_400Y - 1)) / DAYS_PER_400Y;
    int64_t of_era = days - era * DAYS_PER_400Y;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t march = (5 * of_year + 2) / 153;
    struct civil c;
    c.day = (int)(of_year - (153 * march + 2) / 5 + 1);
    c.month = (int)(march < 10 ? march + 3 : march - 9);
    c.year = year + era * 400 + (c.month <= 2 ? 1 : 0);
    return c;
}

static char *put_padded(char *out, int64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        out[i] = (char)('0' + v % 10);
    return out + digits;
}

size_t time_print(int64_t wall_ns, char *out)
{
    if (wall_ns == INT64_MIN) {
        memcpy(out, ZERO_TIME, sizeof ZERO_TIME);
        return sizeof ZERO_TIME - 1;
    }
    int64_t seconds = wall_ns / NS_PER_S, frac = wall_ns % NS_PER_S;
    if (frac < 0) {
        frac += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / 86400, of_day = seconds % 86400;
    if (of_day < 0) {
        of_day += 86400;
        days--;
    }
    struct civil c = civil_of(days);
    char *at = put_padded(out, c.year, 4);
    *at++ = '-';
    at = put_padded(at, c.month, 2);
    *at++ = '-';
    at = put_padded(at, c.day, 2);
    *at++ = 'T';
    at = put_padded(at, of_day / 3600, 2);
    *at++ = ':';
    at = put_padded(at, of_day / 60 % 60, 2);
    *at++ = ':';
    at = put_padded(at, of_day % 60, 2);
    if (frac) {
        *at++ = '.';
        at = put_padded(at, frac, 9);
        while (at[-1] == '0')
            at--;
    }
    at = put_text(at, "Z");
    *at = '\0';
    return (size_t)(at - out);
}

size_t time_print_at(int64_t wall_ns, int64_t offset_s, char *out)
{
    int64_t there, far = offset_s < 0 ? -offset_s : offset_s;
    if (!offset_s || wall_ns == INT64_MIN ||
        __builtin_add_overflow(wall_ns, offset_s * NS_PER_S, &there))
        return time_print(wall_ns, out);
    char *at = out + time_print(there, out) - 1; /* over the Z */
    *at++ = offset_s < 0 ? '-' : '+';
    at = put_padded(at, far / 3600, 2);
    *at++ = ':';
    at = put_padded(at, far / 60 % 60, 2);
    *at = '\0';
    return (size_t)(at - out);
}

/* Exactly `digits` digits and, if `end` is not 0, that character after them. */
static bool take_number(struct slice *rest, size_t digits, char end, int *v)
{
    size_t n = digits + (end ? 1 : 0);
    if (rest->n < n || span_digits(slice_head(*rest, digits)) != digits ||
        (end && rest->p[digits] != end))
        return false;
    *v = 0;
    for (size_t i = 0; i < digits; i++)
        *v = *v * 10 + (rest->p[i] - '0');
    *rest = slice_skip(*rest, n);
    return true;
}

static bool take_fraction(struct slice *rest, int64_t *ns)
{
    *ns = 0;
    if (!rest->n || rest->p[0] != '.')
        return true;
    *rest = slice_skip(*rest, 1);
    size_t n = span_digits(*rest);
    for (size_t i = 0; i < 9; i++)
        *ns = *ns * 10 + (i < n ? rest->p[i] - '0' : 0);
    *rest = slice_skip(*rest, n);
    return n > 0;
}

static bool take_offset(struct slice *rest, int64_t *seconds)
{
    int h, m;
    *seconds = 0;
    if (slice_is(*rest, "Z"))
        return true;
    if (!rest->n || (rest->p[0] != '+' && rest->p[0] != '-'))
        return false;
    bool minus = rest->p[0] == '-';
    *rest = slice_skip(*rest, 1);
    if (!take_number(rest, 2, ':', &h) || !take_number(rest, 2, '\0', &m) || rest->n || h > 23 ||
        m > 59)
        return false;
    *seconds = (minus ? -1 : 1) * ((int64_t)h * 3600 + (int64_t)m * 60);
    return true;
}

static int days_in_month(int year, int month)
{
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 ? 28 + leap : 30 + (month + month / 8) % 2;
}

int time_parse(const char *p, size_t n, int64_t *wall_ns)
{
    int64_t offset;
    return time_parse_at(p, n, wall_ns, &offset);
}

int time_parse_at(const char *p, size_t n, int64_t *wall_ns, int64_t *offset_s)
{
    struct slice rest = slice_of(p, n);
    int year, month, day, hour, minute, second;
    int64_t frac, offset, ns;
    *offset_s = 0;
    if (slice_is(rest, ZERO_TIME)) {
        *wall_ns = INT64_MIN;
        return 0;
    }
    if (!take_number(&rest, 4, '-', &year) || !take_number(&rest, 2, '-', &month) ||
        !take_number(&rest, 2, 'T', &day) || !take_number(&rest, 2, ':', &hour) ||
        !take_number(&rest, 2, ':', &minute) || !take_number(&rest, 2, '\0', &second) ||
        !take_fraction(&rest, &frac) || !take_offset(&rest, &offset))
        return E_SYNTAX;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return E_SYNTAX;
    int64_t days = days_of((struct civil){year, month, day});
    int64_t seconds = days * 86400 + (int64_t)hour * 3600 + (int64_t)minute * 60 + second - offset;
    /* The year 1677 begins with a negative whole second that alone would overflow. */
    if (seconds < 0 && frac) {
        seconds++;
        frac -= NS_PER_S;
    }
    if (__builtin_mul_overflow(seconds, NS_PER_S, &ns) || __builtin_add_overflow(ns, frac, &ns))
        return E_RANGE;
    *wall_ns = ns;
    *offset_s = offset;
    return 0;
}

/* base/slice.c -- borrowed bytes: the questions that are too long for the header; see slice.h
 *
 * Everything here is pure and knows no locale: only ASCII letters have a case.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/slice.h"

#include "base/err.h"
#include "base/mem.h"

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
    return is_blank(c) || c == '\r' || c == '\n';
}

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    if (order)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

size_t slice_find(struct slice a, char c)
{
    const char *at = a.n ? memchr(a.p, c, a.n) : NULL;
    return at ? (size_t)(at - a.p) : a.n;
}

size_t slice_search(struct slice a, struct slice what)
{
    if (!what.n)
        return 0;
    const char *at = a.n ? memmem(a.p, a.n, what.p, what.n) : NULL;
    return at ? (size_t)(at - a.p) : a.n;
}

struct slice slice_trim(struct slice a)
{
    while (a.n && is_space(a.p[0]))
        a = slice_skip(a, 1);
    while (a.n && is_space(a.p[a.n - 1]))
        a.n--;
    return a;
}

bool slice_token(struct slice *rest, struct slice *token)
{
    size_t from = 0;
    while (from < rest->n && is_blank(rest->p[from]))
        from++;
    size_t to = from;
    while (to < rest->n && !is_blank(rest->p[to]))
        to++;
    if (from == to) {
        *rest = slice_skip(*rest, to);
        return false;
    }
    *token = slice_of(rest->p + from, to - from);
    *rest = slice_skip(*rest, to);
    return true;
}

int slice_u64(struct slice a, uint64_t *out)
{
    uint64_t v = 0;
    bool range = false;
    if (!a.n)
        return E_SYNTAX;
    for (size_t i = 0; i < a.n; i++) {
        unsigned digit = (unsigned char)a.p[i] - (unsigned)'0';
        if (digit > 9)
            return E_SYNTAX;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, digit, &v))
            range = true;
    }
    if (range)
        return E_RANGE;
    *out = v;
    return 0;
}

int slice_i64(struct slice a, int64_t *out)
{
    bool minus = a.n && a.p[0] == '-';
    uint64_t v;
    if (a.n && (minus || a.p[0] == '+'))
        a = slice_skip(a, 1);
    int err = slice_u64(a, &v);
    if (err)
        return err;
    if (v > (uint64_t)INT64_MAX + (minus ? 1 : 0))
        return E_RANGE;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

char *slice_dup(struct slice a)
{
    char *s = xmalloc(a.n + 1);
    if (a.n)
        memcpy(s, a.p, a.n);
    s[a.n] = '\0';
    return s;
}

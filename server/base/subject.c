/* base/subject.c -- tokens, wildcards, matching; see subject.h
 *
 * Pure, no allocation, no locale. Matching walks both subjects once, byte by byte: tokens are
 * short, so a plain loop beats calls; only '*' uses memchr() to step over a token of the literal.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/subject.h"

/* The token at the front of *rest, which moves behind the dot; *rest.p is NULL after the last one.
 */
static struct slice cut_token(struct slice *rest)
{
    size_t n = slice_find(*rest, '.');
    struct slice token = slice_head(*rest, n);
    *rest = n < rest->n ? slice_skip(*rest, n + 1) : (struct slice){NULL, 0};
    return token;
}

static bool is_token(struct slice token, char c)
{
    return token.n == 1 && token.p[0] == c;
}

bool subject_valid(struct slice s)
{
    size_t tokens = 1, token_n = 0;
    bool last_is_full = false; /* the last whole token was '>' */
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.') {
            if (!token_n || last_is_full || ++tokens > SUBJECT_TOKENS_MAX)
                return false;
            token_n = 0;
            continue;
        }
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0')
            return false;
        token_n++;
        last_is_full = c == '>' && token_n == 1;
    }
    return token_n > 0;
}

bool subject_has_wildcard(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '*' || s.p[i] == '>') && (i == 0 || s.p[i - 1] == '.') &&
            (i + 1 == s.n || s.p[i + 1] == '.'))
            return true;
    return false;
}

bool subject_valid_literal(struct slice s)
{
    return subject_valid(s) && !subject_has_wildcard(s);
}

size_t subject_tokens(struct slice s)
{
    size_t n = s.n ? 1 : 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '.';
    return n;
}

struct slice subject_token(struct slice s, size_t i)
{
    while (s.p) {
        struct slice token = cut_token(&s);
        if (!i--)
            return token;
    }
    return (struct slice){NULL, 0};
}

bool subject_match(struct slice literal, struct slice pattern)
{
    if (!literal.n || !pattern.n)
        return false;
    const char *s = literal.p, *s_end = s + literal.n;
    const char *p = pattern.p, *p_end = p + pattern.n;
    bool at_start = true;
    while (p < p_end) {
        if (at_start && *p == '>' && p + 1 == p_end)
            return s < s_end;
        if (at_start && *p == '*' && (p + 1 == p_end || p[1] == '.')) {
            if (s == s_end || *s == '.')
                return false;
            const char *dot = memchr(s, '.', (size_t)(s_end - s));
            s = dot ? dot : s_end;
            p++;
            at_start = false;
            continue;
        }
        if (s == s_end || *s != *p)
            return false;
        at_start = *p == '.';
        s++;
        p++;
    }
    return s == s_end;
}

bool subject_subset(struct slice inner, struct slice outer)
{
    while (inner.p && outer.p) {
        struct slice i = cut_token(&inner), o = cut_token(&outer);
        if (is_token(o, '>'))
            return true;
        if (is_token(i, '>'))
            return false;
        if (!is_token(o, '*') && !slice_eq(i, o))
            return false;
    }
    return !inner.p && !outer.p;
}

bool subject_overlap(struct slice a, struct slice b)
{
    while (a.p && b.p) {
        struct slice x = cut_token(&a), y = cut_token(&b);
        if (is_token(x, '>') || is_token(y, '>'))
            return true;
        if (!is_token(x, '*') && !is_token(y, '*') && !slice_eq(x, y))
            return false;
    }
    return !a.p && !b.p;
}

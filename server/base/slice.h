/* base/slice.h -- borrowed bytes
 *
 * A slice is good until the call that handed it to you returns. Store it and you copy it.
 * Not terminated by NUL. The empty slice has n == 0 and may have p == NULL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p; /* first byte */
    size_t n;      /* how many */
};

/* A slice of a string literal, also in initialisers. */
#define SLICE(lit) ((struct slice){"" lit, sizeof(lit) - 1})
#define SLICE_INIT(lit)                                                                            \
    {                                                                                              \
        "" lit, sizeof(lit) - 1                                                                    \
    }
/* printf("%.*s", SLICE_FMT(s)) */
#define SLICE_FMT(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct slice slice_of(const void *p, size_t n)
{
    return (struct slice){p, n};
}

static inline struct slice slice_cstr(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_cstr(s));
}

static inline bool slice_starts(struct slice a, struct slice with)
{
    return a.n >= with.n && (with.n == 0 || memcmp(a.p, with.p, with.n) == 0);
}

static inline bool slice_ends(struct slice a, struct slice with)
{
    return a.n >= with.n && (with.n == 0 || memcmp(a.p + a.n - with.n, with.p, with.n) == 0);
}

/* What is left after the first n bytes; n is cut to the length. */
static inline struct slice slice_skip(struct slice a, size_t n)
{
    if (n > a.n)
        n = a.n;
    return (struct slice){n ? a.p + n : a.p, a.n - n};
}

static inline struct slice slice_head(struct slice a, size_t n)
{
    return (struct slice){a.p, n < a.n ? n : a.n};
}

/* Case-insensitive in ASCII, as verbs and header names of HTTP want it. */
bool slice_ieq(struct slice a, struct slice b);
/* Bytewise order, the shorter first among equals; <0, 0, >0. */
int slice_cmp(struct slice a, struct slice b);
/* Position of c, or n when it is not there. */
size_t slice_find(struct slice a, char c);
/* Position of the first occurrence of what, or n. */
size_t slice_search(struct slice a, struct slice what);
/* Blanks, tabs, CR and LF off both ends. */
struct slice slice_trim(struct slice a);
/* Cuts the next token (separated by any run of blanks and tabs) off the front of *rest. False at
 * the end. */
bool slice_token(struct slice *rest, struct slice *token);
/* Decimal digits only, the whole slice, no sign; E_SYNTAX or E_RANGE otherwise. */
int slice_u64(struct slice a, uint64_t *out) __attribute__((warn_unused_result));
/* The same with an optional leading '-' or '+'. */
int slice_i64(struct slice a, int64_t *out) __attribute__((warn_unused_result));
/* An owned copy ending in NUL; free() it. Dies on lack of memory: never for sizes a peer chooses
 * unlimited. */
char *slice_dup(struct slice a);

#endif

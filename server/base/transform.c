/* base/transform.c -- subject transforms: "orders.*.>" -> "site7.$1.>"; see subject.h
 *
 * transform_new() turns each token of the destination into a small instruction; transform_apply()
 * cuts the subject into tokens and runs the instructions in order.
 *
 *     destination   site7      $1                {{partition(8,1)}}            >
 *     instruction   TEXT       WILDCARD [1]      PARTITION n=8 [1]             REST
 *
 * What always holds
 *   (1) a source position in an instruction exists in every subject that matches the source.
 *   (2) text slices borrow from t->dest, which lives as long as t.
 * The corner cases (position 0 is the first token of the subject, an empty delimiter splits into
 * characters, functions are looked at only if the token is closed by "}}") are nats-server's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/subject.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"

enum kind {
    TEXT,
    REST, /* '>': what the source's '>' matched */
    WILDCARD,
    PARTITION,
    SPLIT_FROM_LEFT,
    SPLIT_FROM_RIGHT,
    SLICE_FROM_LEFT,
    SLICE_FROM_RIGHT,
    SPLIT,
    LEFT,
    RIGHT,
    RANDOM,
};

static const struct {
    const char *name; /* a capital may be written small, too */
    enum kind kind;
} functions[] = {
    {"Wildcard", WILDCARD},
    {"Partition", PARTITION},
    {"SplitFromLeft", SPLIT_FROM_LEFT},
    {"SplitFromRight", SPLIT_FROM_RIGHT},
    {"SliceFromLeft", SLICE_FROM_LEFT},
    {"SliceFromRight", SLICE_FROM_RIGHT},
    {"Right", RIGHT},
    {"Left", LEFT},
    {"Split", SPLIT},
    {"Random", RANDOM},
};

struct step {
    enum kind kind;
    struct slice text; /* TEXT: the token; SPLIT: the delimiter */
    int32_t number;    /* positions, sizes, buckets */
    size_t *at;        /* owned; the tokens of the subject it looks at; at first wildcard numbers */
    size_t at_n;
};

struct transform {
    char *src, *dest; /* owned; dest is NULL when the subject stays as it is */
    size_t src_tokens;
    struct step *steps; /* owned */
    size_t step_n;
};

/* --- reading the destination ----------------------------------------------------------------- */

#define BAD_SUBJECT  "invalid subject"
#define BAD_DEST     "invalid mapping destination: "
#define UNKNOWN      BAD_DEST "unknown function"
#define OUT_OF_RANGE BAD_DEST "wildcard index out of range"
#define TOO_FEW      BAD_DEST "not enough arguments passed to the function"
#define TOO_MANY     BAD_DEST "too many arguments passed to the function"
#define BAD_ARG      BAD_DEST "function argument is invalid or in the wrong format"

static _Thread_local char why_text[1024];

/* "text in token"; index > 0: "text in token: [index]". */
static int complain(const char **why, const char *text, struct slice token, int64_t index)
{
    if (!why)
        return E_SYNTAX;
    if (index > 0)
        (void)snprintf(why_text, sizeof why_text, "%s in %.*s: [%lld]", text, SLICE_FMT(token),
                       (long long)index);
    else
        (void)snprintf(why_text, sizeof why_text, "%s in %.*s", text, SLICE_FMT(token));
    *why = why_text;
    return E_SYNTAX;
}

static struct slice trim_blanks(struct slice s)
{
    while (s.n && s.p[0] == ' ')
        s = slice_skip(s, 1);
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

static bool read_number(struct slice arg, int64_t *v)
{
    return slice_i64(trim_blanks(arg), v) == 0;
}

/* A comma and the blanks after it separate arguments; no text at all is one empty argument. */
static bool next_arg(struct slice *rest, struct slice *arg)
{
    if (!rest->p)
        return false;
    size_t comma = slice_find(*rest, ',');
    *arg = slice_head(*rest, comma);
    if (comma == rest->n) {
        *rest = (struct slice){NULL, 0};
        return true;
    }
    *rest = slice_skip(*rest, comma + 1);
    while (rest->n && strchr(" \t\f\r\n", rest->p[0]) && rest->p[0])
        *rest = slice_skip(*rest, 1);
    return true;
}

static size_t count_args(struct slice args)
{
    struct slice arg;
    size_t n = 0;
    while (next_arg(&args, &arg))
        n++;
    return n;
}

static void add_index(struct step *step, int64_t index)
{
    step->at = xrealloc(step->at, (step->at_n + 1) * sizeof *step->at);
    step->at[step->at_n++] = index > 0 ? (size_t)index : 0;
}

/* Partition(n, i, j…) and Random(n): a number, then any indexes. */
static const char *read_buckets(struct step *step, struct slice args)
{
    struct slice arg;
    int64_t v;
    if (step->kind == RANDOM && count_args(args) != 1)
        return TOO_FEW;
    if (!next_arg(&args, &arg) || !read_number(arg, &v) || v > INT32_MAX)
        return BAD_ARG;
    step->number = (int32_t)(uint32_t)(uint64_t)v;
    while (next_arg(&args, &arg)) {
        if (!read_number(arg, &v))
            return BAD_ARG;
        add_index(step, v);
    }
    return NULL;
}

static const char *read_args(struct step *step, struct slice args)
{
    struct slice arg;
    int64_t v;
    size_t n = count_args(args), want = step->kind == WILDCARD ? 1 : 2;
    if (step->kind == PARTITION || step->kind == RANDOM)
        return read_buckets(step, args);
    if (n < want || (step->kind == WILDCARD && !args.n))
        return TOO_FEW;
    if (n > want)
        return TOO_MANY;
    if (!next_arg(&args, &arg) || !read_number(arg, &v))
        return BAD_ARG;
    add_index(step, v);
    if (step->kind == WILDCARD)
        return NULL;
    ASSERT(next_arg(&args, &arg));
    step->text = arg;
    if (step->kind == SPLIT)
        return slice_find(arg, ' ') < arg.n ? BAD_ARG : NULL;
    if (!read_number(arg, &v) || v > INT32_MAX || v < INT32_MIN)
        return BAD_ARG;
    step->number = (int32_t)v;
    return NULL;
}

static bool name_is(struct slice name, const char *function)
{
    if (name.n != strlen(function))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = function[i];
        bool capital = c >= 'A' && c <= 'Z';
        if (name.p[i] != c && !(capital && name.p[i] == c + ('a' - 'A')))
            return false;
    }
    return true;
}

/* "{{name(args)}}" with blanks around name and behind the last bracket. */
static const char *read_function(struct step *step, struct slice token)
{
    struct slice s = slice_trim(slice_of(token.p + 2, token.n - 4));
    size_t open = slice_find(s, '(');
    if (open == s.n || s.p[s.n - 1] != ')')
        return UNKNOWN;
    struct slice name = slice_trim(slice_head(s, open));
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (name_is(name, functions[i].name)) {
            step->kind = functions[i].kind;
            return read_args(step, slice_of(s.p + open + 1, s.n - open - 2));
        }
    return UNKNOWN;
}

static const char *read_token(struct step *step, struct slice token)
{
    int64_t v;
    *step = (struct step){.kind = TEXT, .text = token};
    if (slice_is(token, ">")) {
        step->kind = REST;
    } else if (token.n > 1 && token.p[0] == '$') {
        if (slice_i64(slice_skip(token, 1), &v))
            return NULL; /* "$JS" and the like are ordinary tokens */
        step->kind = WILDCARD;
        add_index(step, v);
    } else if (token.n > 4 && slice_starts(token, SLICE("{{")) && slice_ends(token, SLICE("}}"))) {
        return read_function(step, token);
    }
    return NULL;
}

/* --- making ---------------------------------------------------------------------------------- */

struct shape {
    size_t tokens, stars;
    bool full; /* ends in '>' */
};

/* The only things asked of both subjects: no empty token, '>' at the end; and no NUL, which would
 * end our copies of them early. */
static bool read_shape(struct slice s, struct shape *out)
{
    *out = (struct shape){.tokens = subject_tokens(s)};
    if (!s.n || out->tokens > SUBJECT_TOKENS_MAX || slice_find(s, '\0') < s.n)
        return false;
    for (size_t i = 0, from = 0; i < out->tokens; i++) {
        struct slice rest = slice_skip(s, from), token = slice_head(rest, slice_find(rest, '.'));
        if (!token.n || out->full)
            return false;
        out->stars += slice_is(token, "*");
        out->full = slice_is(token, ">");
        from += token.n + 1;
    }
    return true;
}

/* The position in the source of its i-th '*', counted from 1. */
static size_t star_position(struct slice src, size_t i)
{
    for (size_t at = 0;; at++)
        if (slice_is(subject_token(src, at), "*") && !--i)
            return at;
}

/* Wildcard numbers become positions in the subject. */
static int place_step(struct step *step, struct slice src, const struct shape *from,
                      struct slice token, const char **why)
{
    if (!from->stars && !from->full) {
        if (step->kind == PARTITION || step->kind == RANDOM)
            step->at_n = 0; /* a literal source: the whole subject is hashed */
        else if (step->kind != TEXT)
            return complain(why, OUT_OF_RANGE, token, 0);
    }
    for (size_t i = 0; i < step->at_n; i++) {
        if (step->at[i] > from->stars)
            return complain(why, OUT_OF_RANGE, token, (int64_t)step->at[i]);
        step->at[i] = step->at[i] ? star_position(src, step->at[i]) : 0;
    }
    return 0;
}

static int read_steps(struct transform *t, const struct shape *from, const char **why)
{
    struct slice src = slice_cstr(t->src), dest = slice_cstr(t->dest);
    size_t tokens = subject_tokens(dest);
    t->steps = xcalloc(tokens, sizeof *t->steps);
    for (; t->step_n < tokens; t->step_n++) {
        struct slice token = subject_token(dest, t->step_n);
        struct step *step = &t->steps[t->step_n];
        const char *text = read_token(step, token);
        int err = text ? complain(why, text, token, 0) : place_step(step, src, from, token, why);
        if (err) {
            t->step_n++; /* free this one's positions, too */
            return err;
        }
    }
    return 0;
}

int transform_new(struct slice src, struct slice dest, struct transform **out, const char **why)
{
    struct shape from, to;
    if (!src.n)
        src = SLICE(">");
    if (!read_shape(src, &from) ||
        (dest.n && (!read_shape(dest, &to) || to.stars || to.full != from.full))) {
        if (why)
            *why = BAD_SUBJECT;
        return E_SYNTAX;
    }
    struct transform *t = xcalloc(1, sizeof *t);
    t->src = slice_dup(src);
    t->src_tokens = from.tokens;
    if (dest.n && !(slice_is(src, ">") && slice_is(dest, ">"))) {
        t->dest = slice_dup(dest);
        int err = read_steps(t, &from, why);
        if (err) {
            transform_free(t);
            return err;
        }
    }
    *out = t;
    return 0;
}

void transform_free(struct transform *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->step_n; i++)
        free(t->steps[i].at);
    free(t->steps);
    free(t->src);
    free(t->dest);
    free(t);
}

struct slice transform_src(const struct transform *t)
{
    return slice_cstr(t->src);
}

/* --- applying -------------------------------------------------------------------------------- */

struct tokens {
    struct slice whole, at[SUBJECT_TOKENS_MAX];
    size_t n;
};

static void cut_tokens(struct slice subject, struct tokens *out)
{
    out->whole = subject;
    out->n = 0;
    while (subject.p) {
        size_t n = slice_find(subject, '.');
        out->at[out->n++] = slice_head(subject, n);
        subject = n < subject.n ? slice_skip(subject, n + 1) : (struct slice){NULL, 0};
    }
}

static uint32_t fnv1a(uint32_t h, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

static void put_partition(struct buf *out, const struct step *step, const struct tokens *from)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < step->at_n; i++)
        h = fnv1a(h, from->at[step->at[i]]);
    if (!step->at_n)
        h = fnv1a(h, from->whole);
    buf_add_u64(out, step->number ? h % (uint32_t)step->number : 0);
}

static void put_random(struct buf *out, int32_t below)
{
    uint32_t v;
    random_bytes(&v, sizeof v);
    buf_add_u64(out, below ? (v >> 1) % (below < 0 ? 0 - (uint32_t)below : (uint32_t)below) : 0);
}

/* Two pieces, or the whole token when the place is outside of it. */
static void put_split_at(struct buf *out, struct slice token, size_t at)
{
    buf_add_slice(out, slice_head(token, at));
    buf_add_char(out, '.');
    buf_add_slice(out, slice_skip(token, at));
}

/* Pieces of that size; the first one has `first` bytes (0: like the others). */
static void put_slices(struct buf *out, struct slice token, size_t size, size_t first)
{
    size_t n = first ? first : size;
    while (token.n > n) {
        buf_add_slice(out, slice_head(token, n));
        buf_add_char(out, '.');
        token = slice_skip(token, n);
        n = size;
    }
    buf_add_slice(out, token);
}

/* Length of the UTF-8 character at the front; a broken one is a single byte. */
static size_t char_length(struct slice s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    if (n > s.n)
        return 1;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80)
            return 1;
    return n;
}

static void put_pieces(struct buf *out, struct slice token, struct slice delimiter)
{
    bool first = true;
    struct slice rest = token;
    while (rest.p) {
        size_t n = delimiter.n ? slice_search(rest, delimiter) : char_length(rest);
        struct slice piece = slice_head(rest, n);
        bool last = n == rest.n;
        rest = last ? (struct slice){NULL, 0} : slice_skip(rest, n + delimiter.n);
        buf_add_slice(out, piece);
        bool next_is_empty = last || !rest.n || (delimiter.n && slice_starts(rest, delimiter));
        if (!next_is_empty && !(first && !piece.n))
            buf_add_char(out, '.');
        first = false;
    }
}

static void put_step(struct buf *out, const struct step *step, const struct tokens *from)
{
    struct slice token = step->at_n ? from->at[step->at[0]] : (struct slice){NULL, 0};
    size_t n = step->number > 0 ? (size_t)step->number : 0;
    bool cuts = n > 0 && n < token.n;
    switch (step->kind) {
    case TEXT:
        buf_add_slice(out, step->text);
        break;
    case REST: /* transform_apply() writes it */
        break;
    case WILDCARD:
        buf_add_slice(out, token);
        break;
    case PARTITION:
        put_partition(out, step, from);
        break;
    case RANDOM:
        put_random(out, step->number);
        break;
    case SPLIT:
        put_pieces(out, token, step->text);
        break;
    case SPLIT_FROM_LEFT:
    case SPLIT_FROM_RIGHT:
        if (cuts)
            put_split_at(out, token, step->kind == SPLIT_FROM_LEFT ? n : token.n - n);
        else
            buf_add_slice(out, token);
        break;
    case SLICE_FROM_LEFT:
    case SLICE_FROM_RIGHT:
        if (cuts)
            put_slices(out, token, n, step->kind == SLICE_FROM_RIGHT ? token.n % n : 0);
        else
            buf_add_slice(out, token);
        break;
    case LEFT:
        buf_add_slice(out, cuts ? slice_head(token, n) : token);
        break;
    case RIGHT:
        buf_add_slice(out, cuts ? slice_skip(token, token.n - n) : token);
        break;
    }
}

bool transform_apply(const struct transform *t, struct slice subject, struct buf *out)
{
    struct tokens from;
    if (!subject_match(subject, slice_cstr(t->src)) || !subject_valid_literal(subject))
        return false;
    if (!t->dest) {
        buf_add_slice(out, subject);
        return true;
    }
    cut_tokens(subject, &from);
    for (size_t i = 0; i < t->step_n; i++) {
        if (i)
            buf_add_char(out, '.');
        put_step(out, &t->steps[i], &from);
    }
    if (t->steps[t->step_n - 1].kind == REST)
        buf_add_slice(out, slice_skip(subject, from.at[t->src_tokens - 1].p - subject.p));
    return true;
}

/* server/parser.c -- bytes become verbs
 *
 * Three steps, each a function that looks at the same bytes again from the start if it lacked some:
 *
 *     verb       a row of the table whose letters fit, in any case; refused at the first letter
 *                that fits none
 *     line       blanks, arguments, LF; one CR before the LF is dropped; the limit counts the
 *                arguments only
 *     arguments  the row's function cuts them up; those of messages then wait for payload CR LF
 *
 * What always holds
 *   (1) every slice of *op lies inside the input;
 *   (2) PARSED takes at least one byte; PARSE_MORE never holds back what is complete;
 *   (3) nothing depends on where reads end: cut at any byte, the operations are the same. (Only the
 *       refusal of an overlong line may come earlier or later.)
 *
 * PUB in its plainest spelling has a way of its own, one pass; everything else goes through the
 * table. Re-reading a line while a payload is under way would cost something: callers wait until
 * op.len bytes are there before they ask again.
 *
 * Spellings that surprise: PING and PONG ignore everything up to LF; CONNECT needs no blank before
 * its argument ("CONNECT{…}"); sizes have 1 to 9 digits; "LMSG a | 2" has the reply "|".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/parser.h"

#include "base/mem.h"

/* Blanks before the arguments and the tail of a PING don't count as arguments; they get this much
 * on top. */
#define LINE_SLACK 1024

#define TOKENS_MAX 5 /* of the verbs whose arguments are counted; longer lists are cut by hand */

typedef enum parsed args_fn(const struct parse_limits *limits, struct slice in, size_t line_end,
                            struct op *op);

static enum parsed args_none(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_pub(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_hpub(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_sub(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_unsub(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_ls_add(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_ls_del(const struct parse_limits *, struct slice, size_t, struct op *);
static enum parsed args_lmsg(const struct parse_limits *, struct slice, size_t, struct op *);

enum { CLIENT = 1, LEAF = 2 };
enum after { BLANK, ANYTHING }; /* what must follow the letters */

static const struct row {
    enum verb verb;
    struct slice letters; /* upper case */
    unsigned sides;
    enum after after;
    args_fn *args;
} rows[] = {
    {VERB_PUB, SLICE_INIT("PUB"), CLIENT, BLANK, args_pub},
    {VERB_HPUB, SLICE_INIT("HPUB"), CLIENT, BLANK, args_hpub},
    {VERB_LMSG, SLICE_INIT("LMSG"), LEAF, BLANK, args_lmsg},
    {VERB_HMSG, SLICE_INIT("HMSG"), LEAF, BLANK, args_lmsg},
    {VERB_SUB, SLICE_INIT("SUB"), CLIENT, BLANK, args_sub},
    {VERB_UNSUB, SLICE_INIT("UNSUB"), CLIENT, BLANK, args_unsub},
    {VERB_LS_ADD, SLICE_INIT("LS+"), LEAF, BLANK, args_ls_add},
    {VERB_LS_DEL, SLICE_INIT("LS-"), LEAF, BLANK, args_ls_del},
    {VERB_PING, SLICE_INIT("PING"), CLIENT | LEAF, ANYTHING, args_none},
    {VERB_PONG, SLICE_INIT("PONG"), CLIENT | LEAF, ANYTHING, args_none},
    {VERB_CONNECT, SLICE_INIT("CONNECT"), CLIENT | LEAF, ANYTHING, args_none},
    {VERB_INFO, SLICE_INIT("INFO"), CLIENT | LEAF, BLANK, args_none},
    {VERB_OK, SLICE_INIT("+OK"), CLIENT | LEAF, ANYTHING, args_none},
    {VERB_ERR, SLICE_INIT("-ERR"), CLIENT | LEAF, BLANK, args_none},
};

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* How many letters of the row stand at the start of in; all: true when the whole input is a part of
 * the row. */
static bool letters_fit(const struct row *r, struct slice in, bool *whole)
{
    size_t n = in.n < r->letters.n ? in.n : r->letters.n;

    for (size_t i = 0; i < n; i++)
        if (upper(in.p[i]) != r->letters.p[i])
            return false;
    *whole = n == r->letters.n;
    return true;
}

static const struct row *find_row(enum parse_side side, struct slice in, enum parsed *why_not)
{
    unsigned mine = side == PARSE_CLIENT ? CLIENT : LEAF;
    bool part = false, whole;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (!(r->sides & mine) || !letters_fit(r, in, &whole))
            continue;
        if (!whole) {
            part = true;
            continue;
        }
        if (r->after == BLANK && in.n > r->letters.n && !is_blank(in.p[r->letters.n]))
            continue;
        return r;
    }
    *why_not = part ? PARSE_MORE : PARSE_UNKNOWN;
    return NULL;
}

static enum parsed body(const struct parse_limits *limits, struct slice in, size_t at, size_t hdr,
                        size_t total, struct op *op);

/* Bytes above ' ' from p on; a line of ordinary tokens, one blank between them, is all quick_pub()
 * takes. */
static inline const char *token_end(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p > ' ')
        p++;
    return p;
}

/* The most frequent line in the plainest spelling, in one pass: "PUB subject [reply] size\r\n".
 * False: let the table look at it, whatever it is. */
static bool quick_pub(const struct parse_limits *limits, struct slice in, struct op *op,
                      enum parsed *r)
{
    const char *start = in.p + 4, *end = in.p + in.n, *p, *t;
    size_t total = 0;

    p = token_end(start, end);
    if (end - p < 4 || p == start || *p != ' ')
        return false;
    op->subject = slice_of(start, (size_t)(p - start));
    op->reply = (struct slice){0};
    t = ++p;
    p = token_end(p, end);
    if (p < end && *p == ' ') {
        op->reply = slice_of(t, (size_t)(p - t));
        t = ++p;
        p = token_end(p, end);
    }
    if (end - p < 2 || p == t || p - t > 9 || p[0] != '\r' || p[1] != '\n' ||
        (size_t)(p - start) > limits->max_control_line || (op->reply.p && op->reply.n == 0))
        return false;
    op->args = slice_of(start, (size_t)(p - start));
    for (; t < p; t++) {
        if (*t < '0' || *t > '9')
            return false;
        total = total * 10 + (size_t)(*t - '0');
    }
    op->verb = VERB_PUB;
    op->hdr = (struct slice){0};
    *r = body(limits, in, (size_t)(p + 2 - in.p), 0, total, op);
    return true;
}

enum parsed parse(const struct parse_limits *limits, struct slice in, struct op *op)
{
    enum parsed r = PARSE_MORE;
    const struct row *row;
    const char *lf;
    size_t from, to, line_end;

    op->verb = VERB_NONE;
    op->len = 0;
    if (in.n == 0)
        return PARSE_MORE;
    if (in.n > 8 && limits->side == PARSE_CLIENT && memcmp(in.p, "PUB ", 4) == 0 &&
        quick_pub(limits, in, op, &r))
        return r;
    r = PARSE_MORE;
    row = find_row(limits->side, in, &r);
    if (!row)
        return r;

    lf = memchr(in.p + row->letters.n, '\n', in.n - row->letters.n);
    line_end = lf ? (size_t)(lf - in.p) : in.n;
    from = row->letters.n;
    while (from < line_end && is_blank(in.p[from]))
        from++;
    to = line_end;
    if (to > from && in.p[to - 1] == '\r')
        to--;
    if (row->args != args_none || row->after == BLANK || row->verb == VERB_CONNECT)
        if (to - from > limits->max_control_line)
            return PARSE_LINE;
    if (!lf)
        return in.n > limits->max_control_line + LINE_SLACK ? PARSE_LINE : PARSE_MORE;
    *op = (struct op){.verb = row->verb, .len = line_end + 1, .args = {in.p + from, to - from}};
    return row->args(limits, in, line_end + 1, op);
}

const char *parse_error_text(enum parsed r)
{
    switch (r) {
    case PARSE_UNKNOWN:
        return "Unknown Protocol Operation";
    case PARSE_LINE:
        return "maximum control line exceeded";
    case PARSE_PAYLOAD:
        return "Maximum Payload Violation";
    case PARSED:
    case PARSE_MORE:
    case PARSE_BAD_ARGS:
        break;
    }
    return NULL;
}

/* --- arguments ---------------------------------------------------------------------------------
 */

/* Cuts line into at most max tokens; returns how many there are, max + 1 for "more". */
static size_t split(struct slice line, struct slice *out, size_t max)
{
    const char *p = line.p, *end = line.p + line.n;
    size_t n = 0;

    for (;;) {
        const char *start;
        while (p < end && (is_blank(*p) || *p == '\r'))
            p++;
        if (p == end)
            return n;
        if (n == max)
            return max + 1;
        start = p;
        while (p < end && !is_blank(*p) && *p != '\r')
            p++;
        out[n++] = (struct slice){start, (size_t)(p - start)};
    }
}

/* 1 to 9 digits; -1 otherwise. */
static int64_t size_of(struct slice s)
{
    int64_t v = 0;

    if (s.n == 0 || s.n > 9)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        v = v * 10 + (s.p[i] - '0');
    }
    return v;
}

static enum parsed bad(struct op *op, const char *why)
{
    op->why = why;
    return PARSE_BAD_ARGS;
}

/* Header block and payload follow the line; both must be there, and CR LF behind them. */
static enum parsed body(const struct parse_limits *limits, struct slice in, size_t at, size_t hdr,
                        size_t total, struct op *op)
{
    const char *p = in.p + at;

    if (limits->max_payload && total > limits->max_payload)
        return PARSE_PAYLOAD;
    op->len = at + total + 2;
    if (in.n < op->len) {
        size_t have = in.n - at;
        if (have > total && p[total] != '\r')
            return PARSE_UNKNOWN;
        return PARSE_MORE;
    }
    if (p[total] != '\r' || p[total + 1] != '\n')
        return PARSE_UNKNOWN;
    if (hdr)
        op->hdr = slice_of(p, hdr);
    op->payload = slice_of(p + hdr, total - hdr);
    return PARSED;
}

static enum parsed args_none(const struct parse_limits *limits, struct slice in, size_t line_end,
                             struct op *op)
{
    (void)limits, (void)in, (void)line_end, (void)op;
    return PARSED;
}

static enum parsed args_pub(const struct parse_limits *limits, struct slice in, size_t line_end,
                            struct op *op)
{
    struct slice t[3];
    size_t n = split(op->args, t, 3);
    int64_t total;

    if (n < 2 || n > 3)
        return bad(op, "processPub Parse Error");
    op->subject = t[0];
    if (n == 3)
        op->reply = t[1];
    total = size_of(t[n - 1]);
    if (total < 0)
        return bad(op, "processPub Bad or Missing Size");
    return body(limits, in, line_end, 0, (size_t)total, op);
}

static enum parsed args_hpub(const struct parse_limits *limits, struct slice in, size_t line_end,
                             struct op *op)
{
    struct slice t[4];
    size_t n = split(op->args, t, 4);
    int64_t hdr, total;

    if (n < 3 || n > 4)
        return bad(op, "processHeaderPub Parse Error");
    op->subject = t[0];
    if (n == 4)
        op->reply = t[1];
    hdr = size_of(t[n - 2]);
    total = size_of(t[n - 1]);
    if (hdr < 0)
        return bad(op, "processHeaderPub Bad or Missing Header Size");
    if (total < 0)
        return bad(op, "processHeaderPub Bad or Missing Total Size");
    if (hdr > total)
        return bad(op, "processHeaderPub Header Size larger then TotalSize");
    return body(limits, in, line_end, (size_t)hdr, (size_t)total, op);
}

static enum parsed args_sub(const struct parse_limits *limits, struct slice in, size_t line_end,
                            struct op *op)
{
    struct slice t[3];
    size_t n = split(op->args, t, 3);

    (void)limits, (void)in, (void)line_end;
    if (n < 2 || n > 3)
        return bad(op, "processSub Parse Error");
    op->subject = t[0];
    if (n == 3)
        op->queue = t[1];
    op->sid = t[n - 1];
    return PARSED;
}

static enum parsed args_unsub(const struct parse_limits *limits, struct slice in, size_t line_end,
                              struct op *op)
{
    struct slice t[2];
    size_t n = split(op->args, t, 2);

    (void)limits, (void)in, (void)line_end;
    if (n < 1 || n > 2)
        return bad(op, "processUnsub Parse Error");
    op->sid = t[0];
    if (n == 2)
        op->max = size_of(t[1]);
    if (op->max < 0)
        op->max = 0;
    return PARSED;
}

static enum parsed args_ls_add(const struct parse_limits *limits, struct slice in, size_t line_end,
                               struct op *op)
{
    struct slice t[3];
    size_t n = split(op->args, t, 3);

    (void)limits, (void)in, (void)line_end;
    if (n != 1 && n != 3)
        return bad(op, "processLeafSub Parse Error");
    op->subject = t[0];
    op->weight = 1;
    if (n == 3) {
        int64_t weight = size_of(t[2]);
        op->queue = t[1];
        op->weight = weight > 1 ? (uint32_t)weight : 1;
    }
    return PARSED;
}

static enum parsed args_ls_del(const struct parse_limits *limits, struct slice in, size_t line_end,
                               struct op *op)
{
    struct slice t[2];
    size_t n = split(op->args, t, 2);

    (void)limits, (void)in, (void)line_end;
    if (n < 1 || n > 2)
        return bad(op, "processLeafUnsub Parse Error");
    op->subject = t[0];
    if (n == 2)
        op->queue = t[1];
    return PARSED;
}

/* The last token of *line, cut off; empty when there is none. */
static struct slice cut_last(struct slice *line)
{
    size_t end = line->n, start;

    while (end && (is_blank(line->p[end - 1]) || line->p[end - 1] == '\r'))
        end--;
    start = end;
    while (start && !is_blank(line->p[start - 1]) && line->p[start - 1] != '\r')
        start--;
    line->n = start;
    return slice_of(line->p + start, end - start);
}

/* subject [reply] | subject + reply queue… | subject | queue…   and the sizes cut off already. */
static bool leaf_addresses(struct slice line, struct op *op)
{
    struct slice t[3];
    size_t n = split(line, t, 3), used;

    if (n == 0)
        return false;
    op->subject = t[0];
    if (n == 1)
        return true;
    if (n == 2) { /* also "LMSG a | 2": the reply is '|' */
        op->reply = t[1];
        return true;
    }
    if (t[1].n != 1 || (t[1].p[0] != '+' && t[1].p[0] != '|'))
        return false;
    op->indicator = true;
    used = 2;
    if (t[1].p[0] == '+') {
        op->reply = t[2];
        used = 3;
    }
    op->groups = slice_skip(line, (size_t)(t[used - 1].p + t[used - 1].n - line.p));
    for (struct slice rest = op->groups, name; slice_token(&rest, &name);)
        op->ngroups++;
    return true;
}

static enum parsed args_lmsg(const struct parse_limits *limits, struct slice in, size_t line_end,
                             struct op *op)
{
    bool with_hdr = op->verb == VERB_HMSG;
    const char *why = with_hdr ? "processLeafHeaderMsg Parse Error" : "processLeafMsg Parse Error";
    struct slice line = op->args;
    int64_t total = size_of(cut_last(&line)), hdr = 0;

    if (with_hdr)
        hdr = size_of(cut_last(&line));
    if (total < 0 || hdr < 0 || hdr > total || !leaf_addresses(line, op))
        return bad(op, why);
    return body(limits, in, line_end, (size_t)hdr, (size_t)total, op);
}

void parse_groups(const struct op *op, struct slice *out)
{
    struct slice rest = op->groups;

    for (uint32_t i = 0; i < op->ngroups; i++)
        if (!slice_token(&rest, &out[i]))
            out[i] = (struct slice){0};
}

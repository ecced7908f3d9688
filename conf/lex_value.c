/* conf/lex_value.c -- values: strings in all their dresses, numbers, dates, addresses
 *
 * The edges of the language live here: digits become a string when a letter follows, "1k" a size, a
 * second dot makes an address, four digits and '-' begin a date, and a ']' does not end a number.
 * All of it is what nats-server does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/lex_inside.h"

/* What may follow a number; ']' is missing in the reference too. */
static bool ends_number(int r)
{
    return rune_is_newline(r) || rune_is_blank(r) || r == RUNE_END || r == '}' || r == ';' ||
           r == ',';
}

static bool ends_bare(int r)
{
    return rune_is_newline(r) || rune_is_blank(r) || r == RUNE_END || r == '}' || r == ']' ||
           r == ';' || r == ',';
}

static bool is_suffix(int r)
{
    return r > 0 && r < 0x80 && strchr("kKmMgGtTpPeE", r) != NULL;
}

/* A string that may have had escapes: the parts so far, then the rest. */
static void emit_string(struct lexer *lx)
{
    if (!lx->escaped) {
        lex_emit(lx, LEX_STRING);
        return;
    }
    buf_add_slice(&lx->text, lex_since(lx));
    lex_emit_text(lx, LEX_STRING, buf_slice(&lx->text));
}

/* --- values -------------------------------------------------------------------------- */

static void escape_hex(struct lexer *lx)
{
    unsigned value = 0;
    for (int i = 0; i < 2; i++) {
        if (rune_is_newline(lex_read(lx))) {
            lex_fail(lx, "Expected two hexadecimal digits after '\\x', but hit end of line");
            return;
        }
    }
    struct slice digits = slice_of(lx->in.p + lx->pos - 2, 2);
    for (int i = 0; i < 2; i++) {
        int c = digits.p[i] | 0x20;
        if (!rune_is_digit(digits.p[i]) && !(c >= 'a' && c <= 'f')) {
            lex_fail(lx, "Expected two hexadecimal digits after '\\x', but got '%.*s'",
                     SLICE_FMT(digits));
            return;
        }
        value =
            value << 4 | (unsigned)(rune_is_digit(digits.p[i]) ? digits.p[i] - '0' : c - 'a' + 10);
    }
    buf_add_char(&lx->text, (char)value);
    lx->start = lx->pos;
}

/* After a backslash. False when it was not a known escape (and told so). */
static bool escape(struct lexer *lx)
{
    static const char from[] = "tnr\"\\", to[] = "\t\n\r\"\\";
    char show[8];
    buf_add(&lx->text, lx->in.p + lx->start, lx->pos - 1 - lx->start);
    lx->start = lx->pos;
    lx->escaped = true;
    int r = lex_read(lx);
    const char *at = r > 0 && r < 0x80 ? strchr(from, r) : NULL;
    if (r == 'x') {
        escape_hex(lx);
    } else if (at) {
        buf_add_char(&lx->text, to[at - from]);
        lx->start = lx->pos;
    } else {
        lex_fail(lx,
                 "Invalid escape character '%s'. Only the following escape characters are allowed: "
                 "\\xXX, \\t, \\n, \\r, \\\", \\\\.",
                 rune_show(r, show));
    }
    return lx->place != DONE;
}

static void double_quoted(struct lexer *lx)
{
    for (;;) {
        int r = lex_read(lx);
        if (r == '\\') {
            if (!escape(lx))
                return;
        } else if (r == '"') {
            lex_back(lx);
            emit_string(lx);
            lex_close_quote(lx);
            return;
        } else if (r == RUNE_END) {
            lex_unterminated(lx);
            return;
        }
    }
}

static void single_quoted(struct lexer *lx)
{
    int r;
    while (r = lex_read(lx), r != '\'' && r != RUNE_END)
        continue;
    if (r == RUNE_END) {
        lex_unterminated(lx);
        return;
    }
    lex_back(lx);
    lex_emit(lx, LEX_STRING);
    lex_close_quote(lx);
}

static bool is_bool(struct slice s)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_ieq(s, slice_cstr(words[i])))
            return true;
    return false;
}

/* Words without quotes: strings, booleans, variables. A ' ends the word and is swallowed. */
static void bare(struct lexer *lx)
{
    for (;;) {
        int r = lex_read(lx);
        if (r == '\\') {
            if (!escape(lx))
                return;
        } else if (r == '\'') {
            lex_back(lx);
            emit_string(lx);
            lex_close_quote(lx);
            return;
        } else if (ends_bare(r)) {
            break;
        }
    }
    lex_back(lx);
    if (lx->escaped) {
        emit_string(lx);
    } else if (is_bool(lex_since(lx))) {
        lex_emit(lx, LEX_BOOL);
    } else if (lx->pos > lx->start && lx->in.p[lx->start] == '$') {
        lx->start++;
        lex_emit(lx, LEX_VARIABLE);
    } else {
        lex_emit(lx, LEX_STRING);
    }
    lex_pop(lx);
}

/* ( text until a line that is only ")" */
static void block_string(struct lexer *lx)
{
    for (;;) {
        int r = lex_read(lx);
        if (r == RUNE_END) {
            lex_fail(lx, "Unexpected EOF processing block.");
            return;
        }
        if (r != ')' || lx->in.p[lx->pos - 2] != '\n')
            continue;
        int after = lex_read(lx);
        if (after == '\n' || (after == RUNE_END && lx->width == 1)) {
            lex_back(lx);
            lx->width = 1;
            lex_back(lx);
            lex_emit(lx, LEX_STRING);
            lex_close_quote(lx);
            return;
        }
        if (after == RUNE_END) { /* here the reference keeps the bracket in the text; so be it */
            lex_emit(lx, LEX_STRING);
            lex_drop(lx);
            lex_pop(lx);
            return;
        }
        lex_back(lx);
    }
}

/* After YYYY-: only the one full form is a date. */
static void date(struct lexer *lx)
{
    static const char form[] = "00-00T00:00:00Z";
    char show[8];
    for (const char *f = form; *f; f++) {
        int r = lex_read(lx);
        if (*f == '0' && !rune_is_digit(r)) {
            lex_fail(lx, "Expected digit in ISO8601 datetime, but found '%s' instead.",
                     rune_show(r, show));
            return;
        }
        if (*f != '0' && *f != r) {
            lex_fail(lx, "Expected '%c' in ISO8601 datetime, but found '%s' instead.", *f,
                     rune_show(r, show));
            return;
        }
    }
    lex_emit(lx, LEX_TIME);
    lex_pop(lx);
}

/* After the first dot: a float, or after a second dot an address with its port. */
static void fraction(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (!rune_is_digit(r)) {
        lex_fail(lx, "Floats must have a digit after the '.', but got '%s' instead.",
                 rune_show(r, show));
        return;
    }
    while (r = lex_read(lx), rune_is_digit(r))
        continue;
    enum lex_type type = LEX_FLOAT;
    if (r == '.') {
        type = LEX_STRING;
        while (r = lex_read(lx), rune_is_digit(r) || r == '.' || r == ':' || r == '-')
            continue;
    }
    lex_back(lx);
    lex_emit(lx, type);
    lex_pop(lx);
}

/* After the first letter of a size: "1k", "1KiB"; anything more makes it a string. */
static void sized(struct lexer *lx)
{
    int r;
    while (r = lex_read(lx), r == 'b' || r == 'B' || r == 'i' || r == 'I')
        continue;
    lex_back(lx);
    if (!ends_number(r)) {
        bare(lx);
        return;
    }
    lex_emit(lx, LEX_INT);
    lex_pop(lx);
}

static void number(struct lexer *lx)
{
    for (;;) {
        int r = lex_read(lx);
        if (rune_is_digit(r))
            continue;
        if (r == '-') {
            if (lx->pos - lx->start == 5)
                date(lx);
            else
                lex_fail(lx, "All ISO8601 dates must be in full Zulu form.");
        } else if (r == '.') {
            fraction(lx);
        } else if (is_suffix(r)) {
            sized(lx);
        } else if (!ends_number(r)) {
            bare(lx); /* whatever it was has been read: "3\t" keeps its backslash, "3]" its bracket
                       */
        } else {
            lex_back(lx);
            lex_emit(lx, LEX_INT);
            lex_pop(lx);
        }
        return;
    }
}

/* After '-'. */
static void negative(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (r == '.') {
        lex_fail(lx, "Floats must start with a digit, not '.'.");
        return;
    }
    if (!rune_is_digit(r)) {
        lex_fail(lx, "Expected a digit but got '%s'.", rune_show(r, show));
        return;
    }
    while (r = lex_read(lx), rune_is_digit(r))
        continue;
    if (r == '.') {
        fraction(lx);
    } else if (is_suffix(r)) {
        sized(lx);
    } else {
        lex_back(lx);
        lex_emit(lx, LEX_INT);
        lex_pop(lx);
    }
}

/* A value; where to go on after it is on the stack. */
void lex_value(struct lexer *lx)
{
    int r;
    while (r = lex_read(lx), rune_is_blank(r))
        lex_drop(lx);
    lx->escaped = false;
    buf_clear(&lx->text);
    switch (r) {
    case '[':
        lex_drop(lx);
        lex_emit(lx, LEX_ARRAY_START);
        lx->place = ARRAY;
        return;
    case '{':
        lex_drop(lx);
        lex_emit(lx, LEX_MAP_START);
        lx->place = MAP;
        return;
    case '\'':
        lex_drop(lx);
        single_quoted(lx);
        return;
    case '"':
        lex_drop(lx);
        double_quoted(lx);
        return;
    case '(':
        lex_drop(lx);
        block_string(lx);
        return;
    case '-':
        negative(lx);
        return;
    case '.':
        lex_fail(lx, "Floats must start with a digit");
        return;
    default:
        break;
    }
    if (rune_is_newline(r)) {
        lex_fail(lx, "Expected value but found new line");
    } else if (rune_is_digit(r)) {
        number(lx);
    } else {
        lex_back(lx);
        bare(lx);
    }
}

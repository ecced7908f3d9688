/* conf/lex.c -- text -> items, one at a time
 *
 * The lexer knows where it is by its *place*: what may come next here. A place reads blanks and
 * comments, then a key, a value or a closing bracket, and names the place after it. A value that
 * opens a map or array leaves the place it returns to on a stack.
 *
 *   TOP          a key of the file             AFTER_TOP    newline , ; } or a comment
 *   BLOCK        a key of the { } round        AFTER_BLOCK  newline , ; or }
 *                the whole file                END_BLOCK    }
 *   SEP_TOP      = or : or nothing, then a value
 *   MAP          a key or }                    AFTER_MAP    newline , ; or }
 *   SEP_MAP      = or : or nothing, then a value (newlines are skipped)
 *   ARRAY        a value or ]                  AFTER_ARRAY  newline , or ]
 *   DONE         the end, or an error was told
 *
 * The language grew in the reference server and its edges are part of it: what ends a bare word,
 * when digits become a string, which newline an error is counted on. Where a line below looks odd,
 * the odd thing is what nats-server does. Two steps keep its way of counting: next() moves the line
 * when it reads a newline, and back() takes the number back but not the place where the line
 * starts.
 *
 * What always holds: start <= pos <= in.n; the stack never grows beyond depth_max; NUL reads as the
 * end of input. Failure: an item LEX_ERROR with the reference's text, then LEX_EOF for ever.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/lex.h"

enum place {
    TOP,
    AFTER_TOP,
    BLOCK,
    AFTER_BLOCK,
    END_BLOCK,
    SEP_TOP,
    MAP,
    SEP_MAP,
    AFTER_MAP,
    ARRAY,
    AFTER_ARRAY,
    DONE,
};

#define RUNE_END 0
#define RUNE_BAD 0xfffd

/* --- runes ------------------------------------------------------------------------------------ */

/* One UTF-8 sequence as Go reads it: a byte that starts none is RUNE_BAD, one byte wide. */
static int rune_read(struct slice in, size_t pos, size_t *width)
{
    static const int least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)in.p + pos;
    size_t left = in.n - pos, n;
    int r;
    *width = 1;
    if (p[0] < 0x80)
        return p[0];
    if (p[0] >= 0xc2 && p[0] < 0xe0)
        n = 2, r = p[0] & 0x1f;
    else if (p[0] >= 0xe0 && p[0] < 0xf0)
        n = 3, r = p[0] & 0x0f;
    else if (p[0] >= 0xf0 && p[0] < 0xf5)
        n = 4, r = p[0] & 0x07;
    else
        return RUNE_BAD;
    if (left < n)
        return RUNE_BAD;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return RUNE_BAD;
        r = r << 6 | (p[i] & 0x3f);
    }
    if (r < least[n] || r > 0x10ffff || (r >= 0xd800 && r < 0xe000))
        return RUNE_BAD;
    *width = n;
    return r;
}

/* How a rune is shown in a message. The end of input has no picture: a blank. */
static const char *rune_show(int r, char out[8])
{
    size_t n = 0;
    if (r == '\n')
        return "\\n";
    if (r == RUNE_END)
        return " ";
    if (r < 0x80) {
        out[n++] = (char)r;
    } else if (r < 0x800) {
        out[n++] = (char)(0xc0 | r >> 6);
        out[n++] = (char)(0x80 | (r & 0x3f));
    } else {
        if (r >= 0x10000) {
            out[n++] = (char)(0xf0 | r >> 18);
            out[n++] = (char)(0x80 | (r >> 12 & 0x3f));
        } else {
            out[n++] = (char)(0xe0 | r >> 12);
        }
        out[n++] = (char)(0x80 | (r >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (r & 0x3f));
    }
    out[n] = 0;
    return out;
}

static bool is_blank(int r)
{
    return r == ' ' || r == '\t';
}

static bool is_newline(int r)
{
    return r == '\n' || r == '\r';
}

static bool is_space(int r)
{
    return (r >= 9 && r <= 13) || r == ' ' || r == 0x85 || r == 0xa0 || r == 0x1680 ||
           (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f ||
           r == 0x205f || r == 0x3000;
}

static bool is_digit(int r)
{
    return r >= '0' && r <= '9';
}

static bool is_separator(int r)
{
    return r == '=' || r == ':';
}

/* What may follow a number; ']' is missing in the reference too. */
static bool ends_number(int r)
{
    return is_newline(r) || is_blank(r) || r == RUNE_END || r == '}' || r == ';' || r == ',';
}

static bool ends_bare(int r)
{
    return is_newline(r) || is_blank(r) || r == RUNE_END || r == '}' || r == ']' || r == ';' ||
           r == ',';
}

static bool is_suffix(int r)
{
    return r > 0 && r < 0x80 && strchr("kKmMgGtTpPeE", r) != NULL;
}

/* --- moving through the text
 * ---------------------------------------------------------------------- */

static int next(struct lexer *lx)
{
    if (lx->pos >= lx->in.n) {
        lx->width = 0;
        return RUNE_END;
    }
    if (lx->in.p[lx->pos] == '\n') {
        lx->line++;
        lx->line_start = lx->pos;
    }
    int r = rune_read(lx->in, lx->pos, &lx->width);
    lx->pos += lx->width;
    return r;
}

static void back(struct lexer *lx)
{
    lx->pos -= lx->width;
    if (lx->pos < lx->in.n && lx->in.p[lx->pos] == '\n')
        lx->line--;
}

static int peek(struct lexer *lx)
{
    int r = next(lx);
    back(lx);
    return r;
}

/* Forgets what was read since the last item. */
static void drop(struct lexer *lx)
{
    lx->start = lx->pos;
    lx->item_line = lx->line_start;
}

static void emit_text(struct lexer *lx, enum lex_type type, struct slice text)
{
    lx->item.type = type;
    lx->item.text = text;
    lx->item.line = lx->line;
    lx->item.col = (int)((int64_t)lx->pos - (int64_t)lx->item_line - (int64_t)text.n);
    lx->emitted = true;
    drop(lx);
}

static struct slice since_start(const struct lexer *lx)
{
    return slice_of(lx->in.p + lx->start, lx->pos - lx->start);
}

static void emit(struct lexer *lx, enum lex_type type)
{
    emit_text(lx, type, since_start(lx));
}

/* A string that may have had escapes: the parts so far, then the rest. */
static void emit_string(struct lexer *lx)
{
    if (!lx->escaped) {
        emit(lx, LEX_STRING);
        return;
    }
    buf_add_slice(&lx->text, since_start(lx));
    emit_text(lx, LEX_STRING, buf_slice(&lx->text));
}

static void fail(struct lexer *lx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct lexer *lx, const char *fmt, ...)
{
    va_list ap;
    buf_clear(&lx->text);
    va_start(ap, fmt);
    buf_vprintf(&lx->text, fmt, ap);
    va_end(ap);
    lx->item.type = LEX_ERROR;
    lx->item.text = buf_slice(&lx->text);
    lx->item.line = lx->line;
    lx->item.col = (int)((int64_t)lx->pos - (int64_t)lx->line_start);
    lx->emitted = true;
    lx->place = DONE;
}

static void finish(struct lexer *lx)
{
    emit(lx, LEX_EOF);
    lx->place = DONE;
}

static void push(struct lexer *lx, enum place place)
{
    if (lx->stack.len >= lx->depth_max)
        fail(lx, "Maps and arrays are nested too deeply.");
    else
        buf_add_char(&lx->stack, (char)place);
}

static void pop(struct lexer *lx)
{
    if (lx->place == DONE)
        return;
    lx->stack.len--; /* never empty here: every value was preceded by a push */
    lx->place = lx->stack.data[lx->stack.start + lx->stack.len];
}

/* After '#' or "//": up to the end of the line, which stays. */
static void skip_comment(struct lexer *lx)
{
    int r;
    while (r = next(lx), !is_newline(r) && r != RUNE_END)
        continue;
    back(lx);
    drop(lx);
}

/* Is the rune just read the start of a comment? Then it is skipped. */
static bool comment(struct lexer *lx, int r)
{
    if (r == '/' && peek(lx) == '/') {
        next(lx);
        r = '#';
    } else if (r == '/') {
        lx->width = 1; /* peek() measured the rune after it */
    }
    if (r == '#')
        skip_comment(lx);
    return r == '#';
}

/* --- values
 * --------------------------------------------------------------------------------------- */

static void escape_hex(struct lexer *lx)
{
    unsigned value = 0;
    for (int i = 0; i < 2; i++) {
        if (is_newline(next(lx))) {
            fail(lx, "Expected two hexadecimal digits after '\\x', but hit end of line");
            return;
        }
    }
    struct slice digits = slice_of(lx->in.p + lx->pos - 2, 2);
    for (int i = 0; i < 2; i++) {
        int c = digits.p[i] | 0x20;
        if (!is_digit(digits.p[i]) && !(c >= 'a' && c <= 'f')) {
            fail(lx, "Expected two hexadecimal digits after '\\x', but got '%.*s'",
                 SLICE_FMT(digits));
            return;
        }
        value = value << 4 | (unsigned)(is_digit(digits.p[i]) ? digits.p[i] - '0' : c - 'a' + 10);
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
    int r = next(lx);
    const char *at = r > 0 && r < 0x80 ? strchr(from, r) : NULL;
    if (r == 'x') {
        escape_hex(lx);
    } else if (at) {
        buf_add_char(&lx->text, to[at - from]);
        lx->start = lx->pos;
    } else {
        fail(lx,
             "Invalid escape character '%s'. Only the following escape characters are allowed: "
             "\\xXX, \\t, \\n, \\r, \\\", \\\\.",
             rune_show(r, show));
    }
    return lx->place != DONE;
}

/* Input ended inside quotes. With nothing read since the quote it is simply the end. */
static void unterminated(struct lexer *lx)
{
    if (lx->pos > lx->start)
        fail(lx, "Unexpected EOF.");
    else
        finish(lx);
}

static void close_quote(struct lexer *lx)
{
    next(lx);
    drop(lx);
    pop(lx);
}

static void double_quoted(struct lexer *lx)
{
    for (;;) {
        int r = next(lx);
        if (r == '\\') {
            if (!escape(lx))
                return;
        } else if (r == '"') {
            back(lx);
            emit_string(lx);
            close_quote(lx);
            return;
        } else if (r == RUNE_END) {
            unterminated(lx);
            return;
        }
    }
}

static void single_quoted(struct lexer *lx)
{
    int r;
    while (r = next(lx), r != '\'' && r != RUNE_END)
        continue;
    if (r == RUNE_END) {
        unterminated(lx);
        return;
    }
    back(lx);
    emit(lx, LEX_STRING);
    close_quote(lx);
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
        int r = next(lx);
        if (r == '\\') {
            if (!escape(lx))
                return;
        } else if (r == '\'') {
            back(lx);
            emit_string(lx);
            close_quote(lx);
            return;
        } else if (ends_bare(r)) {
            break;
        }
    }
    back(lx);
    if (lx->escaped) {
        emit_string(lx);
    } else if (is_bool(since_start(lx))) {
        emit(lx, LEX_BOOL);
    } else if (lx->pos > lx->start && lx->in.p[lx->start] == '$') {
        lx->start++;
        emit(lx, LEX_VARIABLE);
    } else {
        emit(lx, LEX_STRING);
    }
    pop(lx);
}

/* ( text until a line that is only ")" */
static void block_string(struct lexer *lx)
{
    for (;;) {
        int r = next(lx);
        if (r == RUNE_END) {
            fail(lx, "Unexpected EOF processing block.");
            return;
        }
        if (r != ')' || lx->in.p[lx->pos - 2] != '\n')
            continue;
        int after = next(lx);
        if (after == '\n' || (after == RUNE_END && lx->width == 1)) {
            back(lx);
            lx->width = 1;
            back(lx);
            emit(lx, LEX_STRING);
            close_quote(lx);
            return;
        }
        if (after == RUNE_END) { /* here the reference keeps the bracket in the text; so be it */
            emit(lx, LEX_STRING);
            drop(lx);
            pop(lx);
            return;
        }
        back(lx);
    }
}

/* After YYYY-: only the one full form is a date. */
static void date(struct lexer *lx)
{
    static const char form[] = "00-00T00:00:00Z";
    char show[8];
    for (const char *f = form; *f; f++) {
        int r = next(lx);
        if (*f == '0' && !is_digit(r)) {
            fail(lx, "Expected digit in ISO8601 datetime, but found '%s' instead.",
                 rune_show(r, show));
            return;
        }
        if (*f != '0' && *f != r) {
            fail(lx, "Expected '%c' in ISO8601 datetime, but found '%s' instead.", *f,
                 rune_show(r, show));
            return;
        }
    }
    emit(lx, LEX_TIME);
    pop(lx);
}

/* After the first dot: a float, or after a second dot an address with its port. */
static void fraction(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (!is_digit(r)) {
        fail(lx, "Floats must have a digit after the '.', but got '%s' instead.",
             rune_show(r, show));
        return;
    }
    while (r = next(lx), is_digit(r))
        continue;
    enum lex_type type = LEX_FLOAT;
    if (r == '.') {
        type = LEX_STRING;
        while (r = next(lx), is_digit(r) || r == '.' || r == ':' || r == '-')
            continue;
    }
    back(lx);
    emit(lx, type);
    pop(lx);
}

/* After the first letter of a size: "1k", "1KiB"; anything more makes it a string. */
static void sized(struct lexer *lx)
{
    int r;
    while (r = next(lx), r == 'b' || r == 'B' || r == 'i' || r == 'I')
        continue;
    back(lx);
    if (!ends_number(r)) {
        bare(lx);
        return;
    }
    emit(lx, LEX_INT);
    pop(lx);
}

static void number(struct lexer *lx)
{
    for (;;) {
        int r = next(lx);
        if (is_digit(r))
            continue;
        if (r == '-') {
            if (lx->pos - lx->start == 5)
                date(lx);
            else
                fail(lx, "All ISO8601 dates must be in full Zulu form.");
        } else if (r == '.') {
            fraction(lx);
        } else if (is_suffix(r)) {
            sized(lx);
        } else if (!ends_number(r)) {
            bare(lx); /* whatever it was has been read: "3\t" keeps its backslash, "3]" its bracket
                       */
        } else {
            back(lx);
            emit(lx, LEX_INT);
            pop(lx);
        }
        return;
    }
}

/* After '-'. */
static void negative(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (r == '.') {
        fail(lx, "Floats must start with a digit, not '.'.");
        return;
    }
    if (!is_digit(r)) {
        fail(lx, "Expected a digit but got '%s'.", rune_show(r, show));
        return;
    }
    while (r = next(lx), is_digit(r))
        continue;
    if (r == '.') {
        fraction(lx);
    } else if (is_suffix(r)) {
        sized(lx);
    } else {
        back(lx);
        emit(lx, LEX_INT);
        pop(lx);
    }
}

/* A value; where to go on after it is on the stack. */
static void value(struct lexer *lx)
{
    int r;
    while (r = next(lx), is_blank(r))
        drop(lx);
    lx->escaped = false;
    buf_clear(&lx->text);
    switch (r) {
    case '[':
        drop(lx);
        emit(lx, LEX_ARRAY_START);
        lx->place = ARRAY;
        return;
    case '{':
        drop(lx);
        emit(lx, LEX_MAP_START);
        lx->place = MAP;
        return;
    case '\'':
        drop(lx);
        single_quoted(lx);
        return;
    case '"':
        drop(lx);
        double_quoted(lx);
        return;
    case '(':
        drop(lx);
        block_string(lx);
        return;
    case '-':
        negative(lx);
        return;
    case '.':
        fail(lx, "Floats must start with a digit");
        return;
    default:
        break;
    }
    if (is_newline(r)) {
        fail(lx, "Expected value but found new line");
    } else if (is_digit(r)) {
        number(lx);
    } else {
        back(lx);
        bare(lx);
    }
}

/* --- keys and includes
 * ---------------------------------------------------------------------------- */

/* Reads up to the quote that opened the key. False at the end of input. */
static bool quoted_key(struct lexer *lx, int quote)
{
    int r;
    next(lx);
    drop(lx);
    while (r = peek(lx), r != quote && r != RUNE_END)
        next(lx);
    if (r == RUNE_END)
        return false;
    emit(lx, LEX_KEY);
    next(lx);
    drop(lx);
    return true;
}

static void include(struct lexer *lx)
{
    static const struct {
        char start;
        const char *what;
    } wrong[] = {{'[', "start of an array"},
                 {'{', "start of a map"},
                 {'(', "start of a block"},
                 {'-', "start of a number"},
                 {'\\', "escape sequence"}};
    int r;
    while (r = next(lx), is_blank(r))
        drop(lx);
    if (r == '\'' || r == '"') {
        int c;
        drop(lx);
        while (c = next(lx), c != r && c != RUNE_END)
            continue;
        if (c == RUNE_END) {
            fail(lx, "Unexpected EOF in %s include", r == '"' ? "double quoted" : "quoted");
            return;
        }
        back(lx);
        emit(lx, LEX_INCLUDE);
        close_quote(lx);
        return;
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (r == wrong[i].start) {
            fail(lx, "Expected include value but found %s", wrong[i].what);
            return;
        }
    }
    if (is_digit(r) || is_newline(r)) {
        fail(lx, "Expected include value but found %s",
             is_digit(r) ? "start of a number" : "new line");
        return;
    }
    while (!is_newline(r) && !is_blank(r) && r != RUNE_END && r != ';' && r != '}' && r != '\'')
        r = next(lx);
    back(lx);
    emit(lx, LEX_INCLUDE);
    if (r == '\'')
        close_quote(lx);
    else
        pop(lx);
}

/* A key without quotes, up to a blank, newline or separator; `after` is where a value would end,
 * `sep` what comes next. "include" followed by a blank is no key. */
static void bare_key(struct lexer *lx, enum place sep, enum place after)
{
    int r;
    drop(lx);
    next(lx);
    while (r = peek(lx), !is_space(r) && !is_separator(r) && r != RUNE_END)
        next(lx);
    if (r == RUNE_END && sep == SEP_MAP) {
        fail(lx, "Unexpected EOF processing map key.");
        return;
    }
    bool keyword = is_space(r) && slice_ieq(since_start(lx), SLICE("include"));
    if (keyword) {
        drop(lx);
    } else {
        emit(lx, LEX_KEY);
        lx->place = sep;
    }
    if (keyword || sep == SEP_TOP) /* SEP_MAP pushes later: "}" may come in place of a value */
        push(lx, after);
    if (keyword && lx->place != DONE)
        include(lx);
}

/* A key of the file itself, or of the braces round it. */
static void top_key(struct lexer *lx, enum place after)
{
    char show[8];
    int r = peek(lx);
    if (is_separator(r)) {
        fail(lx, "Unexpected key separator '%s'", rune_show(r, show));
    } else if (r == '"' || r == '\'') {
        if (!quoted_key(lx, r)) {
            unterminated(lx);
            return;
        }
        lx->place = SEP_TOP;
        push(lx, after);
    } else {
        bare_key(lx, SEP_TOP, after);
    }
}

/* --- places
 * --------------------------------------------------------------------------------------- */

/* TOP and BLOCK: a key, or the end. */
static void at_top(struct lexer *lx)
{
    bool block = lx->place == BLOCK;
    int r = next(lx);
    if (is_space(r)) {
        drop(lx);
    } else if (r == '{') { /* braces in braces end like the first */
        push(lx, block ? END_BLOCK : TOP);
        drop(lx);
        if (lx->place != DONE)
            lx->place = BLOCK;
    } else if (r == '}' && block) {
        drop(lx);
        pop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == RUNE_END || r == '/') {
        unterminated(lx);
    } else {
        back(lx);
        top_key(lx, block ? AFTER_BLOCK : AFTER_TOP);
    }
}

static void after_top(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (comment(lx, r)) {
        lx->place = TOP;
    } else if (r == '/' || is_blank(r)) {
        return; /* a lone slash counts as a blank */
    } else if (is_newline(r) || r == RUNE_END || r == ';' || r == ',' || r == '}') {
        drop(lx);
        lx->place = TOP;
    } else {
        fail(lx,
             "Expected a top-level value to end with a new line, comment or EOF, but got '%s' "
             "instead.",
             rune_show(r, show));
    }
}

static void after_block(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (comment(lx, r) || r == '/' || is_blank(r))
        return;
    if (is_newline(r) || r == ';' || r == ',') {
        drop(lx);
        lx->place = BLOCK;
    } else if (r == '}') {
        back(lx);
        lx->place = END_BLOCK;
    } else {
        fail(lx,
             "Expected a block-level value to end with a new line, comment or EOF, but got '%s' "
             "instead.",
             rune_show(r, show));
    }
}

static void end_block(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (comment(lx, r)) {
        lx->place = BLOCK;
    } else if (r == '/' || is_newline(r) || is_blank(r)) {
        return;
    } else if (r == ';' || r == ',') {
        drop(lx);
        lx->place = BLOCK;
    } else if (r == '}') {
        drop(lx);
        pop(lx);
    } else {
        fail(lx, "Expected a block-level to end with a '}', but got '%s' instead.",
             rune_show(r, show));
    }
}

/* Between a key of the file and its value. */
static void sep_top(struct lexer *lx)
{
    int r = next(lx);
    if (is_space(r)) {
        drop(lx);
    } else if (is_separator(r)) {
        drop(lx);
        value(lx);
    } else if (r == RUNE_END) {
        finish(lx);
    } else {
        back(lx);
        value(lx);
    }
}

static void end_map(struct lexer *lx)
{
    drop(lx);
    emit(lx, LEX_MAP_END);
    pop(lx);
}

static void in_map(struct lexer *lx)
{
    char show[8];
    int r = peek(lx);
    if (is_separator(r)) {
        fail(lx, "Unexpected key separator '%s'.", rune_show(r, show));
    } else if (r == ']') {
        fail(lx, "Unexpected array end ']' processing map.");
    } else if (is_space(r)) {
        next(lx);
        drop(lx);
    } else if (r == '}') {
        next(lx);
        end_map(lx);
    } else if (r == '"' || r == '\'') {
        if (!quoted_key(lx, r))
            fail(lx, "Unexpected EOF processing %s map key.",
                 r == '"' ? "double quoted" : "quoted");
        else
            lx->place = SEP_MAP;
    } else if (r == RUNE_END) {
        fail(lx, "Unexpected EOF processing map.");
    } else {
        if (r == '/' || r == '#') {
            next(lx);
            if (comment(lx, r))
                return;
        }
        bare_key(lx, SEP_MAP, AFTER_MAP);
    }
}

/* Between a key of a map and its value: first the separator, which may be missing. */
static void sep_map(struct lexer *lx)
{
    int r;
    while (r = next(lx), is_space(r))
        drop(lx);
    if (is_separator(r)) {
        drop(lx);
        while (r = next(lx), is_space(r))
            drop(lx);
    }
    if (r == ',') {
        fail(lx, "Unexpected map value terminator \",\".");
    } else if (r == '}') {
        end_map(lx);
    } else {
        back(lx);
        push(lx, AFTER_MAP);
        if (lx->place != DONE)
            value(lx);
    }
}

static void after_map(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (is_blank(r)) {
        drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ';' || r == ',' || r == '/' || is_newline(r)) {
        drop(lx);
        lx->place = MAP;
    } else if (r == '}') {
        end_map(lx);
    } else {
        fail(lx,
             "Expected a map value terminator \",\" or a map terminator \"}\", but got '%s' "
             "instead.",
             rune_show(r, show));
    }
}

static void end_array(struct lexer *lx)
{
    drop(lx);
    emit(lx, LEX_ARRAY_END);
    pop(lx);
}

static void in_array(struct lexer *lx)
{
    int r = next(lx);
    if (is_space(r)) {
        drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ',' || r == '/') {
        fail(lx, "Unexpected array value terminator ','.");
    } else if (r == ']') {
        end_array(lx);
    } else {
        back(lx);
        push(lx, AFTER_ARRAY);
        if (lx->place != DONE)
            value(lx);
    }
}

static void after_array(struct lexer *lx)
{
    char show[8];
    int r = next(lx);
    if (is_blank(r)) {
        drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ',' || r == '/' || is_newline(r)) {
        drop(lx);
        lx->place = ARRAY;
    } else if (r == ']') {
        end_array(lx);
    } else {
        fail(lx,
             "Expected an array value terminator \",\" or an array terminator \"]\", but got '%s' "
             "instead.",
             rune_show(r, show));
    }
}

/* --- the door
 * ------------------------------------------------------------------------------------- */

void lex_init(struct lexer *lx, struct slice text, unsigned depth_max)
{
    *lx = (struct lexer){.in = text, .line = 1, .place = TOP, .depth_max = depth_max};
}

void lex_release(struct lexer *lx)
{
    buf_release(&lx->stack);
    buf_release(&lx->text);
}

void lex_next(struct lexer *lx, struct lex_item *item)
{
    lx->emitted = false;
    while (!lx->emitted) {
        switch ((enum place)lx->place) {
        case TOP:
        case BLOCK:
            at_top(lx);
            break;
        case AFTER_TOP:
            after_top(lx);
            break;
        case AFTER_BLOCK:
            after_block(lx);
            break;
        case END_BLOCK:
            end_block(lx);
            break;
        case SEP_TOP:
            sep_top(lx);
            break;
        case MAP:
            in_map(lx);
            break;
        case SEP_MAP:
            sep_map(lx);
            break;
        case AFTER_MAP:
            after_map(lx);
            break;
        case ARRAY:
            in_array(lx);
            break;
        case AFTER_ARRAY:
            after_array(lx);
            break;
        case DONE:
            emit(lx, LEX_EOF);
            break;
        }
    }
    *item = lx->item;
}

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
 * the odd thing is what nats-server does. Two steps keep its way of counting: lex_read() moves the
 * line when it reads a newline, and lex_back() takes the number back but not the place where the
 * line starts.
 *
 * What always holds: start <= pos <= in.n; the stack never grows beyond depth_max; NUL reads as the
 * end of input. Failure: an item LEX_ERROR with the reference's text, then LEX_EOF for ever.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/lex_inside.h"

static bool is_separator(int r)
{
    return r == '=' || r == ':';
}

/* After '#' or "//": up to the end of the line, which stays. */
static void skip_comment(struct lexer *lx)
{
    int r;
    while (r = lex_read(lx), !rune_is_newline(r) && r != RUNE_END)
        continue;
    lex_back(lx);
    lex_drop(lx);
}

/* Is the rune just read the start of a comment? Then it is skipped. */
static bool comment(struct lexer *lx, int r)
{
    if (r == '/' && lex_peek(lx) == '/') {
        lex_read(lx);
        r = '#';
    } else if (r == '/') {
        lx->width = 1; /* lex_peek() measured the rune after it */
    }
    if (r == '#')
        skip_comment(lx);
    return r == '#';
}

/* --- keys and includes --------------------------------------------------------------- */

/* Reads up to the quote that opened the key. False at the end of input. */
static bool quoted_key(struct lexer *lx, int quote)
{
    int r;
    lex_read(lx);
    lex_drop(lx);
    while (r = lex_peek(lx), r != quote && r != RUNE_END)
        lex_read(lx);
    if (r == RUNE_END)
        return false;
    lex_emit(lx, LEX_KEY);
    lex_read(lx);
    lex_drop(lx);
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
    while (r = lex_read(lx), rune_is_blank(r))
        lex_drop(lx);
    if (r == '\'' || r == '"') {
        int c;
        lex_drop(lx);
        while (c = lex_read(lx), c != r && c != RUNE_END)
            continue;
        if (c == RUNE_END) {
            lex_fail(lx, "Unexpected EOF in %s include", r == '"' ? "double quoted" : "quoted");
            return;
        }
        lex_back(lx);
        lex_emit(lx, LEX_INCLUDE);
        lex_close_quote(lx);
        return;
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (r == wrong[i].start) {
            lex_fail(lx, "Expected include value but found %s", wrong[i].what);
            return;
        }
    }
    if (rune_is_digit(r) || rune_is_newline(r)) {
        lex_fail(lx, "Expected include value but found %s",
                 rune_is_digit(r) ? "start of a number" : "new line");
        return;
    }
    while (!rune_is_newline(r) && !rune_is_blank(r) && r != RUNE_END && r != ';' && r != '}' &&
           r != '\'')
        r = lex_read(lx);
    lex_back(lx);
    lex_emit(lx, LEX_INCLUDE);
    if (r == '\'')
        lex_close_quote(lx);
    else
        lex_pop(lx);
}

/* A key without quotes, up to a blank, newline or separator; `after` is where a value would end,
 * `sep` what comes next. "include" followed by a blank is no key. */
static void bare_key(struct lexer *lx, enum place sep, enum place after)
{
    int r;
    lex_drop(lx);
    lex_read(lx);
    while (r = lex_peek(lx), !rune_is_space(r) && !is_separator(r) && r != RUNE_END)
        lex_read(lx);
    if (r == RUNE_END && sep == SEP_MAP) {
        lex_fail(lx, "Unexpected EOF processing map key.");
        return;
    }
    bool keyword = rune_is_space(r) && slice_ieq(lex_since(lx), SLICE("include"));
    if (keyword) {
        lex_drop(lx);
    } else {
        lex_emit(lx, LEX_KEY);
        lx->place = sep;
    }
    if (keyword || sep == SEP_TOP) /* SEP_MAP pushes later: "}" may come in place of a value */
        lex_push(lx, after);
    if (keyword && lx->place != DONE)
        include(lx);
}

/* A key of the file itself, or of the braces round it. */
static void top_key(struct lexer *lx, enum place after)
{
    char show[8];
    int r = lex_peek(lx);
    if (is_separator(r)) {
        lex_fail(lx, "Unexpected key separator '%s'", rune_show(r, show));
    } else if (r == '"' || r == '\'') {
        if (!quoted_key(lx, r)) {
            lex_unterminated(lx);
            return;
        }
        lx->place = SEP_TOP;
        lex_push(lx, after);
    } else {
        bare_key(lx, SEP_TOP, after);
    }
}

/* --- places -------------------------------------------------------------------------- */

/* TOP and BLOCK: a key, or the end. */
static void at_top(struct lexer *lx)
{
    bool block = lx->place == BLOCK;
    int r = lex_read(lx);
    if (rune_is_space(r)) {
        lex_drop(lx);
    } else if (r == '{') { /* braces in braces end like the first */
        lex_push(lx, block ? END_BLOCK : TOP);
        lex_drop(lx);
        if (lx->place != DONE)
            lx->place = BLOCK;
    } else if (r == '}' && block) {
        lex_drop(lx);
        lex_pop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == RUNE_END || r == '/') {
        lex_unterminated(lx);
    } else {
        lex_back(lx);
        top_key(lx, block ? AFTER_BLOCK : AFTER_TOP);
    }
}

static void after_top(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (comment(lx, r)) {
        lx->place = TOP;
    } else if (r == '/' || rune_is_blank(r)) {
        return; /* a lone slash counts as a blank */
    } else if (rune_is_newline(r) || r == RUNE_END || r == ';' || r == ',' || r == '}') {
        lex_drop(lx);
        lx->place = TOP;
    } else {
        lex_fail(lx,
                 "Expected a top-level value to end with a new line, comment or EOF, but got '%s' "
                 "instead.",
                 rune_show(r, show));
    }
}

static void after_block(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (comment(lx, r) || r == '/' || rune_is_blank(r))
        return;
    if (rune_is_newline(r) || r == ';' || r == ',') {
        lex_drop(lx);
        lx->place = BLOCK;
    } else if (r == '}') {
        lex_back(lx);
        lx->place = END_BLOCK;
    } else {
        lex_fail(
            lx,
            "Expected a block-level value to end with a new line, comment or EOF, but got '%s' "
            "instead.",
            rune_show(r, show));
    }
}

static void end_block(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (comment(lx, r)) {
        lx->place = BLOCK;
    } else if (r == '/' || rune_is_newline(r) || rune_is_blank(r)) {
        return;
    } else if (r == ';' || r == ',') {
        lex_drop(lx);
        lx->place = BLOCK;
    } else if (r == '}') {
        lex_drop(lx);
        lex_pop(lx);
    } else {
        lex_fail(lx, "Expected a block-level to end with a '}', but got '%s' instead.",
                 rune_show(r, show));
    }
}

/* Between a key of the file and its value. */
static void sep_top(struct lexer *lx)
{
    int r = lex_read(lx);
    if (rune_is_space(r)) {
        lex_drop(lx);
    } else if (is_separator(r)) {
        lex_drop(lx);
        lex_value(lx);
    } else if (r == RUNE_END) {
        lex_finish(lx);
    } else {
        lex_back(lx);
        lex_value(lx);
    }
}

static void end_map(struct lexer *lx)
{
    lex_drop(lx);
    lex_emit(lx, LEX_MAP_END);
    lex_pop(lx);
}

static void in_map(struct lexer *lx)
{
    char show[8];
    int r = lex_peek(lx);
    if (is_separator(r)) {
        lex_fail(lx, "Unexpected key separator '%s'.", rune_show(r, show));
    } else if (r == ']') {
        lex_fail(lx, "Unexpected array end ']' processing map.");
    } else if (rune_is_space(r)) {
        lex_read(lx);
        lex_drop(lx);
    } else if (r == '}') {
        lex_read(lx);
        end_map(lx);
    } else if (r == '"' || r == '\'') {
        if (!quoted_key(lx, r))
            lex_fail(lx, "Unexpected EOF processing %s map key.",
                     r == '"' ? "double quoted" : "quoted");
        else
            lx->place = SEP_MAP;
    } else if (r == RUNE_END) {
        lex_fail(lx, "Unexpected EOF processing map.");
    } else {
        if (r == '/' || r == '#') {
            lex_read(lx);
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
    while (r = lex_read(lx), rune_is_space(r))
        lex_drop(lx);
    if (is_separator(r)) {
        lex_drop(lx);
        while (r = lex_read(lx), rune_is_space(r))
            lex_drop(lx);
    }
    if (r == ',') {
        lex_fail(lx, "Unexpected map value terminator \",\".");
    } else if (r == '}') {
        end_map(lx);
    } else {
        lex_back(lx);
        lex_push(lx, AFTER_MAP);
        if (lx->place != DONE)
            lex_value(lx);
    }
}

static void after_map(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (rune_is_blank(r)) {
        lex_drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ';' || r == ',' || r == '/' || rune_is_newline(r)) {
        lex_drop(lx);
        lx->place = MAP;
    } else if (r == '}') {
        end_map(lx);
    } else {
        lex_fail(lx,
                 "Expected a map value terminator \",\" or a map terminator \"}\", but got '%s' "
                 "instead.",
                 rune_show(r, show));
    }
}

static void end_array(struct lexer *lx)
{
    lex_drop(lx);
    lex_emit(lx, LEX_ARRAY_END);
    lex_pop(lx);
}

static void in_array(struct lexer *lx)
{
    int r = lex_read(lx);
    if (rune_is_space(r)) {
        lex_drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ',' || r == '/') {
        lex_fail(lx, "Unexpected array value terminator ','.");
    } else if (r == ']') {
        end_array(lx);
    } else {
        lex_back(lx);
        lex_push(lx, AFTER_ARRAY);
        if (lx->place != DONE)
            lex_value(lx);
    }
}

static void after_array(struct lexer *lx)
{
    char show[8];
    int r = lex_read(lx);
    if (rune_is_blank(r)) {
        lex_drop(lx);
    } else if (comment(lx, r)) {
        return;
    } else if (r == ',' || r == '/' || rune_is_newline(r)) {
        lex_drop(lx);
        lx->place = ARRAY;
    } else if (r == ']') {
        end_array(lx);
    } else {
        lex_fail(
            lx,
            "Expected an array value terminator \",\" or an array terminator \"]\", but got '%s' "
            "instead.",
            rune_show(r, show));
    }
}

/* --- the door ------------------------------------------------------------------------ */

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
            lex_emit(lx, LEX_EOF);
            break;
        }
    }
    *item = lx->item;
}

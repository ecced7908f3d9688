/* conf/lex_text.c -- the reading head: runes, lines, items
 *
 * Counts lines and columns as the reference does: reading a newline moves the line, taking it back
 * takes the number back but not the place where the line starts; a column is the distance from the
 * newline before the item.
 *
 * What always holds: start <= pos <= in.n; the stack never grows beyond depth_max.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "conf/lex_inside.h"

/* --- runes --------------------------------------------------------------------------- */

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
const char *rune_show(int r, char out[8])
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

bool rune_is_blank(int r)
{
    return r == ' ' || r == '\t';
}

bool rune_is_newline(int r)
{
    return r == '\n' || r == '\r';
}

bool rune_is_space(int r)
{
    return (r >= 9 && r <= 13) || r == ' ' || r == 0x85 || r == 0xa0 || r == 0x1680 ||
           (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f ||
           r == 0x205f || r == 0x3000;
}

bool rune_is_digit(int r)
{
    return r >= '0' && r <= '9';
}

/* --- moving through the text --------------------------------------------------------- */

int lex_read(struct lexer *lx)
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

void lex_back(struct lexer *lx)
{
    lx->pos -= lx->width;
    if (lx->pos < lx->in.n && lx->in.p[lx->pos] == '\n')
        lx->line--;
}

int lex_peek(struct lexer *lx)
{
    int r = lex_read(lx);
    lex_back(lx);
    return r;
}

/* Forgets what was read since the last item. */
void lex_drop(struct lexer *lx)
{
    lx->start = lx->pos;
    lx->item_line = lx->line_start;
}

void lex_emit_text(struct lexer *lx, enum lex_type type, struct slice text)
{
    lx->item.type = type;
    lx->item.text = text;
    lx->item.line = lx->line;
    lx->item.col = (int)((int64_t)lx->pos - (int64_t)lx->item_line - (int64_t)text.n);
    lx->emitted = true;
    lex_drop(lx);
}

struct slice lex_since(const struct lexer *lx)
{
    return slice_of(lx->in.p + lx->start, lx->pos - lx->start);
}

void lex_emit(struct lexer *lx, enum lex_type type)
{
    lex_emit_text(lx, type, lex_since(lx));
}

void lex_fail(struct lexer *lx, const char *fmt, ...)
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

void lex_finish(struct lexer *lx)
{
    lex_emit(lx, LEX_EOF);
    lx->place = DONE;
}

void lex_push(struct lexer *lx, enum place place)
{
    if (lx->stack.len >= lx->depth_max)
        lex_fail(lx, "Maps and arrays are nested too deeply.");
    else
        buf_add_char(&lx->stack, (char)place);
}

void lex_pop(struct lexer *lx)
{
    if (lx->place == DONE)
        return;
    lx->stack.len--; /* never empty here: every value was preceded by a push */
    lx->place = (unsigned char)lx->stack.data[lx->stack.start + lx->stack.len];
}

void lex_unterminated(struct lexer *lx)
{
    if (lx->pos > lx->start)
        lex_fail(lx, "Unexpected EOF.");
    else
        lex_finish(lx);
}

void lex_close_quote(struct lexer *lx)
{
    lex_read(lx);
    lex_drop(lx);
    lex_pop(lx);
}

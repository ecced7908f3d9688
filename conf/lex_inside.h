/* conf/lex_inside.h -- the reading head of the lexer; for lex*.c only
 *
 * next() reads a rune, back() takes it back, drop() forgets what was read since the last item,
 * emit() makes an item of it. back() may be called once per next().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_LEX_INSIDE_H
#define CONF_LEX_INSIDE_H

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

int lex_read(struct lexer *lx); /* the next rune; RUNE_END at the end and for NUL */
void lex_back(struct lexer *lx);
int lex_peek(struct lexer *lx);
void lex_drop(struct lexer *lx);
struct slice lex_since(const struct lexer *lx); /* what was read since the last drop */
void lex_emit(struct lexer *lx, enum lex_type type);
void lex_emit_text(struct lexer *lx, enum lex_type type, struct slice text);
void lex_fail(struct lexer *lx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lex_finish(struct lexer *lx); /* emits the end */
/* Where to go on after a value. */
void lex_push(struct lexer *lx, enum place place);
void lex_pop(struct lexer *lx);
/* Input ended inside quotes. With nothing read since the quote it is simply the end. */
void lex_unterminated(struct lexer *lx);
/* Past the closing quote, then on. */
void lex_close_quote(struct lexer *lx);
/* A value (lex_value.c); where to go on after it is on the stack. */
void lex_value(struct lexer *lx);

/* How a rune is shown in a message. */
const char *rune_show(int r, char out[8]);
bool rune_is_blank(int r);
bool rune_is_newline(int r);
bool rune_is_space(int r);
bool rune_is_digit(int r);

#endif

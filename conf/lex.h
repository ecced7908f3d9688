/* conf/lex.h -- text -> items, one at a time
 *
 *     struct lexer lx;
 *     lex_init(&lx, text, depth_max);
 *     do lex_next(&lx, &item); while (item.type != LEX_EOF && item.type != LEX_ERROR);
 *     lex_release(&lx);
 *
 * Pure. The text stays borrowed until lex_release(); item.text is borrowed until the next
 * lex_next().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONF_LEX_H
#define CONF_LEX_H

#include "base/buf.h"

enum lex_type {
    LEX_EOF,
    LEX_ERROR, /* text says what is wrong; only LEX_EOF follows */
    LEX_KEY,
    LEX_STRING,
    LEX_BOOL,
    LEX_INT, /* digits with their suffix */
    LEX_FLOAT,
    LEX_TIME,
    LEX_VARIABLE, /* the name without $ */
    LEX_INCLUDE,  /* the path */
    LEX_MAP_START,
    LEX_MAP_END,
    LEX_ARRAY_START,
    LEX_ARRAY_END,
};

struct lex_item {
    enum lex_type type;
    struct slice text;
    int line, col; /* of the start, as nats-server counts: col is 0-based in line 1 and 1-based
                      after it */
};

struct lexer {
    struct slice in;      /* borrowed */
    size_t pos;           /* next byte to read */
    size_t start;         /* first byte of the item under way */
    size_t width;         /* bytes of the last rune: what back() takes back; 0 at the end */
    size_t line_start;    /* the newline before pos; 0 in the first line */
    size_t item_line;     /* the newline before start */
    int line;             /* newlines read, plus one */
    int place;            /* enum place: what may come next */
    struct buf stack;     /* places to return to, a byte each */
    size_t depth_max;     /* the most of them */
    struct buf text;      /* unescaped string parts; the text of an error */
    bool escaped;         /* the string under way has had an escape */
    bool emitted;         /* the item asked for is ready */
    struct lex_item item; /* it */
};

void lex_init(struct lexer *lx, struct slice text, unsigned depth_max);
void lex_release(struct lexer *lx);
void lex_next(struct lexer *lx, struct lex_item *item);

#endif

/* base/buf.c -- an owned, growing run of bytes; see buf.h
 *
 *     data: | eaten | content        | spare |
 *           0       start            +len    cap
 *
 * What always holds
 *   (1) start + len <= cap; data is NULL exactly when cap is 0.
 *   (2) An empty buffer starts at 0 again after buf_consume(), so a queue that drains never moves.
 *   (3) Content is moved to the front only when at least as much was eaten as is left: each byte
 *       pays for at most one move.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/digits.h"
#include "base/mem.h"

#define FIRST_CAP 64

void buf_init(struct buf *b)
{
    *b = (struct buf)BUF_INIT;
}

void buf_release(struct buf *b)
{
    free(b->data);
    buf_init(b);
}

void buf_clear(struct buf *b)
{
    b->start = b->len = 0;
}

static bool make_room(struct buf *b, size_t n)
{
    size_t need;
    ASSERT(!__builtin_add_overflow(b->len, n, &need) && need <= SIZE_MAX / 4);
    if (need <= b->cap && b->start >= b->len) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
        return true;
    }
    size_t cap = b->cap ? b->cap : FIRST_CAP;
    while (cap < need)
        cap *= 2;
    if (cap == b->cap) /* it would fit, but moving for every few bytes eaten is quadratic */
        cap *= 2;
    char *data = b->start ? try_malloc(cap) : try_realloc(b->data, cap);
    if (!data)
        return false;
    if (b->start) {
        memcpy(data, b->data + b->start, b->len);
        free(b->data);
        b->start = 0;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

char *buf_try_reserve(struct buf *b, size_t n)
{
    if ((!b->data || n > b->cap - b->start - b->len) && !make_room(b, n))
        return NULL;
    return b->data + b->start + b->len;
}

char *buf_reserve(struct buf *b, size_t n)
{
    char *at = buf_try_reserve(b, n);
    if (!at)
        mem_refused(n);
    return at;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (!n)
        return;
    memcpy(buf_reserve(b, n), p, n);
    b->len += n;
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    *buf_reserve(b, 1) = c;
    b->len++;
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    buf_commit(b, digits_put(buf_reserve(b, DIGITS_MAX), v));
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    char *at = buf_reserve(b, FIRST_CAP);
    size_t room = b->cap - b->start - b->len;
    int n = vsnprintf(at, room, fmt, ap);
    ASSERT(n >= 0);
    if ((size_t)n >= room) {
        at = buf_reserve(b, (size_t)n + 1);
        n = vsnprintf(at, (size_t)n + 1, fmt, again);
        ASSERT(n >= 0);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    b->len -= n;
    b->start = b->len ? b->start + n : 0;
}

const char *buf_cstr(struct buf *b)
{
    *buf_reserve(b, 1) = '\0';
    return b->data + b->start;
}

char *buf_steal(struct buf *b)
{
    *buf_reserve(b, 1) = '\0';
    if (b->start)
        memmove(b->data, b->data + b->start, b->len + 1);
    char *s = b->data;
    buf_init(b);
    return s;
}

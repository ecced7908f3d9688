/* base/buf.h -- an owned, growing run of bytes
 *
 *     struct buf b = BUF_INIT;
 *     buf_add(&b, "PONG\r\n", 6);
 *     buf_printf(&b, "%d", 7);
 *     buf_release(&b);
 *
 * Growth is by doubling and dies loudly on lack of memory; whoever lets a peer fill a buffer checks
 * the limit first. start/len let a consumer take bytes off the front without moving the rest.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/slice.h"

struct buf {
    char *data;   /* owned, NULL while nothing was ever added */
    size_t start; /* first byte still wanted */
    size_t len;   /* bytes from start on */
    size_t cap;   /* size of data */
};

#define BUF_INIT                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }

void buf_init(struct buf *b);
/* Gives the memory back; b is as after buf_init(). */
void buf_release(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);
/* Room for n more bytes at the returned place; buf_commit() makes them count. */
char *buf_reserve(struct buf *b, size_t n);
/* The same where a peer says how much: NULL when the memory is refused, and b is as it was. */
char *buf_try_reserve(struct buf *b, size_t n);
static inline void buf_commit(struct buf *b, size_t n)
{
    b->len += n;
}
void buf_add(struct buf *b, const void *p, size_t n);
static inline void buf_add_slice(struct buf *b, struct slice s)
{
    if (s.n)
        buf_add(b, s.p, s.n);
}
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Takes n bytes off the front. */
void buf_consume(struct buf *b, size_t n);
/* Makes the rest a C string: a NUL after the last byte, not counted in len. */
const char *buf_cstr(struct buf *b);
/* The content, borrowed until the next call that changes b. */
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data ? b->data + b->start : NULL, b->len};
}
/* Hands the memory over as a C string: the caller frees it; b is empty afterwards. */
char *buf_steal(struct buf *b);

#endif

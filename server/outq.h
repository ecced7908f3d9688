/* server/outq.h -- bytes that wait to be sent: a chain of chunks and of references to messages
 *
 *     head                                                                  tail
 *     [1000 B: "MSG a 1 20000"] → [ref: msg, 20000 B] → [1000 B: "MSG b …"] → [64 KiB: …]
 *
 * Chunks never move and are never joined: what was written once stays where it is until the kernel
 * has it. The first chunk after nothing or after a reference is small (most answers are), those
 * after it hold 64 KiB and come from a pool that all connections of a loop share. Pure: knows no
 * socket.
 *
 *     char *p = outq_reserve(&q, pool, 100);  n = format(p);  outq_commit(&q, n);
 *     n = outq_iov(&q, iov, ARRAY_LEN(iov));  sent = writev(…);  outq_take(&q, pool, sent);
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OUTQ_H
#define SERVER_OUTQ_H

#include <sys/uio.h>

#include "base/msg.h"

struct outq_seg;

struct outq {
    struct outq_seg *head, *tail;
    size_t bytes; /* all that waits */
};

/* Free chunks of 64 KiB; zero is an empty pool. */
struct outq_pool {
    struct outq_seg *free;
    unsigned n, used; /* used: taken since the last outq_pool_trim() */
};

/* Room for n more bytes in one piece; dies loudly on lack of memory. Valid until the next call. */
char *outq_reserve(struct outq *q, struct outq_pool *pool, size_t n);
/* n of the bytes last reserved count. */
void outq_commit(struct outq *q, size_t n);
/* Bytes [from, from + n) of m->data; takes a reference of its own. */
void outq_ref(struct outq *q, struct msg *m, size_t from, size_t n);
/* Fills iov with the front of the queue; returns how many. */
int outq_iov(const struct outq *q, struct iovec *iov, int max);
/* The front n bytes are gone. */
void outq_take(struct outq *q, struct outq_pool *pool, size_t n);
void outq_release(struct outq *q, struct outq_pool *pool);

/* Gives back what was not needed since the last call; true when something is left. */
bool outq_pool_trim(struct outq_pool *pool);
void outq_pool_release(struct outq_pool *pool);

#endif

/* base/mem.h -- memory whose failure ends the process, and memory whose failure is answered
 *
 * xmalloc() and its family never return NULL: refused, they log one line and end the process with
 * MEM_EXIT_STATUS. That loses nothing acknowledged, because an ack is born on the disk, and a
 * supervisor has the server back in milliseconds. Use them for what is small and bounded; libevent,
 * jansson and OpenSSL use them, too (loop.h, json.h, digest.h). try_malloc() may return NULL: use
 * it for what a peer can make large, after the limit was checked, and refuse that peer. fault.h can
 * make the n-th try_malloc() fail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* EX_OSERR of sysexits.h. No other end of the process has it. */
#define MEM_EXIT_STATUS 71

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xcalloc(size_t count, size_t size)
    __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull, warn_unused_result));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* printf into owned memory. */
char *xasprintf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull, warn_unused_result));

/* Once, before anything else: what is freed is merged with its neighbours then, not all of it at
 * once by some later and larger request (30 ms where 100,000 small pieces had been freed). */
void mem_settle(void);

/* n bytes that we can't do without were refused: the one line, and the end. */
void mem_refused(size_t n) __attribute__((noreturn, cold));

void *try_malloc(size_t n) __attribute__((malloc, warn_unused_result));
void *try_realloc(void *p, size_t n) __attribute__((warn_unused_result));

/* The state that every ASSERT guards is ours alone; it stays on in release builds. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            assert_failed(#cond, __FILE__, __LINE__);                                              \
    } while (0)
void assert_failed(const char *what, const char *file, int line) __attribute__((noreturn, cold));

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))

#endif

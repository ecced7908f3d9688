/* base/mem.c -- memory whose failure is loud, and memory whose failure is answered; see mem.h
 *
 * The loud half says its one line through log.h (which formats on the stack, so it works without
 * memory) and aborts. The quiet half asks fault.h first, so tests can make the n-th one fail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"

static void no_memory(size_t n) __attribute__((noreturn, cold));

static void no_memory(size_t n)
{
    log_fatal("Out of memory: %zu bytes were refused", n);
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        no_memory(n);
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        no_memory(count * size);
    return p;
}

void *xrealloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (!q)
        no_memory(n);
    return q;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

char *xasprintf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    if (n < 0 || !out)
        no_memory(0);
    return out;
}

void *try_malloc(size_t n)
{
    return fault_hit("malloc") ? NULL : malloc(n ? n : 1);
}

void *try_realloc(void *p, size_t n)
{
    return fault_hit("malloc") ? NULL : realloc(p, n ? n : 1);
}

void assert_failed(const char *what, const char *file, int line)
{
    log_fatal("ASSERT(%s) failed at %s:%d: this is our bug", what, file, line);
    abort();
}

/* base/mem.c -- memory whose failure ends the process, and memory whose failure is answered
 *
 * The loud half says its one line through log.h (which formats on the stack, so it works without
 * memory) and ends the process at once: no exit handlers, nothing that allocates. The quiet half
 * asks fault.h first, so tests can make the n-th one fail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"

void mem_settle(void)
{
    (void)mallopt(M_MXFAST, 0); /* glibc's lists of small pieces that are not merged */
}

void mem_refused(size_t n)
{
    log_fatal("Out of memory: %zu bytes were refused. Stopping; what was acknowledged is on disk",
              n);
    _exit(MEM_EXIT_STATUS);
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        mem_refused(n);
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        mem_refused(count * size);
    return p;
}

void *xrealloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (!q)
        mem_refused(n);
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
        mem_refused(0);
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

/* server/cells.c -- small things that stay; see cells.h
 *
 *     field: | cell | cell | … | not yet used |      one mapping, touched from its beginning on
 *
 * A freed cell becomes the head of a list that is taken from first; the mapping stays for the life
 * of the process. A pointer is a cell when it lies in the mapping.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/cells.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

#define CELL  ((size_t)64)
#define FIELD (CELL << 20)

union cell {
    union cell *next; /* of a free one */
    char bytes[CELL];
};

static union cell *field, *fresh, *spare; /* the mapping; the first never used; freed ones */

static bool is_cell(const void *p)
{
    return field && (const char *)p >= (char *)field && (const char *)p < (char *)field + FIELD;
}

static void map(void)
{
    void *p = mmap(NULL, FIELD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED)
        mem_refused(FIELD);
    field = fresh = p;
}

void *cells_malloc(size_t n)
{
    if (!field)
        map();
    if (n > CELL || (!spare && fresh == field + FIELD / CELL))
        return xmalloc(n);
    if (!spare)
        return fresh++;
    union cell *c = spare;
    spare = c->next;
    return c;
}

void cells_free(void *p)
{
    if (!is_cell(p)) {
        free(p);
        return;
    }
    union cell *c = p;
    c->next = spare;
    spare = c;
}

void *cells_realloc(void *p, size_t n)
{
    if (!p)
        return cells_malloc(n);
    if (!is_cell(p))
        return xrealloc(p, n);
    if (n <= CELL)
        return p;
    void *q = memcpy(xmalloc(n), p, CELL);
    cells_free(p);
    return q;
}

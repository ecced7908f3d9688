/* server/leaf_perms.c -- see leaf_perms.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/leaf_perms.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/subject.h"

static void free_all(struct slice *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)list[i].p);
    free(list);
}

void leaf_list_release(struct leaf_list *l)
{
    free_all(l->allow, l->nallow);
    free_all(l->deny, l->ndeny);
    *l = (struct leaf_list){0};
}

static void add(struct slice **list, size_t *n, struct slice pattern)
{
    for (size_t i = 0; i < *n; i++) {
        if (slice_eq(pattern, (*list)[i]))
            return;
    }
    *list = xrealloc(*list, (*n + 1) * sizeof **list);
    (*list)[(*n)++] = slice_of(slice_dup(pattern), pattern.n);
}

void leaf_list_allow(struct leaf_list *l, struct slice pattern)
{
    add(&l->allow, &l->nallow, pattern);
}

void leaf_list_deny(struct leaf_list *l, struct slice pattern)
{
    add(&l->deny, &l->ndeny, pattern);
}

bool leaf_list_passes(const struct leaf_list *l, struct slice subject)
{
    bool ok = l->nallow == 0;
    for (size_t i = 0; !ok && i < l->nallow; i++)
        ok = subject_match(subject, l->allow[i]);
    for (size_t i = 0; ok && i < l->ndeny; i++)
        ok = !subject_match(subject, l->deny[i]);
    return ok;
}

bool leaf_list_tells(const struct leaf_list *l, struct slice subject)
{
    if (!subject_has_wildcard(subject))
        return leaf_list_passes(l, subject);
    bool ok = l->nallow == 0;
    for (size_t i = 0; !ok && i < l->nallow; i++)
        ok = subject_overlap(subject, l->allow[i]);
    for (size_t i = 0; ok && i < l->ndeny; i++)
        ok = !subject_subset(subject, l->deny[i]);
    return ok;
}

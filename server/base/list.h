/* base/list.h -- intrusive doubly linked lists
 *
 * A list is a head whose next and prev point to itself when it is empty. An element that is in no
 * list is linked to itself as well, so list_unlink() may be called twice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/mem.h"

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(name)                                                                            \
    {                                                                                              \
        &(name), &(name)                                                                           \
    }

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_unlink(struct list *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
    e->next = e->prev = e;
}

/* Puts e before pos; with the head as pos that is the tail of the list. */
static inline void list_insert(struct list *pos, struct list *e)
{
    e->prev = pos->prev;
    e->next = pos;
    pos->prev->next = e;
    pos->prev = e;
}

static inline void list_push_back(struct list *head, struct list *e)
{
    list_insert(head, e);
}

static inline void list_push_front(struct list *head, struct list *e)
{
    list_insert(head->next, e);
}

/* Moves everything from `from` to the tail of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* The element at the front, unlinked; NULL when the list is empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *e = head->next;
    if (e == head)
        return NULL;
    list_unlink(e); /* NOLINT(clang-analyzer-unix.Malloc): it forgets that the one before is out */
    return e;
}

#define LIST_ENTRY(e, type, member) CONTAINER_OF(e, type, member)
#define LIST_EACH(it, head)         for (struct list *it = (head)->next; it != (head); it = it->next)
/* The body may unlink and free the current element. */
#define LIST_EACH_SAFE(it, head)                                                                   \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif

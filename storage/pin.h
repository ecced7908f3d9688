/* storage/pin.h -- who still needs which part of the journal
 *
 * What lives in memory and reaches its own table lazily (an open chunk, a page of holes, a cursor's
 * deltas, a stream's state, subject rows) pins the oldest journal batch it would be rebuilt from.
 * All pins stand in one list in order of their batch, so the front says how far the journal may be
 * trimmed, and, when the journal has grown too long, who has to write himself down. Loop thread
 * only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_PIN_H
#define STORAGE_PIN_H

#include "base/list.h"

#include <stdint.h>

enum pin_kind { PIN_CHUNK, PIN_HOLES, PIN_STATE, PIN_INDEX, PIN_CURSOR };

struct pin {
    struct list link; /* linked while it pins */
    uint64_t batch;   /* the oldest batch that is needed */
    uint64_t at;      /* journal bytes written before that batch */
    enum pin_kind kind;
    void *owner; /* stream or cursor */
};

struct pins {
    struct list list; /* oldest first */
};

static inline void pins_init(struct pins *p)
{
    list_init(&p->list);
}

static inline void pin_init(struct pin *p, enum pin_kind kind, void *owner)
{
    list_init(&p->link);
    p->kind = kind;
    p->owner = owner;
}

static inline bool pin_is_set(const struct pin *p)
{
    return !list_empty(&p->link);
}

static inline void pin_clear(struct pin *p)
{
    list_unlink(&p->link);
}

static inline struct pin *pins_first(const struct pins *ps)
{
    return list_empty(&ps->list) ? NULL : LIST_ENTRY(ps->list.next, struct pin, link);
}

/* Moves or sets the pin; nearly always the place is at the end. */
static inline void pin_set(struct pins *ps, struct pin *p, uint64_t batch, uint64_t at)
{
    list_unlink(&p->link);
    p->batch = batch;
    p->at = at;
    struct list *e = ps->list.prev;
    while (e != &ps->list && LIST_ENTRY(e, struct pin, link)->batch > batch)
        e = e->prev;
    list_push_front(e, &p->link);
}

/* The same, only when it is not set yet. */
static inline void pin_hold(struct pins *ps, struct pin *p, uint64_t batch, uint64_t at)
{
    if (!pin_is_set(p))
        pin_set(ps, p, batch, at);
}

#endif

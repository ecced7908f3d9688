/* server/farewell.h -- many sinks leave an account, in portions
 *
 * A client or a link may go with a million subscriptions. To take them all out of the account is a
 * second of work, so it is a job. Up to FAREWELL_AT_ONCE are taken out at once.
 *
 *     owner's table ──► farewell ──► drop(item), again and again ──► done()
 *
 * The owner sees to it that its sinks refuse from the beginning on (nothing reaches a peer that has
 * gone), and stays in memory until done() or farewell_finish(): sinks name it.
 *
 * Loop thread only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_FAREWELL_H
#define SERVER_FAREWELL_H

#include "base/hash.h"
#include "base/job.h"

struct loop;

#define FAREWELL_AT_ONCE 1024

typedef void farewell_drop_fn(void *arg, void *item); /* out of the account; item is freed later */
typedef void farewell_done_fn(void *arg);

struct farewell { /* zero it to begin */
    struct job job;
    struct loop *loop; /* NULL: nothing is under way */
    struct htab table; /* who is left */
    size_t at;         /* place in it */
    farewell_drop_fn *drop;
    farewell_done_fn *done; /* may be NULL */
    void *arg;
};

/* Takes the table's content; the table is empty afterwards. True: it takes its time, done() comes
 * later. False: all are out, done() is not called. */
bool farewell_begin(struct farewell *f, struct loop *l, struct htab *table, farewell_drop_fn *drop,
                    farewell_done_fn *done, void *arg);
/* Some are left, and the job takes them out. */
static inline bool farewell_lasts(const struct farewell *f)
{
    return f->loop != NULL;
}
/* So many of the rest, now, where it is under way; done() is called with the last. */
void farewell_some(struct farewell *f, size_t n);
/* The rest, now; done() is called if it was under way. */
void farewell_finish(struct farewell *f);

#endif

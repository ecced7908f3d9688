/* server/farewell.c -- see farewell.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/farewell.h"

#include "server/conn.h"
#include "server/loop.h"

#define BETWEEN_LOOKS 32 /* sinks, about 2 us each */

/* False: nobody is left. */
static bool drop_one(struct farewell *f)
{
    void *item = htab_drain(&f->table, &f->at);
    if (item)
        f->drop(f->arg, item);
    return item != NULL;
}

/* False: nobody is left. */
static bool drop_some(struct farewell *f, size_t n)
{
    while (n && drop_one(f))
        n--;
    return n == 0;
}

/* done() may free us. */
static void over(struct farewell *f)
{
    htab_release(&f->table);
    conn_littered(f->loop);
    f->loop = NULL;
    if (f->done)
        f->done(f->arg);
}

static enum job_result step(struct job *j, const struct job_budget *b)
{
    struct farewell *f = CONTAINER_OF(j, struct farewell, job);
    do {
        if (!drop_some(f, BETWEEN_LOOKS)) {
            over(f);
            return JOB_DONE;
        }
    } while (!job_over(b));
    return JOB_MORE;
}

bool farewell_begin(struct farewell *f, struct loop *l, struct htab *table, farewell_drop_fn *drop,
                    farewell_done_fn *done, void *arg)
{
    ASSERT(!f->loop);
    *f = (struct farewell){.table = *table, .drop = drop, .done = done, .arg = arg};
    htab_init(table);
    if (f->table.count <= FAREWELL_AT_ONCE) {
        while (drop_one(f))
            ;
        htab_release(&f->table);
        return false;
    }
    f->loop = l;
    job_init(&f->job, "subscriptions of who has left", step);
    const struct turn *t = loop_turn(l);
    t->job_start(t->loop, &f->job);
    return true;
}

void farewell_some(struct farewell *f, size_t n)
{
    if (!f->loop || drop_some(f, n))
        return;
    const struct turn *t = loop_turn(f->loop);
    t->job_stop(t->loop, &f->job);
    over(f);
}

void farewell_finish(struct farewell *f)
{
    farewell_some(f, SIZE_MAX);
}

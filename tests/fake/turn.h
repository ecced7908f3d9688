/* fake/turn.h -- a struct turn for unit tests, over the clock they set
 *
 *     struct fake_turn ft;
 *     fake_turn_init(&ft);                clocks stand at 1 s (monotonic) and FAKE_TURN_WALL
 *     store_open(&ft.turn, …);
 *     fake_turn_run(&ft);                 everything that is due, until all is quiet
 *     fake_turn_advance(&ft, 5 * NS_PER_S);
 *     fake_turn_release(&ft);             the clocks run again
 *
 * A turn does what the loop does: due timers, mail, posted work (also what it posts), a portion of
 * every running job, then what asked for the end. The clock stands still during a step, so
 * job_over() stays false and a job works until it has nothing to do; with job_budget_ns = 0 it is
 * always true, and a test sees the job come back after each portion.
 *
 * Mail may come from any thread; fake_turn_wait() is how a test waits for one without sleeping.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_TURN_H
#define FAKE_TURN_H

#include <pthread.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/turn.h"

#define FAKE_TURN_WALL (1795263091 * NS_PER_S) /* 2026-11-21T12:11:31Z */

struct fake_mail;
struct fake_turn {
    struct turn turn;      /* give &ft.turn to the room under test */
    int64_t job_budget_ns; /* what a step gets: 1 */
    struct heap timers;
    struct list posts, ends; /* of struct turn_post */
    struct list jobs;        /* running ones, apart from the one at work */
    struct job *at_work;     /* whose step() runs now, or NULL */
    bool wake;               /* job_start() was called for it meanwhile */
    int64_t mono, wall;      /* as set on the clock */
    pthread_mutex_t lock;    /* for what follows */
    pthread_cond_t came;     /* some mail */
    struct fake_mail *first, **last;
};

void fake_turn_init(struct fake_turn *ft);
/* Timers still set, work still posted and mail still unread are forgotten. */
void fake_turn_release(struct fake_turn *ft);
/* One turn; true when it did anything. */
bool fake_turn_once(struct fake_turn *ft);
/* Turns until nothing is due; dies when that takes a million turns. Waiting jobs don't count. */
void fake_turn_run(struct fake_turn *ft);
/* fake_turn_run(), then moves the clocks by ns, stopping at each timer on the way to run it at its
 * own time. */
void fake_turn_advance(struct fake_turn *ft, int64_t ns);
/* Runs turns until done(arg), sleeping on the mailbox in between. False after ten real seconds. */
bool fake_turn_wait(struct fake_turn *ft, bool (*done)(void *arg), void *arg);

#endif

/* fake/loop.h -- what a test may do to the loop that stands in for the real one
 *
 * Linked in place of server/loop.c: server/loop.h works as ever, over a clock that the test sets
 * and without libevent. Nothing sleeps.
 *
 *     struct loop *l = loop_new();
 *     fake_loop_run(l);                     everything that is due, until all is quiet
 *     fake_loop_advance(l, 5 * NS_PER_S);   the clocks move, timers fire on the way
 *     fake_loop_hold_mail(l, true);         receipts of commits wait …
 *     fake_loop_release_mail(l);            … until now
 *
 * The helper's errands (loop_help) are run on the spot, in the next turn.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* The next loop's clocks begin so much later than the first one's: a restart does not turn time
 * back. */
void fake_loop_begin_after(int64_t ns);
void fake_loop_run(struct loop *l);
void fake_loop_advance(struct loop *l, int64_t ns);
/* Turns until done(arg), sleeping on the mailbox; false after ten real seconds. */
bool fake_loop_wait(struct loop *l, bool (*done)(void *arg), void *arg);
void fake_loop_hold_mail(struct loop *l, bool on);
/* Waits until at least one letter is held, then lets all of them through; false after ten real
 * seconds. */
bool fake_loop_release_mail(struct loop *l);
/* A job gets the smallest portion a turn, as where there is much else to do. */
void fake_loop_busy(struct loop *l);
void fake_loop_signal(struct loop *l, int signo);
/* loop_stop() was called. */
bool fake_loop_stopped(const struct loop *l);

#endif

/* server/loop.h -- the turn
 *
 * One thread does everything but commit. A turn is:
 *
 *     wait → clocks → sockets (each connection a bounded number of verbs) → timers
 *          → mail (receipts, the helper's results) → posted work
 *          → at_end (batches handed over, sockets written)
 *          → jobs, 0.2 to 1 ms, and what they post and want at the end → what was closed is freed
 *
 * A long turn glances at the sockets between its pieces while there is somebody who says little at
 * a time (loop_lively): who asks one question does not wait behind those who send thousands.
 *
 * Waiting is sleeping, but while events come less than 100 us apart and are small, the loop looks
 * for the next one for a moment before it sleeps; server/loop_poll.h says what that may cost.
 *
 * Rooms to the right get loop_turn() (base/turn.h) and never see this header. tests/fake/loop.c
 * replaces this room in scenario tests.
 *
 * Two helper threads are started on first need, for calls that block and have no other form: one
 * computes (loop_help: crypt_r), one waits for the network (loop_ask: getaddrinfo). At most 64
 * errands wait for each.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include "base/err.h"
#include "base/turn.h"

struct event_base;
struct loop;

/* NULL when the system gives no descriptors. From here on SIGPIPE is ignored, and libevent's memory
 * is cells.h's and mem.h's: refused, it ends the process. */
struct loop *loop_new(void);
/* Ends the helper threads (loop_help()'s errand under way is waited for; done() is called for
 * everything that was taken, also when its work() never ran) and closes the connections that are
 * left, without events. Mail still under way is dropped. */
void loop_free(struct loop *l);
/* Until loop_stop(). */
void loop_run(struct loop *l);
/* The turn is finished first. */
void loop_stop(struct loop *l);
/* One turn; waits when there is nothing to do. */
void loop_once(struct loop *l);

/* The face for storage, jsapi and everyone else: timers, posts, mail, jobs. Lives as long as the
 * loop. */
const struct turn *loop_turn(struct loop *l);

/* Frees p with fn at the end of the turn: closing means stop and unlink now, freeing waits. */
void loop_defer(struct loop *l, turn_fn *fn, void *p);

/* A signal as an event on the loop. */
int loop_on_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo),
                   void *arg) MUST_CHECK;

/* work(arg) on the helper thread, then done(arg) on the loop. E_FULL when 64 wait. Inputs are in
 * arg, which nobody else touches meanwhile. */
int loop_help(struct loop *l, turn_fn *work, turn_fn *done, void *arg) MUST_CHECK;
/* The same on another thread, for what waits for somebody on the network and not for a processor:
 * a name server that is not there answers after half a minute. loop_free() does not wait for the
 * one under way: its done() is called on that thread, and touches nothing but arg then. */
int loop_ask(struct loop *l, turn_fn *work, turn_fn *done, void *arg) MUST_CHECK;

/* How long turns take (thread CPU and wall): powers of two of microseconds, from 1 us. */
struct loop_stats {
    uint64_t turns;
    uint64_t wall_hist[32], cpu_hist[32];
    int64_t wall_max_ns, cpu_max_ns;
    const char *longest;     /* name of the piece in the longest turn (wall); static */
    const char *cpu_longest; /* and in the one that cost most CPU */
};
void loop_stats(const struct loop *l, struct loop_stats *out);
/* Begins to count anew, for a measurement. */
void loop_stats_reset(struct loop *l);
/* Names the piece that runs now, for the warning above 50 ms; static text. Gives the name before.
 */
const char *loop_piece(struct loop *l, const char *name);

/* Only for conn, listener and http: libevent's base, and what each of its callbacks begins with
 * (the first one of a turn reads the clocks). */
struct event_base *loop_base(struct loop *l);
void loop_enter(struct loop *l);
/* Only for conn: what it keeps once per loop, freed with the loop. */
void *loop_conns(struct loop *l);
void loop_set_conns(struct loop *l, void *conns, turn_fn *free_fn);
/* Also only for conn: called with `conns` when sockets were looked at and their handlers are
 * through, in a turn and in its glances. */
void loop_after_sockets(struct loop *l, turn_fn *fn);
/* Somebody said little, so for the next 10 ms long turns glance at the sockets. Is it so now? */
void loop_note_lively(struct loop *l);
bool loop_lively(const struct loop *l);
/* Has this turn taken 10 ms already? */
bool loop_late(const struct loop *l);
/* From where no handler is on the stack: looks at the sockets if loop_lively() and the last look is
 * 30 us ago. */
void loop_glance(struct loop *l);

#endif

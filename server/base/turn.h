/* base/turn.h -- what a room may ask of the loop
 *
 * storage and jsapi don't know the loop; they get a struct turn at open and use it through the
 * small functions below. server/loop.c fills it in; tests/fake/turn.c fills it in for unit tests,
 * with a clock they set. All calls on the loop thread, except turn_mail().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TURN_H
#define BASE_TURN_H

#include "base/job.h"
#include "base/list.h"

typedef void turn_fn(void *arg);

/* Embedded in its owner. Due once; set it again for the next time. */
struct turn_timer {
    int64_t due; /* monotonic ns, as set */
    turn_fn *fn;
    void *arg;
    uint32_t at; /* place in the loop's heap + 1; 0: not set */
};
static inline void turn_timer_init(struct turn_timer *t, turn_fn *fn, void *arg)
{
    *t = (struct turn_timer){.fn = fn, .arg = arg};
}
static inline bool turn_timer_is_set(const struct turn_timer *t)
{
    return t->at != 0;
}

/* Embedded: posted work runs once, later in this same turn, in order of posting; posting what is
 * posted is a no-op. */
struct turn_post {
    struct list link;
    turn_fn *fn;
    void *arg;
};
static inline void turn_post_init(struct turn_post *p, turn_fn *fn, void *arg)
{
    list_init(&p->link);
    p->fn = fn;
    p->arg = arg;
}

struct turn {
    void *loop;
    void (*timer_set)(void *loop, struct turn_timer *t,
                      int64_t due); /* moves it when it is set already */
    void (*timer_stop)(void *loop, struct turn_timer *t);
    void (*post)(void *loop, struct turn_post *p);
    void (*unpost)(void *loop, struct turn_post *p);
    void (*at_end)(
        void *loop,
        struct turn_post *p); /* after all posted work: hand the batch over, flush sockets */
    void (*mail)(void *loop, turn_fn *fn,
                 void *arg); /* any thread: fn(arg) runs soon on the loop thread */
    /* A mail is likely to come at `due` (monotonic ns) and somebody waits for it: the loop may be
     * awake by then. The next mail ends it, whosever it is. */
    void (*expect)(void *loop, int64_t due);
    void (*job_start)(void *loop, struct job *j); /* a running job: no-op; a waiting one wakes */
    void (*job_stop)(void *loop, struct job *j);  /* forgets it; not from inside its own step() */
};

static inline void turn_set(const struct turn *t, struct turn_timer *timer, int64_t due)
{
    t->timer_set(t->loop, timer, due);
}
static inline void turn_unset(const struct turn *t, struct turn_timer *timer)
{
    t->timer_stop(t->loop, timer);
}
static inline void turn_post_now(const struct turn *t, struct turn_post *p)
{
    t->post(t->loop, p);
}

#endif

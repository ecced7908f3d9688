/* fake/turn.c -- a loop without sockets; see turn.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "fake/turn.h"

#include <stdlib.h>
#include <time.h>

#define TURNS_MAX 1000000
#define WAIT_S    10

struct fake_mail {
    struct fake_mail *next;
    turn_fn *fn;
    void *arg;
};

static void timer_set(void *loop, struct turn_timer *t, int64_t due)
{
    struct fake_turn *ft = loop;
    heap_set(&ft->timers, t, due);
}

static void timer_stop(void *loop, struct turn_timer *t)
{
    struct fake_turn *ft = loop;
    heap_remove(&ft->timers, t);
}

static void post(void *loop, struct turn_post *p)
{
    struct fake_turn *ft = loop;
    if (list_empty(&p->link))
        list_push_back(&ft->posts, &p->link);
}

static void unpost(void *loop, struct turn_post *p)
{
    (void)loop;
    list_unlink(&p->link);
}

static void at_end(void *loop, struct turn_post *p)
{
    struct fake_turn *ft = loop;
    if (list_empty(&p->link))
        list_push_back(&ft->ends, &p->link);
}

static void expect(void *loop, int64_t due)
{
    (void)loop, (void)due;
}

static void mail(void *loop, turn_fn *fn, void *arg)
{
    struct fake_turn *ft = loop;
    struct fake_mail *m = xmalloc(sizeof *m);
    *m = (struct fake_mail){.fn = fn, .arg = arg};
    pthread_mutex_lock(&ft->lock);
    *ft->last = m;
    ft->last = &m->next;
    pthread_cond_signal(&ft->came);
    pthread_mutex_unlock(&ft->lock);
}

static void job_start(void *loop, struct job *j)
{
    struct fake_turn *ft = loop;
    if (j == ft->at_work) {
        ft->wake = true;
        return;
    }
    if (list_empty(&j->link))
        list_push_back(&ft->jobs, &j->link);
    j->running = true;
    j->waiting = false;
}

static void job_stop(void *loop, struct job *j)
{
    struct fake_turn *ft = loop;
    ASSERT(j != ft->at_work);
    list_unlink(&j->link);
    j->running = j->waiting = false;
}

static void move_clocks(struct fake_turn *ft, int64_t ns)
{
    ft->mono += ns;
    ft->wall += ns;
    clock_fake(ft->mono, ft->wall);
}

void fake_turn_init(struct fake_turn *ft)
{
    *ft = (struct fake_turn){
        .turn = {ft, timer_set, timer_stop, post, unpost, at_end, mail, expect, job_start,
                 job_stop},
        .job_budget_ns = 1,
        .mono = NS_PER_S,
        .wall = FAKE_TURN_WALL,
    };
    list_init(&ft->posts);
    list_init(&ft->ends);
    list_init(&ft->jobs);
    pthread_mutex_init(&ft->lock, NULL);
    pthread_cond_init(&ft->came, NULL);
    ft->last = &ft->first;
    move_clocks(ft, 0);
}

static struct fake_mail *take_mail(struct fake_turn *ft)
{
    pthread_mutex_lock(&ft->lock);
    struct fake_mail *m = ft->first;
    ft->first = NULL;
    ft->last = &ft->first;
    pthread_mutex_unlock(&ft->lock);
    return m;
}

void fake_turn_release(struct fake_turn *ft)
{
    for (struct fake_mail *m = take_mail(ft), *next; m; m = next) {
        next = m->next;
        free(m);
    }
    while (list_pop(&ft->posts) || list_pop(&ft->ends) || list_pop(&ft->jobs))
        ;
    heap_release(&ft->timers);
    pthread_mutex_destroy(&ft->lock);
    pthread_cond_destroy(&ft->came);
    clock_unfake();
}

static bool run_timers(struct fake_turn *ft)
{
    bool any = false;
    struct turn_timer *t;
    for (size_t n = ft->timers.n; n && (t = heap_top(&ft->timers)) && t->due <= ft->mono; n--) {
        heap_remove(&ft->timers, t);
        t->fn(t->arg);
        any = true;
    }
    return any;
}

static bool run_mail(struct fake_turn *ft)
{
    struct fake_mail *m = take_mail(ft);
    bool any = m != NULL;
    for (struct fake_mail *next; m; m = next) {
        next = m->next;
        m->fn(m->arg);
        free(m);
    }
    return any;
}

static bool run_list(struct list *l)
{
    bool any = false;
    for (struct list *e; (e = list_pop(l)) != NULL; any = true) {
        struct turn_post *p = LIST_ENTRY(e, struct turn_post, link);
        p->fn(p->arg);
    }
    return any;
}

/* A job that is done may be gone: it is forgotten before its step and looked at again only when it
 * says that it goes on. */
static void run_job(struct fake_turn *ft, struct job *j)
{
    struct job_budget budget = {.until = ft->mono + ft->job_budget_ns};
    j->running = j->waiting = false;
    ft->at_work = j;
    ft->wake = false;
    enum job_result r = j->step(j, &budget);
    ft->at_work = NULL;
    if (r == JOB_DONE)
        return;
    j->running = true;
    j->waiting = r == JOB_WAIT && !ft->wake;
    if (!j->waiting)
        list_push_back(&ft->jobs, &j->link);
}

static bool run_jobs(struct fake_turn *ft)
{
    struct list round;
    bool any = false;
    list_init(&round);
    list_splice(&round, &ft->jobs);
    for (struct list *e; (e = list_pop(&round)) != NULL; any = true)
        run_job(ft, LIST_ENTRY(e, struct job, link));
    return any;
}

bool fake_turn_once(struct fake_turn *ft)
{
    bool any = run_timers(ft);
    any |= run_mail(ft);
    any |= run_list(&ft->posts);
    any |= run_jobs(ft);
    any |= run_list(&ft->posts);
    any |= run_list(&ft->ends);
    return any;
}

void fake_turn_run(struct fake_turn *ft)
{
    for (int i = 0; fake_turn_once(ft); i++)
        ASSERT(i < TURNS_MAX);
}

void fake_turn_advance(struct fake_turn *ft, int64_t ns)
{
    int64_t until = ft->mono + ns;
    fake_turn_run(ft);
    for (struct turn_timer *t; (t = heap_top(&ft->timers)) && t->due <= until;) {
        move_clocks(ft, t->due > ft->mono ? t->due - ft->mono : 0);
        fake_turn_run(ft);
    }
    move_clocks(ft, until - ft->mono);
    fake_turn_run(ft);
}

bool fake_turn_wait(struct fake_turn *ft, bool (*done)(void *arg), void *arg)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    for (;;) {
        int err = 0;
        fake_turn_run(ft);
        if (done(arg))
            return true;
        pthread_mutex_lock(&ft->lock);
        while (!ft->first && !err)
            err = pthread_cond_timedwait(&ft->came, &ft->lock, &until);
        pthread_mutex_unlock(&ft->lock);
        if (err)
            return false;
    }
}

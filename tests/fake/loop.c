/* fake/loop.c -- server/loop.h over fake/turn.h; see loop.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "fake/loop.h"

#include <time.h>

#include "fake/conn.h"
#include "fake/turn.h"
#include "server/loop.h"

struct letter {
    struct list link;
    turn_fn *fn;
    void *arg;
};

struct errand {
    struct turn_post post;
    turn_fn *work, *done;
    void *arg;
};

struct on_signal {
    struct list link;
    int signo;
    void (*fn)(void *arg, int signo);
    void *arg;
};

struct loop {
    struct fake_turn ft;
    struct turn face;     /* ft.turn, with a mailbox that can be held */
    struct list deferred; /* struct letter */
    struct list signals;
    struct turn_post frees; /* runs what was deferred */
    pthread_mutex_t lock;   /* guards holding and held */
    pthread_cond_t came;
    bool holding;
    struct list held; /* struct letter */
    bool stopped;
    unsigned errands;
    void *conns;
    turn_fn *conns_free;
};

static void expect(void *loop, int64_t due)
{
    (void)loop, (void)due;
}

static void mail(void *loop, turn_fn *fn, void *arg)
{
    struct loop *l = loop;
    pthread_mutex_lock(&l->lock);
    bool hold = l->holding;
    if (hold) {
        struct letter *m = xmalloc(sizeof *m);
        *m = (struct letter){.fn = fn, .arg = arg};
        list_push_back(&l->held, &m->link);
        pthread_cond_signal(&l->came);
    }
    if (!hold)
        l->ft.turn.mail(&l->ft, fn, arg);
    pthread_mutex_unlock(&l->lock);
}

/* The face of the fake turn takes the fake turn: these take the loop. */
static void timer_set(void *loop, struct turn_timer *t, int64_t due)
{
    struct loop *l = loop;
    l->ft.turn.timer_set(&l->ft, t, due);
}
static void timer_stop(void *loop, struct turn_timer *t)
{
    struct loop *l = loop;
    l->ft.turn.timer_stop(&l->ft, t);
}
static void post(void *loop, struct turn_post *p)
{
    struct loop *l = loop;
    l->ft.turn.post(&l->ft, p);
}
static void unpost(void *loop, struct turn_post *p)
{
    struct loop *l = loop;
    l->ft.turn.unpost(&l->ft, p);
}
static void at_end(void *loop, struct turn_post *p)
{
    struct loop *l = loop;
    l->ft.turn.at_end(&l->ft, p);
}
static void job_start(void *loop, struct job *j)
{
    struct loop *l = loop;
    l->ft.turn.job_start(&l->ft, j);
}
static void job_stop(void *loop, struct job *j)
{
    struct loop *l = loop;
    l->ft.turn.job_stop(&l->ft, j);
}

static void run_deferred(void *arg)
{
    struct loop *l = arg;
    struct list *e;
    while ((e = list_pop(&l->deferred)) != NULL) {
        struct letter *m = LIST_ENTRY(e, struct letter, link);
        m->fn(m->arg);
        free(m);
    }
}

static int64_t begin_after; /* of the next loop */

struct loop *loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof *l);
    fake_turn_init(&l->ft);
    l->ft.mono += begin_after;
    l->ft.wall += begin_after;
    clock_fake(l->ft.mono, l->ft.wall);
    list_init(&l->deferred);
    list_init(&l->signals);
    list_init(&l->held);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->came, NULL);
    turn_post_init(&l->frees, run_deferred, l);
    l->face = (struct turn){l,      timer_set, timer_stop, post,      unpost,
                            at_end, mail,      expect,     job_start, job_stop};
    wires_open(l);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    run_deferred(l);
    if (l->conns_free)
        l->conns_free(l->conns);
    run_deferred(l);
    struct list *e;
    while ((e = list_pop(&l->signals)) != NULL)
        free(LIST_ENTRY(e, struct on_signal, link));
    while ((e = list_pop(&l->held)) != NULL)
        free(LIST_ENTRY(e, struct letter, link));
    fake_turn_release(&l->ft);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->came);
    free(l);
}

/* There is always something to come in a test: one quiet stretch is all that is run. */
void loop_run(struct loop *l)
{
    l->stopped = false;
    fake_loop_run(l);
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

void loop_once(struct loop *l)
{
    fake_turn_once(&l->ft);
}

const struct turn *loop_turn(struct loop *l)
{
    return &l->face;
}

void loop_defer(struct loop *l, turn_fn *fn, void *p)
{
    struct letter *m = xmalloc(sizeof *m);
    *m = (struct letter){.fn = fn, .arg = p};
    list_push_back(&l->deferred, &m->link);
    at_end(l, &l->frees);
}

int loop_on_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg)
{
    struct on_signal *s = xmalloc(sizeof *s);
    *s = (struct on_signal){.signo = signo, .fn = fn, .arg = arg};
    list_push_back(&l->signals, &s->link);
    return 0;
}

static void run_errand(void *arg)
{
    struct errand *er = arg;
    er->work(er->arg);
    er->done(er->arg);
    free(er);
}

int loop_help(struct loop *l, turn_fn *work, turn_fn *done, void *arg)
{
    struct errand *er = xmalloc(sizeof *er);
    *er = (struct errand){.work = work, .done = done, .arg = arg};
    turn_post_init(&er->post, run_errand, er);
    post(l, &er->post);
    return 0;
}

int loop_ask(struct loop *l, turn_fn *work, turn_fn *done, void *arg)
{
    return loop_help(l, work, done, arg);
}

void loop_stats(const struct loop *l, struct loop_stats *out)
{
    (void)l;
    *out = (struct loop_stats){.longest = "fake", .cpu_longest = "fake"};
}

void loop_stats_reset(struct loop *l)
{
    (void)l;
}

const char *loop_piece(struct loop *l, const char *name)
{
    (void)l, (void)name;
    return "fake";
}

struct event_base *loop_base(struct loop *l)
{
    (void)l;
    return NULL; /* nobody who asks is linked into a scenario that opens it */
}

void loop_enter(struct loop *l)
{
    (void)l;
}

void *loop_conns(struct loop *l)
{
    return l->conns;
}

void loop_set_conns(struct loop *l, void *conns, turn_fn *free_fn)
{
    l->conns = conns;
    l->conns_free = free_fn;
}

/* --- the test's side ---------------------------------------------------------------------------
 */

void fake_loop_begin_after(int64_t ns)
{
    begin_after = ns;
}

void fake_loop_run(struct loop *l)
{
    fake_turn_run(&l->ft);
}

void fake_loop_advance(struct loop *l, int64_t ns)
{
    fake_turn_advance(&l->ft, ns);
}

bool fake_loop_wait(struct loop *l, bool (*done)(void *arg), void *arg)
{
    return fake_turn_wait(&l->ft, done, arg);
}

static void deliver(struct loop *l, struct list *letters)
{
    struct list *e;
    while ((e = list_pop(letters)) != NULL) {
        struct letter *m = LIST_ENTRY(e, struct letter, link);
        l->ft.turn.mail(&l->ft, m->fn, m->arg);
        free(m);
    }
}

void fake_loop_hold_mail(struct loop *l, bool on)
{
    struct list now;
    list_init(&now);
    pthread_mutex_lock(&l->lock);
    l->holding = on;
    if (!on)
        list_splice(&now, &l->held);
    deliver(l, &now); /* before anything newer */
    pthread_mutex_unlock(&l->lock);
}

bool fake_loop_release_mail(struct loop *l)
{
    struct timespec until;
    struct list now;
    int err = 0;
    list_init(&now);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&l->lock);
    while (list_empty(&l->held) && !err)
        err = pthread_cond_timedwait(&l->came, &l->lock, &until);
    list_splice(&now, &l->held);
    pthread_mutex_unlock(&l->lock);
    deliver(l, &now);
    fake_turn_run(&l->ft);
    return err == 0;
}

void fake_loop_busy(struct loop *l)
{
    l->ft.job_budget_ns = 0;
}

void fake_loop_signal(struct loop *l, int signo)
{
    LIST_EACH(e, &l->signals)
    {
        struct on_signal *s = LIST_ENTRY(e, struct on_signal, link);
        if (s->signo == signo)
            s->fn(s->arg, signo);
    }
    fake_turn_run(&l->ft);
}

bool fake_loop_stopped(const struct loop *l)
{
    return l->stopped;
}

/* server/loop.c -- the turn
 *
 * libevent waits and calls the sockets' handlers (one event_base_loop(EVLOOP_ONCE) per turn, no
 * locks in the base); everything after that is ours, in this order:
 *
 *     sockets   libevent's callbacks; the first one of a turn reads the clocks (loop_enter)
 *     timers    base/heap, those due now; one libevent timer stands for the top of the heap
 *     mail      what other threads sent: one locked array, one eventfd
 *     posts     work put off by what ran before, until none is left or 10 ms are over
 *     at_end    batches are handed over, sockets written; what that posts runs too, a few rounds
 *     jobs      a ring: half as long as all before it took, at least 0.2 ms, at most 1 ms. A socket
 *               that becomes readable meanwhile waits no longer than that, and what was said in
 *               this turn is on its way. Then posts and at_end once more
 *     frees     what was closed
 *
 * Between two pieces, letters, jobs or some posts a long turn glances at the sockets (loop_glance)
 * while somebody is lively: handlers run then as in the first part of a turn, and what they have to
 * say to others who are lightly loaded leaves at once.
 *
 * What always holds
 *   (1) libevent sleeps only when no letter, post, due timer, at_end work, free or running job is
 *       left.
 *   (2) A job is out of the ring while it steps, and is not touched after JOB_DONE: it may be
 *       freed memory then.
 *   (3) loop_defer()red memory lives until every handler of the turn is through.
 *   (4) The eventfd is written only when the mailbox was empty: one wake-up for many letters. A
 *       glance may empty it after the turn's mail was read: `rung` remembers.
 *   (5) No handler, post, letter or job is on the stack in a glance.
 *
 * Time: the thread's CPU clock is read once a turn, the wall clock where the kind of work changes
 * (loop_piece). A turn above 50 ms of wall time is told, now and then, with the name of its longest
 * piece.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/loop.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"
#include "server/cells.h"
#include "server/helper.h"
#include "server/loop_poll.h"

#define POSTS_MAX_NS   (10 * NS_PER_MS)
#define JOBS_LEAST_NS  (200 * NS_PER_US)
#define JOBS_MOST_NS   NS_PER_MS
#define JOB_PORTION_NS (100 * NS_PER_US)
#define END_ROUNDS     4
#define SLOW_TURN_NS   (50 * NS_PER_MS)
#define LOOK_NS        (50 * NS_PER_US) /* a look that takes longer was not ours alone */
#define LETTERS_KEPT   4096
#define GLANCE_NS      (30 * NS_PER_US) /* a glance costs about 1 us */
#define LIVELY_NS      (10 * NS_PER_MS)
#define LATE_NS        (10 * NS_PER_MS)

struct letter {
    turn_fn *fn;
    void *arg;
};

struct letters {
    struct letter *at; /* owned */
    size_t n, cap;
};

struct on_signal {
    struct list link;
    struct loop *loop;
    struct event *ev;
    int signo;
    void (*fn)(void *arg, int signo);
    void *arg;
};

struct loop {
    struct turn face;
    struct event_base *base;
    struct event *timer_ev, *mail_ev;
    int64_t timer_armed; /* what timer_ev stands for; INT64_MAX: nothing */
    struct heap timers;
    struct list posts, ends; /* turn_post */
    struct list jobs;        /* the ring: those that run */
    struct job *stepping;    /* the job whose step() is on the stack */
    bool step_woken;         /* ... and somebody started it meanwhile */
    struct letters deferred; /* frees of this turn */
    struct list signals;     /* on_signal */
    void *conns;             /* conn's own, per loop */
    turn_fn *conns_free;
    turn_fn *after_sockets;
    int64_t lively_until; /* mono */
    int64_t looked;       /* mono: when the sockets were last looked at in this turn */
    bool awake;           /* clocks of this turn are read */
    bool glancing;        /* a glance is on the stack */
    bool rung;            /* the eventfd was read, the mail not yet */
    bool stop;

    int mail_fd;
    pthread_mutex_t lock; /* guards inbox */
    struct letters inbox;
    struct letters reading; /* the other half of the swap; loop thread only */

    struct helper *helper, *asker; /* owned */

    struct loop_poll poll;
    int64_t expected; /* mono: a mail is likely to come then; 0: none is */
    int alarm_fd;     /* a timerfd that rings shortly before, */
    int64_t alarm;    /* as it was set */
    struct event *alarm_ev;
    struct loop_stats stats;
    int64_t worked; /* by the last turn, wall */
    int64_t turn_start, cpu_before, piece_start, piece_max;
    int64_t told[2]; /* mono of the last warning: of work, of standing still */
    const char *piece, *piece_longest;
};

/* --- clocks and pieces ------------------------------------------------------------------------ */

static int64_t cpu_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void loop_enter(struct loop *l)
{
    if (l->awake)
        return;
    l->awake = true;
    clock_tick();
    l->turn_start = l->piece_start = l->looked = clock_mono_exact();
    l->piece = l->piece_longest = "connections";
    l->piece_max = 0;
}

const char *loop_piece(struct loop *l, const char *name)
{
    int64_t now = clock_mono_exact();
    const char *before = l->piece;
    if (now - l->piece_start > l->piece_max) {
        l->piece_max = now - l->piece_start;
        l->piece_longest = before;
    }
    l->piece = name;
    l->piece_start = now;
    return before;
}

static unsigned bucket_of(int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)(ns / NS_PER_US) : 0;
    unsigned b = 63 - (unsigned)__builtin_clzll(us | 1);
    return b < 32 ? b : 31;
}

/* Work of our own is told once a second at most; a turn that stood still (a sick disk, a machine
 * that has no processor for us) once a minute. */
static void warn_of_turn(struct loop *l, int64_t wall, int64_t cpu)
{
    bool stood = cpu < wall / 2;
    int64_t *told = &l->told[stood];
    if (*told != 0 && l->piece_start - *told < (stood ? 60 : 1) * NS_PER_S)
        return;
    *told = l->piece_start;
    log_warn("A turn of the loop took %.1f ms (%.1f ms of CPU%s), most of it (%.1f ms) in: %s",
             (double)wall / 1e6, (double)cpu / 1e6,
             stood ? ": blocked, or the machine is busy" : "", (double)l->piece_max / 1e6,
             l->piece_longest);
}

static void account_turn(struct loop *l)
{
    loop_piece(l, "waiting");
    int64_t cpu_after = cpu_now(), wall = l->piece_start - l->turn_start,
            cpu = cpu_after - l->cpu_before;
    l->cpu_before = cpu_after;
    l->worked = wall;
    l->stats.turns++;
    l->stats.wall_hist[bucket_of(wall)]++;
    l->stats.cpu_hist[bucket_of(cpu)]++;
    if (cpu > l->stats.cpu_max_ns) {
        l->stats.cpu_max_ns = cpu;
        l->stats.cpu_longest = l->piece_longest;
    }
    if (wall > l->stats.wall_max_ns) {
        l->stats.wall_max_ns = wall;
        l->stats.longest = l->piece_longest;
    }
    if (wall > SLOW_TURN_NS)
        warn_of_turn(l, wall, cpu);
}

void loop_stats(const struct loop *l, struct loop_stats *out)
{
    *out = l->stats;
}

void loop_stats_reset(struct loop *l)
{
    l->stats = (struct loop_stats){.longest = "nothing yet", .cpu_longest = "nothing yet"};
}

/* --- glances ------------------------------------------------------------------------------------
 */

void loop_after_sockets(struct loop *l, turn_fn *fn)
{
    l->after_sockets = fn;
}

static void sockets_served(struct loop *l)
{
    if (l->after_sockets)
        l->after_sockets(l->conns);
}

void loop_note_lively(struct loop *l)
{
    l->lively_until = clock_mono() + LIVELY_NS;
}

bool loop_lively(const struct loop *l)
{
    return clock_mono() < l->lively_until;
}

bool loop_late(const struct loop *l)
{
    return clock_mono_exact() - l->turn_start > LATE_NS;
}

void loop_glance(struct loop *l)
{
    if (!loop_lively(l) || l->glancing || clock_mono_exact() - l->looked < GLANCE_NS)
        return;
    const char *before = loop_piece(l, "connections");
    l->glancing = true;
    event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    sockets_served(l);
    l->glancing = false;
    loop_piece(l, before);
    l->looked = l->piece_start;
}

/* --- letters: an array of calls ----------------------------------------------------------------
 */

static void letters_add(struct letters *ls, turn_fn *fn, void *arg)
{
    if (ls->n == ls->cap) {
        ls->cap = ls->cap ? ls->cap * 2 : 16;
        ls->at = xrealloc(ls->at, ls->cap * sizeof *ls->at);
    }
    ls->at[ls->n++] = (struct letter){fn, arg};
}

static void letters_release(struct letters *ls)
{
    free(ls->at);
    *ls = (struct letters){0};
}

/* Runs all, also those that are added meanwhile; l: with glances between them, or NULL. */
static void letters_run(struct letters *ls, struct loop *l)
{
    for (size_t i = 0; i < ls->n; i++) {
        ls->at[i].fn(ls->at[i].arg);
        if (l)
            loop_glance(l);
    }
    ls->n = 0;
    if (ls->cap > LETTERS_KEPT)
        letters_release(ls);
}

void loop_defer(struct loop *l, turn_fn *fn, void *p)
{
    letters_add(&l->deferred, fn, p);
}

/* --- timers -------------------------------------------------------------------------------------
 */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *l = arg;
    l->timer_armed = INT64_MAX;
    loop_enter(l);
}

static void face_timer_set(void *loop, struct turn_timer *t, int64_t due)
{
    heap_set(&((struct loop *)loop)->timers, t, due);
}

static void face_timer_stop(void *loop, struct turn_timer *t)
{
    heap_remove(&((struct loop *)loop)->timers, t);
}

static bool timer_is_due(const struct loop *l)
{
    const struct turn_timer *t = heap_top(&l->timers);
    return t && t->due <= clock_mono();
}

static void run_timers(struct loop *l)
{
    if (!timer_is_due(l))
        return;
    loop_piece(l, "timers");
    /* a timer that sets itself to "now" must not keep the turn here */
    for (size_t left = l->timers.n; left > 0 && timer_is_due(l); left--) {
        struct turn_timer *t = heap_top(&l->timers);
        heap_remove(&l->timers, t);
        t->fn(t->arg);
    }
}

/* Lets libevent's timer stand for the top of the heap. */
static void arm_timer(struct loop *l)
{
    const struct turn_timer *t = heap_top(&l->timers);
    int64_t due = t ? t->due : INT64_MAX;
    if (due == l->timer_armed)
        return;
    l->timer_armed = due;
    if (due == INT64_MAX) {
        event_del(l->timer_ev);
        return;
    }
    int64_t wait = due - clock_mono_exact();
    if (wait < 0)
        wait = 0;
    struct timeval tv = {.tv_sec = wait / NS_PER_S,
                         .tv_usec = (wait % NS_PER_S + NS_PER_US - 1) / NS_PER_US};
    if (tv.tv_usec >= 1000000) {
        tv.tv_sec++;
        tv.tv_usec -= 1000000;
    }
    event_add(l->timer_ev, &tv);
}

/* --- mail ---------------------------------------------------------------------------------------
 */

static void face_mail(void *loop, turn_fn *fn, void *arg)
{
    struct loop *l = loop;
    pthread_mutex_lock(&l->lock);
    bool ring = l->inbox.n == 0;
    letters_add(&l->inbox, fn, arg);
    pthread_mutex_unlock(&l->lock);
    if (ring) {
        uint64_t one = 1;
        ssize_t n = write(l->mail_fd, &one, sizeof one);
        ASSERT(n == sizeof one); /* an eventfd takes 2^64 of them */
    }
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct loop *l = arg;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* nothing there: somebody rang twice */
    l->rung = true;
    loop_enter(l);
}

static void face_expect(void *loop, int64_t due)
{
    ((struct loop *)loop)->expected = due;
}

/* That is all: it was only to be awake. */
static void on_alarm(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
}

static void run_mail(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct letters came = l->inbox;
    l->inbox = l->reading;
    pthread_mutex_unlock(&l->lock);
    l->rung = false;
    l->reading = came;
    if (came.n == 0)
        return;
    loop_piece(l, "mail");
    l->expected = 0;
    letters_run(&l->reading, l);
}

/* --- posts --------------------------------------------------------------------------------------
 */

static void face_post(void *loop, struct turn_post *p)
{
    if (list_empty(&p->link))
        list_push_back(&((struct loop *)loop)->posts, &p->link);
}

static void face_at_end(void *loop, struct turn_post *p)
{
    if (list_empty(&p->link))
        list_push_back(&((struct loop *)loop)->ends, &p->link);
}

static void face_unpost(void *loop, struct turn_post *p)
{
    (void)loop;
    list_unlink(&p->link);
}

static void run_posts(struct loop *l)
{
    if (list_empty(&l->posts))
        return;
    loop_piece(l, "posted work");
    int64_t began = l->piece_start;
    struct list *e;
    for (unsigned n = 1; (e = list_pop(&l->posts)) != NULL; n++) {
        struct turn_post *p = LIST_ENTRY(e, struct turn_post, link);
        p->fn(p->arg);
        if (n % 8 == 0)
            loop_glance(l);
        if (n % 64 == 0 && clock_mono_exact() - began > POSTS_MAX_NS)
            break;
    }
    loop_glance(l);
}

/* Hand over and write; what that posts has its turn as well, a few times. */
static void run_ends(struct loop *l)
{
    for (int round = 0; round < END_ROUNDS && !list_empty(&l->ends); round++) {
        loop_piece(l, "end of turn");
        struct list now;
        list_init(&now);
        list_splice(&now, &l->ends);
        struct list *e;
        while ((e = list_pop(&now)) != NULL) {
            struct turn_post *p = LIST_ENTRY(e, struct turn_post, link);
            p->fn(p->arg);
        }
        run_posts(l);
    }
}

/* --- jobs ---------------------------------------------------------------------------------------
 */

static void face_job_start(void *loop, struct job *j)
{
    struct loop *l = loop;
    if (j == l->stepping) {
        l->step_woken = true;
        return;
    }
    if (j->running && !j->waiting)
        return;
    j->running = true;
    j->waiting = false;
    list_unlink(&j->link);
    list_push_back(&l->jobs, &j->link);
}

static void face_job_stop(void *loop, struct job *j)
{
    struct loop *l = loop;
    if (j == l->stepping)
        l->stepping = NULL;
    list_unlink(&j->link);
    j->running = j->waiting = false;
}

static void step_job(struct loop *l, struct job *j, const struct job_budget *b)
{
    list_unlink(&j->link);
    j->running = false; /* what a finished job looks like */
    l->stepping = j;
    l->step_woken = false;
    loop_piece(l, j->name);
    enum job_result r = j->step(j, b);
    bool stopped = l->stepping == NULL, again = r == JOB_MORE || l->step_woken;
    l->stepping = NULL;
    if (stopped || (r == JOB_DONE && !again))
        return;
    j->running = true;
    j->waiting = !again;
    if (again)
        list_push_back(&l->jobs, &j->link);
}

static void run_jobs(struct loop *l)
{
    int64_t now = clock_mono_exact(), budget = (now - l->turn_start) / 2;
    budget = budget < JOBS_LEAST_NS ? JOBS_LEAST_NS : budget;
    int64_t end = now + (budget > JOBS_MOST_NS ? JOBS_MOST_NS : budget);
    while (now < end && !list_empty(&l->jobs)) {
        struct job *j = LIST_ENTRY(l->jobs.next, struct job, link);
        struct job_budget b = {.until = now + JOB_PORTION_NS < end ? now + JOB_PORTION_NS : end};
        step_job(l, j, &b);
        loop_glance(l);
        now = clock_mono_exact();
    }
    loop_piece(l, "after jobs");
}

/* --- signals ------------------------------------------------------------------------------------
 */

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct on_signal *s = arg;
    loop_enter(s->loop);
    s->fn(s->arg, s->signo);
}

int loop_on_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg)
{
    struct on_signal *s = xmalloc(sizeof *s);
    *s = (struct on_signal){.loop = l, .signo = signo, .fn = fn, .arg = arg};
    s->ev = evsignal_new(l->base, signo, on_signal, s);
    if (!s->ev || evsignal_add(s->ev, NULL) != 0) {
        if (s->ev)
            event_free(s->ev);
        free(s);
        return E_SYS;
    }
    list_init(&s->link);
    list_push_back(&l->signals, &s->link);
    return 0;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static struct event_base *new_base(void)
{
    struct event_config *cfg = event_config_new();
    ASSERT(cfg);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    return base;
}

struct loop *loop_new(void)
{
    event_set_mem_functions(cells_malloc, cells_realloc, cells_free);
    struct event_base *base = new_base();
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!base || fd < 0 || alarm_fd < 0) {
        if (base)
            event_base_free(base);
        if (fd >= 0)
            close(fd);
        if (alarm_fd >= 0)
            close(alarm_fd);
        return NULL;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    struct loop *l = xcalloc(1, sizeof *l);
    *l = (struct loop){.base = base, .mail_fd = fd, .alarm_fd = alarm_fd, .timer_armed = INT64_MAX};
    list_init(&l->posts);
    list_init(&l->ends);
    list_init(&l->jobs);
    list_init(&l->signals);
    pthread_mutex_init(&l->lock, NULL);
    l->timer_ev = event_new(base, -1, 0, on_timer, l);
    l->mail_ev = event_new(base, fd, EV_READ | EV_PERSIST, on_mail, l);
    l->alarm_ev = event_new(base, alarm_fd, EV_READ | EV_PERSIST, on_alarm, l);
    ASSERT(l->timer_ev && l->mail_ev && event_add(l->mail_ev, NULL) == 0);
    ASSERT(l->alarm_ev && event_add(l->alarm_ev, NULL) == 0);
    l->face = (struct turn){.loop = l,
                            .timer_set = face_timer_set,
                            .timer_stop = face_timer_stop,
                            .post = face_post,
                            .unpost = face_unpost,
                            .at_end = face_at_end,
                            .mail = face_mail,
                            .expect = face_expect,
                            .job_start = face_job_start,
                            .job_stop = face_job_stop};
    l->helper = helper_new(&l->face);
    l->asker = helper_new(&l->face);
    loop_stats_reset(l);
    l->piece = "starting";
    l->cpu_before = cpu_now();
    clock_tick();
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    helper_end(l->helper);
    helper_leave(l->asker);
    letters_run(&l->deferred, NULL);
    if (l->conns_free)
        l->conns_free(l->conns);
    letters_run(&l->deferred, NULL);
    struct list *e;
    while ((e = list_pop(&l->signals)) != NULL) {
        struct on_signal *s = LIST_ENTRY(e, struct on_signal, link);
        event_free(s->ev);
        free(s);
    }
    event_free(l->timer_ev);
    event_free(l->mail_ev);
    event_free(l->alarm_ev);
    close(l->alarm_fd);
    event_base_free(l->base);
    close(l->mail_fd);
    pthread_mutex_destroy(&l->lock);
    heap_release(&l->timers);
    letters_release(&l->deferred);
    letters_release(&l->inbox);
    letters_release(&l->reading);
    free(l);
}

int loop_help(struct loop *l, turn_fn *work, turn_fn *done, void *arg)
{
    return helper_give(l->helper, work, done, arg);
}

int loop_ask(struct loop *l, turn_fn *work, turn_fn *done, void *arg)
{
    return helper_give(l->asker, work, done, arg);
}

const struct turn *loop_turn(struct loop *l)
{
    return &l->face;
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
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

/* May libevent sleep? */
static bool at_rest(const struct loop *l)
{
    return list_empty(&l->posts) && list_empty(&l->ends) && list_empty(&l->jobs) &&
           l->deferred.n == 0 && !l->rung && !l->stop;
}

/* Looks for events from `before` (now) on, without sleeping; true when there were some. The core is
 * offered to others between two looks. */
static bool look(struct loop *l, int64_t before, int64_t until)
{
    int64_t now;
    while (before < until) {
        event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        if (l->awake)
            return true;
        sched_yield();
        now = clock_mono_exact();
        if (now - before > LOOK_NS) {
            loop_poll_crowded(&l->poll, now);
            return false;
        }
        before = now;
    }
    return false;
}

static void set_alarm(struct loop *l, int64_t at)
{
    struct itimerspec when = {.it_value = {at / NS_PER_S, at % NS_PER_S}};
    if (l->alarm == at)
        return;
    l->alarm = at;
    (void)timerfd_settime(l->alarm_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Sleeps until shortly before the mail that is expected, then looks for it; true when something
 * came. */
static bool await_mail(struct loop *l)
{
    int64_t from, until, now = l->piece_start;
    if (!loop_poll_expected(&l->poll, now, l->worked, l->expected, &from, &until))
        return false;
    if (now < from) {
        set_alarm(l, from);
        event_base_loop(l->base, EVLOOP_ONCE);
        now = clock_mono_exact();
    }
    if (!l->awake && now >= from && !look(l, now, until))
        l->expected = 0;
    return l->awake;
}

/* At rest, the last turn is accounted: waiting began at piece_start. */
static void wait_for_events(struct loop *l)
{
    int64_t began = l->piece_start;
    if (await_mail(l))
        return;
    if (!look(l, began, began + loop_poll_for(&l->poll, began, l->worked)))
        event_base_loop(l->base, EVLOOP_ONCE);
    if (l->awake)
        loop_poll_note(&l->poll, l->turn_start - began);
}

void loop_once(struct loop *l)
{
    arm_timer(l);
    if (at_rest(l))
        wait_for_events(l);
    else
        event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    if (!l->awake) {
        loop_enter(l); /* only jobs, or what the last turn left */
    }
    sockets_served(l);
    run_timers(l);
    run_mail(l);
    run_posts(l);
    if (!list_empty(&l->jobs)) {
        run_ends(l);
        run_jobs(l);
        run_posts(l);
    }
    run_ends(l);
    if (l->deferred.n)
        letters_run(&l->deferred, NULL);
    account_turn(l);
    l->awake = false;
}

void loop_run(struct loop *l)
{
    l->stop = false;
    while (!l->stop)
        loop_once(l);
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

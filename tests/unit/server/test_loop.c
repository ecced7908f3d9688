/* tests/unit/server/test_loop.c -- the turn: timers, posts, mail, jobs, helper, in that order and
 * no other
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/loop.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

static struct loop *l;
static const struct turn *t;
static char seen[64];
static size_t nseen;

static void note(char c)
{
    assert_true(nseen < sizeof seen - 1);
    seen[nseen++] = c;
    seen[nseen] = '\0';
}

static int open_loop(void **state)
{
    (void)state;
    l = loop_new();
    t = loop_turn(l);
    nseen = 0;
    seen[0] = '\0';
    return l ? 0 : -1;
}

static int close_loop(void **state)
{
    (void)state;
    loop_free(l);
    return 0;
}

static void note_arg(void *arg)
{
    note(*(const char *)arg);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(l);
}

static void timers_fire_in_order_of_their_time(void **state)
{
    (void)state;
    struct turn_timer a, b, c, end;
    turn_timer_init(&a, note_arg, "a");
    turn_timer_init(&b, note_arg, "b");
    turn_timer_init(&c, note_arg, "c");
    turn_timer_init(&end, stop, NULL);
    int64_t now = clock_mono(), start = clock_mono_exact();
    turn_set(t, &b, now + 4 * NS_PER_MS);
    turn_set(t, &a, now + 2 * NS_PER_MS);
    turn_set(t, &c, now + 3 * NS_PER_MS);
    turn_set(t, &end, now + 6 * NS_PER_MS);
    turn_set(t, &c, now + 5 * NS_PER_MS); /* moved */
    loop_run(l);
    assert_string_equal(seen, "abc");
    assert_false(turn_timer_is_set(&a));
    assert_true(clock_mono_exact() - start >= 5 * NS_PER_MS);
}

static void a_timer_taken_off_stays_silent(void **state)
{
    (void)state;
    struct turn_timer a, end;
    turn_timer_init(&a, note_arg, "a");
    turn_timer_init(&end, stop, NULL);
    turn_set(t, &a, clock_mono() + NS_PER_MS);
    turn_set(t, &end, clock_mono() + 3 * NS_PER_MS);
    turn_unset(t, &a);
    turn_unset(t, &a);
    loop_run(l);
    assert_string_equal(seen, "");
}

struct again {
    struct turn_timer timer;
    int left;
};

static void set_to_now(void *arg)
{
    struct again *a = arg;
    if (--a->left == 0)
        loop_stop(l);
    else
        turn_set(t, &a->timer, 0);
}

static void a_timer_that_is_always_due_does_not_keep_the_turn(void **state)
{
    (void)state;
    struct again a = {.left = 100};
    turn_timer_init(&a.timer, set_to_now, &a);
    turn_set(t, &a.timer, 0);
    struct loop_stats before, after;
    loop_stats(l, &before);
    loop_run(l);
    loop_stats(l, &after);
    assert_true(after.turns - before.turns >= 100);
}

static struct turn_post second, third, at_end;

static void first_post(void *arg)
{
    (void)arg;
    note('1');
    turn_post_now(t, &second);
    turn_post_now(t, &second); /* no-op */
    t->at_end(t->loop, &at_end);
    turn_post_now(t, &third);
}

static void end_post(void *arg)
{
    (void)arg;
    note('e');
    loop_defer(l, stop, NULL);
    loop_defer(l, note_arg, "f");
}

static void posts_run_in_order_then_the_end_then_the_frees(void **state)
{
    (void)state;
    struct turn_post first, gone;
    turn_post_init(&first, first_post, NULL);
    turn_post_init(&second, note_arg, "2");
    turn_post_init(&third, note_arg, "3");
    turn_post_init(&at_end, end_post, NULL);
    turn_post_init(&gone, note_arg, "x");
    turn_post_now(t, &gone);
    turn_post_now(t, &first);
    t->unpost(t->loop, &gone);
    loop_run(l);
    assert_string_equal(seen, "123ef");
}

static unsigned letters_seen;

static void letter(void *arg)
{
    (void)arg;
    letters_seen++;
}

static void *write_letters(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++)
        t->mail(t->loop, letter, NULL);
    return NULL;
}

static void mail_from_other_threads_arrives_once_each(void **state)
{
    (void)state;
    pthread_t threads[3];
    letters_seen = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_letters, NULL), 0);
    while (letters_seen < 60000)
        loop_once(l);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(letters_seen, 60000);
}

static void *write_stop(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) /* the loop may sleep, or not yet */
        sched_yield();
    t->mail(t->loop, stop, NULL);
    return NULL;
}

/* Later than it was expected, or before: it comes all the same. */
static void mail_arrives_whenever_it_was_expected(void **state)
{
    static const int64_t dues[] = {-NS_PER_S, -1, 1, 300 * NS_PER_US, NS_PER_MS, NS_PER_S};
    (void)state;
    for (size_t i = 0; i < 20 * sizeof dues / sizeof *dues; i++) {
        pthread_t thread;
        t->expect(l, clock_mono_exact() + dues[i % (sizeof dues / sizeof *dues)]);
        assert_int_equal(pthread_create(&thread, NULL, write_stop, NULL), 0);
        loop_run(l);
        pthread_join(thread, NULL);
    }
}

struct counting {
    struct job job;
    int steps, rest_at, done_at;
    bool freed_itself;
};

static enum job_result count(struct job *j, const struct job_budget *b)
{
    struct counting *c = CONTAINER_OF(j, struct counting, job);
    (void)b;
    c->steps++;
    if (c->steps == c->done_at) {
        loop_stop(l);
        if (c->freed_itself)
            free(c);
        return JOB_DONE;
    }
    return c->steps == c->rest_at ? JOB_WAIT : JOB_MORE;
}

static void wake(void *arg)
{
    t->job_start(t->loop, arg);
}

static void a_job_rests_until_it_is_woken(void **state)
{
    (void)state;
    struct counting c = {.rest_at = 3, .done_at = 6};
    struct turn_timer later;
    job_init(&c.job, "counting", count);
    turn_timer_init(&later, wake, &c.job);
    t->job_start(t->loop, &c.job);
    t->job_start(t->loop, &c.job);
    turn_set(t, &later, clock_mono() + 3 * NS_PER_MS);
    loop_run(l);
    assert_int_equal(c.steps, 6);
    assert_false(c.job.running);
}

static void a_finished_job_may_be_freed(void **state)
{
    (void)state;
    struct counting *c = xcalloc(1, sizeof *c);
    c->done_at = 2;
    c->freed_itself = true;
    job_init(&c->job, "counting", count);
    t->job_start(t->loop, &c->job);
    loop_run(l);
}

static enum job_result wake_myself(struct job *j, const struct job_budget *b)
{
    struct counting *c = CONTAINER_OF(j, struct counting, job);
    (void)b;
    if (++c->steps == 2) {
        loop_stop(l);
        return JOB_DONE;
    }
    t->job_start(t->loop, j); /* a receipt came while we ran */
    return JOB_WAIT;
}

static void a_wake_during_the_step_is_not_lost(void **state)
{
    (void)state;
    struct counting c = {0};
    job_init(&c.job, "wake myself", wake_myself);
    t->job_start(t->loop, &c.job);
    loop_run(l);
    assert_int_equal(c.steps, 2);
}

static void a_stopped_job_never_runs(void **state)
{
    (void)state;
    struct counting c = {.done_at = 1};
    struct turn_timer end;
    job_init(&c.job, "counting", count);
    turn_timer_init(&end, stop, NULL);
    t->job_start(t->loop, &c.job);
    t->job_stop(t->loop, &c.job);
    turn_set(t, &end, clock_mono() + NS_PER_MS);
    loop_run(l);
    assert_int_equal(c.steps, 0);
}

static pthread_t worked_on;
static int errands_done;

static void work(void *arg)
{
    worked_on = pthread_self();
    ++*(int *)arg;
}

static void done(void *arg)
{
    ++*(int *)arg;
    if (++errands_done == 3)
        loop_stop(l);
}

static void the_helper_works_elsewhere_and_reports_here(void **state)
{
    (void)state;
    int args[3] = {0};
    errands_done = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_help(l, work, done, &args[i]), 0);
    loop_run(l);
    for (int i = 0; i < 3; i++)
        assert_int_equal(args[i], 2);
    assert_false(pthread_equal(worked_on, pthread_self()));
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void count_done(void *arg)
{
    ++*(int *)arg;
}

static void too_many_errands_are_refused_and_none_is_forgotten(void **state)
{
    (void)state;
    int taken = 0, told = 0;
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 100; i++)
        taken += loop_help(l, wait_at_gate, count_done, &told) == 0;
    assert_in_range(taken, 64, 65); /* one may be at work already */
    pthread_mutex_unlock(&gate);
    loop_free(l); /* with errands waiting: done() is called for all */
    assert_int_equal(told, taken);
    l = loop_new();
}

static atomic_int at_gate, answers;

static void ask_at_gate(void *arg)
{
    atomic_fetch_add(&at_gate, 1);
    wait_at_gate(arg);
}

static void count_answer(void *arg)
{
    (void)arg;
    atomic_fetch_add(&answers, 1);
}

static void ask_behind_the_gate(void)
{
    atomic_store(&at_gate, 0);
    atomic_store(&answers, 0);
    pthread_mutex_lock(&gate);
    assert_int_equal(loop_ask(l, ask_at_gate, count_answer, NULL), 0);
    while (atomic_load(&at_gate) == 0)
        sched_yield();
}

static void who_computes_does_not_wait_behind_who_asks(void **state)
{
    int args[3] = {0};
    (void)state;
    ask_behind_the_gate();
    errands_done = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(loop_help(l, work, done, &args[i]), 0);
    loop_run(l);
    assert_int_equal(atomic_load(&answers), 0);
    pthread_mutex_unlock(&gate);
    while (atomic_load(&answers) == 0)
        loop_once(l);
}

static void the_end_does_not_wait_for_an_answer(void **state)
{
    (void)state;
    ask_behind_the_gate();
    assert_int_equal(loop_ask(l, ask_at_gate, count_answer, NULL), 0);
    loop_free(l);
    assert_int_equal(atomic_load(&answers), 1); /* of the one that waited */
    pthread_mutex_unlock(&gate);
    while (atomic_load(&answers) < 2)
        sched_yield();
    assert_int_equal(atomic_load(&at_gate), 1);
    l = loop_new();
}

static void on_usr(void *arg, int signo)
{
    assert_int_equal(signo, SIGUSR1);
    stop(arg);
}

static void a_signal_is_an_event(void **state)
{
    (void)state;
    assert_int_equal(loop_on_signal(l, SIGUSR1, on_usr, NULL), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    loop_run(l);
}

static char warned[256];

static void capture(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    if (level == LOG_WARN)
        snprintf(warned, sizeof warned, "%s", line);
}

static void take_long(void *arg)
{
    (void)arg;
    const char *before = loop_piece(l, "counting sheep");
    for (int64_t end = clock_mono_exact() + 60 * NS_PER_MS; clock_mono_exact() < end;)
        ;
    loop_piece(l, before);
    loop_stop(l);
}

static void a_long_turn_is_told_with_the_name_of_its_piece(void **state)
{
    (void)state;
    struct turn_post p;
    turn_post_init(&p, take_long, NULL);
    turn_post_now(t, &p);
    log_capture(capture, NULL);
    loop_run(l);
    log_capture(NULL, NULL);
    assert_non_null(strstr(warned, "counting sheep"));
    struct loop_stats s;
    loop_stats(l, &s);
    assert_string_equal(s.longest, "counting sheep");
    uint64_t slow = 0;
    for (int i = 15; i < 32; i++) /* 32 ms and more */
        slow += s.wall_hist[i];
    assert_int_equal(slow, 1);
    loop_stats_reset(l);
    loop_stats(l, &s);
    assert_int_equal(s.turns + s.wall_hist[15] + (uint64_t)s.wall_max_ns, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timers_fire_in_order_of_their_time),
        TEST(a_timer_taken_off_stays_silent),
        TEST(a_timer_that_is_always_due_does_not_keep_the_turn),
        TEST(posts_run_in_order_then_the_end_then_the_frees),
        TEST(mail_from_other_threads_arrives_once_each),
        TEST(mail_arrives_whenever_it_was_expected),
        TEST(a_job_rests_until_it_is_woken),
        TEST(a_finished_job_may_be_freed),
        TEST(a_wake_during_the_step_is_not_lost),
        TEST(a_stopped_job_never_runs),
        TEST(the_helper_works_elsewhere_and_reports_here),
        TEST(who_computes_does_not_wait_behind_who_asks),
        TEST(the_end_does_not_wait_for_an_answer),
        TEST(too_many_errands_are_refused_and_none_is_forgotten),
        TEST(a_signal_is_an_event),
        TEST(a_long_turn_is_told_with_the_name_of_its_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

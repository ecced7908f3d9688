/* The fake turn keeps the promises of turn.h and job.h, so tests of other rooms may lean on it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "fake/turn.h"

static struct fake_turn ft;
static struct buf diary; /* what happened, a letter each */

static int set_up(void **state)
{
    (void)state;
    fake_turn_init(&ft);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_turn_release(&ft);
    buf_release(&diary);
    return 0;
}

static void note(void *arg)
{
    buf_add_str(&diary, arg);
}

static void timers_run_at_their_time_in_order(void **state)
{
    (void)state;
    struct turn_timer a, b, c;
    turn_timer_init(&a, note, "a");
    turn_timer_init(&b, note, "b");
    turn_timer_init(&c, note, "c");
    turn_set(&ft.turn, &a, clock_mono() + 30);
    turn_set(&ft.turn, &b, clock_mono() + 20);
    turn_set(&ft.turn, &c, clock_mono() + 10);
    turn_set(&ft.turn, &c, clock_mono() + 40);
    fake_turn_run(&ft);
    assert_int_equal(diary.len, 0);
    int64_t wall = clock_wall();
    fake_turn_advance(&ft, 30);
    assert_string_equal(buf_cstr(&diary), "ba");
    assert_int_equal(clock_wall(), wall + 30);
    assert_true(turn_timer_is_set(&c) && !turn_timer_is_set(&a));
    turn_unset(&ft.turn, &c);
    fake_turn_advance(&ft, 30);
    assert_string_equal(buf_cstr(&diary), "ba");
}

static struct turn_post first, second, late;

static void post_more(void *arg)
{
    note(arg);
    ft.turn.at_end(ft.turn.loop, &late);
    turn_post_now(&ft.turn, &second);
    turn_post_now(&ft.turn, &second);
}

static void posts_run_in_this_turn_and_the_end_comes_last(void **state)
{
    (void)state;
    struct turn_post never;
    turn_post_init(&first, post_more, "1");
    turn_post_init(&second, note, "2");
    turn_post_init(&late, note, "E");
    turn_post_init(&never, note, "x");
    turn_post_now(&ft.turn, &never);
    turn_post_now(&ft.turn, &first);
    ft.turn.unpost(ft.turn.loop, &never);
    assert_true(fake_turn_once(&ft));
    assert_string_equal(buf_cstr(&diary), "12E");
    assert_false(fake_turn_once(&ft));
}

static void *send_mail(void *arg)
{
    for (int i = 0; i < 100; i++)
        ft.turn.mail(ft.turn.loop, note, arg);
    return NULL;
}

static bool has_all(void *arg)
{
    (void)arg;
    return diary.len == 100;
}

static void mail_comes_from_other_threads(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_mail, "m"), 0);
    assert_true(fake_turn_wait(&ft, has_all, NULL));
    pthread_join(thread, NULL);
    ft.turn.mail(ft.turn.loop, note, "never read");
}

struct counting {
    struct job job;
    int steps, waits_at, ends_at;
    bool wakes_itself;
};

static enum job_result count(struct job *j, const struct job_budget *b)
{
    struct counting *c = LIST_ENTRY(j, struct counting, job);
    do {
        c->steps++;
        if (c->steps == c->ends_at)
            return JOB_DONE;
        if (c->steps == c->waits_at) {
            if (c->wakes_itself)
                ft.turn.job_start(ft.turn.loop, j);
            return JOB_WAIT;
        }
    } while (!job_over(b));
    return JOB_MORE;
}

static void jobs_go_on_wait_and_end(void **state)
{
    (void)state;
    struct counting c = {.waits_at = 3, .ends_at = 5};
    job_init(&c.job, "count", count);
    ft.job_budget_ns = 0;
    ft.turn.job_start(ft.turn.loop, &c.job);
    assert_true(c.job.running);
    assert_true(fake_turn_once(&ft));
    assert_int_equal(c.steps, 1);
    fake_turn_run(&ft);
    assert_int_equal(c.steps, 3);
    assert_true(c.job.waiting && c.job.running);
    ft.turn.job_start(ft.turn.loop, &c.job);
    fake_turn_run(&ft);
    assert_int_equal(c.steps, 5);
    assert_false(c.job.waiting || c.job.running);
    ft.job_budget_ns = 1;
    c.steps = 0;
    c.wakes_itself = true;
    ft.turn.job_start(ft.turn.loop, &c.job);
    fake_turn_run(&ft);
    assert_int_equal(c.steps, 5);
    c.steps = 0;
    c.wakes_itself = false;
    ft.turn.job_start(ft.turn.loop, &c.job);
    fake_turn_run(&ft);
    ft.turn.job_stop(ft.turn.loop, &c.job);
    fake_turn_run(&ft);
    assert_int_equal(c.steps, 3);
    assert_false(c.job.waiting || c.job.running);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timers_run_at_their_time_in_order),
        TEST(posts_run_in_this_turn_and_the_end_comes_last),
        TEST(mail_comes_from_other_threads),
        TEST(jobs_go_on_wait_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

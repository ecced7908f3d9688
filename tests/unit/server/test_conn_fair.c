/* tests/unit/server/test_conn_fair.c -- who says little does not wait behind who says much
 *
 * Real sockets, a clock that stands still unless the test moves it. The order in which handlers ran
 * is kept as a word: 'l' for the light connection, 'h' for the heavy one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/conn.h"

#include <string.h>

#include "unit/server/ends.h"

#define MUCH ((size_t)64 * 1024)

struct side {
    struct conn *c;
    int peer; /* the other end, outside the loop */
    char name;
    size_t longest, received;
};

static struct side light, heavy, fat;
static char order[64];
static size_t steps;
static bool answered_before, speaks_again;
static int64_t takes; /* what the heavy one says, to be heard */
static int64_t mono;

static void later(int64_t ns)
{
    mono += ns;
    clock_fake(mono, mono);
}

static void says(const struct side *s, size_t n)
{
    assert_int_equal(send(s->peer, pattern, n, MSG_DONTWAIT), n);
}

static bool hears(const struct side *s)
{
    char some[64];
    return recv(s->peer, some, sizeof some, MSG_DONTWAIT) > 0;
}

static void on_side(void *arg, struct conn *c, enum conn_event ev)
{
    struct side *s = arg;
    if (ev != CONN_DATA)
        return;
    size_t n = conn_input(c).n;
    conn_consume(c, n);
    s->received += n;
    s->longest = n > s->longest ? n : s->longest;
    assert_true(steps < sizeof order - 1);
    order[steps++] = s->name;
    if (s == &light)
        conn_write(c, "yes", 3);
    if (s == &heavy)
        later(takes);
    if (s == &heavy && speaks_again) { /* this took long, and meanwhile somebody asked */
        answered_before = hears(&light);
        speaks_again = false;
        later(NS_PER_MS);
        says(&light, 1);
    }
}

static void forget(void)
{
    memset(order, 0, sizeof order);
    steps = 0;
    light.received = light.longest = heavy.received = heavy.longest = 0;
    fat.received = fat.longest = 0;
}

static void join(struct side *s, char name)
{
    int fd[2], room = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    *s = (struct side){.peer = fd[1], .name = name};
    s->c = conn_accept(l, fd[0], on_side, s);
}

/* Heavy and fat have said much once, each alone; the clock stands. */
static int open_sides(void **state)
{
    int r = open_loop(state);
    later(NS_PER_S);
    takes = 0;
    join(&heavy, 'h'); /* first: libevent would serve it first */
    join(&fat, 'f');
    join(&light, 'l');
    forget();
    says(&fat, MUCH);
    UNTIL(fat.received == MUCH);
    forget();
    says(&heavy, MUCH);
    UNTIL(heavy.received == MUCH);
    return r;
}

static int close_sides(void **state)
{
    close(heavy.peer);
    close(fat.peer);
    close(light.peer);
    int r = close_loop(state);
    clock_unfake();
    return r;
}

static void alone_it_is_read_at_once(void **state)
{
    (void)state;
    assert_string_equal(order, "h");
    assert_int_equal(heavy.longest, MUCH);
}

static void a_question_is_answered_before_and_in_between(void **state)
{
    (void)state;
    says(&light, 1);
    UNTIL(light.received == 1);
    assert_true(hears(&light));
    forget();
    speaks_again = true;
    says(&heavy, MUCH);
    says(&light, 1);
    loop_once(l);
    /* all in one turn: the light one first although it came last; its answer had left before the
     * heavy one was read; what it asked meanwhile was heard between two chunks */
    assert_string_equal(order, "lhlhhh");
    assert_true(answered_before);
    assert_int_equal(heavy.received, MUCH);
    assert_int_equal(heavy.longest, MUCH / 4);
    assert_true(hears(&light));
}

static void after_a_while_of_silence_it_is_read_at_once_again(void **state)
{
    (void)state;
    says(&light, 1);
    UNTIL(light.received == 1);
    later(NS_PER_S);
    forget();
    says(&heavy, MUCH);
    loop_once(l);
    assert_string_equal(order, "h");
    assert_int_equal(heavy.longest, MUCH);
}

static void a_long_turn_does_not_wait_for_all_who_say_much(void **state)
{
    (void)state;
    takes = 11 * NS_PER_MS;
    forget();
    says(&heavy, MUCH);
    says(&fat, MUCH);
    says(&light, 1);
    loop_once(l);
    assert_memory_equal(order, "hlf", 3);
    UNTIL(fat.received == MUCH);
}

static void the_short_end_of_something_long_is_no_question(void **state)
{
    (void)state;
    says(&heavy, 1);
    UNTIL(heavy.received == MUCH + 1);
    forget();
    says(&heavy, MUCH);
    loop_once(l);
    assert_int_equal(heavy.longest, MUCH);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_sides, close_sides)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(alone_it_is_read_at_once),
        TEST(a_question_is_answered_before_and_in_between),
        TEST(after_a_while_of_silence_it_is_read_at_once_again),
        TEST(a_long_turn_does_not_wait_for_all_who_say_much),
        TEST(the_short_end_of_something_long_is_no_question),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(pattern);
    return r;
}

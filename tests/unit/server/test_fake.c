/* tests/unit/server/test_fake.c -- the wires of scenario tests keep the promises of conn.h
 *
 * link: fake
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "fake/conn.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake/loop.h"
#include "server/conn.h"
#include "server/listener.h"
#include "server/loop.h"

static struct loop *l;
static struct listener *li;

static struct {
    struct conn *c;
    unsigned events[CONN_GONE + 1];
    enum conn_reason reason;
    char got[64];
} end;

static void on_event(void *arg, struct conn *c, enum conn_event ev)
{
    (void)arg;
    end.events[ev]++;
    if (ev == CONN_GONE) {
        end.reason = conn_reason(c);
        end.c = NULL;
    }
    if (ev != CONN_DATA)
        return;
    struct slice in = conn_input(c);
    size_t line = slice_find(in, '\n');
    if (line == in.n)
        return;
    memcpy(end.got + strlen(end.got), in.p, line);
    conn_consume(c, line + 1);
    if (in.n > line + 1)
        conn_yield(c);
    conn_write(c, "+OK\r\n", 5);
}

static void accepted(void *arg, struct listener *from, int fd)
{
    (void)arg, (void)from;
    end.c = conn_accept(l, fd, on_event, NULL);
}

static int open_all(void **state)
{
    (void)state;
    char *why;
    memset(&end, 0, sizeof end);
    l = loop_new();
    return listener_open(l, "", 4222, accepted, NULL, &li, &why);
}

static int close_all(void **state)
{
    (void)state;
    listener_close(li);
    loop_free(l);
    return 0;
}

static void say(struct wire *w, const char *text)
{
    wire_say(w, text, strlen(text));
}

static void lines_come_whole_however_they_are_split(void **state)
{
    (void)state;
    struct wire *w = wire_knock(4222);
    wire_split(w, 1);
    say(w, "one\ntwo\nthr");
    fake_loop_run(l);
    assert_string_equal(end.got, "onetwo");
    say(w, "ee\n");
    fake_loop_run(l);
    assert_string_equal(end.got, "onetwothree");
    assert_int_equal(wire_heard(w)->len, 15);
    assert_null(wire_knock(4223));
}

static void delays_follow_the_fake_clock(void **state)
{
    (void)state;
    struct wire *w = wire_knock(4222);
    wire_delay(w, 300 * NS_PER_MS);
    say(w, "one\n");
    fake_loop_advance(l, 299 * NS_PER_MS);
    assert_string_equal(end.got, "");
    fake_loop_advance(l, 2 * NS_PER_MS);
    assert_string_equal(end.got, "one");
    assert_int_equal(wire_heard(w)->len, 0);
    fake_loop_advance(l, 300 * NS_PER_MS);
    assert_int_equal(wire_heard(w)->len, 5);
}

static void ends_are_told_once_with_their_reason(void **state)
{
    (void)state;
    struct wire *w = wire_knock(4222);
    say(w, "one\n");
    wire_hang_up(w);
    fake_loop_run(l);
    assert_int_equal(end.events[CONN_GONE], 1);
    assert_int_equal(end.reason, CONN_EOF);
    assert_int_equal(wire_heard(w)->len, 5);
    wire_free(w);
    w = wire_knock(4222);
    wire_cut(w);
    fake_loop_run(l);
    assert_int_equal(end.reason, CONN_READ_ERROR);
    w = wire_knock(4222);
    conn_write(end.c, "bye", 3);
    conn_close(end.c, true);
    fake_loop_run(l);
    assert_int_equal(end.reason, CONN_CLOSED);
    assert_int_equal(wire_heard(w)->len, 3);
    assert_false(wire_alive(w));
}

static void a_full_peer_meets_the_deadline_or_drains(void **state)
{
    (void)state;
    struct wire *w = wire_knock(4222);
    conn_low_water(end.c, 4);
    conn_write_deadline(end.c, 10 * NS_PER_S);
    wire_narrow(w, 2);
    conn_write(end.c, "0123456789", 10);
    fake_loop_run(l);
    assert_int_equal(conn_pending(end.c), 8);
    assert_int_equal(end.events[CONN_DRAINED], 0);
    wire_narrow(w, 4);
    fake_loop_run(l);
    assert_int_equal(end.events[CONN_DRAINED], 1);
    fake_loop_advance(l, 11 * NS_PER_S);
    assert_int_equal(end.reason, CONN_WRITE_TIMEOUT);
}

static void dials_are_answered_refused_or_time_out(void **state)
{
    (void)state;
    assert_int_equal(conn_dial(l, "127.0.0.1", 7422, NS_PER_S, on_event, NULL, &end.c), 0);
    struct wire *w = wire_dialled(7422);
    assert_non_null(w);
    assert_int_equal(end.events[CONN_CONNECTED], 0);
    fake_loop_run(l);
    assert_int_equal(end.events[CONN_CONNECTED], 1);
    assert_int_equal(conn_start_tls(end.c, NULL, false, "hub"), 0);
    fake_loop_run(l);
    assert_int_equal(end.events[CONN_TLS_READY], 1);
    wire_free(w);
    fake_loop_run(l);
    assert_int_equal(conn_dial(l, "127.0.0.1", 7422, NS_PER_S, on_event, NULL, &end.c), 0);
    assert_true(wire_refuse(7422));
    fake_loop_run(l);
    assert_int_equal(end.reason, CONN_DIAL_FAILED);
    assert_int_equal(conn_dial(l, "127.0.0.1", 7422, NS_PER_S, on_event, NULL, &end.c), 0);
    fake_loop_advance(l, 2 * NS_PER_S);
    assert_int_equal(end.reason, CONN_DIAL_TIMEOUT);
    assert_null(wire_dialled(7422));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_come_whole_however_they_are_split),
        TEST(delays_follow_the_fake_clock),
        TEST(ends_are_told_once_with_their_reason),
        TEST(a_full_peer_meets_the_deadline_or_drains),
        TEST(dials_are_answered_refused_or_time_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/server/ends.h -- two connections in one loop, and what may flow between them
 *
 * What flows is a pattern of a prime length, so that every byte's place can be checked with memcmp.
 * Included by one test program each, which may leave some of it unused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENDS_H
#define TESTS_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "server/conn.h"
#include "server/loop.h"

#define HELPER static __attribute__((unused))
#define PERIOD 1048573 /* a prime */

static struct loop *l;
static char *pattern; /* PERIOD + 1 MiB, periodic */
static unsigned seed = 1;

HELPER unsigned rnd(unsigned below)
{
    return (unsigned)rand_r(&seed) % below;
}

HELPER int open_loop(void **state)
{
    (void)state;
    if (!pattern) {
        pattern = xmalloc(2 * PERIOD);
        for (size_t i = 0; i < PERIOD; i++)
            pattern[i] = pattern[i + PERIOD] = (char)rnd(256);
    }
    l = loop_new();
    return l ? 0 : -1;
}

HELPER int close_loop(void **state)
{
    (void)state;
    loop_free(l);
    return 0;
}

/* One end: counts its events and does what the test told it. */
struct end {
    struct conn *c;
    unsigned events[CONN_GONE + 1];
    enum conn_reason reason;
    char error[80];
    struct buf got;
    conn_event_fn *then; /* after counting; may be NULL: takes all the input into got */
    size_t sent, received, total;
    struct turn_timer resume;
    struct end *peer;
};

HELPER void end_event(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    e->events[ev]++;
    if (ev == CONN_GONE) {
        e->reason = conn_reason(c);
        snprintf(e->error, sizeof e->error, "%s", conn_error(c));
        e->c = NULL;
    }
    if (e->then) {
        e->then(e, c, ev);
    } else if (ev == CONN_DATA) {
        buf_add_slice(&e->got, conn_input(c));
        conn_consume(c, conn_input(c).n);
    }
}

HELPER void pair(struct end *a, struct end *b)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    a->c = conn_accept(l, fd[0], end_event, a);
    b->c = conn_accept(l, fd[1], end_event, b);
    a->peer = b;
    b->peer = a;
}

/* Turns until cond holds; a test that hangs is stopped by ctest. */
#define UNTIL(cond)                                                                                \
    while (!(cond))                                                                                \
    loop_once(l)

HELPER void release(struct end *e)
{
    if (e->c)
        conn_close(e->c, false);
    UNTIL(!e->c);
    buf_release(&e->got);
}

/* --- echo ------------------------------------------------------------------------------------- */

HELPER void say_more(struct end *e)
{
    while (e->sent < e->total && conn_pending(e->c) < 600 * 1024) {
        size_t n = rnd(8) ? 1 + rnd(300) : 1 + rnd(rnd(4) ? 5000 : 500000);
        if (n > e->total - e->sent)
            n = e->total - e->sent;
        if (rnd(2)) {
            conn_write(e->c, pattern + e->sent % PERIOD, n);
        } else {
            memcpy(conn_reserve(e->c, n + rnd(100)), pattern + e->sent % PERIOD, n);
            conn_commit(e->c, n);
        }
        e->sent += n;
    }
}

HELPER void talker(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev == CONN_DATA) {
        struct slice in = conn_input(c);
        size_t n = in.n > PERIOD ? PERIOD : in.n;
        assert_memory_equal(in.p, pattern + e->received % PERIOD, n);
        e->received += n;
        conn_consume(c, n);
        if (n < in.n)
            conn_yield(c);
    }
    if (ev == CONN_DRAINED)
        say_more(e);
}

HELPER void go_on(void *arg)
{
    struct end *e = arg;
    if (e->c)
        conn_resume(e->c);
}

/* Echoes, sometimes only a part, sometimes with a wish for more, sometimes after a pause. */
HELPER void echoer(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev == CONN_DRAINED && conn_pending(c) <= 100000 && e->sent) {
        e->sent = 0;
        conn_resume(c);
    }
    if (ev != CONN_DATA)
        return;
    struct slice in = conn_input(c);
    unsigned what = rnd(12);
    size_t n = what == 0 ? rnd((unsigned)in.n + 1) : in.n;
    if (what == 1 && in.n < 3000 && e->received + in.n + 20000 < e->total) {
        conn_want(c, in.n + 1 + rnd(20000));
        return;
    }
    conn_write(c, in.p, n);
    conn_consume(c, n);
    e->received += n;
    if (n < in.n)
        conn_yield(c);
    if (rnd(200) == 0 && !turn_timer_is_set(&e->resume)) {
        conn_pause(c);
        turn_set(loop_turn(l), &e->resume, clock_mono() + rnd(2) * NS_PER_MS);
    }
    if (conn_pending(c) > 400000 && !e->sent) {
        e->sent = 1; /* resting */
        conn_pause(c);
    }
}

#endif

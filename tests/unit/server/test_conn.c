/* tests/unit/server/test_conn.c -- bytes through sockets, in every size and with every interruption
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include "base/log.h"
#include "server/listener.h"
#include "unit/server/ends.h"

static void two_hundred_megabytes_come_back_unharmed(void **state)
{
    (void)state;
    struct end a = {.then = talker, .total = 200u << 20}, b = {.then = echoer, .total = a.total};
    pair(&a, &b);
    turn_timer_init(&b.resume, go_on, &b);
    conn_low_water(a.c, 300 * 1024);
    conn_low_water(b.c, 100000);
    say_more(&a);
    UNTIL(a.received == a.total || !a.c);
    assert_int_equal(a.received, a.total);
    struct conn_info info;
    conn_info(b.c, &info);
    assert_int_equal(info.in_bytes, a.total);
    turn_unset(loop_turn(l), &b.resume);
    release(&a);
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_EOF);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void line_reader(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev != CONN_DATA)
        return;
    struct slice in = conn_input(c);
    size_t at = slice_find(in, '\n');
    if (at == in.n)
        return; /* the line is not complete */
    buf_add(&e->got, in.p, at + 1);
    conn_consume(c, at + 1);
    if (in.n > at + 1)
        conn_yield(c); /* one line a turn */
}

static void an_incomplete_rest_is_kept_and_comes_again(void **state)
{
    (void)state;
    struct end a = {0}, b = {.then = line_reader};
    pair(&a, &b);
    const char *text = "one\ntwo\nthree\n";
    for (const char *p = text; *p; p++) {
        conn_write(a.c, p, 1);
        loop_once(l);
        loop_once(l);
    }
    UNTIL(b.got.len == strlen(text));
    assert_memory_equal(b.got.data, text, strlen(text));
    conn_write(a.c, "a\nb\nc\n", 6);
    unsigned before = b.events[CONN_DATA];
    UNTIL(b.got.len == strlen(text) + 6);
    assert_int_equal(b.events[CONN_DATA] - before, 3);
    release(&a);
    release(&b);
}

/* Messages "<8 hex digits of length>body", as a parser with large payloads reads them. */
static void framed(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev != CONN_DATA)
        return;
    for (;;) {
        struct slice in = conn_input(c);
        if (in.n < 8)
            return;
        char head[9] = {0};
        memcpy(head, in.p, 8);
        size_t n = strtoul(head, NULL, 16);
        if (in.n < 8 + n) {
            conn_want(c, 8 + n);
            return;
        }
        assert_memory_equal(in.p + 8, pattern + n % 1000, n);
        e->received++;
        conn_consume(c, 8 + n);
    }
}

static void large_payloads_are_shown_in_one_piece_and_only_when_complete(void **state)
{
    (void)state;
    struct end a = {0}, b = {.then = framed};
    pair(&a, &b);
    size_t sizes[] = {1000000, 0, 5, 300000, 70000, 1000000, 65000, 3, 900000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char head[9];
        snprintf(head, sizeof head, "%08zx", sizes[i]);
        conn_write(a.c, head, 8);
        conn_write(a.c, pattern + sizes[i] % 1000, sizes[i]);
    }
    UNTIL(b.received == ARRAY_LEN(sizes));
    assert_in_range(b.events[CONN_DATA], 2, 40);
    release(&a);
    release(&b);
}

static void pauses_are_counted_and_what_was_left_comes_after(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_pause(b.c);
    conn_pause(b.c);
    conn_write(a.c, "hello", 5);
    for (int i = 0; i < 3; i++) {
        struct turn_post p;
        turn_post_init(&p, go_on, &a); /* just a reason to have a turn */
        conn_pause(a.c);
        turn_post_now(loop_turn(l), &p);
        loop_once(l);
    }
    conn_resume(b.c);
    assert_int_equal(b.got.len, 0);
    conn_resume(b.c);
    UNTIL(b.got.len == 5);
    release(&a);
    release(&b);
}

static void take_nothing_and_pause(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev == CONN_DATA) {
        conn_pause(c);
        e->then = NULL;
    }
}

static void input_left_at_a_pause_is_shown_without_new_bytes(void **state)
{
    (void)state;
    struct end a = {0}, b = {.then = take_nothing_and_pause};
    pair(&a, &b);
    conn_write(a.c, "secret", 6);
    UNTIL(b.events[CONN_DATA] == 1);
    conn_resume(b.c);
    UNTIL(b.got.len == 6);
    release(&a);
    release(&b);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void payloads_go_by_reference(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    struct msg_view v = {.subject = SLICE("s"), .payload = slice_of(pattern, 300000)};
    struct msg *m = msg_new(&v);
    conn_write(a.c, "<", 1);
    conn_write_msg(a.c, m, 100, 200000);
    conn_write(a.c, ">", 1);
    conn_write_msg(a.c, m, 0, 300000);
    UNTIL(b.got.len == 500002);
    assert_int_equal(b.got.data[0], '<');
    assert_memory_equal(b.got.data + 1, pattern + 100, 200000);
    assert_int_equal(b.got.data[200001], '>');
    assert_memory_equal(b.got.data + 200002, pattern, 300000);
    assert_int_equal(m->refs, 1);
    msg_unref(m);
    release(&a);
    release(&b);
}

static size_t arrived(int fd)
{
    static char got[1 << 20];
    ssize_t n = recv(fd, got, sizeof got, MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

static void of_much_output_the_beginning_leaves_before_the_turn_is_over(void **state)
{
    (void)state;
    struct end b = {0};
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    b.c = conn_accept(l, fd[1], end_event, &b);
    conn_write(b.c, pattern, 10000);
    assert_int_equal(arrived(fd[0]), 0); /* little waits for the end */
    conn_write(b.c, pattern, 10000);
    assert_int_equal(arrived(fd[0]), 20000);
    conn_write(b.c, pattern, 20000);
    assert_int_equal(arrived(fd[0]), 0); /* the rest goes in one piece */
    loop_once(l);
    assert_int_equal(arrived(fd[0]), 20000);
    conn_write(b.c, pattern, 20000);
    assert_int_equal(arrived(fd[0]), 20000); /* a new turn has a beginning of its own */
    close(fd[0]);
    UNTIL(!b.c);
}

static void drained_comes_once_below_the_low_water_mark(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_low_water(a.c, 100000);
    conn_pause(b.c);
    conn_write(a.c, pattern, PERIOD);
    conn_write(a.c, pattern, PERIOD);
    loop_once(l);
    assert_true(conn_pending(a.c) > 100000);
    assert_int_equal(a.events[CONN_DRAINED], 0);
    conn_resume(b.c);
    UNTIL(b.got.len == 2 * PERIOD);
    UNTIL(a.events[CONN_DRAINED]);
    conn_write(a.c, "x", 1); /* below the mark: no news */
    UNTIL(b.got.len == 2 * PERIOD + 1);
    assert_int_equal(a.events[CONN_DRAINED], 1);
    release(&a);
    release(&b);
}

static void a_peer_that_takes_nothing_meets_the_write_deadline(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_write_deadline(a.c, 30 * NS_PER_MS);
    conn_pause(b.c);
    int64_t start = clock_mono_exact();
    conn_write(a.c, pattern, PERIOD);
    conn_write(a.c, pattern, PERIOD);
    UNTIL(!a.c);
    assert_int_equal(a.reason, CONN_WRITE_TIMEOUT);
    assert_true(clock_mono_exact() - start >= 25 * NS_PER_MS);
    conn_resume(b.c);
    release(&b);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void close_flushing(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev != CONN_DATA)
        return;
    conn_write(c, "-ERR 'Unknown Protocol Operation'\r\n", 35);
    conn_close(c, true);
    conn_write(c, "lost", 4); /* nothing happens */
    assert_int_equal(e->events[CONN_GONE], 0);
}

/* Over TCP, where unread input makes the kernel reset the connection. */
static void accepted(void *arg, struct listener *li, int fd)
{
    struct end *e = arg;
    (void)li;
    e->c = conn_accept(l, fd, end_event, e);
}

static void last_words_reach_the_reader_despite_unread_input(void **state)
{
    (void)state;
    struct end a = {0}, b = {.then = close_flushing};
    struct listener *li;
    char *why;
    assert_int_equal(listener_open(l, "127.0.0.1", -1, accepted, &b, &li, &why), 0);
    assert_int_equal(conn_dial(l, "127.0.0.1", listener_port(li), NS_PER_S, end_event, &a, &a.c),
                     0);
    UNTIL(a.events[CONN_CONNECTED]);
    for (int i = 0; i < 3; i++)
        conn_write(a.c, pattern, PERIOD);
    UNTIL(b.events[CONN_GONE]);
    assert_int_equal(b.reason, CONN_CLOSED);
    assert_int_equal(b.events[CONN_GONE], 1);
    UNTIL(a.got.len == 35 || !a.c);
    assert_memory_equal(a.got.data, "-ERR 'Unknown", 13);
    release(&a);
    listener_close(li);
    buf_release(&b.got);
}

static void answer_and_close_peer(void *arg, struct conn *c, enum conn_event ev)
{
    struct end *e = arg;
    if (ev != CONN_DATA)
        return;
    conn_consume(c, 1);
    conn_close(e->peer->c, false); /* another connection, in the middle of our event */
    conn_close(c, false);
    conn_close(c, true);
    conn_consume(c, conn_input(c).n);
    conn_yield(c);
    conn_flush(c);
}

static void closing_inside_a_handler_is_safe(void **state)
{
    (void)state;
    struct end a = {0}, b = {.then = answer_and_close_peer};
    pair(&a, &b);
    conn_write(a.c, "xyz", 3);
    UNTIL(!a.c && !b.c);
    assert_int_equal(a.events[CONN_GONE], 1);
    assert_int_equal(b.events[CONN_GONE], 1);
    assert_int_equal(a.reason, CONN_CLOSED);
}

static void pong(void *arg, struct conn *c, enum conn_event ev)
{
    (void)arg;
    if (ev == CONN_DATA) {
        conn_consume(c, conn_input(c).n);
        conn_write(c, "PONG\r\n", 6);
    }
}

static void a_half_closed_peer_still_gets_its_answer(void **state)
{
    (void)state;
    struct end b = {.then = pong};
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(write(fd[0], "PING\r\n", 6), 6);
    shutdown(fd[0], SHUT_WR);
    b.c = conn_accept(l, fd[1], end_event, &b);
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_EOF);
    char answer[16];
    assert_int_equal(read(fd[0], answer, sizeof answer), 6);
    close(fd[0]);
}

static void a_reset_is_a_read_error(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    struct listener *li;
    char *why;
    assert_int_equal(listener_open(l, "", 0, accepted, &b, &li, &why), 0);
    assert_int_equal(conn_dial(l, "127.0.0.1", listener_port(li), 0, end_event, &a, &a.c), 0);
    UNTIL(a.events[CONN_CONNECTED] && b.c);
    struct conn_info info;
    conn_info(b.c, &info);
    assert_string_equal(info.ip, "127.0.0.1");
    assert_int_equal(info.local_port, listener_port(li));
    conn_pause(a.c);
    conn_write(b.c, "unread", 6);
    loop_once(l);
    conn_close(a.c, false); /* with unread input: RST */
    UNTIL(!b.c);
    assert_int_equal(b.reason, CONN_READ_ERROR);
    assert_string_equal(b.error, strerror(ECONNRESET));
    UNTIL(!a.c);
    listener_close(li);
}

static void a_refused_dial_is_gone_but_not_from_inside_the_call(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    struct listener *li;
    char *why;
    assert_int_equal(listener_open(l, "127.0.0.1", 0, accepted, &b, &li, &why), 0);
    uint16_t port = listener_port(li);
    listener_close(li);
    loop_once(l); /* it is freed */
    assert_int_equal(conn_dial(l, "127.0.0.1", port, NS_PER_S, end_event, &a, &a.c), 0);
    assert_int_equal(a.events[CONN_GONE], 0);
    UNTIL(!a.c);
    assert_int_equal(a.reason, CONN_DIAL_FAILED);
    assert_int_equal(a.events[CONN_CONNECTED], 0);
    assert_int_equal(conn_dial(l, "not an address", 1, 0, end_event, &a, &a.c), E_INVAL);
}

static void a_dial_into_the_void_times_out(void **state)
{
    (void)state;
    struct end a[3] = {{0}, {0}, {0}};
    /* a listener that accepts nobody and whose queue is full answers no SYN; a dial that is through
     * all the same is closed */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof in;
    assert_int_equal(bind(fd, (struct sockaddr *)&in, n), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(conn_dial(l, "127.0.0.1", ntohs(in.sin_port), 40 * NS_PER_MS, end_event,
                                   &a[i], &a[i].c),
                         0);
    UNTIL(!a[2].c);
    assert_int_equal(a[2].reason, CONN_DIAL_TIMEOUT);
    close(fd);
    for (int i = 0; i < 2; i++)
        release(&a[i]);
}

static void the_timer_fires_once(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_timeout(a.c, 2 * NS_PER_MS);
    conn_timeout(b.c, NS_PER_MS);
    conn_timeout(b.c, 0);
    UNTIL(a.events[CONN_TIMEOUT]);
    assert_int_equal(b.events[CONN_TIMEOUT], 0);
    release(&a);
    release(&b);
}

static void a_taken_port_is_told_in_words(void **state)
{
    (void)state;
    struct listener *a, *b;
    char *why = NULL, expect[80];
    assert_int_equal(listener_open(l, "127.0.0.1", 0, accepted, NULL, &a, &why), 0);
    assert_int_equal(listener_open(l, "127.0.0.1", listener_port(a), accepted, NULL, &b, &why),
                     E_SYS);
    snprintf(expect, sizeof expect, "listen tcp 127.0.0.1:%u: bind: address already in use",
             listener_port(a));
    assert_string_equal(why, expect);
    free(why);
    assert_int_equal(listener_open(l, "no.such.host.invalid", 0, accepted, NULL, &b, &why), E_SYS);
    free(why);
    listener_close(a);
}

static unsigned lines;

static void count_lines(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)line;
    lines += level == LOG_ERROR;
}

/* Out of descriptors: the listener says so, rests, and takes who waited when there is room again.
 */
static void a_listener_out_of_descriptors_rests_and_goes_on(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    struct listener *li;
    struct rlimit before, tight;
    char *why;
    assert_int_equal(listener_open(l, "127.0.0.1", 0, accepted, &b, &li, &why), 0);
    assert_int_equal(conn_dial(l, "127.0.0.1", listener_port(li), 0, end_event, &a, &a.c), 0);
    int next = dup(0); /* the next free descriptor */
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = (struct rlimit){(rlim_t)next, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    log_capture(count_lines, NULL);
    lines = 0;
    UNTIL(lines == 1);
    log_capture(NULL, NULL);
    assert_null(b.c);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    UNTIL(b.c);
    assert_int_equal(listener_accepted(li), 1);
    listener_close(li);
    release(&a);
    UNTIL(!b.c);
}

static void the_loop_ends_with_connections_open(void **state)
{
    (void)state;
    struct end a = {0}, b = {0};
    pair(&a, &b);
    conn_write(a.c, pattern, 100000);
    /* close_loop() frees them: the leak checker looks */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_hundred_megabytes_come_back_unharmed),
        TEST(an_incomplete_rest_is_kept_and_comes_again),
        TEST(large_payloads_are_shown_in_one_piece_and_only_when_complete),
        TEST(pauses_are_counted_and_what_was_left_comes_after),
        TEST(input_left_at_a_pause_is_shown_without_new_bytes),
        TEST(payloads_go_by_reference),
        TEST(of_much_output_the_beginning_leaves_before_the_turn_is_over),
        TEST(drained_comes_once_below_the_low_water_mark),
        TEST(a_peer_that_takes_nothing_meets_the_write_deadline),
        TEST(last_words_reach_the_reader_despite_unread_input),
        TEST(closing_inside_a_handler_is_safe),
        TEST(a_half_closed_peer_still_gets_its_answer),
        TEST(a_reset_is_a_read_error),
        TEST(a_refused_dial_is_gone_but_not_from_inside_the_call),
        TEST(a_dial_into_the_void_times_out),
        TEST(the_timer_fires_once),
        TEST(a_taken_port_is_told_in_words),
        TEST(a_listener_out_of_descriptors_rests_and_goes_on),
        TEST(the_loop_ends_with_connections_open),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(pattern);
    return r;
}

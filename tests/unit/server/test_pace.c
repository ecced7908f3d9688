/* tests/unit/server/test_pace.c -- who is paced by the kernel, and who is not
 *
 * What the system chose differs from machine to machine: where it is not BBR nothing may change,
 * and that is looked at just as well.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/pace.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/slice.h"

struct choice {
    char name[16];
};

static struct choice of(int fd)
{
    struct choice c = {0};
    socklen_t n = sizeof c.name - 1;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, c.name, &n), 0);
    return c;
}

static int tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    return fd;
}

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *in = (void *)&ss;
    struct sockaddr_in6 *in6 = (void *)&ss;
    ss.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
    void *to = ss.ss_family == AF_INET6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr;
    assert_int_equal(inet_pton(ss.ss_family, text, to), 1);
    return ss;
}

static struct choice systems(void)
{
    int fd = tcp();
    struct choice c = of(fd);
    close(fd);
    return c;
}

/* What the system chooses, if that does not pace. */
static struct choice neighbours(void)
{
    struct choice c = systems();
    return slice_starts(slice_cstr(c.name), SLICE("bbr")) ? (struct choice){"reno"} : c;
}

static struct choice dialled(const char *to)
{
    struct sockaddr_storage ss = address(to);
    int fd = tcp();
    pace_dial(fd, &ss);
    struct choice c = of(fd);
    close(fd);
    return c;
}

static void a_dial_to_this_machine_is_not_paced(void **state)
{
    (void)state;
    const char *near[] = {"127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        assert_string_equal(dialled(near[i]).name, neighbours().name);
}

static void a_dial_to_elsewhere_is_left_alone(void **state)
{
    (void)state;
    const char *far[] = {"192.0.2.1", "10.0.0.1", "128.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        assert_string_equal(dialled(far[i]).name, systems().name);
}

static void who_comes_from_elsewhere_gets_the_systems_choice_back(void **state)
{
    (void)state;
    struct sockaddr_storage here = address("127.0.0.1"), away = address("192.0.2.1");
    socklen_t n = sizeof here;
    struct pace p;
    int fd = tcp(), a = tcp();
    assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &n), 0);
    pace_listen(&p, fd);
    assert_int_equal(connect(a, (struct sockaddr *)&here, n), 0);
    int b = accept(fd, NULL, NULL);
    assert_true(b >= 0);
    pace_accepted(&p, b, &here);
    assert_string_equal(of(b).name, neighbours().name);
    pace_accepted(&p, b, &away);
    assert_string_equal(of(b).name, systems().name);
    close(a);
    close(b);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dial_to_this_machine_is_not_paced),
        cmocka_unit_test(a_dial_to_elsewhere_is_left_alone),
        cmocka_unit_test(who_comes_from_elsewhere_gets_the_systems_choice_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

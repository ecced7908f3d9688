/* server/pace.c -- see pace.h
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/pace.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

#include "base/slice.h"

static bool on_this_machine(const struct sockaddr_storage *ss)
{
    const struct sockaddr_in *in = (const void *)ss;
    const struct sockaddr_in6 *in6 = (const void *)ss;
    if (ss->ss_family == AF_INET)
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (ss->ss_family != AF_INET6)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

static void choose(int fd, const char *name)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
}

/* Takes Reno where the socket would be paced; *was: what it had, empty when it was left alone. */
static void stop(int fd, char was[16])
{
    socklen_t n = 15;
    memset(was, 0, 16);
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, was, &n) == 0 &&
        slice_starts(slice_cstr(was), SLICE("bbr")))
        choose(fd, "reno");
    else
        was[0] = 0;
}

void pace_listen(struct pace *p, int fd)
{
    stop(fd, p->away);
}

void pace_accepted(const struct pace *p, int fd, const struct sockaddr_storage *from)
{
    if (p->away[0] && !on_this_machine(from))
        choose(fd, p->away);
}

void pace_dial(int fd, const struct sockaddr_storage *to)
{
    char was[16];
    if (on_this_machine(to))
        stop(fd, was);
}

/* server/pace.h -- no pacing between processes of one machine
 *
 * Where the system's congestion control is BBR, the kernel paces each connection: a timer decides
 * when the next segment may leave. Between two processes of one machine there is no network to be
 * gentle with, and the timers cost as much as the copies do (PUB to MSG of 1 KiB: 0.70 us of CPU,
 * without them 0.38). So sockets whose other end has a loopback address take Reno, which each
 * kernel has, anybody may choose, and which does not pace. All others keep the system's choice.
 *
 * A listener can't know who will knock, and what has begun to pace does not stop: it listens with
 * Reno, and who comes from elsewhere gets the system's choice back before the first byte.
 *
 * Nothing here can fail: a kernel that says no goes on as before.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_PACE_H
#define SERVER_PACE_H

#include <sys/socket.h>

struct pace {
    char away[16]; /* the system's choice, for peers from elsewhere; empty: nothing was changed */
};

/* A listening socket, before it accepts. */
void pace_listen(struct pace *p, int fd);
/* Somebody came through it. */
void pace_accepted(const struct pace *p, int fd, const struct sockaddr_storage *from);
/* A socket that is about to connect. */
void pace_dial(int fd, const struct sockaddr_storage *to);

#endif

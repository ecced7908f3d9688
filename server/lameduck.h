/* server/lameduck.h -- leaving without a jolt (SIGUSR2)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LAMEDUCK_H
#define SERVER_LAMEDUCK_H

struct server;

/* No new clients, a hint to the present ones, then they are closed one by one and the server stops
 * with status 0. */
void lameduck_begin(struct server *srv);

#endif

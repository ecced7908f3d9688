/* server/sys.h -- the server's own services: $SYS.REQ.USER.INFO in every account
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SYS_H
#define SERVER_SYS_H

#include "base/err.h"

struct account;
struct server;
struct sys;

int sys_open(struct server *srv, struct sys **out) MUST_CHECK;
void sys_close(struct sys *s); /* NULL is fine */
/* Services of an account that may be new (reload). */
int sys_account(struct sys *s, struct account *a) MUST_CHECK;

#endif
